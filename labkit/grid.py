"""Where the cells of a file lie: its axes, which way they run, how far apart cells are, their latitudes and longitudes.

The one place that reads a file's grid. Latitudes and longitudes decide where they are known; else axes with a unit of
length; else the user, by `spacing_km`. What is read here runs from south to north and from west to east.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.projections import RADIAN, degrees_on_map, projection
from labkit.sphere import EARTH_RADIUS_KM, distance_km, wrapped
from labkit.units import is_degrees, kilometres, parsed

SPACE = ("y", "x")
COARSENING = "coarsening"  # attribute: fine cells in a coarse one (y, x)
CELLS = "cell number; the true spacing is not in the file"
_DIMENSIONS = {
    "time": ("time", "valid_time", "Time", "sample", "t"),
    "y": (
        *("y", "south_north", "latitude", "lat", "rlat", "grid_latitude", "northing", "projection_y_coordinate"),
        *("y_in", "Y", "j", "nj", "nlat"),
    ),
    "x": (
        *("x", "west_east", "longitude", "lon", "rlon", "grid_longitude", "easting", "projection_x_coordinate"),
        *("x_in", "X", "i", "ni", "nlon"),
    ),
}
TIMES = _DIMENSIONS["time"]
MEMBERS = ("ensemble", "number", "ens_number", "member", "members", "realization", "ens", "ensemble_member")
LATITUDES = ("lat", "latitude", "XLAT", "nav_lat", "gridlat_0")
LONGITUDES = ("lon", "longitude", "XLONG", "nav_lon", "gridlon_0")
_AXES = {axis: names for axis, names in _DIMENSIONS.items() if axis != "time"}
_AGREE = 0.05  # axes and positions that differ by less say the same
_MAP_SCALE = (0.4, 2.5)  # what a map's scale may be; a distance off by more is in another unit
_VARIES = 0.1


def with_our_dims(dataset: xr.Dataset, what: str, renames: Mapping[str, str] | None = None) -> xr.Dataset:
    """The data set with dimensions `time` (where it has one), `y` and `x`, in the order of the file.

    Dimensions are known by common names, or `renames` {theirs: ours} says. Coordinates of a renamed dimension go
    along. Raises DataError where there is no horizontal dimension to be found.
    """
    unknown = [name for name in renames or {} if name not in dataset.dims]
    renamed = dataset if unknown else with_common_dims(dataset, renames)
    if lacking := unknown or [axis for axis in SPACE if axis not in renamed.dims]:
        raise DataError(
            f"dimensions of the {what}",
            found=", ".join(map(str, dataset.dims)) or "none",
            expected=f"one for {' and '.join(lacking)}",
            todo="say which is which with dims={'theirs': 'ours'}",
        )
    return renamed


def with_common_dims(dataset: xr.Dataset, renames: Mapping[str, str] | None = None) -> xr.Dataset:
    """As `with_our_dims`, of what there is: a data set without a grid stays as it is."""
    chosen = dict(renames or {})
    for ours, candidates in _DIMENSIONS.items():
        found = [name for name in candidates if name in dataset.dims and name not in chosen]
        if ours not in chosen.values() and found:
            chosen[found[0]] = ours
    return dataset.rename_dims({theirs: ours for theirs, ours in chosen.items() if theirs != ours})


def with_members(dataset: xr.Dataset, told: Collection[str] = ()) -> xr.Dataset:
    """With the dimension of members, where there is one, called `ensemble`: known by common names, or one of `told`."""
    member = next((dim for dim in (*told, *MEMBERS) if dim in dataset.dims), "ensemble")
    if member == "ensemble":
        return dataset
    return dataset.drop_vars("ensemble", errors="ignore").rename({member: "ensemble"})


def order_of(dataset: xr.Dataset, what: str) -> dict[str, slice | np.ndarray]:
    """What `isel` takes to have rows from south to north and columns from west to east in one piece; {}: as it is."""
    numbers = {axis: (axis, np.arange(dataset.sizes[axis])) for axis in SPACE}
    turned = eastwards(oriented(dataset.assign({f"number_{axis}": n for axis, n in numbers.items()}), what))
    found = {}
    for axis, (_, number) in numbers.items():
        order = turned[f"number_{axis}"].values
        if not np.array_equal(order, number):
            found[axis] = slice(None, None, -1) if np.array_equal(order, number[::-1]) else order
    return found


def oriented(dataset: xr.Dataset, what: str) -> xr.Dataset:
    """The data set (y, x) with rows from south to north and columns from west to east."""
    return dataset.isel({axis: slice(None, None, -1) for axis in backward(dataset, what)})


def backward(dataset: xr.Dataset, what: str) -> list[str]:
    """The axes, of y and x, that run from north to south or from east to west."""
    position = latitude_longitude(dataset, what)
    signs = {}
    for axis in SPACE:
        if position is not None and np.isfinite(step := _step_km(*position, axis)) and step:
            signs[axis] = step
        elif (length := _axis(dataset, axis)) is not None and length.size > 1:
            signs[axis] = length[-1] - length[0]
    return [axis for axis, sign in signs.items() if sign < 0]


def latitude_longitude(dataset: xr.Dataset, what: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Latitude and longitude (y, x) in degrees, NaN where a place has none, or None where the data set tells neither.

    From the variables of these names, from axes in degrees, or from axes on the map that a CF grid mapping names.
    Raises DataError for degrees out of range and for positions that change with time.
    """
    lat, lon = _first(dataset, LATITUDES), _first(dataset, LONGITUDES)
    if lat is None or lon is None or not set(SPACE) >= {*lat.dims, *lon.dims} - {"time"}:
        return _projected(dataset)
    lat, lon = xr.broadcast(_still(_in_degrees(lat)), _still(_in_degrees(lon)))
    if set(lat.dims) != set(SPACE):
        return _projected(dataset)
    lat, lon = (np.asarray(part.transpose(*SPACE).values, np.float64) for part in (lat, lon))
    for name, values, most in (("latitudes", lat, 90.01), ("longitudes", lon, 540.5)):
        if np.nanmax(np.abs(values), initial=0) > most:
            raise DataError(
                f"{name} of the {what}",
                found=f"{np.nanmin(values):g} to {np.nanmax(values):g}",
                expected=f"degrees within {-most:.0f} to {most:.0f}",
                todo="mark places without one as missing (NaN), or leave the coordinate out",
            )
    return _projected(dataset) if np.isnan(lat).all() or np.isnan(lon).all() else (lat, lon)


