"""Hand-made odd files of every format: what a stopped run, another tool or a hostile person leaves behind."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr

Odd = Callable[[Path], None]
TREES = ("tree.nc", "tree.zarr")
BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
)


def odd_files(kind: str) -> dict[str, Odd]:
    """{what is odd: function that makes the good file at a path so}."""
    odd: dict[str, Odd] = {f"{name} in its place": partial(_replaced, make) for name, make in NO_FILES.items()}
    if kind in TREES:
        odd |= {name: partial(_tree, change) for name, change in {**FIELDS, **AXES, **TIMES}.items()}
    if kind == "tree.nc":
        odd |= NETCDF
    if kind == "tree.zarr":
        odd |= ZARR
    if kind == "corrdiff.nc":
        odd |= {"times never written": partial(_unwritten, 1), "no time written": partial(_unwritten, 9)}
    if kind in ("fine.nc", "coarse.nc"):
        odd |= {name: partial(_dataset, change) for name, change in PAIRS.items()}
    if kind in TEXTS:
        odd |= {name: partial(_bytes, raw) for name, raw in {**TEXT, **TEXTS[kind]}.items()}
    if kind == "radar.pgm":
        odd |= PGM
    if kind in ("run", "stopped"):
        texts = TEXT | JSON
        odd |= {f"{file}: {name}": partial(_within, file, raw) for file in RUN for name, raw in texts.items()}
        odd |= {f"header {name}": partial(_header, change) for name, change in HEADERS.items()}
    return odd


def _gone(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _replaced(make: Odd, path: Path) -> None:
    _gone(path)
    make(path)


def _bytes(raw: bytes, path: Path) -> None:
    path.write_bytes(raw)


def _listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        os.chdir(path.parent)  # names of sockets are short
        one.bind(path.name)


def _modulus(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("args.json", "{}")
        archive.writestr("model.pt", b"\x80\x02.")


NO_FILES: dict[str, Odd] = {
    "nothing": lambda path: None,
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
    "a folder of a pipe": lambda path: (path.mkdir(), os.mkfifo(path / "zarr.json")),
    "a socket": _listening,
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "an empty file": lambda path: path.write_bytes(b""),
    "a text": lambda path: path.write_text("time,lat,lon\n1,2,3\n"),
    "noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(20_000)),
    "a checkpoint of PhysicsNeMo": _modulus,
    "a packed file": lambda path: path.write_bytes(gzip.compress(bytes(10_000))),
}


# Trees: `change` gets {group: dataset}, "" being the root, and changes it.


def _tree(change: Callable[[dict[str, xr.Dataset]], None], path: Path) -> None:
    with xr.open_datatree(path, decode_times=False) as opened:
        groups = {name.strip("/"): node.to_dataset(inherit=False).load() for name, node in opened.subtree_with_keys}
    groups[""] = groups.pop(".", groups.get("", xr.Dataset()))
    for dataset in groups.values():
        for variable in dataset.variables.values():
            variable.encoding = {}
    change(groups)
    _gone(path)
    tree = xr.DataTree.from_dict({f"/{name}": dataset for name, dataset in groups.items()})
    tree.to_netcdf(path) if path.suffix == ".nc" else tree.to_zarr(path, consolidated=False)


def _each(change: Callable[[xr.Dataset], xr.Dataset], groups: dict[str, xr.Dataset]) -> None:
    groups |= {name: change(dataset) for name, dataset in groups.items()}


def _cut(sizes: dict, groups: dict[str, xr.Dataset]) -> None:
    _each(lambda d: d.isel({dim: part for dim, part in sizes.items() if dim in d.dims}), groups)


def _fields(change: Callable[[xr.DataArray], object], groups: dict[str, xr.Dataset], where=("prediction",)) -> None:
    for group in where:
        first = next(iter(groups[group].data_vars))
        groups[group] = groups[group].assign({first: (groups[group][first].dims, change(groups[group][first]))})


def _renamed(name: str, where: tuple[str, ...], groups: dict[str, xr.Dataset]) -> None:
    for group in where:
        names = {"t2m": name} if name != "other" else {n: f"{n}_" for n in map(str, groups[group].data_vars)}
        groups[group] = groups[group].rename(names)


def _root(name: str, values, groups: dict[str, xr.Dataset]) -> None:
    old = groups[""][name]
    made = np.asarray(values(old.values) if callable(values) else np.full(old.shape, values))
    groups[""] = groups[""].drop_vars(name).assign_coords({name: (old.dims, made, old.attrs)})


def _places(lat, lon, groups: dict[str, xr.Dataset]) -> None:
    _root("lat", lat, groups)
    _root("lon", lon, groups)


def _both(*changes):
    return lambda groups: [change(groups) for change in changes]


FIELDS = {
    "text for a field": partial(_fields, lambda f: np.full(f.shape, "wet")),
    "dates for a field": partial(_fields, lambda f: np.full(f.shape, np.datetime64("2020-01-01", "ns"))),
    "truth and fields of text": partial(
        _fields, lambda f: np.full(f.shape, "wet"), where=("prediction", "truth", "regression", "interpolation")
    ),
    "a field of small numbers": partial(_fields, lambda f: np.ones(f.shape, np.int8)),
    "a field of NaN": partial(_fields, lambda f: np.full(f.shape, np.nan)),
    "a field of infinity": partial(_fields, lambda f: np.full(f.shape, np.inf)),
    "a constant field": partial(_fields, lambda f: np.full(f.shape, 280.0)),
    "truth of NaN": partial(_fields, lambda f: np.full(f.shape, np.nan), where=("truth",)),
    "constant truth": partial(_fields, lambda f: np.full(f.shape, 280.0), where=("truth",)),
    "fields of 1e38": partial(_fields, lambda f: np.full(f.shape, 1e38, "f4"), where=("prediction", "truth")),
    "a scalar in every group": partial(_each, lambda d: d.assign(crs=0)),
    "units that are numbers": partial(_each, lambda d: d.map(lambda v: v.assign_attrs(units=[1, 2]))),
    "no truth": lambda groups: groups.pop("truth"),
    "no prediction": lambda groups: groups.pop("prediction"),
    "other names": partial(_renamed, "other", ("truth",)),
    "a name of many signs": partial(_renamed, "°C <b> " + "x" * 200, ("truth", "prediction", "regression")),
}
AXES = {
    "constant lat and lon": partial(_places, 23.0, 121.0),
    "lat and lon of NaN": partial(_places, np.nan, np.nan),
    "lat and lon of infinity": partial(_places, np.inf, -np.inf),
    "lat of 500": partial(_places, 500.0, 121.0),
    "lat and lon of 1e30": partial(_places, 1e30, 1e30),
    "lat and lon as text": partial(_places, "north", "east"),
    "half of lat NaN": partial(_root, "lat", lambda v: np.where(np.arange(v.size).reshape(v.shape) % 2, v, np.nan)),
    "no lat and lon": lambda groups: groups.update({"": groups[""].drop_vars(["lat", "lon"])}),
    "no axes": lambda groups: groups.update({"": groups[""].drop_vars(["lat", "lon", "x", "y"])}),
    "constant x and y": _both(partial(_root, "x", 1.0), partial(_root, "y", 1.0)),
    "x of NaN": partial(_root, "x", np.nan),
    "x as text": partial(_root, "x", "x"),
    "x in disorder": partial(_root, "x", lambda v: np.random.default_rng(0).permutation(v)),
    "members by name": partial(_root, "ensemble", lambda v: np.array([f"m{i}" for i in v])),
    "members of one name": partial(_root, "ensemble", 0),
    "one row": partial(_cut, {"y": slice(1)}),
    "one column": partial(_cut, {"x": slice(1)}),
    "one cell": partial(_cut, {"y": slice(1), "x": slice(1)}),
    "two cells": partial(_cut, {"y": slice(2), "x": slice(1)}),
    "three rows": partial(_cut, {"y": slice(3)}),
    "no rows": partial(_cut, {"y": slice(0)}),
    "one member": partial(_cut, {"ensemble": slice(1)}),
    "no members": partial(_cut, {"ensemble": slice(0)}),
    "one time": partial(_cut, {"time": slice(1)}),
    "no times": partial(_cut, {"time": slice(0)}),
}
TIMES = {
    "lead times as text": partial(_root, "time", lambda v: np.array([f"+{6 * i:02d}h" for i in range(len(v))])),
    "times of NaN": partial(_root, "time", lambda v: np.full(v.shape, np.nan)),
    "times of 1e300": partial(_root, "time", lambda v: np.full(v.shape, 1e300)),
    "times never written": partial(_root, "time", lambda v: np.where(np.arange(len(v)) > 1, -(2**63) + 2, v)),
    "one time again and again": partial(_root, "time", lambda v: np.full(v.shape, 5)),
    "times backwards": partial(_root, "time", lambda v: v[::-1]),
    "no dates": lambda groups: groups.update({"": groups[""].drop_vars("time")}),
    "dates of no unit": lambda groups: groups[""].time.attrs.clear(),
    "dates since nothing": lambda groups: groups[""].time.attrs.update(units="hours since the flood"),
    "dates of the year 9999": lambda groups: groups[""].time.attrs.update(units="days since 9999-12-31"),
    "a calendar of 360 days": lambda groups: groups[""].time.attrs.update(calendar="360_day"),
    "a calendar of nobody": lambda groups: groups[""].time.attrs.update(calendar="mine"),
}


def _declared(path: Path, **sizes: int) -> None:
    """A NetCDF tree in which nothing is written, of any size."""
    _gone(path)
    sizes = {"time": 1, "ensemble": 2, "y": 8, "x": 8} | sizes
    with netCDF4.Dataset(path, "w") as file:
        for name, size in sizes.items():
            file.createDimension(name, size)
        file.createVariable("ensemble", "i8", ("ensemble",), chunksizes=(min(sizes["ensemble"], 1000),))
        chunks = {name: min(size, 100) for name, size in sizes.items()}
        for group, dims in (("truth", ("time", "y", "x")), ("prediction", ("ensemble", "time", "y", "x"))):
            file.createGroup(group).createVariable("u10", "f4", dims, chunksizes=[chunks[d] for d in dims], zlib=True)


def _torn(path: Path) -> None:
    """A compressed tree with damage where the values lie, far behind all metadata."""
    with xr.open_datatree(path) as opened:
        tree = opened.load()
    _gone(path)
    packed = {"zlib": True, "fletcher32": True}
    encoding = {group.path: dict.fromkeys(group.data_vars, packed) for group in tree.subtree if group.data_vars}
    tree.to_netcdf(path, encoding=encoding)
    raw = bytearray(path.read_bytes())
    for place in range(len(raw) // 2, len(raw), 500):
        raw[place] ^= 255
    path.write_bytes(bytes(raw))


def _ungrouped(path: Path) -> None:
    with netCDF4.Dataset(path, "w", format="NETCDF3_CLASSIC") as file:
        file.createDimension("x", 3)
        file.createVariable("a", "f4", ("x",))[:] = 1


NETCDF: dict[str, Odd] = {
    "1e5 x 1e5 cells declared": partial(_declared, y=100_000, x=100_000),
    "1e9 members declared": partial(_declared, ensemble=1_000_000_000),
    "1e9 times declared": partial(_declared, time=1_000_000_000),
    "2000 x 2000 cells never written": partial(_declared, y=2000, x=2000, ensemble=8),
    "values torn": _torn,
    "NetCDF 3": _ungrouped,
}


def _unwritten(count: int, path: Path) -> None:
    """As a stopped run of CorrDiff's leaves it: more times in the file than have a date."""
    with netCDF4.Dataset(path, "a") as file:
        n = len(file.dimensions["time"])
        file["time"][max(0, n - count) :] = netCDF4.default_fillvals["i8"]


