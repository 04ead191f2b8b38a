"""The explorer's tab of ensemble products, without a browser: what it would show is read out of the Bokeh models."""

from __future__ import annotations

from io import BytesIO

import explorer_parts as parts
import numpy as np
import panel as pn
import pytest
import xarray as xr
from bokeh.events import Tap

from apps.explorer.app import Explorer
from apps.explorer.code import code_of, figure_of
from apps.explorer.products import PRODUCTS, case, choice_of, make
from apps.explorer.products_view import block_maximum, legend_html, painted_image
from apps.explorer.state import PRODUCTS as NAMES
from apps.explorer.state import ExplorerState
from apps.parts.runs import FieldStore, Run
from labkit.plots.colours import MEMBER_COLOURS, member_style
from labkit.plots.products import joined_lines, paint
from labkit.verify import products
from labkit.verify.clusters import clusters

TIME, THRESHOLD = 2, 20.0
MAPS = {
    "paintball": 2,
    "spaghetti": 2,
    "matched": 4,
    "neighbourhood": 4,
    "envelope": 4,
    "extremes": 4,
    "clusters": 4,
}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    pn.extension(respect_explicit_sizing=True)
    alone = parts.small_tree(members=1, times=1, oracle=False)
    return parts.library(tmp_path_factory.mktemp("products"), trees={"sample": parts.small_tree(), "alone": alone})


@pytest.fixture
def run(library) -> Run:
    return library.run("sample")


@pytest.fixture
def explorer(library) -> Explorer:
    explorer = Explorer(library, run="sample", variable="reflectivity", time=TIME, tab="products")
    explorer.page().get_root()
    explorer.state.threshold = THRESHOLD
    return explorer


@pytest.fixture
def view(explorer):
    return explorer.views["products"]


def shown(view, key: str) -> np.ndarray:
    """The values that a map shows, decoded as the browser does."""
    image, meta = view.grid.sources[key].data["image"][0], view.grid.scales[key].meta.data
    return image.astype(float) * meta["step"][0] + meta["offset"][0]


def members_of(run: Run, time: int = TIME) -> xr.DataArray:
    return case(run, "reflectivity", time)[0]


def test_every_product_of_the_address_has_a_name_and_its_maps(explorer, view):
    assert tuple(PRODUCTS) == NAMES
    for product, count in MAPS.items():
        explorer.state.product = product
        assert len(view.grid.keys) == count and "truth" in view.grid.keys
        assert view.stage.objects and "12 Sep 2021 02:00 UTC" in explorer.headline.object
        np.testing.assert_array_equal(view.legend.visible, product in ("paintball", "spaghetti"))


def test_a_step_changes_what_the_maps_show_and_makes_no_new_ones(explorer, view):
    for product in MAPS:
        explorer.state.param.update(product=product, time=TIME)
        figures, before = list(view.grid.figures.values()), shown(view, "truth")
        explorer.state.time = TIME + 1
        assert list(view.grid.figures.values()) == figures
        assert not np.array_equal(shown(view, "truth"), before)
        assert "12 Sep 2021 03:00 UTC" in explorer.headline.object


@pytest.mark.parametrize("product", MAPS)
def test_the_code_shown_draws_the_same_figure(run, library, explorer, product, tmp_path, monkeypatch):
    explorer.state.param.update(product=product, radius=24.0, clusters=2, by="area")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    code = code_of(run, explorer.state, library.path(run.id))
    assert f"labkit.plots.products import {product}_figure" in code
    exec(code, names)  # what a user would do with it
    mine = figure_of(run, explorer.state)
    mine.savefig(BytesIO(), dpi=150)  # as the code did: the layout depends on what was saved before
    buffers = [BytesIO(), BytesIO()]
    for figure, buffer in zip((names["figure"], mine), buffers, strict=True):
        figure.savefig(buffer, format="png", dpi=50)
    assert buffers[0].getvalue() == buffers[1].getvalue() and len(buffers[0].getvalue()) > 5000


