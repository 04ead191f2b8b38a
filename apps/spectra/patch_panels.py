"""What a patch does not see, as bars: the correlation left between its middle and its edge, for each variable."""

from __future__ import annotations

import numpy as np
import xarray as xr
from bokeh.models import BoxAnnotation, ColumnDataSource, FixedTicker, LabelSet, Legend, LegendItem, Range1d, Span
from bokeh.plotting import figure

from apps.parts.sources import put
from labkit.plots.scales import DIRECTION_COLOURS
from labkit.variables import plain
from labkit.verify.reach import FELT, TOLD

MEANING = (
    "How much of what happens in the middle of a patch could be told from a cell just beyond its edge, which the "
    f"network never sees, with 95 % intervals. Shaded: more than {TOLD:.0%} of the variance, the patch is too small."
)
OFFSETS = {"y": -0.19, "x": 0.19}


class Left:
    """Two bars a variable, along y and along x. Where they reach into the shaded part the edge is felt in the middle:
    what happens there is tied to weather that the network is never shown."""

    def __init__(self) -> None:
        title = "Correlation left between the middle of a patch and its edge"
        look = {"tools": "", "toolbar_location": None, "sizing_mode": "stretch_width", "height": 190}
        self.figure = plot = figure(title=title, x_range=Range1d(-0.25, 1.25), y_range=Range1d(1, -1), **look)
        for side, level in (("left", FELT), ("right", -FELT)):
            plot.add_layout(BoxAnnotation(**{side: level}, fill_color="#b84a20", fill_alpha=0.10, level="underlay"))
            plot.add_layout(Span(location=level, dimension="height", line_color="#b84a20", line_dash="dotted"))
        plot.add_layout(Span(location=0, dimension="height", line_color="#888888"))
        self.bars, items = {}, []
        for direction, colour in DIRECTION_COLOURS.items():
            columns = ("at", "value", "low", "high", "text", "end")
            self.bars[direction] = data = ColumnDataSource({name: [] for name in columns})
            bars = plot.hbar("at", right="value", height=0.34, source=data, color=colour)
            plot.segment(x0="low", x1="high", y0="at", y1="at", source=data, line_color="#666666", line_width=1.5)
            items.append(LegendItem(label=f"along {direction}", renderers=[bars]))
            small = {"text_font_size": "11px", "text_color": "#7d7d7d", "text_baseline": "middle", "x_offset": 5}
            plot.add_layout(LabelSet(x="end", y="at", text="text", source=data, **small))
        plot.add_layout(Legend(items=items, label_text_font_size="11px", orientation="horizontal"), "below")
        plot.xaxis.ticker = FixedTicker(ticks=[0, 0.25, 0.5, 0.75, 1])
        plot.yaxis.ticker = FixedTicker(ticks=[])
        plot.ygrid.visible = False

    def show(self, left: xr.Dataset) -> None:
        """left: of `patch_size.remaining`, over (variable, direction)."""
        names = [plain(name, 24) for name in left["variable"].values]
        for direction, data in self.bars.items():
            one = left.sel(direction=direction)
            there = np.nan_to_num(
                one.half.values
            )  # no bar where nothing lies beyond or nothing is known: the text says
            low, high = (one[bound].fillna(one.half).fillna(0).values for bound in ("low", "high"))
            columns = {"at": np.arange(len(names)) + OFFSETS[direction], "value": there, "low": low, "high": high}
            texts = [_told(one.isel(variable=i)) for i in range(len(names))]
            put(data, columns | {"end": np.maximum(high, 0), "text": texts})
        self.figure.y_range.update(start=len(names) - 0.5, end=-0.5)
        self.figure.height = 120 + 46 * len(names)
        self.figure.yaxis.ticker.ticks = list(range(len(names)))
        self.figure.yaxis.major_label_overrides = dict(enumerate(names))


def _told(one: xr.Dataset) -> str:
    """What stands beside a bar."""
    if not one.cut:
        return "nothing lies beyond"
    if np.isnan(one.half):
        return "not known: one time"
    sure = ", too few times to say how sure" if np.isnan(one.low) else ""
    return f"{float(one.half):.2f}, {float(one.half) ** 2:.0%} of the variance{sure}"
