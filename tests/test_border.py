"""The border: whatever is wrong with a stranger's file is a sentence that names it, at opening and while computing."""

import gzip
import os
import pickle
import time
import tracemalloc
import zipfile
from functools import partial

import netCDF4
import numpy as np
import pytest
import xarray as xr
import yaml
from test_files import FACTOR, fields
from test_radar import random_image, write_pgm
from tiny_corrdiff import trained_run
from tiny_trees import TIMES, corrdiff_file, fill, writer

from labkit.border import SMALL_BYTES, check_size, parse_yaml, read_json, read_yaml
from labkit.cli import main
from labkit.data.batches import Batches, load
from labkit.data.files import open_files
from labkit.data.radar.pgm import read_header, read_image
from labkit.data.statistics import Statistics, compute_statistics
from labkit.errors import CheckpointError, ConfigError, DataError
from labkit.store.checkpoints import load_checkpoint
from labkit.store.runs import RunFolder
from labkit.store.trees import open_tree
from labkit.verify.scores import score_tree
from labkit.verify.spectra import power_spectrum

CHECKED = {"fletcher32": True}  # every chunk with its sum, as the better archives write them


def torn(path, values):
    """The file with one byte of these values turned over, far from all metadata."""
    raw = bytearray(path.read_bytes())
    place = raw.find(np.ascontiguousarray(values).tobytes())
    assert place > 0
    raw[place + 5] ^= 255
    path.write_bytes(bytes(raw))
    return path


def torn_pair(tmp_path):
    """A coarse file, and a fine one that opens and cannot be read to its end."""
    fields(factor=FACTOR).to_netcdf(tmp_path / "coarse.nc")
    noise = fields().map(lambda v: v + np.random.default_rng(0).standard_normal(v.shape))
    noise.to_netcdf(tmp_path / "fine.nc", encoding=dict.fromkeys(noise.data_vars, CHECKED))
    return tmp_path / "coarse.nc", torn(tmp_path / "fine.nc", noise.t2m.values[3, 5])


def torn_tree(tmp_path):
    path = tmp_path / "tree.nc"
    fill(writer(tmp_path / "whole.nc")).finish()
    with xr.open_datatree(tmp_path / "whole.nc") as tree:
        groups = [group for group in tree.subtree if group.name and group.data_vars]
        encoding = {group.path: dict.fromkeys(group.data_vars, CHECKED) for group in groups}
        for variable in (v for group in groups for v in group.data_vars.values()):
            variable.encoding = {}
        values = tree["prediction/t2m"].values[2, 1, 3]
        tree.load().to_netcdf(path, encoding=encoding)
    return torn(path, values)


def test_a_damaged_chunk_met_while_computing_names_the_file(tmp_path):
    with open_tree(torn_tree(tmp_path)) as tree, pytest.raises(DataError, match=r"tree\.nc: found a damaged file"):
        score_tree(tree)
    pairs = open_files(*torn_pair(tmp_path))
    statistics = Statistics.load(RunFolder(trained_run()).statistics_path)
    for reading in (
        pairs.target.compute,
        partial(compute_statistics, pairs),
        partial(load, pairs, [0, 5], statistics),
        partial(next, Batches(pairs, statistics, batch_size=2, seed=0)),
    ):
        with pytest.raises(DataError, match=r"fine\.nc: found a damaged file"):
            reading()


def test_values_behind_the_border_are_those_of_the_file_and_can_be_sent_to_workers(tmp_path):
    fields().to_netcdf(tmp_path / "fine.nc", encoding={"t2m": {"chunksizes": (2, 12, 20)}})
    fields(factor=FACTOR).to_netcdf(tmp_path / "coarse.nc")
    target = pickle.loads(pickle.dumps(open_files(tmp_path / "coarse.nc", tmp_path / "fine.nc").target))
    for name in ("t2m", "u10"):
        found = target.sel(channel=name).isel(time=[4, 1])[:, ::-1, 3:9:2]
        wanted = fields()[name].isel(time=[4, 1]).values[:, ::-1, 3:9:2]
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (os.mkfifo, "a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
        (lambda path: (path.mkdir(), os.mkfifo(path / "zarr.json")), "pipe"),
        (lambda path: path.symlink_to(path.name), "no file"),
        (lambda path: None, "no such file"),
    ],
)
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path, capsys, make, said):
    path = tmp_path / "odd"
    make(path)
    for words in (
        ["score", path],
        ["spectra", "files", f"input={path}", f"target={path}"],
        ["track", path],
        ["track", path, "--best-track", path],
    ):
        assert main(list(map(str, words))) in (1, 2)
        assert "Traceback" not in capsys.readouterr().err
    for read, kind in ((open_tree, DataError), (load_checkpoint, CheckpointError), (Statistics.load, DataError)):
        with pytest.raises(kind, match=said if read is open_tree else "odd"):
            read(path)


