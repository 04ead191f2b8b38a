"""Fronts in temperature and wind: where they are, what sharpens them, how sharp they are, and sections across them.

Gradients are those of a Gaussian-smoothed temperature, because a line is only defined at a scale: `smooth_km` says
which, and is best the same for all that is compared. Fields are (..., y, x), x and y in km and evenly spaced; with
`lat` and `lon` of a grid of latitudes and longitudes, gradients are those on the ground, row by row, while lines and
their lengths stay in km of the axes. Nothing is known within some two smoothing lengths of what is missing; gaps much
smaller than one are bridged.
"""

from __future__ import annotations

from functools import partial

import contourpy
import numpy as np
import xarray as xr
from scipy import ndimage
from scipy.spatial import cKDTree

from labkit.errors import DataError
from labkit.grid import SPACE
from labkit.verify.slabs import whole
from labkit.verify.slopes import axis_km, slopes, smoothed, widths_of

SMOOTH_KM = 12.0
LAPSE = 6.5e-3  # K/m
FRONTAL = 3.0  # K in 100 km; less is no front
LEAST_KM = 60.0  # shorter lines are no front
WIDEST_KM = 150.0  # a gradient that falls off more slowly than a Gaussian of this width is a slope, not a front


def at_sea_level(t2m: xr.DataArray, orography: xr.DataArray, *, lapse: float = LAPSE) -> xr.DataArray:
    """2 m temperature without the height of the ground (m): mountains are no fronts."""
    return (t2m + lapse * orography).assign_attrs(t2m.attrs)


def gradient(temperature: xr.DataArray, *, smooth_km: float = SMOOTH_KM) -> xr.Dataset:
    """`along_x`, `along_y`, `magnitude` of the temperature gradient, K / 100 km, and the thermal-front `parameter`.

    The parameter is -grad|grad T| . grad T / |grad T| in K / (100 km)^2 (Renard & Clarke 1965): 0 where the gradient is
    strongest along its own direction, positive on the warm side of there.
    """
    parts = ("along_x", "along_y", "magnitude", "parameter")
    found = _over_space(_gradients, [temperature], parts, smooth_km=smooth_km)
    for name in parts:
        found[name].attrs["units"] = "K (100 km)-2" if name == "parameter" else "K (100 km)-1"
    return found


def frontogenesis(
    temperature: xr.DataArray, u: xr.DataArray, v: xr.DataArray, *, smooth_km: float = SMOOTH_KM
) -> xr.Dataset:
    """Petterssen's (1936) frontogenesis d|grad T| / dt by the horizontal wind, K / 100 km / h, and its parts.

    `total` = `divergence` + `deformation`: gradients are strengthened by convergence, and by deformation whose axis of
    dilatation lies along the isotherms. u, v (m/s) along x and y are smoothed like the temperature (K).
    """
    parts = ("total", "divergence", "deformation")
    found = _over_space(_frontogenesis, [temperature, u, v], parts, smooth_km=smooth_km)
    for name in parts:
        found[name].attrs["units"] = "K (100 km)-1 h-1"
    return found


def sharpness(temperature: xr.DataArray, *, smooth_km: float = SMOOTH_KM, quantile: float = 0.99) -> xr.DataArray:
    """How sharp the front of each field is, K / 100 km: the quantile of the gradient over the domain, high enough to be
    that of the frontal zone, and of many cells rather than of one."""
    magnitude = gradient(temperature, smooth_km=smooth_km).magnitude
    known = magnitude.notnull().any(SPACE)
    steepest = whole(magnitude.where(known, 0.0)).quantile(quantile, SPACE).drop_vars("quantile")
    return steepest.where(known).assign_attrs(units="K (100 km)-1")


def line(
    temperature: xr.DataArray, *, smooth_km: float = SMOOTH_KM, least: float = FRONTAL, least_km: float = LEAST_KM
) -> list[np.ndarray]:
    """The front of one field (y, x): lines (point, 2) of x, y in km where the gradient is strongest along its own
    direction and at least `least` K / 100 km, with the warm side on the right; longest first, none below `least_km`."""
    if set(temperature.dims) != set(SPACE):
        todo = "select one member and time"
        raise DataError("front line", found=str(temperature.dims), expected="(y, x)", todo=todo)
    return _lines(temperature.transpose(*SPACE).values, **_options(temperature, smooth_km, least, least_km))


def lines(temperature: xr.DataArray, **options) -> list[list[np.ndarray]]:
    """`line` of each member of (ensemble, y, x), in their order: drawn together, the spaghetti of forecasters."""
    return [line(temperature.isel(ensemble=k), **options) for k in range(temperature.sizes["ensemble"])]


def near(
    temperature: xr.DataArray,
    *,
    within_km: float = 25.0,
    smooth_km: float = SMOOTH_KM,
    least: float = FRONTAL,
    least_km: float = LEAST_KM,
) -> xr.DataArray:
    """1 where a front of the field (..., y, x) is within so many km, 0 where none is, NaN where that is unknown."""
    return xr.apply_ufunc(
        partial(_near, within_km=within_km, **_options(temperature, smooth_km, least, least_km)),
        whole(temperature),
        input_core_dims=[SPACE],
        output_core_dims=[SPACE],
        vectorize=True,
        dask="parallelized",
        output_dtypes=[np.float32],
    )


