"""Opening NetCDF and Zarr lazily, their times and groups, and stacking their variables to channels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize

from labkit.border import check_store, engine_of, guarded, reading
from labkit.errors import DataError
from labkit.grid import SPACE
from labkit.store.sound import check_calendars, refuse_unwritten, without_invalid
from labkit.units import check_plausible, in_our_units, parsed
from labkit.variables import canonical

STEPS = ("step", "lead_time", "leadtime", "prediction_timedelta", "forecast_period")
BASES = ("forecast_reference_time", "reference_time", "init_time", "initial_time")
_SINCE = re.compile(r"since\s+(\d{4}-\d{2}-\d{2})[ T_](\d{2}:\d{2}:\d{2})")


def open_lazily(path: str | Path, *, group: str | None = None, chunks: dict | None = None) -> xr.Dataset:
    """A NetCDF file or Zarr store, or one group of it, as dask arrays in the file's own chunks or those given.

    Raises DataError where there is no such file or group, where it cannot be read, and where its dates are of another
    calendar; when they are read, of values that were never written.
    """
    what = f"data file {Path(path).name}" + (f", group {group}" if group else "")
    check_store(path, what)
    expected = "a whole NetCDF4 file or Zarr store" + (f" with a group {group!r}" if group else "")
    with reading(what, path, expected=expected, todo="check that it was written and copied to its end"):
        found = guarded(xr.open_dataset(path, group=group, cache=False, **engine_of(path)), what)
        token = tokenize(str(Path(path).resolve()), Path(path).stat().st_mtime_ns, group)
        lazy = found.assign({n: _chunked(v, chunks or {}, token) for n, v in found.data_vars.items()}).assign_coords(
            {n: _chunked(v, chunks or {}, token) for n, v in found.coords.items() if n not in found.indexes}
        )
    check_calendars(lazy, Path(path).name)
    whole = lazy if Path(path).is_dir() else refuse_unwritten(lazy, Path(path).name)
    valid = without_invalid(whole)
    valid.set_close(found.close)
    return valid


def _chunked(array: xr.DataArray, chunks: dict, token: str) -> xr.DataArray:
    """As dask arrays: the chunks asked for along their dimensions, the file's own along others."""
    own = array.encoding.get("preferred_chunks", {})
    stored = tuple(own.get(dim, size) for dim, size in array.sizes.items())
    wanted = tuple(chunks.get(dim, size) for dim, size in zip(array.dims, stored, strict=True))
    sizes = da.core.normalize_chunks(wanted, array.shape, dtype=array.dtype, previous_chunks=stored)
    return array.chunk(dict(zip(array.dims, sizes, strict=True)), name_prefix="file-", token=f"{array.name}-{token}")


def check_group(path: str | Path, group: str | None, option: str) -> None:
    """DataError that lists what the groups of a file hold, where there is no such group, or none is named and the root
    holds no fields; `option` names one."""
    check_store(path, what := f"data file {Path(path).name}")
    with reading(what, path):
        groups = xr.open_groups(path, decode_times=False, **engine_of(path))
    fields = {name.strip("/"): [str(f) for f in one.data_vars if one[f].ndim > 1] for name, one in groups.items()}
    for one in groups.values():
        one.close()
    held = [f"{name} ({', '.join(names)})" for name, names in fields.items() if name and names]
    if (group or "").strip("/") in fields and (group is not None or fields.get("") or not held):
        return
    raise DataError(
        what,
        found=f"no group {group!r}" if group else f"fields in groups only: {'; '.join(held[:12])}",
        expected=f"one of {'; '.join(held[:12])}" if group else "the name of one group",
        todo=f"choose one by {option}={held[0].split(' (')[0] if held else '...'}",
    )


