"""EDM: the preconditioned denoiser and its loss, with one `sigma_data` a channel (Karras et al. 2022, Table 1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from labkit.diffusion.noise_levels import lognormal_noise_levels
from labkit.errors import ConfigError, DataError

Denoise = Callable[[Tensor, Tensor], Tensor]


class EDM(nn.Module):
    """A denoiser around `network(x, noise_label) -> F`, which then sees and learns fields of unit variance.

    `sigma_data` (C,) is the standard deviation of the clean fields, per channel, in the units of `x`.
    The scaling is computed in the precision of `x`; the network runs in that of its own weights, or under autocast.
    """

    def __init__(self, network: nn.Module, sigma_data: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("sigma_data", check_sigma_data(sigma_data).float())

    def denoise(
        self, x: Tensor, sigma: Tensor | float, condition: Tensor | None = None, *, position: Tensor | None = None
    ) -> Tensor:
        """E[clean fields] (B, C, H, W), given noisy `x` at `sigma`, () or (B,), and `condition` (B, K, H, W)."""
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(x.shape[0])
        c_skip, c_out, c_in = preconditioning(sigma, self.sigma_data.to(x.dtype))
        dtype = next(self.network.parameters(), x.new_empty(0, dtype=torch.float32)).dtype
        inputs = [(c_in * x).to(dtype)] + ([] if condition is None else [condition.to(dtype)])
        options = {} if position is None else {"position": position}
        output = self.network(torch.cat(inputs, dim=1), (sigma.log() / 4).float(), **options)
        return c_skip * x + c_out * output.to(x.dtype)

    forward = denoise  # what DistributedDataParallel and torch.compile wrap

    def bind(self, condition: Tensor | None = None, *, position: Tensor | None = None) -> Denoise:
        """`denoise(x, sigma)` for this condition, as solvers and `edm_loss` want it."""
        return lambda x, sigma: self(x, sigma, condition, position=position)


def preconditioning(sigma: Tensor, sigma_data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """c_skip, c_out and c_in, each (B, C, 1, 1), for `sigma` (B,) and `sigma_data` (C,)."""
    sigma, sigma_data = sigma[:, None, None, None], sigma_data[None, :, None, None]
    total = (sigma**2 + sigma_data**2).sqrt()
    return (sigma_data / total) ** 2, sigma * sigma_data / total, 1 / total


def loss_weight(sigma: Tensor, sigma_data: Tensor) -> Tensor:
    """lambda(sigma) = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2: (B, C, 1, 1); it makes F's target unit-sized."""
    sigma, sigma_data = sigma[:, None, None, None], sigma_data[None, :, None, None]
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def edm_loss(
    denoise: Denoise,
    target: Tensor,
    *,
    sigma_data: Tensor,
    noise_mean: float = 0.0,
    noise_std: float = 1.2,
    mask: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Weighted denoising error, averaged over batch, channels and valid pixels; 1 for a network that knows nothing.

    target: (B, C, H, W) clean fields; mask: (B, 1 or C, H, W) or (B, H, W), true where they were observed; unobserved
    pixels are noised zeros and count for nothing. ln(sigma) ~ N(noise_mean, noise_std^2), one level a sample.
    All randomness comes from `generator`. Source: Karras et al. (2022), Eq. 8; CorrDiff uses noise_mean 0.
    """
    device = generator.device if generator is not None else target.device
    levels = lognormal_noise_levels(target.shape[0], mean=noise_mean, std=noise_std, generator=generator)
    sigma = levels.to(target.device, target.dtype)
    noise = torch.randn(target.shape, generator=generator, device=device).to(target)
    valid = None if mask is None else broadcast_mask(mask, target)
    clean = target if valid is None else torch.where(valid, target, 0)
    error = denoise(clean + sigma[:, None, None, None] * noise, sigma).float() - clean
    return masked_mean(loss_weight(sigma, sigma_data.to(target)) * error**2, valid)


def masked_mean(values: Tensor, valid: Tensor | None) -> Tensor:
    """Mean of (B, C, H, W) over the entries where `valid` (None: all); 0 where none is."""
    if valid is None:
        return values.mean()
    return torch.where(valid, values, 0).sum() / valid.sum().clamp(min=1)


def broadcast_mask(mask: Tensor, like: Tensor) -> Tensor:
    """A mask (B, H, W), (B, 1, H, W) or (B, C, H, W) as booleans of the shape of `like`."""
    mask = mask if mask.ndim == like.ndim else mask[:, None]
    return mask.to(like.device, torch.bool).expand(like.shape)


def check_sigma_data(sigma_data: Tensor) -> Tensor:
    """`sigma_data` as (C,), refused where a channel's is not a positive number."""
    sigma_data = torch.as_tensor(sigma_data)
    if sigma_data.ndim != 1:
        raise ConfigError(
            "sigma_data",
            found=f"shape {tuple(sigma_data.shape)}",
            expected="one value a channel",
            todo="measure the standard deviation of the residuals per channel",
        )
    if not bool((sigma_data.isfinite() & (sigma_data > 0)).all()):
        raise DataError(
            "sigma_data",
            found=f"{sigma_data.tolist()}",
            expected="positive numbers",
            todo="leave out channels that never vary, or look for missing values in the target",
        )
    return sigma_data
