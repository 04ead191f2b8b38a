"""Laws of the batch stream: every sample once, exact resume, crops that match their coarse cells, clean threads."""

import subprocess
import sys
import threading
import time

import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr

from labkit.data.batches import Batches, load
from labkit.data.pairs import Pairs
from labkit.data.statistics import ChannelStatistics, Statistics
from labkit.errors import CheckpointError, ConfigError, DataError

SHAPE, FACTOR = (16, 24), 4


def make_pairs(n=30, *, chunk=4, target=None, mask=None, **attrs):
    """Pairs where every value tells its sample and place: sample * 1000 + y * 24 + x; the input is its block mean."""
    place = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    values = np.arange(n, dtype=np.float32)[:, None, None, None] * 1000 + place
    coarse = values.reshape(n, 1, SHAPE[0] // FACTOR, FACTOR, SHAPE[1] // FACTOR, FACTOR).mean(axis=(3, 5))
    values = values if target is None else target
    coordinates = {"channel": ["t2m"]}
    dims = ("time", "channel", "y", "x")
    return Pairs(
        input=xr.DataArray(
            da.from_array(coarse, chunks=(chunk, -1, -1, -1)),
            dims=("time", "channel", "y_in", "x_in"),
            coords=coordinates,
        ),
        target=xr.DataArray(
            da.from_array(values, chunks=(chunk, -1, -1, -1)),
            dims=dims,
            coords={**coordinates, "y": np.arange(SHAPE[0]), "x": np.arange(SHAPE[1])},
        ),
        invariant=xr.DataArray(place[None], dims=dims[1:], coords={"channel": ["orography"]}),
        mask=None if mask is None else xr.DataArray(da.from_array(mask, chunks=chunk), dims=("time", "y", "x")),
        attrs=attrs,
    )


UNIT = ChannelStatistics(0.0, 1.0)
STATISTICS = Statistics(input={"t2m": UNIT}, invariant={"orography": UNIT}, target={"t2m": UNIT})


def stream(pairs=None, **options):
    options = {"batch_size": 5, "seed": 3, "buffer_chunks": 2, **options}
    return Batches(make_pairs() if pairs is None else pairs, STATISTICS, **options)


def take(batches, count):
    return [next(batches) for _ in range(count)]


def indices(batches, count):
    return torch.cat([batch.index for batch in take(batches, count)]).tolist()


def assert_equal(a, b):
    for name in ("input", "target", "invariant", "mask", "index", "position"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None and y is None) or torch.equal(x, y), name


def test_an_epoch_is_every_sample_once_in_another_order_each_time():
    with stream() as batches:
        first, second = indices(batches, 6), indices(batches, 6)
    assert sorted(first) == sorted(second) == list(range(30))
    assert first != second and first != sorted(first)


def test_shapes_types_and_values_belong_together():
    with stream() as batches:
        batch = next(batches)
    assert batch.input.shape == (5, 1, 4, 6) and batch.target.shape == (5, 1, 16, 24)
    assert batch.invariant.shape == (1, 1, 16, 24) and batch.mask is None and batch.position is None
    assert batch.input.dtype == batch.target.dtype == torch.float32
    torch.testing.assert_close(batch.target[:, 0, 0, 0], batch.index.float() * 1000)
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(batch.target, FACTOR), batch.input, rtol=1e-5, atol=1e-2)


def test_the_seed_decides_and_nothing_else():
    with stream() as a, stream() as b, stream(cache_mb=0, prefetch=1) as c, stream(seed=4) as d:
        assert indices(a, 9) == indices(b, 9) == indices(c, 9) != indices(d, 9)


def test_samples_of_several_chunks_are_mixed():
    with stream(buffer_chunks=8, batch_size=30) as batches:
        order = np.array(indices(batches, 1)) // 4
    assert (np.diff(order) != 0).mean() > 0.6


@pytest.mark.parametrize("n", [30, 31])
@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_share_an_epoch_without_overlap(n, world_size):
    share = n // world_size
    pairs = make_pairs(n)
    seen = []
    for rank in range(world_size):
        with stream(pairs, batch_size=share, rank=rank, world_size=world_size) as batches:
            seen += indices(batches, 1)
    assert len(seen) == len(set(seen)) == share * world_size


@pytest.mark.parametrize("consumed", [0, 1, 3, 7, 13])
@pytest.mark.parametrize("options", [{}, {"crop": (8, 12)}, {"rank": 1, "world_size": 2}])
def test_resumed_equals_uninterrupted_bit_for_bit(consumed, options):
    with stream(**options) as batches:
        take(batches, consumed)
        state = batches.state_dict()
        time.sleep(0.02)  # let the prefetch run ahead of what was consumed
        expected = take(batches, 8)
    with stream(**options) as resumed:
        next(resumed)  # a stream already running can be moved too
        resumed.load_state_dict(state)
        for a, b in zip(expected, take(resumed, 8), strict=True):
            assert_equal(a, b)
        assert resumed.state_dict() != state


@pytest.mark.parametrize("change", [{"seed": 9}, {"buffer_chunks": 3}, {"crop": (4, 4)}])
def test_a_position_of_another_order_is_refused(change):
    state = stream().state_dict()
    with pytest.raises(CheckpointError, match=next(iter(change))):
        stream(**change).load_state_dict(state)


def test_crops_are_windows_of_whole_coarse_cells_inside_the_domain():
    with stream(crop=(8, 12), batch_size=60) as batches:
        batch = next(batches)
    assert batch.target.shape == (60, 1, 8, 12) and batch.input.shape == (60, 1, 2, 3)
    y, x = batch.position.T
    assert (batch.position % FACTOR == 0).all() and y.min() == 0 and y.max() == 8 and x.min() == 0 and x.max() == 12
    torch.testing.assert_close(batch.target[:, 0, 0, 0], (batch.index * 1000 + y * 24 + x).float())
    torch.testing.assert_close(batch.invariant[:, 0, 0, 0], (y * 24 + x).float())
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(batch.target, FACTOR), batch.input, rtol=1e-5, atol=1e-2)


