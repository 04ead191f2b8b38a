"""A CorrDiff small enough for tests: 16 x 16 cells of the idealised atmosphere, networks of eight channels."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import dask.array as da
import numpy as np
import torch

from labkit.data.statistics import Statistics, compute_statistics
from labkit.recipes import corrdiff, load_preset, open_part, train
from labkit.recipes.corrdiff import CorrDiff, CorrDiffConfig
from labkit.recipes.drawing import draw_cases
from labkit.recipes.model import Channels
from labkit.sampling import Schedule
from labkit.store.checkpoints import load_checkpoint

# 45 training samples, so that each stage sees more than two epochs.
DATA = [
    "data.options={shape: [16, 16], factor: 4, dx_km: 16}",
    "data.train={start: 2000-01-01, end: 2000-01-14, step_h: 7}",
    "data.validation={start: 2001-01-05, end: 2001-02-05, step_h: 43}",
    "data.test={start: 2002-01-05, end: 2002-01-12, step_h: 37}",
    "data.statistics_samples=64",
]
NETWORK = "{model_channels: 8, channel_mult: [1, 2], num_blocks: 1, attn_resolutions: []}"
STAGE = "{samples: 96, batch_size: 8, validate_every: 48, checkpoint_every: 32, log_every: 24, warmup_samples: 16}"
TINY = [
    *DATA,
    *(f"{stage}_network={NETWORK}" for stage in ("regression", "diffusion")),
    *(f"{stage}={STAGE}" for stage in ("regression", "diffusion")),
    "sampler={solver: heun, num_steps: 4, sigma_min: 0.01, sigma_max: 40.0}",
    "validation={cases: 2, members: 2, num_steps: 3}",
    "device=cpu",
    "precision=fp32",
]
STAGES = ("regression", "diffusion")
SCHEDULE = Schedule(solver="dpmpp_2m", num_steps=4, sigma_min=0.02, sigma_max=40.0)


def tiny_config(*overrides: str) -> CorrDiffConfig:
    """The tiny configuration with further overrides."""
    return load_preset("nano", [*TINY, *overrides])


@lru_cache
def tiny_statistics() -> Statistics:
    """Statistics of the tiny training data."""
    return compute_statistics(open_part(tiny_config(), "train"), max_samples=32)


def untrained(*overrides: str) -> CorrDiff:
    """A model whose weights were drawn and never trained, but whose members depend on noise and conditions."""
    config = tiny_config(*overrides)
    pairs = open_part(config, "test")
    model = CorrDiff(config, Channels.of(pairs), tiny_statistics(), shape=pairs.shape, factor=pairs.factor)
    generator = torch.Generator().manual_seed(2)
    for unet in (model.regression.unet, model.diffusion.network):
        weight = unet.exit.weight
        weight.data = torch.randn(weight.shape, generator=generator) / weight[0].numel() ** 0.5
    for network in (model.regression, model.diffusion):
        network.eval().requires_grad_(False)
    model.residual_std = torch.tensor([0.5, 0.4, 0.3, 0.7])
    return model


@lru_cache
def trained_run() -> Path:
    """Folder of a tiny model trained from beginning to end; copy it before changing anything in it."""
    folder = Path(tempfile.mkdtemp(prefix="labkit-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    train(tiny_config(), folder / "run", quiet=True)
    return folder / "run"


def diffusion_loss(model, whole_invariant=None):
    """The diffusion's loss with means that are remembered."""
    return corrdiff._diffusion_loss(model, corrdiff._means(model, corrdiff.Remembered(320), whole_invariant))


def silent(unet):
    """A network that says nothing: zeros whatever it is given."""
    torch.nn.init.zeros_(unet.exit.weight)
    torch.nn.init.zeros_(unet.exit.bias)
    return unet


def members(model, pairs, times=(0, 1), seeds=(3, 4)):
    found = draw_cases(model, pairs, list(times), list(seeds), schedule=SCHEDULE, batch_size=4)
    return np.stack([fields for _, _, fields in found])


def with_values(array, values):
    return array.copy(data=da.from_array(np.asarray(values, np.float32), chunks=(2, -1, -1, -1)))


def masked(pairs, rng):
    """The pairs with a third of the pixels unobserved, and nonsense in their place."""
    seen = rng.random((len(pairs), *pairs.shape)) > 0.3
    nonsense = np.where(seen[:, None], pairs.target.values, 1e6)
    mask = pairs.target.isel(channel=0, drop=True).copy(data=da.from_array(seen, chunks=(2, -1, -1)))
    return replace(pairs, target=with_values(pairs.target, nonsense), mask=mask), seen


def assert_same_run(found, expected):
    for name in ("statistics.json", "config.yaml"):
        assert (found.path / name).read_bytes() == (expected.path / name).read_bytes()
    names = [f"{stage}{part}" for stage in STAGES for part in ("", "-last", "-best")]
    for name in names:
        (have, head), (want, expected_head) = (load_checkpoint(run.checkpoint_path(name)) for run in (found, expected))
        assert head == expected_head
        assert have.keys() == want.keys() and all(torch.equal(have[key], want[key]) for key in want), name
    assert timeless(found) == timeless(expected)


def timeless(run):
    return [{k: v for k, v in entry.items() if k != "samples_per_s"} for entry in run.metrics()]
