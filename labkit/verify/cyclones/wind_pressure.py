"""How the highest wind and the lowest pressure of a cyclone belong together: published relations and fitted ones.

    ATKINSON_HOLLIDAY.averaged_over(10).wind(95000.0)             # m/s, 10-minute means
    fitted = fit(storm.max_wind, storm.min_pressure, averaging_min=10)
    residual(storm.max_wind, storm.min_pressure, ATKINSON_HOLLIDAY, averaging_min=10)
    estimated_pressure(storm.max_wind, ATKINSON_HOLLIDAY, averaging_min=10)      # where pressure is no output

Wind in m/s, pressure in Pa. Every relation says over how many minutes its winds are means, and every wind that is
compared with one must be stated so too. A model's wind, a mean over cell and time step, is by custom taken as one over
10 minutes; whoever calls says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.verify.bootstrap import interval, resampled_means
from labkit.winds import KNOT, averaging_factor

ENVIRONMENT_PA = 101000.0
AIR_DENSITY = 1.15  # kg m-3, as Holland (1980) takes it
_UNITS = {"wind": ("m s-1", "m/s", "m s**-1", ""), "pressure": ("Pa", "")}


@dataclass(frozen=True)
class Relation:
    """wind = scale (environment - pressure)^exponent, of means over `averaging_min` minutes at 10 m.

    scale in m s-1 Pa^-exponent, environment_pa in Pa; `source` says where it comes from.
    """

    name: str
    scale: float
    exponent: float
    environment_pa: float
    averaging_min: int
    source: str = ""

    def wind(self, pressure):
        """The wind (m/s) that goes with a lowest pressure (Pa); NaN where that is above the environment's."""
        deficit = self.environment_pa - _checked("pressure", pressure)
        return self.scale * _positive(deficit) ** self.exponent

    def pressure(self, wind):
        """The lowest pressure (Pa) that goes with a wind (m/s) of this relation's averaging; NaN below 0 m/s."""
        return self.environment_pa - (_positive(_checked("wind", wind)) / self.scale) ** (1 / self.exponent)

    def averaged_over(self, minutes: int) -> "Relation":
        """The same relation of winds averaged over 1 or 10 minutes; see `labkit.winds.averaging_factor`."""
        factor = averaging_factor(self.averaging_min, minutes)
        return replace(self, scale=self.scale * factor, averaging_min=minutes)


# 6.7 (1010 - p)^0.644 in knots and hPa, of 1-minute means.
ATKINSON_HOLLIDAY = Relation(
    "Atkinson & Holliday (1977)",
    6.7 * KNOT * 0.01**0.644,
    0.644,
    101000.0,
    1,
    "western North Pacific; Mon. Wea. Rev. 105, 421-427",
)


@dataclass(frozen=True, eq=False)
class Fit:
    """The relation of best fit; `draws`: `scale` and `exponent` (draw,) of `bootstrap.resampled_means`;
    `pairs`: of how many winds and pressures; `scatter`: root mean square of their residuals, m/s."""

    relation: Relation
    draws: xr.Dataset
    pairs: int
    scatter: float

    def bounds(self, *, level: float = 0.95) -> xr.Dataset:
        """The `bootstrap.interval` (bound,) of `scale` and `exponent`; NaN where the times are too few to say."""
        return self.draws.map(lambda part: interval(part, level=level, positive=part.name == "scale"))

    def band(self, pressure: xr.DataArray, *, level: float = 0.95) -> xr.DataArray:
        """The `bootstrap.interval` (bound, ...) of the wind (m/s) that goes with pressures (Pa)."""
        deficit = _positive(self.relation.environment_pa - _checked("pressure", pressure))
        return interval(self.draws.scale * deficit**self.draws.exponent, level=level, positive=True)


def holland(b: float, *, averaging_min: int, environment_pa: float = ENVIRONMENT_PA, density: float = AIR_DENSITY):
    """The relation of a vortex of shape `b` in cyclostrophic balance: wind = sqrt(b deficit / (density e)).

    Holland (1980, Mon. Wea. Rev. 108, 1212-1218), eq. 7, for the wind above friction; who compares it with winds at
    10 m takes both as the same, and states in `averaging_min` over how many minutes those are means.
    """
    scale = float(np.sqrt(b / (density * np.e)))
    return Relation(f"Holland (1980), B = {b:.2g}", scale, 0.5, environment_pa, averaging_min, "cyclostrophic balance")


