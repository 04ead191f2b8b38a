"""Scores of fields and ensembles against the truth: xarray in, xarray out, lazy where the input is.

Means are taken of squared errors, variances and the like over all cells chosen, and only then transformed; cells
where the truth (or the forecast) is NaN are left out of every one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scoringrules as sr
import xarray as xr

from labkit.errors import DataError
from labkit.variables import lookup
from labkit.verify.common import MEMBER, Common, anomalies, on_common_cells, shortfall, with_left_out

SOURCES = ("interpolation", "regression", "prediction", "oracle")
# Sorted forms of the same estimators: memory grows with the members, not with their square.
_ESTIMATORS = {"fair": "pwm", "nrg": "qd"}


def crps(members: xr.DataArray, truth: xr.DataArray, *, estimator: str = "fair") -> xr.DataArray:
    """Continuous ranked probability score of each cell, in the units of the variable.

    members: (ensemble, ...), truth: (...), in any order of dimensions. estimator: "fair",
    E|X - y| - sum_ij |X_i - X_j| / (2 n (n - 1)), unbiased for any n >= 2 (Ferro 2014); "nrg" has n^2 in place of
    n (n - 1), as CorrDiff's own score, and is too large for few members. A lone member scores its absolute error.
    """
    return _member_statistics(members, truth, estimator)[2]


def score(
    forecast: xr.DataArray,
    truth: xr.DataArray,
    *,
    over: Sequence[str] = ("time", "y", "x"),
    estimator: str = "fair",
) -> xr.Dataset:
    """Scores of one variable over the dimensions `over`; all in its units, `spread_skill` without.

    forecast: (ensemble, ...), or (...) for a single field, whose `crps` is its MAE and whose spread is NaN.
    rmse, mae, bias: of the ensemble mean (bias = forecast - truth). spread: root of the mean of the unbiased ensemble
    variance. spread_skill: sqrt((n + 1) / n) spread / rmse, 1 where members and truth are exchangeable (Fortin et al.
    2014). count: cells compared.
    """
    return scores_of(cell_sums(cell_statistics(forecast, truth, estimator=estimator), over=over))


def cell_statistics(forecast: xr.DataArray, truth: xr.DataArray, *, estimator: str = "fair") -> xr.Dataset:
    """`error` of the ensemble mean, unbiased ensemble `variance` and `crps` of each cell: what scores are means of.

    Attribute `members`: how many; a single field has one, and NaN for its variance.
    """
    if MEMBER not in forecast.dims:
        forecast = forecast.expand_dims(MEMBER)
    statistics = _member_statistics(forecast, truth, estimator)
    names = ("error", "variance", "crps")
    return xr.Dataset(dict(zip(names, statistics, strict=True)), attrs={"members": forecast.sizes[MEMBER]})


def cell_sums(cells: xr.Dataset, *, over: Sequence[str] = ("y", "x")) -> xr.Dataset:
    """Sums over `over` of the cells' statistics, float64; they add up over times and chunks, as scores do not."""
    wide = cells.astype(np.float64)
    sums = {
        "error": wide.error,
        "absolute_error": abs(wide.error),
        "squared_error": wide.error**2,
        "variance": wide.variance,
        "crps": wide.crps,
        "count": np.isfinite(wide.error),
    }
    return xr.Dataset({name: values.sum(over) for name, values in sums.items()}, attrs=cells.attrs)


def scores_of(sums: xr.Dataset) -> xr.Dataset:
    """The scores of `score` from sums (or from means of sums, as a bootstrap draws them)."""
    n, count = sums.attrs["members"], sums["count"]
    mean = sums / count.where(count > 0)
    rmse = np.sqrt(mean.squared_error)
    spread = np.sqrt(mean.variance if n > 1 else mean.variance * np.nan)
    return xr.Dataset(
        {
            "rmse": rmse,
            "mae": mean.absolute_error,
            "bias": mean.error,
            "crps": mean.crps,
            "spread": spread,
            "spread_skill": np.sqrt(spread_factor(n)) * spread / rmse,
            "count": count,
        }
    )


def spread_factor(members: int) -> float:
    """(n + 1) / n: by so much the mean square error of the mean of n members exceeds their unbiased variance where
    truth and members are exchangeable (Fortin et al. 2014)."""
    return (members + 1) / members


def achieved_skill(baseline: xr.DataArray, model: xr.DataArray, oracle: xr.DataArray) -> xr.DataArray:
    """Share of the possible improvement over `baseline` that `model` makes: 1 is as good as the oracle, 0 as the
    baseline. The three are one negatively oriented score (smaller is better), aggregated beforehand."""
    return (baseline - model) / (baseline - oracle)


