"""Patch size: move the patch, see it on the map, what it costs and what it would not see, take what is recommended."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from html import escape

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from apps.parts.computed import Computed
from apps.parts.runs import Run
from apps.parts.view import column, html, row, select, widgets
from apps.spectra.code import known_variables
from apps.spectra.costs import Costs
from apps.spectra.data_sets import data_sentences, tree_in_memory
from apps.spectra.patch_panels import MEANING, Left
from apps.spectra.spectra_view import Region, chosen, quantity_choice
from apps.spectra.state import NETWORKS
from labkit.grid import coarsening
from labkit.tiling import tiles
from labkit.variables import plain
from labkit.verify.patch_size import configuration, cover_cost, reach_warnings, recommend_patch, remaining

SIDES = (("height", "Height of a patch [cells]"), ("width", "Width [cells]"), ("overlap", "Overlap [cells]"))
MOST_BOXES = 100  # more than these are a hatching


@dataclass(frozen=True)
class Reach:
    """How far the variables reach, of what (by variable), and the cells that a patch's sides are a multiple of."""

    reach: xr.Dataset
    quantities: dict[str, str]
    multiple: tuple[int, int]


class PatchView(Computed):
    tab, title = "patch", "Patch size"
    uses = ("variable", "quantity", "scope", "box", "height", "width", "overlap", "network")
    working = "Computing how far every variable reaches ..."

    def build(self, run: Run) -> list:
        state = self.state
        look = {"size": "small", "description": "", "margin": (8, 16), "sizing_mode": "stretch_width"}
        hint = "How patches of this size lie on the domain (of many, those in the middle); neighbours share the cells "
        hint += "between two lines."
        self.region = Region(self.session, run, width=540, hint=hint, fixed=True)
        sliders = [pmui.IntSlider.from_param(state.param[name], label=label, **look) for name, label in SIDES]
        self.take = pmui.Button(label="Take the recommendation", size="small", margin=(6, 12), on_click=self._take)
        self.copy = pmui.Button(label="Copy the configuration", size="small", variant="outlined", margin=(6, 4))
        # The text travels as the button's tag: `args` of a JavaScript callback keep a session for ever.
        self.copy.js_on_click(code="navigator.clipboard && navigator.clipboard.writeText(cb_obj.origin.tags[0])")
        self.left, self.costs = Left(), Costs(self)
        self.text = pn.pane.HTML(sizing_mode="stretch_width", margin=(4, 12))
        buttons = widgets(self.take, self.copy)
        meaning = html(MEANING, faint=True)
        under = column(self.region.column, self.left.figure, meaning, styles={"flex": "0 1 560px", "min-width": "0"})
        self.body = column(*sliders, buttons, self.costs.row, self.text, styles={"flex": "1 1 0", "min-width": "0"})
        networks = select(state.param.network, {name: name for name in NETWORKS}, "Network", width=130)
        return [widgets(quantity_choice(state), networks), row(under, self.body)]

    def touch(self, names: set[str]) -> None:
        super().touch(names)
        self._stale = self._stale or "time" in names

    def close(self) -> None:
        """The session has ended: its measurement is cancelled."""
        super().close()
        if self._built:
            self.costs.close()

    def draw(self, run: Run) -> None:
        self.region.draw(run)
        self.region.grid.set_boxes(patch_boxes(run, self._patch, self.state.overlap))
        super().draw(run)

    def ask(self, run: Run):
        options = chosen(self.state)
        key = (run.id, "reach", self.state.network, *options.items())
        return key, partial(reach_of, run, self.state.network, options)

    def show_result(self, run: Run) -> None:
        found, (dy, dx) = self.result, run.spacing_km
        shape = len(run.y), len(run.x)
        grid = {"spacing_km": (dy, dx), "shape": shape}
        self.advice = recommend_patch(found.reach, **grid, multiple=found.multiple, align=coarsening(run.tree))
        self.take.disabled = self.advice.patch == self._patch and self.advice.overlap == self.state.overlap
        self.left.show(remaining(found.reach, self._patch, shape=shape))
        self.copy.tags = [configuration(self._patch, self.state.overlap)["labkit"]]
        self.costs.show(run)
        self.text.object = patch_html(run, self._patch, self.state.overlap, self.advice, found)

    def say(self, run: Run) -> str:
        dy, dx = run.spacing_km
        ny, nx = self.advice.patch
        size = f"{ny} x {nx} cells ({ny * dy:.0f} x {nx * dx:.0f} km)"
        unknown = any(map(math.isnan, self.advice.needed_km))
        why = " How far the fields reach cannot be told from this domain and these times: see below." if unknown else ""
        return f"Recommended: patches of {size}, {_shared(self.advice)}.{why}"

    @property
    def _patch(self) -> tuple[int, int]:
        return self.state.height, self.state.width

    def _take(self, event) -> None:
        (height, width), overlap = self.advice.patch, self.advice.overlap
        self.state.param.update(height=height, width=width)
        self.state.overlap = min(overlap, self.state.param.overlap.bounds[1])


