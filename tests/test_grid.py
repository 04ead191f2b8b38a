"""Where cells lie: every way in which files say it gives the same grid, and what contradicts itself is refused."""

import netCDF4
import numpy as np
import pyproj
import pytest
import xarray as xr

from labkit.errors import DataError
from labkit.grid import (
    backward,
    cautions,
    coordinates,
    latitude_longitude,
    oriented,
    spacing_km,
    spacing_known,
    with_our_dims,
)
from labkit.store.trees import cautions as tree_cautions
from labkit.store.trees import open_tree, units_assumed

NY, NX, KM = 12, 16, 111.194927
STEP = 0.02  # degrees
LAT, LON = 24 + STEP * np.arange(NY), 121 + STEP * np.arange(NX)
DY, DX = STEP * KM, STEP * KM * np.cos(np.deg2rad(LAT)).mean()
Y_KM, X_KM = DY * np.arange(NY), DX * np.arange(NX)
VALUES = np.arange(NY * NX, dtype=np.float32).reshape(NY, NX)


def data(coords, values=VALUES, dims=("y", "x")):
    return xr.Dataset({"t2m": (dims, values)}, coords)


def degrees(**axes):
    lat, lon = np.meshgrid(LAT, LON, indexing="ij")
    return data({"lat": (("y", "x"), lat), "lon": (("y", "x"), lon), **axes})


WAYS = {
    "lat and lon (y, x)": degrees(),
    "lat and lon, and cell numbers": degrees(y=np.arange(NY), x=np.arange(NX)),
    "lat and lon, and metres without units": degrees(y=Y_KM * 1000, x=X_KM * 1000),
    "lat and lon, and km": degrees(y=("y", Y_KM, {"units": "km"}), x=("x", X_KM, {"units": "km"})),
    "lat and lon along axes": data({"lat": ("y", LAT), "lon": ("x", LON)}),
    "longitudes around Greenwich": data({"lat": ("y", LAT), "lon": ("x", (LON - 121.1) % 360)}),
    "longitudes around the date line": data({"lat": ("y", LAT), "lon": ("x", (LON + 59 + 180) % 360 - 180)}),
    "dimensions lat and lon": data({"lat": LAT, "lon": LON}, dims=("lat", "lon")),
    "dimensions latitude and longitude": data({"latitude": LAT, "longitude": LON}, dims=("latitude", "longitude")),
    "axes in degrees": data({"y": ("y", LAT, {"units": "degrees_north"}), "x": ("x", LON, {"units": "degrees_east"})}),
    "axes in km": data({"y": ("y", Y_KM, {"units": "km"}), "x": ("x", X_KM, {"units": "kilometres"})}),
    "axes in m": data({"y": ("y", 1000 * Y_KM, {"units": "m"}), "x": ("x", 1000 * X_KM, {"units": "meters"})}),
    "axes in feet": data({"y": ("y", Y_KM / 3048e-7, {"units": "ft"}), "x": ("x", X_KM / 3048e-7, {"units": "feet"})}),
    "lat and lon NaN, axes in m": data(
        {"lat": (("y", "x"), np.full((NY, NX), np.nan)), "lon": (("y", "x"), np.full((NY, NX), np.nan))}
        | {"y": ("y", 1000 * Y_KM, {"units": "m"}), "x": ("x", 1000 * X_KM, {"units": "m"})}
    ),
}


@pytest.mark.parametrize("columns", ["eastwards", "westwards"])
@pytest.mark.parametrize("rows", ["northwards", "southwards"])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_saying_it_gives_one_grid(way, rows, columns):
    ours = with_our_dims(WAYS[way], "test.nc")
    turned = {
        "y": slice(None, None, -1 if rows == "southwards" else 1),
        "x": slice(None, None, -1 if columns == "westwards" else 1),
    }
    found = oriented(ours.isel(turned), "test.nc")
    np.testing.assert_array_equal(found.t2m, VALUES)
    place = xr.Dataset(coords=coordinates(found, "test.nc"))
    assert spacing_km(place) == pytest.approx((DY, DX), rel=1e-4) and spacing_known(place)
    assert (np.diff(place.y) > 0).all() and (np.diff(place.x) > 0).all() and place.x.attrs["units"] == "km"
    assert cautions(place) == []


