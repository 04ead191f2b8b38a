"""How far a field knows of itself: autocorrelations by distance in km, with gaps in the data, and the lengths in them.

Products of all pairs of cells at a lag are summed by zero-padded FFTs (Wiener-Khinchin without going round the edges)
and divided by the number of pairs of which both are known, so that missing cells and edges bias nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import xarray as xr
from scipy import fft, signal

from labkit.errors import ConfigError
from labkit.verify.bootstrap import resampled_means
from labkit.verify.slabs import in_slabs, whole

DIRECTIONS = ("x", "y", "radial", "rose")
CENTRES = ("all", "each", None)
# Sums over pairs of f f' and of f + f', the number of pairs; the sum over cells and their number.
PARTS = ("products", "crossed", "pairs", "total", "cells")
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
    centre: what is taken off first.
    "all": the mean over `over` and the domain, which is assumed to be the same everywhere and always; what it varies by
    itself is added back (`_mean_error`), so that lengths are right in domains of few of them, where there are times
    enough. Of one time its own mean is taken off, as with "each".
    "each": every field's own mean, whatever it is; what is left adds up to nothing, so that the curve is too low and
    falls below zero somewhere (1/e at 0.25, 0.44, 0.75, 0.91 of the length in domains of 1, 2, 5, 10 lengths).
    None: nothing, for what has a mean of zero, such as what a regression leaves.
    """
    sums = pair_sums(field, spacing_km=spacing_km, direction=direction, centre=centre)
    over = [d for d in over if d in sums.dims]
    return correlation_of(centred(sums, over).sum(over))


def autocorrelation_draws(
    field: xr.DataArray,
    *,
    spacing_km: tuple[float, float],
    direction: str = "radial",
    over: Sequence[str] = ("time",),
    centre: str | None = "all",
    dim: str = "time",
    draws: int = 400,
) -> xr.DataArray:
    """`autocorrelation` of times drawn again, (draw, ..., lag): put lengths or `bootstrap.interval` on it.

    The mean that is taken off is that of all times, not of those drawn.
    """
    sums = pair_sums(field, spacing_km=spacing_km, direction=direction, centre=centre)
    over = [d for d in over if d in sums.dims]
    rest = centred(sums, over).sum([d for d in over if d != dim])
    return correlation_of(resampled_means(rest, dim=dim, draws=draws))


def pair_sums(
    field: xr.DataArray,
    *,
    spacing_km: tuple[float, float],
    direction: str = "radial",
    centre: str | None = "all",
) -> xr.DataArray:
    """What a correlation is made of at each lag, (..., part, [angle,] lag), `part` as in PARTS: it may be added up.

    One pass over the fields, whatever the centre, so that a lazy field need not be held until its mean is known.
    """
    for what, found, known in (("direction", direction, DIRECTIONS), ("centre", centre, CENTRES)):
        if found not in known:
            names = ", ".join(map(str, known))
            raise ConfigError(f"{what} of an autocorrelation", found=repr(found), expected=names, todo="choose one")
    field = whole(field)
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
        kwargs=options | {"centre": centre},
        input_core_dims=[["y", "x"]],
        output_core_dims=[["part", *dims]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"part": len(PARTS)} | {d: len(coords[d]) for d in dims}},
    ).assign_coords(coords)


def decorrelation_lengths(rho: xr.DataArray) -> xr.Dataset:
    """Lengths (km) of autocorrelations (..., lag): `e_folding`, where rho falls to 1/e; `zero_crossing`, where it first
    falls to 0; `integral_scale`, the integral of rho up to there. Linear between known lags; NaN where not reached."""
    lag = rho.lag
    kernel = {"input_core_dims": [["lag"], ["lag"]], "vectorize": True, "output_dtypes": [float]}
    options = kernel | {"dask": "parallelized"}
    rho = whole(rho, ["lag"])
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


def centred(sums: xr.DataArray, over: Sequence[str]) -> xr.DataArray:
    """Of pair sums (..., part, lag), not yet added up over `over`: sums of products of anomalies and the number of
    pairs, (..., part 2, lag). With d = f - m, sum dd' = sum ff' - m sum (f + f') + m^2 n, n the pairs."""
    products, crossed, pairs, total, cells = (sums.isel(part=i) for i in range(len(PARTS)))
    known = cells.sum(over)
    mean = total.sum(over) / known.where(known > 0)
    level = mean**2 + _mean_error(total - mean * cells, cells, over)
    return xr.concat([products - mean * crossed + level * pairs, pairs], "part").transpose(*sums.dims)


