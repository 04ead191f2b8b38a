"""What every view shares: it draws when it is looked at, and only what has changed."""

from __future__ import annotations

from html import escape

import panel as pn
import panel_material_ui as pmui

from apps.explorer.library import Library
from apps.explorer.runs import Run
from apps.explorer.state import ExplorerState


class Session:
    """One person's explorer: the shared library and a selection of their own."""

    def __init__(self, library: Library, state: ExplorerState) -> None:
        self.library, self.state = library, state

    @property
    def run(self) -> Run:
        return self.library.run(self.state.run)


class View(pn.viewable.Viewer):
    """A tab. `build(run)` returns its content, once a run; `draw(run)` brings it up to date with the state.

    `uses` names the parameters of the state that it shows.
    """

    uses: tuple[str, ...] = ()

    def __init__(self, session: Session, **params) -> None:
        super().__init__(**params)
        self.session, self.state = session, session.state
        # Bokeh figures inside nested Panel columns are never laid out; Material ones measure each child by itself.
        self.holder = pmui.Column(sizing_mode="stretch_width", margin=0)
        self._built, self._stale, self.closed = "", True, False

    def __panel__(self) -> pn.viewable.Viewable:
        return self.holder

    def touch(self, names: set[str]) -> None:
        """Note what has changed in the state."""
        self._stale = self._stale or bool(names & {"run", *self.uses})

    def show(self) -> None:
        """Bring the view up to date, if it is not."""
        run = self.session.run
        if self._built != run.id:
            self.holder.objects = [self.build(run)]
            self._built, self._stale = run.id, True
        if self._stale:
            self._stale = False
            self.draw(run)

    def close(self) -> None:
        """The session has ended."""
        self.closed = True

    def build(self, run: Run) -> pn.viewable.Viewable:
        raise NotImplementedError

    def draw(self, run: Run) -> None:
        raise NotImplementedError

    def sentence(self, run: Run) -> str:
        """What is seen, as plain text."""
        return ""


WIDE = {"sizing_mode": "stretch_width"}


def column(*children, **params) -> pmui.Column:
    return pmui.Column(*children, **(WIDE | {"margin": 0} | params))


def row(*children, **params) -> pmui.Row:
    return pmui.Row(*children, **(WIDE | {"margin": 0} | params))


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


def select(parameter, options: dict[str, str], label: str, **params) -> pmui.Select:
    params = {"size": "small", "width": 190, "margin": (8, 8, 4, 8)} | params
    return pmui.Select.from_param(parameter, options=options, label=label, description=None, **params)


def switch(parameter, label: str, **params) -> pmui.Switch:
    return pmui.Switch.from_param(parameter, label=label, description="", size="small", **params)


def set_text(pane: pn.pane.HTML, content: str) -> None:
    """Plain text, escaped."""
    pane.object = escape(content)
