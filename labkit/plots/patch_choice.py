"""What a patch does not see: the correlation that is left between its middle and its edge, as a figure (matplotlib)."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr
from matplotlib.figure import Figure

from labkit.variables import plain
from labkit.verify.patch_size import remaining
from labkit.verify.reach import FELT
from labkit.verify.scales import quantity_or_raw, reach_data

COLOURS = {"y": "#0072b2", "x": "#e69f00"}


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
            curves.plot(reach.cell, reach.rho.sel(one), color=COLOURS[direction], lw=1, alpha=0.8)
            value, low, high = (float(left[k].sel(one)) for k in ("half", "low", "high"))
            label = f"along {direction}" if i == 0 else None
            bars.barh(i + offset, value, 0.32, color=COLOURS[direction], label=label)
            bars.plot([low, high], [i + offset] * 2, color="0.3", lw=1)
    for direction, side in zip("yx", patch, strict=True):
        curves.axvline(side / 2, color=COLOURS[direction], ls="--", lw=1)
    curves.axhline(0, color="0.5", lw=0.8)
    curves.set(xlabel="distance [cells]", ylabel="autocorrelation", title="By distance; dashed: middle to edge")
    bars.set(xlim=(-0.3, 1), xlabel="correlation left, 95 %", title="Left at the edge of the patch")
    bars.set_yticks(range(len(variables)), [plain(name, 24) for name in variables])
    for level in (-FELT, FELT):
        bars.axvline(level, color="0.4", ls=":")
    bars.invert_yaxis()
    bars.legend(frameon=False, fontsize=8)
    return figure
