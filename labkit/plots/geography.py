"""Coast and graticule as lines in the model's own x, y (km): no map projection and no download at run time."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import contourpy
import numpy as np
import xarray as xr
from scipy.ndimage import map_coordinates

from labkit.plots.colours import nice_step
from labkit.verify.selection import ground

Lines = list[np.ndarray]


def contour(x: np.ndarray, y: np.ndarray, field: np.ndarray, level: float) -> Lines:
    """Lines (point, 2) in x, y along which `field` (y, x) has the value `level`."""
    return contourpy.contour_generator(x, y, np.asarray(field, float)).lines(level)


def coast_lines(tree: xr.DataTree) -> Lines:
    """The coast on a tree's grid: from its land mask, else its orography, else Natural Earth 1:50m; may be empty."""
    x, y = (np.asarray(tree[axis].values, float) for axis in ("x", "y"))
    for name, level in (("land_mask", 0.5), ("orography", 1.0)):
        field = ground(tree, name)
        if field is not None and field.dims == ("y", "x") and 0 < np.mean(field.values > level) < 1:
            return contour(x, y, field.values, level)
    return project(natural_earth(), x, y, tree["lat"].values, tree["lon"].values)


def coast_degrees(tree: xr.DataTree) -> Lines:
    """The same coast as lines of lon, lat in degrees, where the grid knows these; what lies beyond it is left out."""
    x, y = (np.asarray(tree[axis].values, float) for axis in ("x", "y"))
    places = [np.asarray(tree[name].values, float) for name in ("lon", "lat")]
    lines = []
    for line in coast_lines(tree):
        at = [np.interp(line[:, k], *_rising(axis), left=np.nan, right=np.nan) for k, axis in ((1, y), (0, x))]
        degrees = np.stack([map_coordinates(field, at, order=1, cval=np.nan) for field in places], axis=1)
        parts = np.split(degrees, np.flatnonzero(np.isnan(degrees[:, 0])))
        parts = [part[np.isfinite(part).all(1)] for part in parts]
        lines += [part for part in parts if len(part) > 1]
    return lines


def _rising(axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A coordinate in rising order, and the index of each of its values."""
    order = np.argsort(axis)
    return axis[order], order.astype(float)


@cache
def natural_earth() -> Lines:
    """The world's coast as lines (point, 2) of lon, lat in degrees; Natural Earth 1:50m, public domain."""
    with (files("labkit") / "assets" / "coast_50m.npz").open("rb") as file:
        stored = np.load(file, allow_pickle=False)
        points, ends = stored["points"].astype(float) / 180, stored["ends"]
    return np.split(points, ends[:-1])


def project(lines: Lines, x: np.ndarray, y: np.ndarray, lat: np.ndarray, lon: np.ndarray) -> Lines:
    """Lines of lon, lat as lines in the x, y of a grid with known lat, lon (y, x), by a cubic fit of the map.

    The part within a tenth of the grid's width is kept. Grids without lat, lon, across the date line or around a
    pole get no line.
    """
    if _unknown(lat, lon):
        return []
    inside = [piece for line in lines for piece in _clip(line, lat, lon)]
    if not inside:
        return []
    to_xy = _fit(x, y, lat, lon)
    return [to_xy(piece) for piece in inside]


def locate(places: np.ndarray, x: np.ndarray, y: np.ndarray, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Places (point, 2) of lon, lat as x, y, as `project` does lines; NaN for those that it would leave out."""
    found = np.full(np.shape(places), np.nan)
    if _unknown(lat, lon):
        return found
    inside = _inside(places, lat, lon)
    if inside.any():
        found[inside] = _fit(x, y, lat, lon)(places[inside])
    return found


def graticule(x: np.ndarray, y: np.ndarray, lat: np.ndarray, lon: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Meridians and parallels at round degrees as (label, line (point, 2) in x, y); empty without lat, lon."""
    if not np.isfinite(lat).all() or np.ptp(lon) > 180:
        return []
    step = max(nice_step(np.ptp(lat) / 3), 0.01)
    lines = []
    for field, (positive, negative) in ((lat, "NS"), (lon, "EW")):
        for level in np.arange(np.ceil(field.min() / step), np.floor(field.max() / step) + 1) * step:
            name = f"{abs(level):g}°{positive if level >= 0 else negative}"
            lines += [(name, line) for line in contour(x, y, field, level) if len(line) > 1]
    return lines


def _unknown(lat: np.ndarray, lon: np.ndarray) -> bool:
    return not np.isfinite(lat).all() or np.ptp(lon) > 180 or np.abs(lat).max() > 88


def _inside(places: np.ndarray, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Which places (point, 2) of lon, lat lie within the grid or a tenth of its width about it."""
    margin = 0.1 * max(np.ptp(lat), np.ptp(lon)) + 0.1
    low, high = ([edge(axis) for axis in (lon, lat)] for edge in (np.min, np.max))
    return ((places >= np.array(low) - margin) & (places <= np.array(high) + margin)).all(1)


def _clip(line: np.ndarray, lat: np.ndarray, lon: np.ndarray) -> Lines:
    keep = _inside(line, lat, lon)
    breaks = np.flatnonzero(np.diff(keep.astype(int))) + 1
    return [
        part
        for part, kept in zip(np.split(line, breaks), np.split(keep, breaks), strict=True)
        if kept[0] and len(part) > 1
    ]


def _fit(x: np.ndarray, y: np.ndarray, lat: np.ndarray, lon: np.ndarray):
    """Least-squares cubic from (lon, lat) to (x, y): exact to well below a cell for the usual projections."""
    rows, columns = (np.unique(np.linspace(0, n - 1, 24).astype(int)) for n in lat.shape)
    pick = np.ix_(rows, columns)
    centre, half = (lon.mean(), lat.mean()), (np.ptp(lon) / 2 or 1, np.ptp(lat) / 2 or 1)

    def basis(points: np.ndarray) -> np.ndarray:
        u, v = ((points[:, i] - centre[i]) / half[i] for i in (0, 1))
        return np.stack([u**i * v**j for i in range(4) for j in range(4 - i)], axis=1)

    points = np.stack([lon[pick].ravel(), lat[pick].ravel()], axis=1)
    xx, yy = np.meshgrid(x[columns], y[rows])
    weights, *_ = np.linalg.lstsq(basis(points), np.stack([xx.ravel(), yy.ravel()], axis=1), rcond=None)
    return lambda line: basis(line) @ weights
