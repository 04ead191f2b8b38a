"""Axes and positions of a user's grid: which dimension is which, which way is north, where the cells lie."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from labkit.data.regrid import block_mean
from labkit.errors import DataError

EARTH_RADIUS_KM = 6371.0
_NAMES = {
    "time": ("time", "valid_time", "Time", "sample", "t"),
    "y": ("y", "south_north", "latitude", "lat", "rlat", "northing", "y_in"),
    "x": ("x", "west_east", "longitude", "lon", "rlon", "easting", "x_in"),
}
_LATITUDES, _LONGITUDES = ("lat", "latitude", "XLAT"), ("lon", "longitude", "XLONG")
_KM = {"km": 1.0, "kilometer": 1.0, "kilometre": 1.0, "m": 1e-3, "meter": 1e-3, "metre": 1e-3, "meters": 1e-3}


def with_our_dims(dataset: xr.Dataset, what: str, renames: Mapping[str, str] | None = None) -> xr.Dataset:
    """The data set with dimensions `time` (where it has one), `y` and `x`, rows from south to north.

    Dimensions are known by common names, or `renames` {theirs: ours} says. Coordinates of a renamed dimension go
    along. Raises DataError where there is no horizontal dimension to be found.
    """
    chosen = dict(renames or {})
    unknown = [name for name in chosen if name not in dataset.dims]
    if unknown:
        raise _no_dimension(what, dataset, unknown)
    for ours, candidates in _NAMES.items():
        found = [name for name in candidates if name in dataset.dims and name not in chosen]
        if ours not in chosen.values() and found:
            chosen[found[0]] = ours
    lacking = [ours for ours in ("y", "x") if ours not in chosen.values()]
    if lacking:
        raise _no_dimension(what, dataset, lacking)
    renamed = dataset.rename_dims({theirs: ours for theirs, ours in chosen.items() if theirs != ours})
    return _northwards(renamed)


def _northwards(dataset: xr.Dataset) -> xr.Dataset:
    found = _first(dataset, _LATITUDES) if _has_positions(dataset) else _first(dataset, ("y",))
    latitude = None if found is None else _still(found)
    if latitude is None or "y" not in latitude.dims:
        return dataset
    ends = latitude.isel(y=[0, -1], **({"x": 0} if "x" in latitude.dims else {})).values
    return dataset.isel(y=slice(None, None, -1)) if ends[1] < ends[0] else dataset


def _has_positions(dataset: xr.Dataset) -> bool:
    return _first(dataset, _LATITUDES) is not None and _first(dataset, _LONGITUDES) is not None


def latitude_longitude(dataset: xr.Dataset) -> tuple[np.ndarray, np.ndarray] | None:
    """Latitude and longitude (y, x) in degrees, or None where the data set has none."""
    if not _has_positions(dataset):
        return None
    lat, lon = (_first(dataset, names) for names in (_LATITUDES, _LONGITUDES))
    lat, lon = xr.broadcast(_still(lat), _still(lon))
    if set(lat.dims) != {"y", "x"}:
        return None
    return lat.transpose("y", "x").values, lon.transpose("y", "x").values


def _still(array: xr.DataArray) -> xr.DataArray:
    """Positions without a time axis; moving grids are refused."""
    array = array.drop_vars(list(array.coords)).variable
    if "time" not in array.dims:
        return xr.DataArray(array)
    first = array.isel(time=0)
    if not np.allclose(array.values, first.values[None], equal_nan=True):
        raise DataError(
            "latitude and longitude",
            found="positions that change with time",
            expected="a grid that stays",
            todo="regrid to a fixed grid or select times of one position",
        )
    return xr.DataArray(first)


def axes_km(dataset: xr.Dataset, spacing_km: float | None, what: str) -> tuple[np.ndarray, np.ndarray]:
    """`y` and `x` of the cell centres in km: from coordinates with a unit of length, from `spacing_km`, or from the
    mean distance between neighbours where there are latitudes and longitudes; else DataError."""
    lengths = [_length_km(dataset, axis) for axis in ("y", "x")]
    if spacing_km is not None:
        return tuple((np.arange(dataset.sizes[axis]) + 0.5) * spacing_km for axis in ("y", "x"))
    if all(length is not None for length in lengths):
        return tuple(lengths)
    points = positions_km(dataset)
    if points is None:
        raise DataError(
            f"grid of the {what}",
            found="neither x and y with a unit of length nor latitude and longitude",
            expected="one of them",
            todo="add coordinates to the file, or give spacing_km",
        )
    steps = [np.linalg.norm(np.diff(points, axis=i), axis=-1).mean() for i in (0, 1)]
    return tuple((np.arange(n) + 0.5) * step for n, step in zip(points.shape, steps, strict=False))


def positions_km(dataset: xr.Dataset) -> np.ndarray | None:
    """Cell centres (y, x, 3) in km as points on the sphere, or in the plane of `x` and `y`; None where neither is."""
    degrees = latitude_longitude(dataset)
    if degrees is not None:
        phi, lam = np.radians(degrees[0]), np.radians(degrees[1])
        unit = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)
        return EARTH_RADIUS_KM * unit.astype(np.float64)
    y, x = (_length_km(dataset, axis) for axis in ("y", "x"))
    if y is None or x is None:
        return None
    return np.stack([*np.meshgrid(y, x, indexing="ij"), np.zeros((len(y), len(x)))], axis=-1)


def covering_cells(coarse: xr.Dataset, fine: xr.Dataset, what: str = "input") -> xr.Dataset:
    """The part of the coarse grid (or of one like the fine) whose cells the fine grid fills.

    Each coarse centre must be the mean of its fine centres to a quarter of the coarse spacing, else DataError. Where
    positions are lacking on a side, or differ in kind, nothing can be checked and the grids are taken as aligned.
    """
    points, inner = positions_km(coarse), positions_km(fine)
    same_kind = (latitude_longitude(coarse) is None) == (latitude_longitude(fine) is None)
    if points is None or inner is None or not same_kind:
        return coarse
    spacing = _spacing(points)
    factor = [max(1, round(spacing[i] / _spacing(inner)[i])) for i in (0, 1)]
    if inner.shape[0] % factor[0] or inner.shape[1] % factor[1]:
        raise _misfit(what, inner, f"a multiple of {factor[0]} x {factor[1]} cells")
    centres = np.moveaxis(block_mean(np.moveaxis(inner, -1, 0), factor), 0, -1)
    corner = np.linalg.norm(points - centres[0, 0], axis=-1)
    y0, x0 = np.unravel_index(np.argmin(corner), corner.shape)
    part = points[y0 : y0 + centres.shape[0], x0 : x0 + centres.shape[1]]
    if part.shape != centres.shape:
        raise _misfit(
            what, inner, f"a grid inside the coarse one, which ends after {part.shape[0]} x {part.shape[1]} cells"
        )
    apart = np.linalg.norm(part - centres, axis=-1).max()
    if apart > 0.25 * min(spacing):
        raise _misfit(
            what, inner, f"centres of coarse cells at most {0.25 * min(spacing):.3g} km away, not {apart:.3g}"
        )
    return coarse.isel(y=slice(y0, y0 + part.shape[0]), x=slice(x0, x0 + part.shape[1]))


def _spacing(points: np.ndarray) -> tuple[float, float]:
    """Median distance of neighbours along (y, x) in km; infinite along an axis of one cell."""
    steps = (np.linalg.norm(np.diff(points, axis=i), axis=-1) for i in (0, 1))
    return tuple(float(np.median(step)) if step.size else float("inf") for step in steps)


def _length_km(dataset: xr.Dataset, axis: str) -> np.ndarray | None:
    if axis not in dataset.coords or dataset[axis].dims != (axis,):
        return None
    scale = _KM.get(str(dataset[axis].attrs.get("units", "")).strip().lower())
    return None if scale is None else dataset[axis].values.astype(np.float64) * scale


def _first(dataset: xr.Dataset, names: tuple[str, ...]) -> xr.DataArray | None:
    return next((dataset[name] for name in names if name in dataset.variables), None)


def _misfit(what: str, inner: np.ndarray, expected: str) -> DataError:
    return DataError(
        f"grids of target and {what}",
        found=f"a target of {inner.shape[0]} x {inner.shape[1]} cells that does not fill cells of the {what}",
        expected=expected,
        todo="crop or regrid one of them so that whole target cells fill each cell of the other",
    )


def _no_dimension(what: str, dataset: xr.Dataset, lacking: list[str]) -> DataError:
    return DataError(
        f"dimensions of the {what}",
        found=", ".join(map(str, dataset.dims)),
        expected=f"one for {' and '.join(lacking)}",
        todo="say which is which with dims={'theirs': 'ours'}",
    )
