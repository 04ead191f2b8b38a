"""Probabilities of an event against what came of it: reliability diagram, Brier score and its parts, ROC.

Everything is worked out from one small table of sums by bin of the probability. Tables add up over times, chunks and
regions, where scores do not; so sum first (`table.sum("time")`), then ask for the figure. An event is a value above
the threshold, as in `products`. With an ensemble of n members each of its n + 1 probabilities has a bin of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from labkit.errors import DataError
from labkit.grid import SPACE
from labkit.verify.bootstrap import FEWEST, interval, resampled_means
from labkit.verify.products import exceedance_probability
from labkit.verify.scores import MEMBER, anomalies
from labkit.verify.selection import judged, table_by_source, variable_of
from labkit.verify.slabs import whole

SUMS = ("count", "p", "o", "pp", "po")
MOST_BINS = 21  # with more members than that, ten bins: each must have cells enough to be judged by
PARTS = ("brier", "reliability", "resolution", "uncertainty", "skill", "fair", "roc_area")
POSITIVE = ("brier", "resolution", "uncertainty", "base_rate")


@dataclass(frozen=True)
class Reliability:
    """Of one source: `curve` (bin) as of `reliability_diagram`, `roc` (point), and `scores` (bound: low, estimate,
    high) with the PARTS and `base_rate`. Bounds are NaN where the times are too few, or too alike, to say."""

    curve: xr.Dataset
    roc: xr.Dataset
    scores: xr.Dataset

    def score(self, name: str, bound: str = "estimate") -> float:
        return float(self.scores[name].sel(bound=bound))


def event(field: xr.DataArray, threshold: float | xr.DataArray) -> xr.DataArray:
    """1 where the field is above the threshold, 0 where not, NaN where the field is; float64."""
    return (field > threshold).astype(np.float64).where(field.notnull())


def event_table(
    probability: xr.DataArray, outcome: xr.DataArray, *, bins: int = 10, over: Sequence[str] = SPACE
) -> xr.Dataset:
    """Sums over `over` in each of `bins` equally wide bins of the probability: the dimension `bin`, and those left.

    probability: 0 to 1; outcome: 0 or 1, of the same cells. count: cells, NaN in either left out; p, o: sums of
    probability and outcome; pp, po: of their squares and products. Lazy where the input is.
    """
    if not {"y", "x"} >= set(over) or not over:
        raise DataError("event table", found=f"sums over {tuple(over)}", expected="y, x", todo="sum the rest later")
    probability, outcome = (whole(field, over) for field in xr.align(probability, outcome, join="exact"))
    sums = xr.apply_ufunc(
        _sums,
        probability,
        outcome,
        kwargs={"bins": bins, "cell_axes": len(over)},
        input_core_dims=[list(over)] * 2,
        output_core_dims=[["sum", "bin"]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"sum": len(SUMS), "bin": bins}},
    )
    return xr.Dataset({name: sums.isel(sum=i) for i, name in enumerate(SUMS)})


def ensemble_table(
    members: xr.DataArray,
    truth: xr.DataArray,
    threshold: float,
    *,
    bins: int | None = None,
    over: Sequence[str] = SPACE,
) -> xr.Dataset:
    """`event_table` of the share of members above the threshold, by default with a bin for each of the n + 1 shares."""
    anomalies(members, truth)  # refuses cells and times that differ
    bins = bins or members.sizes[MEMBER] + 1
    return event_table(exceedance_probability(members, threshold), event(truth, threshold), bins=bins, over=over)


def role_tables(
    members: xr.DataArray,
    truth: xr.DataArray,
    threshold: float,
    *,
    bins: int | None = None,
    over: Sequence[str] = SPACE,
) -> xr.Dataset:
    """`ensemble_table` with each of the n + 1 fields in the role of the truth by turns: the dimension `role`.

    Role 0 is the truth's own table; in role k member k - 1 is taken for the truth and the truth for a member. Where
    members and truth are exchangeable, all of them are draws of the same law: what `consistency` is made of.
    """
    anomalies(members, truth)
    n = members.sizes[MEMBER]
    known = members.notnull().all(MEMBER) & truth.notnull()
    came = event(truth, threshold)
    events = (members > threshold).sum(MEMBER) + came
    roles = [came, *(event(members.isel({MEMBER: k}, drop=True), threshold) for k in range(n))]
    tables = [event_table(((events - o) / n).where(known), o, bins=bins or n + 1, over=over) for o in roles]
    return xr.concat(tables, "role")


def brier(table: xr.Dataset, *, members: int | None = None) -> xr.Dataset:
    """Brier score and its parts: brier = reliability - resolution + uncertainty + within_variance - within_covariance.

    The first three are Murphy's (1973), the last two what is lost where a bin holds several probabilities (Stephenson
    et al. 2008): with them the sum is exact whatever the bins. skill: against the climatology, 1 - brier / uncertainty.
    members: gives `fair` too, the score that an ensemble of infinitely many would have (Ferro 2014).
    """
    total = table.sum("bin")
    n = total["count"].where(total["count"] > 0)
    inside = table["count"].where(table["count"] > 0)
    p, o, rate = table.p / inside, table.o / inside, total.o / n
    parts = xr.Dataset(
        {
            "brier": (total.pp - 2 * total.po + total.o) / n,
            "reliability": (table["count"] * (p - o) ** 2).sum("bin") / n,
            "resolution": (table["count"] * (o - rate) ** 2).sum("bin") / n,
            "uncertainty": rate * (1 - rate),
            "within_variance": (table.pp - table.p * p).sum("bin") / n,
            "within_covariance": 2 * (table.po - table.p * o).sum("bin") / n,
        }
    )
    if members is not None:
        few = (total.p - total.pp) / n / (members - 1) if members > 1 else np.nan
        parts["fair"] = parts.brier - few
    return parts.assign(skill=1 - parts.brier / parts.uncertainty.where(parts.uncertainty > 0))


def roc(table: xr.Dataset) -> xr.Dataset:
    """Hit rate and false alarm rate of warnings from each bin upwards, from none (0, 0) to always (1, 1).

    Over `point` (bins + 1). NaN where the event never came, or always.
    """
    came, not_came = table.o, table["count"] - table.o
    rates = xr.Dataset({"hit_rate": _from_above(came), "false_alarm_rate": _from_above(not_came)})
    return rates.rename(bin="point")


def roc_area(curve: xr.Dataset) -> xr.DataArray:
    """Area under the ROC curve by trapezoids: 0.5 without any discrimination, 1 if perfect.

    It is the probability that a cell with the event had the higher probability than one without, ties counted half.
    """
    width = curve.false_alarm_rate.diff("point")
    height = (curve.hit_rate + curve.hit_rate.shift(point=1)).isel(point=slice(1, None)) / 2
    return (width * height).sum("point", skipna=False)


def reliability(table: xr.Dataset) -> xr.Dataset:
    """Mean probability `forecast`, share `observed` and `count` of each bin; NaN in bins without any cell."""
    count = table["count"]
    inside = count.where(count > 0)
    return xr.Dataset({"forecast": table.p / inside, "observed": table.o / inside, "count": count})


def reliability_diagram(
    members: xr.DataArray,
    truth: xr.DataArray,
    threshold: float,
    *,
    bins: int | None = None,
    level: float = 0.95,
) -> xr.Dataset:
    """`reliability` over time and space, with bars for what was observed and for what chance allows. Computes.

    members (ensemble, time, y, x). low, high: `bootstrap.interval` over times of the observed share, within
    0 and 1. consistency_low, consistency_high, expected: from `consistency`.
    """
    tables = role_tables(members, truth, threshold, bins=bins).compute()
    own = tables.isel(role=0)
    curve = reliability(own.sum("time"))
    bounds = interval(reliability(resampled_tables(own)).observed, level=level).clip(0, 1)
    return curve.assign(bounds.to_dataset("bound")).merge(consistency(tables, level=level))


def resampled_tables(table: xr.Dataset, *, dim: str = "time") -> xr.Dataset:
    """Tables with more weight on each time by turns (`bootstrap.resampled_means`), with `draw` for `dim`: of each any
    figure can be asked."""
    return table.map(resampled_means, dim=dim)


def consistency(tables: xr.Dataset, *, level: float = 0.95) -> xr.Dataset:
    """What the observed share would be if the truth were just another member: mean `expected` and central interval.

    tables: `role_tables` over (role, time, bin). How far from the share of all roles the truth's own may be is the
    `bootstrap.interval` of the difference, which knows how alike neighbouring cells and hours are (bars of Broecker &
    Smith 2007 take cells for independent, and members may be drawn anew each hour where the truth's error lasts). Fewer
    than FEWEST times are taken for one case: the range is that of the n + 1 roles. `expected` is not the diagonal where
    members are few: of n exchangeable members the share is nearer to the climatology than their probability (Richardson
    2001).
    """
    expected = reliability(tables.sum(("role", "time"))).observed
    if tables.sizes["time"] < FEWEST:
        of_roles = reliability(tables.sum("time")).observed.quantile([(1 - level) / 2, (1 + level) / 2], "role")
        low, high = of_roles.drop_vars("quantile").transpose("quantile", ...)
    else:
        drawn = resampled_tables(tables)
        low, high = interval(
            reliability(drawn.isel(role=0)).observed - reliability(drawn.sum("role")).observed, level=level, alike="bin"
        ).drop_vars("bound")
        half = (high - low) / 2
        low, high = (expected - half).clip(min=0), (expected + half).clip(max=1)
    return xr.Dataset({"expected": expected, "consistency_low": low, "consistency_high": high})


def reliability_data(
    tree: xr.DataTree, variable: str, *, threshold: float, times: Sequence[int] | None = None
) -> dict[str, Reliability]:
    """Of values above the threshold, by source ("prediction", and "oracle" if known). times: positions, all by default.

    Reads what `judged` does of truth and ensembles. Raises DataError where neither truth nor members ever have the
    event, or always do.
    """
    truth, ensembles = judged(tree, variable, times=times)
    known = variable_of(tree, variable)
    shares = [float((f > threshold).where(f.notnull()).mean()) for f in (truth, ensembles["prediction"])]
    if max(shares) == 0 or min(shares) == 1:
        raise DataError(
            f"{known.long_name} above {threshold:g} {known.units}",
            found=f"truth and members that are never {'above' if max(shares) == 0 else 'below'} it",
            expected="an event that sometimes happens",
            todo="move the threshold",
        )
    found = {s: _reliability(members, truth, threshold) for s, members in ensembles.items()}
    found["prediction"].curve.attrs["left_out"] = truth.attrs["left_out"]
    return found


def reliability_table(data: Mapping[str, Reliability]) -> pd.DataFrame:
    """One line for each source and bin: forecast and observed shares, their bounds, and the number of cells."""
    return table_by_source({source: one.curve for source, one in data.items()})


def _sums(p: np.ndarray, o: np.ndarray, *, bins: int, cell_axes: int) -> np.ndarray:
    """p, o (..., cells along the last `cell_axes`) -> (..., 5 sums, bins)."""
    p, o = np.broadcast_arrays(np.asarray(p, np.float64), np.asarray(o, np.float64))
    lead = p.shape[: p.ndim - cell_axes]
    p, o = (a.reshape(int(np.prod(lead)), -1) for a in (p, o))
    known = np.isfinite(p) & np.isfinite(o)
    p, o = np.where(known, p, 0.0), np.where(known, o, 0.0)
    # A share of 3/10 may be a rounding error below its bin's edge.
    index = np.clip(np.floor(p * bins + 1e-9).astype(np.int64), 0, bins - 1)
    index += np.arange(len(p))[:, None] * bins
    weights = (known.astype(np.float64), p, o, p * p, p * o)
    sums = [np.bincount(index.ravel(), w.ravel(), minlength=len(p) * bins).reshape(len(p), bins) for w in weights]
    return np.stack(sums, axis=1).reshape(*lead, len(SUMS), bins)


def _from_above(counts: xr.DataArray) -> xr.DataArray:
    """Share of the counts in the last 0, 1, 2 ... bins."""
    total = counts.sum("bin")
    upwards = counts.isel(bin=slice(None, None, -1)).cumsum("bin").pad(bin=(1, 0), constant_values=0.0)
    return upwards / total.where(total > 0)


def _reliability(members: xr.DataArray, truth: xr.DataArray, threshold: float) -> Reliability:
    n = members.sizes["ensemble"]
    bins = None if n < MOST_BINS else 10
    curve = reliability_diagram(members, truth, threshold, bins=bins)
    table = ensemble_table(members, truth, threshold, bins=bins).compute()
    scores = _event_scores(table.sum("time"), n).expand_dims(bound=["estimate"])
    drawn = _event_scores(resampled_tables(table), n)
    bounds = drawn.map(lambda score: interval(score, positive=score.name in POSITIVE))
    scores = xr.concat([scores, bounds], "bound").sel(bound=["low", "estimate", "high"])
    return Reliability(curve, roc(table.sum("time")), scores)


def _event_scores(table: xr.Dataset, members: int) -> xr.Dataset:
    found = brier(table, members=members).assign(roc_area=roc_area(roc(table)))
    total = table.sum("bin")
    return found.assign(base_rate=total.o / total["count"])[[*PARTS, "base_rate"]]
