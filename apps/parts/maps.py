"""Linked maps drawn straight with Bokeh: one model a map, of which a slider step replaces nothing but the pixels.

HoloViews takes 0.5 s to make six such maps and 90 ms a step to update them; this takes 0.1 s and 5 ms. Pixels travel
as 16-bit numbers on one linear scale, so that six maps of 256 x 256 cells stay below a megabyte a step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from bokeh.events import MouseLeave, MouseMove, RangesUpdate, SelectionGeometry, Tap
from bokeh.layouts import gridplot
from bokeh.models import (
    AllIndices,
    BoxSelectTool,
    BoxZoomTool,
    CDSView,
    ColumnDataSource,
    CrosshairTool,
    CustomJS,
    GlyphRenderer,
    Image,
    Label,
    MultiLine,
    PanTool,
    PrintfTickFormatter,
    Quad,
    Range1d,
    ResetTool,
    Scatter,
    Span,
    Text,
    WheelZoomTool,
)
from bokeh.models.glyphs import Glyph
from bokeh.plotting import figure

from apps.parts.runs import Run
from apps.parts.scale import Look, Scale, bar_figure
from apps.parts.sources import put

MAX_CELLS = 65536
_FRAME = 280  # nominal height of a map in pixels, by which its borders are added to its shape

_READOUT = """
for (let k = 0; k < labels.length; k++) {
  const {offset, step, digits, unit} = metas[k].data;
  const d = sources[k].data, image = d.image[0], label = labels[k];
  const [ny, nx] = image.shape;
  const j = Math.floor((cb_obj.x - d.x[0]) / d.dw[0] * nx), i = Math.floor((cb_obj.y - d.y[0]) / d.dh[0] * ny);
  const inside = i >= 0 && j >= 0 && i < ny && j < nx;
  const value = inside ? image[i * nx + j] * step[0] + offset[0] : NaN;
  label.text = Number.isNaN(value) ? "no data" : value.toFixed(digits[0]) + " " + unit[0];
  label.visible = inside;
}
"""
_HIDE = "for (const label of labels) label.visible = false;"


class MapGrid:
    """Maps of one run side by side: linked zoom and cross-hair, the value under the mouse in each.

    `titles` names the maps by key, in their order. They share one colour scale, whose `bar` stands beside `layout`;
    with `scales="own"` each has its own, drawn with it.
    """

    def __init__(
        self,
        run: Run,
        titles: Mapping[str, str],
        *,
        columns: int = 3,
        scales: str = "shared",
        on_tap: Callable[[float, float], None] | None = None,
        on_box: Callable[[float, float, float, float], None] | None = None,
    ) -> None:
        self.run, self.keys = run, list(titles)
        west, south, east, north = run.extent
        self._x_range = Range1d(west, east, bounds=(west, east), min_interval=2 * run.spacing_km[1])
        self._y_range = Range1d(south, north, bounds=(south, north), min_interval=2 * run.spacing_km[0])
        shared = Scale()
        self.scales = {key: Scale() if scales == "own" else shared for key in self.keys}
        self.marker = ColumnDataSource({"x": [], "y": []})
        self.box = ColumnDataSource({"x0": [], "y0": [], "x1": [], "y1": []})
        self.coast, self.graticule, self.degrees = _line_sources(run)
        self.sources = {key: ColumnDataSource({k: [] for k in ("image", "x", "y", "dw", "dh")}) for key in self.keys}
        self.arrows = {key: ColumnDataSource({"xs": [], "ys": []}) for key in self.keys}
        self._lines: list[GlyphRenderer] = []
        self._glyphs, self._all = _glyphs(), AllIndices()
        self._shifts: dict[str, tuple[float, float]] = {}
        self._window: tuple = (None, None)
        self._shown: dict[str, tuple] = {}
        self._fields: dict[str, np.ndarray] = {}
        self.stride = (1, 1)
        crosshair = [Span(dimension=d, line_alpha=0.6, line_width=1, line_color="#888888") for d in ("width", "height")]
        self.figures = {
            key: self._figure(
                title, crosshair, edge=i % columns == 0, lowest=i + columns >= len(self.keys), own=scales == "own"
            )
            for i, (key, title) in enumerate(titles.items())
        }
        for key, plot in self.figures.items():
            self._add_layers(key, plot, named=key == self.keys[0])
            if scales == "own":
                plot.add_layout(self.scales[key].bar, "right")
        self._connect(on_tap, on_box)
        plots = list(self.figures.values())
        rows = [plots[i : i + columns] for i in range(0, len(plots), columns)]
        options = {"toolbar_location": "above", "toolbar_options": {"logo": None}, "merge_tools": True}
        self.layout = gridplot(rows, sizing_mode="stretch_width", **options)
        self.bar = None if scales == "own" else bar_figure(shared.bar)

    def update(self, fields: Mapping[str, tuple[tuple, np.ndarray]], looks: Look | Mapping[str, Look]) -> None:
        """Show `fields`: (token, (y, x) array) by key; a map whose token and scale have not changed is left alone."""
        self._fields = {key: array for key, (_, array) in fields.items()}
        if isinstance(looks, Look):
            self.bar.title.text = looks.unit
            looks = {self.keys[0]: looks}
        for key, look in looks.items():
            scale = self.scales[key]
            mine = [k for k in fields if self.scales[k] is scale]
            if scale.fit(look, [self._fields[k] for k in mine]):
                self._shown = {k: token for k, token in self._shown.items() if k not in mine}
        for key, (token, _) in fields.items():
            if self._shown.get(key) != token:
                self._send(key)
                self._shown[key] = token

    def set_title(self, key: str, title: str) -> None:
        self.figures[key].title.text = title

    def set_place(self, point: tuple[float, float], box: tuple[float, ...] | None) -> None:
        """Mark the chosen point, or the chosen box."""
        put(self.marker, {"x": [], "y": []} if box else {"x": [point[0]], "y": [point[1]]})
        self.set_boxes([box] if box else [])

    def set_boxes(self, boxes: Sequence[tuple[float, ...]]) -> None:
        """Draw boxes (west, south, east, north) in km."""
        put(self.box, {name: [box[i] for box in boxes] for i, name in enumerate(("x0", "y0", "x1", "y1"))})

    def set_window(self, x: tuple[float, float] | None, y: tuple[float, float] | None) -> None:
        """Show this part of the axes, which may reach beyond the grid; the whole grid for None. A zoom since outlasts
        what was asked for before."""
        if self._window == (x, y):
            return
        self._window = x, y
        west, south, east, north = self.run.extent
        for view, window, edges in ((self._x_range, x, (west, east)), (self._y_range, y, (south, north))):
            start, end = window or edges
            view.update(start=start, end=end, reset_start=start, reset_end=end, bounds=None if window else edges)

    def set_shifts(self, shifts: Mapping[str, tuple[float, float]]) -> None:
        """Draw maps, by key, with a place (x, y in km) of their own at the origin; to be set before `update`."""
        moved = {key for key in self.keys if shifts.get(key) != self._shifts.get(key)}
        self._shifts = dict(shifts)
        self._shown = {key: token for key, token in self._shown.items() if key not in moved}

    def set_lines(self, visible: bool) -> None:
        for renderer in self._lines:
            renderer.visible = visible

    def set_arrows(self, key: str, u: np.ndarray | None, v: np.ndarray | None) -> None:
        """Wind arrows on one map: u, v (y, x); None for none."""
        put(self.arrows[key], {"xs": [], "ys": []} if u is None else arrow_lines(self.run, u, v))

    def _send(self, key: str) -> None:
        x, y = self._shifts.get(key, (0.0, 0.0))
        cells, west, south, width, height = self._visible(self._fields[key], x, y)
        image = self.scales[key].encode(cells)
        self.sources[key].data = {"image": [image], "x": [west - x], "y": [south - y], "dw": [width], "dh": [height]}

    def _visible(self, field: np.ndarray, x: float, y: float) -> tuple[np.ndarray, float, float, float, float]:
        """The cells in view, as means of blocks where there are more than MAX_CELLS, with their edges."""
        dy, dx = self.run.spacing_km
        west, south, _, _ = self.run.extent
        field = field[:: 1 if self.run.y[-1] >= self.run.y[0] else -1, :: 1 if self.run.x[-1] >= self.run.x[0] else -1]
        rows = _window(self._y_range, south - y, dy, field.shape[0])
        columns = _window(self._x_range, west - x, dx, field.shape[1])
        part = field[slice(*rows), slice(*columns)]
        k = int(np.ceil(np.sqrt(part.size / MAX_CELLS)))
        self.stride = (k, k)
        part = _block_mean(part, k)
        height, width = part.shape[0] * k * dy, part.shape[1] * k * dx
        return part, west + columns[0] * dx, south + rows[0] * dy, width, height

    def _figure(self, title: str, crosshair: list[Span], *, edge: bool, lowest: bool, own: bool) -> figure:
        west, south, east, north = self.run.extent
        plot = figure(
            title=title,
            x_range=self._x_range,
            y_range=self._y_range,
            sizing_mode="scale_width",
            aspect_ratio=_shape(east - west, north - south, axis=lowest, bar=own),
            min_border=4,
            min_border_left=54,
            tools=[PanTool(), WheelZoomTool(), BoxZoomTool(match_aspect=True), ResetTool()],
        )
        plot.add_tools(CrosshairTool(overlay=crosshair))
        plot.grid.visible = False
        plot.yaxis.visible, plot.xaxis.visible = edge, lowest
        plot.axis.formatter = PrintfTickFormatter(format="%d km")
        plot.axis.ticker.desired_num_ticks = 3
        return plot

    def _add_layers(self, key: str, plot: figure, *, named: bool) -> None:
        image = Image(image="image", x="x", y="y", dw="dw", dh="dh", color_mapper=self.scales[key].mapper)
        under = [(self.graticule, "graticule"), (self.coast, "halo"), (self.coast, "line")]
        under += [(self.degrees, "degrees")] if named else []
        over = [(self.arrows[key], "halo"), (self.arrows[key], "line")]
        over += [(self.marker, "ring halo"), (self.marker, "ring"), (self.box, "box")]
        lines, marks = ([self._layer(source, self._glyphs[name]) for source, name in pairs] for pairs in (under, over))
        self._lines += lines
        plot.renderers.extend([self._layer(self.sources[key], image), *lines, *marks])

    def _layer(self, source: ColumnDataSource, glyph: Glyph) -> GlyphRenderer:
        """A layer that shares its glyph: `figure.line` and its kin make seven models more for each."""
        return GlyphRenderer(data_source=source, glyph=glyph, view=CDSView(filter=self._all))

    def _connect(self, on_tap, on_box) -> None:
        labels = [_readout_label() for _ in self.keys]
        for plot, label in zip(self.figures.values(), labels, strict=True):
            plot.add_layout(label)
        shared = {"labels": labels, "sources": [self.sources[k] for k in self.keys]}
        shared["metas"] = [self.scales[k].meta for k in self.keys]
        move, leave = CustomJS(args=shared, code=_READOUT), CustomJS(args={"labels": labels}, code=_HIDE)
        for plot in self.figures.values():
            plot.js_on_event(MouseMove, move)
            plot.js_on_event(MouseLeave, leave)
            if on_tap:
                plot.on_event(Tap, lambda event: on_tap(event.x, event.y))
            if on_box:
                plot.add_tools(BoxSelectTool())
                plot.on_event(SelectionGeometry, lambda event: _boxed(event, on_box))
        if self.run.x.size * self.run.y.size > MAX_CELLS:
            self.figures[self.keys[0]].on_event(RangesUpdate, self._zoomed)

    def _zoomed(self, event) -> None:
        """Send the cells in view in finer blocks after a zoom or pan of a grid too large to be sent whole."""
        self._x_range.update(start=event.x0, end=event.x1)
        self._y_range.update(start=event.y0, end=event.y1)
        for key in self._fields:
            self._send(key)


def arrow_lines(run: Run, u: np.ndarray, v: np.ndarray, n: int = 15) -> dict[str, list]:
    """Arrows (xs, ys in km) of the wind on about n x n places; the longest is as long as their distance."""
    step = max(int(np.ceil(max(u.shape) / n)), 1)
    pick = slice(step // 2, None, step)
    u, v = u[pick, pick], v[pick, pick]
    x, y = np.meshgrid(run.x[pick], run.y[pick])
    longest = np.nanmax(np.hypot(u, v))
    scale = step * max(run.spacing_km) / longest if np.isfinite(longest) and longest > 0 else 0.0
    dx, dy = u * scale, v * scale
    tip_x, tip_y = x + dx / 2, y + dy / 2
    side = [(tip_x - 0.3 * dx - s * 0.16 * dy, tip_y - 0.3 * dy + s * 0.16 * dx) for s in (1, -1)]
    xs = np.stack([x - dx / 2, tip_x, side[0][0], tip_x, side[1][0]], axis=-1)
    ys = np.stack([y - dy / 2, tip_y, side[0][1], tip_y, side[1][1]], axis=-1)
    there = np.isfinite(xs).all(-1)
    return {"xs": list(xs[there].round(1)), "ys": list(ys[there].round(1))}


def _window(view: Range1d, start: float, spacing: float, n: int) -> tuple[int, int]:
    low = int(np.clip(np.floor((view.start - start) / spacing), 0, n - 1))
    return low, int(np.clip(np.ceil((view.end - start) / spacing), low + 1, n))


def _block_mean(field: np.ndarray, k: int) -> np.ndarray:
    """Means over k x k cells; the last rows and columns are repeated to fill whole blocks."""
    if k == 1:
        return field
    ny, nx = (-(-n // k) * k for n in field.shape)
    padded = np.pad(field, ((0, ny - field.shape[0]), (0, nx - field.shape[1])), mode="edge")
    return padded.reshape(ny // k, k, nx // k, k).mean(axis=(1, 3))


def _line_sources(run: Run) -> tuple[ColumnDataSource, ColumnDataSource, ColumnDataSource]:
    def source(lines: list[np.ndarray]) -> ColumnDataSource:
        return ColumnDataSource({"xs": [a[:, 0].round(2) for a in lines], "ys": [a[:, 1].round(2) for a in lines]})

    names = [name for name, _ in run.graticule]
    ends = [line[np.argmin(line[:, 1] if name[-1] in "EW" else line[:, 0])] for name, line in run.graticule]
    degrees = ColumnDataSource({"x": [e[0] for e in ends], "y": [e[1] for e in ends], "text": names})
    return source(run.coast), source([line for _, line in run.graticule]), degrees


def _glyphs() -> dict[str, Glyph]:
    """Glyphs that all maps of a grid share, by name; dark lines have a white one under them."""
    text = {"text_font_size": "10px", "text_color": "#303030"}
    text |= {"background_fill_color": "#ffffff", "background_fill_alpha": 0.7}
    ring = {"x": "x", "y": "y", "size": 13, "fill_color": None}
    return {
        "graticule": MultiLine(xs="xs", ys="ys", line_color="#808080", line_alpha=0.55, line_dash=[2, 4]),
        "halo": MultiLine(xs="xs", ys="ys", line_color="white", line_alpha=0.65, line_width=2.6),
        "line": MultiLine(xs="xs", ys="ys", line_color="#202020", line_width=1.1),
        "degrees": Text(x="x", y="y", text="text", x_offset=3, y_offset=-2, **text),
        "ring halo": Scatter(**ring, line_color="white", line_width=4),
        "ring": Scatter(**ring, line_color="#d6006c", line_width=2),
        "box": Quad(left="x0", right="x1", bottom="y0", top="y1", fill_alpha=0, line_color="#d6006c", line_width=2),
    }


def _readout_label() -> Label:
    return Label(
        x=6,
        y=6,
        x_units="screen",
        y_units="screen",
        text="",
        visible=False,
        text_font_size="12px",
        text_color="#111111",
        background_fill_color="#ffffff",
        background_fill_alpha=0.85,
        padding=3,
    )


def _shape(width: float, height: float, *, axis: bool, bar: bool) -> float:
    """Width over height of a figure whose frame has the shape of the grid, once borders and title are added."""
    frame = np.clip(width / height, 0.4, 2.5) * _FRAME
    return float((frame + 62 + 60 * bar) / (_FRAME + 34 + 24 * axis))


def _boxed(event: SelectionGeometry, on_box: Callable) -> None:
    shape = event.geometry
    if event.final and shape and shape.get("type") == "rect":
        on_box(shape["x0"], shape["y0"], shape["x1"], shape["y1"])
