"""A vortex as a least-squares fit: how much of the wind about each point turns around it.

With the wind as a complex number z = u + iv, a vortex at a point is a mean flow plus one coefficient b times a profile
T(r) e^(i theta): Re b flows out, Im b turns. Both follow from sums over the cells about the point, so that a uniform
flow, missing cells and the edge of the grid cost nothing but certainty. The share of the variance about the mean flow
that the turning explains is between 0 and 1: how much of a vortex it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft

REACH = 2.5  # radii out to which a filter looks
LEAST_COVER = 0.2  # share of a filter's weight that must lie on known cells
AT_ONCE = 2**19  # cells of a batch: large enough that threads need not wait for each other between calls
AT_ONCE = 2**19  # cells of a batch: large enough that threads need not wait for each other between calls


@dataclass(frozen=True, eq=False)
class Fit:
    """Of each centre: `turning` and `outflow` (m/s at the filter's radius, outward and anticlockwise positive) and
    `explained`, the share of variance that the turning alone explains; NaN where too little is known."""

    turning: np.ndarray
    outflow: np.ndarray
    explained: np.ndarray


def profile(r: np.ndarray) -> np.ndarray:
    """T(r) for r in radii: solid rotation inside, a peak of 1 at 1, a fast decay outside."""
    return r * np.exp((1 - r * r) / 2)


def weight(r: np.ndarray) -> np.ndarray:
    """What a cell at r radii counts: about 1 inside, smoothly nothing at REACH."""
    return np.where(r < REACH, np.cos(np.pi / 2 * np.minimum(r / REACH, 1)) ** 2, 0.0)


def fit_everywhere(wind: np.ndarray, known: np.ndarray, spacing: tuple[float, float], radius_km: float) -> Fit:
    """The fit with each cell of complex winds (n, y, x) as the centre; known (y, x) or (n, y, x) is False at missing
    cells, where the wind must be 0. By FFT: the cost does not depend on the radius."""
    shape = wind.shape[-2:]
    box, whole, mean, turn = _kernels(shape, spacing, radius_km)
    half = slice(None, box[1] // 2 + 1)  # of the spectrum of what is real

    def about(spectrum: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        """Only the rows that are wanted are transformed along x."""
        rows = fft.ifft(spectrum * kernel, axis=-2, overwrite_x=True)[..., : shape[0], :]
        return fft.ifft(rows, axis=-1, overwrite_x=True)[..., : shape[1]]

    def real_about(spectrum: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        rows = fft.ifft(spectrum * kernel[:, half], axis=-2, overwrite_x=True)[..., : shape[0], :]
        return fft.irfft(rows, box[1], axis=-1, overwrite_x=True)[..., : shape[1]]

    def transformed(field: np.ndarray, along_x: Callable) -> np.ndarray:
        return fft.fft(along_x(field, box[1], axis=-1), box[0], axis=-2, overwrite_x=True)

    there = transformed(known.astype(np.float32), fft.rfft)
    spectrum = transformed(wind, fft.fft)
    squares = transformed(np.abs(wind) ** 2, fft.rfft)
    sums = _Sums(
        count=real_about(there, mean),
        basis=about(transformed(known.astype(np.complex64), fft.fft), turn).conj(),
        square=real_about(there, whole),
        wind=about(spectrum, mean),
        along=about(spectrum, turn),
        energy=real_about(squares, mean),
    )
    return _solve(sums, _full_weight(spacing, radius_km))


def cells_of(wind: np.ndarray, known: np.ndarray) -> np.ndarray:
    """What `fit_at` sums up: 1, u, v and speed squared of the known cells, 0 of others, (n, y, x, 4)."""
    parts = np.broadcast_arrays(known, wind.real, wind.imag, np.abs(wind) ** 2)
    return np.stack(parts, axis=-1, dtype=np.float64)


def fit_at(cells: np.ndarray, spacing: tuple[float, float], field: np.ndarray, row, col, radius_km) -> Fit:
    """The fit (n, m) at fractional cells row, col (n, m), with filters of radius_km (n, m), in the fields `field` (n,)
    among `cells_of` winds."""
    row, col, radius_km = np.broadcast_arrays(*(np.asarray(part, np.float64) for part in (row, col, radius_km)))
    sums = np.empty((6, *row.shape), np.complex128)
    reach = np.ceil(REACH * radius_km.max(axis=1, initial=0)[:, None] / spacing).astype(int) + 1
    sizes = row.shape[1] * np.minimum(2 * reach + 1, cells.shape[1:3]).prod(axis=1)
    for part in batches(sizes, AT_ONCE):
        sums[:, part] = _sums_at(cells, spacing, field[part], row[part], col[part], radius_km[part], reach[part])
    full = [_full_weight(spacing, float(radius)) for radius in radius_km.flat]
    count, basis, square, mean, along, energy = sums
    return _solve(_Sums(count.real, basis, square.real, mean, along, energy.real), np.reshape(full, row.shape))


def batches(sizes: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Indices of items of like size, such that each batch, padded to its largest, holds no more than `most` together
    (or one item)."""
    order = np.argsort(sizes, kind="stable")[::-1]
    while len(order):
        count = max(1, int(most // max(1, sizes[order[0]])))
        yield order[:count]
        order = order[count:]


def _sums_at(cells, spacing, field, row, col, radius_km, reach) -> list[np.ndarray]:
    """The sums (n, m) of `_Sums`, over windows of one size about the places of each field."""
    lines = []
    for axis, places in enumerate((row, col)):
        first = np.maximum(np.floor(places.min(axis=1)).astype(int) - reach[:, axis], 0)
        last = np.minimum(np.ceil(places.max(axis=1)).astype(int) + reach[:, axis], cells.shape[1 + axis] - 1)
        lines.append(first[:, None] + np.arange(max(0, int((last - first).max()) + 1)))
    i, j = (np.minimum(line, n - 1) for line, n in zip(lines, cells.shape[1:3], strict=True))
    index = ((field[:, None] * cells.shape[1] + i) * cells.shape[2])[:, :, None] + j[:, None, :]
    here = np.take(cells.reshape(-1, 4), index, axis=0)
    here[(i != lines[0])[:, :, None] | (j != lines[1])[:, None, :]] = 0
    weights = _weights(lines, row, col, radius_km, spacing)
    rows = np.ascontiguousarray(here.reshape(len(field), 1, -1, 4).swapaxes(-2, -1))  # as BLAS likes them
    one, x, y, square = np.moveaxis(weights @ rows.swapaxes(-2, -1), -2, 0)
    along = x[..., 1] + y[..., 2] + 1j * (x[..., 2] - y[..., 1])
    return [one[..., 0], x[..., 0] + 1j * y[..., 0], square[..., 0], one[..., 1] + 1j * one[..., 2], along, one[..., 3]]


def _weights(lines, row, col, radius_km, spacing) -> np.ndarray:
    """Weights w times 1, T cos(theta), T sin(theta) and T^2 of the cells of windows about places: (n, m, 4, cell)."""
    dy, dx = (
        (line[:, None, :] - place[:, :, None]) * (step / radius_km)[:, :, None]
        for line, place, step in zip(lines, (row, col), spacing, strict=True)
    )
    found = np.empty((*row.shape, 4, dy.shape[-1], dx.shape[-1]))
    one, x, y, square = (found[:, :, k] for k in range(4))
    np.add((dy * dy)[..., :, None], (dx * dx)[..., None, :], out=square)  # r^2
    np.sqrt(square, out=one)
    np.minimum(one, REACH, out=one)
    one *= np.pi / 2 / REACH
    np.cos(one, out=one)
    one *= one
    np.multiply(np.exp((1 - dy * dy) / 2)[..., :, None], np.exp(-dx * dx / 2)[..., None, :], out=y)  # T / r
    np.multiply(one, y, out=x)
    square *= x
    square *= y
    np.multiply(x, dy[..., :, None], out=y)
    x *= dx[..., None, :]
    return found.reshape(*row.shape, 4, -1)


@dataclass(frozen=True, eq=False)
class _Sums:
    """Weighted sums over the known cells about each centre: of 1, of T e^(i theta), of T^2, of the wind, of the wind
    along T e^(i theta), of its square."""

    count: np.ndarray
    basis: np.ndarray
    square: np.ndarray
    wind: np.ndarray
    along: np.ndarray
    energy: np.ndarray


def _solve(sums: _Sums, full: float | np.ndarray) -> Fit:
    """Normal equations of z = mean + b T e^(i theta), two complex unknowns, solved at each centre."""
    with np.errstate(invalid="ignore", divide="ignore"):
        own = sums.square - np.abs(sums.basis) ** 2 / sums.count  # of T e^(i theta) beside a mean
        b = (sums.along - sums.basis.conj() * sums.wind / sums.count) / own
        variance = sums.energy - np.abs(sums.wind) ** 2 / sums.count
        share = b.imag**2 * own / np.maximum(variance, 1e-6 * full)
    unknown = (sums.count < LEAST_COVER * full) | (own < 0.15 * sums.square)
    return Fit(*(np.where(unknown, np.nan, part) for part in (b.imag, b.real, np.clip(share, 0, 1))))


@lru_cache(maxsize=256)
def _full_weight(spacing: tuple[float, float], radius_km: float) -> float:
    ry, rx = (int(np.ceil(REACH * radius_km / d)) for d in spacing)
    y, x = np.arange(-ry, ry + 1)[:, None] * spacing[0], np.arange(-rx, rx + 1)[None, :] * spacing[1]
    return float(weight(np.hypot(x, y) / radius_km).sum())


@lru_cache(maxsize=16)
def _kernels(shape: tuple[int, int], spacing: tuple[float, float], radius_km: float):
    """The box for FFTs and the transforms of w T^2, w and w T e^(-i theta), such that a product correlates."""
    reach = [int(np.ceil(REACH * radius_km / d)) for d in spacing]
    box = tuple(fft.next_fast_len(n + min(k, n)) for n, k in zip(shape, reach, strict=True))
    dy, dx = (
        fft.fftfreq(n, 1 / n)[(slice(None), None) if axis == 0 else (None, slice(None))] * spacing[axis]
        for axis, n in enumerate(box)
    )
    r = np.hypot(dx, dy) / radius_km
    within = weight(r)
    basis = np.exp((1 - r * r) / 2) / radius_km * (dx - 1j * dy)
    # A sum over c + d weighted by k(d) is a convolution with k(-d), whose transform is this one's at -frequency.
    flipped = (
        np.roll(part[::-1, ::-1], (1, 1), (0, 1)) for part in (within * np.abs(basis) ** 2, within, within * basis)
    )
    return box, *(fft.fft2(part.astype(np.complex64)) for part in flipped)
