"""The one sentence that says what is seen, and the short names of times, places and sources: plain text only."""

from __future__ import annotations

import numpy as np

from apps.explorer.state import ExplorerState
from apps.parts.labels import time_label
from apps.parts.runs import Run
from labkit.plots.colours import SOURCE_LABELS, plain


def source_label(run: Run, source: str, member: int) -> str:
    """Title of a map: the member's number with those that have members."""
    if source == "prediction":
        return f"Member {plain(run.member_names[member], 12)}"
    if source == "oracle":
        return f"Oracle member {plain(run.member_names[member], 12)}"
    return SOURCE_LABELS[source]


def coverage(members: np.ndarray, truth: np.ndarray) -> float:
    """Share of the cells whose truth lies within the members (member, y, x); NaN where there is no truth at all."""
    known = np.isfinite(truth)
    inside = (truth >= members.min(axis=0)) & (truth <= members.max(axis=0))
    return float(inside[known].mean()) if known.any() else float("nan")


def expected_coverage(n_members: int) -> float:
    """Of a calibrated ensemble of n members and a continuous variable: (n - 1) / (n + 1)."""
    return (n_members - 1) / (n_members + 1)


def maps_sentence(run: Run, state: ExplorerState) -> str:
    variable = run.describe(state.variable)
    members, truth = run.members(state.variable, state.time), run.field("truth", state.variable, state.time)
    if not np.isfinite(truth).any():
        return f"{_upper(variable.long_name)}, {_when(run, state)}: {run.n_members} members; nothing was observed."
    inside, expected = coverage(members, truth), expected_coverage(run.n_members)
    what = ", minus the truth" if state.show == "difference" else ""
    verdict = "too narrow" if inside < expected - 0.05 else "too wide" if inside > expected + 0.05 else "about right"
    return (
        f"{_upper(variable.long_name)}{what}, {_when(run, state)}: the truth lies within the {run.n_members} "
        f"members in {inside:.0%} of the cells, where a calibrated ensemble has {expected:.0%} ({verdict})."
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
    known = np.isfinite(truth)
    seen = f"{(truth > state.threshold)[known].mean():.1%} in the truth" if known.any() else "nothing was observed"
    return (
        f"Above {state.threshold:g} {run.describe(state.variable).units}, {_when(run, state)}: "
        f"{(members > state.threshold).mean():.1%} of the area in the members on average, {seen}."
    )


def point_sentence(run: Run, state: ExplorerState) -> str:
    place = run.place(state.point, state.box)
    unit, where = run.describe(state.variable).units, _upper(place_label(run, state))
    members = run.series("prediction", state.variable, place, state.box_statistic)[:, state.time]
    truth = run.series("truth", state.variable, place, state.box_statistic)[state.time]
    spread = f"{members.min():.3g} to {members.max():.3g}"
    if not np.isfinite(truth):
        return f"{where}, {_when(run, state)}: nothing was observed; the members go from {spread} {unit}."
    below = int((members < truth).sum())
    return (
        f"{where}, {_when(run, state)}: the truth is {truth:.3g} {unit}, and {below} of {run.n_members} members are "
        f"below it ({spread})."
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
