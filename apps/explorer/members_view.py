"""Members: a postage stamp of each, on one colour scale; click one to choose it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import panel_material_ui as pmui
from bokeh.events import Tap
from bokeh.models import ColumnDataSource, LinearColorMapper, Range1d
from bokeh.plotting import figure

from apps.explorer import sentences
from apps.explorer.maps_view import value_look
from apps.parts.runs import Run
from apps.parts.scale import Look, bar_figure, color_bar, set_bar
from apps.parts.sources import put
from apps.parts.view import View, choice, html, picture, row, widgets

MAX_STAMP = 96


class Mosaic:
    """Pictures of one shape (y, x) in rows, drawn as a single image; `on_choose(k)` hears which was clicked.

    aspect: width over height of the figure; the pictures are put in so many columns that they fill it best.
    """

    def __init__(self, *, aspect: float = 2.0, on_choose: Callable[[int], None] = lambda k: None) -> None:
        self.aspect = aspect
        self.image = ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []})
        self.labels = ColumnDataSource({"x": [], "y": [], "text": []})
        self.frame = ColumnDataSource({"left": [], "right": [], "bottom": [], "top": [], "colour": []})
        self.mapper = LinearColorMapper(palette=["#cccccc"], low=0, high=1, nan_color="rgba(0,0,0,0)")
        self.bar = color_bar(self.mapper)
        self.bar_figure = bar_figure(self.bar)
        self.figure = self._figure(on_choose)
        self.arrange(np.arange(2.0), np.arange(2.0), 1)

    def arrange(self, x: np.ndarray, y: np.ndarray, n: int) -> None:
        """Make room for n pictures on the grid with axes x, y."""
        ny, nx = len(y), len(x)
        self.n, self.stride = n, -(-max(ny, nx) // MAX_STAMP)
        self.ny, self.nx = -(-ny // self.stride), -(-nx // self.stride)
        self.flip = slice(None, None, 1 if y[-1] >= y[0] else -1)
        self.gap = max(self.ny // 24, 1)
        self.columns = min(range(1, n + 1), key=self._waste)
        self.rows = -(-n // self.columns)
        width, height = self._size(self.columns)
        width, height = max(width, self.aspect * height), max(height, width / self.aspect)
        for source in (self.image, self.labels, self.frame):
            source.data = {name: [] for name in source.data}
        self.figure.x_range.update(start=0, end=width)
        self.figure.y_range.update(start=self._size(self.columns)[1] - height, end=self._size(self.columns)[1])

    def show(self, fields: np.ndarray, names: list[str], look: Look) -> None:
        """Show `fields` (n, y, x), NaN where there is none yet."""
        width, height = self._size(self.columns)
        canvas = np.full((height, width), np.nan, np.float32)
        for k, field in enumerate(fields):
            x, y = self.corner(k)
            canvas[y : y + self.ny, x : x + self.nx] = field[self.flip][:: self.stride, :: self.stride]
        set_bar(self.bar, look)
        self.bar_figure.title.text = look.unit
        self.image.data = {"image": [canvas], "x": [0], "y": [0], "dw": [width], "dh": [height]}
        corners = [self.corner(k) for k in range(len(names))]
        put(self.labels, {"x": [c[0] for c in corners], "y": [c[1] + self.ny for c in corners], "text": names})

    def mark(self, marks: list[tuple[int, str]]) -> None:
        """Frame the pictures (index, colour)."""
        corners = [self.corner(k) for k, _ in marks]
        edges = {
            "left": [x for x, _ in corners],
            "right": [x + self.nx for x, _ in corners],
            "bottom": [y for _, y in corners],
            "top": [y + self.ny for _, y in corners],
        }
        put(self.frame, edges | {"colour": [colour for _, colour in marks]})

    def corner(self, k: int) -> tuple[int, int]:
        """Lower left cell of picture k; the first is at the upper left."""
        step_x, step_y = self.nx + self.gap, self.ny + self._head
        return (k % self.columns) * step_x, (self.rows - 1 - k // self.columns) * step_y

    def index(self, x: float, y: float) -> int | None:
        """The picture at a place of the mosaic, None between them."""
        hits = (k for k in range(self.n) if self._inside(self.corner(k), x, y))
        return next(hits, None)

    @property
    def _head(self) -> int:
        return self.gap + max(self.ny // 7, 6)

    def _inside(self, corner: tuple[int, int], x: float, y: float) -> bool:
        return corner[0] <= x < corner[0] + self.nx and corner[1] <= y < corner[1] + self.ny

    def _size(self, columns: int) -> tuple[int, int]:
        return columns * (self.nx + self.gap) - self.gap, -(-self.n // columns) * (self.ny + self._head)

    def _waste(self, columns: int) -> float:
        width, height = self._size(columns)
        return max(width, self.aspect * height) * max(height, width / self.aspect)

    def _figure(self, on_choose: Callable[[int], None]) -> figure:
        look = {"sizing_mode": "scale_width", "aspect_ratio": self.aspect, "toolbar_location": None, "tools": ""}
        plot = figure(x_range=Range1d(0, 1), y_range=Range1d(0, 1), min_border=2, **look)
        plot.axis.visible = plot.grid.visible = False
        plot.outline_line_color = None
        plot.image("image", x="x", y="y", dw="dw", dh="dh", source=self.image, color_mapper=self.mapper)
        plot.text("x", "y", "text", source=self.labels, text_font_size="11px", text_color="#7d7d7d", y_offset=-1)
        quad = {"left": "left", "right": "right", "bottom": "bottom", "top": "top", "source": self.frame}
        plot.quad(fill_alpha=0, line_color="colour", line_width=3, **quad)
        plot.on_event(Tap, lambda event: (k := self.index(event.x, event.y)) is not None and on_choose(k))
        return plot

    def row(self, *, margin: int) -> pmui.Row:
        """The pictures and their colour bar, no taller than the window less `margin` pixels."""
        fit = f"calc((100vh - {margin}px) * {self.aspect:.3f})"
        return row(picture(self.figure, width=fit), self.bar_figure)


class MembersView(View):
    tab, title = "members", "Members"
    uses = ("variable", "time", "member", "scale", "stamps")

    def build(self, run: Run) -> list:
        self.extra = [s for s in ("truth", "mean") if any(run.has(s, v) for v in run.variables)]
        self.total = run.n_members + len(self.extra)
        self.mosaic = Mosaic(on_choose=self._choose)
        self.mosaic.arrange(run.x, run.y, self.total)
        whose = (
            {"Model": "prediction", "Oracle": "oracle"} if "oracle" in run.tree.children else {"Model": "prediction"}
        )
        controls = widgets(
            choice(self.state.param.stamps, whose, "Members of", visible=len(whose) > 1),
            html("Play through the members with the player on the left.", faint=True, margin=(12, 8)),
        )
        return [controls, self.mosaic.row(margin=260)]

    def draw(self, run: Run) -> None:
        state = self.state
        source = state.stamps if run.has(state.stamps, state.variable) else "prediction"
        members = run.members(state.variable, state.time, source=source)
        first = [run.field(s, state.variable, state.time) for s in self.extra]
        names = [sentences.source_label(run, s, 0) for s in self.extra]
        names += [sentences.source_label(run, source, k) for k in range(run.n_members)]
        self.mosaic.show(np.concatenate([np.stack(first), members]), names, value_look(run, state))
        self.mosaic.mark([(0, "#e8590c"), (len(self.extra) + state.member, "#d6006c")])

    def sentence(self, run: Run) -> str:
        return sentences.members_sentence(run, self.state)

    def _choose(self, k: int) -> None:
        if k >= len(self.extra):
            self.state.member = k - len(self.extra)
