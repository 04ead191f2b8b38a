"""Products: paintball, spaghetti, matched means, neighbourhoods, extreme members and clusters, beside the truth."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from html import escape

import numpy as np
import panel as pn
import panel_material_ui as pmui
from bokeh.models import ColumnDataSource, ImageRGBA, MultiLine

from apps.explorer.maps_view import map_row, value_look
from apps.explorer.probability_view import fit_threshold, threshold_slider
from apps.explorer.products import PRODUCTS, SEVERITIES, Choice, Outcome, choice_of, make, options_of
from apps.parts.maps import MAX_CELLS, MapGrid
from apps.parts.runs import Run
from apps.parts.scale import Look
from apps.parts.sources import put
from apps.parts.view import View, choice, column, failure, html, select, set_text, widgets
from labkit.errors import LabError
from labkit.plots.colours import PROBABILITIES, SOURCE_COLOURS, member_style, palette
from labkit.plots.products import joined_lines, paint
from labkit.variables import plain

# Values of the members that take a tenth of a second at most; the two slow products take four times as long for each.
AT_ONCE = 6_000_000
SLOW = ("matched", "neighbourhood")
MAX_NAMED = 72
SHARES = [f"#{v:02x}{v:02x}{v:02x}" for v in range(255, 175, -5)]


class ProductsView(View):
    tab, title = "products", "Products"
    uses = (
        "product",
        "variable",
        "time",
        "member",
        "threshold",
        "percentile",
        "radius",
        "by",
        "clusters",
        "scale",
        "point",
        "box",
        "lines",
    )

    def build(self, run: Run) -> list:
        state = self.state.param
        slider = {"description": "", "size": "small", "width": 230, "margin": (8, 16)}
        self.radius = pmui.FloatSlider(label="Neighbourhood radius [km]", size="small", width=230, margin=(8, 16))
        self.radius.param.watch(lambda event: self.state.param.update(radius=float(event.new)), "value_throttled")
        self.controls = {
            "threshold": threshold_slider(self.state, width=230),
            "radius_km": self.radius,
            "percentile": pmui.IntSlider.from_param(state.percentile, label="Percentile", **slider),
            "by": choice(state.by, SEVERITIES, "Extreme by"),
            "number": pmui.IntSlider.from_param(state.clusters, label="Clusters", **slider),
        }
        self.legend = pn.pane.HTML(sizing_mode="stretch_width", margin=(0, 12))
        self.listed = html(faint=True, margin=(0, 12))
        self.stage = column(margin=(0, 16, 0, 0))  # a grid of figures is a little wider than the room it is given
        self.layers: Layers | None = None
        self.outcome, self.problem, self._choice, self._arranged = None, "", None, None
        chooser = select(state.product, {label: key for key, label in PRODUCTS.items()}, "Product", width=290)
        controls = widgets(chooser, *self.controls.values())
        return [controls, self.legend, self.listed, self.stage]

    def draw(self, run: Run) -> None:
        self._fit_controls(run)
        wanted = choice_of(self.state)
        if wanted == self._choice and self.outcome:
            self._show_outcome(run)
            return
        self._choice, self.outcome, self.problem = wanted, None, ""
        future = self._future(run, wanted)
        if not self.when_done(future, partial(self._show, run, wanted)):
            self.stage.loading = True

    def sentence(self, run: Run) -> str:
        return self.problem or (self.outcome.sentence if self.outcome else "Working out the product ...")

    def _future(self, run: Run, wanted: Choice) -> Future:
        work = partial(make, run, wanted)
        values = run.n_members * run.x.size * run.y.size
        if values * (4 if wanted.product in SLOW else 1) > AT_ONCE:
            return self.session.library.compute((run.id, wanted), work)
        future: Future = Future()
        try:
            future.set_result(work())
        except LabError as error:
            future.set_exception(error)
        return future

    def _show(self, run: Run, wanted: Choice, future: Future) -> None:
        if wanted != self._choice:
            return
        late, self.stage.loading = self.stage.loading, False
        self.problem = failure(future)
        if not self.problem:
            self.outcome = future.result()
            with pn.io.hold():
                self._show_outcome(run)
        if late:
            self.session.announce(self.sentence(run))

    def _show_outcome(self, run: Run) -> None:
        state, outcome = self.state, self.outcome
        arranged = (state.product, tuple(outcome.panels))
        if new := arranged != self._arranged:
            self._arrange(run, outcome)
            self._arranged = arranged
        self.grid.update(
            {key: ((self._choice, key), panel.values) for key, panel in outcome.panels.items()}, self._looks(run)
        )
        for key, panel in outcome.panels.items():
            self.grid.set_title(key, panel.title)
        if self.layers:
            self._show_members(run)
        set_text(self.listed, outcome.members[:1].upper() + outcome.members[1:])
        self.grid.set_place(state.point, state.box)
        self.grid.set_lines(state.lines)
        if new:  # only now: a figure that changes before it is laid out is an error in BokehJS
            self.stage.objects = [map_row(self.grid, rows=1 if len(outcome.panels) < 4 else 2)]

    def _arrange(self, run: Run, outcome: Outcome) -> None:
        """Maps for another product; a step within one only changes what they show."""
        titles = {key: panel.title for key, panel in outcome.panels.items()}
        drawn = self.state.product in ("paintball", "spaghetti")
        columns = 2 if len(titles) in (2, 4) else 3
        scales = "own" if drawn else "shared"
        self.grid = MapGrid(run, titles, columns=columns, scales=scales, on_tap=self.state.select_point)
        self.layers = Layers(self.grid) if drawn else None
        self.legend.visible, self.listed.visible = drawn, self.state.product == "clusters"

    def _looks(self, run: Run) -> Look | dict[str, Look]:
        values = value_look(run, self.state)
        if self.layers:
            return {"product": Look((0.0, 100.0), SHARES, "% of the members"), "truth": values}
        if self.state.product == "neighbourhood":
            return Look((0.0, 100.0), palette(PROBABILITIES), "%")
        return values

    def _show_members(self, run: Run) -> None:
        state = self.state
        members = run.members(state.variable, state.time)
        truth = run.field("truth", state.variable, state.time)
        painted = state.product == "paintball"
        self.layers.show(run, members, truth, state.threshold, chosen=state.member, painted=painted)
        self.legend.object = legend_html(run.member_names, state.member, dashed=not painted)

    def _fit_controls(self, run: Run) -> None:
        used = options_of(self.state)
        for name, control in self.controls.items():
            control.visible = name in used
        fit_threshold(self.controls["threshold"], self.state, run.describe(self.state.variable))
        low, high = self.state.param.radius.bounds
        self.radius.param.update(start=low, end=high, step=max(min(run.spacing_km) / 2, 0.1), value=self.state.radius)


class Layers:
    """What lies over the maps of a paintball or a spaghetti: areas or lines of the members, and the truth's line."""

    def __init__(self, grid: MapGrid) -> None:
        self.painted = ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []})
        self.lines = ColumnDataSource({"xs": [], "ys": [], "colour": [], "dash": [], "width": []})
        self.truth = ColumnDataSource({"xs": [], "ys": []})
        place = {"xs": "xs", "ys": "ys"}
        rgba = ImageRGBA(image="image", x="x", y="y", dw="dw", dh="dh")
        members = MultiLine(**place, line_color="colour", line_dash="dash", line_width="width", line_join="round")
        halo = MultiLine(**place, line_color="white", line_width=4.5, line_alpha=0.8)
        line = MultiLine(**place, line_color=SOURCE_COLOURS["truth"], line_width=2.4)
        plots = grid.figures
        plots["product"].renderers.insert(1, grid._layer(self.painted, rgba))
        plots["product"].renderers.append(grid._layer(self.lines, members))
        for plot in plots.values():
            plot.renderers.extend([grid._layer(self.truth, glyph) for glyph in (halo, line)])

    def show(
        self, run: Run, members: np.ndarray, truth: np.ndarray, threshold: float, *, chosen: int, painted: bool
    ) -> None:
        """members (member, y, x), truth (y, x); the chosen member stands out."""
        put(self.painted, painted_image(run, members, threshold) if painted else {k: [] for k in self.painted.data})
        which = [chosen] if painted else range(len(members))
        styles = [("#111111", "solid") if painted else member_style(k) for k in which]
        lines = [joined_lines(run.x, run.y, members[k], threshold) for k in which]
        look = {
            "colour": [colour for colour, _ in styles],
            "dash": [dash for _, dash in styles],
            "width": [2.0 if painted else 4.0 if k == chosen else 1.4 for k in which],
        }
        put(self.lines, _columns(lines) | look)
        put(self.truth, _columns([joined_lines(run.x, run.y, truth, threshold)]))


