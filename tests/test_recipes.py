"""A recipe of one's own: one file and one preset, and every verb, judge and app takes what it trained."""

import shutil

import explorer_parts as parts
import numpy as np
import pytest
import xarray as xr
import yaml
from tiny_corrdiff import TINY, trained_run

import labkit.recipes
from apps.explorer.app import Explorer
from labkit import recipes
from labkit.cli import main
from labkit.data.batches import load
from labkit.errors import CheckpointError, ConfigError
from labkit.grid import coarsening
from labkit.recipes.corrdiff import CorrDiff
from labkit.recipes.scale_source import open_scale_source
from labkit.store.trees import open_tree

RECIPE_FILE = '''
"""The mean alone."""

from typing import Literal

from labkit.recipes.corrdiff import CorrDiff, CorrDiffConfig


class MeanConfig(CorrDiffConfig):
    recipe: Literal["mean_alone"] = "mean_alone"


class MeanAlone(CorrDiff):
    Config, stages = MeanConfig, ("regression",)

    def build(self):
        return {"regression": super().build()["regression"]}


RECIPE = MeanAlone
'''


@pytest.fixture
def mean_alone(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    (folder / "presets").mkdir(parents=True)
    (folder / "mean_alone.py").write_text(RECIPE_FILE)
    (folder / "presets" / "small.yaml").write_text("recipe: mean_alone\ndata: {reader: idealised}\n")
    monkeypatch.setattr(labkit.recipes, "__path__", [*labkit.recipes.__path__, str(folder)])
    return folder


def test_a_recipe_in_one_file_is_trained_drawn_scored_and_opened(mean_alone, tmp_path, tmp_path_factory, capsys):
    run, tree = tmp_path / "run", tmp_path / "members.nc"
    assert main(["train", "mean_alone", "--preset", "small", "--run", str(run), *TINY]) == 0
    assert main(["sample", str(run), str(tree), "--times", "0:2", "--members", "2"]) == 0
    assert main(["score", str(tree)]) == 0
    assert main(["spectra", str(run), "--residual"]) == 0
    assert "prediction" in capsys.readouterr().out
    model, made = recipes.load(run), open_tree(tree)
    assert type(model).__name__ == "MeanAlone" and not model.generative
    for name in model.channels.target:  # a member without a denoiser is the mean
        for member in range(2):
            found = made["prediction"][name].isel(ensemble=member, drop=True)
            xr.testing.assert_allclose(found, made["regression"][name])
    explorer = Explorer(parts.library(tmp_path_factory.mktemp("library"), trees={"mine": made}), run="mine")
    assert "2 members" in explorer.headline.object


def test_its_regression_is_the_one_that_corrdiff_trains(mean_alone, tmp_path):
    mine = recipes.train(recipes.load_preset("small", [*TINY]), tmp_path / "run", quiet=True)
    theirs = recipes.load(trained_run())
    pairs = theirs.pairs("test")
    batch = load(pairs, [0, 1], theirs.statistics)
    found, expected = (model.mean(model.conditions(batch)).numpy() for model in (mine, theirs))
    np.testing.assert_array_equal(found, expected)


def test_a_run_is_of_its_recipe_and_no_other(mean_alone, tmp_path):
    assert recipes.recipes() == ["corrdiff", "mean_alone"]
    assert recipes.presets("mean_alone") == ["small"] and "small" in recipes.presets()
    assert recipes.recipe("corrdiff") is CorrDiff
    run = trained_run()
    values = labkit.recipes.read_config(run / "config.yaml") | {"recipe": "mean_alone"}
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    (copied / "config.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(CheckpointError, match="recipe = corrdiff, expected mean_alone"):
        recipes.load(copied)


@pytest.mark.parametrize("name", ["stormcast", "os", "model", "../corrdiff", ""])
def test_what_is_no_recipe_is_refused_and_not_imported(name):
    with pytest.raises(ConfigError, match="recipe: found"):
        recipes.recipe(name)


def test_a_preset_of_another_recipe_is_refused(mean_alone, capsys):
    assert main(["train", "mean_alone", "--preset", "nano"]) == 2
    assert "preset: found 'nano', expected small" in capsys.readouterr().err


def test_a_tree_tells_the_coarsening_that_patches_are_aligned_to(tmp_path):
    model = recipes.load(trained_run())
    path = recipes.sample(model, model.pairs("test"), tmp_path / "members.nc", times=[0], seeds=[1])
    assert coarsening(open_tree(path)) == model.factor == (4, 4)
    assert open_scale_source(str(path)).factor == (4, 4)
    zarr = recipes.sample(model, model.pairs("test"), tmp_path / "members.zarr", times=[0], seeds=[1])
    assert coarsening(open_tree(zarr)) == (4, 4)


@pytest.mark.parametrize("told", [None, "8", [8, 4, 2], [0, 4], 2.5, []])
def test_a_coarsening_that_makes_no_sense_is_none(told):
    tree = xr.Dataset(attrs={} if told is None else {"coarsening": told})
    assert coarsening(tree) == (1, 1)
    assert coarsening(xr.Dataset(attrs={"coarsening": np.int64(8)})) == (8, 8)
