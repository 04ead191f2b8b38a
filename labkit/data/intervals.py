"""Rain that was accumulated, or averaged, as the rate of each interval: the one place that takes amounts apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import dask.array as da
import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.units import check_told, parsed
from labkit.variables import canonical

HOUR = np.timedelta64(1, "h")
# What falls and cannot rise again, beside the registry's rain, by the names that centres give it.
PRECIPITATION = {"cp", "lsp", "sf", "csf", "lsf", "acpcp", "ncpcp", "tsnowp", "RAINC", "RAINNC", "RAINSH"}
# Amounts that fall by less since the time before have been packed, not taken back.
NOISE_MM, RELATIVE_NOISE = 1e-3, 2.0**-16
SINCE = ("start", "day")
_SUM = re.compile(r"time:\s*sum\b(?:[^(:]*\(\s*interval:\s*([\d.]+)\s*([A-Za-z]+))?")

Interval = tuple[np.ndarray, np.ndarray]


def is_amount(name: str, units: str) -> bool:
    """Whether it is precipitation as a depth or mass of water, so that the time within which it fell decides."""
    return is_precipitation(name) and millimetres(units) is not None


def is_precipitation(name: str) -> bool:
    """Whether a variable, by its own or the registry's name, is one that falls."""
    return canonical(name) == "tp" or name in PRECIPITATION


def millimetres(units: str) -> float | None:
    """Millimetres of water in one of a unit of depth or of mass (1 kg m-2), None for any other."""
    unit = parsed(units)
    known = [ours for ours in ("mm", "kg m-2") if unit is not None and unit.is_convertible(ours)]
    return float(unit.convert(1.0, known[0])) if known else None


def shortest(starts: np.ndarray, ends: np.ndarray) -> list[tuple[int, int | None, float]]:
    """For each distinct end in order the shortest interval that amounts (starts, ends) tell of.

    As (position, position of what is taken off or None, hours): an amount since 0 at 6 less one since 0 at 3 is what
    fell from 3 to 6. Hours are NaN where there is no time in which it could have fallen.
    """
    found = []
    for end in np.unique(ends):
        options = []
        for i in np.flatnonzero(ends == end):
            inner = np.flatnonzero((starts == starts[i]) & (ends < end))
            less = int(inner[np.argmax(ends[inner])]) if inner.size else None
            since = starts[i] if less is None else ends[less]
            options.append(((end - since) / HOUR, less is not None, int(i), less))
        possible = [option for option in options if option[0] > 0]
        hours, _, i, less = min(possible) if possible else (np.nan, False, options[0][2], None)
        found.append((i, less, float(hours)))
    return found


def rates_between(
    amounts: da.Array, starts: np.ndarray, ends: np.ndarray, *, what: str, noise: float = 0.0
) -> tuple[da.Array, np.ndarray]:
    """mm/h (float32) of amounts (time, ...) in mm within [starts, ends], in any order, and the distinct ends in order.

    NaN where there is no time within which it could have fallen. `noise` in mm is what packing adds. Raises DataError
    when rain is computed and found to be negative by more than that.
    """
    chosen = shortest(starts, ends)
    position = [i for i, _, _ in chosen]
    less = np.array([-1 if j is None else j for _, j, _ in chosen])
    fallen, stamps = amounts[position], np.asarray(ends)[position]
    if (less >= 0).any():
        counted = _along(less >= 0, amounts.ndim)
        before = da.where(counted, amounts[np.maximum(less, 0)], np.float32(0)).rechunk(fallen.chunks)
        largest = fallen
        fallen = fallen - before
    else:
        largest = fallen
    chunks = (fallen.chunks[0], *[(1,)] * (fallen.ndim - 1))
    hours, when = (
        da.from_array(_along(values, fallen.ndim), chunks=chunks)
        for values in (np.array([h for _, _, h in chosen]), stamps.astype("datetime64[s]").astype(np.int64))
    )
    options = {"noise": noise, "what": what, "dtype": np.float32, "meta": np.empty((0,) * fallen.ndim, np.float32)}
    return da.map_blocks(_rate, fallen, largest, hours, when, **options), stamps


def rates(
    fields: Mapping[str, xr.DataArray],
    dataset: xr.Dataset,
    what: str,
    *,
    accumulated: Mapping | None = None,
    units: Mapping[str, str] | None = None,
    otherwise: Callable[[str, xr.DataArray], float] | None = None,
) -> dict[str, xr.DataArray]:
    """The fields over `time`, those of precipitation by depth or mass as mm/h since the time before, lazily.

    The interval is told by `accumulated` {name: hours, or since the "start" of the file or the "day", 00 UTC}, by the
    bounds of the time, or by `cell_methods` ("time: sum (interval: 3 hours)"). `units` {name: unit} goes before the
    file's; `otherwise(name, field)` gives hours where the file says nothing. NaN where it cannot be known. Raises
    DataError where nothing tells it.
    """
    told = {canonical(name): value for name, value in (accumulated or {}).items()}
    check_told(told, fields, what, said="accumulated")
    said = {canonical(name): str(value) for name, value in (units or {}).items()}
    found = {}
    for name, field in fields.items():
        unit = said.get(canonical(name), str(field.attrs.get("units", "")))
        known = canonical(name) in told and millimetres(unit) is not None
        if "time" not in field.dims or not (known or is_amount(name, unit)):
            found[name] = field
            continue
        interval = _interval(name, field, dataset, told.get(canonical(name)), otherwise, what)
        found[name] = _along_time(field, interval, unit, f"{name} of {what}")
    return found


