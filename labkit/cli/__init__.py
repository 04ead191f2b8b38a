"""The terminal: `labkit train|sample|score|spectra|patch-size|track|convert|data`, the same verbs as the library's.

Exit codes: 0 done; 1 the data, a file or a checkpoint does not fit; 2 the command or configuration is wrong;
3 no room on the disk; 130 stopped by Ctrl-C (what was finished is kept).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from labkit import __version__
from labkit.border import DAMAGE, TRACEBACK, unforeseen
from labkit.cli.convert import add_convert
from labkit.cli.scales import add_verbs
from labkit.cli.storms import add_verb
from labkit.cli.told import add_told, opened, warn
from labkit.errors import Cancelled, ConfigError, LabError, OutOfSpace
from labkit.store.atomic import FULL

EXIT_CODES = {OutOfSpace: 3, ConfigError: 2, LabError: 1}

OVERVIEW = """\
Kilometre-scale ensembles from coarse weather: open data, learn, draw members, judge them, look at them.

  labkit data idealised start=2020-01-01 end=2020-01-31     open: what training sees
  labkit train corrdiff --preset nano --run runs/mine       learn: ten minutes on two CPU cores
  labkit sample runs/mine ensemble.nc --members 16          draw: an ensemble of its test part
  labkit score ensemble.nc                                  judge: errors, spread, CRPS
  python -m apps explore ensemble.nc                        look: in a browser
"""
TRAIN_HELP = """\
Train both stages of a CorrDiff, or go on with a run that was stopped.

  labkit train corrdiff --preset nano                      on two CPU cores, about ten minutes
  labkit train corrdiff --preset nano --run runs/mine regression.lr=1e-3 seed=3
  labkit train corrdiff --preset nano --show               print the whole configuration and stop
  labkit train corrdiff --preset radar data.options.folder=my_radar    one's own composites (ODIM, KNMI, GeoTIFF, ...)

Every value of the preset can be changed as key.sub=value. Parts of one's own data are named by the times or samples in
data.train, data.validation and data.test, such as data.test.times=[2021-01-01, 2021-12-31T23] or
data.test.samples=900:1000; they may share no sample. The run folder holds config.yaml, metrics.jsonl and
checkpoints/. The same command goes on where a killed or stopped run ended, to the last bit.
"""
SAMPLE_HELP = """\
Draw an ensemble with a trained run and write it as a NetCDF (.nc) or Zarr (.zarr) tree.

  labkit sample runs/nano ensemble.nc                      16 members of 32 cases of the run's test part
  labkit sample runs/nano ensemble.nc --times 0:8 --members 32 --solver heun --steps 18
  labkit sample runs/nano ensemble.nc --oracle             with the exact law's own members (idealised data)

