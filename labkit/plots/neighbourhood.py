"""From which scale on is a forecast useful? FSS against the window for sources and thresholds (matplotlib)."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.plots.colours import SOURCE_COLOURS, SOURCE_LABELS, THRESHOLD_COLOURS
from labkit.variables import Variable
from labkit.verify.neighbourhood import SINGLE, Neighbourhoods, fss_data, useful_point
from labkit.verify.selection import variable_of

LABELS = SOURCE_LABELS | {"prediction": "Model, probability", SINGLE: "Model, single members"}
COLOURS = SOURCE_COLOURS | {SINGLE: SOURCE_COLOURS["prediction"]}
DASHES = {"interpolation": "dotted", "regression": "dashed", SINGLE: "dashed"}


def fss_figure(
    tree: xr.DataTree,
    variable: str,
    *,
    threshold: float,
    thresholds: Sequence[float] | None = None,
    times: Sequence[int] | None = None,
) -> Figure:
    """FSS against the width of the window: all sources at one threshold, and the model at several."""
    known = variable_of(tree, variable)
    data = fss_data(tree, variable, threshold=threshold, thresholds=thresholds, times=times)
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    fss_axes(left, data, known)
    thresholds_axes(right, data, known)
    figure.suptitle(known.long_name, x=0.02, ha="left", fontsize=11)
    return figure


def fss_axes(axis: Axes, data: Neighbourhoods, known: Variable) -> None:
    """All sources at one threshold, with the model's interval and the score from which a forecast is useful."""
    own = data.sources["prediction"]
    style = {"color": COLOURS["prediction"], "alpha": 0.2, "lw": 0}
    axis.fill_between(own.window_km, own.low, own.high, **style)
    for source, one in data.sources.items():
        look = {"color": COLOURS[source], "ls": DASHES.get(source, "solid"), "label": LABELS[source]}
        axis.plot(one.window_km, one.fss, marker="o", ms=3, **look)
    axis.axhline(float(own.useful), color="#666666", ls="--", lw=1, label="useful from here")
    axis.set(ylabel="fractions skill score", title=f"above {data.threshold:g} {known.units}", ylim=(0, 1))
    _finish(axis, own)


def thresholds_axes(axis: Axes, data: Neighbourhoods, known: Variable) -> None:
    """The model's probabilities at each threshold; a ring where they become useful."""
    for k, one in enumerate(data.by_threshold):
        label = f"above {float(one.threshold):g} {known.units} ({100 * float(one.base_rate):.2g} % of cells)"
        colour = THRESHOLD_COLOURS[k % len(THRESHOLD_COLOURS)]
        axis.plot(one.window_km, one.fss, "-", color=colour, label=label)
        axis.plot(*useful_point(one), "o", ms=8, mfc="none", mew=2, color=colour)
    axis.set_title("the model, by threshold; ring: useful from here")
    _finish(axis, data.thresholds)


def _finish(axis: Axes, one: xr.Dataset) -> None:
    width = one.window_km.values
    axis.set(xscale="log", xlabel="width of the window [km]")
    axis.set_xticks(width, [f"{w:.0f}" if w >= 10 else f"{w:.2g}" for w in width])
    axis.minorticks_off()
    axis.legend(frameon=False, fontsize=8, loc="lower right")
