"""Configurations: typed overrides, unknown keys refused by their path, presets that fit and train."""

import json
import math

import pytest
import torch
import yaml

from labkit import recipes
from labkit.config import apply_overrides
from labkit.data import radar
from labkit.diffusion.solvers import SOLVERS
from labkit.errors import ConfigError
from labkit.models.unet import UNet, parameter_count
from labkit.recipes import load_file, load_preset, presets, validate
from labkit.recipes.sections import NetworkConfig, SamplerConfig, ValidationConfig

MINIMAL = {"data": {"reader": "idealised"}}
STAGES = ("regression", "diffusion")


@pytest.mark.parametrize("name", presets())
def test_presets_survive_the_way_through_their_file(name):
    config = load_preset(name)
    text = yaml.safe_dump(config.model_dump(mode="json"))
    assert config.preset == name and validate(yaml.safe_load(text)) == config


@pytest.mark.parametrize("name", presets())
def test_preset_networks_fit_their_grid(name):
    config = load_preset(name)
    grid = config.data.crop or config.data.options.get("shape", (64, 64))
    with torch.device("meta"):  # nothing is computed, so that the largest network is built at once
        for network in (config.regression_network, config.diffusion_network):
            assert parameter_count(UNet(20, 4, shape=tuple(grid), **network.model_dump())) > 1e5


@pytest.mark.parametrize(("name", "side", "millions"), [("mini", 64, 10.9), ("normal", 448, 79.7)])
def test_mini_and_normal_have_the_published_sizes(name, side, millions):
    with torch.device("meta"):
        network = UNet(20, 4, shape=(side, side), **load_preset(name).diffusion_network.model_dump())
    assert parameter_count(network) / 1e6 == pytest.approx(millions, rel=0.01)


SHRUNK = [
    *(f"{stage}_network.{change}" for stage in STAGES for change in ("model_channels=8", "num_blocks=1")),
    *(f"{stage}.{name}={n}" for stage in STAGES for name, n in {"samples": 4, "batch_size": 2}.items()),
    *(
        f"{stage}.{what}_every={n}"
        for stage in STAGES
        for what, n in {"log": 2, "validate": 4, "checkpoint": 4}.items()
    ),
    "validation.cases=1",
    "validation.members=2",
    "validation.num_steps=2",
    "data.statistics_samples=8",
    "data.train.end=2000-01-03",
    "data.validation.end=2019-01-07",
    "device=cpu",
]
# Attention stays on the level it has in the preset.
SMALLER = {"mini": 8, "normal": 2}
SMALLER_GRID = {
    name: ["data.options.shape=[32, 32]", *(f"{s}_network.attn_resolutions=[{side}]" for s in STAGES)]
    for name, side in SMALLER.items()
}


@pytest.mark.parametrize("name", [name for name in presets() if load_preset(name).data.reader == "idealised"])
def test_presets_train_when_shrunk(name, tmp_path):
    config = load_preset(name, [*SHRUNK, *SMALLER_GRID.get(name, [])])
    logged = []
    model = recipes.train(config, tmp_path, quiet=True, on_log=logged.append)
    steps = [(entry["stage"], entry["step"]) for entry in logged if "loss" in entry]
    assert steps == [("regression", 2), ("regression", 4), ("diffusion", 2), ("diffusion", 4)]
    assert all(math.isfinite(entry["loss"]) for entry in logged if "loss" in entry)
    assert torch.isfinite(model.residual_std).all()
    assert all(f"validation_achieved_{channel}" in logged[-1] for channel in model.channels.target)


@pytest.mark.realdata
def test_the_radar_preset_trains_when_shrunk(tmp_path, real_data, monkeypatch):
    monkeypatch.setenv("LABKIT_DATA", str(real_data(radar.DATASET).parent))
    logged = []
    shrunk = [change for change in SHRUNK if ".end=" not in change]
    model = recipes.train(load_preset("radar", shrunk), tmp_path, quiet=True, on_log=logged.append)
    assert all(math.isfinite(entry["loss"]) for entry in logged if "loss" in entry)
    assert torch.isfinite(model.residual_std).all()
    assert math.isfinite(logged[-1]["validation_crps_reflectivity"])


