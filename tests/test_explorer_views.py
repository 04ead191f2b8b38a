"""The explorer's views without a browser: what they would show is read out of the Bokeh models."""

from __future__ import annotations

import time

import explorer_parts as parts
import numpy as np
import panel as pn
import pytest
import xarray as xr
from bokeh.events import SelectionGeometry, Tap

from apps.explorer.app import Explorer
from apps.explorer.members_view import Mosaic
from apps.explorer.probability_view import ordinal
from apps.parts.maps import MAX_CELLS, MapGrid, arrow_lines
from apps.parts.runs import FieldStore, Run
from apps.parts.scale import LEVELS, Look, Scale, ticks

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> $$\\frac$$"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    pn.extension(respect_explicit_sizing=True)
    return parts.library(tmp_path_factory.mktemp("views"), trees={"sample": parts.small_tree(), "plain": plain_tree()})


def plain_tree() -> xr.DataTree:
    """What the CorrDiff example writes: no regression, no interpolation, no oracle; one time, names of its own."""
    tree = parts.small_tree(members=3, times=1, oracle=False)
    names = {"t2m": "temperature_2m", "reflectivity": "maximum_radar_reflectivity"}
    keep = {k: tree[k].to_dataset(inherit=False)[list(names)].rename(names) for k in ("truth", "prediction")}
    return xr.DataTree.from_dict({"/": tree.to_dataset(), **{f"/{k}": v for k, v in keep.items()}})


def test_a_run_that_does_not_tell_its_spacing_is_announced_as_such(tmp_path):
    tree = parts.small_tree(members=2, times=1)
    bare = tree.to_dataset().drop_vars(["x", "y", "lat", "lon"])
    nodes = {f"/{name}": group.to_dataset(inherit=False) for name, group in tree.children.items()}
    trees = {"sample": tree, "bare": xr.DataTree.from_dict({"/": bare, **nodes})}
    explorer = Explorer(parts.library(tmp_path, trees=trees), run="sample")
    assert not explorer.notice.visible
    explorer.state.run = "bare"
    assert explorer.notice.visible and "a cell is taken for 1 km" in explorer.notice.object


@pytest.fixture
def explorer(library) -> Explorer:
    explorer = Explorer(library, run="sample", variable="t2m", time=2, member=1)
    explorer.page().get_root()
    return explorer


def test_a_tab_that_the_app_has_not_got_is_refused(library, explorer):
    with pytest.raises(ValueError):
        Explorer(library, run="sample", tab="admin")
    with pytest.raises(ValueError):
        explorer.state.tab = "admin"
    assert explorer.state.tab == "maps"


def shown(grid: MapGrid, key: str) -> np.ndarray:
    """The values that a map shows, decoded as the browser does."""
    image, meta = grid.sources[key].data["image"][0], grid.scales[key].meta.data
    return image.astype(float) * meta["step"][0] + meta["offset"][0]


@pytest.mark.parametrize("source", ["interpolation", "regression", "mean", "prediction", "truth", "oracle"])
def test_each_map_shows_its_source_to_within_a_step(explorer, library, source):
    run, grid = library.run("sample"), explorer.views["maps"].grid
    field = run.field(source, "t2m", 2, 1)
    np.testing.assert_allclose(shown(grid, source), field, atol=grid.scales[source].meta.data["step"][0])
    assert grid.scales[source].meta.data["step"][0] < 0.005
    data = grid.sources[source].data
    assert (data["x"][0], data["y"][0], data["dw"][0], data["dh"][0]) == (-128, -128, 256, 256)


def test_one_scale_for_all_sources_and_the_registrys_colours(explorer):
    grid = explorer.views["maps"].grid
    assert len({id(scale) for scale in grid.scales.values()}) == 1
    scale = grid.scales["truth"]
    decoded = [
        getattr(scale.mapper, end) * scale.meta.data["step"][0] + scale.meta.data["offset"][0]
        for end in ("low", "high")
    ]
    np.testing.assert_allclose(decoded, (scale.bar_mapper.low, scale.bar_mapper.high))
    assert grid.bar.title.text == "K"


