"""Measure an explorer's server without a browser: many sessions at once, a thousand in turn, trees of many times.

    python benchmarks/bench_crowd.py [--at-once 50] [--in-turn 1000] [--times 300 10000]

A session is what a page opens: the page itself, a WebSocket, the whole document through it. Prints a line of JSON for
each round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import xarray as xr
from bench_explorer import LIFETIME_MS, resident_mb, serve
from bokeh.protocol import Protocol
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect

LIMIT_S, MOST = 600, 50 * 2**20
ROUND = 100  # sessions in turn, of which eight are open together


async def session(address: str) -> tuple[float, int]:
    """Open a session, take its document and leave; seconds, and characters of the document."""
    started = time.perf_counter()
    page = await AsyncHTTPClient().fetch(HTTPRequest(address, request_timeout=LIMIT_S, connect_timeout=LIMIT_S))
    token = re.search(r'"token":\s*"([^"]+)"', page.body.decode())[1]
    origin = address.rsplit("/", 1)[0]
    opening = HTTPRequest(f"{address.replace('http', 'ws', 1)}/ws", headers={"Origin": origin}, request_timeout=LIMIT_S)
    wire = await websocket_connect(opening, subprotocols=["bokeh", token], max_message_size=MOST)
    await message(wire)  # the server's welcome
    question = Protocol().create("PULL-DOC-REQ")
    for part in (question.header_json, question.metadata_json, question.content_json):
        await wire.write_message(part)
    while (answer := await message(wire))["header"]["msgtype"] != "PULL-DOC-REPLY":
        pass
    wire.close()
    return time.perf_counter() - started, len(answer["content"])


async def message(wire) -> dict:
    """The next message of Bokeh's protocol: three texts, and pairs of a text and bytes."""
    header = json.loads(await wire.read_message())
    parts = [await wire.read_message() for _ in range(2 + 2 * header.get("num_buffers", 0))]
    return {"header": header, "content": parts[1]}


async def sessions(address: str, count: int, at_once: int) -> list[tuple[float, int]]:
    """So many sessions, of which `at_once` are open together."""
    AsyncHTTPClient.configure(None, max_clients=at_once, max_body_size=MOST)
    free = asyncio.Semaphore(at_once)

    async def one() -> tuple[float, int]:
        async with free:
            return await session(address)

    return await asyncio.gather(*(one() for _ in range(count)))


def crowd(address: str, count: int, at_once: int) -> dict:
    started = time.perf_counter()
    taken = asyncio.run(sessions(address, count, at_once))
    seconds = sorted(s for s, _ in taken)
    return {
        "served": len(taken),
        "documents": sorted({size for _, size in taken})[:3],
        "median_s": round(statistics.median(seconds), 2),
        "last_s": round(seconds[-1], 2),
        "all_s": round(time.perf_counter() - started, 1),
    }


def long_tree(path: Path, times: int, *, members: int = 4, n: int = 24) -> Path:
    """A tree of so many hours on a small grid: noise, that needs no model."""
    rng = np.random.default_rng(0)
    axis = np.arange(n, dtype=float)
    hours = np.datetime64("2021-01-01T00", "ns") + np.arange(times) * np.timedelta64(1, "h")
    coords = {"time": hours, "ensemble": np.arange(members), "x": ("x", axis, {"units": "km"}), "y": ("y", axis)}
    dims = ("time", "y", "x")

    def group(*lead: str) -> xr.Dataset:
        shape = (members,) * len(lead) + (times, n, n)
        draw = {name: 10 * rng.standard_normal(shape, np.float32) for name in ("u10", "v10")}
        return xr.Dataset({name: ((*lead, *dims), values) for name, values in draw.items()})

    groups = {"/truth": group(), "/prediction": group("ensemble")}
    xr.DataTree.from_dict({"/": xr.Dataset(coords=coords), **groups}).to_netcdf(path)
    return path


def many_times(path: Path, steps: int = 40) -> dict:
    """Seconds to open a tree in this process, and milliseconds of the server's part of a step to any of its times."""
    import panel as pn

    from apps.explorer.app import Explorer
    from apps.parts.library import Library
    from labkit.store.registry import Registry

    pn.extension(respect_explicit_sizing=True)
    started = time.perf_counter()
    explorer = Explorer(Library(Registry([path], bundled=False)))
    opened, last = time.perf_counter() - started, explorer.state.param.time.bounds[1]
    taken = []
    for t in np.random.default_rng(1).integers(0, last + 1, steps):
        started = time.perf_counter()
        explorer.state.time = int(t)
        taken.append(1e3 * (time.perf_counter() - started))
    found = {
        "mb": round(path.stat().st_size / 1e6),
        "open_s": round(opened, 2),
        "slider_end": explorer.times.player.end,
    }
    return found | {"step_ms_median": round(statistics.median(taken), 1), "step_ms_largest": round(max(taken), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--in-turn", type=int, default=1000)
    parser.add_argument("--times", type=int, nargs="*", default=[300, 10_000])
    parser.add_argument("--keep", type=Path, help="folder that keeps the trees, for bench_explorer.py")
    options = parser.parse_args()
    rounds = [options.at_once] + [ROUND] * -(-options.in_turn // ROUND)
    server, address = serve("ensemble_explorer", [])
    try:
        asyncio.run(session(address))
        before = resident_mb(server)
        for number, count in enumerate(rounds):
            found = crowd(address, count, count if number == 0 else 8)
            time.sleep(6 * LIFETIME_MS / 1000)
            after = resident_mb(server)
            print(json.dumps(found | {"server_mb": [round(before), round(after)]}), flush=True)
            before = after
    finally:
        server.terminate()
    with TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        for times in options.times:
            print(json.dumps({"times": times} | many_times(long_tree(folder / f"times-{times}.nc", times))), flush=True)


if __name__ == "__main__":
    main()
