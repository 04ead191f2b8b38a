"""Output trees of ours are written so that nothing is lost or half-valid, whatever stops the writing."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from tiny_trees import FORMATS, NX, NY, TIMES, channels, fill, member, writer

from labkit.errors import DataError, OutOfSpace
from labkit.grid import spacing_known
from labkit.store.tree_writer import TreeWriter
from labkit.store.trees import FIELD_DIMS, MEMBER_DIMS, open_tree


@FORMATS
def test_what_was_written_is_read_back(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    crs = {"grid_mapping_name": "lambert_conformal_conic", "standard_parallel": [10.0, 40.0]}
    output = writer(path, attrs={"solver": "heun", "steps": 12, "crs": crs, "law": {"a": [1]}}, with_oracle=True)
    fill(output)
    for key in output.missing("oracle"):
        assert output.write_member(*key, -member(*key), "oracle")
    for time_index in range(TIMES):
        output.write_regression(time_index, member(time_index, 9))
    assert output.finish() == path and not output.folder.exists()
    tree = open_tree(path)
    assert set(tree.children) == {"input", "truth", "prediction", "regression", "interpolation", "oracle"}
    for t, m in np.ndindex(TIMES, 3):
        np.testing.assert_array_equal(tree["prediction/u10"][m, t], member(t, m)[1])
        np.testing.assert_array_equal(tree["oracle/t2m"][m, t], -member(t, m)[0])
    np.testing.assert_array_equal(tree["regression/u10"][2], member(2, 9)[1])
    np.testing.assert_array_equal(tree["input/tcwv"], channels("abc", seed=1)[:, 2])
    np.testing.assert_array_equal(tree["interpolation/t2m"], channels(["t2m", "u10"], seed=2)[:, 0])
    truth = channels(["t2m", "u10"])
    for name in ("time", "x", "y", "lat", "lon"):
        np.testing.assert_array_equal(tree[name], truth[name])
    np.testing.assert_array_equal(tree.ensemble, [0, 1, 2])
    assert list(tree.attrs["seeds"]) == [7, 8, 9] and tree.attrs["steps"] == 12
    assert json.loads(tree.attrs["law"]) == {"a": [1]} and "labkit" in tree.attrs["history"]
    assert tree["crs"].attrs["grid_mapping_name"] == "lambert_conformal_conic"
    assert tree["truth/t2m"].attrs["units"] == "K" and tree["truth/t2m"].attrs["grid_mapping"] == "crs"


def test_corrdiff_tools_find_their_names_in_our_file(tmp_path):
    truth = channels(["t2m", "u10"]).assign_coords(time=pd.date_range("2021-09-12", periods=TIMES, freq="1h"))
    fill(writer(tmp_path / "out.nc", truth=truth)).finish()
    with netCDF4.Dataset(tmp_path / "out.nc") as file:
        assert set(file.groups) == {"input", "truth", "prediction", "interpolation"}
        assert file["prediction/u10"].dimensions == MEMBER_DIMS and file["truth/u10"].dimensions == FIELD_DIMS
        assert file["time"].units == "hours since 1990-01-01 00:00:00" and file["time"].dtype == np.int64
        first = netCDF4.num2date(file["time"][0], file["time"].units)
        assert first.isoformat() == "2021-09-12T00:00:00"
        assert file["lat"].dimensions == ("y", "x") and file["truth/u10"].coordinates == "lat lon"
        assert file["truth/u10"].standard_name == "eastward_wind" and file.Conventions.startswith("CF-")


def test_order_of_dimensions_given_to_the_writer_does_not_matter(tmp_path):
    truth = channels(["t2m", "u10"]).transpose("x", "channel", "time", "y")
    fill(writer(tmp_path / "out.nc", truth=truth.chunk(time=2))).finish()
    np.testing.assert_array_equal(open_tree(tmp_path / "out.nc")["truth/u10"], channels(["t2m", "u10"])[:, 1])


def test_many_members_are_laid_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("labkit.store.tree_assembly._CHUNK_BYTES", 2 * 4 * NY * NX)
    fill(writer(tmp_path / "out.nc", seeds=range(5))).finish()
    tree = open_tree(tmp_path / "out.nc")
    for t, m in np.ndindex(TIMES, 5):
        np.testing.assert_array_equal(tree["prediction/t2m"][m, t], member(t, m)[0])
    with netCDF4.Dataset(tmp_path / "out.nc") as file:
        assert file["prediction/t2m"].chunking() == [2, 1, NY, NX]


@FORMATS
def test_rounding_makes_it_smaller_and_keeps_the_digits(tmp_path, suffix):
    def size(path):
        return sum(f.stat().st_size for f in [path, *path.rglob("*")] if f.is_file())

    dims = ("time", "channel", "y", "x")
    shape, options = (2, 96, 96), {"y": np.arange(96.0), "x": np.arange(96.0)}
    rng = np.random.default_rng(0)
    truth = xr.DataArray(280 + rng.standard_normal((1, *shape)), options | {"channel": ["t2m", "u10"]}, dims)
    drawn = 280 + rng.standard_normal(shape).astype(np.float32)
    sizes = {}
    for name, digits in (("full", None), ("short", {"t2m": 1, "u10": 1})):
        path = tmp_path / f"{name}{suffix}"
        output = TreeWriter(path, truth=truth, inputs=truth, seeds=[1], attrs={})
        output.write_member(0, 0, drawn)
        sizes[name] = size(output.finish(digits=digits))
        found = open_tree(path)["prediction/t2m"][0, 0].values
        np.testing.assert_allclose(found, drawn[0], atol=0.05 if digits else 0, rtol=0)
    assert sizes["short"] < 0.65 * sizes["full"]


def test_member_that_is_not_finite_is_reported_and_never_written(tmp_path):
    output = writer(tmp_path / "out.nc")
    broken = member(0, 1)
    broken[1, 2, 3] = np.inf
    assert output.write_member(0, 1, broken) is False
    assert output.manifest["rejected"] == [
        {"group": "prediction", "time_index": 0, "member": 1, "reason": "not finite in u10"}
    ]
    fill(output, [key for key in output.missing() if key != (0, 1)])
    assert output.missing() == [(0, 1)]
    with pytest.raises(DataError, match="1 pieces missing"):
        output.finish()
    assert not output.path.exists()
    output.finish(allow_missing=True)
    tree = open_tree(output.path)
    assert np.isnan(tree["prediction/t2m"][1, 0]).all() and int(np.isnan(tree["prediction/t2m"]).sum()) == NY * NX
    assert tree.attrs["missing_members"] == "prediction: time 0 member 1"


def test_rejected_member_drawn_again_is_no_longer_rejected(tmp_path):
    output = writer(tmp_path / "out.nc")
    output.write_member(0, 0, member(0, 0) * np.nan)
    assert output.write_member(0, 0, member(0, 0)) and output.manifest["rejected"] == []


@pytest.mark.parametrize(
    ("key", "shape", "words"),
    [((0, 0), (3, NY, NX), "shape"), ((0, 0), (2, NX, NY), "shape"), ((0, 3), (2, NY, NX), "members 0 to 2")],
)
def test_members_that_do_not_fit_are_refused(tmp_path, key, shape, words):
    with pytest.raises(DataError, match=words):
        writer(tmp_path / "out.nc").write_member(*key, np.zeros(shape, np.float32))


def test_fields_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(DataError, match="input over"):
        writer(tmp_path / "out.nc", inputs=channels(["t850"]).isel(x=slice(4)))
    with pytest.raises(DataError, match="each name once"):
        writer(tmp_path / "out.nc", inputs=channels(["t850", "t850"]))
    with pytest.raises(DataError, match=r"\.nc or \.zarr"):
        writer(tmp_path / "out.grib")
    assert list(tmp_path.iterdir()) == []


def test_begun_regression_must_be_whole(tmp_path):
    output = fill(writer(tmp_path / "out.nc"))
    output.write_regression(1, member(1, 0))
    assert output.missing("regression") == [(0, 0), (2, 0)]
    with pytest.raises(DataError, match="regression member 0 of time 0"):
        output.finish()


KILLED = """
import sys; sys.path.insert(0, {tests!r})
from tiny_trees import member, writer
output = writer({path!r})
for key in output.missing():
    output.write_member(*key, member(*key))
    print(len(output.missing()), flush=True)
