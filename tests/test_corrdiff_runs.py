"""Runs of CorrDiff go on after any stop and end as if never stopped; full disks lose nothing."""

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_corrdiff import STAGES, assert_same_run, masked, members, tiny_config, untrained

from labkit import recipes
from labkit.data.batches import load
from labkit.diffusion.patches import cut
from labkit.errors import Cancelled, ConfigError, OutOfSpace
from labkit.recipes import corrdiff, stages
from labkit.recipes.drawing import draw_cases
from labkit.recipes.regression import Regression
from labkit.sampling import Schedule
from labkit.store.checkpoints import checkpoint_hash, load_checkpoint
from labkit.store.runs import RunFolder
from labkit.store.trees import open_tree


def stop_at(stage, step, error):
    def on_log(entry):
        if (entry["stage"], entry["step"]) == (stage, step):
            raise error

    return on_log


def test_a_loaded_run_draws_the_members_of_the_trained_one(tmp_path):
    model = recipes.train(tiny_config("regression.samples=16", "diffusion.samples=16"), tmp_path, quiet=True)
    pairs = model.pairs("test")
    expected = members(model, pairs)
    loaded = recipes.load(tmp_path)
    np.testing.assert_array_equal(members(loaded, pairs), expected)
    assert not any(p.requires_grad for stage in STAGES for p in loaded.networks[stage].parameters())
    assert not loaded.regression.training and not loaded.diffusion.training
    assert loaded.describe()["checkpoint_sha256"] == checkpoint_hash(RunFolder(tmp_path).checkpoint_path("diffusion"))


def test_two_kinds_of_stop_and_two_resumes_end_as_if_never_stopped(tmp_path, trained):
    config, run = tiny_config(), RunFolder(tmp_path / "run")
    with pytest.raises(Cancelled, match="regression stopped after 72 samples"):
        recipes.train(config, run.path, quiet=True, on_log=stop_at("regression", 72, KeyboardInterrupt))
    with pytest.raises(ZeroDivisionError):
        recipes.train(config, run.path, quiet=True, on_log=stop_at("diffusion", 48, ZeroDivisionError))
    recipes.train(config, run.path, quiet=True)
    assert_same_run(run, trained)


def test_a_finished_run_is_returned_untouched(copied, trained):
    before = {path: path.stat().st_mtime_ns for path in copied.path.rglob("*")}
    model = recipes.train(tiny_config(), copied.path, quiet=True)
    assert {path: path.stat().st_mtime_ns for path in copied.path.rglob("*")} == before
    np.testing.assert_array_equal(
        members(model, model.pairs("test")), members(recipes.load(trained.path), model.pairs("test"))
    )


def test_resuming_does_not_hang_on_residuals_measured_to_the_last_bit(tmp_path, monkeypatch, trained):
    """Other processors sum in another order: what the run measured first is kept."""
    config, run = tiny_config(), RunFolder(tmp_path / "run")
    with pytest.raises(Cancelled):
        recipes.train(config, run.path, quiet=True, on_log=stop_at("diffusion", 48, KeyboardInterrupt))
    measured = corrdiff.residual_std
    monkeypatch.setattr(corrdiff, "residual_std", lambda *args: measured(*args) * (1 + 1e-6))
    recipes.train(config, run.path, quiet=True)
    assert_same_run(run, trained)


