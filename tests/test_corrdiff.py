"""CorrDiff from end to end: measured scales, exact baselines, runs that go on, and refusals that name what differs."""

import errno
import json
import os
import shutil
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import torch
import yaml
from tiny_corrdiff import tiny_config, trained_run, untrained

from labkit.data import batches
from labkit.errors import Cancelled, CheckpointError, ConfigError, DataError, OutOfSpace
from labkit.models.hardware import Hardware
from labkit.recipes import corrdiff
from labkit.recipes.corrdiff import training
from labkit.recipes.corrdiff.drawing import draw_cases
from labkit.recipes.corrdiff.model import residual_std
from labkit.recipes.corrdiff.regression import regression_loss
from labkit.sampling import Schedule
from labkit.store.checkpoints import checkpoint_hash, load_checkpoint, load_header, save_checkpoint
from labkit.store.runs import RunFolder
from labkit.store.trees import open_tree

SCHEDULE = Schedule(solver="dpmpp_2m", num_steps=4, sigma_min=0.02, sigma_max=40.0)
STAGES = ("regression", "diffusion")


@pytest.fixture(scope="module")
def trained():
    return RunFolder(trained_run())


@pytest.fixture
def copied(trained, tmp_path):
    """A trained run to be tampered with."""
    return RunFolder(shutil.copytree(trained.path, tmp_path / "run"))


def silent(unet):
    """A network that says nothing: zeros whatever it is given."""
    torch.nn.init.zeros_(unet.exit.weight)
    torch.nn.init.zeros_(unet.exit.bias)
    return unet


def members(model, pairs, times=(0, 1), seeds=(3, 4)):
    found = draw_cases(model, pairs, list(times), list(seeds), schedule=SCHEDULE, batch_size=4)
    return np.stack([fields for _, _, fields in found])


def with_values(array, values):
    return array.copy(data=da.from_array(np.asarray(values, np.float32), chunks=(2, -1, -1, -1)))


# ----- scales and baselines


def test_a_silent_regression_is_the_interpolated_input_in_native_units():
    model = untrained()
    silent(model.regression.unet)
    pairs = model.pairs("test")
    batch = batches.load(pairs, [1, 2], model.statistics)
    found = model.physical(model.mean(model.conditions(batch)))
    expected = pairs.interpolated([1, 2]).values
    for i, (name, tolerance) in enumerate({"t2m": 1e-3, "u10": 1e-4, "v10": 1e-4}.items()):
        assert pairs.target_channels[i] == name
        np.testing.assert_allclose(found[:, i], expected[:, i], rtol=0, atol=tolerance)


def test_affine_fields_pass_through_a_silent_regression_unchanged():
    """Another slope along each axis, so that a flipped or swapped one shows."""
    model = untrained()
    silent(model.regression.unet)
    pairs = model.pairs("test").isel(slice(0, 2))
    slopes = {"t2m": (285.0, 0.02, -0.05), "u10": (3.0, -0.03, 0.01), "v10": (-2.0, 0.004, 0.02)}

    def plane(name, y, x):
        a, b, c = slopes.get(name, (0.0, 0.0, 0.0))
        return a + b * np.asarray(y)[:, None] + c * np.asarray(x)[None, :]

    coarse = [plane(name, pairs.input.y_in, pairs.input.x_in) for name in pairs.input_channels]
    pairs = replace(pairs, input=with_values(pairs.input, np.stack([coarse, coarse])))
    found = model.physical(model.mean(model.conditions(batches.load(pairs, [0, 1], model.statistics))))
    for i, name in enumerate(pairs.target_channels[:3]):
        expected = plane(name, pairs.target.y, pairs.target.x)
        np.testing.assert_allclose(found[0, i], expected, rtol=0, atol=1e-3)
        np.testing.assert_array_equal(found[0, i], found[1, i])


def test_bf16_rounds_neither_the_conditions_nor_the_baseline():
    model = untrained()
    batch = batches.load(model.pairs("test"), [0], model.statistics)
    with Hardware(torch.device("cpu"), bf16=True).autocast():
        conditions = model.regression.conditions(batch)
        baseline = model.regression.baseline(conditions)
    assert torch.equal(conditions, model.regression.conditions(batch))
    assert torch.equal(baseline, model.regression.baseline(conditions)) and baseline.dtype == torch.float32


def normalised(pairs, statistics):
    """Target and interpolated input (time, channel, y, x) in the target's normalised units, by NumPy alone."""
    names = pairs.target_channels
    target = statistics.normalise("target", pairs.target.values, names)
    baseline = statistics.normalise("target", pairs.interpolated().values, names)
    baseline[:, names.index("reflectivity")] = 0  # the input has no such channel
    return target, baseline