The same command goes on where a stopped one ended. `python -m apps explore FILE` shows it.
"""
SCORE_HELP = """\
Score an output tree (ours or CorrDiff's own NetCDF): RMSE, MAE, fair CRPS, spread-skill, achieved skill.

  labkit score ensemble.nc
  labkit score ensemble.nc --csv scores.csv
  labkit score ensemble.nc --compare other.nc              is the first better than the other, or was it luck?

A comparison is paired over the times that both have: first less second, its 95 % interval, and the
probability p of a difference as large where there is none, in p_adjusted for the number of lines too.
"""
DATA_HELP = """\
Look at a data set the way training sees it: channels, grid, times, statistics.

  labkit data idealised start=2020-01-01 end=2020-01-31
  labkit data radar factor=16                              or folder=, region=[y0,y1,x0,x1], times=[first,last]
  labkit data hrrr_mini path=hrrr_mini_train.nc samples=0:1000
  labkit data files input=coarse.nc target=fine.nc --statistics stats.json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _options(arguments)
    try:
        options.run_command(options)
    except LabError as error:
        print(f"labkit: {error}", file=sys.stderr)
        return next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
    except Cancelled as stop:
        print(f"labkit: {stop}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("labkit: stopped; what was finished is kept, and the same command goes on", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # such as a table that cannot be written
        print(f"labkit: {error}", file=sys.stderr)
        return 3 if error.errno in FULL else 1
    except MemoryError as error:
        print(f"labkit: more memory asked for than there is ({error}); take less at once", file=sys.stderr)
        return 1
    except DAMAGE as error:  # the last border: of a stranger's file, or a mistake of ours, which is told as one
        if TRACEBACK in os.environ:
            raise
        print(f"labkit: {unforeseen(error)}", file=sys.stderr)
        return 1
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line; `key=value` may also follow options, where argparse alone would refuse it."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    values = {"train": "overrides", "data": "options", "spectra": "options", "patch-size": "options"}.get(options.verb)
    if rest and (values is None or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        getattr(options, values).extend(rest)
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="labkit", description=OVERVIEW, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"labkit {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    train = _verb(verbs, "train", "train a model", TRAIN_HELP, _train)
    train.add_argument("recipe", type=_recipe, help="such as corrdiff")
    train.add_argument("--preset", default="nano", help="which preset to start from (default: nano)")
    train.add_argument("--run", type=Path, help="run folder (default: runs/<preset>)")
    train.add_argument("--tensorboard", action="store_true", help="also write TensorBoard events")
    train.add_argument("--show", action="store_true", help="print the configuration and stop")
    train.add_argument("overrides", nargs="*", metavar="key.sub=value")

    sample = _verb(verbs, "sample", "draw an ensemble", SAMPLE_HELP, _sample)
    sample.add_argument("run", type=Path, help="folder of a trained run")
    sample.add_argument("output", type=Path, help="file to write, .nc or .zarr")
    sample.add_argument(
        "--part", choices=["train", "validation", "test"], default="test", help="which part of the data"
    )
    sample.add_argument("--times", default="0:32", help="positions in that part, start:stop[:step] or 3,5,8")
    sample.add_argument("--members", type=_positive, default=16)
    sample.add_argument("--first-seed", type=int, default=0, help="member k has the seed first + k")
    sample.add_argument("--solver", help="euler, heun, stochastic_heun or dpmpp_2m (default: the run's)")
    sample.add_argument("--steps", type=_positive, help="steps of the solver (default: the run's)")
    sample.add_argument("--batch", type=_positive, help="members drawn together")
    sample.add_argument("--oracle", action="store_true", help="add members of the exact law")
    sample.add_argument("--precision", choices=["auto", "fp32", "bf16"])
    sample.add_argument("--device", choices=["auto", "cpu", "cuda"])

    score = _verb(verbs, "score", "score an ensemble", SCORE_HELP, _score)
    score.add_argument("tree", type=Path)
    add_told(score)
    score.add_argument("--csv", type=Path, help="also write the table as CSV")
    other = score.add_mutually_exclusive_group()
    other.add_argument("--compare", type=Path, metavar="TREE", help="another run of the same cases")
    other.add_argument("--by", help="scores of each season, hour, surface, height, rain (of the input) or mean")

    add_verbs(partial(_verb, verbs))
    add_verb(partial(_verb, verbs))

    add_convert(partial(_verb, verbs))

    data = _verb(verbs, "data", "look at a data set", DATA_HELP, _data)
    data.add_argument("reader", help="idealised, hrrr_mini, radar or files")
    data.add_argument("options", nargs="*", metavar="key=value")
    data.add_argument("--statistics", type=Path, help="compute the channel statistics and write them here (JSON)")
    return parser


def _verb(verbs, name: str, summary: str, text: str, function) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name, help=summary, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run_command=function)
    return parser


def _recipe(name: str) -> str:
    from labkit import recipes

    if name not in recipes.recipes():
        raise argparse.ArgumentTypeError(f"invalid choice: {name!r} (choose from {', '.join(recipes.recipes())})")
    return name


def _train(options) -> None:
    from labkit import recipes

    known = recipes.presets(options.recipe)
    if options.preset not in known:
        todo = f"choose one of {options.recipe} with --preset"
        raise ConfigError("preset", found=repr(options.preset), expected=", ".join(known), todo=todo)
    config = recipes.load_preset(options.preset, options.overrides)
    if options.show:
        print(_yaml(json.loads(config.model_dump_json())), end="")
        return
    run = options.run or Path("runs") / options.preset
    recipes.train(config, run, tensorboard=options.tensorboard)
    print(f"trained: {run}   next: labkit sample {run} {run}/ensemble.nc")


def _sample(options) -> None:
    from tqdm.auto import tqdm

    from labkit import recipes

    model = recipes.load(options.run, device=options.device, precision=options.precision)
    pairs = model.pairs(options.part)
    times = parse_positions(options.times, len(pairs))
    seeds = range(options.first_seed, options.first_seed + options.members)
    with tqdm(total=len(times) * len(seeds), desc="members", unit=" members") as bar:
        path = recipes.sample(
            model,
            pairs,
            options.output,
            times=times,
            seeds=seeds,
            solver=options.solver,
            num_steps=options.steps,
            with_oracle=options.oracle,
            batch_size=options.batch,
            on_member=lambda *_: bar.update(1),
        )
    print(f"written: {path}   next: labkit score {path}")


def _score(options) -> None:
    with opened(options.tree, options) as tree:
        if options.compare:
            table = _compared(tree, options)
        else:
            table = _stratified(tree, options.by) if options.by else _scored(tree)
    shown = table.drop(columns="left_out", errors="ignore")  # said above it
    if "units" in shown:
        shown.insert(list(shown).index("variable") + 1, "units", shown.pop("units"))
    numbered = shown.index.names == [None]
    print(shown.to_string(index=not numbered, float_format=lambda value: f"{value:.4g}", na_rep="-"))
    if options.csv is not None:
        table.to_csv(options.csv)


def _scored(tree):
    from labkit.verify.scores import score_table, score_tree

    scores = score_tree(tree)
    _say_left_out(scores.attrs["left_out"])
    if untold := scores.attrs["without_truth"]:
        print(f"no truth of {', '.join(untold)} in this file: its error is not known, only the spread of the members")
    return score_table(scores)


def _say_left_out(left_out) -> None:
    """What was not compared, a line for each variable of which something was not."""
    for name, missing in left_out.items():
        if missing:
            print(f"{name}: not compared, since not all sources have it: {missing}")


def _compared(tree, options):
    from labkit.verify.compare import compare_trees, comparison_table

    with opened(options.compare, options) as other:
        comparison = compare_trees(tree, other)
    times, level = comparison.attrs["times"], comparison.attrs["level"]
    print(f"first {options.tree}, second {options.compare}: {times} times, {100 * level:g} % interval")
    _say_left_out(comparison.attrs["left_out"])
    untold = int((comparison.p.isnull() & comparison.difference.notnull()).sum())
    if untold:
        print(f"too few independent cases to say how sure {untold} of {comparison.p.size} differences are (-)")
    return comparison_table(comparison)


def _stratified(tree, by: str):
    import pandas as pd

    from labkit.verify.strata import strata_data, strata_table

    data = {str(name): strata_data(tree, str(name), by=by) for name in tree["prediction"].data_vars}
    _say_left_out({name: found.attrs["left_out"] for name, found in data.items()})
    parts = {name: strata_table(found) for name, found in data.items()}
    return pd.concat(parts, names=["variable"]).droplevel(1).set_index(["source", "stratum", "bound"], append=True)


def _data(options) -> None:
    import xarray as xr

    from labkit.config import apply_overrides
    from labkit.data.catalogue import open_pairs

    pairs = open_pairs(apply_overrides({"name": options.reader}, options.options))
    warn(xr.Dataset(coords=pairs.target.coords, attrs=pairs.attrs))
    dy, dx = pairs.spacing_km
    first, last = pairs.target.time.values[[0, -1]].astype("datetime64[m]")
    print(f"input      {', '.join(pairs.input_channels)}")
    print(f"target     {', '.join(pairs.target_channels)}")
    print(f"invariant  {', '.join(pairs.invariant_channels) or '-'}")
    print(f"grid       {pairs.shape[0]} x {pairs.shape[1]} cells of {dy:g} x {dx:g} km, coarsened {pairs.factor}")
    print(f"times      {len(pairs)}, {first} to {last}")
    if options.statistics is not None:
        from labkit.data.statistics import compute_statistics

        compute_statistics(pairs, max_samples=2000).save(options.statistics)
        print(f"written: {options.statistics}")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 1; count members or steps")
    return int(text)


def parse_positions(text: str, n: int) -> list[int]:
    """Positions below `n` named by "start:stop[:step]" or "3,5,8"; ConfigError where the text is neither."""
    from labkit.data.parts import positions

    return positions(text, n)


def _yaml(values: dict) -> str:
    import yaml

    return yaml.safe_dump(values, sort_keys=False)
