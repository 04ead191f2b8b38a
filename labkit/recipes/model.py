"""What drawing, judging, probing and the apps know of a model, whatever its recipe.

A case is prepared once: what the denoiser sees of it, and its mean. A member is the mean plus a residual, which the
denoiser draws in units of `residual_std`. A recipe derives its class from `Model` and says which networks there are,
what they see, and what a stage of training learns.
"""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from labkit.data.batches import Batch
from labkit.data.pairs import Pairs
from labkit.data.statistics import Statistics
from labkit.diffusion.edm import Denoise
from labkit.errors import CheckpointError, ConfigError
from labkit.models.hardware import Hardware
from labkit.recipes import open_part
from labkit.recipes.patching import Patches, Patching, Prepared, Whole, full_batch
from labkit.recipes.sections import NetworkConfig, RecipeConfig, StageConfig
from labkit.store.checkpoints import checkpoint_hash
from labkit.store.runs import RunFolder
from labkit.training import Loss, Validate
from labkit.variables import canonical, lookup

DENOISER = "diffusion"  # the stage whose network draws members


@dataclass(frozen=True)
class Channels:
    """Names of what goes in and out of the networks, in order."""

    input: tuple[str, ...]
    invariant: tuple[str, ...]
    target: tuple[str, ...]

    @classmethod
    def of(cls, pairs: Pairs) -> "Channels":
        """The channels of the pairs."""
        return cls(*(tuple(names) for names in (pairs.input_channels, pairs.invariant_channels, pairs.target_channels)))

    def skips(self) -> list[tuple[int, int]]:
        """(target, input) positions of channels that the input has too."""
        inputs = [canonical(name) for name in self.input]
        return [(i, inputs.index(canonical(n))) for i, n in enumerate(self.target) if canonical(n) in inputs]


@dataclass(frozen=True)
class Stage:
    """How one network is trained: `settings`, the loss, what judges it, on which windows (fine cells (y, x), None for
    whole domains)."""

    settings: StageConfig
    loss: Loss
    judge: Validate
    windows: tuple[int, int] | None = None


