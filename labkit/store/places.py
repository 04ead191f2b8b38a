"""In which order the groups of an output tree lie, and whether they say the same of places, times and members.

Each group goes by its own coordinates, else by the root's, else by those of the first group that has some.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.grid import LONGITUDES, SPACE, order_of
from labkit.sphere import wrapped

Order = Mapping[str, slice | np.ndarray]
_COUNTED = ("time", "ensemble")
_SHIFT = 0.02  # of a cell; what is nearer is the same place in fewer digits


def in_one_order(
    path: Path, groups: Mapping[str, xr.Dataset], names: Sequence[str], sizes: Mapping[str, int]
) -> tuple[xr.Dataset, dict[str, Order]]:
    """Coordinates of all groups with times rising, rows from south to north and columns from west to east, and for each
    group what `isel` takes to have its fields so.

    names: the groups that count, the first that knows a coordinate first. Raises DataError where two say another.
    """
    shared = _told(groups, names, sizes)
    orders, first = {}, None
    for name in names:
        own = _told(groups, [name], sizes)
        mine = xr.Dataset({**shared.variables, **own.variables})
        orders[name] = _order(mine, path.name) if own.variables or first is None else orders[names[0]]
        placed = mine.isel(orders[name])
        first = placed if first is None else first
        for theirs in own.variables:
            if _differ(str(theirs), first[theirs].variable, placed[theirs].variable):
                raise DataError(
                    path.name,
                    found=f"{theirs} of group {name or 'root'!r} unlike that of the other groups",
                    expected=f"one {theirs} for all groups",
                    todo="write the groups from the same cases",
                )
    return first, orders


def _told(groups: Mapping[str, xr.Dataset], names: Iterable[str], sizes: Mapping[str, int]) -> xr.Dataset:
    """What the groups named say of times, members and places, of each name the first; sizes are those of the tree."""
    found = {"shape": xr.Variable(SPACE, np.empty([sizes[axis] for axis in SPACE], bool))} if len(names) > 1 else {}
    for name in names:
        for theirs, variable in groups[name].variables.items():
            counted = theirs in _COUNTED and variable.dims == (theirs,)
            placed = 0 < variable.ndim <= 2 and set(variable.dims) <= set(SPACE)
            fits = all(sizes.get(dim) == n for dim, n in variable.sizes.items())
            if fits and (counted or placed or "grid_mapping_name" in variable.attrs):
                found.setdefault(str(theirs), variable.to_base_variable())
    return xr.Dataset(found)


def _order(told: xr.Dataset, what: str) -> Order:
    found = dict(order_of(told, what))
    times = told["time"].values if "time" in told.variables else np.array([])
    if times.dtype.kind == "M" and (np.diff(times) < np.timedelta64(0)).any():
        found["time"] = np.argsort(times, kind="stable")
    return found


def _differ(name: str, one: xr.Variable, other: xr.Variable) -> bool:
    if one.dims != other.dims or one.dtype.kind not in "iuf" or not one.ndim:
        return not np.array_equal(one.values, other.values) if one.ndim else False
    a, b = (np.asarray(part.values, np.float64) for part in (one, other))
    apart = np.abs(wrapped(a - b) if name in LONGITUDES else a - b)
    steps = [np.abs(np.diff(a, axis=axis)) for axis in range(a.ndim)]
    step = max((float(np.median(s[np.isfinite(s)])) for s in steps if np.isfinite(s).any()), default=0.0)
    digits = 1e-6 * float(np.max(np.abs(a[np.isfinite(a)]), initial=0))
    return bool((np.isnan(a) != np.isnan(b)).any() or (apart > max(_SHIFT * step, digits)).any())
