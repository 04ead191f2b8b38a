"""Bokeh panels of the spectra explorer: densities by wavelength, their ratio, autocorrelations by distance, a rose.

Each is made once; what changes later are columns of its sources and ends of its axes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import xarray as xr
from bokeh.models import ColumnDataSource, CustomJSTickFormatter, FixedTicker, Label, Range1d, Span
from bokeh.plotting import figure

from apps.parts.sources import put
from labkit.plots.colours import SOURCE_COLOURS, SOURCE_LABELS
from labkit.verify.scales import judge_of

ORDER = ("interpolation", "regression", "mean", "prediction", "oracle", "truth")
SLOPES = ((-5 / 3, "k^-5/3", "dotted"), (-3.0, "k^-3", "dashed"))
LENGTHS = (("e_folding", "1/e", "dotted"), ("integral_scale", "integral", "dashed"), ("zero_crossing", "zero", "solid"))
_AS_WAVELENGTH = "const l = 1 / tick; return l >= 10 ? l.toFixed(0) : Number(l.toPrecision(2)).toString();"
_LOOK = {"sizing_mode": "stretch_width", "tools": "", "toolbar_location": None}


class Densities:
    """Power spectral density by wavelength, and below it each source's ratio to the truth."""

    def __init__(self) -> None:
        self.x_range, self.y_range = Range1d(1e-3, 1e-1), Range1d(1e-3, 1e3)
        axes = {"x_range": self.x_range, "x_axis_type": "log", "y_axis_type": "log"}
        self.upper = figure(title="Power spectral density", height=420, y_range=self.y_range, **axes, **_LOOK)
        self.lower = figure(title="Over the truth's", height=240, y_range=Range1d(0.1, 10), **axes, **_LOOK)
        self.members = ColumnDataSource({"xs": [], "ys": []})
        self.band = ColumnDataSource({"x": [], "low": [], "high": []})
        self.spread = ColumnDataSource({"x": [], "low": [], "high": []})
        self.resolved = {s: ColumnDataSource({"x": [], "y": []}) for s in ("prediction", "regression", "interpolation")}
        style = {"color": SOURCE_COLOURS["prediction"]}
        self.upper.multi_line("xs", "ys", source=self.members, line_width=0.8, alpha=0.35, **style)
        self.sure = self.upper.varea("x", "low", "high", source=self.band, color=SOURCE_COLOURS["truth"], alpha=0.25)
        self.lower.varea("x", "low", "high", source=self.spread, alpha=0.25, **style)
        self.lines = {s: _line(self.upper, s) for s in ORDER}
        self.ratios = {s: _line(self.lower, s, legend=False) for s in ORDER if s != "truth"}
        self.slopes = {}
        for _, name, dash in SLOPES:
            self.slopes[name] = source = ColumnDataSource({"x": [], "y": []})
            self.upper.line("x", "y", source=source, color="#888888", line_dash=dash, legend_label=name)
        self.lower.add_layout(Span(location=1, dimension="width", line_color="#888888", line_dash="dashed"))
        for source, data in self.resolved.items():
            look = {"size": 11, "color": SOURCE_COLOURS[source], "line_color": "white"}
            self.lower.scatter("x", "y", source=data, marker="inverted_triangle", **look)
        for plot in (self.upper, self.lower):
            plot.xaxis.ticker = FixedTicker(ticks=[])
            plot.xaxis.formatter = CustomJSTickFormatter(code=_AS_WAVELENGTH)
            plot.min_border_left = 70
        self.lower.xaxis.axis_label = "wavelength [km]"
        self.lower.yaxis.ticker = FixedTicker(ticks=[0.1, 0.2, 0.5, 1, 2, 5, 10])
        self.upper.legend.location, self.upper.legend.label_text_font_size = "bottom_left", "11px"

    def show(self, spectra: Mapping[str, xr.DataArray], *, band: xr.DataArray | None, members: bool, unit: str) -> None:
        """spectra: (wavenumber,), or (ensemble, wavenumber) of the ensembles, by source; band: (bound, wavenumber), of
        the truth. Without a truth it is the model's, and there is no ratio."""
        means = {s: a.mean("ensemble") if "ensemble" in a.dims else a for s, a in spectra.items()}
        judge = means[judge_of(means)]
        k = judge.wavenumber.values
        for source, data in self.lines.items():
            put(data, _columns(k, means.get(source)))
        show_named(self.upper, means)
        own = spectra.get("prediction")
        drawn = members and own is not None and "ensemble" in own.dims
        put(self.members, {"xs": [k] * len(own), "ys": list(own.values)} if drawn else {"xs": [], "ys": []})
        put(self.band, _between(k, band))
        self.lower.visible = "truth" in means
        self.upper.xaxis.axis_label = None if self.lower.visible else "wavelength [km]"
        self.sure.glyph.fill_color = SOURCE_COLOURS[judge_of(means)]
        if self.lower.visible:
            self._show_ratios(means, own, k)
        self._fit(judge.values, k)
        self.upper.yaxis.axis_label = unit

    def mark(self, resolution_km: Mapping[str, float]) -> None:
        """Mark the wavelength below which a source is no longer resolved; NaN or absent: nothing."""
        for source, data in self.resolved.items():
            at = resolution_km.get(source, np.nan)
            put(data, {"x": [1 / at], "y": [1.0]} if np.isfinite(at) else {"x": [], "y": []})

    def _show_ratios(self, means: Mapping[str, xr.DataArray], own: xr.DataArray | None, k: np.ndarray) -> None:
        truth = means["truth"]
        for source, data in self.ratios.items():
            put(data, _columns(k, means[source] / truth if source in means else None))
        if own is not None and own.sizes.get("ensemble", 1) > 1:
            spread = (own / truth).quantile([0.05, 0.95], "ensemble").values
            put(self.spread, {"x": k, "low": spread[0], "high": spread[1]})
        else:
            put(self.spread, {"x": [], "low": [], "high": []})

    def _fit(self, judge: np.ndarray, k: np.ndarray) -> None:
        there = judge[np.isfinite(judge) & (judge > 0)]
        top, bottom = (there.max(), there.min()) if there.size else (1.0, 1e-3)
        self.x_range.update(start=k[0] / 1.1, end=k[-1] * 1.1)
        self.y_range.update(start=bottom / 10, end=top * 4)
        ticks = [1 / wavelength for wavelength in round_wavelengths(1 / k[-1], 1 / k[0])]
        for plot in (self.upper, self.lower):
            plot.xaxis.ticker.ticks = ticks
        middle = len(k) // 3
        level = 4 * judge[middle] if np.isfinite(judge[middle]) else top
        for power, name, _ in SLOPES:
            put(self.slopes[name], {"x": k, "y": level * (k / k[middle]) ** power})


