"""Ensembles in GRIB, through cfgrib (the extra `grib`), and as a tree that the explorer opens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from labkit.border import existing
from labkit.data.latlon import PRESSURE_LEVELS, Box, by_pressure, laid_out, pick
from labkit.errors import DataError
from labkit.variables import canonical

PADDING = 512  # bytes; archives fill their records up with zeros after a message


def open_grib(path: str | Path, *, variables: Sequence[str] | None = None, box: Box | None = None) -> xr.Dataset:
    """Fields (ensemble, time, y, x) of a GRIB file, lazily, float32, in the registry's names and units.

    `ensemble` is the number of the member, the control 0; `time` that of validity, `lead_time` (time) since the base.
    Fields on pressure levels become `z850` and so on. Accumulated rain becomes mm/h since the step before. Rows run
    from south to north; `lat`, `lon` (y, x), longitudes in -180 to 180. Where the file lacks a variable that it has at
    another time or of another member, it is NaN; `variables`, by either name, opens only those. `box` (west, south,
    east, north) in degrees. No index is written beside the file. Raises DataError where cfgrib or the ecCodes library
    is lacking, for files that are not GRIB, and for several bases with several steps each.
    """
    what = f"GRIB file {Path(path).name}"
    parts: dict[tuple[str, str], list[xr.DataArray]] = {}
    for dataset in _messages(Path(path), what):
        for theirs, field in dataset.data_vars.items():
            name = _name(str(theirs), field)
            parts.setdefault((name, field.attrs["GRIB_typeOfLevel"]), []).append(_at_valid_time(field, what))
    fields: dict[str, xr.DataArray] = {}
    for (name, level), members in parts.items():
        whole = members[0] if len(members) == 1 else xr.concat(members, "number", join="outer", coords="minimal")
        fields |= _by_level(name, _rate(whole.sortby(["number", "time"])), level)
    chosen = pick(fields, variables, what)
    shared = xr.merge([field.rename(name) for name, field in chosen.items()], join="outer", compat="no_conflicts")
    found = laid_out({name: shared[name] for name in chosen}, what, box=box).rename(number="ensemble")
    return found.transpose("ensemble", "time", "y", "x").assign_attrs(source=Path(path).name)


def forecast_tree(ensemble: xr.Dataset, truth: xr.Dataset | None = None) -> xr.DataTree:
    """An output tree of fields (ensemble, time, y, x): `prediction`, and `truth` (time, y, x), NaN where it is None.

    Written by `tree.to_netcdf(path)`, the apps open it as they open a model's.
    """
    if truth is None:
        truth = ensemble.isel(ensemble=0, drop=True).map(lambda field: xr.full_like(field, np.nan))
    root = ensemble.coords.to_dataset()
    groups = {"prediction": ensemble, "truth": truth}
    nodes = {f"/{name}": group.drop_vars(list(group.coords)).drop_attrs(deep=False) for name, group in groups.items()}
    return xr.DataTree.from_dict({"/": root.assign_attrs(ensemble.attrs), **nodes})


def _messages(path: Path, what: str) -> list[xr.Dataset]:
    """One data set for each hypercube of a variable, with all its dimensions."""
    if not path.is_file():
        raise DataError(what, found="no such file", expected="a GRIB file", todo="check the path")
    try:
        from cfgrib.xarray_store import open_variable_datasets
        from eccodes import CodesInternalError
    except (ImportError, RuntimeError) as error:  # RuntimeError: cfgrib is there, the ecCodes library is not
        expected, todo = "cfgrib with ecCodes, the extra `grib`", 'pip install "labkit[grib]"'
        raise DataError(what, found=f"no reader ({error})", expected=expected, todo=todo) from error
    if not _ends_whole(path):  # cfgrib leaves out a last message that is cut short, and says nothing
        raise DataError(what, found="a cut end", expected="the 7777 that ends GRIB", todo="copy the whole file")
    options = {"indexpath": "", "squeeze": False, "errors": "raise"}
    try:
        found = open_variable_datasets(str(path), backend_kwargs=options, chunks={"number": 1, "step": 1})
    except (EOFError, OSError, ValueError, KeyError, CodesInternalError) as error:
        found = f"something that does not open ({type(error).__name__}: {error})"
        raise DataError(what, found=found, expected="whole GRIB messages", todo="check where it is from") from error
    if not found:
        raise DataError(what, found="no messages", expected="at least one", todo="check that it is GRIB")
    return found


def _ends_whole(path: Path) -> bool:
    with existing(path, f"GRIB file {path.name}").open("rb") as file:
        file.seek(max(0, path.stat().st_size - PADDING))
        return file.read().rstrip(b"\0\n").endswith(b"7777")


def _name(theirs: str, field: xr.DataArray) -> str:
    """The registry's name by ecCodes' short name or by cfgrib's, which differ between versions."""
    short = str(field.attrs.get("GRIB_shortName", theirs))
    return canonical(short) if canonical(short) != short else canonical(theirs)


def _at_valid_time(field: xr.DataArray, what: str) -> xr.DataArray:
    """Over `number` and `time`, that of validity, with `lead_time` (time)."""
    if field.sizes["time"] > 1 and field.sizes["step"] > 1:
        raise DataError(
            f"{field.name} of the {what}",
            found=f"{field.sizes['time']} bases of {field.sizes['step']} steps each",
            expected="one base, or one step",
            todo="split the file by base (grib_copy 'file' '[date][time].grib')",
        )
    axis, other = ("step", "time") if field.sizes["time"] == 1 else ("time", "step")
    base, step = np.broadcast_arrays(field["time"].values, field["step"].values)
    field = field.isel({other: 0}, drop=True).drop_vars([axis, "valid_time"])
    field = field.rename({axis: "time"}) if axis != "time" else field
    return field.assign_coords(time=base + step, lead_time=("time", step))


def _by_level(name: str, field: xr.DataArray, level: str) -> dict[str, xr.DataArray]:
    if level in PRESSURE_LEVELS or level not in field.dims:
        return by_pressure(name, field)
    each = {value: field.isel({level: i}, drop=True) for i, value in enumerate(field[level].values)}
    return {name: each.popitem()[1]} if len(each) == 1 else {f"{name}_{value:g}": one for value, one in each.items()}


def _rate(field: xr.DataArray) -> xr.DataArray:
    """mm/h since the step before, of metres or kg m-2 accumulated since the base; anything else as it is."""
    if field.attrs.get("GRIB_stepType") != "accum" or field.attrs.get("units") not in ("m", "kg m**-2"):
        return field
    lead = field.lead_time.values / np.timedelta64(1, "h")
    base = field.time.values - field.lead_time.values
    # nothing had fallen at the base, from where each forecast counts
    follows = np.concatenate([[False], base[1:] == base[:-1]])
    hours = lead - np.where(follows, np.roll(lead, 1), 0)
    before = field.shift(time=1, fill_value=0).where(xr.DataArray(follows, dims="time"), 0)
    to_mm = 1000 if field.attrs["units"] == "m" else 1
    rate = to_mm * (field - before).clip(min=0) / xr.DataArray(np.where(hours > 0, hours, np.nan), dims="time")
    return rate.assign_attrs(field.attrs | {"units": "mm h-1"})
