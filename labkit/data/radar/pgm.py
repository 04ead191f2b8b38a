"""Radar composites in the PGM files of the Finnish Meteorological Institute: header and image."""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyproj

from labkit.border import check_size, existing, reading
from labkit.errors import DataError

MISSING = 255
# The sphere of the institute's composites: with it the corners in the header lie whole numbers of pixels apart.
EARTH_RADIUS_M = 6_371_288.0
_HEADER_BYTES = 16_384
_SIZE = re.compile(rb"^(\d{1,9})\s+(\d{1,9})\s+(\d{1,9})\s", re.MULTILINE)


@dataclass(frozen=True)
class Header:
    """What a file says about its image: `shape` (y, x), time, pixel sizes in m, radars, projection, data offset.

    `corners` are (lon, lat) of the outer lower left and upper right corner; `radars` (name, lon, lat).
    """

    time: np.datetime64
    shape: tuple[int, int]
    pixel_m: tuple[float, float]
    radars: tuple[tuple[str, float, float], ...]
    central_longitude: float
    true_latitude: float
    corners: tuple[tuple[float, float], tuple[float, float]]
    offset: int

    @property
    def grid(self) -> tuple:
        """All that two files must share to lie on one grid."""
        return self.shape, self.pixel_m, self.central_longitude, self.true_latitude, self.corners

    @property
    def crs(self) -> pyproj.CRS:
        """Polar stereographic on the institute's sphere."""
        return pyproj.CRS.from_dict(
            {
                "proj": "stere",
                "lat_0": 90,
                "lat_ts": self.true_latitude,
                "lon_0": self.central_longitude,
                "R": EARTH_RADIUS_M,
            }
        )


def read_header(path: str | Path) -> Header:
    """Header of a PGM file, gzipped or not, without reading its image; raises DataError where it is no such file."""
    raw = _bytes(path, _HEADER_BYTES)
    size = _SIZE.search(raw)
    if not raw.startswith(b"P5") or size is None:
        raise _unreadable(path, "no PGM header", "a PGM image (P5)")
    if int(size[3]) != 255:
        raise _unreadable(path, f"a maximum of {int(size[3])}", "pixels of one byte (maximum 255)")
    shape = int(size[2]), int(size[1])
    check_size(path, _named(path), [(shape, 4, ())])
    try:
        fields, radars = _comments(raw[: size.start()].decode("latin-1"))
        return _header(fields, radars, shape, size.end())
    except (LookupError, ValueError) as error:
        raise _unreadable(path, f"a header without a proper {error.args[0]}", "time, pixel size, projection") from error


def read_image(path: str | Path, header: Header) -> np.ndarray:
    """Pixels (y, x) uint8 with y northwards: the file's first row, its north, comes last."""
    expected = header.shape[0] * header.shape[1]
    raw = _bytes(path, header.offset + expected)[header.offset :]
    if len(raw) < expected:
        raise _unreadable(path, f"{len(raw)} pixels", f"{expected} pixels")
    return np.frombuffer(raw, np.uint8, expected).reshape(header.shape)[::-1]


def cell_centres_m(header: Header) -> tuple[np.ndarray, np.ndarray]:
    """Projected coordinates (y, x) in m of the pixel centres, both increasing.

    Raises DataError where the corners and the pixel size contradict each other by more than a tenth of a pixel.
    """
    with reading("radar grid", expected="a polar stereographic map", todo="fetch the file again or leave it out"):
        project = pyproj.Proj(header.crs)
        (west, south), (east, north) = (project(*corner) for corner in header.corners)
        ny, nx = header.shape
        found = (north - south) / header.pixel_m[0], (east - west) / header.pixel_m[1]
    if not (abs(found[0] - ny) <= 0.1 and abs(found[1] - nx) <= 0.1):
        raise DataError(
            "radar grid",
            found=f"corners {found[0]:.2f} x {found[1]:.2f} pixels apart",
            expected=f"{ny} x {nx}",
            todo="use composites on the polar stereographic grid that their header describes",
        )
    return south + (np.arange(ny) + 0.5) * header.pixel_m[0], west + (np.arange(nx) + 0.5) * header.pixel_m[1]


def _bytes(path: str | Path, count: int) -> bytes:
    """The first bytes, unpacked; never more than asked for, whatever a gzip file unpacks to."""
    existing(path, _named(path))
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else open(path, "rb") as file:
            return file.read(count)
    except (EOFError, OSError, zlib.error) as error:
        raise _unreadable(path, f"a truncated or unreadable file ({error})", "a whole file") from error


def _comments(text: str) -> tuple[dict[str, list[str]], tuple]:
    """Fields by key, and the radars (name, lon, lat), of which there is one line each."""
    lines = [line[1:].split() for line in text.splitlines() if line.startswith("#")]
    radars = tuple((words[1], float(words[3]), float(words[4])) for words in lines if words[0:1] == ["radar"])
    return {words[0]: words[1:] for words in lines if words and words[0] != "radar"}, radars


def _header(fields: dict[str, list[str]], radars: tuple, shape: tuple[int, int], offset: int) -> Header:
    if (kind := fields["type"][0]) != "stereographic" or float(fields["centrallatitude"][0]) != 90:
        raise ValueError(f"polar stereographic projection (it names {kind})")
    if not radars:
        raise KeyError("radar position")
    lower_left, upper_right = (tuple(map(float, fields[key][:2])) for key in ("bottomleft", "topright"))
    return Header(
        time=np.datetime64(datetime.strptime(fields["obstime"][0], "%Y%m%d%H%M"), "ns"),
        shape=shape,
        pixel_m=(float(fields["metersperpixel_y"][0]), float(fields["metersperpixel_x"][0])),
        radars=radars,
        central_longitude=float(fields["centrallongitude"][0]),
        true_latitude=float(fields["truelatitude"][0]),
        corners=(lower_left, upper_right),
        offset=offset,
    )


def _unreadable(path: str | Path, found: str, expected: str) -> DataError:
    return DataError(_named(path), found=found, expected=expected, todo="fetch the file again or leave it out")


def _named(path: str | Path) -> str:
    return f"radar file {Path(path).name}"
