"""`labkit convert`: forecasts in other formats become trees with the same values at the same places."""

import numpy as np
import pyproj
import pytest
import xarray as xr
from test_wrf import constant, wrfout

from labkit.cli import main
from labkit.data.opening import convert, open_forecast
from labkit.errors import ConfigError, DataError
from labkit.store.trees import open_tree

PROJ = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=10 +R=6370000"
TIMES = np.datetime64("2020-06-01T12:05", "ns") + 5 * np.arange(3) * np.timedelta64(1, "m")


def nowcast(path, *, member="ens_number", south_first=True, units="mm h-1", name="precip_intensity", **attrs):
    """What pySTEPS' exporter writes: members first, a polar stereographic map in metres, latitudes as variables."""
    y, x = -3.5e6 + 1000.0 * np.arange(8), -2e5 + 1000.0 * np.arange(6)
    y = y if south_first else y[::-1]
    lon, lat = pyproj.Proj(PROJ)(*np.meshgrid(x, y), inverse=True)
    values = np.arange(4)[:, None, None, None] + np.arange(3)[:, None, None] / 10 + (lat - 50) / 100
    found = xr.Dataset(
        {
            name: (
                (member, "time", "y", "x"),
                values,
                {"units": units, "grid_mapping": "polar_stereographic", **attrs},
            ),
            "lat": (("y", "x"), lat, {"units": "degrees_north"}),
            "lon": (("y", "x"), lon, {"units": "degrees_east"}),
            "polar_stereographic": ((), 0, {"grid_mapping_name": "polar_stereographic"}),
        },
        {"time": TIMES, "y": ("y", y, {"units": "m"}), "x": ("x", x, {"units": "m"}), member: np.arange(1, 5)},
    )
    found.to_netcdf(path)
    return path


@pytest.mark.parametrize("south_first", [True, False])
@pytest.mark.parametrize("member", ["ens_number", "realization", "number"])
def test_a_nowcast_of_pysteps_becomes_a_tree(tmp_path, member, south_first):
    path = convert([nowcast(tmp_path / "nowcast.nc", member=member, south_first=south_first)], tmp_path / "tree.nc")
    tree = open_tree(path)
    tp = tree["prediction/tp"]
    assert tp.dims == ("ensemble", "time", "y", "x") and tp.attrs["units"] == "mm h-1"
    np.testing.assert_array_equal(tree["ensemble"], [1, 2, 3, 4])
    np.testing.assert_array_equal(tree["time"], TIMES)
    expected = np.arange(4)[:, None, None, None] + np.arange(3)[:, None, None] / 10 + (tree["lat"].values - 50) / 100
    np.testing.assert_allclose(tp, expected, atol=1e-5)
    assert (np.diff(tree["lat"].values[:, 0]) > 0).all() and np.diff(tree["x"]).mean() == pytest.approx(1)
    assert tree["truth/tp"].isnull().all()


def test_its_amounts_are_refused_or_told(tmp_path):
    path = nowcast(tmp_path / "sum.nc", name="precip", units="mm")
    with pytest.raises(DataError, match=r"precip of data file sum\.nc: found an amount"):
        open_forecast([path])
    twelve = open_forecast([path], accumulated={"precip": 1 / 12}).tp
    np.testing.assert_allclose(twelve, 12 * open_forecast([path], units={"precip": "mm h-1"}).tp, rtol=1e-5)


def test_wrf_output_becomes_a_tree_whose_winds_are_eastward(tmp_path, capsys):
    raw = wrfout(times=[f"2020-01-01_{h:02d}:00:00" for h in (0, 3, 6)], rain=constant)
    raw.to_netcdf(tmp_path / "wrfout_d02")
    assert main(["score", str(tmp_path / "wrfout_d02")]) == 1
    assert "labkit convert wrfout_d02" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "wrfout_d02"), str(tmp_path / "wrf.nc")]) == 0
    tree = open_tree(tmp_path / "wrf.nc")
    assert tree.sizes["ensemble"] == 1 and [str(t)[11:13] for t in tree["time"].values] == ["00", "03", "06"]
    np.testing.assert_allclose(tree["prediction/u10"][0, 1, 4], np.arange(7), atol=1e-3)
    np.testing.assert_allclose(tree["prediction/tp"][0, 1:], 1.0, rtol=1e-5)
    assert tree["prediction/tp"].attrs["units"] == "mm h-1"


def test_what_cannot_be_converted_is_refused_in_a_sentence(tmp_path):
    wrfout(corners=[(0, 0), (2, 1)]).to_netcdf(tmp_path / "nest")
    with pytest.raises(DataError, match=r"a grid that moves.*labkit track"):
        open_forecast([tmp_path / "nest"])
    path = nowcast(tmp_path / "nowcast.nc")
    with pytest.raises(ConfigError, match="options of open_flat: found lagged"):
        open_forecast([path], lagged=True)
    with pytest.raises(DataError, match="2 files"):
        open_forecast([path, path])
    with pytest.raises(ConfigError, match=r"ends in \.nc"):
        convert([path], tmp_path / "tree.zarr")
    with pytest.raises(DataError, match="no such file"):
        open_forecast([tmp_path / "none"])
    xr.Dataset({"t": ("x", np.zeros(3))}).to_netcdf(tmp_path / "other.nc")
    with pytest.raises(DataError):
        open_forecast([tmp_path / "other.nc"])


@pytest.mark.parametrize("lon", [np.arange(350.0, 361.0), np.arange(175.0, 186.0), np.r_[0.0:4.0, 356.0:360.0]])
def test_longitudes_of_a_flat_file_run_eastward_in_one_piece(tmp_path, lon):
    lat = np.arange(40.0, 30.0, -1.0)
    values = 280 + np.cos(np.radians(lon)) + lat[:, None] / 10
    fields = xr.Dataset({"t2m": (("time", "lat", "lon"), np.stack([values] * 3), {"units": "K"})})
    fields.assign_coords(time=TIMES, lat=lat, lon=lon).to_netcdf(tmp_path / "flat.nc")
    found = open_forecast([tmp_path / "flat.nc"])
    np.testing.assert_allclose(np.diff(np.unwrap(found.lon[0], period=360)), 1, atol=1e-4)
    np.testing.assert_allclose(found.t2m[0, 0], 280 + np.cos(np.radians(found.lon)) + found.lat / 10, rtol=1e-6)
    step = float(np.diff(found.x).mean())
    assert step == pytest.approx(111.2 * float(np.cos(np.radians(found.lat)).mean()), rel=1e-3)


def test_steps_of_one_base_are_times_and_members_stay_members(tmp_path):
    """What cfgrib gives and xarray writes: number, step, latitude, longitude, a base and dates of validity."""
    lat, lon, steps = np.arange(30.0, 40.0), np.arange(10.0, 16.0), np.arange(3) * np.timedelta64(6, "h")
    values = 280 + np.arange(2)[:, None, None, None] + np.arange(3)[:, None, None] + lat[:, None] / 10 + 0 * lon
    fields = xr.Dataset(
        {"t2m": (("number", "step", "latitude", "longitude"), values, {"units": "K"})},
        {"number": [1, 2], "step": steps, "latitude": lat, "longitude": lon, "time": TIMES[0]},
    )
    for name, one in {"bare": fields, "dated": fields.assign_coords(valid_time=("step", TIMES[0] + steps))}.items():
        one.to_netcdf(tmp_path / f"{name}.nc")
        found = open_forecast([tmp_path / f"{name}.nc"])
        np.testing.assert_array_equal(found.time, TIMES[0] + steps)
        np.testing.assert_allclose(found.t2m, values, rtol=1e-6)
