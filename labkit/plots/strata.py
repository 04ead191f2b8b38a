"""Where and when is a forecast good? Scores by season, hour, surface, height and rain, computed and drawn (matplotlib).

None of the strata is taken from the truth: a forecast that always cries wolf does well where it came (Lerch et al.
2017).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.errors import DataError
from labkit.plots import selection
from labkit.plots.calibration import judged
from labkit.plots.colours import SOURCE_COLOURS, SOURCE_LABELS
from labkit.variables import canonical, lookup
from labkit.verify.compare import score_interval
from labkit.verify.scores import SOURCES, cell_statistics
from labkit.verify.strata import HEIGHT_EDGES_M, RAIN_EDGES, bands, hour_of_day, season, stratified_sums, surface

STRATA = {
    "season": "Season",
    "hour": "Hour of the day",
    "surface": "Land and sea",
    "height": "Height of the ground",
    "rain": "Rain of the coarse input",
    "mean": "Ensemble mean",
}
SHOWN = {"crps": "fair CRPS", "bias": "bias", "spread_skill": "spread / skill"}
RAINS = ("tp", "reflectivity")


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
    Strata without a cell are left out; the attribute `left_out` says what not all sources have."""
    truth, fields = judged(tree, variable, SOURCES, times=times)
    strata = strata_of(tree, variable, by, times=truth.attrs["times"]).load()
    cells = {s: cell_statistics(f, truth) for s, f in fields.items()}
    sums = {s: stratified_sums(c, strata) for s, c in cells.items()}
    scores = xr.concat([score_interval(one) for one in sums.values()], "source")
    count = sums["prediction"]["count"]
    seen = (count > 0).sum("time")
    scores = scores[[*SHOWN, "rmse"]].assign(count=count.sum("time"), times=seen).assign_coords(source=list(sums))
    return scores.isel(stratum=np.flatnonzero(seen.values > 0)).assign_attrs(by=by, left_out=truth.attrs["left_out"])


def strata_table(data: xr.Dataset) -> pd.DataFrame:
    """One line for each source, stratum and bound."""
    return data.to_dataframe(dim_order=["source", "stratum", "bound"]).reset_index()


def strata_figure(tree: xr.DataTree, variable: str, *, by: str, times: Sequence[int] | None = None) -> Figure:
    """CRPS, bias and spread over skill of all sources in each stratum, with their intervals."""
    known = selection.variable_of(tree, variable)
    data = strata_data(tree, variable, by=by, times=times)
    figure = Figure(figsize=(12, 1.6 + 0.5 * data.sizes["stratum"]), layout="constrained")
    for axis, (name, title) in zip(figure.subplots(1, 3, sharey=True), SHOWN.items(), strict=True):
        strata_axes(axis, data, name)
        unit = "" if name == "spread_skill" else f" [{known.units}]"
        axis.set_xlabel(f"{title}{unit}")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8)
    figure.suptitle(f"{known.long_name} by {STRATA[by].lower()}", x=0.02, ha="left", fontsize=11)
    return figure


def strata_axes(axis: Axes, data: xr.Dataset, name: str) -> None:
    """One score as dots with intervals, a line of the chart for each stratum."""
    rows, sources = np.arange(data.sizes["stratum"]), list(data.source.values)
    for k, source in enumerate(sources):
        low, middle, high = (data[name].sel(source=source, bound=b).values for b in ("low", "estimate", "high"))
        place = rows + 0.16 * (k - (len(sources) - 1) / 2)
        style = {"color": SOURCE_COLOURS[source]}
        axis.hlines(place, low, high, lw=2, alpha=0.6, **style)
        axis.plot(middle, place, "o", ms=5, label=SOURCE_LABELS[source], **style)
    axis.axvline({"crps": 0.0, "bias": 0.0, "spread_skill": 1.0}[name], color="#666666", ls="--", lw=1)
    axis.set_yticks(rows, stratum_names(data))
    axis.set_ylim(len(rows) - 0.5, -0.5)


def stratum_names(data: xr.Dataset) -> list[str]:
    """Each stratum with the number of times that have any of it."""
    return [f"{name} ({int(n)})" for name, n in zip(data.stratum.values, data.times.values, strict=True)]


def _fixed(tree: xr.DataTree, name: str, truth: xr.DataArray) -> xr.DataArray:
    """A field of the ground out of the inputs, (y, x), the same at all times."""
    group = tree["input"] if "input" in tree.children else xr.Dataset()
    names = {canonical(str(v)): v for v in group.data_vars}
    shape = tuple(truth.sizes[axis] for axis in ("y", "x"))
    field = group[names[name]] if name in names else None
    if field is not None and "time" in field.dims:
        field = field.isel(time=0, drop=True)
    if field is None or field.dims != ("y", "x") or field.shape != shape:
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
        names = {canonical(str(v)): v for v in group.data_vars}
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
