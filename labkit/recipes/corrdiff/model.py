"""CorrDiff: a UNet predicts the mean, a diffusion model draws the rest (Mardani et al. 2025).

Two departures from the paper, both in the scaling: the regression learns the difference from the interpolated input
where the input has the channel, and residuals are divided by their own measured standard deviation, so that
`sigma_data` is 1 for every channel and noise levels mean the same everywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from labkit.data import batches
from labkit.data.batches import Batch
from labkit.data.catalogue import open_pairs
from labkit.data.pairs import Pairs
from labkit.data.regrid import upsampling_matrix
from labkit.data.statistics import Statistics
from labkit.diffusion.edm import EDM, masked_mean
from labkit.errors import CheckpointError
from labkit.models.unet import UNet
from labkit.recipes.corrdiff.config import CorrDiffConfig, validate
from labkit.store.checkpoints import checkpoint_hash, load_checkpoint
from labkit.store.runs import RunFolder
from labkit.training import Hardware, check_header
from labkit.variables import canonical, lookup


class Interpolation(nn.Module):
    """Bilinear (B, C, y_in, x_in) -> (B, C, y, x), as `labkit.data.regrid.upsample` does it."""

    def forward(self, coarse: Tensor, shape: tuple[int, int]) -> Tensor:
        wy, wx = (self._weights(n, m, coarse) for n, m in zip(coarse.shape[-2:], shape, strict=True))
        return torch.einsum("Yy,bcyx,Xx->bcYX", wy, coarse, wx)

    def _weights(self, coarse: int, fine: int, like: Tensor) -> Tensor:
        return torch.from_numpy(upsampling_matrix(coarse, fine // coarse)).to(like)


@dataclass(frozen=True)
class Channels:
    """Names of what goes in and out of the networks, in order."""

    input: tuple[str, ...]
    invariant: tuple[str, ...]
    target: tuple[str, ...]

    @classmethod
    def of(cls, pairs: Pairs) -> "Channels":
        return cls(*(tuple(names) for names in (pairs.input_channels, pairs.invariant_channels, pairs.target_channels)))

    def skips(self) -> list[tuple[int, int]]:
        """(target, input) positions of channels that the input has too."""
        inputs = [canonical(name) for name in self.input]
        return [(i, inputs.index(canonical(n))) for i, n in enumerate(self.target) if canonical(n) in inputs]


class Regression(nn.Module):
    """The mean of the target given the input, (B, C, y, x) in normalised units: the interpolated input, where it has
    the channel, plus `scale` times what the UNet says."""

    def __init__(self, unet: UNet, channels: Channels, statistics: Statistics) -> None:
        super().__init__()
        self.unet, self.interpolate, self.skips = unet, Interpolation(), channels.skips()
        gain, offset = _skip_coefficients(channels, statistics)
        self.register_buffer("gain", gain)
        self.register_buffer("offset", offset)
        self.register_buffer("scale", torch.ones(len(channels.target)))

    def conditions(self, batch: Batch) -> Tensor:
        """Interpolated input and invariants, (B, input + invariant, y, x)."""
        invariant = batch.invariant.expand(len(batch.input), -1, -1, -1)
        return torch.cat([self.interpolate(batch.input, batch.invariant.shape[-2:]), invariant], dim=1)

    def baseline(self, conditions: Tensor) -> Tensor:
        """The interpolated input in the target's normalised units, 0 for channels that the input lacks."""
        picked = [(i, conditions[:, j]) for i, j in self.skips]
        result = conditions.new_zeros(conditions.shape[0], len(self.gain), *conditions.shape[-2:])
        for i, field in picked:
            result[:, i] = field * self.gain[i] + self.offset[i]
        return result

    def forward(self, conditions: Tensor, *, position: Tensor | None = None) -> Tensor:
        scaled = self.unet(conditions, position=position).float() * self.scale[:, None, None]
        return self.baseline(conditions) + scaled


