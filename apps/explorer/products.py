"""What the tab of ensemble products shows: its maps and the sentence to them, worked out without any user interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from apps.explorer.sentences import by_lot, verdict_text
from apps.explorer.state import ExplorerState
from apps.parts.labels import time_label
from apps.parts.runs import Run
from labkit.plots import products as plots
from labkit.plots.products import Panels, severity_text
from labkit.variables import plain
from labkit.verify.clusters import clusters
from labkit.verify.products import neighbourhood_maximum_probability, severity
from labkit.verify.verdicts import judge

PRODUCTS = {
    "paintball": "Paintball",
    "spaghetti": "Spaghetti",
    "matched": "Probability-matched mean",
    "neighbourhood": "Neighbourhood probability",
    "envelope": "Minimum, percentile, maximum",
    "extremes": "Most and least extreme member",
    "clusters": "Clusters of members",
}
SEVERITIES = {"Area above the threshold": "area", "Mean of the area": "mean", "Maximum": "maximum"}


@dataclass(frozen=True)
class Choice:
    """Which product of what, and its `options`: keyword arguments of the functions that make it."""

    product: str
    variable: str
    time: int
    options: tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class Outcome:
    panels: Panels
    sentence: str
    members: str = ""  # in words, which member belongs where


def options_of(state: ExplorerState) -> dict[str, object]:
    """What of the state makes the chosen product, as keyword arguments of its functions in labkit."""
    options = {
        "paintball": {"threshold": state.threshold},
        "spaghetti": {"threshold": state.threshold},
        "matched": {"radius_km": state.radius},
        "neighbourhood": {"threshold": state.threshold, "radius_km": state.radius},
        "envelope": {"percentile": state.percentile},
        "extremes": {"by": state.by} | ({"threshold": state.threshold} if state.by == "area" else {}),
        "clusters": {"number": state.clusters},
    }
    return options[state.product]


def choice_of(state: ExplorerState) -> Choice:
    return Choice(state.product, state.variable, state.time, tuple(options_of(state).items()))


def make(run: Run, choice: Choice) -> Outcome:
    """The maps of a product and what they say; a second or more where there are hundreds of large members."""
    members, truth = case(run, choice.variable, choice.time)
    makers: dict[str, Callable[..., Outcome]] = {
        "paintball": _exceedance,
        "spaghetti": _exceedance,
        "matched": _matched,
        "neighbourhood": _neighbourhood,
        "envelope": _envelope,
        "extremes": _extremes,
        "clusters": _clusters,
    }
    when = time_label(run.times[choice.time])
    return makers[choice.product](members, truth, when, **dict(choice.options))


def case(run: Run, variable: str, time: int) -> tuple[xr.DataArray, xr.DataArray]:
    """Members (ensemble, y, x) and truth (y, x) of one time, with what labkit wants to know of them."""
    coords = {"ensemble": run.tree["prediction"]["ensemble"].values, "y": run.y, "x": run.x}
    known = run.describe(variable)
    attrs = {"units": known.units, "long_name": known.long_name}
    members = xr.DataArray(run.members(variable, time), coords, ("ensemble", "y", "x"), attrs=attrs)
    coords.pop("ensemble")
    return members, xr.DataArray(run.field("truth", variable, time), coords, ("y", "x"), attrs=attrs)


def _exceedance(members: xr.DataArray, truth: xr.DataArray, when: str, *, threshold: float) -> Outcome:
    panels = plots.exceedance_panels(members, truth, threshold=threshold)
    above, known = members.values > threshold, np.isfinite(truth.values)
    seen = truth.values > threshold
    areas, n = above.mean(axis=(1, 2)), len(above)
    start = f"{_name(members)} above {_amount(threshold, members)}, {when}"
    if not areas.any():
        return Outcome(panels, f"{start}: no member has it anywhere{_highest(members, truth)}. Lower the threshold.")
    agree = above.mean(axis=0) >= 0.5
    agreed = f"half of them or more agree on {agree.mean():.1%}" if agree.any() else "nowhere do half of them agree"
    hit = f", of which the truth has {seen[agree & known].mean():.0%}" if (agree & known).any() else ""
    truly = f" The truth has it in {seen[known].mean():.1%}." if known.any() else ""
    some = f"{(areas > 0).sum()} of {n} members have it somewhere"
    return Outcome(
        panels, f"{start}: {some}, in {areas.min():.1%} to {areas.max():.1%} of the area; {agreed}{hit}.{truly}"
    )


def _matched(members: xr.DataArray, truth: xr.DataArray, when: str, *, radius_km: float) -> Outcome:
    panels = plots.matched_panels(members, truth, radius_km=radius_km)
    tops = members.max(("y", "x"))
    mean, whole, local = (_amount(np.nanmax(panels[k].values), members) for k in ("mean", "matched", "local"))
    truly = f", the truth {_amount(np.nanmax(truth.values), members)}" if _known(truth) else ""
    return Outcome(
        panels,
        f"{_name(members)}, {when}: single members reach {float(tops.min()):.3g} to {_amount(tops.max(), members)}"
        f"{truly}. Averaging them leaves {mean}; given back the members' amounts, their mean has {whole}, and {local} "
        "patch by patch.",
    )


def _neighbourhood(
    members: xr.DataArray, truth: xr.DataArray, when: str, *, threshold: float, radius_km: float
) -> Outcome:
    panels = plots.neighbourhood_panels(members, truth, threshold=threshold, radius_km=radius_km)
    start = f"{_name(members)} above {_amount(threshold, members)} within {radius_km:g} km, {when}"
    cell, near = panels["cell"].values, panels["maximum"].values
    if not np.nanmax(near) > 0:
        return Outcome(panels, f"{start}: no member has it anywhere{_highest(members, truth)}. Lower the threshold.")
    happened = neighbourhood_maximum_probability(truth, threshold, radius_km=radius_km).values
    truly = f"; in the truth it comes so near to {np.nanmean(happened):.0%} of the area" if _known(truth) else ""
    return Outcome(
        panels,
        f"{start}: likely (over 50 %) for {np.nanmean(near > 50):.0%} of the area{truly}. The highest probability is "
        f"{np.nanmax(near):.0f} % anywhere in the neighbourhood, {np.nanmax(cell):.0f} % in a cell itself.",
    )


def _envelope(members: xr.DataArray, truth: xr.DataArray, when: str, *, percentile: float) -> Outcome:
    panels = plots.envelope_panels(members, truth, percentile=percentile)
    if not _known(truth):
        return Outcome(panels, f"{_name(members)}, {when}: nothing was observed.")
    verdict, n = judge([(members.values, truth.values)]), members.sizes["ensemble"]
    if np.isnan(verdict.inside):
        return Outcome(panels, f"{_name(members)}, {when}: no cell is known in the truth and in every member.")
    return Outcome(
        panels,
        f"{_name(members)}, {when}: the truth is below every member in {verdict.below:.1%} of the cells and above "
        f"every one in {verdict.above:.1%}{by_lot(verdict)}; of {n} calibrated members it would be "
        f"{verdict.expected:.1%} each ({verdict_text(verdict, n)}).",
    )


def _extremes(
    members: xr.DataArray, truth: xr.DataArray, when: str, *, by: str, threshold: float | None = None
) -> Outcome:
    panels = plots.extreme_panels(members, truth, by=by, threshold=threshold)
    units = str(members.attrs["units"])
    what = f"area above {_amount(threshold, members)}" if by == "area" else {"mean": "area mean"}.get(by, by)
    values = severity(members, by=by, threshold=threshold).values
    if by == "area" and not values.any():
        return Outcome(panels, f"{_name(members)}, {when}: no member has any {what}{_highest(members, truth)}.")
    low, high = (severity_text(float(v), by=by, units=units) for v in (values.min(), values.max()))
    start = f"{_name(members)}, {when}: by {what}, the members go from {low} to {high}"
    if not _known(truth):
        return Outcome(panels, f"{start}.")
    true = float(severity(truth.expand_dims("ensemble"), by=by, threshold=threshold).item())
    there = severity(members.where(truth.notnull()), by=by, threshold=threshold)
    said, less, same = severity_text(true, by=by, units=units), int((there < true).sum()), int((there == true).sum())
    alike = f" and as much as {same}" if same else ""
    return Outcome(panels, f"{start}; the truth has {said}, more than {less}{alike} of {values.size} members.")


def _clusters(members: xr.DataArray, truth: xr.DataArray, when: str, *, number: int) -> Outcome:
    n = members.sizes["ensemble"]
    found = clusters(members, number=min(number, n))
    panels = plots.cluster_panels(members, truth, number=number, found=found)
    groups = [found["ensemble"].values[found.cluster_of.values == k] for k in found.cluster.values]
    listed = "; ".join(
        f"cluster {k}: member{'s' * (len(group) > 1)} {', '.join(plain(name, 12) for name in group)}"
        for k, group in enumerate(groups, 1)
    )
    if len(groups) == 1:
        return Outcome(
            panels,
            f"{_name(members)}, {when}: the {n} member{'s' * (n > 1)} cannot be told apart into clusters.",
            listed,
        )
    *sizes, last = (str(size) for size in found["size"].values)
    told = found.silhouette > found.chance
    groups_are = "distinct" if told else f"not distinct: members of one kind give up to {found.chance:.2f} by chance"
    return Outcome(
        panels,
        f"{_name(members)}, {when}: {', '.join(sizes)} and {last} of {n} members resemble each other; with a mean "
        f"silhouette of {found.silhouette:.2f}, the groups are {groups_are}.{_nearest(members, truth, found)}",
        listed,
    )


def _nearest(members: xr.DataArray, truth: xr.DataArray, found: xr.Dataset) -> str:
    if not _known(truth):
        return ""
    errors = np.array([float(((members.sel(ensemble=name) - truth) ** 2).mean()) for name in found.medoid.values])
    nearest = np.flatnonzero(errors == errors.min())
    if nearest.size != 1:
        return " The truth is as near to one of them as to another."
    return f" The truth is nearest to what stands for cluster {nearest[0] + 1}."


def _name(members: xr.DataArray) -> str:
    name = str(members.attrs["long_name"])
    return name[:1].upper() + name[1:]


def _amount(value: float, members: xr.DataArray) -> str:
    return f"{float(value):.3g} {members.attrs['units']}".rstrip()


def _highest(members: xr.DataArray, truth: xr.DataArray) -> str:
    """Where a threshold is out of reach: what the members, and the truth, do reach."""
    truly = f", of the truth {_amount(np.nanmax(truth.values), members)}" if _known(truth) else ""
    return f" (the highest value of the members is {_amount(np.nanmax(members.values), members)}{truly})"


def _known(truth: xr.DataArray) -> bool:
    return bool(np.isfinite(truth.values).any())
