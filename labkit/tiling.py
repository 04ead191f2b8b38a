"""How overlapping patches cover a domain: where they start and how they are weighed together, one axis at a time."""

from __future__ import annotations

import numpy as np

from labkit.errors import ConfigError


def tiles(length: int, patch: int, overlap: int = 0, *, align: int = 1) -> np.ndarray:
    """Starts (n,) of the fewest patches that cover 0..length, neighbours sharing at least `overlap` cells.

    All in cells. They are spread evenly, so that the last one ends at the domain's end: nothing is padded. With
    `align` every start is a multiple of it (such as the fine cells of a coarse cell); length and patch must be too.
    Raises ConfigError where no such patches exist.
    """
    _check(length, patch, overlap, align)
    steps, reach = (length - patch) // align, (patch - overlap) // align
    n = 1 + -(-steps // reach) if steps else 1
    return np.arange(n) * steps // max(n - 1, 1) * align


def tile_weights(length: int, patch: int, starts: np.ndarray, *, boundary: int = 0) -> np.ndarray:
    """Weights (n, patch) >= 0 of the patches' cells, summing to one at every cell of the domain.

    Raised cosines over what neighbours share: smooth, and without a kink at the ends. The outer `boundary` cells of
    a patch count nothing, except at the domain's own edge, where no other patch could stand in for them.
    Raises ConfigError where neighbours share no cell inside their boundaries.
    """
    shared = patch - np.diff(starts) - 2 * boundary
    if shared.size and shared.min() < 0:
        raise ConfigError(
            "boundary of patches",
            found=f"{boundary} cells where neighbours share {shared.min() + 2 * boundary}",
            expected="no more than half of what they share",
            todo="let the patches overlap more",
        )
    rising = np.stack([_ramp(patch, n, boundary) for n in (None, *shared)])
    falling = np.stack([_ramp(patch, n, boundary)[::-1] for n in (*shared, None)])
    weights = rising * falling
    total = np.zeros(length)
    cells = np.asarray(starts)[:, None] + np.arange(patch)
    np.add.at(total, cells, weights)
    return weights / total[cells]


def _ramp(patch: int, shared: int | None, boundary: int) -> np.ndarray:
    """Weights (patch,) that rise from 0 to 1 over the shared cells after the boundary; all 1 at the domain's edge."""
    if shared is None:
        return np.ones(patch)
    phase = (np.arange(patch) - boundary + 0.5) / shared if shared else np.arange(patch) >= boundary
    return np.sin(0.5 * np.pi * np.clip(phase, 0, 1)) ** 2


def _check(length: int, patch: int, overlap: int, align: int) -> None:
    if not 0 < patch <= length:
        raise ConfigError(
            "patch",
            found=f"{patch} cells",
            expected=f"1 to {length}, the domain's",
            todo="choose a patch inside the domain",
        )
    if length % align or patch % align:
        raise ConfigError(
            "patch",
            found=f"{patch} of {length} cells",
            expected=f"whole blocks of {align} cells",
            todo="round the patch to them",
        )
    if patch < length and not 0 <= overlap <= patch - align:
        raise ConfigError(
            "overlap of patches",
            found=f"{overlap} cells",
            expected=f"0 to {patch - align}, less than the patch",
            todo="choose a smaller overlap or a larger patch",
        )
