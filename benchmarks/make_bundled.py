"""Make what ships with the lab: train the nano preset, halve its weights, draw its sample and a typhoon hour by hour.

    python benchmarks/make_bundled.py [--run runs/nano] [--target labkit/bundled/idealised-nano] [--typhoon-only]

A finished run is packed as it is. The sample is drawn in fp32 from the packed weights, so that any machine can draw it
again (tests/test_bundled.py does).
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np

from labkit import recipes
from labkit.data.pairs import Pairs
from labkit.store.checkpoints import checkpoint_hash, load_checkpoint, save_checkpoint
from labkit.store.runs import RunFolder

MEMBERS = 16
# Crosses the island's middle; the weights were trained on the twentieth century.
TYPHOON = {"start": "2023-08-07T00", "end": "2023-08-07T19", "step_h": 1}
YEAR = {"start": "2020-01-01", "end": "2020-12-31T23", "step_h": 1}
DIGITS = {
    **{"t2m": 1, "u10": 1, "v10": 1, "reflectivity": 0, "tcwv": 1, "tp": 2, "cape": 0, "msl": 0, "z500": 0, "tisr": 0},
    **{"t850": 1, "u850": 1, "v850": 1, "u500": 1, "v500": 1, "orography": 0, "land_mask": 2},
}


def pack(run: Path, target: Path) -> None:
    """Copy a finished run with its weights in half precision and without what only training needs."""
    source, packed = RunFolder(run), RunFolder(target)
    packed.save_config(source.load_config())
    packed.save_statistics(source.load_statistics())
    shutil.copy(run / "metrics.jsonl", target / "metrics.jsonl")
    for stage in ("regression", "diffusion"):
        tensors, header = load_checkpoint(source.checkpoint_path(stage))
        if stage == "diffusion":  # it belongs to the regression beside it, which rounding has changed
            header["regression"] = checkpoint_hash(packed.checkpoint_path("regression"))[:16]
        halves = {name: tensor.half() for name, tensor in tensors.items()}
        save_checkpoint(packed.checkpoint_path(stage), halves, header)


def cases(pairs: Pairs) -> list[int]:
    """Positions of seven hours over the year, a typhoon's passage and a front's, found in the coarse input."""
    coarse = pairs.select(input=["msl", "t2m", "t850"]).input.compute()
    pressure = coarse.sel(channel="msl").min(("y_in", "x_in")).values
    t850 = coarse.sel(channel="t850").values
    contrast = np.where(pressure > 100_000, t850.max((1, 2)) - t850.min((1, 2)), 0)
    typhoon, front = int(pressure.argmin()), int(contrast.argmax())
    over_the_year = np.linspace(200, len(pairs) - 200, 7).astype(int)
    chosen = {*over_the_year.tolist(), *range(typhoon - 9, typhoon + 9, 3), *range(front - 3, front + 4, 3)}
    return sorted(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/nano"))
    parser.add_argument("--target", type=Path, default=Path("labkit/bundled/idealised-nano"))
    parser.add_argument("--typhoon-only", action="store_true", help="draw the typhoon again from the packed weights")
    options = parser.parse_args()
    if not options.typhoon_only:
        make_run(options.run, options.target)
    model = recipes.load(options.target, precision="fp32")
    draw(model, TYPHOON, options.target.with_name("idealised-typhoon"))


def make_run(run: Path, target: Path) -> None:
    """Train, pack, and draw hours over a year that was not trained on."""
    recipes.train(recipes.load_preset("nano"), run)
    shutil.rmtree(target, ignore_errors=True)
    pack(run, target)
    draw(recipes.load(target, precision="fp32"), YEAR, target, cases)


def draw(model, hours: dict, target: Path, chosen=lambda pairs: range(len(pairs))) -> None:
    """Members and oracle members of the chosen hours in `target`/sample.nc."""
    pairs = recipes.open_part(model.config, "test", **hours)
    target.mkdir(parents=True, exist_ok=True)
    (target / "sample.nc").unlink(missing_ok=True)
    options = {"seeds": range(MEMBERS), "with_oracle": True, "digits": DIGITS}
    recipes.sample(model, pairs, target / "sample.nc", times=chosen(pairs), **options)
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    print(f"{target}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
