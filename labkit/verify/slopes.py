"""Slopes of smoothed fields on a grid in km: what a front's lines are drawn in."""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr
from scipy import ndimage

from labkit.errors import DataError
from labkit.grid import latitude_longitude
from labkit.sphere import distance_km
from labkit.units import kilometres

FARTHEST_KM = 200.0  # between cells that can tell a front; more is another unit
MAP_SCALE = (0.4, 2.5)  # of x by latitudes and longitudes; a distance off by more is in another unit
KNOWN = 0.97  # share of a smoothed value's weights that must lie on cells that are not missing


def axis_km(field: xr.DataArray | xr.Dataset, axis: str) -> np.ndarray:
    """A coordinate in km, evenly spaced; DataError for another unit than of length, and where km cannot be meant."""
    if axis not in field.coords or field.sizes[axis] < 4:
        found, expected = f"dimensions {dict(field.sizes)} and {list(field.coords)}", "4 or more y and x, in km"
        raise DataError("front", found=found, expected=expected, todo="give the fields x and y in km")
    units = str(field[axis].attrs.get("units", ""))
    scale = kilometres(units) if units else 1.0
    if scale is None:
        raise DataError("front", found=f"{axis} in {units}", expected="km", todo="give the fields x and y in km")
    values = scale * field[axis].values.astype(np.float64)
    apart = np.diff(values)
    if not np.abs(apart - apart.mean()).max() <= 0.01 * abs(apart.mean()):
        raise DataError("front", found=f"uneven {axis}", expected="even spacing", todo="regrid the fields")
    if abs(apart.mean()) > FARTHEST_KM:
        found = f"cells {abs(apart.mean()):g} km apart along {axis}"
        raise DataError("front", found=found, expected=f"{FARTHEST_KM:g} km or less", todo=f"say the units of {axis}")
    return values


def widths_of(field: xr.DataArray, dx: float) -> np.ndarray | float:
    """True km to a km of x (y, 1), on grids of latitudes and longitudes by the cosine of the row's latitude; 1 on maps,
    whose scale differs little, and where latitudes are unknown. DataError where x can be no km by them."""
    degrees = latitude_longitude(field.coords.to_dataset(), "fields of a front")
    if degrees is None or not all(np.isfinite(part).all() for part in degrees):
        return 1.0
    lat, lon = degrees
    parallels = np.ptp(lat, axis=1).max() < 1e-4 and np.ptp(lon, axis=0).max() < 1e-4  # of float32, as trees have them
    if not parallels:
        lat, lon = (part[[len(part) // 2]] for part in degrees)
    rows = distance_km(lat[:, :-1], lon[:, :-1], lat[:, 1:], lon[:, 1:]).mean(axis=1, keepdims=True) / abs(dx)
    if not MAP_SCALE[0] < rows.mean() < MAP_SCALE[1]:
        found = f"x in steps of {abs(dx):g}, where longitudes are {rows.mean() * abs(dx):.3g} km apart"
        raise DataError("front", found=found, expected="x in km", todo="give the fields x and y in km")
    return rows if parallels else 1.0


def smoothed(field: np.ndarray, spacing: tuple[float, float], widths, smooth_km: float) -> np.ndarray:
    """Gaussian mean over the known cells; beyond the border the field goes on as its point reflection, so that a plane
    stays the plane it is."""
    down, across = (
        smooth_km / abs(spacing[0]),
        smooth_km / abs(spacing[1]) / np.broadcast_to(widths, (field.shape[-2], 1)),
    )
    margin = [(0, 0)] * (field.ndim - 2) + [(int(4 * s + 1),) * 2 for s in (down, across.max())]
    inside = tuple(slice(low, -low or None) for low, _ in margin)
    wide = np.pad(field.astype(np.float64), margin, mode="reflect", reflect_type="odd")
    blur = partial(_blurred, down=down, across=np.pad(across[:, 0], margin[-2], mode="edge"))
    known = np.isfinite(wide)
    if known.all():
        return blur(wide)[inside]
    weight = blur(known.astype(np.float64))[inside]
    return np.where(weight > KNOWN, blur(np.where(known, wide, 0))[inside] / np.maximum(weight, KNOWN), np.nan)


def _blurred(field: np.ndarray, down: float, across: np.ndarray) -> np.ndarray:
    """Gaussian mean with standard deviations in cells: `down` the columns, `across` each row (y,)."""
    blur = partial(ndimage.gaussian_filter1d, mode="nearest", truncate=4)
    found = blur(field, down, axis=-2) if down else field
    if np.ptp(across) == 0:
        return blur(found, across[0], axis=-1) if across[0] else found
    return np.stack([blur(found[..., k, :], sigma, axis=-1) for k, sigma in enumerate(across)], axis=-2)


def slopes(field: np.ndarray, spacing: tuple[float, float], widths) -> tuple[np.ndarray, np.ndarray]:
    """d/dx, d/dy in 1 / 100 km."""
    dy, dx = (np.gradient(field, d / 100, axis=axis) for d, axis in zip(spacing, (-2, -1), strict=True))
    return dx / widths, dy
