"""Intensity: one number of the storm through time and over its members, or its wind against its pressure."""

from __future__ import annotations

from html import escape

import numpy as np
import panel as pn
from bokeh.core.properties import value
from bokeh.models import ColumnDataSource

from apps.parts.labels import time_label
from apps.parts.runs import Run
from apps.parts.series import Distribution, Fan
from apps.parts.sources import put
from apps.parts.view import column, select, widgets
from apps.storms.following import Storm, StormView, spread_text
from apps.storms.pressure_panel import MINUTES, WindPressure
from apps.storms.shelf import BEST_DASHES, OF_BEST
from apps.storms.state import MEASURES, RELATION
from labkit.plots.colours import BEST_TRACK_COLOUR
from labkit.plots.storms import LABELS, label_of
from labkit.verify.cyclones.structure import MEASURES as KNOWN
from labkit.verify.cyclones.wind_pressure import ATKINSON_HOLLIDAY, residual

SOURCES = ("prediction", "oracle", "truth", "regression", "interpolation")


class IntensityView(StormView):
    tab, title = "intensity", "Intensity"
    uses = ("time", "member", "measure")

    def build(self, run: Run) -> list:
        self.fan = Fan("Through time", beside=("interpolation", "regression"))
        self.fan.figure.height = 330
        self.best, self.named = [ColumnDataSource({"x": [], "y": []}) for _ in BEST_DASHES], []
        for k, (data, dash) in enumerate(zip(self.best, BEST_DASHES, strict=True)):
            look = {"line_color": BEST_TRACK_COLOUR, "line_dash": dash, "line_width": 2}
            self.fan.figure.line("x", "y", source=data, legend_label=f"Best track {k + 1}", **look)
            self.named.append(self.fan.figure.legend[0].items[-1])
        self.histogram = Distribution("At this time")
        self.pressure = WindPressure()
        options = {LABELS[name]: name for name in MEASURES} | {"wind against pressure": RELATION}
        self.chosen = select(self.state.param.measure, options, "Number", width=260)
        self.meaning = pn.pane.HTML(sizing_mode="stretch_width", margin=(6, 12), styles={"opacity": "0.75"})
        self.body = column(self.fan.figure, self.histogram.figure, self.pressure.figure)
        return [widgets(self.chosen, self.meaning), self.body]

    def show_storm(self, run: Run, storm: Storm) -> None:
        state = self.state
        both = state.measure == RELATION
        self.fan.figure.visible = self.histogram.figure.visible = not both
        self.pressure.figure.visible = both
        if both:
            self.meaning.object = (
                "Winds of models are taken as means over ten minutes; best tracks over one and ten are converted, "
                "others left out."
            )
            self.pressure.show(storm, state.time)
            return
        told = [f" Best track: {escape(best.label)}." for best in storm.best if state.measure in OF_BEST]
        self.meaning.object = KNOWN[state.measure][1].capitalize() + "." + "".join(told)
        series = {s: storm.values(s, state.measure) for s in SOURCES if storm.has(s, state.measure)}
        series = {source: values for source, values in series.items() if np.isfinite(values).any()}
        series.setdefault("prediction", np.full((run.n_members, len(run.times)), np.nan))
        self.fan.show(run.times, series, label_of(state.measure), state.time, state.member)
        courses = _courses(run, storm, state.measure)
        for k, (data, item) in enumerate(zip(self.best, self.named, strict=True)):
            item.visible = k < len(courses)
            put(data, courses[k] if item.visible else {"x": [], "y": []})
            item.label = value(f"Best track, {storm.best[k].agency}" if item.visible else "")
        self.histogram.show({s: values[..., state.time] for s, values in series.items()}, label_of(state.measure))

    def say_storm(self, run: Run, storm: Storm) -> str:
        if self.state.measure == RELATION:
            return _say_relation(run, storm, self.state.time)
        state, name = self.state, LABELS[self.state.measure]
        unit = KNOWN[state.measure][0].replace(" s-1", "/s").replace("1", "") if state.measure in KNOWN else ""
        digits = 2 if state.measure.startswith("asymmetry") else 0
        when = time_label(run.times[state.time])
        told = storm.has("prediction", state.measure)
        members = storm.values("prediction", state.measure) if told else np.full((1, len(run.times)), np.nan)
        if not np.isfinite(members).any():
            return f"This run does not tell the {name}."
        said = []
        for source, label in (("interpolation", "input"), ("regression", "regression"), ("truth", "truth")):
            if storm.has(source, state.measure) and np.isfinite(v := storm.values(source, state.measure)[state.time]):
                said.append(f"{label} {v:.{digits}f}")
        said.append("members " + spread_text(members[:, state.time], "", digits))
        if storm.has("oracle", state.measure):
            said.append("oracle " + spread_text(storm.values("oracle", state.measure)[:, state.time], "", digits))
        return f"{name.capitalize()}{f' [{unit}]' if unit.strip() else ''}, {when}: {'; '.join(said)}."


def _courses(run: Run, storm: Storm, measure: str) -> list[dict[str, np.ndarray]]:
    """Each best track's values of a measure by time, where it knows them."""
    ways = [best.track[OF_BEST[measure]].values for best in storm.best] if measure in OF_BEST else []
    return [{"x": run.times[np.isfinite(way)], "y": way[np.isfinite(way)]} for way in ways]


def _say_relation(run: Run, storm: Storm, time: int) -> str:
    """How much more or less wind the members have than the published relation gives for their pressure."""
    when = time_label(run.times[time])
    if not storm.has("prediction", "min_pressure"):
        return f"{when}: this run has no pressure, which its wind could be compared with."
    members = storm.groups["prediction"].isel(time=time)
    above = residual(members.max_wind, members.min_pressure, ATKINSON_HOLLIDAY, averaging_min=MINUTES).values
    return f"{when}: wind of the members minus that of {ATKINSON_HOLLIDAY.name}: {spread_text(above, 'm/s')}."
