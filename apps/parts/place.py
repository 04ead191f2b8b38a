"""Places on a map: points and boxes in km that cannot be nonsense."""

from __future__ import annotations

import math

import param


class Place(param.NumericTuple):
    """A point (x, y) or a box (west, south, east, north) in km: finite, inside `extent`, with an area if a box."""

    __slots__ = ["extent"]

    def __init__(self, default=None, *, extent=None, **params) -> None:
        self.extent = extent
        super().__init__(default=default, **params)

    def _validate_value(self, val, allow_None) -> None:
        super()._validate_value(val, allow_None)
        if val is None:
            return
        west, south, east, north = self.extent or (-math.inf, -math.inf, math.inf, math.inf)
        inside = all(west <= x <= east for x in val[::2]) and all(south <= y <= north for y in val[1::2])
        if not (inside and all(map(math.isfinite, val)) and (len(val) == 2 or (val[0] < val[2] and val[1] < val[3]))):
            raise ValueError(f"{self.name}: {val} is no place within {self.extent} km")


def box_within(extent: tuple[float, ...], x0: float, y0: float, x1: float, y1: float) -> tuple[float, ...] | None:
    """West, south, east, north edges of the part of a box that lies within `extent`; None where it has no area."""
    west, south, east, north = extent
    xs, ys = sorted(clamp(v, west, east) for v in (x0, x1)), sorted(clamp(v, south, north) for v in (y0, y1))
    return (xs[0], ys[0], xs[1], ys[1]) if xs[0] < xs[1] and ys[0] < ys[1] else None


def clamp(value: float, low: float, high: float) -> float:
    """The value brought into the range, in whole metres where these are km; what is not finite is the least."""
    return round(min(max(float(value), low), high), 3) if math.isfinite(value) else low