def declaring(path, **sizes):
    """A tree of any size in which nothing was written."""
    sizes = {"time": 1, "ensemble": 2, "y": 8, "x": 8} | sizes
    with netCDF4.Dataset(path, "w") as file:
        for name, size in sizes.items():
            file.createDimension(name, size)
        file.createVariable("ensemble", "i8", ("ensemble",), chunksizes=(min(1000, sizes["ensemble"]),))
        for group, dims in (("truth", ("time", "y", "x")), ("prediction", ("ensemble", "time", "y", "x"))):
            chunks = [min(sizes[dim], 64) for dim in dims]
            file.createGroup(group).createVariable("u10", "f4", dims, chunksizes=chunks, zlib=True)
    return path


@pytest.mark.parametrize("sizes", [{"y": 100_000, "x": 100_000}, {"ensemble": 1_000_000_000}, {"time": 10**9}])
def test_more_than_a_small_file_can_hold_is_refused_before_it_is_asked_for(tmp_path, sizes):
    path = declaring(tmp_path / "tree.nc", **sizes)
    begun = time.perf_counter()
    tracemalloc.start()
    with pytest.raises(DataError, match=r"tree\.nc: found .* GB declared by"):
        open_tree(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**25 and time.perf_counter() - begun < 5


def test_what_packs_well_is_let_in(tmp_path):
    """Zeros, as of a dry day: deflate packs them a thousand to one, and no file of ours is refused for it."""
    dry = xr.Dataset({"tp": (("time", "y", "x"), np.zeros((80, 1000, 1000), "f4"))})
    dry.to_netcdf(tmp_path / "dry.nc", encoding={"tp": {"zlib": True, "chunksizes": (1, 1000, 1000)}})
    assert (tmp_path / "dry.nc").stat().st_size < dry.tp.nbytes / 900 and dry.tp.nbytes > SMALL_BYTES
    check_size(tmp_path / "dry.nc", "dry", [(dry.tp.shape, 4, (1, 1000, 1000))])
    with pytest.raises(DataError, match="one piece"):
        check_size(tmp_path / "dry.nc", "dry", [((1, 9000, 9000), 4, ())])


def test_times_never_written_are_left_out_and_said(tmp_path, caplog):
    path = corrdiff_file(tmp_path / "stopped.nc")
    with open_tree(path) as tree:
        whole = tree["prediction/10u"].values
    with netCDF4.Dataset(path, "a") as file:
        file["time"][TIMES - 1] = netCDF4.default_fillvals["i8"]
    with open_tree(path) as tree:
        assert [str(time)[:13] for time in tree.time.values] == ["1990-01-02T00", "1990-01-02T01"]
        np.testing.assert_array_equal(tree["prediction/10u"], whole[:, : TIMES - 1])
    assert "stopped.nc: 1 of 3 times were never written and are left out" in caplog.text
    with netCDF4.Dataset(path, "a") as file:
        file["time"][:] = netCDF4.default_fillvals["i8"]
    with pytest.raises(DataError, match="nothing along time"):
        open_tree(path)


@pytest.mark.parametrize("units", ["hours since 0000-00-00", "days since 9999-12-31", "hours since the flood"])
def test_dates_that_no_calendar_has_are_refused_or_read(tmp_path, units):
    path = corrdiff_file(tmp_path / "odd.nc")
    with netCDF4.Dataset(path, "a") as file:
        file["time"].units, file["time"][:] = units, np.array([1, 2, 10**15])
    with pytest.raises(DataError, match=r"odd\.nc"):
        open_tree(path)


def test_text_among_the_fields_is_no_field(tmp_path):
    path = corrdiff_file(tmp_path / "tree.nc")
    with netCDF4.Dataset(path, "a") as file:
        for group in ("truth", "prediction"):
            dims = file[group]["10u"].dimensions
            file[group].createVariable("label", str, dims)
            file[group].createVariable("when", "i8", dims).units = "hours since 2000-01-01"
    tree = open_tree(path)
    assert set(tree["prediction"].data_vars) == set(tree["truth"].data_vars) == {"10u", "10v"}
    assert np.isfinite(score_tree(tree).rmse).any()


def bomb(levels):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb(12), "alias"),
        ("a: &a [*a]", "alias"),
        ("a: &a {b: 1}\nc:\n  <<: *a\n", "alias"),
        ("[" * 50_000, "nested too deep"),
        ('{"a":' * 50_000, "nested too deep"),
        ("a: 2001-99-99", "month"),
        ("a: !!timestamp soon", "YAML"),
        ("a: !!bool perhaps", "perhaps"),
        ("a: !!python/object/apply:os.system ['true']", "constructor"),
        ("a: " + "9" * 5000, "digits"),
        ("a: b: c", "line 1"),
    ],
)
def test_yaml_that_hides_something_is_refused(tmp_path, text, said):
    begun = time.perf_counter()
    (tmp_path / "mine.yaml").write_text(text)
    for read in (partial(parse_yaml, text, "mine.yaml"), partial(read_yaml, tmp_path / "mine.yaml", "mine.yaml")):
        with pytest.raises(ConfigError, match=r"mine\.yaml: found no YAML") as caught:
            read()
        assert said in str(caught.value) and "\n" not in str(caught.value)
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize("text", ["a: 1\nb: {c: [1, 2.5, null, true], d: 2001-02-03}", "[]", "3", "a: '*b &c'", ""])
def test_other_yaml_is_read_as_ever(text):
    assert parse_yaml(text, "mine") == yaml.safe_load(text)


