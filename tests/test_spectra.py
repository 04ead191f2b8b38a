"""Spectra obey Parseval and find a wave at its wavelength, whatever the spacing."""

import numpy as np
import pytest
import xarray as xr

from labkit.verify.spectra import power_spectrum, spectral_ratio


@pytest.mark.parametrize("n", [63, 64])
@pytest.mark.parametrize("dx_km", [1.0, 3.0])
def test_parseval(rng, n, dx_km):
    field = xr.DataArray(rng.normal(size=(5, n)), dims=("y", "x"))
    variance = power_spectrum(field, dx_km=dx_km).sum("wavenumber") / (n * dx_km)
    np.testing.assert_allclose(variance, field.var("x"), rtol=1e-10)


@pytest.mark.parametrize("dim", ["x", "y"])
def test_a_wave_is_found_at_its_wavelength(dim):
    n = {"x": 96, "y": 48}
    wave = np.sin(2 * np.pi * np.arange(n[dim]) * 4.0 / 32.0)  # 32 km on a 4 km grid
    other = "y" if dim == "x" else "x"
    field = xr.DataArray(np.tile(wave, (n[other], 1)), dims=(other, dim))
    spectrum = power_spectrum(field, dim=dim, dx_km=4.0)
    assert float(1 / spectrum.mean(other).idxmax("wavenumber")) == pytest.approx(32.0)


def test_white_noise_is_flat_and_its_ratio_one(rng):
    one, other = (xr.DataArray(rng.normal(size=(2000, 32)), dims=("y", "x")) for _ in range(2))
    np.testing.assert_allclose(power_spectrum(one, dx_km=2.0).mean("y")[:-1], 2 * 2.0, rtol=0.12)
    np.testing.assert_allclose(spectral_ratio(3 * one, other, dx_km=2.0), 9.0, rtol=0.15)
