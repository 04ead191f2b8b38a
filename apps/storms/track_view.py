"""Track: where every member's storm goes, how likely it comes near, and its numbers at this time."""

from __future__ import annotations

from html import escape

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr
from bokeh.models import Circle, ColumnDataSource, HoverTool, Scatter
from bokeh.plotting import figure

from apps.parts.labels import time_label
from apps.parts.maps import MapGrid
from apps.parts.runs import Run
from apps.parts.scale import Look
from apps.parts.sources import put
from apps.parts.view import picture, row, switch, widgets
from apps.storms.following import ORDER, Storm, StormView, member_label, spread_text
from apps.storms.shelf import BEST_DASHES, OF_BEST, BestTrack
from apps.storms.state import FURTHEST_KM
from apps.storms.ways import Way, Ways
from labkit.plots.colours import BEST_TRACK_COLOUR, PROBABILITIES, SOURCE_COLOURS, SOURCE_LABELS, mixed, palette
from labkit.verify.cyclones.ensembles import cone

SINGLES = ("interpolation", "regression", "truth")
PALE = tuple(mixed(colour, 0.5) for colour in palette(PROBABILITIES))  # the tracks are what is looked at
COLUMNS = (
    ("max_wind", "highest wind", "m/s", 1.0, 1),
    ("rmw", "radius of it", "km", 1.0, 0),
    ("min_pressure", "pressure", "hPa", 0.01, 0),
)


class TrackView(StormView):
    tab, title = "track", "Track"
    uses = ("time", "member", "within", "lines", "oracle")

    def build(self, run: Run) -> list:
        self.grid = MapGrid(run, {"strike": "Members that come near"}, columns=1)
        self.overlay = Tracks(self.grid.figures["strike"])
        beside = {"flex": "0 1 440px", "min-width": "0"}
        self.table = pn.pane.HTML(sizing_mode="stretch_width", margin=(8, 12), styles=beside)
        near = pn.widgets.FloatSlider.from_param(
            self.state.param.within,
            name="Near is within (km)",
            start=5,
            end=FURTHEST_KM,
            step=5,
            width=230,
            margin=(4, 12),
        )
        controls = widgets(
            near,
            switch(self.state.param.oracle, "Tracks of the oracle", visible="oracle" in run.tree.children),
            switch(self.state.param.lines, "Coast and graticule"),
        )
        west, south, east, north = run.extent
        fit = f"calc((100vh - 250px) * {(east - west) / (north - south):.3f} + 62px)"
        maps = picture(self.grid.layout, width=fit)
        shown = row(maps, self.grid.bar, styles={"flex": "1 1 430px", "min-width": "0"})
        self.body = pmui.FlexBox(shown, self.table, flex_wrap="wrap", sizing_mode="stretch_width", margin=0)
        return [controls, self.body]

    def show_storm(self, run: Run, storm: Storm) -> None:
        state = self.state
        chance = strike_field(run, storm, state.within)
        look = Look((0.0, 100.0), PALE, "%")
        self.grid.update({"strike": ((run.id, state.within), chance)}, look)
        self.grid.set_title("strike", f"Members that come within {state.within:g} km of a place")
        self.grid.set_lines(state.lines)
        self.grid.set_place((np.nan, np.nan), None)
        self.overlay.show(storm, state.time, state.member, member_label(run, state.member), oracle=state.oracle)
        self.table.object = table_html(run, storm, state.time, state.member)

    def say_storm(self, run: Run, storm: Storm) -> str:
        when, t = time_label(run.times[self.state.time]), self.state.time
        members = storm.groups.get("prediction")
        if members is None:
            return f"{when}: no member was tracked."
        there = int(np.isfinite(members.x.values[:, t]).sum())
        wind = spread_text(members.max_wind.values[:, t], "m/s")
        text = f"{when}: {there} of {members.sizes['ensemble']} members have the storm; highest wind {wind}"
        if storm.has("truth", "max_wind") and np.isfinite(truth := storm.values("truth", "max_wind")[t]):
            text += f", {truth:.0f} m/s in the truth"
        return text + "."


def strike_field(run: Run, storm: Storm, within_km: float) -> np.ndarray:
    """Percent of the members whose storm comes that near to each cell (y, x)."""
    if storm.closest is None:
        return np.full((len(run.y), len(run.x)), np.nan, np.float32)
    return 100 * (storm.closest <= within_km).mean(axis=0, dtype=np.float32)


class Tracks:
    """Lines of tracks over a map: members thin, the chosen one and the single sources thick, the cone as circles."""

    def __init__(self, plot: figure) -> None:
        self.circles = ColumnDataSource({"x": [], "y": [], "r": []})
        rings = {"radius": "r", "fill_color": None, "line_color": "#444444", "line_alpha": 0.35}
        plot.add_glyph(self.circles, Circle(x="x", y="y", **rings))
        self.thin, self.thick = Ways(plot), Ways(plot, halo=True)
        self.now = ColumnDataSource({"x": [], "y": [], "colour": [], "name": []})
        marks = {"fill_color": "colour", "line_color": "white", "size": 10}
        dots = plot.add_glyph(self.now, Scatter(x="x", y="y", **marks))
        plot.add_tools(HoverTool(renderers=[dots], tooltips=[("", "@name")]))

    def show(self, storm: Storm, time: int, member: int, label: str, *, oracle: bool) -> None:
        self.thin.show(
            [
                *(_ways(storm, "oracle", width=0.8, alpha=0.6) if oracle else []),
                *_ways(storm, "prediction", width=0.9, alpha=0.65),
            ]
        )
        thick = [way for source in (*SINGLES, "mean") for way in _ways(storm, source, width=2.4)]
        chosen = _ways(storm, "prediction", width=2.4)[member : member + 1]
        thick += [way._replace(source="member", colour="#111111") for way in chosen]
        for best, dash in zip(storm.best, BEST_DASHES, strict=False):
            at = known_places(best.track.x.values, best.track.y.values)
            thick.append(Way(best.label, *at, BEST_TRACK_COLOUR, 2.0, dash=" ".join(map(str, dash))))
        self.thick.show(thick)
        put(self.circles, _circles(storm))
        found = [(source, *storm.place(source, time, member)) for source in ORDER if source != "oracle"]
        found = [(source, x, y) for source, x, y in found if np.isfinite(x + y)]
        names = [label if source == "prediction" else SOURCE_LABELS[source] for source, _, _ in found]
        colours = ["#111111" if source == "prediction" else SOURCE_COLOURS[source] for source, _, _ in found]
        places = [(x, y) for _, x, y in found]
        for best in storm.best:
            x, y = (float(best.track[axis][time]) for axis in ("x", "y"))
            if np.isfinite(x + y):
                places, names, colours = [*places, (x, y)], [*names, best.label], [*colours, BEST_TRACK_COLOUR]
        columns = {"x": [x for x, _ in places], "y": [y for _, y in places]}
        put(self.now, columns | {"colour": colours, "name": names})


