"""Hurricane Katrina in real model output: a nest that moves, and a centre in its very corner."""

import numpy as np
import pytest

from labkit.data.public import fetch, present
from labkit.data.wrf import open_wrfout
from labkit.verify.cyclones import find, intensity, join, track_error

pytestmark = pytest.mark.skipif(
    not present("wrf_katrina_10km"), reason="needs the data set wrf_katrina_10km: set LABKIT_DATA"
)


@pytest.fixture(scope="module")
def fields():
    return open_wrfout(fetch("wrf_katrina_10km") / "ci_test_file.nc").compute()


@pytest.fixture(scope="module")
def centres(fields):
    return find(fields)


def test_the_centre_is_where_the_fields_have_their_lowest_pressure_at_each_time(fields, centres):
    lowest = fields.msl.values.reshape(4, -1).argmin(1)
    rows, columns = np.unravel_index(lowest, fields.msl.shape[1:])
    found = centres.isel(vortex=0)
    np.testing.assert_allclose(found.row, rows, atol=0.5)
    np.testing.assert_allclose(found.col, columns, atol=0.5)
    for t in range(4):
        np.testing.assert_allclose(found.lat[t], fields.lat.values[t, rows[t], columns[t]], atol=0.06)
        np.testing.assert_allclose(found.lon[t], fields.lon.values[t, rows[t], columns[t]], atol=0.06)


def test_lowest_pressure_and_highest_wind_are_the_fields_own(fields, centres):
    numbers = intensity(fields, centres).isel(vortex=0)
    lowest = fields.msl.min(("y", "x"))
    assert (numbers.min_pressure <= lowest + 1).all()
    np.testing.assert_allclose(numbers.min_pressure, lowest, atol=100)  # Pa, below the size of a cell
    highest = np.hypot(fields.u10, fields.v10).max(("y", "x"))
    assert (numbers.max_wind >= highest - 1e-3).all()
    np.testing.assert_allclose(numbers.max_wind, highest, rtol=0.02)


def test_by_wind_alone_it_is_found_within_two_cells(fields, centres):
    apart = track_error(find(fields.drop_vars("msl")).isel(vortex=0), centres.isel(vortex=0))
    assert (apart < 20).all()


def test_the_track_follows_the_storm_and_not_the_nest(fields, centres):
    track = join(centres).isel(track=0)
    assert np.isfinite(track.lat).all()
    assert (track.lat.diff("time") > 0).all() and (track.lon.diff("time") < 0).all()
    moved = track_error(track.isel(time=slice(1, None)), track.isel(time=slice(-1)).assign_coords(time=track.time[1:]))
    assert ((moved / 3 > 8) & (moved / 3 < 35)).all()  # km/h; the best track has about 16
