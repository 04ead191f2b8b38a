"""The terminal: what each command prints, writes and returns, and that mistakes take one sentence."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from tiny_corrdiff import TINY, assert_same_run, tiny_config, trained_run

from labkit import __version__, recipes
from labkit.cli import main, parse_positions
from labkit.data.statistics import Statistics
from labkit.errors import Cancelled, ConfigError, OutOfSpace
from labkit.recipes import drawing
from labkit.store.checkpoints import load_checkpoint, load_header
from labkit.store.runs import RunFolder
from labkit.store.trees import open_tree

pytestmark = pytest.mark.usefixtures("ctrl_c_as_usual")
VERBS = ("train", "sample", "score", "data")
DATA = ["data", "idealised", "start=2000-01-01", "end=2000-01-01T06", "shape=[16, 16]", "factor=4"]


@pytest.fixture(scope="module")
def run():
    return trained_run()


@pytest.fixture(scope="module")
def ensemble(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("out") / "ensemble.nc"
    command = ["sample", str(run), str(path), "--times", "0:2", "--members", "3", "--batch", "6", "--oracle"]
    assert main([*command, "--solver", "dpmpp_2m", "--steps", "3", "--first-seed", "5"]) == 0
    return path


def one_sentence(capsys):
    """What went to standard error: one line that names the program, and no traceback."""
    text = capsys.readouterr().err
    lines = [line for line in text.replace("\r", "\n").splitlines() if line.startswith("labkit: ")]
    assert len(lines) == 1 and "Traceback" not in text
    return lines[0]


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_teaches_by_examples(verb, capsys):
    with pytest.raises(SystemExit) as leaving:
        main([verb, "--help"])
    text = capsys.readouterr().out
    assert leaving.value.code == 0
    assert f"\n  labkit {verb} " in text and len(text.splitlines()) > 10


def test_help_names_the_verbs(capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["--help"])
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    assert all(f"  {verb} " in text for verb in VERBS)


def test_examples_in_the_help_are_accepted(capsys, monkeypatch):
    """Every example but those that would train or need files: its words are understood."""
    from labkit import cli

    for text in (cli.OVERVIEW, cli.TRAIN_HELP, cli.SAMPLE_HELP, cli.SCORE_HELP, cli.DATA_HELP):
        examples = [
            line.strip().split("  ")[0].split()[1:] for line in text.splitlines() if line.startswith("  labkit ")
        ]
        assert len(examples) >= 2
        for words in examples:
            assert cli._options(words).verb == words[0]


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"labkit {__version__}\n"


def test_show_prints_a_whole_configuration_that_can_be_read_back(capsys):
    words = ["train", "corrdiff", "--preset", "nano", "--run", "absent", "seed=3", "--show", "regression.lr=1e-3"]
    assert main(words) == 0
    shown = recipes.validate(yaml.safe_load(capsys.readouterr().out))
    assert shown == recipes.load_preset("nano", ["seed=3", "regression.lr=1e-3"])
    assert not Path("absent").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["seed=3", "--run", "absent"],
        ["--run", "absent", "seed=3"],
        ["seed=3", "--run", "absent", "regression.lr=1e-3"],
    ],
)
def test_overrides_may_stand_anywhere(words, capsys):
    assert main(["train", "corrdiff", *words, "--show"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["seed"] == 3
    assert shown["regression"]["lr"] == (1e-3 if "regression.lr=1e-3" in words else 2e-3)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["fly"],
        ["train", "stormcast"],
        ["train", "corrdiff", "--fast"],
        ["train", "corrdiff", "seed=3", "--show", "-x"],
        ["sample", "run"],
        ["sample", "run", "out.nc", "--members", "0"],
        ["sample", "run", "out.nc", "--batch", "-4"],
        ["sample", "run", "out.nc", "--part", "all"],
        ["score", "out.nc", "more.nc"],
    ],
)
def test_wrong_commands_end_with_2_and_the_usage(words, capsys):
    with pytest.raises(SystemExit) as leaving:
        main(words)
    assert leaving.value.code == 2
    assert "usage: labkit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["train", "corrdiff", "--preset", "giant"], 2, "preset: found 'giant', expected"),
        (["train", "corrdiff", "sede=3"], 2, "configuration at sede: found an unknown key"),
        (["train", "corrdiff", "seed"], 2, "override: found 'seed'"),
        (["data", "era6"], 2, "data set: found era6, expected"),
        (["data", "idealised", "sede=1"], 2, "found sede, expected"),
        (["data", "idealised", "start=2001-01-02", "end=2001-01-01"], 1, "expected an end after the start"),
        (["data", "files", "input=absent.nc", "target=absent.nc"], 1, "absent.nc"),
        (["sample", "absent", "out.nc"], 1, "config.yaml of run absent"),
        (["score", "absent.nc"], 1, "absent.nc"),
    ],
)
def test_mistakes_are_told_in_one_sentence(words, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == code
    assert message in one_sentence(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OutOfSpace("writing a.nc", found="no room", expected="room", todo="free some"), 3),
        (OSError(28, "No space left on device"), 3),
        (PermissionError(13, "Permission denied", "a.nc"), 1),
        (Cancelled("stopped after 3"), 130),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_way_to_end_has_its_code(error, code, capsys, monkeypatch, tmp_path):
    def failing(*_, **__):
        raise error

    monkeypatch.setattr(recipes, "train", failing)
    assert main(["train", "corrdiff", "--run", str(tmp_path)]) == code
    assert one_sentence(capsys)


def test_mistakes_of_our_own_are_not_hidden(monkeypatch, tmp_path, capsys):
    """They are told as such, with their place, in a sentence; and whole where that is asked for."""

    def failing(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(recipes, "train", failing)
    assert main(["train", "corrdiff", "--run", str(tmp_path)]) == 1
    said = one_sentence(capsys)
    assert "did not foresee (ZeroDivisionError" in said and "__init__.py, line" in said and "LABKIT_TRACEBACK=1" in said
    monkeypatch.setenv("LABKIT_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main(["train", "corrdiff", "--run", str(tmp_path)])


def test_sample_writes_the_members_that_the_library_draws(run, ensemble, tmp_path):
    model = recipes.load(run)
    options = {"times": [0, 1], "seeds": [5, 6, 7], "solver": "dpmpp_2m", "num_steps": 3, "batch_size": 6}
    expected = recipes.sample(model, model.pairs("test"), tmp_path / "b.nc", with_oracle=True, **options)
    with open_tree(ensemble) as found, open_tree(expected) as wanted:
        assert found["prediction"].sizes["ensemble"] == 3 and found["prediction"].sizes["time"] == 2
        for group in ("prediction", "oracle", "regression", "truth", "interpolation"):
            for name in ("t2m", "reflectivity"):
                np.testing.assert_array_equal(found[group][name].values, wanted[group][name].values)
        assert found.attrs["sampler"] == "dpmpp_2m, 3 steps" and list(found.attrs["seeds"]) == [5, 6, 7]


def test_sample_says_what_comes_next_and_that_comes(run, ensemble, tmp_path, capsys):
    assert main(["score", str(ensemble), "--csv", str(tmp_path / "scores.csv")]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in ("t2m", "u10", "v10", "reflectivity"))
    assert "crps" in table.lower() and (tmp_path / "scores.csv").read_text().count("\n") > 4


def test_score_by_stratum_adds_up_to_the_whole(ensemble, tmp_path, capsys):
    assert main(["score", str(ensemble), "--by", "surface", "--csv", str(tmp_path / "by.csv")]) == 0
    assert "sea" in capsys.readouterr().out
    assert main(["score", str(ensemble), "--csv", str(tmp_path / "all.csv")]) == 0
    by, whole = (pd.read_csv(tmp_path / name) for name in ("by.csv", "all.csv"))
    part = by[(by.variable == "t2m") & (by.source == "prediction") & (by.bound == "estimate")]
    assert set(part.stratum) == {"sea", "land"}
    row = whole[(whole["variable"] == "t2m") & (whole["source"] == "prediction")]
    assert np.average(part.crps, weights=part["count"]) == pytest.approx(float(row.crps.iloc[0]), rel=1e-5)


def test_score_by_an_unknown_stratum_names_the_known_ones(ensemble, capsys):
    assert main(["score", str(ensemble), "--by", "weekday"]) == 1
    assert "season" in capsys.readouterr().err


def test_score_compares_two_runs_of_the_same_cases(ensemble, tmp_path, capsys):
    words = ["score", str(ensemble), "--compare", str(ensemble), "--csv", str(tmp_path / "compared.csv")]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "too few independent cases to say how sure 20 of 20 differences are" in text
    assert "2 times, 95 % interval" in text and "p_adjusted" in text and "reflectivity" in text
    assert (tmp_path / "compared.csv").read_text().count("\n") == 1 + 4 * 5
    assert main(["score", str(ensemble), "--compare", str(tmp_path / "absent.nc")]) == 1
    assert "absent.nc" in one_sentence(capsys)


def test_ctrl_c_in_sampling_keeps_the_members_and_the_same_command_goes_on(run, tmp_path, capsys, monkeypatch):
    path, drawn = tmp_path / "out.nc", []
    command = ["sample", str(run), str(path), "--times", "0,2", "--members", "4", "--batch", "2", "--steps", "2"]
    write = drawing.TreeWriter.write_member

    def pressed(*arguments, **options):
        drawn.append(1)
        if len(drawn) == 4:
            signal.raise_signal(signal.SIGINT)
        return write(*arguments, **options)

    monkeypatch.setattr(drawing.TreeWriter, "write_member", pressed)
    assert main(command) == 130
    assert "the same command goes on" in one_sentence(capsys)
    assert not path.exists() and len(list((tmp_path / "out.nc.partial").glob("prediction-*.npy"))) == 3
    assert main(command) == 0
    assert len(drawn) == 4 + 5
    with open_tree(path) as tree:
        assert np.isfinite(tree["prediction"]["u10"].values).all()


def test_a_damaged_checkpoint_ends_with_1(run, tmp_path, capsys):
    copied = shutil.copytree(run, tmp_path / "run")
    path = RunFolder(copied).checkpoint_path("diffusion")
    path.write_bytes(path.read_bytes()[:100])
    assert main(["sample", str(copied), str(tmp_path / "out.nc")]) == 1
    assert "checkpoint diffusion.safetensors: found a damaged file" in one_sentence(capsys)
    assert not (tmp_path / "out.nc").exists()


def test_times_beyond_the_data_end_with_1(run, tmp_path, capsys):
    assert main(["sample", str(run), str(tmp_path / "out.nc"), "--times", "7,8"]) == 1
    assert "times to draw: found 7, expected positions from 0 to 4" in one_sentence(capsys)
    assert main(["sample", str(run), str(tmp_path / "out.nc"), "--times", "soon"]) == 2
    assert "times: found 'soon'" in one_sentence(capsys)


def test_data_shows_what_training_would_see(capsys, tmp_path):
    assert main([*DATA, "--statistics", str(tmp_path / "stats.json")]) == 0
    text = capsys.readouterr().out
    assert "target     t2m, u10, v10, reflectivity" in text
    assert "16 x 16 cells of 4 x 4 km, coarsened (4, 4)" in text
    assert "7, 2000-01-01T00:00 to 2000-01-01T06:00" in text
    statistics = Statistics.load(tmp_path / "stats.json")
    assert 250 < statistics.channel("target", "t2m").mean < 320
    assert json.loads((tmp_path / "stats.json").read_text())["output"]["u10"]["std"] > 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:3", [0, 1, 2]),
        ("0:32", list(range(10))),
        (":", list(range(10))),
        ("1:8:3", [1, 4, 7]),
        ("-2:", [8, 9]),
        ("3,5,8", [3, 5, 8]),
        ("4", [4]),
        ("12", [12]),  # refused later, with the number of cases there are
        ("7:7", []),
    ],
)
def test_positions(text, expected):
    assert parse_positions(text, 10) == expected


@pytest.mark.parametrize("text", ["", "a", "1:b", "1:2:3:4", "1,,2", "0:5:0", "1.5"])
def test_positions_that_do_not_read(text):
    with pytest.raises(ConfigError, match="times: found"):
        parse_positions(text, 10)


def start(*words):
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "labkit.cli", *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path, process, seconds=300):
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, f"{path.name} did not come"
        time.sleep(0.005)


def test_ctrl_c_in_training_ends_with_130_and_the_same_command_goes_on(tmp_path, run):
    """A program of its own gets the signal that the terminal sends; then the library goes on with the run."""
    folder = RunFolder(tmp_path / "run")
    process = start("train", "corrdiff", "--preset", "nano", "--run", folder.path, *TINY)
    wait_for(folder.checkpoint_path("regression-last"), process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert "Traceback" not in said and "stopped" in said
    load_checkpoint(folder.checkpoint_path("regression-last"))
    assert not list(folder.path.rglob("*.tmp"))
    recipes.train(tiny_config(), folder.path, quiet=True)
    assert_same_run(folder, RunFolder(run))
    assert load_header(folder.checkpoint_path("diffusion-last"))["samples"] == 96
