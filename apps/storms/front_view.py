"""Front: where each member has it, how sharp it is, and sections along a line whose ends are dragged."""

from __future__ import annotations

import weakref
from functools import partial

import numpy as np
import panel as pn
import panel_material_ui as pmui
from bokeh.models import ColumnDataSource, LabelSet, Patches, PointDrawTool, Scatter
from bokeh.plotting import figure

from apps.parts.computed import Computed
from apps.parts.labels import time_label
from apps.parts.maps import MapGrid
from apps.parts.place import clamp
from apps.parts.runs import Run
from apps.parts.scale import Look
from apps.parts.sources import put
from apps.parts.view import column, html, picture, row, served, switch, widgets
from apps.storms.code import ends_of
from apps.storms.following import spread_text
from apps.storms.ways import Way, Ways, rounded
from labkit.plots.colours import SOURCE_COLOURS, SOURCE_LABELS, colour_limits, palette
from labkit.plots.fronts import BAND, CURVES, curve_label
from labkit.variables import canonical, lookup
from labkit.verify.front_study import SOURCES, cut, front_of, longest, warmth_of
from labkit.verify.selection import ENSEMBLES

HINT = "Drag the ends A and B of the line. On the map: the longest front of each member, input, regression, truth."

NEEDED = {"t2m", "u10", "v10", "reflectivity", "tp", "orography"}
AHEAD_BYTES, SENT_MS = 64 * 2**20, 80


class FrontView(Computed):
    tab, title = "front", "Front"
    uses = ("time", "member", "start", "end", "lines", "least")
    working = "Looking for the front in every member ..."

    def build(self, run: Run) -> list:
        self.grid = MapGrid(run, {"warmth": "Temperature at sea level"}, columns=1)
        self.overlay = Section(self.grid.figures["warmth"], self._dragged)
        self.curves = {name: Curves() for name in CURVES}
        self.sharp = pn.pane.HTML(sizing_mode="stretch_width", margin=(4, 12))
        west, south, east, north = run.extent
        fit = f"calc((100vh - 300px) * {(east - west) / (north - south):.3f} + 62px)"
        maps = picture(self.grid.layout, width=fit)
        share = {"flex": "1 1 380px", "min-width": "0"}
        plots = column(*(curve.figure for curve in self.curves.values()), styles=share)
        look = {"size": "small", "width": 240, "margin": (8, 16), "start": 1, "end": 20, "step": 0.5}
        self.least = pmui.FloatSlider(label="A front is from [K in 100 km]", value=self.state.least, **look)
        self.least.param.watch(lambda event: self.state.param.update(least=float(event.new)), "value_throttled")
        controls = widgets(self.least, switch(self.state.param.lines, "Coast and graticule"))
        shown = column(row(maps, self.grid.bar), self.sharp, html(HINT, faint=True, size=12), styles=share)
        self.body = pmui.FlexBox(shown, plots, flex_wrap="wrap", sizing_mode="stretch_width", margin=0)
        return [controls, self.body]

    def ask(self, run: Run):
        return self._asked(run, self.state.time)

    def _asked(self, run: Run, time: int):
        least = self.state.least
        return (run.id, "front", time, least), partial(_front, run, time, least)

    def show_result(self, run: Run) -> None:
        state, front = self.state, self.result
        if isinstance(front, str):
            return
        warmth = warmth_of(front, state.member)
        known = lookup("t2m")
        look = Look(colour_limits(known, [warmth]), palette(known.cmap), known.units)
        self.grid.update({"warmth": ((run.id, state.time, state.member), warmth)}, look)
        self.grid.set_lines(state.lines)
        self.grid.set_place((np.nan, np.nan), None)
        self.least.value = state.least
        start, end = ends_of(run, state)
        self.overlay.show(longest(front), start, end)
        cuts = cut(front.fields, start, end)
        for name, curve in self.curves.items():
            curve.figure.visible = any(name in one for one in cuts.values())
            if curve.figure.visible:
                curve.show(cuts, name, state.member)
        self.sharp.object = _sharpness_html(front)
        if front.nbytes <= AHEAD_BYTES and served():
            pn.state.curdoc.add_timeout_callback(partial(_look_ahead, weakref.ref(self), run, state.time), SENT_MS)

    def look_ahead(self, run: Run, time: int) -> None:
        """Have the fronts beside this time worked out while it is looked at."""
        if self.closed or (self.session.run.id, self.state.time) != (run.id, time):
            return
        for other in (time + 1, time - 1):
            if 0 <= other < len(run.times):
                self.session.library.compute(*self._asked(run, other))

    def say(self, run: Run) -> str:
        if isinstance(self.result, str):
            return self.result
        said, when = [], time_label(run.times[self.state.time])
        for source in ("interpolation", "regression", "truth"):
            if source in self.result.sharpness and np.isfinite(self.result.sharpness[source][0]):
                said.append(f"{SOURCE_LABELS[source].lower()} {self.result.sharpness[source][0]:.0f}")
        for source, label in (("prediction", "members"), ("oracle", "oracle")):
            if source in self.result.sharpness:
                said.append(f"{label} {spread_text(self.result.sharpness[source], '')}")
        return f"{when}, steepest temperature gradient [K in 100 km]: {'; '.join(said)}."

    def _dragged(self, xs, ys) -> None:
        west, south, east, north = self.session.run.extent
        (x0, y0), (x1, y1) = ((clamp(x, west, east), clamp(y, south, north)) for x, y in zip(xs, ys, strict=True))
        if (x0, y0) != (x1, y1):
            self.state.param.update(start=(x0, y0), end=(x1, y1))


