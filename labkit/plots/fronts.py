"""A front in every source of an output tree: its lines on a map, how sharp it is, and sections across it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.plots.colours import SOURCE_COLOURS, SOURCE_LABELS, colour_limits
from labkit.plots.figures import draw_map, time_text
from labkit.variables import lookup
from labkit.verify.front_study import SMOOTH_KM, cut, front_of, longest, warmth_of
from labkit.verify.fronts import FRONTAL
from labkit.verify.selection import ENSEMBLES

CURVES = ("temperature", "along", "across", "echo")
LABELS = {
    "temperature": "temperature at sea level [K]",
    "along": "wind towards B [m/s]",
    "across": "wind to the left of A-B [m/s]",
}
BAND = (5, 95)


def front_figure(
    tree: xr.DataTree,
    *,
    time: int = 0,
    member: int = 0,
    start: tuple[float, float],
    end: tuple[float, float],
    smooth_km: float = SMOOTH_KM,
    least: float = FRONTAL,
) -> Figure:
    """One member's temperature at sea level with the fronts of all sources, and sections from `start` (A) to `end` (B)
    in x, y (km): lines of the single sources, bands of 90 % of the members and of the oracle's. least: K / 100 km from
    which on a line is a front."""
    front = front_of(tree, time=time, smooth_km=smooth_km, least=least)
    cuts = cut(front.fields, start, end)
    shown = [name for name in CURVES if any(name in one for one in cuts.values())]
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.1, 1))
    warmth = warmth_of(front, member)
    axis = left.subplots()
    image = draw_map(axis, tree, warmth, colour_limits(lookup("t2m"), [warmth]), lookup("t2m").cmap)
    left.colorbar(image, ax=axis, label=LABELS["temperature"], shrink=0.8)
    for source, ways in longest(front).items():
        for way in ways:
            width, alpha = (0.8, 0.6) if source in ENSEMBLES else (2.2, 1)
            axis.plot(*way.T, color=SOURCE_COLOURS[source], lw=width, alpha=alpha)
    axis.plot(*zip(start, end, strict=True), color="black", lw=1.5, marker="o")
    for letter, place in zip("AB", (start, end), strict=True):
        axis.annotate(letter, place, textcoords="offset points", xytext=(5, 5), fontweight="bold")
    axis.set_title(time_text(tree, time), loc="left", fontsize=10)
    for axis, name in zip(np.atleast_1d(right.subplots(len(shown), 1, sharex=True)), shown, strict=True):
        _curves(axis, cuts, name)
    axis.set_xlabel("km from A")
    axis.legend(frameon=False, fontsize=7, ncols=2)
    return figure


def curve_label(cuts: Mapping[str, xr.Dataset], name: str) -> str:
    """What a curve shows, with its unit."""
    if name in LABELS:
        return LABELS[name]
    return next((str(one[name].attrs.get("label", name)) for one in cuts.values() if name in one), name)


def _curves(axis: Axes, cuts: Mapping[str, xr.Dataset], name: str) -> None:
    for source, curves in cuts.items():
        if name not in curves:
            continue
        values, colour, label = curves[name], SOURCE_COLOURS[source], SOURCE_LABELS[source]
        if "ensemble" in values.dims:
            low, high = np.percentile(values, BAND, axis=values.get_axis_num("ensemble"))
            axis.fill_between(curves.distance, low, high, color=colour, alpha=0.22, lw=0)
            values, label = values.median("ensemble"), f"{label}, median and 90 %"
        axis.plot(curves.distance, values, color=colour, lw=2 if source == "truth" else 1.4, label=label)
    axis.set_ylabel(curve_label(cuts, name), fontsize=8)
    axis.tick_params(labelsize=8)
