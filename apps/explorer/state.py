"""What a person has chosen: bounded parameters without any user interface, so that a URL cannot set nonsense."""

from __future__ import annotations

import param
from param.parameterized import batch_call_watchers

from apps.parts.place import Place, box_within, clamp
from labkit.verify.strata import STRATA

PRODUCTS = ("paintball", "spaghetti", "matched", "neighbourhood", "envelope", "extremes", "clusters")
# Title, module of `labkit.verify` and of `labkit.plots`, and the name before `_data` and `_table` in the one and
# `_figure` in the other. The modules are imported on the scoring thread: compiling the scores takes seconds, which the
# first page should not wait for.
DIAGNOSTICS = {
    "ranks": ("Ranks and spread", "calibration", "calibration"),
    "reliability": ("Reliability and ROC", "probability", "reliability"),
    "neighbourhoods": ("Neighbourhoods", "neighbourhood", "fss"),
    "distributions": ("Distributions", "distributions", "distribution"),
    "strata": ("By stratum", "strata", "strata"),
    "maps": ("Maps", "score_maps", "score_maps"),
}
URL_NAMES = {
    "run": "run",
    "variable": "var",
    "time": "t",
    "member": "m",
    "show": "show",
    "scale": "scale",
    "threshold": "thr",
    "percentile": "pct",
    "product": "product",
    "radius": "radius",
    "by": "by",
    "clusters": "clusters",
    "point": "xy",
    "box": "box",
    "box_statistic": "stat",
    "scope": "scope",
    "diagnostic": "diag",
    "strata": "strata",
    "stamps": "of",
    "tab": "tab",  # last, so that a tab named in an address is drawn once, with all that the address says of it
}


class ExplorerState(param.Parameterized):
    """One session's selection. `load` fits the bounds to a run; every later value is checked against them."""

    run = param.Selector(objects=[""], doc="Run on the screen, by its id in the registry.")
    variable = param.Selector(objects=[""], doc="Variable, by its name in the file.")
    time = param.Integer(0, bounds=(0, 0), doc="Position in time.")
    member = param.Integer(0, bounds=(0, 0), doc="Member of the ensemble.")
    tab = param.Selector(default="maps", check_on_set=False, doc="The tab that is looked at, one of the app's.")
    show = param.Selector(default="values", objects=["values", "difference"], doc="Values, or minus the truth.")
    scale = param.Selector(default="run", objects=["run", "case", "standard"], doc="What the colours are fitted to.")
    threshold = param.Number(0.0, bounds=(None, None), doc="P(exceed) threshold, in the variable's unit.")
    percentile = param.Integer(90, bounds=(1, 99))
    product = param.Selector(default="paintball", objects=list(PRODUCTS), doc="Ensemble product that is shown.")
    radius = param.Number(20.0, bounds=(0.0, None), doc="Radius of a neighbourhood in km.")
    by = param.Selector(default="area", objects=["area", "mean", "maximum"], doc="What makes a member extreme.")
    clusters = param.Integer(3, bounds=(2, 5), doc="Number of clusters of members.")
    point = Place(default=(0.0, 0.0), length=2, doc="x, y in km.")
    box = Place(default=None, length=4, allow_None=True, doc="West, south, east, north edges in km.")
    box_statistic = param.Selector(default="mean", objects=["mean", "maximum", "minimum"])
    scope = param.Selector(default="run", objects=["run", "case"], doc="Times that the calibration is made of.")
    diagnostic = param.Selector(default="ranks", objects=list(DIAGNOSTICS), doc="What of the calibration is shown.")
    strata = param.Selector(default="season", objects=list(STRATA), doc="What the scores are split by.")
    stamps = param.Selector(default="prediction", objects=["prediction", "oracle"], doc="Whose members are shown.")
    lines = param.Boolean(True, doc="Draw coast and graticule.")
    arrows = param.Boolean(False, doc="Draw wind arrows.")

    extent = param.NumericTuple(default=(0.0, 0.0, 0.0, 0.0), length=4, precedence=-1, doc="Edges of the grid in km.")

    def load(self, *, variables: list[str], n_times: int, n_members: int, extent: tuple[float, ...]) -> None:
        """Fit the bounds to a run; a choice that it has too is kept, any other falls back to the first."""
        self.param.variable.objects = list(variables)
        self.param.time.bounds = (0, n_times - 1)
        self.param.member.bounds = (0, n_members - 1)
        self.param.point.extent = self.param.box.extent = None
        furthest = round(min(extent[2] - extent[0], extent[3] - extent[1]) / 2, 3)
        x, y = self.point
        inside = extent[0] <= x <= extent[2] and extent[1] <= y <= extent[3]
        centre = ((extent[0] + extent[2]) / 2, (extent[1] + extent[3]) / 2)
        with batch_call_watchers(self):  # nobody hears of the new values before the bounds are new
            self.param.radius.bounds = (0.0, None)
            self.param.update(
                variable=self.variable if self.variable in variables else variables[0],
                time=min(self.time, n_times - 1),
                member=min(self.member, n_members - 1),
                point=self.point if inside and self.extent != (0, 0, 0, 0) else centre,
                box=None,
                radius=min(self.radius, furthest),
                extent=tuple(extent),
            )
            self.param.radius.bounds = (0.0, furthest)
            self.param.point.extent = self.param.box.extent = tuple(extent)

    def set_threshold_bounds(self, low: float, high: float, value: float) -> None:
        """New bounds for the threshold; the value stays where it is inside them."""
        keep = low <= self.threshold <= high and self.param.threshold.bounds != (None, None)
        with batch_call_watchers(self):
            self.param.threshold.bounds = (None, None)
            self.threshold = self.threshold if keep else value
            self.param.threshold.bounds = (low, high)

    def select_point(self, x: float, y: float) -> None:
        """The place that was clicked; one outside the grid is brought to its edge, and a box is given up."""
        west, south, east, north = self.extent
        self.param.update(point=(clamp(x, west, east), clamp(y, south, north)), box=None)

    def select_box(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """The box that was dragged, in any order of its corners."""
        self.box = box_within(self.extent, x0, y0, x1, y1) or self.box
