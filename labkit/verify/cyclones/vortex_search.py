"""Vortices of a wind: searched for by filters on a coarse grid, placed below the size of a cell by their symmetry.

Many fields are worked on at once, and of all of them the vortices that are next in turn: the arithmetic of one is too
little to be worth the calls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from labkit.verify.cyclones.filters import cells_of, fit_at, fit_everywhere
from labkit.verify.cyclones.symmetry import symmetric_centres

RADII_KM = (25.0, 50.0, 100.0)  # of the filters that search
SEARCH_KM = 8.0  # cells of the search
APART_KM = 150.0  # nearer than this, two maxima are one vortex
BEYOND = 0.75  # radii by which a centre may lie beyond the outer cells; further out it cannot be told where
SURE = 1 / 16  # of a radius: the most error of a centre there, where a front may pass for half of a vortex
ROUNDS = 4
AROUND = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)], float)
SIZES = np.array([0.8, 1.0, 1.25])


@dataclass(frozen=True)
class Limits:
    """What a vortex must be to count as a cyclone: a `turning` in m/s, the `share` of the wind's variance about it that
    this explains, and a `spin` of its core in 1/s. The last tells cyclones from wide and slow gyres of the flow."""

    turning: float = 7.0
    share: float = 0.5
    spin: float = 3e-4

    def times(self, factor: float) -> "Limits":
        """Limits for what is not measured to its end yet."""
        return Limits(self.turning * factor, self.share * factor, self.spin * factor)


@dataclass(frozen=True)
class Candidate:
    """A vortex by its wind: the centre in fractional cells, the filter's radius (km), the mean turning at it (m/s), the
    share of the wind's variance that this explains, and the centre's standard error (km)."""

    row: float
    col: float
    radius_km: float
    turning: float
    explained: float
    error_km: float

    @property
    def spin(self) -> float:
        """Vorticity of a core in solid rotation, 1/s."""
        return 2 * self.turning / (1000 * self.radius_km)

    def within(self, limits: Limits) -> bool:
        return self.turning >= limits.turning and self.explained >= limits.share and self.spin >= limits.spin


def search(
    u: np.ndarray, v: np.ndarray, spacing: tuple[float, float], turn: np.ndarray, *, n: int, limits: Limits
) -> list[list[Candidate]]:
    """At most `n` vortices in each wind (field, y, x) that keep to the limits, the most evident first. NaN cells are
    unknown; `turn` (y, x) is +1 where cyclones turn anticlockwise, else -1."""
    winds = _Winds.of(u, v, spacing, turn)
    queues = _maxima(winds, 6 * n, limits.times(0.8))
    chosen: list[list[Candidate]] = [[] for _ in queues]
    while True:
        jobs = []
        for k, queue in enumerate(queues):
            while queue and len(chosen[k]) < n:
                radius_km, place = queue.pop(0)
                if _alone(winds.fine(place), chosen[k], spacing, APART_KM / 2):  # else seen by a filter of another size
                    jobs.append((k, place, radius_km))
                    break
        if not jobs:
            return chosen
        field, place, radius_km = (np.array(part) for part in zip(*jobs, strict=True))
        for k, candidate in zip(field, _refined(winds, field, place, radius_km, limits), strict=True):
            if candidate and _alone(np.array([candidate.row, candidate.col]), chosen[k], spacing, APART_KM):
                chosen[k].append(candidate)


@dataclass(frozen=True, eq=False)
class _Winds:
    """Winds as complex numbers (field, y, x), 0 where not `known`; their averages of the search `coarse`, known where
    `seen` (field, y, x) or (y, x); the kilometres of a cell of each, and how many fine cells are in one of the search.
    """

    wind: np.ndarray
    known: np.ndarray
    spacing: tuple[float, float]
    coarse: np.ndarray
    seen: np.ndarray
    cells: np.ndarray
    step: tuple[float, float]
    factor: np.ndarray
    turn: np.ndarray

    @classmethod
    def of(cls, u: np.ndarray, v: np.ndarray, spacing: tuple[float, float], turn: np.ndarray) -> "_Winds":
        wind = (u + 1j * v).astype(np.complex64)
        known = np.isfinite(wind)
        factor = tuple(max(1, int(SEARCH_KM // d)) for d in spacing)
        coarse, seen = _coarsened(wind, factor)
        step = tuple(d * f for d, f in zip(spacing, factor, strict=True))
        filled, cells = np.where(known, wind, 0), cells_of(coarse, seen)
        return cls(filled, known, spacing, coarse, seen, cells, step, np.array(factor), turn)

    def fit(self, field: np.ndarray, places: np.ndarray, radius_km: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cyclonic turning (m/s) and share explained (n, m) at fractional cells of the search (n, m, 2)."""
        fit = fit_at(self.cells, self.step, field, places[..., 0], places[..., 1], radius_km)
        return self.turn_at(places) * fit.turning, fit.explained

    def turn_at(self, places: np.ndarray) -> np.ndarray:
        """Sense of a cyclone whose centre is at places of the search (..., 2)."""
        i, j = np.moveaxis(np.clip(np.rint(self.fine(places)), 0, self.ends(self.wind)).astype(int), -1, 0)
        return self.turn[i, j]

    @staticmethod
    def ends(wind: np.ndarray) -> np.ndarray:
        """The last row and column."""
        return np.array(wind.shape[-2:]) - 1

    def fine(self, place: np.ndarray) -> np.ndarray:
        """Places in cells of the fine grid."""
        return (place + 0.5) * self.factor - 0.5

    def searched(self, place: np.ndarray) -> np.ndarray:
        """Places in cells of the search."""
        return (place + 0.5) / self.factor - 0.5


