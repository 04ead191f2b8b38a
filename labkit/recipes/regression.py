"""The mean of the target given the input: a UNet that learns what the interpolated input lacks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from labkit.data.batches import Batch
from labkit.data.regrid import upsampling_matrix
from labkit.data.statistics import Statistics
from labkit.diffusion.edm import masked_mean
from labkit.models.unet import UNet
from labkit.recipes.model import Channels


class Interpolation(nn.Module):
    """Bilinear (B, C, y_in, x_in) -> (B, C, y, x), as `labkit.data.regrid.upsample` does it, in full precision."""

    def forward(self, coarse: Tensor, shape: tuple[int, int]) -> Tensor:
        wy, wx = (self._weights(n, m, coarse) for n, m in zip(coarse.shape[-2:], shape, strict=True))
        # what is given to the networks must not be rounded to bf16, least of all the baseline they add to
        with torch.autocast(coarse.device.type, enabled=False):
            return torch.einsum("Yy,bcyx,Xx->bcYX", wy, coarse, wx)

    def windows(self, coarse: Tensor, shape: tuple[int, int], position: Tensor, factor: tuple[int, int]) -> Tensor:
        """The window of `shape` at fine cell `position` (B, 2) of each of the interpolated `coarse`, (B, C, *shape)."""
        rows = []
        for axis in range(2):
            n = coarse.shape[axis - 2]
            cells = position[:, axis, None] + torch.arange(shape[axis], device=position.device)
            rows.append(self._weights(n, n * factor[axis], coarse)[cells])
        with torch.autocast(coarse.device.type, enabled=False):
            return torch.einsum("bYy,bcyx,bXx->bcYX", rows[0], coarse, rows[1])

    def _weights(self, coarse: int, fine: int, like: Tensor) -> Tensor:
        return torch.from_numpy(upsampling_matrix(coarse, fine // coarse)).to(like)


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
        invariant, shape = batch.invariant.expand(len(batch.input), -1, -1, -1), batch.invariant.shape[-2:]
        if batch.whole_input is None:
            return torch.cat([self.interpolate(batch.input, shape), invariant], dim=1)
        # cells at a patch's edge are interpolated from beyond it, as they are when the whole domain is drawn
        factor = tuple(fine // coarse for fine, coarse in zip(shape, batch.input.shape[-2:], strict=True))
        return torch.cat([self.interpolate.windows(batch.whole_input, shape, batch.position, factor), invariant], dim=1)

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


def regression_loss(network: Regression, batch: Batch, generator: torch.Generator) -> Tensor:
    """Mean squared error of the regression, each channel in units of its `scale`, observed pixels only."""
    mean = network(network.conditions(batch), position=batch.position)
    error = (mean - batch.target) / network.scale[:, None, None]
    return masked_mean(error**2, None if batch.mask is None else batch.mask.expand_as(error))
