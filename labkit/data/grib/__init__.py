"""Forecasts, ensembles and analyses in GRIB, through ecCodes (the extra `grib`), and as a tree that the apps open."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import xarray as xr

from labkit.data.grib.messages import Message, alike, cells, read_messages, values
from labkit.data.intervals import (
    is_amount,
    is_precipitation,
    millimetres,
    rates_between,
    shortest,
    starts_as_told,
    unknown_interval,
)
from labkit.data.latlon import Box, laid_out, pick
from labkit.errors import DataError
from labkit.units import check_told, parsed
from labkit.variables import at_pressure, canonical

SECOND = np.timedelta64(1, "s")
PRESSURE = ("isobaricInhPa", "isobaricInPa")
_AVERAGED = ("avg", "avgd")


def open_grib(
    paths: str | Path | Sequence[str | Path],
    *,
    variables: Sequence[str] | None = None,
    box: Box | None = None,
    accumulated: Mapping[str, float | str] | None = None,
    base: str | None = None,
    lagged: bool = False,
) -> xr.Dataset:
    """Fields (ensemble, time, y, x) of GRIB files, lazily, float32, in the registry's names and units.

    `ensemble` is the number of the member, the control 0, a deterministic forecast the only one; members without a
    number, one a file, are counted in the order of the files. `time` is that of validity, `lead_time` (time) since the
    base. Fields on pressure levels become `z850` and so on, those of several other levels `t_2`. Rain that was
    accumulated or averaged is mm/h within the shortest interval that the file tells of, whatever it counts from.
    `accumulated` {name: hours, or since the "start" of the forecast or the "day"} says it where the file does not.
    Rows run from south to north; `lat`, `lon` (y, x), longitudes in -180 to 180. Where the files lack a variable that
    they have at another time or of another member, it is NaN; `variables`, by either name, opens only those. `box`
    (west, south, east, north) in degrees. Of several bases for one time `base` takes one, `lagged` all as members.
    Raises DataError where ecCodes is lacking, for files that are not whole GRIB, fields that are not on rows and
    columns, two that claim to be the same, and rain that fell within an unknown time or is negative.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    what = f"GRIB file {Path(paths[0]).name}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
    messages = _of_base([one for path in paths for one in read_messages(path)], base, what)
    groups = pick(_named(messages), variables, what)
    if not groups:
        raise DataError(what, found="no variables", expected="at least one", todo="name the files that have some")
    place, attrs = _place(groups, what)
    told = {canonical(name): value for name, value in (accumulated or {}).items()}
    check_told(told, groups, what, said="accumulated")
    fields = {name: _field(name, _members(group, lagged, what), told, what) for name, group in groups.items()}
    found = laid_out(_joined(fields, place), what, box=box).rename(number="ensemble")
    source = Path(paths[0]).name if len(paths) == 1 else f"{Path(paths[0]).name} and {len(paths) - 1} more"
    leads = _leads([one for group in groups.values() for one in group])
    found = found.assign_coords(leads.sel(time=found.time).coords) if leads is not None else found
    return found.transpose("ensemble", "time", "y", "x").assign_attrs(source=source, **attrs)


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


def _of_base(messages: list[Message], base: str | None, what: str) -> list[Message]:
    bases = sorted({one.base for one in messages})
    if base is None:
        return messages
    chosen = [one for one in messages if one.base == np.datetime64(base)]
    if not chosen:
        found = ", ".join(str(one)[:16] for one in bases)
        raise DataError(f"base of the {what}", found=found, expected=base, todo="choose one of these")
    return chosen