def masked(pairs, rng):
    """The pairs with a third of the pixels unobserved, and nonsense in their place."""
    seen = rng.random((len(pairs), *pairs.shape)) > 0.3
    nonsense = np.where(seen[:, None], pairs.target.values, 1e6)
    mask = pairs.target.isel(channel=0, drop=True).copy(data=da.from_array(seen, chunks=(2, -1, -1)))
    return replace(pairs, target=with_values(pairs.target, nonsense), mask=mask), seen


@pytest.mark.parametrize("with_mask", [False, True])
def test_residuals_are_measured_over_observed_pixels_per_channel(rng, with_mask):
    model = untrained()
    silent(model.regression.unet)
    pairs = model.pairs("test")
    target, baseline = normalised(pairs, model.statistics)
    seen = np.ones((len(pairs), *pairs.shape), bool)
    if with_mask:
        pairs, seen = masked(pairs, rng)
    found = residual_std(model, pairs, range(len(pairs)))
    expected = [np.sqrt(((target - baseline)[:, i][seen].astype(float) ** 2).mean()) for i in range(4)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_residuals_of_a_run_are_those_of_its_regression_on_validation_cases(trained):
    model = corrdiff.load(trained.path)
    kept = load_header(trained.checkpoint_path("diffusion"))["residual_std"]
    validation = model.pairs("validation")
    np.testing.assert_allclose(residual_std(model, validation, range(len(validation))), kept, rtol=1e-5)
    assert model.residual_std.tolist() == pytest.approx(kept, rel=1e-7)


@pytest.mark.parametrize("with_mask", [False, True])
def test_unobserved_pixels_count_for_nothing_in_either_loss(rng, with_mask):
    model = untrained()
    pairs, _ = masked(model.pairs("test"), rng)
    if not with_mask:
        pairs = model.pairs("test")
    batch = batches.load(pairs, [0, 1, 2], model.statistics)
    hidden = torch.zeros_like(batch.target) if batch.mask is None else 1.0 - batch.mask.expand_as(batch.target).float()
    losses = [(regression_loss, model.regression), (training._diffusion_loss(model), model.diffusion)]
    for loss, network in losses:
        values = []
        for change in (torch.zeros_like(batch.target), 50 * hidden, 50 * (1 - hidden)):
            changed = replace(batch, target=batch.target + change)
            values.append(float(loss(network, changed, torch.Generator().manual_seed(1))))
        assert values[0] == pytest.approx(values[1], rel=1e-6)
        assert values[2] > 10 * values[0]


@pytest.mark.parametrize("room_mb", [0, 0.005, 320])
def test_remembered_means_are_the_regressions_own_whatever_the_room(room_mb):
    model = untrained()
    pairs = model.pairs("train")
    visits = [batches.load(pairs, order, model.statistics) for order in ([0, 1, 2, 3], [3, 5, 0, 4], [0, 1, 2, 3])]
    means = training._Means(model, room_mb)
    for batch in visits:
        conditions = model.conditions(batch)
        exact = model.regression(conditions)
        found = means(conditions, batch)
        assert torch.equal(found, exact.half().float())
    mean_mb = exact[0].numel() * 2 / 2**20
    assert len(means.known) == min(6, int(room_mb / mean_mb))


def test_both_losses_are_one_for_networks_that_know_nothing():
    """Scales are right: the regression's in units of the target less its baseline, the diffusion's in those of the
    residuals, where a silent network's weighted error is 1 at every noise level (Karras et al. 2022, Table 1)."""
    model = untrained()
    silent(model.regression.unet)
    silent(model.diffusion.network)
    pairs = model.pairs("train")
    model.regression.scale.copy_(training._difference_std(model, pairs))
    model.residual_std = residual_std(model, pairs, range(len(pairs)))
    batch = batches.load(pairs, range(len(pairs)), model.statistics)
    assert float(regression_loss(model.regression, batch, None)) == pytest.approx(1, rel=0.05)
    loss = training._diffusion_loss(model)
    found = [float(loss(model.diffusion, batch, torch.Generator().manual_seed(seed))) for seed in range(3)]
    assert np.mean(found) == pytest.approx(1, rel=0.05)


def test_members_are_never_negative_where_the_variable_is_not():
    model = untrained()
    fields = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(0)) * 4
    values = model.physical(fields)
    names = list(model.channels.target)
    assert names == ["t2m", "u10", "v10", "reflectivity"]
    assert values[:, 3].min() == 0 and (values[:, 3] > 0).any()
    assert values[:, 1].min() < -5 and values[:, 2].min() < -5
    expected = model.statistics.denormalise("target", fields.numpy(), names)
    np.testing.assert_allclose(values[:, 0], expected[:, 0], rtol=1e-6)
    np.testing.assert_allclose(values[:, 3][expected[:, 3] > 0], expected[:, 3][expected[:, 3] > 0], rtol=1e-6)


