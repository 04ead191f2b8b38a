"""The explorer in Chromium: what a person sees, clicks, shares and takes away; and what an attacker cannot do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import explorer_parts as parts
import panel as pn
import pytest
import xarray as xr
from browser import HOSTILE, all_gone, colours, free_port, headline, query, until, visit, visitors, wait_for_server
from playwright.sync_api import expect
from synthetic_tree import write_tree

from apps.explorer import products_view
from apps.explorer.app import Explorer, extension
from apps.explorer.products import make
from apps.explorer.state import PRODUCTS
from labkit.store.trees import open_tree

pytest_plugins = ["browser"]  # its fixtures: chromium, page, serve
pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def _extension() -> None:
    extension()


def session(library) -> object:
    """What the app's file does, for one session."""
    explorer = Explorer(library)
    explorer.share(pn.state.location)
    return explorer.page()


@pytest.fixture(scope="module")
def gate() -> threading.Semaphore:
    return threading.Semaphore(0)


@pytest.fixture(scope="module")
def address(serve, gate, tmp_path_factory) -> str:
    library = parts.library(tmp_path_factory.mktemp("served"), models=parts.FakeModels(gate=gate))
    return serve(lambda: session(library))


def test_it_opens_on_maps_that_are_drawn(page, address):
    visit(page, address)
    headline(page, "the truth lies within the 5 members")
    figures = page.locator(".bk-Figure")
    assert figures.count() == 7, "six maps and a colour bar"
    for i in range(6):
        assert colours(figures.nth(i)) > 30
    expect(page.get_by_text("Strongest wind")).to_be_visible()


def test_every_tab_shows_its_pictures(page, address):
    visit(page, address)
    for name, said in {
        "Members": "All 5 members",
        "Probability": "of the area in the members on average",
        "Products": "members have it somewhere",
        "Point & time": "members are below it",
        "Calibration": "reliability index",
        "Draw": "one is drawn at a time",
        "About": "How this run was made",
        "Maps": "the truth lies within",
    }.items():
        page.get_by_role("tab", name=name, exact=True).click()
        headline(page, said)
        if name not in ("Draw", "About"):
            page.wait_for_timeout(500)
            assert colours(page.locator(".bk-Figure").first) > 5, name


def test_products_are_one_choice_away_and_kept_in_the_address(page, address):
    visit(page, address + "?var=reflectivity&tab=products&thr=20&t=2")
    for name, key, said, maps in (
        ("Spaghetti", "spaghetti", "members have it somewhere", 2),
        ("Clusters of members", "clusters", "members resemble each other", 4),
        ("Neighbourhood probability", "neighbourhood", "within 20 km", 4),
        ("Paintball", "paintball", "members have it somewhere", 2),
    ):
        page.get_by_role("combobox", name="Product").click()
        page.get_by_role("menuitem", name=name, exact=True).click()
        headline(page, said)
        until(page, lambda key=key: query(page).get("product", "paintball").strip('"') == key)
        until(page, lambda maps=maps: page.locator(".bk-GridPlot .bk-Figure").count() == maps)
        page.wait_for_timeout(500)
        assert colours(page.locator(".bk-GridPlot .bk-Figure").first) > 5, name
    before = page.locator(".bk-GridPlot .bk-Figure").first.screenshot()
    page.get_by_role("slider", name="Threshold").press("ArrowRight")
    until(page, lambda: float(query(page).get("thr", 20)) > 20)
    until(page, lambda: page.locator(".bk-GridPlot .bk-Figure").first.screenshot() != before)


def test_what_is_worked_out_while_the_page_loads_is_shown(page, serve, tmp_path, monkeypatch):
    """Between the page's making and its arrival in the browser, changes used to be lost."""
    monkeypatch.setattr(products_view, "AT_ONCE", 0)
    delay = [0.0]
    monkeypatch.setattr(products_view, "make", lambda *a: (time.sleep(delay[0]), make(*a))[1])
    library = parts.library(tmp_path)
    url = serve(lambda: session(library))
    for t, delay[0] in enumerate((0.1, 0.2, 0.3, 0.5)):
        visit(page, f"{url}?tab=products&product=matched&var=reflectivity&t={t}")
        headline(page, "single members reach")
        until(page, lambda: page.locator(".bk-GridPlot .bk-Figure").count() == 4)


