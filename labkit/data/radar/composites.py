"""Radar composites of any producer, a frame at a time: where their cells lie, when they were, and what they hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyproj

from labkit.errors import DataError
from labkit.units import factor_and_offset
from labkit.variables import lookup

REFLECTIVITY, RAIN = "reflectivity", "tp"
_LEAST_DBZ = -100  # weaker than any echo; composites have -32 or -64 where it is dry
_STAMP = re.compile(r"(?<!\d)(\d{8})[T_\-.]?(\d{4})(\d{2})?(?:\d{3})?(?!\d)")


@dataclass(frozen=True)
class Coding:
    """How a file's numbers become values: gain x number + offset; `nodata` is unseen, `undetect` seen and dry.

    quantity: "reflectivity" (dBZ) or "tp" (mm/h). What is None is the file's to say.
    """

    quantity: str | None = None
    gain: float | None = None
    offset: float | None = None
    nodata: float | None = None
    undetect: float | None = None

    def over(self, other: "Coding") -> "Coding":
        """This, and what it leaves open by another."""
        return Coding(*(b if a is None else a for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def decoded(self, numbers: np.ndarray, what: str) -> np.ndarray:
        """Values float32 of stored numbers: dBZ, at least 0, or mm/h; NaN where nothing was seen."""
        found = numbers.astype(np.float32) * np.float32(1 if self.gain is None else self.gain)
        found += np.float32(self.offset or 0)
        if self.undetect is not None:
            found[_equal(numbers, self.undetect)] = 0
        if self.nodata is not None:
            found[_equal(numbers, self.nodata)] = np.nan
        lowest = float(np.nanmin(found, initial=0))
        if lowest < (-1e-3 if self.quantity == RAIN else _LEAST_DBZ):
            raise DataError(
                what,
                found=f"a rain rate of {lowest:g} mm h-1" if self.quantity == RAIN else f"{lowest:g} dBZ",
                expected="rain that is not negative" if self.quantity == RAIN else f"at least {_LEAST_DBZ} dBZ",
                todo=f"say which number stands for what no radar sees: nodata={-1 if self.quantity == RAIN else -9999}",
            )
        return np.maximum(found, 0)


@dataclass(frozen=True)
class Composite:
    """One frame: `read()` gives its values (y, x) of `quantity`, rows from the south.

    y, x: cell centres in km, both increasing, on the map `crs`, or along latitudes and longitudes where that is None
    and `degrees` holds them. radars: (name, lon, lat). what: how errors call it.
    """

    what: str
    time: np.datetime64
    y: np.ndarray
    x: np.ndarray
    crs: pyproj.CRS | None
    quantity: str
    read: Callable[[], np.ndarray]
    radars: tuple[tuple[str, float, float], ...] = ()
    degrees: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.y), len(self.x)

    @property
    def grid(self) -> tuple:
        """All that two frames must share to lie on one grid, to the tenth of a kilometre."""
        corners = tuple(round(float(axis[k]), 1) for axis in (self.y, self.x) for k in (0, -1))
        return self.shape, corners, "" if self.crs is None else self.crs.to_wkt()

    def latitude_longitude(self) -> tuple[np.ndarray, np.ndarray]:
        """Degrees (y, x)."""
        if self.degrees is not None:
            return tuple(np.meshgrid(*self.degrees, indexing="ij"))
        try:
            lon, lat = pyproj.Proj(self.crs)(*np.meshgrid(1000 * self.x, 1000 * self.y), inverse=True)
        except pyproj.exceptions.ProjError as error:
            raise DataError(self.what, found=f"no map ({error})", expected="one", todo="check the file") from error
        return lat, lon


def axes_between(corners: tuple, shape: tuple[int, int], pixel: tuple[float, float], what: str):
    """Cell centres (y, x), both increasing, between the corners (west, south, east, north) in the unit of the pixel.

    Corners are the outer ones of the outermost cells, or their centres where only that fits. DataError where neither
    does to a fifth of a cell.
    """
    west, south, east, north = corners
    axes = []
    for n, low, high, step in ((shape[0], south, north, pixel[0]), (shape[1], west, east, pixel[1])):
        cells_apart = (high - low) / step
        if not min(abs(cells_apart - n), abs(cells_apart - n + 1)) < 0.2:
            raise DataError(
                f"grid of the {what}",
                found=f"corners {cells_apart:.2f} cells apart",
                expected=f"{n}",
                todo="use composites whose projection, corners and cells agree",
            )
        first = low + (0.5 * step if abs(cells_apart - n) < 0.5 else 0)
        axes.append(first + step * np.arange(n))
    return axes


def time_in_name(path: Path, what: str) -> np.datetime64:
    """Of a file whose name has YYYYMMDDhhmm in it; DataError where it has not."""
    if (found := _STAMP.search(path.name)) is not None:
        day, clock, seconds = found[1], found[2], found[3] or "00"
        text = f"{day[:4]}-{day[4:6]}-{day[6:]}T{clock[:2]}:{clock[2:]}:{seconds}"
        try:
            return np.datetime64(text, "ns")
        except ValueError:
            pass
    raise DataError(
        what, found="no time in the file nor in its name", expected="YYYYMMDDhhmm", todo="put it into the file's name"
    )


def quantity_of(text: str) -> str | None:
    """Reflectivity or rain rate by a unit, None for any other."""
    for name in (REFLECTIVITY, RAIN):
        if text and factor_and_offset(text, lookup(name)) is not None:
            return name
    return None


def unknown_quantity(what: str, found: str) -> DataError:
    """The refusal of numbers of which nothing says what they are."""
    return DataError(
        what,
        found=found or "numbers without a unit",
        expected="reflectivity in dBZ or a rain rate",
        todo="say what they are: quantity=reflectivity or quantity=tp, with gain=, offset=, nodata=, undetect=",
    )


def _equal(numbers: np.ndarray, value: float) -> np.ndarray:
    return np.isnan(numbers) if np.isnan(value) else numbers == value
