"""The figures of the calibration tab, drawn with Bokeh: each is made once and then given new data by `show`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from bokeh.models import ColumnDataSource, Range1d, Slope, Span
from bokeh.plotting import figure

from labkit.plots.colours import SOURCE_COLOURS, THRESHOLD_COLOURS
from labkit.variables import Variable
from labkit.verify.selection import ENSEMBLES

BAND = "#8b95a1"
LINES = {"interpolation": "dotted", "regression": "dashed", "member": "dashed"}
COLOURS = SOURCE_COLOURS | {"member": SOURCE_COLOURS["prediction"]}


class Flat:
    """A histogram that should be flat: bars of the model, steps of the oracle, the band that chance allows."""

    def __init__(self, title: str, x: str) -> None:
        self.figure = plot = _figure(title, x, "frequency, 1 where flat")
        self.bars, self.steps = _source("left", "right", "top"), _source("x", "y")
        self.band = _source("left", "right", "bottom", "top")
        colour = SOURCE_COLOURS["prediction"]
        plot.quad("left", "right", "top", 0, source=self.bars, color=colour, fill_alpha=0.7, line_alpha=0)
        plot.quad("left", "right", "top", "bottom", source=self.band, color=BAND, fill_alpha=0.5, line_alpha=0)
        plot.line("x", "y", source=self.steps, color=SOURCE_COLOURS["oracle"], line_width=2.5)
        plot.add_layout(Span(location=1, dimension="width", line_color="#888888", line_dash="dashed"))

    def show(self, edges: np.ndarray, heights: Mapping[str, np.ndarray], band: xr.Dataset) -> None:
        """edges (bin + 1), heights (bin) by source."""
        gap = 0.04 * (edges[1] - edges[0])
        self.bars.data = {"left": edges[:-1] + gap, "right": edges[1:] - gap, "top": heights["prediction"]}
        self.band.data = {"left": edges[:-1], "right": edges[1:], "bottom": band.low.values, "top": band.high.values}
        oracle = heights.get("oracle", np.full(len(edges) - 1, np.nan))
        self.steps.data = {"x": np.repeat(edges, 2)[1:-1], "y": np.repeat(oracle, 2)}
        tops = [np.nanmax(h) for h in (*heights.values(), band.high.values) if np.isfinite(h).any()]
        self.figure.x_range.update(start=float(edges[0]), end=float(edges[-1]))
        self.figure.y_range.update(start=0.0, end=1.1 * float(max([1.0, *tops])))


class SpreadSkill:
    def __init__(self) -> None:
        self.figure = plot = _figure("Error against spread, in ten bins of spread", "spread", "RMSE of the mean")
        self.lines = {s: _line(plot, s) for s in ENSEMBLES}
        plot.add_layout(Slope(gradient=1, y_intercept=0, line_color="#888888", line_dash="dashed"))

    def show(self, bins: Mapping[str, xr.Dataset], unit: str) -> None:
        _give(self.lines, {s: (v.spread, v.rmse) for s, v in bins.items()})
        tops = [float(max(v.spread.max(), v.rmse.max())) for v in bins.values()]
        top = 1.08 * max(tops) if tops and np.isfinite(tops).all() and max(tops) > 0 else 1.0
        self.figure.x_range.update(start=0, end=top)
        self.figure.y_range.end = top
        self.figure.xaxis.axis_label, self.figure.yaxis.axis_label = f"spread [{unit}]", f"RMSE of the mean [{unit}]"


class CrpsBySize:
    def __init__(self) -> None:
        self.figure = plot = _figure("Fair CRPS by ensemble size", "members", "fair CRPS", x_axis_type="log")
        self.lines = {s: _line(plot, s) for s in ENSEMBLES}

    def show(self, curves: Mapping[str, xr.DataArray], unit: str) -> None:
        _give(self.lines, {s: (v["size"], v) for s, v in curves.items()})
        sizes = sorted({int(n) for values in curves.values() for n in values["size"].values})
        tops = [float(values.max()) for values in curves.values() if np.isfinite(values).any()]
        self.figure.y_range.end = 1.2 * max([*tops, 1e-9])
        self.figure.x_range.update(start=sizes[0] / 1.2 if sizes else 1, end=sizes[-1] * 1.2 if sizes else 10)
        self.figure.xaxis.ticker = sizes
        self.figure.yaxis.axis_label = f"fair CRPS [{unit}]"


class ReliabilityDiagram:
    """Observed share against probability, with intervals, the band of chance and the climatology."""

    def __init__(self) -> None:
        unit = {"x_range": Range1d(-0.03, 1.03), "y_range": Range1d(-0.03, 1.03)}
        self.figure = plot = _figure("Reliability", "forecast probability", "observed share", **unit)
        self.band, self.bars = _source("x", "low", "high"), _source("x", "low", "high")
        plot.varea("x", "low", "high", source=self.band, color=BAND, fill_alpha=0.5)
        plot.segment("x", "low", "x", "high", source=self.bars, color=SOURCE_COLOURS["prediction"], line_width=1.5)
        plot.add_layout(Slope(gradient=1, y_intercept=0, line_color="#888888", line_dash="dashed"))
        self.climatology = Span(location=0, dimension="width", line_color="#888888", line_dash="dotted", line_width=2)
        plot.add_layout(self.climatology)
        self.lines = {s: _line(plot, s) for s in ENSEMBLES}

    def show(self, data: Mapping) -> None:
        curves = {s: one.curve.dropna("bin", subset=["forecast"]) for s, one in data.items()}
        own = curves["prediction"]
        x = own.forecast.values
        self.band.data = {"x": x, "low": own.consistency_low.values, "high": own.consistency_high.values}
        self.bars.data = {"x": x, "low": own.low.values, "high": own.high.values}
        self.climatology.location = data["prediction"].score("base_rate")
        _give(self.lines, {s: (c.forecast, c.observed) for s, c in curves.items()})


class Sharpness:
    """How often each probability was given, on a logarithmic scale."""

    FLOOR = 1e-6

    def __init__(self) -> None:
        look = {"x_range": Range1d(-0.03, 1.03), "y_axis_type": "log", "y_range": Range1d(1e-4, 1), "height": 150}
        self.figure = plot = _figure("Sharpness: how often each was given", "forecast probability", "share", **look)
        self.bars, self.steps = _source("left", "right", "top"), _source("x", "y")
        colour = SOURCE_COLOURS["prediction"]
        plot.quad("left", "right", "top", self.FLOOR, source=self.bars, color=colour, fill_alpha=0.7, line_alpha=0)
        plot.line("x", "y", source=self.steps, color=SOURCE_COLOURS["oracle"], line_width=2)

    def show(self, data: Mapping) -> None:
        shares = {s: one.curve["count"].values / float(one.curve["count"].sum()) for s, one in data.items()}
        own = shares["prediction"]
        edges = np.linspace(0, 1, len(own) + 1)
        self.bars.data = {"left": edges[:-1], "right": edges[1:], "top": np.maximum(own, self.FLOOR)}
        oracle = np.maximum(shares["oracle"], self.FLOOR) if "oracle" in shares else np.full(len(own), np.nan)
        self.steps.data = {"x": np.repeat(edges, 2)[1:-1], "y": np.repeat(oracle, 2)}
        least = own[own > 0].min() if (own > 0).any() else 0.1
        self.figure.y_range.start = float(max(least / 3, self.FLOOR))


class Roc:
    def __init__(self) -> None:
        unit = {"x_range": Range1d(-0.03, 1.03), "y_range": Range1d(-0.03, 1.03), "height": 450}
        self.figure = plot = _figure("ROC: every warning level", "false alarm rate", "hit rate", **unit)
        plot.add_layout(Slope(gradient=1, y_intercept=0, line_color="#888888", line_dash="dashed"))
        self.lines = {s: _line(plot, s) for s in ENSEMBLES}

    def show(self, data: Mapping) -> None:
        _give(self.lines, {s: (one.roc.false_alarm_rate, one.roc.hit_rate) for s, one in data.items()})


class FssBySource:
    SOURCES = ("interpolation", "regression", "member", "prediction", "oracle")

    def __init__(self) -> None:
        self.figure = plot = _window_figure("Fractions skill score")
        self.band = _source("x", "low", "high")
        colour = SOURCE_COLOURS["prediction"]
        plot.varea("x", "low", "high", source=self.band, color=colour, fill_alpha=0.18)
        self.useful = Span(location=0.5, dimension="width", line_color="#888888", line_dash="dashed", line_width=1.5)
        plot.add_layout(self.useful)
        self.lines = {s: _line(plot, s) for s in self.SOURCES}

    def show(self, data, known: Variable) -> None:
        own = data.sources["prediction"]
        width = own.window_km.values
        self.band.data = {"x": width, "low": own.low.values, "high": own.high.values}
        self.useful.location = float(own.useful)
        _give(self.lines, {s: (one.window_km, one.fss) for s, one in data.sources.items()})
        self.figure.title.text = f"Fractions skill score, above {data.threshold:g} {known.units}"
        _fit_windows(self.figure, width)


class FssByThreshold:
    def __init__(self) -> None:
        self.figure = plot = _window_figure("The model's, by threshold")
        self.lines, self.rings = _source("xs", "ys", "colour", "label"), _source("x", "y", "colour")
        plot.multi_line("xs", "ys", source=self.lines, color="colour", line_width=2, legend_field="label")
        ring = {"size": 13, "fill_alpha": 0, "line_width": 2.5}
        plot.scatter("x", "y", source=self.rings, line_color="colour", **ring)
        plot.legend.update(location="bottom_right", background_fill_alpha=0.6, label_text_font_size="11px")

    def show(self, data, known: Variable, useful: Sequence[tuple[float, float]]) -> None:
        """useful: the point of each threshold's line from which it is, width in km and score."""
        width, steps = data.thresholds.window_km.values, data.thresholds.threshold.values
        colours = [THRESHOLD_COLOURS[k % len(THRESHOLD_COLOURS)] for k in range(len(steps))]
        rates = data.thresholds.base_rate.values
        labels = [f"{t:g} {known.units} ({100 * r:.2g} % of cells)" for t, r in zip(steps, rates, strict=True)]
        curves = list(data.thresholds.fss.transpose("threshold", "window").values)
        self.lines.data = {"xs": [width] * len(steps), "ys": curves, "colour": colours, "label": labels}
        x, y = zip(*useful, strict=True)
        self.rings.data = {"x": x, "y": y, "colour": colours}
        _fit_windows(self.figure, width)