def test_a_slider_step_changes_pictures_words_and_address(page, address):
    visit(page, address + "?t=0")
    before = page.locator(".bk-Figure").nth(4).screenshot()
    page.get_by_role("slider", name="Time").press("ArrowRight")
    headline(page, "12 Sep 2021 01:00 UTC")
    until(page, lambda: query(page).get("t") == "1")
    until(page, lambda: page.locator(".bk-Figure").nth(4).screenshot() != before)


def test_members_play(page, address):
    visit(page, address + "?tab=members")
    page.get_by_role("button", name="play").last.click()
    until(page, lambda: int(query(page).get("m", 0)) >= 2)


def test_an_address_brings_the_same_view_to_someone_else(page, address):
    visit(page, address + "?var=u10&t=3&m=2&tab=point&xy=%5B28,-92%5D")
    headline(page, "At x 28, y -92 km")
    expect(page.get_by_text("12 Sep 2021 03:00 UTC").first).to_be_visible()
    page.get_by_role("tab", name="Probability", exact=True).click()
    headline(page, "of the area in the members on average")
    until(page, lambda: query(page).get("tab", "").strip('"') == "probability")
    said = page.get_by_text("of the area in the members on average").first.inner_text()
    shared = page.url
    visit(page, shared)
    headline(page, said)
    assert "eastward wind" in page.content().lower() or page.get_by_text("eastward wind").count()


@pytest.mark.parametrize(
    "asked", ["m=9999", "var=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E", "run=..%2F..%2Fetc", "xy=%5B1e9,0%5D"]
)
def test_nonsense_in_an_address_is_refused_and_said(page, address, asked):
    visit(page, f"{address}?{asked}&t=2")
    headline(page, "12 Sep 2021 02:00 UTC")
    expect(page.get_by_text("The address asks for something").first).to_be_visible()


def test_a_case_is_one_click_away(page, address):
    visit(page, address + "?var=t2m")
    page.get_by_text("Strongest wind").click()
    headline(page, "10 m wind speed, 12 Sep 2021")
    until(page, lambda: "wind_speed" in query(page).get("var", ""))


def test_the_mouse_reads_every_map_and_a_click_chooses_the_place(page, address):
    visit(page, address + "?var=t2m")
    page.wait_for_timeout(1000)
    box = page.locator(".bk-Figure").nth(2).bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"], steps=4)
    labels = """() => [...Bokeh.documents[0]._all_models.values()].filter((m) => m.type == "Label" && m.visible)
                .map((m) => m.text)"""
    until(page, lambda: len(page.evaluate(labels)) == 6)
    assert all(text.endswith(" K") and 250 < float(text.split()[0]) < 330 for text in page.evaluate(labels))
    page.mouse.click(box["x"] + 0.6 * box["width"], box["y"] + 0.4 * box["height"])
    until(page, lambda: "xy" in query(page))
    page.get_by_role("tab", name="Point & time", exact=True).click()
    headline(page, "members are below it")


def test_what_is_seen_can_be_taken_along(page, address, tmp_path):
    visit(page, address + "?var=t2m&t=2")
    kinds = {"PNG": b"\x89PNG", "CSV": b"# t2m [K] at", "NetCDF": b"\x89HDF"}
    for name, magic in kinds.items():
        with page.expect_download(timeout=60_000) as download:
            page.get_by_text(name, exact=True).click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        assert path.read_bytes().startswith(magic) and path.name.startswith("sample-t2m-t2")
    assert open_tree(tmp_path / "sample-t2m-t2.nc")["prediction"].sizes == {"ensemble": 5, "time": 1, "y": 32, "x": 32}


def test_the_code_is_shown(page, address):
    visit(page, address + "?var=t2m&t=2")
    page.get_by_role("button", name="Show code").click()
    code = page.get_by_text("tree = open_tree(")
    expect(code).to_be_visible()
    assert "maps_figure" in code.inner_text() and "time=2" in code.inner_text()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy", exact=True).click()
    until(page, lambda: page.evaluate("navigator.clipboard.readText()") == code.inner_text())


