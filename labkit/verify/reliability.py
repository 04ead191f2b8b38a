"""An output tree's probabilities of one event by source: reliability diagram, ROC, Brier score, and their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import xarray as xr

from labkit.errors import DataError
from labkit.verify.bootstrap import interval
from labkit.verify.probability import brier, ensemble_table, reliability_diagram, resampled_tables, roc, roc_area
from labkit.verify.selection import judged, table_by_source, variable_of

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


def _reliability(members: xr.DataArray, truth: xr.DataArray, threshold: float) -> Reliability:
    n = members.sizes["ensemble"]
    bins = None if n < MOST_BINS else 10
    curve = reliability_diagram(members, truth, threshold, bins=bins)
    table = ensemble_table(members, truth, threshold, bins=bins).compute()
    scores = _scores(table.sum("time"), n).expand_dims(bound=["estimate"])
    drawn = _scores(resampled_tables(table), n)
    bounds = drawn.map(lambda score: interval(score, positive=score.name in POSITIVE))
    scores = xr.concat([scores, bounds], "bound").sel(bound=["low", "estimate", "high"])
    return Reliability(curve, roc(table.sum("time")), scores)


def _scores(table: xr.Dataset, members: int) -> xr.Dataset:
    found = brier(table, members=members).assign(roc_area=roc_area(roc(table)))
    total = table.sum("bin")
    return found.assign(base_rate=total.o / total["count"])[[*PARTS, "base_rate"]]
