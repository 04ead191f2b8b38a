"""Strata: who belongs where, and that they add up to the whole."""

import dask
import numpy as np
import pytest
import xarray as xr
from test_scores import gaussian

from labkit.errors import DataError
from labkit.verify.scores import cell_statistics, score
from labkit.verify.strata import bands, hour_of_day, season, stratified_scores, surface


def names(strata):
    return [strata.attrs["strata"][code] if code >= 0 else None for code in strata.values.ravel()]


def times(*text):
    return xr.DataArray(np.array(text, "datetime64[ns]"), dims="time", name="time")


def test_land_sea_and_bands():
    assert names(surface(xr.DataArray([0.0, 0.4, 0.5, 1.0, np.nan], dims="x"))) == ["sea", "sea", "land", "land", None]
    height = bands(xr.DataArray([-5.0, 99, 100, 499, 500, 3000, np.nan], dims="x"), (100, 500), units="m")
    low, middle, high = "below 100 m", "100 to 500 m", "from 500 m"
    assert names(height) == [low, low, middle, middle, high, high, None]


def test_seasons_and_hours():
    when = times("2020-12-01T00", "2021-02-28T23:59", "2021-03-01T03", "2021-08-31T12", "2021-11-30T21")
    assert names(season(when)) == ["DJF", "DJF", "MAM", "JJA", "SON"]
    utc = ["00-03 UTC", "21-24 UTC", "03-06 UTC", "12-15 UTC", "21-24 UTC"]
    assert names(hour_of_day(when)) == utc
    lon = xr.DataArray([0.0, 120.0, -90.0, 300.0, np.nan], dims="x")
    # 15 degrees to the east the sun is an hour ahead.
    assert names(hour_of_day(when[:1], lon=lon, width=6)) == [
        "00-06 local",
        "06-12 local",
        "18-24 local",
        "18-24 local",
        None,
    ]


@pytest.mark.parametrize("kind", ["surface", "season", "rain"])
def test_strata_add_up_to_the_whole(kind, rng):
    members, truth = gaussian(5, (12, 10, 11))
    members, truth = (
        a.assign_coords(time=np.datetime64("2021-01-15") + 30 * np.arange(12).astype("m8[D]")) for a in (members, truth)
    )
    strata = {
        "surface": surface(xr.DataArray(rng.random((10, 11)), dims=("y", "x"))),
        "season": season(truth.time),
        "rain": bands(members.mean("ensemble"), (-0.2, 0.3)),
    }[kind]
    cells = cell_statistics(members, truth)
    found, direct = stratified_scores(cells, strata), score(members, truth)
    share = found["count"] / found["count"].sum()
    assert int(found["count"].sum()) == truth.size
    assert float((share * found.crps).sum()) == pytest.approx(float(direct.crps))
    assert float((share * found.rmse**2).sum()) == pytest.approx(float(direct.rmse) ** 2)
    for code, name in enumerate(strata.attrs["strata"]):
        alone = score(members, truth.where(strata == code))
        xr.testing.assert_allclose(found.sel(stratum=name, drop=True), alone)


def test_a_bias_over_land_is_seen_over_land():
    members, truth = gaussian(5, (6, 20, 20))
    land = xr.zeros_like(truth[0]).where(truth.x < 7, 1.0)
    found = stratified_scores(cell_statistics(members + 2 * land, truth), surface(land))
    np.testing.assert_allclose(found.bias, [0, 2], atol=0.1)
    assert list(found["count"]) == [6 * 20 * 7, 6 * 20 * 13]


def test_an_empty_stratum_is_nan_and_unknown_cells_belong_to_none():
    members, truth = gaussian(3, (2, 4, 4))
    fraction = xr.ones_like(truth[0])
    fraction[0] = np.nan
    found = stratified_scores(cell_statistics(members, truth), surface(fraction))
    assert list(found["count"]) == [0, 2 * 12] and np.isnan(found.crps[0]) and np.isfinite(found.crps[1])


def test_chunked_equals_eager():
    members, truth = gaussian(4, (6, 9, 7))
    strata = bands(truth, (0.0,))
    lazy = cell_statistics(members.chunk(ensemble=2, time=4), truth.chunk(y=5))
    found = stratified_scores(lazy, strata.chunk(x=3))
    assert dask.is_dask_collection(found.crps)
    xr.testing.assert_allclose(found.compute(), stratified_scores(cell_statistics(members, truth), strata))


def test_mistakes_are_refused():
    members, truth = gaussian(3, (2, 4, 4))
    cells = cell_statistics(members, truth)
    with pytest.raises(DataError, match="unlike coordinates"):
        stratified_scores(cells, bands(truth.isel(y=slice(None, None, -1)), (0.0,)))
    with pytest.raises(DataError, match="expected dates"):
        season(truth.time)
    with pytest.raises(DataError, match="divisor of 24"):
        hour_of_day(times("2021-01-01"), width=5)
    with pytest.raises(DataError, match="rising"):
        bands(truth, (1, 0))
