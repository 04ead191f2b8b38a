"""What the network is told beside the fields: where each pixel lies and how noisy the input is."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from labkit.errors import ConfigError, DataError

GridKind = Literal["sinusoidal", "learnable", "none"]
NoiseKind = Literal["positional", "none"]


def sinusoidal_grid(shape: tuple[int, int], channels: int) -> Tensor:
    """Sines and cosines of the pixel's place: (channels, H, W), channels a multiple of 4.

    Per octave f = 1, 2, 4, ...: sin(f x), sin(f y), cos(f x), cos(f y), with x and y from 0 to 2 pi inclusive
    over the columns and rows, as CorrDiff's networks are given them.
    """
    if channels % 4:
        raise ConfigError(
            "sinusoidal grid embedding", found=f"{channels} channels", expected="a multiple of 4", todo="use 4 or 8"
        )
    y = torch.linspace(0, 2 * math.pi, shape[0])[:, None].expand(shape)
    x = torch.linspace(0, 2 * math.pi, shape[1])[None, :].expand(shape)
    octaves = [2.0**k for k in range(channels // 4)]
    return torch.stack([wave(f * axis) for f in octaves for wave in (torch.sin, torch.cos) for axis in (x, y)])


class GridEmbedding(nn.Module):
    """Channels that tell each pixel its place on the whole grid, also where the network sees only a patch of it."""

    def __init__(self, kind: GridKind, channels: int, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        if kind == "learnable":
            self.grid = nn.Parameter(torch.randn(channels, *shape))
        elif kind == "sinusoidal":
            self.register_buffer("grid", sinusoidal_grid(shape, channels), persistent=False)
        elif kind == "none":
            self.register_buffer("grid", torch.zeros(0, *shape), persistent=False)
        else:
            raise ConfigError(
                "grid_embedding", found=repr(kind), expected="sinusoidal, learnable or none", todo="choose one of these"
            )
        self.channels = self.grid.shape[0]

    def forward(self, batch: int, shape: tuple[int, int], position: Tensor | None = None) -> Tensor:
        """(batch, channels, *shape); `position` (batch, 2) holds each entry's upper-left pixel (y0, x0)."""
        if self.channels == 0:  # nothing depends on place: any grid will do
            return self.grid.new_zeros(batch, 0, *shape)
        if position is None:
            if tuple(shape) != self.shape:
                raise DataError(
                    "network input",
                    found=f"a grid of {tuple(shape)}",
                    expected=f"the whole grid {self.shape} or a position for each patch",
                    todo="pass position=(y0, x0) per batch entry, or build the network for this shape",
                )
            return self.grid.expand(batch, -1, -1, -1)
        return _windows(self.grid, shape, torch.as_tensor(position, device=self.grid.device))


def _windows(grid: Tensor, shape: tuple[int, int], position: Tensor) -> Tensor:
    """Cut one window of `shape` for each (y0, x0) in `position` (B, 2) out of `grid` (C, H, W): (B, C, h, w)."""
    height, width = shape
    corner_max = torch.tensor([grid.shape[1] - height, grid.shape[2] - width], device=position.device)
    if bool(((position < 0) | (position > corner_max)).any()):
        raise DataError(
            "patch position",
            found=f"corners {position.tolist()} for patches of {tuple(shape)}",
            expected=f"0 <= (y0, x0) <= {tuple(corner_max.tolist())}",
            todo="keep every patch inside the grid that the network was built for",
        )
    rows = position[:, 0, None, None] + torch.arange(height, device=position.device)[None, :, None]
    columns = position[:, 1, None, None] + torch.arange(width, device=position.device)[None, None, :]
    return grid[:, rows, columns].movedim(0, 1)


def positional_embedding(value: Tensor, channels: int, *, max_period: float = 1e4) -> Tensor:
    """Cosines and sines of `value` (B,) at geometrically spaced frequencies from 1 to 1/max_period: (B, channels)."""
    half = channels // 2
    frequencies = max_period ** -torch.linspace(0, 1, half, device=value.device)
    angles = value.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class NoiseEmbedding(nn.Module):
    """The noise label (B,) as features (B, emb_channels), through two linear layers (DDPM++)."""

    def __init__(self, channels: int, emb_channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.linear0 = nn.Linear(channels, emb_channels)
        self.linear1 = nn.Linear(emb_channels, emb_channels)
        for linear in (self.linear0, self.linear1):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, noise: Tensor) -> Tensor:
        x = positional_embedding(noise, self.channels).to(self.linear0.weight.dtype)
        return functional.silu(self.linear1(functional.silu(self.linear0(x))))