def _metadata(name: str, change: Callable[[dict], object], path: Path) -> None:
    file = path / name / "zarr.json"
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def _chunks(change: Odd, path: Path) -> None:
    for chunk in sorted((path / "prediction").rglob("c/**/*")):
        if chunk.is_file():
            change(chunk)


def _grid(*chunks: int) -> dict:
    return {"name": "regular", "configuration": {"chunk_shape": list(chunks)}}


FIELD = "prediction/t2m"
ZARR: dict[str, Odd] = {
    "chunks cut": partial(_chunks, lambda chunk: os.truncate(chunk, 20)),
    "chunks of noise": partial(_chunks, lambda chunk: chunk.write_bytes(np.random.default_rng(0).bytes(500))),
    "chunks that are folders": partial(_chunks, partial(_replaced, Path.mkdir)),
    "chunks that are pipes": partial(_chunks, partial(_replaced, os.mkfifo)),
    "chunks of nothing": partial(_metadata, FIELD, lambda v: v.update(chunk_grid=_grid(0, 0, 0, 0))),
    "negative chunks": partial(_metadata, FIELD, lambda v: v.update(chunk_grid=_grid(-1, 1, 1, 1))),
    "a huge shape": partial(_metadata, FIELD, lambda v: v.update(shape=[3, 4, 1_000_000, 1_000_000])),
    "a shape of text": partial(_metadata, FIELD, lambda v: v.update(shape="wide")),
    "an unknown codec": partial(_metadata, FIELD, lambda v: v.update(codecs=[{"name": "mine", "configuration": {}}])),
    "an unknown type": partial(_metadata, FIELD, lambda v: v.update(data_type="float31")),
    "no names of dimensions": partial(_metadata, FIELD, lambda v: v.pop("dimension_names", None)),
    "metadata that are a list": lambda path: (path / FIELD / "zarr.json").write_text("[]"),
    "metadata nested deep": lambda path: (path / "zarr.json").write_text('{"attributes":' + "[" * 100_000),
}


