"""Laws of drawing: a member depends on its own seed and case alone, and an output is whole, resumable or refused."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_corrdiff import untrained

from labkit.diffusion.gaussian import exact_denoiser, spread_left
from labkit.diffusion.solvers import SOLVERS
from labkit.errors import Cancelled, CheckpointError, ConfigError, DataError
from labkit.recipes import sample
from labkit.recipes.drawing import draw_cases
from labkit.recipes.model import default_batch
from labkit.sampling import NoiseStreams, Request, Schedule, draw, noise_seed
from labkit.store.trees import open_tree

SHAPE = (4, 16, 16)
SHORT = Schedule(solver="heun", num_steps=4, sigma_min=0.02, sigma_max=40.0)
TIMES, SEEDS = [0, 2, 3], [7, 8, 11, 12, 30]


@pytest.fixture(scope="module")
def model():
    return untrained()


@pytest.fixture(scope="module")
def pairs(model):
    return model.pairs("test")


def requests(cases=4, members=4):
    return [Request(case, member, 1000 * case + member) for case in range(cases) for member in range(members)]


def network_denoiser(model):
    """`bind` for the model's diffusion network, each case with random conditions of its own."""
    width = model.diffusion.network.in_channels - SHAPE[0]
    conditions = torch.randn(8, width, *SHAPE[1:], generator=torch.Generator().manual_seed(1))
    return lambda cases: model.diffusion.bind(conditions[cases])


def drawn(bind, wanted, *, batch_size, schedule=SHORT, **options):
    fields = draw(bind, wanted, shape=SHAPE, schedule=schedule, batch_size=batch_size, **options)
    return {(request.case, request.member): field for request, field in fields}


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_member_is_the_same_to_the_last_bit_alone_or_in_a_full_batch(model, solver):
    schedule = Schedule(solver=solver, num_steps=3, sigma_min=0.02, sigma_max=40.0)
    bind = network_denoiser(model)
    together = drawn(bind, requests(), batch_size=16, schedule=schedule)
    assert len(together) == 16
    for request in (requests()[0], requests()[6], requests()[15]):
        alone = drawn(bind, [request], batch_size=16, schedule=schedule)
        assert torch.equal(alone[request.case, request.member], together[request.case, request.member])


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_a_member_is_the_same_to_rounding_in_batches_of_another_size(model, batch_size):
    bind = network_denoiser(model)
    expected = drawn(bind, requests(2, 3), batch_size=16)
    found = drawn(bind, requests(2, 3), batch_size=batch_size)
    assert found.keys() == expected.keys()
    for key, field in expected.items():
        assert (found[key] - field).norm() < 1e-4 * field.norm()


def test_order_and_company_do_not_matter(model):
    bind = network_denoiser(model)
    expected = drawn(bind, requests(), batch_size=8)
    shuffled = [requests()[i] for i in np.random.default_rng(0).permutation(16)[:11]]
    for key, field in drawn(bind, shuffled, batch_size=8).items():
        assert torch.equal(field, expected[key])


def test_members_differ_by_seed_and_by_case(model):
    found = list(drawn(network_denoiser(model), requests(), batch_size=16).values())
    flat = torch.stack(found).flatten(1)
    different = torch.cdist(flat, flat) + torch.eye(16) * 1e9
    assert different.min() > 0.5 * flat.norm(dim=1).mean()


def test_noise_seeds_follow_from_seed_time_and_repeat_alone():
    hours = np.arange("2020-01-01", "2020-01-05", dtype="datetime64[h]")
    seeds = {noise_seed(seed, hour, repeat) for seed in range(20) for hour in hours for repeat in range(2)}
    assert len(seeds) == 20 * len(hours) * 2
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert noise_seed(3, hours[5]) == noise_seed(np.int64(3), hours[5].astype("datetime64[ns]"))


def test_noise_of_neighbouring_seeds_and_times_is_white_and_independent():
    hours = np.arange("2020-01-01T00", "2020-01-01T04", dtype="datetime64[h]")
    streams = NoiseStreams([noise_seed(seed, hour) for seed in range(4) for hour in hours])
    noise = torch.cat([streams(torch.Size((16, 1, 64, 64))) for _ in range(2)]).flatten(1)
    covariance = noise @ noise.T / noise.shape[1]  # of 32 fields of 4096 numbers each: error 1/64
    assert (covariance - torch.eye(32)).abs().max() < 5 / 64
    assert noise.mean(1).abs().max() < 5 / 64


