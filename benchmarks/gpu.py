"""All that a GPU has to show, in one run of less than ten minutes: that it is right, then how fast it is.

    python benchmarks/gpu.py [--out FOLDER]                 on a machine with a CUDA device
    python benchmarks/gpu.py --device cpu --seconds 1       tries the script itself without one

Right: members drawn there are those of the processor, whatever their company; patches, attention and their gradients
too; the probe measures. Fast: training and drawing of `mini` (fp32 and bf16, several batches) as samples and members a
second and memory, beside what a large matrix product reaches. Each part is a process of its own: one that fails is
told, and the others go on. Results are lines of JSON, also in FOLDER/gpu.jsonl. Beside torch and numpy it needs
pydantic, dask, xarray, netCDF4, zarr, cf-units, pyproj, safetensors, scoringrules, pyyaml, psutil, tqdm and pooch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from labkit import recipes
from labkit.data.statistics import compute_statistics
from labkit.diffusion.edm import edm_loss
from labkit.models.optimiser import make_optimiser
from labkit.models.unet import UNet, flops
from labkit.recipes.drawing import draw_cases
from labkit.recipes.model import Channels
from labkit.recipes.probe import probe
from labkit.sampling import Schedule
from labkit.store.registry import bundled_samples

CLOSE = 1e-3  # of a field's norm: fp32 on another device sums in another order
SHAPE = (64, 64)
STEPS = Schedule(solver="dpmpp_2m", num_steps=6, sigma_min=0.02, sigma_max=40.0)
SMALL = ["data.options={shape: [64, 64]}", "data.train={start: 2000-01-01, end: 2000-01-03}"]
PATCH = "patch={shape: [32, 32], overlap: 8}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=8.0, help="that each figure is measured for")
    parser.add_argument("--batches", type=int, nargs="+", default=None, help="default: 256 512 1024 on a GPU")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", help="one part alone, by its name")
    options = parser.parse_args()
    options.batches = options.batches or ([4] if options.device == "cpu" else [256, 512, 1024])
    parts = {part.__name__: part for part in (machine, members, patches, attention, probed, training, drawing)}
    if options.part:
        for line in parts[options.part](options):
            say(options, {"part": options.part, **line})
        return
    for name in parts:  # a process each: after a fault on the device nothing else runs in the one that had it
        done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--part", name], check=False)
        if done.returncode:
            say(options, {"part": name, "FAILED": f"exit code {done.returncode}, see the traceback above"})


def say(options: argparse.Namespace, line: dict) -> None:
    text = json.dumps(line)
    print(text, flush=True)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        with (options.out / "gpu.jsonl").open("a") as file:
            file.write(text + "\n")


def machine(options) -> Iterator[dict]:
    """The two ceilings: a large matrix product in bf16, and a copy."""
    on_gpu = options.device != "cpu"
    name = torch.cuda.get_device_name() if on_gpu else "CPU"
    n = 8192 if on_gpu else 512
    a, b = (torch.randn(n, n, device=options.device).bfloat16() for _ in range(2))
    whole = torch.randn(2**28 if on_gpu else 2**22, device=options.device)
    product, copied = rate(lambda: a @ b, options), rate(whole.clone, options)
    known = {"device": name, "torch": torch.__version__}
    yield known | {"bf16_tflops": round(2 * n**3 * product / 1e12, 1), "copy_GBs": round(8 * len(whole) * copied / 1e9)}


def members(options) -> Iterator[dict]:
    """The bundled model's members, here and on the processor, in two companies and in bf16."""
    run = next(sample.parent for sample in bundled_samples() if (sample.parent / "config.yaml").exists())
    drawn = {}
    for name, device, precision, batch in (
        ("processor", "cpu", "fp32", 4),
        ("here", options.device, "fp32", 4),
        ("other company", options.device, "fp32", 7),
        ("bf16", options.device, "bf16", 4),
    ):
        model = recipes.load(run, device=device, precision=precision)
        pairs = model.pairs("test").isel(slice(0, 2))
        found = draw_cases(model, pairs, [0, 1], [1, 2, 3], schedule=STEPS, batch_size=batch)
        drawn[name] = np.stack([fields for _, _, fields in found])
    for name in ("here", "other company", "bf16"):
        off = apart(drawn[name], drawn["processor" if name != "other company" else "here"])
        yield {"members": name, "apart": off, "right": off < (CLOSE if name != "bf16" else 0.05)}


def patches(options) -> Iterator[dict]:
    """Members of an untrained model that draws its domain in patches."""
    drawn = []
    for device in ("cpu", options.device):
        model, pairs = untrained("nano", device, "fp32", PATCH)
        found = draw_cases(model, pairs, [0], [1, 2], schedule=STEPS, batch_size=5)
        drawn.append(np.stack([fields for _, _, fields in found]))
    yield {"apart": apart(*drawn), "right": apart(*drawn) < CLOSE}