def correlation_of(sums: xr.DataArray) -> xr.DataArray:
    """Autocorrelation (..., lag) of added sums of products and numbers of pairs, (..., part 2, lag)."""
    products, pairs = sums.isel(part=0), sums.isel(part=1)
    covariance = products / pairs.where(pairs != 0)
    return (covariance / covariance.isel(lag=0, drop=True)).rename("autocorrelation")


def _mean_error(total: xr.DataArray, cells: xr.DataArray, over: Sequence[str]) -> xr.DataArray | float:
    """Mean square error of a mean over `over`, by which covariances about it are too small; 0 of one time.

    total: sums of the fields' departures from that mean. Times are taken in their order, members of a time as one.
    Twice the mean square of a series' projections on its slowest 0.4 n^(2/3) cosines is the variance of its sum, also
    where neighbours resemble each other (Lazarus, Lewis, Stock & Watson 2018).
    """
    cases = next((d for d in ("time", *over) if d in over), None)
    if cases is None or total.sizes[cases] == 1:
        return 0.0
    departure = total.sum([d for d in over if d != cases]) / cells.sum(over)
    n = departure.sizes[cases]
    wave = np.arange(1, math.ceil(0.4 * n ** (2 / 3)) + 1)[:, None]
    waves = xr.DataArray(np.cos(np.pi * wave * (np.arange(n) + 0.5) / n), dims=("wave", cases))
    return 2 * (xr.dot(waves, departure.drop_vars(cases, errors="ignore"), dim=cases) ** 2).mean("wave")


def _line_sums(values: np.ndarray, *, axis: int, lags: int, centre: str | None) -> np.ndarray:
    n = fft.next_fast_len(values.shape[axis] + lags, real=True)
    other = -2 if axis == -1 else -1

    def back(power: np.ndarray) -> np.ndarray:
        return fft.irfft(power.sum(other, dtype=np.float64), n, axis=-1)[..., :lags]

    return in_slabs(partial(_moments, partial(fft.rfft, n=n, axis=axis), back, centre), values, core=2)


def _ring_sums(values: np.ndarray, *, bins: np.ndarray, sizes: list[int], centre: str | None) -> np.ndarray:
    my, mx = bins.shape[0] // 2, bins.shape[1] - 1
    padded = [fft.next_fast_len(n + m, real=True) for n, m in zip(values.shape[-2:], (my, mx), strict=True)]
    inside = bins.ravel() >= 0
    numbers, total = bins.ravel()[inside], int(np.prod(sizes))

    def back(power: np.ndarray) -> np.ndarray:
        lines = fft.ifft(power, axis=-2)  # only the lines of the lags asked for go on to the second transform
        lines = np.concatenate([lines[:, padded[0] - my :], lines[:, : my + 1]], axis=-2)
        rows = fft.irfft(lines, padded[1], axis=-1)[..., : mx + 1].reshape(-1, bins.size)[:, inside]
        sums = np.array([np.bincount(numbers, row, minlength=total) for row in rows]).reshape(-1, *sizes)
        if len(sizes) == 2:  # no distance has no direction
            sums[..., 0] = sums[..., :1, 0]
        return sums

    return in_slabs(partial(_moments, partial(fft.rfft2, s=padded), back, centre), values, core=2)


def _moments(transform: Callable, back: Callable, centre: str | None, values: np.ndarray) -> np.ndarray:
    """What `PARTS` names, of each field (n, y, x). The fields' own means are taken off before the transform, which
    in single precision would drown a small variance in a large mean, and are put back into the sums."""
    known = np.isfinite(values)
    values = np.where(known, values, 0)
    cells = known.sum((-2, -1), keepdims=True)
    mean = values.sum((-2, -1), keepdims=True, dtype=np.float64) / np.maximum(cells, 1)
    waves = transform(np.where(known, values - mean, 0).astype(values.dtype))
    there = transform((known[:1] if known.all() else known).astype(values.dtype))
    products, pairs = back(waves.real**2 + waves.imag**2), np.rint(back(there.real**2 + there.imag**2))
    pairs = np.broadcast_to(pairs, products.shape)
    if centre == "each":
        crossed, mean = np.zeros_like(products), np.zeros_like(mean)
    else:
        crossed = back(2 * (waves.real * there.real + waves.imag * there.imag))
    mean, cells = (a.reshape(-1, *(1,) * (products.ndim - 1)) for a in (mean, cells))
    products = products + mean * crossed + mean**2 * pairs
    crossed = crossed + 2 * mean * pairs
    total = mean * cells if centre == "all" else np.zeros_like(mean)
    return np.stack(np.broadcast_arrays(products, crossed, pairs, total, cells), 1)


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
