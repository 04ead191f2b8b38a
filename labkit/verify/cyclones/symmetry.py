"""The centre about which a wind is most nearly a vortex of any profile in a uniform flow, by least squares.

Model: z = U + e^(i theta) f(r) (1 + a x + b y), with complex U and a complex f of straight pieces between nodes
(tangential and radial wind of any profile), and a vortex that may be stronger on one side, as over sea beside land. The
centre follows by Gauss-Newton: the field's own change under a small shift is one more column of the fit, so that the
edge of the grid and missing cells do not pull.
"""

from __future__ import annotations

import numpy as np

NODES = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.6, 2.1])  # radii of the pieces' ends
WINDOW = 2.0  # radii out to which cells count
CELLS = 10.0  # of a radius; finer grids are averaged
ROUNDS = 12


def symmetric_centre(
    wind: np.ndarray, known: np.ndarray, spacing: tuple[float, float], row: float, col: float, radius_km: float
) -> tuple[float, float, float]:
    """Row, column and standard error (km) of the centre near a place; NaN where the fit finds none within a radius.

    wind: complex (y, x), 0 where not known. The error takes what the model does not explain for noise.
    """
    place, z, weight = _cells(wind, known, spacing, row, col, radius_km)
    if len(z) < 4 * len(NODES):
        return np.nan, np.nan, np.nan
    scale = np.sqrt(weight)[:, None]
    centre, f = 0j, None
    for again in range(ROUNDS):
        away = place - centre
        r = np.maximum(np.abs(away), 1e-6)
        hats = _hats(r / radius_km)
        basis = np.concatenate([np.ones((len(z), 1)), (away / r)[:, None] * hats[:, 1:]], axis=1)
        f = np.linalg.lstsq(scale * basis, scale[:, 0] * z, rcond=1e-9)[0][1:] if f is None else f
        shift = _shift_columns(away, r, hats, np.concatenate([[0], f]), radius_km)
        vortex = basis[:, 1:] @ f / radius_km
        tilt = np.stack([away.real * vortex, away.imag * vortex], axis=1)
        columns = np.concatenate([basis, 1j * basis, tilt, shift], axis=1)
        left = np.concatenate([(scale * columns).real, (scale * columns).imag])
        right = np.concatenate([(scale[:, 0] * z).real, (scale[:, 0] * z).imag])
        gram = left.T @ left
        gram[np.diag_indices_from(gram)] += 1e-9 * np.trace(gram) / len(gram)  # pieces without cells stay 0
        solved = np.linalg.solve(gram, left.T @ right)
        n = basis.shape[1]
        f = solved[1:n] + 1j * solved[n + 1 : 2 * n]
        step = complex(solved[-2], solved[-1])
        if abs(step) > 0.4 * radius_km:
            step *= 0.4 * radius_km / abs(step)
        centre += step
        if abs(centre) > radius_km:
            return np.nan, np.nan, np.nan
        if abs(step) < 0.01 * min(spacing) and again:
            break
    noise = ((left @ solved - right) ** 2).sum() / max(1.0, len(right) - len(solved))
    error = float(np.sqrt(noise * np.trace(np.linalg.inv(gram)[-2:, -2:])))
    return row + centre.imag / spacing[0], col + centre.real / spacing[1], error


def _cells(wind, known, spacing, row: float, col: float, radius_km: float):
    """Places relative to the start (complex km), winds and weights of the known cells about it; cells much smaller than
    the vortex are averaged in blocks."""
    reach = [int(np.ceil(WINDOW * radius_km / d)) for d in spacing]
    part = tuple(slice(max(0, round(c) - n), round(c) + n + 1) for c, n in zip((row, col), reach, strict=True))
    wind, known = wind[part], known[part]
    y = (np.arange(part[0].start, part[0].start + wind.shape[0]) - row) * spacing[0]
    x = (np.arange(part[1].start, part[1].start + wind.shape[1]) - col) * spacing[1]
    place = x[None, :] + 1j * y[:, None]
    block = tuple(max(1, int(radius_km / CELLS / d)) for d in spacing)
    weight = known.astype(np.float64)
    if block != (1, 1):
        starts = [np.arange(0, n, b) for n, b in zip(wind.shape, block, strict=True)]

        def sums(field: np.ndarray) -> np.ndarray:
            return np.add.reduceat(np.add.reduceat(field, starts[0], axis=0), starts[1], axis=1)

        count = sums(weight)
        some = np.maximum(count, 1)
        place, wind, weight = sums(place * weight) / some, sums(wind * weight) / some, count / (block[0] * block[1])
    taper = np.cos(np.pi / 2 * np.minimum(np.abs(place) / (WINDOW * radius_km), 1)) ** 2
    weight = weight * taper
    good = weight > 0.02
    return place[good], wind[good].astype(np.complex128), weight[good]


def _hats(r: np.ndarray) -> np.ndarray:
    """Share of each node in radii r (n, node): straight pieces, the last one's value beyond it."""
    r = np.minimum(r, NODES[-1])
    piece = np.minimum(np.searchsorted(NODES, r, side="right") - 1, len(NODES) - 2)
    share = (r - NODES[piece]) / np.diff(NODES)[piece]
    hats, rows = np.zeros((len(r), len(NODES))), np.arange(len(r))
    hats[rows, piece], hats[rows, piece + 1] = 1 - share, share
    return hats


def _shift_columns(away, r, hats, f, radius_km: float) -> np.ndarray:
    """Change of e^(i theta) f(r) when its centre moves by 1 km along x and along y, (n, 2)."""
    e = away / r
    value = hats @ f
    piece = np.clip(np.searchsorted(NODES, r / radius_km) - 1, 0, len(NODES) - 2)
    slope = (np.diff(f) / np.diff(NODES))[piece] / radius_km * (r < NODES[-1] * radius_km)
    cos, sin = e.real, e.imag
    along_x = slope * cos * e - 1j * e * sin * value / r
    along_y = slope * sin * e + 1j * e * cos * value / r
    return -np.stack([along_x, along_y], axis=1)
