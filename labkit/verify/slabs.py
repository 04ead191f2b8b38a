"""Work through many fields a few at a time, so that what lies between stays in the cache and in bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from labkit.grid import SPACE

SLAB_BYTES = 4 * 2**20


def whole(field: xr.DataArray, dims: Sequence[str] = SPACE) -> xr.DataArray:
    """The field with one chunk along `dims`, where it is lazy."""
    return field if field.chunks is None else field.chunk(dict.fromkeys(dims, -1))


def in_slabs(function: Callable[..., np.ndarray], *arrays: np.ndarray, core: int) -> np.ndarray:
    """`function(*arrays)` by slabs of the leading axes, which are broadcast; the last `core` axes stay whole.

    `function` maps (n, ...) arrays to (n, ...): what it makes of a field must not depend on the other fields.
    """
    lead = np.broadcast_shapes(*(a.shape[: a.ndim - core] for a in arrays))
    shapes = [a.shape[a.ndim - core :] for a in arrays]
    flat = [np.broadcast_to(a, lead + s).reshape(-1, *s) for a, s in zip(arrays, shapes, strict=True)]
    n = len(flat[0])
    step = max(1, SLAB_BYTES // max(1, flat[0][:1].nbytes))
    parts = [function(*(a[i : i + step] for a in flat)) for i in range(0, max(n, 1), step)]
    result = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return result.reshape(*lead, *result.shape[1:])