class Correlations:
    """Autocorrelation by distance, with its band and the three lengths of the truth."""

    def __init__(self) -> None:
        self.figure = plot = figure(
            title="Autocorrelation", height=340, x_range=Range1d(0, 1), y_range=Range1d(-0.4, 1.05), **_LOOK
        )
        self.band = ColumnDataSource({"x": [], "low": [], "high": []})
        self.sure = plot.varea("x", "low", "high", source=self.band, color=SOURCE_COLOURS["truth"], alpha=0.25)
        self.lines = {s: _line(plot, s) for s in ORDER}
        plot.add_layout(Span(location=0, dimension="width", line_color="#888888"))
        self.spans, self.labels = {}, {}
        for i, (name, _, dash) in enumerate(LENGTHS):
            style = {"line_color": SOURCE_COLOURS["truth"], "line_dash": dash, "line_width": 1.5}
            self.spans[name] = Span(dimension="height", visible=False, **style)
            self.labels[name] = Label(x=0, y=0.93 - 0.1 * i, text="", text_font_size="11px", text_color="#7d7d7d")
            plot.add_layout(self.spans[name])
            plot.add_layout(self.labels[name])
        self.patch = Span(dimension="height", line_color="#d6006c", line_width=2)
        self.patch_label = Label(x=0, y=-0.37, text=" the patch", text_font_size="11px", text_color="#d6006c")
        plot.add_layout(self.patch)
        plot.add_layout(self.patch_label)
        plot.xaxis.axis_label, plot.yaxis.axis_label = "distance [km]", "autocorrelation"
        plot.min_border_left = 70
        plot.legend.label_text_font_size = "11px"
        plot.add_layout(plot.legend[0], "right")

    def show(
        self,
        rho: Mapping[str, xr.DataArray],
        *,
        band: xr.DataArray | None,
        lengths: Mapping[str, float],
        spacing_km: float,
        patch_km: float,
    ) -> None:
        """rho: (lag,) by source; band: (bound, lag); lengths in km by name, NaN where not reached."""
        lag = rho[judge_of(rho)].lag.values
        for source, data in self.lines.items():
            put(data, _columns(lag, rho.get(source)))
        show_named(self.figure, rho)
        put(self.band, _between(lag, band))
        colour = self.sure.glyph.fill_color = SOURCE_COLOURS[judge_of(rho)]
        for name, title, _ in LENGTHS:
            self.spans[name].line_color = colour
            at = lengths.get(name, np.nan)
            there = bool(np.isfinite(at))
            self.spans[name].visible = there
            self.labels[name].text = f" {title}: {at:.0f} km, {at / spacing_km:.1f} cells" if there else ""
            if there:
                self.spans[name].location = self.labels[name].x = float(at)
        reach = max([lengths[n] for n in lengths if np.isfinite(lengths[n])] + [patch_km])
        end = float(np.clip(1.6 * reach, lag[1] * 4, lag[-1]))
        for label in self.labels.values():
            label.text_align = "right" if label.x > 0.7 * end else "left"
        self.figure.x_range.end = end
        self.patch.location = self.patch_label.x = float(patch_km)


