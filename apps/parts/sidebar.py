"""What stands on the left of every app: headings, steppers through times and members, what is taken along."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from html import escape
from io import BytesIO, StringIO

import panel as pn
import panel_material_ui as pmui
import param

from apps.parts.view import icon
from labkit.errors import LabError

LOOK = {"variant": "outlined", "size": "small", "margin": (3, 4)}
_DRAWING = threading.Lock()
LABELS = {"nc": "NetCDF"}


class QuickPlayer(pmui.Player):
    """A player whose steps the server answers at once; Panel waits 50 ms in case another one follows."""

    _debounce = 5


class Stepper:
    """A player through the values of an integer parameter, and what the value is in words: `children` of a sidebar."""

    def __init__(self, state: param.Parameterized, name: str) -> None:
        self._state, self._name = state, name
        self.player = QuickPlayer(
            label=name.capitalize(),
            variant="minimal",
            interval=700,
            loop_policy="loop",
            show_loop_controls=False,
            sizing_mode="stretch_width",
            margin=(0, 8),
        )
        self.player.param.watch(lambda event: state.param.update(**{name: event.new}), "value")
        self.text = pn.pane.HTML(margin=(0, 10))
        self.children = [self.text, self.player]

    def fit(self) -> None:
        """Take over the bounds of the parameter."""
        start, end = self._state.param[self._name].bounds
        self.player.param.update(start=start, end=end, value=getattr(self._state, self._name))

    def show(self, text: str) -> None:
        """Stand at the parameter's value, which `text` is in words."""
        self.player.value = getattr(self._state, self._name)
        self.text.object = bold(text)


class Takeaways:
    """Buttons: a file of each kind, the link, the same in labkit.

    take: the content of the file with an ending; name: its name; code: the program; refused: told why there is no file.
    """

    def __init__(
        self,
        endings: Sequence[str],
        take: Callable[[str], BytesIO | StringIO],
        name: Callable[[str], str],
        code: Callable[[], str],
        refused: Callable[[str], None],
    ) -> None:
        self._take, self._name, self._refused = take, name, refused
        self.downloads = {ending: self._download(ending) for ending in endings}
        self.code = CodeDialog(code)
        more = pn.Row(link_button(), self.code.button)
        self.panel = pn.Column(pn.Row(*self.downloads.values()), more, self.code.dialog, margin=(0, 4))

    def _taken(self, ending: str) -> BytesIO | StringIO:
        """On a thread, so that nobody's page waits; one at a time, as Matplotlib wants it."""
        with _DRAWING:
            return self._take(ending)

    def _download(self, ending: str) -> pmui.FileDownload:
        look = {name: LOOK[name] for name in ("size", "margin")}
        label = LABELS.get(ending, ending.upper())
        button = pmui.FileDownload(label=label, filename=f"labkit.{ending}", **look)
        button.variant = LOOK["variant"]

        async def contents():
            # The browser saves what changes: the same file again would change nothing.
            button.param.update(data=None, filename=self._name(ending))
            try:
                return await asyncio.to_thread(self._taken, ending)
            except LabError as error:  # what the run has not, or what is too large: the page and the file say so
                self._refused(str(error))
                return StringIO(f"{error}\n")

        button.callback = contents
        return button


class CodeDialog:
    """A button that shows the same in labkit, to be copied: `code()` is the text."""

    def __init__(self, code: Callable[[], str]) -> None:
        self._code = code
        self.text = pn.pane.HTML(sizing_mode="stretch_width")
        self.button = pmui.Button(label="Show code", icon=icon("code"), on_click=self._open, **LOOK)
        self.copy = pmui.Button(label="Copy", icon=icon("content_copy"), **LOOK)
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


def link_button() -> pmui.Button:
    button = pmui.Button(label="Copy link", icon=icon("link"), **LOOK)
    button.js_on_click(code="navigator.clipboard && navigator.clipboard.writeText(window.location.href)")
    return button


def heading(label: str) -> pn.pane.HTML:
    style = {"font-size": "12px", "letter-spacing": "0.08em", "text-transform": "uppercase", "opacity": "0.7"}
    return pn.pane.HTML(escape(label), styles=style, margin=(10, 10, 0, 10))


def bold(value: str) -> str:
    return f"<b>{escape(value)}</b>"