def times_of(raw: xr.Dataset) -> np.ndarray | None:
    """Times (Time,) of WRF's text `Times`, else of the minutes in `XTIME`; None where it tells neither.

    Raises ValueError for a text that is no time.
    """
    if "Times" in raw.variables:
        texts = [text.decode() if isinstance(text, bytes) else str(text) for text in np.atleast_1d(raw["Times"].values)]
        return np.array([text.strip().removesuffix("Z").replace("_", "T") for text in texts], "datetime64[ns]")
    if "XTIME" not in raw.variables:
        return None
    minutes = raw["XTIME"]
    values = np.atleast_1d(minutes.values)
    if values.dtype.kind == "M":
        return values.astype("datetime64[ns]")
    told = f"{minutes.attrs.get('description', '')} {minutes.attrs.get('units', '')}"
    found = _SINCE.search(told) or _SINCE.search(f"since {raw.attrs.get('SIMULATION_START_DATE', '')}")
    if found is None:
        return None
    past = values if values.dtype.kind == "m" else np.rint(60 * values.astype(float)).astype("timedelta64[s]")
    return np.datetime64(f"{found[1]}T{found[2]}", "ns") + past


def timed(dataset: xr.Dataset, what: str) -> xr.Dataset:
    """With a coordinate `time` of dates, those of validity to the second, that holds each once.

    It is any date along the dimension of times, also of text; a base and the steps from it, as cfgrib gives them; or
    WRF's text `Times`. DataError where there is none, and for several bases with steps of their own.
    """
    dataset = _by_step(dataset, what)
    stamps = _stamps(dataset, what)
    try:
        times = times_of(dataset) if stamps is None else _dates(np.atleast_1d(stamps.values))
    except ValueError:
        times = None
    if "time" not in dataset.dims and times is not None and len(times) == 1:  # the dimension of one time was dropped
        maps = {n: f.expand_dims("time") for n, f in dataset.data_vars.items() if set(SPACE) <= set(f.dims)}
        dataset = dataset.drop_vars("time", errors="ignore").assign(maps)
    if times is None or len(times) != dataset.sizes.get("time"):
        raise DataError(
            f"time of the {what}",
            found=f"dimensions {', '.join(map(str, dataset.dims))} and no date for each step",
            expected="a dimension time with its coordinate, in such as hours since 2000-01-01",
            todo="add the coordinate, or say which dimension is time with dims={'theirs': 'time'}",
        )
    dataset = dataset.assign_coords(time=("time", times, {} if stamps is None else stamps.attrs))
    if dataset.indexes["time"].has_duplicates:
        raise DataError(
            f"time of the {what}",
            found="times that repeat",
            expected="each time once",
            todo="drop the duplicates from the file",
        )
    return dataset


def _by_step(dataset: xr.Dataset, what: str) -> xr.Dataset:
    """With the steps from one base as the dimension `time`, and their dates as `valid_time`."""
    step = next((name for name in STEPS if name in dataset.dims), None)
    if step is None:
        return dataset
    if dataset.sizes.get("time", 1) > 1 and dataset.sizes[step] > 1:
        raise DataError(
            f"time of the {what}",
            found=f"{dataset.sizes['time']} bases with {dataset.sizes[step]} steps each",
            expected="one base, or one step",
            todo=f"choose one, such as dataset.isel(time=0) or dataset.isel({step}=0)",
        )
    if dataset.sizes[step] == 1 and dataset.sizes.get("time", 0) > 1:
        step_of_all = dataset.isel({step: 0})
        return step_of_all if "valid_time" in dataset else step_of_all.assign_coords(_validity(step_of_all, step))
    one = dataset.isel(time=0) if "time" in dataset.dims else dataset
    valid = one["valid_time"] if "valid_time" in one.variables else _validity(one, step).get("valid_time")
    named = one.drop_vars(["time", "valid_time"], errors="ignore").rename_dims({step: "time"})
    return named if valid is None else named.assign_coords(valid_time=("time", np.atleast_1d(valid.values)))


def _validity(dataset: xr.Dataset, step: str) -> dict[str, xr.DataArray]:
    """`valid_time`: a base and the steps from it, durations or numbers with a unit; empty where one is lacking."""
    base = next((dataset[name] for name in ("time", *BASES) if name in dataset.variables), None)
    steps = dataset[step] if step in dataset.variables else None
    if base is None or steps is None or base.dtype.kind != "M":
        return {}
    unit = parsed(str(steps.attrs.get("units", "")))
    if steps.dtype.kind != "m" and (unit is None or not unit.is_convertible("s")):
        return {}
    past = steps if steps.dtype.kind == "m" else (steps * unit.convert(1.0, "s")).round().astype("timedelta64[s]")
    return {"valid_time": base + past}


