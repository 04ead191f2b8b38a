"""Whose scales are asked for: an output tree, a trained run, the data of a preset, or a data set by its reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from labkit.config import apply_overrides
from labkit.data.catalogue import READERS, open_pairs
from labkit.data.field_tree import baseline_channels, spread, tree_of
from labkit.data.pairs import Pairs
from labkit.errors import ConfigError
from labkit.grid import coarsening
from labkit.recipes import load, load_file, load_preset, open_part, presets
from labkit.store.trees import in_memory, open_tree

if TYPE_CHECKING:
    from labkit.recipes.model import Model
    from labkit.recipes.sections import RecipeConfig

MOST_TIMES = 200  # of a data set that are looked at, evenly spread
RUN_TIMES = 64


@dataclass(frozen=True)
class ScaleSource:
    """A tree to be looked at, and where they are known: the training pairs it stands for and the configuration.

    `shown` of `available` times are in the tree.
    """

    tree: xr.DataTree
    kind: str  # "tree", "run" or "data"
    available: int
    pairs: Pairs | None = None
    config: RecipeConfig | None = None

    @property
    def shown(self) -> int:
        return self.tree["truth"].sizes["time"]

    @property
    def shape(self) -> tuple[int, int]:
        """Fine grid (y, x)."""
        return self.tree["truth"].sizes["y"], self.tree["truth"].sizes["x"]

    @property
    def factor(self) -> tuple[int, int]:
        """Fine cells in a coarse one, 1 where that is not known."""
        return coarsening(self.tree)

    @property
    def channels(self) -> tuple[int, int, int]:
        """How many of input, invariant and target. A tree does not say which inputs are invariant."""
        if self.pairs is not None:
            return tuple(len(getattr(self.pairs, f"{kind}_channels")) for kind in ("input", "invariant", "target"))
        inputs = len(self.tree["input"].data_vars) if "input" in self.tree.children else 1
        return inputs, 0, len(self.tree["prediction"].data_vars)

    @property
    def inferred(self) -> bool:
        """Whether the target has variables that the input tells nothing of."""
        return self.pairs is not None and len(baseline_channels(self.pairs)) < len(self.pairs.target_channels)


def open_scale_source(what: str, options: Sequence[str] = (), **told) -> ScaleSource:
    """A reader's or else a preset's name, `options` being key=value for these; else a file or folder by its path.

    A folder that is called like a data set is meant by "./radar".

    told: `units` and `spacing_km` of a tree, as `open_tree` takes them.
    A run gives the residuals of its own regression on its validation part; of data at most `MOST_TIMES` are taken.
    Raises ConfigError where nothing has that name, or options are given to a file; else what opening raises.
    """
    path = Path(what)
    a_tree = what not in READERS and what not in presets() and path.suffix not in (".yaml", ".yml")
    if told and not (a_tree and not (path / "config.yaml").is_file()):
        raise ConfigError(
            f"{' and '.join(told)} of {what}",
            found="something else than an output tree",
            expected="an output tree",
            todo="give a data set its options by name, such as units={t2m: degC}",
        )
    if what in READERS:
        return of_pairs(open_pairs(apply_overrides({"name": what}, options)))
    if what in presets():
        return of_config(load_preset(what, options))
    if path.is_file() and path.suffix in (".yaml", ".yml"):
        return of_config(load_file(path, options))
    if path.exists():
        _refuse_options(path, options)
        return _run(path) if (path / "config.yaml").is_file() else _tree(path, **told)
    raise ConfigError(
        "what to look at",
        found=repr(what),
        expected=f"a file or run folder, a data set ({', '.join(READERS)}) or a preset ({', '.join(presets())})",
        todo="check the path or the name",
    )


def _refuse_options(path: Path, options: Sequence[str]) -> None:
    if options:
        raise ConfigError(
            f"options of {path.name}",
            found=options[0],
            expected="none",
            todo="give these to a data set or a preset by its name",
        )


def of_pairs(pairs: Pairs, *, config: RecipeConfig | None = None) -> ScaleSource:
    """A data set."""
    return ScaleSource(tree_of(spread(pairs, MOST_TIMES)), "data", len(pairs), pairs, config)


def of_config(config: RecipeConfig) -> ScaleSource:
    """What a configuration trains on."""
    return of_pairs(open_part(config, "train"), config=config)


def regression_tree(model: Model, pairs: Pairs) -> xr.DataTree:
    """The pairs as a tree, with the `regression` of a model, native units."""
    from labkit.recipes.judging import load_in_turn  # which imports torch; a tree is looked at without

    tree, means = tree_of(pairs), []
    for batch in load_in_turn(model, pairs, range(len(pairs))):
        means.append(model.physical(model.mean(model.conditions(batch)).cpu()))
    fields = np.concatenate(means)
    truth = tree["truth"].to_dataset(inherit=False)
    regression = {name: truth[name].copy(data=fields[:, i]) for i, name in enumerate(model.channels.target)}
    tree["regression"] = xr.DataTree(xr.Dataset(regression))
    return tree


def _tree(path: Path, **told) -> ScaleSource:
    tree = in_memory(open_tree(path, **told))
    return ScaleSource(tree, "tree", tree["truth"].sizes["time"])


def _run(path: Path) -> ScaleSource:
    model = load(path, stages=("regression",))
    validation = open_part(model.config, "validation")
    tree = regression_tree(model, spread(validation, RUN_TIMES))
    return ScaleSource(tree, "run", len(validation), open_part(model.config, "train"), model.config)
