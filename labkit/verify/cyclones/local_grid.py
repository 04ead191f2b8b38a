"""Where the cells of a grid lie on the ground: kilometres and compass about any of its points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.grid import SPACE, backward, latitude_longitude, with_common_dims
from labkit.sphere import KM_PER_DEGREE, distance_km, wrapped
from labkit.units import kilometres

WHAT = "fields of the cyclone"
APART = 3.0  # medians: neighbours further apart are none
FARTHEST_KM = 200.0  # between cells of which a cyclone can be seen; more is another unit
THIN = 100  # rows and columns that tell which way a grid runs


@dataclass(frozen=True, eq=False)
class LocalGrid:
    """A grid of cells (y, x): on a plane with axes in km, or on the sphere with latitudes and longitudes in degrees.

    Distances about a point are those of the map's own scale there, along the grid's axes: right to 2 % within 300 km
    on a Mercator, Lambert or latitude-longitude grid. Winds are taken to be along the grid's axes, as models write
    them; only the compass (`bearing`) asks how these lie to north.
    """

    shape: tuple[int, int]
    y_km: np.ndarray | None
    x_km: np.ndarray | None
    lat: np.ndarray | None
    lon: np.ndarray | None

    @classmethod
    def of(cls, fields: xr.Dataset | xr.DataArray) -> "LocalGrid":
        """The ground under fields (..., y, x): from latitudes and longitudes where these are known, else from the
        coordinates `y` and `x` in km (or another unit of length that they name). DataError where there is neither, and
        where positions change with time or neighbours lie apart."""
        if not set(SPACE) <= set(fields.dims):
            raise _misfit(f"dimensions {tuple(fields.dims)}", "fields over (y, x)", "name the dimensions y and x")
        shape = tuple(fields.sizes[axis] for axis in SPACE)
        if min(shape) < 4:
            raise _misfit(f"{shape[0]} x {shape[1]} cells", "at least 4 x 4", "give a larger domain")
        lat, lon = _degrees(fields)
        axes = [_axis(fields, name, known=lat is not None) for name in SPACE]
        if lat is None and any(axis is None for axis in axes):
            found = "neither lat and lon nor y and x"
            raise _misfit(found, "positions in degrees or axes in km", "give the fields one of them")
        return cls(shape, *axes, lat, lon)

    def spacing(self, row: float | None = None, col: float | None = None) -> tuple[float, float]:
        """Kilometres from one cell to the next along (y, x), near a place or in the middle of the grid."""
        if self.lat is None:
            return tuple(float(np.diff(axis).mean()) for axis in (self.y_km, self.x_km))
        return tuple(float(np.hypot(*step)) for step in self._steps(row, col))

    def place(self, row: np.ndarray, col: np.ndarray) -> dict[str, np.ndarray]:
        """`x`, `y` in km and `lat`, `lon` in degrees at fractional cells; NaN where a kind is unknown. Linear, also
        beyond the outer centres."""
        nothing = np.full(np.shape(row), np.nan)
        found = {"y": nothing, "x": nothing, "lat": nothing, "lon": nothing}
        if self.y_km is not None and self.x_km is not None:
            found |= {"y": _along(self.y_km, row), "x": _along(self.x_km, col)}
        if self.lat is not None:
            lon = np.rad2deg(np.unwrap(np.unwrap(np.deg2rad(self.lon), axis=1), axis=0))
            found |= {"lat": _bilinear(self.lat, row, col), "lon": wrapped(_bilinear(lon, row, col))}
        return found

    def bearing(self, row: float, col: float) -> float:
        """Angle in radians from east to the grid's x axis, anticlockwise; 0 where north is unknown."""
        if self.lat is None:
            return 0.0
        (_, _), (north, east) = self._steps(row, col)
        return float(np.arctan2(north, east))

    @property
    def mirrored(self) -> bool:
        """Whether x leads to the left of y, where latitudes and longitudes are known."""
        along_y, along_x = self._steps(None, None)
        return along_x[1] * along_y[0] - along_x[0] * along_y[1] < 0

    @property
    def turns(self) -> np.ndarray:
        """Sense (y, x) of a cyclone with its centre there: +1 anticlockwise (north of the equator, or where latitudes
        are unknown), else -1."""
        return np.ones(self.shape, int) if self.lat is None else np.where(self.lat >= 0, 1, -1)

    def turn_at(self, row: float, col: float) -> int:
        """The sense of a cyclone at fractional cells; beyond the grid as at its nearest cell."""
        i, j = (int(np.clip(round(place), 0, n - 1)) for place, n in zip((row, col), self.shape, strict=True))
        return 1 if self.lat is None or self.lat[i, j] >= 0 else -1

    def _steps(self, row: float | None, col: float | None) -> tuple[tuple[float, float], tuple[float, float]]:
        """(north, east) km of one cell along y and of one along x."""
        n_y, n_x = self.shape
        i = int(np.clip(round((n_y - 1) / 2 if row is None else float(row)), 1, n_y - 2))
        j = int(np.clip(round((n_x - 1) / 2 if col is None else float(col)), 1, n_x - 2))
        shrink, km = np.cos(np.deg2rad(self.lat[i, j])), KM_PER_DEGREE

        def step(a: tuple[int, int], b: tuple[int, int]) -> tuple[float, float]:
            east = wrapped(self.lon[b] - self.lon[a])
            return float((self.lat[b] - self.lat[a]) * km / 2), float(east * shrink * km / 2)

        return step((i - 1, j), (i + 1, j)), step((i, j - 1), (i, j + 1))