def test_unknown_presets_are_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"preset: found 'nanoo', expected .*nano.*choose one"):
        load_preset("nanoo")


@pytest.mark.parametrize(
    ("override", "path", "known"),
    [
        ("sede=3", "sede", "seed"),
        ("regression.larning_rate=1", "regression.larning_rate", "lr"),
        ("regression_network.attn_resolution=[16]", "regression_network.attn_resolution", "attn_resolutions"),
        ("diffusion.noise_men=1", "diffusion.noise_men", "noise_mean"),
        ("data.raeder=radar", "data.raeder", "reader"),
        ("sampler.steps=3", "sampler.steps", "num_steps"),
    ],
)
def test_unknown_keys_are_refused_by_path_with_the_known_ones(override, path, known):
    with pytest.raises(ConfigError) as refused:
        load_preset("nano", [override])
    text = str(refused.value)
    assert f"configuration at {path}: found an unknown key, expected one of" in text
    assert known in text.split("expected one of")[1]


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("regression.lr=fast", "regression.lr"),
        ("regression.lr=-1", "regression.lr"),
        ("diffusion.batch_size=0", "diffusion.batch_size"),
        ("regression.batch_size=2.5", "regression.batch_size"),
        ("validation.members=1", "validation.members"),
        ("regression_network.dropout=1", "regression_network.dropout"),
        ("sampler.solver=ddim", "sampler.solver"),
        ("validation.solver=ddim", "validation.solver"),
        ("sampler.num_steps=1", "sampler.num_steps"),
        ("device=tpu", "device"),
        ("regression=3", "regression"),
        ("regression.lr=.nan", "regression.lr"),
        ("sampler.sigma_max=.inf", "sampler.sigma_max"),
        ("regression_network.channel_mult=[]", "regression_network.channel_mult"),
        ("diffusion_network.model_channels=100000000", "diffusion_network.model_channels"),
        ("validation.num_steps=1000000000", "validation.num_steps"),
        ("seed=-1", "seed"),
        ("seed=100000000000000000000", "seed"),
        ("data.crop=[96]", "data.crop"),
        ("seed=", "seed"),
    ],
)
def test_values_out_of_range_are_refused_by_path(override, path):
    with pytest.raises(ConfigError, match=rf"configuration at {path}[.\d]*: found "):
        load_preset("nano", [override])


@pytest.mark.parametrize(
    ("overrides", "section"),
    [
        (["sampler.sigma_min=50", "sampler.sigma_max=40"], "sampler"),
        (["sampler.sigma_min=40", "sampler.sigma_max=40"], "sampler"),
        (["sampler.rho=1e-4"], "sampler"),  # too large for a float
        (["sampler.rho=1e17"], "sampler"),  # all levels alike
        (["sampler.sigma_max=0.00500001"], "sampler"),  # alike in 32 bits
        (["sampler.sigma_max=0.00500002", "sampler.num_steps=2", "validation.num_steps=400"], "validation"),
    ],
)
def test_noise_levels_that_no_solver_can_step_through_are_refused_before_training(overrides, section):
    with pytest.raises(ConfigError, match=rf"configuration at {section}: found ") as caught:
        load_preset("nano", overrides)
    assert "sigma_min <= sigma_max" in str(caught.value) or "in 32 bits" in str(caught.value)


