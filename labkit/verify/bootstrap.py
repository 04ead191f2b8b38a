"""How sure is a figure that was averaged over times? Block-bootstrap intervals and paired differences.

Neighbouring hours resemble each other, so that whole blocks of them are drawn again, with replacement and round the
end of the record (Politis & Romano 1992). What is resampled are means over time; any figure that is a function of
means (a ratio of spectra, a root mean square, an autocorrelation) is worked out anew from each draw of them.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from labkit.errors import DataError

DRAW = "draw"


def block_counts(n: int, *, block: int | None = None, draws: int = 1000, seed: int) -> np.ndarray:
    """How often each of `n` times comes in each draw, (draw, n) whole numbers; every row adds up to `n`.

    block: neighbours drawn together, by default n^(1/3) rounded up, the order that is best for the variance of a mean
    (Hall, Horowitz & Jing 1995). Raises DataError where the block is not within 1 and n.
    """
    block = math.ceil(n ** (1 / 3) - 1e-9) if block is None else block
    if not 1 <= block <= n:
        raise DataError(
            "bootstrap block", found=f"{block} of {n} times", expected=f"1 to {n}", todo="choose a shorter block"
        )
    starts = np.random.default_rng(seed).integers(0, n, (draws, math.ceil(n / block)))
    times = ((starts[:, :, None] + np.arange(block)) % n).reshape(draws, -1)[:, :n]
    rows = np.arange(draws)[:, None] * n
    return np.bincount((rows + times).ravel(), minlength=draws * n).reshape(draws, n)


def resampled_means(
    values: xr.DataArray, *, dim: str = "time", block: int | None = None, draws: int = 1000, seed: int
) -> xr.DataArray:
    """Means of `values` over `dim` in each draw: `dim` is replaced by `draw`; NaN is left out, lazy where the input is.

    Two arrays with equal `dim` and equal arguments are drawn alike, so that their ratio or difference is a paired one.
    """
    counts = xr.DataArray(block_counts(values.sizes[dim], block=block, draws=draws, seed=seed), dims=(DRAW, dim))
    values = values.drop_vars([name for name in values.coords if dim in values[name].dims]).astype(np.float64)
    there = values.notnull()
    weight = xr.dot(counts.astype(np.float64), there.astype(np.float64), dim=dim)
    total = xr.dot(counts.astype(np.float64), values.where(there, 0.0), dim=dim)
    return total / weight.where(weight > 0)


def interval(draws: xr.DataArray, *, level: float = 0.95) -> xr.DataArray:
    """The central interval of the draws that holds `level` of them: `draw` is replaced by `bound` ("low", "high")."""
    if draws.chunks is not None:
        draws = draws.chunk({DRAW: -1})
    tails = [(1 - level) / 2, (1 + level) / 2]
    bounds = draws.quantile(tails, dim=DRAW).drop_vars("quantile").rename(quantile="bound")
    return bounds.assign_coords(bound=["low", "high"])


def length_interval(draws: xr.DataArray, *, level: float = 0.95) -> xr.DataArray:
    """Interval of a length over its draws, of which those that never reach it count as longer than any: NaN where a
    bound lies among them."""
    tails = [(1 - level) / 2, (1 + level) / 2]
    bounds = draws.fillna(np.inf).quantile(tails, dim=DRAW, method="nearest")
    return bounds.where(np.isfinite(bounds))


def paired_difference(
    first: xr.DataArray,
    second: xr.DataArray,
    *,
    dim: str = "time",
    block: int | None = None,
    draws: int = 2000,
    seed: int,
    level: float = 0.95,
) -> xr.Dataset:
    """Mean over `dim` of first - second, which must be of the same times, and how sure its sign is.

    Returns `difference`, `low`, `high` (the interval) and `p`, the two-sided probability of a difference as large
    where there is none: of draws about the difference, centred on zero (Hall & Wilson 1991). Raises DataError where
    the times differ.
    """
    try:
        difference = xr.align(first, second, join="exact")[0] - second
    except ValueError as error:
        raise DataError(
            "paired comparison",
            found=f"{first.sizes.get(dim)} and {second.sizes.get(dim)} times with unlike coordinates",
            expected="the same times in both",
            todo="select those that both have",
        ) from error
    mean = difference.mean(dim)
    drawn = resampled_means(difference, dim=dim, block=block, draws=draws, seed=seed)
    bounds = interval(drawn, level=level)
    exceeded = (abs(drawn - mean) >= abs(mean)).sum(DRAW)
    return xr.Dataset(
        {
            "difference": mean,
            "low": bounds.sel(bound="low", drop=True),
            "high": bounds.sel(bound="high", drop=True),
            "p": (exceeded + 1) / (draws + 1),
        }
    )
