"""Spectra: how much variance a run has at each wavelength, beside the truth's, and where it stops to be resolved."""

from __future__ import annotations

from functools import partial

import numpy as np

from apps.parts.computed import Computed
from apps.parts.labels import time_label
from apps.parts.maps import MapGrid
from apps.parts.runs import Run
from apps.parts.scale import Look
from apps.parts.view import choice, column, html, picture, row, select, switch, widgets
from apps.spectra.data_sets import tree_in_memory
from apps.spectra.panels import Densities
from labkit.plots.colours import SOURCE_LABELS, palette

QUANTITIES = {"raw": "Fields", "residual": "Residuals (minus the regression)", "detail": "Minus the interpolated input"}
LEFT = {"raw": "", "residual": ", what the regression leaves", "detail": ", what the interpolated input leaves"}
DIRECTIONS = {"Any direction": "radial", "Along x": "x", "Along y": "y"}


class SpectraView(Computed):
    tab, title = "spectra", "Spectra"
    uses = ("variable", "quantity", "direction", "window", "detrend", "scope", "box", "members")
    working = "Computing the spectra ..."

    def build(self, run: Run) -> list:
        self.densities, self.region = Densities(), Region(self.session, run)
        windows = {"No window": "none", "Hann window": "hann", "Cosine transform": "dct"}
        trends = {"Mean removed": "mean", "Plane removed": "plane", "Nothing removed": "none"}
        controls = widgets(
            quantity_choice(self.state),
            choice(self.state.param.direction, DIRECTIONS, "Waves"),
            select(self.state.param.window, windows, "Window", width=160),
            select(self.state.param.detrend, trends, "Detrend", width=160),
            switch(self.state.param.members, "Each member", visible=run.n_members > 0),
        )
        plots = column(self.densities.upper, self.densities.lower, styles={"flex": "1 1 0", "min-width": "0"})
        self.body = row(plots, self.region.column)
        return [controls, self.body]

    def touch(self, names: set[str]) -> None:
        super().touch(names)
        self._stale = self._stale or "time" in names  # the map is of one time

    def draw(self, run: Run) -> None:
        self.region.draw(run)
        super().draw(run)

    def ask(self, run: Run):
        from labkit.verify.scales import spectra_data

        state = self.state
        options = chosen(state) | {"direction": state.direction}
        options |= {"window": none(state.window), "detrend": none(state.detrend)}
        key = (run.id, "spectra", self.state.variable, *options.items())
        return key, partial(computed, spectra_data, run, self.state.variable, **options)

    def show_result(self, run: Run) -> None:
        unit = run.describe(self.state.variable).units
        power = f"({unit})² km" if unit not in ("", "1") else "km"
        self.densities.show(self.result.spectra, band=self.result.band, members=self.state.members, unit=power)
        self.densities.mark(self.result.resolution)

    def say(self, run: Run) -> str:
        return spectra_sentence(run, self.state, self.result)


class Region:
    """A map of the truth, or of a forecast's mean, at the chosen time, on which a part of the domain can be dragged (or
    nothing, if `fixed`)."""

    def __init__(self, session, run: Run, *, width: int = 400, hint: str = "", fixed: bool = False) -> None:
        self.state = session.state
        self.source = "truth" if run.observed else "mean"
        titles = {self.source: SOURCE_LABELS[self.source]}
        self.grid = MapGrid(run, titles, columns=1, on_box=None if fixed else self.state.select_box)
        hint = hint or "Drag a box with the box tool, to judge a part of the domain."
        self.hint = html(hint, faint=True, margin=(4, 8))
        maps = row(picture(self.grid.layout), self.grid.bar)
        self.column = column(self.hint, maps, styles={"flex": f"0 1 {width}px", "min-width": "0"})

    def draw(self, run: Run) -> None:
        state, variable = self.state, run.describe(self.state.variable)
        field = run.field(self.source, state.variable, state.time)
        look = Look(run.limits(state.variable), palette(variable.cmap), variable.units)
        self.grid.update({self.source: ((state.variable, state.time), field)}, look)
        self.grid.set_title(self.source, f"{SOURCE_LABELS[self.source]}, {time_label(run.times[state.time])}")
        self.grid.set_boxes([state.box] if state.box else [])


def quantity_choice(state):
    """Raw fields, or what a regression or the interpolated input leaves, where there is one to subtract."""
    objects = state.param.quantity.objects
    return choice(state.param.quantity, {QUANTITIES[q]: q for q in objects}, "Of", visible=len(objects) > 1)


def chosen(state) -> dict:
    """The part of the selection that says which fields: arguments of the functions in `labkit.verify.scales`."""
    times = (state.time,) if state.scope == "case" else None
    return {"quantity": state.quantity, "box": state.box, "times": times}


def computed(function, run: Run, *arguments, **options):
    """`function(tree, ...)`, called where no page waits for it."""
    return function(tree_in_memory(run), *arguments, **options)


def none(name: str) -> str | None:
    """The library's None for the page's "none"."""
    return None if name == "none" else name


def spectra_sentence(run: Run, state, result) -> str:
    """Where the model and the mean stop to be resolved, as plain text."""
    variable = run.describe(state.variable)
    what = f"{variable.long_name}{LEFT[state.quantity]}"
    when = time_label(run.times[state.time]) if state.scope == "case" else f"{len(run.times)} times"
    said = [_resolved(result, s) for s in ("prediction", "regression", "interpolation") if s in result.resolution]
    if not said:
        whose = SOURCE_LABELS[result.judge].lower()
        return f"{what}, {when}: the spectrum of the {whose}, with its 95 % band where there are times enough."
    return f"{what}, {when}. Within {result.tolerance:.0%} of the truth's variance: {'; '.join(said)}."


def _resolved(result, source: str) -> str:
    """Down to where a source is resolved, or that these times cannot tell."""
    label, at, seeming = SOURCE_LABELS[source].lower(), result.resolution[source], result.seeming[source]
    if np.isfinite(at):
        return f"the {label} down to {at:.0f} km"
    if np.isfinite(seeming):
        return f"the {label}, as far as so few times can tell (it may end at {seeming:.0f} km)"
    return f"the {label} to the grid's limit"
