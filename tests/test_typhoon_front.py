"""The front of a run in the typhoon explorer: on the bundled run, in an hour of a front."""

from io import BytesIO

import numpy as np
import pytest
import xarray as xr

from apps.parts.library import Library
from apps.storms.app import TyphoonExplorer
from apps.storms.code import code_of, figure_of
from apps.storms.front_view import Curves
from labkit.errors import DataError
from labkit.store.registry import Registry
from labkit.store.trees import open_tree
from labkit.verify.front_study import front_of, longest, sections_of

HOUR = 2


@pytest.fixture(scope="module")
def library():
    return Library(Registry())


@pytest.fixture
def explorer(library):
    return TyphoonExplorer(library, run="idealised-nano", tab="front", time=HOUR)


@pytest.fixture(scope="module")
def tree(library):
    return open_tree(library.path("idealised-nano"))


def front_tree(width_km=20.0, members=3):
    """A straight front along y at x = 20 km, colder in the west; members' fronts lie 8 km apart."""
    x = y = (np.arange(64) - 31.5) * 4.0
    times = np.array(["2020-02-01T00"], "datetime64[ns]")

    def field(at):
        return np.broadcast_to(280 + 4 * np.tanh((x - at) / width_km), (1, 64, 64))

    height = 100.0 * np.hypot(x[None] / 60, y[:, None] / 60)
    lapse = 6.5e-3 * height
    dims = ("time", "y", "x")
    wind = {"u10": (dims, np.full((1, 64, 64), 3.0)), "v10": (dims, np.full((1, 64, 64), 4.0))}
    each = np.stack([field(20 + 8 * k) - lapse for k in range(members)])
    return xr.DataTree.from_dict({
        "/": xr.Dataset(coords={"time": times, "y": y, "x": x, "lat": (("y", "x"), 0 * height + np.nan),
                                "lon": (("y", "x"), 0 * height + np.nan)}),
        "/input": xr.Dataset({"orography": (("y", "x"), height)}),
        "/truth": xr.Dataset({"t2m": (dims, field(20) - lapse), **wind}),
        "/prediction": xr.Dataset({"t2m": (("ensemble", *dims), each)}),
    })  # fmt: skip


def test_fronts_are_found_at_sea_level_in_each_member_and_are_as_steep_as_they_were_made():
    found = front_of(front_tree(), smooth_km=4.0)
    for k, way in enumerate(longest(found)["prediction"]):
        inner = np.abs(way[:, 1]) < 100
        np.testing.assert_allclose(way[inner, 0], 20 + 8 * k, atol=1.5)
    assert found.sharpness["truth"].item() == pytest.approx(100 * 4 / 20, rel=0.1)
    np.testing.assert_allclose(found.fields["truth"].temperature[:, 0], 276, atol=0.01)


def test_sections_have_the_wind_along_and_across_and_run_from_a_to_b():
    cuts = sections_of(front_tree(), time=0, start=(-80.0, 0.0), end=(80.0, 0.0))
    truth = cuts["truth"]
    np.testing.assert_allclose(truth.along, 3, atol=1e-5)
    np.testing.assert_allclose(truth.across, 4, atol=1e-5)
    assert (truth.temperature.diff("distance") > -1e-6).all() and float(truth.distance[-1]) == pytest.approx(160)
    back = sections_of(front_tree(), time=0, start=(80.0, 0.0), end=(-80.0, 0.0))["truth"]
    np.testing.assert_allclose(back.along, -3, atol=1e-5)
    assert "along" not in cuts["prediction"] and cuts["prediction"].temperature.dims[0] == "ensemble"


def test_a_tree_without_temperature_is_refused():
    tree = front_tree()
    bare = xr.DataTree.from_dict({"/": tree.to_dataset(), "/truth": tree["truth"].to_dataset()[["u10", "v10"]]})
    with pytest.raises(DataError, match="2 m temperature"):
        front_of(bare)


