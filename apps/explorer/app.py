"""The explorer as one component: a selection on the left, a sentence and a tab of pictures on the right."""

from __future__ import annotations

import panel_material_ui as pmui

from apps.explorer import export
from apps.explorer.about_view import AboutView
from apps.explorer.calibration_view import CalibrationView
from apps.explorer.code import code_of
from apps.explorer.draw_view import DrawView
from apps.explorer.maps_view import MapsView
from apps.explorer.members_view import MembersView
from apps.explorer.point_view import PointView
from apps.explorer.probability_view import ProbabilityView
from apps.explorer.products_view import ProductsView
from apps.explorer.state import URL_NAMES, ExplorerState
from apps.parts.extension import extension
from apps.parts.labels import plain, short_time, time_label
from apps.parts.runs import Run
from apps.parts.shell import Shell
from apps.parts.sidebar import Stepper, heading
from apps.parts.view import icon

__all__ = ["Explorer", "extension"]

ICONS = {"wind": "air", "rain": "thunderstorm", "cyclone": "cyclone", "front": "severe_cold"}


class Explorer(Shell):
    """`Explorer(library)` shows the library's first run; `state` is what is chosen. Works in a notebook and served."""

    title = "Ensemble explorer"
    state_type = ExplorerState
    url_names = URL_NAMES
    endings = tuple(export.WRITERS)
    tabs_of = (MapsView, MembersView, ProbabilityView, ProductsView, PointView, CalibrationView, DrawView, AboutView)

    def load_run(self) -> None:
        run = self.session.run
        self.state.load(variables=run.variables, n_times=len(run.times), n_members=run.n_members, extent=run.extent)
        self._fit_threshold()

    def open_run(self) -> None:
        """The first case worth seeing, rather than the first time of the run."""
        for case in self.session.library.presets(self.session.run.id)[:1]:
            self.state.param.update(variable=case.variable, time=case.time, point=case.point)

    def make_sidebar(self) -> list:
        self.presets = pmui.MenuList(items=[], on_click=self._preset_clicked, dense=True, margin=0)
        self.times, self.members = Stepper(self.state, "time"), Stepper(self.state, "member")
        chosen = [self.run_select, self.variable_select, *self.times.children, *self.members.children]
        return [heading("Cases"), self.presets, heading("Or choose"), *chosen]

    def fill_sidebar(self, run: Run) -> None:
        self._found = self.session.library.presets(run.id)
        self.presets.items = [
            {
                "label": preset.label,
                "secondary": f"{preset.found} · {short_time(run.times[preset.time])}",
                "icon": icon(ICONS[preset.key]),
            }
            for preset in self._found
        ]
        self.times.fit()
        self.members.fit()

    def refresh(self, run: Run) -> None:
        self.times.show(time_label(run.times[self.state.time]))
        self.members.show(f"Member {plain(run.member_names[self.state.member], 12)} of {run.n_members}")

    def take(self, ending: str):
        return export.WRITERS[ending](self.session.run, self.state)

    def code_text(self) -> str:
        run = self.session.run
        return code_of(run, self.state, self.session.library.path(run.id))

    def _changed(self, *events) -> None:
        if "variable" in {event.name for event in events}:
            self._fit_threshold()
        super()._changed(*events)

    def _fit_threshold(self) -> None:
        run = self.session.run
        low, high = run.limits(self.state.variable)
        marks = [t for t in run.describe(self.state.variable).thresholds if low < t < high]
        self.state.set_threshold_bounds(low, high, marks[len(marks) // 2] if marks else (low + high) / 2)

    def _preset_clicked(self, item: dict) -> None:
        preset = next((p for p in self._found if p.label == item["label"]), None)
        if preset:
            self.state.param.update(variable=preset.variable, time=preset.time, point=preset.point, box=None)
