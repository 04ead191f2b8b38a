"""CorrDiff's parts: measured scales, exact baselines, losses and figures that follow from their definitions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_corrdiff import diffusion_loss, masked, silent, untrained, with_values

from labkit import recipes
from labkit.data import batches
from labkit.models.hardware import Hardware
from labkit.recipes import corrdiff, judging
from labkit.recipes.drawing import draw_cases
from labkit.recipes.judging import ensemble_judge, residual_std
from labkit.recipes.regression import regression_loss
from labkit.sampling import Schedule
from labkit.store.checkpoints import load_header


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
    model = recipes.load(trained.path)
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
    losses = [
        (regression_loss, model.regression),
        (diffusion_loss(model), model.diffusion),
    ]
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
    remembered = corrdiff.Remembered(room_mb)
    means = corrdiff._means(model, remembered, None)
    for batch in visits:
        conditions = model.conditions(batch)
        exact = model.regression(conditions)
        found = means(conditions, batch)
        assert torch.equal(found, exact.half().float())
    mean_mb = exact[0].numel() * 2 / 2**20
    assert len(remembered.known) == min(6, int(room_mb / mean_mb))


def test_both_losses_are_one_for_networks_that_know_nothing():
    """Scales are right: the regression's in units of the target less its baseline, the diffusion's in those of the
    residuals, where a silent network's weighted error is 1 at every noise level (Karras et al. 2022, Table 1)."""
    model = untrained()
    silent(model.regression.unet)
    silent(model.diffusion.network)
    pairs = model.pairs("train")
    model.regression.scale.copy_(corrdiff._difference_std(model, pairs))
    model.residual_std = residual_std(model, pairs, range(len(pairs)))
    batch = batches.load(pairs, range(len(pairs)), model.statistics)
    assert float(regression_loss(model.regression, batch, None)) == pytest.approx(1, rel=0.05)
    loss = diffusion_loss(model)
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
    figures = ensemble_judge(model, "diffusion", validation)(model.diffusion)
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

    monkeypatch.setattr(judging, "draw_cases", oracle_cases)
    figures = ensemble_judge(model, "diffusion", model.pairs("validation"))(model.diffusion)
    assert [figures[f"achieved_{name}"] for name in model.channels.target] == pytest.approx([1.0] * 4, abs=1e-6)


def test_validation_of_the_regression_is_its_loss_and_rmse():
    model = untrained()
    silent(model.regression.unet)
    model.regression.scale.copy_(torch.tensor([0.5, 2.0, 1.0, 1.5]))
    validation = model.pairs("validation")
    figures = corrdiff._regression_judge(model, validation)(model.regression)
    target, baseline = normalised(validation, model.statistics)
    rmse = np.sqrt(((target - baseline).astype(float) ** 2).mean((0, 2, 3)))
    assert [figures[f"rmse_{name}"] for name in model.channels.target] == pytest.approx(rmse.tolist(), rel=1e-4)
    assert figures["score"] == pytest.approx(np.mean((rmse / [0.5, 2.0, 1.0, 1.5]) ** 2), rel=1e-4)


def test_channels_are_selected_by_name():
    model = untrained("data.input_channels=[v10, tp, t2m]", "data.target_channels=[reflectivity, t2m]")
    silent(model.regression.unet)
    pairs = model.pairs("test")
    assert pairs.input_channels == ["v10", "tp", "t2m"] and model.channels.skips() == [(1, 2)]
    model.residual_std = model.residual_std[:2]
    found = model.physical(model.mean(model.conditions(batches.load(pairs, [0], model.statistics))))
    np.testing.assert_allclose(found[0, 1], pairs.interpolated([0]).values[0, 1], atol=1e-3)