@pytest.mark.parametrize("crs", ["EPSG:3035", "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=20 +R=6371000"])
def test_a_projection_gives_latitudes_and_longitudes(crs):
    map_of = pyproj.CRS(crs)
    to_map = pyproj.Transformer.from_crs(map_of.geodetic_crs, map_of, always_xy=True)
    x0, y0 = to_map.transform(24.0, 60.0)
    x, y = x0 + 2000.0 * np.arange(NX), y0 + 2000.0 * np.arange(NY)
    one = data({"y": ("y", y / 1000, {"units": "km"}), "x": ("x", x, {"units": "m"})}).assign(crs=0)
    one["crs"].attrs = map_of.to_cf()
    lat, lon = latitude_longitude(one, "test.nc")
    assert lat[0, 0] == pytest.approx(60, abs=1e-6) and lon[0, 0] == pytest.approx(24, abs=1e-6)
    place = xr.Dataset(coords=coordinates(one, "test.nc"))
    assert spacing_km(place) == pytest.approx((2.0, 2.0), rel=1e-6) and np.isfinite(place.lat).all()


def test_a_rotated_pole_keeps_distances_and_gets_true_positions():
    rotated = data({"rlat": np.arange(NY) * 0.1 - 0.6, "rlon": np.arange(NX) * 0.1 - 0.8}, dims=("rlat", "rlon"))
    for axis in ("rlat", "rlon"):
        rotated[axis].attrs["units"] = "degrees"
    bare = with_our_dims(rotated, "test.nc")
    assert spacing_km(coordinates(bare, "test.nc")) == pytest.approx((0.1 * KM, 0.1 * KM), rel=1e-3)
    names = {"grid_mapping_name": "rotated_latitude_longitude", "earth_radius": 6371000.0}
    names |= {"grid_north_pole_latitude": 39.25, "grid_north_pole_longitude": -162.0}
    bare["rotated_pole"] = ((), 0, names)
    lat, lon = latitude_longitude(bare, "test.nc")
    # the rotated origin lies 90 degrees from the pole, on its far meridian: 50.75 N, 18 E
    assert lat[6, 8] == pytest.approx(50.75, abs=1e-6) and lon[6, 8] == pytest.approx(18.0, abs=1e-6)
    assert spacing_km(coordinates(bare, "test.nc")) == pytest.approx((0.1 * KM, 0.1 * KM), rel=3e-3)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (degrees(x=("x", X_KM * 1000, {"units": "km"})), "cells 2030 km apart by x and 2.03 km by latitude"),
        (degrees(y=("y", Y_KM, {"units": "m"})), "cells 0.002224 km apart by y"),
        (data({"lat": ("y", LAT * 10), "lon": ("x", LON)}), "latitudes of the test.nc: found 240 to"),
        (data({"lat": ("y", LAT), "lon": ("x", np.where(LON > 121.2, -999, LON))}), "longitudes of the test.nc"),
        (data({"lat": ("y", np.full(NY, 9.96921e36)), "lon": ("x", LON)}), "latitudes"),
        (
            data({"y": ("y", Y_KM[[0, 2, 1, *range(3, NY)]], {"units": "km"}), "x": ("x", X_KM, {"units": "km"})}),
            "back",
        ),
    ],
)
def test_contradictions_are_refused(one, words):
    with pytest.raises(DataError, match=words):
        coordinates(one, "test.nc")


def test_a_map_that_stretches_gives_way_to_latitudes():
    # Mercator, true at the equator, at 60 degrees: twice as long on the map as on the ground
    lat = 60 + STEP * np.arange(NY)
    x = np.deg2rad(LON) * 6371
    y = 6371 * np.log(np.tan(np.pi / 4 + np.deg2rad(lat) / 2))
    one = data({"lat": ("y", lat), "lon": ("x", LON), "y": ("y", y, {"units": "km"}), "x": ("x", x, {"units": "km"})})
    ground = STEP * KM, STEP * KM * np.cos(np.deg2rad(lat)).mean()
    assert spacing_km(coordinates(one, "test.nc")) == pytest.approx(ground, rel=1e-4)


@pytest.mark.parametrize(
    "one", [data({}), data({"y": Y_KM * 1000, "x": X_KM * 1000}), degrees(lat=(("y", "x"), np.full((NY, NX), np.nan)))]
)
def test_what_nobody_says_is_counted_in_cells_and_asked_for(one):
    place = xr.Dataset(coords=coordinates(one, "test.nc"))
    assert not spacing_known(place) and spacing_km(place) == (1.0, 1.0) and "--spacing-km" in cautions(place)[0]
    told = xr.Dataset(coords=coordinates(one, "test.nc", spacing_km=(2.0, 3.0)))
    assert spacing_known(told) and spacing_km(told) == (2.0, 3.0) and cautions(told) == []


