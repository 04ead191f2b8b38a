"""Pictures of calibration (matplotlib): rank histogram, spread and skill, CRPS by ensemble size, spectra.

Each further diagnostic has a module of its own: `reliability`, `neighbourhoods`, `distributions`, `strata` and
`score_maps`. In all of them `<name>_data` works out what is drawn, by source, `<name>_table` lists it and
`<name>_figure` draws it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import binom

from labkit.errors import DataError
from labkit.plots import selection
from labkit.plots.colours import SOURCE_COLOURS, SOURCE_LABELS
from labkit.variables import Variable
from labkit.verify.calibration import rank_histogram
from labkit.verify.common import on_common_cells, shortfall
from labkit.verify.roles import flatness, pit_tables
from labkit.verify.scores import crps_by_size
from labkit.verify.spread_skill import binned_spread_skill

ENSEMBLES = ("prediction", "oracle")


def judged(
    tree: xr.DataTree, variable: str, sources: Sequence[str] = ENSEMBLES, *, times: Sequence[int] | None = None
) -> tuple[xr.DataArray, dict[str, xr.DataArray]]:
    """Truth (time, y, x) and, of the sources named, those that the tree has, in memory. times: positions, or all.

    Sources are shown on the cells and times that all of them know (`verify.common`): elsewhere the truth is NaN, and
    times and members of which nothing is left are gone. Attributes of the truth: `times`, the positions kept, and
    `left_out`, what is missing. DataError where nothing is left.
    """
    has, chosen = selection.available(tree, variable), slice(None) if times is None else list(times)
    fields = {s: selection.field(tree, s, variable).isel(time=chosen).load() for s in ("truth", *sources) if s in has}
    common = on_common_cells(fields.pop("truth"), fields)
    known = common.truth.notnull().any(["y", "x"]).values
    if not (common.observed and known.any()) or "prediction" in common.absent:
        nothing = "no member" if "prediction" in common.absent else "not one cell that was observed"
        what, found = f"truth of {variable}", common.left_out or f"{nothing} at these times"
        raise DataError(what, found=found, expected="some to compare with", todo="choose other times")
    kept = slice(None) if known.all() else np.flatnonzero(known)  # a slice copies nothing
    positions = np.arange(len(known)) if times is None else np.asarray(times)
    said = {"times": positions[kept].tolist(), "left_out": shortfall(common, int(common.truth.count()))}
    fields = {s: field.isel(time=kept) for s, field in common.fields.items() if s not in common.absent}
    return common.truth.isel(time=kept).assign_attrs(said), fields


def calibration_data(
    tree: xr.DataTree, variable: str, *, times=None, seed: int = 0
) -> dict[str, dict[str, xr.Dataset]]:
    """Everything that the calibration of a variable is drawn from, by source ("prediction", and "oracle" if known):
    "ranks" counts and their "flat" band, "spread_skill" bins, "crps" by ensemble size (fair). times: positions; all by
    default. A lone member has ranks only."""
    truth, ensembles = judged(tree, variable, times=times)
    found = {}
    for source, members in ensembles.items():
        found[source] = {
            "ranks": rank_histogram(members, truth, seed=seed).assign_attrs(left_out=truth.attrs["left_out"]),
            "flat": flatness(pit_tables(members, truth, seed=seed)),
        }
        if members.sizes["ensemble"] > 1:
            found[source]["spread_skill"] = binned_spread_skill(members, truth)
            found[source]["crps"] = crps_by_size(members, truth, seed=seed, repeats=4)
    return found


def calibration_figure(tree: xr.DataTree, variable: str, *, times=None, seed: int = 0) -> Figure:
    """Rank histogram, spread against skill and CRPS by ensemble size of a variable, beside the oracle's if known."""
    known = selection.variable_of(tree, variable)
    data = calibration_data(tree, variable, times=times, seed=seed)
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    ranks, spread, size = figure.subplots(1, 3)
    rank_histogram_axes(ranks, {s: d["ranks"] for s, d in data.items()}, data["prediction"]["flat"])
    spread_skill_axes(spread, {s: d["spread_skill"] for s, d in data.items() if "spread_skill" in d}, known)
    crps_by_size_axes(size, {s: d["crps"] for s, d in data.items() if "crps" in d}, known)
    figure.suptitle(known.long_name, x=0.02, ha="left", fontsize=11)
    return figure


def flat_band(cells: float, ranks: int, share: float = 0.9) -> tuple[float, float]:
    """Limits that shares of a flat histogram keep to with probability `share`, if cells are independent."""
    return tuple(float(v) / max(cells, 1) for v in binom.interval(share, int(cells), 1 / ranks))


def calibration_table(data: Mapping[str, Mapping[str, xr.Dataset]]) -> pd.DataFrame:
    """`calibration_data` as lines of source, diagnostic, x and y: rank and count, spread and RMSE, members and CRPS."""
    lines = []
    for source, found in data.items():
        curves = {"ranks": (found["ranks"]["rank"], found["ranks"])}
        if "crps" in found:
            curves["spread_skill"] = (found["spread_skill"].spread, found["spread_skill"].rmse)
            curves["crps"] = (found["crps"]["size"], found["crps"])
        for name, (x, y) in curves.items():
            lines.append(pd.DataFrame({"source": source, "diagnostic": name, "x": x.values, "y": y.values}))
    return pd.concat(lines, ignore_index=True)


def rank_histogram_axes(axis: Axes, counts: Mapping[str, xr.DataArray], flat: xr.Dataset | None = None) -> None:
    """Relative frequency of the truth's rank, 1 where flat: bars for the model, a line for the oracle.

    flat: `roles.flatness` of the model, drawn as the band that a member in the role of the truth keeps to.
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
