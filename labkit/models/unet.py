"""The DDPM++ UNet of CorrDiff (Song et al. 2021; Karras et al. 2022; Mardani et al. 2025), for any grid shape."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from labkit.errors import ConfigError, DataError
from labkit.models.embeddings import GridEmbedding, GridKind, NoiseEmbedding, NoiseKind
from labkit.models.layers import FineHead, ResidualBlock, autocast_dtype, conv, conv_folded, conv_unfolded
from labkit.models.normalise import GroupNormSiLU


class UNet(nn.Module):
    """Maps (B, in_channels, H, W) and a noise label (B,) to (B, out_channels, H, W).

    `shape` is the grid that the network sees, `grid_shape` the whole grid of which it may be a patch.
    `attn_resolutions` names the levels with attention by the shorter side of their grid (None: the coarsest).
    `patch_embed` folds that many pixels squared into channels at the door, which makes a network cheap on a CPU; a head
    of `head_channels` then sees the input again pixel by pixel, without which fine noise is hard to tell from signal.
    `noise_embedding="none"` is for regression; a network for diffusion must hear its noise level.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        shape: tuple[int, int],
        model_channels: int = 128,
        channel_mult: Sequence[int] = (1, 2, 2, 2, 2),
        num_blocks: int = 4,
        attn_resolutions: Sequence[int] | None = None,
        channel_mult_emb: int = 4,
        dropout: float = 0.13,
        grid_embedding: GridKind = "sinusoidal",
        grid_channels: int = 4,
        noise_embedding: NoiseKind = "positional",
        patch_embed: int = 1,
        head_channels: int = 0,
        grid_shape: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.patch_embed = in_channels, out_channels, patch_embed
        self.multiple = patch_embed * 2 ** (len(channel_mult) - 1)
        self.check_shape(shape)
        self.grid = GridEmbedding(grid_embedding, grid_channels, grid_shape or shape)
        self.noise = _noise_embedding(noise_embedding, model_channels, model_channels * channel_mult_emb)
        emb_channels = model_channels * channel_mult_emb if self.noise is not None else 0
        attended = _attended_levels(min(shape) // patch_embed, len(channel_mult), attn_resolutions)
        block = {"emb_channels": emb_channels, "dropout": dropout}
        widths = [model_channels * mult for mult in channel_mult]

        self.door = conv((in_channels + self.grid.channels) * patch_embed**2, model_channels, 3)
        self.encoder, skips = _encoder(model_channels, widths, num_blocks, attended, block)
        self.middle = nn.ModuleList(
            [ResidualBlock(widths[-1], widths[-1], attention=a, **block) for a in (True, False)]
        )
        self.decoder = _decoder(skips, widths, num_blocks, attended, block)
        self.norm = GroupNormSiLU(widths[0])
        seen = in_channels + self.grid.channels
        self.head = FineHead(head_channels, seen, out_channels, emb_channels) if head_channels else None
        folded = (head_channels or out_channels) * patch_embed**2
        self.exit = conv(widths[0], folded, 3, gain=1.0 if head_channels else 1e-5)
        self.to(memory_format=torch.channels_last)  # the layout in which CPU and GPU convolve fastest

    def forward(self, x: Tensor, noise: Tensor | None = None, *, position: Tensor | None = None) -> Tensor:
        """`noise` (B,) is the label, such as ln(sigma)/4; `position` (B, 2) holds each patch's corner (y0, x0)."""
        self._check_input(x, noise)
        grid = self.grid(x.shape[0], x.shape[-2:], position)
        seen = torch.cat([x, grid.to(x.dtype)], dim=1).to(autocast_dtype(x), memory_format=torch.channels_last)
        x = conv_folded(self.door, seen, self.patch_embed)
        embedding = None if self.noise is None else self.noise(noise)
        skips = [x]
        for block in self.encoder:
            x = block(x, embedding)
            skips.append(x)
        for block in self.middle:
            x = block(x, embedding)
        for block in self.decoder:
            x = block(x if block.resample == "up" else torch.cat([x, skips.pop()], dim=1), embedding)
        x = conv_unfolded(self.exit, self.norm(x), self.patch_embed)
        return x if self.head is None else self.head(x, seen, embedding)

    def check_shape(self, shape: tuple[int, int]) -> None:
        """Raises DataError for a grid (y, x) that the levels do not halve evenly."""
        if any(side % self.multiple or side < self.multiple for side in shape):
            raise DataError(
                "network grid",
                found=f"{tuple(shape)}",
                expected=f"both sides a multiple of {self.multiple}",
                todo="crop or pad the grid, or use fewer levels (channel_mult) or a smaller patch_embed",
            )

    def _check_input(self, x: Tensor, noise: Tensor | None) -> None:
        self.check_shape(tuple(x.shape[-2:]))
        if x.shape[1] != self.in_channels:
            raise DataError(
                "network input",
                found=f"{x.shape[1]} channels",
                expected=f"{self.in_channels}",
                todo="give it the channels that it was built for, picked by name",
            )
        if (noise is None) != (self.noise is None):
            raise ConfigError(
                "noise label",
                found="none" if noise is None else "one",
                expected="none" if self.noise is None else "one for each batch entry",
                todo='use noise_embedding="positional" for diffusion and "none" for regression',
            )


def parameter_count(network: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def flops(network: UNet, shape: tuple[int, int], *, batch: int = 1) -> int:
    """Floating-point operations (two a multiply-add) of one forward pass on `batch` grids of `shape`."""
    like = network.door.weight
    x = like.new_zeros(batch, network.in_channels, *shape)
    noise = None if network.noise is None else like.new_zeros(batch)
    position = None if tuple(shape) == network.grid.shape else like.new_zeros(batch, 2, dtype=torch.long)
    attention_on_cpu = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=attention_on_cpu) as counter:
        network(x, noise, position=position)
    return counter.get_total_flops()


def _attention_flops(query: tuple, key: tuple, value: tuple, *args, **kwargs) -> int:
    """Query times key and weights times value, for shapes (B, heads, pixels, C); PyTorch counts it on GPUs only."""
    batch, heads, pixels, channels = query
    return 2 * batch * heads * pixels * key[2] * (channels + value[3])


def _noise_embedding(kind: NoiseKind, channels: int, emb_channels: int) -> NoiseEmbedding | None:
    if kind not in ("positional", "none"):
        raise ConfigError(
            "noise_embedding", found=repr(kind), expected="positional or none", todo="choose one of these two"
        )
    return NoiseEmbedding(channels, emb_channels) if kind == "positional" else None


def _attended_levels(side: int, levels: int, resolutions: Sequence[int] | None) -> set[int]:
    """The levels whose shorter side is in `resolutions`; a resolution that no level has is refused."""
    sides = [side >> level for level in range(levels)]
    if resolutions is None:
        return {levels - 1}
    unknown = sorted(set(resolutions) - set(sides))
    if unknown:
        raise ConfigError(
            "attn_resolutions",
            found=f"{unknown}",
            expected=f"sides that a level has: {sides}",
            todo="name one of these, or none",
        )
    return {level for level, side in enumerate(sides) if side in resolutions}


def _encoder(
    door: int, widths: Sequence[int], num_blocks: int, attended: set[int], block: dict
) -> tuple[nn.ModuleList, list[int]]:
    """Blocks from fine to coarse, and the widths that each (and the door) leaves for the decoder."""
    blocks, skips = nn.ModuleList(), [door]
    for level, width in enumerate(widths):
        if level:
            blocks.append(ResidualBlock(skips[-1], skips[-1], resample="down", **block))
            skips.append(skips[-1])
        for _ in range(num_blocks):
            blocks.append(ResidualBlock(skips[-1], width, attention=level in attended, **block))
            skips.append(width)
    return blocks, skips


def _decoder(
    skips: Sequence[int], widths: Sequence[int], num_blocks: int, attended: set[int], block: dict
) -> nn.ModuleList:
    """Blocks from coarse to fine; each but the upsampling ones also takes one of the encoder's outputs."""
    blocks, skips, width = nn.ModuleList(), list(skips), widths[-1]
    for level in reversed(range(len(widths))):
        if level < len(widths) - 1:
            blocks.append(ResidualBlock(width, width, resample="up", **block))
        for index in range(num_blocks + 1):
            attention = level in attended and index == num_blocks
            blocks.append(ResidualBlock(width + skips.pop(), widths[level], attention=attention, **block))
            width = widths[level]
    return blocks
