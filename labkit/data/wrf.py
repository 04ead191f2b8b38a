"""WRF output as fields of the lab: winds off their staggered grid, pressure at sea level, rain of each interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from labkit.data.reading import open_lazily
from labkit.errors import DataError
from labkit.sphere import wrapped
from labkit.variables import lookup

GRAVITY = 9.81  # WRF's constants
DRY_AIR = 287.0
DRY_AIR_CP = 1004.5
BASE_THETA = 300.0
BASE_PRESSURE = 1e5
LAPSE = 0.0065  # K/m of a standard atmosphere
WARM = 290.65  # K; ground warmer than this is taken for heated by the sun
ABOVE_GROUND = 1e4  # Pa; the level whose temperature is free of the day's heating
SURFACE = {"t2m": "T2", "u10": "U10", "v10": "V10", "sp": "PSFC"}
RAIN = ("RAINC", "RAINSH", "RAINNC")
LEVEL_FIELDS = ("u", "v", "t", "z", "q")
PROJECTIONS = {1: "Lambert conformal", 2: "polar stereographic", 3: "Mercator", 6: "latitude and longitude"}


def open_wrfout(paths: str | Path | Sequence[str | Path], *, levels_hpa: Sequence[int] = ()) -> xr.Dataset:
    """Surface fields (time, y, x) of wrfout files, lazily: `t2m`, `u10`, `v10`, `sp`, `msl`, `tp` (mm/h), `reflectivity`
    (dBZ, the highest of the column) where the file has it, and with `levels_hpa` (850, ...) `u850`, `v850`, `t850`,
    `z850`, `q850`; `orography` and `land_mask`.

    Coordinates: `time`; `y`, `x` in km on the model's map from its corner; `lat`, `lon` (y, x), or (time, y, x) where
    the nest moves. Winds are along the grid's axes, as WRF writes them; attributes name the projection. `tp` is what
    fell since the time before in the same place, by hour: NaN at the first time and where a nest had not been. `msl`
    follows the lapse rate 6.5 K/km from 100 hPa above the ground. DataError for files that are not wrfout.
    """
    paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not paths:
        raise DataError("wrfout", found="no file", expected="at least one", todo="name the files")
    raw = [_prepared(path) for path in paths]
    _same_grid(paths, raw)
    whole = raw[0] if len(raw) == 1 else xr.concat(raw, "time", data_vars="minimal", coords="minimal", join="exact")
    whole = whole.sortby("time").drop_duplicates("time")
    position = _positions(whole)
    fields = {name: whole[theirs] for name, theirs in SURFACE.items() if theirs in whole}
    if {"P", "PB", "T", "PH", "PHB", "QVAPOR"} <= set(whole):
        fields["msl"] = _sea_level_pressure(whole)
        for level in levels_hpa:
            fields |= _on_level(whole, int(level))
    elif levels_hpa:
        raise _lacking(paths[0], whole, "P, PB, T, PH, PHB, QVAPOR")
    if rain := [whole[name] for name in RAIN if name in whole]:
        fields["tp"] = _rain_rate(sum(rain), whole.time, position)
    echo = next((whole[name] for name in ("REFD_MAX", "REFL_10CM") if name in whole), None)
    if echo is not None:
        fields["reflectivity"] = echo.max("bottom_top") if "bottom_top" in echo.dims else echo
    for name, theirs in (("orography", "HGT"), ("land_mask", "LANDMASK")):
        if theirs in whole:
            fields[name] = whole[theirs]
    made = {name: _plain(field, name) for name, field in fields.items()}
    y, x = ((np.arange(whole.sizes[axis]) + 0.5) * whole.attrs[key] / 1000 for axis, key in (("y", "DY"), ("x", "DX")))
    return xr.Dataset(made, {"time": whole.time, **position, "y": ("y", y, _KM), "x": ("x", x, _KM)}, _about(paths, whole))


_KM = {"units": "km"}


def _prepared(path: str | Path) -> xr.Dataset:
    """One file with our dimensions and its winds and heights at the centres of cells."""
    raw = open_lazily(path, chunks={"Time": 1})
    if not {"XLAT", "XLONG", "U10", "V10"} <= set(raw.variables) or not {"DX", "DY"} <= set(raw.attrs):
        raise _lacking(path, raw, "XLAT, XLONG, U10, V10 and the attributes DX and DY")
    for staggered, axis in (("west_east_stag", "west_east"), ("south_north_stag", "south_north"),
                            ("bottom_top_stag", "bottom_top")):  # fmt: skip
        names = [name for name, array in raw.data_vars.items() if staggered in array.dims]
        raw = raw.assign({name: _centred(raw[name], staggered, axis) for name in names})
    raw = raw.rename_dims({"Time": "time", "south_north": "y", "west_east": "x"})
    raw = raw.drop_vars([name for name in raw.coords if name not in ("XLAT", "XLONG")])
    return raw.reset_coords(drop=False).assign_coords(time=("time", _times(path, raw)))


def _centred(array: xr.DataArray, staggered: str, axis: str) -> xr.DataArray:
    """Means of neighbours along a staggered dimension."""
    low, high = (array.isel({staggered: part}).drop_vars(list(array.coords)) for part in (slice(None, -1), slice(1, None)))
    return ((low + high) / 2).rename({staggered: axis}).assign_attrs(array.attrs)


def _times(path: str | Path, raw: xr.Dataset) -> np.ndarray:
    if "Times" in raw:
        texts = raw.Times.values
        if texts.ndim == 2:
            texts = ["".join(part.decode() for part in row) for row in texts]
        stamps = [(t.decode() if isinstance(t, bytes) else str(t)).replace("_", "T") for t in texts]
        return np.array(stamps, "datetime64[ns]")
    if "XTIME" in raw and np.issubdtype(raw.XTIME.dtype, np.datetime64):
        return raw.XTIME.values
    raise _lacking(path, raw, "Times, or XTIME with a date")


def _same_grid(paths: Sequence[str | Path], raw: Sequence[xr.Dataset]) -> None:
    kinds = [tuple(one.sizes[axis] for axis in ("y", "x")) + (float(one.attrs["DX"]),) for one in raw]
    for path, kind in zip(paths, kinds, strict=True):
        if kind != kinds[0]:
            raise DataError(
                f"wrfout {Path(path).name}",
                found="{} x {} cells of {:g} m".format(*kind),
                expected="{} x {} cells of {:g} m, as in the first file".format(*kinds[0]),
                todo="open each domain by itself",
            )


def _positions(whole: xr.Dataset) -> dict:
    """`lat`, `lon` (y, x), with a time where the nest moves."""
    lat, lon = whole.XLAT.values.astype(np.float64), wrapped(whole.XLONG.values)
    still = lat.ndim == 2 or (np.allclose(lat, lat[:1], atol=1e-4) and np.allclose(lon, lon[:1], atol=1e-4))
    if still and lat.ndim == 3:
        lat, lon = lat[0], lon[0]
    dims = ("y", "x") if lat.ndim == 2 else ("time", "y", "x")
    return {"lat": (dims, lat, {"units": "degrees_north"}), "lon": (dims, lon, {"units": "degrees_east"})}


def _pressure(whole: xr.Dataset) -> xr.DataArray:
    return whole.P + whole.PB


def _temperature(whole: xr.Dataset) -> xr.DataArray:
    return (whole["T"] + BASE_THETA) * (_pressure(whole) / BASE_PRESSURE) ** (DRY_AIR / DRY_AIR_CP)


def _height(whole: xr.Dataset) -> xr.DataArray:
    return (whole.PH + whole.PHB) / GRAVITY


def _sea_level_pressure(whole: xr.Dataset) -> xr.DataArray:
    """Hydrostatic, below ground by a standard lapse rate: the temperature at the ground is that of 100 hPa above it
    carried down, so that the day's heating does not move pressure; over warm ground it is held back (after Benjamin &
    Miller 1990, as the community's post-processors do)."""
    p, t, z = _pressure(whole), _temperature(whole) * (1 + 0.608 * whole.QVAPOR), _height(whole)
    return xr.apply_ufunc(
        _reduced,
        p,
        t,
        z,
        input_core_dims=[["bottom_top"]] * 3,
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"allow_rechunk": True},
    )


