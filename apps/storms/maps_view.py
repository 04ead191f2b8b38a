"""Maps: every source side by side, about its own storm or fixed to the ground, with rings of distance."""

from __future__ import annotations

import numpy as np
from bokeh.models import Circle, ColumnDataSource, Scatter

from apps.parts.labels import time_label
from apps.parts.maps import MapGrid
from apps.parts.runs import Run
from apps.parts.scale import Look
from apps.parts.sources import put
from apps.parts.view import choice, picture, row, switch, widgets
from apps.storms.following import ORDER, Storm, StormView, member_label
from labkit.plots.colours import SOURCE_LABELS, palette

RINGS_KM = (50.0, 100.0)
ABOUT_KM = 120.0


class StormMapsView(StormView):
    tab, title = "maps", "Maps"
    uses = ("variable", "time", "member", "frame", "lines")

    def build(self, run: Run) -> list:
        sources = [s for s in ORDER if any(run.has(s, v) for v in run.variables)]
        self.grid = MapGrid(run, {source: SOURCE_LABELS[source] for source in sources})
        self.rings = {source: ColumnDataSource({"x": [], "y": [], "r": []}) for source in sources}
        self.centres = {source: ColumnDataSource({"x": [], "y": []}) for source in sources}
        for source, plot in self.grid.figures.items():
            rings = {"radius": "r", "fill_color": None, "line_color": "white", "line_alpha": 0.8, "line_dash": "dashed"}
            plot.add_glyph(self.rings[source], Circle(x="x", y="y", **rings))
            cross = {"marker": "cross", "size": 12, "line_color": "#d6006c", "line_width": 2}
            plot.add_glyph(self.centres[source], Scatter(x="x", y="y", **cross))
        controls = widgets(
            choice(self.state.param.frame, {"About each storm": "storm", "Fixed to the ground": "earth"}, "Maps"),
            switch(self.state.param.lines, "Coast and graticule"),
        )
        west, south, east, north = run.extent
        fit = f"calc((100vh - 345px) * {1.5 * (east - west) / (north - south):.3f} + 186px)"
        maps = picture(self.grid.layout, width=fit)
        self.body = row(maps, self.grid.bar)
        return [controls, self.body]

    def show_storm(self, run: Run, storm: Storm) -> None:
        state, variable = self.state, run.describe(self.state.variable)
        about = state.frame == "storm"
        places = {source: storm.place(source, state.time, state.member) for source in self.grid.keys}
        known = {source: place for source, place in places.items() if np.isfinite(place).all()}
        # A source without a storm is shown about the truth's, or about the middle of the others.
        other = known.get("truth") or (tuple(np.mean(list(known.values()), axis=0)) if known else (0.0, 0.0))
        self.grid.set_shifts({source: known.get(source, other) for source in self.grid.keys} if about else {})
        self.grid.set_window(*(window(run) if about else (None, None)))
        fields = {source: self._field(run, source) for source in self.grid.keys}
        look = Look(run.limits(state.variable), palette(variable.cmap), variable.units)
        self.grid.update(fields, look)
        self.grid.set_lines(state.lines and not about)
        self.grid.set_place((np.nan, np.nan), None)
        for source in self.grid.keys:
            self._mark(source, known.get(source), about)
            self.grid.set_title(source, self._title(run, source, source in known))

    def say_storm(self, run: Run, storm: Storm) -> str:
        when = time_label(run.times[self.state.time])
        sizes = [
            f"{SOURCE_LABELS[source].lower()} {storm.values(source, 'rmw')[self.state.time]:.0f} km"
            for source in ("interpolation", "regression", "truth")
            if storm.has(source, "rmw") and np.isfinite(storm.values(source, "rmw")[self.state.time])
        ]
        if storm.has("prediction", "rmw"):
            own = storm.values("prediction", "rmw")[self.state.member, self.state.time]
            sizes += [f"{member_label(run, self.state.member).lower()} {own:.0f} km"] if np.isfinite(own) else []
        return f"{when}: radius of maximum wind: {', '.join(sizes)}." if sizes else f"{when}: no storm at this time."

    def _field(self, run: Run, source: str):
        state = self.state
        member = state.member if source in ("prediction", "oracle") else 0
        if not run.has(source, state.variable):
            return (state.variable,), np.full((len(run.y), len(run.x)), np.nan, np.float32)
        return (state.variable, state.time, member), run.field(source, state.variable, state.time, member)

    def _mark(self, source: str, place, about: bool) -> None:
        x, y = (0.0, 0.0) if about and place else place or (np.nan, np.nan)
        n = len(RINGS_KM) if place else 0
        put(self.rings[source], {"x": [x] * n, "y": [y] * n, "r": list(RINGS_KM[:n])})
        put(self.centres[source], {"x": [x] if place else [], "y": [y] if place else []})

    def _title(self, run: Run, source: str, found: bool) -> str:
        name = SOURCE_LABELS[source]
        if source in ("prediction", "oracle"):
            label = member_label(run, self.state.member)
            name = label if source == "prediction" else f"Oracle {label.lower()}"
        return name if found else f"{name}: no storm found"


def window(run: Run) -> tuple[tuple[float, float], tuple[float, float]]:
    """What of x and y is seen about a storm: in the shape of the grid, which is that of the figures."""
    west, south, east, north = run.extent
    wide, high = (ABOUT_KM * side / min(east - west, north - south) for side in (east - west, north - south))
    return (-wide, wide), (-high, high)
