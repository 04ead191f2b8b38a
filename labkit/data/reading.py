"""Opening NetCDF and Zarr lazily, and stacking their variables to channels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize

from labkit.border import check_store, engine_of, guarded, reading
from labkit.errors import DataError
from labkit.variables import canonical


def open_lazily(path: str | Path, *, group: str | None = None, chunks: dict | None = None) -> xr.Dataset:
    """A NetCDF file or Zarr store, or one group of it, as dask arrays in the file's own chunks or those given.

    Raises DataError where there is no such file or group, or where it cannot be read.
    """
    what = f"data file {Path(path).name}" + (f", group {group}" if group else "")
    check_store(path, what)
    expected = "a whole NetCDF4 file or Zarr store" + (f" with a group {group!r}" if group else "")
    with reading(what, path, expected=expected, todo="check that it was written and copied to its end"):
        found = guarded(xr.open_dataset(path, group=group, cache=False, **engine_of(path)), what)
        token = tokenize(str(Path(path).resolve()), Path(path).stat().st_mtime_ns, group)
        lazy = found.assign({n: _chunked(v, chunks or {}, token) for n, v in found.data_vars.items()}).assign_coords(
            {n: _chunked(v, chunks or {}, token) for n, v in found.coords.items() if n not in found.indexes}
        )
    lazy.set_close(found.close)
    return lazy


def _chunked(array: xr.DataArray, chunks: dict, token: str) -> xr.DataArray:
    """As dask arrays: the chunks asked for along their dimensions, the file's own along others."""
    own = array.encoding.get("preferred_chunks", {})
    stored = tuple(own.get(dim, size) for dim, size in array.sizes.items())
    wanted = tuple(chunks.get(dim, size) for dim, size in zip(array.dims, stored, strict=True))
    sizes = da.core.normalize_chunks(wanted, array.shape, dtype=array.dtype, previous_chunks=stored)
    return array.chunk(dict(zip(array.dims, sizes, strict=True)), name_prefix="file-", token=f"{array.name}-{token}")


def stack(variables: Sequence[xr.DataArray], dims: tuple[str, ...]) -> xr.DataArray:
    """Variables of the same dimensions as one float32 array with `channel` second to the time, or first without it.

    `dims` are those of the result. `channel` holds the registry's names; `native` and `units`, along it, what the
    file says.
    """
    axis = dims.index("channel")
    data = da.stack([da.asarray(variable.data) for variable in variables], axis=axis).astype(np.float32)
    native = [str(variable.name) for variable in variables]
    coordinates = {
        "channel": [canonical(name) for name in native],
        "native": ("channel", native),
        "units": ("channel", [str(variable.attrs.get("units", "")) for variable in variables]),
    }
    # one chunk over all but the time: channels of a sample are always used together
    whole = {i: -1 for i, dim in enumerate(dims) if dim != "time"}
    return xr.DataArray(data.rechunk(whole), dims=dims, coords=coordinates)


def choose(what: str, variables: dict[str, xr.DataArray], names: Sequence[str] | None) -> list[xr.DataArray]:
    """The named variables, by their own or the registry's names, in the order asked for; all where none are named."""
    if names is None:
        return list(variables.values())
    known = {canonical(name): variable for name, variable in variables.items()}
    missing = [name for name in names if name not in variables and canonical(name) not in known]
    if missing:
        raise DataError(
            f"{what} channels",
            found=", ".join(variables) or "none",
            expected=", ".join(missing),
            todo="choose from the channels found",
        )
    return [variables.get(name, known.get(canonical(name))) for name in names]
