"""The FSS against closed forms: perfect, disjoint, random fields, the asymptote; masks, chunks, sums before ratios."""

import dask
import numpy as np
import pytest
import xarray as xr
from scores.spatial import fss_2d
from test_scores import gaussian

from labkit.errors import DataError
from labkit.verify.neighbourhood import fss, fss_of, fss_sums, window_fraction

DIMS = ("time", "y", "x")


def field(values):
    return xr.DataArray(np.asarray(values, float), dims=DIMS[-np.ndim(values) :])


def one(forecast, truth, window=1, threshold=0.5, **options):
    return fss(forecast, truth, thresholds=[threshold], windows=[window], **options).fss.item()


@pytest.mark.parametrize("window", [1, 2, 3, 9, 200, (3, 5)])
def test_perfect_is_one_at_any_window(window, rng):
    truth = field(rng.random((3, 20, 31)) < 0.2)
    assert one(truth, truth, window) == 1


def test_disjoint_events_are_zero_at_one_cell_and_better_farther():
    truth, forecast = np.zeros((1, 20, 20)), np.zeros((1, 20, 20))
    truth[0, 10, 8], forecast[0, 10, 10] = 1, 1
    values = fss(field(forecast), field(truth), thresholds=[0.5], windows=[1, 2, 3, 5, 9, 41]).fss[0]
    assert list(values.values[:2]) == [0, 0] and (np.diff(values.values[1:]) > 0).all()
    # Two windows of m x m that lie d apart share m - d columns: 1 - d / m (Roberts & Lean 2008).
    np.testing.assert_allclose(values[2:5], [1 - 2 / 3, 1 - 2 / 5, 1 - 2 / 9])
    assert float(values[-1]) == 1


def test_a_window_of_twice_the_domain_gives_the_asymptote(rng):
    truth, forecast = (field(rng.random((5, 12, 17)) < f) for f in (0.3, 0.1))
    found = fss(forecast, truth, thresholds=[0.5], windows=[(23, 33), 100])
    np.testing.assert_allclose(found.fss, float(found.asymptotic[0]))
    single = fss(forecast[:1], truth[:1], thresholds=[0.5], windows=[100])
    f, o = float(single.forecast_rate[0]), float(single.base_rate[0])
    assert float(single.asymptotic[0]) == pytest.approx(2 * f * o / (f**2 + o**2))
    assert float(single.useful[0]) == pytest.approx(0.5 + o / 2)


@pytest.mark.parametrize(("f", "o"), [(0.3, 0.3), (0.1, 0.4)])
def test_independent_random_fields_have_their_closed_form(f, o, rng):
    """Fractions of m cells have the variance f (1 - f) / m, and share nothing but their means."""
    truth, forecast = (field(rng.random((4, 400, 400)) < rate) for rate in (o, f))
    found = fss(forecast, truth, thresholds=[0.5], windows=[1, 3, 8]).fss[0]
    for window, value in zip((1, 3, 8), found.values, strict=True):
        variance = (f * (1 - f) + o * (1 - o)) / window**2
        assert value == pytest.approx(2 * f * o / (f**2 + o**2 + variance), abs=0.01)


def test_it_is_that_of_scores_away_from_the_edges(rng):
    truth, forecast = field(np.zeros((1, 30, 40))), field(np.zeros((1, 30, 40)))
    truth[:, 8:22, 8:32], forecast[:, 8:22, 8:32] = rng.random((14, 24)), rng.random((14, 24))
    for window in (1, 3, 7):
        known = fss_2d(
            forecast[0],
            truth[0],
            event_threshold=0.8,
            window_size=(window, window),
            spatial_dims=("y", "x"),
            zero_padding=True,
        )
        assert one(forecast, truth, window, 0.8) == pytest.approx(float(known), rel=1e-9)


