"""HRRR-Mini: NVIDIA's small set of 64 x 64 crops of HRRR at 3 km with ERA5 at 8 x 8, in one NetCDF file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr

from labkit.data.pairs import Pairs
from labkit.data.parts import Samples, Times, part_of
from labkit.data.reading import choose, open_lazily, stack
from labkit.errors import DataError

DX_KM = 3.0


def open_hrrr_mini(
    path: str | Path,
    *,
    input_channels: Sequence[str] | None = None,
    target_channels: Sequence[str] | None = None,
    invariant_channels: Sequence[str] = ("elev_mean", "lsm_mean"),
    times: Times | None = None,
    samples: Samples | None = None,
    chunk: int = 64,
) -> Pairs:
    """Crops of HRRR-Mini as pairs, `chunk` samples to a dask chunk; opening reads only times and places.

    The root holds `time (sample)` and `coord (sample, 2)`, row and column of each crop in the HRRR grid; the groups
    `input (sample, 8, 8)`, `output (sample, 64, 64)` and `invariant (1059, 1799)` one variable a channel. Channels
    take the registry's names, those of the file stay as the coordinate `native`. Every sample has its own invariants
    (time, channel, y, x). Times repeat. `lat` and `lon` are NaN unless all crops are of one place; `x` and `y` are
    km from the crop's corner, y northwards; the coordinates `row` and `column` (time) say which cell of the HRRR grid
    that is. `times` (first, last) and `samples` (such as "0:8000") choose a part (`data.parts`). Its `stats.json` is
    read by `Statistics.load`.
    """
    root = open_lazily(path)
    corners, stamps = _places(root, path), _times(root, path)
    coarse = _fields(path, "input", input_channels, ("time", "channel", "y_in", "x_in"), chunk)
    fine = _fields(path, "output", target_channels, ("time", "channel", "y", "x"), chunk)
    static = open_lazily(path, group="invariant")
    _check(path, static, corners, stamps, coarse, fine)
    latitude = static["latitude"]
    upside_down = bool(latitude[0, 0] > latitude[-1, 0])
    coordinates = _coordinates(static, corners, fine, upside_down)
    invariant = _crops(path, static, corners, tuple(invariant_channels), fine, chunk)
    if upside_down:
        coarse, fine, invariant = coarse[:, :, ::-1], fine[:, :, ::-1], invariant[:, :, ::-1]
    factor = [fine.sizes[axis] // coarse.sizes[f"{axis}_in"] for axis in ("y", "x")]
    at = {f"{a}_in": (np.arange(coarse.sizes[f"{a}_in"]) + 0.5) * f * DX_KM for a, f in zip("yx", factor, strict=True)}
    coordinates |= {name: ("time", corners[:, i]) for i, name in enumerate(("row", "column"))}
    pairs = Pairs(
        input=coarse.assign_coords(time=stamps, **at).rename("input"),
        target=fine.assign_coords(time=stamps, **coordinates).rename("target"),
        invariant=invariant.assign_coords(time=stamps, **coordinates).rename("invariant"),
        attrs={"source": "HRRR-Mini", "file": Path(path).name},
    )
    return part_of(pairs, times=times, samples=samples)


def _fields(path: str | Path, group: str, names: Sequence[str] | None, dims: tuple, chunk: int) -> xr.DataArray:
    dataset = open_lazily(path, group=group, chunks={"sample": chunk})
    maps = {str(name): variable for name, variable in dataset.data_vars.items() if variable.ndim == 3}
    chosen = choose(group, maps, names)
    if not chosen or len({variable.shape for variable in chosen}) > 1:
        raise _unfit(
            path,
            f"{group} variables of shapes " + str(sorted({variable.shape for variable in chosen})),
            "one shape (sample, y, x) for all",
        )
    return stack(chosen, dims, f"{group} of {Path(path).name}")


def _places(root: xr.Dataset, path: str | Path) -> np.ndarray:
    """Row and column (sample, 2) of each crop's first cell."""
    if "coord" not in root.variables or root["coord"].ndim != 2 or root["coord"].shape[1] != 2:
        raise _unfit(
            path, f"root variables {', '.join(map(str, root.variables))}", "coord (sample, 2) and time (sample)"
        )
    return root["coord"].values.astype(np.int64)


