"""The spectra explorer as one component: what to judge on the left; spectra, correlations, the patch on the right."""

from __future__ import annotations

import panel as pn
import panel_material_ui as pmui

from apps.parts.labels import time_label
from apps.parts.library import Library
from apps.parts.runs import Run
from apps.parts.shell import CodeDialog, Shell, bold, extension, heading, link_button, player
from apps.parts.view import WIDE, Session, choice, select
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
    url_names = URL_NAMES
    views_and_titles = (
        (SpectraView, "Spectra"),
        (CorrelationView, "Autocorrelation"),
        (PatchView, "Patch size"),
        (AboutView, "About"),
    )

    def __init__(self, library: Library, **selection) -> None:
        state = SpectraState()
        state.param.run.objects = list(library.options().values())
        state.run = selection.pop("run", next(iter(library.options().values())))
        self.session, self.state = Session(library, state), state
        self._load_run()
        state.param.update(**selection)
        super().__init__(self.session)
        self._make_sidebar()
        state.param.watch(self._changed, [name for name in URL_NAMES if name != "run"])
        state.param.watch(self._run_changed, "run")
        self._show()

    def _load_run(self) -> None:
        run = self.session.run
        has = {"residual": "regression", "detail": "interpolation"}
        quantities = [what for what, base in has.items() if any(run.has(base, v) for v in run.variables)]
        shape = (len(run.y), len(run.x))
        sizes = {"variables": run.variables, "n_times": len(run.times), "shape": shape, "extent": run.extent}
        self.state.load(**sizes, quantities=quantities)

    def _make_sidebar(self) -> None:
        state = self.state
        self.run_select = select(state.param.run, self.session.library.options(), "Run or data set", width=None, **WIDE)
        self.variable_select = select(
            state.param.variable, {state.variable: state.variable}, "Variable", width=None, **WIDE
        )
        self.scope = choice(state.param.scope, {"All times": "run", "This time": "case"}, "Made of")
        self.time_text = pn.pane.HTML(margin=(0, 10))
        self.time_player = player("Time")
        self.time_player.param.watch(lambda event: state.param.update(time=event.new), "value")
        self.whole = pmui.Button(label="Whole domain", variant="outlined", size="small", margin=(6, 8))
        self.whole.on_click(lambda event: state.param.update(box=None))
        self.region = pn.pane.HTML(margin=(0, 10))
        self._fill_sidebar()
        self.sidebar = [
            heading("What"),
            self.run_select,
            self.variable_select,
            heading("When"),
            self.scope,
            self.time_text,
            self.time_player,
            heading("Where"),
            self.region,
            self.whole,
            heading("Take it along"),
            self._make_takeaways(),
        ]

    def _make_takeaways(self) -> pmui.Column:
        look = {"variant": "outlined", "size": "small", "margin": (3, 4)}
        downloads = [self._download(kind, write, **look) for kind, write in export.WRITERS.items()]
        self.code = CodeDialog(self._code_text, **look)
        more = pmui.Row(link_button(**look), self.code.button, margin=0)
        return pmui.Column(pmui.Row(*downloads, margin=0), more, self.code.dialog, margin=(0, 4))

    def _download(self, kind: str, write, **look) -> pmui.FileDownload:
        button = pmui.FileDownload(label=kind.upper(), filename=f"spectra.{kind}", size="small", margin=look["margin"])
        button.variant = look["variant"]

        def contents():
            run = self.session.run
            button.filename = export.file_name(run, self.state, kind)
            return write(run, self.state)

        button.callback = contents
        return button

    def _code_text(self) -> str:
        run = self.session.run
        return code_of(run, self.state, opening(self.session.library, run))

    def _fill_sidebar(self) -> None:
        run = self.session.run
        self.variable_select.options = {run.describe(v).label: v for v in run.variables}
        self.variable_select.value = self.state.variable
        self.time_player.param.update(start=0, end=len(run.times) - 1, value=self.state.time)

    def _run_changed(self, *events) -> None:
        self._load_run()
        self._fill_sidebar()
        self._changed(*events)

    def refresh(self, run: Run) -> None:
        self.time_player.value = self.state.time
        self.time_text.object = bold(time_label(run.times[self.state.time]))
        self.region.object = bold(region_text(self.state.box))
        self.whole.disabled = self.state.box is None


def region_text(box: tuple[float, ...] | None) -> str:
    if box is None:
        return "The whole domain"
    west, south, east, north = box
    return f"x {west:.0f} to {east:.0f} km, y {south:.0f} to {north:.0f} km"