def test_windows_are_means_of_what_there_is():
    values = np.arange(20.0).reshape(4, 5)
    values[1, 2] = np.nan
    found = window_fraction(values, (3, 3))
    assert found[0, 0] == pytest.approx(np.mean([0, 1, 5, 6]))
    assert found[1, 1] == pytest.approx(np.nanmean(values[:3, :3]))
    assert found[3, 2] == pytest.approx(np.mean(values[2:, 1:4]))
    np.testing.assert_allclose(window_fraction(values, 1), values)
    assert window_fraction(values, (2, 1))[2, 0] == pytest.approx(np.mean(values[1:3, 0]))


def test_numbers_are_added_up_before_the_ratio(rng):
    truth, forecast = (field(rng.random((2, 15, 15)) < f) for f in (0.3, 0.3))
    truth[1] *= rng.random((15, 15)) < 0.02
    each = fss(forecast, truth, thresholds=[0.5], windows=[3], over=()).fss.squeeze()
    sums = fss_sums(forecast, truth, threshold=0.5, windows=[3])
    assert one(forecast, truth, 3) == pytest.approx(1 - float(sums.difference.sum() / sums.squares.sum()))
    assert one(forecast, truth, 3) != pytest.approx(float(each.mean()), abs=0.01)


def test_without_any_event_there_is_no_score_and_such_times_change_nothing():
    dry = field(np.zeros((2, 6, 6)))
    assert np.isnan(one(dry, dry)) and np.isnan(one(dry, dry, 20))
    truth = dry.copy()
    truth[0, 2, 2] = 1
    forecast = truth.copy()
    forecast[0, 4, 4] = 1
    assert one(forecast, truth) == pytest.approx(one(forecast[:1], truth[:1]))
    false_alarm = forecast.copy()
    false_alarm[1, 3, 3] = 1
    assert one(false_alarm, truth) < one(forecast, truth)
    assert one(false_alarm[1:], dry[1:]) == 0


def test_masked_equals_cut_out(rng):
    truth, forecast = (field(rng.random((3, 20, 24)) < 0.3) for _ in range(2))
    hidden = xr.zeros_like(truth, dtype=bool)
    hidden[:, :8] = True
    for window in (1, 4, 7, 60):
        cut = one(forecast[:, 8:], truth[:, 8:], window)
        assert one(forecast, truth.where(~hidden), window) == pytest.approx(cut)
        assert one(forecast.where(~hidden), truth, window) == pytest.approx(cut)


def test_members_by_probability_or_each_by_itself(rng):
    members, truth = gaussian(6, (3, 20, 20))
    single = [fss_sums(members[k], truth, threshold=0.5, windows=[3]) for k in range(6)]
    pooled = 1 - float(sum(s.difference.sum() for s in single) / sum(s.squares.sum() for s in single))
    assert one(members, truth, 3, over=("time", "ensemble"), compare="members") == pytest.approx(pooled)
    mean = (members > 0.5).mean("ensemble")
    p, o = window_fraction(mean.values, 3), window_fraction((truth > 0.5).values.astype(float), 3)
    direct = 1 - ((p - o) ** 2).sum() / (p**2 + o**2).sum()
    assert one(members, truth, 3) == pytest.approx(direct) and direct > pooled


def test_chunked_equals_eager():
    members, truth = gaussian(4, (5, 20, 24))
    truth = truth.where(truth < 2)
    lazy = members.chunk(ensemble=2, time=2, y=9), truth.chunk(time=3, x=5)
    sums = [fss_sums(*pair, threshold=0.3, windows=[1, 5]) for pair in (lazy, (members, truth))]
    assert dask.is_dask_collection(sums[0].difference)
    xr.testing.assert_allclose(fss_of(sums[0]).compute(), fss_of(sums[1]))


def test_mistakes_are_refused():
    members, truth = gaussian(4, (2, 5, 6))
    for window in (0, 1.5, (1, 2, 3), -3):
        with pytest.raises(DataError, match="window"):
            one(members, truth, window)
    with pytest.raises(DataError, match="FSS"):
        one(members, truth.isel(x=slice(None, None, -1)))
    with pytest.raises(DataError, match="probability or members"):
        one(members, truth, compare="mean")
