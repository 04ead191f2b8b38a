"""The fields of GRIB files, edition 1 or 2, one by one, as ecCodes (the extra `grib`) understands them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyproj
import xarray as xr

from labkit.data.grib.grids import coordinates_of, laid_out, shape_of
from labkit.errors import DataError
from labkit.variables import canonical

Piece = tuple[int, int]
_MISSING = -9.0e33
_SECONDS = {"s": 1, "m": 60, "h": 3600, "D": 86400}
_RANGE = re.compile(r"(-?\d+)([smhD]?)(?:-(-?\d+)([smhD]?))?")
# Local tables that ecCodes does not have, by (centre, discipline, category, number): name, unit, least true value.
_LOCAL = {(161, 209, 6, 1): ("PrecipRate", "mm h-1", 0.0), (161, 209, 10, 0): ("refc", "dBZ", -90.0)}
# What a field of an ensemble stands for where it is no member: products of these templates are no plain variable.
_PRODUCTS = {
    **dict.fromkeys((2, 3, 4, 12, 13, 14), "derivedForecast"),
    **dict.fromkeys((6, 10), "percentileValue"),
    **dict.fromkeys((5, 9), "probabilityType"),
}


_PRODUCT_NAMES = {"derivedForecast": "derived", "percentileValue": "percentile", "probabilityType": "probability"}


@dataclass(frozen=True)
class Message:
    """One field of a file: what it is, of which time and place, and the pieces of the file that hold it.

    name: ecCodes' short name, or cfgrib's where the registry knows that. step_type: "instant", "accum", "avg", "max"...
    number: of the member, None where the field has none. start, end: seconds from the base. noise: of packing, in
    `units`. grid: a fingerprint of its geometry. shape: rows and columns. origin: centre, and ECMWF's class and stream.
    """

    path: Path
    pieces: tuple[Piece, ...]
    name: str
    units: str
    step_type: str
    level_type: str
    level: float
    number: int | None
    base: np.datetime64
    start: int
    end: int
    grid: str
    shape: tuple[int, int]
    noise: float
    origin: tuple[str, str, str]

    @property
    def time(self) -> np.datetime64:
        """Time of validity, the end of the interval."""
        return self.base + np.timedelta64(self.end, "s")


def read_messages(path: str | Path) -> list[Message]:
    """Every field of a file, without its values; DataError for what is no whole GRIB file, or without ecCodes."""
    path = Path(path)
    what = f"GRIB file {path.name}"
    if not path.is_file():
        raise DataError(what, found="no such file", expected="a GRIB file", todo="check the path")
    codes = _eccodes(what)
    with path.open("rb") as file:
        try:
            found = [_message(codes, path, pieces, _bytes(file, pieces), what) for pieces in _fields(file, what)]
        except codes.CodesInternalError as error:
            raise _unreadable(what, error) from error
    if not found:
        raise DataError(what, found="no messages", expected="at least one", todo="check that it is GRIB")
    return found


def values(message: Message) -> np.ndarray:
    """The field (y, x) float32, rows as the file has them, NaN where it is missing."""
    with _opened(message) as (codes, handle, get, what):
        if get("bitmapPresent", int, 0):
            codes.codes_set(handle, "missingValue", _MISSING)
        ny, nx = shape_of(get, what)
        if (count := codes.codes_get_size(handle, "values")) != ny * nx:  # before room is made for them
            raise DataError(what, found=f"{count} values", expected=f"{ny} x {nx}", todo="check where it is from")
        field = laid_out(codes.codes_get_array(handle, "values"), get, what)
        least = _local(get)[2]
    return np.where((field == _MISSING) | (field < least), np.nan, field).astype(np.float32)


def cells(message: Message) -> tuple[dict[str, xr.Variable], dict]:
    """Coordinates of the rows and columns as `values` has them, and attributes that tell of the grid."""
    with _opened(message) as (codes, handle, get, what):
        found = coordinates_of(get, partial(codes.codes_get_array, handle), what)
        attrs = {"grid": get("gridType", str, "")}
        if get("uvRelativeToGrid", int, 0):
            attrs["winds"] = "along the axes of the grid"
        if "y" in found:
            attrs["crs_wkt"] = pyproj.CRS(get("projString", str, "")).to_wkt()
    return found, attrs


def alike(one: Message, other: Message) -> bool:
    """Whether two fields have the same values, but for packing."""
    allowed = one.noise + other.noise
    return np.allclose(values(one), values(other), rtol=1e-6, atol=allowed, equal_nan=True)


@contextmanager
def _opened(message: Message):
    """ecCodes, the handle of a field, `get(key, kind, otherwise)` for its keys, and what to call the file."""
    what = f"GRIB file {message.path.name}"
    codes = _eccodes(what)
    with message.path.open("rb") as file:
        raw = _bytes(file, message.pieces)
    try:
        handle = codes.codes_new_from_message(raw)
        try:
            yield codes, handle, partial(_get, codes, handle), what
        finally:
            codes.codes_release(handle)
    except codes.CodesInternalError as error:
        raise _unreadable(what, error) from error


@lru_cache(1)
def _loaded():
    import eccodes

    return eccodes


def _eccodes(what: str):
    try:
        return _loaded()
    except (ImportError, RuntimeError) as error:  # RuntimeError: the module is there, the library is not
        expected, todo = "ecCodes, the extra `grib`", 'pip install "labkit[grib]"'
        raise DataError(what, found=f"no reader ({error})", expected=expected, todo=todo) from error


def _unreadable(what: str, error: Exception) -> DataError:
    found = f"something that does not open ({type(error).__name__}: {error})"
    return DataError(what, found=found, expected="whole GRIB messages", todo="check where it is from")


def _bytes(file, pieces: tuple[Piece, ...]) -> bytes:
    """One message of the pieces of a file; the first, which says how long the whole is, is put right."""
    parts = []
    for offset, length in pieces:
        file.seek(offset)
        parts.append(file.read(length))
    if parts[0][7] == 2:
        parts[0] = parts[0][:8] + sum(map(len, parts)).to_bytes(8, "big")
    return b"".join(parts)


def _fields(file, what: str) -> Iterator[tuple[Piece, ...]]:
    """The pieces of each field: a message of edition 2 may hold several, which share its first sections."""
    position, size = 0, file.seek(0, 2)
    while (start := _next(file, position)) is not None:
        file.seek(start)
        head = file.read(16)
        if len(head) < 16 or head[7] not in (1, 2):
            raise DataError(what, found="a cut end or another edition", expected="GRIB 1 or 2", todo="copy it again")
        single = None if head[7] == 2 else _edition_1(file, start, what)
        length = int.from_bytes(head[8:16], "big") if single is None else single[0]
        file.seek(min(start + max(length, 16) - 4, size))
        if length < 16 or file.read(4) != b"7777":
            raise DataError(what, found="a cut end", expected="the 7777 that ends GRIB", todo="copy the whole file")
        yield from _sections(file, start, length, what) if single is None else [single[1]]
        position = start + length


def _next(file, position: int) -> int | None:
    """Where the next message begins; between two there may be padding or headers of a telegram."""
    while True:
        file.seek(position)
        block = file.read(65536)
        if (at := block.find(b"GRIB")) >= 0:
            return position + at
        if len(block) < 65536:
            return None
        position += 65533


def _edition_1(file, start: int, what: str) -> tuple[int, tuple[Piece, ...]]:
    """Length of a message, and its pieces: start, product, grid and bitmap where it has them, data, end.

    Lengths have three bytes; a message above 8 MB counts 120s of bytes, less what its data section says (as ECMWF
    does). ecCodes trusts them, and may crash where they are wrong.
    """

    def three(at: int) -> int:
        file.seek(at)
        return int.from_bytes(file.read(3), "big")

    length, at = three(start + 4), start + 8
    file.seek(at + 7)
    flags = (file.read(1) or b"\0")[0]
    sizes = [8]
    for present in (True, bool(flags & 0x80), bool(flags & 0x40)):
        size = three(at) if present else 0
        sizes.append(size)
        at += size
    data = three(at)
    if length & 0x800000 and data < 120:
        length = (length & 0x7FFFFF) * 120 - data + 4
        data = length - sum(sizes) - 4
    if sum(sizes) + data + 4 != length or sizes[1] < 28 or (flags & 0x80 and sizes[2] < 32):
        raise _misfit(what)
    offsets = np.cumsum([start, *sizes, data])
    return length, tuple((int(at), size) for at, size in zip(offsets, (*sizes, data, 4), strict=True))


def _misfit(what: str) -> DataError:
    return DataError(what, found="sections that do not fit", expected="whole messages", todo="copy it again")


def _sections(file, start: int, length: int, what: str) -> Iterator[tuple[Piece, ...]]:
    """Fields of a message of edition 2: each ends with a section 7 and takes along what came last of the others."""
    held: dict[int, Piece] = {0: (start, 16)}
    bitmap, at, end = (0, 0), start + 16, (start + length - 4, 4)
    while at < end[0]:
        file.seek(at)
        head = file.read(6)
        size, number = int.from_bytes(head[:4], "big"), head[4]
        if size < 5 or not 1 <= number <= 7 or at + size > end[0]:
            raise _misfit(what)
        held[number] = (at, size)
        if number == 6:
            # 254: the bitmap of the field before
            held[6] = bitmap if head[5] == 254 and bitmap[1] else held[6]
            bitmap = held[6] if head[5] != 255 else bitmap
        if number == 7:
            yield (*(held[k] for k in sorted(held)), end)
        at += size


def _message(codes, path: Path, pieces: tuple[Piece, ...], raw: bytes, what: str) -> Message:
    handle = codes.codes_new_from_message(raw)
    get = partial(_get, codes, handle)
    name, units, _ = _local(get)
    start, end = _steps(get, what)
    found = Message(
        path=path,
        pieces=pieces,
        name=name + _product(get),
        units=units if get("probabilityType", int, None) is None else "%",
        step_type=get("stepType", str, "instant"),
        level_type=get("typeOfLevel", str, "unknown"),
        level=get("level", float, 0.0),
        number=_number(get),
        base=_date(get("dataDate", int, 0), get("dataTime", int, 0), get("second", int, 0), what),
        start=start,
        end=end,
        grid=_fingerprint(raw, pieces),
        shape=(get("Nj", int, 0), get("Ni", int, 0)),
        noise=_noise(get),
        origin=tuple(get(key, str, "") for key in ("centre", "class", "stream")),
    )
    codes.codes_release(handle)
    return found


def _fingerprint(raw: bytes, pieces: tuple[Piece, ...]) -> str:
    """Of the bytes that tell the grid: section 2 of edition 1; section 3 of edition 2, before the last five."""
    sizes = [size for _, size in pieces]
    section = 2 if raw[7] == 1 else len(sizes) - 6
    start = sum(sizes[:section])
    return hashlib.md5(raw[start : start + sizes[section]], usedforsecurity=False).hexdigest()


def _get(codes, handle, key: str, kind: type, otherwise):
    """A key's value, or `otherwise` where the message has no such key."""
    if not codes.codes_is_defined(handle, key) or codes.codes_is_missing(handle, key):
        return otherwise
    return codes.codes_get(handle, key, kind)


