"""The explorer's calibration tab: six diagnostics, worked out beside the page, and what it says where there is none."""

from __future__ import annotations

import weakref
from io import BytesIO

import explorer_parts as parts
import numpy as np
import pandas as pd
import panel as pn
import pytest
import xarray as xr
from browser import all_gone, colours, headline, query, until, visit, visitors
from playwright.sync_api import expect

from apps.explorer import calibration_view, export
from apps.explorer.app import Explorer, extension
from apps.explorer.calibration_jobs import asked_of, notes, work_out
from apps.explorer.calibration_pictures import legend_html
from apps.explorer.code import code_of, figure_of
from apps.explorer.state import DIAGNOSTICS
from labkit.verify.probability import brier, ensemble_table

pytest_plugins = ["browser"]  # its fixtures: chromium, page, serve


def bare_tree() -> xr.DataTree:
    """One time, one member, neither oracle nor anything of the input."""
    tree = parts.small_tree(members=1, times=1, oracle=False)
    keep = ("truth", "prediction")
    return xr.DataTree.from_dict({"/": tree.to_dataset(), **{f"/{k}": tree[k].to_dataset(inherit=False) for k in keep}})


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    pn.extension(respect_explicit_sizing=True)
    trees = {"sample": parts.small_tree(), "bare": bare_tree()}
    return parts.library(tmp_path_factory.mktemp("calibration"), trees=trees)


@pytest.fixture
def run(library):
    return library.run("sample")


@pytest.fixture
def explorer(library) -> Explorer:
    explorer = Explorer(library, run="sample", variable="reflectivity", tab="calibration")
    explorer.page().get_root()
    explorer.state.threshold = 20.0
    return explorer


@pytest.fixture
def view(explorer):
    return explorer.views["calibration"]


def test_every_name_of_the_address_is_a_diagnostic_with_its_picture(explorer, view):
    said = set()
    for name in DIAGNOSTICS:
        explorer.state.diagnostic = name
        assert view.picture is not None and view.stage.objects == [view.picture.layout], name
        assert explorer.headline.object.startswith("radar reflectivity, 6 times: ") and "nan" not in view.said.object
        said.add(explorer.headline.object)
    assert len(said) == len(DIAGNOSTICS)


def test_the_reliability_shown_is_labkits(explorer, view, run):
    explorer.state.diagnostic = "reliability"
    members, truth = (run.tree[g]["reflectivity"] for g in ("prediction", "truth"))
    table = ensemble_table(members, truth, 20.0).sum("time").compute()
    shown = view.picture.diagram.lines["prediction"].data
    np.testing.assert_allclose(shown["y"], (table.o / table["count"]).dropna("bin"))
    parts_ = brier(table, members=5)
    assert f"Brier skill score is {float(parts_.skill):.2f}" in explorer.headline.object
    assert f"{float(parts_.resolution):.3f}" in view.picture.table.object
    np.testing.assert_allclose(view.picture.diagram.climatology.location, float((truth > 20).mean()))
    assert set(view.picture.roc.lines["oracle"].data) == {"x", "y"} and len(view.picture.roc.lines["oracle"].data["x"])


def test_the_window_is_in_km_and_the_useful_score_a_line(explorer, view):
    explorer.state.diagnostic = "neighbourhoods"
    picture = view.picture
    assert picture.sources.lines["member"].data["x"][0] == 8.0, "a cell"
    rate = float((explorer.session.run.tree["truth"]["reflectivity"] > 20).mean())
    assert picture.sources.useful.location == pytest.approx(0.5 + rate / 2)
    assert len(picture.thresholds.lines.data["label"]) >= 2 and "dBZ" in picture.thresholds.lines.data["label"][0]


def test_dots_of_a_stratum_stand_beside_its_name(explorer, view):
    explorer.state.param.update(diagnostic="strata", strata="surface")
    chart = view.picture.charts[0]
    assert chart.figure.y_range.factors == ["land (6)", "sea (6)"], "sea above land"
    rows = chart.dots["prediction"].data
    own = view.result.sel(source="prediction", bound="estimate")
    np.testing.assert_allclose(rows["x"], own.crps)
    assert [name for name, _ in rows["y"]] == ["sea (6)", "land (6)"]
    assert (rows["low"] <= rows["x"]).all() and (rows["x"] <= rows["high"]).all()


