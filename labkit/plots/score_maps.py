"""Maps of bias and CRPS with what in them is more than chance, computed and drawn (matplotlib).

Grey lies over cells whose 95 % interval over times includes zero or cannot be told. One cell in twenty is left clear by
chance alone; the share that the oracle leaves clear, whose bias is none, says how many.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from labkit.plots import selection
from labkit.plots.calibration import judged
from labkit.plots.colours import DIFFERENCES, SOURCE_LABELS, SPREAD, difference_limits, symmetric
from labkit.plots.figures import draw_map
from labkit.variables import Variable
from labkit.verify.bootstrap import paired_difference
from labkit.verify.compare import score_maps
from labkit.verify.scores import crps

REFERENCES = ("oracle", "regression", "interpolation")
BLOCK_VALUES = 2_000_000  # cells with each time left out by turns, held at once


def score_maps_data(tree: xr.DataTree, variable: str, *, times: Sequence[int] | None = None) -> xr.Dataset:
    """Maps (y, x) in the variable's unit: `bias`, `crps`, and `excess`, the CRPS less that of the attribute
    `reference`, the first of REFERENCES that the tree has (a single field's is its absolute error).

    `bias_sure`, `excess_sure`: whether their 95 % interval excludes zero. Attributes: `untold`, the share of cells
    where the times are too few or too alike for an interval of the bias; `oracle_sure`, the share in which the
    oracle's excludes zero, by chance; NaN without an oracle or any interval.
    """
    truth, fields = judged(tree, variable, ("prediction", *REFERENCES), times=times)
    reference = next((name for name in REFERENCES if name in fields), "")
    own = _bias(fields["prediction"], truth)
    bias, bias_sure = own.bias.sel(bound="estimate", drop=True), _excludes_zero(own.bias)
    untold = float(own.bias.isnull().any("bound").where(bias.notnull()).mean())
    found = xr.Dataset({"bias": bias, "bias_sure": bias_sure, "crps": own.crps.sel(bound="estimate", drop=True)})
    chance = np.nan
    if reference:
        found = found.merge(_excess(fields["prediction"], fields[reference], truth))
    if "oracle" in fields:
        oracle = _bias(fields["oracle"], truth).bias
        chance = float(_excludes_zero(oracle).where(oracle.notnull().all("bound")).mean())
    said = {"untold": untold, "times": truth.sizes["time"], "left_out": truth.attrs["left_out"]}
    return found.assign_attrs(reference=reference, oracle_sure=chance, **said)


def score_maps_table(data: xr.Dataset) -> pd.DataFrame:
    """One line for each cell."""
    return data.to_dataframe().reset_index()


def score_maps_figure(tree: xr.DataTree, variable: str, *, times: Sequence[int] | None = None) -> Figure:
    """Bias, CRPS, and CRPS less that of a reference, with grey over what chance may have made."""
    known = selection.variable_of(tree, variable)
    data = score_maps_data(tree, variable, times=times)
    names = map_titles(data, known)
    figure = Figure(figsize=(4.1 * len(names), 3.6), layout="constrained")
    for axis, (name, title) in zip(figure.subplots(1, len(names), squeeze=False).flat, names.items(), strict=True):
        limits, colours = map_scale(data, name)
        image = draw_map(axis, tree, data[name].values, limits, colours)
        if f"{name}_sure" in data:
            _veil(axis, data, data[f"{name}_sure"].values)
        axis.set_title(title, loc="left", fontsize=10)
        figure.colorbar(image, ax=axis, label=known.units, shrink=0.8, extend="both")
    note = f"{known.long_name}, {data.attrs['times']} times; grey: zero lies within the 95 % interval"
    figure.suptitle(note, x=0.02, ha="left", fontsize=11)
    return figure


def map_titles(data: xr.Dataset, known: Variable) -> dict[str, str]:
    """What each map shows, by its name in the data."""
    names = {"bias": "Bias: mean minus truth", "crps": "Fair CRPS"}
    if data.attrs["reference"]:
        label = SOURCE_LABELS[data.attrs["reference"]].lower()
        names["excess"] = f"CRPS minus that of the {label}"
    return names


def map_scale(data: xr.Dataset, name: str) -> tuple[tuple[float, float], str]:
    """Colour limits and colour map."""
    values = data[name].values
    if name == "crps":
        return (0.0, symmetric(float(np.nanquantile(values, 0.995)))[1]), SPREAD
    return difference_limits(values), DIFFERENCES


def _bias(forecast: xr.DataArray, truth: xr.DataArray) -> xr.Dataset:
    """Bias and CRPS by cell with bounds, a few rows of cells at a time."""
    rows = _rows(truth)
    maps = score_maps(forecast.chunk(y=rows), truth.chunk(y=rows))
    return maps[["bias", "crps"]].compute()


def _excess(prediction, reference, truth) -> xr.Dataset:
    rows = _rows(truth)
    own, other = (_crps(field, truth).chunk(y=rows) for field in (prediction, reference))
    paired = paired_difference(own, other).compute()
    sure = (paired.low > 0) | (paired.high < 0)
    return xr.Dataset({"excess": paired.difference, "excess_sure": sure})


def _crps(field: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    return crps(field if "ensemble" in field.dims else field.expand_dims("ensemble"), truth)


def _excludes_zero(bounds: xr.DataArray) -> xr.DataArray:
    return (bounds.sel(bound="low", drop=True) > 0) | (bounds.sel(bound="high", drop=True) < 0)


def _rows(truth: xr.DataArray) -> int:
    return int(np.clip(BLOCK_VALUES // (truth.sizes["time"] * truth.sizes["x"]), 1, truth.sizes["y"]))


def _veil(axis: Axes, data: xr.Dataset, sure: np.ndarray) -> None:
    x, y = (np.asarray(data[dim].values, float) for dim in ("x", "y"))
    grey = ListedColormap(["#c9ced4"])
    axis.pcolormesh(x, y, np.where(sure, np.nan, 1.0), shading="nearest", cmap=grey, alpha=0.75, rasterized=True)
