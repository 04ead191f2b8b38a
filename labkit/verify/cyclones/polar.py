"""Fields about a centre, by distance and direction: samples on rings, azimuthal means and waves around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

ANGLES = 72  # samples on a ring
LEAST_SEEN = 0.4  # share of a ring that must lie on known cells for its mean
DAMPING = 0.1  # of wave 1 in the mean of a ring in part unknown; with it no field's came out worse than the plain mean


@dataclass(frozen=True, eq=False)
class Rings:
    """Where rings about a centre lie on the grid: `radius` (r,) km, `angle` (a,) radians anticlockwise from the grid's
    x axis, `row`, `col` (r, a) fractional cells."""

    radius: np.ndarray
    angle: np.ndarray
    row: np.ndarray
    col: np.ndarray

    @classmethod
    def about(cls, row: float, col: float, spacing: tuple[float, float], radius: np.ndarray) -> "Rings":
        angle = 2 * np.pi * np.arange(ANGLES) / ANGLES
        rows = row + radius[:, None] * np.sin(angle) / spacing[0]
        cols = col + radius[:, None] * np.cos(angle) / spacing[1]
        return cls(radius, angle, rows, cols)

    def sample(self, field: np.ndarray) -> np.ndarray:
        """The field (y, x) on the rings, (r, a), by cubic splines; NaN beyond the outer centres and beside NaN."""
        part, (i0, j0) = self._window(field.shape)
        field = field[part]
        if min(field.shape) < 2:
            return np.full(self.row.shape, np.nan)
        row, col = self.row - i0, self.col - j0
        known = np.isfinite(field)
        outside = (row < 0) | (col < 0) | (row > field.shape[0] - 1) | (col > field.shape[1] - 1)
        if not known.all():
            here = [
                np.clip(np.rint(place).astype(int), 0, n - 1) for place, n in zip((row, col), field.shape, strict=True)
            ]
            near = ndimage.binary_dilation(~known)
            outside |= near[tuple(here)]
            field = _filled(field, known)
        values = np.full(row.shape, np.nan)
        places = row[~outside], col[~outside]
        values[~outside] = ndimage.map_coordinates(field.astype(np.float64), places, order=3, mode="mirror")
        return values

    def turned(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Radial (outward) and tangential (anticlockwise) parts of winds (r, a) along the grid's axes."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return u * cos + v * sin, v * cos - u * sin

    def _window(self, shape: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[int, int]]:
        """The part of the grid that the rings need, which spares the splines the rest."""
        low = [max(0, int(np.floor(place.min())) - 6) for place in (self.row, self.col)]
        high = [min(n, int(np.ceil(p.max())) + 7) for p, n in zip((self.row, self.col), shape, strict=True)]
        return tuple(slice(a, max(a, b)) for a, b in zip(low, high, strict=True)), tuple(low)


def around(rings: np.ndarray) -> np.ndarray:
    """Mean around each ring (..., a) -> (...); NaN where less than LEAST_SEEN of it is known.

    Where a part is unknown, the mean of the rest would take a wave 1 for a mean (of half a ring 2 / pi of its
    amplitude), so that waves 0 and 1 are fitted, wave 1 damped (ridge regression): it still weighs every sample of an
    arc positively, so that no rain becomes negative. Of a full ring it is the plain mean. With half of the rings of
    idealised typhoons hidden, this misses the means of the full ones by 3.4 m/s of wind speed and 1.06 K of
    temperature, where the plain mean misses them by 4.5 m/s and 1.24 K (root mean square); of half a ring of a pure
    wave 1, 0.43 of its amplitude stays.
    """
    angle = _angles(rings)
    terms = np.stack([np.ones_like(angle), np.cos(angle), np.sin(angle)], axis=-1)[None]
    return _fitted_means(rings[None], terms, damping=np.array([0.0, DAMPING, DAMPING]))[0]


def around_wind(radial: np.ndarray, tangential: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of radial and tangential wind around each ring (..., a) -> (...); NaN where less than LEAST_SEEN is known.

    Where a part is unknown, both are fitted together with the uniform flow in which the vortex lies, a wave 1 of both
    that is told from half a ring far better than two free ones: exact for a vortex in a uniform flow. Of a full ring
    both are the plain means. With half of the rings of idealised typhoons hidden, this misses the means of the full
    ones by 2.4 m/s where plain means miss them by 4.9 (root mean square); with a tenth hidden by 0.4 and 0.9.
    """
    angle = _angles(tangential)
    one, zero, cos, sin = np.ones_like(angle), np.zeros_like(angle), np.cos(angle), np.sin(angle)
    terms = np.stack([np.stack([one, zero, cos, sin], axis=-1), np.stack([zero, one, -sin, cos], axis=-1)])
    both = _fitted_means(np.stack([radial, tangential]), terms, damping=np.zeros(4))
    return both[0], both[1]


def _angles(rings: np.ndarray) -> np.ndarray:
    return 2 * np.pi * np.arange(rings.shape[-1]) / rings.shape[-1]


def _fitted_means(rings: np.ndarray, terms: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """The first terms' coefficients, one a part, of rings (part, ..., a) by least squares on terms (part, a, term), of
    which `damping` holds each down; means of full rings, NaN of rings of which too little is known."""
    parts, *lead, count = rings.shape
    flat = rings.reshape(parts, -1, count)
    seen = np.isfinite(flat).all(0)
    means = np.full(flat.shape[:-1], np.nan)
    full = seen.all(-1)
    means[:, full] = flat[:, full].mean(-1)
    some = ~full & (seen.mean(-1) >= LEAST_SEEN)
    if some.any():
        known = np.where(seen[some], flat[:, some], 0)
        matrix = np.einsum("ra,pai,paj->rij", seen[some].astype(float), terms, terms) + count * np.diag(damping)
        vector = np.einsum("pra,pai->ri", known, terms)
        means[:, some] = np.linalg.solve(matrix, vector[..., None])[:, :parts, 0].T
    return means.reshape(parts, *lead)


def waves(rings: np.ndarray, highest: int = 2) -> np.ndarray:
    """Complex coefficients (..., highest + 1) of each ring: the field is about c0 + Re sum c_k exp(i k angle), so that
    |c_k| is the amplitude of wavenumber k and -arg(c_k) / k the angle of its crest.

    Least squares over the known samples; NaN where less than 0.8 of the ring is known.
    """
    angle = _angles(rings)
    terms = np.stack([np.ones_like(angle)] + [f(k * angle) for k in range(1, highest + 1) for f in (np.cos, np.sin)])
    flat = rings.reshape(-1, rings.shape[-1])
    seen = np.isfinite(flat)
    c = np.where(seen, flat, 0) @ terms.T * (2 / len(angle))
    c[:, 0] /= 2
    part = ~seen.all(-1)
    matrix = (terms * seen[part, None]) @ terms.T
    enough = seen[part].mean(-1) >= 0.8
    matrix[~enough] = np.eye(len(terms))
    solved = np.linalg.solve(matrix, (np.where(seen[part], flat[part], 0) @ terms.T)[..., None])[..., 0]
    c[part] = np.where(enough[:, None], solved, np.nan)
    found = np.concatenate([c[:, :1], c[:, 1::2] - 1j * c[:, 2::2]], axis=1)
    return found.reshape(*rings.shape[:-1], highest + 1)


def _filled(field: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Unknown cells take the value of the nearest known one, which keeps the splines calm beside them."""
    if not known.any():
        return np.zeros_like(field)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return field[tuple(nearest)]