def row_of_longitudes(dataset: xr.Dataset) -> np.ndarray | None:
    """Longitudes along x in degrees, where all rows have the same; else None."""
    lon = _first(dataset, LONGITUDES)
    if lon is None and (axis := _first(dataset, ("x",))) is not None and is_degrees(axis.attrs.get("units", "")):
        lon = axis
    if lon is None or not np.issubdtype(lon.dtype, np.number) or "x" not in lon.dims or set(lon.dims) - set(SPACE):
        return None
    rows = np.atleast_2d(np.asarray(_in_degrees(lon).transpose(..., "x").values, np.float64))
    return rows[0] if len(rows) and (rows == rows[0]).all() else None


def eastwards(dataset: xr.Dataset, *, middle: float | None = None) -> xr.Dataset:
    """Columns along latitudes from west to east in one piece, wherever the file's longitudes begin anew.

    A row around the globe starts at the date line, or 180 degrees west of the `middle`; others after their widest gap.
    Grids that are not along latitudes stay as they are.
    """
    lon = row_of_longitudes(dataset)
    if lon is None or len(lon) < 3:
        return dataset
    order = np.argsort(lon % 360, kind="stable")
    gaps = np.diff(lon[order] % 360, append=lon[order[0]] % 360 + 360)
    if gaps.max() > 1.5 * np.median(gaps):
        order = np.roll(order, -int(gaps.argmax()) - 1)
    else:
        order = np.argsort(wrapped(lon) if middle is None else (lon - middle + 180) % 360, kind="stable")
    return dataset if np.array_equal(order, np.arange(len(lon))) else dataset.isel(x=order)


