"""Rain of a constant 1 mm/h is 1.0 at every time, whatever a file counts it from; an impossible rate is an error."""

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from tiny_grib import LAT, LON, grib, rain

from labkit.data.era5 import open_era5
from labkit.data.files import open_files
from labkit.data.grib import open_grib
from labkit.data.intervals import shortest
from labkit.errors import DataError

M = 1e-3  # metres in a millimetre
HOURLY = np.datetime64("2020-09-01T01", "ns") + np.arange(6) * np.timedelta64(1, "h")
# Intervals (hours of the forecast) whose amount is that of 1 mm/h, as centres write them.
CONVENTIONS = {
    "NCEP, buckets of 3 h": [(0, 3), (3, 6), (6, 9)],
    "NCEP GFS, buckets of 6 h emptied at 6, 12": [(0, 3), (0, 6), (6, 9), (6, 12), (12, 15), (12, 18)],
    "NCEP GFS, buckets of 6 h each hour": [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (0, 6), (6, 7), (6, 8)],
    "NCEP GFS, buckets and the whole run": [(0, 6), (0, 6), (6, 12), (0, 12), (12, 18), (0, 18)],
    "hourly": [(0, 1), (1, 2), (2, 3)],
    "HRRR, of the hour and since the run's start": [(0, 1), (0, 2), (1, 2), (0, 3), (2, 3)],
    "ECMWF, since the base": [(0, 0), (0, 3), (0, 6), (0, 12)],
    "DWD ICON, since the start": [(0, 0), (0, 1), (0, 2), (0, 3), (0, 6)],
    "of 24 h, every six": [(0, 24), (6, 30), (12, 36)],
    "AIFS, of six hours": [(0, 6), (6, 12), (12, 18)],
    "only the last": [(0, 72)],
    "ERA5 forecast, of the hour": [(5, 6), (6, 7), (7, 8)],
    "ERA5 members, of three hours": [(0, 3), (3, 6), (6, 9)],
}


@pytest.mark.parametrize(
    "kind", [(1, "kg"), (1, "m"), (2, "kg"), (2, "m")], ids=lambda kind: f"GRIB{kind[0]}-{kind[1]}"
)
@pytest.mark.parametrize("intervals", CONVENTIONS.values(), ids=CONVENTIONS)
def test_a_constant_millimetre_an_hour_in_grib(tmp_path, intervals, kind):
    edition, unit = kind
    scale = M if unit == "m" else 1.0
    fields = [rain(a, b, scale * (b - a), edition=edition, unit=unit) for a, b in intervals]
    found = open_grib(grib(tmp_path / "rain.grib", *fields)).tp
    ends = sorted({b for _, b in intervals})
    np.testing.assert_array_equal(found.lead_time / np.timedelta64(1, "h"), ends)
    assert found.attrs["units"] == "mm h-1"
    there = found.sel(time=found.lead_time > np.timedelta64(0, "h"))
    np.testing.assert_allclose(there, 1.0, rtol=1e-4)
    assert found.isnull().sum() == found[0, 0].size * (0 in ends)  # nothing falls within no time


@pytest.mark.parametrize("intervals", CONVENTIONS.values(), ids=CONVENTIONS)
def test_rain_that_changes_is_that_of_its_own_interval(tmp_path, intervals, rng):
    """Amounts are sums over hours of a known series: each rate is the mean of the hours since the time before that the
    file can tell."""
    series = rng.gamma(0.5, 2.0, (80, len(LAT), len(LON)))
    fields = [rain(a, b, series[a:b].sum(axis=0)) for a, b in intervals]
    found = open_grib(grib(tmp_path / "rain.grib", *fields)).tp
    for end in {b for _, b in intervals} - {0}:
        since = [a for a, b in intervals if b == end]
        since += [b for a, b in intervals if a in since and b < end]
        expected = series[max(since) : end].mean(axis=0)[::-1]
        lead = found.lead_time == np.timedelta64(end, "h")
        east = found.sel(time=lead)[0, 0].sortby("x")
        order = np.argsort((LON + 180) % 360 if 180 not in LON else np.where(LON > 180, LON - 360, LON))
        np.testing.assert_allclose(east, expected[:, order], atol=1e-3)


