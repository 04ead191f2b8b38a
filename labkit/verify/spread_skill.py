"""Does the spread say how large the error will be? Error of the mean in bins of the spread."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labkit.verify.scores import MEMBER, anomalies, spread_factor


def binned_spread_skill(members: xr.DataArray, truth: xr.DataArray, *, bins: int = 10) -> xr.Dataset:
    """Spread and error of the mean in `bins` bins of equally many cells, ordered by their spread.

    members: (ensemble, ...), truth: (...). Returns over `bin`: `spread`, root of the mean of the unbiased variance
    times (n + 1) / n; `rmse` of the ensemble mean; `count`. The two are equal in every bin where members and truth are
    exchangeable (Fortin et al. 2014): for that, every other member decides on a cell's bin and the rest measure its
    spread, since a spread that was picked for being large is too large. With fewer than four members there is one
    bin. Cells with a NaN in either are left out.
    """
    error = anomalies(members, truth)
    n = error.sizes[MEMBER]
    split = n >= 4
    measured = _cells(error.isel({MEMBER: slice(1, None, 2)}) if split else error, "var") * spread_factor(n)
    squared = _cells(error, "mean") ** 2
    order_by = _cells(error.isel({MEMBER: slice(0, None, 2)}), "var") if split else measured
    known = np.isfinite(measured) & np.isfinite(squared)
    order = np.argsort(order_by[known], kind="stable")
    parts = [part for part in np.array_split(order, bins if split else 1) if part.size]
    root_mean = {
        name: ("bin", np.array([np.sqrt(values[known][part].mean()) for part in parts]))
        for name, values in (("spread", measured), ("rmse", squared))
    }
    return xr.Dataset({**root_mean, "count": ("bin", np.array([part.size for part in parts]))})


def _cells(error: xr.DataArray, statistic: str) -> np.ndarray:
    """Mean or unbiased variance over the members, one number a cell, in float64."""
    error = error.astype(np.float64)
    over = error.var(MEMBER, ddof=1, skipna=False) if statistic == "var" else error.mean(MEMBER, skipna=False)
    return np.ravel(np.asarray(over.data))