class Section:
    """Fronts on a map, and a line whose two ends can be dragged."""

    def __init__(self, plot: figure, on_drag) -> None:
        self.ends = ColumnDataSource({"x": [0.0, 0.0], "y": [0.0, 0.0], "letter": ["A", "B"]})
        self.lines = Ways(plot)
        plot.line("x", "y", source=self.ends, color="white", line_width=5, alpha=0.7)
        plot.line("x", "y", source=self.ends, color="black", line_width=2)
        look = {"size": 15, "fill_color": "white", "line_color": "black", "line_width": 2}
        handles = plot.add_glyph(self.ends, Scatter(x="x", y="y", **look))
        letters = {"text_font_size": "12px", "text_align": "center", "text_baseline": "middle", "text_color": "black"}
        plot.add_layout(LabelSet(x="x", y="y", text="letter", source=self.ends, **letters))
        tool = PointDrawTool(renderers=[handles], add=False)
        plot.add_tools(tool)
        plot.toolbar.active_tap = plot.toolbar.active_drag = tool
        self._on_drag, self._showing = on_drag, False
        self.ends.on_change("data", self._moved)

    def show(self, fronts: dict, start: tuple[float, float], end: tuple[float, float]) -> None:
        """fronts: lines (point, 2) by source."""
        thin, thick = {"width": 0.9, "alpha": 0.65}, {"width": 2.6}
        self.lines.show(
            Way(source, *way.T, SOURCE_COLOURS[source], **(thin if source in ENSEMBLES else thick))
            for source in dict.fromkeys((*ENSEMBLES, *SOURCES))
            for way in fronts.get(source, [])
        )
        self._showing = True
        put(self.ends, {"x": [start[0], end[0]], "y": [start[1], end[1]], "letter": ["A", "B"]})
        self._showing = False

    def _moved(self, name, old, new) -> None:
        if not self._showing and len(new["x"]) == 2:
            self._on_drag(new["x"], new["y"])


class Curves:
    """One quantity along the section: lines of the single sources, bands and medians of the ensembles."""

    def __init__(self) -> None:
        look = {"tools": "", "toolbar_location": None, "sizing_mode": "stretch_width", "height": 165}
        self.figure = plot = figure(min_border_left=64, **look)
        self.bands = ColumnDataSource({"xs": [], "ys": [], "colour": [], "source": []})
        plot.add_glyph(self.bands, Patches(xs="xs", ys="ys", fill_color="colour", fill_alpha=0.25, line_color=None))
        self.lines = Ways(plot)
        plot.xaxis.axis_label, plot.title.text_font_size = "km from A", "12px"
        plot.xaxis.axis_label_text_font_size = "11px"

    def show(self, cuts: dict, name: str, member: int) -> None:
        """cuts: what `sections_of` gives."""
        label = curve_label(cuts, name)
        self.figure.title.text = label[:1].upper() + label[1:]
        known = {source: one[name] for source, one in cuts.items() if name in one}
        ensembles = {source: values for source, values in known.items() if "ensemble" in values.dims}
        middles = {s: values.median("ensemble") if s in ensembles else values for s, values in known.items()}
        ways = [
            Way(s, cuts[s].distance.values, middles[s].values, SOURCE_COLOURS[s], 2.4 if s == "truth" else 1.5)
            for s in SOURCES
            if s in known
        ]
        if "prediction" in ensembles:
            one = ensembles["prediction"].isel(ensemble=member).values
            ways.append(Way("member", cuts["prediction"].distance.values, one, "#7d7d7d", 1.5, dash="dotted"))
        self.lines.show(ways)
        put(self.bands, _bands({s: (cuts[s].distance.values, ensembles[s]) for s in ENSEMBLES if s in ensembles}))


def _look_ahead(view: weakref.ref, run: Run, time: int) -> None:
    if (looking := view()) is not None:
        looking.look_ahead(run, time)


def _bands(ensembles: dict) -> dict[str, list]:
    """Outlines of the band that holds 90 % of the members, of (distance, values) by source; apart where none are."""
    columns = {"xs": [], "ys": [], "colour": [], "source": []}
    for source, (distance, values) in ensembles.items():
        low, high = np.percentile(values, BAND, axis=values.get_axis_num("ensemble"))
        there = np.ma.clump_unmasked(np.ma.masked_invalid(low + high))
        columns["xs"].append(_outline((distance, distance), there))
        columns["ys"].append(_outline((low, high), there))
        columns["colour"].append(SOURCE_COLOURS[source])
        columns["source"].append(source)
    return columns


def _outline(edges: tuple[np.ndarray, np.ndarray], pieces: list[slice]) -> list[float]:
    """There along the lower edge and back along the upper, piece by piece with NaN between them."""
    ways = [np.append(edges[0][piece], edges[1][piece][::-1]) for piece in pieces]
    joined = [part for way in ways for part in (way, [np.nan])][:-1]
    return rounded(np.concatenate(joined)) if joined else []


def _front(run: Run, time: int, least: float):
    """The front at a time; why there is none to look for, where the run has no temperature."""
    if "t2m" not in {canonical(variable) for variable in run.variables}:
        return "This run has no 2 m temperature, in which a front would be seen."
    return front_of(run.held(NEEDED), time=time, least=least)


def _sharpness_html(front) -> str:
    parts = []
    for source, values in front.sharpness.items():
        if not np.isfinite(values).any():
            continue
        dot = f"<span style='color:{SOURCE_COLOURS[source]}'>&#9679;</span>"
        number = f"{values[0]:.0f}" if len(values) == 1 else spread_text(values, "")
        parts.append(f"<span>{dot} {SOURCE_LABELS[source]} {number}</span>")
    style = "display:flex;flex-wrap:wrap;gap:2px 18px;font-size:13px"
    return f"<div style='{style}'><span>K in 100 km:</span>{''.join(parts)}</div>"
