"""Is an ensemble too narrow, too wide or biased, or can it not be told? Words that hold on dry fields and few cases.

Each of the n members and the truth takes by turns the role of the truth among the others: where they are exchangeable,
what the truth gets is as likely as what a member gets. Members are whole fields, so that how alike neighbouring cells
are is in their scatter, and ties are shared: of k fields that are the lowest of a cell, each counts 1/k of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.stats import rankdata, t

from labkit.verify.bootstrap import interval, resampled_means

RIGHT, NARROW, WIDE, UNKNOWN = "about right", "too narrow", "too wide", "cannot tell"
LEVEL = 0.99  # of each of the two questions, spread and bias, so that both together err in less than one case in twenty
FEWEST = 3  # members: two have no scatter to speak of
SERIES = 8  # times of which their own scatter is asked too
RANKED = 200_000  # values of one time that are ranked; of more cells, every k-th along both axes
# Chance that reaches no further than this is close enough to say "about right": in the mean rank half of what a bias of
# half a standard deviation makes, in its mean square what a spread of 0.8 or 1.25 does; of ranks without ties.
CLOSE_BIAS, CLOSE_SPREAD = 0.07, 0.02


@dataclass(frozen=True)
class Verdict:
    """What the truth gets among the members. `below`, `above`: share of cells where it is below, above all of them,
    ties shared; `expected` of either if calibrated; `ties`: whether the truth has any there; `spread`: one of the four
    words above; `bias`: "too low" or "too high" of the members, "" where chance may have made it."""

    below: float
    above: float
    expected: float
    ties: bool
    spread: str
    bias: str

    @property
    def inside(self) -> float:
        return 1 - self.below - self.above

    @property
    def words(self) -> str:
        """`too narrow`, `too narrow, and too low`, `biased: the members are too low`, `about right`, `cannot tell`."""
        if not self.bias:
            return self.spread
        told = self.spread in (NARROW, WIDE)
        return f"{self.spread}, and {self.bias}" if told else f"biased: the members are {self.bias}"


def judge(cases: Sequence[tuple[np.ndarray, np.ndarray]]) -> Verdict:
    """The verdict over cases, each a time's members (member, y, x) and truth (y, x), in order of time.

    Too narrow: the truth is below and above all members more often than it should be, and its ranks are farther from
    the middle than those of members by more than chance; too wide the other way round. So that a bias alone, which
    fills one end, is neither. Of chance: Student's t of the members' own ranks in the role of the truth; with SERIES
    times and more, whatever is larger, that or the `bootstrap.interval` over the times; with fewer, they are taken for
    one case. Cells where a field is NaN are left out; without a cell `below` and `above` are NaN.
    """
    parts = [part for members, truth in cases if (part := _roles(members, truth)) is not None]
    n = len(cases[0][0])
    if not parts:
        return Verdict(np.nan, np.nan, 1 / (n + 1), False, UNKNOWN, "")
    weights = np.array([part.cells for part in parts], float)
    weights /= weights.sum()
    below, above = (float(weights @ [getattr(part, end) for part in parts]) for end in ("below", "above"))
    ties, expected = any(part.ties for part in parts), 1 / (n + 1)
    if n < (FEWEST if len(parts) < SERIES else 2) or not any(part.differ for part in parts):
        return Verdict(below, above, expected, ties, UNKNOWN, "")
    slope, bow = (np.stack([getattr(part, name) for part in parts]) for name in ("rank", "bow"))
    # A truth that scatters more than the members do has a mean that does so too.
    wider = max(1.0, float(weights @ bow[:, 0]) / float(weights @ bow[:, 1:].mean(axis=1)))
    bias, spread = _sign(slope, weights, allowance=np.sqrt(wider)), _sign(bow, weights)
    if spread and (np.sign([below - expected, above - expected]) == spread).all():
        word = NARROW if spread > 0 else WIDE
    else:
        told = 12 * float(weights @ bow.mean(axis=1))  # ties take as much off what can be told
        close = _chance(slope, weights) <= CLOSE_BIAS * told and _chance(bow, weights) <= CLOSE_SPREAD * told
        word = RIGHT if close and not bias and not spread else UNKNOWN
    return Verdict(below, above, expected, ties, word, {1: "too low", -1: "too high", 0: ""}[bias])


def tail_shares(members: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each known cell: how much of the truth (y, x) is below all members (member, y, x), and above, ties shared."""
    values = _known(members, truth)
    return tuple(_shared(values, end) for end in (values.min(axis=0), values.max(axis=0)))


@dataclass(frozen=True)
class _Roles:
    """Of one time: the truth's share of either end; by role, its own first, mean rank about the middle, its square."""

    cells: int
    below: float
    above: float
    rank: np.ndarray
    bow: np.ndarray
    ties: bool
    differ: bool


def _known(members: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(role, cell): the truth and the members where all of them are known."""
    values = np.concatenate([truth[None], members]).reshape(len(members) + 1, -1)
    known = np.isfinite(values).all(axis=0)
    return values if known.all() else values[:, known]


def _roles(members: np.ndarray, truth: np.ndarray) -> _Roles | None:
    values = _known(members, truth)
    if not values.shape[1]:
        return None
    least, most = values.min(axis=0), values.max(axis=0)
    below, above = (_shared(values, end) for end in (least, most))
    step = int(np.ceil(np.sqrt(values.size / RANKED)))
    some = values if step == 1 else _known(members[:, ::step, ::step], truth[::step, ::step])
    # Mean ranks of ties, from -1/2 to 1/2.
    ranks = (rankdata(some, axis=0) - 1) / len(members) - 0.5
    ties = any(bool(((share > 0) & (share < 1)).any()) for share in (below, above))
    found = (ranks.mean(axis=1), (ranks**2).mean(axis=1), ties, bool((least < most).any()))
    return _Roles(values.shape[1], float(below.mean()), float(above.mean()), *found)


def _shared(values: np.ndarray, end: np.ndarray) -> np.ndarray:
    """How much of the end (cell) of the values (role, cell) the first of them has: 1/k of one that k of them reach."""
    first = values[0] == end
    shared = first.astype(float)
    shared[first] /= (values[:, first] == end[first]).sum(axis=0)
    return shared


def _sign(values: np.ndarray, weights: np.ndarray, *, allowance: float = 1.0) -> int:
    """-1, 0, 1: whether the truth's value (time, role), less the members', is below, within or above chance."""
    gap = float(weights @ (values[:, 0] - values[:, 1:].mean(axis=1)))
    chance = allowance * _chance(values, weights)
    return int(np.sign(gap)) if abs(gap) > chance + 1e-12 else 0


def _chance(values: np.ndarray, weights: np.ndarray) -> float:
    """How far from the members' mean the truth's value (time, role) may be by chance."""
    times, n = values.shape[0], values.shape[1] - 1
    quantile = t.ppf((1 + LEVEL) / 2, n - 1) * np.sqrt(1 + 1 / n)
    if times < SERIES:
        return float(quantile * (weights @ values[:, 1:].std(axis=1, ddof=1)))
    pooled = quantile * (weights @ values[:, 1:]).std(ddof=1)
    gaps = xr.DataArray(values[:, 0] - values[:, 1:].mean(axis=1), dims="time")
    low, high = interval(resampled_means(gaps), level=LEVEL).values
    return float(max(pooled, (high - low) / 2)) if low <= high else np.inf  # hours so alike that they are one case
