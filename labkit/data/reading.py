"""Opening NetCDF and Zarr lazily, and stacking their variables to channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize

from labkit.border import check_store, engine_of, guarded, reading
from labkit.errors import DataError
from labkit.store.sound import check_calendars, refuse_unwritten
from labkit.units import check_plausible, in_our_units
from labkit.variables import canonical


def open_lazily(path: str | Path, *, group: str | None = None, chunks: dict | None = None) -> xr.Dataset:
    """A NetCDF file or Zarr store, or one group of it, as dask arrays in the file's own chunks or those given.

    Raises DataError where there is no such file or group, where it cannot be read, and where its dates are of another
    calendar; when they are read, of values that were never written.
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
    check_calendars(lazy, Path(path).name)
    whole = lazy if Path(path).is_dir() else refuse_unwritten(lazy, Path(path).name)
    whole.set_close(found.close)
    return whole


def _chunked(array: xr.DataArray, chunks: dict, token: str) -> xr.DataArray:
    """As dask arrays: the chunks asked for along their dimensions, the file's own along others."""
    own = array.encoding.get("preferred_chunks", {})
    stored = tuple(own.get(dim, size) for dim, size in array.sizes.items())
    wanted = tuple(chunks.get(dim, size) for dim, size in zip(array.dims, stored, strict=True))
    sizes = da.core.normalize_chunks(wanted, array.shape, dtype=array.dtype, previous_chunks=stored)
    return array.chunk(dict(zip(array.dims, sizes, strict=True)), name_prefix="file-", token=f"{array.name}-{token}")


def stack(
    variables: Sequence[xr.DataArray], dims: tuple[str, ...], what: str, *, units: Mapping[str, str] | None = None
) -> xr.DataArray:
    """Variables of the same dimensions as one float32 array with `channel` second to the time, or first without it.

    `dims` are those of the result. `channel` holds the registry's names, `native` along it those of the file; values
    are in `units`, the registry's where it knows the variable (see `labkit.units`, also for the argument `units`).
    """
    axis = dims.index("channel")
    named = {str(variable.name): variable for variable in variables}
    check_plausible(named, what, units=units)
    variables = list(in_our_units(named, what, units=units).values())
    data = da.stack([da.asarray(variable.data) for variable in variables], axis=axis).astype(np.float32)
    native = list(named)
    coordinates = {
        "channel": [canonical(name) for name in native],
        "native": ("channel", native),
        "units": ("channel", [str(variable.attrs.get("units", "")) for variable in variables]),
    }
    # one chunk over all but the time: channels of a sample are always used together
    whole = {i: -1 for i, dim in enumerate(dims) if dim != "time"}
    return xr.DataArray(data.rechunk(whole), dims=dims, coords=coordinates)


def telling_gaps(coarse: xr.DataArray) -> xr.DataArray:
    """The coarse input (time, channel, y, x) with the channel `observed`, the share of the others that a cell has: what
    a network must be told where missing values are set to the mean (the pairs' attribute `missing_input`)."""
    share = coarse.notnull().mean("channel").astype(np.float32).expand_dims(channel=["observed"])
    share = share.assign_coords(native=("channel", ["observed"]), units=("channel", ["1"]))
    return xr.concat([coarse, share], "channel").transpose(*coarse.dims).chunk(channel=-1)


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
