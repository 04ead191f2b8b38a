"""About: how to read the tabs, how this run was made, what could not be opened, and the code behind the picture."""

from __future__ import annotations

from html import escape

import panel as pn

from apps.parts.runs import Run
from apps.parts.view import View
from labkit.variables import plain

READING = {
    "Maps": """the coarse input, what a regression makes of it, the members' mean, one member, the truth, and a draw
    of the oracle, which knows the exact law of idealised data. The value under the mouse is shown in every map.""",
    "Members": "every member at once. A good model's members look as sharp as the truth and differ among themselves.",
    "Probability": "where members disagree, where their mean is wrong, and how likely a threshold is exceeded.",
    "Products": """what forecasters look at: where each member has more than a threshold (paintball, spaghetti), a mean
    with the members' amounts, probabilities for a neighbourhood, the extreme members, and groups of like members.""",
    "Point & time": "the distribution at the place last clicked in any map, or over a box, now and through time.",
    "Calibration": """whether the truth could be one of the members: a flat rank histogram, an error as large as the
    spread says, and a score as near to the oracle's as can be.""",
    "Draw": "new members from a trained model, as they are drawn.",
}


class AboutView(View):
    tab, title = "about", "About"
    uses = ()

    def build(self, run: Run) -> list:
        text = about_html(run, self.session.library.problems())
        return [pn.pane.HTML(text, sizing_mode="stretch_width", margin=(4, 12))]

    def draw(self, run: Run) -> None:
        pass

    def sentence(self, run: Run) -> str:
        dy, dx = run.spacing_km
        return (
            f"{run.label}: {run.n_members} members of {len(run.times)} times on {len(run.y)} x {len(run.x)} cells of "
            f"{dx:g} x {dy:g} km."
        )


def about_html(run: Run, problems: list[str]) -> str:
    """The tab's text; what comes out of files is escaped, cut short and never read as mark-up."""
    reading = "".join(f"<li><b>{escape(tab)}</b>: {escape(what)}</li>" for tab, what in READING.items())
    attrs = {**run.tree.attrs, **run.tree["prediction"].attrs}
    lines = "".join(
        f"<tr><td>{escape(plain(k, 40))}</td><td>{escape(plain(v, 300))}</td></tr>" for k, v in attrs.items()
    )
    made = f"<h3>How this run was made</h3><table>{lines}</table>" if lines else ""
    unread = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
    missing = f"<h3>Not opened</h3><ul>{unread}</ul>" if unread else ""
    style = (
        "<style>li{margin:4px 0} h3{font-weight:500;margin:14px 0 4px} td{padding:2px 18px 2px 0;vertical-align:top}"
        "td:first-child{opacity:.7} div{max-width:60em;font-size:14px}</style>"
    )
    return f"{style}<div><h3>What each tab shows</h3><ul>{reading}</ul>{made}{missing}</div>"
