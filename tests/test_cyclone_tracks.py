"""Tracks of vortices that move as prescribed, and what ensembles of them say."""

import numpy as np
import pytest
import xarray as xr
from vortices import Vortex, fields

from labkit.errors import DataError
from labkit.verify.cyclones import (
    WEAK,
    along_and_across,
    cone,
    find,
    join,
    mean_track,
    nearest,
    strike_probability,
    track_error,
)

START = np.datetime64("2020-08-01T00", "ns")


def hours(n, step=1):
    return START + np.arange(0, n * step, step) * np.timedelta64(1, "h")


def scene(n, make, **options):
    """Fields of `make(hour)` -> vortices, hour by hour."""
    drawn = [
        fields(*make(h), **({"shape": (100, 160), "dx": 5.0, "noise": 0.5, "seed": h} | options)) for h in range(n)
    ]
    return xr.concat([one.drop_vars("msl") for one in drawn], xr.Variable("time", hours(n)))


def tracked(data, count=1, **options):
    return join(find(data, count=3, limits=WEAK), count=count, **options)


def test_a_vortex_is_followed_leaves_the_domain_and_is_nowhere_then():
    """Its centre crosses the outer cells at 397.5 km; three quarters of a filter radius beyond it is told no more."""
    x, y = -250 + 45.0 * np.arange(20), -40 + 5.0 * np.arange(20)
    track = tracked(scene(20, lambda h: [Vortex(x[h], y[h], vmax=35, rmw=40)])).isel(track=0)
    inside, gone = x < 370, x > 490
    assert inside.sum() >= 13 and gone.sum() >= 2
    np.testing.assert_allclose(track.x[inside], x[inside], atol=3)
    np.testing.assert_allclose(track.y[inside], y[inside], atol=3)
    assert np.isnan(track.x[gone]).all()
    between = np.isfinite(track.x.values) & ~inside
    np.testing.assert_allclose(track.x[between], x[between], atol=10)


def test_two_that_pass_each_other_are_not_exchanged():
    def make(h):
        return [Vortex(-300 + 50.0 * h, 110, vmax=40, rmw=35), Vortex(300 - 50.0 * h, -110, vmax=30, rmw=35)]

    tracks = tracked(scene(13, make), count=2)
    np.testing.assert_allclose(tracks.y[0], 110, atol=4)
    np.testing.assert_allclose(tracks.y[1], -110, atol=4)
    assert (tracks.x[0].diff("time") > 0).all() and (tracks.x[1].diff("time") < 0).all()


def test_it_is_still_the_same_after_a_mountain_hid_it():
    def make(h):
        return [Vortex(-200 + 30.0 * h, 0, vmax=4 if 5 <= h <= 8 else 30, rmw=40)]

    track = tracked(scene(14, make)).isel(track=0)
    lost = np.isnan(track.x.values)
    assert lost[5:9].all() and not lost[:5].any() and not lost[9:].any()
    impatient = tracked(scene(14, make), count=2, gap_h=2.0)
    assert np.isfinite(impatient.x).any("time").all()  # two tracks, before and after


def test_weak_centres_prolong_a_track_but_make_none():
    weakening = scene(10, lambda h: [Vortex(20.0 * h - 90, 0, vmax=30 - 2.4 * h, rmw=45)], noise=0.2)
    assert np.isfinite(tracked(weakening).x).sum() == 10
    assert np.isnan(tracked(weakening, evident=30.0).x).all()
    assert np.isnan(tracked(scene(6, lambda h: [])).x).all()


def test_what_jumps_further_than_a_storm_can_move_is_another_one():
    data = scene(8, lambda h: [Vortex(-250 if h < 4 else 250, 0, vmax=35, rmw=40)])
    tracks = tracked(data, count=2)
    assert np.isfinite(tracks.x).sum("time").values.tolist() == [4, 4]


def test_members_are_tracked_each_by_itself_and_the_nearest_to_a_reference_is_chosen():
    def member(m):
        return scene(
            5, lambda h: [Vortex(30.0 * h, 60.0, vmax=30, rmw=40), Vortex(-250, -100 + 4 * m, vmax=45, rmw=40)]
        )

    tracks = tracked(xr.concat([member(m) for m in range(3)], "ensemble"), count=2)
    reference = xr.Dataset({"x": ("time", 30.0 * np.arange(5)), "y": ("time", np.full(5, 50.0))}, {"time": hours(5)})
    storm = nearest(tracks, reference)
    assert storm.x.dims == ("ensemble", "time")
    np.testing.assert_allclose(storm.y, 60, atol=4)
    np.testing.assert_allclose(track_error(storm, reference), 10, atol=4)
    assert np.isnan(nearest(tracks, reference, within_km=2).x).all()


