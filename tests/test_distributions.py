"""Histograms, quantiles and tails against closed forms; the PIT is uniform however many members and ties there are."""

import dask
import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm
from test_scores import gaussian

from labkit.errors import DataError
from labkit.verify.distributions import (
    common_edges,
    density,
    exceedance_tails,
    histogram,
    pit,
    pit_histogram,
    pit_moments,
    quantile_tails,
    quantiles,
)


def test_histogram_counts_what_numpy_counts_and_leaves_nan_out():
    _, truth = gaussian(2, (3, 20, 20))
    truth[0, :4] = np.nan
    edges = [-1.0, 0.0, 0.5, 2.0]
    found = histogram(truth, edges)
    for k in range(3):
        values = truth[k].values.ravel()
        np.testing.assert_array_equal(found[k], np.histogram(values[np.isfinite(values)], edges)[0])
    assert float((density(found) * (found.right - found.left)).sum("bin")[1]) == pytest.approx(1)


def test_quantiles_are_those_of_the_law_and_of_numpy():
    _, truth = gaussian(2, (10, 100, 100))
    counts = histogram(truth, common_edges(truth)).sum("time")
    levels = [0.0, 0.01, 0.5, 0.9, 0.999, 1.0]
    found, width = quantiles(counts, levels), float(counts.right[0] - counts.left[0])
    np.testing.assert_allclose(found, np.quantile(truth, levels), atol=2 * width)
    np.testing.assert_allclose(found[1:4], norm.ppf(levels[1:4]), atol=0.03)
    assert quantiles(counts * 0, levels).isnull().all()


def test_quantiles_of_counts_by_hand():
    counts = xr.DataArray(
        [0, 2, 0, 2, 0], dims="bin", coords={"left": ("bin", range(5)), "right": ("bin", range(1, 6))}
    )
    np.testing.assert_allclose(quantiles(counts, [0, 0.25, 0.75, 1]), [1, 1.5, 3.5, 4])


def test_tails_of_exchangeable_members_hold_the_truth_and_the_law():
    members, truth = gaussian(19, (80, 15, 15))
    found = quantile_tails(members, truth, levels=[0.5, 0.99, 0.9999])
    law = norm.ppf(found.level)
    assert (abs(found.pooled - law) < [0.01, 0.03, 0.2]).all()
    assert ((found.member_low < law) & (law < found.member_high)).all()
    assert (found.p > 0.05).all()
    # The standard error of a quantile, sqrt(q (1 - q) / n) / density, is what the members' interval is made of.
    error = np.sqrt(found.level * (1 - found.level) / truth.size) / norm.pdf(law)
    np.testing.assert_allclose((found.member_high - found.member_low)[:2], 3.92 * error[:2], rtol=0.45)
    assert (abs(np.log((found.high - found.low)[:2] / (3.92 * error[:2]))) < np.log(2.5)).all()
    np.testing.assert_allclose(found.beyond, truth.size * (1 - found.level))


def test_rank_and_interval_are_fair():
    """Of 9 members the interval is their range, which holds an exchangeable truth in 8 cases of 10."""
    p, inside = [], []
    for k in range(150):
        members, truth = gaussian(9, (4, 6, 6), seed=k)
        found = quantile_tails(members, truth, levels=[0.95], bins=300).isel(level=0)
        p.append(float(found.p))
        inside.append(bool((found.member_low <= found.truth) & (found.truth <= found.member_high)))
    assert 0.11 < np.mean(np.array(p) <= 0.2) < 0.29 and min(p) == pytest.approx(2 / 10)
    assert 0.70 < np.mean(inside) < 0.89


def test_members_without_extremes_are_found_out():
    members, truth = gaussian(39, (20, 30, 30), spread=0.8)
    found = quantile_tails(members, truth, levels=[0.5, 0.999])
    assert float(found.p[1]) == pytest.approx(2 / 40) and float(found.truth[1]) > float(found.member_high[1])
    assert float(found.p[0]) > 0.05


