"""Small output trees with a known law: what the plots and the explorer are tried on, without any training.

The truth, the oracle's members and the model's members share one large-scale state; truth and oracle are
exchangeable draws of small-scale noise about it, the model's noise is scaled by `spread`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter

VARIABLES = ("t2m", "u10", "v10", "reflectivity")
START = np.datetime64("2021-09-12T00", "ns")


def grid(n: int, dx_km: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Axes x, y in km and (y, x) lat, lon, height in metres of an island in the middle of an n x n grid."""
    axis = (np.arange(n) - (n - 1) / 2) * dx_km
    y, x = np.meshgrid(axis, axis, indexing="ij")
    lat, lon = 23.5 + y / 111.2, 121.0 + x / (111.2 * np.cos(np.deg2rad(23.5)))
    size = n * dx_km
    height = 2800 * np.exp(-((x / (0.13 * size)) ** 2) - (y / (0.26 * size)) ** 2) - 250
    return axis, axis, lat, lon, np.where(height > 0, height, 0.0)


def vortex(hour: int, width_km: float) -> tuple[float, float]:
    """Centre x, y of the vortex in km."""
    return width_km / 2 * (0.9 - 0.09 * hour), -width_km / 2 * (0.5 - 0.04 * hour)


def state(hour: int, n: int, dx_km: float) -> np.ndarray:
    """Large-scale state (t2m, u10, v10, reflectivity) of one hour: a vortex going west, a front going south."""
    axis, _, _, _, height = grid(n, dx_km)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    half = n * dx_km / 2
    centre = vortex(hour, n * dx_km)
    dx, dy = x - centre[0], y - centre[1]
    r = np.hypot(dx, dy) + 1e-6
    radius = 0.16 * half + 12
    speed = 34 * (r / radius) * np.exp(0.5 - 0.5 * (r / radius) ** 2) + 5 * np.exp(-r / half)
    front = np.tanh((y - half * (1.6 - 0.13 * hour) + 0.3 * x) / (0.12 * half))
    t2m = 299.5 - 0.0055 * height - 4.0 * front + 2.0 * np.sin(2 * np.pi * (hour + 2) / 24)
    bands = np.clip(np.cos(3 * np.log(r / 20 + 1) - np.arctan2(dy, dx)), 0, 1) * np.exp(-r / (0.9 * half))
    rain = 52 * bands + 30 * np.exp(-((front / 0.6) ** 2)) * (hour > 6) + height / 140 - 14
    return np.stack([t2m, -speed * dy / r - 3, speed * dx / r - 2 - 2 * front, rain])


def draw(mean: np.ndarray, seed: int, spread: float = 1.0) -> np.ndarray:
    """One draw (channel, y, x): the state with small-scale noise, reflectivity cut at zero."""
    rng = np.random.default_rng(seed)
    noise = gaussian_filter(rng.standard_normal(mean.shape), (0, 1.6, 1.6))
    noise /= noise.std(axis=(1, 2), keepdims=True)
    field = mean + spread * np.array([0.9, 2.4, 2.4, 8.0])[:, None, None] * noise
    field[3] = np.maximum(field[3], 0)
    return field.astype(np.float32)


def coarsened(field: np.ndarray, factor: int = 8) -> np.ndarray:
    """Block means of (channel, y, x) put back on the fine grid, smoothly."""
    *lead, n, _ = field.shape
    blocks = field.reshape(*lead, n // factor, factor, n // factor, factor).mean((-3, -1))
    return gaussian_filter(blocks.repeat(factor, -1).repeat(factor, -2), (0, factor / 2, factor / 2)).astype(np.float32)


def synthetic_tree(
    *, members: int = 16, times: int = 24, n: int = 64, dx_km: float = 4.0, spread: float = 0.8, oracle: bool = True
) -> xr.DataTree:
    """A tree as labkit writes it, with every group."""
    means = [state(24 * t // times, n, dx_km) for t in range(times)]
    truth = np.stack([draw(mean, 10_000 + t) for t, mean in enumerate(means)])
    seeds = [[100_000 + 1000 * m + t for t in range(times)] for m in range(members)]
    x, y, lat, lon, height = grid(n, dx_km)
    coords = {"time": START + np.arange(times) * np.timedelta64(1, "h"), "ensemble": np.arange(members)}
    coords |= {"x": ("x", x, {"units": "km"}), "y": ("y", y, {"units": "km"})}
    coords |= {"lat": (("y", "x"), lat), "lon": (("y", "x"), lon)}
    groups = {
        "truth": truth,
        "prediction": np.array([[draw(means[t], s, spread) for t, s in enumerate(row)] for row in seeds]),
        "regression": np.stack([coarsened(mean, 2) for mean in means]),
        "interpolation": np.stack([coarsened(field) for field in truth]),
    }
    if oracle:
        groups["oracle"] = np.array([[draw(means[t], 10_000_000 + s) for t, s in enumerate(row)] for row in seeds])
    nodes = {"/": xr.Dataset(coords=coords, attrs={"title": "synthetic island"})}
    for name, values in groups.items():
        nodes[f"/{name}"] = _dataset(values)
    fixed = {"orography": height, "land_mask": (height > 0).astype(float)}
    inputs = {k: (("time", "y", "x"), np.broadcast_to(v, (times, n, n)).astype(np.float32)) for k, v in fixed.items()}
    nodes["/input"] = xr.Dataset(inputs)
    return xr.DataTree.from_dict(nodes)


def _dataset(values: np.ndarray) -> xr.Dataset:
    dims = ("time", "y", "x") if values.ndim == 4 else ("ensemble", "time", "y", "x")
    values = np.maximum(values, np.where(np.arange(4) == 3, 0, -np.inf)[:, None, None]).astype(np.float32)
    return xr.Dataset({name: (dims, values[..., i, :, :]) for i, name in enumerate(VARIABLES)})


def write_tree(path: Path, tree: xr.DataTree | None = None, **options) -> Path:
    """Write a synthetic (or the given) tree as NetCDF4."""
    (synthetic_tree(**options) if tree is None else tree).to_netcdf(path)
    return path