def frequency(temperature: xr.DataArray, **options) -> xr.DataArray:
    """Share (..., y, x) of the members (ensemble, ..., y, x) that have a front `within_km`; NaN where none is known."""
    share = near(temperature, **options).mean("ensemble")
    return share.assign_attrs(units="1", long_name="share of members with a front near")


def section(
    fields: xr.Dataset, start: tuple[float, float], end: tuple[float, float], *, step_km: float | None = None
) -> xr.Dataset:
    """Fields (..., y, x) along a straight line from `start` to `end`, each (x, y) in km: (..., distance).

    Where `u10` and `v10` are given, also `along` (towards the end) and `across` (to the left of the line) of the wind.
    Linear between cells; NaN outside the grid. distance: km from the start, in steps of `step_km` or a little less.
    """
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    if not length > 0:
        todo = "drag the end away from the start"
        raise DataError("section", found=f"a line from {start} to the same place", expected="two places", todo=todo)
    step = step_km or min(abs(np.diff(axis_km(fields, axis)).mean()) for axis in SPACE)
    share = np.linspace(0, 1, max(2, int(np.ceil(length / step)) + 1))
    x, y = (a + share * (b - a) for a, b in zip(start, end, strict=True))
    placed = [name for name, coordinate in fields.coords.items() if len(set(SPACE) & set(coordinate.dims)) == 2]
    kept = fields[[name for name, field in fields.data_vars.items() if set(SPACE) <= set(field.dims)]]
    along = {"x": ("distance", x), "y": ("distance", y), "distance": ("distance", share * length, {"units": "km"})}
    found = _bilinear(kept.drop_vars(placed), x, y).assign_coords(along)
    if {"u10", "v10"} <= set(found):
        e, n = (end[0] - start[0]) / length, (end[1] - start[1]) / length
        u, v = found.u10.variable, found.v10.variable  # whose coordinates are the same: comparing them takes longest
        winds = {"along": (u * e + v * n, "wind along the section"), "across": (v * e - u * n, "wind across it")}
        for wind, label in winds.values():
            wind.attrs = {"units": "m s-1", "long_name": label}
        found = found.assign({name: wind for name, (wind, _) in winds.items()})
    return found


def _bilinear(fields: xr.Dataset, x: np.ndarray, y: np.ndarray) -> xr.Dataset:
    """Fields (..., y, x) at points of x, y: (..., distance), all with the same weights, which `interp` would work out
    anew for each."""
    places = []
    for axis, at in ((axis_km(fields, "y"), y), (axis_km(fields, "x"), x)):
        order = np.argsort(axis)
        place = np.interp(at, axis[order], order.astype(float), left=np.nan, right=np.nan)
        low = np.clip(np.floor(np.nan_to_num(place)).astype(int), 0, len(axis) - 2)
        places.append((low, place - low))
    (j, v), (i, u) = places

    def sampled(field: np.ndarray) -> np.ndarray:
        lower, upper = ((1 - u) * field[..., row, i] + u * field[..., row, i + 1] for row in (j, j + 1))
        return (1 - v) * lower + v * upper

    return xr.apply_ufunc(
        sampled,
        fields.drop_vars(["x", "y"]),
        input_core_dims=[SPACE],
        output_core_dims=[["distance"]],
        dask="parallelized",
        output_dtypes=[float],
        keep_attrs=True,
        dask_gufunc_kwargs={"output_sizes": {"distance": len(x)}, "allow_rechunk": True},
    )


def _options(field: xr.DataArray, smooth_km: float, least: float = 0.0, least_km: float = 0.0) -> dict:
    """What is known of the grid, and of what counts as a front on it."""
    axes = {"x": axis_km(field, "x"), "y": axis_km(field, "y")}
    for name, values in axes.items():
        if abs(values[-1] - values[0]) < smooth_km:
            found = f"{abs(values[-1] - values[0]):g} km along {name}, smoothed over {smooth_km:g} km"
            todo = f"give {name} in km, not in degrees, or smooth over less"
            raise DataError("front", found=found, expected="a domain wider than the smoothing", todo=todo)
    dy, dx = (float(np.diff(axes[axis]).mean()) for axis in SPACE)  # negative where an axis runs south or west
    grid = {"spacing": (dy, dx), "widths": widths_of(field, dx), "smooth_km": smooth_km}
    return axes | grid | {"least": least, "least_km": least_km}


def _over_space(function, fields: list[xr.DataArray], parts: tuple[str, ...], smooth_km: float) -> xr.Dataset:
    grid = {name: _options(fields[0], smooth_km)[name] for name in ("spacing", "widths", "smooth_km")}
    made = xr.apply_ufunc(
        partial(function, **grid),
        *map(whole, fields),
        input_core_dims=[SPACE] * len(fields),
        output_core_dims=[["part", *SPACE]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"part": len(parts)}},
    )
    return xr.Dataset({name: made.isel(part=i) for i, name in enumerate(parts)})


