"""Pairs out of any coarse and fine fields: matched in time and place, in our units, regridded where need be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from labkit.border import say
from labkit.data.grids import covering_cells
from labkit.data.intervals import bounds_of, rates
from labkit.data.latlon import by_pressure, is_pressure
from labkit.data.pairs import Pairs
from labkit.data.reading import choose, stack, telling_gaps, timed
from labkit.data.triangles import regridded
from labkit.errors import DataError
from labkit.grid import MEMBERS, coordinates, eastwards, oriented, projection, spacing_known, with_our_dims
from labkit.units import check_plausible, check_told, in_our_units, kilometres, possible
from labkit.variables import canonical


def pairs_of(
    coarse: xr.Dataset,
    fine: xr.Dataset,
    invariant: xr.Dataset | None = None,
    *,
    input_channels: Sequence[str] | None = None,
    target_channels: Sequence[str] | None = None,
    invariant_channels: Sequence[str] | None = None,
    factor: int | tuple[int, int] | None = None,
    dims: Mapping[str, str] | None = None,
    spacing_km: float | None = None,
    units: Mapping[str, str] | None = None,
    accumulated: Mapping[str, float | str] | None = None,
    missing: str = "refuse",
    chunk: int = 8,
    names: Mapping[str, str] | None = None,
) -> Pairs:
    """Coarse and fine fields (time, y, x) as pairs, lazily: of `open_wrfout`, `open_era5`, `open_grib` or xarray.

    Options as in `labkit.data.files.open_files`. Whole fine cells must fill the coarse ones, or the coarse grid is the
    fine one; elsewhere, as where one is of latitudes and longitudes and the other of a map, `factor` (of both axes, or
    along y and x) has the input interpolated to cells of so many fine ones (`labkit.data.triangles`). names: of "input"
    and "target" in what is said of them.
    """
    if missing not in ("refuse", "mask"):
        raise DataError("missing", found=missing, expected='"refuse" or "mask"', todo="choose one of the two")
    called = {"input": "input", "target": "target"} | dict(names or {})
    check_told(accumulated or {}, list(map(str, {**coarse.data_vars, **fine.data_vars})), "data", said="accumulated")
    coarse, fine = (
        timed(_laid_out(part, what, dims), what).chunk({"time": chunk})
        for part, what in ((coarse, "input"), (fine, "target"))
    )
    coarse = _with_rates(coarse, called["input"], input_channels, accumulated, units)
    fine = _with_rates(fine, called["target"], target_channels, accumulated, units)
    coarse, fine = _shared_times(coarse, fine)
    coarse = covering_cells(coarse, fine) if factor is None else regridded(coarse, fine, factor)
    place = _coordinates(fine, spacing_km)
    y, x = (np.asarray(place[axis].values) for axis in ("y", "x"))
    stamps = {"time": fine["time"].values}
    inputs = _channels(coarse, "input", input_channels, ("time", "channel", "y", "x"), units)
    targets = _channels(fine, "target", target_channels, ("time", "channel", "y", "x"), units)
    targets = targets.assign_coords(stamps | place)
    gaps = {"missing_input": "mean"} if missing == "mask" else {}
    inputs = telling_gaps(inputs) if gaps else inputs
    statics = _invariants(invariant, invariant_channels, dims, fine, units)
    doubts = [a for part in (coarse, statics) if (a := part.attrs.get("alignment", ""))]
    return Pairs(
        input=inputs.rename(y="y_in", x="x_in").assign_coords(stamps | _coarse_axes(y, x, inputs)).rename("input"),
        target=targets.rename("target"),
        invariant=statics.assign_coords(place).rename("invariant"),
        mask=targets.notnull().all("channel").rename("mask") if missing == "mask" else None,
        attrs={"alignment": " ".join(doubts), **_projection(fine), **gaps},
    )


def _laid_out(dataset: xr.Dataset, what: str, dims: Mapping[str, str] | None) -> xr.Dataset:
    """With our dimensions, rows from south to north, columns from west to east."""
    relevant = {theirs: ours for theirs, ours in (dims or {}).items() if theirs in dataset.dims}
    return eastwards(oriented(with_our_dims(dataset, what, relevant), what))


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
    lost = [_within(d["time"].values, shared) - len(shared) for d in (coarse, fine)]
    if all(lost):
        say(
            f"times: {len(shared)} are in both files; between them {lost[0]} of the input and {lost[1]} of the target "
            "have no partner and are left out"
        )
    parts = coarse.sel(time=shared), fine.sel(time=shared)
    _check_bounds(*parts)
    return parts


def _within(times: np.ndarray, shared: np.ndarray) -> int:
    """How many times lie within those that are shared."""
    return int(((times >= shared.min()) & (times <= shared.max())).sum())


def _check_bounds(coarse: xr.Dataset, fine: xr.Dataset) -> None:
    """DataError where both files have bounds of the time and one label stands for two intervals."""
    of_coarse, of_fine = bounds_of(coarse), bounds_of(fine)
    if of_coarse is None or of_fine is None:
        return
    differ = np.flatnonzero((of_coarse[1] <= of_fine[0]) | (of_fine[1] <= of_coarse[0]))
    if differ.size:
        spans = [f"{str(low[differ[0]])[:16]} to {str(high[differ[0]])[:16]}" for low, high in (of_coarse, of_fine)]
        raise DataError(
            f"time {str(coarse['time'].values[differ[0]])[:16]} of input and target",
            found=f"the interval {spans[0]} in the input and {spans[1]} in the target",
            expected="intervals that overlap where times are the same",
            todo="label both by the same end of the interval",
        )


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
    named = {str(variable.name): variable.transpose(*order) for variable in chosen}
    check_plausible(named, what, units=units)
    return stack(list(possible(in_our_units(named, what, units=units), what).values()), dims, what)


def _maps(dataset: xr.Dataset, dims: set[str]) -> dict[str, xr.DataArray]:
    """Numeric variables over exactly `dims` by name; a further dimension is taken apart into one map a label."""
    found: dict[str, xr.DataArray] = {}
    for name, variable in dataset.data_vars.items():
        extra = [dim for dim in variable.dims if dim not in dims]
        if not dims <= set(variable.dims) or len(extra) > 1 or not np.issubdtype(variable.dtype, np.number):
            continue
        parts = _taken_apart(str(name), variable, extra[0]) if extra else {str(name): variable}
        found |= {label: part.rename(label) for label, part in parts.items()}
    return found


def _taken_apart(name: str, variable: xr.DataArray, dim: str) -> dict[str, xr.DataArray]:
    """One map a channel or level along `dim`, named by its own words, by the pressure (t850), by the height in metres
    (u10), or else by the number of the level (t_3); a level alone is none. DataError for members."""
    if is_pressure(variable, dim):
        return by_pressure(name, variable)
    if variable.sizes[dim] == 1:
        return {name: variable.isel({dim: 0}, drop=True)}
    if dim in MEMBERS or dim not in variable.coords or variable[dim].dtype.kind not in "OUSiuf":
        members = f"{variable.sizes[dim]} members along {dim}"
        raise DataError(
            f"variable {name}",
            found=members if dim in MEMBERS else f"a dimension {dim} without names or numbers",
            expected="names of channels or levels along it",
            todo="choose one in the file, such as dataset.isel(" + f"{dim}=0), or leave the variable out",
        )
    labels = variable[dim].values
    if labels.dtype.kind in "OUS":
        names = [label.decode() if isinstance(label, bytes) else str(label) for label in labels]
    else:
        between = "" if kilometres(str(variable[dim].attrs.get("units", ""))) == 1e-3 else "_"
        names = [f"{name}{between}{label:g}" for label in labels]
    return {label: variable.isel({dim: i}, drop=True) for i, label in enumerate(names)}


def _invariants(dataset: xr.Dataset | None, names: Sequence[str] | None, dims, fine: xr.Dataset, units) -> xr.DataArray:
    if dataset is None:
        empty = np.empty((0, fine.sizes["y"], fine.sizes["x"]), np.float32)
        return xr.DataArray(empty, dims=("channel", "y", "x"), coords={"channel": np.array([], "U1")})
    dataset = covering_cells(_laid_out(dataset, "invariants", dims), fine, "invariants")
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
