"""Laws of the training loop: resumed equals uninterrupted to the last bit, whatever stopped it and wherever."""

import errno
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from labkit import training
from labkit.data.batches import Batches
from labkit.data.pairs import Pairs
from labkit.data.statistics import compute_statistics
from labkit.errors import Cancelled, CheckpointError, LabError, OutOfSpace
from labkit.models.ema import EMA
from labkit.models.hardware import Hardware
from labkit.models.unet import UNet
from labkit.recipes.corrdiff.config import StageConfig
from labkit.store.checkpoints import load_checkpoint, load_header
from labkit.store.runs import RunFolder
from labkit.training import Trainer, learning_rate

CPU = Hardware(torch.device("cpu"), bf16=False)


@pytest.fixture(autouse=True)
def ctrl_c_as_usual():
    """Python's own handler, also where the tests were started in the background, with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def make_pairs(n=40):
    """Noise on 8 x 8 cells, two fine cells to a coarse one, four samples to a chunk."""
    rng = np.random.default_rng(3)

    def array(shape, dims, names):
        values = rng.standard_normal((n, len(names), *shape)).astype(np.float32)
        return xr.DataArray(da.from_array(values, chunks=(4, -1, -1, -1)), dims=dims, coords={"channel": names})

    return Pairs(
        input=array((4, 4), ("time", "channel", "y_in", "x_in"), ["t2m", "msl"]),
        target=array((8, 8), ("time", "channel", "y", "x"), ["t2m", "u10"]),
        invariant=xr.DataArray(
            np.ones((1, 8, 8), np.float32), dims=("channel", "y", "x"), coords={"channel": ["land"]}
        ),
    )


def settings(**changes):
    """Eight steps of eight samples; logs, validation and checkpoints never fall together."""
    usual = dict(samples=64, batch_size=8, lr=1e-2, warmup_samples=16, decay="cosine", ema_halflife_samples=64)
    return StageConfig(**{**usual, "log_every": 24, "validate_every": 32, "checkpoint_every": 16, **changes})


def unet():
    torch.manual_seed(1)
    options = {"model_channels": 8, "channel_mult": (1, 2), "num_blocks": 1, "attn_resolutions": (), "dropout": 0.1}
    return UNet(2, 2, shape=(8, 8), noise_embedding="none", **options)


def noisy_loss(network, batch, generator):
    """Stochastic in both ways that losses are: the given generator and, by dropout, the global one."""
    noise = torch.randn(batch.target.shape, generator=generator)
    return ((network(batch.target + noise) - batch.target) ** 2).mean()


def plain_loss(network, batch, generator):
    return ((network(batch.target.double()) - 1) ** 2).mean()


def weight_of(network):
    return {"score": float(next(network.parameters()).double().abs().mean())}


def make_trainer(path, changes=None, *, network=None, loss=noisy_loss, validate=weight_of, pairs=None, **options):
    pairs = pairs or make_pairs()
    chosen = settings(**(changes or {}))
    batches = Batches(pairs, compute_statistics(pairs), batch_size=chosen.batch_size, seed=5)
    options = {"header": {"model": "a"}, "stage": "regression", "quiet": True} | options
    return Trainer(
        network or unet(),
        loss,
        batches,
        settings=chosen,
        hardware=CPU,
        folder=RunFolder(path),
        validate=validate,
        **options,
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    make_trainer(folder).run()
    return RunFolder(folder)


def metrics(folder):
    """All that was logged, but for how quick it was."""
    return [{k: v for k, v in entry.items() if k != "samples_per_s"} for entry in folder.metrics()]


def assert_same_run(found, expected):
    """Networks, averages, optimiser, position and metrics alike to the last bit."""
    names = [path.name for path in expected.checkpoints]
    assert sorted(path.name for path in found.checkpoints) == sorted(names)
    assert len(names) == 3
    for name in names:
        (have, head), (want, expected_head) = (
            load_checkpoint(f.path / "checkpoints" / name) for f in (found, expected)
        )
        assert head == expected_head
        assert have.keys() == want.keys()
        assert [key for key in want if not torch.equal(have[key], want[key])] == [], name
    assert metrics(found) == metrics(expected)


def no_thread_is_left():
    return not [thread for thread in threading.enumerate() if thread.name == "labkit prefetch"]


def ctrl_c_at(call, function):
    """The function, pressing Ctrl-C in the middle of its n-th call."""
    calls = 0

    def pressed(*arguments, **options):
        nonlocal calls
        calls += 1
        result = function(*arguments, **options)
        if calls == call:
            signal.raise_signal(signal.SIGINT)
        return result

    return pressed


PLACES = {
    "loss": ("loss", 5),
    "next batch": ("batches.__next__", 6),
    "optimiser": ("optimiser.step", 4),
    "average": ("ema.update", 3),
    "log": ("folder.log", 1),
    "log after validation": ("folder.log", 3),
    "validation": ("validate", 1),
    "last validation": ("validate", 2),
    "checkpoint": ("_save_last", 2),
}


@pytest.mark.parametrize("place", PLACES)
def test_ctrl_c_anywhere_then_resumed_equals_uninterrupted(tmp_path, uninterrupted, place):
    name, call = PLACES[place]
    trainer = make_trainer(tmp_path)
    *owners, name = name.split(".")
    owner = getattr(trainer, owners[0]) if owners else trainer
    if name == "__next__":
        batches = trainer.batches
        trainer.batches = Intercepted(batches, ctrl_c_at(call, batches.__next__))
    else:
        setattr(owner, name, ctrl_c_at(call, getattr(owner, name)))
    with pytest.raises(Cancelled, match="the same command goes on"):
        trainer.run()
    assert no_thread_is_left()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    make_trainer(tmp_path).run()
    assert_same_run(RunFolder(tmp_path), uninterrupted)


class Intercepted:
    """Batches whose `next` is another function."""

    def __init__(self, batches, following):
        self.batches, self.following = batches, following

    def __next__(self):
        return self.following()

    def __getattr__(self, name):
        return getattr(self.batches, name)


def test_ctrl_c_waits_for_the_end_of_a_step(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.optimiser.step = ctrl_c_at(2, trainer.optimiser.step)
    with pytest.raises(Cancelled, match="after 16 samples"):
        trainer.run()
    assert load_header(trainer.folder.checkpoint_path("regression-last"))["samples"] == 16


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_stopped_by_an_error_then_resumed_equals_uninterrupted(tmp_path, optimiser):
    """Killed without notice: all after the last checkpoint is lost and done again."""
    chosen = {"optimiser": optimiser}
    make_trainer(tmp_path / "uninterrupted", chosen).run()
    trainer = make_trainer(tmp_path / "resumed", chosen)

    def failing(network, batch, generator):
        if trainer.samples == 40:
            raise ZeroDivisionError
        return noisy_loss(network, batch, generator)

    trainer.loss = failing
    with pytest.raises(ZeroDivisionError):
        trainer.run()
    assert no_thread_is_left()
    assert load_header(trainer.folder.checkpoint_path("regression-last"))["samples"] == 32
    make_trainer(tmp_path / "resumed", chosen).run()
    assert_same_run(RunFolder(tmp_path / "resumed"), RunFolder(tmp_path / "uninterrupted"))


KILLED = """
import os, signal, sys, threading
sys.path.insert(0, {tests!r})
import test_training as tests
calls, delay = int(sys.argv[2]), float(sys.argv[3])