@pytest.mark.parametrize("intervals", [[(0, 3), (3, 6)], [(0, 3), (0, 6), (6, 9), (6, 12)], [(0, 6), (0, 12)]])
@pytest.mark.parametrize("edition", [1, 2])
def test_means_of_a_rate_over_an_interval(tmp_path, intervals, edition, rng):
    series = rng.gamma(0.5, 2.0, 12)
    if edition == 1:
        keys = {"centre": "kwbc", "table2Version": 2, "indicatorOfParameter": 59, "timeRangeIndicator": 3}
    else:
        keys = {"centre": "kwbc", "productDefinitionTemplateNumber": 8, "parameterCategory": 1, "parameterNumber": 7}
        keys |= {"stepType": "avg"}
    fields = [
        {"edition": edition, **keys, "stepRange": f"{a}-{b}", "values": series[a:b].mean() / 3600} for a, b in intervals
    ]
    found = open_grib(grib(tmp_path / "rate.grib", *fields)).tp
    assert found.attrs["units"] == "mm h-1"
    starts = [0, *[b for _, b in intervals]]
    expected = [series[a:b].mean() for a, b in pairwise(starts)]
    np.testing.assert_allclose(found[0, :, 0, 0], expected, rtol=1e-4)


def test_minutes_are_minutes(tmp_path):
    fields = [rain(0, 15 * (i + 1), 0.25 * (i + 1), keys=None) for i in range(4)]
    for i, one in enumerate(fields):
        one |= {"stepUnits": "m", "stepRange": f"0m-{15 * (i + 1)}m"}
    found = open_grib(grib(tmp_path / "icon.grib", *fields)).tp
    np.testing.assert_array_equal(found.lead_time / np.timedelta64(1, "m"), [15, 30, 45, 60])
    np.testing.assert_allclose(found, 1.0, rtol=1e-4)


@pytest.mark.parametrize(
    ("origin", "hours"),
    [("ea oper", [1, 1, 1]), ("ea enda", [3, 3, 3]), ("od oper", [3, 6, 9]), ("l5 oper", [3, 6, 9])],
)
def test_ecmwf_files_of_edition_1_that_give_the_end_only(tmp_path, origin, hours):
    kind, stream = origin.split()
    keys = {"setLocalDefinition": 1, "class": kind, "stream": stream, "timeRangeIndicator": 0}
    fields = [
        {**rain(0, 3 * (i + 1), M * h, edition=1, unit="m"), **keys, "stepRange": str(3 * (i + 1))}
        for i, h in enumerate(hours)
    ]
    np.testing.assert_allclose(open_grib(grib(tmp_path / "tp.grib", *fields)).tp, 1.0, rtol=1e-4)


def test_an_amount_without_an_interval_is_refused_by_name_unless_it_is_told(tmp_path):
    fields = [{**rain(0, 6 * i, 6.0, edition=1), "timeRangeIndicator": 0, "stepRange": f"{6 * i}"} for i in (1, 2)]
    path = grib(tmp_path / "odd.grib", *fields)
    with pytest.raises(DataError, match=r"tp of GRIB file odd\.grib: found an amount.*accumulated=\{'tp': 1\}"):
        open_grib(path)
    np.testing.assert_allclose(open_grib(path, accumulated={"tp": 6}).tp, 1.0, rtol=1e-5)
    with pytest.raises(DataError, match="found t2m"):
        open_grib(path, accumulated={"t2m": 6})
    with pytest.raises(DataError, match="'week'"):
        open_grib(path, accumulated={"tp": "week"})


def test_monthly_means_of_ecmwf_are_amounts_of_a_day_and_not_of_their_step(tmp_path):
    keys = {"setLocalDefinition": 1, "class": "ea", "stream": "moda"}
    path = grib(tmp_path / "moda.grib", {**rain(0, 24, 24 * M, edition=1, unit="m"), **keys})
    with pytest.raises(DataError, match="tp of GRIB"):
        open_grib(path)
    np.testing.assert_allclose(open_grib(path, accumulated={"tp": 24}).tp, 1.0, rtol=1e-5)


