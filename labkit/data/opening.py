"""Forecasts of any format that is read here as an output tree, which every verb and app opens."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from labkit.data.grib import forecast_tree, open_grib
from labkit.data.intervals import rates
from labkit.data.latlon import Box, by_pressure, laid_out, pick
from labkit.data.reading import check_group, open_lazily, timed
from labkit.data.wrf import earth_relative, open_wrfout
from labkit.errors import ConfigError, DataError
from labkit.grid import SPACE, with_members, with_our_dims
from labkit.store.atomic import atomic_file
from labkit.store.trees import is_grib
from labkit.units import possible

_ORDER = ("ensemble", "time", *SPACE)
_PLACES = ("lat", "latitude", "XLAT", "nav_lat", "lon", "longitude", "XLONG", "nav_lon")


def convert(paths: Sequence[str | Path], output: str | Path, **options) -> Path:
    """Write GRIB, wrfout, or NetCDF without groups as an output tree without truth, NetCDF; `options` of its reader."""
    output = Path(output)
    if output.suffix != ".nc":
        raise ConfigError("output tree", found=output.name, expected="a name that ends in .nc", todo="name it so")
    tree = forecast_tree(open_forecast(paths, **options))
    with atomic_file(output) as temporary:
        tree.to_netcdf(temporary)
    return output


def open_forecast(paths: Sequence[str | Path], **options) -> xr.Dataset:
    """Fields (ensemble, time, y, x) in the registry's names and units; winds are eastward and northward.

    GRIB by `open_grib`, wrfout by `open_wrfout`, else by `open_flat`, which take the `options`. Raises DataError where
    a reader refuses, and for grids that move; ConfigError for options that the reader does not have.
    """
    for path in paths:
        if not Path(path).exists():
            raise DataError(f"data file {path}", found="no such file", expected="a file", todo="check the path")
    reader = reader_of(Path(paths[0]))
    known = list(inspect.signature(reader).parameters)[1:]
    if unknown := [name for name in options if name not in known]:
        raise ConfigError(
            f"options of {reader.__name__}", found=", ".join(unknown), expected=", ".join(known), todo="use these only"
        )
    found = reader(list(paths), **options)
    if "time" in found["lat"].dims:
        raise DataError(
            f"data file {Path(paths[0]).name}",
            found="a grid that moves",
            expected="one that stays",
            todo="follow its storm as it is (labkit track), or regrid it",
        )
    found = found if "ensemble" in found.dims else found.expand_dims(ensemble=[0])
    turned = earth_relative(found) if "along" in str(found.attrs.get("winds", "")) else found
    return turned.transpose(*_ORDER)


def open_flat(
    paths: Sequence[str | Path],
    *,
    variables: Sequence[str] | None = None,
    box: Box | None = None,
    group: str | None = None,
    dims: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    accumulated: Mapping[str, float | str] | None = None,
) -> xr.Dataset:
    """Fields (ensemble, time, y, x) of one NetCDF file or Zarr store without groups, such as a nowcast of pySTEPS.

    Members are a dimension of a common name (`ens_number`, `number`, `realization`, ...), or `dims` {theirs: ours}
    says. `group` opens one group; `units` as in `labkit.units`, `accumulated` as in `labkit.data.intervals`. Raises
    DataError for what does not fit.
    """
    what = f"data file {Path(paths[0]).name}"
    if len(paths) > 1:
        raise DataError(what, found=f"{len(paths)} files", expected="one", todo="join them first, or convert each")
    check_group(paths[0], group, "group")
    dataset = open_lazily(paths[0], group=group, chunks={})
    dataset = _numbered(with_members(dataset, [theirs for theirs, ours in (dims or {}).items() if ours == "ensemble"]))
    dataset = timed(with_our_dims(dataset, what, {k: v for k, v in (dims or {}).items() if v != "ensemble"}), what)
    dataset = dataset.set_coords([str(name) for name in dataset.data_vars if _is_place(dataset[name])])
    fields = rates(pick(_maps(dataset), variables, what), dataset, what, accumulated=accumulated, units=units)
    fields = {name: one for field in fields.items() for name, one in by_pressure(*field).items()}
    for name, field in fields.items():
        if extra := set(field.dims) - {*_ORDER}:
            found = f"a dimension {', '.join(map(str, sorted(extra)))}"
            raise DataError(f"{name} of {what}", found=found, expected="time, y, x", todo="choose by variables=[...]")
    found = laid_out(fields, what, box=box, units=units)
    found = found.assign(possible(found.data_vars, what))
    kept = found.drop_vars([name for name in found.coords if name not in (*_ORDER, "lat", "lon")])
    return kept.assign_attrs(source=Path(paths[0]).name)


def _numbered(dataset: xr.Dataset) -> xr.Dataset:
    """With whole numbers along the members, where there are some."""
    if "ensemble" not in dataset.dims or np.issubdtype(dataset["ensemble"].dtype, np.integer):
        return dataset
    return dataset.assign_coords(ensemble=np.arange(dataset.sizes["ensemble"]))


def _maps(dataset: xr.Dataset) -> dict[str, xr.DataArray]:
    return {
        str(name): field
        for name, field in dataset.data_vars.items()
        if set(SPACE) <= set(field.dims) and np.issubdtype(field.dtype, np.number)
    }


def reader_of(path: Path):
    """The function that opens a file: `open_grib`, `open_wrfout`, or else `open_flat`."""
    if path.is_file() and is_grib(path):
        return open_grib
    raw = open_lazily(path)
    return open_wrfout if {"XLAT", "U10"} <= set(raw.variables) and "DX" in raw.attrs else open_flat


def _is_place(field: xr.DataArray) -> bool:
    return field.name in _PLACES or "grid_mapping_name" in field.attrs or "crs_wkt" in field.attrs
