"""Units: what a file says is converted, what it does not say is asked for where the values betray it."""

import re

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from labkit.errors import DataError
from labkit.units import check_plausible, check_told, factor_and_offset, in_our_units, kilometres, possible
from labkit.variables import REGISTRY, lookup

KNOT = 1852 / 3600
# By hand, from the definitions of the units: (variable, unit of the file, value there, value in the registry's unit).
KNOWN = [
    *[("u10", unit, 10.0, 10 * KNOT) for unit in ("kt", "kts", "knot", "knots")],
    *[("u10", unit, 3.0, 3.0) for unit in ("m s-1", "m s**-1", "m/s", "m s^-1", "m.s-1", "meter/second", "m s^{-1}")],
    *[("u10", unit, 3.0, 3.0) for unit in ("ms-1", "m s−1", " m s-1 ")],
    *[("u10", unit, 36.0, 10.0) for unit in ("km/h", "km h-1", "km hour-1", "kmh", "kph", "km/hr")],
    *[("u10", unit, 10.0, 10 * KNOT) for unit in ("Kt", "KTS", "Knots")],
    *[("msl", unit, 990.0, 99000.0) for unit in ("hpa", "HPA", "MB")],
    *[("t2m", unit, 20.0, 293.15) for unit in ("ºC", "Deg. C")],
    ("gust", "mph", 1.0, 1609.344 / 3600),
    *[("t2m", unit, 20.0, 293.15) for unit in ("degC", "C", "°C", "celsius", "Celsius", "deg C", "degrees C")],
    *[("t2m", unit, 280.0, 280.0) for unit in ("K", "kelvin", "Kelvin", "degK", "k")],
    ("t2m", "degF", 50.0, 283.15),
    *[("msl", unit, 990.0, 99000.0) for unit in ("hPa", "mb", "mbar", "millibars", "millibar", "hectopascal")],
    ("msl", "kPa", 99.0, 99000.0),
    *[("tp", unit, 1 / 3600, 1.0) for unit in ("kg m-2 s-1", "kg m**-2 s**-1", "mm s-1", "kg/m^2/s")],
    *[("tp", unit, 24.0, 1.0) for unit in ("mm/day", "mm d-1", "kg m-2 day-1")],
    *[("tp", unit, 2.0, 2.0) for unit in ("mm/hr", "mm/h", "mm h**-1", "mm hr-1", "kg m-2 h-1")],
    ("tp", "m h-1", 0.002, 2.0),
    ("tp", "in/h", 1.0, 25.4),
    *[("reflectivity", unit, 35.0, 35.0) for unit in ("dBZ", "dBz", "dbz", "DBZ")],
    *[("land_mask", unit, 60.0, 0.6) for unit in ("%", "percent")],
    *[("land_mask", unit, 0.6, 0.6) for unit in ("1", "(0 - 1)", "Proportion", "fraction")],
    ("orography", "ft", 1000.0, 304.8),
    *[("z500", unit, 5500.0, 5500 * 9.80665) for unit in ("gpm", "m")],
    ("z500", "dam", 550.0, 5500 * 9.80665),
    ("z500", "m**2 s**-2", 54000.0, 54000.0),
    ("tcwv", "mm", 30.0, 30.0),
    ("cape", "J/kg", 100.0, 100.0),
]


@pytest.mark.parametrize(("name", "unit", "theirs", "ours"), KNOWN, ids=lambda part: str(part))
def test_what_the_unit_says_is_converted(name, unit, theirs, ours):
    field = xr.DataArray(np.full((2, 3), theirs, np.float32), dims=("y", "x"), attrs={"units": unit, "comment": "kept"})
    found = in_our_units({name: field}, "test.nc")[name]
    np.testing.assert_allclose(found, ours, rtol=1e-6)
    assert found.attrs == {"units": lookup(name).units, "comment": "kept"} and found.dtype == np.float32


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        *[("u10", unit) for unit in ("K", "kg", "unknown", "degrees_north")],
        *[("t2m", unit) for unit in ("m s-1", "1", "bananas", "no_unit")],
        *[("msl", "Pa s-1"), ("reflectivity", "mm6 m-3"), ("z500", "K")],
    ],
)
def test_what_cannot_be_converted_is_refused_by_name(name, unit):
    field = xr.DataArray(np.zeros((2, 2), np.float32), dims=("y", "x"), attrs={"units": unit})
    with pytest.raises(DataError, match=rf"units of {name} in test.nc.*found {unit!r}.*--units {name}="):
        in_our_units({name: field}, "test.nc")


