"""Probabilities of one event: reliability diagram, sharpness, ROC and Brier score, drawn (matplotlib)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.plots.colours import SOURCE_COLOURS, SOURCE_LABELS
from labkit.verify.probability import PARTS, Reliability, reliability_data
from labkit.verify.selection import variable_of

CLIMATE = "#8c8c8c"


def reliability_figure(
    tree: xr.DataTree, variable: str, *, threshold: float, times: Sequence[int] | None = None
) -> Figure:
    """Reliability diagram with its sharpness beneath, ROC, and the Brier score with its parts written out."""
    known = variable_of(tree, variable)
    data = reliability_data(tree, variable, threshold=threshold, times=times)
    figure = Figure(figsize=(11.5, 5.4), layout="constrained")
    left, middle, right = figure.subfigures(1, 3, width_ratios=[1.15, 1.15, 0.9])
    upper, lower = left.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    reliability_axes(upper, data)
    sharpness_axes(lower, data)
    roc_axes(middle.subplots(), data)
    right.text(0.03, 0.86, scores_text(data), va="top", family="monospace", fontsize=8.5)
    title = f"{known.long_name} above {threshold:g} {known.units}"
    figure.suptitle(title, x=0.02, ha="left", fontsize=11)
    return figure


def reliability_axes(axis: Axes, data: Mapping[str, Reliability]) -> None:
    """Observed share against forecast probability: interval of each bin, and the band that chance alone allows."""
    own = data["prediction"].curve.dropna("bin", subset=["forecast"])
    rate = data["prediction"].score("base_rate")
    axis.plot([0, 1], [0, 1], color="#666666", ls="--", lw=1)
    axis.axhline(rate, color=CLIMATE, ls=":", lw=1.2, label=f"climatology {rate:.3g}")
    band = {"color": "#9aa5b1", "alpha": 0.5, "lw": 0, "label": "chance, if calibrated"}
    axis.fill_between(own.forecast, own.consistency_low, own.consistency_high, **band)
    for source, one in data.items():
        curve = one.curve.dropna("bin", subset=["forecast"])
        style = {"color": SOURCE_COLOURS[source], "label": SOURCE_LABELS[source]}
        axis.plot(curve.forecast, curve.observed, "o-", ms=4 if source == "prediction" else 2, **style)
    axis.vlines(own.forecast, own.low, own.high, color=SOURCE_COLOURS["prediction"], lw=1.2)
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="observed share")
    axis.legend(frameon=False, fontsize=8, loc="upper left")


def sharpness_axes(axis: Axes, data: Mapping[str, Reliability]) -> None:
    """How often each probability was given: sharp forecasts are near 0 or 1."""
    for source, one in data.items():
        share = one.curve["count"] / one.curve["count"].sum()
        edges = np.linspace(0, 1, share.size + 1)
        style = {"color": SOURCE_COLOURS[source]}
        if source == "prediction":
            axis.stairs(share, edges, fill=True, alpha=0.6, **style)
        else:
            axis.stairs(share, edges, lw=1.4, **style)
    axis.set(yscale="log", xlabel="forecast probability", ylabel="share of cells")


def roc_axes(axis: Axes, data: Mapping[str, Reliability]) -> None:
    """Hit rate against false alarm rate of every warning level."""
    for source, one in data.items():
        label = f"{SOURCE_LABELS[source]}, area {one.score('roc_area'):.3f}"
        style = {"color": SOURCE_COLOURS[source], "label": label}
        axis.plot(one.roc.false_alarm_rate, one.roc.hit_rate, "o-", ms=3, **style)
    axis.plot([0, 1], [0, 1], color="#666666", ls="--", lw=1)
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="false alarm rate", ylabel="hit rate", aspect="equal")
    axis.legend(frameon=False, fontsize=8, loc="lower right")


def scores_text(data: Mapping[str, Reliability]) -> str:
    """The Brier score and its parts by source as lines of text, the first source's with their intervals."""
    lines = [" " * 12 + "".join(f"{SOURCE_LABELS[source]:>9}" for source in data)]
    for name in PARTS:
        values = "".join(f"{one.score(name):9.4f}" for one in data.values())
        lines.append(f"{name.replace('_', ' '):<12}{values}")
    first = next(iter(data.values()))
    low, high = (first.score("skill", bound) for bound in ("low", "high"))
    sure = f"95 %: {low:.3f} to {high:.3f}" if np.isfinite(low) else "no interval: too few independent times"
    return "\n".join([*lines, "", f"skill of the {SOURCE_LABELS['prediction'].lower()},", sure])