def _maxima(winds: _Winds, most: int, limits: Limits) -> list[list[tuple[float, np.ndarray]]]:
    """Radius and cell of the search of each field's local maxima of the fit over places, the most evident first."""
    radii = [radius for radius in RADII_KM if radius >= 1.5 * max(winds.step)] or [2.0 * max(winds.step)]
    score, passes = [], []
    turn = winds.turn_at(np.stack(np.indices(winds.coarse.shape[-2:]), axis=-1))
    for radius in radii:
        fit = fit_everywhere(winds.coarse, winds.seen, winds.step, radius)
        score.append(np.nan_to_num(turn * fit.turning * fit.explained))
        passes.append((turn * fit.turning >= limits.turning) & (fit.explained >= limits.share))
    score, passes = np.stack(score, axis=1), np.stack(passes, axis=1)
    peaks = (score == ndimage.maximum_filter(score, size=(1, 1, 3, 3))) & passes
    found = []
    for own_score, own_peaks in zip(score, peaks, strict=True):
        order = np.argsort(-own_score[own_peaks])
        places = np.argwhere(own_peaks)[order][:most]
        found.append([(radii[level], np.array(place)) for level, *place in places])
    return found


def _refined(winds: _Winds, field, place, radius_km, limits: Limits) -> list[Candidate | None]:
    """The vortices near cells (n, 2) of the search: sizes by the filter that fits best, centres by symmetry. None where
    one does not keep to the limits, or its centre is too far beyond the grid to be told."""
    centre, radius_km, good = _climbed(winds, field, place.astype(float), radius_km.astype(float))
    held = ((centre <= 0) | (centre >= winds.ends(winds.coarse))).any(axis=1)  # by the border, where it did not end
    centre = winds.fine(centre)
    nearly = _candidates(winds, field, centre, radius_km, np.full(len(field), np.nan))
    k = np.flatnonzero([ok and one.within(limits.times(0.8)) for ok, one in zip(good, nearly, strict=True)])
    row, col, error = symmetric_centres(winds.wind, winds.known, winds.spacing, field[k], *centre[k].T, radius_km[k])
    told = np.isfinite(row)
    centre[k[told]] = np.stack([row, col], axis=1)[told]
    beyond = np.abs(centre[k] - np.clip(centre[k], 0, winds.ends(winds.wind))) * winds.spacing
    sure = (beyond <= BEYOND * radius_km[k, None]).all(axis=1) & (error <= SURE * radius_km[k])
    near = np.where((beyond == 0).all(axis=1), told | ~held[k], sure)
    k, error = k[near], error[near]
    found: list[Candidate | None] = [None] * len(field)
    for i, one in zip(k, _candidates(winds, field[k], centre[k], radius_km[k], error), strict=True):
        found[i] = one if one.within(limits) else None
    return found


