"""How well a trained model knows typhoons that it was never trained on: strength and size, beside the oracle.

    python benchmarks/bench_typhoons.py [--run labkit/bundled/idealised-nano] [--storms 24] [--hours 4] [--members 16]

Typhoons of 2020 to 2023 of the idealised atmosphere, each at some hours while its centre is over the domain. Every
source is tracked by itself. Prints JSON: fair CRPS of members, absolute error of input and regression, bias, spread,
and the share of the gap between input and oracle that is closed. Drawn storms stay in --out and are not drawn again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from labkit import recipes
from labkit.data.idealised.reader import EPOCH, IdealisedConfig, world
from labkit.errors import DataError
from labkit.store.trees import open_tree
from labkit.verify.cyclones import study
from labkit.verify.cyclones.scores import storm_scores, truth_ranks

YEARS = ("2020-01-01T00", "2023-12-31T23")
INSIDE_KM = 90.0
STRONG = 14.0  # m/s of the coarse vortex


def passages(count: int, hours: int) -> list[list[str]]:
    """Hours of `count` typhoons spread over the years, `hours` of each while its centre is well over the domain."""
    first, last = ((np.datetime64(at, "h") - EPOCH).astype(int) for at in YEARS)
    when = np.arange(first, last + 1).astype(float)
    storm = world(IdealisedConfig()).state(when).typhoon
    inside = (np.abs(storm.x) < INSIDE_KM) & (np.abs(storm.y) < INSIDE_KM) & (storm.speed > STRONG)
    found = [when[inside & (storm.slot == slot)] for slot in np.unique(storm.slot[inside])]
    found = [one for one in found if len(one) >= hours]
    chosen = [found[i] for i in np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)]
    picks = [one[np.linspace(0, len(one) - 1, hours).round().astype(int)] for one in chosen]
    return [[str(EPOCH + int(hour)) for hour in one] for one in picks]


def draw(model, hours: list[str], members: int, path: Path) -> xr.DataTree:
    """Members and oracle of the hours, from a file where they were drawn before."""
    if not path.exists():
        pairs = recipes.open_part(model.config, "test", start=hours[0], end=hours[-1], step_h=1)
        stamps = pairs.target.time.values.astype("datetime64[h]").astype(str).tolist()
        recipes.sample(
            model, pairs, path, times=[stamps.index(h) for h in hours], seeds=range(members), with_oracle=True
        )
    return open_tree(path)


def main() -> None:
    """Draw, follow, score and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("labkit/bundled/idealised-nano"))
    parser.add_argument("--storms", type=int, default=24)
    parser.add_argument("--hours", type=int, default=4)
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path("build/typhoons"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    model, studies = recipes.load(args.run), []
    for k, hours in enumerate(passages(args.storms, args.hours)):
        tree = draw(model, hours, args.members, args.out / f"storm-{k:02d}.nc")
        try:
            studies.append(study(tree))
        except DataError as error:
            print(f"{hours[0]}: {error}", flush=True)
        print(f"{k + 1} of {args.storms}: {hours[0]} to {hours[-1]}", flush=True)
    print(json.dumps(report(studies, args.members), indent=2))


def report(studies: list[xr.DataTree], members: int) -> dict:
    """Scores by measure and source, and how the truth ranks among members and oracle."""
    measures = ("centre", "max_wind", "mean_wind", "rmw")
    scores = storm_scores(studies, measures=measures)
    told = {"storms": len(studies)}
    for measure in measures:
        one = scores.sel(measure=measure)
        names = ("crps", "bias", "spread", "error", "achieved")
        told[measure] = {str(s): {n: round(float(one[n].sel(source=s)), 3) for n in names} for s in one.source.values}
        told[measure]["cases"] = int(one.cases)
        for source in ("interpolation", "regression", "prediction", "oracle"):
            for name in ("crps", "achieved"):
                bounds = one[f"{name}_interval"].sel(source=source)
                told[measure][source][f"{name}, 95 %"] = [round(float(bound), 3) for bound in bounds]
        for source in ("prediction", "oracle") if measure != "centre" else ():
            ranks = truth_ranks(studies, measure, source=source)
            told[measure][source]["ranks in fifths"] = np.histogram(ranks, np.linspace(0, members + 1, 6))[0].tolist()
    return told


if __name__ == "__main__":
    main()