def test_what_the_user_says_against_the_file_is_refused():
    assert spacing_km(coordinates(degrees(), "test.nc", spacing_km=(2.2, 2.0))) == pytest.approx((DY, DX), rel=1e-4)
    with pytest.raises(DataError, match=r"2\.224 km in the file, expected 4 km"):
        coordinates(degrees(), "test.nc", spacing_km=4.0)


def test_constant_positions_are_no_positions():
    flat = {name: (("y", "x"), np.full((NY, NX), value)) for name, value in (("lat", 0.0), ("lon", 0.0))}
    assert not spacing_known(xr.Dataset(coords=coordinates(data(flat), "test.nc")))


def test_widths_that_change_from_row_to_row_are_told():
    tall = data({"lat": ("y", np.linspace(20, 60, NY)), "lon": ("x", LON)})
    assert "from row to row" in cautions(xr.Dataset(coords=coordinates(tall, "test.nc")))[0]


def test_missing_corners_do_not_hide_a_grid():
    swath = degrees()
    swath["lat"][:3, :3] = np.nan
    swath["lon"][:3, :3] = np.nan
    assert spacing_km(coordinates(swath, "test.nc")) == pytest.approx((DY, DX), rel=1e-3)
    assert backward(swath.isel(y=slice(None, None, -1)), "test.nc") == ["y"]


# Output trees: what is read of a file is the same whatever its order, axes and units.


def tree_file(path, *, rows=1, columns=1, axes=None, units=None, offsets=None, dims=("y", "x"), place=True):
    """A tree with a vortex; `units` by group, values in the file are what these make of ours."""
    rng = np.random.default_rng(0)
    t2m = 290 + 5 * rng.standard_normal((2, NY, NX)).astype(np.float32)
    wind = 20 * rng.standard_normal((2, NY, NX)).astype(np.float32)
    turn = np.s_[..., ::rows, ::columns]
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", 2), ("ensemble", 2), (dims[0], NY), (dims[1], NX)):
            file.createDimension(name, size)
        lat, lon = np.meshgrid(LAT, LON, indexing="ij")
        for name, values in (("lat", lat), ("lon", lon)) if place else ():
            file.createVariable(name, "f8", dims)[:] = values[turn]
        for name, (values, unit) in (axes or {}).items():
            file.createVariable(name, "f8", (name,))[:] = values
            if unit:
                file[name].units = unit
        for group in ("input", "truth", "prediction"):
            made = file.createGroup(group)
            for name, values in (("t2m", t2m), ("10u", wind), ("skin", t2m)):
                factor, offset, unit = (units or {}).get((group, name), (1, 0, ""))
                values = values * factor + offset
                lead = ("ensemble", "time") if group == "prediction" else ("time",)
                field = np.stack([values, values]) if group == "prediction" else values
                made.createVariable(name, "f4", (*lead, *dims))[:] = field[turn]
                if unit:
                    made[name].units = unit
    return path


KELVIN = {(group, name): (1, 0, "K") for group in ("input", "truth", "prediction") for name in ("t2m", "skin")}
PLAIN = KELVIN | {(group, "10u"): (1, 0, "m s-1") for group in ("input", "truth", "prediction")}


@pytest.mark.parametrize("dims", [("y", "x"), ("latitude", "longitude")])
@pytest.mark.parametrize("columns", [1, -1])
@pytest.mark.parametrize("rows", [1, -1])
def test_trees_run_north_and_east_whatever_the_file(tmp_path, rows, columns, dims):
    reference = open_tree(tree_file(tmp_path / "plain.nc", units=PLAIN))
    found = open_tree(tree_file(tmp_path / "other.nc", rows=rows, columns=columns, units=PLAIN, dims=dims))
    for group in ("input", "truth", "prediction"):
        xr.testing.assert_equal(found[group].to_dataset(), reference[group].to_dataset())
    assert spacing_km(found) == pytest.approx((DY, DX), rel=1e-4) and tree_cautions(found) == []


def test_unknown_dimensions_are_named(tmp_path):
    with pytest.raises(DataError, match=r"t2m \('time', 'rows', 'cells'\)"):
        open_tree(tree_file(tmp_path / "other.nc", units=PLAIN, dims=("rows", "cells")))


