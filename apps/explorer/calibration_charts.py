"""More figures of the calibration tab: tails of the distributions, scores by stratum, maps with what is chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from bokeh.models import ColumnDataSource, FactorRange, ImageRGBA, Range1d, Span

from apps.explorer.calibration_figures import _figure, _source
from apps.parts.maps import MAX_CELLS, MapGrid
from apps.parts.runs import Run
from apps.parts.scale import Look
from apps.parts.sources import put
from labkit.plots.colours import SOURCE_COLOURS, palette
from labkit.variables import Variable
from labkit.verify.selection import ENSEMBLES

VEIL = np.array([201, 206, 212, 190], np.uint8)  # red, green, blue, alpha
SOURCES = ("interpolation", "regression", "prediction", "oracle")
NEUTRAL = {"crps": 0.0, "bias": 0.0, "spread_skill": 1.0}


class Shares:
    """Share of cells above each value, logarithmic; bands hold single members."""

    def __init__(self) -> None:
        look = {"y_axis_type": "log", "y_range": Range1d(1e-6, 1), "height": 340}
        self.figure = plot = _figure("Share of cells and times above a value", "value", "share above", **look)
        self.bands, self.lines = {}, {}
        for source in ENSEMBLES:
            style = {"color": SOURCE_COLOURS[source]}
            self.bands[source], self.lines[source] = _source("x", "low", "high"), _source("x", "y")
            plot.varea("x", "low", "high", source=self.bands[source], fill_alpha=0.22, **style)
            plot.line("x", "y", source=self.lines[source], line_width=2, **style)
        self.truth = _source("x", "y")
        plot.line("x", "y", source=self.truth, color=SOURCE_COLOURS["truth"], line_width=2)
        plot.scatter("x", "y", source=self.truth, color=SOURCE_COLOURS["truth"], size=5)

    def show(self, shares: Mapping[str, xr.Dataset], known: Variable) -> None:
        floor = min(_least(one.pooled.values) for one in shares.values()) / 3
        for source in ENSEMBLES:
            one = shares.get(source)
            x = [] if one is None else one.threshold.values
            low, high, middle = (
                ([], [], [])
                if one is None
                else (_above(one[n], floor) for n in ("member_low", "member_high", "pooled"))
            )
            self.bands[source].data = {"x": x, "low": low, "high": high}
            self.lines[source].data = {"x": x, "y": middle}
        own = shares["prediction"]
        self.truth.data = {"x": own.threshold.values, "y": np.where(own.truth > 0, own.truth, np.nan)}
        x = own.threshold.values
        pad = 0.03 * (x[-1] - x[0])
        self.figure.x_range.update(start=float(x[0] - pad), end=float(x[-1] + pad))
        self.figure.y_range.start = float(floor)
        self.figure.xaxis.axis_label = known.label


class Quantiles:
    """Members' quantiles less the truth's; bars hold what one member of the same size may differ by."""

    def __init__(self) -> None:
        self.figure = plot = _figure(
            "Quantiles, less the truth's", "quantile: its value in the truth", "difference", height=340
        )
        plot.add_layout(Span(location=0, dimension="width", line_color=SOURCE_COLOURS["truth"], line_width=2))
        self.dots = {source: _source("x", "y", "low", "high") for source in ENSEMBLES}
        for source, dots in self.dots.items():
            style = {"color": SOURCE_COLOURS[source]}
            plot.segment("x", "low", "x", "high", source=dots, line_width=2, **style)
            plot.scatter("x", "y", source=dots, size=8, **style)
        plot.xaxis.major_label_orientation = 0.8

    def show(self, quantiles: Mapping[str, xr.Dataset], known: Variable, names: Sequence[str]) -> None:
        reach = [1e-9]
        for k, (source, dots) in enumerate(self.dots.items()):
            one = quantiles.get(source)
            if one is None:
                dots.data = {name: [] for name in dots.data}
                continue
            shown = {"y": one.pooled, "low": one.member_low, "high": one.member_high}
            values = {name: (v - one.truth).values for name, v in shown.items()}
            x = np.arange(one.sizes["level"]) + 0.16 * (2 * k - 1) * (len(quantiles) > 1)
            dots.data = {"x": x} | values
            reach += [float(np.nanmax(abs(v))) for v in values.values() if np.isfinite(v).any()]
        self.figure.x_range.update(start=-0.6, end=len(names) - 0.4)
        self.figure.y_range.update(start=-1.1 * max(reach), end=1.1 * max(reach))
        self.figure.xaxis.ticker = list(range(len(names)))
        self.figure.xaxis.major_label_overrides = dict(enumerate(names))
        self.figure.yaxis.axis_label = f"less the truth's [{known.units}]"


class ByStratum:
    """One score as dots with intervals, a line of the chart for each stratum."""

    def __init__(self, name: str, title: str) -> None:
        self.name = name
        self.figure = plot = _figure(title, title, "", y_range=FactorRange(factors=["-"]))
        plot.xaxis.ticker.desired_num_ticks = 4
        plot.add_layout(Span(location=NEUTRAL[name], dimension="height", line_color="#888888", line_dash="dashed"))
        self.dots = {source: _source("x", "y", "low", "high") for source in SOURCES}
        for source, dots in self.dots.items():
            style = {"color": SOURCE_COLOURS[source]}
            plot.segment("low", "y", "high", "y", source=dots, line_width=2.5, line_alpha=0.6, **style)
            plot.scatter("x", "y", source=dots, size=8, **style)

    def show(self, data: xr.Dataset, names: Sequence[str], unit: str) -> None:
        there = list(data.source.values)
        self.figure.y_range.factors = list(names)[::-1]
        seen = [NEUTRAL[self.name]]
        for source, dots in self.dots.items():
            if source not in there:
                dots.data = {name: [] for name in dots.data}
                continue
            low, middle, high = (
                data[self.name].sel(source=source, bound=b).values for b in ("low", "estimate", "high")
            )
            shift = 0.16 * ((len(there) - 1) / 2 - there.index(source))
            dots.data = {"x": middle, "low": low, "high": high, "y": [(name, shift) for name in names]}
            seen += [float(v) for v in np.concatenate([low, middle, high]) if np.isfinite(v)]
        pad = 0.06 * (max(seen) - min(seen)) or 0.5
        self.figure.x_range.update(start=min(seen) - pad, end=max(seen) + pad)
        self.figure.xaxis.axis_label = f"{self.figure.title.text} [{unit}]" if unit else self.figure.title.text
        self.figure.height = 110 + 46 * len(names)


class VeiledMaps:
    """Maps of scores, with grey over the cells in which chance may have made them."""

    def __init__(self, run: Run, titles: Mapping[str, str], on_tap) -> None:
        self.run = run
        self.grid = MapGrid(run, titles, columns=3, scales="own", on_tap=on_tap)
        self.veils = {}
        for key, plot in self.grid.figures.items():
            veil = ColumnDataSource({name: [] for name in ("image", "x", "y", "dw", "dh")})
            rgba = ImageRGBA(image="image", x="x", y="y", dw="dw", dh="dh")
            plot.renderers.insert(1, self.grid._layer(veil, rgba))
            self.veils[key] = veil

    def show(self, token: tuple, data: xr.Dataset, looks: Mapping[str, tuple], unit: str) -> None:
        """looks: colour limits and colour map by name of the data."""
        fields = {key: (token, np.asarray(data[key].transpose("y", "x").values, np.float32)) for key in self.grid.keys}
        scales = {key: Look(limits, palette(colours), unit) for key, (limits, colours) in looks.items()}
        self.grid.update(fields, scales)
        for key, veil in self.veils.items():
            sure = f"{key}_sure"
            put(veil, self._veil(data[sure]) if sure in data else {name: [] for name in veil.data})

    def _veil(self, sure: xr.DataArray) -> dict[str, list]:
        """Grey where not sure, as the columns of an image; every k-th cell of a grid too large to be sent whole."""
        run = self.run
        up = [slice(None, None, 1 if axis[-1] >= axis[0] else -1) for axis in (run.y, run.x)]
        k = int(np.ceil(np.sqrt(sure.size / MAX_CELLS)))
        hidden = ~sure.transpose("y", "x").values[tuple(up)][::k, ::k].astype(bool)
        image = np.ascontiguousarray(hidden[..., None] * VEIL).view(np.uint32)[..., 0]
        west, south, _, _ = run.extent
        height, width = (n * k * d for n, d in zip(hidden.shape, run.spacing_km, strict=True))
        return {"image": [image], "x": [west], "y": [south], "dw": [width], "dh": [height]}


def _least(values: np.ndarray) -> float:
    positive = values[values > 0]
    return float(positive.min()) if positive.size else 1e-6


def _above(values: xr.DataArray, floor: float) -> np.ndarray:
    """A logarithmic axis has no zero."""
    return np.maximum(values.values, floor / 10)
