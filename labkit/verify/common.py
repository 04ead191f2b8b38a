"""Which cells, times and members may sources be compared on? Those that all of them know.

A source that is averaged over cells of its own is compared on other weather: a run that stopped before the storm looks
better than one that went on. So what one source lacks is taken from all of them, and said. Where single members are
lost, left out are members or times, whichever keeps more, and the same members of every ensemble of that size: fair
scores are unbiased with any number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from labkit.errors import DataError

MEMBER = "ensemble"
TIME = "time"
LEAST_SHARE = 0.5  # of the cells that its fellows know; a member with fewer is lost at that time
_NAMED = 4  # times or members that are named, the others are counted


class Common(NamedTuple):
    """truth: NaN wherever a source knows nothing; fields: by source, without the members left out; observed: how many
    cells have a truth; left_out: times and members that are missing, in words, "" where none is; absent: sources that
    know no cell at all."""

    truth: xr.DataArray
    fields: dict[str, xr.DataArray]
    observed: int
    left_out: str
    absent: tuple[str, ...]


def on_common_cells(truth: xr.DataArray, fields: Mapping[str, xr.DataArray]) -> Common:
    """Truth and sources for a comparison: fields (..., y, x) with `time` and, of ensembles, `ensemble`.

    Reads the fields once to see what is there; the result is lazy where they are. A source that knows no cell at all is
    left as it is and takes no part. Where nothing was observed the truth is 0 on the cells that the sources know.
    """
    for field in fields.values():
        anomalies(field if MEMBER in field.dims else field.expand_dims(MEMBER), truth)  # refuses what differs
    seen = truth.notnull()
    observed = _by_time(seen.sum(_cells(truth))).compute()
    if not observed.any():
        truth, seen = xr.zeros_like(truth), xr.ones_like(truth, bool)
    # one after the other: what the members and their mean are both made of would be kept until both are known
    known = {s: _by_time((f.notnull() & seen).sum(_cells(f))).compute() for s, f in fields.items()}
    known = {s: counts for s, counts in known.items() if counts.any()}
    present = _present(known)
    usable = _usable(observed if observed.any() else observed + 1, known)
    kept = _members_kept(present, usable)
    chosen = {s: f.isel({MEMBER: kept[s]}) if _lacks(f, kept.get(s)) else f for s, f in fields.items()}
    for source in known:
        whole = chosen[source].notnull()
        truth = truth.where((whole.all(MEMBER) if MEMBER in whole.dims else whole).variable)
    said = _said(observed, known, present, kept, fields)
    return Common(truth, chosen, int(observed.sum()), said, tuple(source for source in fields if source not in known))


def shortfall(common: Common, count: int) -> str:
    """What was left out, and how many of the observed cells were compared where that is not all of them."""
    cells = f"{count} of {common.observed} observed cells are known to all" if count < common.observed else ""
    return "; ".join(filter(None, [common.left_out, cells]))


def with_left_out(table: pd.DataFrame, scores: xr.Dataset) -> pd.DataFrame:
    """The table of scores with the column `left_out` out of their attribute, where there is anything to say."""
    said = scores.attrs["left_out"]
    return table.assign(left_out=table["variable"].map(said)) if any(said.values()) else table


def anomalies(members: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """members - truth, cell by cell; coordinates that differ are refused, where xarray alone would drop cells."""
    sizes = {dim: members.sizes.get(dim) for dim in truth.dims}
    try:
        members, truth = xr.align(members, truth, join="exact", exclude=[MEMBER])
        matches = sizes == dict(truth.sizes) and set(members.dims) == {*truth.dims, MEMBER}
    except ValueError:
        matches = False
    if not matches:
        raise DataError(
            "scores",
            found=f"members over {dict(members.sizes)} and truth over {dict(truth.sizes)} with unlike coordinates",
            expected="the same cells and times in both, and the dimension 'ensemble' in the members alone",
            todo="select the cells that both have",
        )
    return members.drop_vars(_loose(members)) - truth.drop_vars(_loose(truth))


def _loose(array: xr.DataArray) -> list[str]:
    return [name for name in array.coords if name not in array.dims]


def _cells(field: xr.DataArray) -> list[str]:
    return [dim for dim in field.dims if dim not in (TIME, MEMBER)]


def _by_time(counts: xr.DataArray) -> xr.DataArray:
    """Counts (time,) or (ensemble, time), also of fields without a time."""
    return (counts if TIME in counts.dims else counts.expand_dims(TIME)).transpose(..., TIME)


def _present(known: Mapping[str, xr.DataArray]) -> dict[str, np.ndarray]:
    """Of each ensemble whether a member is there at a time, (member, time)."""
    ensembles = {source: counts.values for source, counts in known.items() if MEMBER in counts.dims}
    return {s: (counts > 0) & (counts >= LEAST_SHARE * counts.max(0)) for s, counts in ensembles.items()}


def _usable(observed: xr.DataArray, known: Mapping[str, xr.DataArray]) -> np.ndarray:
    """Times (time,) of which there is a truth and something of every source."""
    there = [counts.any(MEMBER) if MEMBER in counts.dims else counts > 0 for counts in known.values()]
    return np.logical_and.reduce([observed.values > 0, *(np.asarray(one) for one in there)])


def _members_kept(present: Mapping[str, np.ndarray], usable: np.ndarray) -> dict[str, np.ndarray]:
    """Positions of the members to keep of each ensemble, the same of those of one size."""
    sizes = {len(there) for there in present.values()}
    together = {n: np.logical_and.reduce([there for there in present.values() if len(there) == n]) for n in sizes}
    best = {n: _largest(there[:, usable]) for n, there in together.items()}
    return {source: best[len(there)] for source, there in present.items()}


def _lacks(field: xr.DataArray, members: np.ndarray | None) -> bool:
    return members is not None and len(members) < field.sizes[MEMBER]


def _largest(there: np.ndarray) -> np.ndarray:
    """Members (of member, time) that leave most to compare: the product of their number less one, for the spread, and
    of the times at which all of them are there; of their number itself where no two ever meet. All, where none does."""
    order = np.argsort(-there.sum(1), kind="stable")
    times = np.logical_and.accumulate(there[order]).sum(1)  # with the first, the first two ... members
    count = np.arange(1, len(order) + 1)
    worth = (count - 1) * times
    worth = worth if worth.any() else times
    if not worth.any():
        return np.arange(len(order))
    return np.sort(order[: len(order) - int(np.argmax(worth[::-1]))])


def _said(observed, known, present, kept, fields: Mapping[str, xr.DataArray]) -> str:
    """Members left out, then times, and whose they are."""
    parts = []
    for source, members in kept.items():
        lost = np.setdiff1d(np.arange(len(present[source])), members)
        if lost.size:
            labels = fields[source][MEMBER].values[lost] if MEMBER in fields[source].coords else lost
            parts.append(f"{_count(lost.size, len(present[source]), 'member')} of the {source} ({_listed(labels)})")
    seen = observed.values > 0 if observed.any() else np.ones(observed.size, bool)
    if not seen.all():
        parts.append(f"{_count((~seen).sum(), seen.size, 'time')} ({_labels(observed, ~seen)}) without truth")
    gone = {s: seen & ~present[s][kept[s]].all(0) for s in kept}
    gone |= {s: seen & (counts.values == 0) for s, counts in known.items() if s not in kept}
    gone = {source: times for source, times in gone.items() if times.any()}
    if gone:
        lost = np.logical_or.reduce(list(gone.values()))
        parts.append(
            f"{_count(lost.sum(), seen.sum(), 'time')} ({_labels(observed, lost)}) lacking in {', '.join(gone)}"
        )
    return "; ".join(parts)


def _labels(times: xr.DataArray, chosen: np.ndarray) -> str:
    labels = times[TIME].values[chosen] if TIME in times.coords else np.flatnonzero(chosen)
    return _listed([str(label)[:16] for label in labels])


def _count(lost: int, of: int, what: str) -> str:
    return f"{lost} of {of} {what}{'s' if of > 1 else ''}"


def _listed(labels: Sequence) -> str:
    return ", ".join(map(str, labels[:_NAMED])) + (" ..." if len(labels) > _NAMED else "")
