"""Vortices in fields, xarray in and out: dask over members and times, one grid or one a time (a moving nest)."""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.verify.cyclones.centres import pressure_centre, vorticity_centre
from labkit.verify.cyclones.local_grid import SPACE, LocalGrid, upright
from labkit.verify.cyclones.vortex_search import Candidate, Limits, search
from labkit.verify.slabs import whole

WIND = ("u10", "v10")
PRESSURE = "msl"
METHODS = ("wind", "vorticity", "pressure")
CYCLONE = Limits()
WEAK = Limits(turning=5.0, share=0.4, spin=2e-4)  # what may prolong a track, but makes none
VORTEX = "vortex"
FOUND = ("row", "col", "size", "turning", "explained", "error")
UNITS = {"x": "km", "y": "km", "lat": "degrees_north", "lon": "degrees_east", "size": "km", "turning": "m s-1",
         "error": "km"}  # fmt: skip


def find(fields: xr.Dataset, *, count: int = 1, by: str | None = None, limits: Limits = CYCLONE) -> xr.Dataset:
    """At most `count` cyclones in each field (..., vortex), the most evident first, NaN where none is found.

    fields: `u10`, `v10` in m/s over (..., y, x), along the grid's axes, and `msl` in Pa where it is known. Whether
    there is a cyclone the wind alone says: it must turn about a point within `limits`. Where exactly it is follows `by`
    "pressure", its minimum (the default with `msl`); "wind", the centre about which it is most symmetric (the default
    without); or "vorticity", its centroid. Centres are in fractional cells `row`, `col`, in km `x`, `y` and in degrees
    `lat`, `lon` where the grid has these. Rows may run south and columns west; winds are those to the north and east of
    such a grid. `turning` (m/s), `explained` (0 to 1) and `error` (standard error of the centre by wind, km) say how
    evident the cyclone is, `size` (km) the radius of the filter that fits it best. Which way a cyclone turns follows
    the latitude of its own centre. NaN
    cells are unknown. Where `lat` and `lon` change with time, each time has its own grid. A storm that leaves the grid
    is followed by its wind to three quarters of that radius beyond the outer cells, where its centre is told to some
    10 km, and not found further out.

    Of 1000 hours of the idealised atmosphere without a typhoon it finds one in 3, and none in 0.5 % of those with one.
    """
    by = by or ("pressure" if PRESSURE in fields else "wind")
    if by not in METHODS:
        raise DataError("centre of a cyclone", found=repr(by), expected=", ".join(METHODS), todo="choose one of these")
    if moving(fields):
        return _each_time(partial(find, count=count, by=by, limits=limits), fields)
    fields, ground, numbered = upright(fields)
    names = [*WIND, PRESSURE] if by == "pressure" else [*WIND]
    arrays = [_whole(fields, name) for name in names]
    options = {"ground": ground, "count": count, "by": by, "limits": limits}
    found = xr.apply_ufunc(
        partial(_find, **options),
        *arrays,
        input_core_dims=[SPACE] * len(arrays),
        output_core_dims=[[VORTEX, "quantity"]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {VORTEX: count, "quantity": len(FOUND)}},
    )
    result = found.assign_coords(quantity=list(FOUND)).to_dataset("quantity")
    result = placed(result, ground)
    return result.assign({name: numbered(result[name]) for name in ("row", "col")})


def placed(found: xr.Dataset, ground: LocalGrid) -> xr.Dataset:
    """`x`, `y`, `lat`, `lon` of centres that have `row` and `col`, with units."""
    parts = xr.apply_ufunc(
        lambda row, col: np.stack(list(ground.place(row, col).values()), axis=-1),
        found.row,
        found.col,
        output_core_dims=[["axis"]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"axis": 4}},
    )
    result = found.assign({name: parts.isel(axis=i) for i, name in enumerate(("y", "x", "lat", "lon"))})
    for name, units in UNITS.items():
        if name in result:
            result[name].attrs["units"] = units
    return result


def moving(fields: xr.Dataset) -> bool:
    """Whether the positions of the cells change with time."""
    return "lat" in fields.coords and "time" in fields.lat.dims and "time" in fields.dims


def over_times(function, fields: xr.Dataset, *others: xr.Dataset) -> xr.Dataset:
    """`function(fields, *others)` of each time by itself, for grids that move."""
    count = fields.sizes["time"]
    parts = [function(*(part.isel(time=t) for part in (fields, *others))) for t in range(count)]
    return xr.concat(parts, "time").assign_coords(time=fields.time)


def _each_time(function, fields: xr.Dataset) -> xr.Dataset:
    return over_times(function, fields)


def _whole(fields: xr.Dataset, name: str) -> xr.DataArray:
    """A field whose chunks hold whole maps; DataError where it is lacking."""
    if name not in fields:
        raise DataError(
            "fields of a cyclone",
            found=", ".join(map(str, fields.data_vars)) or "none",
            expected=name,
            todo="give the field by this name" + (", or refine by wind" if name == PRESSURE else ""),
        )
    return whole(fields[name])


def _find(u, v, p=None, *, ground: LocalGrid, count: int, by: str, limits: Limits) -> np.ndarray:
    """(..., y, x) -> (..., vortex, quantity)."""
    lead = np.broadcast_shapes(*(a.shape[:-2] for a in (u, v)))
    flat = [
        None if a is None else np.broadcast_to(a, lead + ground.shape).reshape(-1, *ground.shape) for a in (u, v, p)
    ]
    result = np.full((len(flat[0]), count, len(FOUND)), np.nan)
    step = max(1, 2**17 // (ground.shape[0] * ground.shape[1]))
    for start in range(0, len(result), step):
        block = slice(start, start + step)
        found = search(flat[0][block], flat[1][block], ground.spacing(), ground.turns, n=count, limits=limits)
        for k, candidates in enumerate(found, start):
            for i, candidate in enumerate(candidates):
                row, col = _refined(by, candidate, *(None if a is None else a[k] for a in flat), ground)
                if np.isfinite(row + col):
                    result[k, i, :2] = row, col
                    result[k, i, 2:] = candidate.radius_km, candidate.turning, candidate.explained, candidate.error_km
    return result.reshape(*lead, count, len(FOUND))


def _refined(by: str, candidate: Candidate, u, v, p, ground: LocalGrid) -> tuple[float, float]:
    place = candidate.row, candidate.col
    if not all(0 <= k <= n - 1 for k, n in zip(place, ground.shape, strict=True)):
        return place  # beyond the grid there is neither pressure nor vorticity to go by
    spacing = ground.spacing(*place)
    if by == "pressure":
        return pressure_centre(p, spacing, *place, candidate.radius_km)[:2]
    if by == "vorticity":
        wind = u + 1j * v
        return vorticity_centre(wind, np.isfinite(wind), spacing, ground.turn_at(*place), *place, candidate.radius_km)
    return place