def _gradients(t: np.ndarray, *, spacing, widths, smooth_km: float) -> np.ndarray:
    gx, gy = slopes(smoothed(t, spacing, widths, smooth_km), spacing, widths)
    magnitude = np.hypot(gx, gy)
    mx, my = slopes(magnitude, spacing, widths)
    parameter = -(mx * gx + my * gy) / np.maximum(magnitude, 1e-9)
    return np.stack([gx, gy, magnitude, parameter], axis=-3)


def _frontogenesis(t: np.ndarray, u: np.ndarray, v: np.ndarray, *, spacing, widths, smooth_km: float) -> np.ndarray:
    # m/s in 100 km
    (tx, ty), (ux, uy), (vx, vy) = (slopes(smoothed(f, spacing, widths, smooth_km), spacing, widths) for f in (t, u, v))
    magnitude = np.hypot(tx, ty)
    per_hour = 3600 / 1e5  # m/s in 100 km -> 1/h
    divergence = -0.5 * magnitude * (ux + vy)
    stretch, shear = ux - vy, vx + uy
    deformation = -0.5 * ((tx**2 - ty**2) * stretch + 2 * tx * ty * shear) / np.maximum(magnitude, 1e-9)
    return np.stack([divergence + deformation, divergence, deformation], axis=-3) * per_hour


def _lines(t: np.ndarray, *, x, y, spacing, widths, smooth_km: float, least: float, least_km: float) -> list:
    gx, gy, magnitude, parameter = _gradients(t, spacing=spacing, widths=widths, smooth_km=smooth_km)
    ways = contourpy.contour_generator(x, y, np.ma.masked_invalid(parameter)).lines(0.0)
    paths = [way for way in ways if _length(way) >= least_km]
    if not paths:
        return []
    path, sample = np.concatenate(paths), partial(_at, x=x, y=y, spacing=spacing)  # all at once: they are many
    slope = np.stack([sample(gx, path), sample(gy, path)], axis=-1)
    narrow = _width_km(sample, parameter, path, slope, spacing) < WIDEST_KM
    good = narrow & (sample(magnitude, path) >= least)
    found = []
    for end, one in zip(np.cumsum([len(one) for one in paths]), paths, strict=True):
        start = end - len(one)
        for part in _runs(good[start:end]):
            if _length(one[part]) >= least_km:
                found.append(one[part] if _warm_on_the_right(one[part], slope[start:end][part]) else one[part][::-1])
    return sorted(found, key=_length, reverse=True)


def _at(field: np.ndarray, path: np.ndarray, *, x, y, spacing) -> np.ndarray:
    """Values (point,) at the places (point, 2), linear between cells; NaN outside."""
    place = [(path[:, 1] - y[0]) / spacing[0], (path[:, 0] - x[0]) / spacing[1]]
    return ndimage.map_coordinates(field, place, order=1, mode="constant", cval=np.nan)


def _width_km(sample, parameter: np.ndarray, path: np.ndarray, slope: np.ndarray, spacing) -> np.ndarray:
    """Width (point,) of the Gaussian by which the gradient falls off to both sides; infinite where it rises."""
    magnitude = np.linalg.norm(slope, axis=-1)
    step_km = max(map(abs, spacing))
    step = step_km * slope / np.maximum(magnitude, 1e-9)[:, None]
    # beyond the border nothing is told of its side
    warm, cold = (np.nan_to_num(sample(parameter, path + sign * step)) for sign in (1, -1))
    falls = (warm - cold) / (2 * step_km / 100)  # K / (100 km)^3
    return np.where(falls > 0, 100 * np.sqrt(magnitude / np.maximum(falls, 1e-12)), np.inf)


def _length(way: np.ndarray) -> float:
    return float(np.hypot(*np.diff(way, axis=0).T).sum()) if len(way) > 1 else 0.0


def _warm_on_the_right(way: np.ndarray, slope: np.ndarray) -> bool:
    along = np.gradient(way, axis=0)
    return bool(np.mean(along[:, 1] * slope[:, 0] - along[:, 0] * slope[:, 1]) > 0)


def _runs(good: np.ndarray) -> list[slice]:
    """Slices of neighbours that are all True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], good.astype(int), [0]])))
    return [slice(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _near(t: np.ndarray, *, within_km: float, x, y, spacing, widths, smooth_km: float, **options) -> np.ndarray:
    known = np.isfinite(smoothed(t, spacing, widths, smooth_km))
    found = np.zeros(t.shape, np.float32)
    if ways := _lines(t, x=x, y=y, spacing=spacing, widths=widths, smooth_km=smooth_km, **options):
        points = np.concatenate(ways)
        cells = np.stack(np.meshgrid(x, y), axis=-1)
        # points of a line lie at most a cell's diagonal apart
        apart, _ = cKDTree(points).query(cells, distance_upper_bound=within_km)
        found[np.isfinite(apart)] = 1
    return np.where(known, found, np.float32(np.nan))
