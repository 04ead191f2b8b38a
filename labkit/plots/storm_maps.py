"""Maps of one storm in all sources of a tree (matplotlib, cartopy): its tracks, and its fields side by side."""

from __future__ import annotations

from collections.abc import Sequence

import cartopy.crs as ccrs
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from labkit.errors import DataError
from labkit.plots.colours import (
    BEST_TRACK_COLOUR,
    PROBABILITIES,
    SOURCE_COLOURS,
    SOURCE_LABELS,
    colour_limits,
    colour_map,
)
from labkit.plots.figures import Limits, draw_map, source_title, time_text
from labkit.plots.geography import coast_degrees, coast_lines
from labkit.plots.storm_labels import SINGLES
from labkit.sphere import KM_PER_DEGREE
from labkit.variables import describe
from labkit.verify import selection
from labkit.verify.cyclones.ensembles import cone, strike_probability

RINGS_KM = (50.0, 100.0)
REACH_KM = 120.0
DEGREES = ccrs.PlateCarree()
CENTRE = "#d6006c"


def track_figure(
    tree: xr.DataTree,
    storm: xr.DataTree,
    *,
    time: int | None = None,
    member: int | None = None,
    within_km: float = 30.0,
    best_track: xr.Dataset | None = None,
) -> Figure:
    """Tracks of all members over the strike probability, with the cone, the truth, input and regression.

    On a map of the place with coast and graticule where latitudes are known, else in kilometres. time: mark where the
    storm is then. member: one that is drawn in black. best_track: `lat`, `lon` (time), drawn where given.
    """
    members = _members(storm)
    on_map = _on_map(tree)
    figure = Figure(figsize=(7.5, 6.6), layout="constrained")
    move = {"transform": DEGREES} if on_map else {}
    axis = figure.add_subplot(projection=_lambert(tree)) if on_map else _plane_axis(figure, tree)
    if on_map:
        _dress(axis, tree)
    x, y = ("lon", "lat") if on_map else ("x", "y")
    root = tree.to_dataset(inherit=False)
    chance = 100 * strike_probability(members, xr.Dataset(coords=_places(root, on_map)), within_km=within_km)
    shown = np.ma.masked_less(chance.transpose("y", "x").values, 1)
    look = {"cmap": colour_map(PROBABILITIES), "vmin": 0, "vmax": 100, "shading": "nearest", "rasterized": True}
    grid = (root["lon"].values, root["lat"].values) if on_map else (root["x"].values, root["y"].values)
    image = axis.pcolormesh(*grid, shown, alpha=0.5, **look, **move)
    figure.colorbar(image, ax=axis, label=f"members that come within {within_km:g} km [%]", shrink=0.85)
    for k in range(members.sizes["ensemble"]):
        _way(axis, members.isel(ensemble=k), x, y, color=SOURCE_COLOURS["prediction"], lw=0.6, alpha=0.7, **move)
    _cone(axis, members, on_map, move)
    for source in SINGLES:
        if source in storm.children:
            style = {"color": SOURCE_COLOURS[source], "lw": 2.2, "label": SOURCE_LABELS[source]}
            _way(axis, storm[source], x, y, **style, **move)
    axis.plot([], [], color=SOURCE_COLOURS["prediction"], lw=1, label="Members", **move)
    if best_track is not None and on_map:
        axis.plot(best_track.lon, best_track.lat, "--", color=BEST_TRACK_COLOUR, lw=1.8, label="Best track", **move)
    if member is not None:
        name = source_title(tree, "prediction", member)
        _way(axis, members.isel(ensemble=member), x, y, color="black", lw=1.6, label=name, **move)
    for source, colour in _marked(storm, member) if time is not None else []:
        place = place_of(storm, source, time, member or 0, degrees=on_map)
        if place:
            axis.plot(*place, "o", ms=7, mfc=colour, mec="white", mew=1, zorder=6, **move)
    axis.legend(loc="best", fontsize=8)
    when = f", {time_text(tree, time)}" if time is not None else ""
    axis.set_title(f"Tracks of {members.sizes['ensemble']} members{when}", loc="left", fontsize=10)
    return figure


def _marked(storm: xr.DataTree, member: int | None) -> list[tuple[str, str]]:
    """Sources whose place is marked, with their colours."""
    marked = [(source, SOURCE_COLOURS[source]) for source in SINGLES if source in storm.children]
    return marked + ([("prediction", "black")] if member is not None else [])


