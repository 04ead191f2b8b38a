"""The labkit calls that give what is on the screen: shown to the user, run by the tests, and used for the PNG."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from apps.parts.library import Library
from apps.parts.runs import Run
from apps.parts.told import opening_of
from apps.spectra.data_sets import MOST_TIMES, DataRun, tree_in_memory
from apps.spectra.spectra_view import chosen, none
from apps.spectra.state import SpectraState


@dataclass(frozen=True)
class Opening:
    """How a program opens what is looked at: its imports, and the lines that make `tree`."""

    imports: tuple[str, ...]
    lines: tuple[str, ...]


def opening(library: Library, run: Run) -> Opening:
    """The opening of a run's file, or of a data set."""
    if isinstance(run, DataRun):
        imports = ("from labkit.data.catalogue import open_pairs", "from labkit.data.field_tree import spread, tree_of")
        return Opening(imports, (f"pairs = open_pairs({run.config!r})", f"tree = tree_of(spread(pairs, {MOST_TIMES}))"))
    how = opening_of(library.path(run.id), run.told)
    return Opening(("from labkit.store.trees import open_tree",), (f"tree = {how}",))


def call_of(state: SpectraState) -> tuple[str, dict]:
    """Name and keyword arguments of the function in `labkit.plots` that draws the tab, else the spectra."""
    options = chosen(state)
    if state.tab == "patch":
        return "patch_figure", options | {"patch": (state.height, state.width)}
    options |= {"direction": state.direction}
    if state.tab == "correlation":
        return "correlation_figure", options | {"centre": none(state.centre)}
    return "spectra_figure", options | {"window": none(state.window), "detrend": none(state.detrend)}


def subject_of(run: Run, state: SpectraState) -> str | list[str]:
    """What the figure is of: the variable, or for a patch all of them."""
    return known_variables(run) if state.tab == "patch" else state.variable


def known_variables(run: Run) -> list[str]:
    """The variables that are in the file, not those made of others."""
    return [name for name in run.variables if name in run.tree["truth"].data_vars]


def code_of(run: Run, state: SpectraState, how: Opening) -> str:
    """A program that opens the run and draws what is on the screen."""
    name, options = call_of(state)
    said = {key: value for key, value in options.items() if value is not None or key in ("window", "detrend", "centre")}
    return "\n".join(
        [
            *sorted((*how.imports, f"from labkit.plots.scales import {name}")),
            "",
            *how.lines,
            f"figure = {name}(",
            "    tree,",
            f"    {subject_of(run, state)!r},",
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
    return getattr(scales, name)(tree_in_memory(run), subject_of(run, state), **options)
