"""The averaged network that is used in place of the one being trained."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn


class EMA:
    """Exponential average of a network's parameters; its half-life is at most a tenth of the samples seen so far, so
    that the first ones are soon forgotten (Karras et al. 2022)."""

    def __init__(self, network: nn.Module, halflife_samples: int) -> None:
        self.network = deepcopy(network).eval().requires_grad_(False)
        self.halflife_samples = halflife_samples

    @torch.no_grad()
    def update(self, network: nn.Module, samples_seen: int, batch_size: int) -> None:
        """Take in the parameters after a step on `batch_size` samples, `samples_seen` counting these too."""
        halflife = min(self.halflife_samples, samples_seen / 10)
        weight = 1 - 0.5 ** (batch_size / halflife) if halflife > 0 else 1.0
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), weight)
        for mine, theirs in zip(self.network.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs)
