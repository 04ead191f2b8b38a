"""What members, truth and oracle say of one number: its distribution at a time, and its course."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from bokeh.models import ColumnDataSource, Span
from bokeh.plotting import figure

from apps.parts.sources import put
from labkit.plots.colours import SOURCE_COLOURS, SOURCE_LABELS
from labkit.verify.products import known_percentiles


class Distribution:
    """Histogram of the members, outline of the oracle's, and lines for the single fields."""

    def __init__(self, title: str = "Distribution at this place") -> None:
        self.figure = plot = figure(
            title=title, sizing_mode="stretch_width", height=330, tools="", toolbar_location=None
        )
        self.bars = ColumnDataSource({"left": [], "right": [], "top": []})
        self.outline = ColumnDataSource({"x": [], "y": []})
        self.rug = ColumnDataSource({"x": [], "y": []})
        members = {"color": SOURCE_COLOURS["prediction"], "legend_label": "Members"}
        plot.quad("left", "right", "top", 0, source=self.bars, fill_alpha=0.55, line_alpha=0, **members)
        plot.line("x", "y", source=self.outline, color=SOURCE_COLOURS["oracle"], line_width=2.5, legend_label="Oracle")
        plot.scatter(
            "x",
            "y",
            source=self.rug,
            marker="dash",
            angle=np.pi / 2,
            size=12,
            color=SOURCE_COLOURS["prediction"],
            line_width=2,
        )
        self.lines = {}
        for source, dash in (("truth", "solid"), ("regression", "dashed"), ("interpolation", "dotted")):
            self.lines[source] = ColumnDataSource({"x": []})
            style = {"line_color": SOURCE_COLOURS[source], "line_width": 3, "line_dash": dash}
            plot.vspan("x", source=self.lines[source], legend_label=SOURCE_LABELS[source], **style)
        plot.yaxis.axis_label = "number of members"
        plot.yaxis.ticker.min_interval, plot.y_range.start = 1, 0
        plot.add_layout(plot.legend[0], "right")

    def show(self, values: dict[str, np.ndarray], label: str) -> None:
        """values: (member,) of the ensembles, a number for the single fields."""
        members = values["prediction"]
        finite = np.concatenate([np.ravel(v)[np.isfinite(np.ravel(v))] for v in values.values()])
        low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
        pad = 0.05 * (high - low) or 0.5
        edges = np.linspace(low - pad, high + pad, int(np.clip(np.sqrt(members.size) * 3, 9, 30)))
        counts = np.histogram(members[np.isfinite(members)], edges)[0]
        put(self.bars, {"left": edges[:-1], "right": edges[1:], "top": counts})
        put(self.rug, {"x": members, "y": np.zeros(members.size)})
        put(self.outline, _outline(values["oracle"], edges) if "oracle" in values else {"x": [], "y": []})
        for source, line in self.lines.items():
            value = float(values[source]) if source in values else np.nan
            put(line, {"x": [value] if np.isfinite(value) else []})
        name_only(self.figure, {"Oracle": "oracle" in values} | {SOURCE_LABELS[s]: s in values for s in self.lines})
        self.figure.xaxis.axis_label = label


class Fan:
    """Members through time as bands of their percentiles, the oracle's between two lines, the truth as dots."""

    BANDS = ((5, 95, 0.22), (25, 75, 0.34))

    def __init__(self, title: str = "Through time", *, beside: Sequence[str] = ()) -> None:
        """beside: further sources that are drawn as lines."""
        self.figure = plot = figure(
            title=title,
            x_axis_type="datetime",
            sizing_mode="stretch_width",
            height=250,
            tools="",
            toolbar_location=None,
        )
        names = ["time", "p5", "p25", "p75", "p95", "median", "member", "truth", "o5", "o95", *beside]
        self.source, self.beside = ColumnDataSource({name: [] for name in names}), tuple(beside)
        for low, high, alpha in self.BANDS:
            colour, label = SOURCE_COLOURS["prediction"], f"Members, {high - low} %"
            plot.varea("time", f"p{low}", f"p{high}", source=self.source, color=colour, alpha=alpha, legend_label=label)
        plot.line(
            "time",
            "median",
            source=self.source,
            color=SOURCE_COLOURS["prediction"],
            line_width=2,
            legend_label="Median",
        )
        plot.line(
            "time", "member", source=self.source, color="#7d7d7d", line_dash="dotted", legend_label="Chosen member"
        )
        for name in ("o5", "o95"):
            plot.line(
                "time",
                name,
                source=self.source,
                color=SOURCE_COLOURS["oracle"],
                line_width=1.5,
                legend_label="Oracle, 90 %",
            )
        for name in self.beside:
            look = {"color": SOURCE_COLOURS[name], "line_dash": "dashed", "line_width": 1.6}
            plot.line("time", name, source=self.source, legend_label=SOURCE_LABELS[name], **look)
        truth = {"source": self.source, "color": SOURCE_COLOURS["truth"], "legend_label": "Truth"}
        plot.line("time", "truth", line_width=1.5, **truth)
        plot.scatter("time", "truth", size=6, **truth)
        self.now = Span(dimension="height", line_color="#888888", line_dash="dashed")
        plot.add_layout(self.now)
        plot.add_layout(plot.legend[0], "right")

    def show(self, times: np.ndarray, series: dict[str, np.ndarray], label: str, now: int, member: int) -> None:
        """series: (member, time) of the ensembles, (time,) of the others."""
        members = series["prediction"]
        nothing = np.full(members.shape[1:], np.nan)
        dates = np.asarray(times) if np.issubdtype(np.asarray(times).dtype, np.datetime64) else np.arange(len(times))
        data = {"time": dates, "member": members[member], "truth": series.get("truth", nothing)}
        names = {"p5": 5, "p25": 25, "p75": 75, "p95": 95, "median": 50}
        data |= dict(zip(names, known_percentiles(members, list(names.values())), strict=True))
        data |= {f"o{p}": known_percentiles(series["oracle"], p) if "oracle" in series else nothing for p in (5, 95)}
        data |= {name: series.get(name, nothing) for name in self.beside}
        put(self.source, data)
        known = {name for name, values in series.items() if np.isfinite(values).any()}
        named = {SOURCE_LABELS[name]: name in known for name in ("truth", *self.beside)}
        name_only(self.figure, named | {"Oracle, 90 %": "oracle" in known})
        at = dates[now]
        self.now.location = at.astype("datetime64[ms]").astype(float) if isinstance(at, np.datetime64) else float(at)
        self.figure.yaxis.axis_label = label


def name_only(plot: figure, known: Mapping[str, bool]) -> None:
    """Leave out of the legend what a run has not; whether it has it by the entry's label, others stay as they are."""
    for item in plot.legend[0].items:
        item.visible = known.get(item.label.value, item.visible)


def _outline(values: np.ndarray, edges: np.ndarray) -> dict[str, np.ndarray]:
    counts = np.histogram(values[np.isfinite(values)], edges)[0]
    return {"x": np.repeat(edges, 2)[1:-1], "y": np.repeat(counts, 2)}
