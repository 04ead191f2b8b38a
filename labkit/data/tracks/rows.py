"""Rows of best tracks: read one by one, checked, and named by where they stand where they cannot be read.

A format is a generator of (place, read): where a row stands in its file, and the function that reads it. That returns
the row, None where the format itself has nothing to tell there, or raises ValueError with what is wrong.

A row has `storm`, `name`, `time` (UTC), `lat`, `lon` (degrees), `status`, `wind` (m/s), `pressure` (Pa), `rmw` (km) and
radii in km, named after the wind in knots: `r34_ne` ... where the agency gives quadrants, `r50_longest` and
`r50_shortest` where it gives two radii. NaN: unknown.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from labkit.sphere import wrapped

NAUTICAL_MILE = 1.852  # km
HECTOPASCAL = 100.0
QUADRANTS = ("ne", "se", "sw", "nw")
POSSIBLE = {"wind": (0, 120, "m/s"), "pressure": (85_000, 110_000, "Pa"), "rmw": (0, 2000, "km")}
NAMELESS = {"UNNAMED", "NOT_NAMED", "NAMELESS", "INVEST"}

Row = dict[str, object]
Rows = Iterator[tuple[str, Callable[[], Row | None]]]
_UNKNOWN = {"", "-", "--", "NAN", "NA", "N/A", "MM", "NULL", "NONE"}
_FILL = -99  # numbers from here down stand for "unknown" (-99, -999, -9999) where nothing real is negative
_AT_ONCE = 20_000  # rows that wait for their table as Python objects
_LONGEST, _MOST = 2**16, 2**30  # characters of a line and of a file


def collected(rows: Rows) -> tuple[pd.DataFrame, list[str]]:
    """The rows that can be read, and of each of the others where it stands and what is wrong with it."""
    tables, waiting, skipped = [], [], []
    for place, read in rows:
        try:
            if row := read():
                waiting.append(_checked(row))
        except (ValueError, OverflowError) as error:  # of a time beyond all calendars
            skipped.append(f"{place} ({str(error)[:80]})")
        if len(waiting) == _AT_ONCE:
            tables.append(pd.DataFrame(waiting))
            waiting = []
    return pd.concat([*tables, pd.DataFrame(waiting)], ignore_index=True), skipped


def _checked(row: Row) -> Row:
    for name, (low, high, unit) in POSSIBLE.items():
        value = row[name]
        if not (math.isnan(value) or low <= value <= high):
            raise ValueError(f"a {name} of {value:g} {unit}")
    return row


def open_text(path: Path):
    """A text file, unpacked where it is a gzip."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return (gzip.open if packed else open)(path, "rt", encoding="utf-8-sig", errors="replace")


def lines_of(path: Path) -> Iterator[tuple[str, str]]:
    """Place and text of each line that is not empty, a comment (#) or the mark of a text's end; ValueError for lines
    and files longer than any of tracks."""
    number = size = 0
    with open_text(path) as file:
        while line := file.readline(_LONGEST):
            number, size = number + 1, size + len(line)
            if len(line) == _LONGEST or size > _MOST:
                raise ValueError(f"line {number}, where the file has become longer than tracks are")
            if line.strip(" \t\r\n\x1a\ufeff") and not line.startswith("#"):
                yield f"line {number}", line.rstrip("\r\n")


def number(text: str) -> float:
    """The number of a field, NaN where it says that it is unknown."""
    if text.strip().upper() in _UNKNOWN:
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text.strip()!r} where a number should be") from None


def measured(text: str, scale: float, *, zero: bool = True) -> float:
    """A wind, pressure or radius times `scale`; NaN for what stands for "unknown", as 0 does without `zero`."""
    value = number(text)
    return math.nan if value <= _FILL or (value == 0 and not zero) else value * scale


def position(lat: float, lon: float) -> dict[str, float]:
    """`lat` and `lon` in degrees, these in -180 to 180: once round the globe is the same place. ValueError where there
    is none, among them 0, 0, which stands for none."""
    for name, value, most in (("lat", lat, 90), ("lon", lon, 360)):
        if not abs(value) <= most:
            raise ValueError(f"a {name} of {value:g}" if math.isfinite(value) else f"no {name}")
    if lat == lon == 0:
        raise ValueError("a position of 0, 0")
    return {"lat": lat, "lon": float(wrapped(lon))}


def in_utc(text: str) -> datetime:
    """A time in ISO 8601, in UTC; without an offset it is that already."""
    words = text.strip().removesuffix(" UTC")
    try:
        found = datetime.fromisoformat(words)
    except ValueError:
        raise ValueError(f"{words!r} where a time should be") from None
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found


def refusing(reason: str) -> Callable[[], Row | None]:
    """What reads a row of which it is known that it cannot be read."""

    def read() -> None:
        raise ValueError(reason)

    return read


def named(text: str) -> str:
    """A storm's name; "" for what stands for none."""
    return "" if text.strip().upper() in NAMELESS else text.strip()


def merged(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each storm and time: of those that repeat the first, with what only later ones know."""
    return table.groupby(["storm", "time"], sort=False, as_index=False).first()[table.columns]
