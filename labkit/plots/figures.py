"""Pictures of an output tree on paper (matplotlib): what the explorer shows and exports, one call each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.plots.colours import (
    DIFFERENCES,
    PROBABILITIES,
    SOURCE_COLOURS,
    SOURCE_LABELS,
    SPREAD,
    colour_limits,
    colour_map,
    difference_limits,
    symmetric,
)
from labkit.plots.geography import coast_lines, graticule
from labkit.variables import Variable, plain
from labkit.verify import products, selection
from labkit.verify.selection import field_at, series_at

Limits = tuple[float, float]


def maps_figure(
    tree: xr.DataTree,
    variable: str,
    *,
    time: int = 0,
    member: int = 0,
    show: str = "values",
    limits: Limits | None = None,
) -> Figure:
    """Input, regression, ensemble mean, one member, truth and an oracle member on one colour scale.

    show: "values", or "difference" for each minus the truth on a symmetric scale. limits: of the colours, in the
    variable's unit; by default fitted to what is shown.
    """
    known = selection.variable_of(tree, variable)
    fields = {source: field_at(tree, source, variable, time, member) for source in selection.available(tree, variable)}
    if show == "difference":
        fields = {source: values - fields["truth"] for source, values in fields.items() if source != "truth"}
        limits, name = limits or difference_limits(np.stack(list(fields.values()))), DIFFERENCES
    else:
        limits, name = limits or colour_limits(known, list(fields.values())), known.cmap
    titles = {source: source_title(tree, source, member) for source in fields}
    label = f"{known.long_name}, minus truth [{known.units}]" if show == "difference" else known.label
    return map_panels(tree, {titles[s]: f for s, f in fields.items()}, limits, name, label, time_text(tree, time))


def stamps_figure(
    tree: xr.DataTree, variable: str, *, time: int = 0, source: str = "prediction", limits: Limits | None = None
) -> Figure:
    """The truth and every member of a source ("prediction" or "oracle") as postage stamps on one colour scale."""
    known = selection.variable_of(tree, variable)
    members = selection.field(tree, source, variable).isel(time=time).values
    truth = field_at(tree, "truth", variable, time, 0)
    limits = limits or colour_limits(known, [truth, members])
    names = {"Truth": truth} | {source_title(tree, source, k): values for k, values in enumerate(members)}
    columns = int(np.clip(round(np.sqrt(len(names) * 1.6)), 3, 10))
    return map_panels(
        tree, names, limits, known.cmap, known.label, time_text(tree, time), columns=columns, size=1.6, axes=False
    )


def probability_fields(
    members: np.ndarray, truth: np.ndarray, *, threshold: float, percentile: float
) -> dict[str, np.ndarray]:
    """Maps (y, x) of members (member, y, x): unbiased standard deviation, mean minus truth, a percentile, and the
    share of members above the threshold in percent. NaN where a member is."""
    fields = xr.DataArray(members, dims=("ensemble", "y", "x"))
    return {
        "spread": members.std(axis=0, ddof=1) if len(members) > 1 else np.zeros_like(members[0]),
        "error": members.mean(axis=0) - truth,
        "percentile": products.percentile(fields, percentile).values,
        "exceed": 100 * products.exceedance_probability(fields, threshold).values,
    }


def probability_figure(
    tree: xr.DataTree,
    variable: str,
    *,
    time: int = 0,
    threshold: float,
    percentile: float = 90,
    limits: Limits | None = None,
) -> Figure:
    """Spread, error of the mean, a percentile and the probability of exceeding a threshold, each on its own scale."""
    known = selection.variable_of(tree, variable)
    members = selection.field(tree, "prediction", variable).isel(time=time).values
    truth = field_at(tree, "truth", variable, time, 0)
    fields = probability_fields(members, truth, threshold=threshold, percentile=percentile)
    looks = {
        "spread": ("standard deviation", (0.0, symmetric(float(np.quantile(fields["spread"], 0.995)))[1]), SPREAD),
        "error": ("mean minus truth", difference_limits(fields["error"]), DIFFERENCES),
        "percentile": (f"percentile {percentile:g}", limits or colour_limits(known, members), known.cmap),
        "exceed": (f"share of members above {threshold:g} {known.units} [%]", (0.0, 100.0), PROBABILITIES),
    }
    figure = Figure(figsize=(9, 7.6), layout="constrained")
    for axis, (key, (title, scale, name)) in zip(figure.subplots(2, 2).flat, looks.items(), strict=True):
        image = draw_map(axis, tree, fields[key], scale, name)
        axis.set_title(title, loc="left", fontsize=10)
        figure.colorbar(image, ax=axis, label="%" if key == "exceed" else known.units)
    figure.suptitle(f"{known.long_name}, {time_text(tree, time)}", x=0.02, ha="left", fontsize=11)
    return figure


def point_figure(
    tree: xr.DataTree,
    variable: str,
    *,
    time: int = 0,
    point: tuple[float, float] = (0.0, 0.0),
    box: tuple[float, ...] | None = None,
    statistic: str = "mean",
) -> Figure:
    """Distribution at one place and, where there are many times, its development.

    point: x, y in km; box: west, south, east, north in km, over which the "mean", "maximum" or "minimum" is taken.
    """
    known = selection.variable_of(tree, variable)
    sources = [s for s in ("prediction", "oracle", "truth", "regression") if s in selection.available(tree, variable)]
    series = {s: series_at(tree, s, variable, point=point, box=box, statistic=statistic) for s in sources}
    many = tree.sizes["time"] > 1
    figure = Figure(figsize=(9, 6 if many else 3.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(2 if many else 1, 1))
    _distribution(axes[0], {s: values[..., time] for s, values in series.items()}, known)
    axes[0].set_title(time_text(tree, time), loc="left", fontsize=10)
    if many:
        _fan(axes[1], tree["time"].values, series, known, time)
    return figure


def map_panels(
    tree: xr.DataTree,
    fields: Mapping[str, np.ndarray],
    limits: Limits,
    name: str,
    label: str,
    when: str,
    *,
    columns: int = 3,
    size: float = 3.0,
    axes: bool = True,
) -> Figure:
    """Maps (y, x) by title in rows, on one scale with its bar; `when` stands above them. size: of each in inches."""
    rows, columns = -(-len(fields) // columns), min(columns, len(fields))
    figure = Figure(figsize=(size * columns + 1.2, size * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis in list(grid.flat)[len(fields) :]:
        axis.set_axis_off()
    for axis, (title, values) in zip(grid.flat, fields.items(), strict=False):
        image = draw_map(axis, tree, values, limits, name, axes=axes)
        axis.set_title(title, loc="left", fontsize=10 if axes else 8)
    figure.colorbar(image, ax=grid, label=label, shrink=0.9, extend="both")
    figure.suptitle(when, x=0.02, ha="left", fontsize=11)
    return figure


def draw_map(axis: Axes, tree: xr.DataTree, values: np.ndarray, limits: Limits, name: str, *, axes: bool = True):
    """Draw one field (y, x) of a tree with coast and graticule, and return the image for its colour bar."""
    x, y = (np.asarray(tree[dim].values, float) for dim in ("x", "y"))
    look = {"cmap": colour_map(name), "vmin": limits[0], "vmax": limits[1], "rasterized": True}
    image = axis.pcolormesh(x, y, values, shading="nearest", **look)
    for line in coast_lines(tree):
        axis.plot(*line.T, color="white", lw=1.8, alpha=0.7)
        axis.plot(*line.T, color="#202020", lw=0.8)
    for _, line in graticule(x, y, tree["lat"].values, tree["lon"].values) if axes else ():
        axis.plot(*line.T, color="#808080", lw=0.6, ls=":")
    axis.set(aspect="equal", xlim=(x.min(), x.max()), ylim=(y.min(), y.max()))
    if axes and axis.get_subplotspec().is_last_row():
        axis.set_xlabel("km")
    if axes and axis.get_subplotspec().is_first_col():
        axis.set_ylabel("km")
    axis.tick_params(labelsize=8, **({} if axes else {"length": 0, "labelleft": False, "labelbottom": False}))
    return image


def _distribution(axis: Axes, values: Mapping[str, np.ndarray], known: Variable) -> None:
    members = values["prediction"]
    pooled = np.concatenate([np.ravel(v) for v in values.values()])
    edges = np.histogram_bin_edges(pooled[np.isfinite(pooled)], bins=int(np.clip(3 * np.sqrt(members.size), 9, 30)))
    axis.hist(members, edges, color=SOURCE_COLOURS["prediction"], alpha=0.6, label="Members")
    if "oracle" in values:
        style = {"histtype": "step", "color": SOURCE_COLOURS["oracle"], "lw": 1.8, "label": "Oracle"}
        axis.hist(values["oracle"], edges, **style)
    for source, dash in (("truth", "-"), ("regression", "--")):
        if source in values and np.isfinite(values[source]):
            axis.axvline(
                float(values[source]), color=SOURCE_COLOURS[source], ls=dash, lw=2, label=SOURCE_LABELS[source]
            )
    axis.set(xlabel=known.label, ylabel="number of members")
    axis.legend(frameon=False, fontsize=8)


def _fan(axis: Axes, times: np.ndarray, series: Mapping[str, np.ndarray], known: Variable, now: int) -> None:
    members, colour = series["prediction"], SOURCE_COLOURS["prediction"]
    for low, high, alpha in ((5, 95, 0.25), (25, 75, 0.35)):
        band = np.percentile(members, [low, high], axis=0)
        axis.fill_between(times, *band, color=colour, alpha=alpha, lw=0, label=f"Members, {high - low} %")
    if "oracle" in series:
        edges = np.percentile(series["oracle"], [5, 95], axis=0)
        axis.plot(times, edges.T, color=SOURCE_COLOURS["oracle"], lw=1.2, label=["Oracle, 90 %", None])
    axis.plot(times, series["truth"], "o-", color=SOURCE_COLOURS["truth"], ms=4, lw=1.2, label="Truth")
    axis.axvline(times[now], color="#888888", ls="--", lw=1)
    axis.set_ylabel(known.label)
    axis.tick_params(axis="x", labelrotation=20)
    axis.legend(frameon=False, fontsize=8)


def source_title(tree: xr.DataTree, source: str, member: int) -> str:
    """What stands above a map of a source: its name, or that of the member as the tree has it."""
    if source not in ("prediction", "oracle"):
        return SOURCE_LABELS[source]
    number = plain(tree[source]["ensemble"].values[member], 40)
    return f"Member {number}" if source == "prediction" else f"Oracle member {number}"


def time_text(tree: xr.DataTree, time: int) -> str:
    """The time at a position of the tree, as it stands above a figure."""
    stamp = tree["time"].values[time]
    return f"{np.datetime_as_string(stamp, unit='m')} UTC" if isinstance(stamp, np.datetime64) else str(stamp)
