"""The labkit calls that give what is on the screen: shown to the user, run by the tests, and used for the PNG."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

from apps.explorer.calibration_jobs import asked_of, function_of, module_of
from apps.explorer.products import options_of
from apps.explorer.state import ExplorerState
from apps.parts.runs import Run
from apps.parts.told import opening_of

FIGURES = {
    "maps": "maps_figure",
    "members": "stamps_figure",
    "probability": "probability_figure",
    "point": "point_figure",
}


def call_of(run: Run, state: ExplorerState) -> tuple[str, dict]:
    """Name and keyword arguments of the `labkit.plots` function that draws the tab; tabs without one give the maps."""
    if state.tab == "calibration":
        return function_of(state.diagnostic, "figure"), asked_of(run, state).arguments
    tab = state.tab if state.tab in FIGURES or state.tab == "products" else "maps"
    limits = None
    if state.scale == "standard":
        limits = run.describe(state.variable).limits
    elif state.scale == "run":
        limits = run.limits(state.variable)
    options = {
        "maps": {"time": state.time, "member": state.member, "show": state.show},
        "members": {"time": state.time, "source": state.stamps},
        "probability": {"time": state.time, "threshold": state.threshold, "percentile": state.percentile},
        "point": {"time": state.time, "point": state.point, "box": state.box, "statistic": state.box_statistic},
        "products": {"time": state.time} | options_of(state),
    }[tab]
    values = ("maps", "members", "probability", "products")
    plain = {"maps": state.show == "difference", "products": state.product == "neighbourhood"}
    coloured = tab in values and not plain.get(tab, False)
    name = f"{state.product}_figure" if tab == "products" else FIGURES[tab]
    return name, options | ({"limits": limits} if coloured and limits else {})


def code_of(run: Run, state: ExplorerState, path: Path) -> str:
    """A program that opens the run and draws what is on the screen."""
    name, options = call_of(run, state)
    module = _module(state)
    lines = [f"    {key}={value!r}," for key, value in options.items()]
    return "\n".join(
        [
            f"from {module} import {name}",
            "from labkit.store.trees import open_tree",
            "",
            f"tree = {opening_of(path, run.told)}",
            f"figure = {name}(",
            "    tree,",
            f"    {state.variable!r},",
            *lines,
            ")",
            'figure.savefig("explorer.png", dpi=150)',
            "",
        ]
    )


def figure_of(run: Run, state: ExplorerState) -> Figure:
    """The same figure, drawn here."""
    name, options = call_of(run, state)
    # Imported when it is drawn: compiling the scores takes seconds.
    function = getattr(import_module(_module(state)), name)
    return function(run.tree, state.variable, **options)


def draw_code(folder: Path, request: Mapping) -> str:
    """A program that draws the same members."""
    return "\n".join(
        [
            "from labkit import recipes",
            "",
            f"model = recipes.load({str(folder)!r})",
            "recipes.sample(",
            "    model,",
            "    model.pairs(),",
            '    "members.nc",',
            *(f"    {key}={value!r}," for key, value in request.items()),
            ")",
            "",
        ]
    )


def case_dataset(run: Run, state: ExplorerState) -> xr.DataTree:
    """The tree at the chosen time alone, every variable and member: a valid output tree."""
    tree = run.tree
    nodes = {"/": tree.to_dataset(inherit=False).isel(time=[state.time])}
    for name in tree.children:
        dataset = tree[name].to_dataset(inherit=False)
        nodes[f"/{name}"] = dataset.isel(time=[state.time]) if "time" in dataset.dims else dataset
    return xr.DataTree.from_dict(nodes)


def _module(state: ExplorerState) -> str:
    """Where `call_of`'s function is."""
    if state.tab == "calibration":
        return module_of(state.diagnostic, "plots")
    return "labkit.plots.products" if state.tab == "products" else "labkit.plots"
