"""Distances on the sphere against what they must be."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.sphere import EARTH_RADIUS_KM, KM_PER_DEGREE, distance_km, wrapped


def test_a_quarter_and_a_half_of_the_globe():
    quarter = np.pi / 2 * EARTH_RADIUS_KM
    assert distance_km(0, 0, 90, 37) == pytest.approx(quarter)
    assert distance_km(0, 10, 0, 100) == pytest.approx(quarter)
    assert distance_km(0, 0, 0, 180) == pytest.approx(2 * quarter)
    assert distance_km(-90, 0, 90, 0) == pytest.approx(2 * quarter)


def test_law_of_cosines_holds_between_any_points():
    rng = np.random.default_rng(1)
    lat, other_lat = np.rad2deg(np.arcsin(rng.uniform(-1, 1, (2, 500))))
    lon, other_lon = rng.uniform(-180, 180, (2, 500))
    phi, psi = np.deg2rad(lat), np.deg2rad(other_lat)
    cosine = np.sin(phi) * np.sin(psi) + np.cos(phi) * np.cos(psi) * np.cos(np.deg2rad(lon - other_lon))
    np.testing.assert_allclose(distance_km(lat, lon, other_lat, other_lon), EARTH_RADIUS_KM * np.arccos(cosine), 1e-6)


def test_small_distances_are_those_of_the_plane():
    north, east = 1e-4, 2e-4
    plane = KM_PER_DEGREE * np.hypot(north, east * np.cos(np.deg2rad(60)))
    assert distance_km(60, 20, 60 + north, 20 + east) == pytest.approx(plane, rel=1e-5)
    assert distance_km(23.5, 121, 23.5, 121) == 0


def test_distance_is_symmetric_and_knows_no_date_line():
    assert distance_km(10, 179, 12, -178) == pytest.approx(distance_km(12, -178, 10, 179))
    assert distance_km(10, 179, 12, -178) == pytest.approx(distance_km(10, -1, 12, 2))
    assert distance_km(10, 179, 12, 182) == pytest.approx(distance_km(10, 179, 12, -178))


def test_distances_broadcast_and_keep_what_is_unknown():
    found = distance_km(np.array([[0.0], [np.nan]]), 0, 0, np.array([0.0, 90, 180]))
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found[0], np.pi * EARTH_RADIUS_KM * np.array([0, 0.5, 1]))
    assert np.isnan(found[1]).all()


def test_wrapped_longitudes_differ_by_whole_turns():
    lon = np.array([-540.0, -190, -180, -20, 0, 179, 181, 360, 725])
    found = wrapped(lon)
    assert (found >= -180).all() and (found <= 180).all()
    np.testing.assert_allclose((found - lon) % 360, 0, atol=1e-9)
    assert np.isnan(wrapped(np.nan))
