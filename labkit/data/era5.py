"""ERA5 subsets as the Climate Data Store writes them to NetCDF, old layout and new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from labkit.data.intervals import rates, unknown_interval
from labkit.data.latlon import Box, by_pressure, laid_out, pick
from labkit.data.reading import open_lazily
from labkit.errors import DataError

DAY = np.timedelta64(1, "D")
_LAND_DEGREES = 0.15  # finer than ERA5, as fine as ERA5-Land


def open_era5(
    path: str | Path,
    *,
    variables: Sequence[str] | None = None,
    box: Box | None = None,
    accumulated: Mapping[str, float | str] | None = None,
) -> xr.Dataset:
    """Fields (time, y, x), or (ensemble, time, y, x), lazily, float32, in the registry's names and units.

    Short names (`u10`, `msl`, `i10fg`, ...) become those of the registry, fields on pressure levels `t850` and so on;
    rain, metres in the hour before (three of an ensemble's members), mm/h. Of ERA5-Land, and of products of days and
    months, `accumulated` {name: hours, or since the "day"} says within which time it fell. Rows run from south to
    north; `lat`, `lon` (y, x), longitudes in -180 to 180. `variables` picks by either name. `box` (west, south, east,
    north) in degrees. Where preliminary and final values are both in a file, the final ones stand. Raises DataError for
    a file without latitude and longitude, for amounts of an unknown interval, and for negative rain when it is
    computed.
    """
    what = f"ERA5 file {Path(path).name}"
    raw = _in_one_piece(open_lazily(path, chunks={"time": "auto", "valid_time": "auto"}), what)
    fields = {str(name): field for name, field in raw.data_vars.items() if {"latitude", "longitude"} <= set(field.dims)}
    fields = rates(
        pick(fields, variables, what), raw, what, accumulated=accumulated, otherwise=partial(_hours, what=what)
    )
    apart = {name: one for field in fields.items() for name, one in by_pressure(*field).items()}
    found = laid_out(apart, what, box=box)
    found = found.rename(number="ensemble") if "number" in found.dims else found.drop_vars("number", errors="ignore")
    return found.transpose("ensemble", "time", "y", "x", missing_dims="ignore").assign_attrs(source=Path(path).name)


def _in_one_piece(raw: xr.Dataset, what: str) -> xr.Dataset:
    """With one `time`, that of validity, and without `expver`, which parts final from preliminary values."""
    if "valid_time" in raw.variables and raw["valid_time"].dims == ("time",):  # then the other is of the base
        raw = raw.assign_coords(time=raw["valid_time"].values).drop_vars("valid_time")
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


def _hours(name: str, field: xr.DataArray, what: str) -> float:
    """Within which ERA5's amounts fell: an hour, three for its ensemble's members; other products are not alike."""
    times, lat = np.sort(field["time"].values), field["latitude"].values
    if len(lat) > 1 and abs(lat[1] - lat[0]) < _LAND_DEGREES:
        raise unknown_interval(name, what, why="a grid of 0.1 degrees, on which ERA5-Land counts since 00 UTC")
    # of one time on the first of a month nobody can say that it is no mean of the month
    monthly = len(times) == 1 and times[0] == times[0].astype("datetime64[M]")
    if monthly or (len(times) > 1 and np.diff(times).min() >= DAY):
        raise unknown_interval(name, what, why="times of days or months, of which it may be a mean or a sum")
    numbered = "number" in field.dims or int(field.coords.get("number", 0)) > 0
    return 3 if numbered or int(field.attrs.get("GRIB_totalNumber", 0)) > 1 else 1
