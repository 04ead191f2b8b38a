"""Ensemble products as maps: the panels that the explorer shows too, and each as a figure on paper (matplotlib)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from labkit.plots.colours import PROBABILITIES, SOURCE_COLOURS, colour_limits, member_style
from labkit.plots.figures import Limits, draw_map, map_panels, time_text
from labkit.plots.geography import contour
from labkit.variables import Variable, plain
from labkit.verify import products, selection
from labkit.verify.clusters import clusters

OPACITY = 0.8
MAX_NAMED = 36


@dataclass(frozen=True)
class Panel:
    """One map: `values` (y, x), a "value" in the variable's unit or a "probability" in percent."""

    title: str
    values: np.ndarray
    kind: str = "value"


Panels = dict[str, Panel]


def exceedance_panels(members: xr.DataArray, truth: xr.DataArray, *, threshold: float) -> Panels:
    """The share of the members above the threshold, over which paint or lines go, beside the truth."""
    share = 100 * products.exceedance_probability(members, threshold)
    title = f"Members above {threshold:g} {_units(members)} [%]"
    return {"product": _panel(title, share, "probability"), "truth": _panel(f"Truth [{_units(truth)}]", truth)}


def matched_panels(members: xr.DataArray, truth: xr.DataArray, *, radius_km: float) -> Panels:
    """The mean, the probability-matched mean and its local form, in patches as wide as the radius, at least a cell."""
    patch = max(radius_km, *(abs(float(members[axis].diff(axis).mean())) for axis in ("y", "x")))
    return {
        "mean": _panel("Mean", members.mean("ensemble", skipna=False)),
        "matched": _panel("Probability-matched mean", products.probability_matched_mean(members)),
        "local": _panel(
            f"Matched locally, patches of {patch:.3g} km",
            products.local_probability_matched_mean(members, patch_km=patch),
        ),
        "truth": _panel("Truth", truth),
    }


def neighbourhood_panels(members: xr.DataArray, truth: xr.DataArray, *, threshold: float, radius_km: float) -> Panels:
    """Probability of exceeding in the cell, on average over the disc and anywhere in it; the truth's own fraction."""
    where = f"within {radius_km:g} km"
    disc = {"threshold": threshold, "radius_km": radius_km}
    fields = {
        "cell": ("Probability in the cell", products.exceedance_probability(members, threshold)),
        "mean": (f"On average {where}", products.neighbourhood_probability(members, **disc)),
        "maximum": (f"Anywhere {where}", products.neighbourhood_maximum_probability(members, **disc)),
        "truth": (f"Truth: share {where}", products.neighbourhood_probability(truth, **disc)),
    }
    return {key: _panel(title, 100 * field, "probability") for key, (title, field) in fields.items()}


def envelope_panels(members: xr.DataArray, truth: xr.DataArray, *, percentile: float) -> Panels:
    """Minimum, a percentile and maximum of the members in each cell, beside the truth."""
    return {
        "minimum": _panel("Minimum of the members", products.minimum(members)),
        "percentile": _panel(f"Percentile {percentile:g}", products.percentile(members, percentile)),
        "maximum": _panel("Maximum of the members", products.maximum(members)),
        "truth": _panel("Truth", truth),
    }


def extreme_panels(members: xr.DataArray, truth: xr.DataArray, *, by: str, threshold: float | None = None) -> Panels:
    """The least and the most extreme member by "area" above the threshold, "mean" or "maximum"; mean and truth."""
    chosen = products.extreme_members(members, by=by, threshold=threshold)
    panels = {}
    for which in ("least", "most"):
        field = chosen.sel(extreme=which)
        said = severity_text(float(field.severity), by=by, units=_units(members))
        panels[which] = _panel(
            f"{which.capitalize()} extreme: member {plain(field.ensemble.item(), 12)}, {said}", field
        )
    mean = members.mean("ensemble", skipna=False)
    return panels | {"mean": _panel("Mean", mean), "truth": _panel("Truth", truth)}


def severity_text(value: float, *, by: str, units: str) -> str:
    """A severity with its unit: `12.1 %` of an area, `5.31 mm h-1` else."""
    return f"{100 * value:.1f} %" if by == "area" else f"{value:.3g} {units}".rstrip()


