"""The explorer as one component: a selection on the left, a sentence and a tab of pictures on the right."""

from __future__ import annotations

from html import escape
from urllib.parse import quote

import panel as pn
import panel_material_ui as pmui
import param
from panel.util import edit_readonly

from apps.explorer import export, sentences
from apps.explorer.about_view import AboutView
from apps.explorer.calibration_view import CalibrationView
from apps.explorer.code import code_of
from apps.explorer.draw_view import DrawView
from apps.explorer.library import Library
from apps.explorer.maps_view import MapsView
from apps.explorer.members_view import MembersView
from apps.explorer.point_view import PointView
from apps.explorer.probability_view import ProbabilityView
from apps.explorer.state import TABS, URL_NAMES, ExplorerState
from apps.explorer.view import WIDE, Session, View, select

TITLES = dict(
    zip(TABS, ("Maps", "Members", "Probability", "Point & time", "Calibration", "Draw", "About"), strict=True)
)
VIEWS = (MapsView, MembersView, ProbabilityView, PointView, CalibrationView, DrawView, AboutView)
ICONS = {"wind": "air", "rain": "thunderstorm", "cyclone": "cyclone", "front": "severe_cold"}
LOOK = {"shape": {"borderRadius": 6}, "typography": {"button": {"textTransform": "none"}}}
THEME = {
    "light": LOOK | {"palette": {"primary": {"main": "#12659a"}, "secondary": {"main": "#b84a20"}}},
    "dark": LOOK
    | {"components": {"MuiAppBar": {"styleOverrides": {"root": {"backgroundColor": "#0f2a3d", "color": "#ffffff"}}}}}
    | {"palette": {"primary": {"main": "#6db9ec"}, "secondary": {"main": "#ff9a6b"}}},
}


# Panel 1.9.4 and Bokeh 3.9.2 measure a figure that has been put into a Material layout but not laid out yet, and throw;
# such a figure is measured soon after anyway.
PATCH = """
const figure = Bokeh.Models.get("Figure").prototype.default_view.prototype;
for (const step of ["_measure_layout", "_after_layout"]) {
  const original = figure[step];
  figure[step] = function () { if (this.layout != null) original.call(this); };
}
"""


def extension() -> None:
    """Load Panel as the explorer needs it; call it in the served file, and once in a notebook."""
    patch = "data:text/javascript," + quote(PATCH)
    pn.extension(respect_explicit_sizing=True, js_files={"patch": patch})