def _stamps(dataset: xr.Dataset, what: str) -> xr.DataArray | None:
    """The coordinate that tells the time of each step: of validity before one that may be the base."""
    known = [dataset[n] for n in ("valid_time", "time") if n in dataset.variables]
    along = [stamps for stamps in known if stamps.dims == ("time",)]
    scalar = [stamps for stamps in known if stamps.ndim < 2 and stamps.size == 1]
    others = [v for v in dataset.coords.values() if v.dims == ("time",) and v.dtype.kind == "M" and v.name not in BASES]
    bases = [dataset[n] for n in BASES if n in dataset.variables and dataset[n].dims == ("time",)]
    return next(iter([*along, *others[:1], *bases, *scalar]), None)


def _dates(values: np.ndarray) -> np.ndarray:
    """Dates to the nearest second, since fractions of a day or an hour come back with an error; ValueError for none."""
    if values.dtype.kind in "OUS":
        texts = [text.decode() if isinstance(text, bytes) else str(text) for text in values]
        values = np.array([datetime.fromisoformat(text.strip()) for text in texts], object)
        zoned = [one.astimezone(UTC).replace(tzinfo=None) if one.tzinfo else one for one in values]
        values = np.array(zoned, "datetime64[ns]")
    if values.dtype.kind != "M":
        raise ValueError("numbers without a unit")
    half = np.timedelta64(500, "ms")
    return (values.astype("datetime64[ns]") + half).astype("datetime64[s]").astype("datetime64[ns]")


def stack(
    variables: Sequence[xr.DataArray], dims: tuple[str, ...], what: str, *, units: Mapping[str, str] | None = None
) -> xr.DataArray:
    """Variables of the same dimensions as one float32 array with `channel` second to the time, or first without it.

    `dims` are those of the result. `channel` holds the registry's names, `native` along it those of the file; values
    are in `units`, the registry's where it knows the variable (see `labkit.units`, also for the argument `units`), and
    were in `native_units`.
    """
    axis = dims.index("channel")
    named = {str(variable.name): variable for variable in variables}
    check_plausible(named, what, units=units)
    theirs = [str(variable.attrs.get("units", "")) for variable in variables]
    variables = list(in_our_units(named, what, units=units).values())
    data = da.stack([da.asarray(variable.data) for variable in variables], axis=axis).astype(np.float32)
    native = list(named)
    coordinates = {
        "channel": [canonical(name) for name in native],
        "native": ("channel", native),
        "units": ("channel", [str(variable.attrs.get("units", "")) for variable in variables]),
        "native_units": ("channel", theirs),
    }
    # one chunk over all but the time: channels of a sample are always used together
    whole = {i: -1 for i, dim in enumerate(dims) if dim != "time"}
    return xr.DataArray(data.rechunk(whole), dims=dims, coords=coordinates)


def telling_gaps(coarse: xr.DataArray) -> xr.DataArray:
    """The coarse input (time, channel, y, x) with the channel `observed`, the share of the others that a cell has: what
    a network must be told where missing values are set to the mean (the pairs' attribute `missing_input`)."""
    share = coarse.notnull().mean("channel").astype(np.float32).expand_dims(channel=["observed"])
    told = {"native": "observed", "units": "1", "native_units": "1"}
    share = share.assign_coords({name: ("channel", [value]) for name, value in told.items()})
    return xr.concat([coarse, share], "channel").transpose(*coarse.dims).chunk(channel=-1)


def choose(what: str, variables: dict[str, xr.DataArray], names: Sequence[str] | None) -> list[xr.DataArray]:
    """The named variables, by their own or the registry's names, in the order asked for; all where none are named."""
    if names is None:
        return list(variables.values())
    known = {canonical(name): variable for name, variable in variables.items()}
    missing = [name for name in names if name not in variables and canonical(name) not in known]
    if missing:
        raise DataError(
            f"{what} channels",
            found=", ".join(variables) or "none",
            expected=", ".join(missing),
            todo="choose from the channels found",
        )
    return [variables.get(name, known.get(canonical(name))) for name in names]
