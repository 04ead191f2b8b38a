"""Intervals hold what they promise: coverage of dependent hours, of curved figures, with gaps; p-values; refusals."""

import numpy as np
import pytest
import xarray as xr
from scipy.signal import lfilter
from scipy.stats import ttest_1samp

from labkit.errors import DataError
from labkit.verify.bootstrap import chance, interval, length_interval, paired_difference, resampled_means


def series(values, time=None):
    values = np.asarray(values, float)
    coords = {} if time is None else {"time": time}
    return xr.DataArray(values, coords, (*("case" for _ in range(values.ndim - 1)), "time"))


def ar1(rng, phi, shape):
    """Stationary AR(1) of unit variance, last axis the time."""
    noise = rng.standard_normal((*shape[:-1], shape[-1] + 200)) * np.sqrt(1 - phi**2)
    return lfilter([1], [1, -phi], noise)[..., 200:]


def of_gaps(rng, phi, hours, cases):
    """AR(1) of unit variance at the hours given."""
    covariance = phi ** abs(np.subtract.outer(hours, hours))
    return rng.standard_normal((cases, len(hours))) @ np.linalg.cholesky(covariance).T


def coverage(bounds, value):
    """Share of intervals told that hold the value, and share of those not told."""
    told = bounds.notnull().all("bound")
    held = (bounds.sel(bound="low") <= value) & (value <= bounds.sel(bound="high"))
    return float(held.where(told).mean()), 1 - float(told.mean())


def test_means_are_weighted_means_that_leave_nan_out():
    values = series([[1, 2, 3, np.nan], [5, 5, 5, 5]])
    means = resampled_means(values)
    more = 1 + 4**0.5 / 3
    np.testing.assert_allclose(means.draw, [-1, 0, 1, 2, 3])
    expected = [np.average([1, 2, 3], weights=w) for w in ([1, 1, 1], [more, 1, 1], [1, more, 1], [1, 1, more])]
    np.testing.assert_allclose(means[{"case": 0}], [*expected, 2])
    np.testing.assert_allclose(means[{"case": 1}], 5)


def test_long_records_are_taken_by_neighbours(rng):
    values = series(rng.standard_normal((2, 1000)))
    means = resampled_means(values, draws=50)
    assert means.sizes["draw"] == 51
    np.testing.assert_allclose(means[{"draw": 0}], values.mean("time"))
    shuffled = values.assign_coords(time=np.arange(1000))[:, rng.permutation(1000)]
    np.testing.assert_allclose(interval(resampled_means(shuffled)), interval(resampled_means(values)))


@pytest.mark.parametrize("n", [16, 32, 96, 365])
@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8, 0.95])
def test_the_interval_covers_the_mean_as_often_as_it_says(rng, n, phi):
    """At 95 %, with blocks of n^(1/3) it was 0.27 to 0.94. Chance is 0.008 of 800 records."""
    covered, untold = coverage(interval(resampled_means(series(ar1(rng, phi, (800, n))))), 0.0)
    assert 0.915 < covered < 0.997
    assert untold < (0.02 if phi < 0.8 or n > 32 else 0.3)


def test_independent_times_cost_little_beside_a_plain_t_interval(rng):
    values = ar1(rng, 0.0, (400, 96))
    low, high = interval(resampled_means(series(values)))
    plain = ttest_1samp(values, 0, axis=1).confidence_interval()
    assert 0.98 < float(np.median((high - low) / (plain.high - plain.low))) < 1.3


def test_days_far_apart_are_worth_more_than_hours_in_a_row(rng):
    hours = np.concatenate([np.arange(8) + 240 * day for day in range(4)])
    apart = series(of_gaps(rng, 0.8, hours, 1500), hours * np.timedelta64(1, "h") + np.datetime64("2020-01-01", "ns"))
    known = interval(resampled_means(apart))
    assert 0.91 < coverage(known, 0.0)[0] < 0.98
    unknown = interval(resampled_means(apart.drop_vars("time")))
    width = [float((bounds[1] - bounds[0]).median()) for bounds in (known, unknown)]
    assert width[0] < 0.8 * width[1]


def test_cases_without_an_order_give_the_interval_of_student(rng):
    values = ar1(rng, 0.9, (5, 12))
    found = interval(resampled_means(series(values), ordered=False))
    plain = ttest_1samp(values, 0, axis=1).confidence_interval()
    np.testing.assert_allclose(found, [plain.low, plain.high], rtol=1e-3)


def test_gaps_in_the_record_count_for_nothing(rng):
    values = series(ar1(rng, 0.5, (600, 64)))
    gone = values.where(xr.DataArray(rng.random((600, 64)) < 0.7, dims=values.dims))
    covered, untold = coverage(interval(resampled_means(gone)), 0.0)
    assert 0.92 < covered < 0.995 and untold < 0.02