def loss(network, batch, generator):
    global calls
    calls -= 1
    if calls == 0:
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return tests.noisy_loss(network, batch, generator)

tests.make_trainer(sys.argv[1], loss=loss).run()
"""


def test_killed_at_random_moments_then_resumed_equals_uninterrupted(tmp_path, uninterrupted):
    rng = np.random.default_rng()
    code = KILLED.format(tests=str(Path(__file__).parent))
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    for first, last in ((3, 5), (1, 3)):  # from the first kill on there is a checkpoint, after the second a step left
        moment = [str(rng.integers(first, last)), str(rng.uniform(0, 0.01))]
        command = [sys.executable, "-c", code, str(tmp_path), *moment]
        answer = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        assert answer.returncode == -signal.SIGKILL, f"at {moment}: {answer.stderr}"
    make_trainer(tmp_path).run()
    assert_same_run(RunFolder(tmp_path), uninterrupted)


def test_a_finished_stage_is_not_trained_again(tmp_path, uninterrupted):
    before = uninterrupted.checkpoint_path("regression-last").read_bytes()
    make_trainer(uninterrupted.path).run()
    assert uninterrupted.checkpoint_path("regression-last").read_bytes() == before


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


def test_a_resumed_run_remembers_the_best_score(tmp_path):
    changes = {"validate_every": 16, "samples": 48}
    trainer = make_trainer(tmp_path, changes, validate=lambda network: {"score": 1.0})
    trainer.loss = ctrl_c_at(4, trainer.loss)
    with pytest.raises(Cancelled):
        trainer.run()
    make_trainer(tmp_path, changes, validate=lambda network: {"score": 2.0}).run()
    assert load_header(trainer.folder.checkpoint_path("regression-best"))["samples"] == 16


def test_another_models_checkpoint_is_refused(tmp_path):
    make_trainer(tmp_path, {"samples": 16}).run()
    with pytest.raises(CheckpointError, match=r"found model = a, expected b"):
        make_trainer(tmp_path, header={"model": "b"}).run()


def test_a_truncated_checkpoint_is_refused(tmp_path):
    make_trainer(tmp_path, {"samples": 16}).run()
    path = RunFolder(tmp_path).checkpoint_path("regression-last")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        make_trainer(tmp_path).run()


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch, uninterrupted):
    from labkit.store import checkpoints

    save, room = checkpoints.save_file, iter([True, True])

    def filling(tensors, path, **options):
        if not next(room, False):
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(tensors, path, **options)

    monkeypatch.setattr(checkpoints, "save_file", filling)
    with pytest.raises(OutOfSpace):
        make_trainer(tmp_path).run()
    monkeypatch.undo()
    assert no_thread_is_left()
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "regression-best.safetensors",
        "regression-last.safetensors",
    ]
    make_trainer(tmp_path).run()
    assert_same_run(RunFolder(tmp_path), uninterrupted)


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


def test_ctrl_c_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with training._uninterrupted():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_training_runs_in_other_threads(tmp_path, uninterrupted):
    thread = threading.Thread(target=lambda: make_trainer(tmp_path).run())
    thread.start()
    thread.join()
    assert_same_run(RunFolder(tmp_path), uninterrupted)
