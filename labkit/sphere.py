"""Distances and ways on the Earth, taken as a sphere."""

from __future__ import annotations

import numpy as np

EARTH_RADIUS_KM = 6371.0
KM_PER_DEGREE = np.deg2rad(EARTH_RADIUS_KM)


def distance_km(lat, lon, other_lat, other_lon) -> np.ndarray:
    """Great-circle distance of points in degrees (haversine); arrays are broadcast, NaN stays NaN."""
    phi, psi = np.deg2rad(lat), np.deg2rad(other_lat)
    across = np.deg2rad(np.asarray(other_lon, np.float64) - lon)
    half = np.sin((psi - phi) / 2) ** 2 + np.cos(phi) * np.cos(psi) * np.sin(across / 2) ** 2
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(half, 0, 1)))


def wrapped(lon) -> np.ndarray:
    """Longitudes in -180 to 180 degrees; those that are there already stay as they are, to the last bit."""
    lon = np.asarray(lon, np.float64)
    return np.where(np.abs(lon) <= 180, lon, (lon + 180) % 360 - 180)