def coordinates(
    dataset: xr.Dataset, what: str, *, spacing_km: float | tuple[float, float] | None = None
) -> dict[str, xr.Variable]:
    """`y`, `x` in km and `lat`, `lon` (y, x) in degrees of a data set that `oriented` has turned.

    Axes with a unit of length stay as they are, in km, where they agree with latitudes and longitudes, which also tell
    km from m where axes have no unit; where a map's scale sets them apart, and where axes are neither, the mean
    great-circle distance of neighbours decides.
    `spacing_km`, one or (dy, dx), says what the file does not. Where nobody does, cells are counted: see
    `spacing_known`. `lat`, `lon` are NaN where unknown. Raises DataError where two of these contradict each other.
    """
    position, shape = latitude_longitude(dataset, what), tuple(dataset.sizes[axis] for axis in SPACE)
    lat, lon = position if position is not None else (np.full(shape, np.nan),) * 2
    told = (spacing_km,) * 2 if spacing_km is None or np.ndim(spacing_km) == 0 else tuple(spacing_km)
    degrees = (lat, lon) if position is not None else _rotated_degrees(dataset) or (lat, lon)
    steps = {axis: abs(_step_km(*degrees, axis)) or np.nan for axis in SPACE}
    lengths = {axis: _length_km(dataset, axis, what, step=steps[axis]) for axis in SPACE}
    found = {axis: _axis_km(axis, dataset.sizes[axis], steps[axis], lengths[axis], what) for axis in SPACE}
    for axis, said in zip(SPACE, told, strict=True):
        found[axis] = _as_told(found[axis], axis, said, what)
    found |= {
        "lat": xr.Variable(SPACE, lat.astype(np.float32), {"units": "degrees_north", "standard_name": "latitude"}),
        "lon": xr.Variable(
            SPACE, wrapped(lon).astype(np.float32), {"units": "degrees_east", "standard_name": "longitude"}
        ),
    }
    return found


def positions_km(dataset: xr.Dataset, what: str) -> tuple[str, np.ndarray] | None:
    """Cell centres (y, x, 3) in km, as points of the "sphere" or the "plane" of `x` and `y`; None where neither is."""
    degrees = latitude_longitude(dataset, what)
    if degrees is not None:
        phi, lam = np.radians(degrees[0]), np.radians(degrees[1])
        unit = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)
        return "sphere", EARTH_RADIUS_KM * unit
    y, x = (_length_km(dataset, axis, what) for axis in SPACE)
    if y is None or x is None:
        return None
    return "plane", np.stack([*np.meshgrid(y, x, indexing="ij"), np.zeros((len(y), len(x)))], axis=-1)


def spacing_km(fields: xr.Dataset | xr.DataArray | xr.DataTree) -> tuple[float, float]:
    """Grid spacing (dy, dx) in km of fields with the axes that `coordinates` makes; an axis of one cell has that of the
    other."""
    steps = [
        float(np.abs(np.diff(np.asarray(fields[axis].values, float))).mean()) if fields[axis].size > 1 else np.nan
        for axis in SPACE
    ]
    return tuple(step if np.isfinite(step) else float(np.nanmax([*steps, 0.0]) or 1.0) for step in steps)


def spacing_known(fields: xr.Dataset | xr.DataTree) -> bool:
    """Whether the file said how far apart its cells are, or the user; else `x` and `y` count them as if of 1 km."""
    return not any(str(fields[axis].attrs.get("source", "")) == CELLS for axis in SPACE)


