"""Between the coarse and the fine grid: block means down, bilinear weights up."""

from __future__ import annotations

import numpy as np


def upsampling_matrix(n_in: int, factor: int) -> np.ndarray:
    """Bilinear weights (n_in * factor, n_in), float32, between cell centres of two aligned grids.

    Fine cell i lies at s = (i + 1/2) / factor - 1/2 on the coarse index axis. Beyond the outer coarse centres the
    line is continued, so that every affine field is reproduced exactly (the convention of HRRR-Mini).
    """
    if n_in == 1:
        return np.ones((factor, 1), np.float32)
    s = (np.arange(n_in * factor) + 0.5) / factor - 0.5
    left = np.clip(np.floor(s).astype(int), 0, n_in - 2)
    weight = s - left
    matrix = np.zeros((n_in * factor, n_in), np.float32)
    rows = np.arange(n_in * factor)
    matrix[rows, left] = 1 - weight
    matrix[rows, left + 1] = weight
    return matrix


def upsample(coarse: np.ndarray, factor: int | tuple[int, int]) -> np.ndarray:
    """Bilinear (..., y_in, x_in) -> (..., y, x), where y = factor * y_in."""
    factor_y, factor_x = (factor, factor) if isinstance(factor, int) else factor
    wy = upsampling_matrix(coarse.shape[-2], factor_y)
    wx = upsampling_matrix(coarse.shape[-1], factor_x)
    return np.einsum("Yy,...yx,Xx->...YX", wy, coarse, wx, optimize=True)


def block_mean(fine: np.ndarray, factor: int) -> np.ndarray:
    """Mean over blocks of factor x factor cells, (..., y, x) -> (..., y // factor, x // factor); NaN cells are left
    out, and a block is NaN only where all of its cells are."""
    *lead, ny, nx = fine.shape
    if ny % factor or nx % factor:
        raise ValueError(f"a {ny} x {nx} grid has no whole blocks of {factor} x {factor} cells")
    blocks = fine.reshape(*lead, ny // factor, factor, nx // factor, factor)
    if not np.isnan(blocks).any():
        return blocks.mean(axis=(-3, -1))
    count = np.isfinite(blocks).sum(axis=(-3, -1))
    total = np.nansum(blocks, axis=(-3, -1))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(fine.dtype)
