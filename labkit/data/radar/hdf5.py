"""Radar composites in HDF5 (the extra `radar`): EUMETNET's ODIM, and KNMI's own.

ODIM: Michelson et al., EUMETNET OPERA weather radar information model for implementation with the HDF5 file format.
KNMI: Roozekrans and Holleman, KNMI HDF5 data format specification.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import numpy as np
import pyproj

from labkit.data.radar.composites import RAIN, REFLECTIVITY, Coding, Composite, axes_between, unknown_quantity
from labkit.errors import DataError

# Preferred first; ACRR is an amount within the time that the file tells.
_QUANTITIES = {"DBZH": REFLECTIVITY, "DBZ": REFLECTIVITY, "RATE": RAIN, "ACRR": RAIN, "TH": REFLECTIVITY}
_KNMI_FORMULA = re.compile(r"GEO\s*=\s*([-+.\deE]+)\s*\*\s*PV\s*\+\s*([-+.\deE]+)")


def hdf5_composites(path: Path, told: Coding) -> list[Composite]:
    """The one frame of an ODIM or KNMI file; DataError for another HDF5 file, and without h5py."""
    what = f"radar file {path.name}"
    with _opened(path, what) as file:
        try:
            if "geographic" in file and "image1" in file:
                return [_knmi(path, file, told, what)]
            if _text(_attr(file, "what", "object")) in ("COMP", "IMAGE", "CVOL"):
                return [_odim(path, file, told, what)]
            found = ", ".join(map(str, file)) or "nothing"
        except (KeyError, ValueError, TypeError, RuntimeError, OSError, pyproj.exceptions.ProjError) as error:
            raise DataError(
                what,
                found=f"a header without a proper {error.args[0] if error.args else error}",
                expected="projection, corners, time and scaling",
                todo="check that the file is whole",
            ) from error
    raise DataError(
        what,
        found=f"HDF5 with {found}",
        expected="a composite of ODIM (what/object COMP) or of KNMI (geographic, image1)",
        todo="composite polar volumes first (wradlib, BALTRAD), or open NetCDF with data files input=... target=...",
    )


def _opened(path: Path, what: str):
    try:
        import h5py
    except ImportError as error:
        expected, todo = "h5py, the extra `radar`", 'pip install "labkit[radar]"'
        raise DataError(what, found=f"no reader ({error})", expected=expected, todo=todo) from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(
            what, found=f"a truncated or unreadable file ({error})", expected="a whole file", todo="copy it again"
        ) from error


def _odim(path: Path, file, told: Coding, what: str) -> Composite:
    place, (name, group) = file["where"].attrs, _chosen(file, what)

    def known(key: str):
        """An attribute of the data, or of the levels above that hold for it."""
        for level in (name, name.rsplit("/", 1)[0], ""):
            if (value := _attr(file, f"{level}/what".strip("/"), key)) is not None:
                return value
        return None

    kind = _text(known("quantity"))
    scale = 1.0 if kind != "ACRR" else 1 / _odim_hours(known, what)
    numbers = {
        key: None if known(key) is None else float(known(key)) for key in ("gain", "offset", "nodata", "undetect")
    }
    gain, offset = numbers["gain"] or 1.0, numbers["offset"] or 0.0
    coding = told.over(Coding(_QUANTITIES[kind], scale * gain, scale * offset, numbers["nodata"], numbers["undetect"]))
    shape = tuple(int(place[key]) for key in ("ysize", "xsize"))
    crs = pyproj.CRS(_text(place["projdef"]))
    corners = _corners(crs, [(place[f"{c}_lon"], place[f"{c}_lat"]) for c in ("LL", "UR")])
    pixel = float(place["yscale"]), float(place["xscale"])
    _check_shape(group["data"].shape, shape, what)
    y, x = axes_between(corners, shape, pixel, what)
    time = _odim_time(_attr(file, "what", "date"), _attr(file, "what", "time"))
    return Composite(what, time, y / 1000, x / 1000, crs, coding.quantity, _reader(path, f"{name}/data", coding, what))


def _chosen(file, what: str):
    """Name and group of the data of the quantity that is preferred."""
    found = {}
    for dataset in sorted(key for key in file if key.startswith("dataset")):
        for data in sorted(key for key in file[dataset] if key.startswith("data")):
            name = f"{dataset}/{data}"
            quantity = _attr(file, f"{name}/what", "quantity") or _attr(file, f"{dataset}/what", "quantity")
            found.setdefault(_text(quantity), (name, file[name]))
    kind = next((kind for kind in _QUANTITIES if kind in found), None)
    if kind is None:
        raise unknown_quantity(what, ", ".join(found))
    return found[kind]


def _odim_hours(known, what: str) -> float:
    start, end = (_odim_time(known(f"{part}date"), known(f"{part}time")) for part in ("start", "end"))
    return _hours(start, end, what)


def _hours(start: np.datetime64, end: np.datetime64, what: str) -> float:
    hours = (end - start) / np.timedelta64(1, "h")
    if not hours > 0:
        raise DataError(
            what,
            found=f"an amount of rain that fell from {start} to {end}",
            expected="an interval",
            todo="say how many mm/h one is: gain=12 for amounts of five minutes in mm",
        )
    return float(hours)


def _odim_time(date, time) -> np.datetime64:
    return np.datetime64(datetime.strptime(_text(date) + _text(time).ljust(6, "0")[:6], "%Y%m%d%H%M%S"), "ns")


def _knmi(path: Path, file, told: Coding, what: str) -> Composite:
    place, calibration = file["geographic"].attrs, file["image1/calibration"].attrs
    formula = _KNMI_FORMULA.search(_text(calibration["calibration_formulas"]))
    if formula is None:
        raise ValueError("calibration_formulas")
    start, end = (_knmi_time(_attr(file, "overview", f"product_datetime_{part}")) for part in ("start", "end"))
    said = _text(_attr(file, "image1", "image_geo_parameter")).upper()
    quantity = (
        REFLECTIVITY if "REFLECT" in said or "DBZ" in said else RAIN if "MM" in said or "PRECIP" in said else None
    )
    if (told.quantity or quantity) is None:
        raise unknown_quantity(what, said)
    rate = quantity != RAIN or "MM/H" in said or "INTENSITY" in said
    scale = 1.0 if rate or told.gain is not None else 1 / _hours(start, end, what)
    # a number of 0 is the least of the scale, no echo, also in files that call it missing
    absent = [_number(calibration.get(f"calibration_{key}")) for key in ("out_of_image", "missing_data")]
    nodata = next((number for number in absent if number), None)
    coding = told.over(Coding(quantity, scale * float(formula[1]), scale * float(formula[2]), nodata))
    shape = file["image1/image_data"].shape
    crs = pyproj.CRS(_in_metres(_text(_attr(file, "geographic/map_projection", "projection_proj4_params"))))
    pairs = np.asarray(place["geo_product_corners"], float).reshape(4, 2)  # from the lower left, clockwise
    pixel = [1000 * abs(_number(place[f"geo_pixel_size_{axis}"])) for axis in ("y", "x")]
    y, x = axes_between(_corners(crs, pairs[[0, 2]]), shape, pixel, what)
    reader = _reader(path, "image1/image_data", coding, what)
    return Composite(what, end, y / 1000, x / 1000, crs, coding.quantity, reader)


def _knmi_time(text) -> np.datetime64:
    return np.datetime64(datetime.strptime(_text(text).split(".")[0], "%d-%b-%Y;%H:%M:%S"), "ns")


def _in_metres(proj: str) -> str:
    """A projection on an Earth whose radii are in km as one in metres."""

    def metres(match: re.Match) -> str:
        value = float(match[2])
        return f"+{match[1]}={1000 * value if value < 10_000 else value}"

    return re.sub(r"\+(a|b|R)=([\d.]+)", metres, proj)


def _corners(crs: pyproj.CRS, ends) -> tuple[float, float, float, float]:
    """West, south, east, north on the map of the lower left and the upper right corner in degrees."""
    if crs.is_geographic:
        raise ValueError("projection on a map (degrees were found)")
    project = pyproj.Proj(crs)
    (west, south), (east, north) = (project(float(lon), float(lat)) for lon, lat in ends)
    return west, south, east, north


def _reader(path: Path, name: str, coding: Coding, what: str):
    """A function that reads the image: its first row is the north."""

    def read() -> np.ndarray:
        with _opened(path, what) as file:
            try:
                return coding.decoded(np.asarray(file[name])[::-1], what)
            except (OSError, RuntimeError, KeyError) as error:
                raise DataError(
                    what, found=f"a damaged image ({error})", expected="a whole file", todo="copy it again"
                ) from error

    return read


def _check_shape(found: tuple, expected: tuple, what: str) -> None:
    if found != expected:
        raise DataError(what, found=f"an image of {found}", expected=f"{expected}, as its header says", todo="check it")


def _attr(file, group: str, key: str):
    return file[group].attrs.get(key) if group in file else None


def _number(value) -> float | None:
    return None if value is None else float(np.ravel(value)[0])


def _text(value) -> str:
    value = np.ravel(value)[0] if isinstance(value, np.ndarray) and value.size else value
    return value.decode("latin-1").strip("\0 ") if isinstance(value, bytes) else "" if value is None else str(value)
