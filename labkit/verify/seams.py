"""Whether a grid of patches shows in fields that were drawn patch by patch: 1 where nothing shows.

Cells where two patches meet are held against cells in the middle of patches, along y and x apart. A mean of patches
that know nothing of one another halves the variance where two meet; patches put side by side jump.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from labkit.errors import ConfigError

MEASURES = ("variance", "gradient", "spectrum")


def seams(
    field: xr.DataArray,
    *,
    starts: tuple[Sequence[int], Sequence[int]],
    patch: tuple[int, int],
    reference: xr.DataArray | None = None,
) -> xr.Dataset:
    """What is at the seams over what is elsewhere, for each direction across them; 1 for a field without seams.

    field (..., y, x): anomalies, such as members less their mean, with independent draws along the other dimensions.
    starts: first cells of the patches along (y, x); patch: their cells (y, x).
    The result, over `direction`, NaN where a direction has no seam:
    `variance` in the middle of what two patches share; `gradient`, the mean square step from cell to cell across the
    patches' edges; `spectrum`, the power of the finer half of the waves along the seam, in that middle.
    reference: a field without seams, such as the truth's or the oracle's anomalies; the ratios are divided by its own,
    which is needed where the law itself differs from place to place. Raises ConfigError where nothing lies elsewhere.
    """
    ratios = {name: [] for name in MEASURES}
    for axis in range(2):
        found = _ratios(_across(field, axis), starts[axis], patch[axis])
        if reference is not None:
            found = found / _ratios(_across(reference, axis), starts[axis], patch[axis])
        for name, value in zip(MEASURES, found, strict=True):
            ratios[name].append(float(value))
    return xr.Dataset(
        {name: ("direction", values) for name, values in ratios.items()}, coords={"direction": ["y", "x"]}
    )


def _across(field: xr.DataArray, axis: int) -> np.ndarray:
    """The field as (draw, along the seam, across it)."""
    ordered = ("x", "y") if axis == 0 else ("y", "x")
    values = np.asarray(field.transpose(..., *ordered).data, np.float64)
    return values.reshape(-1, *values.shape[-2:])


def _ratios(values: np.ndarray, starts: Sequence[int], patch: int) -> np.ndarray:
    """(variance, gradient, spectrum) at the seams over elsewhere, of fields (draw, along, across)."""
    starts = np.asarray(starts)
    if len(starts) < 2:
        return np.full(3, np.nan)
    middle, edges, elsewhere, inner_steps = _places(values.shape[-1], starts, patch)
    variance = (values**2).mean((0, 1))
    gradient = (np.diff(values, axis=-1) ** 2).mean((0, 1))
    spectrum = _fine_power(values)
    return np.array(
        [
            variance[middle].mean() / variance[elsewhere].mean(),
            gradient[edges].mean() / gradient[inner_steps].mean(),
            spectrum[middle].mean() / spectrum[elsewhere].mean(),
        ]
    )


def _places(length: int, starts: np.ndarray, patch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cells amid two patches, steps (i to i + 1) across patches' edges, cells elsewhere, and steps elsewhere."""
    ends = starts[:-1] + patch
    centres = (starts[1:] + ends - 1) / 2
    middle = np.unique(np.concatenate([np.floor(centres), np.ceil(centres)]).astype(int))
    edges = np.unique(np.concatenate([starts[1:] - 1, ends - 1]))
    near = 0.35 * np.diff(starts).min()
    at_cell = np.abs(np.arange(length)[:, None] - centres).min(1)
    elsewhere = np.flatnonzero(at_cell > near)
    at_step = np.abs(np.arange(length - 1)[:, None] + 0.5 - centres).min(1)
    inner_steps = np.setdiff1d(np.flatnonzero(at_step > near), edges)
    if not elsewhere.size or not inner_steps.size:
        raise ConfigError(
            "seams",
            found=f"patches of {patch} cells every {np.diff(starts).min()}",
            expected="cells away from the seams",
            todo="measure a tiling whose patches start at least three cells apart",
        )
    return middle, edges, elsewhere, inner_steps


def _fine_power(values: np.ndarray) -> np.ndarray:
    """Power (across,) of the finer half of the waves along the seam, after a Hann window."""
    n = values.shape[1]
    window = np.hanning(n + 2)[1:-1, None]
    power = np.abs(np.fft.rfft(values * window, axis=1)) ** 2
    return power[:, n // 4 :].mean((0, 1))