def cluster_panels(
    members: xr.DataArray, truth: xr.DataArray, *, number: int, found: xr.Dataset | None = None
) -> Panels:
    """The member that stands for each cluster, the largest first, beside the truth; NaN where there are fewer.

    found: what `clusters(members, number=number)` gave, where that is known already.
    """
    found = clusters(members, number=min(number, members.sizes["ensemble"])) if found is None else found
    panels = {}
    for k in range(1, number + 1):
        if k in found.cluster:
            one = found.sel(cluster=k)
            size, name = int(one["size"]), plain(one.medoid.item(), 12)
            title = f"Cluster {k}: member {name} for {size} of {members.sizes['ensemble']}"
            panels[f"cluster {k}"] = _panel(title, members.sel(ensemble=one.medoid.item()))
        else:
            panels[f"cluster {k}"] = _panel("No further cluster", xr.full_like(truth, np.nan))
    return panels | {"truth": _panel("Truth", truth)}


def paint(members: np.ndarray, threshold: float) -> np.ndarray:
    """Red, green, blue, alpha (y, x, 4), 0 to 255: the area of each member (member, y, x) above the threshold in its
    colour, and the mean of their colours where several are, so that no member hides another; grey where all agree.
    Transparent where no member is above."""
    above = (members > threshold).astype(np.float32)
    colours = np.array([to_rgb(member_style(k)[0]) for k in range(len(members))], np.float32)
    count = above.sum(axis=0)
    mean = np.tensordot(above, colours, (0, 0)) / np.maximum(count, 1)[..., None]
    cover = 1 - (1 - OPACITY) ** count
    return np.rint(255 * np.concatenate([mean, cover[..., None]], axis=-1)).astype(np.uint8)


def joined_lines(x: np.ndarray, y: np.ndarray, field: np.ndarray, level: float) -> np.ndarray:
    """The lines along which `field` (y, x) has the value `level` as one (point, 2), with a NaN between each two."""
    gap = np.full((1, 2), np.nan)
    pieces = [piece for line in contour(x, y, field, level) for piece in (line, gap)]
    return np.concatenate(pieces[:-1]) if pieces else np.empty((0, 2))


def paintball_figure(
    tree: xr.DataTree, variable: str, *, time: int = 0, threshold: float, limits: Limits | None = None
) -> Figure:
    """The area of each member above the threshold in its own colour and the truth's as a line, beside the truth."""
    members, truth, known = _case(tree, variable, time)
    figure, axes = _two_maps(tree, members, truth, known, time, threshold, limits)
    x, y = _axes(tree)
    axes[0].pcolormesh(x, y, paint(members.values, threshold), shading="nearest", rasterized=True, zorder=1.5)
    _draw_lines(axes, x, y, truth.values, threshold)
    styles = [Patch(color=member_style(k)[0]) for k in range(len(members))]
    _name_members(figure, members, styles)
    return figure


def spaghetti_figure(
    tree: xr.DataTree, variable: str, *, time: int = 0, threshold: float, limits: Limits | None = None
) -> Figure:
    """The line of one threshold in each member and in the truth, over the share of members above; the truth beside."""
    members, truth, known = _case(tree, variable, time)
    figure, axes = _two_maps(tree, members, truth, known, time, threshold, limits)
    x, y = _axes(tree)
    styles = [dict(zip(("color", "ls"), member_style(k), strict=True)) | {"lw": 1.2} for k in range(len(members))]
    for field, style in zip(members.values, styles, strict=True):
        axes[0].plot(*joined_lines(x, y, field, threshold).T, **style)
    _draw_lines(axes, x, y, truth.values, threshold)
    _name_members(figure, members, [Line2D([], [], **style) for style in styles])
    return figure


def matched_figure(
    tree: xr.DataTree, variable: str, *, time: int = 0, radius_km: float = 20.0, limits: Limits | None = None
) -> Figure:
    """`matched_panels` on one scale."""
    members, truth, known = _case(tree, variable, time)
    return _figure(tree, matched_panels(members, truth, radius_km=radius_km), known, time, limits)


def neighbourhood_figure(
    tree: xr.DataTree, variable: str, *, time: int = 0, threshold: float, radius_km: float = 20.0
) -> Figure:
    """`neighbourhood_panels` in percent."""
    members, truth, known = _case(tree, variable, time)
    panels = neighbourhood_panels(members, truth, threshold=threshold, radius_km=radius_km)
    label = f"{known.long_name} above {threshold:g} {known.units} [%]"
    fields = {panel.title: panel.values for panel in panels.values()}
    return map_panels(tree, fields, (0.0, 100.0), PROBABILITIES, label, time_text(tree, time), columns=2, size=3.6)


