"""The typhoon explorer in Chromium: what a person sees, clicks, shares and takes away; and what a file cannot do."""

from __future__ import annotations

import json
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import panel as pn
import pytest
import storm_parts as parts
from browser import HOSTILE, all_gone, colours, free_port, headline, query, until, visit, visitors, wait_for_server
from playwright.sync_api import expect
from synthetic_tree import write_tree
from test_explorer_browser import contrast

from apps.storms.app import TyphoonExplorer, extension

pytest_plugins = ["browser"]
pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[1]
TABS = {
    "Maps": ("radius of maximum wind: coarse input 52 km", 6),
    "Structure": ("tangential wind averaged around the centre", 5),
    "Intensity": ("Highest 10 m wind [m/s]", 2),
    "Front": ("steepest temperature gradient", 1),
    "About": ("64 x 64 cells of 4 x 4 km", 0),
    "Track": ("3 of 3 members have the storm", 1),
}


@pytest.fixture(scope="module", autouse=True)
def _extension():
    extension()


def session(library) -> object:
    """What the app's file does, for one session."""
    explorer = TyphoonExplorer(library)
    explorer.share(pn.state.location)
    return explorer.page()


@pytest.fixture(scope="module")
def address(serve, tmp_path_factory) -> str:
    trees = {"storm": parts.storm_tree(), "calm": parts.storm_tree(hours=2, storm=False)}
    trees["small"] = parts.storm_tree(hours=2, without=("oracle", "regression", "interpolation"))
    library = parts.library(tmp_path_factory.mktemp("served"), trees)
    return serve(lambda: session(library))


def walk(page, said=TABS):
    """Click through the tabs; each says what it shows and has drawn it."""
    for name, (words, figures) in said.items():
        page.get_by_role("tab", name=name, exact=True).click()
        headline(page, words)
        page.wait_for_timeout(500)
        for i in range(figures):
            assert colours(page.locator(".bk-Figure").nth(i)) > 3, (name, i)


def test_it_opens_on_tracks_and_every_tab_shows_its_pictures(page, address):
    visit(page, address)
    headline(page, "3 of 3 members have the storm")
    assert colours(page.locator(".bk-Figure").first) > 30
    expect(page.get_by_text("highest wind [m/s]").first).to_be_visible()
    walk(page)


def test_a_slider_step_changes_pictures_words_and_address(page, address):
    maps = ".bk-GridPlot .bk-Figure"
    for tab, what in (
        ("track", maps),
        ("maps", maps),
        ("front", maps),
        ("structure", ".bk-Figure"),
        ("intensity", ".bk-Figure"),
    ):
        figure = page.locator(what).first
        visit(page, f"{address}?t=0&tab={tab}&frame=earth")
        headline(page, "12 Sep 2021 00:00 UTC")
        page.wait_for_timeout(500)
        before = figure.screenshot()
        page.get_by_role("slider", name="Time").press("ArrowRight")
        headline(page, "12 Sep 2021 01:00 UTC")
        until(page, lambda: query(page).get("t") == "1")
        until(page, lambda old=before, shown=figure: shown.screenshot() != old)


def test_time_plays_and_members_are_chosen_with_keys(page, address):
    visit(page, address + "?t=0&m=0")
    page.get_by_role("button", name="play").first.click()
    until(page, lambda: int(query(page).get("t", 0)) >= 2)
    page.get_by_role("slider", name="Member").press("ArrowRight")
    headline(page, "Member 1")
    until(page, lambda: query(page).get("m") == "1")


def test_how_near_is_near_is_a_slider(page, address):
    visit(page, address)
    headline(page, "3 of 3 members have the storm")
    page.wait_for_timeout(500)
    before = page.locator(".bk-GridPlot .bk-Figure").first.screenshot()
    page.locator(".noUi-handle").first.press("ArrowRight")
    until(page, lambda: query(page).get("km") == "35")
    until(page, lambda: page.locator(".bk-GridPlot .bk-Figure").first.screenshot() != before)


def test_an_address_brings_the_same_view_to_someone_else(page, address):
    visit(page, address + "?run=storm&tab=intensity&of=rmw&t=3&m=1")
    headline(page, "Radius of maximum wind [km], 12 Sep 2021 03:00 UTC: input 52; regression 40; truth 28")
    page.get_by_role("tab", name="Maps", exact=True).click()
    headline(page, "member 1 28 km")
    page.get_by_text("Fixed to the ground").click()
    until(page, lambda: query(page).get("frame", "").strip('"') == "earth" and "maps" in query(page)["tab"])
    shared = page.url
    visit(page, shared)
    headline(page, "12 Sep 2021 03:00 UTC: radius of maximum wind")
    ranges = """() => [...Bokeh.documents[0]._all_models.values()].filter((m) => m.type == "Figure")
                .map((m) => m.x_range.start)"""
    until(page, lambda: -128 in page.evaluate(ranges))