@pytest.mark.parametrize("unit", ["m", "mm", "kg m-2", "kg m**-2", "cm"])
def test_an_amount_of_rain_is_no_rate(unit):
    field = xr.DataArray(np.ones((2, 2), np.float32), dims=("y", "x"), attrs={"units": unit})
    with pytest.raises(DataError, match="an amount, and nothing says within which time"):
        in_our_units({"tp": field}, "test.nc")


# Each variable in the unit that people have most often and that is not ours.
FOREIGN = {"t2m": (-5, 30), "msl": (960, 1035), "sp": (700, 1020), "z500": (5000, 5900), "land_mask": (0, 100)}
OURS = {"t2m": (230, 318), "msl": (92000, 105000), "sp": (50000, 104000), "u10": (-60, 60), "reflectivity": (-32, 70)}


@pytest.mark.parametrize("name", FOREIGN)
def test_without_units_impossible_values_are_a_question(name):
    values = np.linspace(*FOREIGN[name], 64, dtype=np.float32).reshape(1, 8, 8)
    field = xr.DataArray(da.from_array(values), dims=("time", "y", "x"))
    with pytest.raises(DataError, match=rf"units of {name} in test.nc: found none.*units=.*--units {name}="):
        check_plausible({name: field}, "test.nc")
    unit = {"t2m": "degC", "msl": "hPa", "sp": "hPa", "z500": "gpm", "land_mask": "%"}[name]
    check_plausible({name: field}, "test.nc", units={name: unit})
    told = in_our_units({name: field}, "test.nc", units={name: unit})[name]
    np.testing.assert_allclose(told, in_our_units({name: field.assign_attrs(units=unit)}, "test.nc")[name])
    assert told.attrs["units"] == lookup(name).units and told.chunks is not None


@pytest.mark.parametrize("name", OURS)
def test_without_units_possible_values_are_taken_as_they_are(name):
    values = np.linspace(*OURS[name], 64, dtype=np.float32).reshape(1, 8, 8)
    holes = [np.where(values > np.median(values), hole, values) for hole in (np.nan, 9.969209968386869e36)]
    for field in (values, *holes, np.full_like(values, np.nan)):
        bare = {name: xr.DataArray(field, dims=("time", "y", "x"))}
        check_plausible(bare, "test.nc")
        found = in_our_units(bare, "test.nc")[name]
        np.testing.assert_array_equal(found, field)
        assert found.attrs["units"] == lookup(name).units


@pytest.mark.parametrize(
    ("theirs", "factor"), [("", KNOT), ("1", KNOT), ("K", KNOT), ("m s-1", 1), ("km h-1", 1 / 3.6)]
)
def test_the_user_says_what_the_file_does_not_or_cannot_mean(theirs, factor):
    field = xr.DataArray(np.ones((2, 2), np.float32), dims=("y", "x"), attrs={"units": theirs} if theirs else {})
    found = in_our_units({"10u": field}, "test.nc", units={"u10": "knots"})["10u"]
    np.testing.assert_allclose(found, factor, rtol=1e-6)
    with pytest.raises(DataError, match=r"units for test.nc: found v10, expected variables of the file: 10u"):
        check_told({"v10": "knots"}, ["10u"], "test.nc")


