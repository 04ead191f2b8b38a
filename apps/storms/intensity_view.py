"""Intensity: one number of the storm through time, and over the members at this time beside the oracle's."""

from __future__ import annotations

import numpy as np
import panel as pn

from apps.parts.labels import time_label
from apps.parts.runs import Run
from apps.parts.series import Distribution, Fan
from apps.parts.view import column, row, select
from apps.storms.following import Storm, StormView, spread_text
from apps.storms.state import MEASURES
from labkit.plots.storms import LABELS, label_of
from labkit.verify.cyclones.structure import MEASURES as KNOWN

SOURCES = ("prediction", "oracle", "truth", "regression", "interpolation")


class IntensityView(StormView):
    tab = "intensity"
    uses = ("time", "member", "measure")

    def build(self, run: Run) -> pn.viewable.Viewable:
        self.fan = Fan("Through time", beside=("interpolation", "regression"))
        self.fan.figure.height = 330
        self.histogram = Distribution("At this time")
        self.chosen = select(self.state.param.measure, {LABELS[name]: name for name in MEASURES}, "Number", width=260)
        self.meaning = pn.pane.HTML(sizing_mode="stretch_width", margin=(6, 12), styles={"opacity": "0.75"})
        self.body = column(self.fan.figure, self.histogram.figure)
        return column(row(self.chosen, self.meaning, align="center"), self.body)

    def show_storm(self, run: Run, storm: Storm) -> None:
        state = self.state
        self.meaning.object = KNOWN[state.measure][1].capitalize() + "."
        series = {s: storm.values(s, state.measure) for s in SOURCES if storm.has(s, state.measure)}
        series.setdefault("prediction", np.full((run.n_members, len(run.times)), np.nan))
        self.fan.show(run.times, series, label_of(state.measure), state.time, state.member)
        self.histogram.show({s: values[..., state.time] for s, values in series.items()}, label_of(state.measure))

    def say_storm(self, run: Run, storm: Storm) -> str:
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
