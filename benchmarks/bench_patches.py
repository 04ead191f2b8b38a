"""Patched diffusion beside whole domains: achieved skill on the same budget, seams, and memory against the domain.

    python benchmarks/bench_patches.py skill [--minutes 9] [--patch 32 32] [--overlap 8] [--runs runs/patches]
    python benchmarks/bench_patches.py memory

`skill` trains nano twice, for about `--minutes` each on two cores: on whole domains and on patches, of which it sees as
many more as they are smaller, in batches as much larger. Runs that are finished are judged as they are.
`memory` draws a member of a domain sixteen times the patch, and one batch of patches, in a process each.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from labkit import recipes
from labkit.data.statistics import compute_statistics
from labkit.diffusion.patches import FULL_ENOUGH
from labkit.recipes.corrdiff import CorrDiff
from labkit.recipes.drawing import draw_cases
from labkit.recipes.model import Channels
from labkit.sampling import Schedule
from labkit.store.trees import open_tree
from labkit.tiling import tiles
from labkit.verify.scores import score_tree
from labkit.verify.seams import seams

NANO_MINUTES = 9
AREAS = (1, 16, 64)  # sides of areas, cells
PATCH = 64  # cells a side, where memory is measured
BATCH = 13  # patches at once: half of the 25 that cover a domain of sixteen
COUNTED = ("samples", "warmup_samples", "ema_halflife_samples", "validate_every", "checkpoint_every", "log_every")


def budget(minutes: float, *, diffusion_times: float = 1.0) -> list[str]:
    """Overrides that shorten nano's training to `minutes`, the diffusion's samples and batch times a factor."""
    preset, overrides = recipes.load_preset("nano"), []
    for stage, times in (("regression", 1.0), ("diffusion", diffusion_times)):
        settings = getattr(preset, stage)
        for name in COUNTED:
            counted = max(1, round(getattr(settings, name) * times * minutes / NANO_MINUTES))
            overrides.append(f"{stage}.{name}={counted}")
        overrides.append(f"{stage}.batch_size={round(settings.batch_size * times)}")
    return overrides


def drawn(run: Path, overrides: list[str], cases: int, members: int) -> Path:
    """An output tree, with the oracle, of the run of these overrides, trained and drawn where not yet done."""
    model, path = recipes.train(recipes.load_preset("nano", overrides), run), run / f"bench-{cases}x{members}.nc"
    if not path.exists():
        recipes.sample(model, model.pairs("test"), path, times=range(cases), seeds=range(members), with_oracle=True)
    return path


def skill(options: argparse.Namespace) -> dict:
    """Achieved skill of both models and its ratio, and the seams of both against the oracle's, per variable."""
    shape, patch = recipes.open_part(recipes.load_preset("nano"), "test").shape, tuple(options.patch)
    times = math.prod(shape) / math.prod(patch)
    patched = [f"patch={{shape: {list(patch)}, overlap: {options.overlap}, regression: {options.regression}}}"]
    runs = {
        "whole": (options.runs / "whole", budget(options.minutes)),
        f"{patch[0]}x{patch[1]}": (
            options.runs / f"{patch[0]}x{patch[1]}-{options.regression}",
            [*budget(options.minutes, diffusion_times=times), *patched],
        ),
    }
    starts = [tiles(n, p, options.overlap if p < n else 0, align=8) for n, p in zip(shape, patch, strict=True)]
    figures = {}
    for name, (run, overrides) in runs.items():
        tree = open_tree(drawn(run, overrides, options.cases, options.members))
        skills = score_tree(tree).achieved_skill.sel(source="prediction")
        figures[name] = {
            str(variable): {
                "achieved_skill": round(float(skills.sel(variable=variable)), 4),
                "area_spread": area_spread(tree, str(variable)),
                "seams": seam_figures(tree, str(variable), starts, patch),
            }
            for variable in skills["variable"].values
        }
    whole, other = figures.values()
    figures["achieved_over_whole"] = {
        name: round(other[name]["achieved_skill"] / whole[name]["achieved_skill"], 4) for name in whole
    }
    # a model of whole domains has no seams: what it shows in these places is its own fault, not the patches'
    figures["seams_over_whole"] = {
        name: {
            measure: [round(a / b, 3) for a, b in zip(found, whole[name]["seams"][measure], strict=True)]
            for measure, found in other[name]["seams"].items()
        }
        for name in whole
    }
    return figures


