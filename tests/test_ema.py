"""Laws of the averaged network."""

import pytest
import torch
from tiny_trainer import make_trainer
from torch import nn

from labkit.models.ema import EMA


def constant(value):
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, value)
    return network


def test_average_halves_the_distance_in_one_half_life():
    ema = EMA(constant(0.0), 80)
    target = constant(1.0)
    for _ in range(10):
        ema.update(target, 10_000, 8)
    assert ema.network.weight.item() == pytest.approx(0.5, rel=1e-6)


def test_average_forgets_the_start_sooner_in_the_beginning():
    ema = EMA(constant(0.0), 10**9)
    ema.update(constant(1.0), 160, 16)  # the half-life is a tenth of the samples seen: 16, one batch
    assert ema.network.weight.item() == pytest.approx(0.5, rel=1e-6)


def test_average_without_half_life_is_the_network_and_buffers_are_copied():
    network = nn.BatchNorm1d(3)
    ema = EMA(network, 0)
    network.weight.data.fill_(7)
    network.running_mean.fill_(5)
    ema.update(network, 8, 8)
    assert ema.network.weight.tolist() == [7, 7, 7] and ema.network.running_mean.tolist() == [5, 5, 5]
    assert not ema.network.training and not ema.network.weight.requires_grad


def test_average_of_the_loop_follows_from_the_weights_of_its_steps(tmp_path):
    trainer, seen = make_trainer(tmp_path), []
    expected = trainer.network.exit.weight.detach().double().clone()
    trainer.optimiser.register_step_post_hook(lambda *_: seen.append(trainer.network.exit.weight.detach().double()))
    found = trainer.run().exit.weight.double()
    for step, weight in enumerate(seen):
        halflife = min(64, (step + 1) * 8 / 10)
        share = 0.5 ** (8 / halflife)
        expected = share * expected + (1 - share) * weight
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)