def _named(messages: Iterable[Message]) -> dict[str, list[Message]]:
    """Fields by variable: levels, and ways to look at an interval (mean, maximum), have names of their own."""
    parts: dict[str, dict[tuple[str, str], list[Message]]] = defaultdict(lambda: defaultdict(list))
    for one in messages:
        parts[one.name][one.level_type in PRESSURE or one.level_type, one.step_type].append(one)
    found: dict[str, list[Message]] = defaultdict(list)
    for name, kinds in parts.items():
        others = {level for level, _ in kinds if level is not True}
        for (level, step), group in kinds.items():
            steps = {s for other, s in kinds if other == level}
            first = next((s for s in ("accum", "instant") if s in steps), min(steps))
            suffix = "" if step == first else f"_{step}"
            where = f"_{level}" if len(others) > 1 and level is not True else ""
            heights = {one.level for one in group}
            for one in group:
                height = _height(one, level is True, len(heights) > 1)
                placed = at_pressure(name, height) if level is True else f"{name}{where}{height}"
                found[placed + suffix].append(one)
    return dict(found)


def _height(one: Message, pressure: bool, several: bool) -> str | float:
    """Pressure in hPa, else the level as a part of a name, where there are several."""
    if pressure:
        return one.level / (100 if one.level_type == "isobaricInPa" else 1)
    return f"_{one.level:g}" if several else ""


def _members(group: list[Message], lagged: bool, what: str) -> list[Message]:
    """The fields with a number each; DataError where two that differ claim the same place."""
    if lagged:
        order = sorted({(one.base, one.number or 0) for one in group})
        group = [replace(one, number=order.index((one.base, one.number or 0))) for one in group]
    kept: dict[tuple, Message] = {}
    for one in group:
        other = kept.setdefault(_key(one), one)
        if other is not one and not alike(other, one):
            return _by_file(group, other, one, what)
    return list(kept.values())


def _key(one: Message, *, numbered: bool = True) -> tuple:
    return (one.base, one.start, one.end, (one.number or 0) if numbered else str(one.path))


def _by_file(group: list[Message], first: Message, second: Message, what: str) -> list[Message]:
    """Each file a member, where none says which it is."""
    paths = list(dict.fromkeys(one.path for one in group))
    alike = {one.number for one in group}
    if len(alike) > 1 or len({_key(one, numbered=False) for one in group}) < len(group):
        raise DataError(
            f"{first.name} of the {what}",
            found=f"two fields of {str(first.time)[:16]}, member {first.number or 0}, that differ",
            expected="one",
            todo=f"open them apart; they are in {first.path.name} and {second.path.name}",
        )
    return [replace(one, number=paths.index(one.path)) for one in group]


def _field(name: str, group: list[Message], told: Mapping, what: str) -> xr.DataArray:
    """One variable over (number, time, y, x), NaN where there is no field."""
    numbers = sorted({one.number or 0 for one in group})
    found: dict[tuple, da.Array] = {}
    units = group[0].units
    for number in numbers:
        for base in sorted({one.base for one in group}):
            chosen = [one for one in group if (one.number or 0) == number and one.base == base]
            for time, field in _series(name, chosen, told, what) if chosen else ():
                if found.setdefault((number, time), field) is not field:
                    raise _two_bases(name, group, time, what)
    if _is_rain(name, group[0], told):
        units = "mm h-1" if millimetres(units) is not None else units
    times = sorted({time for _, time in found})
    some = next(iter(found.values()))
    nothing = da.full(some.shape, np.nan, dtype=np.float32)
    stacked = da.stack([da.stack([found.get((number, time), nothing) for time in times]) for number in numbers])
    coords = {"number": numbers, "time": np.array(times, "datetime64[ns]")}
    return xr.DataArray(stacked, coords, ("number", "time", "y", "x"), attrs={"units": units})


def _two_bases(name: str, group: list[Message], time, what: str) -> DataError:
    bases = sorted({str(one.base)[:16] for one in group})
    return DataError(
        f"{name} of the {what}",
        found=f"{len(bases)} bases ({', '.join(bases[:4])}) with a field of {str(np.datetime64(time))[:16]} each",
        expected="one field for each time",
        todo=f"choose one with base='{bases[-1]}', or take all as members with lagged=True",
    )


