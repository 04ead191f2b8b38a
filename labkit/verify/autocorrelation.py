"""How far a field knows of itself: autocorrelations by distance in km, with gaps in the data, and the lengths in them.

Products of all pairs of cells at a lag are summed by zero-padded FFTs (Wiener-Khinchin without going round the edges)
and divided by the number of pairs of which both are known, so that missing cells and edges bias nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from scipy import fft, signal

from labkit.errors import ConfigError
from labkit.verify.bootstrap import resampled_means

DIRECTIONS = ("x", "y", "radial", "rose")
CENTRES = ("all", "each", None)
SECTORS = 12  # of the half circle: every 15 degrees


def autocorrelation(
    field: xr.DataArray,
    *,
    spacing_km: tuple[float, float],
    direction: str = "radial",
    over: Sequence[str] = ("time",),
    centre: str | None = "all",
) -> xr.DataArray:
    """Autocorrelation of (..., y, x) by distance: dimension `lag` (km), rho(0) = 1; NaN is left out pair by pair.

    spacing_km: (dy, dx). direction: along "x", along "y", "radial" (all pairs at about a distance) or "rose", radial
    by direction, with a dimension `angle` (degrees from x towards y, 0 to 180). Lags reach half the domain. The
    covariances of all fields along `over` are added before the ratio is taken.
    centre: what is taken off first: "all", the mean over `over` and the domain; "each", every field's own mean, which
    forces the correlation below zero at large distances (a field less its own mean adds up to nothing); None.
    """
    sums = pair_sums(field, spacing_km=spacing_km, direction=direction, over=over, centre=centre)
    return _ratio(sums.sum([d for d in over if d in sums.dims]))


def autocorrelation_draws(
    field: xr.DataArray,
    *,
    spacing_km: tuple[float, float],
    direction: str = "radial",
    over: Sequence[str] = ("time",),
    centre: str | None = "all",
    dim: str = "time",
    block: int | None = None,
    draws: int = 400,
    seed: int,
) -> xr.DataArray:
    """`autocorrelation` of times drawn again in blocks, (draw, ..., lag): put lengths or `bootstrap.interval` on it."""
    sums = pair_sums(field, spacing_km=spacing_km, direction=direction, over=over, centre=centre)
    rest = sums.sum([d for d in over if d in sums.dims and d != dim])
    return _ratio(resampled_means(rest, dim=dim, block=block, draws=draws, seed=seed))


def pair_sums(
    field: xr.DataArray,
    *,
    spacing_km: tuple[float, float],
    direction: str = "radial",
    over: Sequence[str] = ("time",),
    centre: str | None = "all",
) -> xr.DataArray:
    """Sums of products and numbers of pairs at each lag, (..., part, [angle,] lag); sums of them may be added."""
    for what, found, known in (("direction", direction, DIRECTIONS), ("centre", centre, CENTRES)):
        if found not in known:
            names = ", ".join(map(str, known))
            raise ConfigError(f"{what} of an autocorrelation", found=repr(found), expected=names, todo="choose one")
    means = {"all": [*(d for d in over if d in field.dims), "y", "x"], "each": ["y", "x"]}
    if centre is not None:
        field = field - field.mean(means[centre], dtype=np.float64).astype(field.dtype)
    if field.chunks is not None:
        field = field.chunk(y=-1, x=-1)
    shape = (field.sizes["y"], field.sizes["x"])
    if direction in ("x", "y"):
        axis = direction
        n, spacing = shape[direction == "x"], spacing_km[direction == "x"]
        dims, coords = ["lag"], {"lag": np.arange(n // 2 + 1) * spacing}
        function, options = _line_sums, {"axis": -1 if axis == "x" else -2, "lags": n // 2 + 1}
    else:
        bins, lags, angles = rings(shape, spacing_km, sectors=SECTORS if direction == "rose" else 1)
        dims = ["angle", "lag"] if direction == "rose" else ["lag"]
        coords = {"lag": lags} | ({"angle": angles} if direction == "rose" else {})
        function, options = _ring_sums, {"bins": bins, "sizes": [len(coords[d]) for d in dims]}
    return xr.apply_ufunc(
        function,
        field,
        kwargs=options,
        input_core_dims=[["y", "x"]],
        output_core_dims=[["part", *dims]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"part": 2} | {d: len(coords[d]) for d in dims}},
    ).assign_coords(coords)


def decorrelation_lengths(rho: xr.DataArray) -> xr.Dataset:
    """Lengths (km) of autocorrelations (..., lag): `e_folding`, where rho falls to 1/e; `zero_crossing`, where it first
    falls to 0; `integral_scale`, the integral of rho up to there. Linear between known lags; NaN where not reached."""
    lag = rho.lag
    kernel = {"input_core_dims": [["lag"], ["lag"]], "vectorize": True, "output_dtypes": [float]}
    options = kernel | {"dask": "parallelized"}
    rho = rho.chunk(lag=-1) if rho.chunks is not None else rho
    return xr.Dataset(
        {
            "e_folding": xr.apply_ufunc(_falls_to, rho, lag, kwargs={"level": np.exp(-1)}, **options),
            "integral_scale": xr.apply_ufunc(_integral, rho, lag, **options),
            "zero_crossing": xr.apply_ufunc(_falls_to, rho, lag, kwargs={"level": 0.0}, **options),
        }
    ).assign_attrs(units="km")


def variogram(rho: xr.DataArray, variance: xr.DataArray | float) -> xr.DataArray:
    """Half the mean squared difference of cells at a distance: variance (1 - rho), in units^2."""
    return variance * (1 - rho)


def average_power_spectrum(data: np.ndarray, d: float) -> tuple[np.ndarray, np.ndarray]:
    """Wavenumbers (cycles per unit of `d`) and the periodogram along the last axis, averaged over all others.

    The name and the figures of CorrDiff's script, `d` the spacing; `sum(power) * freqs[1]` is the variance.
    """
    freqs, power = signal.periodogram(np.asarray(data), fs=1 / d, axis=-1)
    return freqs, power.reshape(-1, power.shape[-1]).mean(0)


def power_spectra_to_acf(
    freqs: np.ndarray, power: np.ndarray, *, n: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Lags (in the unit of the spacing) and the circular autocorrelation that belong to a one-sided spectrum.

    Corrects CorrDiff's script, which is right for a spacing of 2 alone: rho(0) is 1 for any. n: length of the rows,
    by default the even one; an odd one cannot be told from the spectrum.
    """
    n = 2 * (len(freqs) - 1) if n is None else n
    two_sided = np.array(power, float)
    two_sided[0] = 0
    two_sided[1 : -1 if n % 2 == 0 else None] /= 2
    covariance = np.fft.irfft(two_sided, n=n)
    count = n // 2 + 1
    return np.arange(count) / (n * freqs[1]), covariance[:count] / covariance[0]


