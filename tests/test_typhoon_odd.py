"""The typhoon explorer on runs that have less than one would wish: it says so, and nothing fails."""

import asyncio

import numpy as np
import pytest
import storm_parts as parts
import xarray as xr

from apps.explorer.app import Explorer
from apps.spectra.app import SpectraExplorer
from apps.storms.app import TyphoonExplorer, extension
from apps.storms.state import MEASURES, PROFILES
from labkit.errors import DataError, LabError
from labkit.verify.cyclones import study

FAULTS = ("went wrong", "failed", "Error")


@pytest.fixture(scope="module", autouse=True)
def _extension():
    extension()


def windless(groups: tuple[str, ...]) -> xr.DataTree:
    tree = parts.storm_tree(hours=2)
    for group in groups:
        del tree[group]["u10"], tree[group]["v10"]
    return tree


ODD = {
    "calm": lambda: parts.storm_tree(hours=2, storm=False),
    "windless": lambda: windless(tuple(parts.ASIDE)),
    "members-windless": lambda: windless(("prediction",)),
    "once": lambda: parts.storm_tree(hours=1),
    "alone": lambda: parts.storm_tree(hours=2, without=("oracle", "regression", "interpolation")),
    "lost": lambda: parts.storm_tree(hours=2, absent=(("prediction", 1), ("regression", 0))),
    "forecast": lambda: parts.storm_tree(hours=2, without=("truth",)),
    "unseen": lambda: parts.storm_tree(hours=2, absent=(("truth", 0),)),
    "nowhere": lambda: parts.storm_tree(hours=2, known_place=False),
    "wide": lambda: parts.storm_tree(hours=2, shape=(48, 96)),
    "repeated": lambda: parts.storm_tree(hours=2, times=parts.TIMES[[0, 0]]),
    "numbered": lambda: parts.storm_tree(hours=2, times=np.arange(2)),
}


def taken(explorer, ending: str) -> str:
    """What a click on a button of the files gives."""
    return asyncio.run(explorer.takeaways.downloads[ending].callback()).read()


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    return parts.library(tmp_path_factory.mktemp("odd"), {name: make() for name, make in ODD.items()})


def every_tab(explorer):
    """Walks over all tabs, times, profiles and numbers; what each tab says."""
    said = {}
    for tab in (view.tab for view in TyphoonExplorer.tabs_of):
        explorer.state.tab = tab
        view = explorer.views[tab]
        for name, values in (("profile", PROFILES), ("measure", MEASURES)):
            for value in values if name in view.uses else ():
                explorer.state.param.update(**{name: value})
                assert not any(word in explorer.headline.object for word in FAULTS), (tab, value)
        for t in range(len(explorer.session.run.times)):
            explorer.state.time = t
            assert not any(word in explorer.headline.object for word in FAULTS), tab
        said[tab] = explorer.headline.object
        assert said[tab]
    return said


@pytest.mark.parametrize("run", list(ODD))
def test_every_tab_of_an_odd_run_says_something_sensible(odd, run, monkeypatch):
    studies = []
    monkeypatch.setattr("labkit.verify.cyclones.study", lambda tree, **told: studies.append(1) or study(tree, **told))
    explorer = TyphoonExplorer(odd, run=run)
    every_tab(explorer)
    assert len(studies) <= 1, "the storm is followed once, also where there is none"


@pytest.mark.parametrize(
    ("run", "tab"),
    [
        *(("members-windless", tab) for tab in ("track", "structure", "intensity")),
        *(("once", tab) for tab in ("structure", "intensity")),
        ("alone", "structure"),
        ("nowhere", "track"),
    ],
)
def test_figures_of_odd_runs_are_drawn_or_refused_in_words(odd, run, tab):
    explorer = TyphoonExplorer(odd, run=run, tab=tab)
    if (run, tab) == ("members-windless", "track"):
        with pytest.raises(DataError, match="members have wind"):
            explorer.take("png")
    else:
        assert explorer.take("png").read(4) == b"\x89PNG"
    assert "radius" not in explorer.take("csv").readline()


def test_what_cannot_be_taken_along_is_said_on_the_page(odd):
    explorer = TyphoonExplorer(odd, run="calm")
    assert "no cyclone" not in taken(explorer, "csv")
    assert explorer.notice.visible and "choose another case" in explorer.notice.object
    other = TyphoonExplorer(odd, run="alone", tab="structure", profile="tp")
    assert "profile 'tp'" in taken(other, "png")
    assert other.notice.visible and "tangential" in other.notice.object


@pytest.mark.parametrize(
    ("run", "expected"),
    [("calm", "no cyclone"), ("windless", "expected u10 and v10"), ("repeated", "repeat"), ("numbered", "dates")],
)
def test_a_run_without_a_storm_says_why(odd, run, expected):
    explorer = TyphoonExplorer(odd, run=run)
    for tab in ("track", "maps", "structure", "intensity"):
        explorer.state.tab = tab
        assert expected in explorer.headline.object
    with pytest.raises(LabError):
        explorer.take("csv")


