"""The large-scale state: all that the coarse input can know.

Fields are sums of plane waves much longer than a coarse cell, whose amplitudes drift in time; fronts and typhoons are
a few numbers each. The state at an hour follows from the world's seed and that hour alone, and can be evaluated
at any points: at the coarse cells for the input, at the fine cells for the conditional law of the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from labkit.data.idealised.randomness import hashed_normal, hashed_uniform, knots, smooth_normal

N_WAVES = 48
DRIFT_KM_H = (20.0, 6.0)  # waves travel with the mean westerlies
KNOT_H = 30.0
FRONT_SLOT_H = 110.0
FRONT_WIDTH_KM = 50.0
TYPHOON_SLOT_H = 200.0
TYPHOON_SHARE = 0.8  # of slots, in the season
COARSE_RMW_KM = 65.0
WAVE_FIELDS = ("stream", "temperature", "moisture", "shear")


@dataclass(frozen=True, eq=False)  # compared by identity: made once for a world
class Waves:
    """Wave numbers (rad/km) and amplitudes of the fixed set of plane waves that carries every large-scale field."""

    kx: np.ndarray
    ky: np.ndarray
    weight: np.ndarray

    @classmethod
    def from_seed(cls, seed: int, shortest_km: float) -> "Waves":
        i = np.arange(N_WAVES)
        k = 2 * np.pi / (shortest_km * 8.0 ** hashed_uniform(seed, 11, i))
        angle = 2 * np.pi * hashed_uniform(seed, 12, i)
        weight = k**-0.8
        return cls(k * np.cos(angle), k * np.sin(angle), weight / np.sqrt((weight**2).sum()))

    def basis(self, x_km: np.ndarray, y_km: np.ndarray) -> np.ndarray:
        """exp(i k.x) at grid points, (wave, y * x) complex64."""
        along_y = np.exp(1j * self.ky[:, None] * y_km)
        along_x = np.exp(1j * self.kx[:, None] * x_km)
        return (along_y[:, :, None] * along_x[:, None, :]).reshape(N_WAVES, -1).astype(np.complex64)

    def amplitudes(self, seed: int, field: int, hours: np.ndarray) -> np.ndarray:
        """Complex amplitudes (time, wave) of one unit-variance field; each wave has its own knots."""
        wave = np.arange(N_WAVES)[None, :]
        offset = KNOT_H * hashed_uniform(seed, 13, wave)
        before, now, then = knots(hours[:, None], KNOT_H, offset)
        real, imaginary = (
            now * hashed_normal(seed, field, part, wave, before)
            + then * hashed_normal(seed, field, part, wave, before + 1)
            for part in (1, 2)
        )
        drift = np.exp(-1j * (self.kx * DRIFT_KM_H[0] + self.ky * DRIFT_KM_H[1]) * hours[:, None])
        return (self.weight * (real + 1j * imaginary) * drift).astype(np.complex64)


@dataclass(frozen=True)
class Front:
    """Cold fronts, one number an hour (time,): unit normal, distance of the line from the origin along it (km), speed
    of passage and strength (0 where none is near; 1 is a contrast of 6 K)."""

    normal_x: np.ndarray
    normal_y: np.ndarray
    position: np.ndarray
    strength: np.ndarray

    @classmethod
    def at(cls, seed: int, hours: np.ndarray, season: np.ndarray, reach_km: float) -> "Front":
        slot = np.floor(hours / FRONT_SLOT_H).astype(np.int64)
        since = hours - (slot + 0.3 + 0.4 * hashed_uniform(seed, 21, slot)) * FRONT_SLOT_H
        speed = 28.0 + 10.0 * hashed_uniform(seed, 22, slot)
        bearing = np.deg2rad(-50 + 14 * hashed_normal(seed, 23, slot))
        strength = (0.6 + 0.6 * hashed_uniform(seed, 24, slot)) * np.clip(0.5 + 0.8 * season, 0, 1)
        position = speed * since
        near = np.clip((2.2 * reach_km - np.abs(position)) / (0.7 * reach_km), 0, 1)
        return cls(np.cos(bearing), np.sin(bearing), position, strength * near)


@dataclass(frozen=True)
class Typhoon:
    """At most one typhoon an hour (time,): centre (km), speed of the coarse vortex (m/s, 0 where none), coarse radius
    of maximum wind (km) and the slot that names it."""

    x: np.ndarray
    y: np.ndarray
    speed: np.ndarray
    slot: np.ndarray

    @classmethod
    def at(cls, seed: int, hours: np.ndarray, season: np.ndarray, reach_km: float) -> "Typhoon":
        slot = np.floor(hours / TYPHOON_SLOT_H).astype(np.int64)
        since = hours - (slot + 0.3 + 0.4 * hashed_uniform(seed, 31, slot)) * TYPHOON_SLOT_H
        travel = 14.0 + 8.0 * hashed_uniform(seed, 32, slot)  # km/h
        heading = np.deg2rad(140 + 18 * hashed_normal(seed, 33, slot))
        miss = 0.35 * reach_km * hashed_normal(seed, 34, slot)
        along = travel * since
        peak = 17.0 + 9.0 * hashed_uniform(seed, 35, slot)
        here = hashed_uniform(seed, 36, slot) < TYPHOON_SHARE * np.clip(0.4 - season, 0, 1)
        fade = np.clip((3.0 * reach_km - np.abs(along)) / reach_km, 0, 1)
        x = along * np.cos(heading) - miss * np.sin(heading)
        y = along * np.sin(heading) + miss * np.cos(heading)
        return cls(x, y, peak * fade * here, slot)


def vortex(x: np.ndarray, y: np.ndarray, speed, radius, *, shape_b: float = 1.5):
    """Wind (u, v) and pressure deficit (Pa) at displacements x, y (km) from the centre of a Holland (1980) vortex of
    maximum wind `speed` (m/s) at `radius` (km), with an inflow of 20 degrees."""
    r = np.sqrt(x * x + y * y) + 1e-3
    ratio = (radius / r) ** shape_b
    tangential = speed * np.sqrt(ratio * np.exp(1 - ratio)) * np.exp(-((r / (9 * radius)) ** 2))
    cos, sin = 0.940, 0.342  # an inflow of 20 degrees
    u = tangential * (-y * cos - x * sin) / r
    v = tangential * (x * cos - y * sin) / r
    deficit = 1.15 * 2.718 / shape_b * speed**2 * (1 - np.exp(-ratio)) * np.exp(-((r / (9 * radius)) ** 2))
    return u, v, deficit


@dataclass(frozen=True)
class State:
    """The large-scale state at some hours: complex wave amplitudes (time, wave) of each field, fronts, typhoons, and
    the clock (`season` is +1 in midwinter and -1 in midsummer, `sun` the sine of solar elevation, 0 at night)."""

    hours: np.ndarray
    waves: Waves
    amplitudes: dict[str, np.ndarray]
    front: Front
    typhoon: Typhoon
    season: np.ndarray
    sun: np.ndarray

    @cached_property
    def heating(self) -> np.ndarray:
        """Surface heating in -0.35 (night) .. 0.65 (noon), a function of the sun alone."""
        return self.sun - 0.35


@lru_cache(maxsize=8)
def _waves(seed: int, shortest_km: float) -> Waves:
    return Waves.from_seed(seed, shortest_km)


def state_at(seed: int, hours: np.ndarray, shortest_km: float, reach_km: float) -> State:
    """The state at the given hours since 2000-01-01 UTC; `reach_km` is how far from the origin weather matters."""
    hours = np.asarray(hours, np.float64)
    waves = _waves(seed, shortest_km)
    season = np.cos(2 * np.pi * (hours / 24 - 15) / 365.2425)
    local_hour = (hours + 8) % 24
    elevation = 0.85 * np.cos(2 * np.pi * (local_hour - 12) / 24) + 0.2 - 0.12 * season
    return State(
        hours=hours,
        waves=waves,
        amplitudes={name: waves.amplitudes(seed, i + 41, hours) for i, name in enumerate(WAVE_FIELDS)},
        front=Front.at(seed, hours, season, reach_km),
        typhoon=Typhoon.at(seed, hours, season, reach_km),
        season=season,
        sun=np.maximum(elevation, 0),
    )


@dataclass(frozen=True)
class Fields:
    """The large-scale state on a grid, each (time, y, x) float32: background wind `u`, `v` without front and typhoon
    (m/s), pressure anomaly `p` (Pa), `t` (K), relative moisture `q` (about 0..1), shear `du`, `dv` (m/s), distance to
    the front line `front_km` (positive ahead of it)."""

    u: np.ndarray
    v: np.ndarray
    p: np.ndarray
    t: np.ndarray
    q: np.ndarray
    du: np.ndarray
    dv: np.ndarray
    front_km: np.ndarray


def fields_on(state: State, x_km: np.ndarray, y_km: np.ndarray) -> Fields:
    """Evaluate the state at the cell centres of a grid."""
    waves, n = state.waves, len(state.hours)
    # A stream function whose winds have a standard deviation of 5 m/s, with every wave's own share.
    k2 = float((waves.weight**2 * (waves.kx**2 + waves.ky**2)).sum() / 2)
    scale = 5.0 / float(np.sqrt(k2))
    wanted = (
        ("stream", -1j * waves.ky * scale),
        ("stream", 1j * waves.kx * scale),
        ("stream", 1.0),
        ("temperature", 1.0),
        ("moisture", 1.0),
        ("shear", 1.0),
        ("shear", 1j),
    )
    amplitudes = np.concatenate([state.amplitudes[name] * factor for name, factor in wanted])
    split = np.concatenate([amplitudes.real, amplitudes.imag], axis=1).astype(np.float32)
    flat = split @ _split_basis(waves, tuple(x_km), tuple(y_km))  # one product for all fields
    u, v, stream, temperature, moisture, du, dv = flat.reshape(len(wanted), n, len(y_km), len(x_km))
    season = state.season[:, None, None].astype(np.float32)
    x, y = x_km[None, None, :].astype(np.float32), y_km[None, :, None].astype(np.float32)
    front = state.front
    nx, ny, s = (a[:, None, None].astype(np.float32) for a in (front.normal_x, front.normal_y, front.position))
    return Fields(
        u=u + 2.0 - 3.0 * season,
        v=v + 0.5 - 4.0 * season,
        p=101250.0 + 600.0 * season + 350.0 * stream,
        t=295.0 - 6.0 * season + 2.5 * temperature,
        q=0.62 - 0.08 * season + 0.16 * moisture,
        du=6.0 + 5.0 * season + 4.0 * du,
        dv=3.0 * dv,
        front_km=nx * x + ny * y - s,
    )


@lru_cache(maxsize=8)
def _split_basis(waves: Waves, x_km: tuple, y_km: tuple) -> np.ndarray:
    """The waves on a grid, (2 wave, y * x): Re(a e) = Re(a) Re(e) - Im(a) Im(e) for amplitudes split likewise."""
    basis = waves.basis(np.array(x_km), np.array(y_km))
    return np.concatenate([basis.real, -basis.imag])


def smooth_offsets(seed: int, stream: int, hours: np.ndarray, spacing_h: float = 12.0) -> np.ndarray:
    """Unit normal numbers (time,) that change smoothly: one scalar of the fine state's law."""
    return smooth_normal(hours, spacing_h, seed, stream).astype(np.float32)
