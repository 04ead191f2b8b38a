"""Measure the tracking of typhoons: seconds and memory for an ensemble too large to hold, made lazily.

    python benchmarks/bench_cyclones.py [--members 192] [--hours 48] [--size 448] [--cluster]

Moving vortices (Vatistas 1991, n = 1) in eddies, 192 members x 48 hours at 448 x 448 and 2 km: 15 GB of wind. Steps:
making the fields alone, centres, tracks with numbers of the storm. With --cluster the same graph on two workers of
dask.distributed instead of two processes of dask's own. Prints JSON, and how far the tracks are from the truth.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from functools import cache
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import psutil
import xarray as xr
from distributed import Client, LocalCluster

from labkit.verify.cyclones import find, intensity, join

DX_KM = 2.0
AT_ONCE = 4  # fields in a chunk
MIX = 40.0  # km, size of the eddies
SPEED, RADIUS = 35.0, 42.0  # m/s and km


def places(members: np.ndarray, hours: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres (member, hour) in km: all move north-west, apart by their number."""
    half = size * DX_KM / 2
    rng = np.random.default_rng(0).normal(size=(1024, 2)) * 25
    x = 0.55 * half - 17.0 * (hours - hours.mean())[None] - 0.4 * half + rng[members, :1]
    y = -0.05 * half + 9.0 * (hours - hours.mean())[None] + rng[members, 1:]
    return x, y


def winds(block_member: np.ndarray, block_hour: np.ndarray, size: int, hours: int) -> np.ndarray:
    """(member, hour, component, y, x) float32: the vortex and its flow, with eddies that are rolled tiles of noise."""
    axis = (np.arange(size) - (size - 1) / 2) * DX_KM
    x, y = places(block_member, np.arange(hours), size)
    noise = _eddies(size)
    found = np.empty((len(block_member), len(block_hour), 2, size, size), np.float32)
    for i, member in enumerate(block_member):
        for j, hour in enumerate(block_hour):
            dx, dy = (axis - x[i, hour])[None, :].astype(np.float32), (axis - y[i, hour])[:, None].astype(np.float32)
            turning = np.float32(2 * SPEED * RADIUS) / (np.float32(RADIUS**2) + dx * dx + dy * dy)
            eddies = np.roll(noise, (37 * member + 11 * hour) % size, axis=-1)
            found[i, j, 0] = eddies[0] - 4 - turning * dy
            found[i, j, 1] = eddies[1] + 2 + turning * dx
    return found


@cache
def _eddies(size: int) -> np.ndarray:
    """Two smooth fields of 1.5 m/s."""
    k = np.hypot(np.fft.fftfreq(size, DX_KM)[:, None], np.fft.rfftfreq(size, DX_KM)[None, :])
    white = np.fft.rfft2(np.random.default_rng(1).normal(size=(2, size, size)))
    smooth = np.fft.irfft2(white * np.exp(-((k * MIX) ** 2)), s=(size, size))
    return (1.5 * smooth / smooth.std()).astype(np.float32)


def ensemble(members: int, hours: int, size: int) -> xr.Dataset:
    """u10, v10 (ensemble, time, y, x), lazily."""
    member = da.arange(members, chunks=AT_ONCE)
    hour = da.arange(hours, chunks=1)

    def made(m: np.ndarray, h: np.ndarray) -> np.ndarray:
        return winds(m.ravel(), h.ravel(), size, hours)

    lazy = da.map_blocks(
        made,
        member[:, None, None, None, None],
        hour[None, :, None, None, None],
        dtype=np.float32,
        chunks=(member.chunks[0], hour.chunks[0], (2,), (size,), (size,)),
        meta=np.empty((0, 0, 0, 0, 0), np.float32),
    )
    axis = (np.arange(size) - (size - 1) / 2) * DX_KM
    dims = ("ensemble", "time", "y", "x")
    start = np.datetime64("2020-08-01T00", "ns")
    stamps = start + np.arange(hours) * np.timedelta64(1, "h")
    return xr.Dataset(
        {"u10": (dims, lazy[:, :, 0]), "v10": (dims, lazy[:, :, 1])}, {"time": stamps, "y": axis, "x": axis}
    )


class Memory:
    """The most memory (GiB) that this process and its children held together, looked at ten times a second."""

    def __init__(self) -> None:
        self.peak, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while not self._stop.wait(0.1):
            total = 0
            for process in [own, *own.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total / 2**30)


def measured(name: str, fields: int, work):
    """What `work` returns; prints its seconds, rate and memory."""
    begin = time.perf_counter()
    with Memory() as memory:
        result = work()
    seconds = time.perf_counter() - begin
    told = {"seconds": round(seconds, 1), "fields_per_second": round(fields / seconds, 1)}
    print(json.dumps({name: told | {"peak_gib": round(memory.peak, 2)}}), flush=True)
    return result, told | {"peak_gib": round(memory.peak, 2)}


def main() -> None:
    """Run the steps and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=192)
    parser.add_argument("--hours", type=int, default=48)
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--cluster", action="store_true", help="on a cluster of two workers")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    args = parser.parse_args()
    fields, count = ensemble(args.members, args.hours, args.size), args.members * args.hours
    report = {"cores": psutil.cpu_count(), "fields": count, "gib": round(2 * count * args.size**2 * 4 / 2**30, 1)}
    print(json.dumps(report), flush=True)
    if args.cluster:
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
            report |= steps(fields, count)
    else:
        with dask.config.set(scheduler="processes", num_workers=2):
            report |= steps(fields, count)
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + "\n")


def steps(fields: xr.Dataset, count: int) -> dict:
    """Make, find, and measure the storm; and how far the centres are from where the vortices were put."""
    _, made = measured("making the fields", count, lambda: (fields.u10 + fields.v10).mean().compute())
    centres, found = measured("centres", count, lambda: find(fields).compute())
    track = join(centres).isel(track=0)
    _, numbers = measured("numbers of the storm", count, lambda: intensity(fields, track).compute())
    x, y = places(np.arange(fields.sizes["ensemble"]), np.arange(fields.sizes["time"]), fields.sizes["x"])
    track = track.transpose("ensemble", "time")
    inside = float(fields.x[-1]) - np.maximum(np.abs(x), np.abs(y))
    told = misses(np.hypot(track.x.values - x, track.y.values - y), inside)
    print(json.dumps(told), flush=True)
    return {"making": made, "centres": found, "numbers": numbers, "misses": told}


def misses(miss: np.ndarray, inside: np.ndarray) -> dict:
    """How far off the centres are (km, NaN where none), by how far (km) the vortices are inside the outer cells."""
    told = {}
    for name, low, high in (("inside", RADIUS, np.inf), ("near", 0, RADIUS), ("left", -np.inf, 0)):
        own = miss[(inside >= low) & (inside < high)]
        if not own.size:
            continue
        shares = {f"within_{n}_cells": float((own <= n * DX_KM).mean()) for n in (0.5, 1, 2)}
        far = dict(zip(("median_km", "p99_km", "max_km"), np.nanquantile(own, (0.5, 0.99, 1)).tolist(), strict=True))
        told[name] = {"count": own.size, "found": float(np.isfinite(own).mean()), **shares, **far}
    return told


if __name__ == "__main__":
    main()
