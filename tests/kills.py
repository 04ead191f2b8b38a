"""Kill `labkit sample` and `labkit train` at any moment, over and over: what is left is whole, the end is the same.

    python tests/kills.py --sample 100 --train 20

Each command is a process of its own, killed by SIGKILL after a random part of the time that it takes, and started again
until it ends; then what it made is compared, to the last bit, with what an uninterrupted one made.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import dask
import numpy as np
from tiny_corrdiff import TINY, assert_same_run, trained_run

from labkit.cli import main
from labkit.errors import LabError
from labkit.store.checkpoints import load_checkpoint
from labkit.store.runs import RunFolder
from labkit.store.trees import open_tree

Command = Callable[[Path], list[str]]


def sampling(path: Path) -> list[str]:
    """What is killed of sampling: eight members of five times, with the oracle."""
    words = ["sample", str(trained_run()), str(path / "out.nc"), "--times", "0:5", "--members", "8", "--batch", "4"]
    return [*words, "--oracle"]


def training(path: Path) -> list[str]:
    """What is killed of training: both stages of the tiny configuration."""
    return ["train", "corrdiff", "--run", str(path / "run"), *TINY]


def begun(words: list[str]) -> int:
    """The command in a process of its own, silent."""
    child = os.fork()
    if not child:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1), os.dup2(silent, 2)
        os._exit(main(words))
    return child


def killed(words: list[str], after_s: float) -> bool:
    """Whether the command was killed before it ended by itself; a failure of its own is raised."""
    child = begun(words)
    until = time.perf_counter() + after_s
    while time.perf_counter() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0, f"ended with {status}"
            return False
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def check_whole(path: Path) -> None:
    """Nothing half-valid: an output or a checkpoint that is there opens and is whole."""
    if (path / "out.nc").exists():
        with open_tree(path / "out.nc") as tree:
            assert np.isfinite(tree["prediction"]["t2m"].values).all()
    for checkpoint in RunFolder(path / "run").checkpoints:
        load_checkpoint(checkpoint)
    for table in (path / "run").glob("*.y*ml"):
        assert RunFolder(path / "run").load_config(), table


def same_sample(found: Path, wanted: Path) -> None:
    """Raises where two outputs differ in a bit."""
    with open_tree(found / "out.nc") as one, open_tree(wanted / "out.nc") as other:
        for group in ("truth", "prediction", "oracle", "regression", "interpolation", "input"):
            for name in other[group].data_vars:
                np.testing.assert_array_equal(one[group][name].values, other[group][name].values)


def same_run(found: Path, wanted: Path) -> None:
    """Raises where two runs differ in a bit, but for the speed that they logged."""
    assert_same_run(RunFolder(found / "run"), RunFolder(wanted / "run"))


def tried(name: str, command: Command, same: Callable[[Path, Path], None], kills: int, rng: random.Random) -> str:
    """So many kills, each at a random moment, of as many runs as they take; says what came of them."""
    with tempfile.TemporaryDirectory(prefix="labkit-kills-") as place:
        wanted = Path(place) / "wanted"
        wanted.mkdir()
        start = time.perf_counter()
        assert not killed(command(wanted), 600)
        usual_s, done, ends, lost = time.perf_counter() - start, 0, 0, 0
        while done < kills:
            folder = Path(place) / f"run {ends}"
            folder.mkdir()
            while killed(command(folder), rng.uniform(0, usual_s) if done < kills else 600):
                done += 1
                try:
                    check_whole(folder)
                except (AssertionError, LabError) as error:
                    lost += 1
                    print(f"{name}, kill {done}: {error}", file=sys.stderr)
            same(folder, wanted)
            ends += 1
    return (
        f"{name:10}{done:6} kills, {lost} left something half-valid; {ends} runs ended, all bit-equal ({usual_s:.1f} s)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=100, help="kills of labkit sample")
    parser.add_argument("--train", type=int, default=20, help="kills of labkit train")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dask.config.set(scheduler="synchronous")
    chance = random.Random(options.seed)
    trained_run()
    if options.sample:
        print(tried("sample", sampling, same_sample, options.sample, chance), flush=True)
    if options.train:
        print(tried("train", training, same_run, options.train, chance), flush=True)