def _skip_coefficients(channels: Channels, statistics: Statistics) -> tuple[Tensor, Tensor]:
    """Gain and offset that bring a normalised input channel to the normalised units of its target."""
    gain, offset = torch.zeros(len(channels.target)), torch.zeros(len(channels.target))
    for i, j in channels.skips():
        coarse = statistics.channel("input", channels.input[j])
        fine = statistics.channel("target", channels.target[i])
        if coarse.transform != fine.transform:
            continue
        gain[i] = coarse.std / fine.std
        offset[i] = (coarse.mean - fine.mean) / fine.std
    return gain, offset


class CorrDiff:
    """Both networks with what they need: `config`, channels, grid and statistics. Made by `new` or `load`."""

    def __init__(self, config: CorrDiffConfig, channels: Channels, shape: tuple[int, int], statistics: Statistics):
        self.config, self.channels, self.shape, self.statistics = config, channels, tuple(shape), statistics
        self.hardware = Hardware.choose(config.device, config.precision)
        seen, out = len(channels.input) + len(channels.invariant), len(channels.target)
        torch.manual_seed(config.seed)
        patch = config.data.crop or self.shape
        grids = {"shape": patch, "grid_shape": self.shape}
        unet = UNet(seen, out, noise_embedding="none", **grids, **config.regression_network.model_dump())
        self.regression = Regression(unet, channels, statistics).to(self.hardware.device)
        unet = UNet(seen + 2 * out, out, noise_embedding="positional", **grids, **config.diffusion_network.model_dump())
        self.diffusion = EDM(unet, torch.ones(out)).to(self.hardware.device)
        self.residual_std = torch.ones(out, device=self.hardware.device)
        self.folder: RunFolder | None = None

    @property
    def any_grid(self) -> bool:
        """Whether the networks know nothing of place, so that they work on any domain."""
        kinds = {self.config.regression_network.grid_embedding, self.config.diffusion_network.grid_embedding}
        return kinds == {"none"}

    @property
    def header(self) -> dict:
        """What makes a checkpoint fit: the recipe, channels, grid, networks and statistics."""
        described = json.dumps(statistics_dict(self.statistics), sort_keys=True)
        return {
            "recipe": "corrdiff",
            "input": list(self.channels.input),
            "invariant": list(self.channels.invariant),
            "target": list(self.channels.target),
            "shape": list(self.shape),
            "regression_network": json.loads(self.config.regression_network.model_dump_json()),
            "diffusion_network": json.loads(self.config.diffusion_network.model_dump_json()),
            "statistics": hashlib.sha256(described.encode()).hexdigest()[:16],
        }

    def pairs(self, part: str = "test") -> Pairs:
        """The data set the model was trained on: its `train`, `validation` or `test` part."""
        return open_part(self.config, part)

    def check(self, pairs: Pairs) -> None:
        """Raise CheckpointError unless the pairs have the model's channels, by name and in order, and its grid, where
        the networks are told of it."""
        found = {name: list(names) for name, names in vars(Channels.of(pairs)).items()}
        if not self.any_grid:
            found["shape"] = list(pairs.shape)
        check_header("of this model", self.header, found)

    def conditions(self, batch: Batch) -> Tensor:
        return self.regression.conditions(batch.to(self.hardware.device))

    @torch.inference_mode()
    def mean(self, conditions: Tensor, position: Tensor | None = None) -> Tensor:
        """The regression's mean (B, C, y, x), normalised units."""
        with self.hardware.autocast():
            return self.regression(conditions, position=position).float()

    def denoiser(self, conditions: Tensor, mean: Tensor, position: Tensor | None = None):
        """`denoise(x, sigma)` for residuals in units of `residual_std`, given the conditions and the mean."""
        seen = torch.cat([conditions, mean], dim=1)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            with self.hardware.autocast():
                return self.diffusion.denoise(x, sigma, seen, position=position)

        return denoise

    def add(self, mean: Tensor, residual: Tensor) -> Tensor:
        """Mean plus residual, both on the CPU: members (B, C, y, x) in normalised units."""
        return mean + residual * self.residual_std.cpu()[:, None, None]

    def physical(self, fields: Tensor) -> np.ndarray:
        """Normalised fields (..., C, y, x) in native units, none below 0 where a variable has no such values."""
        values = np.array(self.statistics.denormalise("target", fields.float().numpy(), list(self.channels.target)))
        for i, name in enumerate(self.channels.target):
            if lookup(name).non_negative:
                np.maximum(values[..., i, :, :], 0, out=values[..., i, :, :])
        return values.astype(np.float32)

    def stage_weights(self, stage: str) -> nn.Module:
        return self.regression if stage == "regression" else self.diffusion

    def describe(self) -> dict:
        """How members of this model were made, for the attributes of output trees."""
        if self.folder is None:
            return {"model": "corrdiff"}
        path = self.folder.checkpoint_path("diffusion")
        return {"model": "corrdiff", "checkpoint": self.folder.path.name, "checkpoint_sha256": checkpoint_hash(path)}


