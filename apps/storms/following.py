"""The storm of a run, worked out once for all who look at it, and short readings of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray as xr

from apps.parts.computed import Computed
from apps.parts.runs import Run
from apps.parts.view import Session
from apps.parts.watch import Watch
from apps.storms.shelf import BestTrack, Shelf
from labkit.errors import DataError
from labkit.variables import plain
from labkit.verify.cyclones.ensembles import closest_approach

MAX_PLACES = 25_000
ORDER = ("interpolation", "regression", "mean", "prediction", "truth", "oracle")


@dataclass(frozen=True)
class Storm:
    """What `cyclones.study` found: groups by source in memory; `nothing` says why there is no storm, else it is "".

    closest: least distance (member, y, x) in km of each member's storm from each cell; None where none was tracked.
    best: best tracks of the storm, of as many agencies as are at hand.
    """

    groups: dict[str, xr.Dataset]
    nothing: str = ""
    closest: np.ndarray | None = None
    best: tuple[BestTrack, ...] = ()

    def has(self, source: str, name: str) -> bool:
        return source in self.groups and name in self.groups[source]

    def values(self, source: str, name: str) -> np.ndarray:
        """(time, ...) of the single sources, (ensemble, time, ...) of the ensembles."""
        return self.groups[source][name].values

    def place(self, source: str, time: int, member: int) -> tuple[float, float]:
        """x, y in km of the centre of a source, or of a member of an ensemble; NaN where it has none."""
        part = self.groups.get(source)
        if part is None:
            return np.nan, np.nan
        part = part.isel(time=time)
        part = part.isel(ensemble=member) if "ensemble" in part.dims else part
        return float(part.x), float(part.y)


def follow(run: Run, watch: Watch | None = None, *, shelf: Shelf | None = None) -> Storm:
    """The storm of a run; a run without one is an answer too, and kept as such."""
    from labkit.verify.cyclones import study

    try:
        if not dated(run.times):
            found, todo = "numbers", "write the times as dates, from which a storm's motion can be told"
            raise DataError("times of this run", found=found, expected="dates", todo=todo)
        found = study(run.tree, **({"progress": watch.progress, "cancel": watch.cancelled} if watch else {}))
    except DataError as error:
        return Storm({}, str(error))
    groups = {source: found[source].to_dataset().load() for source in ORDER if source in found.children}
    closest = _closest(run, groups["prediction"]) if "prediction" in groups else None
    return Storm(groups, closest=closest, best=tuple(shelf.best_of(run, groups[followed(found)])) if shelf else ())


def followed(found: xr.DataTree) -> str:
    """The source whose storm the others' was compared with."""
    return found.attrs["reference"]


def key_of(run: Run) -> tuple:
    """What the library knows the storm of a run by."""
    return run.id, "storm"


def dated(times: np.ndarray) -> bool:
    return np.issubdtype(np.asarray(times).dtype, np.datetime64)


def _closest(run: Run, members: xr.Dataset) -> np.ndarray:
    """(member, y, x): worked out once, so that a strike within any distance is a comparison; for blocks of cells where
    there are very many."""
    k = int(np.ceil(np.sqrt(run.y.size * run.x.size / MAX_PLACES)))
    y, x = ([part.mean() for part in np.split(axis, range(k, axis.size, k))] for axis in (run.y, run.x))
    near = closest_approach(members[["x", "y"]], xr.Dataset(coords={"y": y, "x": x}))
    near = near.transpose("ensemble", "y", "x").values
    return near.astype(np.float32).repeat(k, 1).repeat(k, 2)[:, : run.y.size, : run.x.size]


class StormSession(Session):
    """A session beside whose runs lie best tracks and cases."""

    def __init__(self, library, state, *, shelf: Shelf | None = None) -> None:
        super().__init__(library, state)
        self.shelf = shelf or Shelf()

    def problems(self) -> list[str]:
        return [*super().problems(), *self.shelf.problems]


class StormView(Computed):
    """A view of the storm of a run, which is followed when the first of them is looked at."""

    working, long = "Following the storm through every member ...", True

    def ask(self, run: Run):
        return key_of(run), partial(follow, run, shelf=self.session.shelf)

    def show_result(self, run: Run) -> None:
        if not self.result.nothing:
            self.show_storm(run, self.result)

    def say(self, run: Run) -> str:
        return self.result.nothing or self.say_storm(run, self.result)

    def show_storm(self, run: Run, storm: Storm) -> None:
        raise NotImplementedError

    def say_storm(self, run: Run, storm: Storm) -> str:
        raise NotImplementedError


def member_label(run: Run, member: int) -> str:
    return f"Member {plain(run.member_names[member], 12)}"


def spread_text(values: np.ndarray, unit: str, digits: int = 0) -> str:
    """`41 (90 %: 38 to 45) m/s` of the members that have a value; "none" where none has."""
    known = values[np.isfinite(values)]
    if not known.size:
        return "none"
    low, middle, high = np.percentile(known, [5, 50, 95])
    return f"{middle:.{digits}f} (90 %: {low:.{digits}f} to {high:.{digits}f}) {unit}".strip()
