"""Calibration: is the truth just another member, does the spread say how large the error is, how good could it be?"""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial

import panel as pn

from apps.explorer.calibration_jobs import (
    WITH_THRESHOLD,
    Asked,
    asked_of,
    left_out,
    notes,
    sentence,
    work_out,
)
from apps.explorer.calibration_pictures import PICTURES, MapsPicture, Picture
from apps.explorer.probability_view import fit_threshold, threshold_slider
from apps.explorer.state import DIAGNOSTICS
from apps.parts.runs import Run
from apps.parts.view import View, choice, column, failure, html, select, set_text, widgets
from labkit.verify.strata import STRATA


class CalibrationView(View):
    tab, title = "calibration", "Calibration"
    uses = ("diagnostic", "variable", "scope", "threshold", "strata", "point", "box", "lines")

    def build(self, run: Run) -> list:
        state = self.state.param
        titles = {title: key for key, (title, _, _) in DIAGNOSTICS.items()}
        scopes = {"All times": "run", "This time": "case"}
        self.threshold = threshold_slider(self.state, width=260)
        self.strata = select(state.strata, {title: by for by, title in STRATA.items()}, "Split by", width=220)
        controls = widgets(
            select(state.diagnostic, titles, "Diagnostic", width=220),
            choice(state.scope, scopes, "Made of", visible=len(run.times) > 1),
            self.threshold,
            self.strata,
        )
        self.said = html(faint=True, margin=(0, 12))
        self.stage = column()
        self.picture: Picture | None = None
        self.result, self.problem = None, ""
        self._asked: Asked | None = None
        self._arranged: tuple = ()
        return [controls, self.said, self.stage]

    def touch(self, names: set[str]) -> None:
        super().touch(names)
        self._stale = self._stale or ("time" in names and self.state.scope == "case")

    def draw(self, run: Run) -> None:
        asked = asked_of(run, self.state)
        self._fit_controls(run)
        if asked == self._asked and (self.result is not None or self.problem):
            self._place()
            return
        self._asked, self.result, self.problem = asked, None, ""
        future = self.session.library.compute((run.id, asked), partial(work_out, run, asked))
        if not self.when_done(future, partial(self._show, run, asked)):
            self.stage.loading = True

    def sentence(self, run: Run) -> str:
        if self.problem:
            return self.problem
        if self.result is None:
            return "Comparing the members with the truth ..."
        return sentence(run, self._asked, self.result)

    def _fit_controls(self, run: Run) -> None:
        self.threshold.visible = self.state.diagnostic in WITH_THRESHOLD
        self.strata.visible = self.state.diagnostic == "strata"
        fit_threshold(self.threshold, self.state, run.describe(self.state.variable))

    def _show(self, run: Run, asked: Asked, future: Future) -> None:
        if asked != self._asked:
            return
        late, self.stage.loading = self.stage.loading, False
        self.problem = failure(future)
        with pn.io.hold():
            if self.problem:
                self.picture, self._arranged, self.stage.objects = None, (), []
                set_text(self.said, "")
            else:
                self.result = future.result()
                self._show_result(run, asked)
        if late:
            self.session.announce(self.sentence(run))

    def _show_result(self, run: Run, asked: Asked) -> None:
        set_text(self.said, " ".join(notes(run, asked, left_out(asked, self.result))))
        arranged, make = self._picture(run, asked)
        if new := arranged != self._arranged:
            self.picture, self._arranged = make(), arranged
        self.picture.show(run, asked, self.result)
        self._place()
        if new:  # only now: a figure that changes before it is laid out is an error in BokehJS
            self.stage.objects = [self.picture.layout]

    def _picture(self, run: Run, asked: Asked) -> tuple:
        """What tells the picture from others, and how it is made."""
        if asked.diagnostic != "maps":
            return (asked.diagnostic,), PICTURES[asked.diagnostic]
        from labkit.plots.score_maps import map_titles

        titles = map_titles(self.result, run.describe(asked.variable))
        return ("maps", tuple(titles.values())), partial(MapsPicture, run, titles, self.state.select_point)

    def _place(self) -> None:
        """The chosen place and the coast, where there are maps."""
        if isinstance(self.picture, MapsPicture):
            self.picture.maps.grid.set_place(self.state.point, self.state.box)
            self.picture.maps.grid.set_lines(self.state.lines)
