"""What a person has chosen in the spectra explorer: bounded parameters, so that a URL cannot set nonsense."""

from __future__ import annotations

import param

from apps.parts.place import Place, box_within

URL_NAMES = {
    "run": "run",
    "variable": "var",
    "quantity": "of",
    "direction": "dir",
    "window": "win",
    "detrend": "det",
    "centre": "mean",
    "scope": "scope",
    "time": "t",
    "members": "mem",
    "box": "box",
    "height": "py",
    "width": "px",
    "overlap": "ov",
    "network": "net",
    "tab": "tab",
}
DIRECTIONS = ("radial", "x", "y")
WINDOWS = ("none", "hann", "dct")
DETRENDS = ("mean", "plane", "none")
NETWORKS = ("nano", "mini", "normal")
SMALLEST_PATCH = 4


class SpectraState(param.Parameterized):
    """One session's selection. `load` fits the bounds to a run; every later value is checked against them."""

    run = param.Selector(objects=[""], doc="Run on the screen, by its id in the registry.")
    variable = param.Selector(objects=[""], doc="Variable, by its name in the file.")
    quantity = param.Selector(
        default="raw", objects=["raw", "residual", "detail"], doc="Fields, or what is left of them."
    )
    direction = param.Selector(default="radial", objects=list(DIRECTIONS), doc="Waves along x, along y, or of any.")
    window = param.Selector(default="hann", objects=list(WINDOWS), doc="Taper against the edges' own spectrum.")
    detrend = param.Selector(default="mean", objects=list(DETRENDS), doc="What is taken off each field first.")
    centre = param.Selector(
        default="all", objects=["all", "each", "none"], doc="Whose mean is taken off for correlations."
    )
    scope = param.Selector(default="run", objects=["run", "case"], doc="All times, or the one chosen.")
    time = param.Integer(0, bounds=(0, 0), doc="Position in time.")
    members = param.Boolean(True, doc="Draw each member's spectrum.")
    box = Place(default=None, length=4, allow_None=True, doc="West, south, east, north edges in km.")
    height = param.Integer(16, bounds=(1, None), doc="Cells of a patch along y.")
    width = param.Integer(16, bounds=(1, None), doc="Cells of a patch along x.")
    overlap = param.Integer(4, bounds=(0, None), doc="Cells that neighbouring patches share at least.")
    network = param.Selector(default="nano", objects=list(NETWORKS), doc="Preset whose network is to be trained.")
    tab = param.Selector(default="spectra", check_on_set=False, doc="The tab that is looked at, one of the app's.")

    extent = param.NumericTuple(default=(0.0, 0.0, 0.0, 0.0), length=4, precedence=-1, doc="Edges of the grid in km.")

    def load(
        self,
        *,
        variables: list[str],
        n_times: int,
        shape: tuple[int, int],
        extent: tuple[float, ...],
        quantities: list[str],
    ) -> None:
        """Fit the bounds to a run of `shape` (y, x) cells; a choice that it has too is kept. `quantities`: it has."""
        self.param.variable.objects = list(variables)
        self.param.quantity.objects = ["raw", *quantities]
        self.param.time.bounds = (0, n_times - 1)
        self.param.box.extent = None
        self.param.height.bounds = self.param.width.bounds = (1, sum(shape) + self.height + self.width)  # for now
        low = [min(SMALLEST_PATCH, n) for n in shape]
        self.param.update(
            variable=self.variable if self.variable in variables else variables[0],
            quantity=self.quantity if self.quantity in quantities else "raw",
            time=min(self.time, n_times - 1),
            box=None,
            height=max(low[0], min(self.height, shape[0])),
            width=max(low[1], min(self.width, shape[1])),
            extent=tuple(extent),
        )
        self.param.box.extent = tuple(extent)
        self.param.height.bounds, self.param.width.bounds = (low[0], shape[0]), (low[1], shape[1])
        self._bound_overlap()

    @param.depends("height", "width", watch=True)
    def _bound_overlap(self) -> None:
        """Neighbours may share at most half of the smaller side."""
        most = min(self.height, self.width) // 2
        self.param.overlap.bounds = (0, max(most, self.overlap))
        self.overlap = min(self.overlap, most)
        self.param.overlap.bounds = (0, most)

    def select_box(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """The box that was dragged, in any order of its corners."""
        self.box = box_within(self.extent, x0, y0, x1, y1) or self.box
