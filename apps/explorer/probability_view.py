"""Probability: spread, error of the mean, a percentile and the probability of exceeding a threshold, as maps."""

from __future__ import annotations

import panel_material_ui as pmui

from apps.explorer import sentences
from apps.explorer.maps_view import map_row, value_look
from apps.explorer.state import ExplorerState
from apps.parts.maps import MapGrid
from apps.parts.runs import Run
from apps.parts.scale import Look
from apps.parts.view import View, widgets
from labkit.plots.colours import (
    DIFFERENCES,
    PROBABILITIES,
    SPREAD,
    colour_limits,
    difference_limits,
    nice_step,
    palette,
)
from labkit.plots.figures import probability_fields
from labkit.variables import Variable

MAPS = {
    "spread": "Spread",
    "error": "Error of the mean",
    "percentile": "Percentile",
    "exceed": "Probability of exceeding",
}


class ProbabilityView(View):
    tab, title = "probability", "Probability"
    uses = ("variable", "time", "threshold", "percentile", "scale", "point", "box", "lines")

    def build(self, run: Run) -> list:
        self.grid = MapGrid(run, MAPS, columns=2, scales="own", on_tap=self.state.select_point)
        self.threshold = threshold_slider(self.state, width=300)
        percentile = pmui.IntSlider.from_param(
            self.state.param.percentile, label="Percentile", description="", size="small", width=300, margin=(8, 16)
        )
        return [widgets(self.threshold, percentile), map_row(self.grid, rows=2)]

    def draw(self, run: Run) -> None:
        state, variable = self.state, run.describe(self.state.variable)
        fit_threshold(self.threshold, state, variable)
        members = run.members(state.variable, state.time)
        truth = run.field("truth", state.variable, state.time)
        fields = probability_fields(members, truth, threshold=state.threshold, percentile=state.percentile)
        looks = {
            "spread": Look(colour_limits(_amount(variable), fields["spread"]), palette(SPREAD), variable.units),
            "error": Look(difference_limits(fields["error"]), palette(DIFFERENCES), variable.units),
            "percentile": value_look(run, state),
            "exceed": Look((0.0, 100.0), palette(PROBABILITIES), "%"),
        }
        token = (state.variable, state.time, state.threshold, state.percentile)
        self.grid.update({key: (token, field) for key, field in fields.items()}, looks)
        self.grid.set_place(state.point, state.box)
        self.grid.set_lines(state.lines)
        for key, title in _titles(variable, state).items():
            self.grid.set_title(key, title)

    def sentence(self, run: Run) -> str:
        return sentences.probability_sentence(run, self.state)


def threshold_slider(state: ExplorerState, **look) -> pmui.FloatSlider:
    """A slider of the state's threshold, to be fitted to a variable by `fit_threshold`."""
    slider = pmui.FloatSlider(label="Threshold", size="small", margin=(8, 16), **look)
    slider.param.watch(lambda event: state.param.update(threshold=float(event.new)), "value_throttled")
    return slider


def fit_threshold(slider: pmui.FloatSlider, state: ExplorerState, variable: Variable) -> None:
    low, high = state.param.threshold.bounds
    step, label = nice_step((high - low) / 200), f"Threshold [{variable.units}]"
    slider.param.update(start=low, end=high, step=step, value=state.threshold, label=label)


def _titles(variable: Variable, state: ExplorerState) -> dict[str, str]:
    return {
        "spread": f"Spread (standard deviation) [{variable.units}]",
        "error": f"Mean minus truth [{variable.units}]",
        "percentile": f"{ordinal(state.percentile)} percentile [{variable.units}]",
        "exceed": f"Probability of more than {state.threshold:g} {variable.units} [%]",
    }


def ordinal(n: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th ..."""
    ending = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def _amount(variable: Variable) -> Variable:
    """The same unit, as something that is never negative."""
    return Variable(
        variable.name, variable.long_name, variable.units, limits=(0.0, variable.error_limit), non_negative=True
    )
