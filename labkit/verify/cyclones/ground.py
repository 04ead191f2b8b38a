"""Where the cells of a grid lie on the ground: kilometres and compass about any of its points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.sphere import KM_PER_DEGREE, wrapped

SPACE = ("y", "x")


@dataclass(frozen=True, eq=False)
class Ground:
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
    def of(cls, fields: xr.Dataset | xr.DataArray) -> "Ground":
        """The ground under fields (..., y, x): from `lat` and `lon` (y, x) where these are known, else from the
        coordinates `y` and `x` in km. DataError where there is neither, or positions change with time."""
        if not set(SPACE) <= set(fields.dims):
            raise _misfit(f"dimensions {tuple(fields.dims)}", "fields over (y, x)", "name the dimensions y and x")
        shape = tuple(fields.sizes[axis] for axis in SPACE)
        if min(shape) < 4:
            raise _misfit(f"{shape[0]} x {shape[1]} cells", "at least 4 x 4", "give a larger domain")
        axes = [_axis(fields, name) for name in SPACE]
        degrees = [_degrees(fields, name) for name in ("lat", "lon")]
        known = all(part is not None and np.isfinite(part).all() for part in degrees)
        if not known and any(axis is None for axis in axes):
            found = "neither lat and lon nor y and x"
            raise _misfit(found, "positions in degrees or axes in km", "give the fields one of them")
        lat, lon = degrees if known else (None, None)
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
    def turn(self) -> int:
        """Sense of a cyclone: +1 anticlockwise (north of the equator, or where latitudes are unknown), else -1."""
        return 1 if self.lat is None or np.mean(self.lat) >= 0 else -1

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


def _axis(fields, name: str) -> np.ndarray | None:
    if name not in fields.coords or fields[name].dims != (name,):
        return None
    values = np.asarray(fields[name].values, np.float64)
    steps = np.diff(values)
    if not np.isfinite(values).all() or np.abs(steps - steps.mean()).max() > 0.01 * abs(steps.mean()):
        return None
    if str(fields[name].attrs.get("units", "km")).startswith("deg"):
        return None
    return values


def _degrees(fields, name: str) -> np.ndarray | None:
    if name not in fields.coords:
        return None
    dims = [dim for dim in fields[name].dims if dim not in SPACE]
    if dims:
        found = f"{name} over {', '.join(map(str, fields[name].dims))}"
        raise _misfit(found, f"{name} over (y, x)", "take one time of a moving grid at a time")
    whole = fields[name].broadcast_like(xr.zeros_like(fields["lat"] * fields["lon"], dtype=np.float64))
    return np.asarray(whole.transpose(*SPACE).values, np.float64)


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