@pytest.mark.parametrize(
    "asked",
    [
        "m=9999",
        "a=%5B1e9,0%5D",
        "var=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E",
        "run=..%2F..%2Fetc",
        "km=1e9",
        "km=NaN",
        "ring=dust",
    ],
)
def test_nonsense_in_an_address_is_refused_and_said(page, address, asked):
    visit(page, f"{address}?{asked}&t=1")
    headline(page, "12 Sep 2021 01:00 UTC")
    expect(page.get_by_text("The address asks for something").first).to_be_visible()


def test_another_case_is_one_choice_away_and_one_without_a_storm_says_so(page, address):
    visit(page, address)
    for name, words in (("calm", "no cyclone in truth"), ("small", "3 of 3 members"), ("storm", "3 of 3 members")):
        page.get_by_role("combobox", name="Case").click()
        page.get_by_role("option", name=name, exact=True).or_(
            page.get_by_role("menuitem", name=name, exact=True)
        ).first.click()
        headline(page, words)
        until(page, lambda name=name: query(page).get("run", "").strip('"') == name)
        page.wait_for_timeout(700)
    walk(page)
    visit(page, address + "?run=calm&tab=structure")
    headline(page, "no cyclone in truth")
    for name in ("Maps", "Intensity", "Track"):
        page.get_by_role("tab", name=name, exact=True).click()
        headline(page, "no cyclone in truth")
        page.wait_for_timeout(500)


def test_what_a_run_lacks_leaves_no_hole(page, address):
    visit(page, address + "?run=small&tab=structure")
    headline(page, "tangential wind averaged around")
    page.wait_for_timeout(700)
    figures = page.locator(".bk-Figure:visible")
    boxes = [figures.nth(i).bounding_box() for i in range(figures.count())]
    wide = [box["width"] for box in boxes if box["height"] < 320 and box["width"] > 100]
    assert len(wide) == 2 and min(wide) > 400, boxes


def test_what_is_seen_can_be_taken_along(page, address, tmp_path):
    visit(page, address + "?t=2&tab=structure")
    headline(page, "tangential wind averaged")
    names = {"PNG": "storm-structure-t2.png", "CSV": "storm-storm.csv"}
    for name, magic in [("PNG", b"\x89PNG"), ("CSV", b"# winds m/s"), ("CSV", b"# winds m/s"), ("PNG", b"\x89PNG")]:
        with page.expect_download(timeout=60_000) as download:
            page.get_by_text(name, exact=True).click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        assert path.read_bytes().startswith(magic) and path.name == names[name]


AT = """([x, y]) => {
  for (const view of Bokeh.index.query((view) => view.model.type == "Figure")) {
    if (!view.model.title.text.startsWith("Temperature at sea level")) continue;
    const {left, top} = view.el.getBoundingClientRect(), {x_scale, y_scale} = view.frame;
    return [left + x_scale.compute(x), top + y_scale.compute(y)];
  }
}"""


def test_the_section_across_a_front_is_dragged_and_kept_in_the_address(page, address):
    visit(page, address + "?tab=front&a=%5B-60,40%5D&b=%5B60,-40%5D")
    headline(page, "steepest temperature gradient")
    page.wait_for_timeout(1000)
    curve = page.locator(".bk-Figure:visible").last
    before = curve.screenshot()
    start, end = page.evaluate(AT, [-60, 40]), page.evaluate(AT, [-20, 80])
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=6)
    page.mouse.up()
    until(page, lambda: np.allclose(json.loads(query(page).get("a", "[0,0]")), [-20, 80], atol=3))
    assert json.loads(query(page)["b"]) == [60, -40]
    until(page, lambda: curve.screenshot() != before)


CHANGE_BEFORE_LAYOUT = """() => {
  const figures = Bokeh.index.query((view) => view.model.type == "Figure");
  const parts = [...figures].flatMap((view) => [...view.renderer_views.values()]);
  const bars = parts.filter((view) => view.model.type == "ColorBar");
  for (const bar of bars) {
    const {layout} = bar;
    bar.layout = undefined;
    try {
      bar._axis_view.model.major_label_standoff += 1;
    } finally {
      bar.layout = layout;
    }
  }
  return bars.length;
}"""


def test_a_colour_bar_may_change_before_it_is_laid_out(page, address):
    visit(page, address)
    headline(page, "members have the storm")
    assert page.evaluate(CHANGE_BEFORE_LAYOUT) == 1  # BokehJS alone throws: of undefined (setting 'dirty')
    page.get_by_role("tab", name="Structure", exact=True).click()
    headline(page, "tangential wind averaged")


