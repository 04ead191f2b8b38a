"""Reading output trees: CorrDiff's NetCDF and our own NetCDF or Zarr, in one uniform, lazy form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import dask.array as da
import netCDF4
import numpy as np
import xarray as xr

from labkit import grid
from labkit.border import check_store, engine_of, existing, guarded, reading, say
from labkit.errors import DataError, LabError
from labkit.grid import (
    LATITUDES,
    LONGITUDES,
    SPACE,
    TIMES,
    coordinates,
    spacing_known,
    with_common_dims,
    with_members,
)
from labkit.store.places import in_one_order
from labkit.store.sound import NEVER_WRITTEN, check_sound, without_invalid, without_unwritten
from labkit.units import check_plausible, check_told, in_our_units, possible
from labkit.variables import canonical, lookup

__all__ = ["GROUPS", "MEMBER_GROUPS", "group_dims", "open_tree", "spacing_known"]

FIELD_DIMS = ("time", "y", "x")
MEMBER_DIMS = ("ensemble", "time", "y", "x")
GROUPS = ("input", "interpolation", "truth", "prediction", "regression", "oracle")
MEMBER_GROUPS = ("prediction", "oracle")

_ASSUMED = "units taken for granted"
_CHUNK_BYTES = 8 * 2**20


def group_dims(group: str) -> tuple[str, ...]:
    """Dimensions of every variable of a group, in the order that `open_tree` guarantees."""
    return MEMBER_DIMS if group in MEMBER_GROUPS else FIELD_DIMS


def open_tree(
    path: str | Path,
    *,
    units: Mapping[str, str] | None = None,
    spacing_km: float | tuple[float, float] | None = None,
) -> xr.DataTree:
    """Open the output of a generative model, checked and lazy (dask-backed).

    Reads CorrDiff's NetCDF (groups `input`, `truth`, `prediction`; no units) and our NetCDF or Zarr trees (also
    `interpolation`, `regression`, `oracle`). Whatever the file, the tree has root coordinates `time`, `ensemble`, `x`,
    `y` (km; see `labkit.grid`) and 2-D `lat`, `lon` (NaN where unknown), rows from south to north and columns from west
    to east; variables (ensemble, time, y, x) in `prediction` and `oracle`, (time, y, x) elsewhere, in the registry's
    units, of unknown variables in the truth's. Only metadata are read, and one field of a variable without units, to
    see whether it can be in the registry's (`labkit.units`). Truth may be NaN where nothing was observed, and is NaN
    throughout where the file has none, as a forecast's.
    units, spacing_km: what the file does not say: {name: unit}, one or (dy, dx). Raises DataError for anything that
    does not fit.
    """
    path = Path(path)
    groups = _read_groups(path)
    try:
        tree = _tree_of(path, groups, dict(units or {}), spacing_km)
    except LabError:
        _close(groups)
        raise
    tree.set_close(lambda: _close(groups))
    return tree


def _close(groups: Mapping[str, xr.Dataset]) -> None:
    for dataset in groups.values():
        dataset.close()


def _tree_of(path: Path, groups: Mapping[str, xr.Dataset], told: dict[str, str], spacing_km) -> xr.DataTree:
    check_sound(path, groups)
    if "prediction" not in groups:
        have = ", ".join(sorted(name for name in groups if name)) or "none"
        todo = f"open the output of a CorrDiff or labkit run, or make a forecast one: {_conversion(path)}"
        raise _error(path, f"groups: {have}", "a group 'prediction'", todo)
    groups = {name: with_common_dims(with_members(dataset)) for name, dataset in groups.items()}
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
    check_told(told, sorted({str(name) for found in fields.values() for name in found}), path.name)
    for name, found in fields.items():
        check_plausible(found, f"{name} of {path.name}", units=told)
    place, orders = in_one_order(path, groups, ["", *(name for name in fields if name in groups)], sizes)
    root = _root(groups[""], sizes, place, coordinates(place, path.name, spacing_km=spacing_km))
    token = f"{path.resolve()}-{path.stat().st_mtime_ns}"
    nodes = {
        name: _chunked(xr.Dataset(found), f"{token}-{name}").isel(orders.get(name, orders[""]))
        for name, found in fields.items()
    }
    others = _units_of_others(nodes, told)
    if silent := _without_units(nodes, told, others):
        root.attrs |= {_ASSUMED: ", ".join(silent)}
    return xr.DataTree.from_dict({"/": root, **_in_our_units(path, nodes, told, others)}, name=path.stem)


def in_memory(tree: xr.DataTree, *, most_mb: float = 256.0) -> xr.DataTree:
    """The tree, read at once where it is small: in memory it is worked through four times as fast as chunk by chunk."""
    return tree.load() if sum(node.dataset.nbytes for node in tree.subtree) <= most_mb * 2**20 else tree


def is_grib(path: Path) -> bool:
    """Whether a file begins as GRIB does, perhaps after the header of a telegram."""
    with path.open("rb") as file:
        return b"GRIB" in file.read(128)


def cautions(tree: xr.DataTree) -> list[str]:
    """What has to be known before numbers are read off this file, a sentence each."""
    missing = tree.attrs.get(NEVER_WRITTEN)
    return grid.cautions(tree) + ([f"Never written, so that it takes no part: {missing}."] if missing else [])


def units_assumed(tree: xr.DataTree) -> str:
    """The sentence that says which units were taken because the file names none; "" where it names all."""
    units = str(tree.attrs.get(_ASSUMED, ""))
    return f"The file has no units: taken for {units}; say others (--units NAME=UNIT)." if units else ""


def _units_of_others(nodes: Mapping[str, xr.Dataset], told: Mapping[str, str]) -> dict[str, str]:
    """The unit that the truth, or whichever group says one, has of each variable."""
    others: dict[str, str] = {}
    for group in ("truth", "prediction", *GROUPS):
        for name, field in nodes[group].data_vars.items() if group in nodes else ():
            if field.attrs.get("units"):
                others.setdefault(str(name), told.get(str(name), str(field.attrs["units"])))
    return others


def _in_our_units(
    path: Path, nodes: Mapping[str, xr.Dataset], told: Mapping[str, str], others: Mapping[str, str]
) -> dict[str, xr.Dataset]:
    """Every group in the registry's units; what the registry does not know in those of the truth, or whoever says."""
    found = {
        group: node.assign(in_our_units(node.data_vars, f"{group} of {path.name}", units=told, otherwise=others))
        for group, node in nodes.items()
    }
    # what a model makes may be as wild as it likes, and is scored so
    return found | {"truth": found["truth"].assign(possible(found["truth"].data_vars, f"truth of {path.name}"))}