def test_another_member_sends_its_maps_alone(explorer, library):
    grid = explorer.views["maps"].grid
    before = {key: source.data["image"][0] for key, source in grid.sources.items()}
    explorer.state.member = 4
    changed = {key for key, source in grid.sources.items() if source.data["image"][0] is not before[key]}
    assert changed == {"prediction", "oracle"}
    assert grid.figures["prediction"].title.text == "Member 4"
    np.testing.assert_allclose(
        shown(grid, "prediction"), library.run("sample").field("prediction", "t2m", 2, 4), atol=0.01
    )


def test_differences_are_from_the_truth_and_symmetric(explorer, library):
    run = library.run("sample")
    explorer.state.show = "difference"
    grid = explorer.views["maps"].grid
    expected = run.field("prediction", "t2m", 2, 1) - run.field("truth", "t2m", 2)
    np.testing.assert_allclose(shown(grid, "prediction"), expected, atol=0.01)
    bar = grid.scales["truth"].bar_mapper
    assert bar.low == -bar.high
    explorer.state.show = "values"
    np.testing.assert_allclose(shown(grid, "truth"), run.field("truth", "t2m", 2), atol=0.01)


def test_missing_cells_stay_missing_on_the_map():
    tree = parts.small_tree()
    tree["truth"]["t2m"][:, 3, 5] = np.nan
    run = Run("a", "a", tree, FieldStore())
    grid = MapGrid(run, {"truth": "Truth"})
    field = run.field("truth", "t2m", 0)
    grid.update({"truth": ((0,), field)}, Look((280, 310), ["#000000"], "K"))
    np.testing.assert_array_equal(np.isnan(shown(grid, "truth")), np.isnan(field))


def test_a_falling_y_axis_is_drawn_with_north_up():
    tree = parts.small_tree()
    run = Run("a", "a", tree, FieldStore())
    run.y = run.y[::-1]
    grid = MapGrid(run, {"truth": "Truth"})
    field = np.arange(parts.N)[:, None] * np.ones(parts.N)
    grid.update({"truth": ((0,), field)}, Look((0, 32), ["#000000"], ""))
    assert shown(grid, "truth")[0].mean() > shown(grid, "truth")[-1].mean(), "the first row drawn is the southernmost"


def test_large_grids_are_sent_as_means_and_in_full_when_zoomed():
    run = Run("a", "a", parts.small_tree(members=1, times=1, n=320, dx_km=1.0), FieldStore())
    grid = MapGrid(run, {"truth": "Truth"})
    field = run.field("truth", "t2m", 0)
    grid.update({"truth": ((0,), field)}, Look((280, 310), ["#000000"], "K"))
    image = grid.sources["truth"].data["image"][0]
    assert image.size <= MAX_CELLS and image.nbytes < 140_000
    np.testing.assert_allclose(shown(grid, "truth"), field.reshape(160, 2, 160, 2).mean((1, 3)), atol=0.01)
    event = type("Zoom", (), {"x0": -40.0, "x1": 10.0, "y0": 20.0, "y1": 60.0})
    grid._zoomed(event)
    data = grid.sources["truth"].data
    np.testing.assert_allclose(shown(grid, "truth"), field[180:220, 120:170], atol=0.01)
    assert (data["x"][0], data["y"][0], data["dw"][0], data["dh"][0]) == (-40, 20, 50, 40)


def test_steps_hold_outliers_and_limits(rng):
    scale, values = Scale(), rng.normal(0, 1, (20, 20)).astype(np.float32)
    assert scale.fit(Look((-2, 2), ["#000000"], ""), [values])
    assert not scale.fit(Look((-2, 2), ["#000000"], ""), [values * 1.1]), "the scale is the same from time to time"
    values[0, 0] = 1e4
    assert scale.fit(Look((-2, 2), ["#000000"], ""), [values])
    image = scale.encode(values)
    assert image.dtype == np.uint16 and image.max() <= LEVELS
    step, offset = scale.meta.data["step"][0], scale.meta.data["offset"][0]
    np.testing.assert_allclose(image * step + offset, values, atol=step)


def test_ticks_are_round_and_within():
    assert ticks((0.0, 50.0)) == [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]
    assert ticks((-6.0, 6.0))[0] == -6.0 and 0.0 in ticks((-6.0, 6.0))


def test_arrows_point_where_the_wind_blows(library):
    run = library.run("sample")
    east = arrow_lines(run, np.full((parts.N, parts.N), 10.0), np.zeros((parts.N, parts.N)))
    xs, ys = east["xs"][0], east["ys"][0]
    assert xs[1] - xs[0] > 5 and ys[1] == ys[0], "shaft from west to east"
    assert xs[2] < xs[1] and xs[4] < xs[1], "barbs behind the tip"


