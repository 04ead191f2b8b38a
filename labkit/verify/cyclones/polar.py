"""Fields about a centre, by distance and direction: samples on rings, azimuthal means and waves around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

ANGLES = 72  # samples on a ring
LEAST_SEEN = 0.4  # share of a ring that must lie on known cells for its mean


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
        values = ndimage.map_coordinates(field.astype(np.float64), (row, col), order=3, mode="mirror")
        return np.where(outside, np.nan, values)

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
    """Mean around each ring (..., a) -> (...), of its known part; NaN where less than LEAST_SEEN of it is."""
    seen = np.isfinite(rings)
    total = np.where(seen, rings, 0).sum(-1)
    count = seen.sum(-1)
    return np.where(count >= LEAST_SEEN * rings.shape[-1], total / np.maximum(count, 1), np.nan)


def waves(rings: np.ndarray, highest: int = 2) -> np.ndarray:
    """Complex coefficients (..., highest + 1) of each ring: the field is about c0 + Re sum c_k exp(i k angle), so that
    |c_k| is the amplitude of wavenumber k and -arg(c_k) / k the angle of its crest.

    Least squares over the known samples; NaN where less than 0.8 of the ring is known.
    """
    angle = 2 * np.pi * np.arange(rings.shape[-1]) / rings.shape[-1]
    terms = np.stack([np.ones_like(angle)] + [f(k * angle) for k in range(1, highest + 1) for f in (np.cos, np.sin)])
    flat = rings.reshape(-1, rings.shape[-1])
    seen = np.isfinite(flat)
    c = np.where(seen, flat, 0) @ terms.T * (2 / len(angle))
    c[:, 0] /= 2
    for i in np.flatnonzero(~seen.all(-1)):
        part = seen[i]
        c[i] = np.linalg.lstsq(terms[:, part].T, flat[i, part], rcond=None)[0] if part.mean() >= 0.8 else np.nan
    found = np.concatenate([c[:, :1], c[:, 1::2] - 1j * c[:, 2::2]], axis=1)
    return found.reshape(*rings.shape[:-1], highest + 1)


def _filled(field: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Unknown cells take the value of the nearest known one, which keeps the splines calm beside them."""
    if not known.any():
        return np.zeros_like(field)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return field[tuple(nearest)]
