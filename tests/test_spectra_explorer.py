"""The spectra explorer: a selection that cannot be nonsense, figures that are the library's, and what a person sees."""

import io
import weakref
from pathlib import Path

import explorer_parts as parts
import numpy as np
import pandas as pd
import panel as pn
import pytest
from browser import HOSTILE, all_gone, colours, headline, query, until, visit, visitors

from apps.spectra import export
from apps.spectra.app import SpectraExplorer, extension
from apps.spectra.code import call_of, code_of, opening
from apps.spectra.patch_view import patch_boxes
from apps.spectra.state import SpectraState
from labkit.verify.patch_size import recommend_patch
from labkit.verify.scales import correlation_data, spectra_data

pytest_plugins = ["browser"]
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def _extension():
    extension()


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return parts.library(tmp_path_factory.mktemp("spectra"))


@pytest.fixture
def explorer(library):
    return SpectraExplorer(library, variable="t2m")


def columns(source):
    return {name: np.asarray(values, float) for name, values in source.data.items()}


def test_spectra_on_the_screen_are_the_librarys(explorer, library):
    run, view = explorer.session.run, explorer.views["spectra"]
    expected = spectra_data(run.tree, "t2m")
    for source in ("truth", "regression", "prediction"):
        values = expected.spectra[source]
        values = values.mean("ensemble") if "ensemble" in values.dims else values
        shown = columns(view.densities.lines[source])
        np.testing.assert_allclose(shown["x"], values.wavenumber)
        np.testing.assert_allclose(shown["y"], values)
    assert len(view.densities.members.data["xs"]) == 5
    explorer.state.members = False
    assert len(view.densities.members.data["xs"]) == 0
    np.testing.assert_allclose(
        columns(view.densities.ratios["regression"])["y"], expected.spectra["regression"] / expected.spectra["truth"]
    )


@pytest.mark.parametrize(
    "change", [{"direction": "x"}, {"window": "dct"}, {"detrend": "plane"}, {"quantity": "residual"}, {"scope": "case"}]
)
def test_every_choice_changes_the_spectra(explorer, change):
    lines = explorer.views["spectra"].densities.lines["truth"]
    before = columns(lines)
    explorer.state.param.update(**change)
    after = columns(lines)
    assert before["y"].shape != after["y"].shape or not np.allclose(before["y"], after["y"])


def test_a_box_is_judged_alone(explorer):
    explorer.state.select_box(-100.0, -100.0, -4.0, 60.0)
    run, shown = explorer.session.run, columns(explorer.views["spectra"].densities.lines["truth"])
    cells = run.place((0, 0), explorer.state.box)
    part = run.tree.map_over_datasets(lambda d: d.isel(y=cells[0], x=cells[1]) if "y" in d.dims else d)
    np.testing.assert_allclose(shown["y"], spectra_data(part, "t2m").spectra["truth"], rtol=1e-5)


def test_lengths_on_the_screen_are_the_librarys(explorer):
    explorer.state.param.update(tab="correlation", direction="x")
    view, run = explorer.views["correlation"], explorer.session.run
    expected = correlation_data(run.tree, "t2m", direction="x", centre="each")
    zero = float(expected.lengths.zero_crossing.sel(source="truth"))
    span = view.curves.spans["zero_crossing"]
    assert span.visible == np.isfinite(zero)
    if span.visible:
        assert span.location == pytest.approx(zero)
        assert f"{zero / 8:.1f} cells" in view.curves.labels["zero_crossing"].text
    assert view.curves.patch.location == explorer.state.width * 8
    explorer.state.quantity = "residual"
    assert "what the regression leaves" in view.sentence(run)


