"""Laws of the training loop: what a step does, what it does not stand, and what is logged, validated and kept."""

import math
import sys

import numpy as np
import pytest
import torch
from tiny_trainer import (
    assert_same_run,
    make_trainer,
    no_thread_is_left,
    noisy_loss,
    plain_loss,
    settings,
    unet,
    weight_of,
)
from torch import nn

from labkit.errors import LabError
from labkit.models.hardware import Hardware
from labkit.store.checkpoints import load_checkpoint, load_header
from labkit.store.runs import RunFolder
from labkit.training import learning_rate


@pytest.mark.parametrize("micro_batch", [4, 5, 16, 100])
def test_micro_batches_add_up_to_the_batch(tmp_path, micro_batch):
    weights = []
    for number, size in enumerate((None, micro_batch)):
        torch.manual_seed(0)
        network = nn.Conv2d(2, 2, 3).double()
        changes = {"batch_size": 16, "micro_batch": size}
        weights.append(make_trainer(tmp_path / str(number), changes, network=network, loss=plain_loss).run().weight)
    torch.testing.assert_close(*weights, rtol=1e-9, atol=0)


def gradients_at_each_step(trainer):
    norms = []
    network = trainer.network

    def note(*_):
        norms.append(float(torch.stack([p.grad.norm() for p in network.parameters()]).norm()))

    trainer.optimiser.register_step_pre_hook(note)
    trainer.run()
    return norms


def test_gradients_are_clipped_to_the_norm(tmp_path):
    def loss(network, batch, generator):
        return 1000 * plain_loss(network, batch, generator)

    norms = {}
    for clip in (None, 0.5, 1e6):
        torch.manual_seed(0)
        network = nn.Conv2d(2, 2, 3).double()
        trainer = make_trainer(tmp_path / str(clip), {"clip_norm": clip, "samples": 8}, network=network, loss=loss)
        norms[clip] = gradients_at_each_step(trainer)
    assert norms[None][0] > 100
    assert norms[0.5] == pytest.approx([0.5], rel=1e-5)
    assert norms[1e6] == norms[None]


@pytest.mark.parametrize(
    ("samples_seen", "expected"),
    [(0, 1 / 100), (49, 0.5), (99, 1.0), (100, 1.0), (999, 1.0)],
)
def test_warm_up_is_linear_and_then_the_rate_stays(samples_seen, expected):
    chosen = settings(lr=3e-4, warmup_samples=100, samples=1000, decay="none")
    assert learning_rate(chosen, samples_seen) == pytest.approx(3e-4 * expected, rel=1e-12)


@pytest.mark.parametrize(
    ("share_done", "expected"),
    [(0, 1.0), (0.25, 0.01 + 0.99 * (1 + math.sqrt(0.5)) / 2), (0.5, 0.505), (1, 0.01), (2, 0.01)],
)
def test_cosine_decay_ends_at_a_hundredth(share_done, expected):
    chosen = settings(lr=2.0, warmup_samples=0, samples=1000)
    assert learning_rate(chosen, int(1000 * share_done)) == pytest.approx(2 * expected, rel=1e-12)


def test_the_optimiser_is_given_the_rate_of_each_step(tmp_path):
    rates = []
    trainer = make_trainer(tmp_path)
    trainer.optimiser.register_step_pre_hook(lambda optimiser, *_: rates.append(optimiser.param_groups[0]["lr"]))
    trainer.run()
    assert rates == [learning_rate(trainer.settings, seen) for seen in range(0, 64, 8)]


def exploding_gradient(network, batch, generator):
    """A finite loss whose gradient is not."""
    return noisy_loss(network, batch, generator) + (next(network.parameters()) * 0).sqrt().sum()


def nan_loss(network, batch, generator):
    return noisy_loss(network, batch, generator) * math.nan


@pytest.mark.parametrize("bad", [nan_loss, exploding_gradient])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_loss_or_gradient_that_is_not_finite_stops_with_the_last_checkpoint_whole(tmp_path, bad, clip_norm):
    trainer = make_trainer(tmp_path, {"clip_norm": clip_norm})
    trainer.loss = lambda network, *rest: (bad if trainer.samples == 24 else noisy_loss)(network, *rest)
    with pytest.raises(LabError, match=r"after 24 samples: found (nan|inf), expected a finite number"):
        trainer.run()
    assert no_thread_is_left()
    tensors, header = load_checkpoint(trainer.folder.checkpoint_path("regression-last"))
    assert header["samples"] == 16
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    assert all(torch.isfinite(parameter).all() for parameter in trainer.network.parameters())


GPU_ERROR = torch.OutOfMemoryError("CUDA out of memory")

CPU_ERROR = RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to ...")


def room_for(samples, error=GPU_ERROR):
    def loss(network, batch, generator):
        if len(batch) > samples:
            raise error
        return plain_loss(network, batch, generator)

    return loss


