"""Fixtures that serve the explorer and look at it through Chromium; a test fails for any error or outside request."""

from __future__ import annotations

import gc
import socket
import threading
import time
import urllib.parse
import weakref
from collections.abc import Callable, Iterator
from io import BytesIO

import numpy as np
import panel as pn
import pytest
from bokeh.client import pull_session
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

IDLE = "() => window.Bokeh && Bokeh.documents.length > 0 && Bokeh.documents.every((d) => d.is_idle)"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script> $$\\text{a}$$"
PATIENCE_MS = 60_000  # generous: a loaded machine is slow, and speed is measured in benchmarks/ instead
expect.set_options(timeout=PATIENCE_MS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_server(port: int, seconds: float = 120) -> None:
    """Return when something listens on the port."""
    for _ in range(int(10 * seconds)):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port}")


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., str]]:
    """`serve(make)` -> address of a server in this process whose every session calls `make()`."""
    servers = []

    def start(make: Callable[[], object], **options) -> str:
        port = free_port()
        look = {"show": False, "threaded": True, "address": "127.0.0.1", "websocket_origin": f"localhost:{port}"}
        servers.append(pn.serve({"/explorer": make}, port=port, **look, **options))
        wait_for_server(port)
        return f"http://localhost:{port}/explorer"

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def chromium(chromium_path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=FLAGS)
        yield browser
        browser.close()


class Watched:
    """What a page did that it should not have done."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        self.outside: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(f"{error} {error.stack}"))
        page.on("console", self._console)
        page.on("dialog", lambda dialog: (self.errors.append(f"a dialog said {dialog.message}"), dialog.dismiss()))
        page.on("request", self._request)

    def _console(self, message) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def _request(self, request) -> None:
        host = request.url.split("/")[2] if "://" in request.url else ""
        if host.split(":")[0] not in ("", "localhost", "127.0.0.1"):
            self.outside.append(request.url)


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page of 1440 x 900; on leaving it, no error on its console and no request to elsewhere."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    watched = Watched(page)
    yield page
    context.close()
    assert not watched.outside, "\n".join(watched.outside)
    assert not watched.errors, "\n".join(watched.errors)


def visit(page: Page, address: str) -> Page:
    """Open an address and wait until everything is drawn."""
    page.goto(address)
    page.wait_for_function(IDLE, timeout=PATIENCE_MS)
    page.locator(".bk-Figure").first.wait_for()
    return page


def colours(locator: Locator) -> int:
    """Number of different colours in the middle of an element as it is on the screen."""
    picture = np.asarray(Image.open(BytesIO(locator.screenshot())).convert("RGB"))
    height, width, _ = picture.shape
    middle = picture[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4].reshape(-1, 3)
    return len(np.unique(middle, axis=0))


def headline(page: Page, text: str) -> None:
    """Wait for words on the page."""
    expect(page.get_by_text(text).first).to_be_visible(timeout=PATIENCE_MS)


def query(page: Page) -> dict[str, str]:
    """What the page's address says, by name."""
    return {k: v[0] for k, v in urllib.parse.parse_qs(urllib.parse.urlparse(page.url).query).items()}


def until(page: Page, condition: Callable[[], bool]) -> None:
    """Wait for a condition, for half a minute."""
    for _ in range(300):
        if condition():
            return
        page.wait_for_timeout(100)
    raise AssertionError("nothing happened within 30 s")


def visitors(url: str, n: int) -> list[int]:
    """Open n sessions at once, each on a thread of its own; the number of models that each was given."""
    given: list[int] = []

    def one() -> None:
        connection = pull_session(url=url)
        given.append(len(connection.document.models))
        connection.close()

    threads = [threading.Thread(target=one) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return given


def all_gone(alive: weakref.WeakSet, seconds: float = 60) -> bool:
    """Whether everything in the set is collected within some time."""
    deadline = time.monotonic() + seconds
    while alive and time.monotonic() < deadline:
        time.sleep(0.3)
        gc.collect()
    return not alive