def open_part(config: CorrDiffConfig, part: str) -> Pairs:
    """One part of the configured data set, with the configured channels."""
    data = config.data
    pairs = open_pairs({"name": data.reader, **data.options, **getattr(data, part)})
    return pairs.select(input=data.input_channels, target=data.target_channels)


def load(run: str | Path, *, device: str | None = None, precision: str | None = None) -> CorrDiff:
    """The trained model of a run folder; raises CheckpointError where it is incomplete or of another model."""
    folder = RunFolder(run)
    changes = {name: value for name, value in (("device", device), ("precision", precision)) if value is not None}
    config = validate(folder.load_config() | changes)
    _, header = load_checkpoint(folder.checkpoint_path("diffusion"))
    channels = Channels(*(tuple(header[name]) for name in ("input", "invariant", "target")))
    model = CorrDiff(config, channels, tuple(header["shape"]), Statistics.load(folder.statistics_path))
    model.folder = folder
    for stage in ("regression", "diffusion"):
        restore(model, stage)
    return model


def restore(model: CorrDiff, stage: str) -> None:
    """Put a finished stage's weights into the model."""
    path = model.folder.checkpoint_path(stage)
    tensors, header = load_checkpoint(path)
    check_header(path.name, header, model.header)
    network = model.stage_weights(stage)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"checkpoint {path.name}",
            found="weights of another network",
            expected="those of the configuration beside it",
            todo="restore the run's own config.yaml",
        ) from error
    network.eval().requires_grad_(False)
    if stage == "diffusion":
        model.residual_std = torch.tensor(header["residual_std"], device=model.hardware.device)


def statistics_dict(statistics: Statistics) -> dict:
    """Mean, standard deviation and transform of every channel, as plain lists by kind and name."""
    return {
        kind: {name: [c.mean, c.std, c.transform] for name, c in getattr(statistics, kind).items()}
        for kind in ("input", "invariant", "target")
    }


@torch.inference_mode()
def residual_std(model: CorrDiff, pairs: Pairs, indices: Sequence[int], *, batch_size: int = 16) -> Tensor:
    """Standard deviation (C,) of truth minus the regression's mean over some samples: the diffusion's sigma_data.

    Measured on samples that the regression did not learn from, because residuals of learnt samples are too small and
    would make the ensemble under-dispersive.
    """
    sums, count = 0.0, 0.0
    for start in range(0, len(indices), batch_size):
        batch = batches.load(pairs, list(indices[start : start + batch_size]), model.statistics).to(
            model.hardware.device
        )
        error = batch.target - model.mean(model.conditions(batch))
        valid = torch.ones_like(error, dtype=torch.bool) if batch.mask is None else batch.mask.expand_as(error)
        sums = sums + (torch.where(valid, error, 0).double() ** 2).sum((0, 2, 3))
        count = count + valid.sum((0, 2, 3))
    return (sums / count).sqrt().float()


def regression_loss(model: CorrDiff):
    """Mean squared error of the regression, each channel in units of its `scale`, observed pixels only."""

    def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        conditions = model.regression.conditions(batch)
        error = (network(conditions, position=batch.position) - batch.target) / network.scale[:, None, None]
        valid = None if batch.mask is None else batch.mask.expand_as(error)
        return masked_mean(error**2, valid)

    return loss