def envelope_figure(
    tree: xr.DataTree, variable: str, *, time: int = 0, percentile: float = 90, limits: Limits | None = None
) -> Figure:
    """`envelope_panels` on one scale."""
    members, truth, known = _case(tree, variable, time)
    return _figure(tree, envelope_panels(members, truth, percentile=percentile), known, time, limits)


def extremes_figure(
    tree: xr.DataTree,
    variable: str,
    *,
    time: int = 0,
    by: str = "area",
    threshold: float | None = None,
    limits: Limits | None = None,
) -> Figure:
    """`extreme_panels` on one scale."""
    members, truth, known = _case(tree, variable, time)
    return _figure(tree, extreme_panels(members, truth, by=by, threshold=threshold), known, time, limits)


def clusters_figure(
    tree: xr.DataTree, variable: str, *, time: int = 0, number: int = 3, limits: Limits | None = None
) -> Figure:
    """`cluster_panels` on one scale."""
    members, truth, known = _case(tree, variable, time)
    return _figure(tree, cluster_panels(members, truth, number=number), known, time, limits, columns=3)


def _case(tree: xr.DataTree, variable: str, time: int) -> tuple[xr.DataArray, xr.DataArray, Variable]:
    """Members (ensemble, y, x) and truth (y, x) of one time, with the tree's x and y, and the variable."""
    known = selection.variable_of(tree, variable)
    axes = {axis: np.asarray(tree[axis].values, float) for axis in ("y", "x")}
    members, truth = (
        selection.field(tree, source, variable).isel(time=time).assign_coords(axes).assign_attrs(units=known.units)
        for source in ("prediction", "truth")
    )
    return members.transpose("ensemble", "y", "x").load(), truth.load(), known


def _panel(title: str, field: xr.DataArray, kind: str = "value") -> Panel:
    return Panel(title, np.asarray(field.transpose("y", "x").values, np.float32), kind)


def _units(field: xr.DataArray) -> str:
    return plain(field.attrs.get("units", ""), 20)


def _figure(
    tree: xr.DataTree, panels: Panels, known: Variable, time: int, limits: Limits | None, *, columns: int = 2
) -> Figure:
    fields: Mapping[str, np.ndarray] = {panel.title: panel.values for panel in panels.values()}
    limits = limits or colour_limits(known, list(fields.values()))
    look = (limits, known.cmap, known.label, time_text(tree, time))
    return map_panels(tree, fields, *look, columns=columns, size=3.6)


def _two_maps(tree, members, truth, known: Variable, time: int, threshold: float, limits) -> tuple[Figure, list[Axes]]:
    panels = exceedance_panels(members, truth, threshold=threshold)
    limits = limits or colour_limits(known, [members.values, truth.values])
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    axes = list(figure.subplots(1, 2, sharex=True, sharey=True))
    draw_map(axes[0], tree, panels["product"].values, (0.0, 400.0), "Greys")
    image = draw_map(axes[1], tree, panels["truth"].values, limits, known.cmap)
    for axis, panel in zip(axes, panels.values(), strict=True):
        axis.set_title(panel.title, loc="left", fontsize=10)
    figure.colorbar(image, ax=axes[1], label=known.label, shrink=0.85, extend="both")
    figure.suptitle(time_text(tree, time), x=0.02, ha="left", fontsize=11)
    return figure, axes


def _draw_lines(axes: Sequence[Axes], x: np.ndarray, y: np.ndarray, field: np.ndarray, level: float) -> None:
    line = joined_lines(x, y, field, level)
    for axis in axes:
        axis.plot(*line.T, color="white", lw=3.6)
        axis.plot(*line.T, color=SOURCE_COLOURS["truth"], lw=2)


def _name_members(figure: Figure, members: xr.DataArray, styles: Sequence[Patch | Line2D]) -> None:
    names = [plain(name, 12) for name in members["ensemble"].values]
    handles, labels = list(styles)[:MAX_NAMED], names[:MAX_NAMED]
    handles, labels = [Line2D([], [], color=SOURCE_COLOURS["truth"], lw=2), *handles], ["truth", *labels]
    columns = -(-len(handles) // 20)
    figure.legend(handles, labels, loc="outside right upper", ncols=columns, frameon=False, fontsize=8, title="member")


def _axes(tree: xr.DataTree) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.asarray(tree[axis].values, float) for axis in ("x", "y"))
