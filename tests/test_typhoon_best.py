"""Best tracks and cases beside the runs: the right storm, in its own units and averaging, or none."""

import numpy as np
import pytest
import storm_parts as parts
import xarray as xr

from apps.parts.runs import Run
from apps.storms.app import TyphoonExplorer, extension
from apps.storms.code import code_of, figure_of
from apps.storms.export import known_storm
from apps.storms.shelf import Shelf, open_storm_library
from labkit.store.trees import open_tree
from labkit.winds import KNOT

TIME = 2
WINDS = (80 - 2 * np.arange(parts.HOURS)) * KNOT


@pytest.fixture(scope="module", autouse=True)
def _extension():
    extension()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("best")
    parts.write_tree(folder / "storm.nc", parts.storm_tree())
    (folder / "mine.csv").write_text(parts.best_track_table(east_km=30.0))
    (folder / "other.csv").write_text(parts.best_track_table(east_km=900.0))
    return folder


@pytest.fixture(scope="module")
def opened(folder):
    return open_storm_library(
        [str(folder / "storm.nc"), f"jtwc={folder / 'mine.csv'}", f"tokyo={folder / 'other.csv'}"]
    )


@pytest.fixture
def explorer(opened):
    library, shelf = opened
    return TyphoonExplorer(library, shelf=shelf, run="storm", time=TIME)


def test_the_storm_on_the_runs_way_is_taken_and_one_far_away_is_not(explorer):
    (best,) = known_storm(explorer.session).best
    assert best.label == "Known (JTWC, 1-minute winds)"
    np.testing.assert_allclose(best.track.wind, WINDS, rtol=1e-6)
    x, y = np.transpose([parts.centre(hour) for hour in range(parts.HOURS)])
    np.testing.assert_allclose(best.track.x, x + 30, atol=0.5)
    np.testing.assert_allclose(best.track.y, y, atol=0.5)


def test_it_is_on_the_map_in_the_table_and_beside_the_courses(explorer):
    view = explorer.views["track"]
    ((xs, ys),) = view.overlay.thick.of("Known (JTWC, 1-minute winds)")
    place, now = (parts.centre(TIME)[0] + 30, parts.centre(TIME)[1]), view.overlay.now.data
    assert len(xs) == parts.HOURS and (xs[TIME], ys[TIME]) == pytest.approx(place, abs=0.5)
    assert (now["x"][-1], now["y"][-1]) == pytest.approx(place, abs=0.5) and "JTWC" in now["name"][-1]
    row = parts.table_of(explorer).loc["Best track, Known (JTWC, 1-minute winds)"]
    assert row["off [km]"] == "30" and row["pressure [hPa]"] == "962"
    assert float(row["highest wind [m/s]"]) == pytest.approx(WINDS[TIME], abs=0.05)
    explorer.state.param.update(tab="intensity", measure="max_wind")
    view = explorer.views["intensity"]
    np.testing.assert_allclose(view.best[0].data["y"], WINDS)
    assert list(view.best[0].data["x"]) == list(parts.TIMES) and "1-minute" in view.meaning.object
    assert [item.visible for item in view.named] == [True, False, False]
    explorer.state.measure = "mean_wind"
    assert view.best[0].data["y"] == [] and not view.named[0].visible and "Best track" not in view.meaning.object


def test_its_winds_are_converted_where_they_are_compared(explorer):
    explorer.state.param.update(tab="intensity", measure="relation")
    found = explorer.views["intensity"].pressure.best.data
    np.testing.assert_allclose(found["y"], 0.93 * WINDS, atol=0.01)
    np.testing.assert_allclose(found["x"], 960 + np.arange(parts.HOURS), atol=0.01)


@pytest.mark.parametrize(("tab", "measure"), [("track", "rmw"), ("intensity", "max_wind"), ("intensity", "relation")])
def test_the_code_shown_draws_it_too(explorer, tab, measure, tmp_path, monkeypatch):
    explorer.state.param.update(tab=tab, measure=measure)
    monkeypatch.chdir(tmp_path)
    text = explorer.code_text()
    assert "agency='jtwc'" in text and "best_track=best" in text
    names: dict = {}
    exec(text, names)  # what a user would do with it
    run, state = explorer.session.run, explorer.state
    mine = figure_of(run, state, lambda: known_storm(explorer.session))
    mine.savefig(tmp_path / "mine.png", dpi=150)
    assert (tmp_path / "mine.png").read_bytes() == (tmp_path / "storm.png").read_bytes()
    without = code_of(run, state, tmp_path / "tree.nc")
    assert "best" not in without


