"""Where the centre of a vortex is, below the size of a cell: by pressure, by vorticity.

All of it is about one field at a time, in fractional cells; `find` in `detection.py` is its face for xarray.
"""

from __future__ import annotations

import numpy as np


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