def test_trees_in_foreign_units_are_those_in_ours(tmp_path):
    reference = open_tree(tree_file(tmp_path / "plain.nc", units=PLAIN))
    foreign = {(group, "t2m"): (1, -273.15, "degC") for group in ("truth", "prediction")} | {
        ("input", "t2m"): (1, 0, "K")
    }
    foreign |= {(group, "10u"): (3600 / 1852, 0, "kt") for group in ("input", "truth")} | {
        ("prediction", "10u"): (1, 0, "m/s")
    }
    foreign |= {
        ("truth", "skin"): (1, 0, "K"),
        ("prediction", "skin"): (1, -273.15, "degC"),
        ("input", "skin"): (1, 0, "K"),
    }
    found = open_tree(tree_file(tmp_path / "foreign.nc", units=foreign))
    for group in ("input", "truth", "prediction"):
        for name in ("t2m", "10u", "skin"):
            np.testing.assert_allclose(found[group][name], reference[group][name], rtol=3e-6, atol=2e-5)
            assert found[group][name].attrs["units"] == reference[group][name].attrs["units"]


def test_trees_without_units_ask_where_values_are_impossible(tmp_path):
    celsius = {(group, "t2m"): (1, -273.15, "") for group in ("input", "truth", "prediction")}
    path = tree_file(tmp_path / "celsius.nc", units=celsius)
    with pytest.raises(DataError, match=r"units of t2m in .* of celsius.nc: found none"):
        open_tree(path)
    found = open_tree(path, units={"t2m": "degC"})
    np.testing.assert_allclose(found["truth/t2m"], open_tree(tree_file(tmp_path / "k.nc"))["truth/t2m"], rtol=1e-6)
    assert units_assumed(found) == "The file has no units: taken for 10u m s-1; say others (--units NAME=UNIT)."
    assert tree_cautions(found) == []
    with pytest.raises(DataError, match="v10"):
        open_tree(path, units={"t2m": "degC", "v10": "kt"})


def test_trees_of_axes_without_units_are_cells_until_told(tmp_path):
    metres = {"y": (Y_KM * 1000, ""), "x": (X_KM * 1000, "")}
    path = tree_file(tmp_path / "bare.nc", units=PLAIN, axes=metres, place=False)
    tree = open_tree(path)
    assert not spacing_known(tree) and spacing_km(tree) == (1.0, 1.0) and len(tree_cautions(tree)) == 1
    assert spacing_km(open_tree(path, spacing_km=2.0)) == (2.0, 2.0)
    known = tree_file(
        tmp_path / "known.nc", units=PLAIN, axes={a: (v, "m") for a, (v, _) in metres.items()}, place=False
    )
    assert spacing_km(open_tree(known)) == pytest.approx((DY, DX), rel=1e-6)


def test_radians_are_degrees():
    lat, lon = np.meshgrid(np.deg2rad(LAT), np.deg2rad(LON), indexing="ij")
    for unit in ("radian", "rad", "radians"):
        told = {"lat": (("y", "x"), lat, {"units": unit}), "lon": (("y", "x"), lon, {"units": unit})}
        found = coordinates(data(told), "test.nc")
        np.testing.assert_allclose(found["lat"].values[:, 0], LAT, rtol=1e-6)
        np.testing.assert_allclose(found["lon"].values[0], LON, rtol=1e-6)
        assert spacing_km(xr.Dataset(coords=found)) == pytest.approx((DY, DX), rel=1e-3)


@pytest.mark.parametrize("unit", ["rad", "m"])
def test_a_satellite_s_scan_angles_are_places_by_its_height(unit):
    """Below the satellite an angle is as far as on a plane at its height; pyproj tells the rest."""
    height, middle = 35785831.0, 140.7
    crs = pyproj.CRS.from_dict({"proj": "geos", "h": height, "lon_0": middle, "sweep": "y"})
    metres = 2000.0 * (np.arange(9) - 4)
    scale = 1 / height if unit == "rad" else 1.0
    axes = {axis: (axis, metres * scale, {"units": unit}) for axis in ("y", "x")}
    fields = data(axes, values=np.zeros((9, 9))).assign(geos=((), 0, crs.to_cf()))
    found = coordinates(fields, "test.nc")
    lon, lat = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True).transform(
        *np.meshgrid(metres, metres)
    )
    np.testing.assert_allclose(found["lat"].values, lat, atol=1e-5)
    np.testing.assert_allclose(found["lon"].values, lon, atol=1e-5)
    assert spacing_km(xr.Dataset(coords=found)) == pytest.approx((2.0, 2.0), rel=0.01)