# Data sets of one's own.


def _dataset(change: Callable[[xr.Dataset], xr.Dataset], path: Path) -> None:
    with xr.open_dataset(path) as opened:
        made = opened.load()
    made = change(made)
    for variable in made.variables.values():
        variable.encoding = {}
    _gone(path)
    made.to_netcdf(path)


def _with(name: str, values, dataset: xr.Dataset) -> xr.Dataset:
    old = dataset[name]
    made = np.asarray(values(old.values) if callable(values) else np.full(old.shape, values))
    return dataset.drop_vars(name).assign({name: (old.dims, made, {})}).set_coords(name if name in old.coords else [])


PAIRS: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "constant lat": partial(_with, "lat", 23.0),
    "lat of NaN": partial(_with, "lat", np.nan),
    "lat of 500": partial(_with, "lat", 500.0),
    "lat of infinity": partial(_with, "lat", np.inf),
    "lat as text": partial(_with, "lat", "north"),
    "lon as dates": partial(_with, "lon", np.datetime64("2020-01-01", "ns")),
    "times as text": partial(_with, "time", lambda v: np.array([f"+{i}h" for i in range(len(v))])),
    "times as numbers": partial(_with, "time", lambda v: np.arange(len(v))),
    "times that are none": partial(_with, "time", np.datetime64("NaT", "ns")),
    "one time again": partial(_with, "time", lambda v: np.repeat(v[:1], len(v))),
    "a field as text": partial(_with, "t2m", "warm"),
    "a field of dates": partial(_with, "t2m", np.datetime64("2020-01-01", "ns")),
    "a field of NaN": partial(_with, "t2m", np.nan),
    "a field of infinity": partial(_with, "t2m", np.inf),
    "a constant field": partial(_with, "t2m", 280.0),
    "all fields as text": lambda d: _with("u10", "calm", _with("t2m", "warm", d)),
    "one row": lambda d: d.isel(lat=slice(1)),
    "no rows": lambda d: d.isel(lat=slice(0)),
    "one time": lambda d: d.isel(time=slice(1)),
    "no times": lambda d: d.isel(time=slice(0)),
    "no axes": lambda d: d.drop_vars(["lat", "lon"]),
    "no time": lambda d: d.isel(time=0, drop=True),
    "an extra dimension": lambda d: d.expand_dims(height=[2.0, 10.0]),
    "nothing": lambda d: xr.Dataset(),
    "another calendar": lambda d: d.convert_calendar("noleap"),
    "units that are numbers": lambda d: d.map(lambda v: v.assign_attrs(units=[1, 2])),
    "Times of nonsense": lambda d: d.assign(Times=("time", np.array([b"2020-13-45"] * d.sizes["time"]))),
}