def test_cells_that_truth_or_a_member_lacks_are_left_out():
    members, truth = gaussian(5, (8, 20, 10))
    rest = {"y": slice(8, None)}
    spoiled = members.copy()
    spoiled[2, :, :8] = np.nan
    for work, options in ((quantile_tails, {}), (exceedance_tails, {"thresholds": [0.0, 1.0]})):
        cut = work(members.isel(rest), truth.isel(rest), **options)
        gap = truth.where(truth.y >= 8)
        xr.testing.assert_allclose(work(spoiled, truth, **options), cut)
        xr.testing.assert_allclose(work(members, gap, **options), cut)


def test_exceedance_by_threshold_is_the_laws():
    members, truth = gaussian(9, (20, 40, 40))
    truth[:, :10] = np.nan
    found = exceedance_tails(members, truth, thresholds=[0.0, 1.0, 2.0])
    law = norm.sf([0.0, 1.0, 2.0])
    np.testing.assert_allclose(found.pooled, law, rtol=0.02)
    assert ((found.low < law) & (law < found.high)).sum() >= 2
    direct = [float((truth > t).sum() / truth.notnull().sum()) for t in (0.0, 1.0, 2.0)]
    np.testing.assert_allclose(found.truth, direct)
    np.testing.assert_allclose(found.beyond, [float((truth > t).sum()) for t in (0.0, 1.0, 2.0)])


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("ties", [False, True])
def test_pit_is_uniform_for_exchangeable_members(n, ties):
    members, truth = gaussian(n, (8, 60, 60))
    if ties:
        members, truth = members.clip(0.8), truth.clip(0.8)
    counts = pit_histogram(members, truth, seed=1, bins=10)
    assert int(counts.sum()) == truth.size
    # 9 degrees of freedom: 99.9 % of independent samples lie below 27.9.
    assert float(((counts - truth.size / 10) ** 2 / (truth.size / 10)).sum()) < 27.9
    moments = pit_moments(pit(members, truth, seed=1))
    assert float(moments["mean"]) == pytest.approx(0.5, abs=0.01)
    assert float(moments.dispersion) == pytest.approx(1, abs=0.03)


def test_pit_shows_bias_and_spread():
    values = {
        name: pit_moments(pit(*gaussian(9, **o), seed=0))
        for name, o in (("low", {"offset": -1.0}), ("narrow", {"spread": 0.4}), ("wide", {"spread": 2.5}))
    }
    assert float(values["low"]["mean"]) > 0.6
    assert float(values["narrow"].dispersion) > 1.3 and float(values["wide"].dispersion) < 0.7


def test_the_draw_in_the_cell_is_not_the_draw_among_ties():
    members, truth = gaussian(1, (4, 50, 50))
    values = pit(members * 0, truth * 0, seed=0)
    assert np.corrcoef(np.floor(values.values.ravel() * 2), values.values.ravel() * 2 % 1)[0, 1] < 0.05


def test_chunked_equals_eager():
    members, truth = gaussian(4, (6, 12, 10))
    truth = truth.where(truth < 1.8)
    lazy = members.chunk(ensemble=2, time=4, y=5), truth.chunk(time=3, x=4)
    found = pit(*lazy, seed=3)
    assert dask.is_dask_collection(found)
    xr.testing.assert_equal(found.compute(), pit(members, truth, seed=3))
    counts = histogram(lazy[1], [-3, 0, 3])
    assert dask.is_dask_collection(counts)
    xr.testing.assert_equal(counts.compute(), histogram(truth, [-3, 0, 3]))
    xr.testing.assert_allclose(quantiles(counts, [0.5]).compute(), quantiles(counts.compute(), [0.5]))
    for work, options in ((quantile_tails, {}), (exceedance_tails, {"thresholds": [0.0, 1.0]})):
        xr.testing.assert_allclose(work(*lazy, **options), work(members, truth, **options))


def test_mistakes_are_refused():
    members, truth = gaussian(3, (2, 4, 4))
    with pytest.raises(DataError, match="do not rise"):
        histogram(truth, [0, 0, 1])
    with pytest.raises(DataError, match="levels"):
        quantiles(histogram(truth, [0, 1]), [90])
    with pytest.raises(DataError, match="unlike coordinates"):
        quantile_tails(members, truth.isel(x=slice(None, None, -1)))