def storm_maps_figure(
    tree: xr.DataTree,
    storm: xr.DataTree,
    *,
    variable: str,
    time: int = 0,
    member: int = 0,
    about: str = "storm",
    rings_km: Sequence[float] = RINGS_KM,
    reach_km: float = REACH_KM,
    limits: Limits | None = None,
) -> Figure:
    """Every source's field of a variable side by side on one colour scale, with each one's centre and rings about it.

    about: "storm", each about its own centre in km, `reach_km` to all sides; or "earth", all of the same ground, on
    maps with coast and graticule where latitudes are known. A source that has no storm at this time is shown about the
    truth's place (else about the mean of the others', else the middle of the grid), and its title says so. limits: of
    the colours, in the variable's unit; by default fitted to the fields. DataError where no source has the variable.
    """
    sources = selection.available(tree, variable)
    _check(tree, sources, variable, about)
    known = describe(variable, dict(selection.field(tree, sources[0], variable).attrs))
    fields = {source: selection.field_at(tree, source, variable, time, member) for source in sources}
    scale = limits or colour_limits(known, list(fields.values()))
    on_map = about == "earth" and _on_map(tree)
    places = {source: place_of(storm, source, time, member, degrees=on_map) for source in sources}
    rows, columns = -(-len(sources) // 3), min(3, len(sources))
    figure = Figure(figsize=(3.1 * columns + 1.2, 3.1 * rows + 0.7), layout="constrained")
    look = {"projection": _lambert(tree)} if on_map else {}
    grid = figure.subplots(rows, columns, squeeze=False, subplot_kw=look)
    for axis in list(grid.flat)[len(sources) :]:
        axis.set_axis_off()
    for k, (axis, source) in enumerate(zip(grid.flat, sources, strict=False)):
        place, title = places[source], source_title(tree, source, member) + ": no storm found" * (not places[source])
        if about == "storm":
            other, said = _instead(tree, places)
            title += "" if place else f",\nabout {said}"
            image = _about_storm(axis, tree, fields[source], scale, known.cmap, place or other, reach_km)
            place = place and (0.0, 0.0)
        else:
            image = _on_ground(axis, tree, fields[source], scale, known.cmap, on_map, k + columns >= len(sources))
        _mark(axis, place, rings_km, on_map)
        axis.set_title(title, loc="left", fontsize=9)
    figure.get_layout_engine().set(h_pad=0.12)
    figure.colorbar(image, ax=grid, label=known.label, shrink=0.9, extend="both")
    rings = " and ".join(f"{radius:g}" for radius in rings_km)
    how = "each about its own storm" if about == "storm" else "fixed to the ground"
    figure.suptitle(f"{time_text(tree, time)}, {how}; rings at {rings} km", x=0.02, ha="left", fontsize=11)
    return figure


def place_of(storm: xr.DataTree, source: str, time: int, member: int, *, degrees: bool = False):
    """Centre (x, y) in km, or (lon, lat), of a source, or of a member of an ensemble; None where it has none."""
    if source not in storm.children:
        return None
    part = storm[source].to_dataset().isel(time=time)
    part = part.isel(ensemble=member) if "ensemble" in part.dims else part
    place = tuple(float(part[name]) for name in (("lon", "lat") if degrees else ("x", "y")))
    return place if np.isfinite(place).all() else None


def _check(tree: xr.DataTree, sources: Sequence[str], variable: str, about: str) -> None:
    if about not in ("storm", "earth"):
        raise DataError("maps of a storm", found=f"about={about!r}", expected="storm or earth", todo="choose one")
    if not sources:
        have = sorted({str(name) for group in tree.children.values() for name in group.data_vars})
        expected, todo = f"{variable} of one source", "name a variable that it has"
        raise DataError("maps of a storm", found=", ".join(have) or "no variable", expected=expected, todo=todo)


def _instead(tree: xr.DataTree, places: dict) -> tuple[tuple[float, float], str]:
    """Where a source without a storm is looked at, and what is said of it."""
    known = [place for place in places.values() if place]
    if places.get("truth"):
        return places["truth"], "the truth's place"
    middle = float(tree["x"].mean()), float(tree["y"].mean())
    return (tuple(np.mean(known, axis=0)), "the others' place") if known else (middle, "the middle of the grid")


def _about_storm(axis: Axes, tree: xr.DataTree, values, limits: Limits, name: str, place, reach_km: float):
    shifted = tree.to_dataset(inherit=False)[["lat", "lon"]]
    shifted = xr.DataTree(shifted.assign_coords(x=tree["x"] - place[0], y=tree["y"] - place[1]))
    if "input" in tree.children:
        shifted["input"] = xr.DataTree(tree["input"].to_dataset(inherit=False))
    image = draw_map(axis, shifted, values, limits, name)
    axis.set(xlim=(-reach_km, reach_km), ylim=(-reach_km, reach_km))
    return image


def _on_ground(axis: Axes, tree: xr.DataTree, values, limits: Limits, name: str, on_map: bool, lowest: bool):
    if not on_map:
        return draw_map(axis, tree, values, limits, name)
    _dress(axis, tree, west=axis.get_subplotspec().is_first_col(), south=lowest)
    look = {"cmap": colour_map(name), "vmin": limits[0], "vmax": limits[1], "shading": "nearest", "rasterized": True}
    return axis.pcolormesh(tree["lon"].values, tree["lat"].values, values, transform=DEGREES, **look)


def _mark(axis: Axes, place, rings_km: Sequence[float], on_map: bool) -> None:
    """The centre, and rings about it that are seen on dark and on light."""
    if place is None:
        return
    move = {"transform": DEGREES} if on_map else {}
    for radius in rings_km:
        ring = _ring(place, radius, on_map)
        axis.plot(*ring, color="black", lw=1.8, alpha=0.45, zorder=4, **move)
        axis.plot(*ring, color="white", lw=1.0, ls=(0, (4, 3)), zorder=5, **move)
    axis.plot(*place, "+", ms=11, mew=3.4, color="white", zorder=6, **move)
    axis.plot(*place, "+", ms=10, mew=1.8, color=CENTRE, zorder=7, **move)


def _ring(place: Sequence[float], radius_km: float, on_map: bool) -> np.ndarray:
    """A circle (2, point) about x, y in km, or about lon, lat in degrees."""
    angle = np.linspace(0, 2 * np.pi, 73)
    away = radius_km * np.stack([np.cos(angle), np.sin(angle)])
    if on_map:
        away /= KM_PER_DEGREE * np.array([[np.cos(np.deg2rad(place[1]))], [1.0]])
    return np.asarray(place, float)[:, None] + away


def _on_map(tree: xr.DataTree) -> bool:
    return all(name in tree.coords or name in tree.variables for name in ("lat", "lon")) and bool(
        np.isfinite(tree["lat"].values).all() and np.isfinite(tree["lon"].values).all()
    )


def _places(root: xr.Dataset, on_map: bool) -> dict:
    if on_map:
        return {name: (("y", "x"), root[name].values) for name in ("lat", "lon")}
    return {name: (name, root[name].values) for name in ("y", "x")}


def _lambert(tree: xr.DataTree) -> ccrs.Projection:
    """A Lambert map of the tree's place."""
    lat, lon = (float(np.median(tree[name].values)) for name in ("lat", "lon"))
    parallels = (lat - 4, lat + 4)
    return ccrs.LambertConformal(lon, lat, standard_parallels=parallels, cutoff=-80 if lat >= 0 else 80)


def _dress(axis: Axes, tree: xr.DataTree, *, west: bool = True, south: bool = True) -> None:
    """Extent, coast and graticule on a map; `west`, `south`: whether its labels stand there."""
    lat, lon = tree["lat"].values, tree["lon"].values
    edge = [np.concatenate([a[0], a[-1], a[:, 0], a[:, -1]]) for a in (lon, lat)]
    points = axis.projection.transform_points(DEGREES, *edge)
    axis.set_xlim(points[:, 0].min(), points[:, 0].max())
    axis.set_ylim(points[:, 1].min(), points[:, 1].max())
    for line in coast_degrees(tree):
        for look in ({"color": "white", "lw": 1.8, "alpha": 0.7}, {"color": "#202020", "lw": 0.9}):
            axis.plot(*line.T, transform=DEGREES, zorder=3, **look)
    sides = {side: which for side, which, shown in (("left", "y", west), ("bottom", "x", south)) if shown}
    look = {"lw": 0.5, "color": "#808080", "ls": ":", "x_inline": False, "y_inline": False, "rotate_labels": False}
    lines = axis.gridlines(draw_labels=sides or False, xlocs=MaxNLocator(5), ylocs=MaxNLocator(6), **look)
    lines.xlabel_style = lines.ylabel_style = {"size": 8}


def _plane_axis(figure: Figure, tree: xr.DataTree) -> Axes:
    axis = figure.add_subplot()
    x, y = tree["x"].values, tree["y"].values
    for line in coast_lines(tree):
        axis.plot(*line.T, color="#202020", lw=0.9)
    axis.set(aspect="equal", xlim=(x.min(), x.max()), ylim=(y.min(), y.max()), xlabel="x [km]", ylabel="y [km]")
    return axis


def _cone(axis: Axes, members: xr.Dataset, on_map: bool, move: dict) -> None:
    """Circles about the mean that hold two thirds of the members, and the mean track."""
    middle = cone(members)
    names = ("lon", "lat") if on_map else ("x", "y")
    for t in range(middle.sizes["time"]):
        at = middle.isel(time=t)
        if np.isfinite(at.radius):
            ring = _ring([float(at[name]) for name in names], float(at.radius), on_map)
            axis.plot(*ring, color="#555555", lw=0.5, alpha=0.7, **move)
    _way(axis, middle, *names, color=SOURCE_COLOURS["prediction"], lw=2.4, label="Mean of members", **move)


def _way(axis: Axes, track, x: str, y: str, **look) -> None:
    """A line through the known positions of a track (time)."""
    known = np.isfinite(track[x].values)
    axis.plot(track[x].values[known], track[y].values[known], **look)


def _members(storm: xr.DataTree) -> xr.Dataset:
    if "prediction" in storm.children:
        return storm["prediction"].to_dataset()
    found = ", ".join(storm.children) or "nothing"
    raise DataError("tracks to draw", found=found, expected="the members'", todo="open a tree whose members have wind")
