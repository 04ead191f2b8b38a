"""Rotational and divergent winds are told apart on any grid, and their energies add up to the whole."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import ConfigError
from labkit.verify.wind_spectra import helmholtz_spectra, kinetic_energy_spectrum

SHAPES = [(32, 48), (33, 40), (24, 31)]
SPACING = (3.0, 2.0)  # dy, dx in km


def periodic(rng, shape):
    """A smooth periodic function of the cells of `shape`, by its gradient per km along y and x."""
    ny, nx = shape
    y, x = np.meshgrid(2 * np.pi * np.arange(ny) / ny, 2 * np.pi * np.arange(nx) / nx, indexing="ij")
    dfdy, dfdx = np.zeros(shape), np.zeros(shape)
    for p, q in ((1, 2), (2, -3), (0, 4), (5, 1), (-3, 3)):
        amplitude, phase = rng.normal(), rng.uniform(0, 6)
        slope = -amplitude * np.sin(p * y + q * x + phase) * 2 * np.pi
        dfdy += slope * p / (ny * SPACING[0])
        dfdx += slope * q / (nx * SPACING[1])
    return dfdy, dfdx


def wind(*components):
    return [xr.DataArray(c, dims=("y", "x")) for c in components]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_wind_of_a_stream_function_turns_and_one_of_a_potential_diverges(rng, shape):
    dfdy, dfdx = periodic(rng, shape)
    options = {"spacing_km": SPACING, "window": None}
    turning = helmholtz_spectra(*wind(-dfdy, dfdx), **options)
    assert float(turning.divergent.sum()) == pytest.approx(0, abs=1e-12 * float(turning.total.sum()))
    diverging = helmholtz_spectra(*wind(dfdx, dfdy), **options)
    assert float(diverging.rotational.sum()) == pytest.approx(0, abs=1e-12 * float(diverging.total.sum()))
    energy = ((dfdx**2 + dfdy**2) / 2).mean()
    for spectra in (turning, diverging):
        assert float((spectra.total * spectra.width).sum()) == pytest.approx(energy, rel=0.1)  # radial: some per cent


def test_rows_from_north_to_south_take_a_negative_spacing(rng):
    dfdy, dfdx = periodic(rng, (32, 48))
    u, v = wind(-dfdy[::-1], dfdx[::-1])
    right = helmholtz_spectra(u, v, spacing_km=(-SPACING[0], SPACING[1]), window=None)
    wrong = helmholtz_spectra(u, v, spacing_km=SPACING, window=None)
    total = float(right.total.sum())
    assert float(right.divergent.sum()) < 1e-12 * total
    assert float(wrong.divergent.sum()) > 0.05 * total


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [None, "hann"])
def test_parts_add_up_to_the_spectra_of_both_components(rng, shape, window):
    u, v = (xr.DataArray(rng.normal(size=(3, *shape)), dims=("time", "y", "x")) for _ in range(2))
    options = {"spacing_km": SPACING, "window": window}
    parts = helmholtz_spectra(u, v, **options)
    assert (parts.divergent >= -1e-12).all() and (parts.rotational >= -1e-12).all()
    np.testing.assert_allclose(parts.rotational + parts.divergent, parts.total)
    np.testing.assert_allclose(parts.total, kinetic_energy_spectrum(u, v, dim="radial", **options))


def test_the_split_is_usable_from_the_fourth_annulus_on(rng):
    """A wind that turns only, cut out of a domain four times as long: what the window makes of it diverges, most of it
    in the first three annuli, and those are the ones that are marked."""
    n, cut = 128, 48
    k = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.fftfreq(n))
    stream = np.fft.fft2(rng.normal(size=(30, n, n))) * np.where(k > 0, np.maximum(k, 1e-9) ** -2.33, 0)
    slopes = [np.fft.ifft2(2j * np.pi * f * stream).real for f in (-np.fft.fftfreq(n)[:, None], np.fft.fftfreq(n))]
    u, v = (xr.DataArray(a[:, :cut, :cut], dims=("time", "y", "x")) for a in slopes)
    parts = helmholtz_spectra(u, v, spacing_km=(2.0, 2.0)).mean("time")
    share = parts.divergent / parts.total
    np.testing.assert_array_equal(parts.usable, [False] * 3 + [True] * (len(share) - 3))
    assert (share[:3] > [0.15, 0.06, 0.025]).all()
    assert float(share[parts.usable].max()) < 0.05 and float(share[5:].max()) < 0.02


def test_winds_without_a_preference_are_half_and_half(rng):
    u, v = (xr.DataArray(rng.normal(size=(60, 32, 32)), dims=("time", "y", "x")) for _ in range(2))
    parts = helmholtz_spectra(u, v, spacing_km=(1.0, 1.0)).mean("time")
    np.testing.assert_allclose(parts.divergent / parts.total, 0.5, atol=0.12)


@pytest.mark.parametrize("dim", ["x", "y"])
def test_kinetic_energy_is_half_the_variance_of_both(rng, dim):
    u, v = (xr.DataArray(rng.normal(size=(20, 24)), dims=("y", "x")) for _ in range(2))
    spectrum = kinetic_energy_spectrum(u, 3 * v, dim=dim, spacing_km=(2.0, 2.0), window="dct")
    step = float(spectrum.wavenumber[0])
    np.testing.assert_allclose(spectrum.sum("wavenumber") * step, (u.var(dim) + 9 * v.var(dim)) / 2)


def test_chunks_change_nothing(rng):
    u, v = (xr.DataArray(rng.normal(size=(4, 20, 24)).astype("f4"), dims=("time", "y", "x")) for _ in range(2))
    lazy = helmholtz_spectra(u.chunk(time=1, y=5), v.chunk(time=1, x=6), spacing_km=(2.0, 2.0))
    assert lazy.total.chunks is not None
    xr.testing.assert_allclose(lazy.compute(), helmholtz_spectra(u, v, spacing_km=(2.0, 2.0)), rtol=1e-5)


def test_the_cosine_transform_is_refused(rng):
    u = xr.DataArray(rng.normal(size=(8, 8)), dims=("y", "x"))
    with pytest.raises(ConfigError, match="window of a Helmholtz spectrum: found 'dct'"):
        helmholtz_spectra(u, u, spacing_km=(1.0, 1.0), window="dct")