class Model(ABC):
    """Networks with what they need: `config`, `channels`, `statistics`, the fine grid `shape` (y, x), and `factor`, the
    number of fine cells in a coarse one along each. Made by `labkit.recipes.train` or `load`.

    networks: by stage, in the order of training. Members are drawn by the one of the stage "diffusion" (DENOISER), an
    `EDM`, where there is one; it learns residuals in units of `residual_std`, which the stage measures and its
    checkpoints keep. Its configuration is `diffusion` and `diffusion_network`, by which `patch-size --probe` measures.
    """

    Config: ClassVar[type[RecipeConfig]]
    stages: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        config: RecipeConfig,
        channels: Channels,
        statistics: Statistics,
        *,
        shape: tuple[int, int],
        factor: tuple[int, int],
    ) -> None:
        self.config, self.channels, self.statistics = config, channels, statistics
        self.shape, self.factor = tuple(shape), tuple(factor)
        self.hardware = Hardware.choose(config.device, config.precision)
        self.patching: Patching = (
            Whole(config.data.crop) if config.patch is None else Patches(config.patch, self.factor)
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            networks = self.build()
        self.networks = {stage: network.to(self.hardware.device) for stage, network in networks.items()}
        self.residual_std = torch.ones(len(channels.target), device=self.hardware.device)
        self.folder: RunFolder | None = None
        self.patching.check(self.shape, None, None)  # raises for patches that do not fit, before anything is trained

    # What a recipe says of itself.

    @abstractmethod
    def build(self) -> dict[str, nn.Module]:
        """New networks by stage, all randomness from torch's own generator."""

    @abstractmethod
    def conditions(self, batch: Batch) -> Tensor:
        """What the network of the mean sees of a batch, (B, K, y, x), on the model's device."""

    @abstractmethod
    def mean(self, conditions: Tensor) -> Tensor:
        """The mean (B, C, y, x) of whole domains, normalised units."""

    @abstractmethod
    def seen(self, conditions: Tensor, mean: Tensor) -> Tensor:
        """What the denoiser sees, (B, K, y, x)."""

    @abstractmethod
    def check_shape(self, shape: tuple[int, int]) -> None:
        """Raise for a domain that the networks cannot take."""

    @abstractmethod
    def check_training(self, train: Pairs) -> None:
        """Raise for what only a later stage would miss."""

    @abstractmethod
    def stage(self, name: str, train: Pairs, validation: Pairs) -> Stage:
        """How a stage is trained, the earlier ones being finished; measures on the way what it learns in units of."""

    def stage_header(self, name: str) -> dict:
        """What a stage's checkpoints must say for them to fit."""
        return self.header

    # What follows from it.

    @property
    def generative(self) -> bool:
        """Whether members differ: without a denoiser each is the mean."""
        return DENOISER in self.networks

    @property
    def header(self) -> dict:
        """What makes a checkpoint fit: the recipe, channels, grid, networks and statistics."""
        sections = {name: getattr(self.config, name) for name in type(self.config).model_fields}
        networks = {name: part for name, part in sections.items() if isinstance(part, NetworkConfig)}
        described = json.dumps(_plain(self.statistics), sort_keys=True)
        return {
            "recipe": self.config.recipe,
            **{kind: list(names) for kind, names in vars(self.channels).items()},
            "shape": list(self.shape),
            "factor": list(self.factor),
            **{name: json.loads(part.model_dump_json()) for name, part in networks.items()},
            "statistics": hashlib.sha256(described.encode()).hexdigest()[:16],
            **self.patching.header(),
        }

    @property
    def any_grid(self) -> bool:
        """Whether the networks know nothing of place, so that they work on any domain."""
        sections = (getattr(self.config, name) for name in type(self.config).model_fields)
        placeless = all(part.grid_embedding == "none" for part in sections if isinstance(part, NetworkConfig))
        return placeless and not self.patching.context_channels(1)

    def pairs(self, part: str = "test") -> Pairs:
        """The data set the model was trained on: its `train`, `validation` or `test` part.

        Raises ConfigError for a test that the configuration does not set apart from what was learnt."""
        if part == "test" and not self.config.data.test:
            raise ConfigError(
                "test part of the data",
                found="nothing in the run's configuration that sets it apart",
                expected="data.test with times or samples of its own",
                todo="draw from another part, or open the data yourself",
            )
        return open_part(self.config, part)

    def check(self, pairs: Pairs) -> None:
        """Raise CheckpointError unless the pairs have the model's channels, by name and in order, its coarsening and,
        where the networks are told of it, its grid."""
        found = {f"{kind} channels": names for kind, names in vars(Channels.of(pairs)).items()}
        expected = {f"{kind} channels": names for kind, names in vars(self.channels).items()}
        found |= {"fine cells in a coarse one": pairs.factor, "grid": pairs.shape}
        expected |= {"fine cells in a coarse one": self.factor, "grid": pairs.shape if self.any_grid else self.shape}
        different = next((what for what in found if found[what] != expected[what]), None)
        if different is not None:
            raise CheckpointError(
                f"{different} of the data",
                found=_listed(found[different]),
                expected=f"{_listed(expected[different])}, as the model learnt",
                todo="select what the model was trained on, or choose the run that fits",
            )

    def prepared(self, batch: Batch) -> Prepared:
        """A batch of one case, made ready to be drawn."""
        conditions = self.conditions(batch)
        mean = self.mean(conditions)
        return Prepared(self.seen(conditions, mean), mean, batch.input.to(self.hardware.device))

    def denoiser(self, cases: Sequence[Prepared], *, batch_size: int) -> Denoise:
        """`denoise(x, sigma)` for residuals in units of `residual_std`, entry b being of `cases[b]`; the network is
        given at most `batch_size` domains, or patches, at once."""
        return self.patching.denoiser(self.denoise, cases, batch_size=batch_size)

    def denoise(self, x: Tensor, sigma: Tensor, seen: Tensor, position: Tensor | None = None) -> Tensor:
        """One evaluation of the denoiser."""
        with self.hardware.autocast():
            return self.networks[DENOISER].denoise(x, sigma, seen, position=position)

    def with_network(self, stage: str, network: nn.Module) -> "Model":
        """The same model with another network, such as an average of it."""
        other = copy.copy(self)
        other.networks = self.networks | {stage: network}
        return other

    def member(self, case: Prepared, residual: Tensor) -> np.ndarray:
        """A member (C, y, x) in native units: the mean of a case plus a residual (C, y, x) on the CPU."""
        return self.physical(case.mean[0].cpu() + residual.float() * self.residual_std.cpu()[:, None, None])

    def physical(self, fields: Tensor) -> np.ndarray:
        """Normalised fields (..., C, y, x) in native units, none below 0 where a variable has no such values."""
        values = np.array(self.statistics.denormalise("target", fields.float().numpy(), list(self.channels.target)))
        for i, name in enumerate(self.channels.target):
            if lookup(name).non_negative:
                np.maximum(values[..., i, :, :], 0, out=values[..., i, :, :])
        return values.astype(np.float32)

    def describe(self) -> dict:
        """How members of this model were made, for the attributes of output trees."""
        if self.folder is None:
            return {"model": self.config.recipe}
        path = self.folder.checkpoint_path(list(self.networks)[-1])
        made = {"checkpoint": self.folder.path.name, "checkpoint_sha256": checkpoint_hash(path)}
        return {"model": self.config.recipe, **made, **self.patching.described()}


def default_batch(model: Model, shape: tuple[int, int], *, members: int | None = None) -> int:
    """A batch that keeps the device busy: about 65,000 fine cells on a CPU, 8 million on a GPU. Of patches where the
    model draws these, else of domains of `shape`. No more than `members` of the domain need, where that is given."""
    cells = 65_536 if model.hardware.device.type == "cpu" else 8_000_000
    size = full_batch(cells, model.patching.drawn(shape))
    return size if members is None else min(size, members * model.patching.entries(shape))


def _plain(statistics: Statistics) -> dict:
    """Mean, standard deviation and transform of every channel, as plain lists by kind and name."""
    return {
        kind: {name: [c.mean, c.std, c.transform] for name, c in getattr(statistics, kind).items()}
        for kind in ("input", "invariant", "target")
    }


def _listed(values: Sequence) -> str:
    return ", ".join(map(str, values)) or "none"
