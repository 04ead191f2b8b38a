"""What a patch costs on the machine at hand: one training step and one evaluation of the diffusion network, measured.

It is measured in a process of its own: memory is then that of the steps alone, and what is too large for the machine
ends that process and not the caller's. What a whole drawing or training takes follows by counting.
"""

from __future__ import annotations

import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import labkit
from labkit.diffusion.patches import chunk_size, members_at_once
from labkit.errors import Cancelled, ConfigError, LabError
from labkit.recipes.sections import PatchConfig, RecipeConfig
from labkit.sampling import Schedule
from labkit.verify.patch_size import cover_cost

REFUSALS = {kind.__name__: kind for kind in (ConfigError, LabError)}


@dataclass(frozen=True)
class Probe:
    """One training step and one evaluation on `batch_size` patches (y, x): seconds, and peak memory in MB above a
    process that holds only the network, of which `train_patch_mb` and `draw_patch_mb` are what a further patch adds
    (NaN where the system does not tell). A training step is the loss, its gradients, the optimiser and the averaging;
    reading data and the regression are not in it."""

    patch: tuple[int, int]
    batch_size: int
    train_step_s: float
    draw_step_s: float
    train_mb: float
    draw_mb: float
    train_patch_mb: float
    draw_patch_mb: float
    network_mb: float
    device: str
    precision: str

    @property
    def samples_per_s(self) -> float:
        """Patches a second in training."""
        return self.batch_size / self.train_step_s

    def training_mb(self, batch_size: int) -> float:
        """Memory of a training step of so many patches, and of the network."""
        return self.network_mb + self.train_mb + self.train_patch_mb * (batch_size - self.batch_size)

    def drawing_mb(self, batch_size: int) -> float:
        """Memory of an evaluation of so many patches, and of the network."""
        return self.network_mb + self.draw_mb + self.draw_patch_mb * (batch_size - self.batch_size)

    def drawing_s(self, entries: int) -> float:
        """Seconds for as many patches given to the network, as `drawn_entries` counts them."""
        return entries * self.draw_step_s / self.batch_size