def _climbed(winds: _Winds, field, start, radius_km) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From cells of the search (n, 2) uphill in how much of a vortex there is, over places and sizes: the places, the
    radii, and where enough is known to tell."""
    centre, radius_km, good, active = start.copy(), radius_km.copy(), np.ones(len(start), bool), np.arange(len(start))
    spacing, ends = np.array(winds.step), winds.ends(winds.coarse)
    step, limit = np.maximum(spacing, radius_km[:, None] / 8) / spacing, radius_km[:, None] / spacing
    for _ in range(ROUNDS):
        places = centre[active, None] + AROUND * step[active, None]
        turning, explained = winds.fit(field[active], places, radius_km[active, None])
        score = turning * explained
        finite = np.isfinite(score).all(axis=1)
        good[active[~finite]] = False
        active, score = active[finite], score[finite]
        moved = _peaks(score.reshape(-1, 3, 3)) * step[active]
        near = np.clip(centre[active] + moved, (start - limit)[active], (start + limit)[active])
        centre[active] = np.clip(near, 0, ends)
        radius_km[active] = _best_radii(winds, field[active], centre[active], radius_km[active])
        active = active[np.abs(moved).max(axis=1, initial=0) >= 0.25]
        if not len(active):
            break
        step = np.maximum(step / 2, 0.5)
    return centre, radius_km, good


def _candidates(winds: _Winds, field, centre, radius_km, error) -> list[Candidate]:
    """The vortices at places in fine cells (n, 2), as filters of these radii see them there, or from the nearest cell
    of the grid: turning NaN where too little is known."""
    seen_from = np.clip(centre, 0, winds.ends(winds.wind))
    turning, explained = winds.fit(field, winds.searched(seen_from)[:, None], radius_km[:, None])
    rows = zip(*centre.T, radius_km, turning[:, 0], explained[:, 0], error, strict=True)
    return [Candidate(*map(float, row)) for row in rows]


def _best_radii(winds: _Winds, field, centre, radius_km) -> np.ndarray:
    """One step of a search over radii, by the turning and the share that it explains."""
    radii = radius_km[:, None] * SIZES
    turning, explained = winds.fit(field, np.repeat(centre[:, None], len(SIZES), axis=1), radii)
    score = np.where(radii >= 1.2 * max(winds.step), np.nan_to_num(turning * explained, nan=-1.0), -np.inf)
    best = np.take_along_axis(radii, score.argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.where(np.isfinite(score).any(axis=1), best, radius_km)


def _coarsened(wind: np.ndarray, factor: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Means over blocks of cells (those at the end may be smaller), 0 where unknown, and where half of one is known;
    (y, x) where that is so in all fields alike, which spares work."""
    known = np.isfinite(wind)
    if factor != (1, 1):
        starts = [np.arange(0, n, f) for n, f in zip(wind.shape[-2:], factor, strict=True)]

        def blocks(field: np.ndarray) -> np.ndarray:
            return np.add.reduceat(np.add.reduceat(field, starts[0], axis=-2), starts[1], axis=-1)

        count, cells = blocks(known.astype(np.float32)), blocks(np.ones(wind.shape[-2:], np.float32))
        wind = blocks(np.where(known, wind, 0)) / np.maximum(count, 1)
        known = count >= 0.5 * cells
    if (known == known[:1]).all():
        known = known[0]
    return np.where(known, wind, 0).astype(np.complex64), known


def _alone(place: np.ndarray, others: list[Candidate], spacing, within_km: float) -> bool:
    """Whether none of the others is that near."""
    apart = [np.hypot(*((place - (other.row, other.col)) * spacing)) for other in others]
    return all(distance > within_km for distance in apart)


def _peaks(values: np.ndarray) -> np.ndarray:
    """Offsets (n, 2) in rows and columns, each within 1, of the maxima of the quadratics through 3 x 3 values (n, 3,
    3); where there is none inside, the best of the nine."""
    down, across = values.mean(axis=2), values.mean(axis=1)
    by, bx = (down[:, 2] - down[:, 0]) / 2, (across[:, 2] - across[:, 0]) / 2
    cy, cx = ((part[:, 2] + part[:, 0] - 2 * part[:, 1]) / 2 for part in (down, across))
    cross = (values[:, 2, 2] - values[:, 2, 0] - values[:, 0, 2] + values[:, 0, 0]) / 4
    curve = 4 * cy * cx - cross**2
    with np.errstate(invalid="ignore", divide="ignore"):
        top = np.stack([cross * bx - 2 * cx * by, cross * by - 2 * cy * bx], axis=1) / curve[:, None]
    inside = (cy < 0) & (cx < 0) & (curve > 0) & (np.abs(top) <= 1).all(axis=1)
    return np.where(inside[:, None], top, AROUND[values.reshape(-1, 9).argmax(axis=1)])
