"""Scales in the terminal, of whatever has some: trees, runs, presets' data and data sets, and what a patch costs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
import yaml
from synthetic_tree import synthetic_tree, write_tree
from tiny_corrdiff import DATA, masked, tiny_config, trained_run, untrained

from labkit import cli, recipes
from labkit.cli import main
from labkit.cli import scales as cli_scales
from labkit.data.catalogue import open_pairs
from labkit.data.field_tree import baseline_channels, spread, tree_of
from labkit.errors import ConfigError, DataError
from labkit.recipes import probe as measuring
from labkit.recipes.probe import Probe
from labkit.recipes.scale_source import MOST_TIMES, open_scale_source, regression_tree
from labkit.verify.patch_size import remaining
from labkit.verify.scales import finest_quantity, reach_data, scale_fields, spectra_data

IDEALISED = ["start=2000-01-01", "end=2000-01-04", "step_h=7", "shape=[32, 32]", "factor=4"]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pairs():
    return open_pairs(
        {"name": "idealised"}
        | {
            k: yaml.safe_load(v) if k in ("step_h", "shape", "factor") else v
            for k, v in (word.split("=") for word in IDEALISED)
        }
    )


def assert_same(found, expected):
    """Equal but for the order in which matrix products of some shapes add up, which processors choose."""
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)


def test_a_data_set_is_a_tree_of_truth_and_interpolation(pairs):
    tree = tree_of(pairs)
    for name in pairs.target_channels:
        np.testing.assert_array_equal(tree["truth"][name], pairs.target.sel(channel=name))
        assert_same(tree["interpolation"][name], pairs.interpolated().sel(channel=name))
    assert tree["truth"]["t2m"].attrs["units"] == "K"
    assert tree["truth"]["t2m"].chunks and tree["interpolation"]["t2m"].chunks
    np.testing.assert_array_equal(tree["x"], pairs.target.x)


def test_what_was_not_observed_is_missing_and_what_the_input_lacks_has_no_baseline(pairs):
    hidden, seen = masked(pairs.isel(slice(0, 2)), np.random.default_rng(0))
    assert (np.isnan(tree_of(hidden)["truth"]["u10"].values) == ~seen).all()
    names = [name for name in pairs.input_channels if name != "t2m"]
    bare = pairs.select(input=names)
    assert baseline_channels(bare) == ["u10", "v10", "reflectivity"]
    tree = tree_of(bare)
    assert "t2m" not in tree["interpolation"].data_vars and "t2m" in tree["truth"].data_vars
    assert_same(tree["interpolation"]["v10"], bare.interpolated().sel(channel="v10"))
    assert (finest_quantity(tree, "t2m"), finest_quantity(tree, "u10")) == ("raw", "detail")


def test_interpolating_reads_the_input_alone(pairs):
    def never(block):
        raise AssertionError("the target was read")

    target = pairs.target.copy(data=pairs.target.data.map_blocks(never, dtype="f4", meta=np.empty((0,) * 4, "f4")))
    tree = tree_of(replace(pairs, target=target))
    assert_same(tree["interpolation"]["t2m"], pairs.interpolated().sel(channel="t2m"))
    with pytest.raises(AssertionError):
        tree["truth"]["t2m"].compute()


def test_some_of_many_times_evenly(pairs):
    few = spread(pairs, 4)
    np.testing.assert_array_equal(few.target.time, pairs.target.time[[0, 3, 7, 10]])
    assert spread(pairs, 11) is pairs


def test_details_are_what_the_interpolation_leaves(pairs):
    tree = tree_of(pairs)
    detail = scale_fields(tree, "t2m", quantity="detail")
    assert list(detail) == ["truth"]
    xr.testing.assert_allclose(detail["truth"], tree["truth"]["t2m"] - tree["interpolation"]["t2m"])
    with pytest.raises(DataError, match="residuals of t2m: found a tree with interpolation, truth"):
        scale_fields(tree, "t2m", quantity="residual")


def test_spectra_are_of_whole_fields_only(pairs):
    tree = tree_of(pairs)
    holes = tree.copy(deep=True)
    gaps = holes["truth"]["t2m"].values.copy()
    gaps[::2, 3, 5] = np.nan
    holes["truth"]["t2m"] = holes["truth"]["t2m"].copy(data=gaps)
    found = spectra_data(holes, "t2m")
    whole = spectra_data(tree, "t2m", times=range(1, len(pairs), 2))
    for source in ("truth", "interpolation"):
        np.testing.assert_allclose(found.spectra[source], whole.spectra[source], rtol=1e-6)
    holes["truth"]["t2m"] = holes["truth"]["t2m"].where(False)
    with pytest.raises(DataError, match="found missing cells at every time"):
        spectra_data(holes, "t2m")


def test_what_remains_at_a_distance_is_the_correlation_there():
    rho = xr.DataArray(
        [[[1, 0.8, 0.5, 0.2, np.nan], [1, 0.9, 0.6, 0.3, -0.1]]],
        dims=("variable", "direction", "cell"),
        coords={"variable": ["t2m"], "direction": ["y", "x"], "cell": range(5)},
    )
    reach = xr.Dataset({"rho": rho, "rho_low": rho - 0.1, "rho_high": rho + 0.2})
    left = remaining(reach, (2, 4), shape=(6, 8)).sel(variable="t2m")
    np.testing.assert_allclose(left.half, [0.8, 0.6])
    np.testing.assert_allclose(left.low, [0.7, 0.5])
    np.testing.assert_allclose(left.high, [1.0, 0.8])
    domain = remaining(reach, (6, 6), shape=(6, 8)).sel(variable="t2m")
    np.testing.assert_allclose(domain.half, [np.nan, 0.3])  # nothing lies beyond along y
    np.testing.assert_array_equal(domain.cut, [False, True])


def test_curves_are_those_that_the_lengths_are_of():
    tree = synthetic_tree(members=2, times=5, n=32, dx_km=8.0)
    assert finest_quantity(tree, "t2m") == "residual"
    reach = reach_data(tree, ["t2m", "u10"], quantity={"t2m": "raw", "u10": "residual"})
    fold = float(reach.e_folding.sel(variable="u10", direction="x")) / 8
    rho = reach.rho.sel(variable="u10", direction="x")
    assert float(rho.interp(cell=fold)) == pytest.approx(np.exp(-1), abs=1e-6)
    same = reach_data(tree, ["u10"], quantity="residual")
    assert float(same.zero_crossing.sel(variable="u10", direction="y")) == pytest.approx(
        float(reach.zero_crossing.sel(variable="u10", direction="y")), nan_ok=True
    )


def test_a_runs_residuals_are_those_of_its_own_regression():
    model = untrained()
    pairs = recipes.open_part(model.config, "validation").isel(slice(0, 3))
    tree = regression_tree(model, pairs)
    assert dict(tree["regression"].sizes) == {"time": 3, "y": 16, "x": 16}
    from labkit.data.batches import load

    conditions = model.conditions(load(pairs, [2], model.statistics))
    expected = model.physical(model.mean(conditions).cpu())[0]
    for i, name in enumerate(model.channels.target):
        np.testing.assert_allclose(tree["regression"][name][2], expected[i], rtol=1e-5, atol=1e-4)


def test_subjects_are_opened_by_path_or_name(tmp_path):
    run = open_scale_source(str(trained_run()))
    assert (
        run.kind == "run"
        and "regression" in run.tree.children
        and run.config.diffusion_network == tiny_config().diffusion_network
    )
    assert run.channels == (14, 2, 4) and run.factor == (4, 4) and not run.inferred
    assert len(run.pairs) == 45 and run.available == len(recipes.open_part(tiny_config(), "validation"))
    data = open_scale_source("idealised", IDEALISED)
    assert (data.kind, data.shown, data.available, data.shape) == ("data", 11, 11, (32, 32))
    preset = open_scale_source("nano", DATA)
    assert preset.config.data.options == tiny_config().data.options and preset.shown == 45
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tiny_config().model_dump(mode="json")))
    assert open_scale_source(str(tmp_path / "mine.yaml"), ["data.options.factor=8"]).factor == (8, 8)
    tree = write_tree(tmp_path / "tree.nc", synthetic_tree(members=2, times=2, n=16, dx_km=8.0))
    assert open_scale_source(str(tree)).kind == "tree"
    with pytest.raises(ConfigError, match=r"options of tree.nc: found a=1"):
        open_scale_source(str(tree), ["a=1"])
    with pytest.raises(ConfigError, match="what to look at: found 'nothing'"):
        open_scale_source("nothing")


def test_of_many_times_some_are_looked_at():
    many = open_scale_source("idealised", ["start=2000-01-01", "end=2001-01-01", "step_h=24", "shape=[16, 16]"])
    assert (many.shown, many.available) == (MOST_TIMES, 367)


def test_spectra_of_a_data_set(capsys, tmp_path):
    assert main(["spectra", "idealised", *IDEALISED, "--direction", "x", "--csv", str(tmp_path / "s.csv")]) == 0
    text = capsys.readouterr().out
    assert "11 times on 32 x 32 cells" in text and "input" in text
    assert "t2m,interpolation," in (tmp_path / "s.csv").read_text()
    assert main(["spectra", "idealised", "--residual", *IDEALISED]) == 0
    assert "residual of bilinear interpolation; the regression's own will be shorter" in capsys.readouterr().out


def test_patch_size_of_a_data_set_says_what_it_is_of_and_warns_of_the_data(capsys):
    assert main(["patch-size", "idealised", *IDEALISED]) == 0
    text = capsys.readouterr().out
    assert "residual of bilinear interpolation; the regression's own will be shorter" in text
    assert "below the 50,000 advised" in text and "coarsening" not in text
    shape = yaml.safe_load(text.split("# labkit\n")[1].split("\n\n")[0])["patch"]["shape"]
    assert all(side % 8 == 0 and side <= 32 for side in shape)  # eight: nano's network; four: coarse cells
    assert main(["patch-size", "idealised", *IDEALISED, "--multiple", "6"]) == 0
    sides = yaml.safe_load(capsys.readouterr().out.split("# labkit\n")[1].split("\n\n")[0])["patch"]["shape"]
    assert all(side % 12 == 0 for side in sides)  # six, in whole coarse cells of four
    assert text.count("\nmissed ") in (4, 8) or "nothing, the patch is the domain" in text
    assert text.count("CorrDiff's rule, the first zero") == 1
    assert main(["patch-size", "idealised", *IDEALISED[:3], "shape=[64, 64]", "factor=32", "--multiple", "4"]) == 0
    assert "coarsening by 32, beyond the 16 advised for the same variables" in capsys.readouterr().out


def test_patch_size_of_a_run_is_of_its_residuals(capsys):
    assert main(["patch-size", str(trained_run())]) == 0
    text = capsys.readouterr().out
    assert "t2m, u10, v10, reflectivity: residuals of the regression" in text
    assert "times on 16 x 16 cells" in text and "below the 50,000 advised" in text


def test_the_probe_is_of_the_patch_and_the_network_that_are_meant(capsys, monkeypatch):
    asked = {}

    def fake(config, **options):
        asked.update(options, preset=config.preset)
        return Probe(options["patch"], 4, 0.5, 0.1, 100.0, 20.0, 10.0, 4.0, 5.0, "CPU", "fp32")

    monkeypatch.setattr(measuring, "probe", fake)
    assert main(["patch-size", "idealised", *IDEALISED, "--probe", "--preset", "mini", "--batch", "4"]) == 0
    text = capsys.readouterr().out
    shape = tuple(yaml.safe_load(text.split("# labkit\n")[1].split("\n\n")[0])["patch"]["shape"])
    assert asked == {"preset": "mini", "channels": (14, 2, 4), "patch": shape, "shape": (32, 32)} | {
        "factor": (4, 4),
        "batch_size": 4,
    }
    assert "training: 8 patches a second, 8,000,000 of them in 12 days" in text
    assert "a batch of 256 in training takes 2.6 GB" in text  # 5 + 100 + 252 x 10 MB


def test_examples_in_the_help_are_accepted():
    for text in (cli_scales.SPECTRA_HELP, cli_scales.PATCH_HELP):
        lines = [line.strip() for line in text.splitlines() if line.startswith("  labkit ")]
        assert len(lines) >= 4
        for line in lines:
            words = line.split("   ")[0].split()[1:]
            assert cli._options(words).verb == words[0]
