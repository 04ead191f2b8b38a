"""Where is a forecast good? Maps of bias and CRPS over the times, and where they are more than chance."""

from __future__ import annotations

from collections.abc import Sequence

import dask
import numpy as np
import pandas as pd
import xarray as xr

from labkit.verify.bootstrap import paired_difference
from labkit.verify.compare import score_interval
from labkit.verify.scores import cell_statistics, cell_sums
from labkit.verify.selection import judged

REFERENCES = ("oracle", "regression", "interpolation")
BLOCK_VALUES = 2_000_000  # cells with each time left out by turns, held at once


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


def score_maps_data(tree: xr.DataTree, variable: str, *, times: Sequence[int] | None = None) -> xr.Dataset:
    """Maps (y, x) in the variable's unit: `bias`, `crps`, and `excess`, the CRPS less that of the attribute
    `reference`, the first of REFERENCES that the tree has (a single field's is its absolute error).

    `bias_sure`, `excess_sure`: whether their 95 % interval excludes zero. Attributes: `untold`, the share of cells
    where the times are too few or too alike for an interval of the bias; `oracle_sure`, the share in which the
    oracle's excludes zero, by chance; NaN without an oracle or any interval. Reads what `judged` does of these sources,
    and keeps a few numbers a cell and time of each.
    """
    truth, fields = judged(tree, variable, ("prediction", *REFERENCES), times=times)
    reference = next((name for name in REFERENCES if name in fields), "")
    rows = int(np.clip(BLOCK_VALUES // (truth.sizes["time"] * truth.sizes["x"]), 1, truth.sizes["y"]))
    (cells,) = dask.compute({source: cell_statistics(field, truth) for source, field in fields.items()})
    cells = {source: statistics.chunk(y=rows) for source, statistics in cells.items()}
    own = _bias(cells["prediction"])
    bias, bias_sure = own.bias.sel(bound="estimate", drop=True), _excludes_zero(own.bias)
    untold = float(own.bias.isnull().any("bound").where(bias.notnull()).mean())
    found = xr.Dataset({"bias": bias, "bias_sure": bias_sure, "crps": own.crps.sel(bound="estimate", drop=True)})
    chance = np.nan
    if reference:
        found = found.assign(_excess(cells["prediction"].crps, cells[reference].crps))
    if "oracle" in fields:
        oracle = _bias(cells["oracle"]).bias
        chance = float(_excludes_zero(oracle).where(oracle.notnull().all("bound")).mean())
    said = {"untold": untold, "times": truth.sizes["time"], "left_out": truth.attrs["left_out"]}
    return found.assign_attrs(reference=reference, oracle_sure=chance, **said)


def score_maps_table(data: xr.Dataset) -> pd.DataFrame:
    """One line for each cell."""
    return data.to_dataframe().reset_index()


def _bias(cells: xr.Dataset) -> xr.Dataset:
    """Bias and CRPS by cell with bounds."""
    return score_interval(cell_sums(cells, over=()))[["bias", "crps"]].compute()


def _excess(own: xr.DataArray, other: xr.DataArray) -> xr.Dataset:
    paired = paired_difference(own, other).compute()
    return xr.Dataset({"excess": paired.difference, "excess_sure": (paired.low > 0) | (paired.high < 0)})


def _excludes_zero(bounds: xr.DataArray) -> xr.DataArray:
    return (bounds.sel(bound="low", drop=True) > 0) | (bounds.sel(bound="high", drop=True) < 0)
