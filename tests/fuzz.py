"""Damaged and odd files against every verb: a sentence and an exit code, never a traceback, 2 GB or 20 seconds.

    python tests/fuzz.py --tries 300 --seed 1          as long as one likes; prints faults, then a line for each kind
    python tests/fuzz.py --tries 0                     the hand-made files alone
    python tests/fuzz.py --kind tree.nc --tries 50 --keep failures

Each try is a process of its own, forked from one that has everything imported, with the damaged file in place of the
good one. A kind is a file format; its commands are the verbs that read it.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the apps' fakes are imported by its files

import dask
from fuzz_files import good_files
from odd_files import odd_files

from labkit.cli import main

SECONDS, MEMORY_MB = 20, 2048
ALLOWED = {0, 1, 2, 3}
TRACEBACK = 99


@dataclass(frozen=True)
class Outcome:
    """How a try ended: `fault` is "" where it was as it should be."""

    kind: str
    what: str
    command: str
    fault: str
    seconds: float
    memory_mb: float
    said: str


def truncate(raw: bytes, rng: random.Random) -> bytes:
    return raw[: rng.randrange(len(raw))]


def flip(raw: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, most of them where the metadata lie."""
    made = bytearray(raw)
    for _ in range(rng.choice([1, 3, 30, 300])):
        end = rng.choice([512, 8192, len(raw)])
        made[rng.randrange(min(end, len(raw)))] = rng.randrange(256)
    return bytes(made)


def zero(raw: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(raw))
    length = rng.choice([4, 64, 4096, len(raw)])
    return raw[:start] + bytes(len(raw[start : start + length])) + raw[start + length :]


def splice(raw: bytes, rng: random.Random) -> bytes:
    a, b = sorted(rng.randrange(len(raw)) for _ in range(2))
    return raw[:a] + raw[b:] + raw[a : min(b, a + 5000)]


def digits(raw: bytes, rng: random.Random) -> bytes:
    """Numbers in text made large, negative or nonsense; of binary files some bytes set to ends of their range."""
    made = bytearray(raw)
    places = [i for i, byte in enumerate(raw[:50_000]) if 48 <= byte <= 57]
    for place in rng.sample(places, min(len(places), rng.choice([1, 5, 50]))):
        made[place] = rng.choice(b"9-0.eN")
    return bytes(made)


def stretch(raw: bytes, rng: random.Random) -> bytes:
    """A piece repeated many times, as of something nested or listed without end."""
    start = rng.randrange(len(raw))
    piece = raw[start : start + rng.choice([1, 10, 100])]
    return raw[:start] + piece * rng.choice([10, 1000, 5000]) + raw[start:]


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (truncate, flip, flip, zero, splice, digits, stretch)


def damaged(path: Path, rng: random.Random) -> str:
    """Damage a file, or one of the files of a folder, in place; says how."""
    victim = path
    if path.is_dir():
        victim = rng.choice(sorted(file for file in path.rglob("*") if file.is_file()))
        if rng.random() < 0.2:
            victim.unlink()
            return f"{victim.name} gone"
    mutation = rng.choice(MUTATIONS)
    raw = victim.read_bytes()
    if raw:
        victim.write_bytes(mutation(raw, rng))
    return f"{mutation.__name__} {victim.name}"


def tried(kind: str, what: str, words: list[str], folder: Path) -> Outcome:
    """One command in a process of its own, watched."""
    said_path = folder / "said"
    begun = time.perf_counter()
    child = os.fork()
    if not child:
        _child(words, folder, said_path)
    status, usage, late = _awaited(child, begun)
    seconds, memory = time.perf_counter() - begun, usage.ru_maxrss / 1024
    said = said_path.read_text(errors="replace")
    fault = fault_of(status, late, memory, said)
    return Outcome(kind, what, " ".join(Path(word).name for word in words), fault, seconds, memory, said)


def _child(words: list[str], folder: Path, said: Path) -> None:
    handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1), os.dup2(handle, 2)
    resource.setrlimit(resource.RLIMIT_DATA, (6 * 2**30, 6 * 2**30))  # the machine itself must survive
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(folder)
    code = TRACEBACK
    try:
        code = main(words)
    except SystemExit as leaving:
        code = leaving.code
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def _awaited(child: int, begun: float):
    late = False
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return status, usage, late
        if time.perf_counter() - begun > SECONDS and not late:
            late = True
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)