def test_a_negative_rate_is_an_error_and_the_noise_of_packing_is_none(tmp_path):
    path = grib(tmp_path / "wrong.grib", rain(0, 3, 3.0), rain(0, 6, 2.0))
    found = open_grib(path)
    with pytest.raises(DataError, match=r"tp of the GRIB.*2020-09-01T06.*-1 mm within 3 h"):
        found.tp.values  # noqa: B018
    coarse = np.linspace(0, 100, len(LAT) * len(LON)).reshape(len(LAT), len(LON))
    fields = [rain(0, 3, coarse, bits=8), rain(0, 6, coarse + 0.01 * np.sin(coarse), bits=8)]
    rates = open_grib(grib(tmp_path / "packed.grib", *fields)).tp.values
    assert rates.min() >= 0 and rates[0, 1].max() < 100 / 2**8


def test_a_mask_stays_missing_and_is_no_zero(tmp_path):
    amount = np.full((len(LAT), len(LON)), 6.0)
    amount[2, 3] = np.nan
    found = open_grib(grib(tmp_path / "mask.grib", rain(0, 3, amount / 2), rain(0, 6, amount))).tp.values
    assert np.isnan(found).sum() == 2 and np.nanmin(found) == pytest.approx(1)


def test_the_shortest_interval_of_each_end():
    hours = np.datetime64("2020-01-01", "h") + np.arange(10)
    assert shortest(hours[[0, 0, 2]], hours[[2, 4, 4]]) == [(0, None, 2.0), (2, None, 2.0)]
    assert shortest(hours[[0, 0]], hours[[3, 5]]) == [(0, None, 3.0), (1, 0, 2.0)]
    (_, _, nothing), second = shortest(hours[[0, 0]], hours[[0, 5]])
    assert np.isnan(nothing) and second == (1, 0, 5.0)
    assert shortest(hours[[4, 0]], hours[[6, 3]]) == [(1, None, 3.0), (0, None, 2.0)]  # in any order


def netcdf(folder, amounts, times, *, name="tp", bounds=None, units="mm", methods=None, lat=None, number=None, **attrs):
    lat = np.arange(40.0, 30.0, -0.25 * 8) if lat is None else lat
    lon = np.arange(len(lat)) * abs(lat[1] - lat[0])
    values = np.ones((len(lat), len(lon))) * np.asarray(amounts, float)[:, None, None]
    dims = ("time", "latitude", "longitude")
    if number is not None:
        values, dims = np.repeat(values[:, None], number, 1), ("time", "number", *dims[1:])
    told = {"units": units} | ({"cell_methods": methods} if methods else {}) | attrs
    coords = {"time": times, "latitude": lat, "longitude": lon} | ({"number": np.arange(number)} if number else {})
    found = xr.Dataset({name: (dims, values, told)}, coords)
    if bounds is not None:
        found["time_bnds"] = (("time", "bnds"), bounds)
        found["time"].attrs["bounds"] = "time_bnds"
        found["time"].encoding = {"units": "seconds since 2020-01-01", "dtype": "float64"}
    path = folder / f"{name}_{len(list(folder.iterdir()))}.nc"
    found.to_netcdf(path)
    return path


def opened(path, **options):
    """What `open_files` makes of a file that is its own coarse input."""
    pairs = open_files(path, path, **options)
    assert set(pairs.target.units.values) == {"mm h-1"}
    np.testing.assert_array_equal(pairs.input.values, pairs.target.values)
    return pairs.target.values[:, 0, 0, 0]


HOUR = np.timedelta64(1, "h")
SINCE_START = np.stack([np.full(6, HOURLY[0] - HOUR), HOURLY], axis=1)


