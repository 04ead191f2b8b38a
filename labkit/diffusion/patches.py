"""Denoising a domain that a network sees only patches of: cut, denoise as extra batch entries, fuse, at every step.

Solvers are untouched: they hold the whole domain's `x`, and `patched` is a `denoise(x, sigma)` like any other. Every
patch carries the number of its batch entry and its own corner, so that what a network is told of place cannot be
paired with another patch's pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from labkit.diffusion.edm import Denoise
from labkit.tiling import tile_weights, tiles

# (x (n, C, py, px), sigma (n,), entry (n,), corner (n, 2)) -> clean patches (n, C, py, px)
PatchDenoise = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
FULL_ENOUGH = 0.75


@dataclass(frozen=True)
class PatchGrid:
    """Overlapping patches that cover a domain `shape` (y, x): `corners` (P, 2), the first cell (y, x) of each, and
    `weights` (P, *patch) float64, which sum to one at every cell of the domain."""

    shape: tuple[int, int]
    patch: tuple[int, int]
    corners: Tensor
    weights: Tensor

    @classmethod
    def of(
        cls,
        shape: tuple[int, int],
        patch: tuple[int, int],
        *,
        overlap: int = 0,
        boundary: int = 0,
        align: tuple[int, int] = (1, 1),
    ) -> "PatchGrid":
        """The fewest patches whose neighbours share `overlap` cells or more; see `labkit.tiling` for `boundary`,
        `align` and the errors raised. Along a side that the patch fills there is one, which shares nothing."""
        starts = [tiles(n, p, overlap if p < n else 0, align=a) for n, p, a in zip(shape, patch, align, strict=True)]
        along_y, along_x = (
            tile_weights(n, p, s, boundary=boundary) for n, p, s in zip(shape, patch, starts, strict=True)
        )
        weights = along_y[:, None, :, None] * along_x[None, :, None, :]
        corners = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 2)
        return cls(tuple(shape), tuple(patch), torch.from_numpy(corners), torch.from_numpy(weights.reshape(-1, *patch)))

    def __len__(self) -> int:
        return len(self.corners)


def cut(fields: Tensor, entry: Tensor, corner: Tensor, patch: tuple[int, int]) -> Tensor:
    """Patches (n, C, *patch): the one at `corner` (n, 2), its first cell (y, x), of `fields[entry]`, (B, C, y, x)."""
    entry, corner = entry.to(fields.device), corner.to(fields.device)
    rows = corner[:, 0, None, None] + torch.arange(patch[0], device=fields.device)[:, None]
    columns = corner[:, 1, None, None] + torch.arange(patch[1], device=fields.device)
    return fields[entry[:, None, None], :, rows, columns].movedim(-1, 1)


def fuse(
    evaluate: Callable[[Tensor, Tensor], Tensor],
    grid: PatchGrid,
    like: Tensor,
    *,
    channels: int,
    batch_size: int,
) -> Tensor:
    """Weighted sum (B, channels, *grid.shape) of `evaluate(entry (n,), corner (n, 2))`, patches (n, channels, *patch).

    `like` (B, ...) gives the number of entries, dtype and device. `evaluate` is called for all patches of all entries
    in turn, never for more than `batch_size` at once and always for equally many, the last time filled up with copies:
    a patch's bits do not depend on its company. The order of every sum is fixed too.
    """
    total = like.shape[0] * len(grid)
    entry = torch.arange(like.shape[0]).repeat_interleave(len(grid))
    number = torch.arange(len(grid)).repeat(like.shape[0])
    corners, weights = grid.corners.to(like.device), grid.weights.to(like)
    height, width = grid.patch
    fused = like.new_zeros(like.shape[0], channels, *grid.shape)
    size = chunk_size(total, batch_size)
    for start in range(0, total, size):
        chosen = torch.arange(start, start + size).clamp(max=total - 1)
        patches = evaluate(entry[chosen].to(like.device), corners[number[chosen].to(like.device)])
        for k in range(min(size, total - start)):
            b, p = int(entry[start + k]), int(number[start + k])
            y, x = grid.corners[p].tolist()
            fused[b, :, y : y + height, x : x + width] += weights[p] * patches[k]
    return fused


def patched(denoise: PatchDenoise, grid: PatchGrid, *, batch_size: int) -> Denoise:
    """`denoise(x, sigma)` of the whole domain, x (B, C, *grid.shape), out of a denoiser of patches.

    The network's batch, and with it its memory, is `batch_size` patches whatever the domain.
    """

    def whole(x: Tensor, sigma: Tensor | float) -> Tensor:
        levels = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(x.shape[0])

        def evaluate(entry: Tensor, corner: Tensor) -> Tensor:
            return denoise(cut(x, entry, corner, grid.patch), levels[entry], entry, corner)

        return fuse(evaluate, grid, x, channels=x.shape[1], batch_size=batch_size)

    return whole


def chunk_size(total: int, batch_size: int) -> int:
    """How many patches to take at once, at most `batch_size`, so that the last batch is about as full as the others."""
    batches = -(-total // batch_size)
    return -(-total // batches)


def members_at_once(patches: int, batch_size: int) -> int:
    """The fewest members of so many patches each that fill batches of `batch_size` patches to three quarters."""
    return next(
        members
        for members in range(1, batch_size + 1)
        if members * patches >= FULL_ENOUGH * batch_size * -(-members * patches // batch_size)
    )