def coarsening(fields: xr.Dataset | xr.DataTree) -> tuple[int, int]:
    """Fine cells in a coarse one along y and x, as the root's attribute `coarsening` tells; 1 where it does not."""
    found = np.ravel(fields.attrs.get(COARSENING, 1))
    if found.dtype.kind not in "iu" or found.size not in (1, 2) or found.min() < 1:
        return 1, 1
    return int(found[0]), int(found[-1])


def cautions(fields: xr.Dataset | xr.DataTree) -> list[str]:
    """What has to be known before distances are read off a grid, or two are compared, a sentence each."""
    return [*filter(None, [str(fields.attrs.get("alignment", ""))]), *_of_distances(fields)]


def _of_distances(fields: xr.Dataset | xr.DataTree) -> list[str]:
    if not spacing_known(fields):
        return [
            "The file tells neither x and y nor lat and lon: a cell is taken for 1 km. Distances count cells, and what "
            "is worked out from them (spectra, storms, fronts, neighbourhoods) may be wrong; say the spacing "
            "(--spacing-km)."
        ]
    if not {"lat", "lon"} <= set(fields.coords):
        return []
    lat, lon = (np.asarray(fields[name].values, float) for name in ("lat", "lon"))
    if min(lat.shape) < 2 or not (np.isfinite(lat).all() and np.isfinite(lon).all()):
        return []
    widths = distance_km(lat[:, :-1], lon[:, :-1], lat[:, 1:], lon[:, 1:]).mean(axis=1)
    low, high, mean = widths.min(), widths.max(), widths.mean()
    if high - low > 2 * _VARIES * mean:
        return [f"Cells are {low:.3g} to {high:.3g} km wide, from row to row; distances take them for {mean:.3g} km."]
    return []


def _projected(dataset: xr.Dataset) -> tuple[np.ndarray, np.ndarray] | None:
    """Latitude and longitude of axes in degrees, or on the map of a grid mapping."""
    y, x = (_axis(dataset, axis) for axis in SPACE)
    if y is None or x is None:
        return None
    units = [str(_first(dataset, (axis, *_AXES[axis])).attrs.get("units", "")) for axis in SPACE]
    crs = projection(dataset)
    if crs is not None and (crs.is_derived or not crs.is_geographic):
        return degrees_on_map(crs, y, x, units)
    if all(map(is_degrees, units)) and not _of_rotated_pole(dataset):
        return tuple(np.meshgrid(y, x, indexing="ij"))
    return None


def _rotated_degrees(dataset: xr.Dataset) -> tuple[np.ndarray, np.ndarray] | None:
    """Degrees (y, x) along a rotated pole's own axes, which are as long as those of latitude and longitude."""
    y, x = (_axis(dataset, axis) for axis in SPACE)
    return None if y is None or x is None or not _of_rotated_pole(dataset) else tuple(np.meshgrid(y, x, indexing="ij"))


def _of_rotated_pole(dataset: xr.Dataset) -> bool:
    """Whether the axes' degrees are those of a rotated pole, which no latitude and longitude follow from without it."""
    axis = _first(dataset, ("y", *_AXES["y"]))
    return axis.name in ("rlat", "grid_latitude") or axis.attrs.get("standard_name") == "grid_latitude"


def _in_degrees(array: xr.DataArray) -> xr.DataArray:
    """Latitudes or longitudes that are in radians, as ICON's, in degrees."""
    return np.degrees(array) if (unit := parsed(array.attrs.get("units", ""))) is not None and unit == RADIAN else array


def _still(array: xr.DataArray) -> xr.DataArray:
    """Positions without a time axis; moving grids are refused."""
    array = array.drop_vars(list(array.coords)).variable
    if "time" not in array.dims:
        return xr.DataArray(array)
    first = array.isel(time=0)
    if not np.allclose(array.values, first.values[None], equal_nan=True):
        raise DataError(
            "latitude and longitude",
            found="positions that change with time",
            expected="a grid that stays",
            todo="regrid to a fixed grid or select times of one position",
        )
    return xr.DataArray(first)