def test_a_click_or_a_box_marks_the_place_in_every_view(explorer):
    grid = explorer.views["maps"].grid
    plot = grid.figures["truth"]
    plot._trigger_event(Tap(plot, x=40.0, y=-60.0))
    assert explorer.state.point == (40.0, -60.0) and grid.marker.data == {"x": [40.0], "y": [-60.0]}
    explorer.state.tab = "point"
    plot = explorer.views["point"].grid.figures["truth"]
    box = {"type": "rect", "x0": 10.0, "x1": 50.0, "y0": 60.0, "y1": 20.0}
    plot._trigger_event(SelectionGeometry(plot, geometry=box, final=True))
    assert explorer.state.box == (10.0, 20.0, 50.0, 60.0)
    assert "mean over x 12 to 44, y 20 to 60 km" in explorer.headline.object.lower()
    explorer.state.tab = "maps"
    assert grid.marker.data == {"x": [], "y": []} and grid.box.data["y0"] == [20.0]


def test_stamps_are_where_a_click_finds_them(explorer, library):
    explorer.state.tab = "members"
    mosaic, run = explorer.views["members"].mosaic, library.run("sample")
    assert mosaic.n == 7 and list(mosaic.labels.data["text"][:3]) == ["Truth", "Ensemble mean", "Member 0"]
    canvas = mosaic.image.data["image"][0]
    for k in range(7):
        x, y = mosaic.corner(k)
        field = (
            run.field("truth", "t2m", 2) if k == 0 else run.field("mean" if k == 1 else "prediction", "t2m", 2, k - 2)
        )
        np.testing.assert_allclose(canvas[y : y + 32, x : x + 32], field, rtol=1e-6)
        assert mosaic.index(x + 16, y + 16) == k
        assert mosaic.index(x - 0.5, y - 0.5) != k
    x, y = mosaic.corner(5)
    mosaic.figure._trigger_event(Tap(mosaic.figure, x=x + 3, y=y + 3))
    assert explorer.state.member == 3 and mosaic.frame.data["left"][1] == x
    mosaic.figure._trigger_event(Tap(mosaic.figure, x=mosaic.corner(0)[0] + 3, y=mosaic.corner(0)[1] + 3))
    assert explorer.state.member == 3, "the truth is no member"


def test_pictures_of_a_mosaic_do_not_overlap_and_lie_within_it():
    mosaic = Mosaic(aspect=2.0)
    for n in (1, 2, 5, 18, 64):
        mosaic.arrange(np.arange(40.0), np.arange(24.0), n)
        corners = np.array([mosaic.corner(k) for k in range(n)])
        assert len(np.unique(corners, axis=0)) == n and (corners >= 0).all()
        width, height = mosaic.figure.x_range.end, mosaic.figure.y_range.end - mosaic.figure.y_range.start
        assert width / height == pytest.approx(2.0)
        assert (corners[:, 0] + mosaic.nx <= width).all() and (
            corners[:, 1] + mosaic.ny <= mosaic.figure.y_range.end
        ).all()


def test_oracle_stamps_are_the_oracles(explorer, library):
    explorer.state.param.update(tab="members", stamps="oracle")
    mosaic = explorer.views["members"].mosaic
    x, y = mosaic.corner(3)
    np.testing.assert_allclose(
        mosaic.image.data["image"][0][y : y + 32, x : x + 32],
        library.run("sample").field("oracle", "t2m", 2, 1),
        rtol=1e-6,
    )


def test_probabilities_follow_the_threshold_and_the_percentile(explorer, library):
    members = library.run("sample").members("wind_speed", 2)
    explorer.state.param.update(tab="probability", variable="wind_speed", threshold=15.0, percentile=70)
    grid = explorer.views["probability"].grid
    np.testing.assert_allclose(shown(grid, "exceed"), 100 * (members > 15).mean(0), atol=0.01)
    np.testing.assert_allclose(shown(grid, "percentile"), np.percentile(members, 70, axis=0), atol=0.01)
    explorer.state.threshold = 25.0
    np.testing.assert_allclose(shown(grid, "exceed"), 100 * (members > 25).mean(0), atol=0.01)
    assert grid.figures["exceed"].title.text == "Probability of more than 25 m s-1 [%]"
    slider = explorer.views["probability"].threshold
    assert (slider.start, slider.end) == explorer.state.param.threshold.bounds


