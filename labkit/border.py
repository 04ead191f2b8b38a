"""The border: strangers' files are opened and read here, so that whatever is wrong with one ends in one sentence.

A file is what it is taken for (no pipe, no device), what it declares is in proportion to its size, and what a library
raises while it reads, at opening or long after in a dask task, becomes a LabError that names the file.
"""

from __future__ import annotations

import json
import logging
import math
import os
import stat
import struct
import traceback
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xarray as xr
import yaml
from xarray.backends import BackendArray
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK
from xarray.core import indexing

from labkit.errors import ConfigError, DataError, LabError

# Everything that libraries were seen to raise on damaged bytes. Mistakes of our own are of these kinds too: keep the
# blocks of `reading` small, around the library's calls.
DAMAGE = (
    *(OSError, EOFError, ArithmeticError, AssertionError, AttributeError, BufferError, LookupError, MemoryError),
    *(RuntimeError, TypeError, ValueError, struct.error, zlib.error, zipfile.BadZipFile),
)
TEXT_BYTES, CONFIG_BYTES = 2**26, 2**18  # a configuration is read by PyYAML, 100 kB/s
SMALL_BYTES = 2**28  # what may be declared by any file, however small
# Deflate packs a thousand to one at best, real fields a hundred; beyond, nearly all was never written.
PACKED, PACKED_PIECE = 1100, 64
_SIGNATURES = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 or NetCDF file",
    b"CDF": "a NetCDF 3 file",
    b"GRIB": "a GRIB file",
    b"P5": "a PGM image",
    b"\x1f\x8b": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\x89PNG": "a PNG image",
    b"%PDF": "a PDF",
    b"II*\0": "a TIFF image",
    b"PK\3\4": "a zip archive",
}
TRACEBACK = "LABKIT_TRACEBACK"  # set in the environment, the command line shows errors of the lab whole
MODULUS = "a PhysicsNeMo checkpoint (.mdlus)"
MODULUS_TODO = "draw with PhysicsNeMo's own generate.py and open the NetCDF that it writes: labkit reads only its own"


def say(sentence: str) -> None:
    """Tell a person what was left out or taken for granted: on standard error, unless logging is set up otherwise."""
    logging.getLogger("labkit").warning(sentence)


@contextmanager
def reading(
    what: str,
    path: str | Path | None = None,
    *,
    found: str = "a damaged file or another format that cannot be read",
    expected: str = "a whole file",
    todo: str = "copy or write it again; it may be truncated or of another format",
    kind: type[LabError] = DataError,
) -> Iterator[None]:
    """Raise as `kind` what goes wrong in the block, in one sentence, naming the format that `path` has instead."""
    try:
        yield
    except DAMAGE as error:
        known = "" if path is None else format_of(path)
        like = f"begins like {known}; " if known else ""
        found = f"{found} ({like}{reason(error)})"
        found, todo = (MODULUS, MODULUS_TODO) if known == MODULUS else (found, todo)
        raise kind(what, found=found, expected=expected, todo=todo) from error


def unforeseen(error: BaseException) -> str:
    """One sentence for what nobody thought of: what was raised, and where in the lab, for a report."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if "labkit" in Path(frame.filename).parts]
    where = f" in {Path(inside[-1].filename).name}, line {inside[-1].lineno}" if inside else ""
    found = f"something that the lab did not foresee ({type(error).__name__}: {reason(error)}{where})"
    return f"{found}; please report it with the traceback that {TRACEBACK}=1 before the command shows."


def reason(error: BaseException) -> str:
    """What an error says in its first line, or its kind where it says nothing."""
    said = str(getattr(error, "strerror", None) or error)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[0][:120] if lines else type(error).__name__


def existing(path: str | Path, what: str, *, folder: bool = False, kind: type[LabError] = DataError) -> Path:
    """The path, where it is a file or, with `folder`, a folder of files; pipes and devices would be waited for."""
    path, expected = Path(path), "a file or a folder" if folder else "a file"
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else f"no file ({reason(error)})"
        raise kind(what, found=found, expected=expected, todo="check the path") from error
    wrong = "" if stat.S_ISREG(mode) or (folder and stat.S_ISDIR(mode)) else _named(mode)
    if stat.S_ISDIR(mode) and folder:
        odd = (entry for entry in _entries(path) if not entry.is_file())
        wrong = next((f"{_named(entry.stat().st_mode)}, {entry.name}, in it" for entry in odd), "")
    if wrong:
        raise kind(what, found=wrong, expected=expected, todo="copy it to a file first, or check the path")
    return path


def _named(mode: int) -> str:
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFDIR: "a folder", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _entries(folder: Path) -> Iterator[os.DirEntry]:
    """All that lies in a folder and is no folder; links that lead nowhere are left out."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _entries(Path(entry.path))
        elif os.path.exists(entry.path):
            yield entry