# Text.

TEXT: dict[str, bytes] = {
    "not UTF-8": b"title: caf\xe9\n",
    "UTF-16": "title: a".encode("utf-16"),
    "zeros": bytes(5000),
    "empty": b"",
    "a number": b"3",
    "a list": b"[1, 2]",
    "nested deep": b"[" * 100_000,
    "nested deep in sections": b"".join(b" " * i + b"a:\n" for i in range(2000)),
    "mappings nested deep": b'{"a":' * 50_000,
    "long": b"# " + b"x" * 2**21,
    "a long number": b"seed: " + b"9" * 10_000,
}
YAML: dict[str, bytes] = {
    "aliases that expand": BOMB.encode(),
    "an alias of itself": b"data: &a [*a]\n",
    "a merge of itself": b"data: &a {<<: *a, reader: files}\n",
    "a tag": b"data: !!python/object/apply:os.system ['true']\n",
    "a wrong date": b"data: 2001-99-99\n",
    "a wrong timestamp": b"data: !!timestamp soon\n",
    "a wrong truth": b"data: !!bool perhaps\n",
    "keys of lists": b"? [a, b]\n: c\n",
    "keys that are numbers": b"1: 2\n3: 4\n",
    "two documents": b"a: 1\n---\nb: 2\n",
    "tabs": b"a:\n\tb: 1\n",
    "control characters": b"a: \x07\n",
    "many lines": b"".join(b"a%d: [1, 2, {b: c}]\n" % i for i in range(9000)),
}
JSON: dict[str, bytes] = {
    "not numbers": b'{"input": {"t2m": {"mean": NaN, "std": Infinity}}, "output": {}}',
    "a huge number": b'{"input": {"t2m": {"mean": 1' + b"0" * 400 + b', "std": 1}}, "output": {}}',
    "groups of lists": b'{"input": [1], "output": "x", "invariant": 3}',
    "an odd transform": b'{"input": {"t2m": {"mean": 1, "std": 1, "transform": ["log"]}}}',
    "no channel": b'{"input": {}, "output": {}}',
}
CONFIGS: dict[str, bytes] = {
    "sections that are numbers": b"data: 3\nsampler: 4\n",
    "an unknown reader": b"data: {reader: mine}\n",
    "a reader that is a list": b"data: {reader: [files]}\n",
    "options that are a list": b"data: {reader: files, options: [1]}\n",
    "files that are numbers": b"data: {reader: files, options: {input: 3, target: [4]}}\n",
    "levels upside down": b"data: {reader: idealised}\nsampler: {sigma_min: 50, sigma_max: 40}\n",
    "numbers that are none": b"data: {reader: idealised}\nregression: {lr: .nan}\n",
    "a huge domain": b"data: {reader: idealised, options: {shape: [100000, 100000], factor: 4}}\n",
    "a strange domain": b"data: {reader: idealised, options: {shape: [-16, big], factor: 0, start: [], end: 5}}\n",
}
TEXTS = {"config.yaml": YAML | CONFIGS, "cases.yaml": YAML, "stats.json": JSON, "tracks.csv": {}}


