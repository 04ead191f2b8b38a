"""Randomness with random access: any hour of any stream without simulating the hours before it.

Two kinds: hashed normals for the handful of numbers that describe weather systems, and Gaussian random fields that
change smoothly from knot to knot in time. Both depend on their key alone, never on call order or batch.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import fft
from scipy.special import ndtri

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(z: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every input bit reaches every output bit."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def hashed_uniform(*keys) -> np.ndarray:
    """Uniform numbers in (0, 1), one for each broadcast combination of integer keys."""
    with np.errstate(over="ignore"):
        state = np.uint64(0)
        for key in keys:
            word = np.asarray(key, np.int64).astype(np.uint64)
            state = _mix((state ^ word) + _GOLDEN)
        bits = _mix(np.asarray(state) + _GOLDEN)
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def hashed_normal(*keys) -> np.ndarray:
    """Standard normal numbers, one for each broadcast combination of integer keys."""
    return ndtri(hashed_uniform(*keys))


def knots(hours: np.ndarray, spacing: float, offset=0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Knot before each hour and the two weights (cos, sin) of it and its successor.

    The weights' squares sum to one, so a process put together from independent unit normals at the knots has unit
    variance at every time and correlation cos(pi/2 * lag / spacing) between a knot and times up to the next.
    """
    position = (np.asarray(hours, np.float64) + offset) / spacing
    before = np.floor(position).astype(np.int64)
    angle = (position - before) * (np.pi / 2)
    return before, np.cos(angle), np.sin(angle)


def smooth_normal(hours, spacing: float, *keys) -> np.ndarray:
    """Standard normal process in time, shape of `hours` broadcast with `keys`."""
    before, now, then = knots(hours, spacing)
    return now * hashed_normal(*keys, before) + then * hashed_normal(*keys, before + 1)


def padded_shape(shape: tuple[int, int], dx_km: float, outer_km: float) -> tuple[int, int]:
    """Periodic box larger than the grid by more than the outer scale, so that opposite edges are unrelated."""
    margin = int(np.ceil(2.0 * outer_km / dx_km))
    return tuple(fft.next_fast_len(n + margin, real=True) for n in shape)


@lru_cache(maxsize=16)
def wavenumbers(box: tuple[int, int], dx_km: float) -> tuple[np.ndarray, np.ndarray]:
    """Angular wavenumbers (k_y, k_x) in rad/km of the half spectrum of a box."""
    ky = 2 * np.pi * fft.fftfreq(box[0], dx_km)[:, None]
    kx = 2 * np.pi * fft.rfftfreq(box[1], dx_km)[None, :]
    return ky, kx


@lru_cache(maxsize=16)
def white_amplitude(box: tuple[int, int]) -> np.ndarray:
    """Factor that gives unit complex normals on the half spectrum the law of real white noise under `irfft2`.

    Columns k_x = 0 and Nyquist keep only their real part in the inverse transform, hence the extra sqrt(2).
    """
    amplitude = np.full((box[0], box[1] // 2 + 1), np.sqrt(box[0] * box[1] / 2.0), np.float32)
    amplitude[:, 0] *= np.sqrt(2.0)
    if box[1] % 2 == 0:
        amplitude[:, -1] *= np.sqrt(2.0)
    return amplitude


def spectral_noise(seed: int, hour: float, n_fields: int, box: tuple[int, int], spacing_h: float) -> np.ndarray:
    """Half spectra (field, box_y, box_x // 2 + 1), complex64, of independent white noise that changes over
    `spacing_h` hours; equal keys give equal noise whatever else was asked for."""
    (before,), (now,), (then,) = knots(np.array([hour]), spacing_h)
    size = (n_fields, box[0], box[1] // 2 + 1, 2)
    first = _normals(seed, int(before), size)
    first *= np.float32(now)
    if then > 0:
        first += np.float32(then) * _normals(seed, int(before) + 1, size)
    return first.view(np.complex64)[..., 0]


def _normals(seed: int, knot: int, size: tuple[int, ...]) -> np.ndarray:
    key = np.array([seed & (2**64 - 1), knot & (2**64 - 1)], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).standard_normal(size, dtype=np.float32)
