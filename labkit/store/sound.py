"""Is a file what was written, and are its dates of the calendar of all others? Asked where files are opened.

Three things read as plain numbers and are none: chunks of a Zarr store that are gone (its fill value), values of a
NetCDF file that were never written (the library's own fill value, where the variable names none), and dates of another
calendar.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr
import zarr

from labkit.errors import DataError

ALL_CHUNKS = "all_chunks_written"  # attribute of a store of which every chunk was written, empty ones too
NEVER_WRITTEN = "never_written"  # attribute of an open tree: in words, what of its file was not
_LIMITS = ("valid_range", "valid_min", "valid_max")  # in stored numbers, which decoded and converted values are not
_REAL_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")


def check_sound(path: Path, groups: Mapping[str, xr.Dataset]) -> None:
    """Raises DataError where chunks of one of our Zarr trees are gone, or where times are of another calendar.

    Of a file whose last time was never written the root's attribute `never_written` says how much was not.
    """
    if path.is_dir() and (lost := lost_chunks(path)):
        total = sum(lost.values())
        raise DataError(
            path.name,
            found=f"{total} chunks that were written and are gone, of " + ", ".join(lost),
            expected="all chunks of the run",
            todo="copy or draw it again; what is gone would read as no data",
        )
    for name, dataset in groups.items():
        check_calendars(dataset, f"{path.name}, group {name}" if name else path.name)
    if said := ", ".join(filter(None, (_tail(name, dataset) for name, dataset in groups.items()))):
        groups[""].attrs[NEVER_WRITTEN] = said


def lost_chunks(path: Path) -> dict[str, int]:
    """How many chunks of each array of a Zarr store are gone, where the store says that all were written."""
    store = zarr.open_group(path, mode="r")
    if not store.attrs.get(ALL_CHUNKS):
        return {}
    arrays = {name: array for name, array in store.members(max_depth=None) if isinstance(array, zarr.Array)}
    arrays = {name: array for name, array in arrays.items() if array.ndim}  # a grid mapping holds attributes alone
    lost = {name: _lost(path / name, array) for name, array in arrays.items()}
    return {name: count for name, count in sorted(lost.items()) if count}


def _lost(folder: Path, array: zarr.Array) -> int:
    """Asked file by file: zarr's own count lists every folder, which takes ten times as long."""
    keys = map(array.metadata.encode_chunk_key, np.ndindex(array.cdata_shape))
    return sum(not os.path.exists(f"{folder}/{key}") for key in keys)


def check_calendars(dataset: xr.Dataset, what: str) -> None:
    """Raises DataError where decoded times are of another calendar than the standard one, or out of its range."""
    for name, variable in dataset.variables.items():
        if variable.dtype == object and "calendar" in variable.encoding:
            raise _other_calendar(f"{name} of {what}", str(variable.encoding["calendar"]))


def check_dates(times: np.ndarray, what: str) -> None:
    """As `check_calendars`, of times in memory."""
    if times.dtype == object and times.size and hasattr(times.flat[0], "calendar"):
        raise _other_calendar(what, str(times.flat[0].calendar))


def _tail(group: str, dataset: xr.Dataset) -> str:
    """Of the fields of a group whose last time was never written how many times were not, by one cell of each."""
    said = []
    for name, field in dataset.data_vars.items():
        value = never_written(field.variable)
        if value is None or "time" not in field.dims or field.ndim < 2 or not field.size:
            continue
        cell = field.isel({dim: -1 for dim in field.dims if dim != "time"})
        if _is(cell.isel(time=-1).values, value):
            said.append(f"{name} of the {group} at {int(_is(cell.values, value).sum())} of {cell.sizes['time']} times")
    return ", ".join(said)


def never_written(variable: xr.Variable) -> float | None:
    """What values of a NetCDF variable read as that were never written; None where it names a fill value of its own."""
    told = variable.encoding
    if {"_FillValue", "missing_value"} & set(told) or "dtype" not in told or variable.dtype.kind not in "iuf":
        return None
    raw = np.dtype(told["dtype"])
    fill = netCDF4.default_fillvals.get(raw.str[1:]) if raw.kind in "iuf" and raw.itemsize > 1 else None
    return None if fill is None else fill * told.get("scale_factor", 1.0) + told.get("add_offset", 0.0)


