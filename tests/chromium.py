"""Finds the Chromium that the browser tests drive, or installs one; `python tests/chromium.py` prints its path.

Looked for, in this order: the program named by the environment variable CHROMIUM, those on the PATH, the usual place
on macOS, and Playwright's own. Where there is none, apt installs it (as root on Debian and Ubuntu), else Playwright.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MACOS = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
TODO = (
    "no Chromium was found and none could be installed; install Chromium or Chrome with your system's package manager, "
    "or run `python -m playwright install --with-deps chromium`, or name its program in the variable CHROMIUM"
)


def find() -> str | None:
    """Path of a Chromium that starts, or None; one named by CHROMIUM has to start."""
    named = os.environ.get("CHROMIUM")
    if named and not _starts(shutil.which(named) or named):
        raise SystemExit(f"the environment variable CHROMIUM names {named!r}, which does not start")
    if named:
        return shutil.which(named) or named
    return next((path for path in _candidates() if _starts(path)), None)


def find_or_install() -> str:
    """Path of a Chromium that starts, installed where need be; SystemExit saying what to do where that fails."""
    for attempt in (None, _install_with_apt, _install_with_playwright):
        if attempt is not None:
            attempt()
        if path := find():
            return path
    raise SystemExit(TODO)


def _candidates() -> Iterator[str]:
    yield from filter(None, map(shutil.which, NAMES))
    if os.path.exists(MACOS):
        yield MACOS
    if path := _playwrights_own():
        yield path


def _playwrights_own() -> str | None:
    # Asked in a process of its own: the synchronous API refuses to start where an event loop runs already.
    code = "from playwright.sync_api import sync_playwright as p\nwith p() as q: print(q.chromium.executable_path)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    path = answer.stdout.strip()
    return path if path and os.path.exists(path) else None


def _starts(path: str) -> bool:
    # On Ubuntu, chromium-browser may be a stub that only asks for a snap.
    try:
        return subprocess.run([path, "--version"], capture_output=True, check=False, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _install_with_apt() -> None:
    if shutil.which("apt-get") and os.geteuid() == 0:
        _run("apt-get", "update")
        _run("apt-get", "install", "--yes", "--no-install-recommends", "chromium")


def _install_with_playwright() -> None:
    with_deps = ["--with-deps"] if shutil.which("apt-get") and os.geteuid() == 0 else []
    _run(sys.executable, "-m", "playwright", "install", *with_deps, "chromium")


def _run(*command: str) -> None:
    print("$", *command, file=sys.stderr)
    # What the installer says goes to stderr: stdout carries the path alone.
    subprocess.run(command, stdout=sys.stderr, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, check=False)


if __name__ == "__main__":
    print(find_or_install())
