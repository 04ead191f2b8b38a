"""Scores of a storm's numbers against closed forms, and the long table."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import DataError
from labkit.verify.cyclones.scores import storm_scores, truth_ranks
from labkit.verify.cyclones.tables import long_table

RNG = np.random.default_rng(5)


def made(cases=400, members=20, sigma=2.0, missing=()):
    """A study whose members and oracle are drawn as the truth is, about a mean that the input misses by 10."""
    mean = RNG.normal(40, 5, cases)
    values = {
        "truth": mean + RNG.normal(0, sigma, cases),
        "interpolation": mean - 10,
        "regression": mean,
        "prediction": mean + RNG.normal(0, sigma, (members, cases)),
        "oracle": mean + RNG.normal(0, sigma, (members, cases)),
    }
    for source, case in missing:
        values[source][..., case] = np.nan
    nodes = {}
    for source, array in values.items():
        dims = ("ensemble", "time") if array.ndim == 2 else ("time",)
        zero = xr.zeros_like(xr.DataArray(array, dims=dims))
        nodes[source] = xr.Dataset({"max_wind": (dims, array), "row": zero.where(np.isfinite(array))})
    return xr.DataTree.from_dict(nodes)


def test_scores_of_a_calibrated_ensemble_are_those_of_its_law():
    found = storm_scores([made(), made()], measures=["max_wind"]).sel(measure="max_wind")
    sigma = 2.0
    assert int(found.cases) == 800
    assert float(found.crps.sel(source="prediction")) == pytest.approx(sigma / np.sqrt(np.pi), rel=0.08)
    assert float(found.crps.sel(source="regression")) == pytest.approx(sigma * np.sqrt(2 / np.pi), rel=0.08)
    assert float(found.crps.sel(source="interpolation")) == pytest.approx(10, rel=0.03)
    np.testing.assert_allclose(found.bias.sel(source=["interpolation", "regression"]), [-10, 0], atol=0.25)
    assert float(found.spread.sel(source="prediction")) == pytest.approx(sigma, rel=0.05)
    assert float(found.error.sel(source="prediction")) == pytest.approx(sigma * np.sqrt(1 + 1 / 20), rel=0.08)
    np.testing.assert_allclose(found.achieved.sel(source=["interpolation", "oracle"]), [0, 1])
    assert float(found.achieved.sel(source="prediction")) == pytest.approx(1, abs=0.02)
    assert np.isnan(found.crps.sel(source="mean"))


def test_all_sources_are_judged_on_the_same_cases():
    study = made(missing=[("oracle", 3), ("truth", 7), ("prediction", 3)])
    assert int(storm_scores([study], measures=["max_wind"]).cases[0]) == 398


def test_ranks_of_the_truth_are_even_and_count_from_below():
    ranks = truth_ranks([made(cases=2000)], "max_wind")
    counts = np.bincount(ranks, minlength=21)
    assert counts.sum() == 2000 and abs(counts / 2000 * 21 - 1).max() < 0.45
    low = made(cases=5)
    low["truth"] = xr.DataTree(low["truth"].to_dataset() * 0 - 1e6)
    assert (truth_ranks([low], "max_wind") == 0).all()


def test_without_a_truth_there_is_nothing_to_score():
    study = made()
    del study["truth"]
    with pytest.raises(DataError, match="no truth"):
        storm_scores([study], measures=["max_wind"])


def test_the_table_has_a_line_for_each_source_member_and_time_with_a_storm():
    study = made(cases=4, members=3, missing=[("regression", 1)])
    times = np.datetime64("2020-01-01T00", "ns") + np.arange(4) * np.timedelta64(1, "h")
    table = long_table(study, times)
    assert len(table) == 4 + 4 + 3 + 12 + 12
    one = table[(table.source == "prediction") & (table.ensemble == 2) & (table.time == times[3])]
    assert one.max_wind.item() == study["prediction"].max_wind.values[2, 3]
    assert times[1] not in table[table.source == "regression"].time.to_numpy()
