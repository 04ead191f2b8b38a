"""Laying an output tree down in NetCDF4 or Zarr, block by block, with CF attributes."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr
import zarr
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

from labkit.errors import DataError
from labkit.store.sound import ALL_CHUNKS
from labkit.variables import lookup

_MEMBER_ATTRS = {"long_name": "ensemble member", "standard_name": "realization"}
_CHUNK_BYTES = 4 * 2**20
SUFFIXES = (".nc", ".zarr")


@dataclass(frozen=True)
class Layout:
    """One variable of a tree before it is written; group "" is the root, sizes go with dims."""

    group: str
    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str = "f4"
    attrs: dict = field(default_factory=dict)

    @property
    def chunks(self) -> tuple[int, ...]:
        """One time and whole fields in a chunk, with as many members as make four megabytes."""
        if self.dims[-2:] != ("y", "x") or len(self.dims) < 3:
            return tuple(max(size, 1) for size in self.shape)
        bytes_each = 4 * self.shape[-1] * self.shape[-2]
        members = (max(1, min(self.shape[0], _CHUNK_BYTES // bytes_each)),) if self.dims[0] == "ensemble" else ()
        return (*members, 1, *self.shape[-2:])


# A block of one variable: group, name, where it belongs, and its values.
Block = tuple[str, str, tuple, np.ndarray]


def write_tree(
    path: Path,
    layout: Iterable[Layout],
    blocks: Iterable[Block],
    *,
    attrs: Mapping,
    compression: int = 2,
    digits: Mapping[str, int] | None = None,
) -> None:
    """Write a tree to `path` (NetCDF4 where it ends in .nc, Zarr where in .zarr), holding one block at a time.

    compression: zlib or zstd level 0 to 9. digits: for a variable name the decimal digits to keep, which compresses far
    better; the values written differ from those given by at most half of 10^-digits.
    """
    digits = dict(digits or {})
    target = _NetCDF(path, compression) if path.suffix == ".nc" else _Zarr(path, compression)
    try:
        target.attributes({name: plain(value) for name, value in attrs.items()})
        for variable in layout:
            kept = {"least_significant_digit": digits[variable.name]} if _is_rounded(variable, digits) else {}
            target.create(variable, variable.attrs | kept)
        for group, name, where, values in blocks:
            kept = digits.get(name) if group else None
            target.put(group, name, where, values if kept is None else quantised(values, kept))
    finally:
        target.close()


def check_suffix(path: Path) -> None:
    """Raises DataError unless the name says which of the two formats is meant."""
    if path.suffix not in SUFFIXES:
        raise DataError(
            f"output {path.name}",
            found=f"the ending {path.suffix!r}",
            expected=" or ".join(SUFFIXES),
            todo="name the output so that its ending says NetCDF or Zarr",
        )


def quantised(values: np.ndarray, digits: int) -> np.ndarray:
    """Values rounded to a multiple of the power of two just below 10^-digits, so that trailing bits are zero."""
    scale = 2.0 ** np.ceil(digits * np.log2(10.0))
    return (np.round(values * scale) / scale).astype(np.float32)


def variable_attrs(name: str, *, units: str = "", grid_mapping: bool) -> dict:
    """CF attributes of a field out of the registry; `units` of one that it does not know."""
    known = lookup(name, units=units)
    attrs = {"units": known.units, "long_name": known.long_name, "standard_name": known.standard_name}
    attrs = {key: value for key, value in attrs.items() if value} | {"coordinates": "lat lon"}
    return attrs | ({"grid_mapping": "crs"} if grid_mapping else {})


def root_layout(
    times: np.ndarray, sizes: Mapping[str, int], crs: str | Mapping | None, *, in_km: Collection[str] = ("y", "x")
) -> list[Layout]:
    """The coordinates of a tree: time, ensemble, y and x, 2-D lat and lon, and the grid mapping if known. Axes that are
    not `in_km` count cells and have no unit."""
    encoded, time_attrs = encoded_time(times)
    kind = "str" if encoded.dtype.kind in "UO" else encoded.dtype.str[1:]
    layout = [
        Layout("", "time", ("time",), (sizes["time"],), kind, time_attrs),
        Layout("", "ensemble", ("ensemble",), (sizes["ensemble"],), "i8", _MEMBER_ATTRS),
    ]
    for axis in "yx":
        known = {"units": "km", "standard_name": f"projection_{axis}_coordinate"}
        attrs = (known if axis in in_km else {"long_name": "number of the cell"}) | {"axis": axis.upper()}
        layout.append(Layout("", axis, (axis,), (sizes[axis],), "f8", attrs))
    for name, long_name, units in (("lat", "latitude", "degrees_north"), ("lon", "longitude", "degrees_east")):
        attrs = {"units": units, "standard_name": long_name, "long_name": long_name}
        layout.append(Layout("", name, ("y", "x"), (sizes["y"], sizes["x"]), "f4", attrs))
    if crs is not None:
        mapping = {"crs_wkt": crs} if isinstance(crs, str) else {name: plain(value) for name, value in crs.items()}
        layout.append(Layout("", "crs", (), (), "i4", mapping))
    return layout


def root_blocks(truth: xr.DataArray, times: np.ndarray, members: int) -> Iterator[Block]:
    """The values that go with `root_layout`; coordinates that the truth lacks are cell numbers and NaN."""
    yield "", "time", (), encoded_time(times)[0]
    yield "", "ensemble", (), np.arange(members)
    shape = tuple(truth.sizes[axis] for axis in "yx")
    for axis, size in zip("yx", shape, strict=True):
        yield "", axis, (), truth[axis].values.astype(float) if axis in truth.coords else np.arange(size, dtype=float)
    for name in ("lat", "lon"):
        known = name in truth.coords and set(truth[name].dims) == {"y", "x"}
        values = truth[name].transpose("y", "x").values if known else np.full(shape, np.nan)
        yield "", name, (), values.astype(np.float32)


def encoded_time(times: np.ndarray) -> tuple[np.ndarray, dict]:
    """Times as int64 since 1990 with CF attributes: whole hours where they are (CorrDiff's unit), else seconds.

    Times that are not dates (sample numbers, lead-time labels) are returned as they are.
    """
    attrs = {"long_name": "time", "axis": "T"}
    if times.dtype.kind != "M":
        return times, attrs
    seconds = (times.astype("datetime64[s]") - np.datetime64("1990-01-01T00:00:00", "s")).astype(np.int64)
    whole = bool((seconds % 3600 == 0).all())
    unit = "hours" if whole else "seconds"
    attrs |= {"standard_name": "time", "units": f"{unit} since 1990-01-01 00:00:00", "calendar": "standard"}
    return seconds // 3600 if whole else seconds, attrs


def plain(value):
    """An attribute as both formats can hold it: text, a number or a list of numbers; anything else as JSON text."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple) and value and all(type(v) in (int, float) for v in value):
        return list(value)
    return json.dumps(value, default=str)


def _is_rounded(variable: Layout, digits: Mapping[str, int]) -> bool:
    return bool(variable.group) and variable.name in digits


def _alone(method):
    """The method under the lock by which xarray reads: the library takes one call at a time, of all threads."""

    @wraps(method)
    def locked(*args):
        with NETCDF4_PYTHON_LOCK:
            return method(*args)

    return locked


class _NetCDF:
    @_alone
    def __init__(self, path: Path, compression: int) -> None:
        self.file = netCDF4.Dataset(path, "w", format="NETCDF4")
        self.compression = compression

    @_alone
    def attributes(self, attrs: Mapping) -> None:
        self.file.setncatts(attrs)

    @_alone
    def create(self, variable: Layout, attrs: Mapping) -> None:
        for dim, size in zip(variable.dims, variable.shape, strict=True):
            if dim not in self.file.dimensions:
                self.file.createDimension(dim, size)
        group = self.file.createGroup(variable.group) if variable.group else self.file
        text = variable.dtype == "str"
        options = {"compression": "zlib", "complevel": self.compression, "chunksizes": variable.chunks}
        # Chunks are written whole and once: the library's default cache would hold up to 64 MB for each variable.
        options["chunk_cache"] = 8 * math.prod(variable.chunks)
        made = group.createVariable(
            variable.name,
            str if text else variable.dtype,
            variable.dims,
            fill_value=np.float32(np.nan) if variable.group else None,
            **({} if text or not variable.dims else options),
        )
        made.setncatts(attrs)

    @_alone
    def put(self, group: str, name: str, where: tuple, values: np.ndarray) -> None:
        holder = self.file[group] if group else self.file
        holder.variables[name][where or ...] = values.astype(object) if values.dtype.kind in "UO" else values

    @_alone
    def close(self) -> None:
        self.file.close()


class _Zarr:
    def __init__(self, path: Path, compression: int) -> None:
        self.file = zarr.open_group(path, mode="w", zarr_format=3)
        # empty chunks are written too, so that one that is gone is not taken for one without data
        self.file.attrs[ALL_CHUNKS] = 1
        self.arrays: dict[str, zarr.Array] = {}
        self.compressors = zarr.codecs.BloscCodec(cname="zstd", clevel=compression, shuffle="shuffle")

    def attributes(self, attrs: Mapping) -> None:
        self.file.attrs.update(attrs)

    def create(self, variable: Layout, attrs: Mapping) -> None:
        name = f"{variable.group}/{variable.name}".strip("/")
        self.arrays[name] = self.file.create_array(  # kept, because opened anew it would leave out empty chunks again
            name,
            shape=variable.shape,
            chunks=variable.chunks,
            dtype=variable.dtype,
            dimension_names=variable.dims,
            compressors=self.compressors,
            config={"write_empty_chunks": True},
            fill_value=float("nan") if variable.group else None,
            attributes=dict(attrs),
        )

    def put(self, group: str, name: str, where: tuple, values: np.ndarray) -> None:
        self.arrays[f"{group}/{name}".strip("/")][where or ...] = values

    def close(self) -> None:
        self.file.store.close()
