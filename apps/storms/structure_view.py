"""Structure: what is averaged around the centre, by distance now and by distance and time."""

from __future__ import annotations

import numpy as np
from bokeh.models import ColumnDataSource, DatetimeTickFormatter, Image, LinearColorMapper, Range1d, Span
from bokeh.plotting import figure

from apps.parts.labels import time_label
from apps.parts.runs import Run
from apps.parts.scale import NO_DATA, Look, bar_figure, color_bar, set_bar
from apps.parts.series import name_only
from apps.parts.sources import put
from apps.parts.view import column, picture, row, select
from apps.storms.following import ORDER, Storm, StormView, dated
from apps.storms.state import PROFILES
from labkit.plots.colours import SOURCE_COLOURS, SOURCE_LABELS, palette
from labkit.plots.storms import LABELS, label_of, section_limits
from labkit.variables import plain
from labkit.verify.products import known_percentiles
from labkit.verify.selection import over_members

SECTIONS = ("interpolation", "regression", "prediction", "truth")
BAND = (5, 95)
MAX_ROWS = 400
LINES = {"member": "Chosen member", "prediction": "Model, median", "oracle": "Oracle, median"}
_LOOK = {"tools": "", "toolbar_location": None, "sizing_mode": "stretch_width"}


class StructureView(StormView):
    tab, title = "structure", "Structure"
    uses = ("time", "member", "profile")

    def build(self, run: Run) -> list:
        self.profiles = Profiles()
        self.sections = Sections(run)
        self.chosen = select(
            self.state.param.profile, {LABELS[name]: name for name in PROFILES}, "Mean around the centre"
        )
        self.body = column(self.profiles.figure, self.sections.row)
        return [self.chosen, self.body]

    def show_storm(self, run: Run, storm: Storm) -> None:
        state = self.state
        groups = {source: storm.groups[source] for source in ORDER if storm.has(source, state.profile)}
        groups.pop("mean", None)
        unit = next((plain(g[state.profile].attrs.get("units", ""), 20) for g in groups.values()), "")
        label = label_of(state.profile, unit)
        self.profiles.show({s: g[state.profile] for s, g in groups.items()}, state.time, state.member, label)
        self.sections.show(
            {s: over_members(groups[s][state.profile]) for s in SECTIONS if s in groups}, state.time, unit
        )

    def say_storm(self, run: Run, storm: Storm) -> str:
        when, name = time_label(run.times[self.state.time]), LABELS[self.state.profile]
        if not any(storm.has(source, self.state.profile) for source in ORDER):
            return f"This run has no {name}."
        return f"{when}: {name} averaged around the centre of each source's own storm."


class Profiles:
    """Lines of the single sources, bands of the ensembles, by distance from the centre."""

    def __init__(self) -> None:
        self.figure = plot = figure(title="By distance from the centre", height=330, **_LOOK)
        self.bands = {s: ColumnDataSource({"x": [], "low": [], "high": []}) for s in ("oracle", "prediction")}
        self.lines = {s: ColumnDataSource({"x": [], "y": []}) for s in (*ORDER, "member") if s != "mean"}
        for source, data in self.bands.items():
            look = {"color": SOURCE_COLOURS[source], "alpha": 0.25}
            plot.varea("x", "low", "high", source=data, legend_label=_band_label(source), **look)
        for source, data in self.lines.items():
            label = LINES.get(source, SOURCE_LABELS.get(source, ""))
            look = {"color": SOURCE_COLOURS.get(source, "#7d7d7d"), "line_width": 2.6 if source == "truth" else 1.8}
            look |= {"line_dash": "dotted"} if source == "member" else {}
            plot.line("x", "y", source=data, legend_label=label, **look)
        plot.xaxis.axis_label = "distance from the centre [km]"
        plot.x_range.start = 0
        plot.add_layout(plot.legend[0], "right")

    def show(self, profiles: dict, time: int, member: int, label: str) -> None:
        """profiles: (time, radius), or (ensemble, time, radius) of the ensembles, by source."""
        nothing = {"x": [], "y": []}
        now = {source: values.isel(time=time).values for source, values in profiles.items()}
        for source, data in self.lines.items():
            values = now.get("prediction" if source == "member" else source)
            if values is None:
                put(data, nothing)
                continue
            radius = profiles["prediction" if source == "member" else source].radius.values
            many = values.ndim == 2
            line = values[member] if source == "member" else known_percentiles(values, 50) if many else values
            put(data, {"x": radius, "y": line})
        for source, data in self.bands.items():
            if source in now:
                low, high = known_percentiles(now[source], BAND)
                put(data, {"x": profiles[source].radius.values, "low": low, "high": high})
            else:
                put(data, {"x": [], "low": [], "high": []})
        known = {source for source, values in profiles.items() if np.isfinite(values).any()}
        lines = {LINES.get(s, SOURCE_LABELS.get(s, "")): s in known for s in self.lines if s != "member"}
        name_only(self.figure, lines | {_band_label(source): source in known for source in self.bands})
        self.figure.yaxis.axis_label = label