def test_a_source_without_the_storm_is_named_and_shown_about_the_others(odd):
    explorer = TyphoonExplorer(odd, run="lost", member=1, time=0, variable="msl")
    assert "2 of 3 members have the storm" in explorer.headline.object
    assert sum(len(x) == 0 for x, _ in explorer.views["track"].overlay.thin.of("prediction")) == 1
    assert "Regression" not in explorer.views["track"].overlay.now.data["name"]
    explorer.state.tab = "maps"
    view = explorer.views["maps"]
    titles = {source: plot.title.text for source, plot in view.grid.figures.items()}
    assert titles["regression"] == "Regression: no storm found" and titles["prediction"] == "Member 1: no storm found"
    assert titles["truth"] == "Truth"
    assert not view.rings["prediction"].data["r"] and not view.centres["regression"].data["x"]
    assert view.grid._shifts["regression"] == view.grid._shifts["truth"]
    explorer.state.member = 0
    assert view.grid.figures["prediction"].title.text == "Member 0"


def test_without_the_truths_storm_the_reference_is_another(odd):
    explorer = TyphoonExplorer(odd, run="unseen", time=0)
    assert "3 of 3 members" in explorer.headline.object and "in the truth" not in explorer.headline.object
    assert set(parts.table_of(explorer)["off [km]"]) == {"–", ""}


def test_times_axes_stand_beside_the_first_section_that_there_is(odd):
    explorer = TyphoonExplorer(odd, run="alone", tab="structure")
    sections = explorer.views["structure"].sections
    plots, shown = sections.figures, [source for source, place in sections.places.items() if place.visible]
    assert shown == ["prediction", "truth"]
    assert [plots[source].yaxis[0].visible for source in shown] == [True, False]


@pytest.mark.parametrize("tab", ["structure", "intensity"])
def test_legends_name_what_the_run_has_and_no_more(odd, tab):
    def named(run: str) -> set[str]:
        view = TyphoonExplorer(odd, run=run, tab=tab).views[tab]
        plots = [view.profiles.figure] if tab == "structure" else [view.fan.figure, view.histogram.figure]
        shown = {item.label.value for plot in plots for item in plot.legend[0].items if item.visible}
        return {label.split(",")[0] for label in shown} - {"Chosen member", "Model", "Members", "Median"}

    assert named("wide") == {"Truth", "Regression", "Oracle", "Coarse input"}
    assert named("lost") == {"Truth", "Oracle", "Coarse input"}, "the regression has no storm there"
    assert named("alone") == {"Truth"}
    assert named("forecast") == {"Regression", "Oracle", "Coarse input"}


def test_a_forecast_without_a_truth_is_followed_all_the_same(odd):
    explorer = TyphoonExplorer(odd, run="forecast", time=1)
    assert "3 of 3 members have the storm" in explorer.headline.object and "truth" not in explorer.headline.object
    assert parts.table_of(explorer)["highest wind [m/s]"]["Model"].startswith("42")
    explorer.state.tab = "front"
    assert "nan" not in explorer.headline.object + explorer.views["front"].sharp.object
    assert Explorer(odd, run="forecast", tab="maps").headline.object.endswith("3 members; nothing was observed.")
    other = Explorer(odd, run="forecast", tab="probability")
    assert other.headline.object.endswith("nothing was observed.") and len(other.presets.items) > 0
    other.state.tab = "calibration"
    assert "not one cell that was observed" in other.headline.object


def test_scales_of_a_forecast_without_a_truth_are_its_members(odd):
    scales = SpectraExplorer(odd, run="forecast", tab="spectra", quantity="raw")
    assert "the spectrum of the model" in scales.headline.object
    assert not scales.views["spectra"].densities.lower.visible, "there is nothing to divide by"
    assert set(scales.views["spectra"].region.grid.figures) == {"mean"}
    scales.state.tab = "correlation"
    assert "autocorrelation of the model" in scales.headline.object
    assert np.isfinite(scales.views["correlation"].curves.lines["prediction"].data["y"]).all()
    scales.state.tab = "patch"
    assert scales.headline.object.startswith("Recommended")


def test_switching_runs_leaves_nothing_of_the_one_before(odd):
    explorer = TyphoonExplorer(odd, run="lost")
    for tab in ("track", "maps", "structure", "intensity"):
        explorer.state.param.update(run="lost", tab=tab)
        explorer.state.run = "calm"
        assert "no cyclone" in explorer.headline.object
    assert len(explorer.views["track"].overlay.now.data["x"]) == 0
    assert len(explorer.views["intensity"].fan.source.data["time"]) == 0
    explorer.state.param.update(run="alone", tab="track")
    assert "3 of 3 members" in explorer.headline.object


def test_it_opens_on_the_first_run_that_has_hours_in_a_row(tmp_path):
    days = parts.storm_tree(hours=(0, 1), times=parts.TIMES[0] + np.array([0, 24]) * np.timedelta64(1, "h"))
    trees = {"a-once": parts.storm_tree(hours=1), "b-days": days, "c-repeated": ODD["repeated"]()}
    trees |= {"d-numbered": ODD["numbered"](), "e-hours": parts.storm_tree(hours=2), "f": parts.storm_tree(hours=2)}
    assert TyphoonExplorer(parts.library(tmp_path, trees)).state.run == "e-hours"
    only = parts.library(tmp_path, {"alone": trees["a-once"]})
    assert TyphoonExplorer(only).state.run == "alone"


def test_the_window_of_a_wide_grid_has_its_shape(odd):
    explorer = TyphoonExplorer(odd, run="wide", tab="maps")
    grid = explorer.views["maps"].grid
    wide, high = grid._x_range.end - grid._x_range.start, grid._y_range.end - grid._y_range.start
    assert wide / high == pytest.approx(96 / 48) and high == pytest.approx(240)
