"""The conditional law of the fine state: an explicit distribution, given the large-scale state.

The randomness of one draw is four Gaussian random fields (rotational wind, divergent wind, temperature, echo), a
meander of the front line and five numbers a typhoon. Truth and oracle members are draws with different seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from labkit.data.idealised.large_scale import (
    COARSE_RMW_KM,
    FRONT_WIDTH_KM,
    Fields,
    State,
    fields_on,
    smooth_offsets,
    vortex,
)
from labkit.data.idealised.randomness import padded_shape, spectral_noise, wavenumbers, white_amplitude
from labkit.data.idealised.terrain import Terrain

TARGETS = ("t2m", "u10", "v10", "reflectivity")
OUTER_KM = 45.0  # largest eddies of the random fields
DISSIPATION_KM = 20.0  # wavelength below which they are damped
EDDY_H = 6.0  # a random field is new after this many hours
STEERING_KM_H = (13.0, 5.0)


@dataclass(frozen=True)
class Noise:
    """Unit-variance random fields (time, y, x) of one draw: wind `u`, `v`, temperature `t`, echo `z`, front `w`; and
    scalars (time,) of the typhoon: `offset_x`, `offset_y`, `radius`, `speed` unit normal, `phase` in radians."""

    u: np.ndarray
    v: np.ndarray
    t: np.ndarray
    z: np.ndarray
    w: np.ndarray
    offset_x: np.ndarray
    offset_y: np.ndarray
    radius: np.ndarray
    speed: np.ndarray
    phase: np.ndarray


def eddy_spectrum(k: np.ndarray, slope: float) -> np.ndarray:
    """Amplitude on the wavenumber plane: flat above the outer scale, a one-dimensional spectrum of k^-slope below it,
    damped below the dissipation scale as the dynamics of a real model are (Skamarock 2004)."""
    k0 = 2 * np.pi / OUTER_KM / 2
    dissipation = np.exp(-((k * DISSIPATION_KM / (2 * np.pi)) ** 2) / 2)
    return (k0**2 + k**2) ** (-(slope + 1) / 4) * dissipation


def _filters(box: tuple[int, int], dx_km: float) -> tuple[np.ndarray, ...]:
    """Complex filters (ky, kx) from noise fields to unit-variance fields: u and v each from stream function and
    potential, t from heat and potential, z from echo and potential (convergence brings echo and cold outflow), w."""
    ky, kx = wavenumbers(box, dx_km)
    k = np.hypot(kx, ky)
    safe = np.where(k > 0, k, 1)
    wind = np.where(k > 0, eddy_spectrum(k, 5 / 3), 0)
    shares = {"rotational": 0.65, "divergent": 0.35, "heat": 0.85, "outflow": 0.15, "echo": 0.75, "convergence": 0.25}
    part = {name: float(np.sqrt(share)) for name, share in shares.items()}
    return (
        part["rotational"] * _unit(-1j * ky / safe * wind, box),
        part["divergent"] * _unit(1j * kx / safe * wind, box),
        part["rotational"] * _unit(1j * kx / safe * wind, box),
        part["divergent"] * _unit(1j * ky / safe * wind, box),
        part["heat"] * _unit(eddy_spectrum(k, 5 / 3), box),
        part["outflow"] * _unit(wind, box),
        part["echo"] * _unit(eddy_spectrum(k, 2.2), box),
        part["convergence"] * _unit(wind, box),
        _unit(np.exp(-((k * 18.0) ** 2) / 2), box),
    )


def _unit(filter_: np.ndarray, box: tuple[int, int]) -> np.ndarray:
    """The filter scaled so that real white noise passed through it has unit variance."""
    power = np.abs(filter_) ** 2
    doubled = np.full(filter_.shape[1], 2.0)
    doubled[0] = 1.0
    if box[1] % 2 == 0:
        doubled[-1] = 1.0
    variance = (power * doubled).sum() / (box[0] * box[1])
    return (filter_ / np.sqrt(variance)).astype(np.complex64)


class NoiseMaker:
    """Draws `Noise` for a grid; keeps the filters."""

    def __init__(self, shape: tuple[int, int], dx_km: float) -> None:
        self.shape, self.box = shape, padded_shape(shape, dx_km, OUTER_KM)
        self.ky, self.kx = wavenumbers(self.box, dx_km)
        amplitude = white_amplitude(self.box)
        self.filters = [f * amplitude for f in _filters(self.box, dx_km)]

    def __call__(self, seed: int, hours: np.ndarray) -> Noise:
        """Noise (time, y, x) of the draw `seed` at the given hours."""
        grids = np.stack([self._fields(seed, float(hour)) for hour in hours])
        scalars = [smooth_offsets(seed, stream, hours) for stream in range(61, 65)]
        turn = smooth_offsets(seed, 65, hours) * 2.0 + 2 * np.pi * (seed % 997) / 997
        return Noise(*(grids[:, i] for i in range(5)), *scalars, turn.astype(np.float32))

    def _fields(self, seed: int, hour: float) -> np.ndarray:
        shift = np.exp(-1j * (self.kx * STEERING_KM_H[0] + self.ky * STEERING_KM_H[1]) * hour).astype(np.complex64)
        white = spectral_noise(seed, hour, 5, self.box, EDDY_H)
        white *= shift
        stream, potential, heat, echo, line = white
        f = self.filters
        spectra = np.empty_like(white)
        spectra[0] = f[0] * stream + f[1] * potential
        spectra[1] = f[2] * stream + f[3] * potential
        spectra[2] = f[4] * heat + f[5] * potential
        spectra[3] = f[6] * echo - f[7] * potential
        spectra[4] = f[8] * line
        ny, nx = self.shape
        return fft.irfft2(spectra, s=self.box, overwrite_x=True)[:, :ny, :nx]


def fine_state(state: State, noise: Noise, terrain: Terrain, x_km: np.ndarray, y_km: np.ndarray) -> np.ndarray:
    """One draw of the fine state (time, channel, y, x), float32, in the order of TARGETS: K, m/s, m/s, dBZ."""
    large = fields_on(state, x_km, y_km)
    front = _front(state, large, noise)
    storm = _typhoon(state, noise, x_km, y_km)
    background_u = large.u + front.u + storm.u
    background_v = large.v + front.v + storm.v
    speed = np.sqrt(background_u**2 + background_v**2)
    shelter = terrain.sheltering(background_u, background_v)
    u, v = _wind(state, noise, terrain, background_u, background_v, speed, shelter)
    echo = _reflectivity(large, noise, terrain, front, storm, background_u, background_v, shelter, state)
    t = _temperature(state, large, noise, terrain, front, storm, speed, shelter, echo)
    return np.stack([t, u, v, echo], axis=1).astype(np.float32)


@dataclass(frozen=True)
class _Part:
    """What a front or typhoon adds: wind, temperature, dBZ, and where it is (0..1)."""

    u: np.ndarray
    v: np.ndarray
    t: np.ndarray
    echo: np.ndarray
    near: np.ndarray


def _nothing(shape: tuple[int, ...]) -> _Part:
    return _Part(*(np.zeros(shape, np.float32) for _ in range(5)))


def _scatter(part: _Part, active: np.ndarray, shape: tuple[int, ...]) -> _Part:
    """The part computed at the active hours, with nothing at the others."""
    whole = _nothing(shape)
    for name in ("u", "v", "t", "echo", "near"):
        getattr(whole, name)[active] = getattr(part, name)
    return whole


def _front(state: State, large: Fields, noise: Noise) -> _Part:
    """A sharp, meandering line: wind shift, fall of temperature behind, a narrow band of rain on it."""
    active = state.front.strength > 0
    strength = _column(state.front.strength[active])
    distance = large.front_km[active] + 6.0 * noise.w[active]
    behind = 0.5 * (1 - np.tanh(distance / 10.0))
    line = np.exp(-((distance / 12.0) ** 2))
    nx, ny = _column(state.front.normal_x[active]), _column(state.front.normal_y[active])
    along, across = 6.0 * strength * (behind - 0.5), 3.0 * strength * (behind - 0.5)
    part = _Part(
        u=ny * along + nx * across,
        v=-nx * along + ny * across,
        t=-6.0 * strength * behind,
        echo=26.0 * strength * line + 6.0 * strength * np.exp(-((distance / FRONT_WIDTH_KM) ** 2)),
        near=strength * line,
    )
    return _scatter(part, active, large.front_km.shape)


def _typhoon(state: State, noise: Noise, x_km: np.ndarray, y_km: np.ndarray) -> _Part:
    """Eyewall, radius of maximum wind and rain bands that the coarse grid cannot see."""
    storm = state.typhoon
    active = storm.speed > 0
    x = x_km.astype(np.float32)[None, None, :] - _column((storm.x + 3.0 * noise.offset_x)[active])
    y = y_km.astype(np.float32)[None, :, None] - _column((storm.y + 3.0 * noise.offset_y)[active])
    radius = _column(((52.0 - 0.8 * storm.speed) * np.exp(0.08 * noise.radius))[active])
    speed = _column((1.22 * storm.speed * np.exp(0.04 * noise.speed))[active])
    phase = _column(noise.phase[active])
    u, v, _ = vortex(x, y, speed, radius)
    r, theta = np.hypot(x, y), np.arctan2(y, x)
    eyewall = np.exp(-(((r - 0.95 * radius) / (0.35 * radius)) ** 2))
    spiral = np.cos(2 * (theta - 1.6 * np.log((r + 5) / 30.0)) - phase)
    bands = np.maximum(spiral, 0) * np.exp(-(((r - 3.2 * radius) / (1.8 * radius)) ** 2))
    eye = np.exp(-((r / (0.5 * radius)) ** 2))
    p = _column(np.minimum(storm.speed[active] / 20.0, 1.0))
    echo = p * (34 * eyewall + 18 * bands - 30 * eye)
    part = _Part(u=u, v=v, t=p * 1.5 * eye, echo=echo, near=p * eyewall)
    return _scatter(part, active, (len(storm.speed), len(y_km), len(x_km)))


def _wind(state, noise, terrain: Terrain, u, v, speed, shelter):
    """Terrain speeds up, blocks and shelters the background; eddies grow with the wind, the ground and the lee."""
    exposure = 1 - 0.25 * terrain.land - 0.45 * np.tanh(shelter) + 0.28 * np.tanh(terrain.ridge)
    passing = 1 / np.sqrt(1 + (speed / 12.0) ** 2)  # fast flow goes over what slow flow goes around
    climb = (u * terrain.slope_x + v * terrain.slope_y) * 5.0 * passing
    breeze = _column(state.heating) * 4.0
    mean_u = u * exposure - climb * _sign(terrain.slope_x) + breeze * (terrain.coast_x + 12 * terrain.slope_x)
    mean_v = v * exposure - climb * _sign(terrain.slope_y) + breeze * (terrain.coast_y + 12 * terrain.slope_y)
    sigma = 0.40 + 0.065 * speed * (1 + 0.3 * terrain.land + 0.5 * np.tanh(shelter))
    sigma = sigma + 0.4 * np.maximum(_column(state.heating), 0) * terrain.land
    return mean_u + sigma * noise.u, mean_v + sigma * noise.v


def _sign(slope: np.ndarray) -> np.ndarray:
    """Direction of the slope, smooth through zero."""
    return np.tanh(slope / 0.03)


def _reflectivity(large: Fields, noise, terrain: Terrain, front, storm, u, v, shelter, state) -> np.ndarray:
    """Echo in dBZ: moist air, lifting by slopes, fronts and typhoons raise a threshold field; below 0 it is dry."""
    lift = (u * terrain.slope_x + v * terrain.slope_y) * large.q
    heat = np.maximum(_column(state.heating), 0) * terrain.land
    base = 45.0 * (large.q - 0.72) + 34.0 * np.tanh(2.2 * lift) - 8.0 * np.tanh(shelter)
    base = base + 14.0 * heat * large.q * (1 + 1.5 * np.tanh(terrain.ridge))
    convective = 0.15 + 0.5 * np.clip(large.q - 0.5, 0, 0.5)
    cells = noise.z + 0.5 * convective * (noise.z**2 - 1)
    sigma = 4.5 + 7.5 * convective
    raw = base + front.echo + storm.echo + sigma * cells
    wet = np.maximum(raw, 0)
    return np.where(wet > 45, 45 + 20 * np.tanh((wet - 45) / 20), wet)


def _temperature(state, large: Fields, noise, terrain: Terrain, front, storm, speed, shelter, echo) -> np.ndarray:
    """Lapse with height, land heated by day, cold pools in calm valleys by night, foehn in the lee, cooling by rain."""
    heating = _column(state.heating)
    lapse = 6.2 - 4.0 * (large.q - 0.6)
    calm = np.exp(-((speed / 7.0) ** 2))
    valley = np.maximum(-np.tanh(terrain.ridge), 0)
    mean = large.t + front.t + storm.t - lapse * terrain.height_km + 6.0 * heating * terrain.land
    mean = mean - 4.0 * np.maximum(-heating, 0) * 3 * valley * calm + 1.5 * np.tanh(shelter) * np.tanh(speed / 10)
    sigma = 0.56 + 0.6 * np.maximum(heating, 0) * terrain.land + 0.45 * terrain.land + 0.4 * front.near
    return mean - 0.05 * echo + sigma * noise.t


def coarse_state(state: State, x_km: np.ndarray, y_km: np.ndarray, height_km: np.ndarray, land: np.ndarray) -> dict:
    """The coarse input (time, y_in, x_in) by name: a function of the large-scale state alone.

    height_km, land are means over the coarse cells. Fronts and vortices are as wide as the coarse grid makes them.
    """
    large = fields_on(state, x_km, y_km)
    strength = _column(state.front.strength)
    behind = 0.5 * (1 - np.tanh(large.front_km / FRONT_WIDTH_KM))
    nx, ny = _column(state.front.normal_x), _column(state.front.normal_y)
    along, across = 6.0 * strength * (behind - 0.5), 3.0 * strength * (behind - 0.5)
    storm = state.typhoon
    x = x_km[None, None, :] - _column(storm.x)
    y = y_km[None, :, None] - _column(storm.y)
    vortex_u, vortex_v, deficit = vortex(x, y, _column(storm.speed), COARSE_RMW_KM)
    core = np.exp(-((np.hypot(x, y) / (1.6 * COARSE_RMW_KM)) ** 2)) * _column(storm.speed) / 20.0
    u = large.u + ny * along + nx * across + vortex_u
    v = large.v - nx * along + ny * across + vortex_v
    t = large.t - 6.0 * strength * behind
    band = strength * np.exp(-((large.front_km / FRONT_WIDTH_KM) ** 2))
    heating = _column(state.heating)
    t2m = t - 6.2 * height_km + 6.0 * heating * land
    wet = 45.0 * (large.q - 0.78) + 12.0 * band + 22.0 * core + 8.0
    rain = (10 ** (np.clip(wet, -30, 55) / 10) / 200) ** (1 / 1.6)
    return {
        "msl": large.p - deficit - 120.0 * band,
        "t2m": t2m,
        "u10": 0.85 * u,
        "v10": 0.85 * v,
        "tcwv": np.maximum(62.0 * large.q * np.exp(0.045 * (t - 297)) + 12.0 * core, 0),
        "tp": rain,
        "cape": 900.0 * np.maximum(large.q - 0.45, 0) * np.maximum(t - 283, 0) / 4,
        "t850": t - 8.5 + 1.5 * core,
        "u850": 1.15 * u,
        "v850": 1.15 * v,
        "z500": 9.80665 * (5700.0 + 5.0 * (large.t - 295)) + 0.5 * (large.p - 101250.0),
        "u500": u + large.du,
        "v500": v + large.dv,
        "tisr": 1361.0 * np.broadcast_to(_column(state.sun), u.shape),
    }


def _column(values: np.ndarray) -> np.ndarray:
    """Per-hour numbers (time,) as (time, 1, 1) float32."""
    return np.asarray(values, np.float32)[:, None, None]
