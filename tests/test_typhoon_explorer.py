"""The typhoon explorer without a browser: what is shown is the library's, whatever a run has or lacks."""

import json

import numpy as np
import pytest
import storm_parts as parts
import xarray as xr

from apps.parts.maps import MapGrid
from apps.storms import following
from apps.storms.app import TyphoonExplorer, extension
from apps.storms.state import MEASURES, URL_NAMES, StormState
from labkit.verify.cyclones import cone, strike_probability, study
from labkit.verify.cyclones.structure import MEASURES as KNOWN

TIME, MEMBER = 1, 2


@pytest.fixture(scope="module", autouse=True)
def _extension():
    extension()


@pytest.fixture(scope="module")
def tree():
    return parts.storm_tree()


@pytest.fixture(scope="module")
def found(library):
    return study(library.run("storm").tree)


@pytest.fixture(scope="module")
def library(tmp_path_factory, tree):
    return parts.library(tmp_path_factory.mktemp("storms"), {"storm": tree})


@pytest.fixture
def explorer(library):
    return TyphoonExplorer(library, time=TIME, member=MEMBER)


def decoded(grid: MapGrid, key: str):
    """What a map shows: values as the browser decodes them, and the places x, y of its cells in km."""
    data, meta = grid.sources[key].data, grid.scales[key].meta.data
    image = np.asarray(data["image"][0], float) * meta["step"][0] + meta["offset"][0]
    ny, nx = image.shape
    x = data["x"][0] + (np.arange(nx) + 0.5) * data["dw"][0] / nx
    y = data["y"][0] + (np.arange(ny) + 0.5) * data["dh"][0] / ny
    return image, x, y


def lowest(grid: MapGrid, key: str) -> tuple[float, float]:
    """The middle of the lowest values of a map, within 10 Pa; the bottom of a wide vortex is flat."""
    image, x, y = decoded(grid, key)
    rows, cols = np.nonzero(image <= np.nanmin(image) + 10)
    return x[cols].mean(), y[rows].mean()


def columns(source):
    return {name: np.asarray(values, float) for name, values in source.data.items()}


# --- the selection


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time", parts.HOURS),
        ("time", -1),
        ("time", "2"),
        ("member", parts.MEMBERS),
        ("variable", "<script>"),
        ("run", "../../etc/passwd"),
        ("tab", "admin"),
        ("frame", "moon"),
        ("measure", "size"),
        ("profile", "dust"),
        ("within", 1e9),
        ("within", 0.0),
        ("within", float("nan")),
        ("within", float("inf")),
    ],
)
def test_values_that_a_run_cannot_have_are_refused(explorer, name, value):
    before = getattr(explorer.state, name)
    with pytest.raises(ValueError):
        setattr(explorer.state, name, value)
    assert getattr(explorer.state, name) == before


def test_every_name_in_the_address_is_a_bounded_parameter():
    assert set(URL_NAMES) <= set(StormState.param) and len(set(URL_NAMES.values())) == len(URL_NAMES)
    assert next(iter(URL_NAMES)) == "run" and list(URL_NAMES)[-1] == "tab", "the run first, the drawing last"
    assert set(MEASURES) <= set(KNOWN)


def test_another_run_keeps_what_it_has_too_and_bounds_the_rest():
    state = StormState()
    state.load(variables=["wind_speed", "msl"], n_times=9, n_members=5, extent=(-9.0, -9.0, 9.0, 9.0))
    state.param.update(variable="msl", time=8, member=4)
    state.load(variables=["msl"], n_times=2, n_members=3, extent=(-9.0, -9.0, 9.0, 9.0))
    assert (state.variable, state.time, state.member) == ("msl", 1, 2)
    state.load(variables=["t2m"], n_times=30, n_members=9, extent=(-9.0, -9.0, 9.0, 9.0))
    assert (state.variable, state.time, state.member) == ("t2m", 1, 2)
    with pytest.raises(ValueError):
        state.time = 30


class Location:
    """A page's address, as far as `share` goes."""

    def __init__(self, **asked):
        self.query_params = asked

    def sync(self, state, names, on_error):
        self.synced = state


