"""WRF output as fields of the lab: winds off their staggered grid, pressure at sea level, rain of each interval."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from labkit.data.reading import open_lazily, times_of
from labkit.errors import DataError
from labkit.sphere import wrapped
from labkit.variables import at_pressure, lookup

GRAVITY = 9.81  # these four are WRF's constants
DRY_AIR = 287.0
DRY_AIR_CP = 1004.5
BASE_THETA = 300.0
BASE_PRESSURE = 1e5
LAPSE = 0.0065  # K/m of a standard atmosphere
WARM = 290.65  # K; ground warmer than this is taken for heated by the sun
ABOVE_GROUND = 1e4  # Pa; the level whose temperature is free of the day's heating
RESET_MM = 0.01  # a total that falls by more anywhere began anew, after a restart

SURFACE = {"t2m": "T2", "u10": "U10", "v10": "V10", "sp": "PSFC", "orography": "HGT", "land_mask": "LANDMASK"}
RAIN = ("RAINC", "RAINSH", "RAINNC")
ECHOES = ("REFL_10CM", "REFD_MAX")
COLUMN = ("P", "PB", "T", "PH", "PHB", "QVAPOR", "U", "V")
NEEDED = ("XLAT", "XLONG", "U10", "V10")
LEVEL_UNITS = {"u": "m s-1", "v": "m s-1", "t": "K", "z": "m2 s-2", "q": "kg kg-1"}
STAGGERED = {"west_east_stag": "west_east", "south_north_stag": "south_north", "bottom_top_stag": "bottom_top"}
PROJECTIONS = {1: "Lambert conformal", 2: "polar stereographic", 3: "Mercator", 6: "latitude and longitude"}
_KM = {"units": "km"}


def open_wrfout(paths: str | Path | Sequence[str | Path], *, levels_hpa: Sequence[int] = ()) -> xr.Dataset:
    """Fields (time, y, x) of one domain's wrfout files, lazily, float32; files in any order, the first of equal times.

    `t2m`, `u10`, `v10`, `sp`, `orography`, `land_mask`; `tp` (mm/h), `msl` and `reflectivity` (dBZ, the highest of the
    column) where the files have what they need; with `levels_hpa` (850, ...) also `u850`, `v850`, `t850`, `q850` and
    the geopotential `z850`, NaN below the ground. `tp` is what fell in the same place since the time before: NaN at the
    first time, where a moving nest was not at the time before, and where a restart began to count anew. `msl` follows
    6.5 K/km from 100 hPa above the ground.
    Coordinates: `time`; `y`, `x` in km on the model's map from the corner of the domain (a Mercator map true at the
    equator stretches by 1 / cos(lat)); `lat`, `lon` (y, x), or (time, y, x) of a nest that moves. Winds are along the
    grid's axes, as WRF writes them (`earth_relative` turns them); `attrs` names the projection. Raises DataError for
    files that are not wrfout, or of two domains.
    """
    paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
    whole = _joined(paths, [_prepared(path) for path in paths])
    position = _positions(whole)
    fields = {name: whole[theirs] for name, theirs in SURFACE.items() if theirs in whole}
    if set(COLUMN[:6]) <= set(whole):
        fields["msl"] = _by_column(_reduced, _pressure(whole), _virtual_temperature(whole), _geopotential(whole))
    if levels_hpa and not set(COLUMN) <= set(whole):
        raise _lacking(paths[0], whole, ", ".join(COLUMN))
    for level in levels_hpa:
        fields |= _on_level(whole, level)
    if rain := _accumulated(whole):
        fields["tp"] = _rain_rate(sum(rain), whole.time.values, position)
    if echo := [whole[name] for name in ECHOES if name in whole]:
        fields["reflectivity"] = (echo[0].max("bottom_top") if "bottom_top" in echo[0].dims else echo[0]).clip(min=0)
    made = {name: _plain(field, name) for name, field in fields.items()}
    axes = {axis: (np.arange(whole.sizes[axis]) + 0.5) * whole.attrs[f"D{axis.upper()}"] / 1000 for axis in ("y", "x")}
    coords = {"time": whole.time, **position} | {axis: (axis, values, _KM) for axis, values in axes.items()}
    return xr.Dataset(made, coords, _about(paths, whole)).transpose("time", "y", "x")


def earth_relative(fields: xr.Dataset) -> xr.Dataset:
    """The fields with their winds (`u10` and `v10`, `u850` and `v850`, ...) eastward and northward, not along the axes.

    The bearing of the x axis is that of neighbours along it, from `lat` and `lon`.
    """
    lat, lon = (fields[name].transpose(..., "y", "x") for name in ("lat", "lon"))
    north = np.gradient(lat.values, axis=-1, edge_order=2)
    east = np.gradient(np.unwrap(lon.values, period=360), axis=-1, edge_order=2) * np.cos(np.deg2rad(lat.values))
    cos, sin = (lat.copy(data=part / np.hypot(east, north)).astype(np.float32) for part in (east, north))
    turned = {}
    for name in [name for name in fields if name.startswith("u") and "v" + name[1:] in fields]:
        u, v = fields[name], fields["v" + name[1:]]
        turned[name] = (u * cos - v * sin).assign_attrs(u.attrs)
        turned[v.name] = (u * sin + v * cos).assign_attrs(v.attrs)
    return fields.assign(turned).assign_attrs(winds="eastward and northward")


def _prepared(path: str | Path) -> xr.Dataset:
    """The variables that are read of one file, over (time, bottom_top, y, x), at the centres of cells."""
    with warnings.catch_warnings():
        # XTIME, one number a time, is stored in one chunk; a chunk of time of the fields is never cut
        warnings.filterwarnings("ignore", message="The specified chunks separate")
        raw = open_lazily(path, chunks={"Time": 1})
    if not set(NEEDED) <= set(raw.variables) or not {"DX", "DY"} <= set(raw.attrs):
        raise _lacking(path, raw, ", ".join(NEEDED) + " and the attributes DX and DY")
    time = _times(path, raw)
    if "Time" not in raw.dims:  # one time was taken out, and its dimension with it
        raw = raw.reset_coords().map(lambda field: field.expand_dims("Time") if field.ndim else field)
    wanted = {*NEEDED, *SURFACE.values(), *RAIN, *(f"I_{name}" for name in RAIN), *ECHOES, *COLUMN}
    raw = raw.reset_coords()[[name for name in raw.variables if name in wanted]]
    centred = xr.Dataset({name: _centred(array) for name, array in raw.data_vars.items()}, attrs=raw.attrs)
    ours = {"Time": "time", "south_north": "y", "west_east": "x"}
    return centred.rename({theirs: name for theirs, name in ours.items() if theirs in centred.dims}).assign_coords(
        time=("time", time)
    )


def _centred(array: xr.DataArray) -> xr.DataArray:
    """Means of neighbours along a staggered dimension; others as they are."""
    for staggered, axis in STAGGERED.items():
        if staggered in array.dims:
            low, high = (array.isel({staggered: part}) for part in (slice(None, -1), slice(1, None)))
            array = ((low + high) / 2).rename({staggered: axis})
    return array


def _times(path: str | Path, raw: xr.Dataset) -> np.ndarray:
    try:
        times = times_of(raw)
    except ValueError as error:
        found, expected = str(np.atleast_1d(raw["Times"].values)[:2]), "times such as 2005-08-28_00:00:00"
        raise DataError(_named(path), found=found, expected=expected, todo="write the file again") from error
    if times is None:
        raise _lacking(path, raw, "Times, or XTIME since a date")
    return times


def _joined(paths: Sequence[str | Path], raw: Sequence[xr.Dataset]) -> xr.Dataset:
    """The files as one, in order of time; DataError unless all have the same grid and variables."""
    if not raw:
        raise DataError("wrfout", found="no file", expected="at least one", todo="name the files")
    for path, one in zip(paths, raw, strict=True):
        for found, expected in ((_domain(one), _domain(raw[0])), (_variables(one), _variables(raw[0]))):
            if found != expected:
                expected = f"{expected}, as in {Path(paths[0]).name}"
                raise DataError(_named(path), found=found, expected=expected, todo="open each domain by itself")
    whole = xr.concat(raw, "time", data_vars="all", coords="minimal", compat="override", combine_attrs="override")
    return whole.sortby("time").drop_duplicates("time")


def _domain(one: xr.Dataset) -> str:
    number = int(one.attrs.get("GRID_ID", 1))
    return f"domain {number} of {one.sizes['y']} x {one.sizes['x']} cells of {float(one.attrs['DX']):g} m"


def _variables(one: xr.Dataset) -> str:
    return ", ".join(sorted(map(str, one.data_vars)))


def _positions(whole: xr.Dataset) -> dict:
    """`lat`, `lon` (y, x), with a time where the nest moves."""
    corners = [whole[name].isel(y=[0, -1], x=[0, -1]).values for name in ("XLAT", "XLONG")]
    still = all(np.allclose(corner, corner[:1], atol=1e-4) for corner in corners)
    lat, lon = ((whole[name].isel(time=0) if still else whole[name]) for name in ("XLAT", "XLONG"))
    return {
        "lat": (lat.dims, lat.values.astype(np.float64), {"units": "degrees_north"}),
        "lon": (lon.dims, wrapped(lon.values), {"units": "degrees_east"}),
    }


def _pressure(whole: xr.Dataset) -> xr.DataArray:
    return whole.P + whole.PB


def _geopotential(whole: xr.Dataset) -> xr.DataArray:
    return whole.PH + whole.PHB


def _temperature(whole: xr.Dataset) -> xr.DataArray:
    return (whole["T"] + BASE_THETA) * (_pressure(whole) / BASE_PRESSURE) ** (DRY_AIR / DRY_AIR_CP)


def _virtual_temperature(whole: xr.Dataset) -> xr.DataArray:
    return _temperature(whole) * (1 + 0.608 * whole.QVAPOR)


def _by_column(function, *fields: xr.DataArray, **options) -> xr.DataArray:
    """`function` of arrays (..., bottom_top), one value a column."""
    return xr.apply_ufunc(
        function,
        *fields,
        input_core_dims=[["bottom_top"]] * len(fields),
        kwargs=options,
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"allow_rechunk": True},
    )


def _reduced(p: np.ndarray, t: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Sea-level pressure (Pa) of columns (..., level), lowest first, of pressure, virtual temperature, geopotential.

    Hydrostatic, with the mean of the temperatures at ground and sea. Both follow the lapse rate from 100 hPa above the
    ground, so that the day's heating does not move pressure; over warm ground the sea's is held back (Benjamin & Miller
    1990, the usual choice of post-processors).
    """
    z = phi / GRAVITY
    ground = p[..., 0]
    t_high, z_high = (_at_pressure(field, p, wanted=ground - ABOVE_GROUND) for field in (t, z))
    surface = t_high * (ground / (ground - ABOVE_GROUND)) ** (LAPSE * DRY_AIR / GRAVITY)
    sea = t_high + LAPSE * z_high
    held = np.where(surface <= WARM, WARM, WARM - 0.005 * (surface - WARM) ** 2)
    sea = np.where(sea < WARM, sea, held)
    return ground * np.exp(2 * GRAVITY * z[..., 0] / (DRY_AIR * (sea + surface)))


