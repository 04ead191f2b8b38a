"""Highest wind against lowest pressure of a storm in all sources (matplotlib), with the relations that they keep to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.errors import DataError
from labkit.plots.colours import BEST_TRACK_COLOUR, SOURCE_COLOURS, SOURCE_LABELS
from labkit.plots.figures import time_text
from labkit.plots.storm_labels import SINGLES, label_of
from labkit.verify.cyclones.wind_pressure import ATKINSON_HOLLIDAY, ENVIRONMENT_PA, Fit, Relation, fit
from labkit.verify.selection import ENSEMBLES
from labkit.winds import averaging_factor

DASHES = ("--", ":", "-.")


def wind_pressure_figure(
    tree: xr.DataTree,
    storm: xr.DataTree,
    *,
    time: int = 0,
    best_track: xr.Dataset | None = None,
    averaging_min: int = 10,
    relations: Sequence[Relation] = (ATKINSON_HOLLIDAY,),
    environment_pa: float = ENVIRONMENT_PA,
) -> Figure:
    """Highest 10 m wind (m/s) against lowest pressure (hPa) of every source at all times, `time` emphasised, with the
    relations given and the one fitted to the members, its band of 95 %.

    averaging_min: over how many minutes the sources' winds are taken as means (a model's by custom over 10); relations
    and the best track (`wind` in m/s with its attribute `averaging_min`, `pressure` in Pa) are converted to it, and
    named with it. DataError where no source has sea-level pressure, or the best track does not state its averaging.
    """
    pairs = {source: pair for source in (*ENSEMBLES, *SINGLES) if (pair := _pair(storm, source)) is not None}
    if not pairs:
        raise DataError(
            "wind and pressure of the storm",
            found="no sea-level pressure in " + (", ".join(storm.children) or "any source"),
            expected="msl beside the wind",
            todo="open a tree that has msl, or estimate the pressure with cyclones.wind_pressure.estimated_pressure",
        )
    figure = Figure(figsize=(7.5, 5.6), layout="constrained")
    axis = figure.subplots()
    for source, (wind, pressure) in pairs.items():
        _points(axis, wind, pressure, source, time)
    if best_track is not None:
        _best(axis, best_track, averaging_min)
    low, high = (float(edge) for edge in axis.get_xlim())
    hectopascals = np.linspace(low, min(high, environment_pa / 100), 80)
    minutes = f"{averaging_min}-minute mean{'s' * (averaging_min > 1)}"
    for relation, dash in zip(relations, DASHES, strict=False):
        wind = relation.averaged_over(averaging_min).wind(100 * hectopascals)
        axis.plot(hectopascals, wind, dash, color="#444444", lw=1.4, label=f"{relation.name}, {minutes}")
    if "prediction" in pairs:
        _fitted(axis, _fit(pairs["prediction"], averaging_min, environment_pa), hectopascals)
    axis.set(xlim=(high, low), ylim=(0, None))
    environment = f"environment {environment_pa / 100:g} hPa in the fit"
    axis.set(xlabel=f"{label_of('min_pressure', 'hPa')}, {environment}", ylabel=f"highest 10 m wind, {minutes} [m s-1]")
    lacking = [SOURCE_LABELS[s].lower() for s in (*ENSEMBLES, *SINGLES) if s in storm.children and s not in pairs]
    left_out = f"; no pressure in {', '.join(lacking)}" if lacking else ""
    axis.set_title(f"All times, ringed at {time_text(tree, time)}{left_out}", loc="left", fontsize=10)
    axis.legend(frameon=False, fontsize=8)
    return figure


def _pair(storm: xr.DataTree, source: str) -> tuple[xr.DataArray, xr.DataArray] | None:
    """Wind and pressure (..., time) of a source; None where it has no pair of them."""
    if source not in storm.children or "min_pressure" not in storm[source]:
        return None
    wind, pressure = storm[source]["max_wind"], storm[source]["min_pressure"]
    return (wind, pressure) if bool((wind.notnull() & pressure.notnull()).any()) else None


def _points(axis: Axes, wind: xr.DataArray, pressure: xr.DataArray, source: str, time: int) -> None:
    many = "ensemble" in wind.dims
    look = {"color": SOURCE_COLOURS[source], "lw": 0, "zorder": 2 if many else 4}
    hectopascals = pressure / 100
    mark = {"marker": "o" if source != "oracle" else "D", "ms": 3, "alpha": 0.35} if many else {"marker": "s", "ms": 5}
    axis.plot(np.ravel(hectopascals), np.ravel(wind.transpose(*pressure.dims)), **mark, **look)
    now = {"marker": mark["marker"], "ms": mark["ms"] + 3, "mec": "black", "mew": 1.1, "zorder": look["zorder"] + 1}
    shown = (np.ravel(part.isel(time=time)) for part in (hectopascals, wind))
    axis.plot(*shown, label=SOURCE_LABELS[source], **{**look, **now})


def _best(axis: Axes, best_track: xr.Dataset, averaging_min: int) -> None:
    minutes = best_track.wind.attrs.get("averaging_min")
    if minutes is None:
        raise DataError(
            "winds of the best track",
            found="no word of their averaging",
            expected="averaging_min among the attributes of `wind`",
            todo="take it from labkit.data.tracks.best_tracks.track, which states it",
        )
    factor = averaging_factor(int(minutes), averaging_min)
    said = f"Best track, {minutes}-minute mean" + (f" × {factor:.2f}" if factor != 1 else "")
    axis.plot(
        best_track.pressure / 100,
        factor * best_track.wind,
        "-x",
        color=BEST_TRACK_COLOUR,
        lw=0.8,
        ms=6,
        zorder=6,
        label=said,
    )


def _fit(pair, averaging_min: int, environment_pa: float) -> Fit | None:
    """The members' own relation; None where their pressures are too few or too alike to tell one."""
    try:
        return fit(*pair, averaging_min=averaging_min, environment_pa=environment_pa)
    except DataError:
        return None


def _fitted(axis: Axes, found: Fit | None, hectopascals: np.ndarray) -> None:
    if found is None:
        return
    colour = SOURCE_COLOURS["prediction"]
    pressure = xr.DataArray(100 * hectopascals, dims="pressure")
    low, high = found.bounds().exponent.values
    sure = f" ({low:.2f} to {high:.2f})" if np.isfinite(low) else ""
    label = f"Fit to the members, {found.pairs} pairs: exponent {found.relation.exponent:.2f}{sure}"
    axis.plot(hectopascals, found.relation.wind(pressure), color=colour, lw=2, label=label, zorder=3)
    band = found.band(pressure)
    axis.fill_between(hectopascals, *band.transpose("bound", ...), color=colour, alpha=0.2, lw=0, zorder=1)
