"""CorrDiff: a UNet predicts the mean, a diffusion model draws the rest (Mardani et al. 2025).

Two departures from the paper, both in the scaling: the regression learns the difference from the interpolated input
where the input has the channel, and residuals are divided by their own measured standard deviation, so that
`sigma_data` is 1 for every channel and noise levels mean the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from labkit.data.batches import Batch
from labkit.data.pairs import Pairs
from labkit.data.samples import shared_invariant
from labkit.diffusion.edm import EDM, check_sigma_data, edm_loss
from labkit.diffusion.patches import cut
from labkit.errors import ConfigError
from labkit.models.unet import UNet
from labkit.recipes.judging import Judge, ensemble_judge, load_in_turn, residual_std, rmse, spread_cases
from labkit.recipes.model import Model, Stage, default_batch
from labkit.recipes.regression import Regression, regression_loss
from labkit.recipes.sections import DiffusionConfig, NetworkConfig, RecipeConfig, StageConfig
from labkit.recipes.stages import residual_std_in
from labkit.store.checkpoints import checkpoint_hash, load_header
from labkit.training import check_header


class CorrDiffConfig(RecipeConfig):
    """A whole CorrDiff: data, regression, residual diffusion, and how to draw from it."""

    recipe: Literal["corrdiff"] = "corrdiff"
    regression_network: NetworkConfig = NetworkConfig()
    diffusion_network: NetworkConfig = NetworkConfig()
    regression: StageConfig = StageConfig()
    diffusion: DiffusionConfig = DiffusionConfig()


class CorrDiff(Model):
    """Regression and residual diffusion, each a UNet."""

    Config = CorrDiffConfig
    stages = ("regression", "diffusion")

    def build(self) -> dict[str, nn.Module]:
        seen, out = len(self.channels.input) + len(self.channels.invariant), len(self.channels.target)
        context = self.patching.context_channels(len(self.channels.input))
        first, second = (
            section.model_dump() | {"shape": self.patching.shape(self.shape, mean=mean), "grid_shape": self.shape}
            for section, mean in ((self.config.regression_network, True), (self.config.diffusion_network, False))
        )
        regression = UNet(seen, out, noise_embedding="none", **first)
        diffusion = UNet(seen + 2 * out + context, out, noise_embedding="positional", **second)
        return {
            "regression": Regression(regression, self.channels, self.statistics),
            "diffusion": EDM(diffusion, torch.ones(out)),
        }

    @property
    def regression(self) -> Regression:
        """The network of the mean."""
        return self.networks["regression"]

    @property
    def diffusion(self) -> EDM:
        """The network of the residuals."""
        return self.networks["diffusion"]

    def conditions(self, batch: Batch) -> Tensor:
        """Interpolated input and invariants, (B, input + invariant, y, x), on the model's device."""
        return self.regression.conditions(batch.to(self.hardware.device))

    @torch.inference_mode()
    def mean(self, conditions: Tensor) -> Tensor:
        with self.hardware.autocast():
            return self.regress(self.regression, conditions).float()

    def regress(self, network: nn.Module, conditions: Tensor) -> Tensor:
        """The mean (B, C, y, x) of a whole domain by `network`, a regression, also one that only knows patches."""
        options = {"channels": len(self.channels.target), "batch_size": default_batch(self, conditions.shape[-2:])}
        return self.patching.mean(network, conditions, **options)

    def seen(self, conditions: Tensor, mean: Tensor) -> Tensor:
        return torch.cat([conditions, mean], dim=1)

    def check_shape(self, shape: tuple[int, int]) -> None:
        first, second = (self.networks.get(stage) for stage in ("regression", "diffusion"))
        self.patching.check(shape, first and first.unet, second and second.network)

    def check_training(self, train: Pairs) -> None:
        _whole_invariant(self, train)  # raises for what only the second stage would miss

    def stage_header(self, name: str) -> dict:
        """Of the diffusion also whose residuals it learnt."""
        if name == "regression":
            return self.header
        return {**self.header, "regression": checkpoint_hash(self.folder.checkpoint_path("regression"))[:16]}

    def stage(self, name: str, train: Pairs, validation: Pairs) -> Stage:
        settings = getattr(self.config, name)
        if name == "regression":
            self.regression.scale.copy_(_difference_std(self, train))
            windows = self.patching.trained_on(mean=True)
            return Stage(settings, regression_loss, _regression_judge(self, validation), windows)
        self.residual_std = _measured_residual_std(self, validation)
        means = _means(self, Remembered(_room_mb(self, train)), _whole_invariant(self, train))
        judge = ensemble_judge(self, name, validation)
        return Stage(settings, _diffusion_loss(self, means), judge, self.patching.trained_on())


RECIPE = CorrDiff


# The regression.


def _difference_std(model: CorrDiff, pairs: Pairs) -> Tensor:
    """Standard deviation (C,) of the target minus its baseline: what the regression's UNet has to learn."""
    found = rmse(model, load_in_turn(model, pairs, spread_cases(pairs, 128)), model.regression.baseline)
    return check_sigma_data(found.clamp(min=1e-3))


