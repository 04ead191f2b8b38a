"""Pictures of one storm in all sources of a tree (matplotlib, cartopy): tracks, structure, intensity.

`storm` is what `labkit.verify.cyclones.study` gives: groups by source with positions, numbers and profiles.
"""

from __future__ import annotations

from collections.abc import Iterator

import cartopy.crs as ccrs
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.errors import DataError
from labkit.plots.colours import PROBABILITIES, SOURCE_COLOURS, SOURCE_LABELS, colour_map, plain
from labkit.plots.figures import time_text
from labkit.plots.geography import coast_degrees, coast_lines
from labkit.verify.cyclones.ensembles import cone, strike_probability
from labkit.verify.cyclones.structure import MEASURES

ENSEMBLES = ("prediction", "oracle")
SINGLES = ("interpolation", "regression", "truth")
LABELS = {
    "max_wind": "highest 10 m wind",
    "wave_wind": "highest wind of waves 0 and 1",
    "mean_wind": "highest mean tangential wind",
    "rmw": "radius of maximum wind",
    "min_pressure": "lowest pressure",
    "asymmetry1": "asymmetry, wavenumber 1",
    "asymmetry2": "asymmetry, wavenumber 2",
    "tangential": "tangential wind",
    "radial": "radial wind, outward",
    "speed": "wind speed",
    "t2m": "2 m temperature",
    "reflectivity": "reflectivity",
    "tp": "rain",
    "msl": "sea-level pressure",
}
BAND = (0.05, 0.95)


def label_of(name: str, unit: str = "") -> str:
    """The name of a measure or profile with its unit."""
    unit = unit or (MEASURES[name][0] if name in MEASURES else "")
    label = LABELS.get(name, name)
    return f"{label} [{unit}]" if unit and unit != "1" else label


def track_figure(
    tree: xr.DataTree,
    storm: xr.DataTree,
    *,
    time: int | None = None,
    within_km: float = 30.0,
    best_track: xr.Dataset | None = None,
) -> Figure:
    """Tracks of all members over the strike probability, with the cone, the truth, input and regression.

    On a map of the place with coast and graticule where latitudes are known, else in kilometres. time: mark where the
    storm is then. best_track: `lat`, `lon` (time), drawn where given.
    """
    members = _members(storm)
    on_map = _on_map(tree)
    figure = Figure(figsize=(7.5, 6.6), layout="constrained")
    axis, move = _map_axis(figure, tree) if on_map else (_plane_axis(figure, tree), {})
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
        axis.plot(best_track.lon, best_track.lat, "k--", lw=1.5, label="Best track", **move)
    if time is not None and "truth" in storm.children:
        now = storm["truth"].isel(time=time)
        axis.plot(now[x], now[y], "o", ms=9, mfc="none", mec="black", mew=1.5, **move)
    axis.legend(loc="best", fontsize=8)
    when = f", {time_text(tree, time)}" if time is not None else ""
    axis.set_title(f"Tracks of {members.sizes['ensemble']} members{when}", loc="left", fontsize=10)
    return figure


