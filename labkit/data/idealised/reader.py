"""Opening the idealised atmosphere as `Pairs`, and drawing its oracle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import dask.array as da
import numpy as np
import xarray as xr
from cartopy import crs as ccrs

from labkit.data.idealised.fine_scale import TARGETS, NoiseMaker, coarse_state, fine_state
from labkit.data.idealised.large_scale import state_at
from labkit.data.idealised.terrain import Terrain, build_terrain
from labkit.data.pairs import Pairs
from labkit.data.parts import Samples, Times, first_and_last, part_of
from labkit.data.regrid import block_mean
from labkit.errors import DataError

MOST_CELLS = 2**26  # terrain and places of all are in memory

EPOCH = np.datetime64("2000-01-01T00", "h")
INPUTS = (
    "msl",
    "t2m",
    "u10",
    "v10",
    "tcwv",
    "tp",
    "cape",
    "t850",
    "u850",
    "v850",
    "z500",
    "u500",
    "v500",
    "tisr",
)
TRUTH_SEED = 2**40  # far from any member's seed
STORM_NEAR_M_S = 2.0  # a typhoon is near where its coarse vortex is this fast or faster
CENTRE = (121.0, 23.6)  # the map is drawn as if the island lay here (degrees east, north)


@dataclass(frozen=True)
class IdealisedConfig:
    """A world: grid shape (y, x), spacing and coarsening, and the seed of its terrain and weather.

    `island_km` is the island's half length; by default 0.40 of the shorter side of the domain. `truth_seed` draws
    another truth under the same large-scale weather.
    """

    shape: tuple[int, int] = (64, 64)
    dx_km: float = 4.0
    factor: int = 8
    seed: int = 7
    island_km: float | None = None
    truth_seed: int = TRUTH_SEED

    def __post_init__(self) -> None:
        if self.factor < 1 or min(self.shape) < 1 or math.prod(self.shape) > MOST_CELLS:
            raise DataError(
                "idealised atmosphere",
                found=f"a grid of {self.shape[0]} x {self.shape[1]} cells and a factor of {self.factor}",
                expected=f"1 to {MOST_CELLS:,} cells and a factor from 1",
                todo="choose a smaller domain, and draw patches of it",
            )
        if any(n % self.factor for n in self.shape):
            raise DataError(
                "idealised atmosphere",
                found=f"a grid of {self.shape[0]} x {self.shape[1]} cells and a factor of {self.factor}",
                expected="whole coarse cells",
                todo="choose a shape that the factor divides",
            )


class World:
    """The grids, terrain and filters of a configuration; made once and shared."""

    def __init__(self, config: IdealisedConfig) -> None:
        self.config = config
        ny, nx = config.shape
        self.y, self.x = (_centres(n, config.dx_km) for n in (ny, nx))
        coarse_dx = config.dx_km * config.factor
        self.y_in, self.x_in = (_centres(n // config.factor, coarse_dx) for n in (ny, nx))
        side = min(ny, nx) * config.dx_km
        self.terrain: Terrain = build_terrain(
            self.x, self.y, config.dx_km, config.island_km or 0.40 * side, config.seed
        )
        self.height_in = block_mean(self.terrain.height_km, config.factor)
        self.land_in = block_mean(self.terrain.land, config.factor)
        self.noise = NoiseMaker(config.shape, config.dx_km)
        self.reach_km = float(np.hypot(self.y[-1], self.x[-1])) + 60.0
        self.shortest_km = 8.0 * coarse_dx

    def state(self, hours: np.ndarray):
        return state_at(self.config.seed, hours, self.shortest_km, self.reach_km)

    def coarse(self, hours: np.ndarray) -> np.ndarray:
        """(time, channel, y_in, x_in) float32, in the order of INPUTS."""
        fields = coarse_state(self.state(hours), self.x_in, self.y_in, self.height_in, self.land_in)
        return np.stack([fields[name] for name in INPUTS], axis=1).astype(np.float32)

    def fine(self, hours: np.ndarray, seed: int) -> np.ndarray:
        """(time, channel, y, x) float32: the draw `seed` of the fine state."""
        return fine_state(self.state(hours), self.noise(seed, hours), self.terrain, self.x, self.y)

    def ensemble(self, hour: float, seeds: Sequence[int]) -> np.ndarray:
        """(member, channel, y, x) float32: draws of the fine state's exact law at one hour."""
        hours = np.array([hour], np.float64)
        state = self.state(hours)
        return np.concatenate(
            [fine_state(state, self.noise(int(seed), hours), self.terrain, self.x, self.y) for seed in seeds]
        )


@lru_cache(maxsize=4)
def world(config: IdealisedConfig) -> World:
    """The world of a configuration, made once."""
    return World(config)


def _centres(n: int, dx: float) -> np.ndarray:
    return (np.arange(n) - (n - 1) / 2) * dx


