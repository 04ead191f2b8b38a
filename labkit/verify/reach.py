"""How far a field reaches along y and x, how sure that is, and whether the domain is large enough to tell.

What a patch misses is measured at its middle: a cell at distance h tells the share rho(h)^2 of the variance there (the
best linear guess from it), and the nearest cell that a patch does not hold lies half its side away. The side that a
field needs is the one from which on this share stays below `TOLD`.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from labkit.verify.autocorrelation import centred, correlation_of, decorrelation_lengths, pair_sums
from labkit.verify.bootstrap import interval, resampled_means

TOLD = 0.05  # of the variance in the middle of a patch that may be told from a cell beyond its edge
TREND = 0.2  # of the variance on a straight line across the domain, from which on it is said to stretch the lengths
MIN_TIMES = 8  # fewer, drawn again, say nothing of how sure a correlation is
WIDE = 8  # lengths, at which strips of a domain know little enough of each other to be drawn again
MOST_STRIPS = 64  # of rows, or columns, that are drawn again


def reach(field: xr.DataArray, *, spacing_km: tuple[float, float], draws: int = 200) -> xr.Dataset:
    """Reach of a field (time, y, x) over `direction` ("y", "x"), which has one mean everywhere and always.

    In km: `side`, which a patch needs, its 95 % interval `side_low`, `side_high`, the `e_folding` length and the
    `zero_crossing`; NaN where that lies beyond half the domain or is not known. Over `cell`, as far as half the domain:
    `rho`, the autocorrelation at so many cells, and its interval `rho_low`, `rho_high`, all NaN where the times are too
    few to say; `strips`: whether that is of strips of the domain and not of times. Of one time nothing is known, since
    its mean may be a wave longer than the domain. `times`: how many. `trend`: as of `trend_share`.
    """
    sums = {direction: _sums_of_strips(field, spacing_km, direction) for direction in ("y", "x")}
    rho = {direction: correlation_of(a.sum(("time", "strip"))) for direction, a in sums.items()}
    if field.sizes["time"] == 1:
        rho = {direction: curve * np.nan for direction, curve in rho.items()}
    lengths = {d: decorrelation_lengths(curve)[["e_folding", "zero_crossing"]] for d, curve in rho.items()}
    rows = []
    for direction, across in (("y", "x"), ("x", "y")):
        wide = field.sizes[across] * spacing_km[across == "x"] >= WIDE * lengths[across].e_folding
        bounds = _bounds(sums[direction], strips=bool(wide), draws=draws)
        curves = bounds.assign(rho=rho[direction])
        by_cell = curves.rename(lag="cell").assign_coords(cell=np.arange(curves.sizes["lag"]))
        row = xr.merge([lengths[direction], _sides(curves), by_cell])
        rows.append(row.assign(trend=trend_share(field, direction)))
    return xr.concat(rows, "direction", join="outer").assign_coords(direction=["y", "x"], times=field.sizes["time"])


def trend_share(field: xr.DataArray, direction: str) -> float:
    """Share of the variance that lies on straight lines along a direction, of each field one; near 1 for a trend or a
    wave longer than the domain, and 0.05 for a field that reaches a tenth of it."""
    anomaly = field - field.mean()
    ramp = xr.DataArray(np.arange(field.sizes[direction]), dims=direction).where(field.notnull())
    ramp = ramp - ramp.mean(("y", "x"))
    covered, squares = (anomaly * ramp).sum(("y", "x")) ** 2, (ramp**2).sum(("y", "x"))
    return float((covered / squares.where(squares > 0)).sum() / (anomaly**2).sum())


def _sums_of_strips(field: xr.DataArray, spacing_km: tuple[float, float], direction: str) -> xr.DataArray:
    """Sums of products of anomalies and numbers of pairs, (time, strip, part, lag), by strips that lie along a
    direction, so that no pair is cut."""
    across = "y" if direction == "x" else "x"
    height = math.ceil(field.sizes[across] / MOST_STRIPS)
    bare = field.drop_vars([name for name, c in field.coords.items() if {"y", "x"} & set(c.dims)])
    strips = bare.coarsen({across: height}, boundary="pad").construct({across: ("strip", across)})
    return centred(pair_sums(strips, spacing_km=spacing_km, direction=direction), ("time", "strip"))


def _bounds(sums: xr.DataArray, *, strips: bool, draws: int) -> xr.Dataset:
    """`rho_low` and `rho_high`, NaN where nothing says anything, and `strips`, of what they are: of the times, or where
    these are fewer independent ones, of the strips of a wide domain, which know of no other weather than there was."""
    rho = correlation_of(sums.sum(("time", "strip")))
    found = xr.Dataset({"rho_low": rho * np.nan, "rho_high": rho * np.nan, "strips": False})
    enough = {"time": sums.sizes["time"] >= MIN_TIMES, "strip": strips and sums.sizes["time"] > 1}
    for dim, rest in (("time", "strip"), ("strip", "time")):
        if enough[dim]:
            drawn = interval(correlation_of(resampled_means(sums.sum(rest), dim=dim, draws=draws)))
            bounds = {f"rho_{name}": drawn.sel(bound=name, drop=True) for name in ("low", "high")}
            bounds = xr.Dataset(bounds | {"strips": dim == "strip"})
            found = bounds if _width(bounds) < _width(found) else found
    return found


def _width(bounds: xr.Dataset) -> float:
    """Mean width of an interval over the distances; where it is not known a correlation may be anything."""
    return float((bounds.rho_high - bounds.rho_low).fillna(2.0)[1:].mean())


def _sides(rho: xr.Dataset) -> xr.Dataset:
    """`side` and its interval: twice the distance from which on a correlation, or its bound, stays within TOLD."""
    largest = np.maximum(abs(rho.rho_low), abs(rho.rho_high))
    smallest = np.maximum(np.maximum(rho.rho_low, -rho.rho_high), 0).where(rho.rho_low.notnull())
    lag, level = rho.lag.values, math.sqrt(TOLD)
    half = _stays_within(abs(rho.rho).values, lag, level)
    high = _stays_within(largest.where(rho.lag >= half, np.inf).values, lag, level, first=True)
    low = _stays_within(smallest.where(rho.lag > 0, 1.0).values, lag, level, first=True)
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
