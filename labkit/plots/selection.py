"""Picking what a picture shows out of an output tree, by name; wind speed is made of its components where asked for."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.plots.colours import describe
from labkit.variables import Variable, canonical, lookup

SOURCES = ("interpolation", "regression", "mean", "prediction", "truth", "oracle")


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
        names = {canonical(str(name)): name for name in group.data_vars}
        if variable == "wind_speed" and {"u10", "v10"} <= set(names):
            speed = np.hypot(group[names["u10"]], group[names["v10"]])
            known = lookup("wind_speed")
            return speed.rename("wind_speed").assign_attrs(units=known.units, long_name=known.long_name)
    have = ", ".join(str(name) for name in tree[source].data_vars) if source in tree.children else "no such group"
    raise DataError(f"{source} of the tree", found=have, expected=variable, todo="name a variable that it has")


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


def _has(tree: xr.DataTree, source: str, variable: str) -> bool:
    try:
        field(tree, source, variable)
    except DataError:
        return False
    return True
