"""Highest wind against lowest pressure: every member at every time, this time's on top, beside a published relation."""

from __future__ import annotations

import numpy as np
from bokeh.models import ColumnDataSource
from bokeh.plotting import figure

from apps.parts.sources import put
from apps.storms.following import Storm
from labkit.plots.colours import BEST_TRACK_COLOUR, SOURCE_COLOURS, SOURCE_LABELS
from labkit.plots.storms import label_of
from labkit.verify.cyclones.wind_pressure import ATKINSON_HOLLIDAY
from labkit.winds import TO_TEN_MINUTES, averaging_factor

SOURCES = ("oracle", "prediction", "interpolation", "regression", "truth")
MINUTES = 10  # a model's winds are by custom taken as means over ten minutes
RELATION = ATKINSON_HOLLIDAY.averaged_over(MINUTES)


class WindPressure:
    """Points of all times, pale, and of one time; `figure` is what is shown."""

    def __init__(self) -> None:
        self.figure = plot = figure(
            title="Wind against pressure", height=470, tools="", toolbar_location=None, sizing_mode="stretch_width"
        )
        self.all, self.now = ({s: ColumnDataSource({"x": [], "y": []}) for s in SOURCES} for _ in range(2))
        self.curve, self.best = (ColumnDataSource({"x": [], "y": []}) for _ in range(2))
        for source, data in self.all.items():
            plot.scatter("x", "y", source=data, size=4, alpha=0.3, line_alpha=0, color=SOURCE_COLOURS[source])
        for source, data in self.now.items():
            look = {"size": 9, "line_color": "#202020", "fill_color": SOURCE_COLOURS[source]}
            plot.scatter("x", "y", source=data, legend_label=SOURCE_LABELS[source], **look)
        said = f"{RELATION.name}, {MINUTES}-minute winds"
        plot.line("x", "y", source=self.curve, color="#555555", line_dash="dashed", legend_label=said)
        look = {"marker": "x", "size": 9, "line_width": 2, "color": BEST_TRACK_COLOUR}
        plot.scatter("x", "y", source=self.best, legend_label=f"Best track, as {MINUTES}-minute winds", **look)
        self.named = plot.legend[0].items[-1]
        plot.xaxis.axis_label = label_of("min_pressure", "hPa")
        plot.yaxis.axis_label = f"highest 10 m wind, {MINUTES}-minute mean [m/s]"
        plot.x_range.flipped = True
        plot.add_layout(plot.legend[0], "right")

    def show(self, storm: Storm, time: int) -> None:
        pool = []
        for source in SOURCES:
            known = storm.has(source, "min_pressure")
            wind, pressure = (
                (storm.values(source, "max_wind"), storm.values(source, "min_pressure") / 100)
                if known
                else (np.full((1, 1), np.nan), np.full((1, 1), np.nan))
            )
            now = (..., time if known else 0)
            put(self.all[source], _points(pressure, wind))
            put(self.now[source], _points(pressure[now], wind[now]))
            pool.append(np.ravel(pressure))
        put(self.best, _best_points(storm))
        pool.append(self.best.data["x"])
        low, high = np.nanmin(np.concatenate(pool), initial=np.inf), RELATION.environment_pa / 100
        axis = np.linspace(low - 2, high, 60) if np.isfinite(low) else np.array([])
        self.named.visible = bool(storm.best)
        put(self.curve, {"x": axis, "y": RELATION.wind(100 * axis)})


def _points(pressure: np.ndarray, wind: np.ndarray) -> dict[str, np.ndarray]:
    pressure, wind = np.ravel(pressure), np.ravel(wind)
    known = np.isfinite(pressure) & np.isfinite(wind)
    return {"x": pressure[known].round(2), "y": wind[known].round(2)}


def _best_points(storm: Storm) -> dict[str, np.ndarray]:
    parts = [
        _points(one.track.pressure.values / 100, one.track.wind.values * averaging_factor(one.minutes, MINUTES))
        for one in storm.best
        if one.minutes in TO_TEN_MINUTES
    ]
    return {name: np.concatenate([part[name] for part in parts]) if parts else np.array([]) for name in ("x", "y")}
