"""The finder takes a browser that starts, installs one where there is none, and says what to do where that fails."""

from __future__ import annotations

import chromium
import pytest


@pytest.fixture
def program(tmp_path, monkeypatch):
    """`program(name, status)` puts a script on an otherwise empty PATH that exits with that status."""

    def put(name: str, status: int) -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\nexit {status}\n")
        path.chmod(0o755)
        return str(path)

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(chromium, "MACOS", str(tmp_path / "none"))
    monkeypatch.setattr(chromium, "_playwrights_own", lambda: None)
    return put


def test_a_stub_that_does_not_start_is_passed_over(program):
    program("chromium-browser", 1)
    chrome = program("google-chrome", 0)
    assert chromium.find() == chrome


def test_the_program_named_comes_first_and_must_start(program, monkeypatch):
    program("chromium", 0)
    named = program("mine", 0)
    monkeypatch.setenv("CHROMIUM", named)
    assert chromium.find() == named
    monkeypatch.setenv("CHROMIUM", program("broken", 1))
    with pytest.raises(SystemExit, match="which does not start"):
        chromium.find()


def test_one_is_installed_where_none_is_found(program, monkeypatch):
    calls = []
    monkeypatch.setattr(chromium, "_install_with_apt", lambda: calls.append("apt"))
    monkeypatch.setattr(chromium, "_install_with_playwright", lambda: calls.append(program("chromium", 0)))
    assert chromium.find_or_install() == calls[1]
    assert chromium.find_or_install() == calls[1]
    assert len(calls) == 2


def test_where_nothing_helps_it_says_what_to_do(program, monkeypatch):
    monkeypatch.setattr(chromium, "_install_with_apt", lambda: None)
    monkeypatch.setattr(chromium, "_install_with_playwright", lambda: None)
    with pytest.raises(SystemExit, match="install Chromium or Chrome"):
        chromium.find_or_install()


@pytest.mark.browser
def test_the_browser_of_the_tests_starts(chromium_path):
    assert chromium._starts(chromium_path)
