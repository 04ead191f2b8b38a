"""Reliability, Brier and ROC against closed forms and laws: exchangeable members, climatology, exact decompositions."""

import dask
import numpy as np
import pytest
import scoringrules as sr
import xarray as xr
from scores.probability import roc_auc
from test_scores import gaussian

from labkit.errors import DataError
from labkit.verify.bootstrap import interval
from labkit.verify.probability import (
    brier,
    ensemble_table,
    event,
    event_table,
    reliability,
    reliability_diagram,
    resampled_tables,
    roc,
    roc_area,
    role_tables,
)
from labkit.verify.products import exceedance_probability


def shared(n=8, shape=(12, 30, 30), *, seed=0, sharpness=1.0):
    """Members and truth that share a state in each cell, N(0, 1) about it; `sharpness` scales the members' state."""
    rng = np.random.default_rng(seed)
    members, truth = gaussian(n, shape, seed=seed + 1)
    state = xr.zeros_like(truth) + rng.standard_normal(shape)
    return members + sharpness * state, truth + state


def whole(members, truth, threshold=0.5, **options):
    return ensemble_table(members, truth, threshold, **options).sum("time")


@pytest.mark.parametrize("bins", [None, 2, 3, 10, 40])
def test_the_parts_of_the_brier_score_add_up_to_it_whatever_the_bins(bins):
    members, truth = shared()
    parts = brier(whole(members, truth, bins=bins))
    direct = sr.brier_score(event(truth, 0.5).values, exceedance_probability(members, 0.5).values).mean()
    assert float(parts.brier) == pytest.approx(direct, rel=1e-12)
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within_variance - parts.within_covariance
    assert float(total) == pytest.approx(direct, rel=1e-10)
    few = bins in (2, 3)
    assert (float(parts.within_variance) > 1e-4) == few and (abs(float(parts.within_covariance)) > 1e-4) == few


def test_parts_of_a_small_case_by_hand():
    p = xr.DataArray([[0.0, 0.5, 0.5, 1.0]], dims=("y", "x"))
    o = xr.DataArray([[0.0, 0.0, 1.0, 1.0]], dims=("y", "x"))
    parts = brier(event_table(p, o, bins=3))
    assert float(parts.brier) == pytest.approx(0.125)
    assert float(parts.reliability) == pytest.approx(0)
    assert float(parts.uncertainty) == pytest.approx(0.25) and float(parts.resolution) == pytest.approx(0.125)
    assert float(parts.skill) == pytest.approx(0.5)


def test_every_share_has_its_own_bin():
    for n in (3, 10, 16, 50):
        p = xr.DataArray(np.arange(n + 1)[None] / n, dims=("y", "x"))
        np.testing.assert_array_equal(event_table(p, p * 0, bins=n + 1)["count"], 1)


@pytest.mark.parametrize("n", [2, 4, 16])
def test_fair_brier_does_not_depend_on_the_number_of_members(n):
    members, truth = shared(n, (20, 60, 60))
    parts = brier(whole(members, truth), members=n)
    limit = brier(whole(*shared(64, (20, 60, 60))), members=64)
    assert float(parts.fair) == pytest.approx(float(limit.fair), abs=0.003)
    assert float(parts.brier) - float(parts.fair) > 0.1 / n / 2


def test_exchangeable_members_lie_within_the_bars_about_what_is_expected():
    """Of beta-binomial cells: given k of n members, the event comes with (a + k) / (a + b + n), not k / n."""
    rng, n, a, b = np.random.default_rng(3), 8, 0.8, 1.6
    p = rng.beta(a, b, (24, 60, 60))
    dims = ("ensemble", "time", "y", "x")
    fields = xr.DataArray((rng.random((n + 1, *p.shape)) < p).astype(float), dims=dims)
    diagram = reliability_diagram(fields[1:], fields[0], 0.5)
    np.testing.assert_allclose(diagram.forecast, np.arange(n + 1) / n)
    law = (a + np.arange(n + 1)) / (a + b + n)
    np.testing.assert_allclose(diagram.expected, law, atol=0.012)
    inside = (diagram.observed >= diagram.consistency_low) & (diagram.observed <= diagram.consistency_high)
    assert int(inside.sum()) >= n - 1
    assert ((diagram.consistency_low < law) & (law < diagram.consistency_high)).sum() >= n
    assert ((diagram.low < law) & (law < diagram.high)).sum() >= n - 1
    assert int(diagram["count"].sum()) == p.size
    # A truth of another law lies outside: sharper probabilities than it deserves.
    other = (xr.zeros_like(fields[0]) + rng.random(p.shape) < 0.5 + 0.2 * (p - 0.5)).astype(float)
    wrong = reliability_diagram(fields[1:], other, 0.5)
    outside = (wrong.observed < wrong.consistency_low) | (wrong.observed > wrong.consistency_high)
    assert int(outside.sum()) >= n - 1


