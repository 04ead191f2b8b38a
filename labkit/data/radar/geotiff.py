"""Radar composites in GeoTIFF, through rasterio (the extra `radar`)."""

from __future__ import annotations

import warnings
from datetime import datetime
from pathlib import Path

import numpy as np
import pyproj

from labkit.data.radar.composites import (
    Coding,
    Composite,
    quantity_of,
    time_in_name,
    unknown_quantity,
)
from labkit.errors import DataError
from labkit.sphere import KM_PER_DEGREE
from labkit.units import factor_and_offset
from labkit.variables import lookup


def tiff_composites(path: Path, told: Coding) -> list[Composite]:
    """The one frame in the first band of a file: unit, scale and offset of the band, its `nodata`, and its time by the
    tag DateTime or the file's name. DataError without rasterio, for turned grids and where no unit is given or told."""
    what = f"radar file {path.name}"
    try:
        place, unit, scaling, stamp = _header(path, what)
    except (ValueError, pyproj.exceptions.ProjError) as error:  # texts and projections that cannot be read
        raise DataError(
            what, found=f"a spoilt header ({error})", expected="a whole file", todo="copy it again"
        ) from error
    quantity = told.quantity or quantity_of(unit)
    if quantity is None:
        raise unknown_quantity(what, unit)
    scale, offset, nodata, undetect = scaling
    factor, zero = factor_and_offset(unit, lookup(quantity)) or (1.0, 0.0)
    coding = told.over(Coding(quantity, factor * scale, factor * offset + zero, nodata, undetect))
    time = _time(stamp, path, what)
    return [Composite(what, time, quantity=quantity, read=_reader(path, coding, what), **place)]


def _header(path: Path, what: str) -> tuple[dict, str, tuple, str]:
    """Places of the cells, unit, scaling (scale, offset, nodata, undetect) and the tag of the time."""
    with _opened(path, what) as file:
        transform, tags = file.transform, file.tags() | file.tags(1)
        if transform.b or transform.d or not transform.a > 0 > transform.e or file.crs is None:
            found = "no map" if file.crs is None else "turned rows"
            raise DataError(what, found=found, expected="rows from the north on a map", todo="warp it first (gdalwarp)")
        crs = pyproj.CRS(file.crs.to_wkt())
        unit = (file.units[0] or tags.get("units") or "").strip()
        undetect = None if tags.get("undetect") is None else float(tags["undetect"])
        y, x = (
            origin + step * (np.arange(n) + 0.5)
            for origin, step, n in zip((transform.f, transform.c), (transform.e, transform.a), file.shape, strict=True)
        )
        scaling = (file.scales[0], file.offsets[0], file.nodata, undetect)
    if not crs.is_geographic and crs.axis_info[0].unit_name != "metre":
        found = f"a map in {crs.axis_info[0].unit_name}"
        raise DataError(what, found=found, expected="metres", todo="warp it first (gdalwarp -t_srs)")
    return _place(crs, y[::-1], x), unit, scaling, tags.get("TIFFTAG_DATETIME", "")


def _opened(path: Path, what: str):
    try:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
    except ImportError as error:
        expected, todo = "rasterio, the extra `radar`", 'pip install "labkit[radar]"'
        raise DataError(what, found=f"no reader ({error})", expected=expected, todo=todo) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # refused by the caller, in words
            return rasterio.open(path)
    except (RasterioIOError, UnicodeDecodeError) as error:
        raise DataError(
            what, found=f"a truncated or unreadable file ({error})", expected="a whole file", todo="copy it again"
        ) from error


def _reader(path: Path, coding: Coding, what: str):
    def read() -> np.ndarray:
        from rasterio.errors import RasterioIOError

        with _opened(path, what) as file:
            try:
                return coding.decoded(file.read(1)[::-1], what)
            except RasterioIOError as error:
                raise DataError(
                    what, found=f"a damaged image ({error})", expected="a whole file", todo="copy it again"
                ) from error

    return read


def _time(stamp: str, path: Path, what: str) -> np.datetime64:
    try:
        return np.datetime64(datetime.strptime(stamp.strip(), "%Y:%m:%d %H:%M:%S"), "ns")
    except ValueError:  # no such tag, or another use of it
        return time_in_name(path, what)


def _place(crs: pyproj.CRS, y: np.ndarray, x: np.ndarray) -> dict:
    if not crs.is_geographic:
        return {"y": y / 1000, "x": x / 1000, "crs": crs}
    east = KM_PER_DEGREE * np.cos(np.radians(y.mean())) * x
    return {"y": KM_PER_DEGREE * y, "x": east, "crs": None, "degrees": (y, x)}
