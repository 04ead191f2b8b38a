"""The spectra explorer as one component: what to judge on the left; spectra, correlations, the patch on the right."""

from __future__ import annotations

import panel as pn
import panel_material_ui as pmui

from apps.parts.extension import extension
from apps.parts.labels import time_label
from apps.parts.runs import Run
from apps.parts.shell import Shell
from apps.parts.sidebar import Stepper, bold, heading
from apps.parts.view import choice
from apps.spectra import export
from apps.spectra.about_view import AboutView
from apps.spectra.code import code_of, opening
from apps.spectra.correlation_view import CorrelationView
from apps.spectra.patch_view import PatchView
from apps.spectra.spectra_view import SpectraView
from apps.spectra.state import URL_NAMES, SpectraState

__all__ = ["SpectraExplorer", "extension"]


class SpectraExplorer(Shell):
    """`SpectraExplorer(library)` shows the library's first run. Works in a notebook and served."""

    title = "Spectra explorer"
    run_label = "Run or data set"
    state_type = SpectraState
    named_by = ("variable", "tab")
    url_names = URL_NAMES
    tabs_of = (SpectraView, CorrelationView, PatchView, AboutView)

    def load_run(self) -> None:
        run = self.session.run
        has = {"residual": "regression", "detail": "interpolation"}
        quantities = [what for what, base in has.items() if any(run.has(base, v) for v in run.variables)]
        shape = (len(run.y), len(run.x))
        sizes = {"variables": run.variables, "n_times": len(run.times), "shape": shape, "extent": run.extent}
        self.state.load(**sizes, quantities=quantities)

    def make_sidebar(self) -> list:
        state = self.state
        self.scope = choice(state.param.scope, {"All times": "run", "This time": "case"}, "Made of")
        self.times = Stepper(state, "time")
        self.whole = pmui.Button(label="Whole domain", variant="outlined", size="small", margin=(6, 8))
        self.whole.on_click(lambda event: state.param.update(box=None))
        self.region = pn.pane.HTML(margin=(0, 10))
        what = [heading("What"), self.run_select, self.variable_select]
        return [*what, heading("When"), self.scope, *self.times.children, heading("Where"), self.region, self.whole]

    def fill_sidebar(self, run: Run) -> None:
        self.times.fit()

    def refresh(self, run: Run) -> None:
        self.times.show(time_label(run.times[self.state.time]))
        self.region.object = bold(region_text(self.state.box))
        self.whole.disabled = self.state.box is None

    def take(self, ending: str):
        return export.WRITERS[ending](self.session.run, self.state)

    def code_text(self) -> str:
        run = self.session.run
        return code_of(run, self.state, opening(self.session.library, run))


def region_text(box: tuple[float, ...] | None) -> str:
    if box is None:
        return "The whole domain"
    west, south, east, north = box
    return f"x {west:.0f} to {east:.0f} km, y {south:.0f} to {north:.0f} km"