# Images.


def _pgm(change: Callable[[bytes], bytes], path: Path) -> None:
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes())), 1))


_ZEROS = gzip.compress(bytes(2**24))


def _unpacking(path: Path) -> None:
    """Some megabytes that unpack to gigabytes: members of a gzip file follow each other."""
    raw = gzip.decompress(path.read_bytes()).replace(b"\n40 40\n", b"\n74000 74000\n")
    path.write_bytes(gzip.compress(raw) + _ZEROS * 330)


PGM: dict[str, Odd] = {
    "gigabytes of zeros behind": _unpacking,
    "a gigabyte behind a small image": lambda path: path.write_bytes(path.read_bytes() + _ZEROS * 60),
    "a huge image declared": partial(_pgm, lambda raw: raw.replace(b"\n40 40\n", b"\n99999 99999\n")),
    "an image of no size": partial(_pgm, lambda raw: raw.replace(b"\n40 40\n", b"\n0 0\n")),
    "a size of many digits": partial(_pgm, lambda raw: raw.replace(b"\n40 40\n", b"\n" + b"9" * 5000 + b" 40\n")),
    "pixels of no size": partial(_pgm, lambda raw: raw.replace(b"pixel_x 1000", b"pixel_x 0")),
    "pixels of NaN": partial(_pgm, lambda raw: raw.replace(b"pixel_x 1000", b"pixel_x nan")),
    "no corner": partial(_pgm, lambda raw: raw.replace(b"# bottomleft", b"# topleft")),
    "a corner of one number": partial(_pgm, lambda raw: raw.replace(b"# topright ", b"# topright\n#")),
    "a radar without a place": partial(_pgm, lambda raw: raw.replace(b"# radar AAA 1", b"# radar AAA\n#")),
    "a projection of nowhere": partial(_pgm, lambda raw: raw.replace(b"truelatitude 60", b"truelatitude nan")),
    "a wrong date": partial(_pgm, lambda raw: raw.replace(b"# obstime 2016", b"# obstime 9916")),
    "no lines": partial(_pgm, lambda raw: raw.replace(b"\n", b" ")),
}