def test_many_exchangeable_members_lie_on_the_diagonal():
    curve = reliability(whole(*shared(200, (10, 40, 40)), bins=10))
    np.testing.assert_allclose(curve.observed, curve.forecast, atol=0.05)
    overconfident = reliability(whole(*shared(200, (10, 40, 40), sharpness=3.0), bins=10))
    error = overconfident.observed - overconfident.forecast
    assert float(error[0]) > 0.06 and float(error[-1]) < -0.06


def test_consistency_bars_know_that_cells_are_alike():
    """One draw for a whole field: bars as wide as times are few, whatever the number of cells."""
    members, truth = gaussian(4, (30, 1, 1))
    spread = [f.isel(y=[0] * 10, x=[0] * 10, drop=True).drop_vars(["y", "x"]) for f in (members, truth)]
    alike = reliability_diagram(*spread, 0.0)
    apart = reliability_diagram(*gaussian(4, (30, 10, 10)), 0.0)
    widths = [float((d.consistency_high - d.consistency_low).mean()) for d in (alike, apart)]
    assert widths[0] > 4 * widths[1]


def test_role_tables_are_those_of_fields_that_change_places():
    members, truth = shared(3, (4, 10, 10))
    tables = role_tables(members, truth, 0.5)
    xr.testing.assert_allclose(tables.isel(role=0), ensemble_table(members, truth, 0.5))
    swapped = xr.concat([members[0], truth, members[2]], "ensemble")
    xr.testing.assert_allclose(tables.isel(role=2), ensemble_table(swapped, members[1], 0.5))


def test_area_of_climatology_is_half_and_of_a_perfect_forecast_one():
    _, truth = gaussian()
    came = event(truth, 0.3)
    constant = event_table(xr.full_like(truth, 0.38), came).sum("time")
    assert float(roc_area(roc(constant))) == pytest.approx(0.5, abs=1e-12)
    assert float(roc_area(roc(event_table(came, came).sum("time")))) == 1
    assert float(roc_area(roc(event_table(1 - came, came).sum("time")))) == 0
    never = event_table(came, came * 0).sum("time")
    assert np.isnan(roc_area(roc(never)))


def test_area_is_that_of_scores_and_the_curve_rises():
    members, truth = shared(9)
    curve = roc(whole(members, truth))
    probability, came = exceedance_probability(members, 0.5), event(truth, 0.5)
    assert float(roc_area(curve)) == pytest.approx(float(roc_auc(probability, came)), abs=1e-10)
    assert curve.sizes["point"] == 11 and (curve.diff("point").to_array() >= 0).all()
    assert [float(curve.hit_rate[i]) for i in (0, -1)] == [0, 1]


def test_cells_without_truth_or_a_member_are_left_out():
    members, truth = shared(5)
    hidden = xr.zeros_like(truth, dtype=bool)
    hidden[:, :11] = True
    cut = ensemble_table(members[:, :, 11:], truth[:, 11:], 0.5)
    xr.testing.assert_allclose(ensemble_table(members, truth.where(~hidden), 0.5), cut)
    xr.testing.assert_allclose(role_tables(members.where(~hidden), truth, 0.5).isel(role=0), cut)


def test_chunked_equals_eager_and_tables_add_up():
    members, truth = shared(5)
    lazy = members.chunk(ensemble=2, time=3, y=7), truth.chunk(time=5, x=4)
    tables = role_tables(*lazy, 0.5)
    assert dask.is_dask_collection(tables.p)
    xr.testing.assert_allclose(tables.compute(), role_tables(members, truth, 0.5))
    parts = [brier(whole(members[:, s], truth[s])) for s in (slice(5), slice(5, None))]
    assert float((5 * parts[0].brier + 7 * parts[1].brier) / 12) == pytest.approx(float(brier(whole(*lazy)).brier))


def test_intervals_of_any_figure_come_from_drawn_tables():
    table = ensemble_table(*shared(8, (40, 12, 12)), 0.5)
    drawn = resampled_tables(table)
    for figure in (lambda t: brier(t).brier, lambda t: roc_area(roc(t))):
        bounds, value = interval(figure(drawn)), figure(table.sum("time"))
        assert float(bounds[0]) < float(value) < float(bounds[1]) < float(bounds[0]) + 0.1


def test_other_cells_are_refused():
    members, truth = shared(3)
    with pytest.raises(DataError, match="unlike coordinates"):
        ensemble_table(members, truth.isel(y=slice(None, None, -1)), 0.5)
    with pytest.raises(DataError, match="event table"):
        event_table(truth, truth, over=("time",))
