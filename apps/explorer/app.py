"""The explorer as one component: a selection on the left, a sentence and a tab of pictures on the right."""

from __future__ import annotations

import panel as pn
import panel_material_ui as pmui

from apps.explorer import export, sentences
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
from apps.parts.labels import short_time, time_label
from apps.parts.library import Library
from apps.parts.shell import CodeDialog, Shell, bold, extension, heading, link_button, player
from apps.parts.view import WIDE, Session, icon, select

__all__ = ["Explorer", "extension"]

ICONS = {"wind": "air", "rain": "thunderstorm", "cyclone": "cyclone", "front": "severe_cold"}


class Explorer(Shell):
    """`Explorer(library)` shows the library's first run; `state` is what is chosen. Works in a notebook and served."""

    title = "Ensemble explorer"
    url_names = URL_NAMES
    views_and_titles = (
        (MapsView, "Maps"),
        (MembersView, "Members"),
        (ProbabilityView, "Probability"),
        (ProductsView, "Products"),
        (PointView, "Point & time"),
        (CalibrationView, "Calibration"),
        (DrawView, "Draw"),
        (AboutView, "About"),
    )

    def __init__(self, library: Library, **selection) -> None:
        state = ExplorerState()
        state.param.run.objects = list(library.options().values())
        state.run = selection.pop("run", next(iter(library.options().values())))
        self.session, self.state = Session(library, state), state
        self._load_run()
        self._open_case()
        state.param.update(**selection)
        super().__init__(self.session)
        self.session.refresh_runs = self._refresh_runs
        self._make_sidebar()
        state.param.watch(self._changed, [name for name in URL_NAMES if name != "run"] + ["lines", "arrows"])
        state.param.watch(self._run_changed, "run")
        self._show()

    def _refresh_runs(self) -> None:
        options = self.session.library.options()
        self.state.param.run.objects = list(options.values())
        self.run_select.param.update(options=options, value=self.state.run)

    def _load_run(self) -> None:
        run = self.session.run
        self.state.load(variables=run.variables, n_times=len(run.times), n_members=run.n_members, extent=run.extent)
        self._fit_threshold()

    def _open_case(self) -> None:
        """The first case worth seeing, rather than the first time of the run."""
        for case in self.session.library.presets(self.session.run.id)[:1]:
            self.state.param.update(variable=case.variable, time=case.time, point=case.point)

    def _fit_threshold(self) -> None:
        run = self.session.run
        low, high = run.limits(self.state.variable)
        marks = [t for t in run.describe(self.state.variable).thresholds if low < t < high]
        self.state.set_threshold_bounds(low, high, marks[len(marks) // 2] if marks else (low + high) / 2)

    def _make_sidebar(self) -> None:
        state, library = self.state, self.session.library
        self.presets = pmui.MenuList(items=[], on_click=self._preset_clicked, dense=True, margin=0)
        self.run_select = select(state.param.run, library.options(), "Run", width=None, **WIDE)
        self.variable_select = select(
            state.param.variable, {state.variable: state.variable}, "Variable", width=None, **WIDE
        )
        self.time_player = player("Time")
        self.member_player = player("Member")
        self.time_player.param.watch(lambda event: state.param.update(time=event.new), "value")
        self.member_player.param.watch(lambda event: state.param.update(member=event.new), "value")
        self.time_text = pn.pane.HTML(margin=(0, 10))
        self.member_text = pn.pane.HTML(margin=(0, 10))
        self._fill_sidebar()
        self.sidebar = [
            heading("Cases"),
            self.presets,
            heading("Or choose"),
            self.run_select,
            self.variable_select,
            self.time_text,
            self.time_player,
            self.member_text,
            self.member_player,
            heading("Take it along"),
            self._make_takeaways(),
        ]

    def _make_takeaways(self) -> pmui.Column:
        look = {"variant": "outlined", "size": "small", "margin": (3, 4)}
        downloads = [self._download(kind, **look) for kind in ("png", "csv", "netcdf")]
        self.code = CodeDialog(self._code_text, **look)
        more = pmui.Row(link_button(**look), self.code.button, margin=0)
        return pmui.Column(pmui.Row(*downloads, margin=0), more, self.code.dialog, margin=(0, 4))

    def _download(self, kind: str, **look) -> pmui.FileDownload:
        write, ending = {"png": (export.png, "png"), "csv": (export.csv, "csv"), "netcdf": (export.netcdf, "nc")}[kind]
        label = "NetCDF" if kind == "netcdf" else kind.upper()
        button = pmui.FileDownload(label=label, filename=f"explorer.{ending}", size=look["size"], margin=look["margin"])
        button.variant = look["variant"]

        def contents():
            run = self.session.run
            button.filename = export.file_name(run, self.state, ending)
            return write(run, self.state)

        button.callback = contents
        return button

    def _code_text(self) -> str:
        run = self.session.run
        return code_of(run, self.state, self.session.library.path(run.id))

    def _fill_sidebar(self) -> None:
        run = self.session.run
        self._found = self.session.library.presets(run.id)
        self.presets.items = [
            {
                "label": preset.label,
                "secondary": f"{preset.found} · {short_time(run.times[preset.time])}",
                "icon": icon(ICONS[preset.key]),
            }
            for preset in self._found
        ]
        self.variable_select.options = {_variable_name(run, v): v for v in run.variables}
        self.variable_select.value = self.state.variable
        self.time_player.param.update(start=0, end=len(run.times) - 1, value=self.state.time)
        self.member_player.param.update(start=0, end=run.n_members - 1, value=self.state.member)

    def _preset_clicked(self, item: dict) -> None:
        preset = next((p for p in self._found if p.label == item["label"]), None)
        if preset:
            self.state.param.update(variable=preset.variable, time=preset.time, point=preset.point, box=None)

    def _run_changed(self, *events) -> None:
        self._load_run()
        self._fill_sidebar()
        self._changed(*events)

    def _changed(self, *events) -> None:
        if "variable" in {event.name for event in events}:
            self._fit_threshold()
        super()._changed(*events)

    def refresh(self, run) -> None:
        state = self.state
        self.time_player.value, self.member_player.value = state.time, state.member
        self.time_text.object = bold(time_label(run.times[state.time]))
        self.member_text.object = bold(
            f"Member {sentences.plain(run.member_names[state.member], 12)} of {run.n_members}"
        )


def _variable_name(run, variable: str) -> str:
    return run.describe(variable).label