def pairwise_crps(drawn, truth):
    """Fair CRPS (channel,) straight from its definition: E|X - y| - E|X - X'| / 2 over distinct members."""
    n = drawn.shape[1]
    error = np.abs(drawn - truth[:, None]).mean(1)
    apart = sum(np.abs(drawn[:, i] - drawn[:, j]) for i in range(n) for j in range(n)) / (n * (n - 1))
    return (error - apart / 2).mean((0, 2, 3))


def test_validation_reports_fair_crps_and_the_share_of_skill_that_was_to_be_had():
    model = untrained("validation={cases: 3, members: 4, num_steps: 3, solver: heun}")
    validation = model.pairs("validation")
    figures = training._judge_diffusion(model, validation)(model.diffusion)
    cases = [0, (len(validation) - 1) // 2, len(validation) - 1]
    schedule = Schedule(**model.config.sampler.model_dump() | {"num_steps": 3, "solver": "heun"})
    drawn = list(draw_cases(model, validation, cases, range(4), schedule=schedule, batch_size=12))
    drawn = np.stack([fields for _, _, fields in drawn]).reshape(3, 4, 4, 16, 16).astype(float)
    truth = validation.target.isel(time=cases).values.astype(float)
    crps = pairwise_crps(drawn, truth)
    oracle = np.stack([validation.oracle(validation, case, range(10_000, 10_004)) for case in cases])
    best = pairwise_crps(oracle.astype(float), truth)
    baseline = np.abs(validation.interpolated(cases).values - truth).mean((0, 2, 3))
    for i, name in enumerate(model.channels.target):
        assert figures[f"crps_{name}"] == pytest.approx(crps[i], rel=1e-4)
        assert figures[f"achieved_{name}"] == pytest.approx((baseline[i] - crps[i]) / (baseline[i] - best[i]), rel=1e-3)


def test_the_oracle_would_achieve_everything(monkeypatch):
    model = untrained("validation={cases: 3, members: 4, num_steps: 3, solver: heun}")

    def oracle_cases(model, pairs, cases, seeds, **_):
        for position, case in enumerate(cases):
            for k, fields in enumerate(pairs.oracle(pairs, case, [10_000 + seed for seed in seeds])):
                yield position, k, fields

    monkeypatch.setattr(training, "draw_cases", oracle_cases)
    figures = training._judge_diffusion(model, model.pairs("validation"))(model.diffusion)
    assert [figures[f"achieved_{name}"] for name in model.channels.target] == pytest.approx([1.0] * 4, abs=1e-6)


def test_validation_of_the_regression_is_its_loss_and_rmse():
    model = untrained()
    silent(model.regression.unet)
    model.regression.scale.copy_(torch.tensor([0.5, 2.0, 1.0, 1.5]))
    validation = model.pairs("validation")
    figures = training._judge_regression(model, validation)(model.regression)
    target, baseline = normalised(validation, model.statistics)
    rmse = np.sqrt(((target - baseline).astype(float) ** 2).mean((0, 2, 3)))
    assert [figures[f"rmse_{name}"] for name in model.channels.target] == pytest.approx(rmse.tolist(), rel=1e-4)
    assert figures["score"] == pytest.approx(np.mean((rmse / [0.5, 2.0, 1.0, 1.5]) ** 2), rel=1e-4)


# ----- runs


def assert_same_run(found, expected):
    for name in ("statistics.json", "config.yaml"):
        assert (found.path / name).read_bytes() == (expected.path / name).read_bytes()
    names = [f"{stage}{part}" for stage in STAGES for part in ("", "-last", "-best")]
    for name in names:
        (have, head), (want, expected_head) = (load_checkpoint(run.checkpoint_path(name)) for run in (found, expected))
        assert head == expected_head
        assert have.keys() == want.keys() and all(torch.equal(have[key], want[key]) for key in want), name
    assert timeless(found) == timeless(expected)


def timeless(run):
    return [{k: v for k, v in entry.items() if k != "samples_per_s"} for entry in run.metrics()]


def stop_at(stage, step, error):
    def on_log(entry):
        if (entry["stage"], entry["step"]) == (stage, step):
            raise error

    return on_log


def test_a_loaded_run_draws_the_members_of_the_trained_one(tmp_path):
    model = corrdiff.train(tiny_config("regression.samples=16", "diffusion.samples=16"), tmp_path, quiet=True)
    pairs = model.pairs("test")
    expected = members(model, pairs)
    loaded = corrdiff.load(tmp_path)
    np.testing.assert_array_equal(members(loaded, pairs), expected)
    assert not any(p.requires_grad for stage in STAGES for p in loaded.stage_weights(stage).parameters())
    assert not loaded.regression.training and not loaded.diffusion.training
    assert loaded.describe()["checkpoint_sha256"] == checkpoint_hash(RunFolder(tmp_path).checkpoint_path("diffusion"))


def test_two_kinds_of_stop_and_two_resumes_end_as_if_never_stopped(tmp_path, trained):
    config, run = tiny_config(), RunFolder(tmp_path / "run")
    with pytest.raises(Cancelled, match="regression stopped after 72 samples"):
        corrdiff.train(config, run.path, quiet=True, on_log=stop_at("regression", 72, KeyboardInterrupt))
    with pytest.raises(ZeroDivisionError):
        corrdiff.train(config, run.path, quiet=True, on_log=stop_at("diffusion", 48, ZeroDivisionError))
    corrdiff.train(config, run.path, quiet=True)
    assert_same_run(run, trained)


def test_a_finished_run_is_returned_untouched(copied, trained):
    before = {path: path.stat().st_mtime_ns for path in copied.path.rglob("*")}
    model = corrdiff.train(tiny_config(), copied.path, quiet=True)
    assert {path: path.stat().st_mtime_ns for path in copied.path.rglob("*")} == before
    np.testing.assert_array_equal(
        members(model, model.pairs("test")), members(corrdiff.load(trained.path), model.pairs("test"))
    )


def test_resuming_does_not_hang_on_residuals_measured_to_the_last_bit(tmp_path, monkeypatch, trained):
    """Other processors sum in another order: what the run measured first is kept."""
    config, run = tiny_config(), RunFolder(tmp_path / "run")
    with pytest.raises(Cancelled):
        corrdiff.train(config, run.path, quiet=True, on_log=stop_at("diffusion", 48, KeyboardInterrupt))
    measured = training.residual_std
    monkeypatch.setattr(training, "residual_std", lambda *args: measured(*args) * (1 + 1e-6))
    corrdiff.train(config, run.path, quiet=True)
    assert_same_run(run, trained)


def test_seeds_decide_the_weights_and_leave_the_global_generator_alone():
    torch.manual_seed(4)
    state = torch.get_rng_state()
    one, same, other = untrained(), untrained(), untrained("seed=1")
    assert torch.equal(torch.get_rng_state(), state)
    weights = [model.diffusion.network.door.weight for model in (one, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_another_configuration_in_the_same_folder_is_refused_by_path(copied):
    with pytest.raises(ConfigError, match=r"run folder run: found a run with another diffusion\.lr"):
        corrdiff.train(tiny_config("diffusion.lr=0.5"), copied.path, quiet=True)


def test_channels_are_selected_by_name():
    model = untrained("data.input_channels=[v10, tp, t2m]", "data.target_channels=[reflectivity, t2m]")
    silent(model.regression.unet)
    pairs = model.pairs("test")
    assert pairs.input_channels == ["v10", "tp", "t2m"] and model.channels.skips() == [(1, 2)]
    model.residual_std = model.residual_std[:2]
    found = model.physical(model.mean(model.conditions(batches.load(pairs, [0], model.statistics))))
    np.testing.assert_allclose(found[0, 1], pairs.interpolated([0]).values[0, 1], atol=1e-3)


def test_training_on_crops_draws_whole_domains(tmp_path):
    config = tiny_config("data.crop=[8, 8]", "regression.samples=16", "diffusion.samples=16")
    model = corrdiff.train(config, tmp_path, quiet=True)
    assert members(model, model.pairs("test")).shape == (4, 4, 16, 16)


def test_training_with_masks(tmp_path, monkeypatch, rng):
    def open_masked(config, part):
        return replace(masked(corrdiff.open_part(config, part), rng)[0], oracle=None)

    monkeypatch.setattr(training, "open_part", open_masked)
    config, logged = tiny_config("regression.samples=24", "diffusion.samples=24"), []
    model = corrdiff.train(config, tmp_path, quiet=True, on_log=logged.append)
    assert (model.residual_std < 3).all()  # not one of the hidden values, a million, was seen
    assert model.statistics.channel("target", "u10").std < 50
    assert logged[-1]["validation_crps_u10"] < 50 and "validation_achieved_u10" not in logged[-1]


# ----- refusals


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
        corrdiff.load(copied.path)


def test_other_statistics_are_refused(copied):
    statistics = copied.load_statistics()
    statistics["output"]["t2m"]["mean"] += 1
    copied.save_statistics(statistics)
    with pytest.raises(CheckpointError, match="found statistics = "):
        corrdiff.load(copied.path)


def test_another_recipes_checkpoint_is_refused(copied):
    edit_header(copied, "diffusion", recipe="stormcast")
    with pytest.raises(CheckpointError, match=r"found recipe = stormcast, expected corrdiff"):
        corrdiff.load(copied.path)


def test_a_diffusion_of_another_regressions_residuals_is_refused(copied):
    tensors, header = load_checkpoint(copied.checkpoint_path("regression"))
    save_checkpoint(copied.checkpoint_path("regression"), {name: 2 * t for name, t in tensors.items()}, header)
    with pytest.raises(CheckpointError, match=r"checkpoint diffusion\.safetensors: found regression = "):
        corrdiff.load(copied.path)


def test_weights_that_do_not_fit_their_header_are_refused(copied):
    tensors, header = load_checkpoint(copied.checkpoint_path("diffusion"))
    tensors.pop("network.exit.weight")
    save_checkpoint(copied.checkpoint_path("diffusion"), tensors, header)
    with pytest.raises(CheckpointError, match="weights of another network"):
        corrdiff.load(copied.path)


@pytest.mark.parametrize("name", STAGES)
def test_truncated_checkpoints_are_refused(copied, name):
    path = copied.checkpoint_path(name)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=rf"checkpoint {name}\.safetensors: found a damaged file"):
        corrdiff.load(copied.path)


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
        corrdiff.load(copied.path)


def test_a_broken_configuration_file_is_refused(copied):
    values = copied.load_config()
    values["sampler"]["steps"] = 3
    (copied.path / "config.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=r"configuration at sampler\.steps"):
        corrdiff.load(copied.path)


# ----- full disks


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("saves", [1, 5])
def test_a_full_disk_in_training_loses_nothing_that_was_finished(tmp_path, monkeypatch, trained, saves):
    from labkit.store import checkpoints

    save, room = checkpoints.save_file, [saves]

    def filling(*arguments, **options):
        room[0] -= 1
        (save if room[0] >= 0 else no_space)(*arguments, **options)

    run = RunFolder(tmp_path / "run")
    monkeypatch.setattr(checkpoints, "save_file", filling)
    with pytest.raises(OutOfSpace, match="run the same command again"):
        corrdiff.train(tiny_config(), run.path, quiet=True)
    monkeypatch.undo()
    for path in run.checkpoints:
        load_checkpoint(path)
    assert not list(run.path.rglob("*.tmp"))
    corrdiff.train(tiny_config(), run.path, quiet=True)
    assert_same_run(run, trained)


@pytest.mark.parametrize("full", ["numpy.save", "labkit.store.tree_writer.write_tree"])
def test_a_full_disk_in_drawing_leaves_no_half_valid_file(tmp_path, monkeypatch, full):
    model = untrained()
    pairs, path = model.pairs("test"), tmp_path / "out.nc"
    options = {"times": [0, 1], "seeds": [3, 4], "batch_size": 4}
    monkeypatch.setattr(full, no_space)
    with pytest.raises(OutOfSpace):
        corrdiff.sample(model, pairs, path, **options)
    assert not path.exists()
    monkeypatch.undo()
    tree = open_tree(corrdiff.sample(model, pairs, path, **options))
    schedule = Schedule(**model.config.sampler.model_dump())
    drawn = list(draw_cases(model, pairs, [0, 1], [3, 4], schedule=schedule, batch_size=4))
    np.testing.assert_array_equal(tree["prediction"]["u10"].values[1, 0], drawn[1][2][1])
    tree.close()
    assert [p.name for p in tmp_path.iterdir()] == ["out.nc"]


def test_metrics_are_json_lines_of_both_stages(trained):
    lines = (trained.path / "metrics.jsonl").read_text().splitlines()
    entries = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    for figure, steps in (("loss", (24, 48, 72, 96)), ("validation_score", (48, 96))):
        found = [(entry["stage"], entry["step"]) for entry in entries if figure in entry]
        assert found == [(stage, step) for stage in STAGES for step in steps]