def test_grey_lies_where_the_bias_may_be_chance(explorer, view):
    explorer.state.diagnostic = "maps"
    data, maps = view.result, view.picture.maps
    veil = maps.veils["bias"].data["image"][0].view(np.uint8).reshape(32, 32, 4)
    np.testing.assert_array_equal(veil[..., 3] == 0, data.bias_sure.values)
    assert not maps.veils["crps"].data["image"], "a CRPS is never zero"
    meta = maps.grid.scales["bias"].meta.data
    shown = maps.grid.sources["bias"].data["image"][0] * meta["step"][0] + meta["offset"][0]
    np.testing.assert_allclose(shown, data.bias, atol=0.01)
    explorer.state.point = (20.0, -36.0)
    assert maps.grid.marker.data == {"x": [20.0], "y": [-36.0]}


def test_grey_lies_the_right_way_up_whichever_way_the_axis_runs(tmp_path):
    tree = parts.small_tree(times=24)  # of fewer hours no cell is sure
    tree["prediction"]["reflectivity"][..., 20:, :9] += 60
    groups = {"/": tree.to_dataset(inherit=False)} | {f"/{g}": tree[g].to_dataset(inherit=False) for g in tree.children}
    turned = xr.DataTree.from_dict({name: group.isel(y=slice(None, None, -1)) for name, group in groups.items()})
    veils = []
    for name, one in (("a", tree), ("b", turned)):
        (tmp_path / name).mkdir()
        library = parts.library(tmp_path / name, trees={name: one})
        explorer = Explorer(library, variable="reflectivity", tab="calibration")
        explorer.state.diagnostic = "maps"
        veils.append(explorer.views["calibration"].picture.maps.veils["bias"].data["image"][0])
    np.testing.assert_array_equal(*veils)
    assert len(np.unique(veils[0])) == 2


def test_the_tail_that_is_too_strong_is_seen(tmp_path):
    tree = parts.small_tree()
    tree["prediction"]["reflectivity"] = tree["prediction"]["reflectivity"] * 1.5
    explorer = Explorer(parts.library(tmp_path, trees={"a": tree}), variable="reflectivity", tab="calibration")
    explorer.state.diagnostic = "distributions"
    picture = explorer.views["calibration"].picture
    assert picture.quantiles.dots["prediction"].data["low"][-1] > 0, "in dBZ above the truth's"
    assert abs(picture.quantiles.dots["oracle"].data["y"][-1]) < picture.quantiles.dots["prediction"].data["y"][-1]
    assert "beyond the range of single members" in explorer.headline.object


def test_a_question_is_worked_out_once_and_only_when_asked(explorer, view, library, monkeypatch):
    asked = []
    monkeypatch.setattr(calibration_view, "work_out", lambda run, a: (asked.append(a.diagnostic), work_out(run, a))[1])
    library._results.clear()
    explorer.state.diagnostic = "reliability"
    explorer.state.threshold = 25.0
    explorer.state.threshold = 20.0
    explorer.state.diagnostic = "strata"
    explorer.state.threshold = 30.0
    explorer.state.point = (4.0, 4.0)
    assert asked == ["reliability", "reliability", "strata"]


def test_only_the_controls_that_a_diagnostic_uses_are_there(explorer, view):
    used = {}
    for name in DIAGNOSTICS:
        explorer.state.diagnostic = name
        used[name] = (view.threshold.visible, view.strata.visible)
    assert {n for n, (threshold, _) in used.items() if threshold} == {"reliability", "neighbourhoods"}
    assert {n for n, (_, split) in used.items() if split} == {"strata"}


def test_one_time_one_member_and_no_oracle_are_said(library):
    explorer = Explorer(library, run="bare", variable="reflectivity", tab="calibration")
    explorer.state.threshold = 15.0
    view = explorer.views["calibration"]
    for name in DIAGNOSTICS:
        explorer.state.diagnostic = name
        assert "nan" not in explorer.headline.object.lower(), name
        for words in ("One member only", "One time only", "No oracle"):
            assert words in view.said.object, name
    assert "too few times" in explorer.headline.object, "of the maps"


@pytest.mark.parametrize(("by", "words"), [("surface", "land_mask"), ("height", "orography"), ("rain", "tp or reflec")])
def test_a_split_that_a_run_cannot_have_says_what_it_takes(library, by, words):
    explorer = Explorer(library, run="bare", variable="t2m", tab="calibration")
    explorer.state.param.update(diagnostic="strata", strata=by)
    view = explorer.views["calibration"]
    assert words in explorer.headline.object and view.stage.objects == [] and not view.stage.loading
    explorer.state.strata = "mean"
    assert view.stage.objects == [view.picture.layout], "and the next one is drawn"


def test_an_event_out_of_reach_says_so_and_the_slider_stays(explorer, view):
    explorer.state.diagnostic = "reliability"
    explorer.state.param.threshold.bounds = (0.0, 500.0)
    explorer.state.threshold = 400.0
    assert "move the threshold" in explorer.headline.object and view.threshold.visible
    explorer.state.diagnostic = "neighbourhoods"
    assert "lower the threshold" in explorer.headline.object