def test_an_address_brings_the_same_view_and_its_nonsense_is_said(explorer, library):
    chosen = {"tab": "maps", "frame": "earth", "within": 45.0, "measure": "rmw", "profile": "msl", "variable": "msl"}
    explorer.state.param.update(**chosen, time=3, member=0)
    asked = {key: json.loads(json.dumps(getattr(explorer.state, name))) for name, key in URL_NAMES.items()}
    other = TyphoonExplorer(library)
    other.share(Location(**asked))
    assert not other.notice.visible and other.headline.object == explorer.headline.object
    assert all(getattr(other.state, name) == getattr(explorer.state, name) for name in URL_NAMES)
    nonsense = TyphoonExplorer(library)
    nonsense.share(Location(**(asked | {"t": 99, "of": "<img src=x>"})))
    assert nonsense.notice.visible and "(t, of)" in nonsense.notice.object
    assert nonsense.state.member == 0 and nonsense.state.frame == "earth" and nonsense.state.measure == "max_wind"


# --- the tracks


def test_tracks_on_the_map_are_the_librarys(explorer, found):
    overlay = explorer.views["track"].overlay
    for source in ("truth", "regression", "interpolation", "mean"):
        (way,) = overlay.thick.of(source)
        np.testing.assert_allclose(way, [found[source].x, found[source].y], atol=0.006)
    members = np.array(overlay.thin.of("prediction"))
    np.testing.assert_allclose(members[:, 0], found["prediction"].x, atol=0.006)
    ((_, y),) = overlay.thick.of("member")
    np.testing.assert_allclose(y, found["prediction"].y[MEMBER], atol=0.006)
    ((x, _),) = overlay.thick.of("truth")
    np.testing.assert_allclose(x, [parts.centre(h)[0] for h in range(4)], atol=1)
    assert not overlay.thin.of("oracle")
    explorer.state.oracle = True
    np.testing.assert_allclose(np.array(overlay.thin.of("oracle"))[:, 1], found["oracle"].y, atol=0.006)


def test_dots_and_circles_stand_where_the_storm_is_now(explorer, found):
    overlay = explorer.views["track"].overlay
    now = overlay.now.data
    at = {name: (x, y) for name, x, y in zip(now["name"], now["x"], now["y"], strict=True)}
    assert set(at) == {"Coarse input", "Regression", "Ensemble mean", f"Member {MEMBER}", "Truth"}
    np.testing.assert_allclose(at["Truth"], parts.place("truth", TIME), atol=0.5)
    np.testing.assert_allclose(at[f"Member {MEMBER}"], parts.place("prediction", TIME, MEMBER), atol=1)
    explorer.state.time = 3
    k = overlay.now.data["name"].index("Truth")
    assert overlay.now.data["x"][k] == pytest.approx(parts.place("truth", 3)[0], abs=0.5)
    expected = cone(found["prediction"].to_dataset()[["x", "y", "row"]])
    np.testing.assert_allclose(overlay.circles.data["r"], expected.radius)
    np.testing.assert_allclose(overlay.circles.data["x"], expected.x)


def test_the_strike_probability_is_the_librarys_and_follows_the_slider(explorer, found, tree):
    view = explorer.views["track"]
    places = xr.Dataset(coords={"y": tree.y.values, "x": tree.x.values})
    tracks = found["prediction"].to_dataset()[["x", "y"]]
    for within in (30.0, 10.0):
        explorer.state.within = within
        shown, x, y = decoded(view.grid, "strike")
        np.testing.assert_allclose(x, tree.x)
        np.testing.assert_allclose(y, tree.y)
        expected = 100 * strike_probability(tracks, places, within_km=within).transpose("y", "x")
        np.testing.assert_allclose(shown, expected, atol=0.01)
        assert f"{within:g} km" in view.grid.figures["strike"].title.text
    assert shown.max() == pytest.approx(100, abs=0.01) and shown.min() == pytest.approx(0, abs=0.01)


def test_a_step_in_time_works_out_nothing_anew(explorer, monkeypatch):
    calls = []
    monkeypatch.setattr(following, "closest_approach", lambda *a: calls.append(1))
    monkeypatch.setattr(following, "follow", lambda run: calls.append(2))
    for t in range(parts.HOURS):
        explorer.state.time = t
    assert not calls


