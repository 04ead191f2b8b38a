"""What is measured about a centre, against vortices in closed form."""

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import brentq
from vortices import Vortex, fields

from labkit.errors import DataError
from labkit.verify.cyclones import find, intensity, profiles
from labkit.verify.cyclones.polar import ANGLES, LEAST_SEEN, around, around_wind

KNOT = 1852 / 3600
INFLOW = np.cos(np.deg2rad(20))


def one(data, **options):
    return find(data, by="wind", **options).isel(vortex=0)


def measured(vortex, **options):
    data = fields(vortex, **options)
    return intensity(data, one(data))


@pytest.mark.parametrize("dx", [1.0, 4.0, 10.0, 25.0])
@pytest.mark.parametrize("flow", [(0.0, 0.0), (6.0, -3.0)])
@pytest.mark.parametrize("kind", ["holland", "rankine"])
def test_highest_wind_within_3_percent_and_its_radius_within_a_cell(dx, flow, kind):
    n = int(min(200, max(32, 500 / dx)))
    for rmw in (max(3.3 * dx, 25.0), max(4.1 * dx, 38.0)):
        vortex = Vortex(0.3 * dx, -0.45 * dx, vmax=42, rmw=rmw, kind=kind)
        found = measured(vortex, shape=(n, n), dx=dx, flow=flow)
        ring = vortex.rmw * np.exp(1j * np.linspace(0, 2 * np.pi, 720))
        ways = [vortex.wind(vortex.x + f * ring.real, vortex.y + f * ring.imag) for f in np.linspace(0.8, 1.2, 41)]
        highest = max(np.hypot(u + flow[0], v + flow[1]).max() for u, v in ways)
        assert float(found.max_wind) == pytest.approx(highest, rel=0.03)
        assert float(found.rmw) == pytest.approx(rmw, abs=dx)
        tolerance = 0.01 if kind == "holland" else 0.05  # splines round the edge of a Rankine vortex
        assert float(found.wave_wind) == pytest.approx(highest, rel=tolerance)
        assert float(found.mean_wind) == pytest.approx(42 * INFLOW, rel=tolerance)


def test_noise_raises_the_highest_wind_but_not_that_of_the_waves_around_the_centre():
    vortex = Vortex(vmax=42, rmw=40)
    found = [measured(vortex, shape=(128, 128), noise=1.0, seed=seed) for seed in range(6)]
    wave = np.array([float(one.wave_wind) for one in found])
    assert np.abs(wave / 42 - 1).max() < 0.03
    assert np.mean([float(one.max_wind) for one in found]) > 43
    assert np.abs([float(one.rmw) - 40 for one in found]).max() < 4


def test_pressure_at_the_centre_is_the_fields_own():
    for kind in ("holland", "rankine"):
        vortex = Vortex(1.7, -0.6, vmax=50, rmw=45, kind=kind)
        found = measured(vortex, dx=5.0)
        assert float(found.min_pressure) == pytest.approx(101000 - vortex.deficit(1.7, -0.6), abs=15)
    data = fields(vortex).drop_vars("msl")
    assert np.isnan(intensity(data, one(data)).min_pressure)


def test_radii_of_34_50_and_64_knots_are_those_of_the_profile():
    vortex = Vortex(vmax=45, rmw=30, b=1.4)
    found = measured(vortex, shape=(260, 260), dx=4.0)
    for knots in (34, 50, 64):
        expected = brentq(lambda r, knots=knots: vortex.tangential(np.array(r)) - knots * KNOT, 30, 900)
        for quadrant in ("ne", "se", "sw", "nw"):
            assert float(found[f"r{knots}_{quadrant}"]) == pytest.approx(expected, rel=0.02)
    weak = measured(Vortex(vmax=20, rmw=40), shape=(200, 200))
    assert float(weak.r50_ne) == 0 and float(weak.r34_ne) > 40
    beyond = measured(Vortex(vmax=60, rmw=60), shape=(64, 64))
    assert np.isnan(beyond.r34_ne)


def test_quadrants_and_crest_are_of_the_compass():
    """Carried to the east, an anticlockwise vortex is strongest in the south, and its gales reach furthest there."""
    vortex = Vortex(vmax=35, rmw=40, inflow=0)
    options = {"shape": (260, 260), "flow": (8.0, 0.0)}
    found = measured(vortex, **options)
    assert float(found.crest1) == pytest.approx(180, abs=2)
    assert float(found.asymmetry1) == pytest.approx(8 / 35, rel=0.05)
    assert found.r34_se > 1.15 * found.r34_ne and found.r34_sw > 1.15 * found.r34_nw
    data = fields(vortex, **options)
    north = {"lat": (("y", "x"), 20 + np.repeat(data.x.values[None] / 111.2, 260, 0)),
             "lon": (("y", "x"), 130 - np.repeat(data.y.values[:, None] / 104.5, 260, 1))}  # fmt: skip
    turned = data.assign_coords(north)  # its x axis runs north: what was east is north, what was south is east
    found = intensity(turned, one(turned))
    assert float(found.crest1) == pytest.approx(90, abs=2)
    assert found.r34_ne > 1.15 * found.r34_nw and found.r34_se > 1.15 * found.r34_sw


