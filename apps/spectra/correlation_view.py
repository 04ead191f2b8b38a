"""Autocorrelation: how far a field knows of itself, with the three lengths that people quote, and by direction."""

from __future__ import annotations

from functools import partial

import numpy as np
import panel as pn

from apps.parts.computed import Computed
from apps.parts.runs import Run
from apps.parts.view import choice, column, picture, row, widgets
from apps.spectra.panels import Correlations, Rose
from apps.spectra.spectra_view import DIRECTIONS, LEFT, chosen, computed, none, quantity_choice
from labkit.plots.colours import SOURCE_LABELS
from labkit.verify.patch_size import trend_sentence
from labkit.verify.reach import TREND

BEYOND = "beyond half the domain"


class CorrelationView(Computed):
    tab, title = "correlation", "Autocorrelation"
    uses = ("variable", "quantity", "direction", "centre", "scope", "box", "height", "width")
    working = "Computing the autocorrelations ..."

    def build(self, run: Run) -> list:
        self.curves, self.rose = Correlations(), Rose()
        self.table = pn.pane.HTML(sizing_mode="stretch_width", margin=(4, 12))
        centres = {"Less the mean of all": "all", "Less each field's mean": "each", "As they are": "none"}
        controls = widgets(
            quantity_choice(self.state),
            choice(self.state.param.direction, DIRECTIONS, "Distance"),
            choice(self.state.param.centre, centres, "Anomalies"),
        )
        plots = row(picture(self.curves.figure), self.rose.figure)
        self.body = column(plots, self.table)
        return [controls, self.body]

    def touch(self, names: set[str]) -> None:
        super().touch(names)
        self._stale = self._stale or ("time" in names and self.state.scope == "case")

    def ask(self, run: Run):
        from labkit.verify.scales import correlation_data

        options = chosen(self.state) | {"direction": self.state.direction, "centre": none(self.state.centre)}
        key = (run.id, "correlation", self.state.variable, *options.items())
        return key, partial(computed, correlation_data, run, self.state.variable, **options)

    def show_result(self, run: Run) -> None:
        dy, dx = run.spacing_km
        spacing = {"x": dx, "y": dy, "radial": min(dx, dy)}[self.state.direction]
        sides = {"x": self.state.width * dx, "y": self.state.height * dy}
        patch = sides.get(self.state.direction, min(sides.values()))
        judged = self.result.lengths.sel(source=self.result.judge)
        lengths = {str(name): float(length) for name, length in judged.items()}
        self.curves.show(self.result.rho, band=self.result.band, lengths=lengths, spacing_km=spacing, patch_km=patch)
        self.rose.show(self.result.rose)
        self.table.object = lengths_html(self.result, spacing)

    def say(self, run: Run) -> str:
        variable, result = run.describe(self.state.variable), self.result
        lengths, bounds = result.lengths.sel(source=result.judge), result.bounds
        found = {name: _length(float(lengths[name]), bounds[name]) for name in ("e_folding", "zero_crossing")}
        fold, zero = (text if text == BEYOND else f"at {text}" for text in found.values())
        what = f"the {SOURCE_LABELS[result.judge].lower()}{LEFT[self.state.quantity]}"
        comma = "," if "," in what else ""
        small = ", so that this domain is too small to tell" if fold == BEYOND else ""
        said = f"the autocorrelation of {what}{comma} falls to 1/e {fold}, to zero {zero}{small}"
        trend = f" {trend_sentence('it', result.trend, 'along y or x')}." if result.trend > TREND else ""
        return f"{variable.long_name}: {said}. {self._assumed(run)}{trend}"

    def _assumed(self, run: Run) -> str:
        """What the curve takes for granted."""
        if self.state.centre == "none":
            return "Taken to have a mean of zero."
        if self.state.centre == "all" and self.state.scope == "run" and len(run.times) > 1:
            return "Taken to have one mean everywhere and always."
        return "Less each field's own mean, which makes lengths too short in domains of fewer than ten of them."


def lengths_html(result, spacing_km: float) -> str:
    """The lengths of every source as a table, the judge's with their intervals; no text in it comes from a file."""
    titles = {"e_folding": "falls to 1/e", "integral_scale": "integral scale", "zero_crossing": "first zero"}
    head = "".join(f"<th>{title}</th>" for title in titles.values())
    lines = []
    for source in result.lengths.source.values:
        cells = [f"<td>{SOURCE_LABELS[str(source)]}</td>"]
        for name in titles:
            value = float(result.lengths[name].sel(source=source))
            cells.append(f"<td>{_length(value, result.bounds[name] if source == result.judge else None)}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    style = (
        "<style>table{border-collapse:collapse;font-size:13px} td,th{padding:3px 18px 3px 0;text-align:right;"
        "font-variant-numeric:tabular-nums} th{font-weight:500;opacity:.7} td:first-child{text-align:left}</style>"
    )
    note = f"One cell is {spacing_km:g} km. In brackets: 95 % interval, from what each time changes. What lies beyond "
    note += "half the domain cannot be told from this domain."
    return f"{style}<table><tr><th></th>{head}</tr>{''.join(lines)}</table><p style='opacity:.7'>{note}</p>"


def _length(value: float, bounds) -> str:
    """A length in km with its interval, as far as there is one; bounds: (low, high), None for no interval at all."""
    if np.isnan(value):
        return BEYOND
    if bounds is None:
        return f"{value:.1f} km"
    low, high = map(float, bounds)
    if np.isnan(low):
        return f"{value:.1f} km (too few times to say how sure)"
    return f"{value:.1f} km ({low:.1f} to {BEYOND if np.isnan(high) else f'{high:.1f}'})"
