"""The colours of maps: one mapper and its bar, with the pixels sent as 16-bit steps on a linear scale."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from bokeh.models import ColorBar, ColumnDataSource, FixedTicker, LinearColorMapper, Range1d
from bokeh.plotting import figure

from apps.parts.sources import put
from labkit.plots.colours import nice_step

LEVELS = 65534
NO_DATA = "rgba(128,128,128,0.25)"


@dataclass(frozen=True)
class Look:
    """How values are shown: colour limits, colours, the unit behind a value."""

    limits: tuple[float, float]
    colours: Sequence[str]
    unit: str


def _mapper() -> LinearColorMapper:
    return LinearColorMapper(palette=["#000000"], low=0, high=1, nan_color=NO_DATA)


def _meta() -> ColumnDataSource:
    return ColumnDataSource({"offset": [0.0], "step": [1.0], "digits": [1], "unit": [""]})


@dataclass
class Scale:
    """One colour scale: `mapper` works on steps, `bar_mapper` on values; `meta` tells the browser how they relate."""

    mapper: LinearColorMapper = field(default_factory=_mapper)
    bar_mapper: LinearColorMapper = field(default_factory=_mapper)
    meta: ColumnDataSource = field(default_factory=_meta)

    def __post_init__(self) -> None:
        self.bar = color_bar(self.bar_mapper)

    def fit(self, look: Look, fields: Iterable[np.ndarray]) -> bool:
        """Take on a look; True where pixels sent before no longer mean the same values."""
        offset, step = _steps(look.limits, fields)
        changed = (offset, step) != (self.meta.data["offset"][0], self.meta.data["step"][0])
        low, high = look.limits
        digits = int(np.clip(np.ceil(2 - np.log10(max(high - low, 1e-12))), 0, 6))
        put(self.meta, {"offset": [offset], "step": [step], "digits": [digits], "unit": [look.unit]})
        self.mapper.update(palette=list(look.colours), low=(low - offset) / step, high=(high - offset) / step)
        set_bar(self.bar, look)
        return changed

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Steps of the values: 16-bit whole numbers, or float32 where some are NaN."""
        scaled = (values - self.meta.data["offset"][0]) / self.meta.data["step"][0]
        return np.rint(scaled).astype(np.uint16) if np.isfinite(scaled).all() else scaled.astype(np.float32)


def color_bar(mapper: LinearColorMapper) -> ColorBar:
    return ColorBar(color_mapper=mapper, ticker=FixedTicker(ticks=[]), width=14, padding=4, bar_line_color=None)


def set_bar(bar: ColorBar, look: Look) -> None:
    """Fit a bar of `color_bar` and its mapper to a look. A new ticker would have Bokeh walk over the whole page."""
    bar.color_mapper.update(palette=list(look.colours), low=look.limits[0], high=look.limits[1])
    bar.ticker.ticks = ticks(look.limits)


def bar_figure(bar: ColorBar) -> figure:
    """A figure that holds nothing but a colour bar; its title is the unit."""
    unit = Range1d(0, 1)
    plot = figure(title=" ", width=84, sizing_mode="stretch_height", x_range=unit, y_range=unit, toolbar_location=None)
    plot.update(min_border=0, min_border_bottom=12, outline_line_color=None)
    plot.rect([0.5], [0.5], 1, 1, alpha=0)
    plot.axis.visible = plot.grid.visible = False
    plot.add_layout(bar, "left")
    return plot


def ticks(limits: tuple[float, float]) -> list[float]:
    """Round values within the limits, about eight."""
    step = nice_step((limits[1] - limits[0]) / 8)
    first, last = np.ceil(limits[0] / step - 1e-9), np.floor(limits[1] / step + 1e-9)
    return [float(round(i * step, 10)) for i in np.arange(first, last + 1)]


def _steps(limits: tuple[float, float], fields: Iterable[np.ndarray]) -> tuple[float, float]:
    """Offset and step that carry every value into 0..65534; the same at each time unless an outlier needs more."""
    width = limits[1] - limits[0]
    low, high = limits[0] - 2 * width, limits[1] + 2 * width
    for values in fields:
        if np.isfinite(values).any():
            low, high = min(low, float(np.nanmin(values))), max(high, float(np.nanmax(values)))
    return low, (high - low) / LEVELS
