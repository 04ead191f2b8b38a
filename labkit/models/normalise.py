"""GroupNorm and SiLU in one step, quick on CPUs in bf16 channels-last.

PyTorch's own kernels have two gaps there (seen with 2.13): the backward pass took a third of all training time, and
below 32 x 32 pixels the forward pass takes 20 times as long for each number as above. Both are written here as sums
and multiply-adds over whole tensors; `benchmarks/bench_network.py` shows what it brings.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

NATIVE_PIXELS = 1024  # PyTorch's quick channels-last GroupNorm starts at this many pixels


class GroupNormSiLU(nn.GroupNorm):
    """silu(GroupNorm(x)), or GroupNorm(x) with `activate=False`: (B, C, H, W) -> same.

    At least four channels a group and at most 32 groups, as in the published networks; widths that so many groups do
    not divide get the next smaller number that does.
    """

    def __init__(self, channels: int, *, activate: bool = True) -> None:
        super().__init__(_group_count(channels), channels, eps=1e-6)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            y = super().forward(x)
            return functional.silu(y) if self.activate else y
        if torch.is_grad_enabled():
            return _GroupNormSiLU.apply(x, self.weight, self.bias, self.num_groups, self.eps, self.activate)
        y, _, _ = _group_norm(x, self.weight, self.bias, self.num_groups, self.eps)
        return functional.silu(y, inplace=True) if self.activate else y


def _group_count(channels: int) -> int:
    return next(groups for groups in range(max(min(32, channels // 4), 1), 0, -1) if channels % groups == 0)


def _group_norm(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """GroupNorm(x), and the groups' means and reciprocal standard deviations, each (B, groups)."""
    batch, channels, height, width = x.shape
    if x.dtype != torch.bfloat16 or height * width >= NATIVE_PIXELS:
        return torch.native_group_norm(x, weight, bias, batch, channels, height * width, groups, eps)
    wide = x.float()
    n = height * width * channels // groups
    mean, square = (s.sum((2, 3)).reshape(batch, groups, -1).sum(2) / n for s in (wide, wide * wide))
    rstd = ((square - mean**2).clamp(min=0) + eps).rsqrt()
    scale = _per_channel(rstd, channels) * weight
    shift = bias - _per_channel(mean, channels) * scale
    return torch.addcmul(shift[:, :, None, None], wide, scale[:, :, None, None]).to(x.dtype), mean, rstd


class _GroupNormSiLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, activate: bool) -> Tensor:
        y, mean, rstd = _group_norm(x, weight, bias, groups, eps)
        ctx.save_for_backward(x, y if activate else None, weight, mean, rstd)
        return functional.silu(y) if activate else y

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y, weight, mean, rstd = ctx.saved_tensors
        if y is not None:
            gradient = torch.ops.aten.silu_backward(gradient, y)
        sum_g = gradient.sum((2, 3)).to(mean.dtype)  # (B, C)
        sum_gx = (gradient * x).sum((2, 3)).to(mean.dtype)
        on_g, on_x, constant = _input_coefficients(sum_g, sum_gx, weight, mean, rstd, x.shape)
        as_x = [c[:, :, None, None].to(x.dtype) for c in (on_g, on_x, constant)]
        grad_x = torch.addcmul(as_x[2], x, as_x[1]).addcmul_(gradient, as_x[0])
        channel_mean, channel_rstd = (_per_channel(s, x.shape[1]) for s in (mean, rstd))
        grad_weight = ((sum_gx - channel_mean * sum_g) * channel_rstd).sum(0)
        return grad_x, grad_weight.to(weight.dtype), sum_g.sum(0).to(weight.dtype), None, None, None


def _input_coefficients(
    sum_g: Tensor, sum_gx: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor, shape: torch.Size
) -> tuple[Tensor, Tensor, Tensor]:
    """a, b and c, each (B, C), of the gradient a g + b x + c with respect to the input x, given that on the output, g.

    With n pixels times channels in a group: b = rstd^3 (mean S_g - S_gx) / n and c = -b mean - rstd S_g / n, where
    S_g and S_gx are the group's sums of weight g and weight g x.
    """
    batch, channels, height, width = shape
    groups = mean.shape[1]
    weight = weight.to(mean.dtype)
    group_g, group_gx = ((s * weight).reshape(batch, groups, -1).sum(2) for s in (sum_g, sum_gx))
    n = height * width * channels // groups
    on_x = rstd**3 * (mean * group_g - group_gx) / n
    constant = -on_x * mean - rstd * group_g / n
    on_g = _per_channel(rstd, channels) * weight
    return on_g, _per_channel(on_x, channels), _per_channel(constant, channels)


def _per_channel(values: Tensor, channels: int) -> Tensor:
    """(B, groups) -> (B, C)."""
    return values.repeat_interleave(channels // values.shape[1], dim=1)