def test_an_idealised_storm_has_no_best_track(opened, tmp_path):
    library, shelf = opened
    tree = parts.storm_tree()
    tree.attrs["source"] = "idealised atmosphere"
    run = library.run("storm")
    way = xr.Dataset({"lat": ("time", np.full(parts.HOURS, 23.7)), "lon": ("time", np.full(parts.HOURS, 121.2))})
    assert len(shelf.best_of(run, way)) == 1
    parts.write_tree(tmp_path / "ideal.nc", tree)
    ideal = Run("ideal", "ideal", open_tree(tmp_path / "ideal.nc"), library.store)
    assert shelf.best_of(ideal, way) == []
    assert shelf.best_of(run, way * np.nan) == []


def test_files_that_are_no_best_tracks_or_cases_are_named(folder, tmp_path):
    (tmp_path / "nonsense.csv").write_text("a,b\n1,2\n")
    (tmp_path / "cases.yaml").write_text("- key: lacks the rest\n")
    files = [str(folder / "storm.nc"), str(tmp_path / "nonsense.csv"), str(tmp_path / "cases.yaml")]
    library, shelf = open_storm_library([*files, str(tmp_path / "absent.dat")])
    assert len(shelf.problems) == 3 and next(iter(library.options().values())) == "storm"
    explorer = TyphoonExplorer(library, shelf=shelf, run="storm", tab="about")
    said = explorer.views["about"].holder.objects[0].object
    assert all(name in said for name in ("nonsense.csv", "cases.yaml", "absent.dat"))
    assert explorer.notice.visible and "Not opened" in explorer.notice.object and "2 more" in explorer.notice.object


def test_a_table_that_does_not_say_whose_it_is_is_not_guessed(folder):
    _, shelf = open_storm_library([str(folder / "storm.nc"), str(folder / "mine.csv")])
    assert "agency" in shelf.problems[0] and not any("mine.csv" in table.opening for table in shelf.tables)


def test_rows_that_were_left_out_are_told(folder, tmp_path):
    table = (folder / "mine.csv").read_text() + "X,2021-09-11,95,121,40,990\n"
    (tmp_path / "odd.csv").write_text(table)
    _, shelf = open_storm_library([str(folder / "storm.nc"), f"jtwc={tmp_path / 'odd.csv'}"])
    assert len(shelf.tables) == 1
    assert shelf.problems[0].startswith("odd.csv, in part: 1 row that cannot be read left out: line ")


def test_the_case_of_a_run_is_told_and_the_catalogue_listed(opened, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "- {key: known-2021, title: Known, kind: cyclone, start: 2021-09-11T00:00:00, end: 2021-09-12T02:00:00,"
        " lat: 23.6, lon: 121.2, why: It is <b>known</b>.}\n"
        "- {key: far-2021, title: Far, kind: cyclone, start: 2021-09-11T00:00:00, end: 2021-09-12T02:00:00,"
        " lat: 35.0, lon: 121.2, why: It is far.}\n"
        "- {key: late-2021, title: Late, kind: cyclone, start: 2021-09-13T00:00:00, end: 2021-09-14T02:00:00,"
        " lat: 23.6, lon: 121.2, why: It is late.}\n"
    )
    library, _ = opened
    _, shelf = open_storm_library([str(tmp_path / "mine.yaml")])
    known = [case.key for case in shelf.cases_of(library.run("storm"))]
    assert "known-2021" in known and not {"far-2021", "late-2021"} & set(known)
    explorer = TyphoonExplorer(library, shelf=Shelf(cases={"known-2021": shelf.cases["known-2021"]}), run="storm")
    assert "Known" in explorer.case.object and "&lt;b&gt;known" in explorer.case.object
    listed = TyphoonExplorer(library, shelf=shelf, run="storm", tab="about").views["about"].holder.objects[0].object
    assert all(word in listed for word in ("Morakot", "Gaemi", "It is far.", "11 Sep 00 UTC to 12 Sep 02 UTC 2021"))
