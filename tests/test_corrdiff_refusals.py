"""What does not belong to a CorrDiff run is refused, naming what differs."""

from dataclasses import replace

import pytest
import yaml
from tiny_corrdiff import STAGES, members, tiny_config, untrained

from labkit import recipes
from labkit.errors import CheckpointError, ConfigError, DataError, LabError
from labkit.recipes import open_part, stages
from labkit.store.checkpoints import load_checkpoint, save_checkpoint


def test_another_configuration_in_the_same_folder_is_refused_by_path(copied):
    with pytest.raises(ConfigError, match=r"run folder run: found a run with another diffusion\.lr"):
        recipes.train(tiny_config("diffusion.lr=0.5"), copied.path, quiet=True)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.statistics_file=absent.json"], "absent.json: found no such file"),
        (["data.validation.shape=[32, 32]"], "data.validation: grid of the data: found 32, 32, expected 16, 16"),
        (["data.test.factor=8"], "data.test: fine cells in a coarse one of the data: found 8, 8"),
        (["data.test.end=1999-01-01"], "data.test: .*expected an end after the start"),
        (["data.test.sede=1"], "data.test: options of data set idealised: found sede"),
        (
            ["data.options={shape: [15, 15], factor: 3, dx_km: 16}", "data.crop=[6, 6]"],
            "data.validation: network grid: found .15, 15., expected both sides a multiple of 2",
        ),
        (["patch={shape: [32, 32]}"], "found"),
        (["diffusion_network.attn_resolutions=[7]"], "attn_resolutions: found"),
        (["data.target_channels=[snow]"], "target channels: found"),
    ],
)
def test_what_a_later_stage_needs_is_refused_before_the_first_and_leaves_nothing(tmp_path, overrides, message):
    with pytest.raises(LabError, match=message):
        recipes.train(tiny_config(*overrides), tmp_path / "run", quiet=True)
    assert not list(tmp_path.iterdir())


def test_data_that_cannot_be_learnt_from_leave_nothing_either(tmp_path, monkeypatch):
    def blind(config, part):
        pairs = open_part(config, part)
        return replace(pairs, target=pairs.target.where(pairs.target.channel != "t2m"))

    monkeypatch.setattr(stages, "open_part", blind)
    with pytest.raises(DataError, match="t2m"):
        recipes.train(tiny_config(), tmp_path / "run", quiet=True)
    assert not list(tmp_path.iterdir())


HEADERS = [
    {"input": 3},
    {"shape": [2**20, 2**20]},
    {"shape": [-16, -16]},
    {"shape": "wide"},
    {"factor": None},
    {"residual_std": ["a"]},
    {"residual_std": [1.0]},
    {"residual_std": [1.0, 1.0, 1.0, -1.0]},
]


@pytest.mark.parametrize("changes", HEADERS, ids=str)
def test_headers_that_make_no_sense_are_refused_by_the_checkpoints_name(copied, changes):
    edit_header(copied, "diffusion", **changes)
    with pytest.raises(CheckpointError, match=r"checkpoint diffusion\.safetensors"):
        recipes.load(copied.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p: p.select(input=p.input_channels[::-1]),
            "input channels of the data: found tisr, .*, msl, expected msl",
        ),
        (lambda p: p.select(target=p.target_channels[::-1]), "target channels of the data: found reflectivity, v10"),
        (lambda p: p.select(target=["t2m"]), "target channels of the data: found t2m, expected t2m, u10"),
        (
            lambda p: replace(p, invariant=p.invariant[::-1]),
            "invariant channels of the data: found land_mask, orography",
        ),
        (
            lambda p: replace(p, input=p.input[:, :, ::2, ::2]),
            "cells in a coarse one of the data: found 8, 8, expected 4, 4",
        ),
    ],
)
def test_data_that_the_model_did_not_learn_is_refused_by_name(change, message):
    model = untrained()
    model.check(model.pairs("test"))
    with pytest.raises(CheckpointError, match=message):
        model.check(change(model.pairs("test")))


def test_another_grid_is_refused_unless_the_networks_know_nothing_of_place():
    larger = untrained("data.options.shape=[16, 32]").pairs("test")
    with pytest.raises(CheckpointError, match="grid of the data: found 16, 32, expected 16, 16"):
        untrained().check(larger)
    anywhere = untrained(*(f"{stage}_network.grid_embedding=none" for stage in STAGES))
    anywhere.check(larger)
    assert members(anywhere, larger).shape == (4, 4, 16, 32)


def edit_config(run, **changes):
    config = run.load_config()
    for section, values in changes.items():
        config[section] |= values
    run.save_config(config)


def edit_header(run, name, **changes):
    tensors, header = load_checkpoint(run.checkpoint_path(name))
    save_checkpoint(run.checkpoint_path(name), tensors, header | changes)


def test_another_networks_configuration_is_refused(copied):
    edit_config(copied, diffusion_network={"num_blocks": 2})
    with pytest.raises(CheckpointError, match=r"found diffusion_network = .*expected"):
        recipes.load(copied.path)


def test_other_statistics_are_refused(copied):
    statistics = copied.load_statistics()
    statistics["output"]["t2m"]["mean"] += 1
    copied.save_statistics(statistics)
    with pytest.raises(CheckpointError, match="found statistics = "):
        recipes.load(copied.path)


def test_another_recipes_checkpoint_is_refused(copied):
    edit_header(copied, "diffusion", recipe="stormcast")
    with pytest.raises(CheckpointError, match=r"found recipe = stormcast, expected corrdiff"):
        recipes.load(copied.path)


def test_a_diffusion_of_another_regressions_residuals_is_refused(copied):
    tensors, header = load_checkpoint(copied.checkpoint_path("regression"))
    save_checkpoint(copied.checkpoint_path("regression"), {name: 2 * t for name, t in tensors.items()}, header)
    with pytest.raises(CheckpointError, match=r"checkpoint diffusion\.safetensors: found regression = "):
        recipes.load(copied.path)


def test_weights_that_do_not_fit_their_header_are_refused(copied):
    tensors, header = load_checkpoint(copied.checkpoint_path("diffusion"))
    tensors.pop("network.exit.weight")
    save_checkpoint(copied.checkpoint_path("diffusion"), tensors, header)
    with pytest.raises(CheckpointError, match="weights of another network"):
        recipes.load(copied.path)


@pytest.mark.parametrize("name", STAGES)
def test_truncated_checkpoints_are_refused(copied, name):
    path = copied.checkpoint_path(name)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=rf"checkpoint {name}\.safetensors: found a damaged file"):
        recipes.load(copied.path)


@pytest.mark.parametrize(
    ("file", "error", "message"),
    [
        ("config.yaml", DataError, "config.yaml of run run"),
        ("statistics.json", DataError, "statistics.json of run run"),
        ("checkpoints/regression.safetensors", CheckpointError, "no such file"),
        ("checkpoints/diffusion.safetensors", CheckpointError, "no such file"),
    ],
)
def test_incomplete_runs_are_refused(copied, file, error, message):
    (copied.path / file).unlink()
    with pytest.raises(error, match=message):
        recipes.load(copied.path)


def test_a_broken_configuration_file_is_refused(copied):
    values = copied.load_config()
    values["sampler"]["steps"] = 3
    (copied.path / "config.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=r"configuration at sampler\.steps"):
        recipes.load(copied.path)
