"""Parts of a data set: one chosen by its times or samples, and the proof that no two of them share any weather.

A model that is validated or tested on what it was trained on looks better than it is, and nothing in its scores tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from scipy.spatial import cKDTree

from labkit.data.pairs import Pairs
from labkit.errors import ConfigError, DataError

Times = Sequence  # the first and the last, inclusive, such as ("2020-01-01", "2020-06-30T23")
Samples = str | Sequence[int]  # positions: "start:stop[:step]", "3,5,8" or a list of numbers
_APART = 2.0  # between two times, where crops closer than 1 overlap


def part_of(pairs: Pairs, *, times: Times | None = None, samples: Samples | None = None) -> Pairs:
    """The pairs between two times (inclusive), and of these those at the positions `samples`; all by default, lazily.

    Raises ConfigError for what is no time or position, DataError where nothing is left.
    """
    if times is not None:
        pairs = pairs.isel(_compact(_between(pairs, *first_and_last(times))))
    if samples is not None:
        pairs = pairs.isel(_compact(positions(samples, len(pairs))))
    return pairs


def positions(chosen: Samples, n: int) -> list[int]:
    """Positions below `n` named by "start:stop[:step]", "3,5,8" or a list; ConfigError where it is none of these."""
    try:
        if isinstance(chosen, str) and ":" in chosen:
            return list(range(n))[slice(*(int(part) if part else None for part in chosen.split(":")))]
        return [int(part) for part in (chosen.split(",") if isinstance(chosen, str) else chosen)]
    except (TypeError, ValueError) as error:
        quotes = "" if isinstance(chosen, str) else ", and put quotes about it (YAML reads 4:8 as 248)"
        expected = "start:stop[:step] or 3,5,8"
        raise ConfigError("times", found=repr(chosen), expected=expected, todo=f"count from 0{quotes}") from error


def check_parts(parts: Mapping[str, Pairs]) -> list[str]:
    """Refuses parts that overlap: ConfigError where a sample of one lies at a time and over cells of another.

    Returns a sentence for each two of which one has times of the other at another place: that is not the same sample,
    but the weather there is alike. Where nothing tells two places apart they are taken for the same.
    """
    said = []
    for (first, a), (second, b) in combinations(parts.items(), 2):
        same_time = np.isin(_stamps(b), _stamps(a)) & (_weather(a) == _weather(b))
        same_cells = same_time & (_same_place(a, b) if same_time.any() else False)
        if same_cells.any():
            raise _overlap(first, second, _stamps(b)[same_cells], len(b))
        if same_time.any():
            said.append(
                f"{int(same_time.sum())} of the {len(b)} samples of {second} have times of {first}, at another place: "
                "the weather there is alike, so that scores may be too good"
            )
    return said


def _stamps(pairs: Pairs) -> np.ndarray:
    return pairs.target.time.values


def _weather(pairs: Pairs):
    """The seed of an idealised weather: another one is another world. None of real weather."""
    return getattr(pairs.attrs.get("config"), "seed", None)


def _same_place(a: Pairs, b: Pairs) -> np.ndarray | bool:
    """Whether each sample of `b` (or all alike) shares cells with samples of `a` that have its time."""
    if all("row" in pairs.target.coords for pairs in (a, b)):
        return _crops_meet(a, b)
    points = [_points(pairs) for pairs in (a, b)]
    if any(p is None for p in points):
        return True
    # half a cell: neighbours of one grid are a whole one apart
    step = np.median(cKDTree(points[0]).query(points[0][:1000], k=min(2, len(points[0])))[0][..., -1])
    distance = cKDTree(points[0]).query(points[1], distance_upper_bound=0.75 * step + 1e-9)[0]
    return bool(np.isfinite(distance).any())


def _points(pairs: Pairs) -> np.ndarray | None:
    """Cell centres as points on the unit sphere, (cell, 3); None where latitudes and longitudes are unknown."""
    coords = pairs.target.coords
    if not {"lat", "lon"} <= set(coords):
        return None
    phi, lam = (np.radians(coords[name].values.ravel().astype(float)) for name in ("lat", "lon"))
    if not (np.isfinite(phi).all() and np.isfinite(lam).all()):
        return None
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def _crops_meet(a: Pairs, b: Pairs) -> np.ndarray:
    """Whether each crop of `b` overlaps one of `a` of its time: the centres are nearer than half of both sizes."""
    index = np.unique(np.concatenate([_stamps(a), _stamps(b)]), return_inverse=True)[1]
    size = (np.array(a.shape) + b.shape) / 2
    places = []
    for pairs, order in zip((a, b), np.split(index, [len(a)]), strict=True):
        corner = np.stack([pairs.target[name].values for name in ("row", "column")], axis=-1)
        places.append(np.column_stack([_APART * order, (corner + np.array(pairs.shape) / 2) / size]))
    return cKDTree(places[0]).query(places[1], p=np.inf)[0] < 1 - 1e-9


def _overlap(first: str, second: str, stamps: np.ndarray, total: int) -> ConfigError:
    return ConfigError(
        f"parts {first} and {second} of the data",
        found=f"{len(stamps)} of the {total} samples of {second} at times and over cells of {first}, such as "
        f"{str(stamps[0])[:16]}",
        expected="no sample in two parts",
        todo=f"give each times or samples of its own, such as data.{second}.times=[2020-01-01, 2020-12-31]",
    )


def first_and_last(times: Times) -> tuple[np.datetime64, np.datetime64]:
    """The two times that bound a part; ConfigError where they are not two, in order."""
    try:
        first, last = (np.datetime64(time) for time in times)
    except (TypeError, ValueError) as error:
        found, expected = repr(times), "the first and the last time, such as [2020-01-01, 2020-06-30T23]"
        raise ConfigError("times", found=found, expected=expected, todo="give these two") from error
    if last < first:
        raise ConfigError("times", found=f"{first} to {last}", expected="an end after the start", todo="swap them")
    return first, last


def _between(pairs: Pairs, first: np.datetime64, last: np.datetime64) -> np.ndarray:
    stamps = _stamps(pairs)
    if stamps.dtype.kind != "M":
        found, todo = f"times as {stamps.dtype}", "choose samples by their positions"
        raise DataError("times of the pairs", found=found, expected="dates", todo=todo)
    inside = np.flatnonzero((stamps >= first) & (stamps <= last))
    if not inside.size:
        span = f"{str(stamps.min())[:16]} to {str(stamps.max())[:16]}" if stamps.size else "nothing"
        todo = "choose times that the data have"
        raise DataError("times of the pairs", found=span, expected=f"some within {first} to {last}", todo=todo)
    return inside


def _compact(chosen: Sequence[int]) -> list[int] | slice:
    """The positions as a slice where they follow one another, which lazy arrays take without being cut up."""
    chosen = np.asarray(chosen, int)
    if not chosen.size:
        raise DataError("part of the data", found="no sample", expected="at least one", todo="choose other positions")
    if (np.diff(chosen) == 1).all() and chosen[0] >= 0:
        return slice(int(chosen[0]), int(chosen[-1]) + 1)
    return chosen.tolist()
