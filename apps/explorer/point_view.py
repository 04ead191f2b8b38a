"""Point and time: what the members, the truth and the oracle say at one place, now and through time."""

from __future__ import annotations

from apps.explorer import sentences
from apps.explorer.maps_view import map_row, value_look
from apps.parts.maps import MapGrid
from apps.parts.runs import Run
from apps.parts.series import Distribution, Fan
from apps.parts.view import View, choice, column, html, row


class PointView(View):
    tab, title = "point", "Point & time"
    uses = ("variable", "time", "point", "box", "box_statistic", "scale", "lines", "member")

    def build(self, run: Run) -> list:
        self.grid = MapGrid(
            run, {"truth": "Truth"}, columns=1, on_tap=self.state.select_point, on_box=self.state.select_box
        )
        self.histogram = Distribution()
        self.fan = Fan() if len(run.times) > 1 else None
        statistics = {"Mean": "mean", "Maximum": "maximum", "Minimum": "minimum"}
        hint = html("Click a place on the map, or drag a box with the box tool.", faint=True, margin=(12, 8))
        self.statistic = choice(self.state.param.box_statistic, statistics, "Over the box")
        place = column(hint, map_row(self.grid, rows=2), styles={"flex": "0 1 460px", "min-width": "0"})
        said = column(self.statistic, self.histogram.figure, styles={"flex": "1 1 0", "min-width": "0"})
        return [row(place, said), *([self.fan.figure] if self.fan else [])]

    def draw(self, run: Run) -> None:
        state, variable = self.state, run.describe(self.state.variable)
        truth = run.field("truth", state.variable, state.time)
        self.grid.update({"truth": ((state.variable, state.time), truth)}, value_look(run, state))
        self.grid.set_place(state.point, state.box)
        self.grid.set_lines(state.lines)
        self.statistic.visible = state.box is not None
        place = run.place(state.point, state.box)
        sources = [
            s for s in ("prediction", "oracle", "truth", "regression", "interpolation") if run.has(s, state.variable)
        ]
        series = {s: run.series(s, state.variable, place, state.box_statistic) for s in sources}
        self.histogram.show({s: values[..., state.time] for s, values in series.items()}, variable.label)
        if self.fan:
            self.fan.show(run.times, series, variable.label, state.time, state.member)

    def sentence(self, run: Run) -> str:
        return sentences.point_sentence(run, self.state)
