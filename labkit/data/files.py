"""Anyone's own pair of NetCDF files or Zarr stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from labkit.data.grids import covering_cells
from labkit.data.intervals import rates
from labkit.data.pairs import Pairs
from labkit.data.parts import Samples, Times, part_of
from labkit.data.reading import check_group, choose, open_lazily, stack, telling_gaps, timed
from labkit.errors import DataError
from labkit.grid import coordinates, eastwards, oriented, projection, spacing_known, with_our_dims
from labkit.units import check_told
from labkit.variables import canonical


def open_files(
    input: str | Path,
    target: str | Path,
    *,
    invariant: str | Path | None = None,
    input_channels: Sequence[str] | None = None,
    target_channels: Sequence[str] | None = None,
    invariant_channels: Sequence[str] | None = None,
    input_group: str | None = None,
    target_group: str | None = None,
    dims: Mapping[str, str] | None = None,
    spacing_km: float | None = None,
    units: Mapping[str, str] | None = None,
    accumulated: Mapping[str, float | str] | None = None,
    missing: str = "refuse",
    chunk: int = 8,
    times: Times | None = None,
    samples: Samples | None = None,
) -> Pairs:
    """A coarse and a fine file (NetCDF or Zarr) as pairs; opening reads coordinates only.

    Channels are the variables (time, y, x), or the names along a dimension `channel` of one variable; a fourth
    dimension of levels gives one channel a level ("t" at 850 is "t850"). They are chosen by their own or the
    registry's names; `input_group` and `target_group` name the groups of files that have some. Times are matched by
    value, and only those of both files are kept. Rows are turned from south to north. A coarse grid that reaches beyond
    the fine one is cropped to it, and centres of cells must fit where both files have positions. `dims` maps dimension
    names {theirs: "time" | "y" | "x"} where they are not common ones; `spacing_km` is that of the target where its file
    has no positions. Values become those of the registry's units, `units` {name: unit} says what a file does not (see
    `labkit.units`). Accumulated rain becomes the rate of its interval, as bounds of the time, `cell_methods` or
    `accumulated` tell it (see `labkit.data.intervals`). NaN in the target is refused when it is read, or with
    `missing="mask"` becomes the mask; NaN in the input is then set to the mean where it is learnt from and drawn with,
    and the further input channel `observed` tells where that was. The unit of each channel is the coordinate `units`.
    `times` (first, last) and `samples` (such as "0:200") choose a part (`data.parts`).
    """
    if missing not in ("refuse", "mask"):
        raise DataError("missing", found=missing, expected='"refuse" or "mask"', todo="choose one of the two")
    coarse = _opened(input, "input", input_group, dims, chunk)
    fine = _opened(target, "target", target_group, dims, chunk)
    check_told(accumulated or {}, list(map(str, {**coarse.data_vars, **fine.data_vars})), "data", said="accumulated")
    coarse = _with_rates(coarse, f"input {Path(input).name}", input_channels, accumulated, units)
    fine = _with_rates(fine, f"target {Path(target).name}", target_channels, accumulated, units)
    coarse, fine = _shared_times(coarse, fine)
    coarse = covering_cells(coarse, fine)
    place = _coordinates(fine, spacing_km)
    y, x = (np.asarray(place[axis].values) for axis in ("y", "x"))
    stamps = {"time": fine["time"].values}
    inputs = _channels(coarse, "input", input_channels, ("time", "channel", "y", "x"), units)
    targets = _channels(fine, "target", target_channels, ("time", "channel", "y", "x"), units)
    targets = targets.assign_coords(stamps | place)
    gaps = {"missing_input": "mean"} if missing == "mask" else {}
    inputs = telling_gaps(inputs) if gaps else inputs
    statics = _invariants(invariant, invariant_channels, dims, fine, units)
    doubts = [a for part in (coarse, statics) if (a := part.attrs.get("alignment", "checked")) != "checked"]
    pairs = Pairs(
        input=inputs.rename(y="y_in", x="x_in").assign_coords(stamps | _coarse_axes(y, x, inputs)).rename("input"),
        target=targets.rename("target"),
        invariant=statics.assign_coords(place).rename("invariant"),
        mask=targets.notnull().all("channel").rename("mask") if missing == "mask" else None,
        attrs={
            "source": f"{Path(input).name} and {Path(target).name}",
            "alignment": "; ".join(doubts) or "checked",
            **_projection(fine),
            **gaps,
        },
    )
    return part_of(pairs, times=times, samples=samples)


def _opened(path: str | Path, what: str, group: str | None, dims: Mapping[str, str] | None, chunk: int) -> xr.Dataset:
    check_group(path, group, f"{what}_group")
    dataset = open_lazily(path, group=group)
    relevant = {theirs: ours for theirs, ours in (dims or {}).items() if theirs in dataset.dims}
    dataset = timed(eastwards(oriented(with_our_dims(dataset, what, relevant), what)), what)
    return dataset.chunk({"time": chunk})


def _with_rates(dataset: xr.Dataset, what: str, names, accumulated, units) -> xr.Dataset:
    """With rates of rain in the place of amounts; the first time is left out where they count since the start."""
    wanted = None if names is None else {canonical(name) for name in names}
    fields = {str(n): f for n, f in dataset.data_vars.items() if wanted is None or canonical(str(n)) in wanted}
    told = {name: value for name, value in (accumulated or {}).items() if canonical(name) in map(canonical, fields)}
    found = dataset.assign(rates(fields, dataset, what, accumulated=told, units=units))
    return found.sel(time=found["time"] > found["time"].min()) if "start" in told.values() else found


def _shared_times(coarse: xr.Dataset, fine: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    shared = np.intersect1d(coarse["time"].values, fine["time"].values)
    if not len(shared):
        spans = [f"{str(d['time'].values.min())[:16]} to {str(d['time'].values.max())[:16]}" for d in (coarse, fine)]
        raise DataError(
            "times",
            found=f"input of {spans[0]} and target of {spans[1]}",
            expected="times that both have",
            todo="choose files of the same period",
        )
    return coarse.sel(time=shared), fine.sel(time=shared)


def _channels(
    dataset: xr.Dataset, what: str, names: Sequence[str] | None, dims: tuple[str, ...], units: Mapping[str, str] | None
) -> xr.DataArray:
    maps = _maps(dataset, set(dims) - {"channel"})
    chosen = choose(what, maps, names)
    if not chosen:
        raise DataError(
            f"{what} channels",
            found=", ".join(f"{name} {variable.dims}" for name, variable in dataset.data_vars.items()) or "none",
            expected="at least one variable over " + ", ".join(dim for dim in dims if dim != "channel"),
            todo="check the file, or rename its dimensions with dims={'theirs': 'ours'}",
        )
    order = [dim for dim in dims if dim != "channel"]
    return stack([variable.transpose(*order) for variable in chosen], dims, what, units=units)


def _maps(dataset: xr.Dataset, dims: set[str]) -> dict[str, xr.DataArray]:
    """Numeric variables over exactly `dims` by name; a further dimension is taken apart into one map a label."""
    found: dict[str, xr.DataArray] = {}
    for name, variable in dataset.data_vars.items():
        extra = [dim for dim in variable.dims if dim not in dims]
        if not dims <= set(variable.dims) or len(extra) > 1 or not np.issubdtype(variable.dtype, np.number):
            continue
        labels = _labels(str(name), variable, extra[0]) if extra else [str(name)]
        for i, label in enumerate(labels):
            found[label] = (variable.isel({extra[0]: i}) if extra else variable).rename(label)
    return found


def _labels(name: str, variable: xr.DataArray, dim: str) -> list[str]:
    """Names of the channels along `dim`: its own words, or the variable's name with the level."""
    if dim not in variable.coords:
        raise DataError(
            f"variable {name}",
            found=f"a dimension {dim} without coordinate",
            expected="names of channels or levels along it",
            todo="add the coordinate to the file, or leave the variable out",
        )
    labels = variable[dim].values
    if labels.dtype.kind in "OUS":
        return [label.decode() if isinstance(label, bytes) else str(label) for label in labels]
    return [f"{name}{label:g}" for label in labels]