def test_seeds_decide_the_weights_and_leave_the_global_generator_alone():
    torch.manual_seed(4)
    state = torch.get_rng_state()
    one, same, other = untrained(), untrained(), untrained("seed=1")
    assert torch.equal(torch.get_rng_state(), state)
    weights = [model.diffusion.network.door.weight for model in (one, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_training_on_crops_draws_whole_domains(tmp_path):
    config = tiny_config("data.crop=[8, 8]", "regression.samples=16", "diffusion.samples=16")
    model = recipes.train(config, tmp_path, quiet=True)
    assert members(model, model.pairs("test")).shape == (4, 4, 16, 16)


def test_training_with_masks(tmp_path, monkeypatch, rng):
    def open_masked(config, part):
        return replace(masked(recipes.open_part(config, part), rng)[0], oracle=None)

    monkeypatch.setattr(stages, "open_part", open_masked)
    config, logged = tiny_config("regression.samples=24", "diffusion.samples=24"), []
    model = recipes.train(config, tmp_path, quiet=True, on_log=logged.append)
    assert (model.residual_std < 3).all()  # not one of the hidden values, a million, was seen
    assert model.statistics.channel("target", "u10").std < 50
    assert logged[-1]["validation_crps_u10"] < 50 and "validation_achieved_u10" not in logged[-1]


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
        recipes.train(tiny_config(), run.path, quiet=True)
    monkeypatch.undo()
    for path in run.checkpoints:
        load_checkpoint(path)
    assert not list(run.path.rglob("*.tmp"))
    recipes.train(tiny_config(), run.path, quiet=True)
    assert_same_run(run, trained)


@pytest.mark.parametrize("full", ["numpy.save", "labkit.store.tree_writer.write_tree"])
def test_a_full_disk_in_drawing_leaves_no_half_valid_file(tmp_path, monkeypatch, full):
    model = untrained()
    pairs, path = model.pairs("test"), tmp_path / "out.nc"
    options = {"times": [0, 1], "seeds": [3, 4], "batch_size": 4}
    monkeypatch.setattr(full, no_space)
    with pytest.raises(OutOfSpace):
        recipes.sample(model, pairs, path, **options)
    assert not path.exists()
    monkeypatch.undo()
    tree = open_tree(recipes.sample(model, pairs, path, **options))
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


def test_crops_are_interpolated_from_beyond_their_edges_in_both_stages(tmp_path, monkeypatch):
    """What the networks see of a crop is what they see of it when the whole domain is drawn."""
    seen, conditions = [], Regression.conditions

    def watched(network, batch):
        seen.append((batch, conditions(network, batch)))
        return seen[-1][1]

    monkeypatch.setattr(Regression, "conditions", watched)
    few = ["regression.samples=16", "diffusion.samples=16", "data.crop=[8, 8]"]
    model = recipes.train(tiny_config(*few), tmp_path, quiet=True)
    crops = [(batch, found) for batch, found in seen if batch.position is not None]
    pairs = model.pairs("train")
    assert sum(len(batch) for batch, _ in crops) == 32
    for batch, found in crops:
        whole = conditions(model.regression, load(pairs, batch.index.tolist(), model.statistics))
        expected = cut(whole, torch.arange(len(batch)), batch.position, (8, 8))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_model_without_its_later_stages_draws_its_mean_and_says_so(copied):
    model = recipes.load(copied.path, stages=("regression",))
    assert not model.generative and set(model.networks) == {"regression"}
    expected = checkpoint_hash(copied.checkpoint_path("regression"))
    assert model.describe()["checkpoint_sha256"] == expected
    for wrong in ((), ("diffusion",), ("diffusion", "regression")):
        with pytest.raises(ConfigError, match="stages: found"):
            recipes.load(copied.path, stages=wrong)


def test_a_run_goes_on_though_the_lab_has_learnt_new_settings(copied):
    """A setting that an older config.yaml does not name has its default."""
    config = copied.load_config()
    del config["data"]["mean_cache_mb"], config["sampler"]["rho"]
    copied.save_config(config)
    assert recipes.train(tiny_config(), copied.path, quiet=True).generative
    with pytest.raises(ConfigError, match=r"another sampler\.rho"):
        recipes.train(tiny_config("sampler.rho=5"), copied.path, quiet=True)


def test_means_are_kept_only_where_those_of_all_samples_fit():
    model = untrained()
    pairs = model.pairs("train")
    mb = len(pairs) * 4 * 16 * 16 * 2 / 2**20
    for given, expected in ((2 * mb, 2 * mb), (mb / 2, 0.0)):
        config = model.config.model_copy(update={"data": model.config.data.model_copy(update={"mean_cache_mb": given})})
        model.config = config
        assert corrdiff._room_mb(model, pairs) == expected