def test_the_recommendation_is_the_librarys_and_can_be_taken(explorer):
    explorer.state.param.update(tab="patch", quantity="residual", height=8, width=8)
    view = explorer.views["patch"]
    advice = recommend_patch(view.result.reach, spacing_km=(8, 8), shape=(32, 32), multiple=8)
    assert advice.patch != (8, 8)
    view._take(None)
    assert (explorer.state.height, explorer.state.width) == advice.patch
    assert set(view.result.reach.variable.values) == {"t2m", "u10", "v10", "reflectivity"}
    assert f"shape: [{advice.patch[0]}, {advice.patch[1]}]" in view.text.object
    assert view.take.disabled


def test_patches_on_the_map_cover_it_and_share_what_is_said(library):
    run = library.run(next(iter(library.options().values())))
    boxes = np.array(patch_boxes(run, (12, 20), 4))
    west, south, east, north = run.extent
    assert boxes[:, 0].min() == west and boxes[:, 1].min() == south
    assert boxes[:, 2].max() == east and boxes[:, 3].max() == north
    np.testing.assert_allclose(boxes[:, 2] - boxes[:, 0], 20 * 8)
    np.testing.assert_allclose(boxes[:, 3] - boxes[:, 1], 12 * 8)
    rows = np.unique(boxes[:, 1])
    assert (np.diff(rows) <= (12 - 4) * 8).all()
    assert patch_boxes(run, (32, 32), 0) == [run.extent]


def test_a_patch_stays_within_the_domain_and_its_overlap_within_half_of_it():
    state = SpectraState()
    state.load(variables=["t2m"], n_times=3, shape=(20, 40), extent=(0, 0, 40, 20), quantities=[])
    assert (state.height, state.width) == (16, 16)
    for name, value in (
        ("height", 21),
        ("width", 3),
        ("width", 41),
        ("overlap", 9),
        ("time", 3),
        ("quantity", "residual"),
    ):
        with pytest.raises(ValueError, match=name):
            setattr(state, name, value)
    state.param.update(height=20, width=40)
    state.overlap = 10
    state.height = 8
    assert state.overlap == 4
    state.load(variables=["t2m"], n_times=1, shape=(6, 3), extent=(0, 0, 3, 6), quantities=[])
    assert (state.height, state.width, state.time) == (6, 3, 0)


@pytest.mark.parametrize("tab", ["spectra", "correlation", "patch", "about"])
def test_the_code_that_is_shown_draws_the_figure(explorer, library, tab, tmp_path, monkeypatch):
    explorer.state.param.update(tab=tab, quantity="residual", direction="y", scope="case", time=2)
    run = explorer.session.run
    text = code_of(run, explorer.state, opening(library, run))
    monkeypatch.chdir(tmp_path)
    exec(compile(text, "shown", "exec"), {})
    assert (tmp_path / "spectra.png").stat().st_size > 10_000
    assert call_of(explorer.state)[1]["times"] == (2,)


def test_curves_are_taken_along_as_csv(explorer):
    explorer.state.direction = "x"
    text = export.csv(explorer.session.run, explorer.state).read()
    assert text.startswith("# t2m [K], raw, x, whole domain")
    table = pd.read_csv(io.StringIO(text), comment="#", index_col=0)
    expected = spectra_data(explorer.session.run.tree, "t2m", direction="x").spectra
    np.testing.assert_allclose(table.index, expected["truth"].wavenumber)
    np.testing.assert_allclose(table["truth"], expected["truth"], rtol=1e-6)
    assert sum(name.startswith("prediction_") for name in table) == 5
    explorer.state.tab = "correlation"
    assert "lag" in export.csv(explorer.session.run, explorer.state).read()
    assert export.png(explorer.session.run, explorer.state).read(4) == b"\x89PNG"


def test_a_run_without_regression_or_members_has_spectra_all_the_same(tmp_path):
    tree = parts.small_tree(members=1, times=1)
    del tree["regression"], tree["oracle"], tree["interpolation"]
    explorer = SpectraExplorer(parts.library(tmp_path, trees={"lone": tree}))
    assert explorer.state.param.quantity.objects == ["raw"]
    for tab in explorer.views:
        explorer.state.tab = tab
        assert "went wrong" not in explorer.headline.object and "failed" not in explorer.headline.object, tab


