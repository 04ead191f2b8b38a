"""The labkit calls that give what is on the screen: shown to the user, run by the tests, and used for the PNG."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from apps.parts.runs import Run
from apps.storms.following import Storm
from apps.storms.state import StormState
from labkit.plots import storms
from labkit.verify.cyclones.tables import long_table


def call_of(state: StormState) -> tuple[str, dict]:
    """Name and keyword arguments of the function in `labkit.plots.storms` that draws the tab, else the tracks."""
    if state.tab == "structure":
        return "structure_figure", {"time": state.time, "profile": state.profile}
    if state.tab == "intensity":
        return "intensity_figure", {"time": state.time, "measure": state.measure}
    return "track_figure", {"time": state.time, "within_km": state.within}


def code_of(state: StormState, path: Path) -> str:
    """A program that opens the run, follows its storm and draws what is on the screen."""
    name, options = call_of(state)
    return "\n".join(
        [
            f"from labkit.plots.storms import {name}",
            "from labkit.store.trees import open_tree",
            "from labkit.verify.cyclones import study",
            "",
            f"tree = open_tree({str(path)!r})",
            "storm = study(tree)",
            f"figure = {name}(",
            "    tree,",
            "    storm,",
            *(f"    {key}={value!r}," for key, value in options.items()),
            ")",
            'figure.savefig("storm.png", dpi=150)',
            "",
        ]
    )


def figure_of(run: Run, state: StormState, storm: Storm) -> Figure:
    """The same figure, drawn here."""
    name, options = call_of(state)
    return getattr(storms, name)(run.tree, xr.DataTree.from_dict(storm.groups), **options)


def table_of(run: Run, storm: Storm) -> pd.DataFrame:
    """A line for each source, member and time that has the storm: where it is and its numbers."""
    return long_table(xr.DataTree.from_dict(storm.groups), run.times)
