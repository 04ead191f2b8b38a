"""Real rain: composite radar reflectivity at 1 km and its area mean as a coarse model would give it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pyproj
import xarray as xr

from labkit.data.pairs import Pairs, rain_from_reflectivity
from labkit.data.parts import Samples, Times, first_and_last, part_of
from labkit.data.pgm import EARTH_RADIUS_M, MISSING, Header, cell_centres_m, read_header, read_image
from labkit.data.public import datasets, fetch
from labkit.data.regrid import block_mean
from labkit.errors import DataError

DATASET = "radar_fmi_20160928"
# Cells (y start, y stop, x start, x stop) of the whole domain: rainy in the west, dry in the east, seen by radar.
HELD_OUT = (256, 512, 320, 576)
Region = tuple[int, int, int, int]
# A pixel has 256 values, so that decoding is looking them up.
_DBZ = np.maximum((np.arange(256, dtype=np.float32) - 64) / 2, 0)
_DBZ[MISSING] = np.nan
_RAIN = rain_from_reflectivity(_DBZ).astype(np.float32)


def open_radar(
    folder: str | Path | None = None,
    *,
    factor: int = 16,
    region: Region | None = None,
    times: Times | None = None,
    samples: Samples | None = None,
) -> Pairs:
    """Radar composites as pairs; opening reads headers only, and one frame is one dask chunk.

    target: `reflectivity` in dBZ, at least 0, NaN where `mask` says that no radar sees
    input:  `tp`, the mean rain rate (mm/h) over the observed cells of factor x factor cells: rain is averaged, not
            dBZ; NaN where none is observed; and `observed`, the fraction of cells observed
    invariant: `radar_distance` in km to the nearest radar

    `x`, `y` are km on the polar stereographic map of the composites, y northwards. `folder` holds PGM files (default:
    the public sequence of 28 September 2016). `region` is (y start, y stop, x start, x stop) in fine cells of the
    domain, which is the middle of the image cropped to whole coarse cells; `times` the first and last, inclusive;
    `samples` positions among these.
    """
    paths, headers = _frames(Path(folder) if folder else fetch(DATASET), times)
    rows, columns = (_middle(n, factor) for n in headers[0].shape)
    pixels = da.stack([_lazy_image(path, header)[rows, columns] for path, header in zip(paths, headers, strict=True)])
    stamps = np.array([header.time for header in headers])
    pairs = _pairs(pixels, stamps, _geography(headers[0], rows, columns), factor)
    pairs = replace(pairs if region is None else window(pairs, region), attrs=_attributes(headers[0], folder))
    return part_of(pairs, samples=samples)


def window(pairs: Pairs, region: Region) -> Pairs:
    """The pairs within a box (y start, y stop, x start, x stop) of fine cells, which must be whole coarse cells."""
    y0, y1, x0, x1 = _checked(region, pairs)
    fy, fx = pairs.factor
    fine = {"y": slice(y0, y1), "x": slice(x0, x1)}
    coarse = {"y_in": slice(y0 // fy, y1 // fy), "x_in": slice(x0 // fx, x1 // fx)}
    return replace(
        pairs,
        input=pairs.input.isel(coarse),
        target=pairs.target.isel(fine),
        invariant=pairs.invariant.isel(fine),
        mask=None if pairs.mask is None else pairs.mask.isel(fine),
    )


def split_radar(pairs: Pairs, *, last: int = 8, region: Region = HELD_OUT) -> tuple[Pairs, Pairs]:
    """Training and test pairs that share neither a time nor a place.

    test:  the last `last` frames within `region`
    train: the frames before, with the region taken out: there the mask is False, `tp` NaN and `observed` 0
    """
    if not 0 < last < len(pairs):
        raise DataError(
            "radar split",
            found=f"{last} of {len(pairs)} frames for the test",
            expected="at least one frame on each side",
            todo="open more frames or hold out fewer",
        )
    test = window(pairs.isel(slice(len(pairs) - last, None)), region)
    return _without(pairs.isel(slice(0, len(pairs) - last)), region), test


def _without(pairs: Pairs, region: Region) -> Pairs:
    y0, y1, x0, x1 = _checked(region, pairs)
    fy, fx = pairs.factor
    fine = np.zeros(pairs.shape, bool)
    fine[y0:y1, x0:x1] = True
    coarse = fine[::fy, ::fx]
    hidden = xr.DataArray(np.where(np.array(pairs.input_channels) == "observed", 0, np.nan), dims="channel")
    return replace(
        pairs,
        input=pairs.input.where(~xr.DataArray(coarse, dims=("y_in", "x_in")), hidden.astype(np.float32)).astype("f4"),
        mask=pairs.mask & ~xr.DataArray(fine, dims=("y", "x")),
    )


def _frames(folder: Path, times: Times | None) -> tuple[list[Path], list[Header]]:
    """Files of one grid in order of time."""
    found = sorted([*folder.glob("*.pgm"), *folder.glob("*.pgm.gz")])
    frames = sorted(((read_header(path), path) for path in found), key=lambda frame: frame[0].time)
    if times is not None:
        first, last = first_and_last(times)
        frames = [frame for frame in frames if first <= frame[0].time <= last]
    if not frames:
        raise DataError(
            f"radar folder {folder.name}",
            found=f"{len(found)} PGM files, none of them in the time asked for",
            expected="files *.pgm or *.pgm.gz",
            todo="name a folder with composites, and times within them",
        )
    for header, path in frames:
        _check_grid(path, header, frames[0][0])
    return [path for _, path in frames], [header for header, _ in frames]


def _check_grid(path: Path, header: Header, first: Header) -> None:
    if header.grid != first.grid:
        raise DataError(
            f"radar file {path.name}",
            found=f"a grid of {header.shape[0]} x {header.shape[1]} pixels with corners {header.corners}",
            expected=f"that of the first file, {first.shape[0]} x {first.shape[1]} with corners {first.corners}",
            todo="open composites of one domain at a time",
        )


def _middle(n: int, factor: int) -> slice:
    """The middle part of n cells that is whole coarse cells."""
    if n < factor:
        raise DataError("radar grid", found=f"{n} cells", expected=f"at least {factor}", todo="choose a smaller factor")
    return slice((n % factor) // 2, (n % factor) // 2 + n // factor * factor)


def _lazy_image(path: Path, header: Header) -> da.Array:
    return da.from_delayed(dask.delayed(read_image, pure=True)(path, header), header.shape, np.uint8)


def reflectivity(pixels: np.ndarray) -> np.ndarray:
    """dBZ = (pixel - 64) / 2, at least 0, float32; NaN where the pixel is missing."""
    return _DBZ[pixels]


def coarse_rain(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Pixels (time, y, x) -> (time, 2, y_in, x_in) float32: mean rain rate of the observed cells, fraction observed."""
    rain = block_mean(_RAIN[pixels], factor)
    observed = block_mean((pixels != MISSING).astype(np.float32), factor)
    return np.stack([rain, observed], axis=1).astype(np.float32)


