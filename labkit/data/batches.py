"""From lazily stored pairs to normalised torch tensors: seeded shuffle, prefetch, rank sharding, exact resume."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

from labkit.data.order import Layout
from labkit.data.pairs import Pairs
from labkit.data.prefetch import Prefetch
from labkit.data.samples import Assembly, Batch, Entry, Samples, entry_of, load, read, shared_invariant
from labkit.data.statistics import Statistics

__all__ = ["Batch", "Batches", "load"]


class Batches(Iterator[Batch]):
    """Endless stream of shuffled batches of `pairs`.

    Chunks in time are permuted every epoch, `buffer_chunks` at a time are held and shuffled together (by default as
    many as 128 MB hold, at most 32). Of every epoch each of `world_size` ranks gets its own equal share. Up to
    `cache_mb` of chunks stay in memory, so that a small data set is read once. With `crop` (fine cells (y, x), whole
    coarse cells) a visit to a sample gives `crops_per_sample` random windows of it, by default as many as would cover
    it once, of which at least `min_observed` is observed where a few tries find that; `whole_input` adds the input of
    the whole domain to each.

    `reuse` is an earlier stream of the same pairs and statistics whose chunks in memory serve this one too.
    `state_dict` is the position of what was consumed: a stream restored from it goes on bit for bit.
    """

    def __init__(
        self,
        pairs: Pairs,
        statistics: Statistics,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        buffer_chunks: int | None = None,
        crop: tuple[int, int] | None = None,
        crops_per_sample: int | None = None,
        min_observed: float = 0.5,
        whole_input: bool = False,
        prefetch: int = 2,
        cache_mb: float = 256.0,
        reuse: "Batches | None" = None,
        pin: bool = False,
    ) -> None:
        self._layout = Layout.of(
            pairs,
            seed=seed,
            rank=rank,
            world_size=world_size,
            buffer_chunks=buffer_chunks,
            crop=crop,
            crops_per_sample=crops_per_sample,
        )
        self._reader = reuse._reader if reuse else _Reader(pairs, statistics, self._layout, cache_mb * 2**20)
        self._assembly = Assembly(
            shared_invariant(pairs, statistics), pairs.factor, crop, min_observed, pin, whole_input
        )
        self._batch_size, self._depth = batch_size, prefetch
        self._consumed = 0
        self._stream: Prefetch[Batch] | None = None

    def __next__(self) -> Batch:
        if self._stream is None:
            buffers = _buffers(self._layout, self._reader, self._consumed)
            self._stream = Prefetch(_batches(Prefetch(buffers, 1), self._assembly, self._batch_size), self._depth)
        batch = next(self._stream)
        self._consumed += self._batch_size
        return batch

    @property
    def samples_per_epoch(self) -> int:
        """Samples (crops, where cropped) that all ranks together see in one epoch."""
        return self._layout.share * self._layout.world_size

    @property
    def epoch(self) -> float:
        """Epochs consumed so far."""
        return self._consumed / self._layout.share

    def state_dict(self) -> dict:
        """Where the stream stands, as plain numbers, for a checkpoint."""
        return {"samples": self._consumed * self._layout.world_size, "order": self._layout.fingerprint}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a saved position; raises CheckpointError where the data or the shuffle are not the same.

        With the ranks and batch size of the run that saved it the sequence is the uninterrupted one to the last bit.
        """
        self._layout.check(state["order"])
        self.close()
        self._consumed = int(state["samples"]) // self._layout.world_size

    def close(self) -> None:
        """Stop the threads; the position stays, and the next batch starts them again."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_) -> None:
        self.close()


class _Reader:
    """Reads chunks of samples by their number and keeps those for which there is room."""

    def __init__(self, pairs: Pairs, statistics: Statistics, layout: Layout, room: float) -> None:
        self._pairs, self._statistics, self._layout, self._room = pairs, statistics, layout, room
        self._kept: dict[int, Samples] = {}

    def chunks(self, numbers: Sequence[int]) -> dict[int, Samples]:
        missing = [number for number in numbers if number not in self._kept]
        blocks = [self._layout.chunk(number) for number in missing]
        fresh = dict(zip(missing, read(self._pairs, self._statistics, blocks), strict=True))
        for number, samples in fresh.items():
            size = sum(array.nbytes for array in samples if array is not None)
            if size <= self._room:
                self._room -= size
                self._kept[number] = samples
        return {number: fresh.get(number) or self._kept[number] for number in numbers}


def _buffers(layout: Layout, reader: _Reader, start: int) -> Generator:
    """Buffers of an endless stream from entry `start` of this rank: (chunks, entries still to come in them)."""
    epoch, skip = divmod(start, layout.share)
    while True:
        for plan in layout.epoch(epoch):
            if skip < len(plan):
                yield reader.chunks(plan.chunks), plan[skip:]
            skip = max(0, skip - len(plan))
        epoch += 1


def _batches(buffers: Prefetch, assembly: Assembly, batch_size: int) -> Generator[Batch, None, None]:
    entries: list[Entry] = []
    try:
        for chunks, plan in buffers:
            for i in range(len(plan)):
                entry = entry_of(chunks[plan.chunk[i]], plan.offset[i], int(plan.index[i]))
                entries.append(entry if plan.crops is None else assembly.cut(entry, plan.crops[i]))
                if len(entries) == batch_size:
                    yield assembly.batch(entries)
                    entries = []
    finally:
        buffers.close()
