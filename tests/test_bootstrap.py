"""Intervals hold what they promise: counts, coverage with independent and with dependent hours, paired differences."""

import numpy as np
import pytest
import xarray as xr
from scipy.signal import lfilter

from labkit.errors import DataError
from labkit.verify.bootstrap import block_counts, interval, length_interval, paired_difference, resampled_means


def series(values, dim="time"):
    return xr.DataArray(np.asarray(values, float), dims=(*("case" for _ in range(np.ndim(values) - 1)), dim))


def ar1(rng, phi, shape):
    """Stationary AR(1) of unit variance, last axis the time."""
    noise = rng.standard_normal((*shape[:-1], shape[-1] + 200)) * np.sqrt(1 - phi**2)
    return lfilter([1], [1, -phi], noise)[..., 200:]


@pytest.mark.parametrize(("n", "block"), [(1, None), (7, 1), (24, 5), (24, 24), (100, None)])
def test_every_draw_holds_as_many_times_as_there_are_and_all_equally_often(n, block):
    counts = block_counts(n, block=block, draws=4000, seed=1)
    assert (counts.sum(1) == n).all()
    np.testing.assert_allclose(counts.mean(0), 1, atol=6 * np.sqrt((block or 5) / 4000))


def test_blocks_are_neighbours():
    counts = block_counts(12, block=4, draws=200, seed=2)
    assert set(np.unique(counts[:, :1] + 0)) <= {0, 1, 2, 3}
    runs = [np.flatnonzero(np.diff(np.r_[row[-1], row]) != 0).size for row in counts]
    assert max(runs) <= 6  # three blocks begin and end: never twelve separate hours


def test_resampled_means_are_means_and_leave_nan_out():
    values = series([[1, 2, 3, np.nan], [5, 5, 5, 5]])
    drawn = resampled_means(values, block=1, draws=300, seed=3)
    counts = block_counts(4, block=1, draws=300, seed=3)
    expected = (counts[:, :3] @ [1, 2, 3])[counts[:, :3].sum(1) > 0] / counts[:, :3].sum(1)[counts[:, :3].sum(1) > 0]
    np.testing.assert_allclose(drawn[{"case": 0}].dropna("draw"), expected)
    np.testing.assert_allclose(drawn[{"case": 1}], 5)


def test_chunks_change_nothing(rng):
    values = series(rng.standard_normal((3, 20)))
    eager = interval(resampled_means(values, seed=4))
    lazy = interval(resampled_means(values.chunk(time=6, case=1), seed=4))
    assert lazy.chunks is not None
    np.testing.assert_allclose(lazy, eager)


@pytest.mark.parametrize(("phi", "block", "least"), [(0.0, 1, 0.90), (0.7, 12, 0.80)])
def test_the_interval_covers_the_mean_as_often_as_it_says(rng, phi, block, least):
    """At 95 %; a bootstrap of a finite record always covers a little less."""
    values = series(ar1(rng, phi, (400, 120)))
    bounds = interval(resampled_means(values, block=block, draws=400, seed=5))
    covered = ((bounds.sel(bound="low") < 0) & (bounds.sel(bound="high") > 0)).mean()
    assert least < covered < 0.98


def test_single_hours_would_be_too_sure_of_dependent_ones(rng):
    values = series(ar1(rng, 0.7, (400, 120)))
    bounds = interval(resampled_means(values, block=1, draws=400, seed=6))
    assert ((bounds.sel(bound="low") < 0) & (bounds.sel(bound="high") > 0)).mean() < 0.7


def test_no_difference_is_significant_as_often_as_chance_has_it(rng):
    a, b = (series(rng.standard_normal((500, 60))) for _ in range(2))
    p = paired_difference(a, b, block=1, draws=400, seed=7).p
    assert 0.02 < (p < 0.05).mean() < 0.10


def test_pairing_finds_a_difference_that_is_small_beside_the_weather(rng):
    weather = rng.standard_normal(80) * 10
    a, b = series(weather + 0.1 * rng.standard_normal(80) + 0.2), series(weather)
    found = paired_difference(a, b, seed=8)
    assert found.p < 0.01 and found.low < found.difference < found.high and found.low > 0
    np.testing.assert_allclose(found.difference, 0.2, atol=0.05)
    swapped = paired_difference(b, a, seed=8)
    np.testing.assert_allclose(swapped.difference, -found.difference)
    np.testing.assert_allclose([swapped.low, swapped.high], [-found.high, -found.low])


def test_unlike_times_and_long_blocks_are_refused():
    a = series(np.arange(5)).assign_coords(time=np.arange(5))
    with pytest.raises(DataError, match="5 and 4 times"):
        paired_difference(a, a[1:], seed=0)
    with pytest.raises(DataError, match="bootstrap block: found 6 of 5"):
        block_counts(5, block=6, seed=0)


def test_an_interval_beyond_all_draws_is_not_known():
    draws = xr.DataArray([1.0, 2, 3, np.nan, np.nan, 4, 5, 6, 7, 8], dims="draw")
    low, high = length_interval(draws, level=0.8)
    assert low == 2 and np.isnan(high)