def test_what_is_shown_is_what_labkit_gives(explorer, tree):
    view, found = explorer.views["front"], front_of(tree, time=HOUR)
    lines = longest(found)
    for source in ("truth", "regression", "prediction", "oracle"):
        shown = view.overlay.lines.of(source)
        assert len(shown) == len(lines[source]) > 0
        np.testing.assert_allclose(np.transpose(shown[0]), lines[source][0], atol=0.01)
    ends = view.overlay.ends.data
    start, end = ((ends["x"][k], ends["y"][k]) for k in (0, 1))
    cut = sections_of(tree, time=HOUR, start=start, end=end)
    curve = view.curves["temperature"]
    ((x, y),) = curve.lines.of("truth")
    np.testing.assert_allclose(x, cut["truth"].distance, atol=6e-4)
    np.testing.assert_allclose(y, cut["truth"].temperature, atol=6e-4)
    middle = cut["prediction"].temperature.median("ensemble")
    ((_, y),) = curve.lines.of("prediction")
    np.testing.assert_allclose(y, middle, atol=6e-4)
    bands = curve.bands.data
    low, high = np.split(np.array(bands["ys"][bands["source"].index("prediction")]), 2)
    expected = np.percentile(cut["prediction"].temperature, [5, 95], axis=0)
    np.testing.assert_allclose([low, high[::-1]], expected, atol=6e-4)
    truth = found.sharpness["truth"][0]
    assert f"truth {truth:.0f}" in explorer.headline.object


def test_dragging_an_end_moves_the_section_and_stays_within_the_map(explorer):
    view = explorer.views["front"]
    view.overlay.ends.data = {"x": [-900.0, 50.0], "y": [10.0, -60.0], "letter": ["A", "B"]}
    assert explorer.state.start == (-128.0, 10.0) and explorer.state.end == (50.0, -60.0)
    ((x, _),) = view.curves["temperature"].lines.of("truth")
    assert x[-1] == pytest.approx(np.hypot(178, 70), rel=1e-3)
    view.overlay.ends.data = {"x": [5.0, 5.0], "y": [5.0, 5.0], "letter": ["A", "B"]}
    assert explorer.state.end == (50.0, -60.0), "two ends in one place make no line"


def test_the_code_shown_draws_the_same_figure(explorer, library, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run, names = explorer.session.run, {}
    exec(code_of(run, explorer.state, library.path(run.id)), names)  # what a user would do with it
    mine = BytesIO()
    figure_of(run, explorer.state, lambda: pytest.fail("a front needs no storm")).savefig(mine, format="png", dpi=150)
    assert (tmp_path / "storm.png").read_bytes() == mine.getvalue()


def test_a_steeper_limit_leaves_fewer_lines_and_is_in_the_code(explorer, tree):
    def drawn() -> dict[str, int]:
        return {s: len(explorer.views["front"].overlay.lines.of(s)) for s in ("truth", "regression", "prediction")}

    before = drawn()
    explorer.state.least = 12.0
    after = drawn()
    found = longest(front_of(tree, time=HOUR, least=12.0))
    assert after == {source: len(found.get(source, [])) for source in after}
    assert sum(after.values()) < sum(before.values()) and after["truth"] == 1
    assert "least=12.0" in explorer.code_text() and explorer.views["front"].least.value == 12.0


def test_what_is_not_known_of_a_section_is_a_gap_in_its_lines_and_bands():
    curve, cuts = Curves(), sections_of(front_tree(), time=0, start=(-80.0, 0.0), end=(80.0, 0.0))
    for source in ("truth", "prediction"):
        cuts[source] = cuts[source].copy(deep=True)
        cuts[source].temperature[..., 10:13] = np.nan
    curve.show(cuts, "temperature", 0)
    ((_, y),) = curve.lines.of("truth")
    assert np.flatnonzero(np.isnan(y)).tolist() == [10, 11, 12]
    x = np.array(curve.bands.data["xs"][0])
    (between,) = np.flatnonzero(np.isnan(x))
    distance = cuts["prediction"].distance.values
    np.testing.assert_allclose(x[:between], [*distance[:10], *distance[9::-1]], atol=6e-4)
    after = distance[13:]
    np.testing.assert_allclose(x[between + 1 :], [*after, *after[::-1]], atol=6e-4)
