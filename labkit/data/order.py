"""The order in which samples are seen: a pure function of seed, epoch and rank."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from labkit.data.pairs import Pairs
from labkit.errors import CheckpointError, ConfigError, DataError

_CROP_TRIES = 8
_BUFFER_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Plan:
    """Shuffled entries of one buffer: chunk number, offset in the chunk, index in time, candidate crops (tries, 2)."""

    chunk: np.ndarray
    offset: np.ndarray
    index: np.ndarray
    crops: np.ndarray | None

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, part: slice) -> "Plan":
        return Plan(*(None if (array := getattr(self, f.name)) is None else array[part] for f in fields(self)))

    @property
    def chunks(self) -> list[int]:
        """Numbers of the chunks that hold the entries."""
        return np.unique(self.chunk).tolist()


@dataclass(frozen=True)
class Layout:
    """How the samples lie in chunks along time, and all that decides their order."""

    edges: np.ndarray
    seed: int
    rank: int
    world_size: int
    buffer_chunks: int
    visits: int = 1
    crop: tuple[int, int] | None = None
    corners: tuple[int, int] = (1, 1)
    factor: tuple[int, int] = (1, 1)

    @classmethod
    def of(
        cls,
        pairs: Pairs,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        buffer_chunks: int | None = None,
        crop: tuple[int, int] | None = None,
        crops_per_sample: int | None = None,
    ) -> "Layout":
        """The layout of `pairs`, in the target's own chunks; raises ConfigError for a crop that does not fit."""
        if crop is not None:
            _check_crop(pairs, crop)
        n = len(pairs)
        chunks = pairs.target.chunksizes.get("time") or (64,) * (n // 64) + ((n % 64,) if n % 64 else ())
        edges = np.concatenate([[0], np.cumsum(chunks, dtype=np.int64)])
        visits, corners = 1, (1, 1)
        if crop is not None:
            visits = crops_per_sample or max(1, math.prod(pairs.shape) // math.prod(crop))
            corners = tuple((pairs.shape[i] - crop[i]) // pairs.factor[i] + 1 for i in range(2))
        if buffer_chunks is None:
            sample_bytes = (pairs.target.nbytes + pairs.input.nbytes) / max(n, 1)
            buffer_chunks = int(np.clip(_BUFFER_BYTES / (sample_bytes * max(chunks, default=1)), 1, 32))
        layout = cls(edges, seed, rank, world_size, buffer_chunks, visits, crop, corners, pairs.factor)
        layout._check_share()
        return layout

    def _check_share(self) -> None:
        if not 0 <= self.rank < self.world_size:
            expected = f"0 to {self.world_size - 1}"
            raise ConfigError("rank", found=str(self.rank), expected=expected, todo="start it under torchrun")
        if not self.share:
            raise DataError(
                "training samples",
                found=str(int(self.edges[-1])),
                expected=f"at least one for each of {self.world_size} ranks",
                todo="choose more samples or fewer ranks",
            )

    @property
    def share(self) -> int:
        """Entries of one epoch for each rank; the remainder, another one every epoch, is dropped."""
        return int(self.edges[-1]) * self.visits // self.world_size

    def chunk(self, number: int) -> slice:
        """Positions in time of a chunk."""
        return slice(int(self.edges[number]), int(self.edges[number + 1]))

    def epoch(self, epoch: int) -> Iterator[Plan]:
        """This rank's buffers of an epoch.

        All ranks permute the chunks alike and take consecutive shares of the row of samples, so that a chunk is read
        by one rank, or by two at the joint.
        """
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.edges) - 1)
        chunk = np.repeat(order, np.diff(self.edges)[order] * self.visits)
        start = self.rank * self.share
        first, last = start, start + self.share
        row = np.concatenate([np.repeat(np.arange(*self.edges[c : c + 2]), self.visits) for c in order])[first:last]
        chunk = chunk[first:last]
        turn = np.cumsum(np.diff(chunk, prepend=chunk[0]) != 0) // self.buffer_chunks
        for number, part in enumerate(np.split(np.arange(self.share), np.flatnonzero(np.diff(turn)) + 1)):
            yield self._plan(chunk[part], row[part], np.random.default_rng([self.seed, epoch, self.rank, number]))

    def _plan(self, chunk: np.ndarray, row: np.ndarray, rng: np.random.Generator) -> Plan:
        shuffle = rng.permutation(len(row))
        chunk, row, crops = chunk[shuffle], row[shuffle], None
        if self.crop is not None:
            crops = rng.integers(0, self.corners, (len(row), _CROP_TRIES, 2)) * self.factor
        return Plan(chunk, row - self.edges[chunk], row, crops)

    @property
    def fingerprint(self) -> dict:
        """What must be equal for a saved position to mean the same samples."""
        return {
            "samples": int(self.edges[-1]),
            "chunks": len(self.edges) - 1,
            "seed": self.seed,
            "buffer_chunks": self.buffer_chunks,
            "crop": None if self.crop is None else list(self.crop),
            "visits": self.visits,
        }

    def check(self, saved: dict) -> None:
        """Raise CheckpointError where a saved fingerprint is another one."""
        differ = [key for key, value in self.fingerprint.items() if saved.get(key) != value]
        if differ:
            raise CheckpointError(
                "order of the training samples",
                found=_listed(saved, differ) + " in the checkpoint",
                expected=_listed(self.fingerprint, differ),
                todo="resume with the data set and options of the run that saved it",
            )


def _listed(values: dict, keys: Sequence[str]) -> str:
    return ", ".join(f"{key} {values.get(key)}" for key in keys)


def _check_crop(pairs: Pairs, crop: tuple[int, int]) -> None:
    fits = all(0 < c <= n and c % f == 0 for c, n, f in zip(crop, pairs.shape, pairs.factor, strict=True))
    if not fits:
        raise ConfigError(
            "crop",
            found="{} x {} fine cells".format(*crop),
            expected="multiples of {} x {} within {} x {}".format(*pairs.factor, *pairs.shape),
            todo="choose a crop of whole coarse cells inside the domain",
        )
