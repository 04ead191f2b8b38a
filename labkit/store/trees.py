"""Reading output trees: CorrDiff's NetCDF and our own NetCDF or Zarr, in one uniform, lazy form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import dask.array as da
import netCDF4
import numpy as np
import xarray as xr

from labkit.border import check_store, engine_of, guarded, reading, say
from labkit.errors import DataError
from labkit.variables import lookup

FIELD_DIMS = ("time", "y", "x")
MEMBER_DIMS = ("ensemble", "time", "y", "x")
GROUPS = ("input", "interpolation", "truth", "prediction", "regression", "oracle")
MEMBER_GROUPS = ("prediction", "oracle")

EARTH_RADIUS_KM = 6371.229
_CHUNK_BYTES = 8 * 2**20
_CELLS = "cell number; the true spacing is not in the file"


def group_dims(group: str) -> tuple[str, ...]:
    """Dimensions of every variable of a group, in the order that `open_tree` guarantees."""
    return MEMBER_DIMS if group in MEMBER_GROUPS else FIELD_DIMS


def open_tree(path: str | Path) -> xr.DataTree:
    """Open the output of a generative model, checked and lazy (dask-backed; only metadata are read).

    Reads CorrDiff's NetCDF (groups `input`, `truth`, `prediction`; no units) and our NetCDF or Zarr trees (also
    `interpolation`, `regression`, `oracle`). Whatever the file, the tree has root coordinates `time`, `ensemble`, `x`,
    `y` (km) and 2-D `lat`, `lon` (NaN where unknown); variables (ensemble, time, y, x) in `prediction` and `oracle`,
    (time, y, x) elsewhere, with units and long names where the registry knows them. Truth may be NaN where nothing
    was observed, and is NaN throughout where the file has none, as a forecast's. Raises DataError for anything that
    does not fit.
    """
    path = Path(path)
    groups = _read_groups(path)
    if "prediction" not in groups:
        have = ", ".join(sorted(name for name in groups if name)) or "none"
        raise _error(path, f"groups: {have}", "a group 'prediction'", "open the output of a CorrDiff or labkit run")
    fields = {name: _fields(path, name, groups[name]) for name in GROUPS if name in groups}
    fields.setdefault("truth", {name: _unknown(field) for name, field in fields["prediction"].items()})
    sizes = _common_sizes(path, fields)
    if not set(fields["truth"]) & set(fields["prediction"]):
        raise _error(
            path,
            f"truth with {_names(fields['truth'])} and prediction with {_names(fields['prediction'])}",
            "at least one variable in both",
            "give the same quantity the same name in both groups",
        )
    root = _root(path, groups, sizes)
    token = f"{path.resolve()}-{path.stat().st_mtime_ns}"
    nodes = {name: _chunked(xr.Dataset(variables), f"{token}-{name}") for name, variables in fields.items()}
    tree = xr.DataTree.from_dict({"/": root, **nodes}, name=path.stem)
    tree.set_close(lambda: [dataset.close() for dataset in groups.values()])
    return tree


def _unknown(members: xr.DataArray) -> xr.DataArray:
    """Such a field of no member, NaN everywhere, lazily."""
    one = members.isel(ensemble=0, drop=True)
    nothing = da.full(one.shape, np.nan, dtype=np.float32)
    return xr.DataArray(nothing, dims=one.dims, attrs=one.attrs)


def _error(path: Path, found: str, expected: str, todo: str) -> DataError:
    return DataError(path.name, found=found, expected=expected, todo=todo)


def _names(names) -> str:
    return ", ".join(str(name) for name in names) or "nothing"


def _read_groups(path: Path) -> dict[str, xr.Dataset]:
    """Every group of the file by name without the leading slash; "" is the root.

    Times that were never written, of a run that was stopped, are left out, which is said; so is text where numbers
    belong. What is damaged further on is a DataError when it is read.
    """
    check_store(path, path.name)
    with reading(path.name, path, expected="a whole NetCDF file or Zarr folder"):
        raw = xr.open_groups(path, decode_times=False, decode_timedelta=False, cache=False, **engine_of(path))
        written = _written_times(path, raw)
        groups = {name.strip("/"): guarded(_decoded(dataset, written), path.name) for name, dataset in raw.items()}
    for name, dataset in raw.items():
        groups[name.strip("/")].set_close(dataset.close)
    return groups


def _written_times(path: Path, raw: Mapping[str, xr.Dataset]) -> np.ndarray:
    """Which times have a date, bool (time,); of size 0 where no group has undecoded times."""
    found = [dataset.variables["time"] for dataset in raw.values() if "time" in dataset.variables]
    dated = [time for time in found if time.dims == ("time",) and " since " in str(time.attrs.get("units", ""))]
    if not dated:
        return np.array([], bool)
    values = np.asarray(dated[0].values)
    never = netCDF4.default_fillvals.get(values.dtype.str[1:])
    written = np.isfinite(values) & (values != never)
    if not written.all():
        say(f"{path.name}: {int((~written).sum())} of {len(written)} times were never written and are left out")
    return written


def _decoded(dataset: xr.Dataset, written: np.ndarray) -> xr.Dataset:
    """With `time` as dates, without the times not written, and without text or dates where fields belong."""
    if not written.all() and dataset.sizes.get("time") == len(written):
        dataset = dataset.isel(time=written)
    dates = [n for n, v in dataset.variables.items() if " since " in str(v.attrs.get("units", "")) and n != "time"]
    dataset = dataset.drop_vars(dates)
    decoded = xr.decode_cf(dataset, mask_and_scale=False, decode_coords=False, decode_timedelta=False)
    named = {"time", "ensemble"}
    return decoded.drop_vars([n for n, v in decoded.variables.items() if v.dtype.kind not in "biuf" and n not in named])


def _fields(path: Path, group: str, dataset: xr.Dataset) -> dict[str, xr.DataArray]:
    """The group's variables on the grid, in the guaranteed order, without coordinates."""
    fields = {str(name): variable for name, variable in dataset.data_vars.items() if {"y", "x"} <= set(variable.dims)}
    if not fields:
        raise _error(
            path,
            f"no variable over (y, x) in group {group!r}, but {_names(dataset.variables)}",
            f"variables over {group_dims(group)}",
            "rename the dimensions of the grid to y and x",
        )
    return {name: _ordered(path, group, name, variable) for name, variable in fields.items()}


