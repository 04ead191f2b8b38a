"""The typhoon explorer as one component: a storm on the left; its tracks, maps, structure, intensity on the right."""

from __future__ import annotations

from html import escape
from io import BytesIO, StringIO

import numpy as np
import panel as pn
import panel_material_ui as pmui

from apps.parts.labels import plain, time_label
from apps.parts.library import Library
from apps.parts.runs import Run
from apps.parts.shell import CodeDialog, Shell, bold, extension, heading, link_button, player
from apps.parts.view import WIDE, Session, select
from apps.storms.about_view import AboutView
from apps.storms.code import code_of, figure_of, table_of
from apps.storms.following import Storm, dated, follow
from apps.storms.front_view import FrontView
from apps.storms.intensity_view import IntensityView
from apps.storms.maps_view import StormMapsView
from apps.storms.state import URL_NAMES, StormState
from apps.storms.structure_view import StructureView
from apps.storms.track_view import TrackView
from labkit.errors import LabError

__all__ = ["TyphoonExplorer", "extension"]


class TyphoonExplorer(Shell):
    """`TyphoonExplorer(library)` shows the storm of the library's first run that has hours in a row.

    Works in a notebook and served.
    """

    title = "Typhoon explorer"
    url_names = URL_NAMES
    views_and_titles = (
        (TrackView, "Track"),
        (StormMapsView, "Maps"),
        (StructureView, "Structure"),
        (IntensityView, "Intensity"),
        (FrontView, "Front"),
        (AboutView, "About"),
    )

    def __init__(self, library: Library, **selection) -> None:
        state = StormState()
        state.param.run.objects = list(library.options().values())
        state.run = selection.pop("run", None) or first_storm(library)
        self.session, self.state = Session(library, state), state
        self._load_run()
        state.param.update(**selection)
        super().__init__(self.session)
        self._make_sidebar()
        state.param.watch(self._changed, [name for name in URL_NAMES if name != "run"] + ["lines", "oracle"])
        state.param.watch(self._run_changed, "run")
        self._show()

    def _load_run(self) -> None:
        run = self.session.run
        self.state.load(variables=run.variables, n_times=len(run.times), n_members=run.n_members, extent=run.extent)
        self.state.time = len(run.times) // 2

    def _make_sidebar(self) -> None:
        state = self.state
        self.run_select = select(state.param.run, self.session.library.options(), "Case", width=None, **WIDE)
        self.variable_select = select(
            state.param.variable, {state.variable: state.variable}, "Variable of the maps", width=None, **WIDE
        )
        self.time_player, self.member_player = player("Time"), player("Member")
        self.time_player.param.watch(lambda event: state.param.update(time=event.new), "value")
        self.member_player.param.watch(lambda event: state.param.update(member=event.new), "value")
        self.time_text, self.member_text = pn.pane.HTML(margin=(0, 10)), pn.pane.HTML(margin=(0, 10))
        self._fill_sidebar()
        self.sidebar = [
            heading("Case"),
            self.run_select,
            self.variable_select,
            heading("When and who"),
            self.time_text,
            self.time_player,
            self.member_text,
            self.member_player,
            heading("Take it along"),
            self._make_takeaways(),
        ]

    def _make_takeaways(self) -> pmui.Column:
        look = {"variant": "outlined", "size": "small", "margin": (3, 4)}
        writers = {"png": self._png, "csv": self._csv}
        self.downloads = {kind: self._download(kind, write, **look) for kind, write in writers.items()}
        self.code = CodeDialog(self._code_text, **look)
        more = pmui.Row(link_button(**look), self.code.button, margin=0)
        return pmui.Column(pmui.Row(*self.downloads.values(), margin=0), more, self.code.dialog, margin=(0, 4))

    def _download(self, kind: str, write, **look) -> pmui.FileDownload:
        button = pmui.FileDownload(label=kind.upper(), filename=f"storm.{kind}", size="small", margin=look["margin"])
        button.variant = look["variant"]

        def contents():
            safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in f"{self.session.run.id}-{self.state.tab}")
            button.filename = f"{safe[:80]}.{kind}"
            try:
                return write()
            except LabError as error:  # a storm, or a profile, that the run has not: the page and the file say so
                self.notice.param.update(object=escape(str(error)), visible=True)
                return StringIO(f"{error}\n")

        button.callback = contents
        return button

    def _code_text(self) -> str:
        run = self.session.run
        return code_of(run, self.state, self.session.library.path(run.id))

    def _storm(self) -> Storm:
        run = self.session.run
        storm = self.session.library.compute((run.id, "storm"), lambda: follow(run)).result()
        if storm.nothing:
            raise LabError("storm of this run", found="none", expected="a storm", todo="choose another case")
        return storm

    def _png(self) -> BytesIO:
        buffer = BytesIO()
        figure_of(self.session.run, self.state, self._storm).savefig(buffer, format="png", dpi=150)
        buffer.seek(0)
        return buffer

    def _csv(self) -> StringIO:
        buffer = StringIO()
        buffer.write("# winds m/s, pressure Pa, distances km, positions degrees; NaN: not found\n")
        table_of(self.session.run, self._storm()).to_csv(buffer, index=False)
        buffer.seek(0)
        return buffer

    def _fill_sidebar(self) -> None:
        run = self.session.run
        self.variable_select.options = {run.describe(v).label: v for v in run.variables}
        self.variable_select.value = self.state.variable
        self.time_player.param.update(start=0, end=len(run.times) - 1, value=self.state.time)
        self.member_player.param.update(start=0, end=run.n_members - 1, value=self.state.member)

    def _run_changed(self, *events) -> None:
        self._load_run()
        self._fill_sidebar()
        self._changed(*events)

    def refresh(self, run: Run) -> None:
        state = self.state
        self.time_player.value, self.member_player.value = state.time, state.member
        self.time_text.object = bold(time_label(run.times[state.time]))
        self.member_text.object = bold(f"Member {plain(run.member_names[state.member], 12)} of {run.n_members}")


def first_storm(library: Library) -> str:
    """The first run whose times follow each other within six hours, as a storm's must; else the first."""
    runs = list(library.options().values())
    for run_id in runs:
        times = library.run(run_id).times
        steps = np.diff(times) if dated(times) else np.array([])
        if steps.size and ((steps > np.timedelta64(0)) & (steps <= np.timedelta64(6, "h"))).all():
            return run_id
    return runs[0]
