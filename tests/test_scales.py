"""What a run's scales are, and the same in the terminal: known fields in a tree come back with their known lengths."""

import numpy as np
import pytest
import xarray as xr
import yaml
from synthetic_tree import synthetic_tree, write_tree

from labkit import recipes
from labkit.cli import main
from labkit.errors import DataError
from labkit.verify.scales import correlation_data, reach_data, scale_fields, scale_tables, spectra_data


@pytest.fixture(scope="module")
def tree():
    return synthetic_tree(members=4, times=6, n=32, dx_km=8.0)


def test_residuals_are_what_the_regression_leaves(tree):
    fields = scale_fields(tree, "t2m", quantity="residual", times=[1, 4])
    assert set(fields) == {"prediction", "truth", "oracle"}
    xr.testing.assert_allclose(fields["truth"], (tree["truth"]["t2m"] - tree["regression"]["t2m"]).isel(time=[1, 4]))
    box = scale_fields(tree, "t2m", box=(-128.0, -128.0, 0.0, -64.0))["truth"]
    assert dict(box.sizes) == {"time": 6, "y": 8, "x": 16}


def test_a_tree_without_regression_has_no_residuals(tree):
    bare = tree.copy()
    del bare["regression"]
    with pytest.raises(DataError, match="residuals of t2m: found a tree with"):
        spectra_data(bare, "t2m", quantity="residual")


def test_a_model_that_is_the_truth_is_resolved_and_a_smooth_one_is_not(tree):
    copy = tree.copy(deep=True)
    for k in range(4):
        copy["prediction"]["t2m"][k] = copy["truth"]["t2m"].values
    copy["regression"]["t2m"][:] = copy["truth"]["t2m"].rolling(x=3, y=3, center=True, min_periods=1).mean().values
    found = spectra_data(copy, "t2m")
    assert np.isnan(found.resolution["prediction"]) and np.isnan(found.seeming["prediction"])
    assert 16 < found.resolution["regression"] < 90  # three cells of 8 km
    np.testing.assert_allclose(found.spectra["prediction"].mean("ensemble"), found.spectra["truth"])
    assert (found.band.sel(bound="low") <= found.spectra["truth"]).all()
    once = spectra_data(copy, "t2m", times=[0])
    assert once.band is None
    assert np.isnan(once.resolution["regression"]) and np.isfinite(once.seeming["regression"])  # one time cannot tell


@pytest.mark.parametrize("along", ["x", "y"])
def test_a_wave_keeps_its_wavelength_on_cells_that_are_not_square(tree, along):
    """Cells of 4 x 8 km, along y and x: a wave of 32 km in every spectrum that has it."""
    copy = tree.copy(deep=True)
    copy.dataset = copy.to_dataset().assign_coords(y=copy.y / 2)
    copy["truth"]["t2m"][:] = np.cos(2 * np.pi * copy[along] / 32).broadcast_like(copy["truth"]["t2m"]).values
    for direction in (along, "radial"):
        truth = spectra_data(copy, "t2m", direction=direction, window=None).spectra["truth"]
        assert float(truth.wavelength[int(truth.argmax("wavenumber"))]) == pytest.approx(32, rel=0.02)


def test_lengths_have_intervals_that_hold_them(tree):
    found = correlation_data(tree, "t2m", quantity="residual", direction="x")
    length = float(found.lengths.e_folding.sel(source="truth"))
    low, high = found.bounds["e_folding"]
    assert low <= length <= high
    assert found.rose["truth"].sizes == {"angle": 12}


def test_reach_in_both_directions(tree):
    stretched = tree.copy(deep=True)
    rng = np.random.default_rng(0)
    waves = np.repeat(rng.standard_normal((6, 4, 32)), 8, axis=1)  # eight rows alike: longer along y
    stretched["truth"]["t2m"][:] = waves
    reach = reach_data(stretched, ["t2m"], quantity="raw")
    along_y, along_x = (float(reach.e_folding.sel(variable="t2m", direction=d)) for d in "yx")
    assert along_y > 3 * along_x


def test_the_terminal_tells_scales_and_patch(tree, tmp_path, capsys):
    path = write_tree(tmp_path / "tree.nc", tree)
    assert main(["spectra", str(path), "--direction", "x", "--csv", str(tmp_path / "s.csv")]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("t2m", "reflectivity", "zero [km]", "model"))
    assert max(map(len, text.splitlines()[2:7])) <= 100
    expected, _ = scale_tables(tree, direction="x")
    assert f"{expected.e_folding['v10']:.3g} (" in text
    assert (tmp_path / "s.csv").read_text().startswith("variable,source,wavenumber,psd")
    assert main(["patch-size", str(path), "--raw", "--multiple", "8"]) == 0
    text = capsys.readouterr().out
    lines = text.split("# labkit\n")[1].split("\n\n")[0]
    patch = recipes.load_preset("nano", [f"patch={yaml.safe_load(lines)['patch']}"]).patch
    assert all(side % 8 == 0 and side <= 32 for side in patch.shape)
    assert "needs most" in text or "All of it is taken" in text


def test_the_terminal_refuses_residuals_without_a_regression(tree, tmp_path, capsys):
    bare = tree.copy()
    del bare["regression"]
    path = write_tree(tmp_path / "bare.nc", bare)
    assert main(["patch-size", str(path)]) == 1
    assert "labkit: residuals of" in capsys.readouterr().err


@pytest.mark.parametrize("direction", ["radial", "x"])
def test_without_a_truth_the_members_are_looked_at(tree, direction):
    blind = tree.copy()
    blind["truth"] = blind["truth"].to_dataset() * np.nan
    seen, found = (spectra_data(one, "t2m", direction=direction) for one in (tree, blind))
    assert "truth" not in found.spectra and found.judge == "prediction" and not found.resolution
    xr.testing.assert_allclose(found.spectra["prediction"], seen.spectra["prediction"])
    seen, found = (correlation_data(one, "t2m", quantity="residual", direction=direction) for one in (tree, blind))
    assert set(found.rho) == set(seen.rho) - {"truth"}
    xr.testing.assert_allclose(found.rho["prediction"], seen.rho["prediction"])
    low, high = found.bounds["e_folding"]
    assert low < found.lengths.e_folding.sel(source="prediction") < high
    assert set(scale_tables(blind)[0].judge) == {"prediction"}


def test_the_reach_of_members_is_that_of_one_field_where_they_are_all_alike(tree):
    alike = tree.copy()
    truth = tree["truth"].to_dataset(inherit=False)
    alike["prediction"] = truth.expand_dims(ensemble=4)
    alike["truth"] = truth * np.nan
    seen, found = (reach_data(one, ["t2m"], quantity="raw") for one in (tree, alike))
    assert list(found.judge.values) == ["prediction"] and list(seen.judge.values) == ["truth"]
    xr.testing.assert_allclose(found.drop_vars("judge"), seen.drop_vars("judge"))


def test_the_terminal_says_that_there_is_no_truth(tree, tmp_path, capsys):
    blind = tree.copy()
    blind["truth"] = blind["truth"].to_dataset() * np.nan
    path = write_tree(tmp_path / "blind.nc", blind)
    for line in (["spectra", str(path)], ["patch-size", str(path), "--raw"]):
        main(line)
        said = capsys.readouterr().out
        assert "no truth of" in said and "the members are looked at" in said
