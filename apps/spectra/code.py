"""The labkit calls that give what is on the screen: shown to the user, run by the tests, and used for the PNG."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from apps.explorer.runs import Run
from apps.spectra.spectra_view import chosen, none
from apps.spectra.state import SpectraState


def call_of(state: SpectraState) -> tuple[str, dict]:
    """Name and keyword arguments of the function in `labkit.plots.scales` that draws the tab, else the spectra."""
    options = chosen(state) | {"direction": state.direction}
    if state.tab in ("correlation", "patch"):
        return "correlation_figure", options | {"centre": state.centre}
    return "spectra_figure", options | {"window": none(state.window), "detrend": none(state.detrend)}


def code_of(run: Run, state: SpectraState, path: Path) -> str:
    """A program that opens the run and draws what is on the screen."""
    name, options = call_of(state)
    said = {key: value for key, value in options.items() if value is not None or key in ("window", "detrend")}
    return "\n".join(
        [
            f"from labkit.plots.scales import {name}",
            "from labkit.store.trees import open_tree",
            "",
            f"tree = open_tree({str(path)!r})",
            f"figure = {name}(",
            "    tree,",
            f"    {state.variable!r},",
            *(f"    {key}={value!r}," for key, value in said.items()),
            ")",
            'figure.savefig("spectra.png", dpi=150)',
            "",
        ]
    )


def figure_of(run: Run, state: SpectraState) -> Figure:
    """The same figure, drawn here."""
    from labkit.plots import scales

    name, options = call_of(state)
    return getattr(scales, name)(run.tree, state.variable, **options)
