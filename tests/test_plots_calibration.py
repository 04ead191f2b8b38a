"""What the pictures of calibration are made of, on toys whose answers are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from synthetic_tree import synthetic_tree

from labkit.errors import DataError
from labkit.plots.distributions import distribution_figure
from labkit.plots.neighbourhood import fss_figure
from labkit.plots.probability import reliability_figure
from labkit.plots.score_maps import score_maps_figure
from labkit.plots.strata import strata_figure
from labkit.variables import lookup
from labkit.verify.bootstrap import interval
from labkit.verify.calibration import calibration_table
from labkit.verify.distributions import distribution_data, distribution_table, levels_of
from labkit.verify.neighbourhood import fss_data, fss_table, thresholds_of, useful_window
from labkit.verify.probability import brier, ensemble_table, reliability_data, reliability_table, resampled_tables
from labkit.verify.score_maps import score_maps_data, score_maps_table
from labkit.verify.scores import score
from labkit.verify.strata import STRATA, strata_data, strata_of, strata_table

START = np.datetime64("2021-06-01T00", "ns")


def tree_of(
    groups: dict, *, dx: float = 4.0, dy: float = 4.0, variable: str = "t2m", dates: bool = True
) -> xr.DataTree:
    """A tree of arrays (time, y, x), with members first in those of four dimensions."""
    times, ny, nx = groups["truth"].shape
    steps = START + np.arange(times) * np.timedelta64(6, "h") if dates else np.arange(times)
    coords = {"time": steps, "y": dy * (np.arange(ny) - ny / 2), "x": dx * (np.arange(nx) - nx / 2)}
    y, x = np.meshgrid(coords["y"], coords["x"], indexing="ij")
    coords |= {"lat": (("y", "x"), 23 + y / 111), "lon": (("y", "x"), 121 + x / 100)}
    nodes = {"/": xr.Dataset(coords=coords)}
    for name, values in groups.items():
        fields = values if isinstance(values, dict) else {variable: values}
        dims = {3: ("time", "y", "x"), 4: ("ensemble", "time", "y", "x")}
        nodes[f"/{name}"] = xr.Dataset({k: (dims[v.ndim], v) for k, v in fields.items()})
    return xr.DataTree.from_dict(nodes)


def noise(rng, members: int = 9, times: int = 12, side: int = 16, **change) -> xr.DataTree:
    """Truth and members independent draws of the same law: a climatological ensemble."""
    fields = rng.standard_normal((members + 1, times, side, side))
    return tree_of({"truth": fields[0], "prediction": fields[1:]} | change)


@pytest.fixture(scope="module")
def island() -> xr.DataTree:
    return synthetic_tree(members=6, times=8, n=32, dx_km=8.0)


def test_a_climatological_ensemble_has_minus_one_nth_brier_skill(rng):
    """Its Brier score is the uncertainty times 1 + 1/n, and its fair one the uncertainty itself (Ferro 2014)."""
    one = reliability_data(noise(rng, members=9, times=60), "t2m", threshold=0.5)["prediction"]
    assert one.score("skill") == pytest.approx(-1 / 9, abs=0.01)
    assert one.score("fair") == pytest.approx(one.score("uncertainty"), rel=0.02)
    assert one.score("roc_area") == pytest.approx(0.5, abs=0.02)
    assert one.score("skill", "low") < one.score("skill") < one.score("skill", "high")
    assert one.score("base_rate") == pytest.approx(0.3085, abs=0.01), "above half a standard deviation"


def test_the_interval_of_a_skill_is_of_tables_with_more_weight_on_each_time(rng):
    tree = noise(rng)
    one = reliability_data(tree, "t2m", threshold=0.5)["prediction"]
    table = ensemble_table(tree["prediction"]["t2m"], tree["truth"]["t2m"], 0.5)
    drawn = brier(resampled_tables(table)).skill
    low, high = interval(drawn).values
    assert one.score("skill", "low") == pytest.approx(low) and one.score("skill", "high") == pytest.approx(high)


def test_perfect_members_have_no_brier_score_and_all_of_the_roc(rng):
    truth = rng.standard_normal((6, 8, 8))
    one = reliability_data(tree_of({"truth": truth, "prediction": np.stack([truth] * 3)}), "t2m", threshold=0.0)
    assert one["prediction"].score("brier") == 0 and one["prediction"].score("roc_area") == 1
    parts = {name: one["prediction"].score(name) for name in ("reliability", "resolution", "uncertainty")}
    assert parts["reliability"] == 0 and parts["resolution"] == pytest.approx(parts["uncertainty"])


def test_an_event_that_never_or_always_happens_is_refused_with_what_to_do(rng):
    tree = noise(rng)
    for threshold, word in ((9.0, "never above"), (-9.0, "never below")):
        with pytest.raises(DataError, match=f"{word}.*move the threshold"):
            reliability_data(tree, "t2m", threshold=threshold)
    with pytest.raises(DataError, match="lower the threshold"):
        fss_data(tree, "t2m", threshold=9.0)


def test_few_times_have_no_intervals(rng):
    tree = noise(rng)
    one = reliability_data(tree, "t2m", threshold=0.0, times=[3, 4])["prediction"]
    assert np.isnan(one.score("skill", "low")) and np.isfinite(one.score("skill"))
    assert one.curve.low.isnull().all() and one.curve.consistency_low.notnull().any()
    assert fss_data(tree, "t2m", threshold=0.0, times=[3]).sources["prediction"].low.isnull().all()
    assert distribution_data(tree, "t2m", times=[3]).quantiles["prediction"].low.isnull().all()
    assert not score_maps_data(tree, "t2m", times=[3]).bias_sure.any()


def test_windows_are_in_km_along_both_axes(rng):
    truth, members = rng.standard_normal((3, 24, 8)), rng.standard_normal((2, 3, 24, 8))
    upright = tree_of({"truth": truth, "prediction": members}, dx=6.0, dy=2.0)
    lying = tree_of({"truth": truth.swapaxes(1, 2), "prediction": members.swapaxes(2, 3)}, dx=2.0, dy=6.0)
    found = [fss_data(tree, "t2m", threshold=0.5, thresholds=[0.5]).sources["prediction"] for tree in (upright, lying)]
    np.testing.assert_allclose(found[0].fss, found[1].fss)
    np.testing.assert_allclose(found[0].window_km, found[1].window_km)
    pairs = [tuple(int(n) for n in str(w).split(" x ")) for w in found[0].window.values]
    assert all(abs(2 * py - 6 * px) <= 6 for py, px in pairs), "as wide along y as along x, within a cell"
    assert pairs[0] == (3, 1) and 40 <= float(found[0].window_km[-1]) <= 54


def test_a_displaced_event_is_useful_once_the_window_is_twice_as_wide():
    """Roberts & Lean (2008): for rare events displaced by d the score reaches 0.5 at a window of 2 d."""
    truth, moved = np.zeros((1, 64, 64)), np.zeros((1, 1, 64, 64))
    truth[0, 20:44, 26], moved[0, 0, 20:44, 34] = 1.0, 1.0  # eight cells of 4 km
    found = fss_data(tree_of({"truth": truth, "prediction": moved}), "t2m", threshold=0.5, thresholds=[0.5])
    assert 50 < found.useful_km["prediction"] < 85
    assert found.useful_km["member"] == found.useful_km["prediction"], "of a lone member"


@pytest.mark.parametrize(
    ("fss", "expected"),
    [((0.2, 0.4, 0.8), 15.0), ((0.7, 0.8, 0.9), 4.0), ((0.1, 0.2, 0.3), np.nan)],
)
def test_the_useful_window_lies_where_the_lines_cross(fss, expected):
    given = xr.Dataset(
        {"fss": ("window", list(fss)), "useful": 0.6}, coords={"window_km": ("window", [4.0, 10.0, 20.0])}
    )
    np.testing.assert_allclose(useful_window(given), expected)


def test_thresholds_are_the_registrys_where_they_happen_else_quantiles(rng):
    rain = xr.DataArray(np.linspace(0, 8, 1001))
    assert thresholds_of(lookup("tp"), rain) == [1.0, 5.0], "0.1 nearly always, 10 never"
    assert thresholds_of(lookup("unheard_of"), rain) == [4.0, 7.2, 7.92]


def test_a_shift_moves_every_quantile_by_as_much(rng):
    truth = 3 * rng.standard_normal((20, 16, 16))
    members = np.stack([truth + 2.0, truth + 2.5, truth + 3.0])
    found = distribution_data(tree_of({"truth": truth, "prediction": members}), "t2m").quantiles["prediction"]
    np.testing.assert_allclose(found.member_median - found.truth, 2.5, atol=0.05)
    assert (found.truth < found.member_low).all()


def test_levels_have_a_cell_beyond_them():
    assert levels_of(1000, lower=False) == [0.25, 0.5, 0.75, 0.9, 0.99, 0.999]
    assert levels_of(100, lower=True) == [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99]


def test_a_lone_member_has_no_range(rng):
    found = distribution_data(noise(rng, members=1), "t2m")
    assert found.quantiles["prediction"].member_low.isnull().all() and found.quantiles["prediction"].p.isnull().all()
    assert found.pit["prediction"].frequency.notnull().all()


@pytest.mark.parametrize("by", STRATA)
def test_strata_add_up_to_the_whole(island, by):
    data = strata_data(island, "t2m", by=by)
    own = data.sel(source="prediction", bound="estimate")
    assert int(own["count"].sum()) == 8 * 32 * 32
    whole = score(island["prediction"]["t2m"], island["truth"]["t2m"])
    assert float(own.crps.weighted(own["count"]).mean()) == pytest.approx(float(whole.crps), rel=1e-6)
    bounds = data.sel(source="prediction").crps.isel(stratum=data.times.values >= 4)
    assert (bounds.sel(bound="low") <= bounds.sel(bound="high")).all()
    assert data.crps.sel(bound="low").where(data.times < 4).isnull().all()


def test_strata_lie_where_they_should(island):
    land = strata_of(island, "t2m", "surface")
    np.testing.assert_array_equal(land == 1, island["input"]["land_mask"].isel(time=0) >= 0.5)
    height = strata_of(island, "t2m", "height")
    np.testing.assert_array_equal(height == 3, island["input"]["orography"].isel(time=0) >= 1500)
    rain = strata_of(island, "t2m", "rain", times=[2, 5])
    wet = island["interpolation"]["reflectivity"].isel(time=[2, 5]) >= 10
    np.testing.assert_array_equal(rain >= 1, wet)
    assert 0.02 < wet.mean() < 0.98 and (wet[0] != wet[1]).any()
    hours = strata_of(island, "t2m", "hour", times=[0])  # midnight UTC is eight in the morning at 121 degrees east
    assert (hours == 1).all() and hours.attrs["strata"][1] == "06-12 local"


def test_what_a_tree_does_not_have_is_said(rng):
    tree = noise(rng)
    for by, word in (
        ("surface", "land_mask among the inputs"),
        ("height", "orography"),
        ("rain", "tp or reflectivity"),
    ):
        with pytest.raises(DataError, match=word):
            strata_data(tree, "t2m", by=by)
    undated = tree_of({g: tree[g]["t2m"].values for g in ("truth", "prediction")}, dates=False)
    with pytest.raises(DataError, match="expected dates"):
        strata_data(undated, "t2m", by="season")
    with pytest.raises(DataError, match="season, hour"):
        strata_data(tree, "t2m", by="truth")


def test_maps_find_the_bias_where_it_is(rng):
    fields = rng.standard_normal((10, 32, 16, 16))
    members, oracle = fields[1:5].copy(), fields[5:9]
    members[..., 8:, :8] += 3.0  # in the north-west
    data = score_maps_data(tree_of({"truth": fields[0], "prediction": members, "oracle": oracle}), "t2m")
    corner = data.bias[8:, :8]
    assert abs(float(corner.mean()) - 3) < 0.1 and data.bias_sure[8:, :8].mean() > 0.95
    assert abs(float(data.bias[:8].mean())) < 0.1 and data.bias_sure[:8].mean() < 0.3
    assert data.excess[8:, :8].mean() > 1 and data.excess_sure[8:, :8].mean() > 0.9
    assert abs(float(data.excess[:8].mean())) < 0.1 and data.excess_sure[:8].mean() < 0.3
    assert data.attrs["reference"] == "oracle" and 0 < data.attrs["oracle_sure"] < 0.3


def test_the_reference_of_a_tree_without_an_oracle_is_its_regression(rng):
    truth = rng.standard_normal((6, 8, 8))
    tree = tree_of({"truth": truth, "prediction": truth[None] + np.zeros((3, 1, 1, 1)), "regression": truth + 2.0})
    data = score_maps_data(tree, "t2m")
    assert data.attrs["reference"] == "regression" and np.isnan(data.attrs["oracle_sure"])
    np.testing.assert_allclose(data.excess, -2.0, rtol=1e-6)


def test_large_maps_are_worked_out_by_rows_and_give_the_same(island, monkeypatch):
    whole = score_maps_data(island, "t2m")
    monkeypatch.setattr("labkit.verify.score_maps.BLOCK_VALUES", 8 * 32 * 5)
    xr.testing.assert_allclose(score_maps_data(island, "t2m"), whole)


def test_every_figure_draws_and_every_table_has_its_lines(island, tmp_path):
    options = {"times": [0, 2, 4, 6]}
    figures = {
        "reliability": reliability_figure(island, "reflectivity", threshold=20.0, **options),
        "fss": fss_figure(island, "reflectivity", threshold=20.0, **options),
        "distribution": distribution_figure(island, "wind_speed", **options),
        "strata": strata_figure(island, "u10", by="surface", **options),
        "maps": score_maps_figure(island, "t2m", **options),
    }
    for name, figure in figures.items():
        figure.savefig(tmp_path / name, format="png", dpi=40)
        assert (tmp_path / name).stat().st_size > 4000
    curves = reliability_table(reliability_data(island, "reflectivity", threshold=20.0, **options))
    assert len(curves) == 2 * 7 and {"source", "forecast", "observed", "low", "consistency_high"} <= set(curves)
    scores = fss_table(fss_data(island, "reflectivity", threshold=20.0, **options))
    assert set(scores.source) == {"interpolation", "regression", "prediction", "oracle", "member"}
    assert {"level", "truth", "pooled", "p"} <= set(distribution_table(distribution_data(island, "t2m", **options)))
    assert len(strata_table(strata_data(island, "t2m", by="surface"))) == 4 * 2 * 3
    assert len(score_maps_table(score_maps_data(island, "t2m", **options))) == 32 * 32


def test_ranks_spread_and_crps_have_a_table(island):
    from labkit.verify.calibration import calibration_data

    table = calibration_table(calibration_data(island, "t2m"))
    ranks = table[(table.diagnostic == "ranks") & (table.source == "prediction")]
    assert list(ranks.x) == list(range(7)) and ranks.y.sum() == 8 * 32 * 32
    assert set(table.diagnostic) == {"ranks", "spread_skill", "crps"}
