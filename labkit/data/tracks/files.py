"""Best tracks as text of the agencies' own formats: ATCF b-decks, HURDAT2, RSMC Tokyo. Rows as in `track_rows`."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from labkit.data.tracks.rows import (
    HECTOPASCAL,
    NAUTICAL_MILE,
    QUADRANTS,
    Row,
    Rows,
    lines_of,
    measured,
    named,
    position,
    refusing,
)
from labkit.winds import KNOT

RADII_KT = (34, 50, 64)
TOKYO_GRADES = {"2": "TD", "3": "TS", "4": "STS", "5": "TY", "6": "EX", "7": "", "9": "TS"}
ATCF_LINE = re.compile(r"[A-Z]{2},\s*\d+,\s*\d{10},")
HURDAT2_HEADER = re.compile(r"([A-Z]{2}\d{6}),\s*([^,]*),\s*(\d+),?\s*$")
_TOKYO_COLUMNS = {
    "lat": (15, 18), "lon": (19, 23), "pressure": (24, 28), "wind": (33, 36),
    "r50_longest": (42, 46), "r50_shortest": (47, 51), "r30_longest": (53, 57), "r30_shortest": (58, 62),
}  # fmt: skip


def atcf(path: Path) -> Rows:
    """The BEST lines of an ATCF deck (NRL's "abrdeck"): a line for each wind radius of a time, knots, hPa, nautical
    miles, tenths of degrees."""
    seasons: dict[tuple[str, int], tuple[datetime, int]] = {}
    for place, line in lines_of(path):
        yield place, partial(_atcf_row, [field.strip() for field in line.split(",")], seasons)


def _atcf_row(part: list[str], seasons: dict) -> Row | None:
    if len(part) > 4 and part[4] != "BEST":
        return None
    if len(part) < 9:
        raise ValueError(f"{len(part)} fields, perhaps cut off")
    time = _compact(part[2]) + timedelta(minutes=int(part[3] or 0))
    radii = _atcf_radii(part)
    where = position(_degrees(part[6], "NS", 10), _degrees(part[7], "EW", 10))
    storm = _atcf_storm(part, time, seasons)
    part = part + [""] * (28 - len(part))
    return {
        "storm": storm, "name": named(part[27]), "time": time, **where, "status": part[10],
        "wind": measured(part[8], KNOT, zero=False), "pressure": measured(part[9], HECTOPASCAL, zero=False),
        "rmw": measured(part[19], NAUTICAL_MILE, zero=False), **radii,
    }  # fmt: skip


def _atcf_storm(part: list[str], time: datetime, seasons: dict) -> str:
    """The id as the Navy writes it, WP092009: the year of the season, which in the south begins in July, and elsewhere
    that of the storm's first line, so that no storm falls apart at New Year."""
    key = (part[0], int(part[1]))
    last, season = seasons.get(key, (datetime.min, 0))
    if time - last > timedelta(days=60):
        season = time.year + (part[0] == "SH" and time.month >= 7)
    seasons[key] = (time, season)
    return f"{key[0]}{key[1]:02d}{season}"


def _atcf_radii(part: list[str]) -> dict[str, float]:
    """Radii of one line: full circle (AAA), or quadrants clockwise from the one its code names (NEQ and so on)."""
    if len(part) < 13 or part[11] not in map(str, RADII_KT):
        return {}
    if len(part) < 17:
        raise ValueError("a line that ends within its radii, perhaps cut off")
    reach = [measured(text, NAUTICAL_MILE) for text in part[13:17]]
    if part[12] == "AAA":
        return {f"r{part[11]}_{quadrant}": reach[0] for quadrant in QUADRANTS}
    code = part[12].lower()
    if code[:2] not in QUADRANTS or code[2:] != "q":
        return {}
    first = QUADRANTS.index(code[:2])
    return {f"r{part[11]}_{QUADRANTS[(first + k) % 4]}": reach[k] for k in range(4)}


def hurdat2(path: Path) -> Rows:
    """NHC's HURDAT2 (Landsea and Franklin 2013): a header AL092021, name, number of lines for each storm; in these
    degrees with a letter, knots, hPa, radii in nautical miles, since 2021 the radius of maximum wind."""
    storm = None
    for place, line in lines_of(path):
        if header := HURDAT2_HEADER.match(line.strip()):
            storm = header[1], named(header[2])
        elif line[:1].isalpha():
            storm = None  # lines of a header that cannot be read are not the storm's before
            yield place, refusing(f"{line[:24]!r} where a storm's id, name and number of lines should be")
        else:
            yield place, partial(_hurdat2_row, storm, [field.strip() for field in line.split(",")])


def _hurdat2_row(storm: tuple[str, str] | None, part: list[str]) -> Row:
    if storm is None:
        raise ValueError("a line of no storm")
    if len(part) < 20:
        raise ValueError(f"{len(part)} fields, perhaps cut off")
    radii = [(f"r{knots}_{quadrant}") for knots in RADII_KT for quadrant in QUADRANTS]
    return {
        "storm": storm[0], "name": storm[1], "time": _compact(part[0] + part[1]),
        **position(_degrees(part[4], "NS", 1), _degrees(part[5], "EW", 1)), "status": part[3],
        "wind": measured(part[6], KNOT), "pressure": measured(part[7], HECTOPASCAL),
        "rmw": measured(part[20], NAUTICAL_MILE, zero=False) if len(part) > 20 else math.nan,
        **{name: measured(text, NAUTICAL_MILE) for name, text in zip(radii, part[8:20], strict=True)},
    }  # fmt: skip


def tokyo(path: Path) -> Rows:
    """RSMC Tokyo's text of fixed columns: a header with 66666 for each storm that says how many lines follow it."""
    storm, name, due, place = "", "", 0, ""
    for place, line in lines_of(path):
        if not line[:8].isdigit():
            if due:
                yield place, refusing(f"a header, {due} lines before the end of {storm}")
            storm, name, due = _tokyo_header(line)
            if not storm:
                yield place, refusing(f"a line that is not one of a storm: {line[:20]!r}")
        elif not due or line[9:12] != "002":
            yield place, refusing(f"a line that is not one of {storm if due else 'a storm'}: {line[:20]!r}")
            due = max(0, due - 1)
        else:
            due -= 1
            yield place, partial(_tokyo_row, storm, name, line)
    if due:
        yield place, refusing(f"{due} lines fewer of {storm} than its header says, perhaps cut off")


def _tokyo_header(line: str) -> tuple[str, str, int]:
    """Number and name of a storm, and how many lines follow; no number where the line is no header."""
    count = line[12:15].strip()
    if line[:5] != "66666" or not (line[6:10].isdigit() and count.isdigit()):
        return "", "", 0
    return f"{_year(line[6:8])}{line[8:10]}", named(line[30:50]), int(count)


def _tokyo_row(storm: str, name: str, line: str) -> Row:
    """One line: grade, degrees and tenths, hPa, knots (0 or blank before 1977 and for depressions), nautical miles."""
    length = len(line.rstrip())
    if any(start < length < end for start, end in _TOKYO_COLUMNS.values()):
        raise ValueError("a line that ends within a number, perhaps cut off")
    part = {name: line[start:end] for name, (start, end) in _TOKYO_COLUMNS.items()}
    return {
        "storm": storm, "name": name, "time": _compact(f"{_year(line[:2])}{line[2:8]}"),
        **position(*(measured(part[name], 1) / 10 for name in ("lat", "lon"))),
        "status": TOKYO_GRADES.get(line[13], ""), "wind": measured(part["wind"], KNOT, zero=False), "rmw": math.nan,
        "pressure": measured(part["pressure"], HECTOPASCAL, zero=False),
        **{name: measured(text, NAUTICAL_MILE) for name, text in part.items() if name.startswith("r")},
    }  # fmt: skip


def _compact(digits: str) -> datetime:
    """A time of year, month, day, hour and perhaps minute, without anything between."""
    try:
        return datetime.strptime(digits, "%Y%m%d%H%M" if len(digits) == 12 else "%Y%m%d%H")
    except ValueError:
        raise ValueError(f"{digits!r} where a time should be") from None


def _year(digits: str) -> int:
    """Two digits of a year; Tokyo's archive begins in 1951."""
    return int(digits) + (1900 if int(digits) >= 51 else 2000)


def _degrees(text: str, ends: str, parts: int) -> float:
    """Degrees, or so many parts of them, with a letter, as 185N or 94.8W; `ends` holds the positive side's letter, then
    the other."""
    if text[-1:] not in tuple(ends):
        raise ValueError(f"{text!r} where degrees with {ends[0]} or {ends[1]} should be")
    return measured(text[:-1], 1) / parts * (-1 if text[-1] == ends[1] else 1)