def _reduced(p: np.ndarray, t: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Pressure at sea level of columns (..., level), from the ground upwards."""
    ground = p[..., 0]
    t_high, z_high = (_at_pressure(field, p, ground - ABOVE_GROUND) for field in (t, z))
    ratio = (ground / (ground - ABOVE_GROUND)) ** (LAPSE * DRY_AIR / GRAVITY)
    surface, sea = t_high * ratio, t_high + LAPSE * z_high
    held = np.where(surface <= WARM, WARM, WARM - 0.005 * (surface - WARM) ** 2)
    sea = np.where(sea < WARM, sea, held)
    return ground * np.exp(2 * GRAVITY * z[..., 0] / (DRY_AIR * (sea + surface)))


def _at_pressure(field: np.ndarray, p: np.ndarray, wanted) -> np.ndarray:
    """Linear in log pressure between the levels of each column; NaN where the level is below or above them."""
    above = (p <= np.asarray(wanted)[..., None]).argmax(-1)[..., None]
    inside = (p[..., 0] >= wanted) & (p[..., -1] <= wanted)
    below = np.maximum(above - 1, 0)
    low, high = (np.log(np.take_along_axis(p, k, -1))[..., 0] for k in (below, above))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(high == low, 0.0, (np.log(wanted) - low) / (high - low))
    bottom, top = (np.take_along_axis(field, k, -1)[..., 0] for k in (below, above))
    return np.where(inside, bottom + share * (top - bottom), np.nan)


def _on_level(whole: xr.Dataset, level: int) -> dict[str, xr.DataArray]:
    columns = {"u": whole.U, "v": whole.V, "t": _temperature(whole), "z": _height(whole) * 9.80665, "q": whole.QVAPOR}
    p = _pressure(whole)
    return {
        f"{name}{level}": xr.apply_ufunc(
            lambda field, p: _at_pressure(field, p, np.full(p.shape[:-1], level * 100.0)),
            field,
            p,
            input_core_dims=[["bottom_top"]] * 2,
            dask="parallelized",
            output_dtypes=[np.float64],
            dask_gufunc_kwargs={"allow_rechunk": True},
        )
        for name, field in columns.items()
    }


def _rain_rate(total: xr.DataArray, time: xr.DataArray, position: dict) -> xr.DataArray:
    """mm/h between times; the accumulated rain before is that of the same place, which in a moving nest is another
    cell."""
    hours = np.diff(time.values) / np.timedelta64(1, "h")
    parts = [xr.full_like(total.isel(time=0), np.nan)]
    for t, span in enumerate(hours, 1):
        before = total.isel(time=t - 1)
        shift = _moved(position, t)
        if shift != (0, 0):
            before = before.shift(y=-shift[0], x=-shift[1])
        parts.append((total.isel(time=t) - before).clip(min=0) / span)
    return xr.concat(parts, "time")


def _moved(position: dict, t: int) -> tuple[int, int]:
    """Whole cells (rows, columns) by which the grid moved before time t."""
    dims, lat, _ = position["lat"]
    if "time" not in dims:
        return 0, 0
    lon = position["lon"][1]
    i, j = lat.shape[1] // 2, lat.shape[2] // 2
    apart = (lat[t - 1] - lat[t, i, j]) ** 2 + (wrapped(lon[t - 1] - lon[t, i, j]) * np.cos(np.deg2rad(lat[t, i, j]))) ** 2
    row, col = np.unravel_index(np.argmin(apart), apart.shape)
    return int(row - i), int(col - j)


def _plain(field: xr.DataArray, name: str) -> xr.DataArray:
    known = lookup(name)
    kept = field.drop_vars(list(field.coords)).astype(np.float32)
    return kept.assign_attrs(units=known.units, long_name=known.long_name)


def _about(paths: Sequence[str | Path], whole: xr.Dataset) -> dict:
    kind = int(whole.attrs.get("MAP_PROJ", 0))
    return {
        "source": str(whole.attrs.get("TITLE", "WRF")).strip() + f" ({Path(paths[0]).name})",
        "projection": PROJECTIONS.get(kind, f"number {kind}"),
        "dx_km": float(whole.attrs["DX"]) / 1000,
        "winds": "along the axes of the grid",
    }


def _lacking(path: str | Path, raw: xr.Dataset, expected: str) -> DataError:
    names = ", ".join(map(str, list(raw.variables)[:12])) or "no variables"
    return DataError(f"wrfout {Path(path).name}", found=names, expected=expected, todo="open a wrfout file of WRF-ARW")
