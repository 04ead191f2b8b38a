"""Pictures of calibration (matplotlib): rank histogram, spread and skill, CRPS by ensemble size, spectra.

Each further diagnostic has a module of its own: `probability`, `neighbourhood`, `distributions`, `strata` and
`score_maps`. In all of them `<name>_figure` draws what `<name>_data` works out by source and `<name>_table` lists, both
in the module of that name in `labkit.verify`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.plots.colours import SOURCE_COLOURS, SOURCE_LABELS
from labkit.variables import Variable
from labkit.verify.calibration import calibration_data
from labkit.verify.selection import variable_of


def calibration_figure(tree: xr.DataTree, variable: str, *, times=None, seed: int = 0) -> Figure:
    """Rank histogram, spread against skill and CRPS by ensemble size of a variable, beside the oracle's if known."""
    known = variable_of(tree, variable)
    data = calibration_data(tree, variable, times=times, seed=seed)
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    ranks, spread, size = figure.subplots(1, 3)
    rank_histogram_axes(ranks, {s: d["ranks"] for s, d in data.items()}, data["prediction"]["flat"])
    spread_skill_axes(spread, {s: d["spread_skill"] for s, d in data.items() if "spread_skill" in d}, known)
    crps_by_size_axes(size, {s: d["crps"] for s, d in data.items() if "crps" in d}, known)
    figure.suptitle(known.long_name, x=0.02, ha="left", fontsize=11)
    return figure


def rank_histogram_axes(axis: Axes, counts: Mapping[str, xr.DataArray], flat: xr.Dataset | None = None) -> None:
    """Relative frequency of the truth's rank, 1 where flat: bars for the model, a line for the oracle.

    flat: `exchangeability.flatness` of the model, drawn as the band that a member in the role of the truth keeps to.
    """
    if flat is not None:
        edges = np.arange(flat.sizes["bin"] + 1) - 0.5
        look = {"color": "#6b7684", "alpha": 0.45, "lw": 0, "zorder": 2.5, "label": "chance, if calibrated"}
        axis.stairs(flat.high, edges, baseline=flat.low.values, fill=True, **look)
    for source, values in counts.items():
        relative = values / values.sum("rank") * values.sizes["rank"]
        style = {"color": SOURCE_COLOURS[source], "label": SOURCE_LABELS[source]}
        if source == "prediction":
            axis.bar(values["rank"], relative, width=0.9, alpha=0.7, **style)
        else:
            axis.step(values["rank"], relative, where="mid", lw=2, **style)
    axis.axhline(1, color="#666666", ls="--", lw=1)
    axis.set(xlabel="rank of the truth among the members", ylabel="frequency, 1 where flat")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_ylim(0, 1.2 * axis.get_ylim()[1])  # room for the names
    axis.legend(frameon=False, fontsize=8, loc="upper center", ncols=3)


def spread_skill_axes(axis: Axes, bins: Mapping[str, xr.Dataset], known: Variable) -> None:
    """Error of the mean against spread in bins of the spread; calibrated ensembles lie on the diagonal."""
    for source, values in bins.items():
        axis.plot(values.spread, values.rmse, "o-", color=SOURCE_COLOURS[source], ms=4, label=SOURCE_LABELS[source])
    top = max([float(max(v.spread.max(), v.rmse.max())) for v in bins.values()], default=1.0)
    axis.plot([0, top], [0, top], color="#666666", ls="--", lw=1)
    axis.set(
        xlabel=f"spread [{known.units}]", ylabel=f"RMSE of the mean [{known.units}]", xlim=(0, None), ylim=(0, None)
    )
    axis.legend(frameon=False, fontsize=8)


def crps_by_size_axes(axis: Axes, curves: Mapping[str, xr.DataArray], known: Variable) -> None:
    """Fair CRPS of random subsets of the members; flat whatever the ensemble, so that sizes can be compared."""
    for source, values in curves.items():
        axis.plot(values["size"], values, "o-", color=SOURCE_COLOURS[source], ms=4, label=SOURCE_LABELS[source])
    axis.set(xlabel="members", ylabel=f"fair CRPS [{known.units}]", xscale="log")
    axis.set_ylim(0, None)
    sizes = sorted({int(size) for values in curves.values() for size in values["size"].values})
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()
    axis.legend(frameon=False, fontsize=8)


def spectra_axes(axis: Axes, spectra: Mapping[str, xr.DataArray], known: Variable) -> None:
    """Power spectral densities (wavenumber in cycles/km) by source, against the wavelength in km."""
    for source, psd in spectra.items():
        wavelength = 1 / np.asarray(psd["wavenumber"].values)
        axis.loglog(wavelength, psd, color=SOURCE_COLOURS.get(source), label=SOURCE_LABELS.get(source, source))
    axis.invert_xaxis()
    axis.set(xlabel="wavelength [km]", ylabel=f"power [({known.units})$^2$ km]")
    axis.legend(frameon=False, fontsize=8)