def _ordered(path: Path, group: str, name: str, variable: xr.DataArray) -> xr.DataArray:
    dims = group_dims(group)
    lacks = set(dims) - set(variable.dims)
    if set(variable.dims) - set(dims) or lacks - {"time"} or (lacks and group != "input"):
        raise _error(
            path,
            f"{group}/{name} over {variable.dims}",
            f"dimensions {dims}",
            "transform the file so that each variable has exactly these dimensions, in any order",
        )
    known = lookup(name)
    variable = variable.reset_coords(drop=True).drop_vars(variable.coords)
    variable.attrs = {k: v for k, v in variable.attrs.items() if k != "coordinates"}
    for attribute, value in (("units", known.units), ("long_name", known.long_name)):
        if value and not variable.attrs.get(attribute):
            variable.attrs[attribute] = value
    return variable


def _common_sizes(path: Path, fields: Mapping[str, Mapping[str, xr.DataArray]]) -> dict[str, int]:
    """Sizes of time, ensemble, y and x, which all groups must share."""
    sizes: dict[str, int] = {}
    for group in ("truth", *fields):
        for name, variable in fields[group].items():
            for dim, size in variable.sizes.items():
                if sizes.setdefault(dim, size) != size:
                    raise _error(
                        path,
                        f"{group}/{name} with {size} along {dim}, where others have {sizes[dim]}",
                        "all groups on the same grid, times and members",
                        "write the groups from the same cases, or regrid them to the truth's grid",
                    )
    empty = [dim for dim, size in sizes.items() if size == 0]
    if empty:
        raise _error(path, f"nothing along {_names(empty)}", "at least one of each", "let the run finish a case first")
    return sizes


