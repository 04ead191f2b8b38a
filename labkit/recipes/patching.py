"""What the networks see of a domain: all of it, or patches; everything that differs between the two is here.

A model asks its `patching` and never which of them it has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from labkit.data.batches import Batch
from labkit.diffusion.edm import Denoise
from labkit.diffusion.patches import PatchGrid, cut, fuse, members_at_once, patched
from labkit.recipes.sections import PatchConfig

# (x (n, C, y, x), sigma (n,), seen (n, K, y, x), corner (n, 2) or None) -> clean fields (n, C, y, x)
Seeing = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


class Prepared(NamedTuple):
    """One case: what the denoiser sees of it (1, K, y, x), its mean (1, C, y, x) to which residuals are added, both on
    the device and in normalised units, and its coarse input (1, input, y_in, x_in)."""

    seen: Tensor
    mean: Tensor
    coarse: Tensor


@dataclass(frozen=True)
class Whole:
    """Networks that see whole domains; trained on crops of them where `crop` (fine cells (y, x)) says so."""

    crop: tuple[int, int] | None

    def shape(self, domain: tuple[int, int], *, mean: bool = False) -> tuple[int, int]:
        """What the network of the mean, or the denoiser, is given (y, x)."""
        return self.crop or domain

    def trained_on(self, *, mean: bool = False) -> tuple[int, int] | None:
        """Windows (y, x) that a stage learns from, None for whole domains."""
        return self.crop

    def context_channels(self, inputs: int) -> int:
        """How many channels the denoiser sees besides."""
        return 0

    def check(self, shape: tuple[int, int], mean: nn.Module | None, denoiser: nn.Module | None) -> None:
        """Raise for a domain that the networks cannot take."""
        for network in (mean, denoiser):
            if network is not None:
                network.check_shape(shape)

    def mean(self, network: nn.Module, conditions: Tensor, *, channels: int, batch_size: int) -> Tensor:
        """The mean (B, C, y, x) of whole domains by `network`."""
        return network(conditions)

    def context(self, batch: Batch) -> list[Tensor]:
        """What the denoiser sees of a training batch besides."""
        return []

    def denoiser(self, denoise: Seeing, cases: Sequence[Prepared], *, batch_size: int) -> Denoise:
        """`denoise(x, sigma)` of whole domains, entry b of `x` being of `cases[b]`."""
        seen = torch.cat([case.seen for case in cases]) if len(cases) > 1 else cases[0].seen
        return lambda x, sigma: denoise(x, sigma, seen, None)

    def drawn(self, shape: tuple[int, int]) -> tuple[int, int]:
        """What the denoiser is given (y, x) to draw a domain of a shape."""
        return shape

    def entries(self, shape: tuple[int, int]) -> int:
        """How many of these a domain is."""
        return 1

    def members_at_once(self, shape: tuple[int, int], batch_size: int) -> int:
        """How many members to draw together where the network is given `batch_size` entries at once."""
        return batch_size

    def described(self) -> dict[str, str]:
        """For the attributes of output trees."""
        return {}

    def header(self) -> dict:
        """For the headers of checkpoints."""
        return {}


@dataclass(frozen=True)
class Patches:
    """Networks that see patches, drawn over the whole domain by patches fused at every step; the network of the mean
    sees whole domains where `config.regression` says so. factor: fine cells in a coarse one (y, x)."""

    config: PatchConfig
    factor: tuple[int, int]

    @property
    def whole_mean(self) -> bool:
        """Whether the network of the mean sees whole domains."""
        return self.config.regression == "whole"

    def shape(self, domain: tuple[int, int], *, mean: bool = False) -> tuple[int, int]:
        return domain if mean and self.whole_mean else self.config.shape

    def trained_on(self, *, mean: bool = False) -> tuple[int, int] | None:
        return None if mean and self.whole_mean else self.config.shape

    def context_channels(self, inputs: int) -> int:
        return inputs if self.config.context else 0

    def grid(self, shape: tuple[int, int]) -> PatchGrid:
        """The patches of a domain `shape` (y, x), on whole coarse cells as in training."""
        options = {"overlap": self.config.overlap, "boundary": self.config.boundary, "align": self.factor}
        return PatchGrid.of(shape, self.config.shape, **options)

    def check(self, shape: tuple[int, int], mean: nn.Module | None, denoiser: nn.Module | None) -> None:
        self.grid(shape)
        if mean is not None and self.whole_mean:
            mean.check_shape(shape)

    def mean(self, network: nn.Module, conditions: Tensor, *, channels: int, batch_size: int) -> Tensor:
        if self.whole_mean:
            return network(conditions)

        def evaluate(entry: Tensor, corner: Tensor) -> Tensor:
            return network(cut(conditions, entry, corner, self.config.shape), position=corner)

        return fuse(evaluate, self.grid(conditions.shape[-2:]), conditions, channels=channels, batch_size=batch_size)

    def context(self, batch: Batch) -> list[Tensor]:
        return [self.resized(batch.whole_input)]

    def denoiser(self, denoise: Seeing, cases: Sequence[Prepared], *, batch_size: int) -> Denoise:
        distinct = list({id(case): case for case in cases}.values())
        number = {id(case): i for i, case in enumerate(distinct)}
        seen, coarse = (_joined([getattr(case, name) for case in distinct]) for name in ("seen", "coarse"))
        context, which = self.resized(coarse), torch.tensor([number[id(case)] for case in cases]).to(seen.device)

        def denoise_patches(x: Tensor, sigma: Tensor, entry: Tensor, corner: Tensor) -> Tensor:
            part = cut(seen, which[entry], corner, self.config.shape)
            return denoise(x, sigma, torch.cat([part, context[which[entry]]], dim=1), corner)

        return patched(denoise_patches, self.grid(seen.shape[-2:]), batch_size=batch_size)

    def drawn(self, shape: tuple[int, int]) -> tuple[int, int]:
        return self.config.shape

    def entries(self, shape: tuple[int, int]) -> int:
        return len(self.grid(shape))

    def members_at_once(self, shape: tuple[int, int], batch_size: int) -> int:
        return members_at_once(self.entries(shape), batch_size)

    def described(self) -> dict[str, str]:
        size = "{} x {} cells".format(*self.config.shape)
        return {"patches": f"{size}, overlap {self.config.overlap}, boundary {self.config.boundary}"}

    def header(self) -> dict:
        return {"patch": json.loads(self.config.model_dump_json())}

    def resized(self, coarse: Tensor) -> Tensor:
        """The whole domain's coarse input (B, input, y_in, x_in), resized to a patch; no channel where not wanted."""
        if not self.config.context:
            return coarse.new_zeros(len(coarse), 0, *self.config.shape)
        with torch.autocast(coarse.device.type, enabled=False):
            return functional.interpolate(coarse, self.config.shape, mode="bilinear", antialias=True)


Patching = Whole | Patches


def full_batch(cells: int, shape: tuple[int, int]) -> int:
    """How many fields of a shape have about so many cells, at most 512."""
    return int(np.clip(cells // int(np.prod(shape)), 1, 512))


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """The parts in one, without a copy of a whole domain where there is only one."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