def test_numbers_of_the_table_are_the_librarys(explorer, found, tree):
    explorer.state.member = 0
    table = parts.table_of(explorer)
    assert list(table.index) == [
        "Coarse input", "Regression", "Ensemble mean", "Model", "Member 0", "Truth", "Oracle",
    ]  # fmt: skip
    truth, one = found["truth"].isel(time=TIME), found["prediction"].isel(time=TIME, ensemble=0)
    wind, pressure = table["highest wind [m/s]"], table["pressure [hPa]"]
    assert float(wind["Truth"]) == pytest.approx(float(truth.max_wind), abs=0.051)
    assert float(pressure["Truth"]) == pytest.approx(float(truth.min_pressure) / 100, abs=0.51)
    assert float(table["off [km]"]["Member 0"]) == pytest.approx(
        float(np.hypot(one.x - truth.x, one.y - truth.y)), abs=0.51
    )
    assert float(table["off [km]"]["Member 0"]) == pytest.approx(np.hypot(8, 3), abs=1)
    assert table["off [km]"]["Truth"] == ""
    members = found["prediction"].max_wind[:, TIME]
    assert wind["Model"].startswith(f"{np.median(members):.1f}")
    assert (
        f"highest wind {np.median(members):.0f} (90 %: {np.percentile(members, 5):.0f} to" in explorer.headline.object
    )
    assert "3 of 3 members have the storm" in explorer.headline.object
    assert f"{float(truth.max_wind):.0f} m/s in the truth" in explorer.headline.object


# --- the maps


def test_maps_about_each_storm_have_its_own_centre_at_the_origin(explorer):
    explorer.state.param.update(tab="maps", variable="msl")
    grid = explorer.views["maps"].grid
    for t in (TIME, 3):
        explorer.state.time = t
        for source in ("interpolation", "regression", "prediction", "truth", "oracle"):
            x, y = lowest(grid, source)
            assert np.hypot(x, y) < parts.DX_KM, source
            assert columns(explorer.views["maps"].centres[source]) == {"x": [0.0], "y": [0.0]}
            np.testing.assert_array_equal(explorer.views["maps"].rings[source].data["r"], [50, 100])
    assert (grid._x_range.start, grid._x_range.end) == (-120, 120)


def test_maps_fixed_to_the_ground_have_the_storm_in_its_place(explorer, tree):
    explorer.state.param.update(tab="maps", variable="msl")
    explorer.state.frame = "earth"
    view = explorer.views["maps"]
    for t in (TIME, 3):
        explorer.state.time = t
        for source, member in (("interpolation", 0), ("truth", 0), ("prediction", MEMBER), ("oracle", MEMBER)):
            at = parts.place(source, t, member)
            assert np.hypot(*np.subtract(lowest(view.grid, source), at)) < parts.DX_KM, source
            mark = view.centres[source].data
            np.testing.assert_allclose((mark["x"][0], mark["y"][0]), at, atol=1)
    shown, x, _ = decoded(view.grid, "truth")
    np.testing.assert_allclose(x, tree.x)
    np.testing.assert_allclose(shown, tree["truth"]["msl"][3], atol=1)
    assert (view.grid._x_range.start, view.grid._x_range.end) == view.session.run.extent[::2]


def test_the_chosen_member_is_on_its_map_and_named(explorer, tree):
    explorer.state.param.update(tab="maps", frame="earth", variable="t2m")
    view = explorer.views["maps"]
    for member in (0, 1):
        explorer.state.member = member
        np.testing.assert_allclose(decoded(view.grid, "oracle")[0], tree["oracle"]["t2m"][member, TIME], atol=0.01)
        assert view.grid.figures["prediction"].title.text == f"Member {member}"
    assert "member 1 28 km" in explorer.headline.object


def test_a_zoom_outlasts_a_step_in_time(explorer):
    explorer.state.tab = "maps"
    grid = explorer.views["maps"].grid
    grid._x_range.update(start=-40.0, end=30.0)  # as the wheel does
    explorer.state.time = 2
    assert (grid._x_range.start, grid._x_range.end) == (-40, 30)
    explorer.state.frame = "earth"
    assert grid._x_range.start == explorer.session.run.extent[0]


# --- structure and intensity


def test_profiles_are_the_librarys(explorer, found):
    explorer.state.tab = "structure"
    view = explorer.views["structure"]
    for profile in ("tangential", "msl", "t2m"):
        explorer.state.profile = profile
        for source in ("truth", "regression", "interpolation"):
            shown = columns(view.profiles.lines[source])
            np.testing.assert_allclose(shown["x"], found[source].radius)
            np.testing.assert_allclose(shown["y"], found[source][profile][TIME])
        members = found["prediction"][profile][:, TIME].values
        np.testing.assert_allclose(columns(view.profiles.lines["member"])["y"], members[MEMBER])
        known = np.isfinite(members).all(0)
        band = columns(view.profiles.bands["prediction"])
        np.testing.assert_allclose(band["low"][known], np.percentile(members[:, known], 5, axis=0))
        np.testing.assert_allclose(band["high"][known], np.percentile(members[:, known], 95, axis=0))
    assert "[K]" in view.profiles.figure.yaxis.axis_label


