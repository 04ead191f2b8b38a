"""Colours, lines and figures: the right way up, on one scale, in the right place."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from synthetic_tree import synthetic_tree

from labkit.errors import DataError
from labkit.plots import colours, figures, geography
from labkit.plots.calibration import calibration_figure
from labkit.variables import REGISTRY, Variable, describe, lookup, plain
from labkit.verify import selection
from labkit.verify.calibration import calibration_data
from labkit.verify.spread_skill import binned_spread_skill


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return synthetic_tree(members=6, times=3, n=32, dx_km=8.0)


def images(figure) -> list:
    """The fields drawn, without the colour bars."""
    axes = [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]
    return [collection for axis in axes for collection in axis.collections if collection.get_array() is not None]


@pytest.mark.parametrize("name", sorted({v.cmap for v in REGISTRY.values()} | {"viridis", "CET_D1A"}))
def test_every_colour_map_of_the_registry_gives_hexadecimal_colours(name):
    shades = colours.palette(name, 16)
    assert len(shades) == 16 and all(len(s) == 7 and int(s[1:], 16) >= 0 for s in shades)


def test_limits_hold_the_values_and_keep_zero_in_the_middle_of_signed_variables(rng):
    low, high = colours.colour_limits(lookup("u10"), rng.normal(3, 2, 10_000))
    assert low == -high and high >= 8
    low, high = colours.colour_limits(lookup("reflectivity"), rng.uniform(0, 37, 10_000))
    assert low == 0 and 37 <= high <= 45
    low, high = colours.colour_limits(lookup("t2m"), rng.uniform(281, 296, 10_000))
    assert 278 <= low <= 281 and 296 <= high <= 300
    assert colours.colour_limits(lookup("t2m"), np.array([np.nan])) == lookup("t2m").limits


@pytest.mark.parametrize(
    ("value", "expected"), [(0.9, 1), (1.0, 1), (1.1, 2), (2.1, 2.5), (2.6, 5), (51, 100), (0.021, 0.025)]
)
def test_nice_step_is_the_next_round_number(value, expected):
    assert colours.nice_step(value) == pytest.approx(expected)


def test_difference_limits_are_symmetric(rng):
    low, high = colours.difference_limits(rng.normal(5, 1, 1000))
    assert low == -high and high >= 7


def test_text_of_files_loses_mark_up_and_length():
    text = plain("<img src=x onerror=alert(1)> $$\\frac{1}{2}$$ & \x00 " + "a" * 200, 60)
    assert len(text) == 60 and not set(text) & set("<>&$\\\x00\"'")


def test_unknown_variables_are_described_by_their_attributes_as_plain_text():
    variable = describe("dust", {"units": "kg<b>", "long_name": "dust <script>"})
    assert (variable.units, variable.long_name) == ("kgb", "dust script")
    assert describe("2t", {"long_name": "anything"}) is lookup("t2m")


def test_coast_follows_the_land_mask(tree):
    (coast,) = geography.coast_lines(tree)
    land = tree["input"]["land_mask"].isel(time=0)
    inside = land.interp(x=xr.DataArray(coast[:, 0]), y=xr.DataArray(coast[:, 1]))
    np.testing.assert_allclose(inside, 0.5, atol=1e-6)
    assert np.ptp(coast[:, 1]) > 1.5 * np.ptp(coast[:, 0]), "the island is longer from south to north"


def test_natural_earth_lands_where_a_map_projection_puts_it():
    import cartopy.crs as ccrs

    crs = ccrs.LambertConformal(central_longitude=121, central_latitude=23.5, standard_parallels=(10, 40))
    axis = np.arange(-220, 221, 5.0)
    xx, yy = np.meshgrid(axis * 1e3, axis * 1e3)
    lon, lat = (ccrs.PlateCarree().transform_points(crs, xx, yy)[..., i] for i in (0, 1))
    lines = geography.project(geography.natural_earth(), axis, axis, lat, lon)
    assert len(lines) > 1, "the island of Taiwan and the mainland"
    cape = crs.transform_point(120.86, 21.90, ccrs.PlateCarree())  # Eluanbi, Taiwan's southern cape
    distance = min(np.hypot(*(line - np.array(cape) / 1e3).T).min() for line in lines)
    assert distance < 8, "within the detail of a 1:50m map"
    point = np.array([[120.3, 22.7]])
    expected = np.array(crs.transform_point(*point[0], ccrs.PlateCarree())) / 1e3
    np.testing.assert_allclose(
        geography.project([np.repeat(point, 2, 0)], axis, axis, lat, lon)[0][0], expected, atol=0.2
    )


def test_grids_without_a_place_get_no_lines():
    nowhere = np.full((5, 6), np.nan)
    assert geography.project(geography.natural_earth(), np.arange(6.0), np.arange(5.0), nowhere, nowhere) == []
    assert geography.graticule(np.arange(6.0), np.arange(5.0), nowhere, nowhere) == []


def test_graticule_runs_along_round_degrees(tree):
    lat, lon = tree["lat"], tree["lon"]
    names = set()
    for name, line in geography.graticule(tree["x"].values, tree["y"].values, lat.values, lon.values):
        field = lat if name[-1] in "NS" else lon
        along = field.interp(x=xr.DataArray(line[:, 0]), y=xr.DataArray(line[:, 1]))
        np.testing.assert_allclose(along, float(name[:-2]), atol=1e-6)
        names.add(name[-1])
    assert names == {"N", "E"}


def test_wind_speed_is_the_length_of_each_members_wind(tree):
    speed = selection.field(tree, "prediction", "wind_speed").isel(ensemble=2, time=1)
    wind = tree["prediction"].isel(ensemble=2, time=1)
    np.testing.assert_allclose(speed, np.hypot(wind.u10, wind.v10))
    assert selection.field(tree, "mean", "t2m").dims == ("time", "y", "x")
    with pytest.raises(DataError, match=r"found t2m.*expected snow"):
        selection.field(tree, "truth", "snow")


def test_a_point_is_its_nearest_cell_and_a_box_all_cells_inside(tree):
    y, x = selection.place(tree, (30.0, -90.0))
    assert (tree["x"][x].item(), tree["y"][y].item()) == (28.0, -92.0)
    y, x = selection.place(tree, (0, 0), (-30.0, -10.0, 30.0, 60.0))
    assert (tree["x"][x].values.min(), tree["x"][x].values.max()) == (-28.0, 28.0)
    assert (tree["y"][y].values.min(), tree["y"][y].values.max()) == (-4.0, 60.0)
    y, x = selection.place(tree, (0, 0), (1.0, 1.0, 2.0, 2.0))
    assert (tree.sizes["y"], y.stop - y.start, x.stop - x.start) == (32, 1, 1)


def test_maps_show_every_source_on_one_scale_north_up(tree):
    figure = figures.maps_figure(tree, "t2m", time=1, member=3)
    drawn = images(figure)
    assert len(drawn) == 6 and len({image.get_clim() for image in drawn}) == 1
    titles = [axis.get_title(loc="left") for axis in figure.axes[:6]]
    assert titles == ["Coarse input", "Regression", "Ensemble mean", "Member 3", "Truth", "Oracle member 3"]
    shown = drawn[3].get_array().reshape(32, 32)
    np.testing.assert_array_equal(shown, tree["prediction"]["t2m"].isel(time=1, ensemble=3))
    north = drawn[3].get_coordinates()[..., 1]
    assert np.all(np.diff(north[:, 0]) > 0)


def test_differences_are_from_the_truth_on_a_symmetric_scale(tree):
    figure = figures.maps_figure(tree, "u10", time=1, show="difference")
    drawn = images(figure)
    assert len(drawn) == 5 and drawn[0].get_clim()[0] == -drawn[0].get_clim()[1]
    expected = tree["regression"]["u10"].isel(time=1) - tree["truth"]["u10"].isel(time=1)
    np.testing.assert_allclose(drawn[1].get_array().reshape(32, 32), expected, rtol=1e-6)


def test_stamps_show_the_truth_and_all_members(tree):
    figure = figures.stamps_figure(tree, "reflectivity", time=2, source="oracle")
    drawn = images(figure)
    assert len(drawn) == 7 and len({image.get_clim() for image in drawn}) == 1
    np.testing.assert_array_equal(drawn[6].get_array().reshape(32, 32), tree["oracle"]["reflectivity"][5, 2])


def test_probabilities_of_a_known_ensemble():
    members = np.arange(5.0)[:, None, None] * np.ones((5, 2, 3))
    fields = figures.probability_fields(members, np.full((2, 3), 1.0), threshold=2.5, percentile=50)
    np.testing.assert_allclose(fields["spread"], np.sqrt(2.5))
    np.testing.assert_allclose(fields["error"], 1.0)
    np.testing.assert_allclose(fields["percentile"], 2.0)
    np.testing.assert_allclose(fields["exceed"], 40.0)


def test_a_cell_that_a_member_does_not_know_has_no_probability():
    members = np.arange(5.0)[:, None, None] + np.zeros((5, 2, 3))
    members[4, 0, 1] = np.nan
    fields = figures.probability_fields(members, np.zeros((2, 3)), threshold=2.5, percentile=50)
    unknown = np.isnan(members).any(axis=0)
    assert all((np.isnan(values) == unknown).all() for values in fields.values())


def test_the_other_figures_draw(tree, tmp_path):
    figures.probability_figure(tree, "wind_speed", time=1, threshold=10).savefig(tmp_path / "p.png")
    figures.point_figure(tree, "t2m", time=1, point=(10, 10)).savefig(tmp_path / "d.png")
    figures.point_figure(tree.isel(time=[0]), "t2m", box=(-50, -50, 50, 50), statistic="maximum").savefig(
        tmp_path / "b.png"
    )
    calibration_figure(tree, "t2m", times=[0, 1]).savefig(tmp_path / "c.png")
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("p.png", "d.png", "b.png", "c.png"))


def test_a_series_over_a_box_leaves_missing_cells_out(tree):
    truth = tree["truth"]["t2m"].copy(deep=True)
    truth[:, 16, 16] = np.nan
    broken = tree.copy()
    broken["truth"]["t2m"] = truth
    box = (-20.0, -20.0, 20.0, 20.0)
    y, x = selection.place(broken, (0, 0), box)
    expected = np.nanmax(truth.values[:, y, x], axis=(1, 2))
    np.testing.assert_array_equal(selection.series_at(broken, "truth", "t2m", box=box, statistic="maximum"), expected)
    assert selection.series_at(broken, "prediction", "t2m", box=box).shape == (6, 3)


@pytest.mark.parametrize("members", [4, 16])
def test_spread_equals_error_in_every_bin_where_truth_is_a_member(rng, members):
    sigma = np.exp(rng.normal(0, 0.7, 60_000))
    draws = rng.normal(0, sigma, (members + 1, sigma.size))
    bins = binned_spread_skill(
        xr.DataArray(draws[1:], dims=("ensemble", "x")), xr.DataArray(draws[0], dims="x"), bins=6
    )
    np.testing.assert_allclose(bins.rmse, bins.spread, rtol=0.06)
    assert bins.rmse[-1] > 2 * bins.rmse[0], "the spread tells large errors from small ones"
    assert int(bins["count"].sum()) == 60_000


def test_spread_and_error_leave_out_missing_truth_and_few_members_make_one_bin(rng):
    truth = xr.DataArray(np.where(np.arange(100) < 30, np.nan, rng.normal(size=100)), dims="x")
    members = xr.DataArray(rng.normal(size=(3, 100)), dims=("ensemble", "x"))
    bins = binned_spread_skill(members, truth)
    assert bins.sizes["bin"] == 1 and int(bins["count"].sum()) == 70


def test_calibration_tells_a_narrow_model_from_the_oracle(tree):
    data = calibration_data(tree, "t2m")
    ends = {s: float((d["ranks"][0] + d["ranks"][-1]) / d["ranks"].sum()) for s, d in data.items()}
    assert ends["oracle"] == pytest.approx(2 / 7, abs=0.03) and ends["prediction"] > ends["oracle"] + 0.03
    assert float(data["oracle"]["crps"].max() - data["oracle"]["crps"].min()) < 0.05


def test_holoviews_image_has_the_field_its_unit_and_its_scale(tree):
    from labkit.plots import interactive

    field = tree["truth"]["u10"].isel(time=0).assign_coords(x=tree["x"].values, y=tree["y"].values)
    image = interactive.map_image(field)
    np.testing.assert_array_equal(image.dimension_values(2, flat=False), field)
    low, high = image.opts.get("plot").kwargs["clim"]
    assert low == -high and image.vdims[0].label == lookup("u10").label
    assert len(interactive.ensemble_maps(tree, "t2m", time=1)) == 6


def test_unknown_limits_are_still_a_range():
    low, high = colours.colour_limits(Variable("dust", "dust", ""), np.full(5, 3.0))
    assert low < high