def _number(get) -> int | None:
    """The member's number; a field of edition 1 that counts no members has none, whatever is in its place."""
    number = get("perturbationNumber", int, None)
    return None if number is not None and get("edition", int, 2) == 1 and not get("totalNumber", int, 0) else number


def _noise(get) -> float:
    """The most by which packing changes a value; complex packing tells it by its scales only."""
    error = get("packingError", float, None)
    if error is not None or not get("bitsPerValue", int, 0):
        return error or 0.0
    return 0.5 * 2.0 ** get("binaryScaleFactor", int, 0) * 10.0 ** -get("decimalScaleFactor", int, 0)


def _local(get) -> tuple[str, str, float]:
    """Name, unit and least true value."""
    short, theirs = get("shortName", str, "unknown"), get("cfVarName", str, "unknown")
    if short in ("unknown", "~"):
        keys = ("discipline", "parameterCategory", "parameterNumber")
        if get("edition", int, 2) == 1:
            keys = ("table2Version", "indicatorOfParameter")
        numbers = tuple(get(key, int, -1) for key in ("centre", *keys))
        return _LOCAL.get(numbers, ("parameter_" + "_".join(map(str, numbers)), "", -np.inf))
    return canonical(short) if canonical(short) != short else canonical(theirs), get("units", str, ""), -np.inf


