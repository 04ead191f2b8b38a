"""Figures of a storm: in the right place, the right way up, with units; refused in words where there is nothing."""

from io import BytesIO

import numpy as np
import pytest
import storm_parts as parts
import xarray as xr
from matplotlib.collections import QuadMesh

from labkit.errors import DataError
from labkit.plots import storms
from labkit.plots.colours import SOURCE_COLOURS
from labkit.verify.cyclones import strike_probability, study

HOSTILE = "<b>$$\\frac$$"


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return parts.storm_tree(hours=(0, 1, 2))


@pytest.fixture(scope="module")
def found(tree) -> xr.DataTree:
    return study(tree)


@pytest.fixture(scope="module")
def flat() -> xr.DataTree:
    return parts.storm_tree(hours=2, known_place=False)


def lines(axis, label: str) -> list[np.ndarray]:
    """Points (point, 2) of the lines of a label that an axis has."""
    return [line.get_xydata() for line in axis.lines if line.get_label() == label]


def mesh(axis) -> QuadMesh:
    return next(child for child in axis.get_children() if isinstance(child, QuadMesh))


def bands(axis) -> list[np.ndarray]:
    return [child.get_paths()[0].vertices for child in axis.collections]


def test_tracks_lie_on_the_map_in_degrees(tree, found):
    figure = storms.track_figure(tree, found, time=1, within_km=20)
    axis = figure.axes[0]
    for source, label in (("truth", "Truth"), ("regression", "Regression"), ("interpolation", "Coarse input")):
        (shown,) = lines(axis, label)
        np.testing.assert_allclose(shown, np.stack([found[source].lon, found[source].lat], axis=1))
    thin = [line.get_xydata() for line in axis.lines if line.get_linewidth() == 0.6]
    np.testing.assert_allclose([way[:, 0] for way in thin], found["prediction"].lon)
    chance = strike_probability(found["prediction"].to_dataset(), tree.to_dataset()[[]].assign_coords(
        {name: (("y", "x"), tree[name].values) for name in ("lat", "lon")}), within_km=20)  # fmt: skip
    shown = mesh(axis).get_array()
    np.testing.assert_allclose(shown.filled(0), np.where(chance >= 0.01, 100 * chance, 0))
    assert "2021-09-12T01:00 UTC" in axis.get_title(loc="left")
    places = [line.get_xydata()[0] for line in axis.lines if line.get_marker() == "o"]
    sources = ("interpolation", "regression", "truth")
    np.testing.assert_allclose(places, [(found[s].lon[1], found[s].lat[1]) for s in sources])


def test_one_member_is_drawn_in_black_where_it_is_asked_for(tree, found):
    axis = storms.track_figure(tree, found, time=1, member=2).axes[0]
    (shown,) = lines(axis, "Member 2")
    one = found["prediction"].isel(ensemble=2)
    np.testing.assert_allclose(shown, np.stack([one.lon, one.lat], axis=1))
    last = [line.get_xydata()[0] for line in axis.lines if line.get_marker() == "o"][-1]
    np.testing.assert_allclose(last, (one.lon[1], one.lat[1]))


def test_a_best_track_is_drawn_where_it_is_given(tree, found):
    best = xr.Dataset(
        {"lat": ("time", [23.0, 23.5]), "lon": ("time", [121.0, 120.5]), "wind": ("time", [41.0, 42.0])},
        {"time": parts.TIMES[:2]},
    )
    best.wind.attrs["averaging_min"] = 10
    figure = storms.track_figure(tree, found, best_track=best)
    np.testing.assert_allclose(lines(figure.axes[0], "Best track")[0], [[121, 23], [120.5, 23.5]])
    axis = storms.intensity_figure(tree, found, best_track=best).axes[0]
    np.testing.assert_allclose(lines(axis, "Best track, 10-minute mean")[0][:, 1], [41, 42])
    assert not lines(storms.intensity_figure(tree, found, measure="rmw", best_track=best).axes[0], "Best track")


def test_without_latitudes_tracks_lie_on_the_plane(flat):
    found = study(flat)
    axis = storms.track_figure(flat, found).axes[0]
    (shown,) = lines(axis, "Truth")
    np.testing.assert_allclose(shown, [parts.centre(hour) for hour in range(2)], atol=0.5)
    assert axis.get_xlabel() == "x [km]"


