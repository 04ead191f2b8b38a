"""Pictures of one storm in all sources of a tree (matplotlib), all by name; structure and intensity are drawn here.

`storm` is what `labkit.verify.cyclones.study` gives: groups by source with positions, numbers and profiles.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.errors import DataError
from labkit.plots.colours import BEST_TRACK_COLOUR, SOURCE_COLOURS, SOURCE_LABELS, colour_map
from labkit.plots.figures import time_text
from labkit.plots.storm_labels import LABELS, SINGLES, label_of
from labkit.plots.storm_maps import storm_maps_figure, track_figure
from labkit.plots.wind_pressure import wind_pressure_figure
from labkit.variables import plain
from labkit.verify.cyclones.structure import MEASURES
from labkit.verify.products import known_percentiles
from labkit.verify.selection import ENSEMBLES, over_members

__all__ = [
    "LABELS",
    "intensity_figure",
    "label_of",
    "section_limits",
    "storm_maps_figure",
    "structure_figure",
    "track_figure",
    "wind_pressure_figure",
]
BAND = (5, 50, 95)  # edges and median of the members


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
    sections = {s: over_members(storm[s][profile]) for s in ("interpolation", "prediction", "truth") if s in known}
    sections = sections or {s: over_members(storm[s][profile]) for s in known[:1]}
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
        course.plot(best_track.time, best_track[own], "--", color=BEST_TRACK_COLOUR, lw=1.6, label=label)
    course.axvline(times[time], color="#888888", ls="--", lw=1)
    course.set(ylabel=label_of(measure))
    course.set_title("Through time", loc="left", fontsize=10)
    course.tick_params(axis="x", labelrotation=25, labelsize=8)
    course.legend(frameon=False, fontsize=8)
    _histogram(spread, storm, measure, time)
    spread.set(xlabel=label_of(measure), ylabel="number of members")
    spread.set_title(time_text(tree, time), loc="left", fontsize=10)
    return figure


def section_limits(sections: dict[str, xr.DataArray]) -> tuple[float, float]:
    """Common colour limits of radius-time sections."""
    pool = np.concatenate([np.ravel(values) for values in sections.values()])
    pool = pool[np.isfinite(pool)]
    if not pool.size:
        return 0.0, 1.0
    low, high = np.percentile(pool, [1, 99.5])
    low = 0.0 if 0 <= low < 0.4 * high else float(low)
    return low, float(max(high, low + 1e-6))


def _profile(axis: Axes, values: xr.DataArray, source: str) -> None:
    colour, label = SOURCE_COLOURS[source], SOURCE_LABELS[source]
    if "ensemble" in values.dims:
        low, middle, high = known_percentiles(values.transpose("ensemble", ...).values, BAND)
        axis.fill_between(values.radius, low, high, color=colour, alpha=0.22, lw=0)
        axis.plot(values.radius, middle, color=colour, lw=1.8, label=f"{label}, median and 90 %")
    else:
        axis.plot(values.radius, values, color=colour, lw=2.2 if source == "truth" else 1.6, label=label)


def _course(axis: Axes, times, values: xr.DataArray, source: str) -> None:
    colour, label = SOURCE_COLOURS[source], SOURCE_LABELS[source]
    if "ensemble" in values.dims:
        low, middle, high = known_percentiles(values.transpose("ensemble", ...).values, BAND)
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