def holland_b(wind, pressure, *, environment_pa: float = ENVIRONMENT_PA, density: float = AIR_DENSITY):
    """Holland's B of highest winds (m/s) and lowest pressures (Pa): density e wind^2 / deficit; NaN without deficit."""
    deficit = environment_pa - _checked("pressure", pressure)
    return density * np.e * _checked("wind", wind) ** 2 / xr.where(deficit > 0, deficit, np.nan)


def residual(wind: xr.DataArray, pressure: xr.DataArray, relation: Relation, *, averaging_min: int) -> xr.DataArray:
    """Wind (m/s, means over `averaging_min` minutes) minus what the relation gives for the pressure (Pa): positive
    where it blows harder. DataError for units or averaging that do not fit."""
    apart = _checked("wind", wind) - relation.averaged_over(averaging_min).wind(pressure)
    return apart.assign_attrs(units="m s-1", long_name=f"highest wind minus that of {relation.name}")


def estimated_pressure(wind: xr.DataArray, relation: Relation, *, averaging_min: int) -> xr.DataArray:
    """`estimated_pressure` (Pa) that goes with winds (m/s, means over `averaging_min` minutes) by a relation.

    It has a name of its own, and says what it was estimated by, so that it passes for no measured one.
    """
    found = relation.averaged_over(averaging_min).pressure(wind).rename("estimated_pressure")
    long_name = f"lowest pressure estimated from the wind by {relation.name}"
    return found.assign_attrs(units="Pa", long_name=long_name, estimated_by=relation.name)


def fit(
    wind: xr.DataArray,
    pressure: xr.DataArray,
    *,
    averaging_min: int,
    environment_pa: float = ENVIRONMENT_PA,
) -> Fit:
    """The relation of highest winds (m/s) and lowest pressures (Pa) over (..., time), such as those of all members.

    Least squares of the logarithms, in which relative errors count alike; the environment's pressure is given, not
    fitted. Pairs without wind or deficit are left out. How sure it is comes from what each time changes. Raises
    DataError where there are fewer than three pairs or all have one pressure.
    """
    wind, deficit = xr.broadcast(_checked("wind", wind), environment_pa - _checked("pressure", pressure))
    known = (wind > 0) & (deficit > 0)
    x, y = (np.log(part.where(known, 1.0)) for part in (deficit, wind))  # 0 where unknown, which no sum feels
    sums = xr.concat([known.astype(float), x, y, x * x, x * y], "moment", coords="minimal", compat="override")
    sums = sums.sum([d for d in sums.dims if d not in ("moment", "time")])
    pairs, (scale, exponent) = int(known.sum()), _line(sums.sum("time"))
    if pairs < 3 or not np.isfinite(exponent):
        raise DataError(
            "wind-pressure relation",
            found=f"{pairs} winds with a pressure below {environment_pa / 100:g} hPa" + (", all alike" * (pairs > 2)),
            expected="three or more of unlike pressure",
            todo="fit the members and times of a storm that has msl, or use a published relation",
        )
    drawn = _line(resampled_means(sums))
    relation = Relation(f"fit to {pairs} pairs", float(scale), float(exponent), environment_pa, averaging_min)
    scatter = float(np.sqrt(((wind - relation.wind(pressure)).where(known) ** 2).mean()))
    return Fit(relation, xr.Dataset(dict(zip(("scale", "exponent"), drawn, strict=True))), pairs, scatter)


def _line(sums: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Scale and exponent (...) out of sums (moment, ...) of 1, x, y, x^2, x y; NaN where all x are alike."""
    n, x, y, xx, xy = (sums.isel(moment=i) for i in range(5))
    spread = n * xx - x * x
    slope = (n * xy - x * y) / spread.where(spread > 1e-9 * n * xx)
    return np.exp((y - slope * x) / n), slope


def _positive(values):
    return xr.where(values >= 0, values, np.nan)


def _checked(what: str, values):
    """The values, bare of attributes; DataError where they say, or show, that they are in another unit."""
    unit = str(getattr(values, "attrs", {}).get("units", ""))
    hectopascals = what == "pressure" and bool(np.any(np.asarray(values) < 20000))
    if unit in _UNITS[what] and not hectopascals:
        return values.drop_attrs() if isinstance(values, xr.DataArray) else values
    raise DataError(
        f"{what} of a relation",
        found=f"values down to {float(np.nanmin(values)):g} {unit}".rstrip(),
        expected=_UNITS[what][0],
        todo=f"convert the {what} to {_UNITS[what][0]}",
    )
