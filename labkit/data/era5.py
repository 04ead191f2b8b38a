"""ERA5 subsets as the Climate Data Store writes them to NetCDF, old layout and new."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from labkit.data.latlon import Box, by_pressure, laid_out, pick
from labkit.data.reading import open_lazily
from labkit.errors import DataError

_HOURLY = ("tp", "cp", "lsp")  # metres within the hour before


def open_era5(path: str | Path, *, variables: Sequence[str] | None = None, box: Box | None = None) -> xr.Dataset:
    """Fields (time, y, x), or (ensemble, time, y, x), lazily, float32, in the registry's names and units.

    Short names (`u10`, `msl`, `i10fg`, ...) become those of the registry, fields on pressure levels `t850` and so on;
    rain, metres in the hour before, mm/h. Rows run from south to north; `lat`, `lon` (y, x), longitudes in -180 to 180.
    `variables` picks by either name. `box` (west, south, east, north) in degrees. Where preliminary and final values
    are both in a file, the final ones stand. Raises DataError for a file without latitude and longitude.
    """
    what = f"ERA5 file {Path(path).name}"
    raw = _in_one_piece(open_lazily(path, chunks={"time": "auto", "valid_time": "auto"}), what)
    fields = {str(name): field for name, field in raw.data_vars.items() if {"latitude", "longitude"} <= set(field.dims)}
    fields = {name: _rate(name, field) for name, field in pick(fields, variables, what).items()}
    apart = {name: one for field in fields.items() for name, one in by_pressure(*field).items()}
    found = laid_out(apart, what, box=box)
    found = found.rename(number="ensemble") if "number" in found.dims else found.drop_vars("number", errors="ignore")
    return found.transpose("ensemble", "time", "y", "x", missing_dims="ignore").assign_attrs(source=Path(path).name)


def _in_one_piece(raw: xr.Dataset, what: str) -> xr.Dataset:
    """With one `time`, that of validity, and without `expver`, which parts final from preliminary values."""
    names = {"lat": "latitude", "lon": "longitude", "valid_time": "time"}
    raw = raw.rename({theirs: name for theirs, name in names.items() if theirs in raw.variables and name not in raw})
    if not {"latitude", "longitude", "time"} <= set(raw.variables):
        expected = "latitude, longitude and time"
        found = ", ".join(map(str, raw.variables)) or "no variables"
        raise DataError(what, found=found, expected=expected, todo="download it as NetCDF on latitudes and longitudes")
    if "time" not in raw.dims:
        raw = raw.expand_dims("time")
    if "expver" in raw.dims:
        final, *preliminary = (raw.isel(expver=i, drop=True) for i in np.argsort(raw.expver.values.astype(int)))
        for other in preliminary:
            final = final.fillna(other)
        raw = final
    return raw.sortby("time")


def _rate(name: str, field: xr.DataArray) -> xr.DataArray:
    """Rain in metres of an hour as mm/h; anything else as it is."""
    if name not in _HOURLY or field.attrs.get("units") != "m":
        return field
    # packing to 16 bits leaves drops a little below zero
    return (1000 * field.clip(min=0)).assign_attrs(field.attrs | {"units": "mm h-1"})