def _pairs(pixels: da.Array, stamps: np.ndarray, geography: dict, factor: int) -> Pairs:
    _, ny, nx = pixels.shape
    coarse = pixels.map_blocks(
        coarse_rain,
        factor,
        dtype=np.float32,
        new_axis=1,
        chunks=(pixels.chunks[0], (2,), (ny // factor,), (nx // factor,)),
        meta=np.empty((0, 0, 0, 0), np.float32),
    )
    fine = pixels.map_blocks(reflectivity, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))[:, None]
    distance = geography.pop("radar_distance")
    in_coordinates = {f"{axis}_in": block_mean(geography[axis][None], (1, factor))[0] for axis in ("y", "x")}
    return Pairs(
        input=xr.DataArray(
            coarse,
            dims=("time", "channel", "y_in", "x_in"),
            coords={"time": stamps, "channel": ["tp", "observed"], **in_coordinates},
            name="input",
        ),
        target=xr.DataArray(
            fine,
            dims=("time", "channel", "y", "x"),
            coords={"time": stamps, "channel": ["reflectivity"], **geography},
            name="target",
        ),
        invariant=xr.DataArray(
            distance[None],
            dims=("channel", "y", "x"),
            coords={"channel": ["radar_distance"], **geography},
            name="invariant",
        ),
        mask=xr.DataArray(
            pixels != MISSING, dims=("time", "y", "x"), coords={"time": stamps, **geography}, name="mask"
        ),
    )


def _geography(header: Header, rows: slice, columns: slice) -> dict:
    """`y`, `x` in km, `lat`, `lon` (y, x) in degrees and `radar_distance` (y, x) in km."""
    y, x = (axis[part] for axis, part in zip(cell_centres_m(header), (rows, columns), strict=True))
    lon, lat = pyproj.Proj(header.crs)(*np.meshgrid(x, y), inverse=True)
    return {
        "y": y / 1000,
        "x": x / 1000,
        "lat": (("y", "x"), lat.astype(np.float32)),
        "lon": (("y", "x"), lon.astype(np.float32)),
        "radar_distance": _nearest_radar_km(lon, lat, header.radars),
    }


def _nearest_radar_km(lon: np.ndarray, lat: np.ndarray, radars: tuple) -> np.ndarray:
    """Great-circle distance (y, x) float32 to the nearest radar."""
    _, radar_lon, radar_lat = zip(*radars, strict=True)
    cosine = (_unit_vectors(lon, lat) @ _unit_vectors(radar_lon, radar_lat).T).max(axis=-1)
    half_chord = np.sqrt(np.maximum(1 - cosine, 0) / 2)
    return (2 * EARTH_RADIUS_M / 1000 * np.arcsin(half_chord)).astype(np.float32)


def _unit_vectors(lon, lat) -> np.ndarray:
    lam, phi = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def _checked(region: Region, pairs: Pairs) -> Region:
    y0, y1, x0, x1 = region
    (ny, nx), (fy, fx) = pairs.shape, pairs.factor
    whole = not (y0 % fy or y1 % fy or x0 % fx or x1 % fx)
    if not (whole and 0 <= y0 < y1 <= ny and 0 <= x0 < x1 <= nx):
        raise DataError(
            "region",
            found=f"y {y0} to {y1}, x {x0} to {x1}",
            expected=f"multiples of {fy} x {fx} cells within {ny} x {nx}",
            todo="choose a box of whole coarse cells inside the domain",
        )
    return region


def _attributes(header: Header, folder: str | Path | None) -> dict:
    attrs = {"source": "radar composite", "crs_wkt": header.crs.to_wkt(), "missing_input": "mean"}
    if folder is None:
        public = datasets()[DATASET]
        attrs |= {"title": public.title, "source": public.producer, "licence": public.licence}
        attrs["citation"] = public.citation
    return attrs