def test_another_reader_takes_what_was_said_to_the_old_one_away():
    found = load_preset("radar", ["data.reader=files", "data.options.input=a.nc", "regression.lr=0.5"]).data
    assert found.reader == "files" and found.options == {"input": "a.nc"}
    assert found.train == found.validation == found.test == {} and found.statistics_file is None
    kept = load_preset("radar", ["data.reader=radar", "data.options.factor=8"]).data
    assert kept.options["factor"] == 8 and kept.train == load_preset("radar").data.train


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("regression.lr=1e-3", 1e-3),
        ("regression.lr=0.5", 0.5),
        ("regression.samples=2_000", 2000),
        ("regression.clip_norm=null", None),
        ("regression.decay=none", "none"),
        ("regression_network.channel_mult=[1, 2]", (1, 2)),
        ("data.input_channels=[t2m, u10]", ("t2m", "u10")),
        ("data.train.start=2000-01-01", "2000-01-01"),
        ("data.train.start=2000-01-01 06:00:00", "2000-01-01 06:00:00"),
        ("data.options.factor=4", 4),
        ("preset=a=b", "a=b"),
    ],
)
def test_overrides_are_typed(override, value):
    found = load_preset("nano", [override])
    for part in override.split("=")[0].split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", r"found 'seed', expected key\.sub=value"),
        ("=3", r"expected key\.sub=value"),
        ("data.reader.deep=3", "found a value at data.reader, expected a section"),
        ("seed=[1", "expected a YAML value"),
        ("data.options={a: &a 1, b: *a}", "an alias"),
        ("data.options=" + "[" * 5000, "nested too deep"),
        ("data.options.start=2001-99-99", "month"),
        (".".join("a" * 5000) + "=1", "a long path"),
    ],
)
def test_overrides_that_do_not_read_are_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        load_preset("nano", [override])


def test_the_last_override_counts_and_nothing_given_is_changed():
    values = {"seed": 1, "data": {"reader": "idealised", "options": {"factor": 8}}}
    changed = apply_overrides(values, ["data.options.factor=4", "seed=2", "seed=3"])
    assert changed["data"]["options"]["factor"] == 4 and changed["seed"] == 3
    assert values == {"seed": 1, "data": {"reader": "idealised", "options": {"factor": 8}}}


@pytest.mark.parametrize("name", presets())
def test_what_is_said_to_one_network_or_stage_is_not_said_to_the_other(name):
    """The presets write for both at once what both have alike."""
    changed = load_preset(name, ["diffusion_network.num_blocks=7", "regression.samples=5"])
    before = load_preset(name)
    assert changed.diffusion_network.num_blocks == 7 and changed.regression_network == before.regression_network
    assert changed.regression.samples == 5 and changed.diffusion == before.diffusion


def test_configurations_name_all_solvers():
    for section in (SamplerConfig, ValidationConfig):
        names = section.model_fields["solver"].annotation.__args__
        assert set(names) == set(SOLVERS)


def test_every_hyper_parameter_of_the_network_is_taken_by_it():
    options = NetworkConfig(model_channels=8, channel_mult=(1, 2), num_blocks=1, attn_resolutions=())
    network = UNet(3, 2, shape=(16, 16), **options.model_dump())
    assert network(torch.zeros(1, 3, 16, 16), torch.zeros(1)).shape == (1, 2, 16, 16)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "NoneType"),
        ("3", "int"),
        ("[a]", "list"),
        ("data: 3", "configuration at data"),
        ("1: 2", "configuration at"),
        ("data: {reader: idealised}\nsampler: {sigma_min: 50, sigma_max: 40}", "configuration at sampler"),
    ],
)
def test_files_that_are_no_configuration_are_refused_by_name_or_path(tmp_path, text, said):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_file(tmp_path / "mine.yaml")


def test_a_configuration_that_is_shown_can_be_read_back_from_a_file(tmp_path):
    shown = yaml.safe_dump(json.loads(load_preset("mini").model_dump_json()))
    (tmp_path / "mine.yaml").write_text(shown)
    assert load_file(tmp_path / "mine.yaml", ["seed=5"]) == load_preset("mini", ["seed=5"])


def test_a_configuration_needs_a_data_set_and_nothing_else():
    assert validate(MINIMAL).regression.samples > 0
    with pytest.raises(ConfigError, match="configuration at data"):
        validate({})