def test_what_cannot_be_taken_along_is_said(page, address):
    visit(page, address + "?run=calm")
    headline(page, "no cyclone in truth")
    with page.expect_download(timeout=60_000):
        page.get_by_text("CSV", exact=True).click()
    expect(page.get_by_text("choose another case").first).to_be_visible()


def test_the_code_is_shown(page, address):
    visit(page, address + "?t=2&tab=intensity&of=rmw")
    page.get_by_role("button", name="Show code").click()
    code = page.get_by_text("tree = open_tree(")
    expect(code).to_be_visible()
    assert "intensity_figure" in code.inner_text() and "measure='rmw'" in code.inner_text()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy", exact=True).click()
    until(page, lambda: page.evaluate("navigator.clipboard.readText()") == code.inner_text())


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes_can_be_read(page, address, theme):
    visit(page, address)
    headline(page, "3 of 3 members have the storm")
    if theme == "dark":
        page.locator("header button").last.click()
        page.wait_for_timeout(1500)
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    words = page.get_by_role("tab").or_(page.get_by_role("cell"))
    names = words.evaluate_all("all => all.map((one) => getComputedStyle(one).color)")
    assert len(names) > 20
    assert min(contrast(colour, back) for colour in names) > 4.5, "WCAG AA"
    walk(page)


def test_a_narrow_window_holds_everything(page, address):
    page.set_viewport_size({"width": 900, "height": 800})
    visit(page, address)
    for name, (words, figures) in TABS.items():
        page.get_by_role("tab", name=name, exact=True).click()
        headline(page, words)
        page.wait_for_timeout(700)
        shown = page.locator(".bk-Figure:visible")
        boxes = [shown.nth(i).bounding_box() for i in range(shown.count())]
        assert len(boxes) >= figures
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= 901 for box in boxes), (name, boxes)
        assert all(box["height"] > 40 for box in boxes), (name, boxes)


def test_files_cannot_script_the_page(page, serve, tmp_path):
    tree = parts.storm_tree(hours=2, names=[f"{HOSTILE}{k}" for k in range(parts.MEMBERS)])
    tree.attrs = {"title": HOSTILE}
    for group in parts.ASIDE:
        tree[group]["dust"] = tree[group]["t2m"].copy().assign_attrs(units=HOSTILE, long_name=HOSTILE)
        tree[group]["t2m"].attrs.update(units="K", long_name=HOSTILE)  # a unit that is none of its own is refused
    library = parts.library(tmp_path, {"<img src=x onerror=alert(1)>": tree})
    visit(page, serve(lambda: session(library)) + "?var=dust&ring=t2m")
    for name in ("Maps", "Structure", "Intensity", "Front", "About", "Track"):
        page.get_by_role("tab", name=name, exact=True).click()
        page.wait_for_timeout(1200)
    page.get_by_role("button", name="Show code").click()
    expect(page.get_by_text("tree = open_tree(")).to_be_visible()
    assert page.locator("img[src='x']").count() == 0, "and the page fixture heard no alert"


def test_no_session_outlives_its_page(serve, tmp_path):
    trees = {"storm": parts.storm_tree(hours=2), "calm": parts.storm_tree(hours=2, storm=False)}
    library, alive, made = parts.library(tmp_path, trees), weakref.WeakSet(), []

    def make():
        explorer = TyphoonExplorer(library)
        alive.add(explorer)
        made.append(1)
        for run in ("storm", "calm", "storm"):
            explorer.state.run = run
            for tab in explorer.views:
                explorer.state.tab = tab
        return explorer.page()

    visitors(serve(make, check_unused_sessions_milliseconds=200, unused_session_lifetime_milliseconds=200), 3)
    assert all_gone(alive) and len(made) == 3


def test_the_app_itself_serves_what_it_is_given(page, tmp_path):
    port, path = free_port(), write_tree(tmp_path / "mine.nc", parts.storm_tree(hours=2))
    command = [sys.executable, "-m", "panel", "serve", str(ROOT / "apps" / "typhoon_explorer.py")]
    command += ["--address", "127.0.0.1", "--port", str(port), "--allow-websocket-origin", f"localhost:{port}"]
    with subprocess.Popen(
        [*command, "--args", str(path)], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            wait_for_server(port)
            visit(page, f"http://localhost:{port}/typhoon_explorer")
            headline(page, "3 of 3 members have the storm")
        finally:
            server.terminate()


def test_the_entry_is_short():
    assert len((ROOT / "apps" / "typhoon_explorer.py").read_text().splitlines()) <= 30