def open_idealised(
    start: str = "2000-01-01",
    end: str = "2000-12-31T23",
    *,
    step_h: int = 1,
    storm_step_h: int | None = None,
    times: Times | None = None,
    samples: Samples | None = None,
    chunk: int = 8,
    **config,
) -> Pairs:
    """The idealised atmosphere between two times (inclusive), every `step_h` hours, nothing computed yet.

    `times` (first, last) may stand for `start` and `end`, as in other readers; `samples` chooses positions among these.
    With `storm_step_h` also every so many hours while a typhoon is near. A model of the target *given* the input may
    train on that: seeing some inputs more often than the climate has them changes where it is good, not what is right.
    Further keywords are those of `IdealisedConfig`. Hours are generated `chunk` at a time.
    """
    settings = IdealisedConfig(**{**config, "shape": tuple(config.get("shape", (64, 64)))})
    start, end = (start, end) if times is None else first_and_last(times)
    times = _times(start, end, step_h)
    place = world(settings)
    hours = _hours(times)
    if storm_step_h:
        often = _times(start, end, storm_step_h)
        near = often[place.state(_hours(often)).typhoon.speed > STORM_NEAR_M_S]
        times = np.union1d(times, near)
        hours = _hours(times)
    lazy_hours = da.from_array(hours, chunks=chunk)
    ny, nx = settings.shape

    def lazily(function, channels: int, shape: tuple[int, int]) -> da.Array:
        return da.map_blocks(
            function,
            lazy_hours,
            dtype=np.float32,
            new_axis=[1, 2, 3],
            chunks=(lazy_hours.chunks[0], (channels,), (shape[0],), (shape[1],)),
            meta=np.empty((0, 0, 0, 0), np.float32),
        )

    coarse = lazily(place.coarse, len(INPUTS), (ny // settings.factor, nx // settings.factor))
    fine = lazily(lambda block: place.fine(block, settings.truth_seed), len(TARGETS), (ny, nx))
    lon, lat, crs = _geography(place.x, place.y)
    stamps = times.astype("datetime64[ns]")
    on_grid = {"y": place.y, "x": place.x, "lat": (("y", "x"), lat), "lon": (("y", "x"), lon)}
    statics = np.stack([place.terrain.height_km * 1000, place.terrain.land])
    pairs = Pairs(
        input=xr.DataArray(
            coarse,
            dims=("time", "channel", "y_in", "x_in"),
            coords={"time": stamps, "channel": list(INPUTS), "y_in": place.y_in, "x_in": place.x_in},
        ),
        target=xr.DataArray(
            fine, dims=("time", "channel", "y", "x"), coords={"time": stamps, "channel": list(TARGETS), **on_grid}
        ),
        invariant=xr.DataArray(
            da.from_array(statics),
            dims=("channel", "y", "x"),
            coords={"channel": ["orography", "land_mask"], **on_grid},
        ),
        oracle=oracle,
        attrs={"source": "idealised atmosphere", "crs_wkt": crs.to_wkt(), "config": settings},
    )
    return part_of(pairs, samples=samples)


def oracle(pairs: Pairs, time_index: int, seeds: Sequence[int]) -> np.ndarray:
    """(member, channel, y, x) float32: draws of the exact law of the target at one time of the pairs, in the order of
    their channels. Seeds must differ from the truth's own."""
    settings: IdealisedConfig = pairs.attrs["config"]
    if settings.truth_seed in [int(seed) for seed in seeds]:
        raise DataError(
            "oracle", found="the truth's own seed", expected="other seeds", todo="draw with seeds below 2^40"
        )
    stamp = pairs.target.time.values[time_index].astype("datetime64[h]")
    draws = world(settings).ensemble(float((stamp - EPOCH).astype(int)), seeds)
    return draws[:, [TARGETS.index(name) for name in pairs.target_channels]]


def _hours(times: np.ndarray) -> np.ndarray:
    return (times - EPOCH).astype(np.float64)


def _times(start: str, end: str, step_h: int) -> np.ndarray:
    first, last = (np.datetime64(time).astype("datetime64[h]") for time in (start, end))
    if last < first:
        raise DataError("times", found=f"{start} to {end}", expected="an end after the start", todo="swap them")
    return np.arange(first, last + np.timedelta64(1, "h"), np.timedelta64(step_h, "h"))


def _geography(x_km: np.ndarray, y_km: np.ndarray):
    """Longitude and latitude (y, x) of the grid on a Lambert conformal map, and that map."""
    crs = ccrs.LambertConformal(central_longitude=CENTRE[0], central_latitude=CENTRE[1], standard_parallels=(20, 27))
    x, y = np.meshgrid(x_km * 1000, y_km * 1000)
    points = ccrs.PlateCarree().transform_points(crs, x, y)
    return points[..., 0].astype(np.float32), points[..., 1].astype(np.float32), crs
