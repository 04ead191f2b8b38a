"""`Pairs`: coarse input and fine target on aligned grids, lazily; what every reader returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr

from labkit.data.regrid import upsample
from labkit.errors import DataError
from labkit.grid import spacing_km
from labkit.store.sound import check_dates
from labkit.variables import canonical, lookup

INPUT_DIMS = ("time", "channel", "y_in", "x_in")
TARGET_DIMS = ("time", "channel", "y", "x")
MASK_DIMS = ("time", "y", "x")


@dataclass(frozen=True)
class Pairs:
    """Coarse input and fine target, dask-backed, native units, float32, picked by channel name.

    input:     (time, channel, y_in, x_in)
    target:    (time, channel, y, x), with `x`, `y` in km and 2-D `lat`, `lon` as coordinates
    invariant: (channel, y, x), or (time, channel, y, x) where every sample is its own crop
    mask:      (time, y, x) bool, True where the target was observed; None where it is everywhere. Outside it the
               target is NaN, whatever the source has there, so that nothing further on needs to know
    oracle:    `oracle(pairs, time_index, seeds)` -> (member, channel, y, x) float32 draws of the target's exact
               conditional law; None where no law is known
    `time`, of the standard calendar, may repeat in crop-sampled sets; their samples have the coordinates `row` and
    `column`, where in a larger grid each lies. `attrs` describes the source and travels to output trees.
    """

    input: xr.DataArray
    target: xr.DataArray
    invariant: xr.DataArray
    mask: xr.DataArray | None = None
    oracle: Callable[["Pairs", int, Sequence[int]], np.ndarray] | None = None
    attrs: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_dims("input", self.input, INPUT_DIMS)
        _check_dims("target", self.target, TARGET_DIMS)
        _check_dims("invariant", self.invariant, TARGET_DIMS[-self.invariant.ndim :])
        for what in ("input", "target", "invariant"):
            _check_channels(what, getattr(self, what))
        _check_times(self.input, self.target)
        self._check_factors()
        _check_like_target("invariant", self.invariant, self.target)
        if self.mask is not None:
            _check_mask(self.mask, self.target)
            object.__setattr__(self, "target", _observed(self.target, self.mask))

    def _check_factors(self) -> None:
        for axis in ("y", "x"):
            fine, coarse = self.target.sizes[axis], self.input.sizes[f"{axis}_in"]
            if fine % coarse:
                raise DataError(
                    f"grid along {axis}",
                    found=f"{fine} fine cells over {coarse} coarse cells",
                    expected="a whole number of fine cells in each coarse cell",
                    todo="crop or regrid the target so that each coarse cell holds whole fine cells",
                )

    def __len__(self) -> int:
        return self.target.sizes["time"]

    @property
    def input_channels(self) -> list[str]:
        return [str(name) for name in self.input.channel.values]

    @property
    def target_channels(self) -> list[str]:
        return [str(name) for name in self.target.channel.values]

    @property
    def invariant_channels(self) -> list[str]:
        return [str(name) for name in self.invariant.channel.values]

    @property
    def shape(self) -> tuple[int, int]:
        """Fine grid (y, x)."""
        return self.target.sizes["y"], self.target.sizes["x"]

    @property
    def factor(self) -> tuple[int, int]:
        """Fine cells in a coarse cell along (y, x)."""
        return self.shape[0] // self.input.sizes["y_in"], self.shape[1] // self.input.sizes["x_in"]

    @property
    def spacing_km(self) -> tuple[float, float]:
        """Fine grid spacing (dy, dx) in km."""
        return spacing_km(self.target)

    def isel(self, time) -> "Pairs":
        """The pairs at the given positions in time (a slice or a list), still lazy."""
        time = _as_positions(time)
        pick = {
            name: None if (array := getattr(self, name)) is None or "time" not in array.dims else array.isel(time=time)
            for name in ("input", "target", "invariant", "mask")
        }
        return replace(self, **{name: array for name, array in pick.items() if array is not None})

    def select(self, *, input: Sequence[str] | None = None, target: Sequence[str] | None = None) -> "Pairs":
        """The pairs with only the named channels, in the order given."""
        chosen = self
        if input is not None:
            chosen = replace(chosen, input=_pick("input", self.input, input))
        if target is not None:
            chosen = replace(chosen, target=_pick("target", self.target, target))
        return chosen

    def interpolated(self, times=slice(None)) -> xr.DataArray:
        """Baseline (time, channel, y, x): the coarse input, bilinear on the fine grid, for each target channel.

        A channel takes the input of its own name; reflectivity without one follows from the coarse rain rate by
        Marshall and Palmer (1948), Z = 200 R^1.6; a channel with neither is NaN. What is never negative stays so
        where the line is continued beyond the outer coarse centres. Missing coarse cells are left out.
        """
        times = _as_positions(times)
        coarse = self.input.isel(time=times)
        names = [canonical(name) for name in self.input_channels]
        values = np.asarray(coarse.data)
        fields = [_baseline(canonical(name), names, values, self.factor, self.shape) for name in self.target_channels]
        like = self.target.isel(time=times)
        return xr.DataArray(np.stack(fields, axis=1).astype(np.float32), coords=like.coords, dims=like.dims)


def reflectivity_from_rain(rain_mm_h: np.ndarray) -> np.ndarray:
    """dBZ >= 0 of a rain rate in mm/h by Z = 200 R^1.6 (Marshall and Palmer 1948); NaN stays NaN."""
    return np.maximum(10 * np.log10(200 * np.maximum(rain_mm_h, 1e-3) ** 1.6), 0.0)


def rain_from_reflectivity(dbz: np.ndarray) -> np.ndarray:
    """Rain rate in mm/h of dBZ by Z = 200 R^1.6; at and below 0 dBZ it is taken as dry; NaN stays NaN."""
    return np.where(dbz <= 0, 0.0, (10 ** (dbz / 10) / 200) ** (1 / 1.6))


def _baseline(name: str, names: list[str], coarse: np.ndarray, factor, shape) -> np.ndarray:
    if name in names:
        fine = upsample(coarse[:, names.index(name)], factor)
        return np.maximum(fine, 0) if lookup(name).non_negative else fine
    if name == "reflectivity" and "tp" in names:
        return reflectivity_from_rain(upsample(coarse[:, names.index("tp")], factor))
    return np.full((len(coarse), *shape), np.nan, np.float32)


def _as_positions(time):
    """A single position as a list of one, so that the time dimension stays."""
    return [int(time)] if np.ndim(time) == 0 and not isinstance(time, slice) else time


def _check_dims(what: str, array: xr.DataArray, dims: tuple[str, ...]) -> None:
    if array.dims != dims:
        raise DataError(
            f"{what} of pairs",
            found=f"dimensions {array.dims}",
            expected=f"{dims}",
            todo="transpose or rename the dimensions",
        )


def _check_channels(what: str, array: xr.DataArray) -> None:
    names = [str(name) for name in array.channel.values] if "channel" in array.coords else []
    if len(names) != array.sizes["channel"] or len(set(names)) != len(names):
        raise DataError(
            f"{what} channels",
            found=", ".join(names) or "no names",
            expected="one name for each channel, none twice",
            todo="give the array a `channel` coordinate of distinct names",
        )


def _check_times(coarse: xr.DataArray, fine: xr.DataArray) -> None:
    counts = coarse.sizes["time"], fine.sizes["time"]
    if counts[0] != counts[1]:
        raise DataError(
            "pairs",
            found=f"{counts[0]} input and {counts[1]} target times",
            expected="the same number of both",
            todo="select the times that both have before building the pairs",
        )
    if "time" not in coarse.coords or "time" not in fine.coords:
        return
    check_dates(fine.time.values, "times of pairs")
    differ = np.flatnonzero(coarse.time.values != fine.time.values)
    if differ.size:
        first = differ[0]
        raise DataError(
            f"time {first} of pairs",
            found=f"input of {coarse.time.values[first]} and target of {fine.time.values[first]}",
            expected="both of the same time",
            todo="select both by the times that they share, in the same order",
        )


def _check_like_target(what: str, array: xr.DataArray, target: xr.DataArray) -> None:
    shared = [dim for dim in array.dims if dim != "channel"]
    found, expected = ({dim: of.sizes[dim] for dim in shared} for of in (array, target))
    if found != expected:
        raise DataError(
            f"{what} of pairs",
            found=f"sizes {found}",
            expected=f"those of the target, {expected}",
            todo="put it on the target's grid and times",
        )


def _check_mask(mask: xr.DataArray, target: xr.DataArray) -> None:
    _check_dims("mask", mask, MASK_DIMS)
    _check_like_target("mask", mask, target)
    if mask.dtype != bool:
        raise DataError(
            "mask of pairs",
            found=f"values of type {mask.dtype}",
            expected="True where the target was observed, False elsewhere",
            todo="compare them, such as with mask > 0",
        )
    both = [dim for dim in MASK_DIMS if dim in mask.coords and dim in target.coords]
    other = [dim for dim in both if not np.array_equal(mask[dim].values, target[dim].values)]
    if other:
        raise DataError(
            "mask of pairs",
            found=f"other {' and '.join(other)} than those of the target",
            expected="the target's own cells and times, in their order",
            todo="put it on the target's grid and times",
        )


def _observed(target: xr.DataArray, mask: xr.DataArray) -> xr.DataArray:
    """The target, NaN outside the mask, in the target's own chunks; by position, since the cells are the same."""
    cells = mask.variable.chunk({dim: target.chunksizes[dim] for dim in MASK_DIMS}) if target.chunks else mask.variable
    return target.copy(data=target.variable.where(cells).data)


def _pick(what: str, array: xr.DataArray, names: Sequence[str]) -> xr.DataArray:
    have = [str(name) for name in array.channel.values]
    missing = [name for name in names if name not in have]
    if missing:
        raise DataError(
            f"{what} channels",
            found=", ".join(have),
            expected=", ".join(missing),
            todo="choose from the channels found",
        )
    return array.isel(channel=[have.index(name) for name in names])