def _without_units(nodes: Mapping[str, xr.Dataset], told: Mapping[str, str], others: Mapping[str, str]) -> list[str]:
    """Variables with the unit that is taken, the registry's or another group's, where neither file nor user say it."""
    said = {canonical(name) for name in told}
    silent = [name for node in nodes.values() for name, field in node.data_vars.items() if not field.attrs.get("units")]
    taken = {str(name): lookup(str(name), units=others.get(str(name), "")).units for name in silent}
    return [f"{name} {unit}" for name, unit in taken.items() if unit not in ("", "1") and canonical(name) not in said]


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
    if existing(path, path.name, folder=True).is_file() and is_grib(path):
        raise _error(path, "GRIB", "an output tree", f"make it one first: {_conversion(path)}")
    check_store(path, path.name)
    with reading(path.name, path, expected="a whole NetCDF file or Zarr folder"):
        raw = xr.open_groups(path, decode_times=False, decode_timedelta=False, cache=False, **engine_of(path))
        raw = {name: _with_time(dataset) for name, dataset in raw.items()}
        written = _written_times(path, raw)
        groups = {name.strip("/"): guarded(_decoded(dataset, written), path.name) for name, dataset in raw.items()}
    for name, dataset in raw.items():
        groups[name.strip("/")].set_close(dataset.close)
    return groups


def _with_time(dataset: xr.Dataset) -> xr.Dataset:
    """With the dimension of times and its coordinate called `time`, by whichever of the common names."""
    theirs = next((name for name in TIMES if name in dataset.dims), "time")
    return dataset if theirs == "time" or "time" in dataset.variables else dataset.rename({theirs: "time"})


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


def _conversion(path: Path) -> str:
    return f"labkit convert {path.name} {path.stem}_tree.nc"


def _fields(path: Path, group: str, dataset: xr.Dataset) -> dict[str, xr.DataArray]:
    """The group's variables on the grid, in the guaranteed order, without coordinates."""
    placed = {str(name): variable for name, variable in dataset.data_vars.items() if set(SPACE) <= set(variable.dims)}
    fields = {name: v for name, v in placed.items() if name not in (*LATITUDES, *LONGITUDES)}
    if not fields:
        raise _error(
            path,
            f"no variable over (y, x) in group {group!r}, but "
            + _names(f"{name} {variable.dims}" for name, variable in dataset.variables.items()),
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
    variable = variable.drop_vars(list(variable.coords))
    variable.attrs = {"long_name": lookup(name).long_name} | {
        k: v for k, v in variable.attrs.items() if k != "coordinates" and np.size(v) and str(v)
    }
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
    chunked = without_invalid(without_unwritten(chunked))
    order = [dim for dim in MEMBER_DIMS if dim in dataset.dims or dim == "time"]
    fixed = {n: v if "time" in v.dims else v.expand_dims(time=time) for n, v in chunked.data_vars.items()}
    return xr.Dataset(fixed).transpose(*order)


def _root(root: xr.Dataset, sizes: Mapping[str, int], told: xr.Dataset, place: Mapping) -> xr.Dataset:
    found = {dim: told.variables.get(dim) for dim in ("time", "ensemble")}
    coords = {dim: np.arange(sizes[dim]) if values is None else values for dim, values in found.items()}
    made = xr.Dataset(coords=coords | dict(place), attrs=root.attrs)
    return made.assign(crs=root["crs"].reset_coords(drop=True)) if "crs" in root else made
