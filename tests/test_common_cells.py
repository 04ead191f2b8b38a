"""Sources are compared on the cells that all of them know: laws with a known answer, whatever is missing of whom."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import DataError
from labkit.verify.common import on_common_cells
from labkit.verify.compare import compare_trees, comparison_table
from labkit.verify.neighbourhood import fss_data
from labkit.verify.scales import correlation_data, spectra_data
from labkit.verify.score_maps import score_maps_data
from labkit.verify.scores import score, score_table, score_tree
from labkit.verify.selection import judged
from labkit.verify.strata import strata_data

DIMS = ("time", "y", "x")
SHAPE = (12, 6, 8)
HOURS = np.datetime64("2021-07-01T00", "ns") + np.arange(SHAPE[0]) * np.timedelta64(6, "h")


def law(n=6, seed=0):
    """Truth and members of one law, its mean as the interpolation; the weather is ten times as hard from noon on."""
    rng = np.random.default_rng(seed)
    coords = {"time": HOURS, "y": np.arange(SHAPE[1]) * 2.0, "x": np.arange(SHAPE[2]) * 2.0}
    hard = np.where(np.arange(SHAPE[0]) < 6, 1.0, 10.0)[:, None, None]
    mean = 5 * hard * rng.standard_normal(SHAPE)
    truth = xr.DataArray(mean + hard * rng.standard_normal(SHAPE), coords, DIMS)
    members = mean + hard * rng.standard_normal((n, *SHAPE))
    members = xr.DataArray(members, coords | {"ensemble": np.arange(n)}, ("ensemble", *DIMS))
    return truth, members, xr.DataArray(mean * 0.5, coords, DIMS)


def tree_of(truth, prediction, oracle, interpolation, **more):
    groups = {"truth": truth, "prediction": prediction, "oracle": oracle, "interpolation": interpolation, **more}
    root = xr.Dataset(coords={name: prediction[name] for name in ("ensemble", *DIMS)})
    return xr.DataTree.from_dict(
        {"/": root} | {f"/{g}": a.drop_vars(list(a.coords)).rename("u10").to_dataset() for g, a in groups.items()}
    )


def stopped(members):
    """A run killed in the middle of the eighth time."""
    lost = members.copy()
    lost[:, 8:] = np.nan
    lost[3:, 7] = np.nan
    return lost


def without_a_member(members):
    lost = members.copy()
    lost[2] = np.nan
    return lost


def with_holes(members):
    lost = members.copy()
    lost[1, 4] = np.nan
    lost[:, :, :2, :3] = np.nan
    return lost


HARM = {"stopped": stopped, "member": without_a_member, "holes": with_holes}


@pytest.mark.parametrize("which", ["prediction", "oracle", "interpolation"])
@pytest.mark.parametrize("harm", HARM)
def test_a_model_as_good_as_the_oracle_achieves_one_whatever_is_missing_of_whom(harm, which):
    truth, members, coarse = law()
    groups = {"prediction": members, "oracle": members.copy(), "interpolation": coarse}
    broken = HARM[harm](groups[which].expand_dims(ensemble=6).copy() if which == "interpolation" else groups[which])
    groups[which] = broken.mean("ensemble", skipna=harm == "member") if which == "interpolation" else broken
    scores = score_tree(tree_of(truth, **groups))
    skill = scores.achieved_skill.sel(variable="u10")
    assert float(skill.sel(source="prediction")) == pytest.approx(1, abs=1e-12)
    assert len(set(scores["count"].values.ravel().tolist())) == 1
    assert bool(scores.attrs["left_out"]["u10"]) == (harm != "member" or which != "interpolation")


def test_a_lost_member_is_left_out_and_the_scores_are_those_of_the_others():
    truth, members, coarse = law()
    scores = score_tree(tree_of(truth, without_a_member(members), members, coarse))
    others = score(members.isel(ensemble=[0, 1, 3, 4, 5]), truth)
    for name in ("crps", "rmse", "spread", "spread_skill", "count"):
        assert scores[name].sel(source="prediction").item() == pytest.approx(float(others[name]), rel=1e-12)
    assert scores.members.sel(source="prediction").item() == 5
    assert "1 of 6 members of the prediction (2)" in scores.attrs["left_out"]["u10"]
    assert set(score_table(scores).left_out) == {scores.attrs["left_out"]["u10"]}


def test_a_run_that_stopped_is_scored_on_its_times_and_so_are_the_others():
    truth, members, coarse = law()
    scores = score_tree(tree_of(truth, stopped(members), members, coarse))
    early = score_tree(tree_of(*(a.isel(time=slice(7)) for a in (truth, members, members, coarse))))
    for name in ("crps", "rmse", "count", "members"):
        np.testing.assert_allclose(scores[name], early[name], rtol=1e-12)
    assert "5 of 12 times (2021-07-02T18:00, " in scores.attrs["left_out"]["u10"]
    assert (
        "lacking in prediction" in scores.attrs["left_out"]["u10"] and "oracle" not in scores.attrs["left_out"]["u10"]
    )
    by_time = score_tree(tree_of(truth, stopped(members), members, coarse), over=("y", "x"))
    assert by_time["count"].sel(source="oracle", variable="u10").values.tolist() == [48] * 7 + [0] * 5


def test_one_member_lost_once_costs_whichever_is_less():
    truth, members, _ = law(n=3)
    once, often = members.copy(), members.copy()
    once[0, 3] = np.nan
    often[0, 1:] = np.nan
    kept = on_common_cells(truth, {"prediction": once})
    assert kept.fields["prediction"].sizes["ensemble"] == 3 and int(kept.truth.notnull().any(("y", "x")).sum()) == 11
    kept = on_common_cells(truth, {"prediction": often})
    assert kept.fields["prediction"].ensemble.values.tolist() == [1, 2] and bool(kept.truth.notnull().all())
    alone = members.isel(time=[3]).copy()
    alone[0] = np.nan
    assert on_common_cells(truth.isel(time=[3]), {"prediction": alone}).fields["prediction"].sizes["ensemble"] == 2


def test_a_member_that_lacks_most_cells_is_lost_and_one_that_lacks_a_few_loses_these():
    truth, members, _ = law()
    most, few = members.copy(), members.copy()
    most[4, :, 1:] = np.nan
    few[4, :, :1] = np.nan
    assert 4 not in on_common_cells(truth, {"prediction": most}).fields["prediction"].ensemble
    common = on_common_cells(truth, {"prediction": few})
    assert common.fields["prediction"].sizes["ensemble"] == 6
    assert bool(common.truth[:, 0].isnull().all() and common.truth[:, 1:].notnull().all())


def test_nothing_is_said_or_changed_where_nothing_is_missing():
    truth, members, coarse = law()
    common = on_common_cells(truth, {"prediction": members, "interpolation": coarse})
    xr.testing.assert_identical(common.truth, truth)
    assert common.fields["prediction"] is members and common.left_out == ""
    assert "left_out" not in score_table(score_tree(tree_of(truth, members, members, coarse)))


def test_a_source_without_any_value_takes_no_part():
    truth, members, coarse = law()
    scores = score_tree(tree_of(truth, members, members, coarse, regression=coarse * np.nan))
    assert np.isnan(scores.rmse.sel(source="regression").item()) and scores.attrs["left_out"]["u10"] == ""
    assert scores["count"].sel(source="prediction").item() == truth.size


def test_a_forecast_without_truth_has_its_spread_and_nothing_else():
    truth, members, coarse = law()
    scores = score_tree(tree_of(truth * np.nan, without_a_member(members), members, coarse)).sel(variable="u10")
    expected = float(np.sqrt(members.isel(ensemble=[0, 1, 3, 4, 5]).var("ensemble", ddof=1).mean()))
    assert float(scores.spread.sel(source="prediction")) == pytest.approx(expected, rel=1e-12)
    assert int(scores["count"].sel(source="prediction")) == truth.size and scores.attrs["without_truth"] == ["u10"]
    for name in ("crps", "rmse", "mae", "bias", "spread_skill", "achieved_skill"):
        assert scores[name].isnull().all(), name


def test_lazy_equals_eager():
    truth, members, coarse = law()
    whole = tree_of(truth, with_holes(members), stopped(members), coarse)
    xr.testing.assert_allclose(score_tree(whole.chunk(time=5, ensemble=4)), score_tree(whole))


def test_every_view_shows_the_same_cells():
    truth, members, coarse = law()
    tree = tree_of(truth, stopped(members), without_a_member(members), coarse)
    same, fields = judged(tree, "u10", ("prediction", "oracle", "interpolation"))
    assert same.attrs["times"] == list(range(7)) and "members of the oracle" in same.attrs["left_out"]
    assert {f.sizes.get("ensemble", 5) for f in fields.values()} == {5} and same.sizes["time"] == 7
    part = tree_of(*(a.isel(time=slice(7)) for a in (truth, *[members.isel(ensemble=[0, 1, 3, 4, 5])] * 2, coarse)))
    strata = strata_data(tree, "u10", by="hour")
    xr.testing.assert_allclose(strata, strata_data(part, "u10", by="hour"))
    assert strata.attrs["left_out"] == same.attrs["left_out"]
    assert score_maps_data(tree, "u10").attrs["times"] == 7
    own, other = (fss_data(t, "u10", threshold=3.0).sources for t in (tree, part))
    for source in own:
        xr.testing.assert_allclose(own[source], other[source])


def test_a_choice_of_times_of_which_nothing_is_known_is_refused():
    truth, members, coarse = law()
    tree = tree_of(truth, stopped(members), members, coarse)
    assert judged(tree, "u10", times=[9, 2])[0].attrs["times"] == [2]
    with pytest.raises(DataError, match="no member at these times"):
        judged(tree, "u10", times=[9, 10])


def test_two_runs_are_compared_without_the_members_and_times_that_either_lost():
    truth, members, coarse = law()
    whole, broken = (tree_of(truth, m, members, coarse) for m in (members, stopped(without_a_member(members))))
    found = compare_trees(whole, broken)
    assert abs(found.difference).max() < 1e-12 and found.attrs["times"] == 7
    assert found["count"].item() == 7 * 48 and "members of the second (2)" in found.attrs["left_out"]["u10"]
    assert set(comparison_table(found)["count"]) == {7 * 48}
    less = tree_of(truth.where(truth.time != HOURS[2]), members, members, coarse)
    for pair in ((whole, less), (less, whole)):
        assert compare_trees(*pair)["count"].item() == 11 * 48
    with pytest.raises(DataError, match="1 times of u10 that both know"):
        compare_trees(whole, tree_of(truth, members.where(members.time == HOURS[3]), members, coarse))


def test_spectra_and_lengths_are_of_the_same_times_members_and_cells():
    truth, members, coarse = law()
    tree = tree_of(truth, stopped(members), without_a_member(members), coarse)
    part = tree_of(*(a.isel(time=slice(7)) for a in (truth, *[members.isel(ensemble=[0, 1, 3, 4, 5])] * 2, coarse)))
    spectra, expected = (spectra_data(t, "u10", direction="x").spectra for t in (tree, part))
    rho, lengths = (correlation_data(t, "u10", draws=20).rho for t in (tree, part))
    for source in set(expected) - {"mean"}:
        np.testing.assert_allclose(spectra[source].values, expected[source].values, rtol=1e-6, err_msg=source)
        np.testing.assert_allclose(rho[source].values, lengths[source].values, rtol=1e-5, atol=1e-6, err_msg=source)


def test_a_source_with_gaps_at_all_times_has_no_spectrum_and_the_others_keep_theirs():
    truth, members, coarse = law()
    coarse[:, 2, 3] = np.nan
    gaps, whole = (tree_of(truth, members, members, c) for c in (coarse, coarse.fillna(0.0)))
    found, expected = (spectra_data(tree, "u10").spectra for tree in (gaps, whole))
    assert found["interpolation"].isnull().all()
    xr.testing.assert_allclose(found["prediction"], expected["prediction"])
    rows = [0, 1, 3, 4, 5]
    cut = tree_of(*(a.isel(y=rows) for a in (truth, members, members, coarse)))
    found, expected = (spectra_data(tree, "u10", direction="x").spectra for tree in (gaps, cut))
    for source in ("truth", "prediction", "interpolation"):
        np.testing.assert_allclose(found[source].values, expected[source].values, rtol=1e-6)