# Runs.

RUN = ("config.yaml", "statistics.json", "metrics.jsonl")
HEADERS: dict[str, Callable[[dict], object]] = {
    "without channels": lambda header: header.pop("input"),
    "of a number": lambda header: header.update(input=3),
    "of a huge grid": lambda header: header.update(shape=[2**20, 2**20]),
    "of a negative grid": lambda header: header.update(shape=[-16, -16]),
    "of a grid in words": lambda header: header.update(shape="wide", factor=None),
    "of no coarsening": lambda header: header.update(factor=[0, 0]),
    "of other residuals": lambda header: header.update(residual_std=["a"]),
    "of too few residuals": lambda header: header.update(residual_std=[1.0]),
    "of no state": lambda header: header.update(structure={"dict": 3}),
    "of no position": lambda header: header.update(batches=None, samples="many"),
}


def _within(file: str, raw: bytes, path: Path) -> None:
    (path / file).write_bytes(raw)


def _header(change: Callable[[dict], object], path: Path) -> None:
    from labkit.store.checkpoints import load_checkpoint, save_checkpoint

    for name in ("diffusion", "diffusion-last"):
        file = path / "checkpoints" / f"{name}.safetensors"
        if file.exists():
            tensors, header = load_checkpoint(file)
            change(header)
            save_checkpoint(file, tensors, header)