@pytest.mark.parametrize("raw", ["title: caf\xe9".encode("latin-1"), "a: 1".encode("utf-16"), b"# " + b"x" * 2**20])
def test_texts_that_are_none_or_too_long_are_refused(tmp_path, raw):
    (tmp_path / "mine.yaml").write_bytes(raw)
    with pytest.raises(ConfigError, match=r"mine.yaml: found (no text|more than that)"):
        read_yaml(tmp_path / "mine.yaml", "mine.yaml")
    assert main(["spectra", str(tmp_path / "mine.yaml")]) == 2


def test_json_nested_too_deep_is_refused(tmp_path):
    (tmp_path / "s.json").write_text('{"a":' * 100_000)
    with pytest.raises(DataError, match="nested too deep"):
        read_json(tmp_path / "s.json", "s.json")
    with pytest.raises(DataError, match=r"statistics s\.json"):
        Statistics.load(tmp_path / "s.json")


def test_a_packed_image_is_unpacked_no_further_than_its_pixels(tmp_path):
    image = random_image(shape=(34, 21))
    path = write_pgm(tmp_path, image)
    path.write_bytes(path.read_bytes() + gzip.compress(bytes(2**24)) * 64)  # a gigabyte behind it
    header = read_header(path)
    tracemalloc.start()
    np.testing.assert_array_equal(read_image(path, header), image[::-1])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**22
    big = write_pgm(tmp_path, image, time="201609281450")
    big.write_bytes(gzip.compress(gzip.decompress(big.read_bytes()).replace(b"\n21 34\n", b"\n74000 74000\n")))
    with pytest.raises(DataError, match=r"201609281450\.pgm\.gz: found .* GB declared by"):
        read_header(big)


@pytest.mark.parametrize("read", [open_tree, load_checkpoint, lambda path: RunFolder(path).load_config()])
def test_a_physicsnemo_checkpoint_is_called_by_its_name(tmp_path, read):
    path = tmp_path / "UNet.0.1000.mdlus"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.pt", b"\x80\x02.")
    with pytest.raises((DataError, CheckpointError), match=r"a PhysicsNeMo checkpoint.*generate\.py") as caught:
        read(path)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize(("shape", "dim"), [((1, 1), "radial"), ((1, 8), "radial"), ((8, 1), "x"), ((1, 8), "y")])
def test_a_line_of_cells_has_no_waves_across_it(shape, dim):
    field = xr.DataArray(np.zeros(shape), dims=("y", "x"))
    with pytest.raises(DataError, match=r"spectrum: found .*1.* cells"):
        power_spectrum(field, spacing_km=(1.0, 1.0), dim=dim)
