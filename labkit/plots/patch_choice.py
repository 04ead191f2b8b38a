"""What a patch does not see: the correlation that is left between its middle and its edge, as a figure (matplotlib)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from labkit.plots.colours import plain
from labkit.plots.scales import quantity_or_raw, reach_data
from labkit.verify.patch_size import remaining

FORGOTTEN = float(np.exp(-1))  # the correlation at which a field is said to have forgotten
COLOURS = {"y": "#0072b2", "x": "#e69f00"}


def patch_figure(
    tree: xr.DataTree,
    variables: Sequence[str],
    *,
    patch: tuple[int, int],
    quantity: str = "residual",
    centre: str | None = "each",
    box: tuple[float, ...] | None = None,
    times: Sequence[int] | None = None,
) -> Figure:
    """Autocorrelation by distance along y and x, with the middle-to-edge distance of a patch (y, x cells) marked, and
    beside it what is left there; the selection as in `reach_data`."""
    quantities = quantity_or_raw(tree, variables, quantity)
    reach = reach_data(tree, variables, quantity=quantities, centre=centre, box=box, times=times, curves=True)
    shape = tree["truth"].sizes["y"], tree["truth"].sizes["x"]
    left = remaining(reach, patch, shape=shape).half
    figure = Figure(figsize=(9, 1.5 + 0.9 * len(variables)), layout="constrained")
    curves, bars = figure.subplots(1, 2)
    for i, name in enumerate(variables):
        for offset, direction in ((-0.18, "y"), (0.18, "x")):
            rho = reach.rho.sel(variable=name, direction=direction)
            curves.plot(rho.cell, rho, color=COLOURS[direction], lw=1, alpha=0.8)
            value = float(left.sel(variable=name, direction=direction))
            bars.barh(i + offset, value, 0.32, color=COLOURS[direction], label=f"along {direction}" if i == 0 else None)
    for direction, side in zip("yx", patch, strict=True):
        curves.axvline(side / 2, color=COLOURS[direction], ls="--", lw=1)
    curves.axhline(0, color="0.5", lw=0.8)
    curves.set(xlabel="distance [cells]", ylabel="autocorrelation", title="By distance; dashed: middle to edge")
    bars.set(xlim=(-0.3, 1), xlabel="correlation left", title="Left at the edge of the patch")
    bars.set_yticks(range(len(variables)), [plain(name, 24) for name in variables])
    bars.axvline(FORGOTTEN, color="0.4", ls=":")
    bars.invert_yaxis()
    bars.legend(frameon=False, fontsize=8)
    return figure
