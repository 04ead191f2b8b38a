"""Scores by region, season and hour: every cell and time has a stratum, and the strata add up to the whole.

A stratum is a whole number for each cell, time or both, -1 where unknown; the attribute `strata` names them in order.
Strata taken from the truth (its rain) are for diagnosis only: a forecast that always cries wolf does well where it
came (Lerch et al. 2017). For a fair comparison stratify by the input. Strata of the mean of n members leave a perfect
forecast a bias of W / (W + n B) of that mean's anomaly, since a high mean is partly luck (W: variance of the members
about what they scatter about, B: variance of that from case to case).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.verify.scores import cell_sums, scores_of

SEASONS = ("DJF", "MAM", "JJA", "SON")
HEIGHT_EDGES_M = (100.0, 500.0, 1500.0)
RAIN_EDGES = (0.1, 1.0, 5.0)


def surface(land_fraction: xr.DataArray) -> xr.DataArray:
    """Sea where the land fraction is below one half, land elsewhere."""
    return _named((land_fraction >= 0.5).astype(np.int8).where(land_fraction.notnull(), -1), ("sea", "land"))


def bands(field: xr.DataArray, edges: Sequence[float], *, units: str = "") -> xr.DataArray:
    """Bands of values between rising edges; an edge belongs to the band above it. The ends are open.

    For heights of the ground (HEIGHT_EDGES_M) or rain rates (RAIN_EDGES).
    """
    if not len(edges) or (np.diff(edges) <= 0).any():
        raise DataError("bands", found=f"edges {list(edges)}", expected="one or more, rising", todo="sort them")
    unit = f" {units}" if units else ""
    between = [f"{a:g} to {b:g}{unit}" for a, b in pairwise(edges)]
    names = [f"below {edges[0]:g}{unit}", *between, f"from {edges[-1]:g}{unit}"]
    codes = sum((field >= edge).astype(np.int8) for edge in edges)
    return _named(codes.where(field.notnull(), -1), names)


def season(time: xr.DataArray) -> xr.DataArray:
    """Meteorological seasons, (time)."""
    return _named(_dated(time).dt.month % 12 // 3, SEASONS)


def hour_of_day(time: xr.DataArray, *, lon: xr.DataArray | None = None, width: int = 3) -> xr.DataArray:
    """Bands of `width` hours from midnight: in UTC, (time), or with longitudes (degrees east) in local solar time,
    UTC + lon / 15, (time, y, x)."""
    if 24 % width:
        raise DataError("hours", found=f"bands of {width} h", expected="a divisor of 24", todo="choose another width")
    minutes = _dated(time).dt.hour * 60 + time.dt.minute
    names = [f"{hour:02d}-{hour + width:02d} {'UTC' if lon is None else 'local'}" for hour in range(0, 24, width)]
    if lon is None:
        return _named(minutes // (60 * width), names)
    codes = np.floor(((minutes + 4.0 * lon) % 1440) / (60 * width))
    return _named(codes.clip(max=24 // width - 1).where(lon.notnull(), -1), names)


def stratified_scores(
    cells: xr.Dataset, strata: xr.DataArray, *, over: Sequence[str] = ("time", "y", "x")
) -> xr.Dataset:
    """Scores (as of `scores.score`) in each stratum: (stratum, and the dimensions not in `over`).

    cells: `scores.cell_statistics`, worked out once for all strata, lazily where they are. `count` says how many cells
    there were; the mean of crps (or squared rmse) over the strata, weighted with it, is that of the whole.
    """
    sums = stratified_sums(cells, strata, over=over)
    return scores_of(sums)


def stratified_sums(cells: xr.Dataset, strata: xr.DataArray, *, over: Sequence[str] = ("y", "x")) -> xr.Dataset:
    """`scores.cell_sums` of each stratum, for bootstraps and comparisons: (stratum, and those not in `over`)."""
    names = strata.attrs["strata"]
    _check(cells, strata)
    parts = [cell_sums(cells.where(strata == code), over=over) for code in range(len(names))]
    return xr.concat(parts, "stratum").assign_coords(stratum=list(names)).assign_attrs(cells.attrs)


def _named(codes: xr.DataArray, names: Sequence[str]) -> xr.DataArray:
    return codes.astype(np.int8).rename("stratum").assign_attrs(strata=list(names))


def _dated(time: xr.DataArray) -> xr.DataArray:
    if not np.issubdtype(time.dtype, np.datetime64):
        found, todo = f"times as {time.dtype}", "give the file dates"
        raise DataError("seasons and hours", found=found, expected="dates", todo=todo)
    return time


def _check(cells: xr.Dataset, strata: xr.DataArray) -> None:
    """Strata that belong to other cells would silently leave cells out."""
    try:
        aligned = xr.align(cells, strata, join="exact")
    except ValueError:
        aligned = None
    if aligned is None or not set(strata.dims) <= set(cells.error.dims):
        found = f"strata over {dict(strata.sizes)} and cells over {dict(cells.sizes)} with unlike coordinates"
        raise DataError("strata", found=found, expected="the same cells and times", todo="select those of the scores")
