"""Fronts in temperature and wind: where they are, what sharpens them, how sharp they are, and sections across them.

Gradients are those of a Gaussian-smoothed temperature, because a line is only defined at a scale: `smooth_km` says
which, and is best the same for all that is compared. Fields are (..., y, x), x and y in km and evenly spaced.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr
from scipy import ndimage

from labkit.errors import DataError

SPACE = ("y", "x")
SMOOTH_KM = 12.0
LAPSE = 6.5e-3  # K/m
FRONTAL = 3.0  # K in 100 km; less is no front
ACROSS_KM = 60.0  # how far from a line its two sides are looked at


def at_sea_level(t2m: xr.DataArray, orography: xr.DataArray, *, lapse: float = LAPSE) -> xr.DataArray:
    """2 m temperature without the height of the ground (m): mountains are no fronts."""
    return (t2m + lapse * orography).assign_attrs(t2m.attrs)


def gradient(temperature: xr.DataArray, *, smooth_km: float = SMOOTH_KM) -> xr.Dataset:
    """`along_x`, `along_y` and `magnitude` of the horizontal temperature gradient in K / 100 km, and `parameter`: the thermal-front
    parameter -grad|grad T| . grad T / |grad T| in K / (100 km)^2 (Renard & Clarke 1965).

    The parameter is 0 where the gradient is strongest along its own direction, positive on the warm side of there. NaN
    within a smoothing length of missing cells.
    """
    parts = ("along_x", "along_y", "magnitude", "parameter")
    found = _over_space(_gradients, [temperature], parts, spacing=_spacing(temperature), smooth_km=smooth_km)
    for name in parts:
        found[name].attrs["units"] = "K (100 km)-1" if name != "parameter" else "K (100 km)-2"
    return found


def frontogenesis(
    temperature: xr.DataArray, u: xr.DataArray, v: xr.DataArray, *, smooth_km: float = SMOOTH_KM
) -> xr.Dataset:
    """Petterssen's (1936) frontogenesis d|grad T| / dt by the horizontal wind, K / 100 km / h, and its parts.

    `total` = `divergence` + `deformation`: gradients are strengthened by convergence, and by deformation whose axis of
    dilatation lies along the isotherms. u, v (m/s) along x and y are smoothed like the temperature (K).
    """
    parts = ("total", "divergence", "deformation")
    options = {"spacing": _spacing(temperature), "smooth_km": smooth_km}
    found = _over_space(_frontogenesis, [temperature, u, v], parts, **options)
    return found.map(lambda part: part.assign_attrs(units="K (100 km)-1 h-1"))


def sharpness(temperature: xr.DataArray, *, smooth_km: float = SMOOTH_KM, quantile: float = 0.99) -> xr.DataArray:
    """How sharp the front of each field is, K / 100 km: the quantile of the gradient over the domain, high enough to be
    that of the frontal zone, and of many cells rather than of one."""
    magnitude = gradient(temperature, smooth_km=smooth_km).magnitude
    whole = magnitude.chunk(dict.fromkeys(SPACE, -1)) if magnitude.chunks is not None else magnitude
    return whole.quantile(quantile, SPACE).drop_vars("quantile").assign_attrs(units="K (100 km)-1")


def line(
    temperature: xr.DataArray, *, smooth_km: float = SMOOTH_KM, least: float = FRONTAL, least_km: float = 60.0
) -> list[np.ndarray]:
    """The front of one field (y, x): lines (point, 2) of x, y in km where the gradient is strongest along its own
    direction and at least `least` K / 100 km, with the warm side on the right; longest first, none below `least_km`."""
    from contourpy import contour_generator

    if set(temperature.dims) != set(SPACE):
        todo = "select one member and time"
        raise DataError("front line", found=str(temperature.dims), expected="(y, x)", todo=todo)
    found = gradient(temperature.transpose(*SPACE), smooth_km=smooth_km).compute()
    x, y = temperature.x.values, temperature.y.values
    masked = np.ma.masked_invalid(found.parameter.values)
    spacing = _spacing(temperature)
    lines = []
    for path in contour_generator(x, y, masked).lines(0.0):
        place = [(path[:, 1] - y[0]) / spacing[0], (path[:, 0] - x[0]) / spacing[1]]
        sampled = (ndimage.map_coordinates(found[name].fillna(0).values, place, order=1)
                   for name in ("magnitude", "along_x", "along_y"))  # fmt: skip
        strong, gx, gy = sampled
        for part in _runs(strong >= least):
            way = path[part]
            if len(way) < 2 or np.hypot(*np.diff(way, axis=0).T).sum() < least_km:
                continue
            if not _is_crest(found.magnitude, way, gx[part], gy[part], spacing, smooth_km):
                continue
            along = np.gradient(way, axis=0)
            right_is_warm = np.mean(along[:, 1] * gx[part] - along[:, 0] * gy[part]) > 0
            lines.append(way if right_is_warm else way[::-1])
    return sorted(lines, key=lambda way: -float(np.hypot(*np.diff(way, axis=0).T).sum()))


def section(
    fields: xr.Dataset, start: tuple[float, float], end: tuple[float, float], *, step_km: float | None = None
) -> xr.Dataset:
    """Fields (..., y, x) along a straight line from `start` to `end`, each (x, y) in km: (..., distance).

    Where `u10` and `v10` are given, also `along` (towards the end) and `across` (to the left of the line) of the wind.
    Linear between cells; NaN outside the grid. distance: km from the start.
    """
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    if not length > 0:
        raise DataError("section", found=f"a line from {start} to the same place", expected="two places", todo="drag")
    step = step_km or min(map(abs, _spacing(fields)))
    share = np.linspace(0, 1, max(2, int(np.ceil(length / step)) + 1))
    targets = {
        axis: xr.DataArray(a + share * (b - a), dims="distance")
        for axis, a, b in zip(("x", "y"), start, end, strict=True)
    }
    kept = fields[[name for name, field in fields.data_vars.items() if set(SPACE) <= set(field.dims)]]
    found = kept.drop_vars([name for name in kept.coords if name not in ("x", "y", "time", "ensemble")])
    found = found.interp(targets, method="linear", kwargs={"bounds_error": False})
    found = found.assign_coords(distance=("distance", share * length, {"units": "km"}))
    if {"u10", "v10"} <= set(found):
        e, n = (end[0] - start[0]) / length, (end[1] - start[1]) / length
        found["along"] = (found.u10 * e + found.v10 * n).assign_attrs(units="m s-1", long_name="wind along the section")
        found["across"] = (found.v10 * e - found.u10 * n).assign_attrs(units="m s-1", long_name="wind across it")
    return found


def _spacing(field: xr.DataArray | xr.Dataset) -> tuple[float, float]:
    """(dy, dx) in km."""
    steps = []
    for axis in SPACE:
        if axis not in field.coords or field.sizes[axis] < 4:
            raise DataError("front", found=str(tuple(field.dims)), expected="y and x in km, 4 or more", todo="give them")
        apart = np.diff(field[axis].values.astype(np.float64))
        if np.abs(apart - apart.mean()).max() > 0.01 * abs(apart.mean()):
            raise DataError("front", found=f"uneven {axis}", expected="even spacing", todo="regrid the fields")
        steps.append(float(apart.mean()))
    return tuple(steps)


def _over_space(function, fields: list[xr.DataArray], parts: tuple[str, ...], **options) -> xr.Dataset:
    whole = [field.chunk(dict.fromkeys(SPACE, -1)) if field.chunks is not None else field for field in fields]
    made = xr.apply_ufunc(
        partial(function, **options),
        *whole,
        input_core_dims=[SPACE] * len(fields),
        output_core_dims=[["part", *SPACE]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"part": len(parts)}},
    )
    return xr.Dataset({name: made.isel(part=i) for i, name in enumerate(parts)})


def _smooth(field: np.ndarray, spacing: tuple[float, float], smooth_km: float) -> np.ndarray:
    sigma = [0.0] * (field.ndim - 2) + [smooth_km / abs(d) for d in spacing]
    known = np.isfinite(field)
    if known.all():
        return ndimage.gaussian_filter(field.astype(np.float64), sigma, mode="nearest", truncate=3)
    weight = ndimage.gaussian_filter(known.astype(np.float64), sigma, mode="nearest", truncate=3)
    total = ndimage.gaussian_filter(np.where(known, field, 0).astype(np.float64), sigma, mode="nearest", truncate=3)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weight > 0.98, total / weight, np.nan)


def _slopes(field: np.ndarray, spacing: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """d/dx, d/dy in 1 / 100 km."""
    dy, dx = (np.gradient(field, d / 100, axis=axis) for d, axis in zip(spacing, (-2, -1), strict=True))
    return dx, dy


def _gradients(t: np.ndarray, *, spacing, smooth_km: float) -> np.ndarray:
    gx, gy = _slopes(_smooth(t, spacing, smooth_km), spacing)
    magnitude = np.hypot(gx, gy)
    mx, my = _slopes(magnitude, spacing)
    parameter = -(mx * gx + my * gy) / np.maximum(magnitude, 1e-9)
    return np.stack([gx, gy, magnitude, parameter], axis=-3)


def _frontogenesis(t: np.ndarray, u: np.ndarray, v: np.ndarray, *, spacing, smooth_km: float) -> np.ndarray:
    tx, ty = _slopes(_smooth(t, spacing, smooth_km), spacing)
    (ux, uy), (vx, vy) = (_slopes(_smooth(wind, spacing, smooth_km), spacing) for wind in (u, v))  # m/s in 100 km
    magnitude = np.hypot(tx, ty)
    per_hour = 3600 / 1e5  # m/s in 100 km -> 1/h
    divergence = -0.5 * magnitude * (ux + vy)
    stretch, shear = ux - vy, vx + uy
    deformation = -0.5 * ((tx**2 - ty**2) * stretch + 2 * tx * ty * shear) / np.maximum(magnitude, 1e-9)
    return np.stack([divergence + deformation, divergence, deformation], axis=-3) * per_hour


def _runs(good: np.ndarray) -> list[slice]:
    """Slices of neighbours that are all True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], good.astype(int), [0]])))
    return [slice(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _is_crest(magnitude: xr.DataArray, way, gx, gy, spacing, smooth_km: float) -> bool:
    """Whether the gradient falls off to both sides of the line, rather than rises (its troughs have parameter 0 too)."""
    size = np.maximum(np.hypot(gx, gy), 1e-9)
    away = np.stack([gx / size, gy / size], axis=-1) * max(smooth_km, 2 * max(map(abs, spacing)))
    x0, y0 = float(magnitude.x[0]), float(magnitude.y[0])
    on, warm, cold = (
        ndimage.map_coordinates(
            magnitude.fillna(0).values,
            [(way[:, 1] + k * away[:, 1] - y0) / spacing[0], (way[:, 0] + k * away[:, 0] - x0) / spacing[1]],
            order=1,
            mode="nearest",
        )
        for k in (0, 1, -1)
    )
    return bool(np.mean(on) > max(np.mean(warm), np.mean(cold)))
