"""Samples read from lazily stored pairs, normalised, cropped and stacked to a batch of torch tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import dask
import numpy as np
import torch

from labkit.data.pairs import Pairs
from labkit.data.statistics import Statistics
from labkit.errors import DataError


@dataclass(frozen=True)
class Batch:
    """Normalised float32 tensors of B samples; missing values are 0, the mean, and `mask` tells them.

    input (B, channel, y_in, x_in); target (B, channel, y, x); invariant (B or 1, channel, y, x);
    mask (B, 1, y, x) bool, None where all is observed; index (B,) positions in the pairs' time;
    position (B, 2) fine cell (y, x) of each crop's corner, None where a sample is the whole domain;
    whole_input (B, channel, y_in, x_in) the input of each crop's whole domain, where it was asked for.
    """

    input: torch.Tensor
    target: torch.Tensor
    invariant: torch.Tensor
    mask: torch.Tensor | None
    index: torch.Tensor
    position: torch.Tensor | None = None
    whole_input: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, entries: slice) -> "Batch":
        """Some entries of the batch, as views; an invariant common to all stays."""
        shared = len(self.invariant) == 1
        part = self._each(lambda tensor: tensor[entries])
        return replace(part, invariant=self.invariant) if shared else part

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on a device; copies from pinned memory do not wait."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin(self) -> "Batch":
        """The batch in page-locked memory, for quick copies to a GPU."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, function) -> "Batch":
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: function(tensor) for name, tensor in tensors.items() if tensor is not None})


class Samples(NamedTuple):
    """Normalised arrays of some samples, first axis the sample; `invariant` only where every sample has its own."""

    input: np.ndarray
    target: np.ndarray
    invariant: np.ndarray | None
    mask: np.ndarray | None


def load(pairs: Pairs, indices: Sequence[int], statistics: Statistics) -> Batch:
    """The named samples as one batch, whole domain, in the order given: for validation and sampling."""
    wanted = np.asarray(indices, np.int64)
    positions, back = np.unique(wanted, return_inverse=True)
    samples = read(pairs, statistics, [positions])[0]
    entries = [entry_of(samples, at, index) for at, index in zip(back, wanted, strict=True)]
    return Assembly(shared_invariant(pairs, statistics)).batch(entries)


def shared_invariant(pairs: Pairs, statistics: Statistics) -> np.ndarray | None:
    """Normalised invariants (1, channel, y, x), or None where every sample has its own."""
    if pairs.invariant.ndim == 4:
        return None
    return _normalised("invariant", np.asarray(pairs.invariant.data)[None], pairs, statistics)


def read(pairs: Pairs, statistics: Statistics, blocks: Sequence[np.ndarray | slice]) -> list[Samples]:
    """Normalised samples at several blocks of positions in time, in one dask computation.

    Raises DataError where a value is NaN that the mask calls observed, or an input is NaN and the pairs' attribute
    `missing_input` is not "mean" (a reader sets that where another channel tells the network what is missing).
    """
    arrays = (pairs.input, pairs.target, pairs.invariant if pairs.invariant.ndim == 4 else None, pairs.mask)
    lazy = [tuple(array if array is None else array.data[block] for array in arrays) for block in blocks]
    return [_prepared(Samples(*raw), pairs, statistics) for raw in dask.compute(*lazy)]


def _prepared(raw: Samples, pairs: Pairs, statistics: Statistics) -> Samples:
    target = _normalised("target", raw.target, pairs, statistics, missing=None if raw.mask is None else ~raw.mask)
    invariant = None if raw.invariant is None else _normalised("invariant", raw.invariant, pairs, statistics)
    return Samples(_normalised("input", raw.input, pairs, statistics), target, invariant, raw.mask)


