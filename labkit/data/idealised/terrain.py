"""The island: height, land fraction, and what they do to the flow, on any grid.

The island is a function of position in km (a sum of fixed waves inside an ellipse), so every grid spacing sees the
same island. Everything else here is derived from it once for a grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from labkit.data.idealised.randomness import hashed_uniform

PEAK_KM = 1.7
DIRECTIONS = 8


@dataclass(frozen=True)
class Terrain:
    """Static fields (y, x), float32.

    height_km, land: ground and land fraction; ridge: height above its surroundings of 16 km, in units of 300 m;
    slope_x, slope_y: gradient of the height smoothed over 4 km; coast_x, coast_y: inland direction near the coast;
    shelter: (harmonic, y, x), Fourier series over wind direction of the upwind slope (Winstral and Marks 2002).
    """

    height_km: np.ndarray
    land: np.ndarray
    ridge: np.ndarray
    slope_x: np.ndarray
    slope_y: np.ndarray
    coast_x: np.ndarray
    coast_y: np.ndarray
    shelter: np.ndarray

    def sheltering(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Upwind slope seen by winds (time, y, x), 0 in the open and about 1 in the lee of the main range."""
        speed = np.sqrt(u * u + v * v) + 0.5
        step = (u + 1j * v).astype(np.complex64) / speed
        total, power = np.zeros(u.shape, np.float32), np.ones(u.shape, np.complex64)
        for harmonic in self.shelter:
            total += (harmonic * power).real
            power = power * step
        return np.maximum(total, 0)


def _waves(x, y, seed: int, shortest_km: float, longest_km: float, n: int = 40) -> np.ndarray:
    """Unit-variance sum of fixed plane waves; amplitude grows with wavelength."""
    i = np.arange(n)
    wavelength = shortest_km * (longest_km / shortest_km) ** hashed_uniform(seed, 1, i)
    angle, phase = (2 * np.pi * hashed_uniform(seed, stream, i) for stream in (2, 3))
    amplitude = wavelength / np.sqrt((wavelength**2).sum() / 2)
    total = np.zeros(np.broadcast(x, y).shape)
    for w, a, p, s in zip(wavelength, angle, phase, amplitude, strict=True):
        total += s * np.cos(2 * np.pi / w * (np.cos(a) * x + np.sin(a) * y) + p)
    return total


def island(x_km: np.ndarray, y_km: np.ndarray, dx_km: float, length_km: float, seed: int):
    """Height in km and land fraction (y, x) at positions in km from the centre of an island of a given half length."""
    x, y = np.asarray(x_km)[None, :], np.asarray(y_km)[:, None]
    tilt = np.deg2rad(18.0)
    along, across = x * np.sin(tilt) + y * np.cos(tilt), x * np.cos(tilt) - y * np.sin(tilt)
    width = 0.58 * length_km
    inside = (
        1 - (along / length_km) ** 2 - (across / width) ** 2 + 0.22 * _waves(x, y, seed, 0.2 * length_km, length_km)
    )
    land = np.clip(0.5 + inside * width / (2 * dx_km), 0, 1)
    crest = np.exp(-(((across - 0.15 * width) / (0.7 * width)) ** 2))
    rugged = 0.8 + 0.24 * _waves(x, y, seed + 1, 0.14 * length_km, 0.6 * length_km)
    height = PEAK_KM * np.maximum(inside, 0) ** 0.7 * crest * np.maximum(rugged, 0.05)
    return height.astype(np.float32), land.astype(np.float32)


def build_terrain(x_km: np.ndarray, y_km: np.ndarray, dx_km: float, length_km: float, seed: int) -> Terrain:
    """The island and all that is derived from it on the grid with cell centres x_km, y_km."""
    height, land = island(x_km, y_km, dx_km, length_km, seed)
    smooth = ndimage.gaussian_filter(height, 4.0 / dx_km, mode="nearest")
    slope_y, slope_x = np.gradient(smooth, dx_km)
    coast_y, coast_x = np.gradient(ndimage.gaussian_filter(land, 10.0 / dx_km, mode="nearest"), dx_km)
    ridge = (height - ndimage.gaussian_filter(height, 16.0 / dx_km, mode="nearest")) / 0.3
    fields = (height, land, ridge, slope_x, slope_y, 20 * coast_x, 20 * coast_y)
    return Terrain(*(f.astype(np.float32) for f in fields), shelter=_shelter(height, dx_km))


def _shelter(height: np.ndarray, dx_km: float) -> np.ndarray:
    """Complex Fourier coefficients over wind direction of the steepest upwind slope within 40 km."""
    steps = np.arange(1, max(2, int(40 / dx_km)) + 1, max(1, round(4 / dx_km)))
    angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    seen = []
    for angle in angles:
        upwind = (-np.sin(angle), -np.cos(angle))
        slopes = [_looking(height, upwind, step, dx_km) for step in steps]
        steepest = np.maximum(np.max(slopes, axis=0), 0)
        seen.append(ndimage.gaussian_filter(steepest, 4.0 / dx_km, mode="nearest"))
    spectrum = np.fft.rfft(np.stack(seen), axis=0)[: DIRECTIONS // 2] / DIRECTIONS
    spectrum[1:] *= 2
    return (spectrum / 0.12).astype(np.complex64)


def _looking(height: np.ndarray, direction: tuple[float, float], step: int, dx_km: float) -> np.ndarray:
    """Slope from each cell to the ground `step` cells away along (dy, dx); the sea lies beyond the border."""
    there = ndimage.shift(height, [-step * d for d in direction], order=1, mode="nearest")
    return (there - height) / (step * dx_km)
