"""What was not observed counts nowhere: a mask belongs to the pairs, whatever the source has beneath it."""

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr
from tiny_corrdiff import untrained

from labkit.data.batches import Batches, load
from labkit.data.field_tree import tree_of
from labkit.data.pairs import Pairs
from labkit.data.statistics import compute_statistics
from labkit.errors import DataError
from labkit.recipes import sample
from labkit.recipes.regression import regression_loss
from labkit.store.trees import open_tree
from labkit.verify.scales import correlation_data
from labkit.verify.scores import score, score_tree

SHAPE = (6, 2, 16, 24)
HIDDEN = np.random.default_rng(7).random((6, 16, 24)) < 0.3


def make(fill, *, chunk=None, mask_chunk=None, hidden=HIDDEN):
    """Pairs whose target holds `fill` where it was not observed, and the mask that says so."""
    rng = np.random.default_rng(0)
    target = rng.standard_normal(SHAPE).astype("f4") + np.array([280.0, 5.0], "f4")[:, None, None]
    coords = {"channel": ["t2m", "u10"], "time": np.datetime64("2020-01-01", "ns") + np.arange(6) * 3600 * 10**9}
    coords |= {"y": np.arange(16) * 4.0, "x": np.arange(24) * 4.0}
    filled = np.where(hidden[:, None], fill, target).astype("f4")
    filled = da.from_array(filled, chunks=(chunk, -1, -1, -1)) if chunk else filled
    seen = da.from_array(~hidden, chunks=(mask_chunk, 5, 7)) if mask_chunk else ~hidden
    fine = xr.DataArray(filled, coords, ("time", "channel", "y", "x"))
    coarse = xr.DataArray(target, coords, fine.dims).coarsen(y=4, x=4).mean().rename(y="y_in", x="x_in")
    static = xr.DataArray(np.ones((1, 16, 24), "f4"), {"channel": ["orography"]}, ("channel", "y", "x"))
    return Pairs(coarse, fine, static, mask=xr.DataArray(seen, dims=("time", "y", "x")))


FILLS = pytest.mark.parametrize("fill", [-99.0, np.nan, np.inf, 9.96921e36])


@FILLS
@pytest.mark.parametrize(("chunk", "mask_chunk"), [(None, None), (4, None), (4, 3), (None, 3)])
def test_the_target_is_missing_outside_the_mask_and_as_it_was_inside(fill, chunk, mask_chunk):
    pairs, truth = make(fill, chunk=chunk, mask_chunk=mask_chunk), make(0.0, hidden=HIDDEN & False).target.values
    np.testing.assert_array_equal(pairs.target.values, np.where(HIDDEN[:, None], np.nan, truth))
    assert pairs.target.dtype == np.float32
    if chunk:
        assert pairs.target.chunksizes["time"] == (4, 2) and pairs.target.chunksizes["y"] == (16,)
    again = replace(pairs.isel([4, 1]).select(target=["u10"]), attrs={"source": "again"})
    np.testing.assert_array_equal(again.target.values[:, 0], pairs.target.values[[4, 1], 1])


@FILLS
def test_a_forecast_that_is_right_where_it_was_observed_has_no_error(fill):
    pairs = make(fill)
    right = xr.where(pairs.mask, pairs.target, 1e6).transpose(*pairs.target.dims)
    for channel in range(2):
        scores = score(right[:, channel], pairs.target[:, channel])
        assert float(scores.rmse) == 0 and float(scores.crps) == 0 and int(scores["count"]) == (~HIDDEN).sum()


@FILLS
def test_statistics_batches_and_losses_do_not_see_what_is_hidden(fill):
    pairs, other = make(fill, chunk=2), make(-5.0, chunk=2)
    assert compute_statistics(pairs).to_dict() == compute_statistics(other).to_dict()
    values = pairs.target.values[:, 0]
    assert compute_statistics(pairs).target["t2m"].mean == pytest.approx(float(values[~HIDDEN].astype(float).mean()))
    batch = load(pairs, range(6), compute_statistics(pairs))
    assert torch.equal(batch.target, load(other, range(6), compute_statistics(other)).target)
    assert (batch.target[~batch.mask.expand_as(batch.target)] == 0).all() and batch.target.isfinite().all()
    with Batches(pairs, compute_statistics(pairs), batch_size=6, seed=0, crop=(8, 8)) as batches:
        assert next(batches).target.isfinite().all()


@FILLS
def test_scales_of_a_data_set_do_not_see_what_is_hidden(fill):
    found, expected = (correlation_data(tree_of(make(f)), "t2m", draws=20) for f in (fill, np.nan))
    for source in expected.rho:
        np.testing.assert_array_equal(found.rho[source], expected.rho[source])
    assert np.isfinite(expected.rho["truth"]).all()


def test_loss_and_tree_of_a_model_do_not_see_what_is_hidden(tmp_path, rng):
    model = untrained()
    pairs = model.pairs("test")
    hidden = xr.DataArray(rng.random((len(pairs), *pairs.shape)) < 0.4, dims=("time", "y", "x"))
    losses, scores = [], []
    for fill in (-99.0, 1e9):
        spoiled = pairs.target.where(~hidden, fill).astype("f4")
        masked = replace(pairs, target=spoiled, mask=~hidden)
        batch = load(masked, [0, 1], model.statistics)
        losses.append(float(regression_loss(model.regression, batch, torch.Generator())))
        path = sample(model, masked, tmp_path / f"{fill}.nc", times=[0, 1], seeds=[1, 2], num_steps=2)
        with open_tree(path) as tree:
            scores.append(score_tree(tree).load())
            assert bool((tree["truth"].t2m.isnull() == hidden[:2].values).all())
    assert losses[0] == losses[1]
    xr.testing.assert_identical(scores[0], scores[1])
    assert int(scores[0]["count"][0, 0]) == int((~hidden[:2]).sum())


def test_a_mask_of_numbers_or_of_other_cells_is_refused():
    pairs = make(0.0)
    with pytest.raises(DataError, match="values of type float64"):
        replace(pairs, mask=pairs.mask.astype(float))
    turned = pairs.mask.assign_coords(y=pairs.target.y[::-1].values)
    with pytest.raises(DataError, match="other y than those of the target"):
        replace(pairs, mask=turned)
    with pytest.raises(DataError, match="other time than"):
        replace(pairs, mask=pairs.mask.assign_coords(time=pairs.target.time.values + np.timedelta64(1, "h")))