def session(library):
    explorer = SpectraExplorer(library)
    explorer.share(pn.state.location)
    return explorer.page()


@pytest.fixture(scope="module")
def address(serve, library):
    return serve(lambda: session(library))


@pytest.mark.browser
def test_every_tab_shows_its_pictures(page, address):
    visit(page, address)
    for name, said, figures in (
        ("Autocorrelation", "the autocorrelation of the truth", 2),
        ("Patch size", "Recommended: patches of", 2),
        ("Spectra", "of the truth's variance", 4),
        ("About", "cells of 8 x 8 km", 0),
    ):
        page.get_by_role("tab", name=name, exact=True).click()
        headline(page, said)
        page.wait_for_timeout(500)
        for i in range(figures):
            assert colours(page.locator(".bk-Figure").nth(i)) > 3, (name, i)


@pytest.mark.browser
def test_a_box_is_dragged_on_the_map_and_kept_in_the_address(page, address):
    visit(page, address + "?var=t2m")
    headline(page, "of the truth's variance")
    page.locator(".bk-tool-icon-box-select").first.click()
    box = page.locator(".bk-Figure").nth(3).bounding_box()  # the map
    at = lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])  # noqa: E731
    page.mouse.move(*at(0.35, 0.35))
    page.mouse.down()
    page.mouse.move(*at(0.7, 0.7), steps=6)
    page.mouse.up()
    until(page, lambda: "box" in query(page))
    expect_region = page.get_by_text("km, y").first
    shared = page.url
    region = expect_region.inner_text()
    page.get_by_role("button", name="Whole domain").click()
    until(page, lambda: "box" not in query(page) or query(page)["box"] == "null")
    visit(page, shared)
    headline(page, region)


@pytest.mark.browser
def test_the_recommendation_is_taken_with_a_click(page, address):
    visit(page, address + "?tab=patch&py=8&px=8&of=residual")
    headline(page, "Recommended: patches of")
    page.get_by_role("button", name="Take the recommendation").click()
    until(page, lambda: int(query(page).get("py", 8)) > 8)


@pytest.mark.browser
@pytest.mark.parametrize(
    "asked", ["py=9999", "var=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E", "dir=up", "box=%5B0,0,0,0%5D"]
)
def test_nonsense_in_an_address_is_refused_and_said(page, address, asked):
    visit(page, f"{address}?{asked}&t=2")
    headline(page, "The address asks for something")


@pytest.mark.browser
def test_files_cannot_script_the_page(page, serve, tmp_path):
    tree = parts.small_tree()
    for group in ("truth", "prediction"):
        tree[group]["dust"] = tree[group]["t2m"].copy().assign_attrs(units=HOSTILE, long_name=HOSTILE)
    library = parts.library(tmp_path, trees={"<img src=x onerror=alert(1)>": tree})
    visit(page, serve(lambda: session(library)) + "?var=dust")
    for name in ("Autocorrelation", "Patch size", "About", "Spectra"):
        page.get_by_role("tab", name=name, exact=True).click()
        page.wait_for_timeout(1500)
    page.get_by_role("button", name="Show code").click()
    headline(page, "tree = open_tree(")
    assert page.locator("img[src='x']").count() == 0


@pytest.mark.browser
def test_no_session_outlives_its_page(serve, library):
    alive, made = weakref.WeakSet(), []

    def make():
        explorer = SpectraExplorer(library)
        alive.add(explorer)
        made.append(1)
        for tab in explorer.views:
            explorer.state.tab = tab
        return explorer.page()

    visitors(serve(make, check_unused_sessions_milliseconds=200, unused_session_lifetime_milliseconds=200), 3)
    assert all_gone(alive) and len(made) == 3


def test_the_entry_is_short():
    assert len((ROOT / "apps" / "spectra_explorer.py").read_text().splitlines()) <= 30
