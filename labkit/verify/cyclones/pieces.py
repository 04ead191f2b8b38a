"""Fields cut into pieces of a fraction of a second, which threads work on side by side and a person can break off."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import pairwise, product

import numpy as np
import xarray as xr

from labkit.errors import Cancelled
from labkit.verify.cyclones.local_grid import SPACE

CELLS = 100_000  # of a piece of fields in memory
LOOK_S = 0.2  # between two looks at whether it was cancelled

Piece = dict[str, slice]


def cut(fields: xr.Dataset) -> list[Piece]:
    """Slices along the axes before (y, x) that together are the fields: of about CELLS cells where the fields are in
    memory, else the chunks in which dask reads them."""
    at_once = max(1, CELLS // (fields.sizes["y"] * fields.sizes["x"]))
    slices = {}
    for dim in (str(dim) for dim in fields.sizes if dim not in SPACE):
        size, chunks = fields.sizes[dim], fields.chunksizes.get(dim)
        edges = np.cumsum([0, *chunks]).tolist() if chunks else [*range(0, size, at_once), size]
        slices[dim] = [slice(a, b) for a, b in pairwise(edges)]
        at_once = max(1, at_once // size)
    return [dict(zip(slices, piece, strict=True)) for piece in product(*slices.values())]


def joined(fields: xr.Dataset, pieces: Sequence[Piece], parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """One Dataset of what was found in each piece of the fields, with the coordinates of their leading axes."""
    lead = list(pieces[0])
    whole = {}
    for name, first in parts[0].data_vars.items():
        values = np.empty([fields.sizes[dim] if dim in lead else first.sizes[dim] for dim in first.dims], first.dtype)
        for piece, part in zip(pieces, parts, strict=True):
            values[tuple(piece.get(str(dim), slice(None)) for dim in first.dims)] = part[name].values
        whole[name] = (first.dims, values, first.attrs)
    coords = {name: part for name, part in fields.coords.items() if part.dims and set(part.dims) <= set(lead)}
    coords |= {name: part for name, part in parts[0].coords.items() if not set(part.dims) & set(lead)}
    return xr.Dataset(whole, coords)


def side_by_side(tasks: Sequence[Callable[[], object]], done: Callable[[], None], cancel, what: str) -> list:
    """What the tasks return, in their order, worked out by as many threads as there are cores; `done()` after each, in
    the thread that asked. Cancelled(what) soon after `cancel()` is true."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            left = set(futures)
            while left:
                if cancel is not None and cancel():
                    raise Cancelled(what)
                finished, left = wait(left, LOOK_S, FIRST_COMPLETED)
                for future in finished:
                    future.result()  # its error, if it has one
                    done()
        finally:
            pool.shutdown(cancel_futures=True)
    return [future.result() for future in futures]