def _at_pressure(field: np.ndarray, p: np.ndarray, *, wanted) -> np.ndarray:
    """Columns (..., level), lowest first, at the pressure wanted (Pa): linear in its logarithm, NaN outside of them."""
    wanted = np.broadcast_to(wanted, p.shape[:-1])[..., None]
    above = np.maximum((p <= wanted).argmax(-1)[..., None], 1)
    p0, p1, f0, f1 = (np.take_along_axis(a, above - k, -1) for a in (p, field) for k in (1, 0))
    value = f0 + (f1 - f0) * np.log(wanted / p0) / np.log(p1 / p0)
    inside = (p[..., :1] >= wanted) & (p[..., -1:] <= wanted)
    return np.where(inside, value, np.nan)[..., 0]


def _on_level(whole: xr.Dataset, level: int) -> dict[str, xr.DataArray]:
    columns = {"u": whole.U, "v": whole.V, "t": _temperature(whole), "z": _geopotential(whole), "q": whole.QVAPOR}
    p = _pressure(whole)
    return {
        at_pressure(name, level): _by_column(_at_pressure, field, p, wanted=level * 100.0).assign_attrs(
            units=LEVEL_UNITS[name]
        )
        for name, field in columns.items()
    }


def _accumulated(whole: xr.Dataset) -> list[xr.DataArray]:
    """Accumulated rain (mm) of each scheme, with the buckets that were emptied."""
    bucket = float(whole.attrs.get("BUCKET_MM", -1))
    found = [name for name in RAIN if name in whole]
    counted = [name for name in found if bucket > 0 and f"I_{name}" in whole]
    return [whole[name] + bucket * whole[f"I_{name}"] if name in counted else whole[name] for name in found]


