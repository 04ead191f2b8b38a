"""Fields in the registry's units, whatever a file calls its own (UDUNITS, through cf-units).

What a file says is converted or refused by name. Where it says nothing the registry's unit is taken. Values that cannot
be in a unit are a question to the user, who answers with `units`: `check_plausible` asks it at opening of what has
none, `possible` of every value that is read, `check_range` of the mean of what is learnt from.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

import cf_units
import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.variables import Variable, canonical, lookup

GRAVITY = 9.80665  # m s-2, the standard one of geopotential metres
# Spellings in use that UDUNITS does not know or takes for something else (C: coulomb, mb: millibarn).
_SPELLINGS = {
    **dict.fromkeys(
        ("c", "ºc", "deg. c", "deg c", "degrees c", "degree c", "degrees celsius", "degree celsius"), "degC"
    ),
    **dict.fromkeys(("k", "deg k", "degrees k", "degrees kelvin", "degree kelvin"), "K"),
    **dict.fromkeys(("f", "deg f", "degrees f", "degrees fahrenheit"), "degF"),
    **dict.fromkeys(("mb", "mbars", "millibar"), "mbar"),
    "hpa": "hPa",
    **dict.fromkeys(("dbz", "dbze"), "dBZ"),
    **dict.fromkeys(
        ("(0 - 1)", "0-1", "0 - 1", "proportion", "fraction", "dimensionless", "unitless", "none", "-"), "1"
    ),
    **dict.fromkeys(("gpm", "geopotential meter", "geopotential metre", "meters", "metres"), "m"),
    **dict.fromkeys(("m of water equivalent", "m of water", "meters of water equivalent"), "m"),
    **dict.fromkeys(("ms-1", "ms^-1", "mps", "m/sec", "meters per second", "metres per second"), "m s-1"),
    **dict.fromkeys(("kn", "kt", "kts", "kts.", "knot(s)"), "knot"),
    **dict.fromkeys(("kmh", "kph", "kmph", "km/hr"), "km hour-1"),
    "mph": "mile hour-1",
    "mmh-1": "mm h-1",
    "mm hour-1": "mm h-1",
    "dagpm": "dam",
}
_KILOGRAMS_A_METRE = cf_units.Unit("1000 kg m-3")  # of liquid water
_PERCENTILES = (1, 50, 99)
_NEVER_WRITTEN = 1e30  # the NetCDF library's fill value is larger
_BEYOND = 0.5  # of what nature keeps to: values off by more are in another unit, or no measurement
_SLACK = 1e-4  # of the plausible range: packed to 16 bits, what is zero may be a little less
_LOOKED_AT = 16  # fields, where the file and the user say different units


def in_our_units(
    fields: Mapping[str, xr.DataArray],
    what: str,
    *,
    units: Mapping[str, str] | None = None,
    otherwise: Mapping[str, str] | None = None,
) -> dict[str, xr.DataArray]:
    """The fields, lazily, in the units of the registry, which `units` of each then names.

    units: of variables, by the file's or the registry's name, of which the file says none or one that cannot be theirs,
    by what it measures or by the values, of which some are read where it is not the one said here.
    otherwise: the unit wanted of variables that the registry does not know; without it theirs stays. Raises DataError
    for a unit that cannot be converted. Where there is none, ours is taken: see `check_plausible`.
    """
    told = {canonical(name): unit for name, unit in (units or {}).items()}
    return {
        name: _converted(
            name, field, lookup(name, units=(otherwise or {}).get(name, "")), what, told.get(canonical(name))
        )
        for name, field in fields.items()
    }


def check_plausible(fields: Mapping[str, xr.DataArray], what: str, *, units: Mapping[str, str] | None = None) -> None:
    """DataError where a variable has no unit and one of its fields, which is read for it, cannot be in ours."""
    told = {canonical(name) for name in units or {}}
    for name, field in fields.items():
        silent = not str(field.attrs.get("units", "")).strip() and canonical(name) not in told
        if silent and lookup(name).plausible is not None:
            _check_field(name, field, lookup(name), what)


def check_range(name: str, least: float, mean: float, most: float, what: str, *, theirs: str = "") -> None:
    """DataError where values of such a range, in the registry's unit, are of another: their mean is not what nature
    keeps to, or they go beyond it by half of its width. theirs: the unit that the file names."""
    known = lookup(name)
    if _fits(known, least, mean, most):
        return
    said = f", where the file says {theirs}" if theirs not in ("", known.units) else ""
    raise _implausible(name, known, what, f"values of {least:.4g} to {most:.4g} {known.units}, about {mean:.4g}{said}")


def _fits(known: Variable, least: float, mean: float, most: float) -> bool:
    low, high = known.plausible or (-np.inf, np.inf)
    slack, (lowest, highest) = _SLACK * (high - low), _bounds(known)
    return low - slack <= mean <= high + slack and lowest <= least and most <= highest


def _bounds(known: Variable) -> tuple[float, float]:
    """Beyond these no single value of a variable lies: half the plausible range further than that, or below zero by a
    hundredth of it where it cannot be negative."""
    low, high = known.plausible or (-np.inf, np.inf)
    below = 0.01 if known.non_negative and low >= 0 else _BEYOND
    return low - below * (high - low), high + _BEYOND * (high - low)


def _implausible(name: str, known: Variable, what: str, found: str) -> DataError:
    low, high = known.plausible
    return DataError(
        f"units of {name} in {what}",
        found=found,
        expected=f"{known.units}, in which {known.long_name} lies within {low:g} to {high:g}",
        todo=f"say which they are: units={{'{name}': '...'}}, in the terminal --units {name}=...; or declare what "
        "stands for missing values (_FillValue, valid_range)",
    )


def _check_field(name: str, field: xr.DataArray, known: Variable, what: str) -> None:
    middle = {dim: field.sizes[dim] // 2 for dim in field.dims if dim not in ("y", "x")}
    values = np.asarray(field.isel(middle).values, np.float64)
    values = values[np.abs(values) < _NEVER_WRITTEN]  # which NaN is not either
    if not values.size:
        return
    low, median, high = np.percentile(values, _PERCENTILES)
    least, most = known.plausible
    slack = _SLACK * (most - least)
    if low < least - slack or high > most + slack:
        found = f"none, and values about {median:.4g} ({low:.4g} to {high:.4g})"
        raise _implausible(name, known, what, found)


def possible(fields: Mapping[str, xr.DataArray], what: str) -> dict[str, xr.DataArray]:
    """The fields, in our units, which raise DataError when values are read that are far from anything in nature.

    Such are marks of missing values that a file does not declare, and values in another unit than it says.
    """
    return {name: _guarded(name, field, lookup(name), what) for name, field in fields.items()}


def _guarded(name: str, field: xr.DataArray, known: Variable, what: str) -> xr.DataArray:
    if known.plausible is None or field.chunks is None:
        return field
    refuse = partial(_refuse_impossible, name=name, known=known, what=what)
    return field.copy(data=field.data.map_blocks(refuse, dtype=field.dtype, meta=field.data._meta))


def _refuse_impossible(block: np.ndarray, *, name: str, known: Variable, what: str) -> np.ndarray:
    lowest, highest = _bounds(known)
    with np.errstate(invalid="ignore"):
        wrong = block[(block < lowest) | (block > highest)]
    if wrong.size:
        raise _implausible(name, known, what, f"{float(wrong.flat[0]):.5g} in {wrong.size} of {block.size} values")
    return block


def check_told(told: Mapping, names: Collection[str], what: str, *, said: str = "units") -> None:
    """DataError where something is `said`, such as units, of a variable that is not among `names`."""
    known = {canonical(name) for name in names}
    if unknown := [name for name in told if canonical(name) not in known]:
        raise DataError(
            f"{said} for {what}",
            found=", ".join(unknown),
            expected="variables of the file: " + ", ".join(names),
            todo=f"name the {said} of these only",
        )


def factor_and_offset(theirs: str, known: Variable) -> tuple[float, float] | None:
    """What a value in the unit `theirs` is multiplied by, and what is added, to be in the variable's; None: no way.

    Water by mass and by depth are the same (1 kg m-2 is 1 mm), and so are geopotential and its height (9.80665 m s-2).
    """
    unit, ours = parsed(theirs), parsed(known.units)
    for one in [unit, *_equivalents(unit, known)]:
        if one is not None and ours is not None and one.is_convertible(ours):
            zero, first, second = (float(v) for v in one.convert(np.array([0.0, 1.0, 2.0]), ours))
            # a logarithm, such as dBZ of mm6 m-3, is no matter of a factor
            return (first - zero, zero) if np.isclose(second - first, first - zero) else None
    return None


def parsed(text: str) -> cf_units.Unit | None:
    """The unit of a text, or None where UDUNITS cannot read it or it says that there is none."""
    plain = " ".join(str(text).replace("−", "-").replace("{", "").replace("}", "").split())
    try:
        unit = cf_units.Unit(_SPELLINGS.get(plain.lower(), plain))
    except ValueError:
        return None
    return None if unit.is_unknown() or unit.is_no_unit() else unit


def kilometres(units: str) -> float | None:
    """Kilometres in one of a unit of length, None where it is none."""
    unit = parsed(units)
    return float(unit.convert(1.0, "km")) if unit is not None and unit.is_convertible("km") else None


def is_degrees(units: str) -> bool:
    """Whether a coordinate with these units holds degrees: north, east, of a rotated pole or merely "degrees"."""
    return str(units).strip().lower().startswith("deg")


def _converted(name: str, field: xr.DataArray, known: Variable, what: str, told: str | None) -> xr.DataArray:
    theirs = str(field.attrs.get("units", "")).strip()
    if told and (not theirs or (known.units and not _may_be(theirs, field, known, told.strip()))):
        theirs = told.strip()
    ours = known.units or theirs
    attrs = field.attrs | ({"units": ours} if ours else {})
    if theirs in ("", ours):
        return field.assign_attrs(attrs)
    change = factor_and_offset(theirs, known)
    if change is None:
        raise _inconvertible(name, theirs, known, what)
    factor, offset = (np.float32(part) for part in change)
    if (factor, offset) == (1, 0):
        return field.assign_attrs(attrs)
    return (field.astype(np.float32) * factor + offset).assign_attrs(attrs)


def _may_be(theirs: str, field: xr.DataArray, known: Variable, told: str) -> bool:
    """Whether a field may be in the unit that its file names, where another was told."""
    change = factor_and_offset(theirs, known)
    if change is None or known.plausible is None or change == factor_and_offset(told, known):
        return change is not None
    n = field.sizes.get("time", 1)
    some = field.isel(time=slice(None, None, -(-n // _LOOKED_AT))) if "time" in field.dims else field
    values = np.asarray(some.values, np.float64)
    values = change[0] * values[np.abs(values) < _NEVER_WRITTEN] + change[1]
    return not values.size or _fits(known, values.min(), values.mean(), values.max())


def _equivalents(unit: cf_units.Unit | None, known: Variable) -> list[cf_units.Unit]:
    if unit is not None and known.water:
        return [unit / _KILOGRAMS_A_METRE, unit * _KILOGRAMS_A_METRE]
    if unit is not None and known.standard_name == "geopotential":
        return [unit * cf_units.Unit(f"{GRAVITY} m s-2")]
    return []


def _inconvertible(name: str, theirs: str, known: Variable, what: str) -> DataError:
    amount = known.water and any(
        parsed(theirs) is not None and parsed(theirs).is_convertible(u) for u in ("m", "kg m-2")
    )
    why = "an amount, and nothing says within which time it fell; " if amount else ""
    return DataError(
        f"units of {name} in {what}",
        found=repr(theirs),
        expected=f"{known.units} or what can be converted to it",
        todo=f"{why}give it in {known.units}, or say what is meant: units={{'{name}': '...'}}, in the terminal "
        f"--units {name}=...",
    )
