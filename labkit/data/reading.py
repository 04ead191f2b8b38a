"""Opening NetCDF and Zarr lazily, and stacking their variables to channels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.store.sound import check_calendars, refuse_unwritten
from labkit.variables import canonical


def open_lazily(path: str | Path, *, group: str | None = None, chunks: dict | None = None) -> xr.Dataset:
    """A NetCDF file or Zarr store, or one group of it, as dask arrays in the file's own chunks or those given.

    Raises DataError where there is no such file or group, where it cannot be read, and where its dates are of another
    calendar; when they are read, of values that were never written.
    """
    what = f"data file {Path(path).name}" + (f", group {group}" if group else "")
    try:
        dataset = xr.open_dataset(path, group=group, chunks=chunks or {}, **_engine(path))
    except FileNotFoundError as error:
        raise DataError(what, found="no such file or group", expected="a file", todo="check the path") from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise DataError(
            what,
            found=f"something that does not open ({type(error).__name__}: {error})",
            expected="a whole NetCDF4 file or Zarr store" + (f" with a group {group!r}" if group else ""),
            todo="check that it was written and copied to its end",
        ) from error
    check_calendars(dataset, Path(path).name)
    return dataset if Path(path).is_dir() else refuse_unwritten(dataset, Path(path).name)


def _engine(path: str | Path) -> dict:
    # a store on disk is read without consolidated metadata, which it may or may not have
    return {"engine": "zarr", "consolidated": False} if Path(path).is_dir() else {"engine": "netcdf4"}


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
