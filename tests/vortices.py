"""Vortices whose centre, radius of maximum wind and maximum wind are known, on any grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

RHO, E = 1.15, np.e


@dataclass(frozen=True)
class Vortex:
    """Tangential wind of a Holland (1980) or modified Rankine vortex about (x, y) km, with an inflow angle in degrees;
    decays like r^-power outside (Rankine) or with the shape b (Holland)."""

    x: float = 0.0
    y: float = 0.0
    vmax: float = 40.0
    rmw: float = 40.0
    kind: str = "holland"
    b: float = 1.6
    power: float = 0.6
    inflow: float = 20.0

    def tangential(self, r: np.ndarray) -> np.ndarray:
        r = np.maximum(r, 1e-6)
        if self.kind == "rankine":
            return self.vmax * np.where(r < self.rmw, r / self.rmw, (self.rmw / r) ** self.power)
        ratio = (self.rmw / r) ** self.b
        return self.vmax * np.sqrt(ratio * np.exp(1 - ratio))

    def wind(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        dx, dy = x - self.x, y - self.y
        r = np.maximum(np.hypot(dx, dy), 1e-9)
        speed, angle = self.tangential(r), np.deg2rad(self.inflow)
        cos, sin = np.cos(angle), np.sin(angle)
        return speed * (-dy * cos - dx * sin) / r, speed * (dx * cos - dy * sin) / r

    def deficit(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Pressure below the surroundings (Pa) in cyclostrophic balance: Holland's, or the integral of V^2 / r."""
        r = np.maximum(np.hypot(x - self.x, y - self.y), 1e-6)
        if self.kind == "holland":
            return RHO * E / self.b * self.vmax**2 * (1 - np.exp(-((self.rmw / r) ** self.b)))
        outer = RHO * self.vmax**2 / (2 * self.power)
        inner = outer + RHO * self.vmax**2 / 2 * (1 - (r / self.rmw) ** 2)
        return np.where(r < self.rmw, inner, outer * (self.rmw / np.maximum(r, self.rmw)) ** (2 * self.power))


def axes(shape: tuple[int, int], dx: float) -> tuple[np.ndarray, np.ndarray]:
    return tuple((np.arange(n) - (n - 1) / 2) * dx for n in shape)


def fields(
    *vortices: Vortex,
    shape: tuple[int, int] = (96, 96),
    dx: float = 4.0,
    flow: tuple[float, float] = (0.0, 0.0),
    shear: float = 0.0,
    noise: float = 0.0,
    friction: np.ndarray | float = 1.0,
    seed: int = 0,
) -> xr.Dataset:
    """`u10`, `v10` (m/s), `msl` (Pa) over (y, x) in km: vortices in a uniform flow (m/s) with a shear of the wind along
    x by `shear` m/s in 100 km along y, times `friction`, plus white noise of `noise` m/s and 20 Pa for each m/s."""
    y, x = axes(shape, dx)
    gx, gy = np.meshgrid(x, y)
    winds = [vortex.wind(gx, gy) for vortex in vortices]
    u = friction * (flow[0] + shear * gy / 100 + sum(w[0] for w in winds))
    v = friction * (flow[1] + sum(w[1] for w in winds))
    p = 101000.0 - sum(vortex.deficit(gx, gy) for vortex in vortices) + 0 * gx
    draws = np.random.default_rng(seed).normal(size=(3, *shape)) * noise
    made = {"u10": u + 0 * gx + draws[0], "v10": v + 0 * gx + draws[1], "msl": p + 20 * draws[2]}
    return xr.Dataset({name: (("y", "x"), a.astype(np.float32)) for name, a in made.items()}, {"y": y, "x": x})
