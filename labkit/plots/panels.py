"""Rows of maps of one variable on one colour scale, as the lessons show them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.plots.colours import DIFFERENCES, colour_limits, colour_map, difference_limits
from labkit.variables import lookup

Fields = Mapping[str, np.ndarray | xr.DataArray]
Limits = tuple[float, float]


def maps(
    fields: Fields,
    variable: str,
    *,
    like: xr.DataArray,
    land: np.ndarray | xr.DataArray | None = None,
    limits: Limits | None = None,
    columns: int = 4,
) -> Figure:
    """Maps by title, all in the registry's colours for `variable` and on one scale.

    fields: (y, x) in its units, of any resolution, all covering the domain of `like`, whose `x`, `y` are in km.
    land: land fraction (y, x) on the grid of `like`, for the coast.
    """
    known = lookup(variable)
    arrays = {title: np.asarray(field, float) for title, field in fields.items()}
    low, high = limits or colour_limits(known, list(arrays.values()))
    return _row(arrays, known.cmap, (low, high), known.label, like, land, columns)


def differences(
    fields: Fields,
    variable: str,
    *,
    like: xr.DataArray,
    land: np.ndarray | xr.DataArray | None = None,
    limits: Limits | None = None,
    columns: int = 4,
) -> Figure:
    """Maps of differences of `variable` by title, on one scale symmetric about zero; arguments as in `maps`."""
    known = lookup(variable)
    arrays = {title: np.asarray(field, float) for title, field in fields.items()}
    limits = limits or difference_limits(np.concatenate([array.ravel() for array in arrays.values()]))
    return _row(arrays, DIFFERENCES, limits, f"difference [{known.units}]", like, land, columns)


def _row(arrays: Mapping[str, np.ndarray], cmap: str, limits: Limits, label: str, like, land, columns: int) -> Figure:
    columns = min(columns, len(arrays))
    rows = -(-len(arrays) // columns)
    west, east, south, north = edges = _edges(like)
    height = 2.3 * (north - south) / (east - west)
    figure = Figure(figsize=(2.45 * columns + 1.2, rows * (height + 0.25) + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax, (title, values) in zip(axes.flat, arrays.items(), strict=False):
        image = ax.imshow(
            values,
            origin="lower",
            extent=edges,
            cmap=colour_map(cmap),
            vmin=limits[0],
            vmax=limits[1],
            interpolation="nearest",
        )
        ax.set_title(title, fontsize=10)
        _coast(ax, like, land)
    for ax in axes.flat[len(arrays) :]:
        ax.set_visible(False)
    figure.supxlabel("x [km]", fontsize=9)
    figure.supylabel("y [km]", fontsize=9)
    figure.colorbar(image, ax=axes, label=label, shrink=0.9, aspect=25, extend="both")
    return figure


def _coast(ax: Axes, like: xr.DataArray, land) -> None:
    if land is not None:
        # white on black: legible on light and on dark maps
        for colour, width in (("black", 1.6), ("white", 0.6)):
            ax.contour(like.x, like.y, np.asarray(land, float), [0.5], colors=colour, linewidths=width)


def _edges(like: xr.DataArray) -> tuple[float, float, float, float]:
    """West, east, south and north edges of the grid in km."""
    x, y = (np.asarray(like[axis], float) for axis in ("x", "y"))
    dx, dy = (float(np.diff(axis).mean()) for axis in (x, y))
    return x[0] - dx / 2, x[-1] + dx / 2, y[0] - dy / 2, y[-1] + dy / 2
