"""The cases worth seeing first, found in the truth: strongest wind, heaviest rain, typhoon, front."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

from apps.parts.runs import Run
from labkit.data.pairs import rain_from_reflectivity
from labkit.variables import canonical

GALE_M_S = 17.2


@dataclass(frozen=True)
class Preset:
    """A case with a name: where and when it is, and what was found there."""

    key: str
    label: str
    found: str
    variable: str
    time: int
    point: tuple[float, float]


def find_presets(run: Run, *, max_times: int = 240) -> list[Preset]:
    """The presets that the run's variables allow; at most `max_times` evenly spread times are searched."""
    times = np.unique(np.linspace(0, len(run.times) - 1, max_times).astype(int))
    finders = (_strongest_wind, _heaviest_rain, _cyclone, _front)
    return [preset for finder in finders if (preset := finder(run, times)) is not None]


def _strongest_wind(run: Run, times: np.ndarray) -> Preset | None:
    if "wind_speed" not in run.variables:
        return None
    time, cell, value = _search(times, lambda t: run.field(run.judge, "wind_speed", t))
    return Preset("wind", "Strongest wind", f"{value:.0f} m/s", "wind_speed", time, _place(run, cell))


def _heaviest_rain(run: Run, times: np.ndarray) -> Preset | None:
    """By the area-mean rain rate; reflectivity through Z = 200 R^1.6."""
    names = {canonical(v): v for v in run.variables}
    variable = names.get("tp", names.get("reflectivity"))
    if variable is None:
        return None
    to_rate = rain_from_reflectivity if canonical(variable) == "reflectivity" else np.asarray
    means = [_known_mean(to_rate(run.field(run.judge, variable, t))) for t in times]
    time = int(times[int(np.argmax(means))])
    rate = to_rate(run.field(run.judge, variable, time))
    cell = np.unravel_index(np.nanargmax(gaussian_filter(np.nan_to_num(rate), 2)), rate.shape)
    return Preset("rain", "Heaviest rain", f"{max(means):.1f} mm/h area mean", variable, time, _place(run, cell))


def _known_mean(field: np.ndarray) -> float:
    """Mean of what is known; less than any where nothing is."""
    known = field[np.isfinite(field)]
    return float(known.mean()) if known.size else -np.inf


def _cyclone(run: Run, times: np.ndarray) -> Preset | None:
    """By the strongest cyclonic vorticity averaged over about 50 km; a typhoon only where gales blow around it."""
    if "wind_speed" not in run.variables:
        return None
    names = {canonical(v): v for v in run.variables}
    dy, dx = run.spacing_km
    sign = -1.0 if (run.lat < 0).mean() > 0.5 else 1.0
    width = [max(round(50 / d), 1) for d in (dy, dx)]

    def vorticity(t: int) -> np.ndarray:
        u, v = (np.nan_to_num(run.field(run.judge, names[c], t)) for c in ("u10", "v10"))
        curl = np.gradient(v, dx * 1e3, axis=1) - np.gradient(u, dy * 1e3, axis=0)
        return sign * uniform_filter(curl * np.sign(np.diff(run.y).mean()), width, mode="constant")

    time, cell, _ = _search(times, vorticity)
    y, x = (slice(max(c - 2 * w, 0), c + 2 * w + 1) for c, w in zip(cell, width, strict=True))
    wind = float(np.nanmax(run.field(run.judge, "wind_speed", time)[y, x]))
    label = "Typhoon" if wind >= GALE_M_S else "Strongest vortex"
    return Preset("cyclone", label, f"{wind:.0f} m/s around it", "wind_speed", time, _place(run, cell))


def _front(run: Run, times: np.ndarray) -> Preset | None:
    """By the steepest temperature gradient over about 20 km, with the run's mean taken off (terrain, coast)."""
    names = {canonical(v): v for v in run.variables}
    if "t2m" not in names:
        return None
    variable, (dy, dx) = names["t2m"], run.spacing_km
    some = times[np.unique(np.linspace(0, len(times) - 1, 24).astype(int))]
    mean = np.mean([run.field(run.judge, variable, t) for t in some], axis=0) if len(some) >= 8 else 0.0

    def gradient(t: int) -> np.ndarray:
        field = gaussian_filter(np.nan_to_num(run.field(run.judge, variable, t) - mean), [10 / dy, 10 / dx])
        steep = 100 * np.hypot(*np.gradient(field, dy, dx))
        edge = [max(int(20 / d), 1) for d in (dy, dx)]
        inner = np.zeros_like(steep)
        inner[edge[0] : -edge[0], edge[1] : -edge[1]] = steep[edge[0] : -edge[0], edge[1] : -edge[1]]
        return inner

    time, cell, value = _search(times, gradient)
    return Preset("front", "Front", f"{value:.0f} K in 100 km", variable, time, _place(run, cell))


def _search(times: np.ndarray, field_at) -> tuple[int, tuple[int, int], float]:
    """Time, cell and value of the largest value of `field_at(time)` (y, x) over the times."""
    tops = [np.nanmax(field_at(int(t))) for t in times]
    time = int(times[int(np.nanargmax(tops))])
    field = field_at(time)
    cell = np.unravel_index(int(np.nanargmax(field)), field.shape)
    return time, (int(cell[0]), int(cell[1])), float(field[cell])


def _place(run: Run, cell: tuple[int, int]) -> tuple[float, float]:
    return float(run.x[cell[1]]), float(run.y[cell[0]])
