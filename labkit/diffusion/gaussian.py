"""The Gaussian whose diffusion is known in closed form: what every solver is held against.

For data N(mean, std^2) the noised law at `sigma` is N(mean, std^2 + sigma^2), the denoiser is linear, and so is each
solver: the spread that it leaves follows exactly, without drawing anything.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import torch
from torch import Tensor

from labkit.diffusion.solvers import Denoise


def exact_denoiser(mean: Tensor | float = 0.0, std: Tensor | float = 1.0) -> Denoise:
    """E[x0 | x] for data N(mean, std^2): mean + (x - mean) std^2 / (std^2 + sigma^2).

    `sigma` is a scalar or (B,); `mean` and `std` broadcast against `x`.
    """

    def denoise(x: Tensor, sigma: Tensor | float) -> Tensor:
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
        sigma = sigma.reshape(sigma.shape + (1,) * (x.ndim - 1)) if sigma.ndim else sigma
        return mean + (x - mean) * std**2 / (std**2 + sigma**2)

    return denoise


def probability_flow(
    x: Tensor, sigma_from: float, sigma_to: float, *, mean: Tensor | float = 0.0, std: Tensor | float = 1.0
) -> Tensor:
    """Where the exact probability flow carries `x` from `sigma_from` to `sigma_to`: it keeps x's quantile."""
    ratio = (std**2 + sigma_to**2) / (std**2 + sigma_from**2)
    return mean + (x - mean) * ratio**0.5


def spread_left(solver: Callable[..., Tensor], sigmas: Tensor, *, std: float = 1.0, **options: float) -> float:
    """Standard deviation of what `solver` makes of data N(0, std^2), started from N(0, sigmas[0]^2) as samplers are.

    The solver is linear in the start and in each injection of noise, so each is sent through alone, as one entry
    of a vector, and their variances add up. The right answer is sqrt(std^2 + sigmas[-1]^2).
    """
    x = torch.zeros(len(sigmas), dtype=torch.float64)
    x[0] = sigmas[0]
    injection = count(1)

    def unit_noise(shape: torch.Size) -> Tensor:
        return torch.eye(shape[0], dtype=torch.float64)[next(injection)]

    return float(solver(exact_denoiser(0.0, std), x, sigmas.double(), noise=unit_noise, **options).norm())