def format_of(path: str | Path) -> str:
    """What a file's first bytes say that it is, "" where they say nothing known."""
    try:
        with existing(path, "file").open("rb") as file:
            head = file.read(16)
        if Path(path).suffix == ".mdlus" or (head[:2] == b"PK" and "model.pt" in zipfile.ZipFile(path).namelist()):
            return MODULUS
    except (LabError, OSError, zipfile.BadZipFile):
        return ""
    return next((name for start, name in _SIGNATURES.items() if head.startswith(start)), "")


def read_text(path: str | Path, what: str, *, most: int = TEXT_BYTES, kind: type[LabError] = DataError) -> str:
    """The UTF-8 text of a file of at most so many bytes."""
    existing(path, what, kind=kind)
    with reading(what, path, found="no text", expected="text in UTF-8", todo="save it as UTF-8", kind=kind):
        with Path(path).open("rb") as file:
            raw = file.read(most + 1)
        text = raw.decode("utf-8-sig") if len(raw) <= most else ""
    if len(raw) > most:
        found, expected = "more than that", f"at most {most / 2**20:g} MB"
        raise kind(what, found=found, expected=expected, todo="check that it is the file you mean")
    return text


class _NoAliases(yaml.SafeLoader):
    """PyYAML's safe loader without aliases: a few lines of them stand for more than any memory holds."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "an alias (*name), which is not taken", mark)
        return super().compose_node(parent, index)


def parse_yaml(text: str, what: str, *, kind: type[LabError] = ConfigError):
    """The plain values of a YAML text without aliases."""
    try:
        loader = _NoAliases(text)
        return loader.get_single_data()
    except (*DAMAGE, yaml.YAMLError) as error:
        mark, said = getattr(error, "problem_mark", None), getattr(error, "problem", None) or reason(error)
        said = "nested too deep" if isinstance(error, RecursionError) else said
        found = f"no YAML{f' in line {mark.line + 1}' if mark else ''} ({said})"
        todo = "correct it; values with a colon need quotes, and what an alias stands for is written out"
        raise kind(what, found=found, expected="a YAML value without aliases", todo=todo) from error


def read_yaml(path: str | Path, what: str, *, kind: type[LabError] = ConfigError):
    """The plain values of a YAML file of moderate size."""
    return parse_yaml(read_text(path, what, most=CONFIG_BYTES, kind=kind), what, kind=kind)


def read_json(path: str | Path, what: str, *, kind: type[LabError] = DataError):
    """The values of a JSON file."""
    text = read_text(path, what, kind=kind)
    with reading(what, path, expected="a JSON file", todo="write it again", kind=kind):
        try:
            return json.loads(text)
        except RecursionError as error:
            raise ValueError("nested too deep") from error


class _Guarded(BackendArray):
    """A variable of a file that is read when it is asked for; what goes wrong then is a DataError naming the file."""

    def __init__(self, variable: xr.Variable, what: str) -> None:
        self.variable, self.what = variable, what
        self.shape, self.dtype = variable.shape, variable.dtype

    def __getitem__(self, key):
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key) -> np.ndarray:
        with reading(self.what):
            return np.asarray(self.variable[key])


def guarded(dataset: xr.Dataset, what: str) -> xr.Dataset:
    """The lazily opened data set, whose values raise a DataError where the file turns out to be damaged."""
    lazy = {
        name: xr.Variable(v.dims, indexing.LazilyIndexedArray(_Guarded(v, what)), v.attrs, v.encoding)
        for name, v in dataset.variables.items()
        if name not in dataset.indexes
    }
    made = dataset.assign({k: v for k, v in lazy.items() if k in dataset.data_vars}).assign_coords(
        {k: v for k, v in lazy.items() if k in dataset.coords}
    )
    made.set_close(dataset.close)
    return made


def engine_of(path: str | Path) -> dict:
    """What xarray is to open a path with; a store on disk may or may not have consolidated metadata.

    Zarr 2 fills with 0 what was not written, whatever 0 means there: xarray would take every 0 for missing.
    """
    if not Path(path).is_dir():
        return {"engine": "netcdf4"}
    filled = {name: False for name in _filled_with_zero(path)}
    return {"engine": "zarr", "consolidated": False} | ({"mask_and_scale": filled} if filled else {})


def _filled_with_zero(path: str | Path) -> list[str]:
    """Names of unpacked floats of a Zarr 2 store whose fill value is 0, which is nobody's mark of a missing one."""
    import zarr

    store = zarr.open_group(path, mode="r")
    if store.metadata.zarr_format != 2:
        return []
    arrays = [member for _, member in store.members(max_depth=None) if isinstance(member, zarr.Array)]
    return [
        array.basename
        for array in arrays
        if array.dtype.kind == "f" and array.fill_value == 0 and not {"scale_factor", "_FillValue"} & set(array.attrs)
    ]


