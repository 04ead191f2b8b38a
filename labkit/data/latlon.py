"""Fields on latitudes and longitudes, as weather centres give them, with the names, units and axes of the lab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.grid import coordinates, eastwards, latitude_longitude, oriented, row_of_longitudes, with_our_dims
from labkit.units import check_plausible, in_our_units, parsed
from labkit.variables import at_pressure, canonical, lookup

Box = tuple[float, float, float, float]
PRESSURE_LEVELS = ("pressure_level", "isobaricInhPa", "level", "plev")


def laid_out(
    fields: Mapping[str, xr.DataArray], what: str, *, box: Box | None = None, units: Mapping[str, str] | None = None
) -> xr.Dataset:
    """Fields (..., latitude, longitude) of any names as float32 over (..., y, x), in the registry's names and units.

    Rows run from south to north, columns from west to east. Coordinates: `y`, `x` in km by the mean distance of
    neighbours, `lat`, `lon` (y, x) in degrees, longitudes in -180 to 180. `box` (west, south, east, north) in degrees
    keeps the cells within it, also across Greenwich and the date line; of a grid that is not along latitudes the
    rows and columns that have some. `units` as in `labkit.units`. Raises DataError where nothing is inside, and for
    units that are not those of the registry.
    """
    raw = xr.Dataset(dict(_named(fields)))
    whole = _within(eastwards(oriented(with_our_dims(raw, what), what)), box, what)
    place = coordinates(whole, what)
    check_plausible(whole.data_vars, what, units=units)
    kept = {name: _plain(name, field) for name, field in in_our_units(whole.data_vars, what, units=units).items()}
    return xr.Dataset(kept, place)


def by_pressure(name: str, field: xr.DataArray) -> dict[str, xr.DataArray]:
    """A field on pressure levels as one for each, `t` to `t850`; any other as it is."""
    axis = next((dim for dim in field.dims if is_pressure(field, dim)), None)
    if axis is None:
        return {name: field}
    levels = [at_pressure(name, level) for level in hectopascals(field[axis])]
    return {level: field.isel({axis: i}, drop=True) for i, level in enumerate(levels)}


def is_pressure(field: xr.DataArray, dim: str) -> bool:
    """Whether a dimension is one of pressure levels: by its unit, or without one by its name."""
    if dim not in field.coords or not np.issubdtype(field[dim].dtype, np.number):
        return False
    unit = str(field[dim].attrs.get("units", ""))
    return (parsed(unit) is not None and parsed(unit).is_convertible("hPa")) if unit else dim in PRESSURE_LEVELS


def hectopascals(levels: xr.DataArray) -> np.ndarray:
    """Pressure levels in hPa, which they are without a unit."""
    unit = parsed(str(levels.attrs.get("units", "")) or "hPa")
    return np.round(unit.convert(np.asarray(levels.values, np.float64), "hPa"), 6)


def pick(fields: Mapping[str, xr.DataArray], names: Sequence[str] | None, what: str) -> dict[str, xr.DataArray]:
    """The fields named, by the file's or the registry's names; all where none are."""
    if names is None:
        return dict(fields)
    known = {canonical(name): name for name in fields} | {name: name for name in fields}
    missing = [name for name in names if name not in known and canonical(name) not in known]
    if missing:
        todo = "choose from the variables found"
        raise DataError(what, found=", ".join(fields) or "none", expected=", ".join(missing), todo=todo)
    return {theirs: fields[theirs] for theirs in (known.get(name, known.get(canonical(name))) for name in names)}


def _named(fields: Mapping[str, xr.DataArray]):
    """Pairs of the registry's name and the field; two of one name keep those of the file."""
    names = [canonical(name) for name in fields]
    for (theirs, field), name in zip(fields.items(), names, strict=True):
        yield (name if names.count(name) == 1 else theirs), field


def _within(whole: xr.Dataset, box: Box | None, what: str) -> xr.Dataset:
    if box is None:
        return whole
    west, south, east, north = box
    along, found = row_of_longitudes(whole), latitude_longitude(whole, what)
    if found is None:
        raise DataError(what, found="a grid without latitudes", expected="one with some", todo="give no box")
    # degrees east of the western edge, so that a box across the date line is one piece
    eastward = (found[1] - west) % 360
    north_south = (found[0] >= south) & (found[0] <= north)
    west_east = eastward <= ((east - west) % 360 or 360)
    if along is not None:
        rows, columns = np.flatnonzero(north_south[:, 0]), np.flatnonzero(west_east[0])
        columns = columns[np.argsort(eastward[0, columns], kind="stable")]
    else:
        rows, columns = (np.flatnonzero((north_south & west_east).any(axis=axis)) for axis in (1, 0))
    if len(rows) < 2 or len(columns) < 2:
        raise DataError(
            f"box of the {what}",
            found=f"{len(rows)} x {len(columns)} cells from {west:g} to {east:g} E and {south:g} to {north:g} N",
            expected="2 or more each way",
            todo="give (west, south, east, north) in degrees within the file's grid",
        )
    return whole.isel(y=rows, x=columns)


def _plain(name: str, field: xr.DataArray) -> xr.DataArray:
    placed = [coordinate for coordinate, array in field.coords.items() if {"y", "x"} & set(array.dims)]
    plain, said = field.drop_vars(placed).astype(np.float32), field.attrs.get("long_name", "")
    plain.attrs = {"units": field.attrs.get("units", ""), "long_name": lookup(name).long_name}
    plain.attrs |= {"comment": str(said)} if said else {}
    return plain
