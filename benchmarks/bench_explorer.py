"""Measure an explorer as a browser sees it: first paint, slider steps, many sessions, what is left of them.

    python benchmarks/bench_explorer.py [--app typhoon_explorer] [--steps 12] [--sessions 20] [FILE ...]

Serves the app in a process of its own, drives it in headless Chromium and prints JSON. FILE is as for the app.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

# The tests' own helpers, which are no package: hence the path above, and imports below it.
from browser import FLAGS, IDLE, free_port, wait_for_server  # noqa: E402
from chromium import find_or_install  # noqa: E402

TABS = {
    "ensemble_explorer": ("Maps", "Members", "Probability", "Point & time"),
    "typhoon_explorer": ("Track", "Maps", "Structure", "Intensity", "Front"),
}
LIFETIME_MS = 500
# Resolves with the milliseconds from the next key press until every text with a time (beside the slider, and above the
# pictures once they are there) has changed and two frames were drawn.
STOPWATCH = """() => {
  const texts = () => [...Bokeh.documents[0]._all_models.values()].map((m) => m.text ?? "")
    .filter((text) => typeof text == "string" && text.includes("UTC"));
  const before = texts(), changed = () => texts().length == before.length && !texts().some((t) => before.includes(t));
  window.elapsed = new Promise((resolve) => addEventListener("keydown", () => {
    const pressed = performance.now();
    const look = () => !changed() ? requestAnimationFrame(look)
      : requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - pressed)));
    look();
  }, {capture: true, once: true}));
}"""


def serve(app: str, files: list[str]) -> tuple[subprocess.Popen, str]:
    """The app as a user serves it, and its address."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "panel",
        "serve",
        str(ROOT / "apps" / f"{app}.py"),
        "--port",
        str(port),
        "--address",
        "127.0.0.1",
    ]
    command += ["--allow-websocket-origin", f"localhost:{port}", "--allow-websocket-origin", f"127.0.0.1:{port}"]
    command += ["--check-unused-sessions", str(LIFETIME_MS), "--unused-session-lifetime", str(LIFETIME_MS)]
    server = subprocess.Popen(
        command + (["--args", *files] if files else []), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for_server(port)
    return server, f"http://localhost:{port}/{app}"


def open_page(context: BrowserContext, address: str) -> tuple[Page, dict]:
    """A visitor's page, with how long it took and what came over the wire."""
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.wire = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda payload: page.wire.append(len(payload))))
    started = time.perf_counter()
    page.goto(address)
    page.wait_for_function(IDLE, polling=20)
    page.locator(".bk-Figure").first.wait_for()
    seconds = time.perf_counter() - started
    paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
    transferred = "performance.getEntries().reduce((sum, e) => sum + (e.transferSize ?? 0), 0) / 1e6"
    return page, {
        "maps_drawn_s": round(seconds, 2),
        "first_paint_s": round(page.evaluate(paint), 2),
        "download_mb": round(page.evaluate(transferred), 2),
        "websocket_mb": round(sum(page.wire) / 1e6, 2),
    }


def followed(browser: Browser, address: str) -> dict:
    """Seconds until the storm of the first run has been followed through every member."""
    page, _ = open_page(browser.new_context(), address)
    started = time.perf_counter()
    page.get_by_text("members have the storm").wait_for()
    return {"s_after_the_page": round(time.perf_counter() - started, 1)}


def steps(page: Page, count: int) -> dict:
    """Median and largest milliseconds and kilobytes of a step of the time slider, there and back again."""
    slider, times, sizes = page.get_by_role("slider", name="Time"), [], []
    slider.press("Home")
    page.wait_for_timeout(1000)
    for step in range(2 * count):
        page.evaluate(STOPWATCH)
        before = len(page.wire)
        slider.press("ArrowRight" if step < count else "ArrowLeft")
        times.append(page.evaluate("window.elapsed"))
        page.wait_for_timeout(250)  # until whatever else belongs to the step has come
        sizes.append(sum(page.wire[before:]) / 1e3)
    return {
        "ms_median": round(statistics.median(times)),
        "ms_largest": round(max(times)),
        "kb_median": round(statistics.median(sizes)),  # 0 in a crowd, where nobody listens
        "kb_largest": round(max(sizes)),
    }


def crowd(browser: Browser, address: str, count: int) -> dict:
    """So many visitors in one browser at once: seconds until the maps of the first and the last are drawn, and what a
    step of one of them costs meanwhile."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(300_000)
    pages = [context.new_page() for _ in range(count)]
    started, taken = time.perf_counter(), []
    for page in pages:
        page.goto(address, wait_until="commit")
    for page in pages:
        page.wait_for_function(IDLE, polling=100)
        page.locator(".bk-Figure").first.wait_for()
        taken.append(time.perf_counter() - started)
    pages[0].wire = []
    pages[0].bring_to_front()
    step = steps(pages[0], 4)
    context.close()
    return {"sessions": len(taken), "first_s": round(taken[0], 1), "last_s": round(taken[-1], 1), "step": step}


def resident_mb(process: subprocess.Popen) -> float:
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--app", choices=TABS, default="ensemble_explorer")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--no-crowd", action="store_true", help="leave out the many sessions")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    server, address = serve(options.app, options.files)
    figures: dict = {}
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find_or_install(), args=FLAGS)
            if options.app == "typhoon_explorer":  # the storm is followed once a server, which is no visitor's wait
                figures["storm followed"] = followed(browser, address)
            first, second = (browser.new_context(viewport={"width": 1440, "height": 900}) for _ in range(2))
            figures["first visitor"] = open_page(first, address)[1]
            figures["second visitor, empty browser cache"] = open_page(second, address)[1]
            page, figures["second visitor again (warm)"] = open_page(second, address)
            for tab in TABS[options.app]:
                page.get_by_role("tab", name=tab, exact=True).click()
                page.wait_for_timeout(3000)
                figures[f"slider step, {tab}"] = steps(page, options.steps)
            memory = [resident_mb(server)]
            for round_ in range(0 if options.no_crowd else 2):
                figures[f"crowd {round_ + 1}"] = crowd(browser, address, options.sessions)
                time.sleep(6 * LIFETIME_MS / 1000)
                memory.append(resident_mb(server))
            browser.close()
        figures["server_mb_before_and_after_each_crowd"] = [round(m) for m in memory]
    finally:
        server.terminate()
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