@pytest.mark.parametrize("units", ["mm", "kg m-2", "m", "kg m**-2", "cm", "inches"])
def test_bounds_of_the_time_tell_the_interval(tmp_path, units):
    one = {"m": M, "cm": 0.1, "inches": 1 / 25.4}.get(units, 1.0)
    three = np.stack([HOURLY - 3 * HOUR, HOURLY], axis=1)
    path = netcdf(tmp_path, np.full(6, 3 * one), HOURLY, bounds=three, units=units, methods="time: sum")
    np.testing.assert_allclose(opened(path), 1.0, rtol=1e-5)
    running = netcdf(tmp_path, one * np.arange(1.0, 7), HOURLY, bounds=SINCE_START, units=units)
    np.testing.assert_allclose(opened(running), 1.0, rtol=1e-5)
    middle = netcdf(tmp_path, np.full(6, 3 * one), HOURLY - 90 * np.timedelta64(1, "m"), bounds=three, units=units)
    np.testing.assert_allclose(opened(middle), 1.0, rtol=1e-5)


@pytest.mark.parametrize("said", ["3 hours", "3 h", "180 min", "0.125 days"])
def test_cell_methods_tell_the_interval(tmp_path, said):
    path = netcdf(tmp_path, np.full(6, 3.0), HOURLY, methods=f"area: mean time: sum (interval: {said})")
    np.testing.assert_allclose(opened(path), 1.0, rtol=1e-5)


def test_an_amount_of_which_nothing_tells_the_time_is_refused_by_name_unless_it_is_told(tmp_path):
    path = netcdf(tmp_path, np.full(6, 3.0), HOURLY, methods="time: sum")
    with pytest.raises(DataError, match=r"tp of .*: found an amount, .*accumulated=\{'tp': 1\}.*accumulated=\{tp: 1\}"):
        open_files(path, path)
    np.testing.assert_allclose(opened(path, accumulated={"tp": 3}), 1.0, rtol=1e-5)
    np.testing.assert_allclose(opened(path, units={"tp": "mm h-1"}), 3.0, rtol=1e-5)
    running = netcdf(tmp_path, 5 + np.arange(6.0), HOURLY)
    rates = opened(running, accumulated={"tp": "start"})
    assert len(rates) == 5  # what fell before the first time fell within an unknown time
    np.testing.assert_allclose(rates, 1.0, rtol=1e-5)
    with pytest.raises(DataError, match="-4 mm within 1 h"):
        opened(netcdf(tmp_path, [1, 2, 3, 4, 0, 1], HOURLY), accumulated={"tp": "start"})


def test_a_day_ends_at_00_utc(tmp_path):
    times = np.datetime64("2020-09-01T21", "ns") + np.arange(6) * HOUR
    path = netcdf(tmp_path, [21 * M, 22 * M, 23 * M, 24 * M, 1 * M, 2 * M], times, units="m")
    np.testing.assert_allclose(opened(path, accumulated={"tp": "day"}), 1.0, rtol=1e-5)


def test_a_flux_is_a_rate_already(tmp_path):
    path = netcdf(tmp_path, np.full(6, 1 / 3600), HOURLY, name="pr", units="kg m-2 s-1", methods="time: mean")
    np.testing.assert_allclose(opened(path), 1.0, rtol=1e-5)


def test_era5_of_the_hour_its_members_of_three_and_era5_land_of_the_day(tmp_path):
    hourly = open_era5(netcdf(tmp_path, np.full(6, M), HOURLY, units="m"))
    np.testing.assert_allclose(hourly.tp, 1.0, rtol=1e-5)
    three = np.datetime64("2020-09-01T00", "ns") + np.arange(6) * 3 * HOUR
    members = open_era5(netcdf(tmp_path, np.full(6, 3 * M), three, units="m", number=2))
    assert members.tp.dims[0] == "ensemble"
    np.testing.assert_allclose(members.tp, 1.0, rtol=1e-5)
    one = netcdf(tmp_path, np.full(6, 3 * M), three, units="m", GRIB_totalNumber=10)
    np.testing.assert_allclose(open_era5(one).tp, 1.0, rtol=1e-5)
    tenths = 45 - 0.1 * np.arange(5)
    land = netcdf(tmp_path, M * np.array([23, 24, 1, 2, 3, 4]), HOURLY + 22 * HOUR, units="m", lat=tenths)
    with pytest.raises(DataError, match=r"ERA5-Land counts since 00 UTC.*'day'"):
        open_era5(land)
    np.testing.assert_allclose(open_era5(land, accumulated={"tp": "day"}).tp, 1.0, rtol=1e-5)