def test_profiles_and_sections_are_the_right_way_up(tree, found):
    axes = storms.structure_figure(tree, found, time=2).axes
    (truth,) = lines(axes[0], "Truth")
    np.testing.assert_allclose(truth, np.stack([found["truth"].radius, found["truth"].tangential[2]], axis=1))
    (middle,) = lines(axes[0], "Model, median and 90 %")
    np.testing.assert_allclose(middle[:, 1], found["prediction"].tangential[:, 2].median("ensemble"))
    assert axes[0].get_ylabel() == "tangential wind [m s-1]" and axes[0].get_xlabel().endswith("[km]")
    sections = {axis.get_title(loc="left"): axis for axis in axes[1:4]}
    assert list(sections) == ["Coarse input", "Mean of members", "Truth"]
    shown = mesh(sections["Truth"])
    np.testing.assert_allclose(shown.get_array(), found["truth"].tangential)
    up = shown.get_coordinates()[:, 0, 1]
    assert (np.diff(up) > 0).all() and not sections["Truth"].yaxis_inverted()
    scales = {mesh(axis).get_clim() for axis in sections.values()}
    assert len(scales) == 1, "one scale for all"


def test_courses_and_histograms_are_the_numbers(tree, found):
    figure = storms.intensity_figure(tree, found, time=1, measure="rmw")
    course, spread = figure.axes
    assert course.get_ylabel() == "radius of maximum wind [km]"
    np.testing.assert_allclose(lines(course, "Regression")[0][:, 1], found["regression"].rmw)
    np.testing.assert_allclose(
        lines(course, "Oracle, median and 90 %")[0][:, 1], found["oracle"].rmw.median("ensemble")
    )
    heights = [patch.get_height() for patch in spread.patches if hasattr(patch, "get_height")]
    assert sum(heights) == parts.MEMBERS
    marks = {line.get_color(): line.get_xdata()[0] for line in spread.lines}
    assert marks[SOURCE_COLOURS["truth"]] == pytest.approx(float(found["truth"].rmw[1]))


def test_members_without_the_storm_leave_the_others_band(tree, found):
    some = found.copy(deep=True)
    some["prediction"]["max_wind"][:, 0] = np.nan
    some["prediction"]["max_wind"][0, 1] = np.nan
    middle = lines(storms.intensity_figure(tree, some).axes[0], "Model, median and 90 %")[0][:, 1]
    assert np.isnan(middle[0])
    assert middle[1] == pytest.approx(float(found["prediction"].max_wind[1:, 1].mean()))
    some["prediction"]["max_wind"][:] = np.nan
    some["oracle"]["max_wind"][:] = np.nan
    assert "no storm" in storms.intensity_figure(tree, some).axes[1].texts[0].get_text()


def test_what_is_not_there_is_refused_in_words(tree, found):
    with pytest.raises(DataError, match="profile 'tp': found tangential"):
        storms.structure_figure(tree, found, profile="tp")
    alone = xr.DataTree.from_dict({"truth": found["truth"].to_dataset()})
    with pytest.raises(DataError, match="the members'"):
        storms.track_figure(tree, alone)
    storms.structure_figure(tree, alone)
    storms.intensity_figure(tree, alone)


def test_units_of_a_file_are_text_and_no_mathematics(tree, found):
    hostile = found.copy(deep=True)
    for source in hostile.children:
        hostile[source]["t2m"].attrs["units"] = HOSTILE
    figure = storms.structure_figure(tree, hostile, profile="t2m")
    figure.savefig(BytesIO(), dpi=40)
    assert "$" not in figure.axes[0].get_ylabel()


@pytest.mark.parametrize(
    ("values", "expected"),
    [([[0.0, 10.0, 40.0]], (0, 40)), ([[290.0, 300.0]], (290, 300)), ([[np.nan]], (0, 1)), ([[5.0, 5.0]], (5, 5))],
)
def test_limits_of_sections(values, expected):
    low, high = storms.section_limits({"truth": xr.DataArray(values)})
    assert low < high
    assert (low, high) == pytest.approx(expected, rel=0.02)
