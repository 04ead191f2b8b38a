"""What every view shares: it draws when it is looked at, and only what has changed."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from html import escape

import panel as pn
import panel_material_ui as pmui
import param

from apps.parts.library import Library
from apps.parts.runs import Run
from labkit.errors import LabError


class Session(param.Parameterized):
    """One person's explorer: the shared library and a selection of their own; `busy` while a view waits for a job."""

    busy = param.Boolean(False)

    def __init__(self, library: Library, state: param.Parameterized) -> None:
        super().__init__()
        self.library, self.state = library, state
        # The explorer sets these two: to say a sentence, and to offer the runs that the library has by now.
        self.announce: Callable[[str], None] = lambda sentence: None
        self.refresh_runs: Callable[[], None] = lambda: None

    @property
    def run(self) -> Run:
        return self.library.run(self.state.run)

    def problems(self) -> list[str]:
        """A sentence for each file that could not be read."""
        return self.library.problems()


class View(pn.viewable.Viewer):
    """A tab. `build(run)` returns what stands in it, top to bottom, once a run; `draw(run)` brings that up to date.

    `uses` names the parameters of the state that it shows, `tab` the tab that it is, `title` what stands on it.
    """

    tab: str
    title: str
    uses: tuple[str, ...] = ()

    def __init__(self, session: Session, **params) -> None:
        super().__init__(**params)
        self.session, self.state = session, session.state
        # Bokeh figures inside nested Panel columns are never laid out; Material ones measure each child by itself.
        self.holder = pmui.Column(sizing_mode="stretch_width", margin=0)
        self._built, self._stale, self.closed = "", True, False

    def __panel__(self) -> pn.viewable.Viewable:
        return self.holder

    @property
    def visible(self) -> bool:
        """Whether its tab is the one that is looked at."""
        return self.state.tab == self.tab

    def touch(self, names: set[str]) -> None:
        """Note what has changed in the state."""
        self._stale = self._stale or bool(names & {"run", *self.uses})

    def show(self) -> None:
        """Bring the view up to date, if it is not."""
        run, content = self.session.run, None
        if self._built != run.id:
            content = self.build(run)
            self._built, self._stale = run.id, True
        if self._stale:
            self._stale = False
            self.draw(run)
        if content is not None:  # only now: a figure that changes before it is laid out is an error in BokehJS
            self.holder.objects = content

    def close(self) -> None:
        """The session has ended."""
        self.closed = True

    def when_done(self, future: Future, show: Callable[[Future], None]) -> bool:
        """Call `show(future)` on the session's own thread once the future is done; False where that is later.

        Without a session (in a test or a notebook) it waits. Only the last future waited for is shown, and nothing
        after the session has ended.
        """
        self._awaited = (future, show)
        self.session.busy = later = not future.done() and served()
        if not later:
            show(future)
            return True
        # A future keeps its callbacks for ever, and the library keeps the future: nothing in them may hold a session.
        future.add_done_callback(partial(_tell, weakref.ref(self), weakref.ref(pn.state.curdoc)))
        return False

    def arrive(self, future: Future) -> None:
        """A future is done; called on the session's own thread.

        Nothing is shown on a tab that is not looked at: Panel 1.9.4 takes what changes there for a page without a
        server, and has the browser fetch its styles from the internet. It is drawn when the tab is opened.
        """
        awaited, show = self._awaited
        if awaited is not future or self.closed:
            return
        if not pn.state.loaded:  # what changes while the page is on its way to the browser is lost
            pn.state.onload(partial(_tell, weakref.ref(self), weakref.ref(pn.state.curdoc), future))
            return
        self.session.busy = False
        if self.visible:
            show(future)
        else:
            self._stale = True

    def build(self, run: Run) -> list:
        raise NotImplementedError

    def draw(self, run: Run) -> None:
        raise NotImplementedError

    def sentence(self, run: Run) -> str:
        """What is seen, as plain text."""
        return ""


log = logging.getLogger(__name__)
WIDE = {"sizing_mode": "stretch_width"}


def _tell(view: weakref.ref, document: weakref.ref, future: Future) -> None:
    """Called on the thread that did the work."""
    if (waiting := view()) is not None and not waiting.closed and (page := document()) is not None:
        page.add_next_tick_callback(partial(waiting.arrive, future))


def served() -> bool:
    """Whether this is for a page of a server; a test or a notebook has none."""
    return bool(pn.state.curdoc and pn.state.curdoc.session_context)


def column(*children, **params) -> pmui.Column:
    return pmui.Column(*children, **(WIDE | {"margin": 0} | params))


def row(*children, **params) -> pmui.Row:
    return pmui.Row(*children, **(WIDE | {"margin": 0} | params))


def widgets(*children) -> pn.Row:
    """What is chosen, side by side, and on further lines where the page is narrow; for nothing that holds a figure."""
    return pn.Row(*children, styles={"flex-wrap": "wrap", "align-items": "center"}, **WIDE)


def picture(model, *, width: str = "none") -> pn.pane.Bokeh:
    """Figures that share a row with others: as wide as there is room for, but no wider than `width` (CSS)."""
    return pn.pane.Bokeh(model, styles={"flex": "1 1 0", "min-width": "0", "max-width": width})


def html(content: str = "", *, size: int = 14, faint: bool = False, margin=(4, 8)) -> pn.pane.HTML:
    """Plain text, escaped."""
    styles = {"font-size": f"{size}px", "opacity": "0.75" if faint else "1"}
    return pn.pane.HTML(escape(content), styles=styles, margin=margin, **WIDE)


def choice(parameter, options: dict[str, str], label: str, **params) -> pmui.RadioButtonGroup:
    """A row of buttons for a Selector; `options` are its values by their names on the buttons."""
    look = {"size": "small", "margin": (6, 8), "sx": {"& button": {"whiteSpace": "nowrap"}, "whiteSpace": "nowrap"}}
    group = pmui.RadioButtonGroup.from_param(
        parameter, options=options, label=label, description=None, **(look | params)
    )
    group.label = ""
    return group


def icon(name: str) -> str | None:
    """A Material icon by its name on a served page; elsewhere its font is not at hand, and the name would be read."""
    return name if served() else None


def select(parameter, options: dict[str, str], label: str, **params) -> pmui.Select:
    params = {"size": "small", "width": 190, "margin": (8, 8, 4, 8)} | params
    return pmui.Select.from_param(parameter, options=options, label=label, description=None, **params)


def switch(parameter, label: str, **params) -> pmui.Switch:
    return pmui.Switch.from_param(parameter, label=label, description="", size="small", **params)


def failure(future: Future) -> str:
    """Why a future failed, as one plain sentence; "" where it did not. What is no LabError is for the server's log."""
    error = future.exception()
    if error is None or isinstance(error, LabError):
        return str(error or "")
    log.error("a job of the explorer failed", exc_info=error)
    return f"That failed ({type(error).__name__}); the server's log says where."


def set_text(pane: pn.pane.HTML, content: str) -> None:
    """Plain text, escaped."""
    pane.object = escape(content)
