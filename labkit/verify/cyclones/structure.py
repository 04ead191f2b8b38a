"""What a cyclone is like about its centre: how strong, how wide, how even, as numbers and as profiles by radius."""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.verify.cyclones.centres import pressure_centre
from labkit.verify.cyclones.detection import PRESSURE, WIND, _whole, moving, over_times
from labkit.verify.cyclones.local_grid import SPACE, LocalGrid, upright
from labkit.verify.cyclones.polar import Rings, around, around_wind, waves
from labkit.winds import KNOT

QUADRANTS = ("ne", "se", "sw", "nw")
THRESHOLDS_KT = (34, 50, 64)
FAR_KM = 600.0
NEAR_KM = 120.0
ON_THE_CREST = 0.95  # of the highest wind: a neighbour with less tells nothing of the crest between cells
MEASURES = {
    "max_wind": ("m s-1", "highest 10 m wind of any place, refined below the cell"),
    "wave_wind": ("m s-1", "highest sum of wavenumbers 0 and 1 of the wind around the centre"),
    "mean_wind": ("m s-1", "highest azimuthal mean of the tangential wind"),
    "rmw": ("km", "radius of the highest azimuthal mean of the tangential wind"),
    "rmw_error": ("km", "how far off that radius may be for the size of the cells: half of one"),
    "asymmetry1": ("1", "amplitude of wavenumber 1 of the wind at that radius over its mean"),
    "asymmetry2": ("1", "amplitude of wavenumber 2 of the wind at that radius over its mean"),
    "crest1": ("degrees", "bearing from north of the crest of wavenumber 1, clockwise"),
    "min_pressure": ("Pa", "lowest sea-level pressure at the centre, refined below the cell"),
}
RADII = tuple(f"r{knots}_{quadrant}" for knots in THRESHOLDS_KT for quadrant in QUADRANTS)


def intensity(fields: xr.Dataset, centres: xr.Dataset) -> xr.Dataset:
    """Numbers of the cyclones at `centres` (..., with `row`, `col` and `size` as `find` gives them): those of
    MEASURES, and `r34_ne` ...: the greatest radius (km) of 34, 50 and 64 kt in each quadrant, 0 where not reached.

    The highest wind is looked for within three filter radii. A radius of 34 kt is where, going outwards from the
    strongest wind of a direction, it falls below 34 kt for the first time. NaN where there is no centre, or too little
    of the rings is known (0.4 for means, as in `profiles`; 0.8 for waves); `rmw` and `mean_wind` also where the
    outermost known ring has the highest mean.
    """
    names = [*WIND, *([PRESSURE] if PRESSURE in fields else [])]
    return _applied(_intensities, fields, centres, names, [], [*MEASURES, *RADII], {
        **{name: {"units": units, "long_name": long} for name, (units, long) in MEASURES.items()},
        **{name: {"units": "km"} for name in RADII},
    })  # fmt: skip


def profiles(fields: xr.Dataset, centres: xr.Dataset, radius_km: np.ndarray) -> xr.Dataset:
    """Azimuthal means (..., radius) about the centres: `tangential` (cyclonic), `radial` (outward) and `speed` of the
    wind, and every other field that is given, in its own unit.

    NaN where less than 0.4 of a ring is known. Where a part of it is unknown, beyond the grid or masked, the mean is
    not that of the rest, which would take the flow that carries the cyclone for its rotation, but fitted together with
    that flow: see `polar.around_wind` and `polar.around`, which say how far off it comes out.
    """
    radius_km = np.asarray(radius_km, np.float64)
    if radius_km.ndim != 1 or not len(radius_km) or (radius_km < 0).any():
        raise DataError("radii of a profile", found=str(radius_km), expected="numbers from 0 km", todo="give some")
    others = [str(name) for name in fields.data_vars if name not in WIND and set(SPACE) <= set(fields[name].dims)]
    quantities = ["tangential", "radial", "speed", *others]
    attrs = {name: {"units": "m s-1"} for name in quantities[:3]} | {name: fields[name].attrs for name in others}
    result = _applied(_profiles, fields, centres, [*WIND, *others], ["radius"], quantities, attrs, radius=radius_km)
    return result.assign_coords(radius=("radius", radius_km, {"units": "km"}))


