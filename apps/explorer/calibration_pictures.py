"""How each diagnostic of the calibration tab is laid out: its figures, their legend, and the table under them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import pandas as pd
import panel as pn

from apps.explorer.calibration_charts import ByStratum, Quantiles, Shares, VeiledMaps
from apps.explorer.calibration_figures import (
    BAND,
    COLOURS,
    LINES,
    CrpsBySize,
    Flat,
    FssBySource,
    FssByThreshold,
    ReliabilityDiagram,
    Roc,
    Sharpness,
    SpreadSkill,
)
from apps.explorer.calibration_jobs import Asked, Calibration
from apps.explorer.maps_view import map_row
from apps.parts.runs import Run
from apps.parts.view import column, row
from labkit.plots.colours import SOURCE_LABELS

CHANCE = ("Chance, if calibrated", BAND, "band")
TRUTH = ("Truth", COLOURS["truth"], "line")
DASHED = {"solid": "line", "dashed": "dashed", "dotted": "dotted"}


class Picture:
    """One diagnostic on the screen. `show` gives it a result; `layout` is put on the page after the first."""

    layout: pn.viewable.Viewable

    def show(self, run: Run, asked: Asked, result) -> None:
        raise NotImplementedError


class RanksPicture(Picture):
    def __init__(self) -> None:
        self.ranks = Flat("Rank of the truth among the members", "rank")
        self.spread, self.sizes = SpreadSkill(), CrpsBySize()
        self.legend, self.table = _html(), _html()
        self.layout = column(self.legend, _side_by_side(self.ranks, self.spread, self.sizes), self.table)

    def show(self, run: Run, asked: Asked, result: Calibration) -> None:
        unit = run.describe(asked.variable).units
        data = result.data
        counts = {s: (d["ranks"] / d["ranks"].sum("rank") * d["ranks"].sizes["rank"]).values for s, d in data.items()}
        self.ranks.show(np.arange(len(counts["prediction"]) + 1) - 0.5, counts, data["prediction"]["flat"])
        self.spread.show({s: d["spread_skill"] for s, d in data.items() if "spread_skill" in d}, unit)
        self.sizes.show({s: d["crps"] for s, d in data.items() if "crps" in d}, unit)
        self.legend.object = legend_html([*sources(data), CHANCE])
        self.table.object = table_html(result.table, asked.variable, run)


class ReliabilityPicture(Picture):
    def __init__(self) -> None:
        self.diagram, self.sharpness, self.roc = ReliabilityDiagram(), Sharpness(), Roc()
        self.legend, self.table = _html(), _html()
        left = column(self.diagram.figure, self.sharpness.figure, styles=_SHARE)
        right = column(self.roc.figure, styles=_SHARE)
        said = column(self.table, styles={"flex": "0 1 300px", "min-width": "260px"})
        self.layout = column(self.legend, row(left, right, said, sx={"flexWrap": "wrap"}))

    def show(self, run: Run, asked: Asked, result: Mapping) -> None:
        for figure in (self.diagram, self.sharpness, self.roc):
            figure.show(result)
        climate = ("Climatology", "#888888", "dotted")
        self.legend.object = legend_html([*sources(result), CHANCE, climate])
        self.table.object = scores_html(result)


class NeighbourhoodsPicture(Picture):
    def __init__(self) -> None:
        self.sources, self.thresholds = FssBySource(), FssByThreshold()
        self.legend, self.table = _html(), _html()
        self.layout = column(self.legend, _side_by_side(self.sources, self.thresholds), self.table)

    def show(self, run: Run, asked: Asked, result) -> None:
        from labkit.plots.neighbourhood import LABELS
        from labkit.verify.neighbourhood import useful_point

        known = run.describe(asked.variable)
        self.sources.show(result, known)
        several = [result.thresholds.isel(threshold=k) for k in range(result.thresholds.sizes["threshold"])]
        self.thresholds.show(result, known, [useful_point(one) for one in several])
        lines = [(LABELS[s], COLOURS[s], DASHED[LINES.get(s, "solid")]) for s in result.sources]
        self.legend.object = legend_html([*lines, ("Useful from here", "#888888", "dashed")])
        self.table.object = useful_html(result, LABELS)


class DistributionsPicture(Picture):
    def __init__(self) -> None:
        self.pit = Flat("PIT of the truth", "probability of less than the truth")
        self.pit.figure.height = 340
        self.shares, self.quantiles = Shares(), Quantiles()
        self.legend = _html()
        self.layout = column(self.legend, _side_by_side(self.pit, self.shares, self.quantiles))

    def show(self, run: Run, asked: Asked, result) -> None:
        from labkit.plots.distributions import level_names

        known, own = run.describe(asked.variable), result.pit["prediction"]
        self.pit.show(np.append(own.left, 1.0), {s: one.frequency.values for s, one in result.pit.items()}, own)
        self.shares.show(result.shares, known)
        self.quantiles.show(result.quantiles, known, level_names(result.quantiles["prediction"]))
        self.legend.object = legend_html([*sources(result.pit), TRUTH, CHANCE])


class StrataPicture(Picture):
    def __init__(self) -> None:
        titles = {"crps": "Fair CRPS", "bias": "Bias", "spread_skill": "Spread / skill"}
        self.charts = [ByStratum(name, title) for name, title in titles.items()]
        self.legend = _html()
        self.layout = column(self.legend, _side_by_side(*self.charts))

    def show(self, run: Run, asked: Asked, result) -> None:
        from labkit.plots.strata import stratum_names

        unit, names = run.describe(asked.variable).units, stratum_names(result)
        for chart in self.charts:
            chart.show(result, names, "" if chart.name == "spread_skill" else unit)
        self.legend.object = legend_html(sources(result.source.values))


class MapsPicture(Picture):
    def __init__(self, run: Run, titles: Mapping[str, str], on_tap) -> None:
        self.maps = VeiledMaps(run, titles, on_tap)
        legend = _html()
        legend.object = legend_html([("Zero lies within the 95 % interval: may be chance", "#c9ced4", "band")])
        self.layout = column(legend, map_row(self.maps.grid, rows=1))

    def show(self, run: Run, asked: Asked, result) -> None:
        from labkit.plots.score_maps import map_scale

        looks = {name: map_scale(result, name) for name in self.maps.grid.keys}
        self.maps.show((asked,), result, looks, run.describe(asked.variable).units)


PICTURES = {
    "ranks": RanksPicture,
    "reliability": ReliabilityPicture,
    "neighbourhoods": NeighbourhoodsPicture,
    "distributions": DistributionsPicture,
    "strata": StrataPicture,
}
_SHARE = {"flex": "1 1 290px", "min-width": "290px"}


def sources(names) -> list[tuple[str, str, str]]:
    """Entries of a legend."""
    return [(SOURCE_LABELS[str(name)], COLOURS[str(name)], "line") for name in names]


def legend_html(entries: Sequence[tuple[str, str, str]]) -> str:
    """Names with a line ("line", "dashed", "dotted") or a "band" of their colour."""
    dashes = {"dashed": "6 4", "dotted": "2 3"}
    parts = []
    for label, colour, kind in entries:
        width = 11 if kind == "band" else 3
        line = (
            f"<svg width='26' height='12' style='vertical-align:-1px'><line x1='0' x2='26' y1='6' y2='6' "
            f"stroke='{colour}' stroke-width='{width}' stroke-dasharray='{dashes.get(kind, '')}'/></svg>"
        )
        parts.append(f"<span style='white-space:nowrap'>{line} {escape(label)}</span>")
    return f"<div style='display:flex;flex-wrap:wrap;gap:2px 18px;font-size:13px'>{''.join(parts)}</div>"


COLUMNS = {
    "crps": "fair CRPS",
    "rmse": "RMSE",
    "mae": "MAE",
    "bias": "bias",
    "spread": "spread",
    "spread_skill": "spread / skill",
    "achieved_skill": "achieved skill",
}
UNITS = ("crps", "rmse", "mae", "bias", "spread")
STYLE = (
    "<style>table{border-collapse:collapse;font-size:13px} td,th{padding:3px 14px 3px 0;text-align:right;"
    "font-variant-numeric:tabular-nums} th{font-weight:500;opacity:.7} td.name,th.name{text-align:left} "
    "tr.first td{border-top:1px solid rgba(128,128,128,.35)} tr.chosen{font-weight:600}</style>"
)


def table_html(table: pd.DataFrame, variable: str, run: Run) -> str:
    """The scores as an HTML table, the chosen variable first; every text in it escaped."""
    shown = {name: title for name, title in COLUMNS.items() if name in table}
    head = ["variable", "source", *shown.values()]
    names = sorted(table.variable.unique(), key=lambda name: (name != variable, run.variables.index(name)))
    lines, classes = [], []
    for name in names:
        rows = table[(table.variable == name) & np.isfinite(table.rmse)]
        for i, (_, line) in enumerate(rows.iterrows()):
            values = [number(line[key], line.rmse if key in UNITS else 1.0) for key in shown]
            lines.append([run.describe(name).label if i == 0 else "", SOURCE_LABELS[line.source], *values])
            chosen = name == variable and line.source == "prediction"
            classes.append(" ".join(c for c, there in (("first", i == 0), ("chosen", chosen)) if there))
    note = "CRPS of a single field is its MAE. Achieved skill: 1 is as good as the oracle, 0 as the coarse input."
    return grid_html(head, lines, note, names=2, classes=classes)


def scores_html(data: Mapping) -> str:
    """The Brier score with its parts, and the ROC area, by source."""
    names = {
        "brier": "Brier score",
        "reliability": "= reliability",
        "resolution": "− resolution",
        "uncertainty": "+ uncertainty",
        "skill": "Brier skill score",
        "fair": "fair Brier score",
        "roc_area": "ROC area",
    }
    lines = []
    for name, title in names.items():
        lines.append([title, *(number(one.score(name), 0.1) for one in data.values())])
        low, high = (data["prediction"].score(name, bound) for bound in ("low", "high"))
        if name in ("brier", "skill", "roc_area") and np.isfinite(low):
            lines.append(["95 % of the model's", f"{number(low, 0.1)} to {number(high, 0.1)}"] + [""] * (len(data) - 1))
    note = "Fair: what infinitely many members would have. Reliability is best at 0, resolution as large as can be."
    return grid_html(["", *(SOURCE_LABELS[s] for s in data)], lines, note, names=1)


def useful_html(data, labels: Mapping[str, str]) -> str:
    """From which window on each source is useful."""
    said = {s: "nowhere" if np.isnan(at) else f"{at:.3g} km" for s, at in data.useful_km.items()}
    smallest = {s: number(float(one.fss[0]), 1.0) for s, one in data.sources.items()}
    lines = [[labels[s], said[s], smallest[s]] for s in said]
    note = "Useful: 0.5 and half the share of cells with the event (Roberts & Lean 2008)."
    return grid_html(["source", "useful from", "FSS of a cell"], lines, note, names=1)


def grid_html(head: Sequence[str], lines: Sequence[Sequence[str]], note: str, *, names: int, classes=()) -> str:
    """An HTML table of escaped texts, of which the first `names` columns are aligned to the left."""

    def line(cells: Sequence[str], tag: str, look: str = "") -> str:
        made = "".join(
            f"<{tag}{' class=name' if i < names else ''}>{escape(cell)}</{tag}>" for i, cell in enumerate(cells)
        )
        return f'<tr class="{look}">{made}</tr>'

    looks = list(classes) or [""] * len(lines)
    body = "".join(line(cells, "td", look) for cells, look in zip(lines, looks, strict=True))
    under = f"<p style='opacity:.7;font-size:12px'>{escape(note)}</p>"
    return f"{STYLE}<table>{line(head, 'th')}{body}</table>{under}"


def number(value: float, size: float) -> str:
    """Three digits of numbers of about that size, so that a column can be compared at a glance; "" for NaN."""
    decimals = int(np.clip(2 - np.floor(np.log10(size)), 0, 6)) if np.isfinite(size) and size > 0 else 2
    return f"{value:.{decimals}f}" if np.isfinite(value) else ""


def _html() -> pn.pane.HTML:
    return pn.pane.HTML(sizing_mode="stretch_width", margin=(4, 12))


def _side_by_side(*figures) -> pn.viewable.Viewable:
    return row(*(column(f.figure, styles=_SHARE) for f in figures), sx={"flexWrap": "wrap"})
