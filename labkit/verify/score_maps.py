"""Where is a forecast good? Maps of bias and CRPS over the times, and where they are more than chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from labkit.verify.bootstrap import paired_difference
from labkit.verify.compare import score_interval
from labkit.verify.scores import cell_statistics, cell_sums, crps
from labkit.verify.selection import judged

REFERENCES = ("oracle", "regression", "interpolation")
BLOCK_VALUES = 2_000_000  # cells with each time left out by turns, held at once


def score_maps_data(tree: xr.DataTree, variable: str, *, times: Sequence[int] | None = None) -> xr.Dataset:
    """Maps (y, x) in the variable's unit: `bias`, `crps`, and `excess`, the CRPS less that of the attribute
    `reference`, the first of REFERENCES that the tree has (a single field's is its absolute error).

    `bias_sure`, `excess_sure`: whether their 95 % interval excludes zero. Attributes: `untold`, the share of cells
    where the times are too few or too alike for an interval of the bias; `oracle_sure`, the share in which the
    oracle's excludes zero, by chance; NaN without an oracle or any interval.
    """
    truth, fields = judged(tree, variable, ("prediction", *REFERENCES), times=times)
    reference = next((name for name in REFERENCES if name in fields), "")
    own = _bias(fields["prediction"], truth)
    bias, bias_sure = own.bias.sel(bound="estimate", drop=True), _excludes_zero(own.bias)
    untold = float(own.bias.isnull().any("bound").where(bias.notnull()).mean())
    found = xr.Dataset({"bias": bias, "bias_sure": bias_sure, "crps": own.crps.sel(bound="estimate", drop=True)})
    chance = np.nan
    if reference:
        found = found.merge(_excess(fields["prediction"], fields[reference], truth))
    if "oracle" in fields:
        oracle = _bias(fields["oracle"], truth).bias
        chance = float(_excludes_zero(oracle).where(oracle.notnull().all("bound")).mean())
    said = {"untold": untold, "times": truth.sizes["time"], "left_out": truth.attrs["left_out"]}
    return found.assign_attrs(reference=reference, oracle_sure=chance, **said)


def score_maps_table(data: xr.Dataset) -> pd.DataFrame:
    """One line for each cell."""
    return data.to_dataframe().reset_index()


def _bias(forecast: xr.DataArray, truth: xr.DataArray) -> xr.Dataset:
    """Bias and CRPS by cell with bounds, a few rows of cells at a time."""
    rows = _rows(truth)
    maps = score_maps(forecast.chunk(y=rows), truth.chunk(y=rows))
    return maps[["bias", "crps"]].compute()


def _excess(prediction, reference, truth) -> xr.Dataset:
    rows = _rows(truth)
    own, other = (_crps(field, truth).chunk(y=rows) for field in (prediction, reference))
    paired = paired_difference(own, other).compute()
    sure = (paired.low > 0) | (paired.high < 0)
    return xr.Dataset({"excess": paired.difference, "excess_sure": sure})


def _crps(field: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    return crps(field if "ensemble" in field.dims else field.expand_dims("ensemble"), truth)


def _excludes_zero(bounds: xr.DataArray) -> xr.DataArray:
    return (bounds.sel(bound="low", drop=True) > 0) | (bounds.sel(bound="high", drop=True) < 0)


def _rows(truth: xr.DataArray) -> int:
    return int(np.clip(BLOCK_VALUES // (truth.sizes["time"] * truth.sizes["x"]), 1, truth.sizes["y"]))


def score_maps(
    forecast: xr.DataArray,
    truth: xr.DataArray,
    *,
    level: float = 0.95,
    estimator: str = "fair",
) -> xr.Dataset:
    """Maps of scores, such as `bias` and `crps`, over the times, (bound, y, x), with intervals as `score_interval`.

    Lazy where the input is: give it chunks of rows (y), since all times of a cell are held at once.
    """
    cells = cell_statistics(forecast, truth, estimator=estimator)
    if cells.error.chunks is not None:
        cells = cells.chunk(time=-1)
    return score_interval(cell_sums(cells, over=()), level=level)
