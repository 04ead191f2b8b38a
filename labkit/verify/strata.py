"""Scores by region, season and hour: every cell and time has a stratum, and the strata add up to the whole.

A stratum is a whole number for each cell, time or both, -1 where unknown; the attribute `strata` names them in order.
Strata taken from the truth (its rain) are for diagnosis only: a forecast that always cries wolf does well where it
came (Lerch et al. 2017). For a fair comparison stratify by the input. Strata of the mean of n members leave a perfect
forecast a bias of W / (W + n B) of that mean's anomaly, since a high mean is partly luck (W: variance of the members
about what they scatter about, B: variance of that from case to case).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import dask
import numpy as np
import pandas as pd
import xarray as xr

from labkit.errors import DataError
from labkit.variables import lookup
from labkit.verify import selection
from labkit.verify.compare import score_interval
from labkit.verify.scores import SOURCES, cell_statistics, cell_sums, scores_of

SEASONS = ("DJF", "MAM", "JJA", "SON")
HEIGHT_EDGES_M = (100.0, 500.0, 1500.0)
RAIN_EDGES = (0.1, 1.0, 5.0)
STRATA = {
    "season": "Season",
    "hour": "Hour of the day",
    "surface": "Land and sea",
    "height": "Height of the ground",
    "rain": "Rain of the coarse input",
    "mean": "Ensemble mean",
}
RAINS = ("tp", "reflectivity")


def surface(land_fraction: xr.DataArray) -> xr.DataArray:
    """Sea where the land fraction is below one half, land elsewhere."""
    return _named((land_fraction >= 0.5).astype(np.int8).where(land_fraction.notnull(), -1), ("sea", "land"))


def bands(field: xr.DataArray, edges: Sequence[float], *, units: str = "") -> xr.DataArray:
    """Bands of values between rising edges; an edge belongs to the band above it. The ends are open.

    For heights of the ground (HEIGHT_EDGES_M) or rain rates (RAIN_EDGES).
    """
    if not len(edges) or (np.diff(edges) <= 0).any():
        raise DataError("bands", found=f"edges {list(edges)}", expected="one or more, rising", todo="sort them")
    unit = f" {units}" if units else ""
    between = [f"{a:g} to {b:g}{unit}" for a, b in pairwise(edges)]
    names = [f"below {edges[0]:g}{unit}", *between, f"from {edges[-1]:g}{unit}"]
    codes = sum((field >= edge).astype(np.int8) for edge in edges)
    return _named(codes.where(field.notnull(), -1), names)


def season(time: xr.DataArray) -> xr.DataArray:
    """Meteorological seasons, (time)."""
    return _named(_dated(time).dt.month % 12 // 3, SEASONS)


def hour_of_day(time: xr.DataArray, *, lon: xr.DataArray | None = None, width: int = 3) -> xr.DataArray:
    """Bands of `width` hours from midnight: in UTC, (time), or with longitudes (degrees east) in local solar time,
    UTC + lon / 15, (time, y, x)."""
    if 24 % width:
        raise DataError("hours", found=f"bands of {width} h", expected="a divisor of 24", todo="choose another width")
    minutes = _dated(time).dt.hour * 60 + time.dt.minute
    names = [f"{hour:02d}-{hour + width:02d} {'UTC' if lon is None else 'local'}" for hour in range(0, 24, width)]
    if lon is None:
        return _named(minutes // (60 * width), names)
    codes = np.floor(((minutes + 4.0 * lon) % 1440) / (60 * width))
    return _named(codes.clip(max=24 // width - 1).where(lon.notnull(), -1), names)


def stratified_scores(
    cells: xr.Dataset, strata: xr.DataArray, *, over: Sequence[str] = ("time", "y", "x")
) -> xr.Dataset:
    """Scores (as of `scores.score`) in each stratum: (stratum, and the dimensions not in `over`).

    cells: `scores.cell_statistics`, worked out once for all strata, lazily where they are. `count` says how many cells
    there were; the mean of crps (or squared rmse) over the strata, weighted with it, is that of the whole.
    """
    sums = stratified_sums(cells, strata, over=over)
    return scores_of(sums)


def stratified_sums(cells: xr.Dataset, strata: xr.DataArray, *, over: Sequence[str] = ("y", "x")) -> xr.Dataset:
    """`scores.cell_sums` of each stratum, for bootstraps and comparisons: (stratum, and those not in `over`)."""
    names = strata.attrs["strata"]
    _check(cells, strata)
    parts = [cell_sums(cells.where(strata == code), over=over) for code in range(len(names))]
    return xr.concat(parts, "stratum").assign_coords(stratum=list(names)).assign_attrs(cells.attrs)


def strata_of(tree: xr.DataTree, variable: str, by: str, *, times: Sequence[int] | None = None) -> xr.DataArray:
    """The stratum of each cell or time (`verify.strata`), by one of STRATA.

    Hours are local solar time where the longitudes are known. DataError where the tree does not have what it takes.
    """
    if by not in STRATA:
        raise DataError("strata", found=repr(by), expected=", ".join(STRATA), todo="name one")
    chosen = slice(None) if times is None else list(times)
    truth = selection.field(tree, "truth", variable).isel(time=chosen)
    if by == "season":
        return season(truth.time)
    if by == "hour":
        known = "lon" in tree.coords and bool(np.isfinite(tree["lon"]).all())
        return hour_of_day(truth.time, lon=_bare(tree["lon"], truth) if known else None, width=6)
    if by == "mean":
        mean = selection.field(tree, "mean", variable).isel(time=chosen).load()
        return bands(mean, _quartiles(mean), units=selection.variable_of(tree, variable).units)
    if by == "rain":
        return _rain(tree, truth, chosen)
    name = {"surface": "land_mask", "height": "orography"}[by]
    field = _fixed(tree, name, truth)
    return surface(field) if by == "surface" else bands(field, HEIGHT_EDGES_M, units="m")


def strata_data(tree: xr.DataTree, variable: str, *, by: str, times: Sequence[int] | None = None) -> xr.Dataset:
    """Scores by (source, stratum, bound: low, estimate, high) in the variable's unit, with `count` of cells and
    `times`, how many have any. Bounds are intervals over times, NaN where these are too few, or too alike, to say.
    Strata without a cell are left out; the attribute `left_out` says what not all sources have. Reads what
    `selection.judged` does of all sources, and what the strata are made of."""
    truth, fields = selection.judged(tree, variable, SOURCES, times=times)
    strata = strata_of(tree, variable, by, times=truth.attrs["times"]).load()
    (sums,) = dask.compute({s: stratified_sums(cell_statistics(f, truth), strata) for s, f in fields.items()})
    scores = xr.concat([score_interval(one) for one in sums.values()], "source")
    count = sums["prediction"]["count"]
    seen = (count > 0).sum("time")
    scores = (
        scores[["crps", "bias", "spread_skill", "rmse"]]
        .assign(count=count.sum("time"), times=seen)
        .assign_coords(source=list(sums))
    )
    return scores.isel(stratum=np.flatnonzero(seen.values > 0)).assign_attrs(by=by, left_out=truth.attrs["left_out"])


def strata_table(data: xr.Dataset) -> pd.DataFrame:
    """One line for each source, stratum and bound."""
    return data.to_dataframe(dim_order=["source", "stratum", "bound"]).reset_index()


def _named(codes: xr.DataArray, names: Sequence[str]) -> xr.DataArray:
    return codes.astype(np.int8).rename("stratum").assign_attrs(strata=list(names))


def _dated(time: xr.DataArray) -> xr.DataArray:
    if not np.issubdtype(time.dtype, np.datetime64):
        found, todo = f"times as {time.dtype}", "give the file dates"
        raise DataError("seasons and hours", found=found, expected="dates", todo=todo)
    return time


def _check(cells: xr.Dataset, strata: xr.DataArray) -> None:
    """Strata that belong to other cells would silently leave cells out."""
    try:
        aligned = xr.align(cells, strata, join="exact")
    except ValueError:
        aligned = None
    if aligned is None or not set(strata.dims) <= set(cells.error.dims):
        found = f"strata over {dict(strata.sizes)} and cells over {dict(cells.sizes)} with unlike coordinates"
        raise DataError("strata", found=found, expected="the same cells and times", todo="select those of the scores")


def _fixed(tree: xr.DataTree, name: str, truth: xr.DataArray) -> xr.DataArray:
    """A field of the ground out of the inputs, (y, x), the same at all times."""
    field, shape = selection.ground(tree, name), tuple(truth.sizes[axis] for axis in ("y", "x"))
    if field is None or field.dims != ("y", "x") or field.shape != shape:
        names = selection.names_of(tree["input"]) if "input" in tree.children else {}
        have = ", ".join(sorted(names)) or "no inputs" if field is None else f"one over {dict(field.sizes)}"
        raise DataError(
            f"scores by {lookup(name).long_name}",
            found=have,
            expected=f"{name} among the inputs, on the {shape[0]} x {shape[1]} cells of the output",
            todo="choose another stratum, or write it into the tree",
        )
    return _bare(field, truth).load()


def _rain(tree: xr.DataTree, truth: xr.DataArray, chosen) -> xr.DataArray:
    """Bands of the rain rate, else of the reflectivity, that the model was given."""
    for group in (tree[g] for g in ("input", "interpolation") if g in tree.children):
        names = selection.names_of(group)
        for name in (n for n in RAINS if n in names):
            field = group[names[name]].isel(time=chosen)
            if field.sizes == truth.sizes:
                known = lookup(name)
                edges = RAIN_EDGES if name == "tp" else known.thresholds
                return bands(_bare(field, truth).load(), edges, units=known.units)
    raise DataError(
        "scores by rain",
        found="no rain rate or reflectivity on the grid of the output",
        expected=" or ".join(RAINS) + " in the input or the interpolation",
        todo="choose another stratum",
    )


def _bare(field: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """The field with no coordinates but the truth's of its dimensions: groups may label the same cells differently."""
    field = field.reset_coords(drop=True).drop_vars(list(field.coords), errors="ignore")
    return field.assign_coords({d: truth[d] for d in field.dims if d in truth.coords})


def _quartiles(mean: xr.DataArray) -> list[float]:
    """Edges at the quartiles and the 95th percentile, to three digits."""
    values = mean.quantile([0.25, 0.5, 0.75, 0.95]).values
    return sorted({float(f"{v:.3g}") for v in values if np.isfinite(v)})
