"""Maps of bias and CRPS with what in them is more than chance, drawn (matplotlib).

Grey lies over cells whose 95 % interval over times includes zero or cannot be told. One cell in twenty is left clear by
chance alone; the share that the oracle leaves clear, whose bias is none, says how many.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from labkit.plots.colours import DIFFERENCES, SOURCE_LABELS, SPREAD, difference_limits, symmetric
from labkit.plots.figures import draw_map
from labkit.variables import Variable
from labkit.verify.score_maps import score_maps_data
from labkit.verify.selection import variable_of


def score_maps_figure(tree: xr.DataTree, variable: str, *, times: Sequence[int] | None = None) -> Figure:
    """Bias, CRPS, and CRPS less that of a reference, with grey over what chance may have made."""
    known = variable_of(tree, variable)
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


def _veil(axis: Axes, data: xr.Dataset, sure: np.ndarray) -> None:
    x, y = (np.asarray(data[dim].values, float) for dim in ("x", "y"))
    grey = ListedColormap(["#c9ced4"])
    axis.pcolormesh(x, y, np.where(sure, np.nan, 1.0), shading="nearest", cmap=grey, alpha=0.75, rasterized=True)