def reach_of(run: Run, network: str, options: dict) -> Reach:
    """What the tab is decided by; done where no page waits for it."""
    from labkit.recipes import load_preset
    from labkit.recipes.probe import network_multiple
    from labkit.verify.scales import quantity_or_raw, reach_data

    tree, names = tree_in_memory(run), known_variables(run)
    quantities = quantity_or_raw(tree, names, options["quantity"])
    reach = reach_data(tree, names, **options | {"quantity": quantities})
    multiple = network_multiple(load_preset(network))
    return Reach(reach, quantities, tuple(math.lcm(multiple, factor) for factor in coarsening(run.tree)))


def patch_boxes(run: Run, patch: tuple[int, int], overlap: int) -> list[tuple[float, float, float, float]]:
    """Edges (west, south, east, north) in km of the patches as they cover the domain; of many those in the middle."""
    (west, south, _, _), (dy, dx) = run.extent, run.spacing_km
    shape = (len(run.y), len(run.x))
    sides = zip(shape, patch, alignment(run, patch, overlap), strict=True)
    starts = [tiles(n, p, min(overlap, p - 1) if p < n else 0, align=a) for n, p, a in sides]
    if math.prod(map(len, starts)) > MOST_BOXES:
        starts = [_middle(along) for along in starts]
    corners = [(west + x * dx, south + y * dy) for y in starts[0] for x in starts[1]]
    return [(float(x), float(y), float(x + patch[1] * dx), float(y + patch[0] * dy)) for x, y in corners]


def alignment(run: Run, patch: tuple[int, int], overlap: int) -> tuple[int, int]:
    """Cells at whose multiples patches begin: those of a coarse cell, where they can."""
    fits = zip(coarsening(run.tree), patch, strict=True)
    return coarsening(run.tree) if all(p % f == 0 and overlap <= p - f for f, p in fits) else (1, 1)


def _middle(starts: np.ndarray, count: int = 5) -> np.ndarray:
    first = max((len(starts) - count) // 2, 0)
    return starts[first : first + count]


def patch_html(run: Run, patch: tuple[int, int], overlap: int, advice, found: Reach) -> str:
    """What the patch costs, what it does not see, why another is recommended, and the lines that configure it."""
    (dy, dx), shape, reach = run.spacing_km, (len(run.y), len(run.x)), found.reach
    cost = cover_cost(shape, patch, min(overlap, min(patch) - 1), align=alignment(run, patch, overlap))
    said = [*reach_warnings(reach, patch, spacing_km=(dy, dx), shape=shape), *data_sentences(run, patch)]
    said += _misfits(patch, found.multiple)
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
        f"{style}<h4>{size}</h4><ul><li>{need}.</li>{warnings}</ul><h4>Recommended</h4><ul>{reasons}{_of(found)}</ul>"
        "<table><tr><th></th><th>needs along y [km]</th><th>along x</th><th>1/e along y</th><th>along x</th></tr>"
        f"{rows}</table>{lines}"
    )


def _misfits(patch: tuple[int, int], multiple: tuple[int, int]) -> list[str]:
    """What the network refuses of a patch."""
    if all(side % m == 0 for side, m in zip(patch, multiple, strict=True)):
        return []
    return [f"this network takes whole multiples of {multiple[0]} x {multiple[1]} cells only"]


def _of(found: Reach) -> str:
    """What was looked at, where it is not the regression's residual."""
    sentences = {
        "detail": "residual of bilinear interpolation; the regression's own will be shorter",
        "raw": "the field itself; what a regression leaves of it reaches less far",
    }
    items = []
    for quantity, sentence in sentences.items():
        names = ", ".join(plain(name, 30) for name, what in found.quantities.items() if what == quantity)
        items += [f"<li>{escape(names)}: {escape(sentence)}</li>"] if names else []
    return "".join(items)


def _reach_row(reach, name: str) -> str:
    cells = [_need(reach.sel(direction=d)) for d in ("y", "x")]
    cells += ["beyond half" if np.isnan(v) else f"{v:.0f}" for v in reach.e_folding.sel(direction=["y", "x"]).values]
    return f"<tr><td>{escape(plain(name, 30))}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _need(one) -> str:
    """The side that a variable needs, with its interval; no text in it comes from a file."""
    if np.isnan(one.side_high):
        return "not known"
    return f"{float(one.side):.0f} ({float(one.side_low):.0f} to {float(one.side_high):.0f})"


def _shared(advice) -> str:
    return f"{advice.overlap} of which neighbours share" if advice.overlap else "which is the whole domain"
