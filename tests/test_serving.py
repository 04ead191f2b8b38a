"""Served by our own verb and by `panel serve`: only browsers of this machine are answered, unless others are named."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import explorer_parts as parts
import psutil
import pytest
from bokeh.client import pull_session
from bokeh.util.token import generate_jwt_token, generate_session_id
from browser import free_port, wait_for_server
from synthetic_tree import write_tree
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from apps.__main__ import APPS, main, make_parser, panel_arguments
from apps.parts.guard import refusal

ROOT = Path(__file__).resolve().parents[1]
HERE = ["localhost:5006", "127.0.0.1:5006"]


@contextlib.contextmanager
def served(way: str, folder: Path):
    """The ensemble explorer in a process of its own, as the README says; gives its port."""
    port, path = free_port(), write_tree(folder / "mine.nc", parts.small_tree(times=2))
    command = {
        "verb": ["-m", "apps", "explore", str(path), "--port", str(port)],
        "panel serve": ["-m", "panel", "serve", "apps/ensemble_explorer.py", "--port", str(port), "--args", str(path)],
    }[way]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, *command], cwd=ROOT, **quiet) as server:
        try:
            wait_for_server(port)
            yield port
        finally:
            server.terminate()


def handshake(port: int, *, origin: str | None, host: str = "127.0.0.1") -> int:
    """Status of the answer to a WebSocket's opening: 101 where it is accepted."""
    token = generate_jwt_token(generate_session_id())
    lines = ["GET /ensemble_explorer/ws HTTP/1.1", f"Host: localhost:{port}", "Upgrade: websocket"]
    lines += ["Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]
    lines += [f"Sec-WebSocket-Protocol: bokeh, {token}"] + ([f"Origin: {origin}"] if origin is not None else [])
    with socket.create_connection((host, port), timeout=60) as wire:
        wire.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(wire.recv(4096).split()[1])


def page(port: int, host: str = "127.0.0.1") -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return opener.open(f"http://{host}:{port}/ensemble_explorer", timeout=60).status
    except urllib.error.HTTPError as error:
        return error.code


def own_address() -> str | None:
    """An address of this machine that is not its loopback, so that what comes from it looks like another machine's."""
    cards = (entry for name in psutil.net_if_addrs().values() for entry in name)
    return next((e.address for e in cards if e.family == socket.AF_INET and not e.address.startswith("127.")), None)


@pytest.mark.parametrize("way", ["verb", "panel serve"])
def test_only_browsers_of_this_machine_are_answered(way, tmp_path):
    address = own_address()
    with served(way, tmp_path) as port:
        if way == "panel serve":  # the very first session comes before the app's file is read: it is given nothing
            session = pull_session(url=f"http://127.0.0.1:{port}/ensemble_explorer")
            assert session.document.roots == []
            session.close()
        assert handshake(port, origin=None) == 403, "what names no origin is no browser"
        for foreign in ("http://evil.example", "null", "http://localhost.evil.example", f"http://localhost:{port + 1}"):
            assert handshake(port, origin=foreign) == 403, foreign
        with pytest.raises(OSError, match="403"):
            pull_session(url=f"http://127.0.0.1:{port}/ensemble_explorer")
        assert page(port) == 200
        assert handshake(port, origin=f"http://localhost:{port}") == 101
        if address and way == "verb":
            with pytest.raises(ConnectionRefusedError):
                handshake(port, origin=f"http://localhost:{port}", host=address)
        elif address:
            assert handshake(port, origin=f"http://localhost:{port}", host=address) == 403
            assert page(port, host=address) == 403


@pytest.mark.parametrize(
    ("peer", "origin", "allowed", "refused"),
    [
        ("127.0.0.1", "http://localhost:5006", HERE, False),
        ("::1", "http://localhost:5006", HERE, False),
        ("::ffff:127.0.0.1", "http://localhost:5006", HERE, False),
        ("0.0.0.0", "http://localhost:5006", HERE, False),
        ("127.0.0.1", None, HERE, True),
        ("127.0.0.1", "", HERE, True),
        ("192.0.2.7", "http://localhost:5006", HERE, True),
        ("::ffff:192.0.2.7", "http://localhost:5006", HERE, True),
        ("fe80::1%eth0", "http://localhost:5006", HERE, True),
        ("192.0.2.7", "https://weather.example", ["weather.example:443"], False),
        ("192.0.2.7", None, ["weather.example:443"], True),
        ("192.0.2.7", "https://weather.example", ["*"], False),
    ],
)
def test_who_is_refused(peer, origin, allowed, refused):
    headers = HTTPHeaders({"Host": "localhost:5006"} | ({} if origin is None else {"Origin": origin}))
    opening = RequestStartLine("GET", "/ensemble_explorer/ws", "HTTP/1.1")
    request = HTTPServerRequest(start_line=opening, headers=headers)
    request.remote_ip = peer
    assert bool(refusal(request, allowed)) == refused


def test_the_verb_listens_here_unless_others_are_named(capsys):
    for app, file in APPS.items():
        words = panel_arguments(make_parser().parse_args([app, "a.nc", "b.nc"]))
        assert words[2].endswith(f"{file}.py") and Path(words[2]).is_file()
        assert words[words.index("--address") + 1] == "127.0.0.1" and words[-3:] == ["--args", "a.nc", "b.nc"]
    words = panel_arguments(make_parser().parse_args(["explore", "--allow-origin", "a.example", "--prefix", "/lab"]))
    assert words.count("--allow-websocket-origin") == 1 and "a.example" in words and "/lab" in words
    with pytest.raises(SystemExit):
        main(["explore", "--address", "0.0.0.0"])
    assert "--allow-origin" in capsys.readouterr().err
