"""What every test gets: seeds, few threads, no network but this machine's own; fixtures for data and the browser."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import chromium as browsers
import numpy as np
import psutil
import pytest
import torch
from tiny_corrdiff import trained_run
from tiny_trainer import make_trainer

from labkit.store.runs import RunFolder

# Programs that a test starts meet a proxy that nobody serves, so that they cannot fetch anything either.
CLOSED_PROXY = ("127.0.0.1", 9)


class NoNetwork(ConnectionRefusedError):
    """Raised in place of a connection to another machine, as if the cable were unplugged."""


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", min(2, os.cpu_count() or 1))))
    address = f"http://{CLOSED_PROXY[0]}:{CLOSED_PROXY[1]}"
    os.environ |= {key: address for name in ("http_proxy", "https_proxy") for key in (name, name.upper())}
    os.environ |= {key: "localhost,127.0.0.1,::1" for key in ("no_proxy", "NO_PROXY")}


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Each test starts from the same state of every global generator, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that starts alike in every test."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def _own_addresses() -> set[str]:
    """Names and addresses of this machine."""
    addresses = {entry.address.split("%")[0] for card in psutil.net_if_addrs().values() for entry in card}
    return addresses | {"localhost", "127.0.0.1", "::1", "0.0.0.0", "::", "", socket.gethostname()}


@pytest.fixture(autouse=True)
def network_attempts(monkeypatch, request, _own_addresses) -> Iterator[list[str]]:
    """Refuse every connection that leaves this machine; the test fails for trying, unless it is marked `offline`.

    Returns the attempts made so far, as "host:port". A test of how the lab copes without a network carries the mark.
    """
    attempts: list[str] = []

    def guard(host: str | bytes | None, port: int | str | None) -> None:
        host = host.decode() if isinstance(host, bytes) else host or ""
        if host.split("%")[0] not in _own_addresses or (host, port) == CLOSED_PROXY:
            attempts.append(f"{host}:{port}")
            raise NoNetwork(f"tests must not leave this machine: {host}:{port}")

    def guarded(call):
        def connect(self: socket.socket, address):
            # Connecting a datagram socket sends nothing; dask does so to learn its own address.
            if self.family in (socket.AF_INET, socket.AF_INET6) and self.type != socket.SOCK_DGRAM:
                guard(*address[:2])
            return call(self, address)

        return connect

    def getaddrinfo(host, port, *args, **kwargs):
        guard(host, port)
        return lookup(host, port, *args, **kwargs)

    lookup = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
    yield attempts
    if attempts and "offline" not in request.keywords:
        pytest.fail(f"the test tried to reach other machines: {', '.join(sorted(set(attempts)))}")


@pytest.fixture(scope="session")
def real_data():
    """`real_data(name)` -> the folder of that data set in the cache that LABKIT_DATA names, or a skip."""

    def folder(name: str) -> Path:
        cache = os.environ.get("LABKIT_DATA")
        if not cache:
            pytest.skip(f"LABKIT_DATA is not set: it names the cache of public data, which would hold {name}")
        path = Path(cache) / name
        if not path.is_dir():
            pytest.skip(f"LABKIT_DATA={cache} holds no folder {name}")
        return path

    return folder


@pytest.fixture
def ctrl_c_as_usual() -> Iterator[None]:
    """Python's own handler, also where the tests were started in the background, with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory) -> RunFolder:
    """The run of `tiny_trainer` that was never stopped, trained once for all tests."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    make_trainer(folder).run()
    return RunFolder(folder)


@pytest.fixture(scope="session")
def trained() -> RunFolder:
    """A tiny CorrDiff trained from beginning to end, once for all tests; none of them changes it."""
    return RunFolder(trained_run())


@pytest.fixture
def copied(trained, tmp_path) -> RunFolder:
    """A trained run to be tampered with."""
    return RunFolder(shutil.copytree(trained.path, tmp_path / "run"))


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Path of the Chromium for browser tests; where there is none they fail, saying what to do, and never skip."""
    return browsers.find() or pytest.fail(browsers.TODO)