class Explorer(pn.viewable.Viewer):
    """`Explorer(library)` shows the library's first run; `state` is what is chosen. Works in a notebook and served."""

    def __init__(self, library: Library, **selection) -> None:
        super().__init__()
        self.state = ExplorerState()
        self.session = Session(library, self.state)
        self.state.param.run.objects = list(library.options().values())
        self.state.run = selection.pop("run", next(iter(library.options().values())))
        self._load_run()
        self._open_case()
        self.state.param.update(**selection)
        self.views: dict[str, View] = {view.tab: view(self.session) for view in VIEWS}
        if pn.state.curdoc and pn.state.curdoc.session_context:
            pn.state.on_session_destroyed(self._close)
        self.headline = pn.pane.HTML(sizing_mode="stretch_width", styles={"font-size": "15px"}, margin=(10, 12, 2, 12))
        self.notice = pmui.Alert(object="", severity="warning", visible=False, closeable=True, **WIDE)
        self.session.announce, self.session.refresh_runs = self._announce, self._refresh_runs
        self._make_sidebar()
        self.tabs = pmui.Tabs(
            *((TITLES[name], view) for name, view in self.views.items()),
            dynamic=True,
            sizing_mode="stretch_width",
            active=list(self.views).index(self.state.tab),
        )
        self.tabs.param.watch(self._tab_clicked, "active")
        self.state.param.watch(self._changed, [name for name in URL_NAMES if name != "run"] + ["lines", "arrows"])
        self.state.param.watch(self._run_changed, "run")
        self._show()

    def __panel__(self) -> pn.viewable.Viewable:
        side = pn.Column(*self.sidebar, width=320)
        return pn.Row(side, pn.Column(*self.main, sizing_mode="stretch_width"), sizing_mode="stretch_width")

    @property
    def main(self) -> list[pn.viewable.Viewable]:
        return [self.notice, self.headline, self.tabs]

    def page(self) -> pmui.Page:
        """The whole page, for a served app."""
        look = {"theme_config": THEME, "sidebar_width": 300, "busy_indicator": "linear"}
        page = pmui.Page(title="Ensemble explorer", main=self.main, sidebar=self.sidebar, **look)
        # By itself a page shows how busy the whole server is: it is told of every click of every visitor, which costs
        # 25 ms each time, and the server never lets go of it.
        with param.edit_constant(page), edit_readonly(page):
            page.busy = self.session.param.busy
        return page

    def share(self, location) -> None:
        """Keep the page's address and the selection the same; what it asks for and cannot be is said and left out."""
        asked = location.query_params
        refused = [key for name, key in URL_NAMES.items() if key in asked and not self._take(name, asked[key])]
        if refused:
            self.notice.object = (
                f"The address asks for something that this run does not have ({', '.join(refused)}); the rest is shown."
            )
            self.notice.visible = True
        location.sync(self.state, URL_NAMES, on_error=lambda values: None)  # said above

    def _take(self, name: str, value) -> bool:
        """Set a parameter of the state to a value from outside; False where it cannot be that."""
        try:
            setattr(self.state, name, self.state.param[name].deserialize(value))
        except (ValueError, TypeError):
            return False
        return True

    def _close(self, context) -> None:
        for view in self.views.values():
            view.close()

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
        self.time_player = _player("Time")
        self.member_player = _player("Member")
        self.time_player.param.watch(lambda event: state.param.update(time=event.new), "value")
        self.member_player.param.watch(lambda event: state.param.update(member=event.new), "value")
        self.time_text = pn.pane.HTML(margin=(0, 10))
        self.member_text = pn.pane.HTML(margin=(0, 10))
        self._fill_sidebar()
        self.sidebar = [
            _heading("Cases"),
            self.presets,
            _heading("Or choose"),
            self.run_select,
            self.variable_select,
            self.time_text,
            self.time_player,
            self.member_text,
            self.member_player,
            _heading("Take it along"),
            self._make_takeaways(),
        ]

    def _make_takeaways(self) -> pmui.Column:
        look = {"variant": "outlined", "size": "small", "margin": (3, 4)}
        downloads = [self._download(kind, **look) for kind in ("png", "csv", "netcdf")]
        link = pmui.Button(label="Copy link", icon="link", **look)
        link.js_on_click(code="navigator.clipboard && navigator.clipboard.writeText(window.location.href)")
        code = pmui.Button(label="Show code", icon="code", on_click=self._show_code, **look)
        self.code = pn.pane.HTML(sizing_mode="stretch_width")
        copy = pmui.Button(label="Copy", icon="content_copy", **look)
        # The text travels as the button's tag: `args` of a JavaScript callback keep a session for ever.
        copy.js_on_click(code="navigator.clipboard && navigator.clipboard.writeText(cb_obj.origin.tags[0])")
        self.copy = copy
        self.dialog = pmui.Dialog(self.code, copy, title="The same in labkit", width_option="md", close_on_click=True)
        return pmui.Column(pmui.Row(*downloads, margin=0), pmui.Row(link, code, margin=0), self.dialog, margin=(0, 4))

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

    def _show_code(self, event) -> None:
        run = self.session.run
        text = code_of(run, self.state, self.session.library.path(run.id))
        self.code.object = f"<pre style='font-size:13px;overflow:auto'>{escape(text)}</pre>"
        self.copy.tags = [text]
        self.dialog.open = True

    def _fill_sidebar(self) -> None:
        run = self.session.run
        self._found = self.session.library.presets(run.id)
        self.presets.items = [
            {
                "label": preset.label,
                "secondary": f"{preset.found} · {sentences.short_time(run.times[preset.time])}",
                "icon": ICONS[preset.key],
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

    def _tab_clicked(self, event) -> None:
        self.state.tab = list(self.views)[event.new]

    def _run_changed(self, *events) -> None:
        self._load_run()
        self._fill_sidebar()
        self._changed(*events)

    def _changed(self, *events) -> None:
        names = {event.name for event in events}
        if "variable" in names:
            self._fit_threshold()
        for view in self.views.values():
            view.touch(names)
        self._show()

    def _show(self) -> None:
        run, state = self.session.run, self.state
        view = self.views[state.tab]
        with pn.io.hold():
            self.tabs.active = list(self.views).index(state.tab)
            self.time_player.value, self.member_player.value = state.time, state.member
            self.time_text.object = _bold(sentences.time_label(run.times[state.time]))
            self.member_text.object = _bold(
                f"Member {sentences.plain(run.member_names[state.member], 12)} of {run.n_members}"
            )
            view.show()
            self._announce(view.sentence(run))

    def _announce(self, sentence: str) -> None:
        self.headline.object = escape(sentence)


class QuickPlayer(pmui.Player):
    """A player whose steps the server answers at once; Panel waits 50 ms in case another one follows."""

    _debounce = 5


def _heading(label: str) -> pn.pane.HTML:
    style = {"font-size": "12px", "letter-spacing": "0.08em", "text-transform": "uppercase", "opacity": "0.7"}
    return pn.pane.HTML(escape(label), styles=style, margin=(10, 10, 0, 10))


def _bold(value: str) -> str:
    return f"<b>{escape(value)}</b>"


def _player(label: str) -> pmui.Player:
    return QuickPlayer(
        label=label,
        variant="minimal",
        interval=700,
        loop_policy="loop",
        show_loop_controls=False,
        sizing_mode="stretch_width",
        margin=(0, 8),
    )


def _variable_name(run, variable: str) -> str:
    return run.describe(variable).label