def _rain_rate(total: xr.DataArray, time: np.ndarray, position: dict) -> xr.DataArray:
    """mm/h since the time before, of accumulated rain; in a moving nest a place is another cell than before."""
    hours = np.diff(time) / np.timedelta64(1, "h")
    parts = [xr.full_like(total.isel(time=0), np.nan)]
    for t, span in enumerate(hours, 1):
        if (step := _moved(position, t)) is None:
            parts.append(xr.full_like(total.isel(time=t), np.nan))
            continue
        fallen = total.isel(time=t) - total.isel(time=t - 1, drop=True).shift(y=-step[0], x=-step[1])
        # a total that began anew in one place did so in all, also where it has grown beyond the old one since
        parts.append(fallen.clip(min=0).where(fallen.min() > -RESET_MM) / span)
    return xr.concat(parts, "time", coords="minimal", compat="override")


def _moved(position: dict, t: int) -> tuple[int, int] | None:
    """Whole cells (rows north, columns east) by which the nest moved to time t; None where its middle was outside."""
    dims, lat, _ = position["lat"]
    if "time" not in dims:
        return 0, 0
    lon, i, j = position["lon"][1], lat.shape[1] // 2, lat.shape[2] // 2
    east = wrapped(lon[t - 1] - lon[t, i, j]) * np.cos(np.deg2rad(lat[t, i, j]))
    apart = np.hypot(lat[t - 1] - lat[t, i, j], east)
    row, column = np.unravel_index(np.argmin(apart), apart.shape)
    seen = apart[row, column] < 0.5 * abs(lat[t, i, j] - lat[t, i - 1, j])
    return (int(row - i), int(column - j)) if seen else None


def _plain(field: xr.DataArray, name: str) -> xr.DataArray:
    known = lookup(name, units=field.attrs.get("units", ""))
    kept = field.drop_vars(list(field.coords)).astype(np.float32)
    kept.attrs = {"units": known.units, "long_name": known.long_name}
    return kept


def _about(paths: Sequence[str | Path], whole: xr.Dataset) -> dict:
    kind = int(whole.attrs.get("MAP_PROJ", 0))
    return {
        "source": str(whole.attrs.get("TITLE", "WRF")).strip() + f" ({Path(paths[0]).name})",
        "projection": PROJECTIONS.get(kind, f"number {kind}"),
        "dx_km": float(whole.attrs["DX"]) / 1000,
        "winds": "along the axes of the grid",
    }


def _named(path: str | Path) -> str:
    return f"wrfout {Path(path).name}"


def _lacking(path: str | Path, raw: xr.Dataset, expected: str) -> DataError:
    names = ", ".join(map(str, list(raw.variables)[:12])) or "no variables"
    return DataError(_named(path), found=names, expected=expected, todo="open a wrfout file of WRF-ARW")
