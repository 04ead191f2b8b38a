"""Which scales a run has: spectra, autocorrelations and lengths of its sources, and what a patch misses, drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from labkit.plots.colours import SOURCE_COLOURS, SOURCE_LABELS
from labkit.variables import plain
from labkit.verify.patch_size import remaining
from labkit.verify.reach import FELT
from labkit.verify.scales import correlation_data, quantity_or_raw, reach_data, spectra_data
from labkit.verify.selection import over_members, variable_of

DIRECTION_COLOURS = {"y": "#0072b2", "x": "#e69f00"}


def spectra_figure(tree: xr.DataTree, variable: str, **options) -> Figure:
    """Spectra of all sources, and below them their ratio to the truth's; options as in `spectra_data`."""
    known, data = variable_of(tree, variable), spectra_data(tree, variable, **options)
    figure = Figure(figsize=(7.5, 6.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    lower.set_visible(data.judge == "truth")
    judge = over_members(data.spectra[data.judge])
    for source, psd in data.spectra.items():
        colour = SOURCE_COLOURS[source]
        if source == "prediction" and "ensemble" in psd.dims:
            upper.loglog(psd.wavelength, psd.T, color=colour, lw=0.4, alpha=0.4)
        mean = over_members(psd)
        style = "--" if source == "mean" else "-"
        upper.loglog(mean.wavelength, mean, style, color=colour, label=SOURCE_LABELS[source])
        if source != data.judge:
            lower.loglog(mean.wavelength, mean / judge, style, color=colour)
    if data.band is not None:
        upper.fill_between(judge.wavelength, *data.band, color=SOURCE_COLOURS[data.judge], alpha=0.25, lw=0)
    for source, at in data.resolution.items():
        lower.plot(at, 1, "v", color=SOURCE_COLOURS[source])
    lower.axhspan(1 - data.tolerance, 1 + data.tolerance, color="0.93")
    lower.set(xlabel="wavelength [km]", ylabel="over the truth's", ylim=(0.1, 10))
    upper.set(ylabel=f"power [({known.units})$^2$ km]", title=known.long_name)
    upper.invert_xaxis()
    upper.legend(frameon=False, fontsize=8)
    return figure


def correlation_figure(tree: xr.DataTree, variable: str, **options) -> Figure:
    """Autocorrelation by distance of all sources, with the judge's lengths; options as in `correlation_data`."""
    known, data = variable_of(tree, variable), correlation_data(tree, variable, **options)
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axis = figure.subplots()
    for source, rho in data.rho.items():
        style = "--" if source == "mean" else "-"
        axis.plot(rho.lag, rho, style, color=SOURCE_COLOURS[source], label=SOURCE_LABELS[source])
    colour = SOURCE_COLOURS[data.judge]
    if data.band is not None:
        axis.fill_between(data.rho[data.judge].lag, *data.band, color=colour, alpha=0.25, lw=0)
    for (name, values), style in zip(data.lengths.sel(source=data.judge).items(), (":", "--", "-"), strict=True):
        if np.isfinite(values):
            label = f"{name.replace('_', ' ')}: {float(values):.0f} km"
            axis.axvline(float(values), color=colour, ls=style, lw=1, label=label)
    axis.axhline(0, color="0.5", lw=0.8)
    axis.set(xlabel="distance [km]", ylabel="autocorrelation", title=known.long_name)
    axis.legend(frameon=False, fontsize=8)
    return figure


def patch_figure(
    tree: xr.DataTree,
    variables: Sequence[str],
    *,
    patch: tuple[int, int],
    quantity: str = "residual",
    box: tuple[float, ...] | None = None,
    times: Sequence[int] | None = None,
) -> Figure:
    """Autocorrelation by distance along y and x, with the middle-to-edge distance of a patch (y, x cells) marked, and
    beside it what is left there with its 95 % interval; the selection as in `reach_data`."""
    quantities = quantity_or_raw(tree, variables, quantity)
    reach = reach_data(tree, variables, quantity=quantities, box=box, times=times)
    left = remaining(reach, patch, shape=(tree["truth"].sizes["y"], tree["truth"].sizes["x"]))
    figure = Figure(figsize=(9, 1.5 + 0.9 * len(variables)), layout="constrained")
    curves, bars = figure.subplots(1, 2)
    for i, name in enumerate(variables):
        for offset, direction in ((-0.18, "y"), (0.18, "x")):
            one = {"variable": name, "direction": direction}
            curves.plot(reach.cell, reach.rho.sel(one), color=DIRECTION_COLOURS[direction], lw=1, alpha=0.8)
            value, low, high = (float(left[k].sel(one)) for k in ("half", "low", "high"))
            label = f"along {direction}" if i == 0 else None
            bars.barh(i + offset, value, 0.32, color=DIRECTION_COLOURS[direction], label=label)
            bars.plot([low, high], [i + offset] * 2, color="0.3", lw=1)
    for direction, side in zip("yx", patch, strict=True):
        curves.axvline(side / 2, color=DIRECTION_COLOURS[direction], ls="--", lw=1)
    curves.axhline(0, color="0.5", lw=0.8)
    curves.set(xlabel="distance [cells]", ylabel="autocorrelation", title="By distance; dashed: middle to edge")
    bars.set(xlim=(-0.3, 1), xlabel="correlation left, 95 %", title="Left at the edge of the patch")
    bars.set_yticks(range(len(variables)), [plain(name, 24) for name in variables])
    for level in (-FELT, FELT):
        bars.axvline(level, color="0.4", ls=":")
    bars.invert_yaxis()
    bars.legend(frameon=False, fontsize=8)
    return figure
