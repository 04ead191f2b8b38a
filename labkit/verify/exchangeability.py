"""How uneven may a flat histogram of ranks be by chance? Each member by turns takes the role of the truth.

A binomial band takes all cells for independent, which neighbouring ones are not; it is far too narrow. Where members
and truth are exchangeable, the histogram that a member gives in the role of the truth is as likely as the truth's own.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.verify.probability import consistency, reliability
from labkit.verify.scores import MEMBER, anomalies

SLAB = 2_000_000  # values ranked at once


def pit_tables(members: xr.DataArray, truth: xr.DataArray, *, seed: int, bins: int | None = None) -> xr.Dataset:
    """Cells in each bin of the PIT with each of the n + 1 fields as the truth by turns: (role, time, bin). Computes.

    members (ensemble, time, y, x), truth (time, y, x). Role 0 is the truth's own. bins: by default n + 1, which makes
    rank histograms. `count`: all cells of the time; `o`: those in the bin; `p`: 1 / bins of all. Ranks among ties are
    drawn, and so is the place within a rank (`distributions.pit`). Cells with a NaN in any field are left out.
    """
    anomalies(members, truth)  # refuses cells and times that differ
    if "time" not in truth.dims:
        raise DataError("roles", found=str(truth.dims), expected="a dimension time", todo="give it one")
    pool = xr.concat([truth.drop_vars(MEMBER, errors="ignore"), *_each(members)], "role", coords="minimal")
    pool = pool.transpose("time", ..., "role")
    n = pool.sizes["role"]
    bins, rng = bins or n, np.random.default_rng(seed)
    inside = [_counts(field.reshape(-1, n), bins, rng) for part in _parts(pool) for field in part.values]
    inside = np.stack(inside, axis=1)
    count = np.broadcast_to(inside.sum(-1, keepdims=True), inside.shape)
    dims = ("role", "time", "bin")
    return xr.Dataset({"count": (dims, count), "p": (dims, count / bins), "o": (dims, inside)})


def flatness(tables: xr.Dataset, *, level: float = 0.95) -> xr.Dataset:
    """Frequency of each bin, 1 where flat, and the interval `low`, `high` that it keeps to where the truth is just
    another member: of `pit_tables`, as `probability.consistency`."""
    bins = tables.sizes["bin"]
    band = consistency(tables, level=level)
    frequency = reliability(tables.isel(role=0).sum("time")).observed
    return bins * xr.Dataset(
        {"frequency": frequency, "low": band.consistency_low, "high": band.consistency_high}
    ).assign_coords(left=("bin", np.arange(bins) / bins), right=("bin", np.arange(1, bins + 1) / bins))


def _each(members: xr.DataArray) -> list[xr.DataArray]:
    return [members.isel({MEMBER: k}, drop=True) for k in range(members.sizes[MEMBER])]


def _parts(pool: xr.DataArray) -> list[xr.DataArray]:
    """The pool (time, ...) some times at a time, of which a lazy one is read in one go."""
    step = max(1, SLAB * pool.sizes["time"] // pool.size)
    return [pool.isel(time=slice(start, start + step)) for start in range(0, pool.sizes["time"], step)]


def _counts(values: np.ndarray, bins: int, rng: np.random.Generator) -> np.ndarray:
    """values (cell, field) -> how many cells of each field lie in each bin of its rank among all, (field, bin)."""
    values = values[np.isfinite(values).all(axis=1)]
    parts = np.array_split(values, max(1, -(-values.size // SLAB)))
    return sum(_slab_counts(part, bins, rng) for part in parts)


def _slab_counts(values: np.ndarray, bins: int, rng: np.random.Generator) -> np.ndarray:
    n = values.shape[1]
    order = np.lexsort((rng.random(values.shape), values), axis=-1)
    rank = np.empty(values.shape)
    np.put_along_axis(rank, order, np.arange(n, dtype=float)[None], axis=-1)
    place = (rank + rng.random(values.shape)) * (bins / n)
    index = np.minimum(place.astype(np.int64), bins - 1) + bins * np.arange(n)
    return np.bincount(index.ravel(), minlength=n * bins).reshape(n, bins).astype(float)