def test_the_narrow_eyewall_of_the_truth_lies_inside_the_inputs(explorer):
    explorer.state.tab = "structure"
    lines = explorer.views["structure"].profiles.lines
    peak = {s: columns(lines[s])["x"][np.nanargmax(columns(lines[s])["y"])] for s in ("truth", "interpolation")}
    assert peak["truth"] == pytest.approx(28, abs=4) and peak["interpolation"] == pytest.approx(52, abs=4)


def test_sections_have_time_upwards_and_distance_to_the_right(explorer, found):
    explorer.state.tab = "structure"
    sections = explorer.views["structure"].sections
    hour = 3.6e6
    first = parts.TIMES[0].astype("datetime64[ms]").astype(float)
    for source in ("interpolation", "regression", "truth", "prediction"):
        data = sections.sources[source].data
        image, values = np.asarray(data["image"][0]), found[source].tangential
        values = values.mean("ensemble") if source == "prediction" else values
        np.testing.assert_allclose(image, values, rtol=1e-5)
        rows = data["y"][0] + (np.arange(len(image)) + 0.5) * data["dh"][0] / len(image)
        np.testing.assert_allclose(rows, first + hour * np.arange(parts.HOURS))
        rings = data["x"][0] + (np.arange(image.shape[1]) + 0.5) * data["dw"][0] / image.shape[1]
        np.testing.assert_allclose(rings, found[source].radius)
    assert {span.location for span in sections.now} == {first + TIME * hour}
    assert -1 < sections.mapper.low <= 0 and sections.mapper.high > 30


def test_sections_keep_the_hours_that_a_run_leaves_out(tmp_path):
    tree = parts.storm_tree(hours=(0, 1, 3))
    explorer = TyphoonExplorer(parts.library(tmp_path, {"gap": tree}), tab="structure")
    data = explorer.views["structure"].sections.sources["truth"].data
    image, hour = np.asarray(data["image"][0]), 3.6e6
    rows = data["y"][0] + (np.arange(len(image)) + 0.5) * data["dh"][0] / len(image)
    np.testing.assert_allclose((rows - rows[0]) / hour, [0, 1, 2, 3])
    assert np.isnan(image[2]).all() and np.isfinite(image[[0, 1, 3], 1:10]).all()


@pytest.mark.parametrize("measure", MEASURES)
def test_courses_and_distributions_are_the_librarys(explorer, found, measure):
    explorer.state.param.update(tab="intensity", measure=measure)
    view = explorer.views["intensity"]
    shown, members = view.fan.source.data, found["prediction"][measure].values
    np.testing.assert_array_equal(shown["time"], parts.TIMES)
    for source in ("truth", "regression", "interpolation"):
        np.testing.assert_allclose(shown[source], found[source][measure])
    np.testing.assert_allclose(shown["member"], members[MEMBER])
    np.testing.assert_allclose(shown["p95"], np.percentile(members, 95, axis=0))
    np.testing.assert_allclose(shown["o5"], np.percentile(found["oracle"][measure].values, 5, axis=0))
    np.testing.assert_allclose(view.histogram.rug.data["x"], members[:, TIME])
    assert np.sum(view.histogram.bars.data["top"]) == parts.MEMBERS
    np.testing.assert_allclose(view.histogram.lines["truth"].data["x"], [found["truth"][measure][TIME]])
    assert view.fan.now.location == parts.TIMES[TIME].astype("datetime64[ms]").astype(float)
    assert view.meaning.object and "none" not in explorer.headline.object


def test_wind_against_pressure_of_every_member_and_time(explorer, found):
    explorer.state.param.update(tab="intensity", measure="relation")
    view, members = explorer.views["intensity"], found["prediction"]
    assert view.pressure.figure.visible and not view.fan.figure.visible and not view.histogram.figure.visible
    every, now = (part["prediction"].data for part in (view.pressure.all, view.pressure.now))
    np.testing.assert_allclose(every["x"], np.ravel(members.min_pressure) / 100, atol=0.01)
    np.testing.assert_allclose(every["y"], np.ravel(members.max_wind), atol=0.01)
    np.testing.assert_allclose(now["y"], members.max_wind[:, TIME], atol=0.01)
    x, y = view.pressure.curve.data["x"], view.pressure.curve.data["y"]
    knots = 6.7 * (1010 - x[:-1]) ** 0.644
    np.testing.assert_allclose(y[:-1], 0.93 * knots * 0.514444, rtol=1e-4)
    assert "minus that of Atkinson" in explorer.headline.object
    explorer.state.measure = "rmw"
    assert view.fan.figure.visible and not view.pressure.figure.visible
