"""A front in every source of an output tree: its lines, how sharp it is, and sections across it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.grid import SPACE
from labkit.variables import lookup
from labkit.verify.fronts import FRONTAL, at_sea_level, line, lines, section, sharpness
from labkit.verify.selection import ground, names_of

SOURCES = ("interpolation", "regression", "prediction", "truth", "oracle")
SMOOTH_KM = 16.0  # below it the idealised atmosphere's eddies make lines of their own
BENDS = 2.0  # so many times more at coarse centres than between them, where rounding leaves a little
ENOUGH = 32  # times whose mean shows the bends through the rounding


@dataclass(frozen=True)
class Front:
    """At one time, by source: `lines` of the front, one list of (point, 2) arrays for each field (one, or a member's
    each); `sharpness` in K / 100 km, (1,) or (member,); `fields` in memory, as `section_fields` gives them."""

    lines: dict[str, list[list[np.ndarray]]]
    sharpness: dict[str, np.ndarray]
    fields: dict[str, xr.Dataset]

    @cached_property
    def nbytes(self) -> int:
        """Memory that the fields take."""
        return sum(fields.nbytes for fields in self.fields.values())


def front_of(tree: xr.DataTree, *, time: int = 0, smooth_km: float = SMOOTH_KM, least: float = FRONTAL) -> Front:
    """The front of all sources at one time: lines where the gradient is at least `least` K / 100 km. Reads this time
    alone, and ENOUGH of the input for its ground; DataError where the tree has no 2 m temperature."""
    found = Front({}, {}, {})
    for source in SOURCES:
        fields = section_fields(tree, source, time)
        if fields is None:
            continue
        warmth = fields.load().temperature
        many = "ensemble" in warmth.dims
        ways = {"smooth_km": smooth_km, "least": least}
        found.lines[source] = lines(warmth, **ways) if many else [line(warmth, **ways)]
        found.sharpness[source] = np.atleast_1d(sharpness(warmth, smooth_km=smooth_km).values)
        found.fields[source] = fields
    if not found.lines:
        raise DataError("front of the tree", found="no t2m", expected="2 m temperature", todo="open a tree that has it")
    return found


def warmth_of(front: Front, member: int) -> np.ndarray:
    """Temperature at sea level (y, x) of a member, or of the truth where there is none."""
    warmth = front.fields["prediction" if "prediction" in front.fields else "truth"].temperature
    return (warmth.isel(ensemble=member) if "ensemble" in warmth.dims else warmth).values


def longest(front: Front) -> dict[str, list[np.ndarray]]:
    """The longest line of each field, by source: coasts and valleys make shorter ones of their own."""
    return {source: [ways[0] for ways in each if ways] for source, each in front.lines.items()}


def sections_of(
    tree: xr.DataTree, *, time: int, start: tuple[float, float], end: tuple[float, float]
) -> dict[str, xr.Dataset]:
    """By source: `temperature`, and where the tree has them `along`, `across` of the wind and `echo` (reflectivity or
    rain), along the line from `start` to `end` (x, y in km): (distance,) or (ensemble, distance)."""
    fields = {source: section_fields(tree, source, time) for source in SOURCES}
    return cut({source: one.load() for source, one in fields.items() if one is not None}, start, end)


def cut(
    fields: Mapping[str, xr.Dataset], start: tuple[float, float], end: tuple[float, float]
) -> dict[str, xr.Dataset]:
    """The same of fields in memory, such as those of a `Front`."""
    return {source: section(one, start, end) for source, one in fields.items()}


def section_fields(tree: xr.DataTree, source: str, time: int) -> xr.Dataset | None:
    """`temperature` (at sea level, where the orography is known), `u10`, `v10`, `echo` of a source at one time."""
    if source not in tree.children:
        return None
    names = names_of(tree[source])
    if "t2m" not in names:
        return None
    group, axes = tree[source].to_dataset(inherit=False), {axis: tree[axis].values for axis in SPACE}
    axes |= {name: (SPACE, tree[name].values) for name in ("lat", "lon") if name in tree.coords}
    warmth = group[names["t2m"]].isel(time=time)
    height = ground(tree, "orography")
    height = height.reset_coords(drop=True) if height is not None and set(height.dims) == set(SPACE) else None
    if height is not None and source == "interpolation":
        some = group[names["t2m"]].isel(time=slice(0, ENOUGH)).mean("time").compute()
        height = coarse_ground(height.assign_coords({axis: axes[axis] for axis in SPACE}), some)
    made = {"temperature": warmth if height is None else at_sea_level(warmth, height)}
    made |= {name: group[names[name]].isel(time=time) for name in ("u10", "v10") if name in names}
    echo = next((name for name in ("reflectivity", "tp") if name in names), None)
    if echo:
        made["echo"] = group[names[echo]].isel(time=time).assign_attrs(label=lookup(echo).label)
    return xr.Dataset({name: field.reset_coords(drop=True) for name, field in made.items()}).assign_coords(axes)


def coarse_ground(height: xr.DataArray, interpolated: xr.DataArray) -> xr.DataArray:
    """The ground (y, x) of the coarse cells between whose centres a field (y, x) was interpolated, interpolated alike:
    its mountains are theirs, and finer ones would be false fronts in it. `height` as it is where no cells show."""
    cells = {axis: _coarse_cell(interpolated, axis) for axis in SPACE}
    if None in cells.values():
        return height
    coarse = height.coarsen(cells).mean()
    for axis in SPACE:
        coarse = coarse.interp({axis: height[axis]}, kwargs={"fill_value": "extrapolate"})
    return coarse


def _coarse_cell(field: xr.DataArray, axis: str) -> int | None:
    """Fine cells in a coarse one along an axis, as the field (y, x) tells: what is interpolated linearly between coarse
    centres bends there only. None where it bends everywhere."""
    bends = np.square(field.diff(axis).diff(axis)).mean([other for other in SPACE if other != axis]).values
    count, contrast = field.sizes[axis], {}
    for size in (n for n in range(3, count // 2 + 1) if count % n == 0):
        at_centre = np.isin((np.arange(len(bends)) + 1) % size, [(size - 1) // 2, size // 2])
        contrast[size] = bends[at_centre].mean() / max(bends[~at_centre].mean(), 1e-12)
    best = max(contrast, key=contrast.get, default=None)
    return best if best and contrast[best] > BENDS else None