def fault_of(status: int, late: bool, memory_mb: float, said: str) -> str:
    """What is wrong with how a try ended, "" where nothing is; `status` is that of `os.wait`."""
    if late:
        return f"over {SECONDS} s"
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    code = os.WEXITSTATUS(status)
    if memory_mb > MEMORY_MB or "more memory asked" in said:
        return f"{memory_mb:.0f} MB"
    if "Traceback" in said or "did not foresee" in said or code not in ALLOWED:
        return said.strip().splitlines()[-1][:160] if said.strip() else f"exit code {code}"
    sentences = [line for line in said.replace("\r", "\n").splitlines() if line.startswith("labkit: ")]
    return "" if code == 0 or len(sentences) == 1 or "usage:" in said else f"exit code {code} without a sentence"


def fuzz(
    tries: int, seed: int, *, kinds: list[str] | None, keep: Path | None, odd: int | None, every: bool
) -> list[Outcome]:
    """Hand-made files first, all or `odd` of them, with `every` command or in turn; then `tries` damaged ones."""
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="labkit-fuzz-") as place:
        goods = good_files(Path(place) / "good")
        gc.freeze()  # pages that a fork need not copy
        for kind, (good, commands) in goods.items():
            if kinds and kind not in kinds:
                continue
            rng = random.Random(f"{seed}/{kind}")
            makers = odd_files(kind)
            chosen_odd = list(makers) if odd is None else rng.sample(sorted(makers), min(odd, len(makers)))
            for number, what in enumerate([*chosen_odd, *[None] * tries]):
                folder = Path(place) / "try"
                _copied(good.parent, folder)
                path = folder / good.name
                if what is None:
                    what = f"try {number}: {damaged(path, rng)}"
                    chosen = [commands[number % len(commands)]]
                else:
                    makers[what](path)
                    chosen = commands if every else [commands[number % len(commands)]]
                for command in chosen:
                    outcome = tried(kind, what, [word.replace("@", str(folder)) for word in command], folder)
                    outcomes.append(outcome)
                    if outcome.fault:
                        print(f"{kind}: {outcome.fault}   ({what}; {outcome.command})", flush=True)
                    if outcome.fault and keep is not None:
                        _copied(folder, keep / f"{len(outcomes):05d}-{kind}")
    return outcomes


def _copied(good: Path, folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(good, folder)


def table(outcomes: list[Outcome]) -> str:
    """A line for each kind: tries, survived, the slowest and the largest."""
    lines = [f"{'kind':14}{'tries':>7}{'survived':>10}{'refused':>9}{'slowest s':>11}{'largest MB':>12}"]
    for kind in dict.fromkeys(outcome.kind for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome.kind == kind]
        survived = sum(not outcome.fault for outcome in mine)
        refused = sum("labkit: " in outcome.said for outcome in mine)
        slowest, largest = (max(getattr(o, name) for o in mine) for name in ("seconds", "memory_mb"))
        lines.append(f"{kind:14}{len(mine):7}{survived:10}{refused:9}{slowest:11.1f}{largest:12.0f}")
    return "\n".join(lines)


def warm() -> None:
    """Import what the verbs import, so that a fork has it; nothing is computed, which would leave threads behind."""
    import scoringrules  # noqa: F401
    import zarr  # noqa: F401

    import labkit.recipes
    import labkit.verify.compare
    import labkit.verify.cyclones
    import labkit.verify.scales
    import labkit.verify.scores
    import labkit.verify.strata  # noqa: F401

    dask.config.set(scheduler="synchronous")
    warnings.filterwarnings("ignore")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=30, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", nargs="*", help="which kinds (default: all)")
    parser.add_argument("--keep", type=Path, help="folder for the files that were not survived")
    parser.add_argument("--odd", type=int, help="so many hand-made files of each kind (default: all)")
    parser.add_argument("--every", action="store_true", help="each hand-made file with every command, not in turn")
    parser.add_argument("--json", type=Path, help="write every outcome here")
    options = parser.parse_args()
    warm()
    found = fuzz(
        options.tries, options.seed, kinds=options.kind, keep=options.keep, odd=options.odd, every=options.every
    )
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps([vars(o) for o in found]))
    sys.exit(any(outcome.fault for outcome in found))