@pytest.mark.parametrize("days", [1, 31])
def test_daily_and_monthly_era5_is_refused_unless_it_is_told(tmp_path, days):
    times = np.datetime64("2020-01-01", "ns") + np.arange(4) * np.timedelta64(days, "D")
    path = netcdf(tmp_path, np.full(4, 24 * M), times, units="m")
    with pytest.raises(DataError, match="tp of ERA5 file"):
        open_era5(path)
    np.testing.assert_allclose(open_era5(path, accumulated={"tp": 24}).tp, 1.0, rtol=1e-5)


def test_negative_rain_of_era5_is_an_error_beyond_what_packing_leaves(tmp_path):
    found = open_era5(netcdf(tmp_path, [M, -0.5 * M, M, M, M, M], HOURLY, units="m"))
    with pytest.raises(DataError, match=r"-0\.5 mm within 1 h"):
        found.tp.values  # noqa: B018
    noise = open_era5(netcdf(tmp_path, [M, -1e-9, M, M, M, M], HOURLY, units="m"))
    assert float(noise.tp.min()) == 0


def test_an_interval_shorter_than_the_way_to_the_next_time_may_be_that_of_what_was_summed(tmp_path):
    """CF: of "time: sum (interval: 1 hour)" the hour may be that of the values, so that three hours fell in three."""
    three = HOURLY[0] + 3 * np.arange(6) * HOUR
    path = netcdf(tmp_path, np.full(6, 3.0), three, methods="time: sum (interval: 1 hour)")
    with pytest.raises(DataError, match="an interval of 1 h between times 3 h apart"):
        opened(path)
    np.testing.assert_allclose(opened(path, accumulated={"tp": 3}), 1.0, rtol=1e-5)
    bounds = np.stack([three - 3 * HOUR, three], axis=1)
    both = netcdf(tmp_path, np.full(6, 3.0), three, methods="time: sum (interval: 1 hour)", bounds=bounds)
    np.testing.assert_allclose(opened(both), 1.0, rtol=1e-5)


def test_bounds_that_are_empty_or_no_dates_tell_nothing(tmp_path):
    empty = netcdf(tmp_path, np.full(6, 1.0), HOURLY, bounds=np.stack([HOURLY, HOURLY], axis=1))
    with pytest.raises(DataError, match="nothing that says within which time it fell"):
        opened(empty)
    numbers = netcdf(tmp_path, np.full(6, 1.0), HOURLY, methods="time: sum (interval: 1 hour)")
    with xr.open_dataset(numbers) as found:
        found.assign(time_bnds=(("time", "nv"), np.arange(12.0).reshape(6, 2))).to_netcdf(tmp_path / "numbers.nc")
    np.testing.assert_allclose(opened(tmp_path / "numbers.nc"), 1.0, rtol=1e-5)


@pytest.mark.parametrize("name", ["precipitation_amount", "rainfall_amount", "rainfall", "prcp", "APCP"])
def test_rain_is_known_by_the_names_that_files_give_it(tmp_path, name):
    path = netcdf(tmp_path, np.full(6, 3.0), HOURLY, name=name)
    with pytest.raises(DataError, match=f"{name} of input .*found an amount"):
        opened(path)
    np.testing.assert_allclose(opened(path, accumulated={name: 3}), 1.0, rtol=1e-5)


def test_a_time_of_the_base_beside_one_of_validity_is_not_that_of_era5(tmp_path):
    path = netcdf(tmp_path, np.full(6, M), HOURLY - 6 * HOUR, units="m")
    with xr.open_dataset(path) as found:
        found.assign_coords(valid_time=("time", HOURLY), step=6 * HOUR).to_netcdf(tmp_path / "steps.nc")
    np.testing.assert_array_equal(open_era5(tmp_path / "steps.nc").time, HOURLY)
