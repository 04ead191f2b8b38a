"""Where and when is a forecast good? Scores by season, hour, surface, height and rain, drawn (matplotlib)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.plots.colours import SOURCE_COLOURS, SOURCE_LABELS
from labkit.verify.selection import variable_of
from labkit.verify.strata import STRATA, strata_data

SHOWN = {"crps": "fair CRPS", "bias": "bias", "spread_skill": "spread / skill"}


def strata_figure(tree: xr.DataTree, variable: str, *, by: str, times: Sequence[int] | None = None) -> Figure:
    """CRPS, bias and spread over skill of all sources in each stratum, with their intervals."""
    known = variable_of(tree, variable)
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
