"""Maps: every source of the chosen variable side by side, on one colour scale."""

from __future__ import annotations

import numpy as np
import panel_material_ui as pmui

from apps.explorer import sentences
from apps.explorer.state import ExplorerState
from apps.parts.maps import MapGrid
from apps.parts.runs import Run
from apps.parts.scale import Look
from apps.parts.view import View, choice, picture, row, select, switch, widgets
from labkit.plots.colours import DIFFERENCES, difference_limits, palette
from labkit.variables import canonical


class MapsView(View):
    tab, title = "maps", "Maps"
    uses = ("variable", "time", "member", "show", "scale", "point", "box", "lines", "arrows")

    def build(self, run: Run) -> list:
        sources = list(dict.fromkeys(s for v in run.variables for s in run.sources(v)))
        order = [s for s in ("interpolation", "regression", "mean", "prediction", "truth", "oracle") if s in sources]
        titles = {source: sentences.source_label(run, source, 0) for source in order}
        self.grid = MapGrid(run, titles, on_tap=self.state.select_point)
        scales = {"the whole run": "run", "this time": "case", "the standard range": "standard"}
        controls = widgets(
            choice(self.state.param.show, {"Values": "values", "Minus truth": "difference"}, "Show"),
            select(self.state.param.scale, scales, "Colours fitted to"),
            switch(self.state.param.arrows, "Wind arrows", visible=_has_wind(run)),
            switch(self.state.param.lines, "Coast and graticule"),
        )
        return [controls, map_row(self.grid, rows=2)]

    def draw(self, run: Run) -> None:
        state, variable = self.state, run.describe(self.state.variable)
        fields = self._fields(run)
        if state.show == "difference":
            look = Look(self._difference_limits(run), palette(DIFFERENCES), variable.units)
        else:
            look = value_look(run, state)
        for source in self.grid.keys:
            self.grid.set_title(source, self._title(run, source))
        self.grid.update(fields, look)
        self.grid.set_place(state.point, state.box)
        self.grid.set_lines(state.lines)
        self._draw_arrows(run)

    def sentence(self, run: Run) -> str:
        return sentences.maps_sentence(run, self.state)

    def _title(self, run: Run, source: str) -> str:
        difference = self.state.show == "difference"
        title = sentences.source_label(run, source, self.state.member)
        return "Truth, which they are compared with" if difference and source == "truth" else title

    def _fields(self, run: Run) -> dict[str, tuple[tuple, np.ndarray]]:
        state = self.state
        truth = run.field("truth", state.variable, state.time)
        fields = {}
        for source in self.grid.keys:
            if not run.has(source, state.variable):
                fields[source] = ((state.variable,), np.full_like(truth, np.nan))
                continue
            member = state.member if source in ("prediction", "oracle") else 0
            field = run.field(source, state.variable, state.time, member)
            minus = state.show == "difference" and source != "truth"
            token = (state.variable, state.time, member, state.show)
            fields[source] = (token, field - truth if minus else field)
        if state.show == "difference":
            fields["truth"] = (("truth", state.time, state.variable), truth * 0)
        return fields

    def _difference_limits(self, run: Run) -> tuple[float, float]:
        truth = run.field("truth", self.state.variable, self.state.time)
        return difference_limits(run.members(self.state.variable, self.state.time) - truth)

    def _draw_arrows(self, run: Run) -> None:
        names = {canonical(v): v for v in run.variables}
        for source in self.grid.keys:
            wanted = self.state.arrows and _has_wind(run) and run.has(source, names["u10"])
            wind = (
                [run.field(source, names[c], self.state.time, self.state.member) for c in ("u10", "v10")]
                if wanted
                else [None, None]
            )
            self.grid.set_arrows(source, *wind)


def map_row(grid: MapGrid, *, rows: int) -> pmui.Row:
    """The maps with their colour bar, no wider than lets `rows` rows of them fit the height of the window."""
    columns = -(-len(grid.keys) // rows)
    west, south, east, north = grid.run.extent
    ratio = columns / rows * (east - west) / (north - south)
    borders = (62 if grid.bar else 122) * columns
    fit = f"calc((100vh - 345px) * {ratio:.3f} + {borders}px)"
    maps = picture(grid.layout, width=fit)
    return row(maps, grid.bar) if grid.bar else row(maps)


def value_look(run: Run, state: ExplorerState) -> Look:
    """How values of the chosen variable are shown, with colours fitted as the state says."""
    variable = run.describe(state.variable)
    times = {"run": None, "case": state.time}
    limits = variable.limits if state.scale == "standard" else run.limits(state.variable, times[state.scale])
    return Look(limits, palette(variable.cmap), variable.units)


def _has_wind(run: Run) -> bool:
    return {"u10", "v10"} <= {canonical(v) for v in run.variables}
