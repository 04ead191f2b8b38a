"""Wind and pressure of a cyclone: published numbers, closed forms, units and averaging that are never mixed."""

import numpy as np
import pytest
import xarray as xr
from vortices import RHO, Vortex, fields

from labkit.errors import DataError
from labkit.verify.cyclones import find, intensity
from labkit.verify.cyclones.wind_pressure import (
    ATKINSON_HOLLIDAY,
    Relation,
    estimated_pressure,
    fit,
    holland,
    holland_b,
    residual,
)
from labkit.winds import KNOT, averaging_factor

LAW = Relation("a law", 0.4, 0.6, 101200.0, 10)


def members(law=LAW, *, noise=0.0, seed=0, shape=(12, 24)) -> tuple[xr.DataArray, xr.DataArray]:
    """Highest winds (m/s) and lowest pressures (Pa) of (ensemble, time) that follow a law but for relative noise."""
    rng = np.random.default_rng(seed)
    pressure = xr.DataArray(rng.uniform(92000, 99500, shape), dims=("ensemble", "time"), attrs={"units": "Pa"})
    wind = law.wind(pressure) * np.exp(noise * rng.normal(size=shape))
    return wind.assign_attrs(units="m s-1"), pressure


@pytest.mark.parametrize(("hpa", "knots"), [(997, 35), (976, 65), (954, 90), (927, 115), (898, 140)])
def test_atkinson_and_holliday_in_knots_and_hectopascals(hpa, knots):
    """Against the table that forecasters of the western North Pacific use with Dvorak's (1984) numbers."""
    assert ATKINSON_HOLLIDAY.wind(100.0 * hpa) / KNOT == pytest.approx(knots, abs=0.5)
    assert ATKINSON_HOLLIDAY.averaging_min == 1


@pytest.mark.parametrize("law", [ATKINSON_HOLLIDAY, LAW, holland(1.3, averaging_min=10)])
def test_pressure_and_wind_are_each_others_inverse(law):
    pressure = np.array([90000.0, 98000.0, 100900.0])
    np.testing.assert_allclose(law.pressure(law.wind(pressure)), pressure, rtol=1e-12)
    assert law.wind(law.environment_pa) == 0 and np.isnan(law.wind(law.environment_pa + 1))
    assert np.isnan(law.pressure(-1.0)) and np.isnan(law.wind(np.nan))


def test_ten_minutes_blow_less_than_one():
    ten = ATKINSON_HOLLIDAY.averaged_over(10)
    assert ten.wind(95000.0) == pytest.approx(0.93 * ATKINSON_HOLLIDAY.wind(95000.0))
    assert ten.averaged_over(1).scale == pytest.approx(ATKINSON_HOLLIDAY.scale)
    assert ten.pressure(40.0) < ATKINSON_HOLLIDAY.pressure(40.0), "the same 10-minute wind is of a stronger storm"
    assert averaging_factor(10, 1) == pytest.approx(1 / 0.93)
    with pytest.raises(DataError, match="from 1 to 3 minutes"):
        ATKINSON_HOLLIDAY.averaged_over(3)


@pytest.mark.parametrize(("b", "dx"), [(1.0, 2.0), (1.6, 2.0), (2.2, 4.0)])
def test_a_holland_vortex_gives_its_shape_back(b, dx):
    vortex = Vortex(vmax=45, rmw=36, b=b)
    data = fields(vortex, shape=(128, 128), dx=dx)
    found = intensity(data, find(data).isel(vortex=0))
    shape = holland_b(found.max_wind, found.min_pressure, density=RHO)
    assert float(shape) == pytest.approx(b, rel=0.04)
    law = holland(b, averaging_min=10, density=RHO)
    assert float(residual(found.max_wind, found.min_pressure, law, averaging_min=10)) == pytest.approx(0, abs=0.9)
    assert law.wind(101000 - RHO * np.e / b * 45**2) == pytest.approx(45), "the closed form"


def test_a_fit_finds_the_law_and_how_sure_it_is():
    exact = fit(*members(), averaging_min=10, environment_pa=LAW.environment_pa)
    assert exact.relation.scale == pytest.approx(LAW.scale) and exact.relation.exponent == pytest.approx(LAW.exponent)
    assert exact.scatter == pytest.approx(0, abs=1e-9) and exact.pairs == 12 * 24
    inside = []
    for seed in range(40):
        drawn = members(noise=0.08, seed=seed, shape=(6, 96))
        found = fit(*drawn, averaging_min=10, environment_pa=LAW.environment_pa)
        low, high = found.bounds().exponent
        inside.append(low <= LAW.exponent <= high)
        assert found.relation.exponent == pytest.approx(LAW.exponent, abs=0.08)
    assert np.mean(inside) >= 0.85, "intervals of 95 % hold the truth about so often"
    band = found.band(xr.DataArray([93000.0, 97000.0], dims="p"))
    wind = found.relation.wind(np.array([93000.0, 97000.0]))
    assert (band.sel(bound="low") < wind).all() and (wind < band.sel(bound="high")).all()


def test_what_is_unknown_is_left_out_of_a_fit():
    wind, pressure = members(noise=0.05)
    whole = fit(wind[:, :20], pressure[:, :20], averaging_min=10)
    some = fit(wind.where(wind.time < 20), pressure, averaging_min=10)
    assert some.pairs == 12 * 20
    assert (some.relation.scale, some.relation.exponent) == pytest.approx(
        (whole.relation.scale, whole.relation.exponent)
    )
    assert some.scatter == pytest.approx(whole.scatter)
    one = fit(wind[0], pressure[0], averaging_min=10)
    assert one.pairs == 24
    few = fit(wind[:, :3], pressure[:, :3], averaging_min=10)
    assert np.isnan(few.bounds().exponent).all() and np.isfinite(few.relation.exponent)
    with pytest.raises(DataError, match="0 winds with a pressure below 1010 hPa"):
        fit(wind, pressure * np.nan, averaging_min=10)
    with pytest.raises(DataError, match="all alike"):
        fit(wind, 0 * pressure + 95000.0, averaging_min=10)


def test_residuals_have_a_sign_and_an_averaging():
    wind, pressure = members()
    harder = residual(wind + 2, pressure, LAW, averaging_min=10)
    np.testing.assert_allclose(harder, 2)
    assert harder.attrs["units"] == "m s-1" and harder.dims == ("ensemble", "time")
    as_one = residual(wind, pressure, LAW, averaging_min=1)
    np.testing.assert_allclose(as_one, wind * (1 - 1 / 0.93), rtol=1e-9)


def test_an_estimated_pressure_says_that_it_is_one():
    wind, pressure = members(ATKINSON_HOLLIDAY.averaged_over(10))
    found = estimated_pressure(wind, ATKINSON_HOLLIDAY, averaging_min=10)
    np.testing.assert_allclose(found, pressure)
    assert found.name == "estimated_pressure" and found.attrs["units"] == "Pa"
    assert found.attrs["estimated_by"] == ATKINSON_HOLLIDAY.name


def test_other_units_are_refused():
    wind, pressure = members()
    with pytest.raises(DataError, match=r"pressure of a relation: found values down to .* hPa"):
        LAW.wind((pressure / 100).assign_attrs(units="hPa"))
    with pytest.raises(DataError, match="expected Pa"):
        LAW.wind(950.0)
    with pytest.raises(DataError, match="knots"):
        residual(wind.assign_attrs(units="knots"), pressure, LAW, averaging_min=10)
    assert LAW.wind(pressure).attrs.get("units") != "Pa"
