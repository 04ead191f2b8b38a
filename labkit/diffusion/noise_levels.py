"""Noise levels: the ones that a solver steps through, and the ones that training draws."""

from __future__ import annotations

import torch
from torch import Tensor

from labkit.errors import ConfigError


def edm_noise_levels(num_steps: int, *, sigma_min: float = 0.002, sigma_max: float = 800.0, rho: float = 7.0) -> Tensor:
    """Falling noise levels of a solver's `num_steps` steps: (num_steps + 1,) float64, the last one 0.

    Spaced evenly in sigma^(1/rho), so that a large `rho` spends more steps on little noise.
    Source: Karras et al. (2022), Eq. 5.
    """
    if num_steps < 1 or not 0 < sigma_min <= sigma_max:
        raise ConfigError(
            "noise levels",
            found=f"{num_steps} steps from {sigma_max} to {sigma_min}",
            expected="at least one step and 0 < sigma_min <= sigma_max",
            todo="change num_steps, sigma_min or sigma_max",
        )
    ramp = torch.linspace(0, 1, num_steps, dtype=torch.float64, device="cpu")
    root_max, root_min = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    sigmas = (root_max + ramp * (root_min - root_max)) ** rho
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def lognormal_noise_levels(
    batch: int, *, mean: float = 0.0, std: float = 1.2, generator: torch.Generator | None = None
) -> Tensor:
    """Noise levels for one training batch: (batch,) float32 with ln(sigma) ~ N(mean, std^2).

    One is drawn from each of `batch` equally likely strata, in random order: every entry follows the distribution
    exactly, and the mean over a batch varies much less than with independent draws (Kingma et al. 2021, App. I).
    """
    device = generator.device if generator is not None else None
    order = torch.randperm(batch, generator=generator, device=device)
    shift = torch.rand((), generator=generator, device=device, dtype=torch.float64)
    quantile = ((order + shift) / batch).clamp(1e-9, 1 - 1e-9)
    return (mean + std * torch.special.ndtri(quantile)).exp().float()
