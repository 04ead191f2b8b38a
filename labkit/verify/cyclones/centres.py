"""Where the centre of a vortex is, below the size of a cell: by the wind about it, by vorticity, by pressure.

All of it is about one field at a time, in fractional cells; `find` in `finding.py` is its face for xarray.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from labkit.verify.cyclones.filters import fit_at, fit_everywhere
from labkit.verify.cyclones.symmetry import symmetric_centre

RADII_KM = (25.0, 50.0, 100.0)  # of the filters that search
SEARCH_KM = 8.0  # cells of the search
APART_KM = 150.0  # nearer than this, two maxima are one vortex


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
    u: np.ndarray, v: np.ndarray, spacing: tuple[float, float], turn: int, *, n: int, limits: Limits
) -> list[list[Candidate]]:
    """At most `n` vortices in each wind (field, y, x) that keep to the limits, the most evident first. NaN cells are
    unknown; `turn` is +1 for cyclones that turn anticlockwise, else -1."""
    fine = (u + 1j * v).astype(np.complex64)
    factor = tuple(max(1, int(SEARCH_KM // d)) for d in spacing)
    wind, known = _coarsened(fine, factor)
    step = tuple(d * f for d, f in zip(spacing, factor, strict=True))
    radii = [radius for radius in RADII_KM if radius >= 1.5 * max(step)] or [2.0 * max(step)]
    fits = [fit_everywhere(wind, known, step, radius) for radius in radii]
    score = np.stack([np.nan_to_num(turn * fit.turning * fit.explained) for fit in fits], axis=1)
    passes = np.stack([_nearly(turn * fit.turning, fit.explained, limits.times(0.8)) for fit in fits], axis=1)
    peaks = (score == ndimage.maximum_filter(score, size=(1, 1, 3, 3))) & passes
    found = []
    for k, field in enumerate(fine):
        grid = _Grid(wind[k], known if known.ndim == 2 else known[k], step, factor)
        mask, chosen = np.isfinite(field), []
        filled = np.where(mask, field, 0)
        order = np.argsort(-score[k][peaks[k]])
        for level, *place in np.argwhere(peaks[k])[order][: 6 * n]:
            if len(chosen) == n:
                break
            if not _alone(grid.fine(np.array(place)), chosen, spacing, APART_KM / 2):
                continue  # the same vortex, by a filter of another size
            candidate = _refined(grid, filled, mask, spacing, turn, place, radii[level], limits)
            if candidate and _alone(np.array([candidate.row, candidate.col]), chosen, spacing, APART_KM):
                chosen.append(candidate)
        found.append(chosen)
    return found


@dataclass(frozen=True, eq=False)
class _Grid:
    """The averaged wind of the search: complex (y, x), where it is known, its spacing, and fine cells in one of it."""

    wind: np.ndarray
    known: np.ndarray
    spacing: tuple[float, float]
    factor: tuple[int, int]

    def fit(self, radius_km: float, places: np.ndarray):
        """The vortex fit at fractional cells (n, 2)."""
        return fit_at(self.wind, self.known, self.spacing, radius_km, *places.T)

    def fine(self, place: np.ndarray) -> np.ndarray:
        """A place in cells of the fine grid."""
        return (place + 0.5) * np.array(self.factor) - 0.5

    def coarse(self, place: np.ndarray) -> np.ndarray:
        return (place + 0.5) / np.array(self.factor) - 0.5


def _refined(
    grid: _Grid, wind, known, spacing, turn: int, place, radius_km: float, limits: Limits, rounds: int = 4
) -> Candidate | None:
    """The vortex near a cell of the search: its size by the filter that fits best, its centre by symmetry. None where
    it does not keep to the limits."""
    start = centre = np.array(place, float)
    away = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)], float)
    step = np.array([max(d, radius_km / 8) / d for d in grid.spacing])
    limit = np.array([radius_km / d for d in grid.spacing])
    for _ in range(rounds):
        fit = grid.fit(radius_km, centre + away * step)
        score = turn * fit.turning * fit.explained
        if not np.isfinite(score).all():
            return None
        moved = _peak(score.reshape(3, 3)) * step
        centre = np.clip(np.clip(centre + moved, start - limit, start + limit), 0, np.array(grid.wind.shape) - 1)
        radius_km = _best_radius(grid, turn, centre, radius_km)
        if np.abs(moved).max() < 0.25:
            break
        step = np.maximum(step / 2, 0.5)
    nearly = _candidate(grid, turn, grid.fine(centre), radius_km, np.nan)
    if nearly is None or not nearly.within(limits.times(0.8)):
        return None
    centre = grid.fine(centre)
    *place, error = symmetric_centre(wind, known, spacing, *centre, radius_km)
    place, corner = np.array(place), np.array(wind.shape) - 1
    if np.isfinite(place).all() and (place >= -1).all() and (place <= corner + 1).all():
        centre = place
    found = _candidate(grid, turn, centre, radius_km, error)
    return found if found is not None and found.within(limits) else None


def _candidate(grid: _Grid, turn: int, centre: np.ndarray, radius_km: float, error: float) -> Candidate | None:
    """The vortex at a place in fine cells, as the filter of a radius sees it; None where too little is known."""
    fit = grid.fit(radius_km, grid.coarse(centre)[None])
    if not np.isfinite(fit.turning[0]):
        return None
    return Candidate(*map(float, (*centre, radius_km, turn * fit.turning[0], fit.explained[0], error)))


def _best_radius(grid: _Grid, turn: int, centre: np.ndarray, radius_km: float) -> float:
    """One step of a search over radii, by the turning and the share that it explains."""
    radii = [radius for radius in radius_km * np.array([0.8, 1.0, 1.25]) if radius >= 1.2 * max(grid.spacing)]
    scores = []
    for radius in radii:
        fit = grid.fit(float(radius), centre[None])
        scores.append(np.nan_to_num(float(turn * fit.turning[0] * fit.explained[0]), nan=-1.0))
    return float(radii[int(np.argmax(scores))]) if radii else radius_km


def pressure_centre(p: np.ndarray, spacing, row: float, col: float, radius_km: float) -> tuple[float, float, float]:
    """Row, column and value of the pressure minimum near a place, below the size of a cell; NaN where there is none
    within the radius.

    A paraboloid is fitted to the cells about the lowest one and moved until it is centred: over few cells where these
    tell, over more where noise or a flat eye hides the minimum.
    """
    lowest = _lowest(p, row, col, [max(2.0, radius_km / d) for d in spacing])
    if lowest is None:
        return np.nan, np.nan, np.nan
    best = (*map(float, lowest), np.inf)
    size = 2.1 * max(spacing)
    while True:
        found = _bowl(p, spacing, np.array(lowest, float), size)
        best = min(best, found, key=lambda candidate: candidate[2])
        if best[2] < 0.1 * min(spacing) or size >= 0.8 * radius_km:
            break
        size = min(1.6 * size, max(0.8 * radius_km, 2.1 * max(spacing)))
    return best[0], best[1], _depth(p, spacing, best[:2], max(1.5 * max(spacing), 0.25 * radius_km))


def _bowl(p: np.ndarray, spacing, start: np.ndarray, size_km: float) -> tuple[float, float, float]:
    """Row, column and standard error (km) of the bottom of the paraboloid through the cells within a distance of it."""
    centre, reach = start.copy(), np.array([size_km / d for d in spacing])
    for _ in range(10):
        i, j, fields = _window(p, centre, reach)
        y, x = (i - centre[0]) / reach[0], (j - centre[1]) / reach[1]
        near = np.isfinite(fields) & (np.hypot(x, y) <= 1)
        if near.sum() < 8:
            return *start, np.inf
        x, y, values = x[near], y[near], fields[near].astype(np.float64)
        terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
        solved = np.linalg.lstsq(terms, values - values.mean(), rcond=None)[0]
        _, b, c, d, e, f = solved
        curve = 4 * d * f - e * e
        if d <= 0 or f <= 0 or curve <= 0:
            return *start, np.inf
        shift = np.array([e * b - 2 * d * c, e * c - 2 * f * b]) / curve
        centre = centre + np.clip(shift, -0.5, 0.5) * reach
        if np.abs((centre - start) / reach).max() > 1.5 or (centre < 0).any() or (centre > np.array(p.shape) - 1).any():
            return *start, np.inf
        if np.abs(shift * reach).max() < 0.01:
            break
    free = len(values) - 6
    left = ((values - values.mean() - terms @ solved) ** 2).sum() / free * (1 + 6 / free)  # few cells fit by chance
    slope_error = np.sqrt(left * np.diag(np.linalg.pinv(terms.T @ terms))[1:3].max())
    return *map(float, centre), float(slope_error / (2 * min(d, f)) * size_km)


def _depth(p: np.ndarray, spacing, centre, size_km: float) -> float:
    """The lowest value near a centre: of the cells, or of the parabolas through the lowest and its neighbours."""
    i, j, values = _window(p, centre, [size_km / d for d in spacing])
    k = np.unravel_index(np.nanargmin(np.where(np.isfinite(values), values, np.inf)), values.shape)
    row, col = int(i[k]), int(j[k])
    bottom = float(p[row, col])
    fall = 0.0
    for low, high in (((row - 1, col), (row + 1, col)), ((row, col - 1), (row, col + 1))):
        if min(low) >= 0 and high[0] < p.shape[0] and high[1] < p.shape[1]:
            a, b = float(p[low]), float(p[high])
            curve = a + b - 2 * bottom
            if np.isfinite(curve) and curve > 0:
                fall += (b - a) ** 2 / (8 * curve)
    return bottom - fall


def vorticity_centre(wind: np.ndarray, known: np.ndarray, spacing, turn: int, row, col, radius_km: float):
    """Row and column of the centroid of cyclonic vorticity within a radius of a place, moved until it is centred."""
    u, v = (np.where(known, part, np.nan) for part in (wind.real, wind.imag))
    centre, reach = np.array([row, col], float), [max(1.5, radius_km / d) for d in spacing]
    for _ in range(12):
        i, j, _ = _window(u, centre, [n + 1 for n in reach])
        part = _box(u, centre, [n + 1 for n in reach])
        vorticity = turn * (np.gradient(v[part], spacing[1], axis=1) - np.gradient(u[part], spacing[0], axis=0))
        r2 = ((i - centre[0]) / reach[0]) ** 2 + ((j - centre[1]) / reach[1]) ** 2
        mass = np.where(np.isfinite(vorticity), np.maximum(vorticity, 0), 0) * np.maximum(1 - r2, 0)
        if mass.sum() <= 0:
            return np.nan, np.nan
        moved = np.array([(mass * (i - centre[0])).sum(), (mass * (j - centre[1])).sum()]) / mass.sum()
        centre = np.clip(centre + 1.5 * moved, 0, np.array(u.shape) - 1)
        if np.abs(moved).max() < 0.01:
            break
    return tuple(map(float, centre))


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


def _nearly(turning: np.ndarray, explained: np.ndarray, limits: Limits) -> np.ndarray:
    return (turning >= limits.turning) & (explained >= limits.share)


def _alone(place: np.ndarray, others: list[Candidate], spacing, within_km: float) -> bool:
    """Whether none of the others is that near."""
    apart = [np.hypot(*((place - (other.row, other.col)) * spacing)) for other in others]
    return all(distance > within_km for distance in apart)


def _peak(values: np.ndarray) -> np.ndarray:
    """Offset (row, column), each within 1, of the maximum of the quadratic through 3 x 3 values; where there is none
    inside, the best of the nine."""
    by, bx = (values[2].mean() - values[0].mean()) / 2, (values[:, 2].mean() - values[:, 0].mean()) / 2
    cy = (values[2].mean() + values[0].mean() - 2 * values[1].mean()) / 2
    cx = (values[:, 2].mean() + values[:, 0].mean() - 2 * values[:, 1].mean()) / 2
    cross = (values[2, 2] - values[2, 0] - values[0, 2] + values[0, 0]) / 4
    curve = 4 * cy * cx - cross**2
    if cy < 0 and cx < 0 and curve > 0:
        found = np.array([cross * bx - 2 * cx * by, cross * by - 2 * cy * bx]) / curve
        if np.abs(found).max() <= 1:
            return found
    return np.array(np.unravel_index(np.argmax(values), (3, 3)), float) - 1


def _box(field: np.ndarray, centre, reach) -> tuple[slice, slice]:
    return tuple(
        slice(max(0, int(np.floor(c - n))), min(size, int(np.ceil(c + n)) + 1))
        for c, n, size in zip(centre, reach, field.shape, strict=True)
    )


def _window(field: np.ndarray, centre, reach):
    """Rows (y, 1), columns (1, x) broadcast, and values of the cells within `reach` cells of a centre."""
    part = _box(field, centre, reach)
    i, j = np.meshgrid(*(np.arange(s.start, s.stop) for s in part), indexing="ij")
    return i, j, field[part]


def _lowest(p: np.ndarray, row: float, col: float, reach) -> tuple[int, int] | None:
    """The lowest cell within reach of a place, if it is not on the rim of that neighbourhood."""
    i, j, values = _window(p, (row, col), reach)
    near = np.isfinite(values) & (np.hypot((i - row) / reach[0], (j - col) / reach[1]) <= 1)
    if not near.any():
        return None
    k = np.argmin(np.where(near, values, np.inf))
    return int(i.flat[k]), int(j.flat[k])
