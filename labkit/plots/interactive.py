"""Pictures to look into in a notebook (HoloViews): zoom, hover, one colour scale, coast."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from labkit.plots.colours import DIFFERENCES, SOURCE_COLOURS, SOURCE_LABELS, colour_limits, difference_limits, palette
from labkit.plots.geography import coast_lines
from labkit.variables import describe
from labkit.verify import selection


def map_image(
    field: xr.DataArray,
    variable: str | None = None,
    *,
    limits: tuple[float, float] | None = None,
    title: str = "",
    difference: bool = False,
    width: int = 300,
) -> hv.Image:
    """One field (y, x) with coordinates x, y in km as an image with its unit, colours and hover values.

    variable: its name in the registry, the field's own by default. difference: draw on a symmetric scale.
    """
    if hv.Store.current_backend != "bokeh":
        hv.extension("bokeh")
    known = describe(variable or str(field.name), dict(field.attrs))
    values = np.asarray(field.transpose("y", "x").values)
    if difference:
        limits, colours, label = (
            limits or difference_limits(values),
            palette(DIFFERENCES),
            f"difference [{known.units}]",
        )
    else:
        limits, colours, label = limits or colour_limits(known, values), palette(known.cmap), known.label
    kdims = [hv.Dimension("x", unit="km"), hv.Dimension("y", unit="km")]
    data = (np.asarray(field.x.values, float), np.asarray(field.y.values, float), values)
    image = hv.Image(data, kdims=kdims, vdims=[hv.Dimension("value", label=label)], label=title)
    look = {"cmap": colours, "clim": limits, "colorbar": True, "tools": ["hover"], "clabel": known.units}
    return image.opts(frame_width=width, data_aspect=1, title=title or known.label, **look)


def coast(tree: xr.DataTree) -> hv.Path:
    """The coast on a tree's grid, to lay over a `map_image`."""
    return hv.Path([tuple(line.T) for line in coast_lines(tree)], kdims=["x", "y"]).opts(color="#202020", line_width=1)


def ensemble_maps(tree: xr.DataTree, variable: str, *, time: int = 0, member: int = 0, width: int = 240) -> hv.Layout:
    """Linked maps of every source of a variable on one colour scale, coast included."""
    known, sources = selection.variable_of(tree, variable), selection.available(tree, variable)
    fields = {source: selection.field(tree, source, variable).isel(time=time) for source in sources}
    fields = {s: (f.isel(ensemble=member) if "ensemble" in f.dims else f).load() for s, f in fields.items()}
    limits, lines = colour_limits(known, [f.values for f in fields.values()]), coast(tree)
    maps = []
    for source, values in fields.items():
        values = values.assign_coords(x=tree["x"].values, y=tree["y"].values)
        maps.append(map_image(values, variable, limits=limits, title=SOURCE_LABELS[source], width=width) * lines)
    return hv.Layout(maps).cols(3)


def spectra(densities: dict[str, xr.DataArray], *, units: str = "") -> hv.Overlay:
    """Power spectral densities over `wavenumber` (cycles/km) by source, against the wavelength in km."""
    curves = []
    for source, psd in densities.items():
        data = (1 / np.asarray(psd["wavenumber"].values), np.asarray(psd.values))
        curve = hv.Curve(data, "wavelength [km]", f"power [({units})² km]", label=SOURCE_LABELS.get(source, source))
        curves.append(curve.opts(color=SOURCE_COLOURS.get(source, "#8c8c8c"), tools=["hover"], line_width=2))
    look = {
        "logx": True,
        "logy": True,
        "invert_xaxis": True,
        "frame_width": 420,
        "frame_height": 280,
        "legend_position": "bottom_left",
    }
    return hv.Overlay(curves).opts(**look)