def drawn_entries(
    shape: tuple[int, int],
    patch: tuple[int, int],
    *,
    overlap: int,
    factor: tuple[int, int],
    members: int,
    schedule: Schedule,
    batch_size: int,
) -> int:
    """How many patches the network is given to draw `members` of a domain, the copies that fill batches included.

    A patch that is the domain is drawn as a whole domain is. `members` may be those of several cases together.
    """
    if tuple(patch) == tuple(shape):
        together, each = batch_size, batch_size
    else:
        patches = cover_cost(shape, patch, overlap, align=factor).patches
        together = members_at_once(patches, batch_size)
        size = chunk_size(together * patches, batch_size)
        each = size * -(-together * patches // size)
    return -(-members // together) * each * schedule.evaluations


def cost_sentences(
    found: Probe, config: RecipeConfig, *, shape: tuple[int, int], overlap: int, factor: tuple[int, int]
) -> list[str]:
    """What training with the measured patch and drawing a domain `shape` with it take, by the configuration."""
    settings = config.diffusion
    batch = min(settings.batch_size, settings.micro_batch or settings.batch_size)
    schedule = Schedule(**config.sampler.model_dump())
    drawing = {"overlap": overlap, "factor": factor, "schedule": schedule, "batch_size": found.batch_size}
    entries = [drawn_entries(shape, found.patch, members=n, **drawing) for n in (1, 16)]
    one, sixteen = (duration(found.drawing_s(n)) for n in entries)
    hours = duration(settings.samples / found.samples_per_s)
    return [
        f"measured with {found.batch_size} patches at once on {found.device}, {found.precision}",
        f"training: {found.samples_per_s:.3g} patches a second, {settings.samples:,} of them in {hours}",
        f"a batch of {batch} in training takes {megabytes(found.training_mb(batch))}",
        f"drawing: one member of the domain in {one}, sixteen in {sixteen} ({schedule.evaluations} evaluations each)",
        f"{found.batch_size} patches at once in drawing take {megabytes(found.drawing_mb(found.batch_size))}",
    ]


def duration(seconds: float) -> str:
    """A time to two or three digits in the unit that suits it."""
    for limit, unit, size in ((90, "s", 1), (5400, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.2g} {unit}" if seconds / size < 10 else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def megabytes(mb: float) -> str:
    """Memory in words; it cannot be measured on every system."""
    if math.isnan(mb):
        return "memory that this system does not tell"
    return f"{mb:.0f} MB" if mb < 1000 else f"{mb / 1024:.1f} GB"


def network_multiple(config: RecipeConfig) -> int:
    """Cells that the sides of what the diffusion network sees must be a multiple of."""
    network = config.diffusion_network
    return network.patch_embed * 2 ** (len(network.channel_mult) - 1)


def on_patches(config: RecipeConfig, patch: tuple[int, int], shape: tuple[int, int]) -> RecipeConfig:
    """The configuration trained on patches of this shape instead, or on whole domains where the patch is one."""
    context = config.patch is None or config.patch.context
    patches = PatchConfig(shape=tuple(patch), overlap=0, regression="patches", context=context)
    data = config.data.model_copy(update={"crop": None})
    return config.model_copy(update={"data": data, "patch": None if tuple(patch) == tuple(shape) else patches})


def probe(
    config: RecipeConfig,
    *,
    channels: tuple[int, int, int],
    patch: tuple[int, int],
    shape: tuple[int, int] | None = None,
    factor: tuple[int, int] = (1, 1),
    batch_size: int | None = None,
    steps: int = 5,
    room_mb: float | None = None,
    limit_s: float = 120.0,
    progress: Callable[[float], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Probe:
    """Measure the diffusion network of `config` on patches (y, x) of a domain `shape`, by default the patch itself.

    channels: how many of input, invariant and target; factor: fine cells in a coarse one. batch_size: by default as
    many as `default_batch` takes, or fewer so that all is done within about ten seconds. The times are medians of
    `steps`. room_mb: memory that it may take, by default nine tenths of what is free. `progress` is told the share
    done. Raises ConfigError for a patch that the network or the domain refuses, LabError where it does not fit into
    the memory or takes longer than `limit_s`, Cancelled when `cancel()` says so.
    """
    import torch

    request = {
        "config": config.model_dump(mode="json"),
        "channels": list(channels),
        "patch": list(patch),
        "shape": list(shape or patch),
        "factor": list(factor),
        "batch_size": batch_size,
        "steps": steps,
        "room_mb": room_mb,
        "threads": torch.get_num_threads(),
    }
    answer = _ask(request, limit_s, progress or (lambda share: None), cancel or (lambda: False))
    if "error" in answer:
        words = answer["error"]
        raise REFUSALS.get(words.pop("kind"), LabError)(words.pop("what"), **words)
    return Probe(**answer | {"patch": tuple(answer["patch"])})


def _ask(request: dict, limit_s: float, progress: Callable[[float], None], cancel: Callable[[], bool]) -> dict:
    """The other process's answer; it is ended where it takes too long or is no longer wanted."""
    where = os.pathsep.join([str(Path(labkit.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "labkit.recipes.probing"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": where.strip(os.pathsep)},
        text=True,
    )
    lines: Queue[str] = Queue()
    try:
        process.stdin.write(json.dumps(request))
        process.stdin.close()
        Thread(target=_pass_on, args=(process.stdout, lines), daemon=True).start()
        return _listen(process, lines, time.monotonic() + limit_s, limit_s, progress, cancel)
    finally:
        process.kill()
        process.wait()


def _pass_on(stream, lines: Queue) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def _listen(process, lines: Queue, end: float, limit_s: float, progress, cancel) -> dict:
    while True:
        if cancel():
            raise Cancelled("measuring was cancelled")
        if time.monotonic() > end:
            raise _refused(f"no result within {limit_s:g} s", "choose a smaller patch or batch")
        try:
            line = lines.get(timeout=0.1)
        except Empty:
            continue
        if not line:
            raise _refused(_ending(process.wait()), "choose a smaller patch or batch, or a machine with more memory")
        said = json.loads(line)
        if "share" not in said:
            return said
        progress(said["share"])


def _refused(found: str, todo: str) -> LabError:
    return LabError("measuring a patch", found=found, expected="a step that this machine can take", todo=todo)


def _ending(code: int) -> str:
    name = signal.Signals(-code).name if code < 0 else str(code)
    return f"a process that ended by itself ({name})"


def median_seconds(step: Callable[[], None], steps: int, wait: Callable[[], None]) -> float:
    """Median time of a step; `wait` returns when the device has done what it was told."""
    times = []
    for _ in range(steps):
        wait()
        begun = time.perf_counter()
        step()
        wait()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def as_answer(result: Probe | LabError) -> dict:
    """What the other process says, as plain values."""
    if isinstance(result, Probe):
        return asdict(result)
    kind = "ConfigError" if isinstance(result, ConfigError) else "LabError"
    words = {name: getattr(result, name) for name in ("what", "found", "expected", "todo")}
    return {"error": words | {"kind": kind}}