def starts_as_told(name: str, told, ends: np.ndarray, base, what: str) -> np.ndarray:
    """Starts of the intervals that end there: so many hours before, or since the `base` ("start") or the "day"."""
    if told == "start":
        return np.full(ends.shape, base)
    if told == "day":  # what ends at 00 UTC fell on the day before
        return (ends - np.timedelta64(1, "ns")).astype("datetime64[D]").astype(ends.dtype)
    try:
        hours = float(told)
    except (TypeError, ValueError):
        hours = np.nan
    if not 0 < hours < 24 * 366:
        raise DataError(
            f"accumulated {name} of {what}",
            found=repr(told),
            expected=f"a number of hours, {' or '.join(SINCE)}",
            todo="say within which time it fell, as accumulated={'tp': 3}",
        )
    return ends - np.timedelta64(round(hours * 3600), "s").astype("timedelta64[ns]")


def unknown_interval(name: str, what: str, *, why: str = "nothing that says within which time it fell") -> DataError:
    """The refusal of an amount of which nothing says within which time it fell."""
    return DataError(
        f"{name} of {what}",
        found=f"an amount, and {why}",
        expected="bounds of the time, cell_methods with an interval, or a rate",
        todo=f"say the hours, accumulated={{'{name}': 1}}, or 'start' or 'day' for what is counted since then "
        "(in the terminal 'accumulated={" + name + ": 1}')",
    )


def bounds_of(dataset: xr.Dataset) -> Interval | None:
    """Start and end of each time's interval by the bounds of the time; None where there are none, or all are empty."""
    said = str(dataset["time"].attrs.get("bounds", ""))
    name = next((b for b in (said, "time_bnds", "time_bounds", "bounds_time") if b in dataset.variables), None)
    if name is None or dataset[name].dtype.kind != "M":
        return None
    low, high = np.asarray(dataset[name].transpose("time", ...).values).reshape(dataset.sizes["time"], 2).T
    return (np.minimum(low, high), np.maximum(low, high)) if (low != high).any() else None


def _interval(name: str, field: xr.DataArray, dataset: xr.Dataset, told, otherwise, what: str) -> Interval:
    """Start and end of each time's interval; DataError where nothing tells it."""
    ends = dataset["time"].values
    if told is not None:
        return starts_as_told(name, told, ends, ends.min(), what), ends
    bounds, methods = bounds_of(dataset), str(field.attrs.get("cell_methods", ""))
    if bounds is not None and "time: point" not in methods:
        return bounds
    if (sum_of := _SUM.search(methods)) and sum_of[1] and (unit := parsed(sum_of[2])) and unit.is_convertible("h"):
        hours = float(unit.convert(float(sum_of[1]), "h"))
        apart = (np.diff(np.sort(ends)) / HOUR).min(initial=np.inf)
        if 1.01 * hours < apart < np.inf:  # CF's interval may be that of what was summed, not of the sum
            raise unknown_interval(name, what, why=f"an interval of {hours:g} h between times {apart:g} h apart")
        return starts_as_told(name, hours, ends, ends.min(), what), ends
    if otherwise is None:
        raise unknown_interval(name, what)
    return starts_as_told(name, otherwise(name, field), ends, ends.min(), what), ends


def _along_time(field: xr.DataArray, interval: Interval, unit: str, what: str) -> xr.DataArray:
    starts, ends = interval
    if len(np.unique(ends)) < len(ends):
        raise DataError(what, found="intervals that end together", expected="one for each time", todo="open them apart")
    scale = millimetres(unit)
    noise = scale * abs(float(field.encoding.get("scale_factor", 0)))
    first = field.transpose("time", ...)
    amounts = da.asarray(first.data).astype(np.float32) * np.float32(scale)
    values, _ = rates_between(amounts, starts, ends, what=what, noise=noise)
    placed = first.isel(time=np.argsort(ends)).copy(data=values).isel(time=np.argsort(np.argsort(ends)))
    return placed.assign_attrs(units="mm h-1").transpose(*field.dims)


def _along(values: np.ndarray, ndim: int) -> np.ndarray:
    return np.asarray(values).reshape(-1, *[1] * (ndim - 1))


def _rate(fallen: np.ndarray, amount: np.ndarray, hours: np.ndarray, when: np.ndarray, *, noise: float, what: str):
    """Blocks (time, ...); a time of which the hours are unknown is NaN."""
    allowed = max(noise, NOISE_MM, RELATIVE_NOISE * float(np.nanmax(np.abs(amount), initial=0)))
    known = np.where(np.isfinite(hours), fallen, np.nan)
    if (lowest := float(np.nanmin(known, initial=0))) < -allowed:
        at = int(np.argwhere(known == np.float32(lowest))[0][0])
        time = str(np.datetime64(int(when.flat[at]), "s"))[:16]
        raise DataError(
            f"{what} at {time}",
            found=f"{lowest:.3g} mm within {hours.flat[at]:g} h",
            expected="rain that is not negative",
            todo="check since when the file counts, and say it with accumulated={'tp': hours}",
        )
    return (np.maximum(known, 0) / hours).astype(np.float32)
