"""Are the values right, wherever they fall? Histograms, quantiles, tails with their sampling error, and the PIT.

Quantiles come from histograms with fine bins: these add up over times and chunks and any of them can count more,
and an error of up to one bin's width is the price. The truth is one draw: how far its extremes lie from the law by
chance alone is seen in the members, each of which is a draw of the same size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dask
import numpy as np
import pandas as pd
import xarray as xr

from labkit.errors import DataError
from labkit.grid import SPACE
from labkit.verify.bootstrap import interval, resampled_means
from labkit.verify.calibration import cell_uniform, ranks
from labkit.verify.exchangeability import flatness, pit_tables
from labkit.verify.scores import MEMBER, anomalies
from labkit.verify.selection import judged, table_by_source, variable_of
from labkit.verify.slabs import whole

UPPER = (0.5, 0.75, 0.9, 0.99, 0.999, 0.9999)
LOWER = (0.0001, 0.001, 0.01, 0.1, 0.25)
STEPS = 25
AT_ONCE = 100_000_000  # comparisons, each a byte or a few


@dataclass(frozen=True)
class Distributions:
    """By source: `pit`, as of `exchangeability.flatness` in ten bins; `quantiles` by level and `shares` by threshold,
    as of `distributions.tails`. With few times the truth's own bounds are NaN, with one member the members'."""

    pit: dict[str, xr.Dataset]
    quantiles: dict[str, xr.Dataset]
    shares: dict[str, xr.Dataset]


def common_edges(*fields: xr.DataArray, bins: int = 2000) -> np.ndarray:
    """Edges (bins + 1) of equally wide bins from the least to the greatest value of all fields. Computes these."""
    low, high = zip(*dask.compute(*[(f.min(), f.max()) for f in fields]), strict=True)
    low, high = float(np.nanmin([float(v) for v in low])), float(np.nanmax([float(v) for v in high]))
    return np.linspace(low, high if high > low else low + 1.0, bins + 1)


def histogram(field: xr.DataArray, edges: Sequence[float], *, over: Sequence[str] = SPACE) -> xr.DataArray:
    """Number of cells over `over` in each bin: (those left, bin), with coordinates `left` and `right`.

    Bins hold their left edge, the last one both. What lies outside the edges and NaN are left out. Lazy.
    """
    edges = np.asarray(edges, np.float64)
    if edges.ndim != 1 or len(edges) < 2 or (np.diff(edges) <= 0).any():
        raise DataError("histogram", found="edges that do not rise", expected="two or more, rising", todo="sort them")
    counts = xr.apply_ufunc(
        _histogram,
        whole(field, over),
        kwargs={"edges": edges, "cell_axes": len(over)},
        input_core_dims=[list(over)],
        output_core_dims=[["bin"]],
        dask="parallelized",
        output_dtypes=[np.int64],
        dask_gufunc_kwargs={"output_sizes": {"bin": len(edges) - 1}},
    )
    return counts.assign_coords(left=("bin", edges[:-1]), right=("bin", edges[1:]))


def density(counts: xr.DataArray) -> xr.DataArray:
    """Probability density of a histogram, in one over the unit of its edges."""
    return counts / counts.sum("bin") / (counts.right - counts.left)


def quantiles(counts: xr.DataArray, levels: Sequence[float]) -> xr.DataArray:
    """Quantiles (..., level) of a histogram, linear within its bins; NaN where it is empty."""
    levels = np.asarray(levels, np.float64)
    if ((levels < 0) | (levels > 1)).any():
        raise DataError("quantiles", found=f"levels {levels.tolist()}", expected="0 to 1", todo="choose others")
    edges = np.append(counts.left.values, counts.right.values[-1])
    found = xr.apply_ufunc(
        _quantiles,
        whole(counts, ["bin"]).drop_vars(["left", "right"]),
        kwargs={"levels": levels, "edges": edges},
        input_core_dims=[["bin"]],
        output_core_dims=[["level"]],
        vectorize=True,
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"level": len(levels)}},
    )
    return found.assign_coords(level=levels)


def quantile_tails(
    members: xr.DataArray,
    truth: xr.DataArray,
    *,
    levels: Sequence[float] = (0.5, 0.9, 0.99, 0.999, 0.9999),
    bins: int = 2000,
    level: float = 0.95,
) -> xr.Dataset:
    """Quantiles over time and space of truth and members, as `tails` has them, by `level`, in the variable's unit.

    `beyond`: how many cells of the truth lie beyond the level, count (1 - level); neighbouring ones are one storm.
    """
    _check(members, truth)
    known = truth.notnull() & members.notnull().all(MEMBER)
    truth, members = truth.where(known), members.where(known)
    edges = common_edges(members, truth, bins=bins)
    own, each = dask.compute(histogram(truth, edges), histogram(members, edges))
    resampled = resampled_means(own)
    drawn = quantiles(resampled.assign_coords({name: own[name] for name in ("left", "right")}), levels)
    own, each = own.sum("time"), each.sum("time")
    found = tails(quantiles(own, levels), drawn, quantiles(each, levels), level=level)
    found["pooled"] = quantiles(each.sum(MEMBER), levels)
    return found.assign(beyond=own.sum() * (1 - found["level"]))


def exceedance_tails(
    members: xr.DataArray,
    truth: xr.DataArray,
    *,
    thresholds: Sequence[float],
    level: float = 0.95,
) -> xr.Dataset:
    """Share of cells and times above each threshold in truth and members, as `tails` has them, by `threshold`."""
    _check(members, truth)
    known = truth.notnull() & members.notnull().all(MEMBER)
    steps = xr.DataArray(list(thresholds), dims="threshold", coords={"threshold": list(thresholds)})
    above = [((field > steps) & known).sum(SPACE).astype(np.float64) for field in (truth, members)]
    own, each, cells = dask.compute(*above, known.sum(SPACE).astype(np.float64))
    drawn = [resampled_means(a) for a in (own, cells)]
    own, each, cells = own.sum("time"), each.sum("time"), cells.sum("time")
    found = tails(own / cells, drawn[0] / drawn[1], each / cells, level=level)
    return found.assign(pooled=each.mean(MEMBER) / cells, beyond=own)


def tails(truth: xr.DataArray, drawn: xr.DataArray, members: xr.DataArray, *, level: float = 0.95) -> xr.Dataset:
    """A figure of the truth beside that of each member, which is a draw of the same size: is the truth one of them?

    truth: (...); drawn: the same of `bootstrap.resampled_means`, (draw, ...); members: (ensemble, ...). Returns `truth`
    with the `low` and `high` of its interval over times; the members' median `member_median` and central interval
    `member_low`, `member_high`, which holds an exchangeable truth with probability `level`, or (n - 1) / (n + 1) where
    the n members are too few for that; and `p`, the two-sided probability of a rank as extreme where truth and members
    are exchangeable, 2 / (n + 1) at least. The times tell nothing of what is larger than was seen, so for the
    outermost levels trust the members' interval.
    """
    bounds = interval(drawn, level=level)
    around = members.quantile([(1 - level) / 2, 0.5, (1 + level) / 2], MEMBER, method="weibull")
    around = around.drop_vars("quantile")
    n = members.sizes[MEMBER]
    not_above, not_below = (members <= truth).sum(MEMBER), (members >= truth).sum(MEMBER)
    p = 2 * (xr.where(not_above < not_below, not_above, not_below) + 1) / (n + 1)
    return xr.Dataset(
        {
            "truth": truth,
            **bounds.to_dataset("bound"),
            "member_low": around.isel(quantile=0),
            "member_median": around.isel(quantile=1),
            "member_high": around.isel(quantile=2),
            "p": p.clip(max=1.0).where(truth.notnull()),
        }
    )


def pit(members: xr.DataArray, truth: xr.DataArray, *, seed: int) -> xr.DataArray:
    """Probability integral transform of the truth in the law of the members, 0 to 1, randomised; NaN where either is.

    The truth's rank among n members plus a uniform number, over n + 1 (Smith 1985): uniform where members and truth are
    exchangeable, however few the members and however many ties, such as dry cells. Lazy, the same whatever the chunks.
    """
    rank = ranks(members, truth, seed=seed)
    # Another stream than the one that drew the rank among ties.
    return (rank + cell_uniform(rank, seed + 2**31)) / (members.sizes[MEMBER] + 1)


def pit_histogram(
    members: xr.DataArray, truth: xr.DataArray, *, seed: int, bins: int = 10, over: Sequence[str] = ("time", *SPACE)
) -> xr.DataArray:
    """Number of cells in each of `bins` bins of the `pit`, by `bin` and the dimensions not in `over`: flat if right."""
    counts = histogram(pit(members, truth, seed=seed), np.linspace(0, 1, bins + 1), over=SPACE)
    return counts.sum([dim for dim in over if dim not in SPACE])


def pit_moments(values: xr.DataArray, *, over: Sequence[str] = ("time", *SPACE)) -> xr.Dataset:
    """Mean `mean` of the PIT, 1/2 without bias, and `dispersion`, 12 times its variance: 1 if uniform, above where the
    spread is too small, below where it is too large."""
    wide = values.astype(np.float64)
    mean, square = wide.mean(over), (wide**2).mean(over)
    return xr.Dataset({"mean": mean, "dispersion": 12 * (square - mean**2)})


def distribution_data(
    tree: xr.DataTree, variable: str, *, times: Sequence[int] | None = None, seed: int = 0
) -> Distributions:
    """Of the ensembles ("prediction", and "oracle" if known). Levels with less than a cell beyond them are left out.

    Reads what `judged` does of truth and ensembles.
    """
    truth, ensembles = judged(tree, variable, times=times)
    known = variable_of(tree, variable)
    levels = levels_of(int(truth.count()), lower=not known.non_negative)
    steps = np.linspace(float(truth.quantile(0.5)), float(max(f.max() for f in (truth, *ensembles.values()))), STEPS)
    pit, quantiles, shares = {}, {}, {}
    for source, members in ensembles.items():
        pit[source] = flatness(pit_tables(members, truth, seed=seed, bins=10))
        pit[source].attrs["left_out"] = truth.attrs["left_out"]
        quantiles[source] = _honest(quantile_tails(members, truth, levels=levels), members)
        # In memory a few thresholds at a time, so that it does not grow with their number; chunks are small anyway.
        size = members.size if members.chunks is None else 0
        groups = np.array_split(steps[:-1], np.clip(size * STEPS // AT_ONCE, 1, STEPS - 1))
        each = [exceedance_tails(members, truth, thresholds=list(group)) for group in groups]
        shares[source] = _honest(xr.concat(each, "threshold"), members)
    return Distributions(pit, quantiles, shares)


def levels_of(cells: int, *, lower: bool) -> list[float]:
    """Quantile levels with a cell or more beyond them."""
    levels = [*(LOWER if lower else LOWER[-1:]), *UPPER]
    return [level for level in levels if cells * min(level, 1 - level) >= 1 - 1e-9]


def distribution_table(data: Distributions) -> pd.DataFrame:
    """One line for each source and level: the truth's and the members' quantiles with their bounds, and p."""
    return table_by_source(data.quantiles)


def _check(members: xr.DataArray, truth: xr.DataArray) -> None:
    anomalies(members, truth)
    if "time" not in truth.dims:
        raise DataError("tails", found=str(truth.dims), expected="a dimension time", todo="give more than one time")


def _histogram(values: np.ndarray, *, edges: np.ndarray, cell_axes: int) -> np.ndarray:
    """values (..., cells along the last `cell_axes`) -> counts (..., bin)."""
    lead = values.shape[: values.ndim - cell_axes]
    rows = values.reshape(int(np.prod(lead)), -1)
    return np.stack([np.histogram(row[np.isfinite(row)], edges)[0] for row in rows]).reshape(*lead, -1)


def _quantiles(counts: np.ndarray, *, levels: np.ndarray, edges: np.ndarray) -> np.ndarray:
    total = counts.sum()
    if not total > 0:
        return np.full(len(levels), np.nan)
    # Between the first and the last bin with anything in it: beyond them the count stands still.
    filled = np.flatnonzero(counts)
    inside = slice(filled[0], filled[-1] + 2)
    reached = np.concatenate([[0.0], np.cumsum(counts)]) / total
    return np.interp(levels, reached[inside], edges[inside])


def _honest(found: xr.Dataset, members: xr.DataArray) -> xr.Dataset:
    """Bounds that cannot be known of a lone member made NaN."""
    if members.sizes["ensemble"] < 2:
        found = found.assign({name: found[name] * np.nan for name in ("member_low", "member_high", "p")})
    return found
