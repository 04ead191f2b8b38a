"""Data that travels to the browser only where it has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from bokeh.models import ColumnDataSource


def put(source: ColumnDataSource, data: Mapping[str, Sequence]) -> None:
    """Give a source new columns, unless they are those it has: Bokeh would send and draw them all the same."""
    if not (data.keys() == source.data.keys() and all(_same(source.data[name], data[name]) for name in data)):
        source.data = dict(data)


def _same(old: Sequence, new: Sequence) -> bool:
    """Whether two columns are equal, member by member; members may be arrays of any shapes, and NaN equals nothing."""
    return len(old) == len(new) and all(np.array_equal(a, b) for a, b in zip(old, new, strict=True))
