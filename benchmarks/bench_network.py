"""How fast the networks run, and what share of the floor that is.

The floor is the rate of the best 3 x 3 convolution of the same precision, threads and batch on this machine. Figures
are the best of several repeats. `--clock cpu` counts the processor time of one thread, which other jobs on the machine
hardly disturb; `--clock wall` with all threads is what a person waits for on a quiet machine. `--plain` puts PyTorch's
own GroupNorm and SiLU in, to show what labkit's bring.

    python benchmarks/bench_network.py --clock cpu --networks nano mini
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from labkit.models.normalise import GroupNormSiLU
from labkit.models.unet import UNet, flops, parameter_count

SHAPE = (64, 64)
NETWORKS = {  # input channels count the noisy state, the regression, the upsampled input and the terrain
    "nano": dict(in_channels=20, model_channels=32, num_blocks=1, patch_embed=2, head_channels=16, attn_resolutions=()),
    "small": dict(in_channels=20, model_channels=32, num_blocks=1, attn_resolutions=()),
    "mini": dict(in_channels=32, model_channels=64, num_blocks=4, attn_resolutions=(16,)),
}
CLOCKS = {"wall": time.perf_counter, "cpu": time.thread_time}
MODES = ("fp32", "autocast", "bf16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["nano", "mini"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--plain", action="store_true", help="PyTorch's GroupNorm and SiLU instead of labkit's")
    options = parser.parse_args()
    torch.set_num_threads(1 if options.clock == "cpu" else options.threads)
    print("network   work   precision  samples/s   GFLOP/s   floor   share")
    for name in options.networks:
        report(name, options)


def report(name: str, options: argparse.Namespace) -> None:
    """Print one line for each kind of work and precision; GFLOP/s counts a training step as three forward passes."""
    for work in ("forward", "training"):
        for mode in MODES[:2] if work == "training" else MODES:
            torch.manual_seed(0)
            network = build(name, options)
            gflop = flops(network, SHAPE, batch=options.batch) / 1e9 * (3 if work == "training" else 1)
            seconds = best_time(step(network, work, mode, options), options)
            rate, limit = gflop / seconds, floor(mode, options)
            print(f"{name:9s} {work:9s} {mode:9s} {options.batch / seconds:8.1f} {rate:9.0f} {limit:8.0f} "
                  f"{rate / limit:6.0%}", flush=True)  # fmt: skip
    print(f"{name}: {parameter_count(network) / 1e6:.2f} M parameters, {gflop / 3 / options.batch:.2f} GFLOP a sample")


def build(name: str, options: argparse.Namespace) -> UNet:
    network = UNet(out_channels=4, shape=SHAPE, channel_mult=(1, 2, 2), dropout=0.0, **NETWORKS[name])
    if options.plain:
        use_plain_normalisation(network)
    return network.to(options.device)


def use_plain_normalisation(network: nn.Module) -> None:
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, GroupNormSiLU):
                norm = nn.GroupNorm(child.num_groups, child.num_channels, eps=child.eps)
                setattr(module, name, nn.Sequential(norm, nn.SiLU() if child.activate else nn.Identity()))


def step(network: UNet, work: str, mode: str, options: argparse.Namespace) -> Callable[[], None]:
    """One forward pass without gradients, or one forward and backward pass, of one random batch."""
    dtype = torch.bfloat16 if mode == "bf16" else torch.float32
    network = network.to(dtype)
    x = torch.randn(options.batch, network.in_channels, *SHAPE, device=options.device, dtype=dtype)
    noise = torch.randn(options.batch, device=options.device)
    autocast = torch.autocast(options.device, torch.bfloat16, enabled=mode == "autocast")

    def run() -> None:
        with autocast, torch.no_grad() if work == "forward" else contextlib.nullcontext():
            y = network(x, noise)
        if work == "training":
            y.float().square().mean().backward()

    return run


def floor(mode: str, options: argparse.Namespace) -> float:
    """GFLOP/s of the fastest channels-last 3 x 3 convolution of 32 to 128 channels."""
    dtype = torch.float32 if mode == "fp32" else torch.bfloat16
    return max(_convolution_rate(channels, dtype, options) for channels in (32, 64, 128))


def _convolution_rate(channels: int, dtype: torch.dtype, options: argparse.Namespace) -> float:
    def channels_last(*shape: int) -> Tensor:
        x = torch.randn(*shape, device=options.device, dtype=dtype)
        return x.contiguous(memory_format=torch.channels_last)

    x, weight = channels_last(options.batch, channels, *SHAPE), channels_last(channels, channels, 3, 3)
    with torch.no_grad():
        seconds = best_time(lambda: functional.conv2d(x, weight, padding=1), options)
    return 2 * 9 * channels**2 * x[:, 0].numel() / seconds / 1e9


def best_time(run: Callable[[], object], options: argparse.Namespace) -> float:
    """Seconds of the quickest of several repeats, after one to warm up."""
    clock, seconds = CLOCKS[options.clock], []
    for _ in range(options.repeats + 1):
        start = clock()
        run()
        if options.device != "cpu":
            torch.cuda.synchronize()
        seconds.append(clock() - start)
    return min(seconds[1:])


if __name__ == "__main__":
    main()