def painted_image(run: Run, members: np.ndarray, threshold: float) -> dict[str, list]:
    """The areas above the threshold as the columns of an image; of k x k cells the greatest where there are many."""
    up = (slice(None, None, 1 if run.y[-1] >= run.y[0] else -1), slice(None, None, 1 if run.x[-1] >= run.x[0] else -1))
    k = int(np.ceil(np.sqrt(members[0].size / MAX_CELLS)))
    colours = paint(block_maximum(members[:, *up], k), threshold)
    image = np.ascontiguousarray(colours).view(np.uint32)[..., 0]
    west, south, _, _ = run.extent
    height, width = (n * k * d for n, d in zip(image.shape, run.spacing_km, strict=True))
    return {"image": [image], "x": [west], "y": [south], "dw": [width], "dh": [height]}


def block_maximum(fields: np.ndarray, k: int) -> np.ndarray:
    """Maxima over k x k cells of (..., y, x), so that no small area is lost; the last blocks may be smaller."""
    for axis in (-2, -1) if k > 1 else ():
        fields = np.fmax.reduceat(fields, np.arange(0, fields.shape[axis], k), axis=axis)
    return fields


def legend_html(names: list[str], chosen: int, *, dashed: bool) -> str:
    """The members with their colours (and dashes), the chosen one in bold; every name escaped."""
    dashes = {"solid": "", "dashed": "6 4", "dotted": "2 4", "dashdot": "2 4 6 4"}
    entries = [_entry("truth", SOURCE_COLOURS["truth"], "", "4" if dashed else "3", bold=False)]
    for k, name in enumerate(names[:MAX_NAMED]):
        colour, dash = member_style(k)
        width = "3" if dashed else "12"
        entries.append(_entry(plain(name, 12), colour, dashes[dash] if dashed else "", width, bold=k == chosen))
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    hint = "The chosen member is thick." if dashed else "Grey where many agree; the chosen member is outlined."
    style = "display:flex;flex-wrap:wrap;gap:2px 14px;font-size:12px"
    return f"<div style='{style}'>{''.join(entries)}{more}<span style='opacity:.75'>{hint}</span></div>"


def _entry(name: str, colour: str, dash: str, width: str, *, bold: bool) -> str:
    style = "vertical-align:-1px;background:#fff"  # as on the map, in the dark theme too
    line = (
        f"<svg width='26' height='12' style='{style}'><line x1='0' x2='26' y1='6' y2='6' stroke='{colour}' "
        f"stroke-width='{width}' stroke-dasharray='{dash}'/></svg>"
    )
    weight = "700" if bold else "400"
    return f"<span style='white-space:nowrap;font-weight:{weight}'>{line} {escape(name)}</span>"


def _columns(lines: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
    return {name: [line[:, i].astype(np.float32) for line in lines] for i, name in enumerate(("xs", "ys"))}