def table_html(run: Run, storm: Storm, time: int, member: int) -> str:
    """The numbers of each source and of one member at one time; ensembles as median and 90 %."""
    shown = [column for column in COLUMNS if any(_known(storm, source, column[0], time) for source in ORDER)]
    head = "".join(f"<th>{escape(label)} [{escape(unit)}]</th>" for _, label, unit, _, _ in shown)
    lines = []
    for source, group in storm.groups.items():
        lines.append(_line(group, storm, source, SOURCE_LABELS[source], SOURCE_COLOURS[source], time, shown))
        if source == "prediction":
            one = group.isel(ensemble=member)
            lines.append(_line(one, storm, "member", member_label(run, member), "#111111", time, shown))
    lines += [_best_line(best, storm, time, shown) for best in storm.best]
    style = (
        "<style>table{border-collapse:collapse;font-size:13px} td,th{padding:3px 8px;text-align:right;"
        "border-bottom:1px solid rgba(128,128,128,.3);font-weight:400} td:first-child{text-align:left}"
        " th{opacity:.75;vertical-align:bottom}</style>"
    )
    note = "Ensembles: median, and 5 to 95 % of the members below it. Off: distance from the truth's centre."
    note += " Winds of models are those of a time step; best tracks say over how long theirs are means." * bool(
        storm.best
    )
    return (
        f"{style}<table><tr><th></th><th>off [km]</th>{head}</tr>{''.join(lines)}</table>"
        f"<p style='font-size:12px;opacity:.75'>{escape(note)}</p>"
    )


def _known(storm: Storm, source: str, name: str, time: int) -> bool:
    return storm.has(source, name) and bool(np.isfinite(storm.values(source, name)[..., time]).any())


def _line(group: xr.Dataset, storm: Storm, source: str, label: str, colour: str, time: int, shown) -> str:
    """One line of the table: a dot in the colour of the track, the distance from the truth's centre, the numbers."""
    cells = [_off(group, storm, time) if source != "truth" else ""]
    cells += [_number(group[name].values[..., time] * factor, digits) for name, _, _, factor, digits in shown]
    shown_colour = "inherit" if source == "member" else colour  # the chosen member's is the text's, light or dark
    dot = f"<span style='color:{shown_colour}'>&#9679;</span>"
    return f"<tr><td>{dot} {escape(label)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _best_line(best: BestTrack, storm: Storm, time: int, shown) -> str:
    """The line of a best track: its wind, radius and pressure where others have theirs."""
    own = best.track.rename({of: name for name, of in OF_BEST.items()})
    return _line(own, storm, "best", f"Best track, {best.label}", BEST_TRACK_COLOUR, time, shown)


def _off(group: xr.Dataset, storm: Storm, time: int) -> str:
    if "truth" not in storm.groups:
        return ""
    x, y = (group[axis].values[..., time] - storm.values("truth", axis)[time] for axis in ("x", "y"))
    return _number(np.hypot(x, y), 0)


def _number(values: np.ndarray, digits: int) -> str:
    known = np.atleast_1d(values)[np.isfinite(np.atleast_1d(values))]
    if not known.size:
        return "&ndash;"
    if known.size == 1:
        return f"{known[0]:.{digits}f}"
    low, middle, high = np.percentile(known, [5, 50, 95])
    spread = f"{low:.{digits}f} &ndash; {high:.{digits}f}"
    return f"{middle:.{digits}f}<br><span style='opacity:.7;font-size:11px;white-space:nowrap'>{spread}</span>"


def _ways(storm: Storm, source: str, **look) -> list[Way]:
    """A line through the known positions of a source, or one for each of its members."""
    if source not in storm.groups:
        return []
    x, y = (np.atleast_2d(storm.values(source, axis)) for axis in ("x", "y"))
    lines = [known_places(*line) for line in zip(x, y, strict=True)]
    return [Way(source, *line, SOURCE_COLOURS[source], **look) for line in lines]


def known_places(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The hours without a storm left out, so that its track goes on where it is found again."""
    there = np.isfinite(x) & np.isfinite(y)
    return x[there], y[there]


def _circles(storm: Storm) -> dict[str, list]:
    if "prediction" not in storm.groups:
        return {"x": [], "y": [], "r": []}
    middle = cone(storm.groups["prediction"][["x", "y", "row"]])
    known = np.isfinite(middle.radius.values)
    return {"x": middle.x.values[known], "y": middle.y.values[known], "r": middle.radius.values[known]}
