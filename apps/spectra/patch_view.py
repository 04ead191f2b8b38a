"""Patch size: move the patch, see it on the map, what it costs and what it would not see, take what is recommended."""

from __future__ import annotations

from functools import partial
from html import escape

import numpy as np
import panel as pn
import panel_material_ui as pmui

from apps.explorer.runs import Run
from apps.explorer.view import column, row
from apps.spectra.spectra_view import Computed, Region, chosen, quantity_choice
from labkit.plots.colours import plain
from labkit.tiling import tiles
from labkit.verify.patch_size import configuration, cover_cost, reach_warnings, recommend_patch

MULTIPLE = 4  # cells that a side is rounded up to: what the downsampling of the nano and mini networks asks for
SIDES = (("height", "Height of a patch [cells]"), ("width", "Width [cells]"), ("overlap", "Overlap [cells]"))


class PatchView(Computed):
    tab = "patch"
    uses = ("variable", "quantity", "centre", "scope", "box", "height", "width", "overlap")
    working = "Computing how far every variable reaches ..."

    def build(self, run: Run) -> pn.viewable.Viewable:
        state = self.state
        look = {"size": "small", "description": "", "margin": (8, 16), "sizing_mode": "stretch_width"}
        hint = "How patches of this size lie on the domain; neighbours share the cells between two lines."
        self.region = Region(self.session, run, width=540, hint=hint, fixed=True)
        sliders = [pmui.IntSlider.from_param(state.param[name], label=label, **look) for name, label in SIDES]
        self.take = pmui.Button(label="Take the recommendation", size="small", margin=(6, 12), on_click=self._take)
        self.text = pn.pane.HTML(sizing_mode="stretch_width", margin=(4, 12))
        self.body = column(*sliders, self.take, self.text, styles={"flex": "1 1 0", "min-width": "0"})
        return column(quantity_choice(state), row(self.region.column, self.body))

    def touch(self, names: set[str]) -> None:
        super().touch(names)
        self._stale = self._stale or "time" in names

    def draw(self, run: Run) -> None:
        self.region.draw(run)
        self.region.grid.set_boxes(patch_boxes(run, self._patch, self.state.overlap))
        super().draw(run)

    def ask(self, run: Run):
        from labkit.plots.scales import reach_data

        known = [v for v in run.variables if v in run.tree["truth"].data_vars]  # not what is made of others
        names = [v for v in known if self.state.quantity == "raw" or run.has("regression", v)]
        options = chosen(self.state) | {"centre": self.state.centre}
        key = (run.id, "reach", *names, *options.items())
        return key, partial(reach_data, run.tree, names, **options)

    def show_result(self, run: Run) -> None:
        self.advice = recommend_patch(self.result, **self._grid(run), multiple=MULTIPLE)
        self.take.disabled = self.advice.patch == self._patch and self.advice.overlap == self.state.overlap
        self.text.object = patch_html(run, self._patch, self.state.overlap, self.advice, self.result)

    def say(self, run: Run) -> str:
        dx, dy = run.spacing
        ny, nx = self.advice.patch
        return f"Recommended: patches of {ny} x {nx} cells ({ny * dy:.0f} x {nx * dx:.0f} km), {_shared(self.advice)}."

    @property
    def _patch(self) -> tuple[int, int]:
        return self.state.height, self.state.width

    def _grid(self, run: Run) -> dict:
        dx, dy = run.spacing
        return {"spacing_km": (dy, dx), "shape": (len(run.y), len(run.x))}

    def _take(self, event) -> None:
        (height, width), overlap = self.advice.patch, self.advice.overlap
        self.state.param.update(height=height, width=width)
        self.state.overlap = min(overlap, self.state.param.overlap.bounds[1])


def patch_boxes(run: Run, patch: tuple[int, int], overlap: int) -> list[tuple[float, float, float, float]]:
    """Edges (west, south, east, north) in km of the patches as they cover the domain; the first hundred."""
    (west, south, _, _), (dx, dy) = run.extent, run.spacing
    shape = (len(run.y), len(run.x))
    starts = [tiles(n, p, min(overlap, p - 1) if p < n else 0) for n, p in zip(shape, patch, strict=True)]
    corners = [(west + x * dx, south + y * dy) for y in starts[0] for x in starts[1]]
    return [(float(x), float(y), float(x + patch[1] * dx), float(y + patch[0] * dy)) for x, y in corners[:100]]


def patch_html(run: Run, patch: tuple[int, int], overlap: int, advice, reach) -> str:
    """What the patch costs, what it does not see, why another is recommended, and the lines that configure it."""
    (dx, dy), shape = run.spacing, (len(run.y), len(run.x))
    cost = cover_cost(shape, patch, min(overlap, min(patch) - 1))
    said = reach_warnings(reach, patch, spacing_km=(dy, dx), shape=shape)
    warnings = "".join(f"<li class='warn'>{escape(plain(text, 200))}</li>" for text in said)
    reasons = "".join(f"<li>{escape(plain(text, 200))}</li>" for text in advice.reasons)
    lines = "".join(f"<h4>{name}</h4><pre>{escape(text)}</pre>" for name, text in configuration(patch, overlap).items())
    rows = "".join(_reach_row(reach.sel(variable=name), str(name)) for name in reach.variable.values)
    style = (
        "<style>pre{font-size:12px;margin:2px 0} h4{margin:8px 0 0;font-weight:500} li{margin:3px 0}"
        ".warn{color:#b84a20} td,th{padding:2px 14px 2px 0;text-align:right;font-size:13px;font-weight:400}"
        "th{opacity:.7} td:first-child{text-align:left}</style>"
    )
    size = f"{patch[0]} x {patch[1]} cells, {patch[0] * dy:.0f} x {patch[1] * dx:.0f} km"
    rows_columns = f"{cost.counts[0]} x {cost.counts[1]}"
    need = f"{cost.patches} patches cover the domain ({rows_columns}), {cost.waste:.2f} times its cells"
    return (
        f"{style}<h4>{size}</h4><ul><li>{need}.</li></ul><h4>Recommended</h4><ul>{reasons}</ul><ul>{warnings}</ul>"
        "<table><tr><th></th><th>zero along y [km]</th><th>along x</th><th>1/e along y</th><th>along x</th></tr>"
        f"{rows}</table>{lines}"
    )


def _reach_row(reach, name: str) -> str:
    cells = [float(reach[what].sel(direction=d)) for what in ("zero_crossing", "e_folding") for d in ("y", "x")]
    return f"<tr><td>{escape(plain(name, 30))}</td>" + "".join(f"<td>{_length(v)}</td>" for v in cells) + "</tr>"


def _length(value: float) -> str:
    return "beyond half" if np.isnan(value) else f"{value:.0f}"


def _shared(advice) -> str:
    return f"{advice.overlap} of which neighbours share" if advice.overlap else "which is the whole domain"
