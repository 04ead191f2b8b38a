"""Is one run better than another, or was it luck? Scores of two output trees over the same times, paired.

The same times count more in both by turns, so that the weather that was hard for both takes no part in the
difference. Root mean squares and ratios are worked out anew each time.
"""

from __future__ import annotations

import dask
import numpy as np
import pandas as pd
import xarray as xr

from labkit.errors import DataError
from labkit.variables import lookup
from labkit.verify.bootstrap import DRAW, WHOLE, interval, resampled_means, tested
from labkit.verify.common import on_common_cells, shortfall, with_left_out
from labkit.verify.scores import cell_statistics, cell_sums, scores_of

SCORES = ("crps", "rmse", "mae", "bias", "spread_skill")
POSITIVE = ("rmse", "mae", "spread", "spread_skill")


def score_interval(sums: xr.Dataset, *, level: float = 0.95) -> xr.Dataset:
    """Every score over the times with its `bootstrap.interval`, along `bound` (low, estimate, high).

    sums: `scores.cell_sums` by time (and by strata, or for maps by cell with over=()).
    """
    drawn = scores_of(_drawn(sums))
    bounds = drawn.map(lambda score: interval(score, level=level, positive=score.name in POSITIVE))
    estimate = scores_of(sums.sum("time").assign_attrs(sums.attrs)).expand_dims(bound=["estimate"])
    return xr.concat([bounds, estimate], "bound").sel(bound=["low", "estimate", "high"])


def paired_scores(first: xr.Dataset, second: xr.Dataset, *, level: float = 0.95) -> xr.Dataset:
    """Scores of two forecasts of the same truth and what lies between them, along `score` (SCORES).

    first, second: `scores.cell_sums` by time, of the same times and cells. Returns `first`, `second`, `difference`,
    first - second (of crps, rmse and mae negative where the first is better; bias and spread-skill are best at 0 and
    1), its interval `low`, `high` and `p`, the two-sided probability of a difference as large where there is none; NaN
    where the times cannot tell (`bootstrap.interval`).
    """
    if not np.array_equal(first["count"], second["count"]):
        found = "scores of different cells or times"
        raise DataError("paired scores", found=found, expected="the same in both", todo="select those that both have")
    drawn = [_stacked(scores_of(_drawn(sums))) for sums in (first, second)]
    whole = [scores.sel({DRAW: WHOLE}, drop=True) for scores in drawn]
    found = tested(drawn[0] - drawn[1], level=level)
    return xr.Dataset({"first": whole[0], "second": whole[1], **found.data_vars})


def compare_trees(
    first: xr.DataTree,
    second: xr.DataTree,
    *,
    source: str = "prediction",
    level: float = 0.95,
    estimator: str = "fair",
) -> xr.Dataset:
    """`paired_scores` of two output trees by variable, over the times that both have: (variable, score).

    `p_adjusted` takes account of all of them (`false_discovery`). Both are compared on the cells that both know
    (`common.on_common_cells`): `count` by variable, and the attribute `left_out`, what is missing by variable.
    Attribute `times`: how many were compared. Raises DataError where they share no variable or fewer than two times, or
    where their truths differ.
    """
    variables = [name for name in _variables(first, source) if name in _variables(second, source)]
    times = np.intersect1d(first["truth"].time.values, second["truth"].time.values)
    if not variables or len(times) < 2 or any(t["truth"].indexes["time"].has_duplicates for t in (first, second)):
        found = f"{len(variables)} variables and {len(times)} times in both"
        expected = "one variable or more and two times or more, none of them twice"
        raise DataError("comparison", found=found, expected=expected, todo="compare runs on the same cases")
    parts, compared, said = [], [], {}
    for name in variables:
        sums, said[name] = _paired_sums(first, second, source, name, times, estimator)
        parts.append(paired_scores(*sums, level=level).assign(count=sums[0]["count"].sum()))
        compared.append(sums[0].sizes["time"])
    found = xr.concat(parts, "variable").assign_coords(variable=variables)
    units = [first["truth"][name].attrs.get("units", lookup(name).units) for name in variables]
    found = found.assign_coords(units=("variable", units)).assign_attrs(times=min(compared), level=level, source=source)
    found = found.assign_attrs(left_out=said)
    return found.assign(p_adjusted=false_discovery(found.p))


def comparison_table(comparison: xr.Dataset) -> pd.DataFrame:
    """One line for each variable and score; spread-skill has no unit."""
    table = comparison.to_dataframe(dim_order=["variable", "score"]).reset_index()
    table.loc[table.score == "spread_skill", "units"] = "1"
    numbers = ["first", "second", "difference", "low", "high", "p", "p_adjusted", "count"]
    return with_left_out(table[["variable", "score", "units", *numbers]], comparison)


def false_discovery(p: xr.DataArray) -> xr.DataArray:
    """P-values adjusted for their number (Benjamini & Hochberg 1995): of those below q a share q at most is luck, on
    average. For tables, and for maps too (Wilks 2016); NaN are left out."""
    values = np.asarray(p.values, np.float64)
    known = np.isfinite(values)
    order = np.argsort(values[known], kind="stable")
    scaled = values[known][order] * order.size / np.arange(1, order.size + 1)
    adjusted = np.empty(order.size)
    adjusted[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    found = np.full(values.shape, np.nan)
    found[known] = adjusted
    return p.copy(data=found)


def _drawn(sums: xr.Dataset) -> xr.Dataset:
    return sums.map(resampled_means).assign_attrs(sums.attrs)


def _stacked(scores: xr.Dataset) -> xr.DataArray:
    """Scores along `score`."""
    return scores[list(SCORES)].to_array("score").drop_attrs()


def _variables(tree: xr.DataTree, source: str) -> list[str]:
    if source not in tree.children:
        have = ", ".join(tree.children)
        raise DataError("comparison", found=f"a tree with {have}", expected=f"a group {source!r}", todo="name another")
    return [str(name) for name in tree["truth"].data_vars if name in tree[source].data_vars]


def _paired_sums(first, second, source: str, name: str, times: np.ndarray, estimator: str):
    """Sums by time of both, of the cells that both know, at the times that have any; and what was left out."""
    truths, forecasts = ([t[g][name].sel(time=times) for t in (first, second)] for g in ("truth", source))
    _check_same_truth(name, *truths)
    truth = truths[0].where(truths[1].notnull().variable)
    common = on_common_cells(truth, dict(zip(("first", "second"), forecasts, strict=True)))
    cells = [cell_statistics(f, common.truth, estimator=estimator) for f in common.fields.values()]
    sums = dask.compute(*[cell_sums(c, over=("y", "x")).assign_attrs(c.attrs) for c in cells])
    known = np.flatnonzero((sums[0]["count"] > 0) & (sums[1]["count"] > 0))
    if len(known) < 2:
        found, expected = f"{len(known)} times of {name} that both know", "two times or more"
        raise DataError("comparison", found=found, expected=expected, todo="compare runs that got further")
    said = shortfall(common, int(sums[0]["count"].sum()))
    return [one.isel(time=known) for one in sums], said


def _check_same_truth(name: str, first: xr.DataArray, second: xr.DataArray) -> None:
    try:
        difference = abs(xr.align(first, second, join="exact")[0] - second)
        scale = float(abs(first).max())
        furthest = float(difference.max())
    except ValueError:
        scale, furthest = 1.0, np.inf
    if furthest > 1e-5 * scale or first.sizes != second.sizes:
        found = f"truths of {name} that differ by up to {furthest:g} or lie on other grids"
        raise DataError("comparison", found=found, expected="one truth", todo="compare runs on the same data set")
