"""Solvers of the probability-flow ODE and its stochastic kin: flat functions over any `denoise(x, sigma) -> x0`.

All share one signature. `x` arrives scaled by `sigmas[0]`; the state keeps the precision of `x` (float64 for exact
work, float32 else); `sigmas` (N + 1,) fall, to 0 or to a positive end. `noise(shape)` gives standard normal numbers,
drawn by the caller, so that a member depends on its own seed alone. `callback(step, x0)` gets the estimate of the
clean fields that step `step` started from; it may raise to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from labkit.errors import ConfigError

Denoise = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[torch.Size], Tensor]
Callback = Callable[[int, Tensor], None]
GAMMA_MAX = 2**0.5 - 1  # churn at most doubles the noise variance of a step (Karras et al. 2022, Alg. 2)


def euler(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Noise | None = None, callback: Callback | None = None
) -> Tensor:
    """First-order steps, one evaluation each; deterministic."""
    for step, sigma, sigma_next in _steps(x, sigmas):
        x0 = denoise(x, sigma)
        _report(callback, step, x0)
        x = x + (sigma_next - sigma) * (x - x0) / sigma
    return x


def heun(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Noise | None = None, callback: Callback | None = None
) -> Tensor:
    """Second-order steps, two evaluations each but one for a step to sigma = 0; deterministic."""
    for step, sigma, sigma_next in _steps(x, sigmas):
        x0 = denoise(x, sigma)
        _report(callback, step, x0)
        x = _heun_step(denoise, x, x0, sigma, sigma_next)
    return x


def stochastic_heun(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
    S_churn: float = 40.0,
    S_min: float = 0.0,
    S_max: float = float("inf"),
    S_noise: float = 1.0,
) -> Tensor:
    """Heun steps, each begun by fresh noise that raises sigma by the factor 1 + min(S_churn/N, sqrt(2) - 1).

    Fresh noise forgets earlier errors of the solver; it is added where S_min <= sigma <= S_max, `S_noise` times the
    amount that theory asks for. Source: Karras et al. (2022), Alg. 2.
    """
    if noise is None and S_churn > 0:
        raise ConfigError(
            "stochastic_heun", found="no noise", expected="a source of it", todo="pass noise, or choose heun"
        )
    steps = list(_steps(x, sigmas))
    gamma_in_range = min(S_churn / len(steps), GAMMA_MAX)
    for step, sigma, sigma_next in steps:
        gamma = gamma_in_range if S_min <= float(sigma) <= S_max else 0.0
        sigma_hat = sigma * (1 + gamma)
        if gamma > 0:
            x = x + S_noise * (sigma_hat**2 - sigma**2).sqrt() * noise(x.shape).to(x)
        x0 = denoise(x, sigma_hat)
        _report(callback, step, x0)
        x = _heun_step(denoise, x, x0, sigma_hat, sigma_next)
    return x


def dpmpp_2m(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Noise | None = None, callback: Callback | None = None
) -> Tensor:
    """DPM-Solver++ 2M: exact for constant x0, second order from the step before, one evaluation each; deterministic.

    Source: Lu et al. (2022), Alg. 2, with lambda = -ln(sigma).
    """
    x0_before, step_before = None, None
    for step, sigma, sigma_next in _steps(x, sigmas):
        x0 = denoise(x, sigma)
        _report(callback, step, x0)
        extrapolated = x0
        if sigma_next > 0:
            log_step = (sigma / sigma_next).log()
            if x0_before is not None:
                extrapolated = x0 + (x0 - x0_before) * (log_step / step_before) / 2
            x0_before, step_before = x0, log_step
        ratio = sigma_next / sigma
        x = ratio * x + (1 - ratio) * extrapolated
    return x


SOLVERS: dict[str, Callable[..., Tensor]] = {
    "euler": euler,
    "heun": heun,
    "stochastic_heun": stochastic_heun,
    "dpmpp_2m": dpmpp_2m,
}


def evaluations(name: str, num_steps: int) -> int:
    """How often solver `name` calls the denoiser in `num_steps` steps, the last of them to sigma = 0."""
    if name not in SOLVERS:
        raise ConfigError("solver", found=repr(name), expected=", ".join(SOLVERS), todo="choose one of these")
    return 2 * num_steps - 1 if name in ("heun", "stochastic_heun") else num_steps


def _heun_step(denoise: Denoise, x: Tensor, x0: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """From `x` at `sigma`, denoised to `x0`, to `sigma_next` by the mean of the slopes at both ends."""
    slope = (x - x0) / sigma
    x_next = x + (sigma_next - sigma) * slope
    if sigma_next == 0:
        return x_next
    slope_next = (x_next - denoise(x_next, sigma_next)) / sigma_next
    return x + (sigma_next - sigma) * (slope + slope_next) / 2


def _steps(x: Tensor, sigmas: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Each step's number, its noise level and the next one, in the precision and on the device of `x`."""
    if sigmas.ndim != 1 or len(sigmas) < 2 or not bool((sigmas.diff() < 0).all()) or sigmas[-1] < 0:
        raise ConfigError(
            "noise levels",
            found=f"{sigmas.tolist()}",
            expected="at least two, falling, none below 0",
            todo="make them with edm_noise_levels",
        )
    levels = sigmas.to(x)
    return ((step, *pair) for step, pair in enumerate(pairwise(levels)))


def _report(callback: Callback | None, step: int, x0: Tensor) -> None:
    if callback is not None:
        callback(step, x0)