"""


def test_killed_writer_goes_on_where_it_was(tmp_path):
    path = tmp_path / "out.nc"
    script = KILLED.format(tests=str(Path(__file__).parent), path=str(path))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        while int(process.stdout.readline()) > 6:
            pass
        process.send_signal(signal.SIGKILL)
    assert not path.exists()
    output = writer(path)
    left = output.missing()
    assert 0 <= len(left) <= 6
    fill(output)
    output.finish()
    tree = open_tree(path)
    for t, m in np.ndindex(TIMES, 3):
        np.testing.assert_array_equal(tree["prediction/t2m"][m, t], member(t, m)[0])


def test_torn_pieces_and_temporary_files_count_as_missing(tmp_path):
    output = fill(writer(tmp_path / "out.nc"))
    piece = next(output.folder.glob("prediction-t000001-m00002*"))
    piece.write_bytes(piece.read_bytes()[:-5])
    (output.folder / ".prediction-t000000-m00000.npy.1.tmp").write_bytes(b"\0" * 10_000)
    assert writer(tmp_path / "out.nc").missing() == [(1, 2)]


@FORMATS
def test_failure_while_assembling_keeps_the_members_and_the_old_file(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"out{suffix}"
    fill(writer(path)).finish()
    output = fill(writer(path, seeds=[1, 2, 3]))
    with monkeypatch.context() as patch:
        patch.setattr("labkit.store.tree_writer.os.replace", _full_disk)
        with pytest.raises(OutOfSpace, match="no room left"):
            output.finish()
    assert list(open_tree(path).attrs["seeds"]) == [7, 8, 9]
    assert {item.name for item in tmp_path.iterdir()} == {path.name, output.folder.name}
    with writer(path, seeds=[1, 2, 3]) as again:
        assert again.missing() == []
        again.finish()
    assert list(open_tree(path).attrs["seeds"]) == [1, 2, 3]
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def _full_disk(*args, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FULL = """
import resource, sys; sys.path.insert(0, {tests!r})
from tiny_trees import fill, writer
output = writer({path!r}, seeds=range(40))
fill(output)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, -1))
output.finish()
"""


def test_disk_that_fills_up_while_members_are_written_or_assembled(tmp_path, monkeypatch):
    output = fill(writer(tmp_path / "out.nc"), [(0, 0), (0, 1)])
    with monkeypatch.context() as patch:
        patch.setattr("numpy.save", _full_disk)
        with pytest.raises(OutOfSpace, match="finished pieces are kept"):
            output.write_member(0, 2, member(0, 2))
    assert output.missing()[0] == (0, 2) and not list(output.folder.glob(".*"))

    script = FULL.format(tests=str(Path(__file__).parent), path=str(tmp_path / "big.nc"))
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 1 and "labkit.errors.OutOfSpace" in result.stderr.splitlines()[-1], result.stderr
    assert not (tmp_path / "big.nc").exists()
    again = writer(tmp_path / "big.nc", seeds=range(40))
    assert again.missing() == [] and not list(again.folder.glob("assembling*"))
    again.finish()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_called_full_whatever_the_library_says(tmp_path, monkeypatch, code):
    """NetCDF says "HDF error" or "Permission denied" and NumPy no reason: the system knows it."""
    output = fill(writer(tmp_path / "out.nc"))

    def full(*args, **options):
        raise OSError(code, os.strerror(code))

    for said in (RuntimeError("NetCDF: HDF error"), PermissionError(errno.EACCES, "Permission denied")):
        with monkeypatch.context() as patch:
            patch.setattr("labkit.store.tree_writer.write_tree", Mock(side_effect=said))
            patch.setattr("labkit.store.atomic.os.fsync", full)
            with pytest.raises(OutOfSpace, match="no room left"):
                output.finish()
    with monkeypatch.context() as patch:
        patch.setattr("labkit.store.tree_writer.write_tree", Mock(side_effect=said))
        with pytest.raises(DataError, match="change its permissions"):
            output.finish()
    assert [item.name for item in tmp_path.iterdir()] == ["out.nc.partial"]
    assert not list(output.folder.glob("[!p]*.nc")) and output.finish().exists()


def test_more_than_the_disk_holds_is_refused_before_any_member_is_drawn(tmp_path):
    begun = time.perf_counter()
    with pytest.raises(OutOfSpace, match=r"free on the disk, expected room for .* GB"):
        writer(tmp_path / "out.nc", seeds=range(10**15))
    assert time.perf_counter() - begun < 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_folder_of_anything_else_is_never_replaced(tmp_path, suffix):
    (tmp_path / f"mine{suffix}").mkdir()
    (tmp_path / f"mine{suffix}" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="a folder of that name"):
        writer(tmp_path / f"mine{suffix}")
    assert (tmp_path / f"mine{suffix}" / "thesis.txt").read_text() == "years of work"


@FORMATS
def test_every_variable_of_our_groups_is_a_field_to_corrdiffs_own_scores(tmp_path, suffix):
    """Its score_samples.py merges root and group and takes what is no coordinate for a field over y and x."""
    path = tmp_path / f"out{suffix}"
    fill(writer(path, attrs={"crs": {"grid_mapping_name": "lambert_conformal_conic"}})).finish()
    engine = {"engine": "zarr", "consolidated": False} if suffix == ".zarr" else {"engine": "netcdf4"}
    root, truth, members = (xr.open_dataset(path, group=group, **engine) for group in (None, "truth", "prediction"))
    truth, members = (group.merge(root).set_coords(["lon", "lat"]) for group in (truth, members))
    error = xr.apply_ufunc(
        lambda a, b: np.sqrt(((a - b) ** 2).mean((-2, -1))),
        truth,
        members.mean("ensemble"),
        input_core_dims=[["x", "y"]] * 2,
    )
    assert set(error.data_vars) == {"t2m", "u10"} and np.isfinite(error.t2m).all()
    assert root.crs.attrs["grid_mapping_name"] == "lambert_conformal_conic"  # and GIS still finds its map


def test_a_damaged_request_or_piece_is_named_and_nothing_wrong_is_assembled(tmp_path):
    output = fill(writer(tmp_path / "out.nc"))
    piece = output.folder / "prediction-t000001-m00002.npy"
    raw = piece.read_bytes()
    piece.write_bytes(raw.replace(b"<f4", b">f4"))  # as many bytes, and every number another
    with pytest.raises(DataError, match=r"damaged piece, prediction-t000001-m00002\.npy"):
        output.finish()
    assert output.missing() == [(1, 2)]
    for text in ("[]", '{"attrs": 3}', '{"fingerprint": [[1], [1, 2]]}', "[" * 100_000):
        (output.folder / "manifest.json").write_text(text)
        with pytest.raises(DataError, match=r"manifest\.json"):
            writer(tmp_path / "out.nc")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seeds": [7, 8]}, "seeds"),
        ({"attrs": {"solver": "euler"}}, "attrs.solver"),
        ({"truth": channels(["t2m", "u10"], seed=5)}, "the truth"),
        ({"with_oracle": True}, "with_oracle"),
    ],
)
def test_half_written_output_of_another_request_is_not_touched(tmp_path, change, named):
    first = fill(writer(tmp_path / "out.nc"), [(0, 0)])
    with pytest.raises(DataError, match=named):
        writer(tmp_path / "out.nc", **change)
    assert len(first.missing()) == 8
    assert len(writer(tmp_path / "out.nc", resume=False).missing()) == 9


def test_history_may_differ_between_the_runs_that_share_a_request(tmp_path):
    fill(writer(tmp_path / "out.nc", attrs={"history": "yesterday"}), [(0, 0)])
    assert len(writer(tmp_path / "out.nc", attrs={"history": "today"}).missing()) == 8


def test_exception_inside_the_writer_keeps_what_was_finished(tmp_path):
    with pytest.raises(KeyboardInterrupt), writer(tmp_path / "out.nc") as output:
        output.write_member(0, 0, member(0, 0))
        raise KeyboardInterrupt
    assert len(writer(tmp_path / "out.nc").missing()) == 8 and not (tmp_path / "out.nc").exists()


def test_damaged_manifest_is_named(tmp_path):
    (writer(tmp_path / "out.nc").folder / "manifest.json").write_text("{")
    with pytest.raises(DataError, match=r"manifest\.json"):
        writer(tmp_path / "out.nc")


def test_units_of_unknown_variables_are_written_and_axes_that_nobody_knows_have_none(tmp_path):
    given = {name: channels(["t2m", "skin"], seed=seed) for seed, name in enumerate(("truth", "interpolation"))}
    given |= {"inputs": channels(["tcwv"], seed=2)}
    told = {name: array.assign_coords(units=("channel", ["K", "degC"][: array.sizes["channel"]]))
            for name, array in given.items()}  # fmt: skip
    bare = {name: array.drop_vars(["x", "y", "lat", "lon"]) for name, array in told.items()}
    for fields, known in ((told, True), (bare, False)):
        output = writer(tmp_path / f"{known}.nc", **fields)
        for key in output.missing():
            output.write_member(*key, member(*key))
        tree = open_tree(output.finish())
        assert tree["prediction/skin"].attrs["units"] == tree["truth/skin"].attrs["units"] == "degC"
        assert tree["prediction/t2m"].attrs["units"] == "K" and spacing_known(tree) is known
