"""Scores against closed forms and laws: Gaussians, exchangeable members, masks, chunks and shuffled dimensions."""

import dask
import numpy as np
import pytest
import scoringrules as sr
import xarray as xr

from labkit.errors import DataError
from labkit.verify.calibration import rank_chi_square, rank_histogram, ranks, reliability_index
from labkit.verify.scores import achieved_skill, crps, crps_by_size, score, score_table, score_tree

DIMS = ("time", "y", "x")
GAUSSIAN_CRPS = 1 / np.sqrt(np.pi)  # expected CRPS of N(0, 1) for truth out of N(0, 1)


def gaussian(n=4, shape=(8, 40, 50), *, seed=0, spread=1.0, offset=0.0):
    """Members (ensemble, time, y, x) out of N(offset, spread^2) and a truth out of N(0, 1)."""
    rng = np.random.default_rng(seed)
    coords = {"time": np.arange(shape[0]), "y": np.arange(shape[1]), "x": np.arange(shape[2])}
    members = xr.DataArray(offset + spread * rng.standard_normal((n, *shape)), coords, ("ensemble", *DIMS))
    return members, xr.DataArray(rng.standard_normal(shape), coords, DIMS)


def tree_of(members, truth, **fields):
    """An output tree of one variable; the oracle has members, other groups single fields."""
    groups = {"truth": truth, "prediction": members, **fields}
    return xr.DataTree.from_dict({name: array.rename("u10").to_dataset() for name, array in groups.items()})


def test_crps_of_a_large_gaussian_ensemble_is_the_closed_form():
    quantiles = sr.crps_normal(np.linspace(-2, 2, 5), 0.3, 1.7)
    members = xr.DataArray(0.3 + 1.7 * np.random.default_rng(1).standard_normal((40_000, 5)), dims=("ensemble", "x"))
    truth = xr.DataArray(np.linspace(-2, 2, 5), dims="x")
    np.testing.assert_allclose(crps(members, truth), quantiles, rtol=0.02)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_fair_crps_does_not_depend_on_the_number_of_members(n):
    members, truth = gaussian(n)
    assert float(crps(members, truth).mean()) == pytest.approx(GAUSSIAN_CRPS, abs=0.012)
    biased = float(crps(members, truth, estimator="nrg").mean())
    assert biased == pytest.approx(GAUSSIAN_CRPS * (1 + 1 / n), abs=0.012)


@pytest.mark.parametrize(("estimator", "pairs"), [("fair", 4 * 3), ("nrg", 4 * 4)])
def test_crps_is_its_definition_by_pairs(estimator, pairs):
    members, truth = gaussian(4, (1, 3, 5))
    x, y = members.values, truth.values
    expected = abs(x - y).mean(0) - abs(x[:, None] - x[None]).sum((0, 1)) / (2 * pairs)
    np.testing.assert_allclose(crps(members, truth, estimator=estimator), expected, rtol=1e-10, atol=1e-12)


def test_crps_of_float32_temperatures_keeps_its_digits():
    members, truth = gaussian(8, (1, 20, 20))
    warm = crps((members + 290).astype("f4"), (truth + 290).astype("f4"))
    np.testing.assert_allclose(warm, crps(members, truth), atol=1e-4)


def test_unknown_estimator_is_refused():
    with pytest.raises(DataError, match="fair or nrg"):
        crps(*gaussian(), estimator="quick")


def test_exchangeable_members_have_spread_skill_one_even_when_few():
    scores = score(*gaussian(4, (16, 50, 50)))
    assert float(scores.spread_skill) == pytest.approx(1, abs=0.01)
    assert float(scores.spread) == pytest.approx(1, abs=0.01)
    assert float(scores.rmse) == pytest.approx(np.sqrt(1 + 1 / 4), abs=0.01)
    assert abs(float(scores.bias)) < 0.015


def test_spread_skill_and_bias_show_narrow_and_shifted_ensembles():
    narrow = score(*gaussian(4, spread=0.5))
    assert float(narrow.spread_skill) == pytest.approx(0.5 * np.sqrt(1.25 / (1 + 0.25 / 4)), abs=0.02)
    assert float(score(*gaussian(4, offset=2.0)).bias) == pytest.approx(2.0, abs=0.02)