def test_profiles_are_the_vortex_own_and_other_fields_go_along():
    vortex = Vortex(3.0, -2.0, vmax=40, rmw=40)
    data = fields(vortex, shape=(160, 160), flow=(5.0, 4.0)).assign(
        t2m=lambda d: 300 + 4 * np.exp(-((d.x - 3.0) ** 2 + (d.y + 2.0) ** 2) / 50**2)
    )
    radius = np.arange(10, 200, 10.0)
    found = profiles(data, one(data), radius)
    wind = vortex.tangential(radius)
    np.testing.assert_allclose(found.tangential, wind * INFLOW, rtol=0.01, atol=0.1)
    np.testing.assert_allclose(found.radial, -wind * np.sin(np.deg2rad(20)), rtol=0.02, atol=0.1)
    np.testing.assert_allclose(found.t2m, 300 + 4 * np.exp(-((radius / 50) ** 2)), atol=0.02)
    assert found.radius.attrs["units"] == "km" and "msl" in found
    with pytest.raises(DataError, match="radii of a profile"):
        profiles(data, one(data), [-3.0])


def test_degrees_are_kilometres_on_the_ground():
    """The same vortex on a latitude-longitude grid at 50 degrees north, whose cells are narrow."""
    lat, lon = np.arange(44, 56, 0.1), np.arange(-8, 8, 0.1)
    east = np.deg2rad(lon)[None, :] * 6371 * np.cos(np.deg2rad(lat))[:, None]
    north = np.deg2rad(lat - 50)[:, None] * 6371 + 0 * east
    vortex = Vortex(vmax=40, rmw=60)
    u, v = vortex.wind(east, north)
    data = xr.Dataset({"u10": (("y", "x"), u), "v10": (("y", "x"), v)}, {"lat": ("y", lat), "lon": ("x", lon)})
    centre = one(data)
    assert float(centre.lat) == pytest.approx(50, abs=0.03) and float(centre.lon) == pytest.approx(0, abs=0.03)
    found = intensity(data, centre)
    assert float(found.rmw) == pytest.approx(60, rel=0.03)
    assert float(found.max_wind) == pytest.approx(40, rel=0.02)


def test_no_centre_no_numbers_and_dask_changes_nothing():
    data = xr.concat([fields(Vortex(rmw=35)), fields(flow=(3, 3))], "time")
    centres = one(data)
    eager = intensity(data, centres)
    assert np.isfinite(eager.rmw[0]) and np.isnan(eager.to_array().isel(time=1)).all()
    lazy = intensity(data.chunk(time=1, y=20), centres)
    xr.testing.assert_allclose(lazy.compute(), eager)
    radius = np.arange(0, 100, 20.0)
    xr.testing.assert_allclose(profiles(data.chunk(time=1), centres, radius).compute(), profiles(data, centres, radius))


def test_a_radius_that_may_lie_beyond_the_edge_is_not_told():
    """With the centre 26 km from a corner, larger rings are known to a quarter: a maximum at 15 km is seen, one at 120
    km is not, nor is what the last known ring happens to say."""
    for rmw, seen in ((15.0, True), (120.0, False)):
        data = fields(Vortex(x=164.0, y=164.0, vmax=40, rmw=rmw), shape=(96, 96), dx=4.0)
        centre = xr.Dataset({"row": 47.5 + 164 / 4, "col": 47.5 + 164 / 4, "size": 40.0})
        found = intensity(data, centre)
        assert np.isfinite(found.rmw) == seen and np.isfinite(found.mean_wind) == seen


ANGLE = 2 * np.pi * np.arange(ANGLES) / ANGLES


def hidden(ring: np.ndarray, share: float, start: int) -> np.ndarray:
    """A ring of which only a `share`, from sample `start` on, is known."""
    known = np.zeros(ANGLES, bool)
    known[(np.arange(round(share * ANGLES)) + start) % ANGLES] = True
    return np.where(known, ring, np.nan)


def eddies(seed: int) -> np.ndarray:
    """Two rings (radial, tangential) with a mean, a uniform flow and eddies of about a sixth of a ring, m/s."""
    rng = np.random.default_rng(seed)
    turning = np.exp(1j * np.arange(2, 9)[:, None] * ANGLE)
    made = ((rng.normal(size=(2, 7)) + 1j * rng.normal(size=(2, 7))) @ turning).real * 0.8
    east, north = rng.normal(0, 6, 2)
    made[0] += -8 + east * np.cos(ANGLE) + north * np.sin(ANGLE)
    made[1] += 25 - east * np.sin(ANGLE) + north * np.cos(ANGLE)
    return made