class Rose:
    """A length by direction, as a closed curve round the origin: a circle where the field has no direction."""

    def __init__(self) -> None:
        unit = {"x_range": Range1d(-1, 1), "y_range": Range1d(-1, 1)}
        look = {"width": 320, "height": 340, "tools": "", "toolbar_location": None, "match_aspect": True}
        self.figure = plot = figure(title="Reach by direction (1/e) [km]", **unit, **look)
        self.rings = ColumnDataSource({"x": [], "y": [], "r": []})
        self.data = {s: ColumnDataSource({"x": [], "y": []}) for s in ("truth", "prediction")}
        plot.circle("x", "y", "r", source=self.rings, fill_alpha=0, line_color="#bbbbbb", line_width=0.7)
        for source, data in self.data.items():
            colour = SOURCE_COLOURS[source]
            plot.patch("x", "y", source=data, color=colour, fill_alpha=0.12, line_width=2)
        plot.grid.visible = False
        plot.axis.axis_label_text_font_size = "11px"

    def show(self, lengths: Mapping[str, xr.DataArray]) -> None:
        """lengths: (angle,) in km by source; angle in degrees from the x axis, 0 to 180."""
        most = [float(np.nanmax(a)) for a in lengths.values() if np.isfinite(a).any()]
        radius = 1.15 * max(most) if most else 1.0
        for source, data in self.data.items():
            put(data, _closed(lengths[source]) if source in lengths else {"x": [], "y": []})
        rings = np.linspace(0, radius / 1.15, 4)[1:] if most else np.array([])
        put(self.rings, {"x": np.zeros(len(rings)), "y": np.zeros(len(rings)), "r": rings})
        for span in (self.figure.x_range, self.figure.y_range):
            span.update(start=-radius, end=radius)


def show_named(plot: figure, sources: Collection[str]) -> None:
    """Name in the legend only the sources that there are."""
    hidden = {SOURCE_LABELS[source] for source in ORDER if source not in sources}
    for item in plot.legend[0].items:
        item.visible = item.label.value not in hidden


def round_wavelengths(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, 20 ... km within the bounds."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    marks = [m * 10.0**d for d in decades for m in (1, 2, 5)]
    return [mark for mark in marks if low <= mark <= high]


def _line(plot: figure, source: str, *, legend: bool = True) -> ColumnDataSource:
    data = ColumnDataSource({"x": [], "y": []})
    style = {"color": SOURCE_COLOURS[source], "line_width": 2.5 if source == "truth" else 2}
    style |= {"line_dash": "dashed"} if source == "mean" else {}
    plot.line("x", "y", source=data, **style, **({"legend_label": SOURCE_LABELS[source]} if legend else {}))
    return data


def _columns(x: np.ndarray, values: xr.DataArray | None) -> dict:
    return {"x": [], "y": []} if values is None else {"x": x, "y": values.values}


def _between(x: np.ndarray, band: xr.DataArray | None) -> dict:
    if band is None:
        return {"x": [], "low": [], "high": []}
    return {"x": x, "low": band.sel(bound="low").values, "high": band.sel(bound="high").values}


def _closed(lengths: xr.DataArray) -> dict:
    """The curve through the ends of the lengths in their directions and the opposite ones."""
    angle = np.deg2rad(np.concatenate([lengths.angle.values, lengths.angle.values + 180]))
    r = np.concatenate([lengths.values, lengths.values])
    return {"x": r * np.cos(angle), "y": r * np.sin(angle)}
