"""Kinetic energy of the wind by wavenumber, and how much of it turns and how much diverges."""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr
from scipy import fft

from labkit.errors import ConfigError
from labkit.verify.slabs import in_slabs
from labkit.verify.spectra import Annuli, annuli, on_waves, power_of, power_spectrum, prepared

PARTS = ("total", "rotational", "divergent")
FIRST_USABLE = 4  # waves on the shorter side: fewer hold divergence that the window makes


def kinetic_energy_spectrum(u: xr.DataArray, v: xr.DataArray, **options) -> xr.DataArray:
    """Density of the kinetic energy (u^2 + v^2) / 2, m^3 s^-2 for winds in m/s; options as in `power_spectrum`."""
    return (power_spectrum(u, **options) + power_spectrum(v, **options)) / 2


def helmholtz_spectra(
    u: xr.DataArray,
    v: xr.DataArray,
    *,
    spacing_km: tuple[float, float],
    window: str | None = "hann",
    detrend: str | None = "mean",
) -> xr.Dataset:
    """Radial kinetic energy spectra of a wind (..., y, x): `total`, and its parts `rotational` and `divergent`.

    Helmholtz' theorem wave by wave: along the wavenumber the wind diverges, across it it turns; the parts add up to
    the total, m^3 s^-2 by wavenumber (cycles/km). u points along x and v along y. spacing_km: (dy, dx);
    a negative dy says that the rows run against v, as from north to south. The domain is taken as periodic, for which a
    window (None or "hann") makes it; the cosine transform knows no direction and is refused with a ConfigError.

    The parts are usable from the fourth annulus on (coordinate `usable`): the window turns some of a purely rotational
    wind into a divergent one, 0.25, 0.1 and 0.05 of the energy in the first three annuli of a domain that is cut out of
    a larger one, and less than 0.03 from there on. Without a window it is 0.1 to 0.2 everywhere.
    """
    if window not in (None, "hann"):
        raise ConfigError(
            "window of a Helmholtz spectrum",
            found=repr(window),
            expected="None or hann",
            todo="choose one of these, or `kinetic_energy_spectrum` for the total alone",
        )
    shape = (u.sizes["y"], u.sizes["x"])
    rings = annuli(shape, [abs(d) for d in spacing_km])
    options = {"spacing": spacing_km, "rings": rings, "window": window, "detrend": detrend}
    whole = {"y": -1, "x": -1}
    parts = xr.apply_ufunc(
        partial(in_slabs, partial(_energies, **options), core=2),
        *(wind.chunk(whole) if wind.chunks is not None else wind for wind in (u, v)),
        input_core_dims=[["y", "x"], ["y", "x"]],
        output_core_dims=[["part", "wavenumber"]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"part": len(PARTS), "wavenumber": len(rings.wavenumber)}},
    )
    parts = on_waves(parts, rings.wavenumber, rings.width)
    longest = min(n * abs(d) for n, d in zip(shape, spacing_km, strict=True)) / (FIRST_USABLE - 0.5)
    usable = parts.wavelength < longest
    return xr.Dataset({name: parts.isel(part=i) for i, name in enumerate(PARTS)}).assign_coords(usable=usable)


def _energies(
    u: np.ndarray, v: np.ndarray, *, spacing: tuple[float, float], rings: Annuli, window, detrend
) -> np.ndarray:
    """Densities of `PARTS`, (n, part, wavenumber), of winds (n, y, x)."""
    cells = u.shape[-2] * u.shape[-1]
    along_x, along_y, both = direction_shares(u.shape[-2:], spacing)
    u, v = (fft.rfft2(prepared(wind, window, detrend, axes=2)) for wind in (u, v))
    total = (power_of(u) + power_of(v)) / 2
    divergent = (along_x * power_of(u) + along_y * power_of(v)) / 2 + both * (u.real * v.real + u.imag * v.imag)
    return np.stack([rings.density(part / cells**2) for part in (total, total - divergent, divergent)], -2)


def direction_shares(shape: tuple[int, int], spacing: tuple[float, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """kx^2, ky^2 and kx ky over k^2 of each wave of `rfft2`, (y, x); zero for the wave of no wavenumber.

    The shortest wave of an even side runs both ways at once, so that its kx ky is zero.
    """
    (ny, nx), (dy, dx) = shape, spacing
    ky, kx = np.fft.fftfreq(ny, dy)[:, None], np.fft.rfftfreq(nx, dx)[None, :]
    square = kx**2 + ky**2
    square[0, 0] = 1
    both = kx * ky / square
    if ny % 2 == 0:
        both[ny // 2] = 0
    if nx % 2 == 0:
        both[:, -1] = 0
    return kx**2 / square, ky**2 / square, both
