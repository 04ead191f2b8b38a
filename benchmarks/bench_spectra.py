"""Measure spectra and autocorrelations: fields per second beside NumPy and xrft, memory of a set too large for it.

    python benchmarks/bench_spectra.py [--members 192] [--times 24] [--size 448] [--skip-large] [--cluster]

First a set that fits (one thread each; xrft's rows need labkit[test,peers]), then the large one, made lazily field
by field and worked through by dask's threads: 192 members x 24 times x 4 variables at 448 x 448 are 15 GB. Prints JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import psutil
import xarray as xr
from distributed import Client, LocalCluster

from labkit.verify.autocorrelation import autocorrelation
from labkit.verify.spectra import mean_spectrum

DX_KM = 2.0
SPACING = {"spacing_km": (DX_KM, DX_KM)}
DIMS = ("ensemble", "time", "variable", "y", "x")
OVER = ("ensemble", "time")


def numpy_loop(fields: np.ndarray) -> np.ndarray:
    """Mean spectrum along x as one would write it at once, field by field."""
    total = 0
    for field in fields:
        line = field - field.mean(-1, keepdims=True)
        total = total + (np.abs(np.fft.rfft(line, axis=-1)) ** 2).mean(0)
    return total / len(fields) * 2 * DX_KM / fields.shape[-1]


def numpy_radial_loop(fields: np.ndarray) -> np.ndarray:
    """Mean radial power by whole numbers of waves, field by field."""
    n = fields.shape[-1]
    k = np.fft.fftfreq(n) * n
    ring = np.rint(np.hypot(k[:, None], k[None, :])).astype(int).ravel()
    total = 0
    for field in fields:
        power = np.abs(np.fft.fft2(field - field.mean())) ** 2
        total = total + np.bincount(ring, power.ravel()) / np.bincount(ring)
    return total / len(fields)


def xrft_spectrum(fields: xr.DataArray) -> xr.DataArray:
    """The same along x by xrft."""
    import xrft

    return xrft.power_spectrum(fields, dim=["x"], real_dim="x", detrend="constant").mean(["field", "y"])


def xrft_radial(fields: xr.DataArray) -> xr.DataArray:
    """The radial one by xrft."""
    import xrft

    return xrft.isotropic_power_spectrum(fields, dim=["y", "x"], detrend="constant").mean("field")


def rate(function: Callable, fields, *, repeats: int = 3) -> float:
    """Fields per second, the best of a few."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        np.asarray(function(fields))
        seconds.append(time.perf_counter() - begin)
    return round(len(fields) / min(seconds), 1)


def rates(size: int, count: int) -> dict[str, float]:
    """Fields per second of every way, on one thread and on the same float32 fields."""
    values = np.random.default_rng(0).standard_normal((count, size, size), dtype=np.float32)
    axis = np.arange(size) * DX_KM
    fields = xr.DataArray(values, dims=("field", "y", "x"), coords={"y": axis, "x": axis})
    found = {
        "numpy loop, along x": rate(numpy_loop, values),
        "labkit, along x": rate(lambda f: mean_spectrum(f, dim="x", **SPACING), fields),
        "numpy loop, radial": rate(numpy_radial_loop, values),
        "labkit, radial": rate(lambda f: mean_spectrum(f, dim="radial", **SPACING), fields),
        "labkit, autocorrelation along x": rate(lambda f: correlation(f, "x"), fields),
        "labkit, autocorrelation radial": rate(lambda f: correlation(f, "radial"), fields),
    }
    if importlib.util.find_spec("xrft"):
        found["xrft, along x"] = rate(xrft_spectrum, fields)
        found["xrft, radial"] = rate(xrft_radial, fields)
    return found


def correlation(fields: xr.DataArray, direction: str) -> xr.DataArray:
    """With the whole set as one sample."""
    return autocorrelation(fields, **SPACING, direction=direction, over=("field",))


def large_set(members: int, times: int, size: int) -> xr.DataArray:
    """White noise, lazily: eight members of one time and variable in a chunk."""
    shape = (members, times, 4, size, size)
    values = da.random.default_rng(0).standard_normal(shape, chunks=(8, 1, 1, size, size), dtype=np.float32)
    return xr.DataArray(values, dims=DIMS)


def large_steps(fields: xr.DataArray) -> dict[str, Callable[[], xr.DataArray]]:
    """What is asked of the large set, lazily, the lightest first."""
    spacing = SPACING | {"over": OVER}
    return {
        "spectrum along x": lambda: mean_spectrum(fields, over=(*OVER, "y"), dim="x", **SPACING),
        "spectrum radial": lambda: mean_spectrum(fields, over=OVER, dim="radial", **SPACING),
        "autocorrelation along x": lambda: autocorrelation(fields, direction="x", **spacing),
        "autocorrelation radial": lambda: autocorrelation(fields, direction="radial", **spacing),
    }


def measure_large(fields: xr.DataArray, scheduler, peak_gib: Callable[[], float]) -> tuple[dict, dict]:
    """Seconds and peak memory after each step, in rising order as a peak never falls; and what came of the steps."""
    found, results = {}, {}
    for name, step in large_steps(fields).items():
        begin = time.perf_counter()
        results[name] = step().compute(scheduler=scheduler)
        seconds = time.perf_counter() - begin
        found[name] = {"seconds": round(seconds, 1), "peak_gib": round(peak_gib(), 2)}
        found[name]["fields_per_second"] = round(fields[..., 0, 0].size / seconds, 1)
        print(json.dumps({name: found[name]}), flush=True)
    return found, results


def peak_gib() -> float:
    """The most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure_cluster(fields: xr.DataArray, expected: dict[str, xr.DataArray]) -> dict[str, dict]:
    """The same on two workers of a cluster, whose memory is added up, and how far the result is from the threads'."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        found, results = measure_large(fields, client, lambda: sum(client.run(peak_gib).values()))
    for name, result in results.items():
        found[name]["largest_difference"] = float(abs(result / expected[name] - 1).max())
    return found


def main() -> None:
    """Run both parts and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=192)
    parser.add_argument("--times", type=int, default=24)
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--count", type=int, default=48, help="fields of the set that fits")
    parser.add_argument("--skip-large", action="store_true")
    parser.add_argument("--cluster", action="store_true", help="the large set also on two workers of dask.distributed")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    args = parser.parse_args()
    gib = args.members * args.times * 4 * args.size**2 * 4 / 2**30
    report = {"cores": psutil.cpu_count(), "size": args.size, "large_gib": round(gib, 1)}
    with dask.config.set(scheduler="single-threaded"):
        report["fields_per_second"] = rates(args.size, args.count)
    print(json.dumps(report, indent=2), flush=True)
    if not args.skip_large:
        fields = large_set(args.members, args.times, args.size)
        report["large"], results = measure_large(fields, "threads", peak_gib)
        if args.cluster:
            report["cluster"] = measure_cluster(fields, results)
            print(json.dumps({"cluster": report["cluster"]}, indent=2), flush=True)
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