def score_tree(
    tree: xr.DataTree,
    *,
    over: Sequence[str] = ("time", "y", "x"),
    estimator: str = "fair",
    baseline: str = "interpolation",
) -> xr.Dataset:
    """Scores of everything in an output tree against its truth, computed in one pass.

    Dimensions (source, variable, and those not in `over`): sources are those of interpolation, regression, prediction
    and oracle that the tree has; variables those of both truth and prediction, in the truth's order. Variables as in
    `score`; the CRPS of the single fields interpolation and regression is their MAE. With a `baseline` and an oracle
    there is also `achieved_skill` in CRPS. All sources are compared on the cells that all of them know
    (`common.on_common_cells`): `count` says how many, `members` how many of an ensemble, the attribute `left_out` what
    is missing by variable. Without any truth there are `spread`, `count` and `members` alone. NaN marks what a source
    lacks.
    """
    truth, prediction = tree["truth"], tree["prediction"]
    variables = [str(name) for name in truth.data_vars if name in prediction.data_vars]
    sources = [name for name in SOURCES if name in tree.children]
    common = {v: on_common_cells(truth[v], _fields(tree, v, sources)) for v in variables}
    columns = [xr.concat([_row(common[v], s, over, estimator) for s in sources], "source") for v in variables]
    scores = xr.concat(columns, "variable").transpose("source", "variable", ...)
    scores = scores.assign_coords(source=sources, variable=variables)
    if {baseline, "oracle"} <= set(sources):
        reference, oracle = (scores.crps.sel(source=name, drop=True) for name in (baseline, "oracle"))
        scores["achieved_skill"] = achieved_skill(reference, scores.crps, oracle)
    units = [truth[name].attrs.get("units", lookup(name).units) for name in variables]
    members = {f"members_{name}": tree[name].sizes[MEMBER] for name in ("prediction", "oracle") if name in sources}
    scores = scores.assign_attrs(estimator=estimator, baseline=baseline, **members).compute()
    compared = scores["count"].max("source").transpose("variable", ...)
    said = {v: shortfall(common[v], int(cells.sum())) for v, cells in zip(variables, compared, strict=True)}
    untold = [name for name in variables if not common[name].observed]
    return scores.assign_coords(units=("variable", units)).assign_attrs(left_out=said, without_truth=untold)


def score_table(scores: xr.Dataset) -> pd.DataFrame:
    """The scores of `score_tree` as a tidy table: one line for each source and variable (and remaining dimension).
    The column `left_out` is there where something is."""
    return with_left_out(scores.to_dataframe(dim_order=list(scores.sizes)).reset_index(), scores)


def crps_by_size(
    members: xr.DataArray,
    truth: xr.DataArray,
    *,
    seed: int,
    sizes: Sequence[int] | None = None,
    repeats: int = 8,
    over: Sequence[str] = ("time", "y", "x"),
    estimator: str = "fair",
) -> xr.DataArray:
    """Mean CRPS of random subsets of the members: (size, and the dimensions not in `over`).

    Flat for the fair estimator, whatever the ensemble; falling towards it for "nrg". `repeats` subsets are drawn for
    each size with the given seed; sizes are by default 2, 4, 8 ... and all members.
    """
    total = members.sizes[MEMBER]
    sizes = list(sizes or [*(2**k for k in range(1, 12) if 2**k < total), total])
    if not 2 <= min(sizes) <= max(sizes) <= total:
        found, expected = f"sizes {sizes}", f"2 to {total} members"
        raise DataError("CRPS by ensemble size", found=found, expected=expected, todo="choose sizes within them")
    rng = np.random.default_rng(seed)
    means = [_mean_over_subsets(members, truth, size, repeats, rng, over, estimator) for size in sizes]
    return xr.concat(means, "size").assign_coords(size=sizes).rename("crps")


def _mean_over_subsets(members, truth, size, repeats, rng, over, estimator) -> xr.DataArray:
    total = members.sizes[MEMBER]
    subsets = [np.sort(rng.choice(total, size, replace=False)) for _ in range(1 if size == total else repeats)]
    drawn = [_mean(crps(members.isel({MEMBER: s}), truth, estimator=estimator), over) for s in subsets]
    return sum(drawn) / len(drawn)


def _fields(tree: xr.DataTree, variable: str, sources: Sequence[str]) -> dict[str, xr.DataArray]:
    return {name: tree[name][variable] for name in sources if variable in tree[name].data_vars}


def _row(common: Common, source: str, over: Sequence[str], estimator: str) -> xr.Dataset:
    """Scores of one source and variable; without any truth what can be said of it all the same."""
    forecast = common.fields.get(source, xr.full_like(common.truth, np.nan))
    found = score(forecast, common.truth, over=over, estimator=estimator)
    if not common.observed:
        found = found.assign({name: np.nan * found[name] for name in found if name not in ("spread", "count")})
    return found.assign(members=forecast.sizes.get(MEMBER, 1))


def _mean(array: xr.DataArray, over: Sequence[str]) -> xr.DataArray:
    """Mean over all cells of `over` together, NaN left out; accumulated in float64."""
    return array.astype(np.float64).mean(over, skipna=True)


def _member_statistics(members: xr.DataArray, truth: xr.DataArray, estimator: str) -> tuple[xr.DataArray, ...]:
    """Error of the ensemble mean, unbiased variance and CRPS of each cell, block by block; NaN where any member is."""
    if estimator not in _ESTIMATORS:
        raise DataError("CRPS estimator", found=repr(estimator), expected=" or ".join(_ESTIMATORS), todo="name one")
    error = anomalies(members, truth)
    if error.chunks is not None:
        error = error.chunk({MEMBER: -1})
    return xr.apply_ufunc(
        _statistics,
        error,
        kwargs={"estimator": _ESTIMATORS[estimator]},
        input_core_dims=[[MEMBER]],
        output_core_dims=[[], [], []],
        dask="parallelized",
        output_dtypes=[error.dtype] * 3,
    )


def _statistics(error: np.ndarray, *, estimator: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, variance and CRPS of errors (..., member); CRPS does not change when truth and members shift together."""
    mean = error.mean(-1)
    if error.shape[-1] == 1:
        return mean, np.full_like(mean, np.nan), abs(mean)
    # Sorting values is several times faster than the sorting of indices that scoringrules would do.
    crps = sr.crps_ensemble(np.zeros_like(mean), np.sort(error, -1), estimator=estimator, sorted_ensemble=True)
    return mean, error.var(-1, ddof=1), crps