def _regression_judge(model: CorrDiff, validation: Pairs) -> Judge:
    """RMSE of the mean in normalised units on fixed cases; `score` is the regression's loss on them."""
    batches = list(load_in_turn(model, validation, spread_cases(validation, 32)))

    def judge(network: nn.Module) -> dict[str, float]:
        with model.hardware.autocast():
            error = rmse(model, batches, partial(model.regress, network))
        named = {f"rmse_{name}": float(value) for name, value in zip(model.channels.target, error, strict=True)}
        return {"score": float(((error / network.scale) ** 2).mean()), **named}

    return judge


# The diffusion.


def _measured_residual_std(model: CorrDiff, validation: Pairs) -> Tensor:
    """What an earlier run measured, to the last bit, or where there is none the residuals on validation cases."""
    path = model.folder.checkpoint_path("diffusion-last")
    if not path.exists():
        return check_sigma_data(residual_std(model, validation, spread_cases(validation, 64)))
    header = load_header(path)
    check_header(path.name, header, model.stage_header("diffusion"))
    return residual_std_in(model, path, header)


def _diffusion_loss(model: CorrDiff, means: Callable[[Tensor, Batch], Tensor]):
    """EDM's loss of the residuals that `means(conditions, batch)` leave, in units of their standard deviation."""
    settings = model.config.diffusion

    def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        conditions = model.regression.conditions(batch)
        mean = means(conditions, batch)
        residual = (batch.target - mean) / model.residual_std[:, None, None]
        seen = torch.cat([model.seen(conditions, mean), *model.patching.context(batch)], dim=1)
        return edm_loss(
            lambda x, sigma: network(x, sigma, seen, position=batch.position),
            residual,
            sigma_data=network.sigma_data,
            noise_mean=settings.noise_mean,
            noise_std=settings.noise_std,
            mask=batch.mask,
            generator=generator,
        )

    return loss


def _means(
    model: CorrDiff, remembered: Remembered, whole_invariant: Tensor | None
) -> Callable[[Tensor, Batch], Tensor]:
    """The frozen regression's means of training batches. Those of whole domains are remembered, patches are cut from
    them where `whole_invariant` (1, C, y, x) is given; those of windows, which differ each time, are computed."""
    regression = model.regression

    def of_domains(windows: Batch) -> Tensor:
        """Means of the domains that windows are of, as many at once as have the windows' cells."""
        changes = {"input": windows.whole_input, "invariant": whole_invariant, "whole_input": None, "position": None}
        whole = replace(windows, **changes)
        size = max(1, windows.target[:, 0].numel() // whole_invariant[0, 0].numel())
        parts = (whole[start : start + size] for start in range(0, len(whole), size))
        return torch.cat([regression(regression.conditions(part)) for part in parts])

    @torch.no_grad()
    def means(conditions: Tensor, batch: Batch) -> Tensor:
        if batch.position is None:
            return remembered(batch.index.tolist(), lambda: regression(conditions)).to(conditions.device)
        if whole_invariant is None:
            return regression(conditions, position=batch.position)
        whole = remembered(batch.index.tolist(), lambda: of_domains(batch)).to(conditions.device)
        return cut(whole, torch.arange(len(batch)), batch.position, conditions.shape[-2:])

    return means


def _room_mb(model: CorrDiff, pairs: Pairs) -> float:
    """Room for means: none where those of all samples would not fit, since hardly a batch would then be known whole."""
    needed = len(pairs) * len(model.channels.target) * math.prod(pairs.shape) * 2 / 2**20
    return model.config.data.mean_cache_mb if needed <= model.config.data.mean_cache_mb else 0.0


class Remembered:
    """Fields of samples, (B, C, y, x), kept in half precision as far as there is room: computing them again in every
    epoch would cost a fifth of the diffusion's training.

    A batch with any unknown sample is computed whole, so that what is remembered does not depend on what was known.
    """

    def __init__(self, room_mb: float) -> None:
        self.room, self.known = room_mb * 2**20, {}

    def __call__(self, samples: list[int], compute: Callable[[], Tensor]) -> Tensor:
        if all(sample in self.known for sample in samples):
            return torch.stack([self.known[sample].float() for sample in samples])
        fields = compute().half()
        for sample, field in zip(samples, fields.cpu(), strict=True):
            if sample not in self.known and self.room >= field.nbytes:
                self.known[sample] = field.clone()
                self.room -= field.nbytes
        return fields.float()


def _whole_invariant(model: CorrDiff, pairs: Pairs) -> Tensor | None:
    """The whole domain's invariants (1, C, y, x) where windows need the mean of a regression of whole domains."""
    if model.patching.trained_on() is None or model.patching.trained_on(mean=True) is not None:
        return None
    invariant = shared_invariant(pairs, model.statistics)
    if invariant is None:
        raise ConfigError(
            "patch.regression",
            found="'whole' for a data set in which every sample has invariants of its own",
            expected="'patches'",
            todo="set patch.regression=patches",
        )
    return torch.from_numpy(invariant).to(model.hardware.device)
