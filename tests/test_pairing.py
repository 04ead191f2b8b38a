"""Pairs of any fields by one call, also of grids that do not nest: what is linear there is reproduced."""

import numpy as np
import pyproj
import pytest
import xarray as xr
from scipy.interpolate import RegularGridInterpolator
from test_files import fields, save
from test_wrf import wrfout

from labkit.cli import main
from labkit.data.files import open_files
from labkit.data.pairing import pairs_of
from labkit.data.triangles import regridded
from labkit.data.wrf import open_wrfout
from labkit.errors import DataError

HOURS = np.datetime64("2020-01-01", "ns") + np.arange(4) * np.timedelta64(1, "h")
LAMBERT = pyproj.CRS.from_proj4("+proj=lcc +lat_1=23 +lat_2=25 +lat_0=24 +lon_0=121 +R=6371000")


def on_plane(n, step, start, angle=0.0):
    """A grid (y, x) in km, and values 3 + 2 x - y there; turned, it has positions of two dimensions alone."""
    at = start + step * np.arange(n)
    return xr.Dataset(
        {"t2m": (("time", "y", "x"), 250 + 0.2 * at[None, None] - 0.1 * at[None, :, None] + np.zeros((4, 1, 1)))},
        coords={"time": HOURS, "y": ("y", at, {"units": "km"}), "x": ("x", at, {"units": "km"})},
    )


def on_globe(step, south, north, west, east, value):
    lat, lon = np.arange(south, north, step), np.arange(west, east, step)
    values = value(*np.meshgrid(lat, lon, indexing="ij")).astype(np.float32)
    return xr.Dataset(
        {"t2m": (("time", "lat", "lon"), np.stack([values + hour for hour in range(4)]), {"units": "K"})},
        coords={"time": HOURS, "lat": lat, "lon": lon},
    )


def lambert(n=24, step=3.0, middle=(0.0, 0.0)):
    """Fine cells (n, n) of a Lambert map, each with the temperature that `value` has there."""
    x, y = (at + step * (np.arange(n) - (n - 1) / 2) for at in middle)
    lon, lat = pyproj.Transformer.from_crs(LAMBERT, LAMBERT.geodetic_crs, always_xy=True).transform(
        *(1000 * part for part in np.meshgrid(x, y))
    )
    t2m = np.stack([value(lat, lon) + hour for hour in range(4)]).astype(np.float32)
    return xr.Dataset(
        {"t2m": (("time", "y", "x"), t2m, {"units": "K"})},
        coords={"time": HOURS, "lat": (("y", "x"), lat), "lon": (("y", "x"), lon)},
    )


def value(lat, lon):
    return 285 + 5 * np.sin(np.radians(6 * (lat - 20))) + 3 * np.cos(np.radians(5 * (lon - 118)))


def test_what_is_linear_on_the_plane_is_reproduced_wherever_the_cells_lie():
    fine = on_plane(24, 2.0, 10.0)
    pairs = pairs_of(on_plane(12, 7.3, 1.9), fine, factor=(3, 4))
    assert pairs.factor == (3, 4) and pairs.input.shape == (4, 1, 8, 6)
    expected = fine["t2m"].coarsen(y=3, x=4).mean().values
    np.testing.assert_allclose(pairs.input[:, 0], expected, atol=2e-4)
    assert "interpolated to cells of 6 km" in pairs.attrs["alignment"]


def test_a_globe_is_brought_to_a_map_as_well_as_by_bilinear_weights():
    fine, globe = lambert(), on_globe(0.25, 20, 28, 117, 125, value)
    pairs = pairs_of(globe, fine, factor=8)
    lat, lon = (fine[name].coarsen(y=8, x=8).mean().values for name in ("lat", "lon"))
    bilinear = RegularGridInterpolator((globe.lat.values, globe.lon.values), globe["t2m"][0].values)((lat, lon))
    found = pairs.input[0, 0].values
    assert abs(found - value(lat, lon)).max() < 2 * abs(bilinear - value(lat, lon)).max() < 0.02
    np.testing.assert_allclose(pairs.input[3, 0], found + 3, atol=1e-3)
    constant = regridded(
        globe.map(lambda f: 0 * f + 7.0)
        .rename(lat="y", lon="x")
        .assign_coords(lat=("y", globe.lat.values), lon=("x", globe.lon.values)),
        fine,
        8,
    )
    np.testing.assert_allclose(constant["t2m"], 7.0, rtol=1e-6)