def test_members_are_drawn_before_ones_eyes_and_a_draw_can_be_cancelled(page, address, gate):
    visit(page, address + "?tab=draw")
    draw = page.get_by_role("button", name="Draw", exact=True)
    expect(draw).to_be_enabled()
    draw.click()
    gate.release(2)
    expect(page.get_by_text("Drawing: 25% done").first).to_be_visible()
    until(page, lambda: colours(page.locator(".bk-Figure").first) > 30)
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_timeout(1000)
    gate.release(2)
    expect(page.get_by_text("Cancelled; the members").first).to_be_visible()
    draw.click()
    gate.release(50)
    expect(page.get_by_text("the result is in the list of runs").first).to_be_visible()
    page.get_by_role("button", name="Open in the explorer").click()
    headline(page, "the truth lies within the 8 members")
    until(page, lambda: "fake" in query(page).get("run", ""))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes_can_be_read(page, address, theme):
    visit(page, address)
    if theme == "dark":
        page.locator("header button").last.click()
        page.wait_for_timeout(1500)
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    names = page.get_by_role("tab").evaluate_all("tabs => tabs.map((tab) => getComputedStyle(tab).color)")
    assert len(names) == len(Explorer.tabs_of)
    assert min(contrast(colour, back) for colour in names) > 4.5, "WCAG AA"


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours as the browser writes them, by WCAG 2."""

    def luminance(colour: str) -> float:
        channels = [float(number) / 255 for number in re.findall(r"[\d.]+", colour)[:3]]
        linear = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(luminance(colour) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def test_files_cannot_script_the_page(page, serve, tmp_path):
    tree = parts.small_tree()
    tree.attrs = {"title": HOSTILE}
    for group in ("truth", "prediction"):
        dust = tree[group]["t2m"].copy()
        dust.attrs = {"units": HOSTILE, "long_name": HOSTILE}
        tree[group]["dust"] = dust
    library = parts.library(tmp_path, trees={"<img src=x onerror=alert(1)>": tree})
    visit(page, serve(lambda: session(library)) + "?var=dust")
    for name in ("Members", "Probability", "Point & time", "Calibration", "Draw", "About", "Maps"):
        page.get_by_role("tab", name=name, exact=True).click()
        page.wait_for_timeout(800)
    page.get_by_role("button", name="Show code").click()
    expect(page.get_by_text("tree = open_tree(")).to_be_visible()
    assert page.locator("img[src='x']").count() == 0, "and the page fixture heard no alert"


def test_no_session_outlives_its_page(serve, tmp_path):
    library, alive, made = parts.library(tmp_path), weakref.WeakSet(), []

    def make():
        explorer = Explorer(library)
        alive.add(explorer)
        made.append(1)
        for tab in explorer.views:
            explorer.state.tab = tab
        for product in PRODUCTS:
            explorer.state.param.update(tab="products", product=product)
        return explorer.page()

    url = serve(make, check_unused_sessions_milliseconds=200, unused_session_lifetime_milliseconds=200)
    visitors(url, 3)
    assert all_gone(alive) and len(made) == 3


def test_twenty_people_at_once(serve, tmp_path):
    library = parts.library(tmp_path)
    given = visitors(serve(lambda: session(library)), 20)
    assert len(given) == 20 and len(set(given)) == 1 and given[0] > 200


def test_the_app_itself_serves_what_it_is_given(page, tmp_path):
    port, path = free_port(), write_tree(tmp_path / "mine.nc", parts.small_tree())
    command = [sys.executable, "-m", "panel", "serve", str(ROOT / "apps" / "ensemble_explorer.py")]
    command += [
        "--address",
        "127.0.0.1",
        "--port",
        str(port),
        "--allow-websocket-origin",
        f"localhost:{port}",
        "--args",
        str(path),
    ]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for_server(port)
            visit(page, f"http://localhost:{port}/ensemble_explorer")
            headline(page, "the truth lies within the 5 members")
        finally:
            server.terminate()


def test_the_entry_is_short():
    assert len((ROOT / "apps" / "ensemble_explorer.py").read_text().splitlines()) <= 30


def test_trees_that_are_tried_are_valid(tmp_path):
    assert isinstance(open_tree(write_tree(tmp_path / "a.nc", parts.small_tree())), xr.DataTree)


def test_a_page_says_by_itself_that_its_file_was_replaced_or_deleted(page, serve, tmp_path):
    library = parts.library(tmp_path, trees={"mine": parts.small_tree()})
    visit(page, serve(lambda: session(library)) + "?var=t2m&t=5")
    headline(page, "the truth lies within the 5 members")
    os.replace(write_tree(tmp_path / "new.tmp", parts.small_tree(members=3, times=4)), tmp_path / "mine.nc")
    headline(page, "this is the new one")
    headline(page, "the truth lies within the 3 members")
    until(page, lambda: query(page).get("t") == "3")
    assert colours(page.locator(".bk-Figure").nth(4)) > 30
    (tmp_path / "mine.nc").unlink()
    headline(page, "Put the file back")
