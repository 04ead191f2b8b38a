"""A vortex as a least-squares fit: how much of the wind about each point turns around it.

With the wind as a complex number z = u + iv, a vortex at a point is a mean flow plus one coefficient b times a profile
T(r) e^(i theta): Re b flows out, Im b turns. Both follow from sums over the cells about the point, so that a uniform
flow, missing cells and the edge of the grid cost nothing but certainty. The share of the variance about the mean flow
that the turning explains is between 0 and 1: how much of a vortex it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft

REACH = 2.5  # radii out to which a filter looks
LEAST_COVER = 0.2  # share of a filter's weight that must lie on known cells


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
    ny, nx = wind.shape[-2:]
    box, whole, mean, turn = _kernels((ny, nx), spacing, radius_km)
    spectrum = fft.fft2(wind, s=box, axes=(-2, -1))

    def about(spectrum: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        return fft.ifft2(spectrum * kernel, axes=(-2, -1))[..., :ny, :nx]

    there = fft.fft2(known.astype(np.complex64), s=box, axes=(-2, -1))
    squares = fft.fft2((np.abs(wind) ** 2).astype(np.complex64), s=box, axes=(-2, -1))
    sums = _Sums(
        count=about(there, mean).real,
        basis=about(there, turn).conj(),
        square=about(there, whole).real,
        wind=about(spectrum, mean),
        along=about(spectrum, turn),
        energy=about(squares, mean).real,
    )
    full = _full_weight(spacing, radius_km)
    return _solve(sums, full)


def fit_at(wind: np.ndarray, known: np.ndarray, spacing: tuple[float, float], radius_km: float, row, col) -> Fit:
    """The fit at fractional cells row, col (n,) of one complex wind (y, x)."""
    row, col = (np.asarray(part, np.float64).reshape(-1, 1, 1) for part in (row, col))
    reach = [int(np.ceil(REACH * radius_km / d)) + 1 for d in spacing]
    i0, j0 = (max(0, int(np.floor(part.min())) - n) for part, n in zip((row, col), reach, strict=True))
    i1, j1 = (int(np.ceil(part.max())) + n + 1 for part, n in zip((row, col), reach, strict=True))
    wind, known = wind[i0:i1, j0:j1], known[i0:i1, j0:j1]
    dy = (np.arange(i0, i0 + wind.shape[0])[:, None] - row) * spacing[0]
    dx = (np.arange(j0, j0 + wind.shape[1])[None, :] - col) * spacing[1]
    r = np.hypot(dx, dy) / radius_km
    inside = weight(r) * known
    basis = np.exp((1 - r * r) / 2) / radius_km * (dx + 1j * dy)  # T(r) e^(i theta)
    sums = _Sums(
        count=inside.sum((-2, -1)),
        basis=(inside * basis).sum((-2, -1)),
        square=(inside * np.abs(basis) ** 2).sum((-2, -1)),
        wind=(inside * wind).sum((-2, -1)),
        along=(inside * basis.conj() * wind).sum((-2, -1)),
        energy=(inside * np.abs(wind) ** 2).sum((-2, -1)),
    )
    return _solve(sums, _full_weight(spacing, radius_km))


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


def _solve(sums: _Sums, full: float) -> Fit:
    """Normal equations of z = mean + b T e^(i theta), two complex unknowns, solved at each centre."""
    with np.errstate(invalid="ignore", divide="ignore"):
        own = sums.square - np.abs(sums.basis) ** 2 / sums.count  # of T e^(i theta) beside a mean
        b = (sums.along - sums.basis.conj() * sums.wind / sums.count) / own
        variance = sums.energy - np.abs(sums.wind) ** 2 / sums.count
        share = b.imag**2 * own / np.maximum(variance, 1e-6 * full)
    unknown = (sums.count < LEAST_COVER * full) | (own < 0.15 * sums.square)
    return Fit(*(np.where(unknown, np.nan, part) for part in (b.imag, b.real, np.clip(share, 0, 1))))


@lru_cache(maxsize=32)
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