def seam_figures(tree, variable: str, starts, patch: tuple[int, int]) -> dict:
    """Seams of the members' anomalies against those of the oracle's."""
    anomalies = [tree[group][variable] - tree[group][variable].mean("ensemble") for group in ("prediction", "oracle")]
    found = seams(anomalies[0], starts=starts, patch=patch, reference=anomalies[1])
    return {str(name): [round(float(value), 3) for value in found[name]] for name in found}


def area_spread(tree, variable: str) -> dict[str, float]:
    """Spread of the members' means over areas, by the areas' side in cells, over the oracle's: what a small patch
    would lose, since no patch knows how the next one's mean will turn out."""
    found = {}
    for side in AREAS:
        means = (tree[group][variable].load().coarsen(y=side, x=side).mean() for group in ("prediction", "oracle"))
        spread = [float(mean.var("ensemble", ddof=1).mean()) ** 0.5 for mean in means]
        found[str(side)] = round(spread[0] / spread[1], 3)
    return found


def memory() -> dict:
    """Memory (MB) that drawing takes, of one batch of patches and of a domain of sixteen, in a process each: what the
    tensors hold at most at once, and by how much the process grows, which counts the allocator's leftovers too."""
    context = multiprocessing.get_context("spawn")
    figures = {}
    for name, side in (("one batch", PATCH), ("sixteen", 4 * PATCH)):
        for measure in (resident, held):
            with context.Pool(1) as pool:
                figures.setdefault(name, {}).update(pool.apply(measure, (side,)))
    one, sixteen = figures["one batch"], figures["sixteen"]
    figures["sixteen over one"] = {name: round(sixteen[name] / one[name], 3) for name in one}
    return figures


def resident(side: int) -> dict:
    """The process's peak, and how far that is above what it held before drawing."""
    model, draw = drawing(side)
    before = peak_since_reset(model, reset=True)
    draw()
    peak = peak_since_reset(model)
    return {"process_peak_mb": round(peak), "process_growth_mb": round(peak - before)}


def held(side: int) -> dict:
    """What the tensors on the CPU made while drawing hold at most at once, as the profiler counts it."""
    _, draw = drawing(side)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        draw()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = itertools.accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return {"tensors_peak_mb": round(max(live) / 2**20, 1)}


def drawing(side: int) -> tuple[CorrDiff, Callable]:
    """An untrained nano of patches, and what draws a domain of `side` by `side`, `BATCH` patches at once; where the
    domain is a patch, as many members of it."""
    torch.set_num_threads(1)
    patch = f"patch={{shape: [{PATCH}, {PATCH}], overlap: 8, regression: patches}}"
    config = recipes.load_preset("nano", [f"data.options={{shape: [{side}, {side}]}}", patch])
    pairs = recipes.open_part(config, "test").isel(slice(0, 2))
    small = recipes.open_part(config, "test", shape=(PATCH, PATCH)).isel(slice(0, 2))
    statistics = compute_statistics(small, max_samples=2)  # of a small domain, so that both start alike
    model = CorrDiff(config, Channels.of(pairs), statistics, shape=pairs.shape, factor=pairs.factor)
    for network in (model.regression, model.diffusion):
        network.eval().requires_grad_(False)
    schedule, members = Schedule(solver="dpmpp_2m", num_steps=3), BATCH if side == PATCH else 1
    # the sampler takes so few members at once that they fill three quarters of a batch: here as many as there are
    size = BATCH if members == 1 else math.ceil(BATCH / FULL_ENOUGH)
    # making a large idealised field takes more memory than drawing it; it is made before, and not counted
    pairs = replace(pairs, input=pairs.input.compute(), target=pairs.target.compute())
    return model, lambda: list(draw_cases(model, pairs, [0], range(members), schedule=schedule, batch_size=size))


def peak_since_reset(model: CorrDiff, *, reset: bool = False) -> float:
    """Peak memory (MB), since now with `reset`: of the GPU's own where there is one, else resident in the process."""
    if model.hardware.device.type == "cuda":
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated() / 2**20
    if reset:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the high-water mark falls to what is resident now
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("skill", "memory"))
    parser.add_argument("--minutes", type=float, default=float(NANO_MINUTES))
    parser.add_argument("--patch", type=int, nargs=2, default=(32, 32))
    parser.add_argument("--overlap", type=int, default=8)
    parser.add_argument("--regression", choices=("whole", "patches"), default="whole")
    parser.add_argument("--cases", type=int, default=32)
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--runs", type=Path, default=Path("runs/patches"))
    options = parser.parse_args()
    figures = memory() if options.what == "memory" else skill(options)
    text = json.dumps(figures, indent=1)
    if options.what == "skill":
        (options.runs / "bench.json").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
