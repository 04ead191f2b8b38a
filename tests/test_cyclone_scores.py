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


def placed(cases=300, members=20, sigma=15.0):
    """A study whose centres scatter by sigma (km) in x and y, as the truth's do; the input's lie 30 km to the east."""
    mean = RNG.normal(0, 100, (2, cases))
    sizes = {"truth": (), "oracle": (members,), "prediction": (members,), "interpolation": None}
    nodes = {}
    for source, shape in sizes.items():
        aside = RNG.normal(0, sigma, (2, *shape, cases)) if shape is not None else np.array([[30.0], [40.0]])
        values = (mean if not shape else mean[:, None]) + aside
        dims = ("ensemble", "time")[-(values.ndim - 1) :]
        nodes[source] = xr.Dataset({name: (dims, part) for name, part in zip("xy", values, strict=True)})
    return xr.DataTree.from_dict(nodes)


def test_scores_of_places_are_those_of_their_law():
    found = storm_scores([placed() for _ in range(5)], measures=["centre"]).sel(measure="centre")
    sigma = 15.0
    # half the mean distance of two draws of a circular normal law, s sqrt(pi)
    assert float(found.crps.sel(source="prediction")) == pytest.approx(sigma * np.sqrt(np.pi) / 2, rel=0.04)
    assert float(found.spread.sel(source="prediction")) == pytest.approx(sigma * np.sqrt(2), rel=0.03)
    assert float(found.error.sel(source="prediction")) == pytest.approx(sigma * np.sqrt(2 * 1.05), rel=0.04)
    assert float(found.bias.sel(source="interpolation")) == pytest.approx(50, rel=0.03)
    assert float(found.error.sel(source="interpolation")) == pytest.approx(sigma * np.sqrt(2), rel=0.04)
    assert float(found.achieved.sel(source="prediction")) == pytest.approx(1, abs=0.03)


def test_intervals_hold_the_law_as_often_as_they_say():
    sigma, inside = 2.0, []
    for _ in range(60):
        found = storm_scores([made(cases=12) for _ in range(16)], measures=["max_wind"])
        low, high = found.crps_interval.sel(source="prediction", measure="max_wind")
        inside.append(low <= sigma / np.sqrt(np.pi) <= high)
    assert 0.8 <= np.mean(inside) <= 1  # 0.95, less for few storms; 60 trials scatter by 0.03


def test_hours_of_one_storm_are_not_taken_for_as_many_storms():
    once = [made(cases=1) for _ in range(12)]
    alike = [
        xr.DataTree.from_dict({s: study[s].to_dataset().isel(time=[0] * 20) for s in study.children}) for study in once
    ]
    scores = storm_scores(alike, measures=["max_wind"]).sel(source="regression", measure="max_wind")
    width = float(scores.crps_interval.diff("bound").item())
    hours = np.abs(np.concatenate([(s["regression"].max_wind - s["truth"].max_wind).values for s in alike]))
    assert width > 2.5 * 2 * 1.96 * hours.std() / np.sqrt(hours.size)  # sqrt(20) where hours were independent
    few = storm_scores(alike[:3], measures=["max_wind"])
    assert few.crps_interval.isnull().all() and few.crps.notnull().any()


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
