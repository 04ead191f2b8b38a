"""Is the truth just another member? Rank histograms and how flat they are, spread and skill of an output tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import binom

from labkit.verify.exchangeability import flatness, pit_tables
from labkit.verify.scores import MEMBER, anomalies, crps_by_size
from labkit.verify.selection import judged
from labkit.verify.spread_skill import binned_spread_skill


def ranks(members: xr.DataArray, truth: xr.DataArray, *, seed: int) -> xr.DataArray:
    """Rank of the truth among the n members of each cell, 0 (below all) to n (above all); NaN where either is NaN.

    Among ties the rank is drawn evenly with the given seed (dry cells would else all fall into one bin). A cell's draw
    depends on the seed and its position alone, so that chunks do not change it.
    """
    error = anomalies(members, truth)
    below = (error < 0).sum(MEMBER)
    ties = (error == 0).sum(MEMBER)
    drawn = np.floor(cell_uniform(ties, seed) * (ties + 1))
    return (below + drawn).where(np.isfinite(error).all(MEMBER))


def rank_histogram(
    members: xr.DataArray,
    truth: xr.DataArray,
    *,
    seed: int,
    over: Sequence[str] = ("time", "y", "x"),
) -> xr.DataArray:
    """Number of cells at each rank 0..n of the truth among n members (Hamill 2001), over (rank, those not in `over`).

    Flat where members and truth are exchangeable, U-shaped where the spread is too small, sloped with a bias.
    """
    rank = ranks(members, truth, seed=seed)
    values = range(members.sizes[MEMBER] + 1)
    counts = xr.concat([(rank == value).sum(over) for value in values], "rank")
    return counts.assign_coords(rank=list(values)).rename("count")


def rank_chi_square(counts: xr.DataArray) -> xr.DataArray:
    """Chi-square of a rank histogram against a flat one, by its degrees of freedom.

    1 is expected of independent cells and exchangeable members; it grows with the number of cells where the histogram
    is not flat, and neighbouring cells are not independent, so it compares forecasts of the same cells only.
    """
    expected = counts.sum("rank") / counts.sizes["rank"]
    return ((counts - expected) ** 2 / expected).sum("rank") / (counts.sizes["rank"] - 1)


def reliability_index(counts: xr.DataArray) -> xr.DataArray:
    """Sum over ranks of |share - 1 / (n + 1)|, 0 where flat, 2 n / (n + 1) at most (Delle Monache et al. 2006)."""
    return abs(counts / counts.sum("rank") - 1 / counts.sizes["rank"]).sum("rank")


def cell_uniform(like: xr.DataArray, seed: int) -> xr.DataArray:
    """A number in [0, 1) for each cell from a hash (splitmix64) of the seed and the cell's position.

    The position is counted along dimensions in alphabetic order: neither chunks nor the order of dimensions matter.
    """
    position = xr.zeros_like(like, dtype=np.uint64)
    for dim in sorted(str(dim) for dim in like.dims):
        index = xr.DataArray(np.arange(like.sizes[dim], dtype=np.uint64), dims=dim)
        position = position * np.uint64(like.sizes[dim]) + index
    return xr.apply_ufunc(
        _hashed_uniform, position, kwargs={"seed": seed}, dask="parallelized", output_dtypes=[np.float64]
    )


def calibration_data(
    tree: xr.DataTree, variable: str, *, times=None, seed: int = 0
) -> dict[str, dict[str, xr.Dataset]]:
    """Everything that the calibration of a variable is drawn from, by source ("prediction", and "oracle" if known):
    "ranks" counts and their "flat" band, "spread_skill" bins, "crps" by ensemble size (fair). times: positions; all by
    default. A lone member has ranks only. Reads what `selection.judged` does of truth and ensembles."""
    truth, ensembles = judged(tree, variable, times=times)
    found = {}
    for source, members in ensembles.items():
        found[source] = {
            "ranks": rank_histogram(members, truth, seed=seed).compute().assign_attrs(left_out=truth.attrs["left_out"]),
            "flat": flatness(pit_tables(members, truth, seed=seed)),
        }
        if members.sizes["ensemble"] > 1:
            found[source]["spread_skill"] = binned_spread_skill(members, truth)
            found[source]["crps"] = crps_by_size(members, truth, seed=seed, repeats=4).compute()
    return found


def flat_band(cells: float, ranks: int, share: float = 0.9) -> tuple[float, float]:
    """Limits that shares of a flat histogram keep to with probability `share`, if cells are independent."""
    return tuple(float(v) / max(cells, 1) for v in binom.interval(share, int(cells), 1 / ranks))


def calibration_table(data: Mapping[str, Mapping[str, xr.Dataset]]) -> pd.DataFrame:
    """`calibration_data` as lines of source, diagnostic, x and y: rank and count, spread and RMSE, members and CRPS."""
    lines = []
    for source, found in data.items():
        curves = {"ranks": (found["ranks"]["rank"], found["ranks"])}
        if "crps" in found:
            curves["spread_skill"] = (found["spread_skill"].spread, found["spread_skill"].rmse)
            curves["crps"] = (found["crps"]["size"], found["crps"])
        for name, (x, y) in curves.items():
            lines.append(pd.DataFrame({"source": source, "diagnostic": name, "x": x.values, "y": y.values}))
    return pd.concat(lines, ignore_index=True)


def _hashed_uniform(position: np.ndarray, *, seed: int) -> np.ndarray:
    """Steele et al. (2014), splitmix64: the state is a multiple of the golden ratio, mixed twice."""
    start = np.uint64(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
    z = start + (position + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
