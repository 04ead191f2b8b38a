"""Resumed equals uninterrupted to the last bit, whatever stopped the training and wherever."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_trainer import assert_same_run, ctrl_c_at, make_trainer, no_thread_is_left, noisy_loss

from labkit.errors import Cancelled, CheckpointError, OutOfSpace
from labkit.interrupts import uninterrupted as without_interruption
from labkit.store.checkpoints import load_header
from labkit.store.runs import RunFolder

pytestmark = pytest.mark.usefixtures("ctrl_c_as_usual")

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


PROGRAM = """
import os, signal, sys, threading
sys.path.insert(0, {tests!r})
import torch
import tiny_trainer
torch.set_num_threads({threads})
calls, delay = int(sys.argv[2]), float(sys.argv[3])

def loss(network, batch, generator):
    global calls
    calls -= 1
    if calls == 0:
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return tiny_trainer.noisy_loss(network, batch, generator)

tiny_trainer.make_trainer(sys.argv[1], loss=loss).run()
"""


def train_in_a_program(path, calls=0, delay=0.0):
    """Train in a process of its own, killed `delay` seconds into the given call of the loss; how the process ended.

    The run that is never killed is one as well: bits are promised to a command repeated, while another process may
    divide its sums otherwise (MKL does, where it chooses its threads itself).
    """
    code = PROGRAM.format(tests=str(Path(__file__).parent), threads=torch.get_num_threads())
    command = [sys.executable, "-c", code, str(path), str(calls), str(delay)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_killed_at_random_moments_then_resumed_equals_uninterrupted(tmp_path):
    rng = np.random.default_rng()
    moments = []
    for first, last in ((3, 5), (1, 3)):  # from the first kill on there is a checkpoint, after the second a step left
        moments.append((int(rng.integers(first, last)), float(rng.uniform(0, 0.01))))
        answer = train_in_a_program(tmp_path / "killed", *moments[-1])
        assert answer.returncode == -signal.SIGKILL, f"at {moments}: {answer.stderr}"
    for name in ("killed", "never"):
        answer = train_in_a_program(tmp_path / name)
        assert answer.returncode == 0, f"after {moments}: {answer.stderr}"
    print(f"killed at {moments}")  # seen where the comparison fails
    assert_same_run(RunFolder(tmp_path / "killed"), RunFolder(tmp_path / "never"))


def test_killed_before_the_first_checkpoint_nothing_is_logged_twice(tmp_path, uninterrupted):
    """A kill leaves the lines of its stage, and those of other stages stay."""
    folder = RunFolder(tmp_path)
    other = {"stage": "another", "step": 8, "loss": 2.0}
    for line in (other, {"stage": "regression", "step": 8, "loss": 1.0}):
        folder.log(**line)
    make_trainer(tmp_path).run()
    assert folder.metrics()[0] == other
    folder.truncate_metrics(-1, stage="another")
    assert_same_run(folder, uninterrupted)


def test_a_finished_stage_is_not_trained_again(tmp_path, uninterrupted):
    before = uninterrupted.checkpoint_path("regression-last").read_bytes()
    make_trainer(uninterrupted.path).run()
    assert uninterrupted.checkpoint_path("regression-last").read_bytes() == before


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


def test_ctrl_c_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with without_interruption():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_training_runs_in_other_threads(tmp_path, uninterrupted):
    thread = threading.Thread(target=lambda: make_trainer(tmp_path).run())
    thread.start()
    thread.join()
    assert_same_run(RunFolder(tmp_path), uninterrupted)


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="a torch without MKL, whose sums are always alike")
def test_matrix_products_do_not_depend_on_threads_or_addresses():
    """MKL says of each product in which mode it was made."""
    code = "import torch, labkit; a = torch.ones(8, 8); a @ a"
    environment = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"} | {"MKL_VERBOSE": "1"}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert "SGEMM" in answer.stdout and "CNR:AUTO,STRICT" in answer.stdout