def _normalised(kind: str, raw: np.ndarray, pairs: Pairs, statistics: Statistics, missing=None) -> np.ndarray:
    """Normalised float32 (sample, channel, y, x) with 0 where missing values are expected, else DataError."""
    channels = [str(name) for name in getattr(pairs, kind).channel.values]
    values = statistics.normalise(kind, np.asarray(raw, np.float32), channels)
    bad = ~np.isfinite(values)
    if not bad.any():
        return values
    if missing is not None:
        unexpected = bad & ~missing[:, None]
    elif kind == "input" and pairs.attrs.get("missing_input") == "mean":
        unexpected = np.isinf(values)
    else:
        unexpected = bad
    if unexpected.any():
        _refuse(kind, channels, unexpected)
    values[bad] = 0
    return values


def _refuse(kind: str, channels: list[str], bad: np.ndarray) -> None:
    per_channel = bad.sum(axis=(0, 2, 3))
    found = ", ".join(f"{n} in {name}" for name, n in zip(channels, per_channel, strict=True) if n)
    raise DataError(
        f"{kind} values",
        found=f"NaN or infinity where no mask says that they are missing ({found})",
        expected="finite numbers",
        todo="fill or leave out these samples, or give the pairs a mask of what was observed",
    )


class Entry(NamedTuple):
    """Views of one sample, or of a crop of it."""

    input: np.ndarray
    target: np.ndarray
    invariant: np.ndarray | None
    mask: np.ndarray | None
    index: int
    position: tuple[int, int] | None
    whole_input: np.ndarray | None = None


def entry_of(samples: Samples, at: int, index: int, position: tuple[int, int] | None = None) -> Entry:
    """One whole sample, as views."""
    return Entry(*(None if array is None else array[at] for array in samples), index, position)


@dataclass(frozen=True)
class Assembly:
    """What it takes to cut crops out of samples and to stack them."""

    invariant: np.ndarray | None
    factor: tuple[int, int] = (1, 1)
    crop: tuple[int, int] | None = None
    min_observed: float = 0.0
    pin: bool = False
    whole_input: bool = False

    def cut(self, entry: Entry, candidates: np.ndarray) -> Entry:
        """The first candidate crop (fine y, x) that is observed enough, or the one most observed."""
        (height, width), (fy, fx) = self.crop, self.factor
        y, x = self._choose(entry.mask, candidates)
        fine = np.s_[..., y : y + height, x : x + width]
        coarse = np.s_[..., y // fy : (y + height) // fy, x // fx : (x + width) // fx]
        invariant = self.invariant[0] if entry.invariant is None else entry.invariant
        mask = None if entry.mask is None else entry.mask[fine]
        whole = entry.input if self.whole_input else None
        return Entry(entry.input[coarse], entry.target[fine], invariant[fine], mask, entry.index, (y, x), whole)

    def _choose(self, mask: np.ndarray | None, candidates: np.ndarray) -> tuple[int, int]:
        best, most = candidates[0], -1.0
        for y, x in candidates:
            share = 1.0 if mask is None else mask[y : y + self.crop[0], x : x + self.crop[1]].mean()
            if share > most:
                best, most = (y, x), share
            if most >= self.min_observed:
                break
        return int(best[0]), int(best[1])

    def batch(self, entries: Sequence[Entry]) -> Batch:
        """The entries stacked; an invariant common to all is not repeated."""
        own = entries[0].invariant is not None
        whole = entries[0].position is None
        batch = Batch(
            input=_stack([entry.input for entry in entries]),
            target=_stack([entry.target for entry in entries]),
            invariant=_stack([entry.invariant for entry in entries]) if own else torch.from_numpy(self.invariant),
            mask=None if entries[0].mask is None else _stack([entry.mask[None] for entry in entries]),
            index=torch.tensor([entry.index for entry in entries]),
            position=None if whole else torch.tensor([entry.position for entry in entries]),
            whole_input=None if entries[0].whole_input is None else _stack([entry.whole_input for entry in entries]),
        )
        return batch.pin() if self.pin else batch


def _stack(arrays: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))