def test_a_truth_that_was_not_observed_is_said(tmp_path):
    tree = parts.small_tree()
    tree["truth"]["reflectivity"][2] = np.nan
    library = parts.library(tmp_path, trees={"a": tree})
    explorer = Explorer(library, variable="reflectivity", tab="calibration", time=2, scope="case")
    for name in DIAGNOSTICS:
        explorer.state.diagnostic = name
        assert "choose other times" in explorer.headline.object, name
    explorer.state.scope = "run"
    assert "nan" not in explorer.headline.object


@pytest.mark.parametrize("diagnostic", DIAGNOSTICS)
def test_the_code_shown_draws_the_same_figure_and_the_csv_its_numbers(
    run, library, explorer, diagnostic, tmp_path, monkeypatch
):
    explorer.state.diagnostic = diagnostic
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code_of(run, explorer.state, library.path(run.id)), names)  # what a user would do with it
    buffers = [BytesIO(), BytesIO()]
    mine = figure_of(run, explorer.state)
    mine.savefig(BytesIO(), dpi=150)  # as the code did: the layout depends on what was saved before
    for figure, buffer in zip((names["figure"], mine), buffers, strict=True):
        figure.savefig(buffer, format="png", dpi=40)
    assert buffers[0].getvalue() == buffers[1].getvalue() and len(buffers[0].getvalue()) > 4000
    text = export.csv(run, explorer.state)
    assert text.readline() == f"# {diagnostic} of reflectivity [dBZ], 6 times\n"
    assert len(pd.read_csv(text)) >= 5


def test_notes_say_how_many_times_were_used(run, explorer, monkeypatch):
    assert notes(run, asked_of(run, explorer.state)) == []
    monkeypatch.setattr("apps.explorer.calibration_jobs.MAX_VALUES", 5 * 32 * 32 * 5 * 4)
    assert notes(run, asked_of(run, explorer.state)) == [
        "Made of 4 of 6 times, evenly spread, so that it takes seconds."
    ]


def test_names_never_become_mark_up():
    assert "<img" not in legend_html([("<img src=x>", "#fff", "line")])


@pytest.mark.parametrize(("name", "value"), [("diagnostic", "<script>"), ("strata", "truth")])
def test_nonsense_is_refused(explorer, name, value):
    with pytest.raises(ValueError):
        setattr(explorer.state, name, value)


@pytest.fixture(scope="module")
def address(serve, library) -> str:
    extension()

    def session():
        explorer = Explorer(library)
        explorer.share(pn.state.location)
        return explorer.page()

    return serve(session)


@pytest.mark.browser
def test_each_diagnostic_is_drawn_and_kept_in_the_address(page, address):
    said = {
        "Reliability and ROC": ("Brier skill score", "reliability", 3),
        "Neighbourhoods": ("is useful", "neighbourhoods", 2),
        "Distributions": ("quantile is", "distributions", 3),
        "By stratum": ("CRPS goes from", "strata", 3),
        "Maps": ("the bias is not zero", "maps", 3),
        "Ranks and spread": ("reliability index", "ranks", 3),
    }
    visit(page, address + "?tab=calibration&diag=ranks&var=reflectivity&strata=surface")
    for title, (words, name, figures) in said.items():
        page.get_by_role("combobox", name="Diagnostic").click()
        page.get_by_role("menuitem", name=title, exact=True).click()
        headline(page, words)
        until(page, lambda name=name: query(page).get("diag", "ranks").strip('"') == name)
        until(page, lambda figures=figures: page.locator(".bk-Figure").count() == figures)
        page.wait_for_timeout(500)
        assert colours(page.locator(".bk-Figure").first) > 5, title
    assert query(page)["strata"].strip('"') == "surface"


@pytest.mark.browser
def test_an_address_names_a_diagnostic_and_its_threshold(page, address):
    visit(page, address + "?tab=calibration&diag=reliability&var=reflectivity&thr=12")
    headline(page, "above 12 dBZ")
    expect(page.get_by_role("slider", name="Threshold")).to_be_visible()


@pytest.mark.browser
def test_no_session_outlives_its_page(serve, library):
    alive = weakref.WeakSet()

    def make():
        explorer = Explorer(library)
        alive.add(explorer)
        for name in DIAGNOSTICS:
            explorer.state.param.update(tab="calibration", diagnostic=name)
        return explorer.page()

    url = serve(make, check_unused_sessions_milliseconds=200, unused_session_lifetime_milliseconds=200)
    visitors(url, 3)
    assert all_gone(alive)
