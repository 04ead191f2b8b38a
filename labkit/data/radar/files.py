"""The composites in a file or folder, of whatever format: PGM, ODIM and KNMI HDF5, GeoTIFF, GRIB."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from labkit.data.grib.messages import cells, read_messages, values
from labkit.data.intervals import millimetres
from labkit.data.radar import pgm
from labkit.data.radar.composites import REFLECTIVITY, Coding, Composite, quantity_of, unknown_quantity
from labkit.data.radar.geotiff import tiff_composites
from labkit.data.radar.hdf5 import hdf5_composites
from labkit.errors import DataError
from labkit.sphere import KM_PER_DEGREE, wrapped
from labkit.units import factor_and_offset
from labkit.variables import lookup

GZIP = b"\x1f\x8b"


def frames_in(folder: Path, told: Coding, times: tuple[np.datetime64, np.datetime64] | None = None) -> list[Composite]:
    """Composites of one grid in order of time, within the first and last of `times`; headers only are read.

    `folder` holds the files, also in folders of its own, or is one file. What is no composite is passed over. Raises
    DataError where there is none, for two of one time, and for several grids.
    """
    paths = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file() and p.name[0] != ".")
    found = sorted((one for path in paths for one in composites_of(path, told)), key=lambda one: one.time)
    frames = found
    if times is not None:
        frames = [frame for frame in found if times[0] <= frame.time <= times[1]]
    if not frames:
        images = sum(path.suffix == ".pgm" or path.name.endswith(".pgm.gz") for path in paths)
        raise DataError(
            f"radar folder {folder.name}",
            found=f"{images} PGM files and {len(found)} composites, none of them in the time asked for",
            expected="composites in PGM, ODIM or KNMI HDF5, GeoTIFF or GRIB",
            todo="name a folder with composites, and times within them",
        )
    for one, other in pairwise(frames):
        if one.time == other.time:
            raise DataError(
                f"radar folder {folder.name}",
                found=f"{one.what} and {other.what.removeprefix('radar file ')} of {str(one.time)[:16]}",
                expected="one composite for each time",
                todo="leave one product in the folder",
            )
    for one in frames:
        _check_grid(one, frames[0])
    return frames


def composites_of(path: Path, told: Coding) -> list[Composite]:
    """The frames of a file, none where it is no composite of a kind that is known; only headers are read."""
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(GZIP) and not path.name.endswith(".pgm.gz"):
        raise DataError(
            f"radar file {path.name}", found="a file packed by gzip", expected="one that is not", todo="gunzip it first"
        )
    kind = next((kind for start, kind in _STARTS.items() if head.startswith(start)), _SUFFIXES.get(path.suffix.lower()))
    return [] if kind is None else _READERS[kind](path, told)


def _check_grid(one: Composite, first: Composite) -> None:
    if one.grid != first.grid:
        raise DataError(
            one.what,
            found=f"a grid of {one.shape[0]} x {one.shape[1]} pixels with corners {one.grid[1]}",
            expected=f"that of the first file, {first.shape[0]} x {first.shape[1]} with corners {first.grid[1]}",
            todo="open composites of one domain at a time",
        )


def _pgm(path: Path, told: Coding) -> list[Composite]:
    header = pgm.read_header(path)
    y, x = pgm.cell_centres_m(header)
    own = Coding(REFLECTIVITY, 0.5, -32.0, pgm.MISSING)
    what = f"radar file {path.name}"

    def read() -> np.ndarray:
        return told.over(own).decoded(pgm.read_image(path, header), what)

    quantity = told.over(own).quantity
    return [Composite(what, header.time, y / 1000, x / 1000, header.crs, quantity, read, header.radars)]


def _grib(path: Path, told: Coding) -> list[Composite]:
    """MRMS and others along latitudes and longitudes."""
    return [one for message in read_messages(path) for one in _of_message(message, told)]


def _of_message(message, told: Coding) -> list[Composite]:
    what = f"radar file {message.path.name}"
    quantity = told.quantity or quantity_of(message.units)
    if quantity is None:
        amount = millimetres(message.units) is not None
        raise unknown_quantity(what, f"{message.name} in {message.units!r}" + (", an amount" if amount else ""))
    place, _ = cells(message)
    lat, lon = place["latitude"].values, place["longitude"].values
    if lat.ndim != 1:
        raise DataError(what, found="a grid on a map", expected="latitudes and longitudes", todo="regrid it first")
    lon = np.unwrap(wrapped(lon), period=360)
    rows = slice(None, None, 1 if lat[-1] > lat[0] else -1)
    factor, offset = factor_and_offset(message.units, lookup(quantity)) or (1.0, 0.0)
    coding = told.over(Coding(quantity, factor, offset))

    def read() -> np.ndarray:
        return coding.decoded(values(message)[rows], what)

    y = KM_PER_DEGREE * lat[rows]
    x = KM_PER_DEGREE * np.cos(np.radians(lat.mean())) * lon
    return [Composite(what, message.time, y, x, None, quantity, read, degrees=(lat[rows], lon))]


# A file is known by its first bytes; a spoilt one that is called like one of these is refused, not passed over.
_STARTS = {
    b"P5": "pgm",
    GZIP: "pgm",
    b"\x89HDF": "hdf5",
    b"GRIB": "grib",
    **dict.fromkeys((b"II*\x00", b"MM\x00*", b"II+\x00"), "tiff"),
}
_SUFFIXES = {".pgm": "pgm", ".h5": "hdf5", ".hdf": "hdf5", ".tif": "tiff", ".tiff": "tiff", ".grib2": "grib"}
_READERS = {"pgm": _pgm, "hdf5": hdf5_composites, "tiff": tiff_composites, "grib": _grib}
