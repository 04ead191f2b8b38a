"""What every app is: a selection on the left, a sentence and a tab of pictures on the right, kept in the address."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from io import BytesIO, StringIO

import panel as pn
import panel_material_ui as pmui
import param
from panel.util import edit_readonly

from apps.parts.files import file_name
from apps.parts.library import Library, base_id
from apps.parts.runs import Run
from apps.parts.sidebar import Takeaways, heading
from apps.parts.view import WIDE, Session, View, select, served
from labkit.errors import DataError, LabError

LOOK = {"shape": {"borderRadius": 6}, "typography": {"button": {"textTransform": "none"}}}
THEME = {
    "light": LOOK | {"palette": {"primary": {"main": "#12659a"}, "secondary": {"main": "#b84a20"}}},
    "dark": LOOK
    | {"components": {"MuiAppBar": {"styleOverrides": {"root": {"backgroundColor": "#0f2a3d", "color": "#ffffff"}}}}}
    | {"palette": {"primary": {"main": "#6db9ec"}, "secondary": {"main": "#ff9a6b"}}},
}


LOOK_MS = 5000


class Shell(pn.viewable.Viewer):
    """Tabs of views of one session, of which only the one that is looked at is drawn.

    An app names its `title`, the `state_type` of what is chosen (whose parameters `run`, `variable`, `time` and `tab`
    every app has), its views in order (`tabs_of`), the `url_names` of its state's parameters, the `endings` of files to
    take along and the parameters that these are `named_by`. It says what it does with a run: `load_run`,
    `make_sidebar`, `fill_sidebar`, `refresh`, `take`, `code_text`. A selection given by name is checked as one from the
    address is. `session(library, state)` makes the session, for apps whose views share more than these two.
    """

    title: str
    state_type: type[param.Parameterized]
    tabs_of: Sequence[type[View]]
    url_names: Mapping[str, str]
    endings: Sequence[str] = ("png", "csv")
    named_by: Sequence[str] = ("variable", "time")
    run_label = "Run"

    def __init__(self, library: Library, *, session: Callable[..., Session] = Session, **selection) -> None:
        super().__init__()
        self.state = state = self.state_type()
        self._shown, self._said = "", ""
        state.param.tab.objects, state.param.tab.check_on_set = [view.tab for view in self.tabs_of], True
        state.param.run.objects = list(library.options().values())
        state.run = selection.pop("run", None) or self.first_run(library)
        self.session = session(library, state)
        self.load_run()
        self._shown = self.session.run.id
        self.open_run()
        state.param.update(**selection)
        self._make()
        names = [
            name for name in state.param if name not in ("name", "run") and (state.param[name].precedence or 0) >= 0
        ]
        state.param.watch(self._changed, names)
        state.param.watch(self._run_changed, "run")
        self._show()

    def _taken(self, ending: str) -> BytesIO | StringIO:
        """What is taken along, of the file that is on the page."""
        run = self.session.run
        if run.id != self._shown:
            found, todo = "another one than on the page", "look at the page again first"
            raise DataError(f"file of {run.label}", found=found, expected="the one that is shown", todo=todo)
        content = self.take(ending)
        run.check()
        return content

    def _make(self) -> None:
        # A served page draws once, when its address has been read: what is asked for there may take long.
        self._waiting = served()
        self.views: dict[str, View] = {view.tab: view(self.session) for view in self.tabs_of}
        if self._waiting:
            pn.state.on_session_destroyed(self._close)
        self.headline = pn.pane.HTML(sizing_mode="stretch_width", styles={"font-size": "15px"}, margin=(10, 12, 2, 12))
        self.notice = pmui.Alert(object="", severity="warning", visible=False, closeable=True, **WIDE)
        self.session.announce = self._announce
        self.session.refresh_runs = self._refresh_runs
        self.tabs = pmui.Tabs(
            *((view.title, view) for view in self.views.values()),
            dynamic=True,
            sizing_mode="stretch_width",
            active=list(self.views).index(self.state.tab),
        )
        self.tabs.param.watch(self._tab_clicked, "active")
        self._make_selects()
        self.takeaways = Takeaways(self.endings, self._taken, self._file_name, self.code_text, self.warn)
        self.sidebar = [*self.make_sidebar(), heading("Take it along"), self.takeaways.panel]
        self._fill()
        self._say_problems()

    def _say_problems(self) -> None:
        """Files that could not be opened are named at once: what is shown instead is not what was asked for."""
        problems = self.session.problems()
        if problems:
            more = f" ({len(problems) - 1} more under About.)" if len(problems) > 1 else ""
            self.warn(f"Not opened: {problems[0]}{more}")
        elif caution := self.session.run.caution:
            self.warn(caution)

    def _make_selects(self) -> None:
        run, variable = self.state.param.run, self.state.param.variable
        self.run_select = select(run, self.session.library.options(), self.run_label, width=None, **WIDE)
        self.variable_select = select(variable, {variable.label: self.state.variable}, "Variable", width=None, **WIDE)

    def _fill(self) -> None:
        run = self.session.run
        self.variable_select.options = {run.describe(v).label: v for v in run.variables}
        self.variable_select.value = self.state.variable
        self.fill_sidebar(run)

    def first_run(self, library: Library) -> str:
        """The run that is shown where none was asked for."""
        return next(iter(library.options().values()))

    def load_run(self) -> None:
        """Fit the bounds of the state to the run."""
        raise NotImplementedError

    def open_run(self) -> None:
        """Choose what is worth seeing first in the run that the app opens with."""

    def make_sidebar(self) -> list:
        """What is chosen from, top to bottom, above the files."""
        raise NotImplementedError

    def fill_sidebar(self, run: Run) -> None:
        """Offer what a new run has."""

    def refresh(self, run: Run) -> None:
        """Bring what stands beside the views up to date."""

    def take(self, ending: str) -> BytesIO | StringIO:
        """The content of a file with one of `endings`; LabError says why there is none."""
        raise NotImplementedError

    def code_text(self) -> str:
        """The program that draws what is on the screen."""
        raise NotImplementedError

    def warn(self, text: str) -> None:
        """Say something that went otherwise than asked for, above the tabs."""
        self.notice.param.update(object=escape(text), visible=True)

    def __panel__(self) -> pn.viewable.Viewable:
        side = pn.Column(*self.sidebar, width=320)
        return pn.Row(side, pn.Column(*self.main, sizing_mode="stretch_width"), sizing_mode="stretch_width")

    @property
    def main(self) -> list[pn.viewable.Viewable]:
        return [self.notice, self.headline, self.tabs]

    def page(self) -> pmui.Page:
        """The whole page, for a served app."""
        self._begin()
        look = {"theme_config": THEME, "sidebar_width": 300, "busy_indicator": "linear"}
        page = pmui.Page(title=self.title, main=self.main, sidebar=self.sidebar, **look)
        if served():
            pn.state.add_periodic_callback(partial(_look, weakref.ref(self)), period=LOOK_MS)
        # By itself a page shows how busy the whole server is: it is told of every click of every visitor, which costs
        # 25 ms each time, and the server never lets go of it.
        with param.edit_constant(page), edit_readonly(page):
            page.busy = self.session.param.busy
        return page

    def share(self, location) -> None:
        """Keep the page's address and the selection the same; what it asks for and cannot be is said and left out."""
        asked = location.query_params
        refused = [key for name, key in self.url_names.items() if key in asked and not self._set(name, asked[key])]
        if refused:
            what = f"something that this run does not have ({', '.join(refused)})"
            self.warn(f"The address asks for {what}; the rest is shown.")
        location.sync(self.state, self.url_names, on_error=lambda values: None)  # said above
        self._begin()

    def _begin(self) -> None:
        """Draw what is chosen by now, if that was put off."""
        if self._waiting:
            self._waiting = False
            # While the browser loads what it needs to draw with, which takes as long.
            pn.state.curdoc.add_next_tick_callback(self._show)

    def _set(self, name: str, value) -> bool:
        """Set a parameter of the state to a value from outside; False where it cannot be that."""
        try:
            setattr(self.state, name, self.state.param[name].deserialize(value))
        except (ValueError, TypeError):
            return False
        return True

    def _close(self, context) -> None:
        for view in self.views.values():
            view.close()

    def _tab_clicked(self, event) -> None:
        self.state.tab = list(self.views)[event.new]

    def _changed(self, *events) -> None:
        names = {event.name for event in events}
        for view in self.views.values():
            view.touch(names)
        self._show()

    def _show(self) -> None:
        if self._waiting:
            return
        with pn.io.hold():
            try:
                run, view = self._renewed(), self.views[self.state.tab]
                self.tabs.active = list(self.views).index(self.state.tab)
                self.refresh(run)
                view.show()
                self._announce(view.sentence(run))
            except LabError as error:  # a file that was cut or replaced while it was read
                self.views[self.state.tab].touch({"run"})
                self.warn(str(error))

    def look(self) -> None:
        """See whether the file on the page is still the same, and say so where it is not."""
        run = self.session.run
        if not self._waiting and (run.id, run.fault) != (self._shown, self._said):
            self._show()

    def _renewed(self) -> Run:
        """The run on the page; of a file that took the place of another everything is drawn anew, and said so."""
        run = self.session.run
        if run.fault != self._said:
            self._said = run.fault
            self.warn(run.fault) if run.fault else self.notice.param.update(visible=False)
        if run.id != self._shown and base_id(run.id) == base_id(self._shown):
            self.load_run()
            self._fill()
            for view in self.views.values():
                view.touch({"run"})
            self.warn(f"{run.label}: the file was replaced since it was opened; this is the new one.")
        self._shown = run.id
        return run

    def _run_changed(self, *events) -> None:
        try:
            self._shown = self.session.run.id
        except LabError as error:  # deleted or damaged since it was offered
            self.warn(str(error))
            self.state.run = base_id(self._shown)
            return
        self.load_run()
        self._fill()
        if caution := self.session.run.caution:
            self.warn(caution)
        self._changed(*events)

    def _refresh_runs(self) -> None:
        """Offer the runs that the library has by now."""
        options = self.session.library.options()
        self.state.param.run.objects = list(options.values())
        self.run_select.param.update(options=options, value=self.state.run)

    def _file_name(self, ending: str) -> str:
        return file_name(self.state.run, *self.file_parts(ending), ending=ending)

    def file_parts(self, ending: str) -> list[str]:
        """What a file is named by, after the run."""
        return [f"t{self.state.time}" if name == "time" else getattr(self.state, name) for name in self.named_by]

    def _announce(self, sentence: str) -> None:
        self.headline.object = escape(sentence)


def _look(shell: weakref.ref) -> None:
    """What a page's clock calls must not keep it alive."""
    if (there := shell()) is not None:
        there.look()