@pytest.mark.parametrize(("n", "word"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (11, "11th"), (22, "22nd"), (90, "90th")])
def test_ordinals(n, word):
    assert ordinal(n) == word


def test_the_distribution_counts_every_member_and_the_fan_is_of_percentiles(explorer, library):
    explorer.state.param.update(tab="point", point=(28.0, -92.0))
    view, run = explorer.views["point"], library.run("sample")
    series = run.series("prediction", "t2m", run.place((28.0, -92.0)), "mean")
    assert sum(view.histogram.bars.data["top"]) == 5
    np.testing.assert_allclose(sorted(view.histogram.rug.data["x"]), sorted(series[:, 2]))
    truth = run.series("truth", "t2m", run.place((28.0, -92.0)), "mean")
    np.testing.assert_allclose(view.histogram.lines["truth"].data["x"], [truth[2]])
    np.testing.assert_allclose(view.fan.source.data["p95"], np.percentile(series, 95, axis=0))
    np.testing.assert_allclose(view.fan.source.data["truth"], truth)


def test_calibration_shows_the_scores_of_labkit(explorer, library):
    explorer.state.tab = "calibration"
    view = explorer.views["calibration"]
    heights = np.asarray(view.picture.ranks.bars.data["top"])
    assert heights.mean() == pytest.approx(1) and len(heights) == 6
    line = view.result.row("prediction", "t2m")
    run = library.run("sample")
    error = run.tree["prediction"]["t2m"].mean("ensemble") - run.tree["truth"]["t2m"]
    assert line.rmse == pytest.approx(float(np.sqrt((error**2).mean())), rel=1e-5)
    assert f"spread / skill is {line.spread_skill:.2f}" in explorer.headline.object
    assert "wind speed" in view.picture.table.object and "achieved skill" in view.picture.table.object
    explorer.state.scope = "case"
    assert view.result.times == (2,)
    explorer.state.time = 4
    assert view.result.times == (4,), "the scores of one time follow it"


def test_views_that_are_not_looked_at_do_not_work(explorer):
    explorer.state.time = 3
    assert explorer.views["point"]._built == "" and explorer.views["calibration"]._built == ""


def test_a_run_of_the_corrdiff_example_opens_with_what_it_has(library):
    explorer = Explorer(library, run="plain")
    assert explorer.state.variable == "maximum_radar_reflectivity", "its heaviest rain"
    assert explorer.views["maps"].grid.keys == ["mean", "prediction", "truth"]
    for tab in ("members", "probability", "point", "calibration", "about", "maps"):
        explorer.state.tab = tab
        assert explorer.headline.object
    assert explorer.views["point"].fan is None
    explorer.state.run = "sample"
    assert (
        explorer.views["maps"].grid.keys[0] == "interpolation"
        and "wind_speed" in explorer.variable_select.options.values()
    )


def test_a_preset_goes_to_its_case(explorer, library):
    preset = next(p for p in library.presets("sample") if p.key == "wind")
    explorer.presets.param.trigger("items")
    explorer._preset_clicked({"label": preset.label})
    assert (explorer.state.variable, explorer.state.time, explorer.state.point) == (
        preset.variable,
        preset.time,
        preset.point,
    )
    explorer._preset_clicked({"label": "nonsense"})


def test_text_out_of_files_never_becomes_mark_up(tmp_path):
    tree = parts.small_tree()
    tree.attrs = {"title": HOSTILE}
    tree["prediction"].attrs = {"history": HOSTILE}
    for group in ("truth", "prediction"):
        dust = tree[group]["t2m"].copy()
        dust.attrs = {"units": HOSTILE, "long_name": HOSTILE}
        tree[group]["dust"] = dust
    library = parts.library(tmp_path, trees={"a<img src=x onerror=alert(3)>": tree})
    explorer = Explorer(library, variable="dust")
    for tab in explorer.views:
        explorer.state.tab = tab
        for pane in explorer.page().select(pn.pane.HTML):
            assert "<script" not in (pane.object or "") and "<img" not in (pane.object or ""), tab
    assert not any(set("<>$") & set(name) for name in [*explorer.run_select.options, *explorer.variable_select.options])
    assert "<" not in explorer.views["maps"].grid.bar.title.text


def wait(condition, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)