def structure_figure(tree: xr.DataTree, storm: xr.DataTree, *, time: int = 0, profile: str = "tangential") -> Figure:
    """Profiles by radius at one time, and their course over all times in input, members' mean, truth.

    Bands hold 90 % of the members, and of the oracle's.
    """
    known = [source for source in (*ENSEMBLES, *SINGLES) if source in storm.children and profile in storm[source]]
    if not known:
        found = ", ".join(
            name for name in LABELS if any(name in storm[s] and name not in MEASURES for s in storm.children)
        )
        raise DataError(f"profile {profile!r}", found=found or "none", expected="one of these", todo="choose another")
    figure = Figure(figsize=(9.5, 7.4), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.1, 1))
    axis = upper.subplots()
    unit = plain(storm[known[0]][profile].attrs.get("units", ""), 20)
    for source in known:
        _profile(axis, storm[source][profile].isel(time=time), source)
    axis.set(xlabel="distance from the centre [km]", ylabel=label_of(profile, unit), xlim=(0, None))
    axis.set_title(time_text(tree, time), loc="left", fontsize=10)
    axis.legend(frameon=False, fontsize=8)
    sections = {s: section_of(storm, s, profile) for s in ("interpolation", "prediction", "truth") if s in known}
    sections = sections or {s: section_of(storm, s, profile) for s in known[:1]}
    low, high = section_limits(sections)
    axes = lower.subplots(1, len(sections), sharey=True)
    for axis, (source, values) in zip(np.atleast_1d(axes), sections.items(), strict=True):
        image = axis.pcolormesh(values.radius, values.time, values, vmin=low, vmax=high, cmap=colour_map("viridis"))
        axis.axhline(tree["time"].values[time], color="white", lw=1, ls="--")
        axis.set_title("Mean of members" if source == "prediction" else SOURCE_LABELS[source], loc="left", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.set_xlabel("km", fontsize=8)
    lower.colorbar(image, ax=axes, label=label_of(profile, unit))
    return figure


def intensity_figure(
    tree: xr.DataTree, storm: xr.DataTree, *, time: int = 0, measure: str = "max_wind", best_track=None
) -> Figure:
    """A measure over time, and its distribution over the members at one time beside the oracle's.

    best_track: a track with `wind` (m/s) or `pressure` (Pa) at its own times, drawn with the measure it belongs to; its
    attribute `averaging_min` is named beside it.
    """
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    course, spread = figure.subplots(1, 2, width_ratios=(2, 1))
    times = tree["time"].values
    for source in (*ENSEMBLES, *SINGLES):
        if source in storm.children and measure in storm[source]:
            _course(course, times, storm[source][measure], source)
    own = {"max_wind": "wind", "min_pressure": "pressure"}.get(measure)
    if best_track is not None and own in best_track:
        minutes = best_track[own].attrs.get("averaging_min")
        label = "Best track" + (f", {minutes}-minute mean" if minutes else "")
        course.plot(best_track.time, best_track[own], "k--", lw=1.2, label=label)
    course.axvline(times[time], color="#888888", ls="--", lw=1)
    course.set(ylabel=label_of(measure))
    course.set_title("Through time", loc="left", fontsize=10)
    course.tick_params(axis="x", labelrotation=25, labelsize=8)
    course.legend(frameon=False, fontsize=8)
    _histogram(spread, storm, measure, time)
    spread.set(xlabel=label_of(measure), ylabel="number of members")
    spread.set_title(time_text(tree, time), loc="left", fontsize=10)
    return figure


def _way(axis: Axes, track, x: str, y: str, **look) -> None:
    """A line through the known positions of a track (time)."""
    known = np.isfinite(track[x].values)
    axis.plot(track[x].values[known], track[y].values[known], **look)


def section_of(storm: xr.DataTree, source: str, profile: str) -> xr.DataArray:
    """A profile over time (time, radius): of a source, or the mean of its members."""
    values = storm[source][profile]
    return values.mean("ensemble", keep_attrs=True) if "ensemble" in values.dims else values


def section_limits(sections: dict[str, xr.DataArray]) -> tuple[float, float]:
    """Common colour limits of radius-time sections."""
    pool = np.concatenate([np.ravel(values) for values in sections.values()])
    pool = pool[np.isfinite(pool)]
    if not pool.size:
        return 0.0, 1.0
    low, high = np.percentile(pool, [1, 99.5])
    low = 0.0 if 0 <= low < 0.4 * high else float(low)
    return low, float(max(high, low + 1e-6))


def _on_map(tree: xr.DataTree) -> bool:
    return all(name in tree.coords or name in tree.variables for name in ("lat", "lon")) and bool(
        np.isfinite(tree["lat"].values).all() and np.isfinite(tree["lon"].values).all()
    )


def _places(root: xr.Dataset, on_map: bool) -> dict:
    if on_map:
        return {name: (("y", "x"), root[name].values) for name in ("lat", "lon")}
    return {name: (name, root[name].values) for name in ("y", "x")}


def _map_axis(figure: Figure, tree: xr.DataTree):
    """An axis on a Lambert map of the tree's place, and what drawing in degrees on it takes."""
    lat, lon = tree["lat"].values, tree["lon"].values
    degrees = ccrs.PlateCarree()
    middle = float(np.median(lat))
    map_ = ccrs.LambertConformal(float(np.median(lon)), middle, standard_parallels=(middle - 4, middle + 4),
                                 cutoff=-80 if middle >= 0 else 80)  # fmt: skip
    axis = figure.add_subplot(projection=map_)
    edge = [np.concatenate([a[0], a[-1], a[:, 0], a[:, -1]]) for a in (lon, lat)]
    points = map_.transform_points(degrees, *edge)
    axis.set_xlim(points[:, 0].min(), points[:, 0].max())
    axis.set_ylim(points[:, 1].min(), points[:, 1].max())
    for line in coast_degrees(tree):
        axis.plot(*line.T, color="#202020", lw=0.9, transform=degrees, zorder=3)
    lines = axis.gridlines(draw_labels=True, lw=0.5, color="#808080", ls=":", x_inline=False, y_inline=False)
    lines.top_labels = lines.right_labels = False
    lines.xlabel_style = lines.ylabel_style = {"size": 8}
    return axis, {"transform": degrees}


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
    angle = np.linspace(0, 2 * np.pi, 73)
    for t in range(middle.sizes["time"]):
        at = middle.isel(time=t)
        radius = float(at.radius)
        if not np.isfinite(radius):
            continue
        east, north = radius * np.cos(angle), radius * np.sin(angle)
        if on_map:
            north, east = north / 111.2, east / (111.2 * np.cos(np.deg2rad(float(at.lat))))
            axis.plot(float(at.lon) + east, float(at.lat) + north, color="#555555", lw=0.5, alpha=0.7, **move)
        else:
            axis.plot(float(at.x) + east, float(at.y) + north, color="#555555", lw=0.5, alpha=0.7)
    x, y = ("lon", "lat") if on_map else ("x", "y")
    _way(axis, middle, x, y, color=SOURCE_COLOURS["prediction"], lw=2.4, label="Mean of members", **move)


def _members(storm: xr.DataTree) -> xr.Dataset:
    if "prediction" in storm.children:
        return storm["prediction"].to_dataset()
    found = ", ".join(storm.children) or "nothing"
    raise DataError("tracks to draw", found=found, expected="the members'", todo="open a tree whose members have wind")


def _band(values: xr.DataArray) -> Iterator[xr.DataArray]:
    """Edges and median over the members that have a value; NaN where none has."""
    known = np.isfinite(values).any("ensemble")
    filled = values.where(known, 0.0)
    return (filled.quantile(q, "ensemble", skipna=True).where(known) for q in (BAND[0], 0.5, BAND[1]))


def _profile(axis: Axes, values: xr.DataArray, source: str) -> None:
    colour, label = SOURCE_COLOURS[source], SOURCE_LABELS[source]
    if "ensemble" in values.dims:
        low, middle, high = _band(values)
        axis.fill_between(values.radius, low, high, color=colour, alpha=0.22, lw=0)
        axis.plot(values.radius, middle, color=colour, lw=1.8, label=f"{label}, median and 90 %")
    else:
        axis.plot(values.radius, values, color=colour, lw=2.2 if source == "truth" else 1.6, label=label)


def _course(axis: Axes, times, values: xr.DataArray, source: str) -> None:
    colour, label = SOURCE_COLOURS[source], SOURCE_LABELS[source]
    if "ensemble" in values.dims:
        low, middle, high = _band(values)
        axis.fill_between(times, low, high, color=colour, alpha=0.22, lw=0)
        axis.plot(times, middle, color=colour, lw=1.6, label=f"{label}, median and 90 %")
    else:
        axis.plot(times, values, "o-" if source == "truth" else "-", ms=3, color=colour, lw=1.6, label=label)


def _histogram(axis: Axes, storm: xr.DataTree, measure: str, time: int) -> None:
    values = {s: storm[s][measure].isel(time=time).values for s in ENSEMBLES if s in storm.children}
    values = {s: v[np.isfinite(v)] for s, v in values.items()}
    values.setdefault("prediction", np.array([]))
    pool = np.concatenate(list(values.values()))
    if not pool.size:
        axis.text(0.5, 0.5, "no storm at this time", ha="center", transform=axis.transAxes, fontsize=9)
        return
    edges = np.histogram_bin_edges(pool, bins=int(np.clip(3 * np.sqrt(pool.size / 2), 8, 30)))
    axis.hist(values["prediction"], edges, color=SOURCE_COLOURS["prediction"], alpha=0.6)
    if "oracle" in values:
        axis.hist(values["oracle"], edges, histtype="step", color=SOURCE_COLOURS["oracle"], lw=1.8)
    for source in SINGLES:
        if source in storm.children:
            value = float(storm[source][measure].isel(time=time))
            if np.isfinite(value):
                axis.axvline(value, color=SOURCE_COLOURS[source], lw=2)