def test_paint_and_lines_follow_the_threshold_and_the_chosen_member(explorer, view, run):
    members = members_of(run).values
    layers = view.layers
    alpha = layers.painted.data["image"][0].view(np.uint8).reshape(parts.N, parts.N, 4)[..., 3]
    np.testing.assert_array_equal(alpha > 0, (members > THRESHOLD).any(0))
    np.testing.assert_allclose(shown(view, "product"), 100 * (members > THRESHOLD).mean(0), atol=0.01)
    explorer.state.member = 3
    expected = joined_lines(run.x, run.y, members[3], THRESHOLD)
    np.testing.assert_allclose(np.column_stack([layers.lines.data["xs"][0], layers.lines.data["ys"][0]]), expected)
    painted = layers.painted.data["image"][0]
    explorer.state.member = 4
    assert view.layers.painted.data["image"][0] is painted, "the paint stays at home when another member is chosen"
    explorer.state.threshold = 30.0
    alpha = view.layers.painted.data["image"][0].view(np.uint8).reshape(parts.N, parts.N, 4)[..., 3]
    np.testing.assert_array_equal(alpha > 0, (members > 30).any(0))


def test_spaghetti_is_a_line_of_each_member_in_its_colour(explorer, view, run):
    explorer.state.param.update(product="spaghetti", member=2)
    data = view.layers.lines.data
    assert data["colour"] == [member_style(k)[0] for k in range(5)] and len(set(data["colour"])) == 5
    assert np.argmax(data["width"]) == 2 and data["width"].count(max(data["width"])) == 1
    assert view.layers.painted.data["image"] == []
    truth = joined_lines(run.x, run.y, run.field("truth", "reflectivity", TIME), THRESHOLD)
    np.testing.assert_allclose(view.layers.truth.data["xs"][0], truth[:, 0])


def test_lines_lie_where_the_field_has_the_value():
    x, y = np.arange(0.0, 40.0, 2), np.arange(0.0, 30.0, 1.5)
    xx, yy = np.meshgrid(x, y)
    field = np.minimum(np.hypot(xx - 10, yy - 10), np.hypot(xx - 30, yy - 20))
    line = joined_lines(x, y, field, 6.0)
    assert np.isnan(line).any(axis=1).sum() == 1, "two rings, with a gap between them"
    ring = line[: np.isnan(line[:, 0]).argmax()]
    distance = min((np.hypot(*(ring - centre).T) for centre in ((10, 10), (30, 20))), key=lambda d: abs(d - 6).max())
    np.testing.assert_allclose(distance, 6.0, atol=0.2)
    assert joined_lines(x, y, field, 1e3).shape == (0, 2)


@pytest.mark.parametrize(
    "seen",
    [
        np.eye(3),
        [[0.112, 0.888, 0], [0.112, 0.888, 0], [0.004, -0.004, 1]],
        [[0.293, 0.707, 0], [0.293, 0.707, 0], [-0.022, 0.022, 1]],
    ],
    ids=["by all", "without long cones", "without medium cones"],
)
def test_members_are_told_apart_by_everyone(seen):
    """As dichromats see them (Vienot et al. 1999), no two colours are nearer than 15 in CIELAB."""
    colours = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in MEMBER_COLOURS]) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4) @ np.transpose(seen)
    xyz = np.clip(linear, 0, 1) @ np.array(
        [[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]]
    )
    f = np.cbrt(np.maximum(xyz / [0.95, 1.0, 1.089], 0.008856))
    lab = np.column_stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])])
    distances = np.linalg.norm(lab[:, None] - lab, axis=-1)[np.triu_indices(len(lab), 1)]
    assert distances.min() > 15


def test_paint_is_pure_where_one_is_alone_and_hides_nobody():
    members = np.zeros((3, 2, 2))
    members[0, 0, 0] = members[1, 0, 1] = members[0, 1, 0] = members[1, 1, 0] = 5.0
    painted = paint(members, 1.0)
    rgb = [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in MEMBER_COLOURS[:2]]
    np.testing.assert_array_equal(painted[0, 0, :3], rgb[0])
    np.testing.assert_array_equal(painted[0, 1, :3], rgb[1])
    np.testing.assert_allclose(painted[1, 0, :3], np.mean(rgb, axis=0), atol=1)
    assert painted[1, 1, 3] == 0 and painted[1, 0, 3] > painted[0, 0, 3] > 127


