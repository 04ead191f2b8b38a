"""Paired comparisons: their size, their power, that both are of one truth; maps and intervals; false discoveries."""

import dask
import numpy as np
import pytest
import xarray as xr
from test_scores import gaussian, tree_of

from labkit.errors import DataError
from labkit.verify.compare import compare_trees, comparison_table, false_discovery, paired_scores, score_interval
from labkit.verify.score_maps import score_maps
from labkit.verify.scores import cell_statistics, cell_sums, score


def sums(members, truth):
    return cell_sums(cell_statistics(members, truth))


def run(seed, *, spread=1.0, offset=0.0, shape=(40, 8, 8), n=5):
    """Members of their own and the truth that all runs share."""
    return gaussian(n, shape, seed=seed, spread=spread, offset=offset)[0], gaussian(n, shape, seed=99)[1]


def test_two_runs_of_one_law_differ_as_often_as_chance_has_it():
    p = [paired_scores(sums(*run(2 * k)), sums(*run(2 * k + 1))).p for k in range(100)]
    share = (xr.concat(p, "case") < 0.1).mean("case")
    # A binomial of 100 at less than 0.1: with 40 times the interval is a little wide.
    assert ((share >= 0.01) & (share <= 0.17)).all()


def test_the_better_run_is_found_and_the_sign_says_which():
    good, poor = sums(*run(1)), sums(*run(2, spread=0.3, offset=1.0))
    found = paired_scores(good, poor)
    assert set(found.score.values) == {"crps", "rmse", "mae", "bias", "spread_skill"}
    below = found.sel(score=["crps", "rmse", "mae", "bias"])
    assert (below.difference < 0).all() and (below.high < 0).all() and (found.p < 0.01).all()
    assert float(found.low.sel(score="spread_skill")) > 0
    swapped = paired_scores(poor, good)
    np.testing.assert_allclose(swapped.difference, -found.difference)
    np.testing.assert_allclose([swapped.low, swapped.high], [-found.high, -found.low])
    direct = score(*run(2, spread=0.3, offset=1.0))
    for name in found.score.values:
        assert float(found.second.sel(score=name)) == pytest.approx(float(direct[name]))


def test_a_run_beside_itself_differs_by_nothing():
    found = paired_scores(sums(*run(1)), sums(*run(1)))
    assert (found.difference == 0).all() and (found.p == 1).all()


def test_trees_are_compared_over_the_times_that_both_have():
    first, truth = run(1)
    second = run(2, spread=0.3)[0]
    comparison = compare_trees(tree_of(first[:, :30], truth[:30]), tree_of(second[:, 5:], truth[5:]))
    assert comparison.attrs["times"] == 25
    expected = score(first[:, 5:30], truth[5:30])
    assert float(comparison["first"].sel(variable="u10", score="crps")) == pytest.approx(float(expected.crps))
    table = comparison_table(comparison)
    assert len(table) == 5 and list(table[table.score == "spread_skill"].units) == ["1"]
    assert (table.p_adjusted >= table.p).all()
    lazy = compare_trees(
        tree_of(first[:, :30].chunk(time=7, x=3), truth[:30].chunk(time=4)),
        tree_of(second[:, 5:].chunk(ensemble=2), truth[5:].chunk(y=3)),
    )
    xr.testing.assert_allclose(lazy, comparison)


def test_runs_of_other_cases_are_refused():
    members, truth = run(1)
    tree = tree_of(members, truth)
    with pytest.raises(DataError, match="0 times in both"):
        compare_trees(tree, tree_of(*(a.assign_coords(time=a.time + 100) for a in (members, truth))))
    with pytest.raises(DataError, match="truths of u10 that differ"):
        compare_trees(tree, tree_of(members, truth + 0.1))
    with pytest.raises(DataError, match="truths of u10 that differ"):
        compare_trees(tree, tree_of(*(a.isel(y=slice(4)) for a in (members, truth))))
    with pytest.raises(DataError, match="a group 'oracle'"):
        compare_trees(tree, tree, source="oracle")
    with pytest.raises(DataError, match="different cells"):
        paired_scores(sums(members, truth), sums(members, truth.where(truth < 1)))


def test_cells_that_one_run_lacks_are_left_out_of_both():
    first, truth = run(1)
    second = run(2)[0]
    hidden = xr.zeros_like(truth, dtype=bool)
    hidden[:, :3] = True
    found = compare_trees(tree_of(first.where(~hidden), truth), tree_of(second, truth))
    cut = compare_trees(*(tree_of(m.isel(y=slice(3, None)), truth.isel(y=slice(3, None))) for m in (first, second)))
    xr.testing.assert_allclose(found, cut)


def test_maps_have_the_bias_of_each_cell_within_its_interval():
    members, truth = gaussian(4, (60, 12, 12))
    slope = xr.DataArray(np.linspace(-1, 1, 12), dims="x")
    eager = score_maps(members + slope, truth)
    assert list(eager.bound.values) == ["low", "estimate", "high"]
    inside = (eager.bias.sel(bound="low") < slope) & (slope < eager.bias.sel(bound="high"))
    assert 0.88 < float(inside.mean()) < 0.99
    np.testing.assert_allclose(eager.crps.sel(bound="estimate").mean(), score(members + slope, truth).crps)
    lazy = score_maps((members + slope).chunk(time=9, y=5), truth.chunk(time=20, x=4))
    assert dask.is_dask_collection(lazy.crps)
    xr.testing.assert_allclose(lazy.compute(), eager)


def test_intervals_are_of_pooled_cells_not_of_mean_scores():
    members, truth = gaussian(3, (30, 6, 6))
    members = members * xr.DataArray(np.linspace(0.2, 4, 30), dims="time")
    found = score_interval(sums(members, truth))
    for name in ("rmse", "crps", "spread_skill"):
        low, estimate, high = found[name].values
        assert estimate == pytest.approx(float(score(members, truth)[name])) and low < estimate < high


def test_false_discoveries_by_hand_and_their_share():
    p = xr.DataArray([0.01, 0.04, np.nan, 0.03, 0.5], dims="x")
    np.testing.assert_allclose(false_discovery(p), [0.04, 0.04 * 4 / 3, np.nan, 0.04 * 4 / 3, 0.5])
    rng = np.random.default_rng(0)
    null = xr.DataArray(rng.random((400, 50)), dims=("case", "x"))
    found = [bool((false_discovery(row) < 0.1).any()) for row in null]
    assert 0.05 < np.mean(found) < 0.15
