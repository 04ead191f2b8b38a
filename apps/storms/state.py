"""What a person has chosen in the typhoon explorer: bounded parameters, so that a URL cannot set nonsense."""

from __future__ import annotations

import param
from param.parameterized import batch_call_watchers

from apps.parts.place import Place
from labkit.verify.fronts import FRONTAL

URL_NAMES = {
    "run": "run",
    "variable": "var",
    "time": "t",
    "member": "m",
    "frame": "frame",
    "measure": "of",
    "profile": "ring",
    "within": "km",
    "start": "a",
    "end": "b",
    "least": "least",
    "tab": "tab",
}
MEASURES = ("max_wind", "wave_wind", "mean_wind", "rmw", "min_pressure", "asymmetry1", "asymmetry2")
RELATION = "relation"  # of wind and pressure, in place of one of these numbers
PROFILES = ("tangential", "radial", "speed", "t2m", "tp", "reflectivity", "msl")
FURTHEST_KM = 200.0


class StormState(param.Parameterized):
    """One session's selection. `load` fits the bounds to a run; every later value is checked against them."""

    run = param.Selector(objects=[""], doc="Run on the screen, by its id in the registry.")
    variable = param.Selector(objects=[""], doc="Variable of the maps, by its name in the file.")
    time = param.Integer(0, bounds=(0, 0), doc="Position in time.")
    member = param.Integer(0, bounds=(0, 0), doc="Member of the ensemble.")
    frame = param.Selector(default="storm", objects=["storm", "earth"], doc="Maps about each storm, or of the ground.")
    measure = param.Selector(default="max_wind", objects=[*MEASURES, RELATION], doc="Number whose course is shown.")
    profile = param.Selector(default="tangential", objects=list(PROFILES), doc="What is averaged around the centre.")
    within = param.Number(30.0, bounds=(5.0, FURTHEST_KM), doc="How near is a strike, in km.")
    start = Place(default=None, length=2, allow_None=True, doc="One end of the section across a front, x, y in km.")
    end = Place(default=None, length=2, allow_None=True, doc="The other end.")
    least = param.Number(FRONTAL, bounds=(1.0, 20.0), doc="K in 100 km from which on a line is a front.")
    lines = param.Boolean(True, doc="Draw coast and graticule.")
    oracle = param.Boolean(False, doc="Draw the oracle's tracks too.")
    tab = param.Selector(default="track", check_on_set=False, doc="The tab that is looked at, one of the app's.")

    def load(self, *, variables: list[str], n_times: int, n_members: int, extent: tuple[float, ...]) -> None:
        """Fit the bounds to a run; a choice that it has too is kept, any other falls back to the first."""
        self.param.start.extent = self.param.end.extent = None
        with batch_call_watchers(self):
            self.param.variable.objects = list(variables)
            self.param.time.bounds = (0, max(n_times - 1, self.time))
            self.param.member.bounds = (0, max(n_members - 1, self.member))
            self.param.update(
                variable=self.variable if self.variable in variables else variables[0],
                time=min(self.time, n_times - 1),
                member=min(self.member, n_members - 1),
                start=None,
                end=None,
            )
            self.param.time.bounds, self.param.member.bounds = (0, n_times - 1), (0, n_members - 1)
            self.param.start.extent = self.param.end.extent = tuple(extent)