def test_an_entrys_noise_does_not_depend_on_the_others():
    some, alone = NoiseStreams([5, 6, 7]), NoiseStreams([6])
    for _ in range(2):
        assert torch.equal(some(torch.Size((3, 2, 4, 4)))[1], alone(torch.Size((1, 2, 4, 4)))[0])


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_gaussian_is_drawn_with_its_mean_and_spread(solver):
    """The exact denoiser of N(mean of the case, 0.7^2): what the batches make of it is what the solver alone would."""
    schedule = Schedule(solver=solver, num_steps=40, sigma_min=0.01, sigma_max=40.0)
    means, std = torch.tensor([-3.0, 5.0]), 0.7

    def bind(cases):
        return exact_denoiser(means[cases][:, None, None, None], std)

    found = drawn(bind, requests(2, 40), batch_size=16, schedule=schedule)
    expected = spread_left(SOLVERS[solver], schedule.sigmas, std=std)
    n = 40 * np.prod(SHAPE)
    for case, mean in enumerate(means):
        members = torch.stack([found[case, member] for member in range(40)])
        start = std / schedule.sigma_max * abs(mean)  # solvers start from N(0, sigma_max^2), not from the mean
        assert abs(members.mean() - mean) < 5 * std / n**0.5 + 1.2 * start
        assert members.std() == pytest.approx(expected, rel=5 / (2 * n) ** 0.5)
    assert expected == pytest.approx(std, rel=0.06 if solver == "euler" else 0.03)


def test_progress_counts_evaluations_of_members_and_ends_full(model):
    seen, bind = [], network_denoiser(model)
    drawn(bind, requests(1, 5), batch_size=4, progress=lambda done, total: seen.append((done, total)))
    each = SHORT.evaluations
    assert each == 7
    assert [done for done, _ in seen] == [4 * k for k in range(1, each + 1)] + [
        4 * each + k for k in range(1, each + 1)
    ]
    assert {total for _, total in seen} == {5 * each}


def test_cancelling_keeps_what_was_finished(model):
    finished, evaluations = [], []

    def cancel():
        evaluations.append(1)
        return len(evaluations) > SHORT.evaluations + 2

    with pytest.raises(Cancelled, match="finished members are kept"):
        for request, _ in draw(
            network_denoiser(model), requests(), shape=SHAPE, schedule=SHORT, batch_size=4, cancel=cancel
        ):
            finished.append(request)
    assert finished == requests()[:4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"solver": "ddim"}, "solver: found 'ddim', expected euler, heun"),
        ({"num_steps": 1}, "at least 2"),
        ({"sigma_min": 90.0}, "sigma_min <= sigma_max"),
    ],
)
def test_impossible_schedules_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        _ = Schedule(**changes).sigmas


# ----- from here on the whole path: pairs -> conditions -> members in native units -> output tree


def written(model, pairs, path, **options):
    return sample(model, pairs, path, **{"times": TIMES, "seeds": SEEDS, "batch_size": 4, **options})


@pytest.fixture(scope="module")
def whole(model, pairs, tmp_path_factory):
    return written(model, pairs, tmp_path_factory.mktemp("whole") / "whole.nc", with_oracle=True)


def contents(path):
    tree = open_tree(path)
    groups = {name: tree[name].to_dataset().load() for name in tree.children}
    tree.close()
    return groups


def assert_same_contents(found, expected):
    found, expected = contents(found), contents(expected)
    assert found.keys() == expected.keys() >= {"prediction", "truth", "input", "regression"}
    for name, dataset in expected.items():
        xr.testing.assert_identical(found[name], dataset)


