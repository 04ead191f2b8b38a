"""Best tracks of tropical cyclones, with the averaging of their winds stated: chosen, interpolated, converted.

Agencies average the wind over different times: JTWC over 1 minute, Tokyo over 10. A table here has one agency's winds
only and says which; `averaged_over` is the one place where they are converted. `best_tracks` reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import xarray as xr

from labkit.data.tracks.rows import in_utc
from labkit.errors import DataError
from labkit.sphere import distance_km, wrapped
from labkit.winds import averaging_factor

_UNITS = {"lat": "degrees_north", "lon": "degrees_east", "wind": "m s-1", "pressure": "Pa", "rmw": "km"}
_SHOWN = 10  # rows that were left out are named up to so many
_RADIUS = re.compile(r"r\d\d_(ne|se|sw|nw|longest|shortest)")


@dataclass(frozen=True, eq=False)
class BestTracks:
    """Storms of one agency. `table` has a row for each storm and time (UTC): `storm` (id), `name`, `lat`, `lon`
    (degrees), `status`, `wind` (m/s, the maximum of means over `averaging_min` minutes at 10 m), `pressure` (Pa), `rmw`
    (km) and radii of wind speeds in km as `r34_ne`: 0 where the agency says that the wind is not reached. NaN: unknown.
    `averaging_min` is None where it is unknown. `skipped`: where in their file rows stand that could not be read, and
    what is wrong with each; `assumed`: what the file does not say and was taken for granted.
    """

    table: pd.DataFrame
    agency: str
    averaging_min: int | None
    skipped: tuple[str, ...] = ()
    assumed: str = ""

    def __len__(self) -> int:
        return self.table.storm.nunique()

    @property
    def averaging(self) -> str:
        """Over how long winds are averaged, in words."""
        return f"{self.averaging_min}-minute means" if self.averaging_min else "averaged over an unknown time"

    @property
    def notice(self) -> str:
        """What a user must know of the file: rows that were left out, with their lines, and what was assumed."""
        count = len(self.skipped)
        some = "; ".join(self.skipped[:_SHOWN]) + ("; ..." if count > _SHOWN else "")
        rows = f"{count} row{'s' * (count > 1)} that cannot be read left out: {some}." if count else ""
        return f"{rows} {self.assumed}".strip()

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
        time = _in_utc(time)[0]
        hours = np.abs((self.table.time - time) / pd.Timedelta(hours=1))
        apart = pd.Series(distance_km(lat, lon, self.table.lat, self.table.lon), index=self.table.index)
        close = self.table.assign(apart=apart)[(hours <= within_h) & (apart <= within_km)]
        if close.empty:
            raise DataError(
                f"storm near {lat:g}, {lon:g} at {time:%Y-%m-%d %H} UTC",
                found=f"none of {len(self)} storms of {self.agency}",
                expected=f"one within {within_km:g} km and {within_h:g} h",
                todo="widen the search, or choose another table",
            )
        return self._only(close.sort_values("apart").storm.drop_duplicates())

    def along(self, lat, lon, times, *, within_km: float = 300.0) -> "BestTracks":
        """The storms that ran along a way (degrees, at `times`, UTC), by their mean distance from it at the times that
        both have, the nearest first; DataError if none is within that distance."""
        times = _in_utc(times)
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
        if self.averaging_min is None:
            found, todo = "no word of it in the file", f"read it with averaging_min={minutes}, if you know that"
            raise DataError("averaging of wind", found=found, expected="1 or 10 minutes", todo=todo)
        factor = averaging_factor(self.averaging_min, minutes)
        if minutes == self.averaging_min:
            return self
        table = self.table.assign(wind=self.table.wind * factor)
        return replace(self, table=table.drop(columns=_radii(table)), averaging_min=minutes)

    def at(self, times) -> pd.DataFrame:
        """One storm's numbers at other times (UTC): linear between its rows, also across the date line; NaN outside of
        them, and where a row beside is NaN."""
        own = self.one().table.drop_duplicates("time").sort_values("time")
        wanted = _in_utc(times)
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
    if storm.averaging_min is not None:
        found.wind.attrs["averaging_min"] = storm.averaging_min
    first = own.iloc[0]
    notice = {"notice": storm.notice} if storm.notice else {}
    return found.assign_attrs(storm=str(first.storm), name=str(first["name"]), agency=storm.agency, **notice)


def _in_utc(times) -> pd.DatetimeIndex:
    """Times, with or without an offset, as times of UTC; DataError for what is no time of the usual calendar."""
    values = np.atleast_1d(np.asarray(times))
    try:
        if values.dtype.kind in "US":
            values = np.array([in_utc(str(word)) for word in values])
        if values.dtype.kind not in "MO":
            raise TypeError
        found = pd.to_datetime(values, utc=True)
    except (TypeError, ValueError) as error:
        found, expected = f"such as {np.ravel(times)[0]}", "dates and times of the usual calendar"
        raise DataError("times", found=found, expected=expected, todo="give the fields their valid times") from error
    return found.tz_localize(None)


def _radii(table: pd.DataFrame) -> list[str]:
    return [name for name in table.columns if _RADIUS.fullmatch(str(name))]
