"""A data set as a tree like those of models, without members: `truth`, and `interpolation` of its input."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import dask
import dask.array as da
import numpy as np
import xarray as xr

from labkit.data.pairs import Pairs
from labkit.grid import COARSENING
from labkit.variables import canonical, lookup


def tree_of(pairs: Pairs) -> xr.DataTree:
    """Groups `truth` and, for the variables that the input tells of, `interpolation`, (time, y, x) each, lazily.

    Native units; NaN where nothing was observed. Root coordinates as in `labkit.store.trees.open_tree`.
    """
    target = pairs.target
    root = {name: target[name] for name in ("time", "y", "x", "lat", "lon") if name in target.coords}
    nodes = {
        "/": xr.Dataset(coords=root, attrs=pairs.attrs | {COARSENING: list(pairs.factor)}),
        "/truth": _variables(target.data, target),
    }
    if told := baseline_channels(pairs):
        values = _interpolated(pairs)
        chosen = [pairs.target_channels.index(name) for name in told]
        nodes["/interpolation"] = _variables(values[:, chosen], target.isel(channel=chosen))
    return xr.DataTree.from_dict(nodes)


def baseline_channels(pairs: Pairs) -> list[str]:
    """The target channels that `pairs.interpolated` knows something of."""
    inputs = {canonical(name) for name in pairs.input_channels}
    from_rain = {"reflectivity"} if "tp" in inputs else set()
    return [name for name in pairs.target_channels if canonical(name) in inputs | from_rain]


def spread(pairs: Pairs, most: int) -> Pairs:
    """At most so many of the pairs, evenly spread."""
    if len(pairs) <= most:
        return pairs
    return pairs.isel([int(i) for i in np.linspace(0, len(pairs) - 1, most).round()])


def _variables(values: da.Array, like: xr.DataArray) -> xr.Dataset:
    units = [str(u) for u in like["units"].values] if "units" in like.coords else [""] * like.sizes["channel"]
    variables = {}
    for i, (name, unit) in enumerate(zip(map(str, like.channel.values), units, strict=True)):
        known = lookup(name)
        attrs = {"units": unit or known.units, "long_name": known.long_name}
        variables[name] = xr.DataArray(values[:, i], dims=("time", "y", "x"), attrs=attrs)
    return xr.Dataset(variables)


def _interpolated(pairs: Pairs) -> da.Array:
    """`pairs.interpolated`, a chunk of times at a time, when it is asked for."""
    shape, blocks, start = (len(pairs.target_channels), *pairs.shape), [], 0
    chunks = pairs.target.chunks[0] if pairs.target.chunks else (len(pairs),)
    for size in chunks:
        part = pairs.isel(slice(start, start + size))
        # bound, not an argument: dask would compute every array in an argument, the target too
        lazy = dask.delayed(partial(_values, part))(part.input.data)
        blocks.append(da.from_delayed(lazy, (size, *shape), np.float32))
        start += size
    return da.concatenate(blocks)


def _values(part: Pairs, coarse: np.ndarray) -> np.ndarray:
    """`coarse` is the part's input, by now in memory."""
    return replace(part, input=part.input.copy(data=coarse)).interpolated().values