def _axis(dataset: xr.Dataset, axis: str) -> np.ndarray | None:
    """Values of the coordinate along an axis, whatever their unit; None where there is none of finite numbers."""
    found = _first(dataset, (axis, *_AXES[axis]))
    if found is None or found.dims != (axis,) or not np.issubdtype(found.dtype, np.number):
        return None
    values = np.asarray(found.values, np.float64)
    return values if np.isfinite(values).all() else None


def _length_km(dataset: xr.Dataset, axis: str, what: str, *, step: float = np.nan) -> np.ndarray | None:
    """The coordinate along an axis in km; None where it has no unit of length, nor is by `step` km in km or m.

    Raises DataError where it is out of order.
    """
    values = _axis(dataset, axis)
    if values is None:
        return None
    units = str(_first(dataset, (axis, *_AXES[axis])).attrs.get("units", ""))
    steps, scale = np.diff(values), kilometres(units)
    if scale is None and not units and steps.size:
        scale = next((unit for unit in (1.0, 1e-3) if abs(steps.mean() * unit / step - 1) < _AGREE), None)
    if scale is None:
        return None
    if not ((steps > 0).all() or (steps < 0).all()):
        raise DataError(
            f"{axis} of the {what}",
            found="a coordinate that goes back and forth or stands still",
            expected="cells in order",
            todo="sort the file along it",
        )
    return values * scale


def _step_km(lat: np.ndarray, lon: np.ndarray, axis: str) -> float:
    """Mean great-circle distance of neighbours along an axis, negative where it runs south or west; NaN for none."""
    ahead, behind = (np.s_[1:], np.s_[:-1]) if axis == "y" else (np.s_[:, 1:], np.s_[:, :-1])
    distance = distance_km(lat[behind], lon[behind], lat[ahead], lon[ahead])
    if not np.isfinite(distance).any():
        return float("nan")
    forward = lat[ahead] - lat[behind] if axis == "y" else wrapped(lon[ahead] - lon[behind])
    return float(np.nanmean(distance) * (1 if np.nanmean(forward) >= 0 else -1))


def _axis_km(axis: str, n: int, step: float, length: np.ndarray | None, what: str) -> xr.Variable:
    attrs = {"units": "km", "long_name": f"{axis} on the model grid", "axis": axis.upper()}
    number = np.arange(n, dtype=float)
    if length is not None:
        own = float(np.diff(length).mean()) if n > 1 else np.nan
        ratio = own / step
        if not np.isfinite(ratio) or abs(ratio - 1) < _AGREE:
            return xr.Variable(axis, length, attrs | {"source": "file"})
        if not _MAP_SCALE[0] < ratio < _MAP_SCALE[1]:
            raise DataError(
                f"{axis} of the {what}",
                found=f"cells {own:.4g} km apart by {axis} and {step:.4g} km by latitude and longitude",
                expected="one distance",
                todo=f"put the units of {axis} right, or leave it out: latitude and longitude are enough",
            )
    if np.isfinite(step):
        return xr.Variable(axis, number * step, attrs | {"source": "mean great-circle spacing of lat and lon"})
    return xr.Variable(axis, number, attrs | {"source": CELLS})


def _as_told(found: xr.Variable, axis: str, told: float | None, what: str) -> xr.Variable:
    """The axis by the user's spacing, where the file has none; DataError where it has another."""
    if told is None:
        return found
    if found.attrs["source"] == CELLS:
        return xr.Variable(axis, np.arange(found.size) * float(told), found.attrs | {"source": "as told by the user"})
    own = float(np.diff(found.values).mean()) if found.size > 1 else told
    if abs(own / told - 1) > 2 * _AGREE:
        raise DataError(
            f"spacing of the {what} along {axis}",
            found=f"{own:.4g} km in the file",
            expected=f"{told:g} km, as it was said",
            todo="leave the spacing out, or put the file right",
        )
    return found


def _first(dataset: xr.Dataset, names: tuple[str, ...]) -> xr.DataArray | None:
    return next((dataset[name] for name in names if name in dataset.variables), None)
