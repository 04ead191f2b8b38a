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
    scale, centre, f = np.sqrt(weight)[:, None], 0j, None
    for again in range(ROUNDS):
        away = place - centre
        r = np.maximum(np.abs(away), 1e-6)
        piece, share = _pieces(r / radius_km)
        basis = np.concatenate([np.ones((len(z), 1)), (away / r)[:, None] * _hats(piece, share)[:, 1:]], axis=1)
        if f is None:
            f = _solved(scale, [basis, 1j * basis], z, basis.shape[1])[0]
        vortex, shift = _vortex(away, r, piece, share, np.concatenate([[0], f]), radius_km)
        tilt = np.stack([away.real * vortex, away.imag * vortex], axis=1) / radius_km
        f, step, error = _solved(scale, [basis, 1j * basis, tilt, shift], z, basis.shape[1])
        if abs(step) > 0.4 * radius_km:
            step *= 0.4 * radius_km / abs(step)
        centre += step
        if abs(centre) > radius_km:
            return np.nan, np.nan, np.nan
        if abs(step) < 0.02 * min(spacing) and again:
            break
    return row + centre.imag / spacing[0], col + centre.real / spacing[1], error


def _solved(scale: np.ndarray, columns: list[np.ndarray], z: np.ndarray, n: int) -> tuple[np.ndarray, complex, float]:
    """Least squares with real coefficients of complex columns: f of the n - 1 pieces, the last two as a step, and the
    standard error of that."""
    left = scale * np.concatenate([*columns, z[:, None]], axis=1)
    gram = _gram(np.concatenate([left.real, left.imag]))
    inner, right, size = gram[:-1, :-1], gram[:-1, -1], len(gram) - 1
    inner[np.diag_indices(size)] += 1e-9 * np.trace(inner) / size  # pieces without cells stay 0
    inverse = np.linalg.inv(inner)
    solved = inverse @ right
    noise = max(0.0, gram[-1, -1] - solved @ right) / max(1, 2 * len(z) - size)
    f = solved[1:n] + 1j * solved[n + 1 : 2 * n]
    return f, complex(solved[-2], solved[-1]), float(np.sqrt(noise * np.trace(inverse[-2:, -2:])))


def _gram(left: np.ndarray) -> np.ndarray:
    """left.T @ left, a few hundred rows at a time: BLAS spreads larger products over threads, which costs more than it
    brings where many fields are worked on at once."""
    rows = 400
    padded = np.pad(left, ((0, -len(left) % rows), (0, 0))).reshape(-1, rows, left.shape[1])
    return (padded.transpose(0, 2, 1) @ padded).sum(axis=0)


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


def _pieces(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The piece that each radius lies on, and how far along it is (0..1); beyond the last node its end."""
    r = np.minimum(r, NODES[-1])
    piece = np.minimum(np.searchsorted(NODES, r, side="right") - 1, len(NODES) - 2)
    return piece, (r - NODES[piece]) / np.diff(NODES)[piece]


def _hats(piece: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Share of each node (n, node)."""
    hats, rows = np.zeros((len(piece), len(NODES))), np.arange(len(piece))
    hats[rows, piece], hats[rows, piece + 1] = 1 - share, share
    return hats


def _vortex(away, r, piece, share, f, radius_km: float) -> tuple[np.ndarray, np.ndarray]:
    """e^(i theta) f(r) for f at the nodes, and its change when the centre moves by 1 km along x and along y (n, 2)."""
    e = away / r
    value = (1 - share) * f[piece] + share * f[piece + 1]
    slope = (np.diff(f) / np.diff(NODES))[piece] / radius_km * (r < NODES[-1] * radius_km)
    cos, sin = e.real, e.imag
    along_x = slope * cos * e - 1j * e * sin * value / r
    along_y = slope * sin * e + 1j * e * cos * value / r
    return e * value, -np.stack([along_x, along_y], axis=1)