def _product(get) -> str:
    """What sets means, percentiles and probabilities of an ensemble apart from a member: "_percentile90"."""
    key = _PRODUCTS.get(get("productDefinitionTemplateNumber", int, -1))
    if key is None:
        return ""
    limits = [get(f"{side}Limit", float, None) for side in ("lower", "upper")] if key == "probabilityType" else []
    parts = [f"{get(key, int, 0)}", *(f"{limit:g}" for limit in limits if limit is not None)]
    return f"_{_PRODUCT_NAMES[key]}" + "_".join(parts)


def _date(date: int, clock: int, seconds: int, what: str) -> np.datetime64:
    text = f"{date:08d}"
    try:
        day = np.datetime64(f"{text[:4]}-{text[4:6]}-{text[6:]}", "ns")
    except ValueError as error:
        raise DataError(what, found=f"date {date}", expected="a day of the calendar", todo="check the file") from error
    return day + np.timedelta64(3600 * (clock // 100) + 60 * (clock % 100) + seconds, "s")


def _steps(get, what: str) -> tuple[int, int]:
    """Start and end of the interval in seconds from the base, equal where there is none."""
    text = get("stepRange", str, "")
    match = _RANGE.fullmatch(text)
    if match is None:
        raise DataError(what, found=f"a step of {text!r}", expected="one such as 6 or 0-6", todo="check the file")
    unit = {0: "m", 1: "h", 2: "D", 13: "s"}.get(get("stepUnits", int, 1), "h")
    first, first_unit, last, last_unit = match.groups()
    start = int(first) * _SECONDS[first_unit or last_unit or unit]
    return start, start if last is None else int(last) * _SECONDS[last_unit or first_unit or unit]