def _figure(title: str, x: str, y: str, **params) -> figure:
    # Ranges are set by hand: the figures are on the screen before there is anything to fit them to.
    look = {"sizing_mode": "stretch_width", "height": 300, "tools": "", "toolbar_location": None}
    look |= {"x_range": Range1d(1, 10), "y_range": Range1d(0, 1)}
    return figure(title=title, x_axis_label=x, y_axis_label=y, **(look | params))


def _window_figure(title: str) -> figure:
    look = {"x_axis_type": "log", "y_range": Range1d(0, 1.02), "height": 380}
    return _figure(title, "width of the window [km]", "fractions skill score", **look)


def _fit_windows(plot: figure, width: np.ndarray) -> None:
    plot.x_range.update(start=float(width[0]) / 1.15, end=float(width[-1]) * 1.15)
    plot.xaxis.ticker = [float(w) for w in width]
    plot.xaxis.major_label_overrides = {float(w): f"{w:.0f}" if w >= 10 else f"{w:.2g}" for w in width}


def _source(*names: str) -> ColumnDataSource:
    return ColumnDataSource({name: [] for name in names})


def _line(plot: figure, source: str) -> ColumnDataSource:
    data, dash = _source("x", "y"), LINES.get(source, "solid")
    plot.line("x", "y", line_width=2, line_dash=dash, source=data, color=COLOURS[source])
    plot.scatter("x", "y", size=6, source=data, color=COLOURS[source])
    return data


def _give(lines: Mapping[str, ColumnDataSource], curves: Mapping[str, tuple]) -> None:
    """x and y of each curve; nothing to the lines without one."""
    for name, line in lines.items():
        x, y = curves.get(name, ([], []))
        line.data = {"x": np.asarray(x), "y": np.asarray(y)}
