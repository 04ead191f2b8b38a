"""Maps that a file's axes lie on: CF grid mappings, and the latitudes and longitudes that follow from them."""

from __future__ import annotations

import numpy as np
import pyproj
import xarray as xr

from labkit.units import is_degrees, kilometres, parsed

RADIAN = parsed("radian")


def projection(dataset: xr.Dataset) -> pyproj.CRS | None:
    """The map of a data set's axes, from the CF grid mapping that it has; None where none is told or understood."""
    for variable in dataset.variables.values():
        if {"crs_wkt", "grid_mapping_name", "spatial_ref"} & set(variable.attrs):
            try:
                return pyproj.CRS.from_cf({str(k): v for k, v in variable.attrs.items()})
            except (pyproj.exceptions.CRSError, KeyError, TypeError, ValueError):
                return None
    return None


def degrees_on_map(
    crs: pyproj.CRS, y: np.ndarray, x: np.ndarray, units: list[str]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Latitude and longitude (y, x) of axes on a map, NaN off the globe; None where their units (y, x) are of none."""
    metres = [_metres(unit, crs) for unit in units]
    if None in metres:
        return None
    # a moved pole is its own geodetic system; the one it was moved from is its source
    degrees = crs.source_crs if crs.is_geographic else crs.geodetic_crs
    to_degrees = pyproj.Transformer.from_crs(crs, degrees, always_xy=True)
    lon, lat = to_degrees.transform(*np.meshgrid(x * metres[1], y * metres[0]))
    return np.where(np.isfinite(lat), lat, np.nan), np.where(np.isfinite(lon), lon, np.nan)


def _metres(unit: str, crs: pyproj.CRS) -> float | None:
    """Metres on a map, or degrees of a moved pole, in one of a unit; a satellite's scan angle times its height."""
    if is_degrees(unit):
        return 1.0
    if parsed(unit) == RADIAN:
        return dict(crs.to_cf()).get("perspective_point_height")
    return None if (scale := kilometres(unit)) is None else 1000.0 * scale
