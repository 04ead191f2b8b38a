"""Which scales a run has: spectra, autocorrelations and lengths of all its sources, drawn (matplotlib)."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from labkit.plots.colours import SOURCE_COLOURS, SOURCE_LABELS
from labkit.verify.scales import correlation_data, spectra_data
from labkit.verify.selection import over_members, variable_of


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