def check_store(path: str | Path, what: str) -> None:
    """Raise DataError unless a NetCDF file or Zarr folder is there and `check_size` lets its arrays pass."""
    existing(path, what, folder=True)
    with reading(what, path, expected="a whole NetCDF file or Zarr folder"):
        declared = _in_zarr(path) if Path(path).is_dir() else _in_netcdf(path)
    check_size(path, what, declared)


Declared = tuple[tuple[int, ...], int, tuple[int, ...]]  # shape, bytes of an item, shape of a stored chunk


def _in_netcdf(path: str | Path) -> list[Declared]:
    import netCDF4

    def walk(group) -> Iterator[Declared]:
        for variable in group.variables.values():
            chunk = variable.chunking()
            item = 8 if variable.dtype is str else np.dtype(variable.dtype).itemsize
            yield variable.shape, item, tuple(chunk) if isinstance(chunk, list) else ()
        for inner in group.groups.values():
            yield from walk(inner)

    with NETCDF4_PYTHON_LOCK, netCDF4.Dataset(path) as file:  # dask's threads read others by the same library
        return list(walk(file))


def _in_zarr(path: str | Path) -> list[Declared]:
    import zarr

    members = (member for _, member in zarr.open_group(path, mode="r").members(max_depth=None))
    arrays = [array for array in members if isinstance(array, zarr.Array)]
    for array in arrays:
        if 0 in array.chunks and 0 not in array.shape:
            raise ValueError(f"chunks of nothing, {array.chunks}, in {array.path}")
    return [(array.shape, np.dtype(array.dtype).itemsize, array.chunks) for array in arrays]


def check_size(path: str | Path, what: str, declared: Iterable[Declared]) -> None:
    """Raise DataError where the arrays that a file declares outgrow it.

    Asked before anything is allocated: a file of a few bytes may declare more members than any memory holds.
    """
    total = largest = 0
    for shape, item, chunk in declared:
        total += item * math.prod(shape)
        largest = max(largest, item * math.prod(shape[-2:]), item * math.prod(chunk))
    allowed = _bytes_on_disk(Path(path), max(total / PACKED, largest / PACKED_PIECE))
    for size, limit, name in ((total, PACKED, "arrays"), (largest, PACKED_PIECE, "one piece")):
        if size > max(SMALL_BYTES, limit * allowed):
            raise DataError(
                what,
                found=f"{name} of {size / 1e9:.3g} GB declared by {allowed / 1e6:.3g} MB on disk",
                expected=f"at most {limit} times what is there",
                todo="write the file again: nearly all of it was never written",
            )


def _bytes_on_disk(path: Path, enough: float) -> int:
    """Size of a file or folder; counting ends where it is enough."""
    total = 0
    for entry in _entries(path) if path.is_dir() else ():
        total += entry.stat().st_size
        if total >= enough:
            return total
    return total if path.is_dir() else path.stat().st_size