def test_a_gaussian_comes_through_the_whole_path_in_native_units(model, pairs, monkeypatch):
    """With residuals drawn from N(0.5, 1) each channel has the regression's mean plus half its residuals' standard
    deviation, and their spread, both in native units."""
    monkeypatch.setattr(model, "denoiser", lambda cases, batch_size: exact_denoiser(0.5, 1.0))
    schedule = Schedule(solver="dpmpp_2m", num_steps=40, sigma_min=0.01, sigma_max=400.0)
    found = draw_cases(model, pairs, [1], range(64), schedule=schedule, batch_size=64)
    members = np.stack([fields for _, _, fields in found]).astype(float)
    mean = model.physical(model.mean(model.conditions(load_one(model, pairs, 1)))[0])
    scale = model.residual_std.numpy() * model.statistics.std("target", pairs.target_channels)
    for i in range(3):  # reflectivity is curved and clipped
        error = scale[i] / (64 * 256) ** 0.5
        assert abs((members[:, i] - mean[i]).mean() - 0.5 * scale[i]) < 5 * error
        assert (members[:, i] - mean[i]).std() == pytest.approx(scale[i], rel=0.03)
        assert members[:, i].std(axis=0).mean() == pytest.approx(scale[i], rel=0.05)


def load_one(model, pairs, index):
    from labkit.data.batches import load

    return load(pairs, [index], model.statistics)


def test_the_output_holds_what_was_drawn_in_its_place(model, pairs, whole):
    schedule = Schedule(**model.config.sampler.model_dump())
    tree = contents(whole)
    names = pairs.target_channels
    for position, member, fields in draw_cases(model, pairs, TIMES, SEEDS, schedule=schedule, batch_size=4):
        for i, name in enumerate(names):
            kept = tree["prediction"][name].isel(time=position, ensemble=member)
            np.testing.assert_array_equal(kept.values, fields[i])
    truth = pairs.target.isel(time=TIMES).values
    np.testing.assert_array_equal(np.stack([tree["truth"][name].values for name in names], 1), truth)
    assert (tree["prediction"]["time"].values == pairs.target.time.values[TIMES]).all()
    coarse = pairs.interpolated(TIMES).sel(channel="t2m").values
    np.testing.assert_allclose(tree["input"]["t2m"].values, coarse, rtol=1e-6)


def test_the_oracle_in_the_output_is_drawn_from_the_law_at_each_time(pairs, whole):
    oracle = contents(whole)["oracle"]
    expected = pairs.oracle(pairs, TIMES[1], [1_000_000 + SEEDS[2]])[0]
    for i, name in enumerate(pairs.target_channels):
        np.testing.assert_array_equal(oracle[name].isel(time=1, ensemble=2).values, expected[i])


