"""Energy and variogram scores: those of scoringrules, the CRPS in one dimension, unbiased, masked."""

import dask
import numpy as np
import pytest
import scoringrules as sr
import xarray as xr
from scipy.ndimage import gaussian_filter
from test_scores import gaussian

from labkit.errors import DataError
from labkit.verify.multivariate import energy_score, variogram_score, variogram_score_between
from labkit.verify.scores import crps

NEAR = {"reach_km": 3.0, "spacing_km": (1.0, 1.0)}


@pytest.mark.parametrize("estimator", ["fair", "nrg"])
def test_energy_score_of_one_cell_is_the_crps(estimator):
    members, truth = gaussian(5, (6, 3, 1))
    found = energy_score(members, truth, dims=["x"], estimator=estimator)
    np.testing.assert_allclose(found, crps(members, truth, estimator=estimator).squeeze("x"), atol=1e-12)


@pytest.mark.parametrize("estimator", ["fair", "nrg"])
def test_energy_score_is_that_of_scoringrules(estimator):
    members, truth = gaussian(5, (3, 4, 6))
    x = members.transpose("time", "ensemble", "y", "x").values.reshape(3, 5, 24)
    expected = sr.es_ensemble(truth.values.reshape(3, 24), x, estimator=estimator) / np.sqrt(24)
    np.testing.assert_allclose(energy_score(members, truth, estimator=estimator), expected)


@pytest.mark.parametrize("estimator", ["fair", "nrg"])
def test_variogram_score_is_that_of_scoringrules_with_the_same_weights(estimator):
    members, truth = gaussian(4, (3, 4, 5))
    y, x = (axis.ravel() for axis in np.meshgrid(np.arange(4) * 2.0, np.arange(5) * 3.0, indexing="ij"))
    distance = np.hypot(y[:, None] - y, x[:, None] - x)
    weight = np.where((distance > 0) & (distance <= 4.0), 1 / np.where(distance > 0, distance, 1), 0.0)
    fields = members.transpose("time", "ensemble", "y", "x").values.reshape(3, 4, 20)
    weights = np.broadcast_to(weight, (3, 20, 20))
    expected = sr.vs_ensemble(truth.values.reshape(3, 20), fields, weights, p=0.5, estimator=estimator) / weight.sum()
    found = variogram_score(members, truth, reach_km=4.0, spacing_km=(2.0, 3.0), estimator=estimator)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("estimator", ["fair", "nrg"])
def test_variogram_score_between_variables_is_that_of_scoringrules(estimator):
    members, truth = gaussian(4, (3, 2, 5))
    members, truth = members.rename(x="variable"), truth.rename(x="variable")
    x = members.transpose("time", "y", "ensemble", "variable").values
    expected = sr.vs_ensemble(truth.values, x, p=0.5, estimator=estimator) / 20
    np.testing.assert_allclose(variogram_score_between(members, truth, estimator=estimator), expected)


@pytest.mark.parametrize(("name", "options"), [("energy", {}), ("variogram", NEAR), ("between", {"dim": "x"})])
def test_fair_scores_do_not_depend_on_the_number_of_members(name, options):
    work = {"energy": energy_score, "variogram": variogram_score, "between": variogram_score_between}[name]
    means = {}
    for estimator in ("fair", "nrg"):
        for n in (2, 12):
            members, truth = gaussian(n, (400, 4, 5), seed=n)
            means[estimator, n] = float(work(members, truth, estimator=estimator, **options).mean())
    assert means["fair", 2] == pytest.approx(means["fair", 12], rel=0.05)
    assert means["nrg", 2] > 1.15 * means["nrg", 12]


def test_variogram_score_is_blind_to_bias_and_sees_members_that_are_too_rough(rng):
    fields = gaussian_filter(rng.standard_normal((7, 40, 24, 24)), (0, 0, 1.5, 1.5))
    members, truth = (
        xr.DataArray(f, dims=("ensemble", "time", "y", "x")[4 - f.ndim :]) for f in (fields[1:], fields[0])
    )
    right = float(variogram_score(members, truth, **NEAR).mean())
    assert float(variogram_score(members + 5, truth, **NEAR).mean()) == pytest.approx(right)
    noise = float(fields.std()) * rng.standard_normal(members.shape)
    assert float(variogram_score(members.copy(data=noise), truth, **NEAR).mean()) > 1.2 * right
    assert float(energy_score(members + 5, truth).mean()) > 5 * float(energy_score(members, truth).mean())


def test_variables_count_alike_once_scaled():
    members, truth = gaussian(4, (5, 3, 2))
    scale = xr.DataArray([1.0, 100.0], dims="x")
    plain = energy_score(members, truth, dims=["x"])
    np.testing.assert_allclose(energy_score(members * scale, truth * scale, dims=["x"], scale=scale), plain)


def test_cells_without_truth_are_left_out():
    members, truth = gaussian(4, (3, 9, 7))
    hidden = xr.zeros_like(truth, dtype=bool)
    hidden[:, :4] = True
    cut = members.isel(y=slice(4, None)), truth.isel(y=slice(4, None))
    for work, options in ((energy_score, {}), (variogram_score, NEAR)):
        np.testing.assert_allclose(work(members, truth.where(~hidden), **options), work(*cut, **options))
        np.testing.assert_allclose(work(members.where(~hidden), truth, **options), work(*cut, **options))
        assert work(members, truth * np.nan, **options).isnull().all()


def test_chunked_equals_eager():
    members, truth = gaussian(4, (6, 9, 7))
    lazy = members.chunk(ensemble=2, time=2, y=4), truth.chunk(time=3, x=5)
    for work, options in ((energy_score, {}), (variogram_score, NEAR), (variogram_score_between, {"dim": "x"})):
        found = work(*lazy, **options)
        assert dask.is_dask_collection(found)
        np.testing.assert_allclose(found.compute(), work(members, truth, **options))


def test_mistakes_are_refused():
    members, truth = gaussian(3, (2, 4, 4))
    with pytest.raises(DataError, match="fair or nrg"):
        energy_score(members, truth, estimator="akr")
    with pytest.raises(DataError, match="1 members, expected 2"):
        energy_score(members[:1], truth)
    with pytest.raises(DataError, match="at least a cell"):
        variogram_score(members, truth, reach_km=0.5, spacing_km=(1.0, 2.0))
    with pytest.raises(DataError, match="unlike coordinates"):
        energy_score(members, truth.isel(y=slice(None, None, -1)))
