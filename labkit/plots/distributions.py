"""Are values as frequent as they should be? PIT, share above each value, quantile against quantile (matplotlib)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.plots.colours import SOURCE_COLOURS, SOURCE_LABELS
from labkit.variables import Variable
from labkit.verify.distributions import distribution_data
from labkit.verify.selection import variable_of

TAIL = {"lw": 1.2, "capsize": 2.5}


def distribution_figure(
    tree: xr.DataTree, variable: str, *, times: Sequence[int] | None = None, seed: int = 0
) -> Figure:
    """PIT, share of cells above each value, and members' quantiles against the truth's."""
    known = variable_of(tree, variable)
    data = distribution_data(tree, variable, times=times, seed=seed)
    figure = Figure(figsize=(12.5, 4.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    pit_axes(left, data.pit)
    shares_axes(middle, data.shares, known)
    quantiles_axes(right, data.quantiles, known)
    figure.suptitle(known.long_name, x=0.02, ha="left", fontsize=11)
    return figure


def pit_axes(axis: Axes, pit: Mapping[str, xr.Dataset]) -> None:
    """Histogram of the PIT, 1 where flat, with the band that a member in the role of the truth keeps to."""
    own = pit["prediction"]
    edges = np.append(own.left, 1.0)
    axis.stairs(own.frequency, edges, fill=True, color=SOURCE_COLOURS["prediction"], alpha=0.6, label="Model")
    look = {"color": "#6b7684", "alpha": 0.45, "lw": 0, "label": "chance, if calibrated"}
    axis.stairs(own.high, edges, baseline=own.low.values, fill=True, **look)
    if "oracle" in pit:
        axis.stairs(pit["oracle"].frequency, edges, color=SOURCE_COLOURS["oracle"], lw=2, label="Oracle")
    axis.axhline(1, color="#666666", ls="--", lw=1)
    axis.set(xlabel="PIT: probability given to values below the truth", ylabel="frequency, 1 where flat")
    axis.set_ylim(0, 1.2 * axis.get_ylim()[1])
    axis.legend(frameon=False, fontsize=8, loc="upper center", ncols=3)


def shares_axes(axis: Axes, shares: Mapping[str, xr.Dataset], known: Variable) -> None:
    """Share of cells above each value, on a logarithmic scale: what the members hold by chance is the band."""
    for source, one in shares.items():
        style = {"color": SOURCE_COLOURS[source]}
        axis.fill_between(one.threshold, one.member_low, one.member_high, alpha=0.25, lw=0, **style)
        axis.plot(one.threshold, one.pooled, lw=1.5, label=SOURCE_LABELS[source], **style)
    truth = next(iter(shares.values()))
    axis.plot(truth.threshold, truth.truth, "o-", ms=3, color=SOURCE_COLOURS["truth"], label="Truth")
    axis.set(yscale="log", xlabel=known.label, ylabel="share of cells and times above")
    axis.legend(frameon=False, fontsize=8)


def quantiles_axes(axis: Axes, quantiles: Mapping[str, xr.Dataset], known: Variable) -> None:
    """Members' quantiles less the truth's, by level, in the variable's unit: bars hold what one member of the same
    size may differ by chance."""
    for k, (source, one) in enumerate(quantiles.items()):
        centre = one.pooled - one.truth
        spread = [one.pooled - one.member_low, one.member_high - one.pooled]
        places = np.arange(one.sizes["level"]) + 0.16 * (2 * k - 1) * (len(quantiles) > 1)
        look = {"color": SOURCE_COLOURS[source], "label": SOURCE_LABELS[source], **TAIL}
        axis.errorbar(places, centre, yerr=np.maximum(spread, 0), fmt="o", ms=5, **look)
    axis.axhline(0, color=SOURCE_COLOURS["truth"], lw=1.2, label="Truth")
    axis.set_xticks(range(one.sizes["level"]), level_names(one), rotation=45, ha="right", fontsize=8)
    axis.set(xlabel="quantile (and its value in the truth)", ylabel=f"less the truth's [{known.units}]")
    axis.legend(frameon=False, fontsize=8)


def level_names(one: xr.Dataset) -> list[str]:
    """`99.9 %: 42.1` for each level, the second number the truth's quantile."""
    return [f"{100 * float(level):g} %: {float(value):.3g}" for level, value in zip(one.level, one.truth, strict=True)]
