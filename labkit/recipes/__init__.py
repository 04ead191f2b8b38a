"""Recipes: what the lab can train, load and draw from, each by its name.

A recipe is one module of this package with a class `RECIPE`, a `labkit.recipes.model.Model`, and presets that name it
(`recipe: corrdiff`) in the folder `presets`. A folder elsewhere that is laid out alike joins in by
`labkit.recipes.__path__.append(folder)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from labkit.config import apply_overrides, read_config
from labkit.config import validate as _validate
from labkit.errors import ConfigError

if TYPE_CHECKING:
    from labkit.data.pairs import Pairs
    from labkit.recipes.model import Model
    from labkit.recipes.sections import RecipeConfig

__all__ = ["configured", "load", "load_file", "load_preset", "open_part", "presets", "recipe", "recipes", "sample"]
__all__ += ["train", "validate"]

# What says something to one reader only.
OF_READER = ("options", "train", "validation", "test", "input_channels", "target_channels", "statistics_file")


def presets(of: str | None = None) -> list[str]:
    """Names of the presets, of one recipe or of all."""
    return sorted(name for name, values in _presets().items() if of in (None, values["recipe"]))


def recipes() -> list[str]:
    """Names of the recipes: those that a preset names."""
    return sorted({values["recipe"] for values in _presets().values()})


def recipe(name: str) -> type[Model]:
    """The class of a recipe's models; ConfigError where there is no such recipe."""
    if name not in recipes():
        raise ConfigError("recipe", found=repr(name), expected=", ".join(recipes()), todo="choose one of these")
    return import_module(f"labkit.recipes.{name}").RECIPE


def load_preset(name: str, overrides: Sequence[str] = ()) -> RecipeConfig:
    """The preset with `key.sub=value` overrides, validated; ConfigError names the path of what does not fit."""
    if name not in (known := _presets()):
        raise ConfigError("preset", found=repr(name), expected=", ".join(presets()), todo="choose one of these")
    return configured(known[name] | {"preset": name}, overrides)


def load_file(path: str | Path, overrides: Sequence[str] = ()) -> RecipeConfig:
    """The configuration in a YAML file with overrides; otherwise as `load_preset`."""
    return configured(read_config(path), overrides)


def configured(values: dict, overrides: Sequence[str]) -> RecipeConfig:
    """The values with overrides, validated. Where these name another reader, what was said to the old one is dropped:
    its options, parts, channels and statistics."""
    changed, data = apply_overrides(values, overrides), values.get("data")
    reader = changed["data"].get("reader") if isinstance(changed.get("data"), dict) else None
    if isinstance(data, dict) and data.get("reader") not in (None, reader):
        kept = {key: value for key, value in data.items() if key not in OF_READER}
        changed = apply_overrides(values | {"data": kept}, overrides)
    return validate(changed)


def validate(values: dict) -> RecipeConfig:
    """The configuration of the recipe that the values name; else as `labkit.config.validate`."""
    return _validate(recipe(str(values.get("recipe", "corrdiff"))).Config, values)


def open_part(config: RecipeConfig, part: str, **changes) -> Pairs:
    """One part of the configured data set, with the configured channels; `changes` are other options of its reader."""
    from labkit.data.catalogue import open_pairs

    data = config.data
    pairs = open_pairs({"name": data.reader, **data.options, **getattr(data, part), **changes})
    return pairs.select(input=data.input_channels, target=data.target_channels)


def train(config: RecipeConfig, run: str | Path, **options) -> Model:
    """Train all stages into a run folder and return the model; see `labkit.recipes.stages.train`."""
    from labkit.recipes import stages

    return stages.train(config, run, **options)


def load(run: str | Path, **options) -> Model:
    """The trained model of a run folder, of whatever recipe; see `labkit.recipes.stages.load`."""
    from labkit.recipes import stages

    return stages.load(run, **options)


def sample(model: Model, pairs: Pairs, path: str | Path, **options) -> Path:
    """Draw members of some cases into an output tree; see `labkit.recipes.drawing.sample`."""
    from labkit.recipes import drawing

    return drawing.sample(model, pairs, path, **options)


def _presets() -> dict[str, dict]:
    """Sections by preset; these files are the lab's own and may have aliases."""
    files = [file for folder in __path__ for file in sorted(Path(folder).glob("presets/*.yaml"))]
    return {file.stem: yaml.safe_load(file.read_text("utf-8")) for file in files}
