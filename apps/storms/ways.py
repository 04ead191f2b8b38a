"""Lines of many sources as one layer of a figure: a layer for each takes several times as long to make and to draw."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from bokeh.models import ColumnDataSource, MultiLine
from bokeh.plotting import figure

from apps.parts.sources import put

HALO = 1.8


class Way(NamedTuple):
    """A line of a source; `dash` as Bokeh names it, or lengths on and off as `7 3`."""

    source: str
    x: np.ndarray
    y: np.ndarray
    colour: str
    width: float = 1.0
    alpha: float = 1.0
    dash: str = "solid"


class Ways:
    """A layer of lines, the last on top; with `halo` on a white ground of their own, which is below them all."""

    def __init__(self, plot: figure, *, halo: bool = False) -> None:
        self.data = ColumnDataSource({name: [] for name in ("xs", "ys", *Way._fields[3:], "source", "halo")})
        if halo:
            plot.add_glyph(
                self.data, MultiLine(xs="xs", ys="ys", line_color="white", line_width="halo", line_alpha=0.7)
            )
        look = {"line_color": "colour", "line_width": "width", "line_alpha": "alpha", "line_dash": "dash"}
        plot.add_glyph(self.data, MultiLine(xs="xs", ys="ys", **look))

    def show(self, ways: Iterable[Way]) -> None:
        """Draw these, rounded to thousandths; NaN is a gap.

        As lists: arrays of different lengths would travel in messages of their own, which takes longer.
        """
        ways = list(ways)
        columns = {name: [getattr(way, name) for way in ways] for name in ("source", *Way._fields[3:])}
        columns |= {"xs": [rounded(way.x) for way in ways], "ys": [rounded(way.y) for way in ways]}
        put(self.data, columns | {"halo": [way.width + HALO for way in ways]})

    def of(self, source: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """x and y of the lines of a source that are shown."""
        data = self.data.data
        return [(x, y) for name, x, y in zip(data["source"], data["xs"], data["ys"], strict=True) if name == source]


def rounded(values: np.ndarray) -> list[float]:
    return values.astype(float).round(3).tolist()