def test_paint_is_the_right_way_up_and_where_it_belongs(run):
    members = np.zeros((2, parts.N, parts.N))
    members[1, 3, 7] = 9.0
    image = painted_image(run, members, 1.0)
    there = image["image"][0].view(np.uint8).reshape(parts.N, parts.N, 4)[..., 3]
    assert np.argwhere(there).tolist() == [[3, 7]]
    assert (image["x"], image["y"], image["dw"], image["dh"]) == ([-128], [-128], [256], [256])
    falling = Run("a", "a", run.tree, FieldStore())
    falling.y = falling.y[::-1]
    there = painted_image(falling, members, 1.0)["image"][0].view(np.uint8).reshape(parts.N, parts.N, 4)[..., 3]
    assert np.argwhere(there).tolist() == [[parts.N - 1 - 3, 7]], "the first row drawn is the southernmost"


def test_large_areas_are_painted_by_their_greatest_cells():
    run = Run("a", "a", parts.small_tree(members=1, times=1, n=304, dx_km=1.0), FieldStore())
    members = np.zeros((2, 304, 304))
    members[1, 17, 41] = members[0, 303, 303] = 9.0
    image = painted_image(run, members, 1.0)
    there = image["image"][0].view(np.uint8).reshape(152, 152, 4)[..., 3]
    assert np.argwhere(there).tolist() == [[8, 20], [151, 151]]
    assert (image["x"], image["y"], image["dw"], image["dh"]) == ([-152], [-152], [304], [304])
    np.testing.assert_array_equal(block_maximum(np.arange(15.0).reshape(3, 5), 2), [[6, 8, 9], [11, 13, 14]])


def test_matched_means_and_neighbourhoods_are_labkits(explorer, view, run):
    members = members_of(run)
    explorer.state.param.update(product="matched", radius=40.0)
    np.testing.assert_allclose(shown(view, "matched"), products.probability_matched_mean(members), atol=0.01)
    local = products.local_probability_matched_mean(members, patch_km=40)
    np.testing.assert_allclose(shown(view, "local"), local, atol=0.01)
    explorer.state.product = "neighbourhood"
    near = products.neighbourhood_probability(members, THRESHOLD, radius_km=40)
    np.testing.assert_allclose(shown(view, "mean"), 100 * near, atol=0.01)
    assert view.grid.bar.title.text == "%" and view.grid.figures["mean"].title.text == "On average within 40 km"
    explorer.state.radius = 0.0
    np.testing.assert_allclose(shown(view, "mean"), shown(view, "cell"), atol=0.01)
    explorer.state.product = "matched"
    assert view.grid.figures["local"].title.text.endswith("patches of 8 km"), "no smaller than a cell"


def test_extremes_and_clusters_name_their_members(explorer, view, run):
    members = members_of(run)
    explorer.state.param.update(product="extremes", by="maximum")
    most = int(members.max(("y", "x")).argmax("ensemble"))
    np.testing.assert_allclose(shown(view, "most"), members[most], atol=0.01)
    assert view.grid.figures["most"].title.text.startswith(f"Most extreme: member {most}, ")
    explorer.state.param.update(product="clusters", clusters=2)
    found = clusters(members, number=2)
    for k in (1, 2):
        np.testing.assert_allclose(shown(view, f"cluster {k}"), members.sel(ensemble=found.medoid[k - 1]), atol=0.01)
        own = ", ".join(str(m) for m in np.flatnonzero(found.cluster_of == k))
        assert f"luster {k}: member" in view.listed.object and own in view.listed.object
    explorer.state.clusters = 5
    assert len(view.grid.keys) == 6


def test_only_the_controls_that_a_product_uses_are_there(explorer, view):
    used = {product: set() for product in MAPS}
    for product in MAPS:
        explorer.state.product = product
        used[product] = {name for name, control in view.controls.items() if control.visible}
    assert used["paintball"] == used["spaghetti"] == {"threshold"}
    assert used["neighbourhood"] == {"threshold", "radius_km"} and used["matched"] == {"radius_km"}
    assert used["extremes"] == {"by", "threshold"} and used["clusters"] == {"number"}
    explorer.state.param.update(product="extremes", by="mean")
    assert not view.controls["threshold"].visible, "a mean needs no threshold"


