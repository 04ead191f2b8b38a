"""Where the cells of a GRIB field lie, row by row as the field is stored, whichever way it was scanned.

ecCodes' own positions leave the scanning mode of projected grids out, so that only its keys are taken here.
"""

from __future__ import annotations

import numpy as np
import pyproj
import xarray as xr

from labkit.errors import DataError

MOST_CELLS = 2**28  # more than any weather model's grid has
_DEGREES = {"latitude": "degrees_north", "longitude": "degrees_east"}
_TURN = "interpolate it to latitudes and longitudes first (cdo remapbil, or grid= in MARS and the Climate Data Store)"


def shape_of(get, what: str) -> tuple[int, int]:
    """Rows and columns; `get(key, kind, otherwise)` reads the message. DataError for points that are no such grid."""
    kind, sizes = get("gridType", str, "unknown"), (get("Nj", int, None), get("Ni", int, None))
    if None in sizes or kind not in _POSITIONS:
        raise DataError(
            what, found=f"a grid of the kind {kind}", expected="one of " + ", ".join(_POSITIONS), todo=_TURN
        )
    told = get("numberOfDataPoints", int, sizes[0] * sizes[1])
    if not 0 < sizes[0] * sizes[1] == told < MOST_CELLS:
        found = f"{sizes[0]} x {sizes[1]} cells and {told} values"
        raise DataError(what, found=found, expected="a value for each", todo="check where the file is from")
    return sizes


def laid_out(flat: np.ndarray, get, what: str) -> np.ndarray:
    """As many values as cells, in the order of the file, as (y, x): columns may be first, other rows backwards."""
    ny, nx = shape_of(get, what)
    by_column = bool(get("jPointsAreConsecutive", int, 0))
    field = flat.reshape((nx, ny) if by_column else (ny, nx))
    if get("alternativeRowScanning", int, 0):
        field = field.copy()
        field[1::2] = field[1::2, ::-1]
    return field.T if by_column else field


def coordinates_of(get, array, what: str) -> dict[str, xr.Variable]:
    """`latitude` and `longitude`, along their dimensions or (y, x), with `y`, `x` in km where the grid is on a map.

    `array(key)` reads numbers of the message.
    """
    shape_of(get, what)
    try:
        return _POSITIONS[get("gridType", str, "unknown")](get, array)
    except pyproj.exceptions.ProjError as error:  # CRSError is one
        raise DataError(
            f"grid of the {what}", found=f"no map ({error})"[:160], expected="a projection", todo="check the file"
        ) from error


def _regular(get, array) -> dict[str, xr.Variable]:
    axes = _degrees(get)
    if get("gridType", str, "") == "regular_gg":
        axes["latitude"] = np.sort(array("distinctLatitudes"))[:: 1 if get("jScansPositively", int, 0) else -1]
    return {name: xr.Variable(name, axis, {"units": _DEGREES[name]}) for name, axis in axes.items()}


def _rotated(get, array) -> dict[str, xr.Variable]:
    """Of a pole that was moved: the south pole of the grid lies at the latitude and longitude that the message says."""
    south, lon_0 = (get(f"{key}OfSouthernPoleInDegrees", float, 0.0) for key in ("latitude", "longitude"))
    angle = get("angleOfRotationInDegrees", float, 0.0)
    pole = pyproj.Proj(f"+proj=ob_tran +o_proj=longlat +o_lat_p={-south} +o_lon_p={-angle} +lon_0={lon_0} +R=6371229")
    axes = _degrees(get)
    rlon, rlat = np.meshgrid(axes["longitude"], axes["latitude"])
    # the transformation's "longitude and latitude" are those of the moved pole, in radians
    lon, lat = pole(np.radians(rlon), np.radians(rlat), inverse=True, radians=True)
    return _two_dimensional(np.degrees(lat), np.degrees(lon))


def _projected(get, array) -> dict[str, xr.Variable]:
    projection = pyproj.Proj(get("projString", str, ""))
    start = projection(*(get(f"{key}OfFirstGridPointInDegrees", float, 0.0) for key in ("longitude", "latitude")))
    axes = {}
    for axis, origin, count, back, sign in (
        ("y", start[1], "Nj", "jScansPositively", -1),
        ("x", start[0], "Ni", "iScansNegatively", 1),
    ):
        letter = count[1]
        step = get(f"D{axis}InMetres", float, None) or get(f"D{letter}InMetres", float, 0.0)
        forward = -sign if get(back, int, 0) else sign
        axes[axis] = origin + forward * step * np.arange(get(count, int, 0))
    lon, lat = projection(*np.meshgrid(axes["x"], axes["y"]), inverse=True)
    lengths = {axis: xr.Variable(axis, metres / 1000, {"units": "km"}) for axis, metres in axes.items()}
    return lengths | _two_dimensional(lat, lon)


def _degrees(get) -> dict[str, np.ndarray]:
    """The axes of a grid of degrees from its first and last points, longitudes on from the first."""
    ends = {
        name: [get(f"{name}Of{end}GridPointInDegrees", float, 0.0) for end in ("First", "Last")] for name in _DEGREES
    }
    first, last = ends["longitude"]
    westward = bool(get("iScansNegatively", int, 0))
    last = first - (first - last) % 360 if westward else first + (last - first) % 360
    turns = 360 * (max(first, last) > 360)  # a row across Greenwich is told as 350 to 370
    return {
        "latitude": np.linspace(*ends["latitude"], get("Nj", int, 0)),
        "longitude": np.linspace(first - turns, last - turns, get("Ni", int, 0)),
    }


def _two_dimensional(lat: np.ndarray, lon: np.ndarray) -> dict[str, xr.Variable]:
    values = {"latitude": lat, "longitude": lon}
    return {name: xr.Variable(("y", "x"), degrees, {"units": _DEGREES[name]}) for name, degrees in values.items()}


_POSITIONS = {
    "regular_ll": _regular,
    "regular_gg": _regular,
    "rotated_ll": _rotated,
    "lambert": _projected,
    "polar_stereographic": _projected,
    "mercator": _projected,
    "lambert_azimuthal_equal_area": _projected,
    "albers": _projected,
}
