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


def isobars_centre(p, dx_km):
    """Row and column (half cells) about which the isobars within 140 km are most nearly circles, on the grid or off it:
    where pressure is explained best by distance alone."""
    rows, columns = np.indices(p.shape)
    found = []
    for i in np.arange(44, 54, 0.5):
        for j in np.arange(41, 51, 0.5):
            r = np.hypot(rows - i, columns - j)[:, :] * dx_km / 140
            ramps = [np.clip(8 * r - k, 0, 1)[r < 1] for k in range(8)]
            terms = np.stack([np.ones_like(ramps[0]), *ramps], axis=1)
            left = p[r < 1] - terms @ np.linalg.lstsq(terms, p[r < 1], rcond=None)[0]
            found.append((np.sqrt(np.mean(left**2)), i, j))
    return min(found)[1:]


def test_the_centre_is_where_the_isobars_are_circles_at_each_time_beyond_the_last_row(fields, centres):
    found = centres.isel(vortex=0)
    for t in range(4):
        row, col = isobars_centre(fields.msl.values[t].astype(float), 9.1)
        assert row > 47.5
        assert np.hypot(found.row[t] - row, found.col[t] - col) * 9.1 < 20
    assert (found.row[[0, 1, 3]] > 47.5).all()


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
