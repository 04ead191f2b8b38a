"""Block means conserve, bilinear weights reproduce what is linear, and missing cells stay out of both."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from labkit.data.regrid import block_mean, upsample, upsampling_matrix
from labkit.errors import DataError

FACTORS = [2, 3, 8, (2, 5), (4, 1)]


def both(factor):
    return factor if isinstance(factor, tuple) else (factor, factor)


def centres(n: int, factor: int) -> np.ndarray:
    """Positions of the centres of n cells of `factor` fine cells each, in fine cells."""
    return (np.arange(n) + 0.5) * factor


def plane(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return 280 + 0.7 * y[:, None] - 1.3 * x[None, :]


@pytest.mark.parametrize("factor", FACTORS)
def test_upsampling_reproduces_an_affine_field_everywhere(factor):
    fy, fx = both(factor)
    coarse = plane(centres(6, fy), centres(4, fx))
    np.testing.assert_allclose(upsample(coarse, factor), plane(centres(6 * fy, 1), centres(4 * fx, 1)), rtol=1e-6)


def test_upsampling_reproduces_the_published_row():
    # corrdiff.md's figures for HRRR-Mini: arange(8) over 8 fine cells each runs from -0.4375 by 0.125 to 7.4375.
    np.testing.assert_array_equal(upsampling_matrix(8, 8) @ np.arange(8, dtype=np.float32), np.arange(64) / 8 - 0.4375)


@pytest.mark.parametrize("factor", FACTORS)
def test_upsampling_agrees_with_scipy_on_noise(rng, factor):
    fy, fx = both(factor)
    coarse = rng.normal(size=(6, 4))
    axes = centres(6, fy), centres(4, fx)
    linear = RegularGridInterpolator(axes, coarse, bounds_error=False, fill_value=None)
    wanted = linear(tuple(np.meshgrid(centres(6 * fy, 1), centres(4 * fx, 1), indexing="ij")))
    np.testing.assert_allclose(upsample(coarse, factor), wanted, atol=1e-6)


@pytest.mark.parametrize("factor", FACTORS)
def test_block_mean_undoes_the_upsampling_of_an_affine_field(factor):
    fy, fx = both(factor)
    coarse = plane(centres(6, fy), centres(4, fx))
    np.testing.assert_allclose(block_mean(upsample(coarse, factor), factor), coarse, rtol=1e-6)


def test_block_mean_undoes_repetition(rng):
    coarse = rng.normal(size=(3, 6, 4))
    np.testing.assert_allclose(block_mean(coarse.repeat(2, axis=-2).repeat(5, axis=-1), (2, 5)), coarse)


@pytest.mark.parametrize("factor", FACTORS)
def test_block_mean_conserves_the_total_and_cannot_add_variance(rng, factor):
    fine = rng.normal(size=(48, 120))
    coarse = block_mean(fine, factor)
    fy, fx = both(factor)
    assert coarse.shape == (48 // fy, 120 // fx)
    assert coarse.sum() * fy * fx == pytest.approx(fine.sum())
    assert coarse.var() < fine.var()


def test_block_mean_of_white_noise_loses_variance_by_the_cells_in_a_block(rng):
    coarse = block_mean(rng.normal(size=(50, 240, 240)), (4, 2))
    assert coarse.var() == pytest.approx(1 / 8, rel=0.03)


def test_axes_are_not_exchanged(rng):
    fine = rng.normal(size=(2, 12, 30))
    swapped = block_mean(fine.swapaxes(-1, -2), (5, 3)).swapaxes(-1, -2)
    np.testing.assert_allclose(block_mean(fine, (3, 5)), swapped)
    coarse = rng.normal(size=(2, 4, 6))
    np.testing.assert_allclose(upsample(coarse, (3, 5)), upsample(coarse.swapaxes(-1, -2), (5, 3)).swapaxes(-1, -2))


def test_leading_dimensions_are_independent(rng):
    stack = rng.normal(size=(2, 3, 8, 8))
    np.testing.assert_allclose(upsample(stack, 4)[1, 2], upsample(stack[1, 2], 4))
    np.testing.assert_allclose(block_mean(stack, 4)[1, 2], block_mean(stack[1, 2], 4))


def test_block_mean_leaves_missing_cells_out():
    fine = np.array([[1, np.nan, np.nan, np.nan], [3, 8, np.nan, np.nan]], np.float32)
    np.testing.assert_array_equal(block_mean(fine, 2), np.array([[4, np.nan]], np.float32))


def test_block_mean_keeps_infinities():
    assert block_mean(np.array([[np.inf, np.nan]]), (1, 2))[0, 0] == np.inf


def test_a_missing_coarse_cell_touches_only_its_neighbours(rng):
    coarse = rng.normal(size=(8, 8))
    holed = coarse.copy()
    holed[3, 5] = np.nan
    fine, whole = upsample(holed, 4), upsample(coarse, 4)
    assert np.isfinite(fine).all()
    reach = np.zeros((32, 32), bool)
    reach[10:18, 18:26] = True  # from the neighbours' centres to the neighbours' centres
    np.testing.assert_allclose(fine[~reach], whole[~reach], atol=1e-6)
    assert np.abs(fine[reach] - whole[reach]).min() > 0


@pytest.mark.parametrize("factor", [2, 3, (3, 4)])
def test_each_observed_coarse_cell_gets_values_within_its_observed_neighbours(rng, factor):
    coarse = rng.normal(size=(10, 12))
    coarse[rng.random(coarse.shape) < 0.4] = np.nan
    fine = upsample(coarse, factor)
    fy, fx = both(factor)
    observed = np.isfinite(coarse).repeat(fy, 0).repeat(fx, 1)
    assert np.isfinite(fine[observed]).all()


def test_a_constant_field_with_holes_stays_constant(rng):
    coarse = np.full((9, 9), 5.0, np.float32)
    coarse[rng.random(coarse.shape) < 0.5] = np.nan
    fine = upsample(coarse, 4)
    np.testing.assert_allclose(fine[np.isfinite(fine)], 5, rtol=1e-5)
    assert fine.dtype == np.float32


def test_where_everything_is_missing_nothing_is_made_up():
    assert np.isnan(upsample(np.full((3, 4), np.nan), 2)).all()
    assert np.isnan(block_mean(np.full((4, 4), np.nan), 2)).all()


def test_a_single_coarse_cell_fills_its_block():
    np.testing.assert_array_equal(upsample(np.array([[7.0]]), (2, 3)), np.full((2, 3), 7.0))


@pytest.mark.parametrize("n_in", [2, 3, 8])
def test_weights_sum_to_one_and_are_positive_without_extrapolation(n_in):
    np.testing.assert_allclose(upsampling_matrix(n_in, 5).sum(axis=1), 1, rtol=1e-6)
    assert upsampling_matrix(n_in, 5).min() < 0
    held = upsampling_matrix(n_in, 5, extrapolate=False)
    np.testing.assert_allclose(held.sum(axis=1), 1, rtol=1e-6)
    assert held.min() == 0


def test_float32_stays_float32(rng):
    field = rng.normal(size=(4, 8)).astype(np.float32)
    assert upsample(field, 2).dtype == block_mean(field, 2).dtype == np.float32


def test_a_grid_without_whole_blocks_is_refused():
    with pytest.raises(DataError, match=r"found a 6 x 9 grid, expected whole blocks of 3 x 2 cells; crop"):
        block_mean(np.zeros((6, 9)), (3, 2))
