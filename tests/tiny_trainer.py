"""A network small enough to train in a test many times, on noise of 8 x 8 cells."""

import signal
import threading

import dask.array as da
import numpy as np
import torch
import xarray as xr

from labkit.data.batches import Batches
from labkit.data.pairs import Pairs
from labkit.data.statistics import compute_statistics
from labkit.models.hardware import Hardware
from labkit.models.unet import UNet
from labkit.recipes.sections import StageConfig
from labkit.store.checkpoints import load_checkpoint
from labkit.store.runs import RunFolder
from labkit.training import Trainer

LEVELS = {"t2m": 280.0, "msl": 101_000.0, "u10": 0.0}  # such as nature keeps to
CPU = Hardware(torch.device("cpu"), bf16=False)


def make_pairs(n=40):
    """Noise on 8 x 8 cells, two fine cells to a coarse one, four samples to a chunk."""
    rng = np.random.default_rng(3)

    def array(shape, dims, names):
        values = rng.standard_normal((n, len(names), *shape)).astype(np.float32)
        values += np.float32([LEVELS[name] for name in names])[:, None, None]
        return xr.DataArray(da.from_array(values, chunks=(4, -1, -1, -1)), dims=dims, coords={"channel": names})

    return Pairs(
        input=array((4, 4), ("time", "channel", "y_in", "x_in"), ["t2m", "msl"]),
        target=array((8, 8), ("time", "channel", "y", "x"), ["t2m", "u10"]),
        invariant=xr.DataArray(
            np.ones((1, 8, 8), np.float32), dims=("channel", "y", "x"), coords={"channel": ["land"]}
        ),
    )


def settings(**changes):
    """Eight steps of eight samples; logs, validation and checkpoints never fall together."""
    usual = dict(samples=64, batch_size=8, lr=1e-2, warmup_samples=16, decay="cosine", ema_halflife_samples=64)
    return StageConfig(**{**usual, "log_every": 24, "validate_every": 32, "checkpoint_every": 16, **changes})


def unet():
    torch.manual_seed(1)
    options = {"model_channels": 8, "channel_mult": (1, 2), "num_blocks": 1, "attn_resolutions": (), "dropout": 0.1}
    return UNet(2, 2, shape=(8, 8), noise_embedding="none", **options)


def noisy_loss(network, batch, generator):
    """Stochastic in both ways that losses are: the given generator and, by dropout, the global one."""
    noise = torch.randn(batch.target.shape, generator=generator)
    return ((network(batch.target + noise) - batch.target) ** 2).mean()


def plain_loss(network, batch, generator):
    return ((network(batch.target.double()) - 1) ** 2).mean()


def weight_of(network):
    return {"score": float(next(network.parameters()).double().abs().mean())}


def make_trainer(path, changes=None, *, network=None, loss=noisy_loss, validate=weight_of, pairs=None, **options):
    pairs = pairs or make_pairs()
    chosen = settings(**(changes or {}))
    batches = Batches(pairs, compute_statistics(pairs), batch_size=chosen.batch_size, seed=5)
    options = {"header": {"model": "a"}, "stage": "regression", "quiet": True} | options
    return Trainer(
        network or unet(),
        loss,
        batches,
        settings=chosen,
        hardware=CPU,
        folder=RunFolder(path),
        validate=validate,
        **options,
    )


def metrics(folder):
    """All that was logged, but for how quick it was."""
    return [{k: v for k, v in entry.items() if k != "samples_per_s"} for entry in folder.metrics()]


def assert_same_run(found, expected):
    """Networks, averages, optimiser, position and metrics alike to the last bit."""
    names = [path.name for path in expected.checkpoints]
    assert sorted(path.name for path in found.checkpoints) == sorted(names)
    assert len(names) == 3
    for name in names:
        (have, head), (want, expected_head) = (
            load_checkpoint(f.path / "checkpoints" / name) for f in (found, expected)
        )
        assert head == expected_head
        assert have.keys() == want.keys()
        # how far apart they are tells another order of sums from another training
        apart = {
            key: float((have[key] - want[key]).abs().max()) for key in want if not torch.equal(have[key], want[key])
        }
        assert apart == {}, name
    assert metrics(found) == metrics(expected)


def no_thread_is_left():
    return not [thread for thread in threading.enumerate() if thread.name == "labkit prefetch"]


def ctrl_c_at(call, function):
    """The function, pressing Ctrl-C in the middle of its n-th call."""
    calls = 0

    def pressed(*arguments, **options):
        nonlocal calls
        calls += 1
        result = function(*arguments, **options)
        if calls == call:
            signal.raise_signal(signal.SIGINT)
        return result

    return pressed