@pytest.mark.parametrize(
    ("name", "unit", "said", "values"),
    [
        ("2t", "K", "degC", (-5, 30)),
        ("mslp", "hPa", "Pa", (99_000, 103_000)),
        ("tp", "m h-1", "mm/h", (0, 5)),
        ("t2m", "", "degC", (-5, 30)),
    ],
)
def test_the_user_is_right_where_the_values_are_not_in_the_unit_of_the_file(name, unit, said, values):
    """And where the same is said of a file whose unit is right, that stays."""
    values = np.linspace(*values, 40 * 64, dtype=np.float32).reshape(40, 8, 8)
    values[20] = np.nan
    wrong = xr.DataArray(values, dims=("time", "y", "x"), attrs={"units": unit})
    right = wrong + (273.15 if said == "degC" else 0)
    for field in (wrong, right.assign_attrs(units=lookup(name).units)):
        found = in_our_units({name: field}, "test.nc", units={lookup(name).name: said})[name]
        np.testing.assert_allclose(found, right, rtol=1e-6)
        assert found.attrs["units"] == lookup(name).units


def test_unknown_variables_keep_their_unit_or_take_the_one_wanted():
    field = xr.DataArray(np.full((2, 2), 10, np.float32), dims=("y", "x"), attrs={"units": "degC"})
    assert in_our_units({"skin": field}, "test.nc")["skin"].attrs["units"] == "degC"
    wanted = in_our_units({"skin": field}, "test.nc", otherwise={"skin": "K"})["skin"]
    np.testing.assert_allclose(wanted, 283.15)
    with pytest.raises(DataError, match="skin"):
        in_our_units({"skin": field}, "test.nc", otherwise={"skin": "m"})


def test_conversion_is_lazy_and_reads_no_field_that_has_a_unit():
    def read(block):
        raise AssertionError("a field was read")

    lazy = da.zeros((4, 8, 8), chunks=(1, 8, 8), dtype=np.float32).map_blocks(read, dtype=np.float32, meta=np.empty(0))
    field = xr.DataArray(lazy, dims=("time", "y", "x"), attrs={"units": "degC"})
    check_plausible({"t2m": field}, "test.nc")
    assert in_our_units({"t2m": field}, "test.nc")["t2m"].attrs["units"] == "K"


@pytest.mark.parametrize("known", REGISTRY.values(), ids=str)
def test_every_unit_of_the_registry_is_one_and_its_limits_are_plausible(known):
    assert not known.units or factor_and_offset(known.units, known) == (1.0, 0.0)
    low, high = known.plausible or (-np.inf, np.inf)
    assert low <= known.limits[0] < known.limits[1] <= high


def test_lengths():
    for unit, km in {
        "km": 1,
        "m": 1e-3,
        "metres": 1e-3,
        "kilometers": 1,
        "feet": 0.3048e-3,
        "nautical_mile": 1.852,
    }.items():
        assert kilometres(unit) == pytest.approx(km)
    for unit in ("", "degrees_north", "1", "K", "cells", "s"):
        assert kilometres(unit) is None


FAR = {
    "t2m": ([200.0, 330.0], [80.0, -9999.0, 0.0, 12.0]),
    "msl": ([87000.0, 105000.0], [1000.0, 32767.0]),
    "tp": ([0.0, 300.0, -0.01], [-99.0, 9999.0]),
    "u10": ([-80.0, 80.0], [-999.0, 1e20]),
    "wind_speed": ([0.0, 90.0], [-99.0, -9.0]),
    "reflectivity": ([-64.0, 75.0], [-999.0, 255.0]),
    "orography": ([-430.0, 8849.0], [-9999.0]),
    "land_mask": ([0.0, 1.0], [255.0, -9999.0]),
}


@pytest.mark.parametrize("name", FAR)
def test_what_is_far_from_anything_in_nature_is_refused_when_it_is_read(name):
    most, beyond = FAR[name]
    fine = xr.DataArray(da.from_array(np.array([*most, np.nan])), dims="x")
    np.testing.assert_array_equal(possible({name: fine}, "test.nc")[name], fine)
    for value in beyond:
        field = xr.DataArray(da.from_array(np.array([*most, np.nan, value, value])), dims="x")
        guarded = possible({name: field}, "test.nc")[name]
        with pytest.raises(DataError, match=re.escape(f"{name} in test.nc: found {value:.5g} in 2 of")):
            guarded.compute()