def test_statistics_are_averaged_before_the_root():
    truth = xr.DataArray(np.zeros((2, 1, 1)), dims=DIMS)
    field = truth + xr.DataArray([1.0, 7.0], dims="time")
    assert float(score(field, truth).rmse) == pytest.approx(5.0)
    np.testing.assert_allclose(score(field, truth, over=("y", "x")).rmse, [1, 7])
    scaled = xr.DataArray(np.array([[-1.0, 1.0], [-7.0, 7.0]]).T, dims=("ensemble", "time")) * xr.ones_like(truth)
    assert float(score(scaled, truth).spread) == pytest.approx(np.sqrt((2 + 98) / 2))


def test_single_field_scores_its_mae_as_crps_and_has_no_spread():
    members, truth = gaussian()
    field = members.isel(ensemble=0, drop=True)
    scores = score(field, truth)
    assert float(scores.crps) == pytest.approx(float(abs(field - truth).mean()))
    assert float(scores.mae) == float(scores.crps)
    assert np.isnan(scores.spread) and np.isnan(scores.spread_skill)
    xr.testing.assert_allclose(score(field.expand_dims("ensemble"), truth), scores)


def test_cells_without_truth_are_left_out_of_every_score():
    members, truth = gaussian(6)
    hidden = xr.zeros_like(truth, dtype=bool)
    hidden[:, :15, :] = True
    spoiled = members.where(~hidden, 1e6)
    masked = score(spoiled, truth.where(~hidden))
    xr.testing.assert_allclose(masked, score(members.isel(y=slice(15, None)), truth.isel(y=slice(15, None))))
    assert int(masked["count"]) == int((~hidden).sum())
    counts = rank_histogram(spoiled, truth.where(~hidden), seed=0)
    assert int(counts.sum()) == int((~hidden).sum())


def test_a_member_that_is_nan_takes_its_cells_out():
    members, truth = gaussian(6)
    members[2, 0] = np.nan
    xr.testing.assert_allclose(score(members, truth), score(members[:, 1:], truth[1:]))


def test_truth_without_any_value_scores_nan():
    members, truth = gaussian(3, (1, 4, 4))
    scores = score(members, truth * np.nan)
    assert np.isnan(scores.rmse) and np.isnan(scores.crps) and int(scores["count"]) == 0


@pytest.mark.parametrize("order", [("x", "ensemble", "time", "y"), ("time", "y", "x", "ensemble")])
def test_order_of_dimensions_does_not_matter(order):
    members, truth = gaussian(3, (2, 5, 7))
    shuffled, turned = members.transpose(*order), truth.transpose("x", "time", "y")
    xr.testing.assert_allclose(score(shuffled, turned), score(members, truth))
    xr.testing.assert_allclose(score(shuffled, turned, over=("x",)), score(members, truth, over=("x",)))
    shuffled, turned, members, truth = (array.clip(0.5) for array in (shuffled, turned, members, truth))
    np.testing.assert_array_equal(
        ranks(shuffled, turned, seed=3).transpose(*DIMS), ranks(members, truth, seed=3).transpose(*DIMS)
    )


def test_flipped_axis_or_other_times_are_refused_not_aligned_away():
    members, truth = gaussian(3, (4, 5, 7))
    with pytest.raises(DataError, match="unlike coordinates"):
        score(members, truth.isel(y=slice(None, None, -1)))
    with pytest.raises(DataError, match="same cells and times"):
        score(members, truth.isel(time=slice(2)))
    with pytest.raises(DataError):
        score(members.drop_vars("x"), truth.isel(x=[0]).drop_vars("x"))


def test_chunked_equals_eager():
    members, truth = gaussian(5, (6, 12, 10))
    truth = xr.where(truth > 1.5, 0.0, truth)
    lazy = members.chunk(ensemble=2, time=2, y=5), truth.chunk(time=3, x=4)
    scores = score(*lazy)
    assert dask.is_dask_collection(scores.crps) and dask.is_dask_collection(scores.spread_skill)
    xr.testing.assert_allclose(scores.compute(), score(members, truth))
    xr.testing.assert_equal(rank_histogram(*lazy, seed=1).compute(), rank_histogram(members, truth, seed=1))


@pytest.mark.parametrize("ties", [False, True])
def test_ranks_are_flat_for_exchangeable_members(ties):
    members, truth = gaussian(6, (8, 60, 60))
    if ties:  # reflectivity: zero in most cells
        members, truth = members.clip(1.0), truth.clip(1.0)
    counts = rank_histogram(members, truth, seed=0)
    assert int(counts.sum()) == truth.size
    # 6 degrees of freedom: 99.9 % of independent samples lie below 22.5 / 6.
    assert float(rank_chi_square(counts)) < 3.75
    assert float(reliability_index(counts)) < 0.02


