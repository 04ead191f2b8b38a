"""About: what the tabs of an app show, in the words of somebody who sees it for the first time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

import panel as pn

from apps.parts.runs import Run
from apps.parts.view import View

STYLE = "<style>li{margin:6px 0} h3{font-weight:500} div{max-width:60em;font-size:14px}</style>"


class Reading(View):
    """`reading`: a text by the name of what it is about. Files that could not be opened are listed below."""

    tab, title = "about", "About"
    uses = ()
    reading: Mapping[str, str] = {}

    def build(self, run: Run) -> list:
        items = listed((name, text) for name, text in self.reading.items())
        problems = "".join(f"<li>{escape(problem)}</li>" for problem in self.session.problems())
        missing = f"<h3>Not opened</h3><ul>{problems}</ul>" if problems else ""
        text = f"{STYLE}<div><h3>What is shown</h3>{items}{self.beside()}{missing}</div>"
        return [pn.pane.HTML(text, sizing_mode="stretch_width", margin=(4, 12))]

    def beside(self) -> str:
        """Further chapters, as HTML."""
        return ""

    def draw(self, run: Run) -> None:
        pass

    def sentence(self, run: Run) -> str:
        dy, dx = run.spacing_km
        return f"{run.label}: {len(run.y)} x {len(run.x)} cells of {dy:g} x {dx:g} km, {len(run.times)} times."


def listed(items: Iterable[tuple[str, str]]) -> str:
    """An HTML list of names and what is said of them; both may be any text."""
    return "<ul>" + "".join(f"<li><b>{escape(name)}</b>: {escape(text)}</li>" for name, text in items) + "</ul>"