def _band_label(source: str) -> str:
    return f"{SOURCE_LABELS[source]}, {BAND[1] - BAND[0]} %"


class Sections:
    """Radius-time sections on one colour scale: time upwards, distance to the right, a line at this time."""

    def __init__(self, run: Run) -> None:
        known = dated(run.times)
        self.times = (
            run.times.astype("datetime64[ms]").astype(float) if known else np.arange(len(run.times), dtype=float)
        )
        step = float(np.abs(np.diff(self.times)).min()) if len(self.times) > 1 else 3.6e6
        self.step = step = step or 3.6e6
        self.mapper = LinearColorMapper(palette=["#000000"], low=0, high=1, nan_color=NO_DATA)
        x, y = Range1d(0, 200), Range1d(self.times[0] - step / 2, self.times[-1] + step / 2)
        self.sources = {s: ColumnDataSource({k: [] for k in ("image", "x", "y", "dw", "dh")}) for s in SECTIONS}
        self.now = [Span(dimension="width", line_color="white", line_dash="dashed") for _ in SECTIONS]
        self.figures = {}
        for k, source in enumerate(SECTIONS):
            title = "Mean of members" if source == "prediction" else SOURCE_LABELS[source]
            kind = {"y_axis_type": "datetime"} if known else {}
            plot = figure(title=title, height=290, x_range=x, y_range=y, min_border_left=10, **kind, **_LOOK)
            if known:  # the usual second line for the date moves every label of a vertical axis off its tick
                plot.yaxis.formatter = DatetimeTickFormatter(hours="%H:%M", days="%d %b", context=None)
            image = Image(image="image", x="x", y="y", dw="dw", dh="dh", color_mapper=self.mapper)
            plot.add_glyph(self.sources[source], image)
            plot.add_layout(self.now[k])
            plot.yaxis.visible = plot.grid.visible = False
            plot.xaxis.axis_label, plot.xaxis.ticker.desired_num_ticks = "km", 3
            self.figures[source] = plot
        self.x = x
        self.bar_mapper = LinearColorMapper(palette=["#000000"], low=0, high=1)
        self.bar = color_bar(self.bar_mapper)
        self.bar_figure = bar_figure(self.bar)
        self.places = {source: picture(plot) for source, plot in self.figures.items()}
        self.row = row(*self.places.values(), self.bar_figure)

    def show(self, sections: dict, time: int, unit: str) -> None:
        """sections: (time, radius) by source."""
        low, high = section_limits(sections) if sections else (0.0, 1.0)
        look = Look((low, high), palette("viridis"), unit)
        self.mapper.update(palette=list(look.colours), low=low, high=high)
        set_bar(self.bar, look)
        self.bar_figure.title.text = unit
        for source, data in self.sources.items():
            plot = self.figures[source]
            self.places[source].visible = source in sections
            if source not in sections:
                put(data, {k: [] for k in ("image", "x", "y", "dw", "dh")})
                continue
            first = source == next(iter(sections))
            plot.min_border_left, plot.yaxis.visible = 60 if first else 10, first
            values, radius = self._rows(sections[source].values), sections[source].radius.values
            self.x.end, ring = float(radius[-1]), float(radius[1] - radius[0])
            columns = {"image": [values], "x": [radius[0] - ring / 2], "y": [self.times[0] - self.step / 2]}
            put(data, columns | {"dw": [ring * len(radius)], "dh": [self.times[-1] - self.times[0] + self.step]})
        for span in self.now:
            span.location = float(self.times[time])

    def _rows(self, values: np.ndarray) -> np.ndarray:
        """The values (time, radius) in rows that are evenly apart in time; NaN in those that the run has not."""
        span = self.times[-1] - self.times[0]
        rows = np.linspace(self.times[0], self.times[-1], min(round(span / self.step), MAX_ROWS) + 1)
        nearest = np.abs(rows[:, None] - self.times).argmin(1)
        missing = np.abs(rows - self.times[nearest]) > 0.51 * max(self.step, span / MAX_ROWS)
        return np.where(missing[:, None], np.nan, values[nearest]).astype(np.float32)
