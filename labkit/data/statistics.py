"""Mean, standard deviation and transform of every channel, by name: one streaming pass, saved as JSON.

The file has the layout of HRRR-Mini's `stats.json` ({"input": {name: {"mean", "std"}}, "invariant": ..., "output":
...}); ours adds "transform" and, where there is something to say, "note". Theirs is read as it is.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import dask
import numpy as np
import torch
import xarray as xr

from labkit.border import read_json
from labkit.data.moments import Moments, expm1, log1p, merge, moments
from labkit.data.pairs import Pairs
from labkit.errors import DataError
from labkit.store.atomic import atomic_write
from labkit.units import check_range
from labkit.variables import canonical, lookup

KINDS = ("input", "invariant", "target")
_JSON_NAME = {"input": "input", "invariant": "invariant", "target": "output"}
_TRANSFORMS = ("identity", "log1p")
_MIN_CHUNKS = 16
_LEAST_CHUNKS = 16


@dataclass(frozen=True)
class ChannelStatistics:
    """Mean and standard deviation of one channel after its transform; `note` says what a reader should know."""

    mean: float
    std: float
    transform: str = "identity"
    note: str = ""


@dataclass(frozen=True)
class Statistics:
    """Statistics of all channels of a data set, found by registered name or any of its aliases."""

    input: Mapping[str, ChannelStatistics]
    invariant: Mapping[str, ChannelStatistics]
    target: Mapping[str, ChannelStatistics]

    def channel(self, kind: str, name: str) -> ChannelStatistics:
        """Statistics of one channel; `kind` is "input", "invariant" or "target"."""
        known = {canonical(key): value for key, value in getattr(self, kind).items()}
        if canonical(name) not in known:
            raise DataError(
                f"statistics of {kind} channel {name!r}",
                found=", ".join(known) or "no channel",
                expected=name,
                todo="compute the statistics of this data set, or select channels that have them",
            )
        return known[canonical(name)]

    def mean(self, kind: str, channels: Sequence[str]) -> np.ndarray:
        """Means (channel,) float64 of the transformed values."""
        return np.array([self.channel(kind, name).mean for name in channels], np.float64)

    def std(self, kind: str, channels: Sequence[str]) -> np.ndarray:
        """Standard deviations (channel,) float64 of the transformed values."""
        return np.array([self.channel(kind, name).std for name in channels], np.float64)

    def normalise(self, kind: str, array, channels: Sequence[str]):
        """Native units -> zero mean, unit variance, for a NumPy array or tensor (..., channel, y, x); a new array."""
        mean, std, curved = self._columns(kind, array, channels)
        normal = (_transformed(array, curved, log1p) if curved else array) - mean
        normal /= std  # in place: no third array of this size
        return normal

    def denormalise(self, kind: str, array, channels: Sequence[str]):
        """Inverse of `normalise`; the argument is left as it was."""
        mean, std, curved = self._columns(kind, array, channels)
        native = array * std
        native += mean
        return _transformed(native, curved, expm1) if curved else native

    def _columns(self, kind: str, array, channels: Sequence[str]):
        """Mean and std (channel, 1, 1) in the array's own kind and dtype, and the channels that have a transform."""
        if array.ndim < 3 or array.shape[-3] != len(channels):
            raise DataError(
                f"{kind} to normalise",
                found=f"shape {tuple(array.shape)}",
                expected=f"(..., {len(channels)}, y, x) for {', '.join(channels)}",
                todo="pass the names of exactly the channels in the array",
            )
        numbers = (self.mean(kind, channels), self.std(kind, channels))
        mean, std = (_like(column[:, None, None], array) for column in numbers)
        curved = [i for i, name in enumerate(channels) if self.channel(kind, name).transform == "log1p"]
        return mean, std, curved

    def to_dict(self) -> dict:
        """The JSON layout: plain dictionaries and numbers."""
        return {
            _JSON_NAME[kind]: {name: _entry(channel) for name, channel in getattr(self, kind).items()} for kind in KINDS
        }

    @classmethod
    def from_dict(cls, layout: Mapping) -> "Statistics":
        """From the JSON layout; an absent group is empty, an absent transform is the identity."""
        if not isinstance(layout, Mapping) or not set(_JSON_NAME.values()) & set(layout):
            raise DataError(
                "statistics",
                found=f"keys {', '.join(map(str, layout))}" if isinstance(layout, Mapping) else type(layout).__name__,
                expected=f"the groups {', '.join(_JSON_NAME.values())}",
                todo="use a file in the layout of HRRR-Mini's stats.json or written by Statistics.save",
            )
        return cls(**{kind: _parse(kind, layout.get(_JSON_NAME[kind], {})) for kind in KINDS})

    def save(self, path: str | Path) -> None:
        """Write the JSON, atomically."""
        atomic_write(path, (json.dumps(self.to_dict(), indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: str | Path) -> "Statistics":
        """Read a JSON of ours or HRRR-Mini's `stats.json`."""
        return cls.from_dict(read_json(path, f"statistics {Path(path).name}"))


def compute_statistics(
    pairs: Pairs,
    *,
    transforms: Mapping[str, str] | None = None,
    max_samples: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Statistics:
    """Statistics of all channels of `pairs` in one streaming pass over the chunks in time.

    Values that are NaN, as masked ones are, are left out. `transforms` overrides the registry's by channel name. With
    `max_samples` only about that many samples, in chunks evenly spread in time, are read. `progress(done, total)`
    counts samples.
    Raises DataError where a channel has no observed or has infinite values, or such as cannot be in its unit.
    """
    chosen = {kind: _transforms(getattr(pairs, kind), transforms or {}) for kind in KINDS}
    blocks = _time_blocks(pairs, max_samples)
    total, done = sum(map(len, blocks)), 0
    sums: dict[str, Moments] = {}
    # a few blocks for each worker at a time: bounded memory on a laptop, enough work for a cluster
    group = 4 * (os.cpu_count() or 1)
    for start in range(0, len(blocks), group):
        tasks = [_block_moments(pairs.isel(time=block), chosen) for block in blocks[start : start + group]]
        for partial in dask.compute(*tasks):
            sums = {kind: merge(sums[kind], partial[kind]) if kind in sums else partial[kind] for kind in partial}
        done += sum(map(len, blocks[start : start + group]))
        if progress:
            progress(done, total)
    if pairs.invariant.ndim == 3:
        sums["invariant"] = moments(pairs.invariant.values[None], chosen["invariant"])
    return Statistics(**{kind: _finish(kind, getattr(pairs, kind), chosen[kind], sums[kind]) for kind in KINDS})


@dask.delayed(pure=False)
def _moments_by_kind(blocks: dict[str, np.ndarray], transforms: dict) -> dict[str, Moments]:
    return {kind: moments(block, transforms[kind]) for kind, block in blocks.items()}


def _block_moments(pairs: Pairs, transforms: dict):
    """One delayed task for all the channels of a block, so that a generator shared by them runs once."""
    blocks = {kind: getattr(pairs, kind).data for kind in KINDS if "time" in getattr(pairs, kind).dims}
    return _moments_by_kind(blocks, transforms)


def _time_blocks(pairs: Pairs, max_samples: int | None) -> list[np.ndarray]:
    """Positions in time of each block to read: the target's own chunks, all or, where asked, some evenly spread.

    A sample costs as much as the chunk that holds it, so chosen chunks are taken whole, unless these are so large that
    fewer than 16 would do: then part of each of 16.
    """
    n = len(pairs)
    if not n:
        raise DataError("pairs", found="no sample", expected="at least one", todo="choose other times")
    edges = np.cumsum(pairs.target.chunksizes.get("time", (64,) * math.ceil(n / 64)))[:-1]
    chunks = [chunk for chunk in np.split(np.arange(n), edges) if len(chunk)]
    if max_samples is None or max_samples >= n:
        return chunks
    max_samples = max(1, max_samples)
    count = min(len(chunks), max_samples, max(_MIN_CHUNKS, max_samples * len(chunks) // n))
    shares = np.diff(np.linspace(0, max_samples, count + 1).round().astype(int))
    return [
        _spread(chunks[at], share) for at, share in zip(_spread(np.arange(len(chunks)), count), shares, strict=True)
    ]


def _spread(positions: np.ndarray, count: int) -> np.ndarray:
    """`count` of the positions, or all where there are fewer: the middle of each of `count` equal parts."""
    count = min(count, len(positions))
    return positions[((np.arange(count) + 0.5) * len(positions) / count).astype(int)]


def _transforms(array: xr.DataArray, overrides: Mapping[str, str]) -> list[str]:
    chosen = [overrides.get(str(name), lookup(str(name)).transform) for name in array.channel.values]
    for transform in chosen:
        _check_transform(transform)
    return chosen


def _check_transform(transform: str) -> str:
    if transform not in _TRANSFORMS:
        raise DataError("transform", found=transform, expected=" or ".join(_TRANSFORMS), todo="name one of these")
    return transform


def _finish(kind: str, array: xr.DataArray, transforms: list[str], sums: Moments) -> dict[str, ChannelStatistics]:
    names = [str(name) for name in array.channel.values]
    theirs = array["native_units"].values if "native_units" in array.coords else [""] * len(names)
    found = {}
    for name, unit, transform, count, mean, deviation, *extremes in zip(names, theirs, transforms, *sums, strict=True):
        found[name] = _finish_channel(f"{kind} channel {name}", transform, count, mean, deviation)
        least, middle, most = (expm1(v) if transform == "log1p" else v for v in (extremes[0], mean, extremes[1]))
        check_range(name, least, middle, most, f"the {kind}", theirs=str(unit))
    return found


def _finish_channel(what: str, transform: str, count: float, mean: float, deviation: float) -> ChannelStatistics:
    if not count or not np.isfinite(deviation):
        raise DataError(
            what,
            found="infinite values" if count else "no observed value",
            expected="finite values",
            todo="repair the data or leave the channel out",
        )
    std = float(np.sqrt(deviation / count))
    # below float32's resolution of the mean there is nothing but rounding
    if std <= 1e-7 * abs(mean):
        return ChannelStatistics(float(mean), 1.0, transform, note="constant: std set to 1")
    return ChannelStatistics(float(mean), std, transform)


def _parse(kind: str, group: Mapping) -> dict[str, ChannelStatistics]:
    try:
        parsed = {str(name): _parse_channel(entry) for name, entry in group.items()}
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"statistics of {_JSON_NAME[kind]}",
            found=f"an entry that does not read ({type(error).__name__}: {error})",
            expected='{"mean": number, "std": positive number} for each channel',
            todo="compute the statistics again",
        ) from error
    return parsed


def _parse_channel(entry: Mapping) -> ChannelStatistics:
    mean, std = float(entry["mean"]), float(entry["std"])
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise ValueError(f"mean {mean}, std {std}")
    return ChannelStatistics(mean, std, _check_transform(entry.get("transform", "identity")), entry.get("note", ""))


def _entry(channel: ChannelStatistics) -> dict:
    return {key: value for key, value in asdict(channel).items() if value != ""}


def _like(column: np.ndarray, array):
    """The column as a tensor on the array's device, or in the array's floating dtype."""
    if isinstance(array, torch.Tensor):
        dtype = array.dtype if array.is_floating_point() else torch.float32
        return torch.as_tensor(column, dtype=dtype, device=array.device)
    return column.astype(array.dtype if np.issubdtype(array.dtype, np.floating) else np.float32)


def _transformed(array, channels: list[int], function: Callable):
    if isinstance(array, torch.Tensor):
        changed = array.clone() if array.is_floating_point() else array.to(torch.float32)
    else:
        changed = np.array(array, array.dtype if np.issubdtype(array.dtype, np.floating) else np.float32)
    changed[..., channels, :, :] = function(changed[..., channels, :, :])
    return changed
