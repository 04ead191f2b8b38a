"""The seam metric sees what it should, and our fusion leaves nothing for it to see."""

import numpy as np
import pytest
import torch
import xarray as xr

from labkit.diffusion.noise_levels import edm_noise_levels
from labkit.diffusion.patches import PatchGrid, patched
from labkit.diffusion.solvers import dpmpp_2m
from labkit.errors import ConfigError
from labkit.tiling import tile_weights, tiles
from labkit.verify.seams import seams

LENGTH_CELLS = 2.0  # e-folding length of the Gaussian fields


def measured(values, starts, patch, **options):
    field = xr.DataArray(values, dims=("draw", "y", "x"))
    return seams(field, starts=starts, patch=patch, **options)


def fused_noise(rng, axis, weights):
    """Unit noise (200, 48, 60) drawn in patches at 0, 18 and 36 along one axis, fused by the weights (n, 24)."""
    values = np.zeros((200, 48, 60))
    for start, weight in zip((0, 18, 36), weights, strict=True):
        values[..., start : start + 24] += weight * rng.standard_normal((200, 48, 24))
    return values if axis == "x" else np.swapaxes(values, 1, 2)


@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_uniform_mean_of_patches_that_know_nothing_of_one_another_halves_variance_and_spectrum(rng, axis):
    starts = np.array([0, 18, 36])
    count = np.zeros(60)
    for start in starts:
        count[start : start + 24] += 1
    uniform = [1 / count[start : start + 24] for start in starts]
    places = ([0], starts) if axis == "x" else (starts, [0])
    found = measured(fused_noise(rng, axis, uniform), places, (24, 24))
    there, other = found.sel(direction=axis), found.sel(direction="y" if axis == "x" else "x")
    assert float(there.variance) == pytest.approx(0.5, rel=0.04)
    assert float(there.spectrum) == pytest.approx(0.5, rel=0.06)
    assert float(there.gradient) == pytest.approx(0.75, rel=0.04)  # (1 + 1/2) / 2
    assert np.isnan(list(other.data_vars[name] for name in other)).all()


def test_noise_without_seams_is_one_in_everything(rng):
    starts = tiles(60, 24, 6)
    found = measured(rng.standard_normal((300, 60, 60)), (starts, starts), (24, 24))
    for name in found:
        np.testing.assert_allclose(found[name], 1, atol=0.05)


def test_a_law_that_differs_from_place_to_place_is_taken_out_by_the_reference(rng):
    starts, spread = tiles(60, 24, 6), 1 + 0.5 * np.cos(np.arange(60) * 2 * np.pi / 18)
    field, reference = (spread * rng.standard_normal((300, 60, 60)) for _ in range(2))
    raw = measured(field, (starts, starts), (24, 24))
    reference = xr.DataArray(reference, dims=("draw", "y", "x"))
    found = measured(field, (starts, starts), (24, 24), reference=reference)
    assert abs(float(raw.variance.sel(direction="x")) - 1) > 0.3
    for name in found:
        np.testing.assert_allclose(found[name], 1, atol=0.07)


def test_a_tiling_without_cells_elsewhere_is_refused():
    with pytest.raises(ConfigError, match="seams"):
        measured(np.ones((1, 6, 6)), ([0, 1, 2, 3], [0, 1, 2, 3]), (3, 3))


def covariance(n):
    apart = np.abs(np.arange(n)[:, None] - np.arange(n))
    return torch.from_numpy(np.exp(-apart / LENGTH_CELLS))


def drawn_row_map(patch, overlap, n=72, hard=False):
    """The matrix that the sampler applies to its starting noise along one axis, with the exact denoiser of a patch."""
    law = covariance(patch)
    eye = torch.eye(patch, dtype=torch.float64)

    def denoise(x, sigma, entry, corner):
        gain = law @ torch.linalg.inv(law + sigma[0] ** 2 * eye)
        return x @ gain

    grid = PatchGrid.of((1, n), (1, patch), overlap=overlap)
    sigmas = edm_noise_levels(40, sigma_min=0.005, sigma_max=80)
    start = sigmas[0] * torch.eye(n, dtype=torch.float64)[:, None, None, :]
    return dpmpp_2m(patched(denoise, grid, batch_size=512), start, sigmas)[:, 0, 0].numpy(), tiles(n, patch, overlap)


def drawn_fields(rng, row_map, draws=300):
    """Fields (draw, 48, n) whose rows are independent draws of the sampler."""
    return rng.standard_normal((draws, 48, len(row_map))) @ row_map


def test_no_grid_shows_in_fields_whose_correlation_is_shorter_than_the_overlap(rng):
    row_map, starts = drawn_row_map(24, 8)
    drawn = row_map.T @ row_map  # the covariance of what is drawn, exactly
    np.testing.assert_allclose(np.diag(drawn), 1, atol=0.04)
    found = measured(drawn_fields(rng, row_map), ([0], starts), (48, 24)).sel(direction="x")
    for name in found:
        assert float(found[name]) == pytest.approx(1, abs=0.05), name


def test_patches_side_by_side_jump_and_the_metric_says_so(rng):
    row_map, starts = drawn_row_map(24, 0)
    found = measured(drawn_fields(rng, row_map), ([0], starts), (48, 24)).sel(direction="x")
    assert float(found.gradient) > 1.5


def test_the_fusions_own_weights_on_independent_noise_would_show(rng):
    """Smooth weights do not make up for patches that disagree: fusing only the finished fields is not enough."""
    weights = tile_weights(60, 24, np.array([0, 18, 36]))
    found = measured(fused_noise(rng, "x", weights), ([0], [0, 18, 36]), (48, 24)).sel(direction="x")
    assert float(found.variance) < 0.65