@pytest.mark.parametrize("error", [GPU_ERROR, CPU_ERROR], ids=["gpu", "cpu"])
def test_out_of_memory_halves_the_micro_batch_and_says_so(tmp_path, capsys, error):
    def run(name, loss, **changes):
        torch.manual_seed(0)
        return make_trainer(tmp_path / name, changes, network=nn.Conv2d(2, 2, 3).double(), loss=loss).run().weight

    halved = run("halved", room_for(2, error))
    assert torch.equal(halved, run("small", plain_loss, micro_batch=2))
    said = capsys.readouterr().out
    assert "micro-batches of 4" in said and "micro-batches of 2" in said and "micro-batches of 1" not in said
    folder = RunFolder(tmp_path / "halved")
    assert [entry["micro_batch"] for entry in folder.metrics() if "micro_batch" in entry] == [4, 2]
    resumed = make_trainer(folder.path, network=nn.Conv2d(2, 2, 3).double(), loss=room_for(2, error))
    resumed.run()
    assert resumed.micro_batch == 2  # it need not find out again


def test_too_little_memory_for_one_sample_is_explained(tmp_path):
    trainer = make_trainer(tmp_path, network=nn.Conv2d(2, 2, 3).double(), loss=room_for(0))
    with pytest.raises(LabError, match="too little for a single sample on the cpu"):
        trainer.run()


def test_other_errors_are_not_taken_for_lack_of_memory(tmp_path):
    trainer = make_trainer(tmp_path, loss=room_for(0, RuntimeError("shapes cannot be multiplied")))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        trainer.run()
    assert trainer.micro_batch == 8 and no_thread_is_left()


def test_every_log_is_a_line_and_its_loss_the_mean_since_the_last(tmp_path):
    losses, entries = [], []

    def noting(network, batch, generator):
        loss = noisy_loss(network, batch, generator)
        losses.append(loss.item())
        return loss

    make_trainer(tmp_path, {"samples": 56}, loss=noting, on_log=entries.append).run()
    logged = [entry for entry in entries if "loss" in entry]
    assert RunFolder(tmp_path).metrics() == entries
    assert [entry["step"] for entry in logged] == [24, 48]
    assert [entry["loss"] for entry in logged] == pytest.approx([np.mean(losses[:3]), np.mean(losses[3:6])], rel=1e-6)
    assert all(entry["samples_per_s"] > 0 and entry["stage"] == "regression" for entry in logged)
    assert [entry["step"] for entry in entries if "validation_score" in entry] == [32, 56]


def test_validation_sees_the_average_in_eval_mode(tmp_path):
    def validate(network):
        assert network is trainer.ema.network
        assert not any(module.training for module in network.modules())
        return {"score": 1.0}

    trainer = make_trainer(tmp_path, network=unet().eval(), validate=validate)
    trainer.run()
    assert all(module.training for module in trainer.network.modules())


def test_validation_does_not_disturb_training(tmp_path, uninterrupted):
    def restless(network):
        torch.manual_seed(99)
        torch.randn(1000)
        return weight_of(network)

    make_trainer(tmp_path, validate=restless).run()
    assert_same_run(RunFolder(tmp_path), uninterrupted)


def test_the_best_checkpoint_has_the_least_score(tmp_path):
    scores = iter([3.0, 1.0, 2.0, math.nan])
    trainer = make_trainer(tmp_path, {"validate_every": 16}, validate=lambda network: {"score": next(scores)})
    trainer.run()
    assert load_header(trainer.folder.checkpoint_path("regression-best"))["samples"] == 32
    assert load_header(trainer.folder.checkpoint_path("regression"))["samples"] == 64


def test_progress_shows_loss_and_score_and_nothing_longer(tmp_path, capsys):
    def validate(network):
        return {"score": 0.25, **{f"crps_channel_{i}": float(i) for i in range(9)}}

    make_trainer(tmp_path, validate=validate, quiet=False).run()
    last = capsys.readouterr().err.split("\r")[-1]
    assert "regression: 100%" in last and "64/64" in last and "samples/s" in last
    assert "loss=" in last and "score=0.25" in last and "crps" not in last


def events(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    reader = accumulator(str(folder / "tensorboard" / "regression"))
    reader.Reload()
    return {tag: [event.step for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def test_tensorboard_events_are_those_of_a_run_never_stopped(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra labkit[tensorboard] is not installed")
    trainer = make_trainer(tmp_path, {"checkpoint_every": 40}, tensorboard=True)
    trainer.loss = lambda *arguments: noisy_loss(*arguments) / (trainer.samples < 56)
    with pytest.raises(LabError):  # not finite; the loss of 48 is logged after the last checkpoint
        trainer.run()
    make_trainer(tmp_path, {"checkpoint_every": 40}, tensorboard=True).run()
    found = events(tmp_path)
    assert found["regression/loss"] == [24, 48] and found["regression/validation_score"] == [32, 64]


def test_absent_tensorboard_is_explained(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(LabError, match=r"pip install labkit\[tensorboard\]"):
        make_trainer(tmp_path, tensorboard=True).run()


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens where there is no CUDA device")
def test_hardware_without_cuda():
    assert Hardware.choose().device.type == "cpu"
    with pytest.raises(LabError, match="use device=cpu"):
        Hardware.choose("cuda")
    assert Hardware.choose("cpu", "bf16").bf16 and not Hardware.choose("cpu", "fp32").bf16
