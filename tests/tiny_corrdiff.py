"""A CorrDiff small enough for tests: 16 x 16 cells of the idealised atmosphere, networks of eight channels."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

import torch

from labkit.data.statistics import Statistics, compute_statistics
from labkit.recipes.corrdiff import CorrDiff, CorrDiffConfig, load_preset, open_part, train
from labkit.recipes.corrdiff.regression import Channels

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
