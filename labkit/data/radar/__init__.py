"""Real rain: composites of radar reflectivity and its area mean as a coarse model would give it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import xarray as xr

from labkit.data.pairs import Pairs, rain_from_reflectivity, reflectivity_from_rain
from labkit.data.parts import Samples, Times, first_and_last, part_of
from labkit.data.public import datasets, fetch
from labkit.data.radar.composites import RAIN, REFLECTIVITY, Coding, Composite
from labkit.data.radar.files import frames_in
from labkit.data.radar.pgm import EARTH_RADIUS_M
from labkit.data.regrid import block_mean
from labkit.errors import DataError
from labkit.variables import canonical

DATASET = "radar_fmi_20160928"
# Cells (y start, y stop, x start, x stop) of its whole domain: rainy in the west, dry in the east, seen by radar.
HELD_OUT = (256, 512, 320, 576)
VALIDATED = (512, 768, 320, 576)
Region = tuple[int, int, int, int]


def open_radar(
    folder: str | Path | None = None,
    *,
    factor: int = 16,
    region: Region | None = None,
    times: Times | None = None,
    samples: Samples | None = None,
    quantity: str | None = None,
    gain: float | None = None,
    offset: float | None = None,
    nodata: float | None = None,
    undetect: float | None = None,
) -> Pairs:
    """Radar composites as pairs; opening reads headers only, and one frame is one dask chunk.

    target: `reflectivity` in dBZ, at least 0, NaN where no radar sees; of rain rates by Marshall and Palmer (1948)
    input:  `tp`, the mean rain rate (mm/h) over the observed cells of factor x factor cells: rain is averaged, not
            dBZ; NaN where none is observed; and `observed`, the fraction of cells observed
    invariant: `radar_distance` in km to the nearest radar, where the files name them

    `x`, `y` are km on the map of the composites, y northwards. `folder` holds the files: FMI's PGM, ODIM or KNMI
    HDF5, GeoTIFF, or GRIB as MRMS writes it (default: the public sequence of 28 September 2016). `region` is (y start,
    y stop, x start, x stop) in fine cells of the domain, which is the middle of the image cropped to whole coarse
    cells; `times` the first and last, inclusive, `samples` positions among these. What a file does not say, or says
    wrongly: `quantity` ("reflectivity" or "tp"), whose value is gain x number + offset, `nodata` for what no radar
    sees, `undetect` for no rain.
    """
    coding = _checked_coding(quantity, gain, offset, nodata, undetect)
    frames = frames_in(
        Path(folder) if folder else fetch(DATASET), coding, None if times is None else first_and_last(times)
    )
    rows, columns = (_middle(n, factor) for n in frames[0].shape)
    images = da.stack([_lazy_image(frame)[rows, columns] for frame in frames])
    stamps = np.array([frame.time for frame in frames], "datetime64[ns]")
    pairs = _pairs(images, frames[0].quantity, stamps, _geography(frames[0], rows, columns), factor)
    pairs = replace(pairs if region is None else window(pairs, region), attrs=_attributes(frames[0], folder))
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


def split_radar(pairs: Pairs, *, last: int = 8, region: Region | None = HELD_OUT) -> tuple[Pairs, Pairs]:
    """Training and test pairs that share neither a time nor, with a `region`, a place.

    test:  the last `last` frames within `region`
    train: the frames before, with the region taken out: there the target and `tp` are NaN and `observed` 0
    """
    if not 0 < last < len(pairs):
        raise DataError(
            "radar split",
            found=f"{last} of {len(pairs)} frames for the test",
            expected="at least one frame on each side",
            todo="open more frames or hold out fewer",
        )
    before, after = pairs.isel(slice(0, len(pairs) - last)), pairs.isel(slice(len(pairs) - last, None))
    return (before, after) if region is None else (_without(before, region), window(after, region))


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


def _checked_coding(quantity, gain, offset, nodata, undetect) -> Coding:
    if quantity is not None and canonical(quantity) not in (REFLECTIVITY, RAIN):
        raise DataError(
            "quantity of radar composites",
            found=quantity,
            expected=f"{REFLECTIVITY} or {RAIN}",
            todo="say which of the two the numbers are",
        )
    return Coding(quantity and canonical(quantity), gain, offset, nodata, undetect)


def _middle(n: int, factor: int) -> slice:
    """The middle part of n cells that is whole coarse cells."""
    if n < factor:
        raise DataError("radar grid", found=f"{n} cells", expected=f"at least {factor}", todo="choose a smaller factor")
    return slice((n % factor) // 2, (n % factor) // 2 + n // factor * factor)


def _lazy_image(frame: Composite) -> da.Array:
    return da.from_delayed(dask.delayed(read_frame, pure=True)(frame), frame.shape, np.float32)


def read_frame(frame: Composite) -> np.ndarray:
    """The values (y, x) of a frame."""
    return frame.read()


def coarse_rain(rain: np.ndarray, factor: int) -> np.ndarray:
    """Rain rates (time, y, x) -> (time, 2, y_in, x_in) float32: mean of the observed cells, fraction observed."""
    observed = block_mean(np.isfinite(rain).astype(np.float32), factor)
    return np.stack([block_mean(rain, factor), observed], axis=1).astype(np.float32)


def _pairs(images: da.Array, quantity: str, stamps: np.ndarray, geography: dict, factor: int) -> Pairs:
    _, ny, nx = images.shape
    options = {"dtype": np.float32, "meta": np.empty((0, 0, 0), np.float32)}
    rain = images if quantity == RAIN else images.map_blocks(_single, rain_from_reflectivity, **options)
    echo = images if quantity == REFLECTIVITY else images.map_blocks(_single, reflectivity_from_rain, **options)
    coarse = rain.map_blocks(
        coarse_rain,
        factor,
        dtype=np.float32,
        new_axis=1,
        chunks=(images.chunks[0], (2,), (ny // factor,), (nx // factor,)),
        meta=np.empty((0, 0, 0, 0), np.float32),
    )
    statics = {name: geography.pop(name) for name in ("radar_distance",) if name in geography}
    in_coordinates = {f"{axis}_in": block_mean(geography[axis][None], (1, factor))[0] for axis in ("y", "x")}
    fixed = np.stack(list(statics.values())) if statics else np.empty((0, ny, nx), np.float32)
    return Pairs(
        input=xr.DataArray(
            coarse,
            dims=("time", "channel", "y_in", "x_in"),
            coords={"time": stamps, "channel": ["tp", "observed"], **in_coordinates},
            name="input",
        ),
        target=xr.DataArray(
            echo[:, None],
            dims=("time", "channel", "y", "x"),
            coords={"time": stamps, "channel": [REFLECTIVITY], **geography},
            name="target",
        ),
        invariant=xr.DataArray(
            fixed,
            dims=("channel", "y", "x"),
            coords={"channel": np.array(list(statics), "U16"), **geography},
            name="invariant",
        ),
        mask=xr.DataArray(
            da.isfinite(images), dims=("time", "y", "x"), coords={"time": stamps, **geography}, name="mask"
        ),
    )


def _single(values: np.ndarray, function) -> np.ndarray:
    return function(values).astype(np.float32)


def _geography(frame: Composite, rows: slice, columns: slice) -> dict:
    """`y`, `x` in km, `lat`, `lon` (y, x) in degrees and, where radars are named, `radar_distance` (y, x) in km."""
    lat, lon = (part[rows, columns] for part in frame.latitude_longitude())
    found = {
        "y": frame.y[rows],
        "x": frame.x[columns],
        "lat": (("y", "x"), lat.astype(np.float32)),
        "lon": (("y", "x"), lon.astype(np.float32)),
    }
    return found | ({"radar_distance": _nearest_radar_km(lon, lat, frame.radars)} if frame.radars else {})


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


def _attributes(frame: Composite, folder: str | Path | None) -> dict:
    attrs = {"source": "radar composite", "missing_input": "mean"}
    attrs |= {} if frame.crs is None else {"crs_wkt": frame.crs.to_wkt()}
    if folder is None:
        public = datasets()[DATASET]
        attrs |= {"title": public.title, "source": public.producer, "licence": public.licence}
        attrs["citation"] = public.citation
    return attrs