def _series(name: str, group: list[Message], told: Mapping, what: str) -> list[tuple[np.datetime64, da.Array]]:
    """Time of validity and field (y, x) of one member of one forecast; rain as the rate of its shortest interval."""
    starts, ends = (np.array([getattr(one, end) for one in group]) * SECOND for end in ("start", "end"))
    if not _is_rain(name, group[0], told):
        return [(group[i].time, _lazily(group[i])) for i, _, _ in shortest(starts, ends)]
    times = group[0].base + ends
    starts = _starts(name, group, told, what)
    amounts = da.stack([_lazily(one) for one in group])
    scale = millimetres(group[0].units)
    if scale is None:  # means of a rate: as amounts in their unit times hours
        hours = (times - starts) / np.timedelta64(1, "h")
        amounts, noise = amounts * hours[:, None, None].astype(np.float32), 0.0
    else:
        amounts, noise = amounts * np.float32(scale), 2 * scale * max(one.noise for one in group)
    rates, stamps = rates_between(amounts, starts, times, what=f"{name} of the {what}", noise=noise)
    return list(zip(stamps, rates, strict=True))


def _is_rain(name: str, one: Message, told: Mapping) -> bool:
    """Whether it has to be taken apart: an amount of water that fell, or the mean of a rate of it."""
    if canonical(name) in told:
        return True
    averaged = one.step_type in _AVERAGED and one.start < one.end and is_precipitation(name)
    return is_amount(name, one.units) or averaged


def _starts(name: str, group: list[Message], told: Mapping, what: str) -> np.ndarray:
    """Starts of the intervals as times: told, of the file, or of ECMWF, whose old files leave it out."""
    base, ends = group[0].base, np.array([one.time for one in group])
    if canonical(name) in told and millimetres(group[0].units) is not None:
        return starts_as_told(name, told[canonical(name)], ends, base, what)
    if parsed(group[0].units) is None or (millimetres(group[0].units) and group[0].step_type in _AVERAGED):
        raise unknown_interval(name, what)
    if "mnth" in group[0].origin[2] or group[0].origin[2].startswith(("mo", "edm")):  # of a day, the mean of a month
        raise unknown_interval(name, what)
    if any(one.start < one.end for one in group) or all(one.end == 0 for one in group):
        return np.array([base + one.start * SECOND for one in group])
    centre, kind, stream = group[0].origin
    if centre != "ecmf" or not kind:
        raise unknown_interval(name, what)
    since = {"enda": 3, "oper": 1}.get(stream) if kind == "ea" else "start"
    if since is None:
        raise unknown_interval(name, what)
    return starts_as_told(name, since, ends, base, what)


def _lazily(message: Message) -> da.Array:
    shape = message.shape
    return da.from_delayed(dask.delayed(values, pure=True)(message), shape, np.float32)


def _place(groups: Mapping[str, list[Message]], what: str) -> tuple[dict[str, xr.Variable], dict]:
    """The one grid of all; DataError where there are several."""
    grids = {(one.grid, one.shape): name for name, group in groups.items() for one in group}
    if len(grids) > 1:
        raise DataError(
            what,
            found=f"{len(grids)} grids, such as those of {' and '.join(list(grids.values())[:2])}",
            expected="one",
            todo="choose variables=[...] of one grid",
        )
    return cells(next(iter(groups.values()))[0])


def _joined(fields: Mapping[str, xr.DataArray], place: Mapping[str, xr.Variable]) -> dict[str, xr.DataArray]:
    """All over the same members and times, on latitudes and longitudes."""
    dims = {"y": "latitude", "x": "longitude"} if "y" not in place and place["latitude"].ndim == 1 else {}
    shared = xr.merge([field.rename(name) for name, field in fields.items()], join="outer", compat="no_conflicts")
    placed = shared.rename_dims(dims).assign_coords(place)
    return {name: placed[name] for name in fields}


def _leads(group: list[Message]) -> xr.Dataset | None:
    """`lead_time` (time), None where fields of one time have different ones."""
    leads: dict[np.datetime64, int] = {}
    for one in group:
        if leads.setdefault(one.time, one.end) != one.end:
            return None
    values = np.array(list(leads.values())) * SECOND.astype("timedelta64[ns]")
    times = np.array(list(leads), "datetime64[ns]")
    return xr.Dataset(coords={"time": times, "lead_time": ("time", values.astype("timedelta64[ns]"))})
