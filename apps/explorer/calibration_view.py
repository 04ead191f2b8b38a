"""Calibration: is the truth just another member, does the spread say how large the error is, how good could it be?"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from html import escape

import numpy as np
import pandas as pd
import panel as pn
import xarray as xr
from bokeh.models import ColumnDataSource, Range1d, Slope, Span
from bokeh.plotting import figure

from apps.explorer.runs import Run
from apps.explorer.sentences import expected_coverage, time_label
from apps.explorer.view import View, choice, column, failure, row
from labkit.plots.colours import SOURCE_COLOURS, SOURCE_LABELS

MAX_VALUES = 60_000_000


@dataclass(frozen=True)
class Calibration:
    """What the tab shows of one variable: `data` of `calibration_data`, and the score table of all variables."""

    data: dict[str, dict[str, xr.Dataset]]
    table: pd.DataFrame
    times: tuple[int, ...]
    reliability_index: float

    def row(self, source: str, variable: str) -> pd.Series:
        chosen = self.table[(self.table.source == source) & (self.table.variable == variable)]
        return chosen.iloc[0]


def calibrate(run: Run, variable: str, times: tuple[int, ...]) -> Calibration:
    """Calibration over the given times of a run."""
    # Imported on the scoring thread: compiling the scores takes seconds, which the first page should not wait for.
    from labkit.plots.calibration import calibration_data
    from labkit.verify.calibration import reliability_index
    from labkit.verify.scores import score_table, score_tree

    tree = run.full_tree()
    chosen = xr.DataTree.from_dict(
        {"/": tree.to_dataset(inherit=False).isel(time=list(times))}
        | {
            f"/{name}": tree[name].to_dataset(inherit=False).isel(time=list(times))
            for name in tree.children
            if name != "input"
        }
    )
    data = calibration_data(chosen, variable)
    unevenness = float(reliability_index(data["prediction"]["ranks"]))
    return Calibration(data, score_table(score_tree(chosen)), times, unevenness)


def times_of(run: Run, scope: str, time: int) -> tuple[int, ...]:
    """The times that a scope means: one, or all; of a very large run evenly spread ones, so that it takes seconds."""
    if scope == "case":
        return (time,)
    values = run.n_members * len(run.x) * len(run.y) * max(len(run.variables), 1)
    count = int(np.clip(MAX_VALUES // values, 1, len(run.times)))
    return tuple(int(t) for t in np.unique(np.linspace(0, len(run.times) - 1, count).astype(int)))


class CalibrationView(View):
    tab = "calibration"
    uses = ("variable", "scope")

    def build(self, run: Run) -> pn.viewable.Viewable:
        self.ranks, self.spread, self.sizes = RankHistogram(), SpreadSkill(), CrpsBySize()
        self.table = pn.pane.HTML(sizing_mode="stretch_width", margin=(4, 12))
        self.result: Calibration | None = None
        self.plots = row(
            *(
                column(p.figure, styles={"flex": "1 1 0", "min-width": "0"})
                for p in (self.ranks, self.spread, self.sizes)
            )
        )
        self.body = column(self.plots, self.table)
        scopes = {"All times": "run", "This time": "case"}
        return column(choice(self.state.param.scope, scopes, "Made of", visible=len(run.times) > 1), self.body)

    def touch(self, names: set[str]) -> None:
        super().touch(names)
        self._stale = self._stale or ("time" in names and self.state.scope == "case")

    def draw(self, run: Run) -> None:
        times = times_of(run, self.state.scope, self.state.time)
        key = (run.id, self.state.variable, times)
        future = self.session.library.compute(key, partial(calibrate, run, self.state.variable, times))
        self._key, self.result, self.problem = key, None, ""
        if not self.when_done(future, partial(self._show, run, key)):
            self.body.loading = True

    def sentence(self, run: Run) -> str:
        if self.problem:
            return self.problem
        if self.result is None:
            return "Comparing the members with the truth ..."
        return calibration_sentence(run, self.state.variable, self.result)

    def _show(self, run: Run, key: tuple, future: Future) -> None:
        if key != self._key:
            return
        late, self.body.loading = self.body.loading, False
        self.problem = failure(future)
        if not self.problem:
            self._show_result(run, future.result())
        if late:
            self.session.announce(self.sentence(run))

    def _show_result(self, run: Run, result: Calibration) -> None:
        self.result, unit = result, run.describe(self.state.variable).units
        with pn.io.hold():
            self.ranks.show({s: d["ranks"] for s, d in result.data.items()})
            self.spread.show({s: d["spread_skill"] for s, d in result.data.items() if "spread_skill" in d}, unit)
            self.sizes.show({s: d["crps"] for s, d in result.data.items() if "crps" in d}, unit)
            self.table.object = table_html(result.table, self.state.variable, run)


class RankHistogram:
    def __init__(self) -> None:
        self.figure = plot = _figure("Rank of the truth among the members", "rank", "frequency, 1 where flat")
        self.bars, self.steps = ColumnDataSource({"x": [], "top": []}), ColumnDataSource({"x": [], "y": []})
        plot.vbar(
            "x", 0.9, "top", source=self.bars, color=SOURCE_COLOURS["prediction"], alpha=0.7, legend_label="Model"
        )
        plot.step(
            "x",
            "y",
            source=self.steps,
            mode="center",
            color=SOURCE_COLOURS["oracle"],
            line_width=2.5,
            legend_label="Oracle",
        )
        plot.add_layout(Span(location=1, dimension="width", line_color="#888888", line_dash="dashed"))
        plot.legend.location = "top_center"
        plot.legend.orientation = "horizontal"

    def show(self, counts: dict[str, xr.DataArray]) -> None:
        relative = {s: (c / c.sum("rank") * c.sizes["rank"]) for s, c in counts.items()}
        self.bars.data = {"x": relative["prediction"]["rank"].values, "top": relative["prediction"].values}
        oracle = relative.get("oracle")
        n = relative["prediction"].sizes["rank"]
        self.figure.x_range.update(start=-0.7, end=n - 0.3)
        self.figure.y_range.end = 1.2 * max(1.0, *(float(r.max()) for r in relative.values()))
        self.steps.data = {"x": [], "y": []} if oracle is None else {"x": oracle["rank"].values, "y": oracle.values}


class SpreadSkill:
    def __init__(self) -> None:
        self.figure = plot = _figure("Error against spread, in ten bins of spread", "spread", "RMSE of the mean")
        self.lines = {s: _line(plot, s) for s in ("prediction", "oracle")}
        plot.add_layout(Slope(gradient=1, y_intercept=0, line_color="#888888", line_dash="dashed"))
        plot.legend.location = "top_left"

    def show(self, bins: dict[str, xr.Dataset], unit: str) -> None:
        for source, line in self.lines.items():
            values = bins.get(source)
            line.data = {"x": [], "y": []} if values is None else {"x": values.spread.values, "y": values.rmse.values}
        tops = [float(max(v.spread.max(), v.rmse.max())) for v in bins.values()]
        top = 1.08 * max(tops) if tops and np.isfinite(tops).all() and max(tops) > 0 else 1.0
        self.figure.x_range.update(start=0, end=top)
        self.figure.y_range.end = top
        self.figure.xaxis.axis_label, self.figure.yaxis.axis_label = f"spread [{unit}]", f"RMSE of the mean [{unit}]"


class CrpsBySize:
    def __init__(self) -> None:
        self.figure = plot = _figure("Fair CRPS by ensemble size", "members", "fair CRPS", x_axis_type="log")
        self.lines = {s: _line(plot, s) for s in ("prediction", "oracle")}
        plot.legend.location = "bottom_left"

    def show(self, curves: dict[str, xr.DataArray], unit: str) -> None:
        for source, line in self.lines.items():
            values = curves.get(source)
            line.data = {"x": [], "y": []} if values is None else {"x": values["size"].values, "y": values.values}
        sizes = sorted({int(n) for values in curves.values() for n in values["size"].values})
        tops = [float(values.max()) for values in curves.values() if np.isfinite(values).any()]
        self.figure.y_range.end = 1.2 * max([*tops, 1e-9])
        self.figure.x_range.update(start=sizes[0] / 1.2 if sizes else 1, end=sizes[-1] * 1.2 if sizes else 10)
        self.figure.xaxis.ticker = sizes
        self.figure.yaxis.axis_label = f"fair CRPS [{unit}]"


def calibration_sentence(run: Run, variable: str, result: Calibration) -> str:
    """What the rank histogram, the spread and the score say, in one sentence."""
    counts = result.data["prediction"]["ranks"]
    outside = float((counts[0] + counts[-1]) / counts.sum())
    line = result.row("prediction", variable)
    when = time_label(run.times[result.times[0]]) if len(result.times) == 1 else f"{len(result.times)} times"
    skill = line.get("achieved_skill", np.nan)
    reached = f" It achieves {skill:.0%} of what is possible over the coarse input." if np.isfinite(skill) else ""
    return (
        f"{run.describe(variable).long_name}, {when}: the truth is outside the members in {outside:.0%} of the cells "
        f"({1 - expected_coverage(run.n_members):.0%} if calibrated), spread / skill is {line.spread_skill:.2f}, "
        f"reliability index {result.reliability_index:.2f} (0 is flat).{reached}"
    )


UNITS = ("crps", "rmse", "mae", "bias", "spread")
COLUMNS = {
    "crps": "fair CRPS",
    "rmse": "RMSE",
    "mae": "MAE",
    "bias": "bias",
    "spread": "spread",
    "spread_skill": "spread / skill",
    "achieved_skill": "achieved skill",
}


def table_html(table: pd.DataFrame, variable: str, run: Run) -> str:
    """The scores as an HTML table, the chosen variable first; every text in it escaped."""
    shown = {name: title for name, title in COLUMNS.items() if name in table}
    head = "".join(f"<th>{escape(title)}</th>" for title in ("variable", "source", *shown.values()))
    names = sorted(table.variable.unique(), key=lambda name: (name != variable, run.variables.index(name)))
    lines = [
        _line_html(row, shown, run, first=i == 0, chosen=row.variable == variable)
        for name in names
        for i, row in enumerate(_rows(table, name))
    ]
    style = (
        "<style>table{border-collapse:collapse;font-size:13px} td,th{padding:3px 14px 3px 0;text-align:right;"
        "font-variant-numeric:tabular-nums} th{font-weight:500;opacity:.7} td:nth-child(-n+2),th:nth-child(-n+2)"
        "{text-align:left} tr.first td{border-top:1px solid rgba(128,128,128,.35)} tr.chosen{font-weight:600}</style>"
    )
    note = "CRPS of a single field is its MAE. Achieved skill: 1 is as good as the oracle, 0 as the coarse input."
    return f"{style}<table><tr>{head}</tr>{''.join(lines)}</table><p style='opacity:.7;font-size:12px'>{note}</p>"


def _rows(table: pd.DataFrame, variable: str) -> list[pd.Series]:
    rows = table[(table.variable == variable) & np.isfinite(table.rmse)]
    return [row for _, row in rows.iterrows()]


def _line_html(row: pd.Series, shown: dict[str, str], run: Run, *, first: bool, chosen: bool) -> str:
    label = run.describe(row.variable).label if first else ""
    cells = [escape(label), escape(SOURCE_LABELS[row.source])]
    cells += [_number(row[name], row.rmse if name in UNITS else 1.0) for name in shown]
    classes = " ".join(
        name for name, there in (("first", first), ("chosen", chosen and row.source == "prediction")) if there
    )
    return f'<tr class="{classes}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _number(value: float, size: float) -> str:
    """Three digits of numbers of about that size, so that a column can be compared at a glance; "" for NaN."""
    decimals = int(np.clip(2 - np.floor(np.log10(size)), 0, 6)) if np.isfinite(size) and size > 0 else 2
    return f"{value:.{decimals}f}" if np.isfinite(value) else ""


def _figure(title: str, x: str, y: str, **params) -> figure:
    # Ranges are set by hand: the figures are on the screen before there is anything to fit them to.
    look = {"sizing_mode": "stretch_width", "height": 300, "tools": "", "toolbar_location": None}
    look |= {"x_range": Range1d(1, 10), "y_range": Range1d(0, 1)}
    return figure(title=title, x_axis_label=x, y_axis_label=y, **(look | params))


def _line(plot: figure, source: str) -> ColumnDataSource:
    data = ColumnDataSource({"x": [], "y": []})
    style = {"source": data, "color": SOURCE_COLOURS[source], "legend_label": SOURCE_LABELS[source]}
    plot.line("x", "y", line_width=2, **style)
    plot.scatter("x", "y", size=7, **style)
    return data