def attention(options) -> Iterator[dict]:
    """A network with attention at 16 x 16, its output and all gradients."""
    found = []
    for device in ("cpu", options.device):
        torch.manual_seed(0)
        network = UNet(6, 4, model_channels=32, num_blocks=1, attn_resolutions=(16,), shape=SHAPE).eval()
        stirred(network)
        x = torch.randn(2, 6, *SHAPE)
        output = network.to(device)(x.to(device), torch.tensor([0.1, -0.4], device=device))
        output.square().mean().backward()
        gradients = torch.cat([p.grad.flatten().cpu() for p in network.parameters() if p.grad is not None])
        found.append((output.detach().cpu().numpy(), gradients.numpy()))
    for name, first, second in zip(("output", "gradients"), *found, strict=True):
        yield {name: apart(second, first), "right": apart(second, first) < CLOSE}


def probed(options) -> Iterator[dict]:
    """What labkit patch-size --probe would say of `mini`."""
    device = "cuda" if options.device != "cpu" else "cpu"
    config = recipes.load_preset("mini" if device == "cuda" else "nano", [f"device={device}"])
    found = probe(config, channels=(4, 3, 4), patch=SHAPE)
    yield {"probe": f"{found.samples_per_s:.4g} samples/s", "batch": found.batch_size, "MB": round(found.train_mb)}


def training(options) -> Iterator[dict]:
    """Optimiser steps of the denoiser, of noise: reading data is not in it."""
    for precision in ("fp32", "bf16"):
        model, _ = untrained("mini", options.device, precision)
        network, settings = model.networks["diffusion"], model.config.diffusion
        network.train().requires_grad_(True)
        optimiser = make_optimiser(settings.optimiser, network, settings.lr)
        generator = torch.Generator(options.device).manual_seed(0)
        for batch in options.batches:
            x, seen = noise(model, batch)

            def step(x=x, seen=seen, model=model, network=network, optimiser=optimiser, generator=generator):
                optimiser.zero_grad(set_to_none=True)
                with model.hardware.autocast():
                    loss = edm_loss(network.bind(seen), x, sigma_data=network.sigma_data, generator=generator)
                loss.backward()
                optimiser.step()

            yield measured(step, network.network, batch, 3, options) | {"precision": precision}


def drawing(options) -> Iterator[dict]:
    """Evaluations of the denoiser, and the members a second that `mini`'s own schedule makes of them."""
    for precision in ("fp32", "bf16"):
        model, _ = untrained("mini", options.device, precision)
        evaluations = Schedule(**model.config.sampler.model_dump()).evaluations
        for batch in options.batches:
            x, seen = noise(model, batch)
            sigma = torch.ones(batch, device=options.device)
            step = torch.inference_mode()(lambda x=x, seen=seen, sigma=sigma, m=model: m.denoise(x, sigma, seen))
            found = measured(step, model.networks["diffusion"].network, batch, 1, options)
            members = round(found["samples_per_s"] / evaluations, 3)
            yield found | {"precision": precision, "members_per_s": members}


def measured(step: Callable, network: nn.Module, batch: int, passes: int, options) -> dict:
    """Samples and TFLOP a second, and peak memory."""
    on_gpu = options.device != "cpu"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    per_second = rate(step, options)
    tflops = passes * flops(network, SHAPE, batch=batch) * per_second / 1e12
    memory = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else float("nan")
    return {"batch": batch, "samples_per_s": round(batch * per_second, 2), "tflops": round(tflops, 2), "MB": memory}


def rate(step: Callable, options) -> float:
    """How often a second a step is done, after it was done three times."""
    wait = torch.cuda.synchronize if options.device != "cpu" else lambda: None
    for _ in range(3):
        step()
    wait()
    begun, count = time.perf_counter(), 0
    while (past := time.perf_counter() - begun) < options.seconds or not count:
        for _ in range(3):
            step()
        wait()
        count += 3
    return count / past if count else 0.0


def untrained(preset: str, device: str, precision: str, *overrides: str):
    """A model of weights that were stirred, so that its members depend on noise and conditions, and a few pairs."""
    config = recipes.load_preset(preset, [*SMALL, f"device={device}", f"precision={precision}", *overrides])
    pairs = recipes.open_part(config, "train").isel(slice(0, 8))
    model = recipes.recipe(config.recipe)(
        config, Channels.of(pairs), compute_statistics(pairs, max_samples=8), shape=pairs.shape, factor=pairs.factor
    )
    for network in model.networks.values():
        stirred(network).eval().requires_grad_(False)
    return model, pairs


def stirred(network: nn.Module) -> nn.Module:
    """New networks begin with zeros where these would hide a fault: small numbers take their place."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():
                weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return network


def noise(model, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Fields to denoise and what the denoiser sees beside them."""
    targets, device = len(model.channels.target), model.hardware.device
    fields = torch.randn(batch, model.networks["diffusion"].network.in_channels, *SHAPE, device=device)
    return fields[:, :targets].contiguous(), fields[:, targets:].contiguous()


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    """|found - expected| / |expected|, of what varies."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected - expected.mean()))


if __name__ == "__main__":
    main()
