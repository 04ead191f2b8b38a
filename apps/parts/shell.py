"""What every app is: a selection on the left, a sentence and a tab of pictures on the right, kept in the address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import quote

import panel as pn
import panel_material_ui as pmui
import param
from panel.util import edit_readonly

from apps.parts.view import WIDE, Session, View, icon

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
    """Load Panel as the apps need it; call it in the served file, and once in a notebook."""
    patch = "data:text/javascript," + quote(PATCH)
    pn.extension(respect_explicit_sizing=True, js_files={"patch": patch})


class Shell(pn.viewable.Viewer):
    """Tabs of views of one session, of which only the one that is looked at is drawn.

    An app names its `title`, its `views` with their titles, and the `url_names` of its state's parameters (of which
    `tab` is one); it fills `sidebar` and brings that up to date in `refresh`.
    """

    title: str
    views_and_titles: Sequence[tuple[type[View], str]]
    url_names: Mapping[str, str]

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session, self.state = session, session.state
        # A served page draws once, when its address has been read: what is asked for there may take long.
        self._waiting = bool(pn.state.curdoc and pn.state.curdoc.session_context)
        self.views: dict[str, View] = {view.tab: view(session) for view, _ in self.views_and_titles}
        if pn.state.curdoc and pn.state.curdoc.session_context:
            pn.state.on_session_destroyed(self._close)
        self.headline = pn.pane.HTML(sizing_mode="stretch_width", styles={"font-size": "15px"}, margin=(10, 12, 2, 12))
        self.notice = pmui.Alert(object="", severity="warning", visible=False, closeable=True, **WIDE)
        session.announce = self._announce
        self.sidebar: list = []
        self.tabs = pmui.Tabs(
            *((title, self.views[view.tab]) for view, title in self.views_and_titles),
            dynamic=True,
            sizing_mode="stretch_width",
            active=list(self.views).index(self.state.tab),
        )
        self.tabs.param.watch(self._tab_clicked, "active")

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
        # By itself a page shows how busy the whole server is: it is told of every click of every visitor, which costs
        # 25 ms each time, and the server never lets go of it.
        with param.edit_constant(page), edit_readonly(page):
            page.busy = self.session.param.busy
        return page

    def share(self, location) -> None:
        """Keep the page's address and the selection the same; what it asks for and cannot be is said and left out."""
        asked = location.query_params
        refused = [key for name, key in self.url_names.items() if key in asked and not self._take(name, asked[key])]
        if refused:
            self.notice.object = (
                f"The address asks for something that this run does not have ({', '.join(refused)}); the rest is shown."
            )
            self.notice.visible = True
        location.sync(self.state, self.url_names, on_error=lambda values: None)  # said above
        self._begin()

    def _begin(self) -> None:
        """Draw what is chosen by now, if that was put off."""
        if self._waiting:
            self._waiting = False
            self._show()

    def refresh(self, run) -> None:
        """Bring what stands beside the views up to date."""

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
        run, view = self.session.run, self.views[self.state.tab]
        with pn.io.hold():
            self.tabs.active = list(self.views).index(self.state.tab)
            self.refresh(run)
            view.show()
            self._announce(view.sentence(run))

    def _announce(self, sentence: str) -> None:
        self.headline.object = escape(sentence)


def heading(label: str) -> pn.pane.HTML:
    style = {"font-size": "12px", "letter-spacing": "0.08em", "text-transform": "uppercase", "opacity": "0.7"}
    return pn.pane.HTML(escape(label), styles=style, margin=(10, 10, 0, 10))


def bold(value: str) -> str:
    return f"<b>{escape(value)}</b>"


class QuickPlayer(pmui.Player):
    """A player whose steps the server answers at once; Panel waits 50 ms in case another one follows."""

    _debounce = 5


def player(label: str) -> pmui.Player:
    return QuickPlayer(
        label=label,
        variant="minimal",
        interval=700,
        loop_policy="loop",
        show_loop_controls=False,
        sizing_mode="stretch_width",
        margin=(0, 8),
    )


class CodeDialog:
    """A button that shows the same in labkit, to be copied: `code()` is the text."""

    def __init__(self, code, **look) -> None:
        self._code = code
        self.text = pn.pane.HTML(sizing_mode="stretch_width")
        self.button = pmui.Button(label="Show code", icon=icon("code"), on_click=self._open, **look)
        self.copy = pmui.Button(label="Copy", icon=icon("content_copy"), **look)
        # The text travels as the button's tag: `args` of a JavaScript callback keep a session for ever.
        self.copy.js_on_click(code="navigator.clipboard && navigator.clipboard.writeText(cb_obj.origin.tags[0])")
        self.dialog = pmui.Dialog(
            self.text, self.copy, title="The same in labkit", width_option="md", close_on_click=True
        )

    def _open(self, event) -> None:
        text = self._code()
        self.text.object = f"<pre style='font-size:13px;overflow:auto'>{escape(text)}</pre>"
        self.copy.tags = [text]
        self.dialog.open = True


def link_button(**look) -> pmui.Button:
    button = pmui.Button(label="Copy link", icon=icon("link"), **look)
    button.js_on_click(code="navigator.clipboard && navigator.clipboard.writeText(window.location.href)")
    return button
