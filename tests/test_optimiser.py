"""Muon beside Adam: equal pace in every direction, shared memory, no matter how a kernel lies; Adam for the rest."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from labkit.models.optimiser import MUON_RATIO, MuonAdam, make_optimiser
from labkit.models.unet import UNet

LR = 0.01


def network(memory_format=torch.channels_last) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(6, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 3, 3, padding=1))
    return net.to(memory_format=memory_format)


def learn(net: nn.Module, optimiser, steps: int = 1) -> None:
    x = torch.randn(4, 6, 8, 8, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        optimiser.zero_grad()
        ((net(x) - x[:, :3] ** 2) ** 2).mean().backward()
        optimiser.step()


def test_a_kernel_moves_at_one_pace_in_every_direction():
    net = network()
    before = net[0].weight.detach().clone()
    optimiser = MuonAdam(net, LR)
    learn(net, optimiser)
    moved = (net[0].weight.detach() - before).reshape(16, -1)
    pace = torch.linalg.svdvals(moved) / (LR * MUON_RATIO * 0.2 * math.sqrt(54))
    assert pace.min() > 0.5 and pace.max() < 1.3, "the five iterations bring singular values to 0.7 to 1.2"
    rms = moved.square().mean().sqrt() / (LR * MUON_RATIO)
    assert 0.1 < rms < 0.3, "the size of a step of AdamW, 0.2 of its rate"


def test_how_a_kernel_lies_in_memory_does_not_matter():
    # Two matrices that differ in the order of their columns, in bfloat16: equal but for rounding.
    moved = []
    for memory_format in (torch.channels_last, torch.contiguous_format):
        net = network(memory_format)
        before = net[0].weight.detach().clone()
        learn(net, MuonAdam(net, LR))
        moved.append((net[0].weight.detach() - before).contiguous())
    assert (moved[0] - moved[1]).norm() < 0.05 * moved[0].norm()


def test_everything_learns_and_small_things_by_adam():
    net = network()
    before = copy.deepcopy(net)
    optimiser = MuonAdam(net, LR)
    learn(net, optimiser)
    assert [tuple(k.shape) for k in optimiser.kernels] == [(16, 6, 3, 3)]
    steps = {name: (p - q).abs() for (name, p), q in zip(net.named_parameters(), before.parameters(), strict=True)}
    assert all(step.max() > 0 for step in steps.values())
    torch.testing.assert_close(steps["3.bias"], torch.full((3,), LR), rtol=1e-3, atol=0)


def test_the_groups_cover_each_parameter_of_a_unet_once():
    net = UNet(3, 4, shape=(16, 16), model_channels=16, channel_mult=(1, 2), num_blocks=1, attn_resolutions=(8,))
    optimiser = MuonAdam(net, LR)
    held = sum(p.numel() for group in optimiser.param_groups for p in group["params"])
    assert held == sum(p.numel() for p in net.parameters())
    assert sum(k.numel() for k in optimiser.kernels) > 0.9 * held


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_a_saved_state_goes_on_bit_for_bit(name):
    whole, first = network(), network()
    learn(whole, make_optimiser(name, whole, LR), 6)
    optimiser = make_optimiser(name, first, LR)
    learn(first, optimiser, 3)
    state = copy.deepcopy(optimiser.state_dict())
    second = network()
    second.load_state_dict(first.state_dict())
    resumed = make_optimiser(name, second, 99.0)
    resumed.load_state_dict(state)
    learn(second, resumed, 3)
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), second.parameters(), strict=True))


def test_muon_learns_faster_than_adam_on_a_badly_scaled_problem():
    """Least squares whose inputs differ a hundredfold in size: a gradient sees the large ones alone."""
    scales = torch.logspace(0, -2, 16)
    x = torch.randn(512, 16, generator=torch.Generator().manual_seed(2)) * scales
    rotation = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(3)))[0]
    x, wanted = x @ rotation, torch.randn(16, 16, generator=torch.Generator().manual_seed(4))
    left = {}
    for name in ("adam", "muon"):
        net = nn.Linear(16, 16)
        nn.init.zeros_(net.weight)
        optimiser = make_optimiser(name, net, LR)
        for _ in range(60):
            optimiser.zero_grad()
            loss = ((net(x) - x @ wanted) ** 2).mean()
            loss.backward()
            optimiser.step()
        left[name] = float((net.weight.detach().T - wanted).square().mean())
    assert left["muon"] < left["adam"]
