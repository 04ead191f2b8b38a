"""Which fields a source of an output tree has, by name, and which of them can be compared with its truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dask
import numpy as np
import pandas as pd
import xarray as xr

from labkit.errors import DataError
from labkit.variables import Variable, canonical, describe, lookup
from labkit.verify.common import on_common_cells, shortfall

SOURCES = ("interpolation", "regression", "mean", "prediction", "truth", "oracle")
ENSEMBLES = ("prediction", "oracle")
IN_MEMORY = 2**29  # bytes of all fields together that are read once and kept


def field(tree: xr.DataTree, source: str, variable: str) -> xr.DataArray:
    """One variable of a source, lazily: (ensemble, time, y, x) of "prediction" and "oracle", else (time, y, x).

    "mean" is the mean of the prediction; "wind_speed" is made of u10 and v10 (of each member) where the tree has no
    variable of that name. DataError where the tree has not got it.
    """
    if source == "mean":
        return field(tree, "prediction", variable).mean("ensemble")
    if source in tree.children:
        group = tree[source]
        if variable in group.data_vars:
            return group[variable]
        names = names_of(group)
        if variable == "wind_speed" and {"u10", "v10"} <= set(names):
            speed = np.hypot(group[names["u10"]], group[names["v10"]])
            known = lookup("wind_speed")
            return speed.rename("wind_speed").assign_attrs(units=known.units, long_name=known.long_name)
    have = ", ".join(str(name) for name in tree[source].data_vars) if source in tree.children else "no such group"
    raise DataError(f"{source} of the tree", found=have, expected=variable, todo="name a variable that it has")


def names_of(group: xr.Dataset | xr.DataTree) -> dict[str, str]:
    """What the variables of a group are called in it, by the registry's names."""
    return {canonical(str(name)): str(name) for name in group.data_vars}


def ground(tree: xr.DataTree, name: str) -> xr.DataArray | None:
    """What is the same at all times, such as the orography, out of the inputs, lazily; None where they have it not."""
    names = names_of(tree["input"]) if "input" in tree.children else {}
    if name not in names:
        return None
    fixed = tree["input"][names[name]]
    return fixed.isel(time=0, drop=True) if "time" in fixed.dims else fixed


def available(tree: xr.DataTree, variable: str) -> list[str]:
    """The sources that have `variable`, in the order in which they are shown."""
    return [source for source in SOURCES if _has(tree, source, variable)]


def variable_of(tree: xr.DataTree, name: str) -> Variable:
    """The registry's entry for a variable of the tree."""
    return describe(name, dict(field(tree, "truth", name).attrs))


def place(tree: xr.DataTree, point: tuple[float, float], box: tuple[float, ...] | None = None) -> tuple[slice, slice]:
    """Cells (y slice, x slice) in a box (west, south, east, north), else the one nearest to a point (x, y), in km."""
    x, y = (np.asarray(tree[axis].values, float) for axis in ("x", "y"))
    return cells(x, y, point, box)


def cells(x: np.ndarray, y: np.ndarray, point: tuple[float, float], box=None) -> tuple[slice, slice]:
    """As `place`, of the axes themselves; a box that holds no cell centre gives the cell nearest to its middle."""
    if box is None:
        i, j = (int(np.abs(axis - at).argmin()) for axis, at in ((y, point[1]), (x, point[0])))
        return slice(i, i + 1), slice(j, j + 1)
    west, south, east, north = box
    centre = cells(x, y, ((west + east) / 2, (south + north) / 2))
    inside = [np.flatnonzero((axis >= a) & (axis <= b)) for axis, a, b in ((y, south, north), (x, west, east))]
    return tuple(slice(i[0], i[-1] + 1) if i.size else c for i, c in zip(inside, centre, strict=True))


def judged(
    tree: xr.DataTree, variable: str, sources: Sequence[str] = ENSEMBLES, *, times: Sequence[int] | None = None
) -> tuple[xr.DataArray, dict[str, xr.DataArray]]:
    """Truth (time, y, x), in memory, and of the sources named those that the tree has; times: positions, or all.

    Reads one variable of these sources, once where it is small. They are shown on the cells and times that all of them
    know (`verify.common`): elsewhere the truth is NaN, and times and members of which nothing is left are gone.
    Attributes of the truth: `times`, the positions kept, and `left_out`, what is missing. DataError where nothing is
    left.
    """
    has, chosen = available(tree, variable), slice(None) if times is None else list(times)
    fields = held({s: field(tree, s, variable).isel(time=chosen) for s in ("truth", *sources) if s in has})
    common = on_common_cells(fields.pop("truth"), fields)
    common = common._replace(truth=common.truth.compute())
    known = common.truth.notnull().any(["y", "x"]).values
    if not (common.observed and known.any()) or "prediction" in common.absent:
        nothing = "no member" if "prediction" in common.absent else "not one cell that was observed"
        what, found = f"truth of {variable}", common.left_out or f"{nothing} at these times"
        raise DataError(what, found=found, expected="some to compare with", todo="choose other times")
    kept = slice(None) if known.all() else np.flatnonzero(known)  # a slice copies nothing
    positions = np.arange(len(known)) if times is None else np.asarray(times)
    said = {"times": positions[kept].tolist(), "left_out": shortfall(common, int(common.truth.count()))}
    fields = {s: one.isel(time=kept) for s, one in common.fields.items() if s not in common.absent}
    return common.truth.isel(time=kept).assign_attrs(said), fields


def held(fields: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """The fields, in memory where all of them together are small; else as they are, to be read chunk by chunk."""
    small = sum(one.nbytes for one in fields.values()) <= IN_MEMORY
    return dict(zip(fields, dask.compute(*fields.values()), strict=True)) if small else dict(fields)


def table_by_source(data: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """One line for each source and place along the dimension of its figures."""
    tables = {source: one.to_dataframe().reset_index() for source, one in data.items()}
    return pd.concat(tables, names=["source"]).reset_index("source").reset_index(drop=True)


def over_members(values: xr.DataArray) -> xr.DataArray:
    """The mean of the members, of what has any; anything else as it is."""
    return values.mean("ensemble", keep_attrs=True) if "ensemble" in values.dims else values


def series_at(
    tree: xr.DataTree, source: str, variable: str, *, point=(0.0, 0.0), box=None, statistic: str = "mean"
) -> np.ndarray:
    """(member, time) or (time,): a statistic ("mean", "maximum", "minimum") over the cells of a place, NaN left out."""
    y, x = place(tree, point, box)
    cells = field(tree, source, variable).isel(y=y, x=x)
    reduced = {"mean": cells.mean, "maximum": cells.max, "minimum": cells.min}[statistic](("y", "x"), skipna=True)
    return reduced.values


def field_at(tree: xr.DataTree, source: str, variable: str, time: int, member: int) -> np.ndarray:
    """One field (y, x) of a source at a position in time; of the ensembles that of one member."""
    values = field(tree, source, variable).isel(time=time)
    return (values.isel(ensemble=member) if "ensemble" in values.dims else values).values


def _has(tree: xr.DataTree, source: str, variable: str) -> bool:
    try:
        field(tree, source, variable)
    except DataError:
        return False
    return True
