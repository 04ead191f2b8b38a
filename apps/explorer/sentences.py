"""The one sentence that says what is seen, and the short names of times, places and sources: plain text only."""

from __future__ import annotations

import numpy as np

from apps.explorer.state import ExplorerState
from apps.parts.labels import time_label
from apps.parts.runs import Run
from labkit.plots.colours import SOURCE_LABELS
from labkit.variables import plain
from labkit.verify.verdicts import UNKNOWN, Verdict, judge


def source_label(run: Run, source: str, member: int) -> str:
    """Title of a map: the member's number with those that have members."""
    if source == "prediction":
        return f"Member {plain(run.member_names[member], 12)}"
    if source == "oracle":
        return f"Oracle member {plain(run.member_names[member], 12)}"
    return SOURCE_LABELS[source]


def verdict_text(verdict: Verdict, n_members: int) -> str:
    """A verdict in words that stand behind what was seen."""
    if n_members == 1:
        return "one member has no spread to judge"
    return "cannot tell from chance" if verdict.words == UNKNOWN else verdict.words


def by_lot(verdict: Verdict) -> str:
    """Said where values are equal, as in dry cells: how they were counted."""
    return " (ties by lot)" if verdict.ties else ""


def maps_sentence(run: Run, state: ExplorerState) -> str:
    variable = run.describe(state.variable)
    members, truth = run.members(state.variable, state.time), run.field("truth", state.variable, state.time)
    if not np.isfinite(truth).any():
        return f"{_upper(variable.long_name)}, {_when(run, state)}: {run.n_members} members; nothing was observed."
    verdict = judge([(members, truth)])
    what = ", minus the truth" if state.show == "difference" else ""
    start = f"{_upper(variable.long_name)}{what}, {_when(run, state)}: the truth lies within the {run.n_members}"
    if np.isnan(verdict.inside):
        return f"{start} members nowhere that can be told: no cell is known in all of them."
    return (
        f"{start} members in {verdict.inside:.0%} of the cells{by_lot(verdict)}, where a calibrated ensemble has "
        f"{1 - 2 * verdict.expected:.0%} ({verdict_text(verdict, run.n_members)})."
    )


def members_sentence(run: Run, state: ExplorerState) -> str:
    means = run.members(state.variable, state.time).mean(axis=(1, 2))
    return (
        f"All {run.n_members} members, {_when(run, state)}: their area means go from {means.min():.3g} to "
        f"{means.max():.3g} {run.describe(state.variable).units}. Click one to follow it; no two should share their "
        "small-scale detail."
    )


def probability_sentence(run: Run, state: ExplorerState) -> str:
    members, truth = run.members(state.variable, state.time), run.field("truth", state.variable, state.time)
    known = np.isfinite(members).all(axis=0)
    start = f"Above {state.threshold:g} {run.describe(state.variable).units}, {_when(run, state)}"
    if not known.any():
        return f"{start}: no cell is known in every member."
    both = known & np.isfinite(truth)
    area = both if both.any() else known  # members and truth are compared where both are known
    seen = f"{(truth > state.threshold)[both].mean():.1%} in the truth" if both.any() else "nothing was observed"
    share = (members[:, area] > state.threshold).mean()
    return f"{start}: {share:.1%} of the area in the members on average, {seen}."


def point_sentence(run: Run, state: ExplorerState) -> str:
    place = run.place(state.point, state.box)
    unit, where = run.describe(state.variable).units, _upper(place_label(run, state))
    members = run.series("prediction", state.variable, place, state.box_statistic)[:, state.time]
    truth = run.series("truth", state.variable, place, state.box_statistic)[state.time]
    spread = f"{members.min():.3g} to {members.max():.3g}"
    if not np.isfinite(truth):
        return f"{where}, {_when(run, state)}: nothing was observed; the members go from {spread} {unit}."
    below, same = int((members < truth).sum()), int((members == truth).sum())
    alike = f" and {same} equal to it" if same else ""
    return (
        f"{where}, {_when(run, state)}: the truth is {truth:.3g} {unit}, and {below} of {run.n_members} members are "
        f"below it{alike} ({spread})."
    )


def place_label(run: Run, state: ExplorerState) -> str:
    """The cell nearest to the point with its place, or the box with its statistic."""
    rows, columns = run.place(state.point, state.box)
    x, y = run.x[columns], run.y[rows]
    if state.box is not None:
        return f"{state.box_statistic} over x {x.min():.0f} to {x.max():.0f}, y {y.min():.0f} to {y.max():.0f} km"
    lat, lon = run.lat[rows, columns].item(), run.lon[rows, columns].item()
    degrees = f" ({abs(lat):.2f}°{'NS'[lat < 0]}, {abs(lon):.2f}°{'EW'[lon < 0]})" if np.isfinite(lat) else ""
    return f"at x {x[0]:.0f}, y {y[0]:.0f} km{degrees}"


def _when(run: Run, state: ExplorerState) -> str:
    return time_label(run.times[state.time])


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