def line(lat, lon):
    """A track in degrees alone."""
    lat, lon = np.broadcast_arrays(np.asarray(lat, float), np.asarray(lon, float))
    dims = ("ensemble", "time")[2 - lat.ndim :]
    return xr.Dataset({"lat": (dims, lat), "lon": (dims, lon)}, {"time": hours(lat.shape[-1], 6)})


def test_errors_on_the_sphere_and_their_parts_along_and_across():
    reference = line([10.0, 10.0, 10.0], [178.0, 179.5, -179.0])  # to the east, over the date line
    ahead = line([10.0, 10.0, 10.0], [179.0, -179.5, -178.0])
    degree = np.deg2rad(6371.0)
    np.testing.assert_allclose(track_error(ahead, reference), degree * np.cos(np.deg2rad(10)), rtol=1e-3)
    right = line([9.0, 9.0, 9.0], [178.0, 179.5, -179.0])
    parts = along_and_across(ahead, reference)
    np.testing.assert_allclose(parts.along, degree * np.cos(np.deg2rad(10)), rtol=5e-3)
    np.testing.assert_allclose(parts.across, 0, atol=1)
    parts = along_and_across(right, reference)
    np.testing.assert_allclose(parts.across, degree, rtol=5e-3)
    np.testing.assert_allclose(parts.along, 0, atol=1)


def test_the_mean_crosses_the_date_line_and_the_cone_holds_its_share():
    tracks = line([[0.0] * 3] * 2, [[179.0] * 3, [-179.0] * 3])
    np.testing.assert_allclose(np.abs(mean_track(tracks).lon), 180)
    rng = np.random.default_rng(0)
    many = line(20 + rng.normal(size=(300, 4)), 130 + rng.normal(size=(300, 4)) / np.cos(np.deg2rad(20)))
    found = cone(many, share=2 / 3)
    expected = np.deg2rad(6371.0) * np.sqrt(2 * np.log(3))  # of a circular normal law
    np.testing.assert_allclose(found.radius, expected, rtol=0.12)
    with pytest.raises(DataError, match=r"a share of 1\.5"):
        cone(many, share=1.5)


def test_members_without_a_storm_do_not_pull_the_mean_but_too_few_make_none():
    lat = np.array([[10.0, 10, 10], [12, np.nan, np.nan], [14, 14, np.nan]])
    found = mean_track(line(lat, np.where(np.isnan(lat), np.nan, 130.0)))
    np.testing.assert_allclose(found.lat, [12, 12, np.nan])
    assert found.members.values.tolist() == [3, 2, 1]


def test_strike_probability_counts_members_once_and_leaves_no_gaps_between_times():
    none = [np.nan, np.nan]
    lat = [[20.0, 20.0], [20.0, 20.0], [23.0, 23.0], none]
    tracks = line(lat, [[120.0, 130.0], [130.0, 120.0], [120.0, 130.0], none])
    places = xr.Dataset({"lat": ("place", [20.0, 20.0, 23.0, 30.0]), "lon": ("place", [125.0, 121.0, 125.0, 125.0])})
    found = strike_probability(tracks, places, within_km=65)
    np.testing.assert_allclose(found, [0.5, 0.5, 0.25, 0])
    dims = ("ensemble", "time")
    plane = xr.Dataset({"x": (dims, [[0.0, 300.0]]), "y": (dims, [[0.0, 0.0]])}, {"time": hours(2)})
    grid = xr.Dataset(coords={"x": np.array([150.0]), "y": np.array([0.0, 64.0, 66.0])})
    np.testing.assert_allclose(strike_probability(plane, grid, within_km=65).squeeze(), [1, 1, 0])


def test_centres_that_cannot_be_joined_are_refused():
    data = scene(3, lambda h: [Vortex(vmax=30)])
    with pytest.raises(DataError, match="dimensions time and vortex"):
        join(find(data.isel(time=0)))
    with pytest.raises(DataError, match="rising times"):
        join(find(data.isel(time=[0, 0, 1])))
