"""Train the nano preset as a user would and judge it against the oracle: time, memory, skill, calibration, spectra.

    python benchmarks/bench_nano.py [--run runs/nano] [--preset nano] [key=value ...]

Writes <run>/bench.json and prints a table. Training is a subprocess; a finished run is judged as it is.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from labkit import recipes
from labkit.store.trees import open_tree
from labkit.verify.scores import score_tree
from labkit.verify.spectra import spectral_ratio


def train(preset: str, run: Path, overrides: list[str]) -> dict:
    """Wall-clock minutes and peak memory (GB) of `labkit train`."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "labkit.cli", "train", "corrdiff", "--preset", preset, "--run", str(run)]
    subprocess.run([*command, *overrides], check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return {"minutes": (time.perf_counter() - started) / 60, "peak_gb": peak}


def judge(run: Path, cases: int, members: int) -> dict:
    """Scores of 16 members of 32 unseen cases, and member spectra over the oracle's at 4 dx and longer."""
    model = recipes.load(run)
    pairs, path = model.pairs("test"), run / "bench.nc"
    started = time.perf_counter()
    if not path.exists():
        recipes.sample(
            model, pairs, path, times=range(cases), seeds=range(members), with_oracle=pairs.oracle is not None
        )
    seconds = time.perf_counter() - started
    tree, spacing = open_tree(path), pairs.spacing_km
    scores = score_tree(tree)
    figures = {"sample_seconds": seconds, "cases": cases, "members": members}
    for name in model.channels.target:
        row = scores.sel(variable=name)
        entry = {"crps": float(row.crps.sel(source="prediction")), "spread_skill": float(row.spread_skill[-1])}
        entry["spread_skill"] = float(row.spread_skill.sel(source="prediction"))
        entry["regression_mae"] = float(row.mae.sel(source="regression"))
        entry["interpolation_mae"] = float(row.mae.sel(source="interpolation"))
        if pairs.oracle is not None:
            entry["oracle_crps"] = float(row.crps.sel(source="oracle"))
            entry["oracle_spread_skill"] = float(row.spread_skill.sel(source="oracle"))
            entry["achieved_skill"] = float(row.achieved_skill.sel(source="prediction"))
            for dim in ("x", "y"):
                ratio = spectral_ratio(tree["prediction"][name], tree["oracle"][name], spacing_km=spacing, dim=dim)
                long = ratio.where(ratio.wavenumber <= 1 / (4 * spacing[dim == "x"]) + 1e-9, drop=True)
                entry[f"spectral_ratio_{dim}"] = [round(float(long.min()), 3), round(float(long.max()), 3)]
        figures[name] = entry
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--cases", type=int, default=32)
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    run = options.run or Path("runs") / options.preset
    done = (run / "checkpoints" / "diffusion.safetensors").exists()
    figures = {} if done else train(options.preset, run, options.overrides)
    cases = min(options.cases, len(recipes.open_part(recipes.load_preset(options.preset), "test")))
    figures |= judge(run, cases, options.members)
    (run / "bench.json").write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
