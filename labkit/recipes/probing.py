"""The other process of `probe`: builds the network, takes a few steps, says what they took. Not to be called directly.

A request is one JSON object on the standard input; the answer's lines are JSON objects, the last one the result.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from torch import nn

from labkit.data.statistics import ChannelStatistics, Statistics
from labkit.diffusion.edm import edm_loss
from labkit.errors import LabError
from labkit.models.ema import EMA
from labkit.models.optimiser import make_optimiser
from labkit.recipes import recipe, validate
from labkit.recipes.model import Channels, Model, default_batch
from labkit.recipes.probe import Probe, as_answer, median_seconds, on_patches

FOR_MEASURING_S = 8.0  # what the steps may take together where no batch is asked for
TRAINING_TIMES = 4.0  # an evaluation's time that a training step takes, roughly
SHORT_OF_MEMORY = ("allocate memory", "bad_alloc", "create a primitive", "out of memory", "unable to mmap")


def main() -> None:
    """Answer the request on the standard input."""
    request = json.loads(sys.stdin.read())
    try:
        result: Probe | LabError = measure(request)
    except LabError as error:
        result = error
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or any(words in str(error) for words in SHORT_OF_MEMORY)):
            raise
        result = too_little_memory(request)
    print(json.dumps(as_answer(result)), flush=True)


def measure(request: dict) -> Probe:
    """Both kinds of step, of which the one without gradients comes first: it needs less memory."""
    torch.set_num_threads(request["threads"])
    model = build(request)
    cuda, patch, steps = model.hardware.device.type == "cuda", tuple(request["patch"]), request["steps"]
    network_mb = sum(p.nbytes for p in model.networks["diffusion"].parameters()) / 2**20
    wait = torch.cuda.synchronize if cuda else lambda: None
    taken = denoising(model, (model.networks["diffusion"].network.multiple,) * 2, 1)
    taken()  # loads what the libraries need for themselves
    limit_memory(request["room_mb"], cuda)
    rest = peak_mb(cuda, reset=True)
    say(0.1)
    one = denoising(model, patch, 1)
    one()
    size = request["batch_size"] or batch_that_suits(model, patch, median_seconds(one, 1, wait), steps)
    found = {}
    for kind, make in (("draw", denoising), ("train", training)):
        for n in sorted({1, size}):
            step = make(model, patch, n)
            peak_mb(cuda, reset=True)
            step()
            found[f"{kind}_mb"], before = peak_mb(cuda) - rest, found.get(f"{kind}_mb", 0.0)
            say(0.3 if kind == "draw" else 0.6)
        found[f"{kind}_patch_mb"] = (found[f"{kind}_mb"] - before) / max(size - 1, 1)
        found[f"{kind}_step_s"] = median_seconds(step, steps, wait)
    return Probe(
        patch=patch,
        batch_size=size,
        **found,
        network_mb=network_mb,
        device=torch.cuda.get_device_name() if cuda else f"CPU, threads: {torch.get_num_threads()}",
        precision="bf16" if model.hardware.bf16 else "fp32",
    )


def build(request: dict) -> Model:
    """An untrained model whose channels have numbers for names."""
    patch, shape = tuple(request["patch"]), tuple(request["shape"])
    names = [tuple(f"{kind}{i}" for i in range(n)) for kind, n in zip("iat", request["channels"], strict=True)]
    plain = [{name: ChannelStatistics(0.0, 1.0) for name in kind} for kind in names]
    config = on_patches(validate(request["config"]), patch, shape)
    return recipe(config.recipe)(
        config, Channels(*names), Statistics(*plain), shape=shape, factor=tuple(request["factor"])
    )


def batch_that_suits(model: Model, patch: tuple[int, int], one_s: float, steps: int) -> int:
    """The batch that the model draws with, or as much of it as can be measured in time; `one_s`: one evaluation."""
    usual = min(default_batch(model, patch), model.config.diffusion.batch_size)
    return max(1, min(usual, int(FOR_MEASURING_S / (one_s * (1 + TRAINING_TIMES) * (steps + 1)))))


def denoising(model: Model, patch: tuple[int, int], size: int) -> Callable[[], None]:
    """One evaluation on a batch of noise, as in drawing."""
    x, seen, position = noise(model, patch, size)
    sigma = torch.ones(size, device=x.device)

    @torch.inference_mode()
    def step() -> None:
        model.networks["diffusion"].eval()
        with model.hardware.autocast():
            model.networks["diffusion"].denoise(x, sigma, seen, position=position)

    return step


def training(model: Model, patch: tuple[int, int], size: int) -> Callable[[], None]:
    """One optimiser step on a batch of noise, as in training."""
    settings, network = model.config.diffusion, model.networks["diffusion"]
    optimiser, ema = make_optimiser(settings.optimiser, network, settings.lr), EMA(network, 1000)
    x, seen, position = noise(model, patch, size)
    levels = {"noise_mean": settings.noise_mean, "noise_std": settings.noise_std}
    generator = torch.Generator(x.device).manual_seed(0)

    def step() -> None:
        network.train()
        optimiser.zero_grad(set_to_none=True)
        with model.hardware.autocast():
            denoise = network.bind(seen, position=position)
            loss = edm_loss(denoise, x, sigma_data=network.sigma_data, generator=generator, **levels)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm or math.inf)
        optimiser.step()
        ema.update(network, 10_000, size)

    return step


def noise(model: Model, patch: tuple[int, int], size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the network is given: fields to denoise, what it sees beside them, and the patches' corners."""
    network, targets = model.networks["diffusion"].network, len(model.channels.target)
    fields = torch.randn(size, network.in_channels, *patch, generator=torch.Generator().manual_seed(0))
    fields = fields.to(model.hardware.device)
    return fields[:, :targets], fields[:, targets:], torch.zeros(size, 2, dtype=torch.long, device=fields.device)


def peak_mb(cuda: bool, *, reset: bool = False) -> float:
    """Peak memory (MB) since the last reset: the GPU's own, else resident in this process; NaN where not on Linux."""
    if cuda:
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if not status.exists():
        return math.nan
    if reset:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to what is resident now
    return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 2**10


def limit_memory(room_mb: float | None, cuda: bool) -> None:
    """Have what is beyond the room refused when it is asked for, before the system ends some process or other."""
    if cuda:
        if room_mb is not None:
            torch.cuda.set_per_process_memory_fraction(room_mb / (torch.cuda.mem_get_info()[1] / 2**20))
        return
    if sys.platform != "linux":
        return
    import resource

    room = 0.9 * free_mb() if room_mb is None else room_mb
    used = int(Path("/proc/self/status").read_text().partition("VmData:")[2].split()[0]) * 2**10
    resource.setrlimit(resource.RLIMIT_DATA, (used + int(room * 2**20), resource.RLIM_INFINITY))


def free_mb() -> float:
    """Memory free to this process (MB): the machine's, or what its container leaves."""
    free = psutil.virtual_memory().available
    limit, used = (Path(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit.exists() and used.exists() and limit.read_text().strip() != "max":
        free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free / 2**20


def too_little_memory(request: dict) -> LabError:
    """What to say where the steps did not fit."""
    patch, size = " x ".join(map(str, request["patch"])), request["batch_size"] or 1
    return LabError(
        f"memory for patches of {patch} cells",
        found=f"too little for a batch of {size}",
        expected="room for a training step",
        todo="choose a smaller patch or batch, a smaller network or a larger device",
    )


def say(share: float) -> None:
    """Tell how much is done."""
    print(json.dumps({"share": share}), flush=True)


if __name__ == "__main__":
    main()
