"""The UNet's parts: convolutions with their starting weights, resampling, residual blocks, attention."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from labkit.models.normalise import GroupNormSiLU

Resample = Literal["none", "down", "up"]
SKIP_SCALE = 0.5**0.5  # the sum of two unit-variance branches keeps unit variance


def conv(in_channels: int, out_channels: int, kernel: int, *, gain: float = 1.0) -> nn.Conv2d:
    """A same-size convolution with Xavier-uniform weights times `gain` and zero bias."""
    layer = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
    nn.init.xavier_uniform_(layer.weight)
    with torch.no_grad():
        layer.weight.mul_(gain)
        layer.bias.zero_()
    return layer


def autocast_dtype(x: Tensor) -> torch.dtype:
    """The precision in which convolutions of `x` run: that of autocast where it is on, that of `x` else."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def conv_folded(layer: nn.Conv2d, x: Tensor, k: int) -> Tensor:
    """layer(pixel_unshuffle(x, k)) by copying whole runs of channels, which is five times as fast channels-last.

    The folded channels come in the order (row, column, channel) then, and so are the weights put.
    """
    batch, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(batch, height // k, k, width // k, k * channels)
    folded = rows.transpose(2, 3).reshape(batch, height // k, width // k, -1).permute(0, 3, 1, 2)
    weight = layer.weight.unflatten(1, (channels, k, k)).permute(0, 2, 3, 1, 4, 5).flatten(1, 3)
    return functional.conv2d(folded, weight.contiguous(memory_format=torch.channels_last), layer.bias, padding=1)


def conv_unfolded(layer: nn.Conv2d, x: Tensor, k: int) -> Tensor:
    """pixel_shuffle(layer(x), k), in the manner of `conv_folded`."""
    weight = layer.weight.unflatten(0, (-1, k, k)).permute(1, 2, 0, 3, 4, 5).flatten(0, 2)
    bias = layer.bias.unflatten(0, (-1, k, k)).permute(1, 2, 0).flatten()
    y = functional.conv2d(x, weight.contiguous(memory_format=torch.channels_last), bias, padding=1)
    batch, _, height, width = y.shape
    rows = y.permute(0, 2, 3, 1).reshape(batch, height, width, k, -1).transpose(2, 3)
    return rows.reshape(batch, height * k, width * k, -1).permute(0, 3, 1, 2)


def downsample(x: Tensor) -> Tensor:
    """2 x 2 means: (B, C, H, W) -> (B, C, H/2, W/2)."""
    return functional.avg_pool2d(x, 2)


def upsample(x: Tensor) -> Tensor:
    """Each pixel becomes 2 x 2: (B, C, H, W) -> (B, C, 2H, 2W)."""
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def add_scaled(layer: nn.Conv2d, y: Tensor, x: Tensor) -> Tensor:
    """(layer(y) + x) SKIP_SCALE in one pass over the fields: the scale of the first term goes into the weights."""
    branch = functional.conv2d(y, layer.weight * SKIP_SCALE, layer.bias * SKIP_SCALE, padding=layer.padding)
    return torch.add(branch, x.to(branch.dtype), alpha=SKIP_SCALE)


_RESAMPLERS = {"none": lambda x: x, "down": downsample, "up": upsample}


class ResidualBlock(nn.Module):
    """Two normalised convolutions around a skip connection, told of the noise, with attention where asked (DDPM++).

    The noise features are added before the second normalisation; `emb_channels=0` leaves them out.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        emb_channels: int = 0,
        resample: Resample = "none",
        attention: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.resample = resample
        self.dropout = dropout
        self.norm0 = GroupNormSiLU(in_channels)
        self.conv0 = conv(in_channels, out_channels, 3)
        self.embed = nn.Linear(emb_channels, out_channels) if emb_channels else None
        self.norm1 = GroupNormSiLU(out_channels)
        self.conv1 = conv(out_channels, out_channels, 3, gain=1e-5)
        changes = in_channels != out_channels or resample != "none"
        self.skip = conv(in_channels, out_channels, 1) if changes else nn.Identity()
        self.attention = SelfAttention(out_channels) if attention else None
        if self.embed is not None:
            nn.init.xavier_uniform_(self.embed.weight)
            nn.init.zeros_(self.embed.bias)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, out, H', W'); `embedding` is (B, emb_channels)."""
        y = self.conv0(_RESAMPLERS[self.resample](self.norm0(x)))
        if self.embed is not None:
            y = y + self.embed(embedding)[:, :, None, None].to(y.dtype)
        y = functional.dropout(self.norm1(y), self.dropout, self.training)
        y = add_scaled(self.conv1, y, self._skipped(x))
        return y if self.attention is None else self.attention(y)

    def _skipped(self, x: Tensor) -> Tensor:
        """The skip branch; a 1 x 1 convolution commutes with resampling, so it runs on the smaller grid."""
        if self.resample == "up":
            return upsample(self.skip(x))
        return self.skip(downsample(x) if self.resample == "down" else x)


class SelfAttention(nn.Module):
    """Single-head attention among all pixels, added to its input: (B, C, H, W) -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = GroupNormSiLU(channels, activate=False)
        self.qkv = conv(channels, 3 * channels, 1, gain=0.2**0.5)
        self.project = conv(channels, channels, 1, gain=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x)).permute(0, 2, 3, 1).reshape(batch, 1, height * width, 3 * channels)
        y = functional.scaled_dot_product_attention(*qkv.chunk(3, dim=-1))  # (B, 1, H*W, C)
        y = y.reshape(batch, height, width, channels).permute(0, 3, 1, 2)
        return add_scaled(self.project, y, x)


class FineHead(nn.Module):
    """Two convolutions at full resolution that put a coarse network's features and its input pixels together.

    The noise features scale and shift what lies between them, so that how much fine detail is kept can follow the
    noise level.
    """

    def __init__(self, channels: int, in_channels: int, out_channels: int, emb_channels: int) -> None:
        super().__init__()
        self.mix = conv(channels + in_channels, channels, 3)
        self.embed = nn.Linear(emb_channels, 2 * channels) if emb_channels else None
        self.exit = conv(channels, out_channels, 3, gain=1e-5)
        if self.embed is not None:
            nn.init.xavier_uniform_(self.embed.weight)
            nn.init.zeros_(self.embed.bias)

    def forward(self, features: Tensor, seen: Tensor, embedding: Tensor | None = None) -> Tensor:
        """(B, channels, H, W) and (B, in_channels, H, W) -> (B, out_channels, H, W)."""
        x = torch.cat([features, seen.to(features.dtype)], dim=1)
        x = self.mix(x.contiguous(memory_format=torch.channels_last))
        if self.embed is not None:
            scale, shift = self.embed(embedding)[:, :, None, None].to(x.dtype).chunk(2, dim=1)
            x = torch.addcmul(shift, x, 1 + scale)
        return self.exit(functional.silu(x))