def _applied(function, fields, centres, names, dims, quantities, attrs, radius=None) -> xr.Dataset:
    if moving(fields):
        again = partial(_applied, function, names=names, dims=dims, quantities=quantities, attrs=attrs, radius=radius)
        return over_times(again, fields, centres)
    fields, ground, numbered = upright(fields)
    arrays = [_whole(fields, name) for name in names]
    places = [numbered(centres[name]) for name in ("row", "col", "size")]
    options = {"ground": ground, "count": len(quantities), "names": names}
    options |= {} if radius is None else {"radii": radius}
    made = xr.apply_ufunc(
        partial(_each, function, n=len(places), **options),
        *places,
        *arrays,
        input_core_dims=[[]] * len(places) + [SPACE] * len(arrays),
        output_core_dims=[[*dims, "quantity"]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={
            "output_sizes": {"quantity": len(quantities)} | ({} if radius is None else {"radius": len(radius)})
        },
    )
    result = made.assign_coords(quantity=quantities).to_dataset("quantity")
    for name in quantities:
        result[name].attrs.update(attrs.get(name, {}))
    return result


def _each(function, *arrays, n: int, ground: LocalGrid, count: int, names, **options) -> np.ndarray:
    """`function` of each centre and its fields; the fields' leading axes come last of the centres' (a vortex axis has
    no own fields)."""
    lead = np.broadcast_shapes(*(a.shape for a in arrays[:n]), *(a.shape[:-2] for a in arrays[n:]))
    tail = (len(options["radii"]), count) if "radii" in options else (count,)
    result = np.full((*lead, *tail), np.nan)
    places = [np.broadcast_to(a, lead) for a in arrays[:n]]
    fields = [np.broadcast_to(a, lead + ground.shape) for a in arrays[n:]]
    for index in np.ndindex(lead):
        row, col, radius = (float(place[index]) for place in places)
        if np.isfinite(row + col):
            named = {name: field[index] for name, field in zip(names, fields, strict=True)}
            result[index] = function(named, ground, row, col, radius, **options)
    return result


def _intensities(fields: dict, ground: LocalGrid, row: float, col: float, radius_km: float) -> np.ndarray:
    spacing = ground.spacing(row, col)
    rings = Rings.about(row, col, spacing, _radii(spacing))
    u, v = (rings.sample(fields[name]) for name in WIND)
    radial, tangential = rings.turned(u, v)
    within = rings.radius <= max(3 * radius_km, NEAR_KM)
    turn = ground.turn_at(row, col)
    mean = np.where(within, turn * around_wind(radial, tangential)[1], np.nan)
    p, bearing = fields.get(PRESSURE), ground.bearing(row, col)
    found = dict.fromkeys([*MEASURES, *RADII], np.nan)
    found["max_wind"] = _highest(
        np.hypot(*(fields[name] for name in WIND)), row, col, spacing, rings.radius[within][-1]
    )
    if p is not None:
        found["min_pressure"] = pressure_centre(p, spacing, row, col, radius_km)[2]
    if np.isfinite(mean).any():
        rmw, k = _crest(rings.radius, mean)
        speed = np.hypot(u, v)
        found |= _waves(rings, tangential[within], radial[within], speed[k], bearing)
        found |= _wind_radii(rings, speed, rmw, bearing)
        if np.isfinite(mean[np.nanargmax(mean) + 1 :][:1]).all():  # else it may go on to rise where nothing is known
            found["rmw"], found["mean_wind"] = rmw, float(np.nanmax(mean))
            found["rmw_error"] = max(spacing) / 2
    return np.array(list(found.values()))


def _waves(rings: Rings, tangential: np.ndarray, radial: np.ndarray, ring: np.ndarray, bearing: float) -> dict:
    """What the first waves around the centre say of the wind on all rings, and of the speed on that of its maximum.

    A uniform flow is exactly a wavenumber 1 of the tangential and radial wind, so that the vortex and the flow that
    carries it add up to the strongest wind without the eddies."""
    parts = (waves(wind, 1) for wind in (tangential, radial))
    turning = np.exp(1j * rings.angle)
    speed = np.hypot(*(c[:, :1].real + (c[:, 1:] * turning).real for c in parts))
    c = waves(ring)
    if np.isnan(c).any():
        return {}
    crest = np.rad2deg(bearing - np.angle(c[1]))
    return {
        "wave_wind": float(np.nanmax(speed)),
        "asymmetry1": float(abs(c[1]) / c[0].real),
        "asymmetry2": float(abs(c[2]) / c[0].real),
        "crest1": float((90 - crest) % 360),
    }


def _profiles(fields: dict, ground: LocalGrid, row: float, col: float, radius_km: float, *, radii) -> np.ndarray:
    rings = Rings.about(row, col, ground.spacing(row, col), radii)
    u, v = (rings.sample(fields[name]) for name in WIND)
    radial, tangential = rings.turned(u, v)
    outward, turning = around_wind(radial, tangential)
    others = [rings.sample(field) for name, field in fields.items() if name not in WIND]
    means = [ground.turn_at(row, col) * turning, outward, *(around(part) for part in (np.hypot(u, v), *others))]
    return np.stack(means, axis=-1)


def _radii(spacing: tuple[float, float]) -> np.ndarray:
    """Radii of rings: every half cell near the centre, wider apart further out."""
    step = max(1.0, min(spacing) / 2)
    near = max(NEAR_KM, 12 * step)
    return np.concatenate([np.arange(step, near, step), np.geomspace(near, max(FAR_KM, 2 * near), 40)])


def _crest(radius: np.ndarray, values: np.ndarray) -> tuple[float, int]:
    """Place of the maximum and the index of the ring there: by the parabola over a twelfth, a sixth or a third of its
    radius to both sides, whichever tells the place best. A sharp peak wants few rings, noise wants many."""
    k = int(np.nanargmax(values))
    best = float(radius[k]), np.inf
    for part in (1 / 12, 1 / 6, 1 / 3):
        best = min(best, _parabola(radius, values, k, part), key=lambda found: found[1])
    return best[0], int(np.argmin(np.abs(radius - best[0])))


def _parabola(radius: np.ndarray, values: np.ndarray, k: int, part: float) -> tuple[float, float]:
    """Place of the top, and its standard error, of the parabola about it."""
    place, least, failed = float(radius[k]), 2.01 * np.diff(radius)[max(0, k - 1) : k + 1].max(), (np.nan, np.inf)
    for _ in range(8):
        near = (np.abs(radius - place) <= max(part * place, least)) & np.isfinite(values)
        away = radius[near] - place
        if len(away) < 5 or not away[0] < 0 < away[-1]:
            return failed
        terms = np.stack([away * away, away, np.ones_like(away)], axis=1)
        inverse = np.linalg.pinv(terms)
        a, b, c = inverse @ values[near]
        if a >= 0:
            return failed
        shift = float(np.clip(-b / (2 * a), away[0], away[-1]))
        place += shift
        if abs(shift) < 0.002 * place:
            break
    free = len(away) - 3
    noise = ((values[near] - terms @ (a, b, c)) ** 2).sum() / free * (1 + 3 / free)
    return place, float(np.sqrt(noise * (inverse @ inverse.T)[1, 1]) / (2 * abs(a)))


def _highest(speed: np.ndarray, row: float, col: float, spacing, within_km: float) -> float:
    """The highest value near a place, raised to the top of the parabola through it and its neighbours along one axis.

    The crest of a ring of wind rises across it, not along it, so that one axis, the steeper, tells its height; and only
    where both neighbours are on the crest's slopes, not in the eye or beyond it. With cells of half to one radius of
    maximum wind this is at most 0.2 m/s of 45 above a Holland vortex, and up to 2.6 below, as the cells' highest is.
    """
    y, x = (np.arange(n) for n in speed.shape)
    far = np.hypot((y - row)[:, None] * spacing[0], (x - col)[None, :] * spacing[1]) > within_km
    inside = np.where(far | ~np.isfinite(speed), -np.inf, speed)
    i, j = np.unravel_index(np.argmax(inside), speed.shape)
    top = inside[i, j]
    if not np.isfinite(top):
        return np.nan
    rise = 0.0
    for before, after in (((i - 1, j), (i + 1, j)), ((i, j - 1), (i, j + 1))):
        if min(before) >= 0 and after[0] < speed.shape[0] and after[1] < speed.shape[1]:
            low, high = speed[before], speed[after]
            curve = low + high - 2 * top
            if curve < 0 and min(low, high) >= ON_THE_CREST * top:
                rise = max(rise, -((high - low) ** 2) / (8 * curve))
    return float(top + rise)


def _wind_radii(rings: Rings, speed: np.ndarray, rmw: float, bearing: float) -> dict[str, float]:
    """Greatest radius of each threshold in each quadrant of the compass."""
    start = np.where(np.isfinite(speed) & (rings.radius <= 2.5 * rmw)[:, None], speed, -np.inf).argmax(0)
    compass = np.rad2deg(rings.angle + bearing) % 360  # anticlockwise from east
    quadrant = np.array(["ne", "nw", "sw", "se"])[(compass // 90).astype(int)]
    result = {}
    for knots in THRESHOLDS_KT:
        reach = _reach(rings.radius, speed, start, knots * KNOT)
        for name in QUADRANTS:
            own = reach[quadrant == name]
            result[f"r{knots}_{name}"] = float(np.nanmax(own)) if np.isfinite(own).mean() >= 0.7 else np.nan
    return result


def _reach(radius: np.ndarray, speed: np.ndarray, start: np.ndarray, threshold: float) -> np.ndarray:
    """Where the speed (r, a) of each direction falls below the threshold for the first time from `start` (a,) outwards,
    linear between rings; 0 where it is below there, NaN where what lies further out is unknown."""
    direction = np.arange(speed.shape[1])
    below = ~(speed >= threshold) & (np.arange(len(radius))[:, None] >= start)
    k = below.argmax(0)
    before = np.maximum(k - 1, 0)
    high, low, first = (speed[ring, direction] for ring in (before, k, start))
    with np.errstate(invalid="ignore", divide="ignore"):
        reach = radius[before] + (high - threshold) / (high - low) * (radius[k] - radius[before])
    reach = np.where(below.any(0), reach, np.nan)
    return np.where(first >= threshold, reach, np.where(np.isfinite(first), 0.0, np.nan))
