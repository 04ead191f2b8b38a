"""Between the coarse and the fine grid: block means down, bilinear weights up; missing cells stay out of both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from labkit.errors import DataError


def upsampling_matrix(n_in: int, factor: int, *, extrapolate: bool = True) -> np.ndarray:
    """Bilinear weights (n_in * factor, n_in), float32, between cell centres of two aligned grids.

    Fine cell i lies at s = (i + 1/2) / factor - 1/2 on the coarse index axis. Beyond the outer coarse centres the
    line is continued, so that every affine field is reproduced exactly (the convention of HRRR-Mini); without
    `extrapolate` the outer value is kept, so that no weight is negative.
    """
    if n_in == 1:
        return np.ones((factor, 1), np.float32)
    s = (np.arange(n_in * factor) + 0.5) / factor - 0.5
    left = np.clip(np.floor(s).astype(int), 0, n_in - 2)
    weight = s - left if extrapolate else np.clip(s - left, 0, 1)
    matrix = np.zeros((n_in * factor, n_in), np.float32)
    rows = np.arange(n_in * factor)
    matrix[rows, left] = 1 - weight
    matrix[rows, left + 1] = weight
    return matrix


def upsample(coarse: np.ndarray, factor: int | Sequence[int]) -> np.ndarray:
    """Bilinear (..., y_in, x_in) -> (..., y, x), where y = factor * y_in; `factor` may be a pair (along y, along x).

    NaN cells are left out: where one would contribute, the weights of the others are scaled up to sum to one, and a
    fine cell is NaN only where all of them are missing.
    """
    factor_y, factor_x = _both(factor)
    wy, wx = upsampling_matrix(coarse.shape[-2], factor_y), upsampling_matrix(coarse.shape[-1], factor_x)
    missing = np.isnan(coarse)
    if not missing.any():
        return _weigh(wy, coarse, wx)
    # Extrapolating weights are negative and may sum to nothing over the cells that are left.
    ky = upsampling_matrix(coarse.shape[-2], factor_y, extrapolate=False)
    kx = upsampling_matrix(coarse.shape[-1], factor_x, extrapolate=False)
    filled = np.where(missing, 0, coarse)
    share = _weigh(ky, (~missing).astype(np.float32), kx)
    without = _weigh(ky, filled, kx) / np.where(share > 0, share, np.nan)
    touched = _weigh(np.abs(wy), missing.astype(np.float32), np.abs(wx)) > 0
    return np.where(touched, without, _weigh(wy, filled, wx)).astype(coarse.dtype)


def block_mean(fine: np.ndarray, factor: int | Sequence[int]) -> np.ndarray:
    """Mean over blocks of factor x factor cells, (..., y, x) -> (..., y // factor, x // factor); NaN cells are left
    out, and a block is NaN only where all of its cells are. `factor` may be a pair (along y, along x)."""
    *lead, ny, nx = fine.shape
    factor_y, factor_x = _both(factor)
    if ny % factor_y or nx % factor_x:
        raise DataError(
            "block mean",
            found=f"a {ny} x {nx} grid",
            expected=f"whole blocks of {factor_y} x {factor_x} cells",
            todo="crop the grid to a multiple of the factor",
        )
    blocks = fine.reshape(*lead, ny // factor_y, factor_y, nx // factor_x, factor_x)
    missing = np.isnan(blocks)
    if not missing.any():
        return blocks.mean(axis=(-3, -1))
    count = (~missing).sum(axis=(-3, -1))
    total = np.nansum(blocks, axis=(-3, -1))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(fine.dtype)


def _both(factor: int | Sequence[int]) -> tuple[int, int]:
    return (factor, factor) if np.isscalar(factor) else tuple(factor)


def _weigh(wy: np.ndarray, coarse: np.ndarray, wx: np.ndarray) -> np.ndarray:
    return np.einsum("Yy,...yx,Xx->...YX", wy, coarse, wx, optimize=True)
