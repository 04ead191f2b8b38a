"""How far a field reaches along y and x, how sure that is, and whether the domain is large enough to tell.

What a patch misses is measured at its middle: a cell at distance h tells the share rho(h)^2 of the variance there (the
best linear guess from it), and the nearest cell that a patch does not hold lies half its side away. The side that a
field needs is the one from which on this share stays below `TOLD`.

Of known laws (exponential, Matern, anisotropic, noise and a constant of 2 %; half of the cells missing or none), of 16
times or more, by `python benchmarks/bench_lengths.py`: in domains of 5 and 10 lengths the 1/e length is within 2 % of
the truth, the interval of the side, where it is told, holds it in 0.91 to 0.98, and 2 % of all are advised a patch too
short for their law; 4 % in domains of 2 and 3, where no patch is enough and hardly any is advised. Of hours in a row
(0.8 from one to the next) up to 9 %, and in a domain of 5 lengths only 0.56 to 0.75 of the sides told are right: the
mean that is taken off is itself uncertain then, of which the interval knows nothing. What a whole domain shares is
known from the times alone, so that fewer than four tell nothing, however wide the domain.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from labkit.verify.autocorrelation import autocorrelation_draws, decorrelation_lengths
from labkit.verify.bootstrap import DRAW, WHOLE, interval

TOLD = 0.05  # of the variance in the middle of a patch that may be told from a cell beyond its edge
FELT = math.sqrt(TOLD)  # the correlation from which on a cell beyond the edge tells more of the middle than it may
TREND = 0.2  # of the variance on a straight line across the domain, from which on it is said to stretch the lengths


def reach(field: xr.DataArray, *, spacing_km: tuple[float, float], draws: int = 200) -> xr.Dataset:
    """Reach of a field ([ensemble,] time, y, x) over `direction` ("y", "x"), which has one mean everywhere and always.

    In km: `side`, which a patch needs, its 95 % interval `side_low`, `side_high`, the `e_folding` length and the
    `zero_crossing`; NaN where that lies beyond half the domain or is not known. Over `cell`, as far as half the domain:
    `rho`, the autocorrelation at so many cells, and its interval `rho_low`, `rho_high`, NaN where the times are too few
    to say. Of one time nothing is known, since its mean may be a wave longer than the domain. `times`: how many.
    `trend`: as of `trend_share`.
    """
    options = {"spacing_km": spacing_km, "over": ("ensemble", "time"), "draws": draws}
    rows = []
    for direction in ("y", "x"):
        drawn = autocorrelation_draws(field, direction=direction, **options)
        drawn = drawn.where(field.sizes["time"] > 1).compute()
        rho, bounds = drawn.sel({DRAW: WHOLE}, drop=True), interval(drawn)
        curves = xr.Dataset({"rho": rho} | {f"rho_{b}": bounds.sel(bound=b, drop=True) for b in ("low", "high")})
        lengths = decorrelation_lengths(rho)[["e_folding", "zero_crossing"]]
        by_cell = curves.rename(lag="cell").assign_coords(cell=np.arange(curves.sizes["lag"]))
        rows.append(xr.merge([lengths, _sides(curves), by_cell]).assign(trend=trend_share(field, direction)))
    return xr.concat(rows, "direction", join="outer").assign_coords(direction=["y", "x"], times=field.sizes["time"])


def trend_share(field: xr.DataArray, direction: str) -> float:
    """Share of the variance that lies on straight lines along a direction, of each field one; near 1 for a trend or a
    wave longer than the domain, 0.03 for an exponential field that reaches a tenth of it and 0.1 for half of it."""
    anomaly = field - field.mean().compute()  # known beforehand, so that no lazy field is kept until it is
    ramp = xr.DataArray(np.arange(field.sizes[direction]), dims=direction).where(field.notnull())
    ramp = ramp - ramp.mean(("y", "x"))
    covered, squares = (anomaly * ramp).sum(("y", "x")) ** 2, (ramp**2).sum(("y", "x"))
    return float((covered / squares.where(squares > 0)).sum() / (anomaly**2).sum())


def _sides(rho: xr.Dataset) -> xr.Dataset:
    """`side` and its interval: twice the distance from which on a correlation, or its bound, stays within TOLD."""
    largest = np.maximum(abs(rho.rho_low), abs(rho.rho_high))
    smallest = np.maximum(np.maximum(rho.rho_low, -rho.rho_high), 0).where(rho.rho_low.notnull())
    lag = rho.lag.values
    half = _stays_within(abs(rho.rho).values, lag, FELT)
    high = _stays_within(largest.where(rho.lag >= half, np.inf).values, lag, FELT, first=True)
    low = _stays_within(smallest.where(rho.lag > 0, 1.0).values, lag, FELT, first=True)
    return xr.Dataset({"side": 2 * half, "side_low": 2 * low, "side_high": 2 * high})


def _stays_within(values: np.ndarray, lag: np.ndarray, level: float, *, first: bool = False) -> float:
    """Where a curve falls to the level for the first time, or for good; NaN where it does not."""
    known = ~np.isnan(values)
    values, lag = values[known], lag[known]
    outside = values > level
    if not values.size or (outside.all() if first else outside[-1]):
        return math.nan
    i = int(outside.argmin()) if first else len(values) - int(outside[::-1].argmax())
    if not np.isfinite(values[i - 1]):
        return float(lag[i])
    share = (values[i - 1] - level) / (values[i - 1] - values[i])
    return float(lag[i - 1] + share * (lag[i] - lag[i - 1]))