def rings(
    shape: tuple[int, int], spacing_km: tuple[float, float], *, sectors: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ring and sector of each lag of a half plane, -1 outside; the rings' distances (km) and the sectors' angles.

    The half plane is (2 my + 1, mx + 1) lags: y from -my to my, x from 0 to mx. Rings are as wide as the smaller
    spacing and reach half the shorter side. The ring at no distance belongs to every sector.
    """
    (ny, nx), (dy, dx) = shape, spacing_km
    width = min(dy, dx)
    count = int(min(ny * dy, nx * dx) / 2 / width) + 1
    my, mx = (min(int((count - 0.5) * width / d), n - 1) for d, n in ((dy, ny), (dx, nx)))
    y, x = np.arange(-my, my + 1)[:, None] * dy, np.arange(mx + 1)[None, :] * dx
    ring = np.rint(np.hypot(y, x) / width).astype(int)
    sector = np.rint(np.rad2deg(np.arctan2(y, x)) % 180 / (180 / sectors)).astype(int) % sectors
    bins = sector * count + ring
    half = (x > 0) | (y >= 0)  # every pair once: of the lags with x = 0 only those with y >= 0
    bins[(ring >= count) | ~half] = -1
    return bins, np.arange(count) * width, np.arange(sectors) * 180.0 / sectors


def _ratio(sums: xr.DataArray) -> xr.DataArray:
    covariance = sums.isel(part=0) / sums.isel(part=1).where(sums.isel(part=1) > 0)
    return (covariance / covariance.isel(lag=0, drop=True)).rename("autocorrelation")


def _line_sums(values: np.ndarray, *, axis: int, lags: int) -> np.ndarray:
    n = fft.next_fast_len(values.shape[axis] + lags, real=True)
    other = -2 if axis == -1 else -1

    def products(part: np.ndarray) -> np.ndarray:
        power = abs(fft.rfft(part, n, axis=axis)) ** 2
        return fft.irfft(power.sum(other, dtype=np.float64), n, axis=-1)[..., :lags]

    return _with_counts(products, values, 1)


def _ring_sums(values: np.ndarray, *, bins: np.ndarray, sizes: list[int]) -> np.ndarray:
    my, mx = bins.shape[0] // 2, bins.shape[1] - 1
    padded = [fft.next_fast_len(n + m, real=True) for n, m in zip(values.shape[-2:], (my, mx), strict=True)]
    inside = bins.ravel() >= 0
    numbers, total = bins.ravel()[inside], int(np.prod(sizes))

    def products(part: np.ndarray) -> np.ndarray:
        plane = fft.irfft2(abs(fft.rfft2(part, padded)) ** 2, padded)[..., : mx + 1]
        plane = np.concatenate([plane[..., padded[0] - my :, :], plane[..., : my + 1, :]], axis=-2)
        rows = plane.reshape(-1, bins.size)[:, inside]
        sums = np.array([np.bincount(numbers, row, minlength=total) for row in rows])
        return sums.reshape(*part.shape[:-2], *sizes)

    sums = _with_counts(products, values, len(sizes))
    if len(sizes) == 2:  # no distance has no direction
        sums[..., 0] = sums[..., :1, 0]
    return sums


def _with_counts(products: Callable[[np.ndarray], np.ndarray], values: np.ndarray, axes: int) -> np.ndarray:
    """Sums of products and numbers of pairs, beside each other; without gaps all fields have the same numbers."""
    known = np.isfinite(values)
    if known.all():
        count = products(np.ones((1,) * (values.ndim - 2) + values.shape[-2:], values.dtype))
    else:
        count = products(known.astype(values.dtype))
    sums = products(np.where(known, values, 0))
    return np.stack([sums, np.broadcast_to(np.rint(count), sums.shape)], -1 - axes)


def _falls_to(rho: np.ndarray, lag: np.ndarray, *, level: float) -> float:
    known = np.isfinite(rho)  # a ring may hold no pair in a sector
    rho, lag = rho[known], lag[known]
    below = np.flatnonzero(rho <= level)
    if not below.size or below[0] == 0:
        return np.nan
    i = below[0]
    share = (rho[i - 1] - level) / (rho[i - 1] - rho[i])
    return float(lag[i - 1] + share * (lag[i] - lag[i - 1]))


def _integral(rho: np.ndarray, lag: np.ndarray) -> float:
    end = _falls_to(rho, lag, level=0.0)
    if np.isnan(end):
        return np.nan
    inside = (lag < end) & np.isfinite(rho)
    return float(np.trapezoid(np.append(rho[inside], 0.0), np.append(lag[inside], end)))