def _invariants(path, names: Sequence[str] | None, dims, fine: xr.Dataset, units) -> xr.DataArray:
    if path is None:
        empty = np.empty((0, fine.sizes["y"], fine.sizes["x"]), np.float32)
        return xr.DataArray(empty, dims=("channel", "y", "x"), coords={"channel": np.array([], "U1")})
    dataset = open_lazily(path)
    relevant = {theirs: ours for theirs, ours in (dims or {}).items() if theirs in dataset.dims}
    dataset = eastwards(oriented(with_our_dims(dataset, "invariants", relevant), "invariants"))
    dataset = covering_cells(dataset, fine, "invariants")
    if dataset.sizes.get("time") == 1:
        dataset = dataset.isel(time=0)
    return _channels(dataset, "invariant", names, ("channel", "y", "x"), units).assign_attrs(dataset.attrs)


def _coarse_axes(y: np.ndarray, x: np.ndarray, inputs: xr.DataArray) -> dict[str, np.ndarray]:
    """Centres of the coarse cells in km, where whole fine cells fill them; `Pairs` refuses what is not so."""
    return {
        f"{name}_in": axis.reshape(inputs.sizes[name], -1).mean(axis=1)
        for name, axis in (("y", y), ("x", x))
        if len(axis) % inputs.sizes[name] == 0
    }


def _coordinates(fine: xr.Dataset, spacing_km: float | None) -> dict[str, xr.Variable]:
    place = coordinates(fine, "target", spacing_km=spacing_km)
    if not spacing_known(xr.Dataset(coords=place)):
        raise DataError(
            "grid of the target",
            found="neither x and y with a unit of length nor latitude and longitude",
            expected="one of them",
            todo="add coordinates to the file, or give spacing_km",
        )
    return place


def _projection(dataset: xr.Dataset) -> dict[str, str]:
    """The map's WKT where a grid-mapping variable tells it."""
    crs = projection(dataset)
    return {} if crs is None else {"crs_wkt": crs.to_wkt()}
