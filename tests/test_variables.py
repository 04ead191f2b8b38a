"""The registry agrees with itself: names are unique, scales hold their thresholds, colour maps exist."""

from __future__ import annotations

import re

import colorcet
import matplotlib
import pytest

from labkit.variables import REGISTRY, Variable, canonical, lookup

ALL = list(REGISTRY.values())


def test_no_name_or_alias_belongs_to_two_variables():
    names = [name for variable in ALL for name in (variable.name, *variable.aliases)]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("variable", ALL, ids=lambda v: v.name)
def test_every_alias_finds_its_variable(variable):
    for name in (variable.name, *variable.aliases):
        assert lookup(name) is variable
        assert canonical(name) == variable.name


@pytest.mark.parametrize("variable", ALL, ids=lambda v: v.name)
def test_scales_are_ordered_and_hold_their_thresholds(variable):
    low, high = variable.limits
    assert low < high
    assert 0 < variable.error_limit <= high - low
    assert list(variable.thresholds) == sorted(set(variable.thresholds))
    assert all(low < threshold < high for threshold in variable.thresholds)
    assert variable.transform in {"identity", "log1p"}


@pytest.mark.parametrize("variable", ALL, ids=lambda v: v.name)
def test_what_is_never_negative_starts_at_or_above_zero(variable):
    assert not variable.non_negative or variable.limits[0] >= 0
    assert variable.transform != "log1p" or variable.non_negative


@pytest.mark.parametrize("variable", ALL, ids=lambda v: v.name)
def test_signed_variables_have_a_symmetric_scale(variable):
    if variable.limits[0] < 0:
        assert variable.limits[0] == -variable.limits[1]


@pytest.mark.parametrize("variable", ALL, ids=lambda v: v.name)
def test_colour_maps_exist(variable):
    assert variable.cmap in colorcet.palette or variable.cmap in matplotlib.colormaps


@pytest.mark.parametrize("variable", ALL, ids=lambda v: v.name)
def test_every_variable_has_units(variable):
    assert variable.units
    assert re.fullmatch("[a-z_]*", variable.standard_name)  # CF names nothing for some, such as radar_distance
    assert variable.label == f"{variable.long_name} [{variable.units}]"


@pytest.mark.parametrize(
    ("foreign", "ours", "units"),
    [
        ("2t", "t2m", "K"),
        ("temperature_2m", "t2m", "K"),
        ("10u", "u10", "m s-1"),
        ("eastward_wind_10m", "u10", "m s-1"),
        ("northward_wind_10m", "v10", "m s-1"),
        ("maximum_radar_reflectivity", "reflectivity", "dBZ"),
        ("elev_mean", "orography", "m"),
        ("lsm_mean", "land_mask", "1"),
    ],
)
def test_names_of_other_systems_are_known(foreign, ours, units):
    assert canonical(foreign) == ours
    assert lookup(foreign).units == units


def test_an_unknown_name_keeps_its_name_and_units():
    unknown = lookup("soil_moisture", units="m3 m-3", limits=(0.0, 0.5))
    assert unknown == Variable("soil_moisture", "soil moisture", "m3 m-3", limits=(0.0, 0.5), error_limit=0.125)
    assert canonical("soil_moisture") == "soil_moisture"
    assert lookup("index").label == "index"
    assert lookup("flat", limits=(2.0, 2.0)).error_limit > 0
