"""Best tracks beside the runs: tables that are at hand or were named, and the storm of each that a run holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from apps.parts.library import Library, open_library, short
from apps.parts.runs import Run
from labkit.data.cases import TRACKS, Case, cases, near_taiwan
from labkit.data.public import present
from labkit.data.tracks.best_tracks import AGENCIES, BestTracks, read_best_tracks, track
from labkit.errors import DataError, LabError
from labkit.plots.geography import locate
from labkit.variables import plain

WITHIN_KM = 300.0
_IMPORTS = ("from labkit.data.tracks.best_tracks import track", "from labkit.data.cases import near_taiwan")
BEST_DASHES = ([7, 3], [2, 2], [9, 3, 2, 3])  # of the first, second and third agency
OF_BEST = {"max_wind": "wind", "rmw": "rmw", "min_pressure": "pressure"}  # what a best track says of a measure
ENDINGS = (".csv", ".dat", ".txt", ".bst", ".all", ".gz")


@dataclass(frozen=True)
class Table:
    """Best tracks of one agency, and the expression by which a program opens them, with its imports."""

    tracks: BestTracks
    imports: tuple[str, ...]
    opening: str


@dataclass(frozen=True)
class BestTrack:
    """One storm's best track at the times of a run, with `x` and `y` in km: NaN where it has none, or far outside."""

    name: str
    agency: str
    minutes: int | None
    track: xr.Dataset
    imports: tuple[str, ...]
    opening: str

    @property
    def label(self) -> str:
        """Whose it is, and over how many minutes its winds are means."""
        over = f"{self.minutes}-minute winds" if self.minutes else "winds averaged over an unknown time"
        return f"{self.name} ({self.agency}, {over})"


@dataclass(frozen=True)
class Shelf:
    """What lies beside the runs: tables of best tracks, the catalogue of cases, and why a file is not among them."""

    tables: tuple[Table, ...] = ()
    cases: dict[str, Case] = field(default_factory=cases)
    problems: tuple[str, ...] = ()

    def best_of(self, run: Run, way: xr.Dataset) -> list[BestTrack]:
        """The storm of each table that ran along a way (time: lat, lon) in a run; none of an idealised run."""
        if run.tree.attrs.get("source") == "idealised atmosphere" or not np.isfinite(way.lat).any():
            return []
        found = []
        for table in self.tables:
            try:
                near = table.tracks.along(way.lat.values, way.lon.values, run.times, within_km=WITHIN_KM)
            except DataError:
                continue
            storm = near.storm(near.storms().storm[0])
            at = track(storm, run.times)
            x, y = locate(np.stack([at.lon, at.lat], 1), run.x, run.y, run.lat, run.lon).T
            placed = at.assign(x=("time", x), y=("time", y))
            name = plain(at.attrs["name"] or at.attrs["storm"], 24).title()
            opening = f"{table.opening}.storm({at.attrs['storm']!r})"
            if len(found) == len(BEST_DASHES):
                break
            found.append(BestTrack(name, storm.agency, storm.averaging_min, placed, table.imports, opening))
        return found

    def cases_of(self, run: Run) -> list[Case]:
        """The cases of the catalogue that a run shows: their times and its own meet, and their place lies in it."""
        if not np.issubdtype(np.asarray(run.times).dtype, np.datetime64) or not np.isfinite(run.lat).all():
            return []
        ideal = run.tree.attrs.get("source") == "idealised atmosphere"
        first, last = np.min(run.times), np.max(run.times)
        return [
            case
            for case in self.cases.values()
            if case.idealised == ideal
            and np.datetime64(case.start) <= last
            and np.datetime64(case.end) >= first
            and np.isfinite(locate(np.array([[case.lon, case.lat]]), run.x, run.y, run.lat, run.lon)).all()
        ]


def open_storm_library(files: Sequence[str]) -> tuple[Library, Shelf]:
    """Trees and folders of training runs as `open_library` takes them, best tracks (CSV or text) and cases (YAML).

    A plain table of tracks does not say whose it is: `jtwc=table.csv` does.
    """
    asked = [file.split("=", 1) if file.split("=", 1)[0] in AGENCIES else ["", file] for file in files]
    paths = [(agency, Path(name)) for agency, name in asked]
    tracked = [(agency, path) for agency, path in paths if agency or _of_tracks(path)]
    listed = [path for _, path in paths if path.suffix.lower() in (".yaml", ".yml")]
    problems: list[str] = []
    known = cases()
    for path in listed:
        known |= _tried(cases, path, problems) or {}
    tables = [table for agency, path in tracked for table in _tables(agency, path, problems)]
    if not tables and present(TRACKS[0]):
        tables = [Table(near_taiwan(), _IMPORTS, "near_taiwan()")]
    rest = [name for agency, name in asked if (agency, Path(name)) not in tracked and Path(name) not in listed]
    return open_library(rest), Shelf(tuple(tables), known, tuple(problems))


def _of_tracks(path: Path) -> bool:
    """Whether a file holds tracks by its name; a NetCDF of IBTrACS has the name that it was published under."""
    name = path.name.lower()
    return path.suffix.lower() in ENDINGS or (name.startswith("ibtracs") and name.endswith(".nc"))


def _tables(agency: str, path: Path, problems: list[str]) -> list[Table]:
    """What a file holds; of IBTrACS both agencies' winds."""
    first = _tried(partial(read_best_tracks, agency=agency or None), path, problems)
    tracks = [(agency, first)] if first is not None else []
    if (
        first is not None
        and not agency
        and first.agency == AGENCIES["usa"][0]
        and path.suffix.lower() in (".csv", ".nc")
    ):
        tracks += [("tokyo", other)] if (other := _tried(partial(read_best_tracks, agency="tokyo"), path, [])) else []
    problems += [short(f"{path.name}, in part: {table.notice}") for _, table in tracks if table.notice]
    imports = ("from labkit.data.tracks.best_tracks import read_best_tracks, track",)
    arguments = [f"{str(path)!r}" + (f", agency={name!r}" if name else "") for name, _ in tracks]
    return [
        Table(table, imports, f"read_best_tracks({argument})")
        for (_, table), argument in zip(tracks, arguments, strict=True)
    ]


def _tried(read, path: Path, problems: list[str]):
    """What a file holds; None, and why, where it cannot be read."""
    try:
        return read(path)
    except LabError as error:
        problems.append(short(str(error)))
        return None