def test_the_mean_of_a_full_ring_is_its_mean():
    radial, tangential = eddies(3)
    assert around(tangential) == pytest.approx(tangential.mean(), abs=1e-12)
    np.testing.assert_allclose(around_wind(radial, tangential), (radial.mean(), tangential.mean()), rtol=1e-12)


def test_a_ring_needs_two_fifths_of_itself():
    ring = 20 + 0 * ANGLE
    for share, known in ((LEAST_SEEN + 0.02, True), (LEAST_SEEN - 0.02, False)):
        part = hidden(ring, share, 5)
        assert np.isfinite(around(part)) == known
        assert np.isfinite(around_wind(part, part)).all() == known
    rings = np.stack([[ring, hidden(ring, 0.5, 9)], [hidden(ring, 0.1, 0), np.nan * ring]])
    np.testing.assert_allclose(around(rings), [[20, 20], [np.nan, np.nan]])
    np.testing.assert_allclose(around_wind(rings, 2 * rings)[1], [[40, 40], [np.nan, np.nan]])


@pytest.mark.parametrize("start", [0, 20, 47])
def test_half_a_ring_of_a_uniform_flow_is_no_bias_of_the_wind_and_a_bounded_one_of_others(start):
    """The plain mean would be off by up to 2 / pi = 0.64 of the amplitude."""
    radial, tangential = 6 * np.cos(ANGLE - 1), -6 * np.sin(ANGLE - 1)
    means = around_wind(hidden(radial - 5, 0.5, start), hidden(tangential + 30, 0.5, start))
    np.testing.assert_allclose(means, (-5, 30), atol=1e-9)
    bias = [around(hidden(np.cos(ANGLE - 2 * np.pi * k / 36), 0.5, start)) for k in range(36)]
    assert np.abs(bias).max() < 0.44
    assert np.abs([around(hidden(np.cos(ANGLE - 2 * np.pi * k / 36), 0.8, start)) for k in range(36)]).max() < 0.12


def test_with_eddies_the_fitted_means_are_nearer_to_those_of_the_full_rings():
    miss = {"wind": [], "others": [], "plain": []}
    for seed in range(40):
        whole = eddies(seed)
        part = np.stack([hidden(ring, 0.5, 7 * seed) for ring in whole])
        miss["wind"].append(np.array(around_wind(*part)) - whole.mean(-1))
        miss["others"].append(around(part) - whole.mean(-1))
        miss["plain"].append(np.nanmean(part, -1) - whole.mean(-1))
    rms = {name: np.sqrt(np.mean(np.square(values))) for name, values in miss.items()}
    assert rms["wind"] < 0.5 * rms["plain"] and rms["others"] < 0.85 * rms["plain"]


def test_rain_that_is_seen_on_one_side_does_not_become_negative():
    rain = 4 * np.maximum(np.cos(ANGLE), 0) ** 8
    for start in range(0, ANGLES, 3):
        assert 0 <= around(hidden(rain, 0.45, start)) <= 4


@pytest.mark.parametrize("side", ["row", "col"])
@pytest.mark.parametrize("end", [0, 127])
def test_half_off_the_grid_a_carried_vortex_keeps_its_profile(side, end):
    """The centre lies on the border; the plain means would be off by up to 3.8 m/s."""
    place = {"row": 63.5, "col": 63.5} | {side: float(end)}
    x, y = (4.0 * (place[name] - 63.5) for name in ("col", "row"))
    vortex = Vortex(x=x, y=y, vmax=40, rmw=40)
    data = fields(vortex, shape=(128, 128), flow=(6.0, -3.0))
    centre = xr.Dataset(place | {"size": 40.0})
    radius = np.arange(16, 160, 12.0)
    found, wind = profiles(data, centre, radius), vortex.tangential(radius)
    np.testing.assert_allclose(found.tangential, wind * INFLOW, atol=0.3)
    np.testing.assert_allclose(found.radial, -wind * np.sin(np.deg2rad(20)), atol=0.3)
    numbers = intensity(data, centre)
    assert float(numbers.mean_wind) == pytest.approx(40 * INFLOW, rel=0.01)
    assert float(numbers.rmw) == pytest.approx(40, abs=2)


def test_masked_land_on_one_side_leaves_the_profile():
    data = fields(Vortex(vmax=40, rmw=40), shape=(128, 128), flow=(6.0, -3.0))
    land = (data.x > 25) & (abs(data.y) < 90)
    radius = np.arange(48, 120, 12.0)
    place = xr.Dataset({"row": 63.5, "col": 63.5, "size": 40.0})
    found, whole = (profiles(part, place, radius) for part in (data.where(~land), data))
    np.testing.assert_allclose(found.tangential, whole.tangential, atol=0.3)
    np.testing.assert_allclose(found.radial, whole.radial, atol=0.3)
    assert np.isfinite(found.speed).all()