FIGURES = {
    "root mean square": (lambda m: m["square"] ** 0.5, 1.0, True),
    "ratio": (lambda m: m["square"] / m["other"], 1.0, True),
    "ratio, as a number that may be negative": (lambda m: m["square"] / m["other"], 1.0, False),
    "standard deviation": (lambda m: (m["square"] - m["mean"] ** 2) ** 0.5, 1.0, True),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_of_means_are_covered_too(rng, name):
    figure, value, positive = FIGURES[name]
    first, second = ar1(rng, 0.6, (2, 500, 96))
    means = {
        key: resampled_means(series(v)) for key, v in (("mean", first), ("square", first**2), ("other", second**2))
    }
    covered, untold = coverage(interval(figure(means), positive=positive), value)
    assert 0.91 < covered < 0.99 and untold < 0.02


@pytest.mark.parametrize("phi", [0.0, 0.8])
def test_no_difference_is_significant_as_often_as_chance_has_it(rng, phi):
    a, b = (series(ar1(rng, phi, (800, 32))) for _ in range(2))
    assert 0.01 < float((paired_difference(a, b).p < 0.05).mean()) < 0.07


def test_p_is_below_a_level_where_zero_lies_outside_its_interval(rng):
    means = resampled_means(series(ar1(rng, 0.5, (500, 24)) + 0.7))
    for level in (0.8, 0.95):
        bounds, p = interval(means, level=level), chance(means)
        outside = (bounds.sel(bound="low") > 0) | (bounds.sel(bound="high") < 0)
        assert 0.05 < float(outside.mean()) < 0.95
        np.testing.assert_array_equal(outside, p < 1 - level)


def test_scale_shift_and_sign_do_not_matter(rng):
    values = series(ar1(rng, 0.7, (20, 40)))
    bounds, p = interval(resampled_means(values)), chance(resampled_means(values))
    np.testing.assert_allclose(interval(resampled_means(1e6 * values + 280.0)), 1e6 * bounds + 280.0, rtol=1e-5)
    np.testing.assert_allclose(interval(resampled_means(-values))[::-1], -bounds)
    np.testing.assert_allclose(chance(resampled_means(-1e-9 * values)), p)


def test_pairing_finds_a_difference_that_is_small_beside_the_weather(rng):
    weather = rng.standard_normal(80) * 10
    a, b = series(weather + 0.1 * rng.standard_normal(80) + 0.2), series(weather)
    found = paired_difference(a, b)
    assert found.p < 0.01 and found.low < found.difference < found.high and found.low > 0
    np.testing.assert_allclose(found.difference, 0.2, atol=0.05)
    swapped = paired_difference(b, a)
    np.testing.assert_allclose(swapped.difference, -found.difference)
    np.testing.assert_allclose([swapped.low, swapped.high], [-found.high, -found.low])
    # Of ratios too: what multiplies both cancels.
    ratio = interval(resampled_means(np.exp(b) * 3) / resampled_means(np.exp(b)))
    np.testing.assert_allclose(ratio, 3)


def test_what_the_times_cannot_tell_is_not_told(rng):
    few = paired_difference(series(rng.standard_normal(3)), series(np.zeros(3)))
    assert np.isfinite(few.difference) and few.low.isnull() and few.high.isnull() and few.p.isnull()
    drift = interval(resampled_means(series(np.linspace(0, 1, 16))))
    assert drift.isnull().all(), "a drift is one case of it"
    lone = series([np.nan, np.nan, 2.0, np.nan, np.nan])
    assert interval(resampled_means(lone)).isnull().all() and chance(resampled_means(lone)).isnull()
    same = paired_difference(few.difference.expand_dims(time=8), few.difference.expand_dims(time=8))
    assert (float(same.low), float(same.high), float(same.p)) == (0, 0, 1)


def test_chunks_change_nothing(rng):
    values = series(rng.standard_normal((3, 20)))
    lazy = resampled_means(values.chunk(time=6, case=1))
    for work in (interval, chance):
        assert work(lazy).chunks is not None
        np.testing.assert_allclose(work(lazy), work(resampled_means(values)))


def test_unlike_times_and_other_draws_are_refused():
    a = series(np.arange(5), np.arange(5))
    with pytest.raises(DataError, match="5 and 4 times"):
        paired_difference(a, a[1:])
    with pytest.raises(DataError, match="resampled_means"):
        interval(xr.DataArray(np.arange(9.0), dims="draw"))


def test_a_length_that_some_draws_never_reach_has_no_upper_bound(rng):
    lengths = resampled_means(series(10 + rng.standard_normal(20)))
    low, high = length_interval(lengths)
    assert 8 < low < 10 < high < 12
    low, high = length_interval(lengths.where(lengths < lengths.quantile(0.8)))
    assert 8 < low < 10 and np.isnan(high)
    assert length_interval(lengths * np.nan).isnull().all()