def test_a_visit_gives_as_many_crops_as_cover_the_domain():
    with stream(crop=(8, 12), batch_size=120) as batches:
        assert batches.samples_per_epoch == 120
        assert next(batches).index.bincount().tolist() == [4] * 30


def test_crops_look_for_what_was_observed():
    mask = np.zeros((30, *SHAPE), bool)
    mask[:, :8, :12] = True
    with stream(make_pairs(mask=mask), crop=(8, 12), batch_size=120, min_observed=0.25) as batches:
        searched = next(batches).mask.float().mean(dim=(1, 2, 3))
    with stream(make_pairs(mask=mask), crop=(8, 12), batch_size=120, min_observed=0.0) as batches:
        blind = next(batches).mask.float().mean(dim=(1, 2, 3))
    assert (searched >= 0.25).float().mean() > 0.9 > (blind >= 0.25).float().mean() + 0.2


def test_masked_targets_are_zero_and_the_mask_says_so():
    mask = np.ones((30, *SHAPE), bool)
    mask[:, :4] = False
    target = np.array(make_pairs().target.values)
    target[:, :, :4] = np.nan
    with stream(make_pairs(target=target, mask=mask)) as batches:
        batch = next(batches)
    assert batch.mask.shape == (5, 1, 16, 24) and batch.mask.dtype == torch.bool
    assert (batch.target[~batch.mask] == 0).all() and (batch.target[batch.mask] > 0).all()


def test_nan_that_no_mask_excuses_is_raised_in_the_consumer():
    target = np.array(make_pairs().target.values)
    target[7, 0, 3, 3] = np.nan
    with stream(make_pairs(target=target)) as batches:
        for _ in range(2):
            with pytest.raises(DataError, match="1 in t2m"):
                take(batches, 6)


def test_missing_input_needs_the_readers_word():
    pairs = make_pairs()
    coarse = pairs.input.values.copy()
    coarse[:, :, 0, 0] = np.nan
    for attrs in ({}, {"missing_input": "mean"}):
        holed = Pairs(pairs.input.copy(data=da.from_array(coarse)), pairs.target, pairs.invariant, attrs=attrs)
        if attrs:
            assert load(holed, [2], STATISTICS).input[0, 0, 0, 0] == 0
        else:
            with pytest.raises(DataError, match="input"):
                load(holed, [2], STATISTICS)


def test_invariants_of_each_sample_travel_with_it():
    pairs = make_pairs()
    invariant = xr.DataArray(
        da.from_array(pairs.target.values, chunks=4),
        dims=pairs.target.dims,
        coords={"channel": ["orography"]},
    )
    pairs = Pairs(pairs.input, pairs.target, invariant)
    with stream(pairs) as whole, stream(pairs, crop=(8, 8)) as cropped:
        for batch in (next(whole), next(cropped)):
            assert torch.equal(batch.invariant, batch.target)


def test_load_keeps_the_order_asked_for():
    batch = load(make_pairs(), [7, 2, 29, 7], STATISTICS)
    assert batch.index.tolist() == [7, 2, 29, 7]
    assert (batch.target[:, 0, 0, 0] / 1000).tolist() == [7, 2, 29, 7]


def test_a_small_data_set_is_read_once():
    reads = []

    def count(block):
        if block.size:
            reads.append(len(block))
        return block

    pairs = make_pairs()
    counted = pairs.target.copy(data=pairs.target.data.map_blocks(count, meta=np.empty((0, 0, 0, 0), np.float32)))
    with stream(Pairs(pairs.input, counted, pairs.invariant)) as batches:
        take(batches, 18)
    assert sum(reads) == 30


def test_in_memory_pairs_stream_as_well():
    pairs = make_pairs()
    loaded = Pairs(pairs.input.compute(), pairs.target.compute(), pairs.invariant)
    with stream(loaded) as batches:
        assert sorted(indices(batches, 6)) == list(range(30))


@pytest.mark.parametrize("crop", [(6, 8), (8, 28), (0, 4)])
def test_crops_that_do_not_fit_are_refused(crop):
    with pytest.raises(ConfigError, match="crop"):
        stream(crop=crop)


def test_more_ranks_than_samples_are_refused():
    with pytest.raises(DataError, match="at least one for each"):
        stream(make_pairs(n=3), world_size=4)


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name == "labkit prefetch"]


def test_threads_end_with_close_and_with_collection():
    batches = stream()
    next(batches)
    assert len(prefetch_threads()) == 2
    batches.close()
    assert not prefetch_threads()
    next(batches)
    del batches
    deadline = time.monotonic() + 5
    while prefetch_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not prefetch_threads()


def test_the_interpreter_ends_with_a_stream_open():
    code = (
        "import sys; sys.path.insert(0, 'tests'); import test_batches as t;"
        "batches = t.stream(); next(batches); print('done')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")


def test_a_second_stream_reads_nothing_that_the_first_still_holds(monkeypatch):
    pairs = make_pairs()
    with stream(pairs, seed=1) as first, stream(pairs, seed=2) as alone:
        take(first, 12)
        expected = take(alone, 6)
    monkeypatch.setattr("labkit.data.batches.read", lambda *_: [])  # nothing new can be read
    with stream(pairs, seed=2, reuse=first) as second:
        for wanted, found in zip(expected, take(second, 6), strict=True):
            assert_equal(found, wanted)