def _chunked(dataset: xr.Dataset, token: str) -> xr.Dataset:
    """Dask chunks of whole fields, as many members and times as make some megabytes, in the guaranteed order."""
    field = 4 * dataset.sizes["y"] * dataset.sizes["x"]
    members = min(dataset.sizes.get("ensemble", 1), max(1, _CHUNK_BYTES // field))
    chunks = {"time": max(1, math.floor(_CHUNK_BYTES / (field * members))), "y": -1, "x": -1}
    if "ensemble" in dataset.dims:
        chunks["ensemble"] = members
    time = dataset.sizes.get("time", 1)
    chunked = dataset.chunk({d: n for d, n in chunks.items() if d in dataset.dims}, token=token)
    order = [dim for dim in MEMBER_DIMS if dim in dataset.dims or dim == "time"]
    fixed = {n: v if "time" in v.dims else v.expand_dims(time=time) for n, v in chunked.data_vars.items()}
    return xr.Dataset(fixed).transpose(*order)


def _root(path: Path, groups: Mapping[str, xr.Dataset], sizes: Mapping[str, int]) -> xr.Dataset:
    found = {dim: _coordinate(path, groups, dim, size) for dim, size in sizes.items()}
    lat, lon = (_two_dimensional(groups, name, sizes) for name in ("lat", "lon"))
    coords = {
        "time": found["time"] if found["time"] is not None else np.arange(sizes["time"]),
        "ensemble": found["ensemble"] if found["ensemble"] is not None else np.arange(sizes["ensemble"]),
        "y": _axis_km(found["y"], "y", lat, lon),
        "x": _axis_km(found["x"], "x", lat, lon),
        "lat": (("y", "x"), lat, {"units": "degrees_north", "standard_name": "latitude"}),
        "lon": (("y", "x"), lon, {"units": "degrees_east", "standard_name": "longitude"}),
    }
    root = xr.Dataset(coords=coords, attrs=groups[""].attrs)
    return root.assign(crs=groups[""]["crs"].reset_coords(drop=True)) if "crs" in groups[""] else root


def _coordinate(path: Path, groups: Mapping[str, xr.Dataset], dim: str, size: int) -> xr.Variable | None:
    """The coordinate of a dimension: the root's, else a group's; two that differ are refused."""
    first: xr.Variable | None = None
    for name in ("", *GROUPS):
        if name not in groups or dim not in groups[name].variables:
            continue
        here = groups[name].variables[dim].to_base_variable()
        if here.dims != (dim,):
            continue
        if here.size != size or (first is not None and not np.array_equal(first.values, here.values)):
            raise _error(
                path,
                f"{dim} of group {name or 'root'!r} unlike that of the other groups",
                f"one {dim} for all groups",
                "write the groups from the same cases",
            )
        first = here if first is None else first
    return first


def _two_dimensional(groups: Mapping[str, xr.Dataset], name: str, sizes: Mapping[str, int]) -> np.ndarray:
    """Latitude or longitude (y, x) in degrees, float32; NaN where the file has none."""
    shape = (sizes["y"], sizes["x"])
    for group in ("", *GROUPS):
        if group in groups and name in groups[group].variables:
            variable = groups[group].variables[name]
            if set(variable.dims) <= {"y", "x"} and all(variable.sizes[d] == sizes[d] for d in variable.dims):
                return np.array(variable.set_dims(dict(zip("yx", shape, strict=True))).transpose("y", "x"), np.float32)
    return np.full(shape, np.nan, np.float32)


def _axis_km(found: xr.Variable | None, axis: str, lat: np.ndarray, lon: np.ndarray) -> xr.Variable:
    """Distance along an axis in km: the file's, else from latitude and longitude, else the number of the cell."""
    attrs = {"units": "km", "long_name": f"{axis} on the model grid", "axis": axis.upper()}
    units = "" if found is None else str(found.attrs.get("units", "km"))
    if units in ("km", "kilometer", "kilometre", "kilometers", "kilometres"):
        return xr.Variable(axis, found.values.astype(float), attrs | {"source": "file"})
    if units in ("m", "meter", "metre", "meters", "metres"):
        return xr.Variable(axis, found.values / 1000.0, attrs | {"source": "file, converted from metres"})
    number = np.arange(lat.shape["yx".index(axis)], dtype=float)
    step = signed_spacing_km(lat, lon, axis)
    if np.isfinite(step):
        return xr.Variable(axis, number * step, attrs | {"source": "mean great-circle spacing of lat and lon"})
    return xr.Variable(axis, number, attrs | {"source": _CELLS})


def spacing_known(tree: xr.DataTree) -> bool:
    """Whether the file of a tree said how far apart its cells are; else `x` and `y` count them as if they were 1 km."""
    return not any(tree[axis].attrs.get("source") == _CELLS for axis in ("x", "y"))


def signed_spacing_km(lat: np.ndarray, lon: np.ndarray, axis: str) -> float:
    """Mean great-circle distance between neighbours along "y" or "x", negative where the axis runs south or west.

    lat, lon: (y, x) in degrees. NaN where they are unknown or the axis has a single cell.
    """
    index = "yx".index(axis)
    if lat.shape[index] < 2 or not (np.isfinite(lat).all() and np.isfinite(lon).all()):
        return float("nan")
    lat, lon = np.deg2rad(lat.astype(float)), np.deg2rad(lon.astype(float))
    near, far = (slice(None, -1), slice(1, None))
    if index == 1:
        near, far = (slice(None), near), (slice(None), far)
    dlat = lat[far] - lat[near]
    dlon = (lon[far] - lon[near] + np.pi) % (2 * np.pi) - np.pi
    haversine = np.sin(dlat / 2) ** 2 + np.cos(lat[near]) * np.cos(lat[far]) * np.sin(dlon / 2) ** 2
    distance = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(haversine))
    forward = dlat if axis == "y" else dlon
    return float(distance.mean() * (1 if forward.mean() >= 0 else -1))
