"""The typhoon explorer as one component: a storm on the left; its tracks, maps, structure, intensity on the right."""

from __future__ import annotations

from functools import partial
from html import escape

import numpy as np
import panel as pn

from apps.parts.extension import extension
from apps.parts.labels import plain, time_label
from apps.parts.library import Library
from apps.parts.runs import Run
from apps.parts.shell import Shell
from apps.parts.sidebar import Stepper, heading
from apps.storms import export
from apps.storms.about_view import AboutView
from apps.storms.code import code_of
from apps.storms.following import StormSession, dated, key_of
from apps.storms.front_view import FrontView
from apps.storms.intensity_view import IntensityView
from apps.storms.maps_view import StormMapsView
from apps.storms.shelf import Shelf
from apps.storms.state import URL_NAMES, StormState
from apps.storms.structure_view import StructureView
from apps.storms.track_view import TrackView

__all__ = ["TyphoonExplorer", "extension"]


class TyphoonExplorer(Shell):
    """`TyphoonExplorer(library)` shows the storm of the library's first run that has hours in a row.

    shelf: best tracks and cases that lie beside the runs. Works in a notebook and served.
    """

    title = "Typhoon explorer"
    run_label = "Case"
    state_type = StormState
    named_by = ("tab", "time")
    url_names = URL_NAMES
    tabs_of = (TrackView, StormMapsView, StructureView, IntensityView, FrontView, AboutView)

    def __init__(self, library: Library, *, shelf: Shelf | None = None, **selection) -> None:
        super().__init__(library, session=partial(StormSession, shelf=shelf), **selection)

    def first_run(self, library: Library) -> str:
        return first_storm(library)

    def load_run(self) -> None:
        run = self.session.run
        self.state.load(variables=run.variables, n_times=len(run.times), n_members=run.n_members, extent=run.extent)
        self.state.time = len(run.times) // 2

    def make_sidebar(self) -> list:
        self.times, self.members = Stepper(self.state, "time"), Stepper(self.state, "member")
        self.case = pn.pane.HTML(sizing_mode="stretch_width", margin=(0, 10), styles={"font-size": "12px"})
        case = [heading("Case"), self.run_select, self.case, self.variable_select]
        return [*case, heading("When and who"), *self.times.children, *self.members.children]

    def fill_sidebar(self, run: Run) -> None:
        self.times.fit()
        self.members.fit()
        known = self.session.shelf.cases_of(run)[-1:]  # of several, the one that the user has added
        self.case.object = "".join(f"<b>{escape(case.title)}</b>: {escape(case.why)}" for case in known)

    def refresh(self, run: Run) -> None:
        self.times.show(time_label(run.times[self.state.time]))
        self.members.show(f"Member {plain(run.member_names[self.state.member], 12)} of {run.n_members}")

    def take(self, ending: str):
        return export.WRITERS[ending](self.session)

    def file_parts(self, ending: str) -> list[str]:
        return ["storm"] if ending == "csv" else super().file_parts(ending)

    def code_text(self) -> str:
        run = self.session.run
        library = self.session.library
        storm = library.result(key_of(run))
        return code_of(run, self.state, library.path(run.id), storm.best[0] if storm and storm.best else None)


def first_storm(library: Library) -> str:
    """The first run whose times follow each other within six hours, as a storm's must; else the first."""
    runs = list(library.options().values())
    for run_id in runs:
        times = library.run(run_id).times
        steps = np.diff(times) if dated(times) else np.array([])
        if steps.size and ((steps > np.timedelta64(0)) & (steps <= np.timedelta64(6, "h"))).all():
            return run_id
    return runs[0]