def test_a_threshold_out_of_reach_says_so(explorer, view):
    for product in ("paintball", "spaghetti", "neighbourhood", "extremes"):
        explorer.state.param.update(product=product)
        explorer.state.param.threshold.bounds = (0.0, 500.0)
        explorer.state.threshold = 400.0
        assert "no member has" in explorer.headline.object and "the highest value of the members" in (
            explorer.headline.object
        )
        assert view.grid.sources["truth"].data["image"]


def test_a_single_member_is_a_product_too(library):
    explorer = Explorer(library, run="alone", tab="products", variable="reflectivity")
    view = explorer.views["products"]
    for product in MAPS:
        explorer.state.product = product
        assert explorer.headline.object and "nan" not in explorer.headline.object
    assert "cannot be told apart" in explorer.headline.object
    assert view.grid.figures["cluster 2"].title.text == "No further cluster"
    assert np.isnan(view.grid.sources["cluster 2"].data["image"][0]).all()


def test_a_truth_that_was_not_observed_is_left_out_of_the_words(tmp_path):
    tree = parts.small_tree()
    tree["truth"]["reflectivity"][TIME] = np.nan
    library = parts.library(tmp_path, trees={"a": tree})
    explorer = Explorer(library, variable="reflectivity", tab="products", time=TIME)
    explorer.state.threshold = 1.0
    for product in MAPS:
        explorer.state.product = product
        assert "nan" not in explorer.headline.object and "the truth has" not in explorer.headline.object, product


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("product", "<script>"),
        ("radius", -1.0),
        ("radius", 1e9),
        ("radius", float("nan")),
        ("by", "x"),
        ("clusters", 6),
    ],
)
def test_nonsense_is_refused(name, value):
    state = ExplorerState()
    state.load(variables=["t2m"], n_times=1, n_members=1, extent=(-20.0, -10.0, 20.0, 10.0))
    before = getattr(state, name)
    with pytest.raises(ValueError):
        setattr(state, name, value)
    assert getattr(state, name) == before


def test_the_radius_stays_within_the_domain_of_another_run():
    state, heard = ExplorerState(), []
    state.load(variables=["t2m"], n_times=1, n_members=1, extent=(-200.0, -128.0, 200.0, 128.0))
    assert state.param.radius.bounds == (0.0, 128.0)
    state.radius = 128.0
    state.param.watch(lambda *events: heard.append(state.param.radius.bounds), ["radius", "variable"])
    state.load(variables=["reflectivity"], n_times=1, n_members=1, extent=(-20.0, -10.0, 20.0, 10.0))
    assert state.param.radius.bounds == (0.0, 10.0) and state.radius == 10.0
    assert set(heard) == {(0.0, 10.0)}, "nobody hears of the new radius before its bounds are there"


def test_large_runs_are_worked_out_beside_the_page(explorer, view, library, monkeypatch):
    monkeypatch.setattr("apps.explorer.products_view.AT_ONCE", 0)
    explorer.state.product = "matched"
    choice = choice_of(explorer.state)
    expected = make(explorer.session.run, choice)
    assert ("sample", choice) in library._results
    np.testing.assert_allclose(shown(view, "matched"), expected.panels["matched"].values, atol=0.01)
    assert explorer.headline.object.startswith("Radar reflectivity, 12 Sep")


def test_a_click_chooses_the_place(explorer, view):
    plot = view.grid.figures["truth"]
    plot._trigger_event(Tap(plot, x=40.0, y=-60.0))
    assert explorer.state.point == (40.0, -60.0) and view.grid.marker.data == {"x": [40.0], "y": [-60.0]}


def test_names_of_members_never_become_mark_up():
    legend = legend_html(["<img src=x onerror=alert(1)>", "b&b"], 1, dashed=True)
    assert "<img" not in legend and "b&b" not in legend and legend.count("<svg") == 3
    assert "3 more" in legend_html([str(k) for k in range(75)], 0, dashed=False)


def test_another_variable_brings_its_own_threshold_while_it_is_looked_at(explorer, view):
    """The bounds are never half changed when a view is drawn."""
    for tab in ("products", "probability"):
        explorer.state.param.update(tab=tab, variable="reflectivity")
        explorer.state.variable = "t2m"
        slider = explorer.views[tab].controls["threshold"] if tab == "products" else explorer.views[tab].threshold
        assert (slider.start, slider.end) == explorer.state.param.threshold.bounds and slider.start > 200