def without_unwritten(dataset: xr.Dataset) -> xr.Dataset:
    """The data set with NaN where a field was never written, lazily where it is."""
    fields = {name: (v, never_written(v.variable)) for name, v in dataset.data_vars.items() if v.ndim > 1}
    told = {n: v.where(~_is(v, value)).astype(v.dtype) for n, (v, value) in fields.items() if value is not None}
    return dataset.assign(told)


def without_invalid(dataset: xr.Dataset) -> xr.Dataset:
    """The data set with NaN, lazily, where its own attributes say that a value is none: outside of `valid_range` or of
    `valid_min` and `valid_max` (CF 2.5.1), or a `missing_value` that was written as text."""
    fields = {name: v for name, v in dataset.data_vars.items() if v.ndim > 1 and v.dtype.kind in "iuf"}
    limits = {name: _valid_limits(v.variable) for name, v in fields.items()}
    told = {}
    for name, (low, high, missing) in limits.items():
        if (low, high, missing) != (None, None, None):
            field = fields[name]
            valid = field == field if missing is None else field != np.asarray(missing, field.dtype)
            valid = valid if low is None else valid & (field >= low)
            valid = valid if high is None else valid & (field <= high)
            told[name] = field.where(valid).drop_attrs().assign_attrs(_without(field.attrs, _LIMITS))
    return dataset.assign(told)


def _valid_limits(variable: xr.Variable) -> tuple[float | None, float | None, float | None]:
    """Lowest and highest valid value and the missing one, as decoded; None where nothing is said.

    Limits of a packed variable are in stored numbers, but for floats beside stored integers (NUG, "valid_range").
    """
    told = {**variable.encoding, **variable.attrs}
    ends = np.atleast_1d(told.get("valid_range", []))
    ends = list(ends) if len(ends) == 2 else [told.get(name) for name in ("valid_min", "valid_max")]
    scale, offset = (float(told.get(name, default)) for name, default in (("scale_factor", 1), ("add_offset", 0)))
    missing = told.get("missing_value")
    low, high = (None if end is None else _decoded(np.asarray(end), told, scale, offset) for end in ends)
    low, high = (high, low) if scale < 0 else (low, high)
    slack = 0.5 * abs(scale) if (scale, offset) != (1, 0) else 0.0
    return (
        None if low is None else low - slack,
        None if high is None else high + slack,
        _number(missing) if isinstance(missing, str) else None,
    )


def _decoded(end: np.ndarray, told: Mapping, scale: float, offset: float) -> float | None:
    if end.dtype.kind not in "iuf" or end.ndim:
        return None
    if end.dtype.kind == "f" and np.dtype(told.get("dtype", end.dtype)).kind in "iu":
        return float(end)
    if str(told.get("_Unsigned", "")) == "true" and end.dtype.kind == "i":
        end = end.view(f"u{end.dtype.itemsize}")
    return float(end) * scale + offset


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _without(attrs: Mapping, names: tuple[str, ...]) -> dict:
    return {name: value for name, value in attrs.items() if name not in names}


def refuse_unwritten(dataset: xr.Dataset, what: str) -> xr.Dataset:
    """The data set, whose fields raise a DataError when values are read that were never written."""
    fields = {name: (v, never_written(v.variable)) for name, v in dataset.data_vars.items() if v.ndim > 1}
    lazy = {n: (v, value) for n, (v, value) in fields.items() if value is not None and v.chunks is not None}
    checked = {
        n: v.copy(data=v.data.map_blocks(partial(_refuse, value, f"{n} of {what}"), dtype=v.dtype))
        for n, (v, value) in lazy.items()
    }
    return dataset.assign(checked)


def _refuse(value: float, what: str, block: np.ndarray) -> np.ndarray:
    if _is(block, value).any():
        raise DataError(
            what,
            found=f"values that were never written ({value:.4g}, the fill value of the NetCDF library)",
            expected="a file that was written to its end",
            todo="write it again, or cut the file to the times that were",
        )
    return block


def _is(values, value: float):
    return abs(values - value) <= 1e-6 * abs(value)


def _other_calendar(what: str, calendar: str) -> DataError:
    beyond = ", outside 1678 to 2262" if calendar in _REAL_CALENDARS else ""
    return DataError(
        what,
        found=f"dates of the {calendar} calendar{beyond}",
        expected="those of the standard calendar, in which seasons, hours and seeds of all data agree",
        todo="convert the file first, such as with xarray: dataset.convert_calendar('standard', align_on='year')",
    )