@pytest.mark.parametrize("west", [0.0, -180.0])
def test_the_seam_of_a_globe_is_none(west):
    """A fine grid over the seam of the globe's longitudes gets what one in the middle of a region would."""
    seam = 0.0 if west == 0 else 180.0

    def here(lat, lon):
        return 280 + 0.5 * lat + np.cos(np.radians(lon - seam))

    globe = on_globe(1.0, 10, 40, west, west + 360, here)
    fine = on_globe(0.25, 20, 26, seam - 3, seam + 3, here)
    fine = fine.assign_coords(lon=(fine.lon + 180) % 360 - 180)
    found = pairs_of(globe, fine, factor=4).input[0, 0].values
    lat, lon = np.arange(20.375, 26, 1.0), np.arange(seam - 2.625, seam + 3, 1.0)
    np.testing.assert_allclose(found, here(*np.meshgrid(lat, lon, indexing="ij")), atol=5e-3)


def test_missing_values_stay_missing_and_lazy_is_eager():
    fine, globe = lambert(), on_globe(0.25, 20, 28, 117, 125, value)
    globe["t2m"][2, 16, 16] = np.nan
    lazy, eager = (pairs_of(part, fine, factor=8, missing="mask") for part in (globe.chunk({"time": 1}), globe))
    np.testing.assert_array_equal(lazy.input, eager.input)
    assert np.isnan(eager.input[2, 0]).any() and not np.isnan(eager.input[1, 0]).any()


@pytest.mark.parametrize(
    ("coarse", "factor", "said"),
    [
        (on_globe(0.25, 23.8, 28, 117, 125, value), 8, "does not reach over"),
        (on_globe(0.25, 20, 28, 117, 125, value), 7, "whole blocks"),
        (on_globe(0.05, 22, 26, 119, 123, value), 8, "a mean is wanted|cells of at most"),
        (on_plane(12, 7.3, 1.9), 8, "of two kinds"),
    ],
)
def test_what_cannot_be_interpolated_is_refused(coarse, factor, said):
    with pytest.raises(DataError, match=said):
        pairs_of(coarse, lambert(), factor=factor)


def test_an_input_on_the_fine_grid_itself_is_taken_as_it_is(tmp_path):
    pairs = open_files(*save(tmp_path, fields()))
    assert pairs.factor == (1, 1)
    np.testing.assert_array_equal(pairs.input.values, pairs.target.values)
    np.testing.assert_allclose(pairs.interpolated(), pairs.target, rtol=1e-6)


def test_wrf_and_a_globe_are_pairs_by_one_call(tmp_path):
    wrfout(shape=(16, 16)).to_netcdf(tmp_path / "wrfout.nc")
    fine = open_wrfout(tmp_path / "wrfout.nc")

    def linear(lat, lon):
        return 270 + 0.5 * lat - 0.1 * lon

    globe = on_globe(0.25, 18, 24, -92, -86, linear).isel(time=[0, 3])
    pairs = pairs_of(globe, fine, factor=4, target_channels=["t2m", "u10"])
    assert pairs.factor == (4, 4) and pairs.target_channels == ["t2m", "u10"] and len(pairs) == 2
    lat, lon = (fine[name].coarsen(y=4, x=4).mean() for name in ("lat", "lon"))
    np.testing.assert_allclose(pairs.input[0, 0], linear(lat, lon), atol=1e-2)
    globe.to_netcdf(tmp_path / "globe.nc")
    for times, name in ((("2020-01-01_00:00:00",), "a.nc"), (("2020-01-01_03:00:00",), "b.nc")):
        wrfout(shape=(16, 16), times=times).to_netcdf(tmp_path / name)
    of_files = open_files(tmp_path / "globe.nc", [tmp_path / "b.nc", tmp_path / "a.nc"], factor=4)
    xr.testing.assert_allclose(of_files.input, pairs.input)
    np.testing.assert_allclose(of_files.target.sel(channel="t2m"), pairs.target.sel(channel="t2m"))
    with pytest.raises(DataError, match="2 files that are neither GRIB nor wrfout"):
        open_files([tmp_path / "globe.nc"] * 2, tmp_path / "a.nc")


def test_the_terminal_regrids_and_says_so(tmp_path, capsys):
    files = save(tmp_path, on_globe(0.25, 20, 28, 117, 125, value), lambert())
    named = [f"{name}={path}" for name, path in zip(("input", "target"), files, strict=True)]
    assert main(["data", "files", *named]) == 1
    assert "factor" in capsys.readouterr().err
    assert main(["data", "files", *named, "factor=8"]) == 0
    text = capsys.readouterr()
    assert "coarsened (8, 8)" in text.out and "note: The input was interpolated to cells of 24 km" in text.err