def stop_after(n, error):
    count = 0

    def on_member(*_):
        nonlocal count
        count += 1
        if count == n:
            raise error

    return on_member


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_an_interrupted_output_goes_on_to_the_same_contents(model, pairs, whole, tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    for n in (6, 3):
        with pytest.raises(KeyboardInterrupt):
            written(model, pairs, path, with_oracle=True, on_member=stop_after(n, KeyboardInterrupt))
        assert not path.exists()
    again = []
    written(model, pairs, path, with_oracle=True, on_member=lambda *member: again.append(member[:2]))
    assert len(again) == len(TIMES) * len(SEEDS) - 9
    assert_same_contents(path, whole)


def test_a_cancelled_output_keeps_its_members_and_goes_on(model, pairs, whole, tmp_path):
    kept, path = [], tmp_path / "out.nc"
    with pytest.raises(Cancelled):
        written(
            model,
            pairs,
            path,
            with_oracle=True,
            on_member=lambda *member: kept.append(member),
            cancel=lambda: len(kept) >= 4,
        )
    assert len(kept) == 4 and not path.exists()
    assert len(list((tmp_path / "out.nc.partial").glob("prediction-*.npy"))) == 4
    written(model, pairs, path, with_oracle=True)
    assert_same_contents(path, whole)


def test_cancelling_before_the_first_member_draws_no_oracle(model, pairs, tmp_path):
    with pytest.raises(Cancelled):
        written(model, pairs, tmp_path / "out.nc", with_oracle=True, cancel=lambda: True)
    assert not list((tmp_path / "out.nc.partial").glob("oracle-*.npy"))


def test_a_member_that_is_not_finite_is_reported_and_never_written(model, pairs, whole, tmp_path, monkeypatch):
    path, calls, whole_member = tmp_path / "out.nc", [], model.member

    def sometimes_nan(case, residual):
        calls.append(1)
        fields = whole_member(case, residual)
        if len(calls) in (2, 7):
            fields[1, 3, 4] = float("inf")
        return fields

    monkeypatch.setattr(model, "member", sometimes_nan)
    seen = []
    with pytest.raises(DataError, match=r"2 fields not written, .* prediction member 1 of time 0: not finite in u10"):
        written(model, pairs, path, with_oracle=True, on_member=lambda *member: seen.append(member[:2]))
    assert len(seen) == 13 and (0, 1) not in seen and (1, 1) not in seen
    partial = tmp_path / "out.nc.partial"
    assert not path.exists() and len(list(partial.glob("prediction-*.npy"))) == 13
    notes = [json.loads(note.read_text()) for note in partial.glob("*.rejected.json")]
    assert sorted((note["time_index"], note["member"]) for note in notes) == [(0, 1), (1, 1)]
    monkeypatch.setattr(model, "member", whole_member)
    assert_same_contents(written(model, pairs, path, with_oracle=True), whole)


def test_a_regression_that_is_not_finite_stops_before_any_member(model, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(model, "mean", lambda conditions: torch.full((1, *SHAPE), float("nan")))
    with pytest.raises(DataError, match="regression member 0 of time 0"):
        written(model, pairs, tmp_path / "out.nc")
    assert not list((tmp_path / "out.nc.partial").glob("prediction-*.npy"))


def test_members_of_a_case_do_not_depend_on_the_other_cases(model, pairs, whole, tmp_path):
    path = written(model, pairs, tmp_path / "one.nc", times=[3], seeds=[30, 7])
    one, all_ = (contents(p)["prediction"]["v10"].values for p in (path, whole))
    np.testing.assert_array_equal(one[:, 0], all_[[4, 0], 2])


def test_different_times_and_repeats_of_a_time_get_different_noise(model, pairs):
    stamps = pairs.target.time.values[[0, 0, 1]]
    repeated = pairs.isel([0, 0, 1])
    assert (repeated.target.time.values == stamps).all()
    draws = [fields for _, _, fields in draw_cases(model, repeated, [0, 1, 2], [5], schedule=SHORT, batch_size=3)]
    mean = [model.physical(model.mean(model.conditions(load_one(model, repeated, i)))[0]) for i in range(3)]
    noise = [(draw - m)[0] / (draw - m)[0].std() for draw, m in zip(draws, mean, strict=True)]
    assert abs((noise[0] * noise[1]).mean()) < 0.5 and abs((noise[0] * noise[2]).mean()) < 0.5


@pytest.mark.parametrize("times", [[], [0, 9], [-1]])
def test_times_that_are_not_there_are_refused(model, pairs, tmp_path, times):
    with pytest.raises(DataError, match="positions from 0 to 4"):
        written(model, pairs, tmp_path / "out.nc", times=times)


def test_an_oracle_that_is_not_known_is_refused(model, pairs, tmp_path):
    from dataclasses import replace

    with pytest.raises(DataError, match="without a known law"):
        written(model, replace(pairs, oracle=None), tmp_path / "out.nc", with_oracle=True)


def test_pairs_that_do_not_fit_are_refused_before_anything_is_written(model, pairs, tmp_path):
    shuffled = pairs.select(target=pairs.target_channels[::-1])
    with pytest.raises(CheckpointError, match="target channels of the data: found reflectivity, v10, u10, t2m"):
        written(model, shuffled, tmp_path / "out.nc")
    assert not list(tmp_path.iterdir())


def test_another_solver_does_not_go_on_with_a_half_written_output(model, pairs, tmp_path):
    path = tmp_path / "out.nc"
    with pytest.raises(KeyboardInterrupt):
        written(model, pairs, path, on_member=stop_after(1, KeyboardInterrupt))
    with pytest.raises(DataError, match=r"attrs\.sampler"):
        written(model, pairs, path, solver="dpmpp_2m")


def test_default_batches_fill_a_device_and_shrink_with_the_grid(model):
    assert default_batch(model, (64, 64)) == 16
    assert default_batch(model, (4096, 4096)) == 1