def _times(root: xr.Dataset, path: str | Path) -> np.ndarray:
    """Times (sample) as datetime64[ns]; whole numbers count nanoseconds since 1970."""
    if "time" not in root.variables:
        raise _unfit(
            path, f"root variables {', '.join(map(str, root.variables))}", "coord (sample, 2) and time (sample)"
        )
    times = root["time"].values
    if not (np.issubdtype(times.dtype, np.integer) or np.issubdtype(times.dtype, np.datetime64)):
        raise _unfit(path, f"times of type {times.dtype}", "integer nanoseconds since 1970 or CF times")
    return times.astype("datetime64[ns]")


def _check(path, static: xr.Dataset, corners: np.ndarray, stamps: np.ndarray, coarse, fine) -> None:
    counts = {"time": len(stamps), "coord": len(corners), "input": len(coarse), "output": len(fine)}
    if len(set(counts.values())) > 1:
        raise _unfit(path, ", ".join(f"{n} in {name}" for name, n in counts.items()), "the same number of samples")
    absent = [name for name in ("latitude", "longitude") if name not in static]
    if absent:
        raise _unfit(path, f"invariants {', '.join(map(str, static.data_vars))}", " and ".join(absent))
    limits = np.array(static["latitude"].shape) - fine.shape[-2:]
    outside = np.flatnonzero(((corners < 0) | (corners > limits)).any(axis=1))
    if outside.size:
        raise _unfit(
            path,
            f"sample {outside[0]} at row and column {corners[outside[0]].tolist()}",
            f"places within 0 to {limits.tolist()}",
        )


def _crops(path, static: xr.Dataset, corners: np.ndarray, names: tuple[str, ...], fine, chunk: int) -> xr.DataArray:
    """Invariants (time, channel, y, x) of each sample, cut when they are needed."""
    maps = {str(name): variable for name, variable in static.data_vars.items()}
    chosen = choose("invariant", maps, names)
    shape = fine.shape[-2:]
    version = Path(path).stat().st_mtime_ns
    places = da.from_array(corners, chunks=(chunk, 2))
    data = places.map_blocks(
        lambda block: _cut(_whole(str(path), version, names), block, shape),
        dtype=np.float32,
        drop_axis=1,
        new_axis=[1, 2, 3],
        chunks=(places.chunks[0], (len(names),), *((n,) for n in shape)),
        meta=np.empty((0, 0, 0, 0), np.float32),
    )
    like = stack(chosen, ("channel", "y", "x"), f"invariant of {Path(path).name}")
    kept = {name: like.coords[name] for name in ("channel", "native", "units", "native_units")}
    return xr.DataArray(data, dims=("time", "channel", "y", "x"), coords=kept)


@lru_cache(maxsize=2)
def _whole(path: str, version: int, names: tuple[str, ...]) -> np.ndarray:
    """Invariants (channel, y, x) of the whole grid; `version` changes where the file was written anew."""
    static = open_lazily(path, group="invariant")
    maps = {str(name): variable for name, variable in static.data_vars.items()}
    return stack(choose("invariant", maps, names), ("channel", "y", "x"), f"invariant of {Path(path).name}").values


def _cut(whole: np.ndarray, corners: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.stack([whole[:, i : i + shape[0], j : j + shape[1]] for i, j in corners])


def _coordinates(static: xr.Dataset, corners: np.ndarray, fine: xr.DataArray, upside_down: bool) -> dict:
    shape = fine.shape[-2:]
    lat = lon = np.full(shape, np.nan, np.float32)
    if (corners == corners[0]).all():
        i, j = corners[0]
        place = np.s_[i : i + shape[0], j : j + shape[1]]
        lat, lon = (static[name][place].values[:: -1 if upside_down else 1] for name in ("latitude", "longitude"))
    y, x = ((np.arange(n) + 0.5) * DX_KM for n in shape)
    return {"y": y, "x": x, "lat": (("y", "x"), lat), "lon": (("y", "x"), lon)}


def _unfit(path: str | Path, found: str, expected: str) -> DataError:
    return DataError(
        f"HRRR-Mini file {Path(path).name}",
        found=found,
        expected=expected,
        todo="use a file in HRRR-Mini's layout, or open your own pair with open_files",
    )
