"""Small radar composites in the formats of their producers, all of one scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import pytest

PROJ = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=10 +R=6370000"
SOUTH_WEST_M = (-300_000.0, -4_000_000.0)  # x, y of the outer corner
NODATA, UNDETECT, GAIN, OFFSET = 255, 0, 0.5, -32.0


def h5py():
    return pytest.importorskip("h5py", reason='h5py is not installed: pip install "labkit[radar]"')


def rasterio():
    return pytest.importorskip("rasterio", reason='rasterio is not installed: pip install "labkit[radar]"')


def scene(shape=(32, 24), seed=0) -> np.ndarray:
    """Numbers (y, x) uint8 with row 0 the north: half undetected, some unseen, else -32 to 60 dBZ."""
    rng = np.random.default_rng(seed)
    numbers = np.where(rng.random(shape) < 0.5, UNDETECT, rng.integers(1, 185, shape))
    return np.where(rng.random(shape) < 0.05, NODATA, numbers).astype(np.uint8)


def corners(shape, metres=1000.0, proj=PROJ):
    """(lon, lat) of the outer lower left and upper right corner."""
    west, south = SOUTH_WEST_M
    to_degrees = pyproj.Proj(proj)
    return [
        to_degrees(x, y, inverse=True)
        for x, y in ((west, south), (west + metres * shape[1], south + metres * shape[0]))
    ]


def write_odim(folder: Path, numbers, time="202006011200", quantity="DBZH", **what) -> Path:
    """EUMETNET's composite; `what` goes over the attributes of the data."""
    path = folder / f"T_PAAH21_C_EUOC_{time}.h5"
    (west, south), (east, north) = corners(numbers.shape)
    where = {
        "projdef": np.bytes_(PROJ), "xsize": numbers.shape[1], "ysize": numbers.shape[0], "xscale": 1000.0,
        "yscale": 1000.0, "LL_lon": west, "LL_lat": south, "UR_lon": east, "UR_lat": north,
    }  # fmt: skip
    start = str(np.datetime64(f"{time[:4]}-{time[4:6]}-{time[6:8]}T{time[8:10]}:{time[10:]}") - np.timedelta64(5, "m"))
    digits = start.replace("-", "").replace(":", "").replace("T", "")
    about = {
        "startdate": np.bytes_(digits[:8]), "starttime": np.bytes_(digits[8:] + "00"),
        "enddate": np.bytes_(time[:8]), "endtime": np.bytes_(time[8:] + "00"),
    }  # fmt: skip
    coding = {"quantity": np.bytes_(quantity), "gain": GAIN, "offset": OFFSET, "nodata": 255.0, "undetect": 0.0} | what
    with h5py().File(path, "w") as file:
        file.attrs["Conventions"] = np.bytes_("ODIM_H5/V2_2")
        file.create_group("what").attrs.update(
            {"object": np.bytes_("COMP"), "date": np.bytes_(time[:8]), "time": np.bytes_(time[8:] + "00")}
        )
        file.create_group("where").attrs.update(where)
        file.create_group("dataset1/what").attrs.update(about)
        file.create_dataset("dataset1/data1/data", data=numbers, compression="gzip")
        file.create_group("dataset1/data1/what").attrs.update(coding)
    return path


def write_knmi(folder: Path, numbers, time="202006011200", *, what="REFLECTIVITY_[DBZ]", gain=GAIN, offset=OFFSET):
    """KNMI's composite, whose map counts in kilometres."""
    path = folder / f"RAD_NL25_PCP_NA_{time}.h5"
    proj = PROJ.replace("+R=6370000", "+a=6370.000 +b=6370.000 +x_0=0 +y_0=0")
    (west, south), (east, north) = corners(numbers.shape)
    (west_n, north_n), (east_s, south_s) = ((west, north), (east, south))  # only two of the four are read
    stamp = np.datetime64(f"{time[:4]}-{time[4:6]}-{time[6:8]}T{time[8:10]}:{time[10:]}").item()
    before = (np.datetime64(stamp) - np.timedelta64(5, "m")).item()
    with h5py().File(path, "w") as file:
        file.create_group("overview").attrs.update({
            "product_datetime_start": np.bytes_(before.strftime("%d-%b-%Y;%H:%M:%S.000").upper()),
            "product_datetime_end": np.bytes_(stamp.strftime("%d-%b-%Y;%H:%M:%S.000").upper()),
        })  # fmt: skip
        place = file.create_group("geographic")
        place.attrs.update({
            "geo_pixel_size_x": np.array([1.0], "f4"), "geo_pixel_size_y": np.array([-1.0], "f4"),
            "geo_product_corners": np.array([west, south, west_n, north_n, east, north, east_s, south_s]),
        })  # fmt: skip
        file.create_group("geographic/map_projection").attrs["projection_proj4_params"] = np.bytes_(proj)
        file.create_group("image1").attrs["image_geo_parameter"] = np.bytes_(what)
        file.create_dataset("image1/image_data", data=numbers)
        file.create_group("image1/calibration").attrs.update({
            "calibration_formulas": np.bytes_(f"GEO={gain:.6f}*PV+{offset:.6f}"),
            "calibration_missing_data": np.array([0]), "calibration_out_of_image": np.array([255]),
        })  # fmt: skip
    return path


def write_tiff(folder: Path, numbers, time="202006011200", *, units="dBZ", gain=GAIN, offset=OFFSET, crs=PROJ) -> Path:
    """A GeoTIFF of one band with scale, offset and unit."""
    path, library = folder / f"composite_{time}.tif", rasterio()
    x, y = SOUTH_WEST_M
    transform = library.transform.from_origin(x, y + 1000 * numbers.shape[0], 1000, 1000)
    options = {"driver": "GTiff", "count": 1, "dtype": numbers.dtype, "nodata": NODATA, "crs": crs}
    with library.open(
        path, "w", height=numbers.shape[0], width=numbers.shape[1], transform=transform, **options
    ) as file:
        file.write(numbers, 1)
        file.scales, file.offsets = (gain,), (offset,)
        if units:
            file.units = (units,)
    return path


WRITERS = {"ODIM": write_odim, "KNMI": write_knmi, "GeoTIFF": write_tiff}
