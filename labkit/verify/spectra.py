"""Power spectral densities of fields on a regular grid."""

from __future__ import annotations

import numpy as np
import xarray as xr


def power_spectrum(field: xr.DataArray, *, dim: str = "x", dx_km: float) -> xr.DataArray:
    """One-sided power spectral density along `dim`, averaged over nothing else.

    The mean along `dim` is removed; no window. Returns the field with `dim` replaced by `wavenumber` (cycles/km,
    k / (n dx) for k = 1..n/2) in units^2 km; `sum(psd) / (n dx)` is the variance along `dim` (Parseval).
    """
    n = field.sizes[dim]
    moved = field.transpose(..., dim)
    values = np.asarray(moved.data)
    spectrum = np.abs(np.fft.rfft(values - values.mean(axis=-1, keepdims=True), axis=-1)[..., 1:]) ** 2
    spectrum *= 2 * dx_km / n
    if n % 2 == 0:
        spectrum[..., -1] /= 2  # the Nyquist wave is its own mirror image
    dims = (*moved.dims[:-1], "wavenumber")
    coords = {name: coord for name, coord in moved.coords.items() if dim not in coord.dims}
    wavenumber = np.arange(1, n // 2 + 1) / (n * dx_km)
    return xr.DataArray(spectrum, dims=dims, coords=coords).assign_coords(wavenumber=wavenumber)


def spectral_ratio(members: xr.DataArray, reference: xr.DataArray, *, dx_km: float, dim: str = "x") -> xr.DataArray:
    """Mean power spectrum of `members` over that of `reference`, by wavenumber (cycles/km); 1 is right."""
    mean = [
        power_spectrum(field, dim=dim, dx_km=dx_km).mean([d for d in field.dims if d != dim])
        for field in (members, reference)
    ]
    return mean[0] / mean[1]