def test_ranks_show_bias_narrow_spread_and_which_end_is_which():
    low = rank_histogram(*gaussian(4, offset=-1.0), seed=0)
    assert int(low[-1]) > 2 * int(low[0])
    narrow = rank_histogram(*gaussian(4, spread=0.3), seed=0)
    assert int(narrow[0]) > 2 * int(narrow[2]) < int(narrow[-1])
    assert float(rank_chi_square(narrow)) > 100
    one = xr.DataArray([0, 0, 10, 0], dims="rank")
    assert float(reliability_index(one)) == pytest.approx(2 * 3 / 4)


def test_ties_are_drawn_by_the_seed_alone():
    members, truth = gaussian(3, (2, 20, 20))
    dry = members * 0, truth * 0
    first, again, other = (ranks(*dry, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert set(np.unique(first)) == {0, 1, 2, 3}


def test_crps_by_size_is_flat_for_the_fair_estimator_only():
    members, truth = gaussian(16, (4, 40, 50))
    fair = crps_by_size(members, truth, seed=0)
    assert list(fair["size"].values) == [2, 4, 8, 16]
    np.testing.assert_allclose(fair, GAUSSIAN_CRPS, atol=0.015)
    biased = crps_by_size(members, truth, seed=0, estimator="nrg")
    assert (biased.diff("size") < -0.01).all()
    xr.testing.assert_equal(fair, crps_by_size(members, truth, seed=0))
    with pytest.raises(DataError, match="2 to 16"):
        crps_by_size(members, truth, seed=0, sizes=[4, 32])


def test_achieved_skill_is_one_for_the_oracle_and_zero_for_the_baseline():
    best, base = xr.DataArray(0.2), xr.DataArray(1.0)
    assert float(achieved_skill(base, best, best)) == 1
    assert float(achieved_skill(base, base, best)) == 0
    assert float(achieved_skill(base, xr.DataArray(0.6), best)) == pytest.approx(0.5)


def test_score_tree_names_sources_and_finds_an_exchangeable_model_as_good_as_the_oracle():
    members, truth = gaussian(6)
    oracle = gaussian(6, seed=7)[0]
    scores = score_tree(tree_of(members, truth, oracle=oracle, interpolation=truth * 0, regression=truth * 0 + 0.5))
    assert list(scores.source.values) == ["interpolation", "regression", "prediction", "oracle"]
    assert list(scores["variable"].values) == ["u10"]
    skill = scores.achieved_skill.sel(variable="u10")
    assert float(skill.sel(source="interpolation")) == 0 and float(skill.sel(source="oracle")) == 1
    assert float(skill.sel(source="prediction")) == pytest.approx(1, abs=0.03)
    assert float(skill.sel(source="regression")) < 0
    # The mean of N(0, 1) as forecast: MAE sqrt(2 / pi).
    assert scores.crps.sel(source="interpolation").item() == pytest.approx(np.sqrt(2 / np.pi), abs=0.01)
    assert scores.attrs["estimator"] == "fair" and scores.attrs["members_prediction"] == 6
    against_regression = score_tree(
        tree_of(members, truth, oracle=oracle, regression=truth * 0 + 0.5), baseline="regression"
    )
    assert against_regression.achieved_skill.sel(source="regression").item() == 0


def test_score_tree_keeps_remaining_dimensions_and_says_what_is_absent():
    members, truth = gaussian(3, (4, 6, 6))
    tree = tree_of(members, truth, regression=truth * np.nan)
    scores = score_tree(tree, over=("y", "x"))
    assert scores.crps.dims == ("source", "variable", "time") and scores.sizes["time"] == 4
    assert "achieved_skill" not in scores
    assert scores.rmse.sel(source="regression").isnull().all()
    table = score_table(scores)
    assert len(table) == 2 * 1 * 4 and {"source", "variable", "time", "crps", "units"} <= set(table.columns)
    assert set(table.units) == {"m s-1"}


def test_one_variable_of_two_may_lack_in_a_group():
    members, truth = gaussian(3, (2, 4, 4))
    datasets = {
        "truth": xr.Dataset({"v10": truth, "only_truth": truth, "u10": truth}),
        "prediction": xr.Dataset({"u10": members, "v10": members}),
        "regression": xr.Dataset({"u10": truth}),
    }
    scores = score_tree(xr.DataTree.from_dict(datasets))
    assert list(scores["variable"].values) == ["v10", "u10"]
    assert float(scores.rmse.sel(source="regression", variable="u10")) == 0
    assert np.isnan(scores.rmse.sel(source="regression", variable="v10"))