def upright(fields: xr.Dataset) -> tuple[xr.Dataset, LocalGrid, Callable[[xr.DataArray], xr.DataArray]]:
    """The fields with rows from south to north and columns from west to east, their ground, and what turns a `row` or
    `col` there into that of the grid as it came, and back. DataError for a grid that is a mirror image even so."""
    fields = fields if set(SPACE) <= set(fields.dims) else with_common_dims(fields)
    thinned = {axis: slice(None, None, max(1, fields.sizes[axis] // THIN)) for axis in SPACE if axis in fields.sizes}
    turned = backward(_where(fields).isel(thinned, missing_dims="ignore"), WHAT) if len(thinned) == 2 else []
    fields = fields.isel({axis: slice(None, None, -1) for axis in turned})
    ground = LocalGrid.of(fields)
    if ground.lat is not None and ground.mirrored:
        found, expected = "columns that lead to the left of rows", "rows to the north and columns to the east"
        raise _misfit(found, expected, "put the positions right, or turn the grid")

    def numbered(place: xr.DataArray) -> xr.DataArray:
        axis = {"row": "y", "col": "x"}.get(str(place.name))
        return fields.sizes[axis] - 1 - place if axis in turned else place

    return fields, ground, numbered


def _where(fields: xr.Dataset | xr.DataArray) -> xr.Dataset:
    """Only what tells where the cells are; degrees of another pole tell it not."""
    known = {name: coord.variable for name, coord in fields.coords.items() if set(coord.dims) & set(SPACE)}
    other = [name for name, coord in known.items() if str(coord.attrs.get("standard_name", "")).startswith("grid_")]
    return xr.Dataset(coords=known).drop_vars(other)


def _axis(fields, name: str, *, known: bool) -> np.ndarray | None:
    """A coordinate in km; None where there is none that is even."""
    if name not in fields.coords or fields[name].dims != (name,) or not np.issubdtype(fields[name].dtype, np.number):
        return None
    units = str(fields[name].attrs.get("units", ""))
    scale = kilometres(units) if units else 1.0
    if scale is None:
        return None
    values = np.asarray(fields[name].values, np.float64) * scale
    steps = np.diff(values)
    if not np.isfinite(values).all() or np.abs(steps - steps.mean()).max() > 0.01 * abs(steps.mean()):
        return None
    if not known and not units and abs(steps.mean()) > FARTHEST_KM:
        found = f"cells {abs(steps.mean()):g} apart along {name}, without a unit"
        raise _misfit(found, "axes in km", f"say what {name} is in, as in fields.{name}.attrs['units'] = 'm'")
    return values


def _degrees(fields) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Latitudes and longitudes (y, x), or None where some place has none."""
    for name in {"lat", "lon"} & set(fields.coords):
        if others := set(fields[name].dims) - set(SPACE):
            found = f"{name} over {', '.join(map(str, others))}"
            raise _misfit(found, f"{name} over (y, x)", "take one time of a moving grid at a time")
    found = latitude_longitude(_where(fields), WHAT)
    if found is None or not all(np.isfinite(part).all() for part in found):
        return None, None
    for axis, name in enumerate(SPACE):
        _check_neighbours(*(part.take((0, part.shape[1 - axis] // 2, -1), 1 - axis) for part in found), axis, name)
    return found


def _check_neighbours(lat: np.ndarray, lon: np.ndarray, axis: int, name: str) -> None:
    """DataError where a row or column does not go on, as where a globe was cut out on both sides of its seam."""
    one, other = (np.moveaxis(part, axis, 0) for part in (lat, lon))
    apart = distance_km(one[:-1], other[:-1], one[1:], other[1:])
    if not 0 < apart.max() <= APART * np.median(apart):
        k = np.unravel_index(apart.argmax(), apart.shape)
        found = f"neighbours {apart.max():.0f} km apart along {name}, from {one[k]:g} N, {other[k]:g} E on"
        raise _misfit(found, "cells side by side", f"put the cells in order along {name}")


def _along(axis: np.ndarray, position: np.ndarray) -> np.ndarray:
    return axis[0] + np.asarray(position) * np.diff(axis).mean()


def _bilinear(field: np.ndarray, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    row, col = (np.asarray(part, np.float64) for part in (row, col))
    i, j = (
        np.clip(np.floor(np.nan_to_num(part)), 0, n - 2).astype(int)
        for part, n in zip((row, col), field.shape, strict=True)
    )
    a, b = row - i, col - j
    low = field[i, j] * (1 - b) + field[i, j + 1] * b
    high = field[i + 1, j] * (1 - b) + field[i + 1, j + 1] * b
    return low * (1 - a) + high * a


def _misfit(found: str, expected: str, todo: str) -> DataError:
    return DataError("grid of the cyclone", found=found, expected=expected, todo=todo)
