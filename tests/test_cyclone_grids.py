"""The same storm on the same ground: found alike whichever way a grid runs and whatever its axes are in."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from vortices import Vortex, axes

from labkit.errors import DataError
from labkit.verify.cyclones import find, intensity, profiles

DX = 10.0
KM = 111.19493
INWARD = np.cos(np.deg2rad(20))  # what the inflow of the vortices leaves of the tangential wind
SAME = ("x", "y", "lat", "lon", "size", "turning", "explained", "error")


def sea(lat0=22.0, lon0=123.0, *, vortex=None, shape=(60, 64), seed=0, turn=1):
    """Winds and pressure about a storm on a grid of latitudes and longitudes (1-D), rows to the north."""
    y, x = axes(shape, DX)
    gx, gy = np.meshgrid(x, y)
    vortex = vortex or Vortex(-60.0, 45.0, vmax=44, rmw=45)
    u, v = (turn * part for part in vortex.wind(gx, gy))
    noise = np.random.default_rng(seed).normal(size=(2, *shape)) * 0.5
    made = {"u10": u + noise[0] + 3, "v10": v + noise[1] - 2, "msl": 101000 - vortex.deficit(gx, gy)}
    lat = lat0 + y / KM
    lon = lon0 + x / (KM * np.cos(np.deg2rad(lat0)))
    made = {name: (("y", "x"), part) for name, part in made.items()}
    degrees = {"lat": ("y", lat, {"units": "degrees_north"}), "lon": ("x", lon, {"units": "degrees_east"})}
    return xr.Dataset(made, {"y": ("y", y, {"units": "km"}), "x": ("x", x, {"units": "km"}), **degrees})


def told(fields, by="pressure"):
    """What is said of the storm of some fields."""
    storm = find(fields, by=by)
    assert np.isfinite(storm.row).all()
    numbers = intensity(fields, storm)
    rings = profiles(fields, storm, np.arange(0, 150, 10.0))
    return storm.squeeze(), numbers.squeeze(), rings.squeeze()


def as_2d(fields):
    lat, lon = xr.broadcast(fields.lat, fields.lon)
    return fields.assign_coords(lat=lat, lon=lon)


WAYS = {
    "south": lambda f: f.isel(y=slice(None, None, -1)),
    "west": lambda f: f.isel(x=slice(None, None, -1)),
    "both": lambda f: f.isel(y=slice(None, None, -1), x=slice(None, None, -1)),
    "south in chunks": lambda f: f.isel(y=slice(None, None, -1)).chunk({"y": 20}),
    "transposed": lambda f: f.transpose("x", "y"),
}
AXES = {
    "all": lambda f: f,
    "2-D": as_2d,
    "km": lambda f: f.drop_vars(["lat", "lon"]),
    "degrees": lambda f: f.drop_vars(["x", "y"]),
    "metres": lambda f: f.drop_vars(["lat", "lon"]).assign_coords(
        {a: (a, 1000 * f[a].values, {"units": "m"}) for a in ("x", "y")}
    ),
    "0 to 360": lambda f: f.assign_coords(lon=f.lon % 360),
    "named lat and lon": lambda f: f.drop_vars(["x", "y"]).swap_dims(y="lat", x="lon"),
}


@pytest.mark.parametrize("by", ["pressure", "wind", "vorticity"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("axis", ["all", "2-D", "km", "degrees"])
def test_a_grid_turned_over_has_the_same_storm(axis, way, by):
    fields = AXES[axis](sea())
    storm, numbers, rings = told(fields, by)
    assert numbers.max_wind > 42 and numbers.mean_wind > 43 * INWARD
    other, again, circles = told(WAYS[way](fields), by)
    for name in SAME:
        np.testing.assert_allclose(other[name], storm[name], rtol=1e-9, atol=1e-9)
    xr.testing.assert_allclose(again, numbers, rtol=1e-9)
    xr.testing.assert_allclose(circles, rings, rtol=1e-9)
    mirrored = {"south": ("row",), "south in chunks": ("row",), "west": ("col",), "both": ("row", "col")}.get(way, ())
    for name, size in (("row", 60), ("col", 64)):
        expected = size - 1 - storm[name] if name in mirrored else storm[name]
        np.testing.assert_allclose(other[name], expected, rtol=1e-9)


@pytest.mark.parametrize("axis", AXES)
def test_the_same_ground_said_in_another_way_has_the_same_storm(axis):
    _, numbers, _ = told(sea())
    storm, again, _ = told(AXES[axis](sea()))
    np.testing.assert_allclose([again.max_wind, again.mean_wind], [numbers.max_wind, numbers.mean_wind], rtol=0.01)
    np.testing.assert_allclose(again.rmw, numbers.rmw, rtol=0.03)
    if "lat" in AXES[axis](sea()).coords:
        np.testing.assert_allclose([storm.lat, storm.lon], [22 + 45 / KM, 123 - 60 / KM / 0.92718], atol=0.02)


@pytest.mark.parametrize("lon0", [0.3, -0.3, 179.8, -179.8])
@pytest.mark.parametrize("whole", [lambda lon: lon, lambda lon: lon % 360, lambda lon: (lon + 180) % 360 - 180])
def test_a_seam_of_longitudes_is_no_seam_of_the_storm(lon0, whole):
    fields, plain = sea(lon0=lon0), sea(lon0=100.0)
    storm, numbers, _ = told(fields.assign_coords(lon=whole(fields.lon)))
    other, expected, _ = told(plain)
    xr.testing.assert_allclose(numbers, expected, rtol=1e-6)
    assert -180 <= storm.lon <= 180
    assert (storm.lon - lon0 - (other.lon - 100) + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("lat0", [-1.5, 0.0, 1.5, -0.4])
@pytest.mark.parametrize("north", [True, False])
def test_across_the_equator_a_storm_turns_as_its_own_hemisphere_says(lat0, north):
    """A domain of 600 km about the equator: each storm within 2 degrees of it, on either side."""
    away = (2.2 if north else -2.2) - lat0
    vortex = Vortex(-50.0, away * KM, vmax=44, rmw=40)
    storm, numbers, _ = told(sea(lat0, vortex=vortex, turn=1 if north else -1, shape=(100, 64)))
    assert storm.lat == pytest.approx(2.2 if north else -2.2, abs=0.05)
    assert numbers.mean_wind == pytest.approx(44 * INWARD, abs=1) and numbers.max_wind > 42
    wrong = find(sea(lat0, vortex=vortex, turn=-1 if north else 1, shape=(100, 64)), by="wind")
    assert not np.isfinite(wrong.row).any()


def test_twins_on_both_sides_of_the_equator_are_two():
    y, x = axes((120, 64), DX)
    gx, gy = np.meshgrid(x, y)
    north, south = Vortex(0, 300.0, vmax=45, rmw=40), Vortex(20, -300.0, vmax=40, rmw=40)
    u, v = (a - b for a, b in zip(north.wind(gx, gy), south.wind(gx, gy), strict=True))
    degrees = {"lat": ("y", y / KM), "lon": ("x", 150 + x / KM)}
    fields = xr.Dataset({"u10": (("y", "x"), u), "v10": (("y", "x"), v)}, degrees)
    found = find(fields, count=3)
    np.testing.assert_allclose(found.lat[:2], [300 / KM, -300 / KM], atol=0.05)
    assert not np.isfinite(found.row[2])
    np.testing.assert_allclose(intensity(fields, found).mean_wind[:2], [45 * INWARD, 40 * INWARD], atol=1)


def test_what_cannot_be_told_is_refused_by_name():
    fields = sea()
    bare = fields.drop_vars(["lat", "lon"])
    metres = bare.assign_coords({a: (a, 1000 * bare[a].values) for a in ("x", "y")})
    with pytest.raises(DataError, match=r"cells 10000 apart along y, without a unit"):
        find(metres)
    rotated = {a: (a, bare[a].values / KM, {"units": "degrees", "standard_name": f"grid_{n}"})
               for a, n in (("y", "latitude"), ("x", "longitude"))}  # fmt: skip
    with pytest.raises(DataError, match="neither lat and lon nor y and x"):
        find(bare.assign_coords(rotated))
    lon = np.where(np.arange(64) < 32, fields.lon - 60, fields.lon + 60)
    with pytest.raises(DataError, match=r"neighbours .* km apart along x"):
        find(fields.drop_vars("x").assign_coords(lon=("x", lon)))
    slanted = as_2d(fields).drop_vars(["x", "y"])  # along x to the north-west and along y to the north-east
    a, b = slanted.lat - 22, slanted.lon - 123
    with pytest.raises(DataError, match="to the left of rows"):
        find(slanted.assign_coords(lat=22 + 0.4 * a + 0.6 * b, lon=123 + 0.7 * a + 0.3 * b))


@pytest.mark.parametrize("kind", ["holland", "rankine"])
def test_the_highest_wind_of_coarse_cells_is_not_raised_above_that_of_the_storm(kind):
    rng, above, off = np.random.default_rng(1), [], []
    for _ in range(30):
        vortex = Vortex(*rng.uniform(-14, 14, 2), vmax=45, rmw=rng.uniform(25, 40), kind=kind)
        gy, gx = np.meshgrid(*axes((28, 28), 27.8), indexing="ij")
        u, v = vortex.wind(gx, gy)
        fields = xr.Dataset({"u10": (("y", "x"), u), "v10": (("y", "x"), v)}, {"y": gy[:, 0], "x": gx[0]})
        numbers = intensity(fields, find(fields)).squeeze()
        above.append(float(numbers.max_wind) - 45)
        off.append(abs(float(numbers.rmw) - vortex.rmw) / float(numbers.rmw_error))
    assert max(above) < 0.3 and -3 < np.mean(above) < 0.1
    assert max(off) <= 1.05 and max(off) > 0.5  # the bound that is told holds, and is none that says nothing
