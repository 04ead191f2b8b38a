"""The labkit calls that give what is on the screen: shown to the user, run by the tests, and used for the PNG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from apps.parts.runs import Run
from apps.parts.told import opening_of
from apps.storms.following import Storm
from apps.storms.shelf import BestTrack
from apps.storms.state import RELATION, StormState
from labkit.plots import fronts, storms
from labkit.verify.cyclones.tables import long_table

WITH_BEST = ("track_figure", "intensity_figure", "wind_pressure_figure")


def call_of(run: Run, state: StormState) -> tuple[str, dict]:
    """Name and keyword arguments of the function in `labkit.plots` that draws the tab, else the tracks."""
    if state.tab == "maps":
        options = {"variable": state.variable, "time": state.time, "member": state.member, "about": state.frame}
        return "storm_maps_figure", options | {"limits": run.limits(state.variable)}
    if state.tab == "structure":
        return "structure_figure", {"time": state.time, "profile": state.profile}
    if state.tab == "intensity" and state.measure == RELATION:
        return "wind_pressure_figure", {"time": state.time}
    if state.tab == "intensity":
        return "intensity_figure", {"time": state.time, "measure": state.measure}
    if state.tab == "front":
        start, end = ends_of(run, state)
        options = {"time": state.time, "member": state.member, "start": start, "end": end, "least": state.least}
        return "front_figure", options
    return "track_figure", {"time": state.time, "member": state.member, "within_km": state.within}


def ends_of(run: Run, state: StormState) -> tuple[tuple[float, float], tuple[float, float]]:
    """The ends of the section that were chosen, or a line through the middle from the north-west to the south-east."""
    west, south, east, north = run.extent
    x, y, dx, dy = (west + east) / 2, (south + north) / 2, 0.3 * (east - west), 0.3 * (north - south)
    return state.start or (x - dx, y + dy), state.end or (x + dx, y - dy)


def code_of(run: Run, state: StormState, path: Path, best: BestTrack | None = None) -> str:
    """A program that opens the run, follows its storm and draws what is on the screen, with its best track."""
    name, options = call_of(run, state)
    storm, best = name != "front_figure", best if name in WITH_BEST else None
    imports = [
        f"from labkit.plots.{'storms' if storm else 'fronts'} import {name}",
        "from labkit.store.trees import open_tree",
        *(["from labkit.verify.cyclones import study"] if storm else []),
        *(best.imports if best else ()),
    ]
    return "\n".join(
        [
            *sorted(imports),
            "",
            f"tree = {opening_of(path, run.told)}",
            *(["storm = study(tree)"] if storm else []),
            *([f'best = track({best.opening}, tree["time"].values)'] if best else []),
            f"figure = {name}(",
            "    tree,",
            *(["    storm,"] if storm else []),
            *(f"    {key}={value!r}," for key, value in options.items()),
            *(["    best_track=best,"] if best else []),
            ")",
            'figure.savefig("storm.png", dpi=150)',
            "",
        ]
    )


def figure_of(run: Run, state: StormState, storm: Callable[[], Storm]) -> Figure:
    """The same figure, drawn here; `storm` is asked where it is needed."""
    name, options = call_of(run, state)
    if name == "front_figure":
        return fronts.front_figure(run.tree, **options)
    found = storm()
    if name in WITH_BEST and found.best:
        options["best_track"] = found.best[0].track
    return getattr(storms, name)(run.tree, xr.DataTree.from_dict(found.groups), **options)


def table_of(run: Run, storm: Storm) -> pd.DataFrame:
    """A line for each source, member and time that has the storm: where it is and its numbers."""
    return long_table(xr.DataTree.from_dict(storm.groups), run.times)
