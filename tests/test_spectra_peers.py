"""The same spectra as pysteps' and xrft's on the same fields, and the same on a cluster of two workers."""

import warnings

import numpy as np
import pytest
import xarray as xr
import xrft

from labkit.verify.autocorrelation import autocorrelation
from labkit.verify.spectra import power_spectrum


def field_of(rng, shape, dx=2.0, dy=2.0):
    """Noise with a steep spectrum, on axes in km."""
    field = np.cumsum(np.cumsum(rng.standard_normal(shape), -1), -2)
    axes = {"y": np.arange(shape[-2]) * dy, "x": np.arange(shape[-1]) * dx}
    return xr.DataArray(field, dims=("y", "x"), coords=axes)


@pytest.mark.parametrize("n", [64, 63])
def test_radial_spectrum_is_that_of_pysteps(rng, n):
    """RAPSD is the mean over a ring, ours that of 2 pi k times it: the RAPSD of a field of k times the power."""
    rapsd = pytest.importorskip("pysteps.utils.spectral", reason="needs labkit[peers]: pysteps, which compiles C").rapsd
    field = field_of(rng, (n, n))
    centred = (field - field.mean()).values
    k = np.hypot(np.fft.fftfreq(n, 2.0)[:, None], np.fft.fftfreq(n, 2.0))
    steeper = np.fft.ifft2(np.fft.fft2(centred) * np.sqrt(k)).real
    peer, frequency = rapsd(steeper, fft_method=np.fft, return_freq=True, d=2.0)
    ours = power_spectrum(field, dim="radial", spacing_km=(2.0, 2.0))[: len(peer) - 1]
    rings = np.rint(k * n * 2.0).astype(int)
    means = np.bincount(rings.ravel(), k.ravel()) / np.bincount(rings.ravel())
    np.testing.assert_allclose(ours.wavenumber, means[1 : len(peer)])
    assert (abs(ours.wavenumber - frequency[1:]) < frequency[1] / 4).all()
    np.testing.assert_allclose(ours, 2 * np.pi * peer[1:] * 2.0**2, rtol=1e-9)


@pytest.mark.parametrize("window", [None, "hann"])
@pytest.mark.parametrize("n", [64, 63])
def test_line_spectrum_is_that_of_xrft(rng, window, n):
    field = field_of(rng, (20, n))
    options = {"dim": ["x"], "real_dim": "x", "detrend": "constant"}
    if window:
        options |= {"window": window, "window_correction": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = xrft.power_spectrum(field, **options).transpose("y", "freq_x")
    # xrft's window is periodic and ours symmetric about the middle, half a cell apart.
    ours = power_spectrum(field, dim="x", spacing_km=(1.0, 2.0), window=window)
    np.testing.assert_allclose(ours.wavenumber, peer.freq_x[1:])
    if window:
        peer, ours = peer.mean("y"), ours.mean("y")
    np.testing.assert_allclose(ours, peer[..., 1:], rtol=0.15 if window else 1e-9)


@pytest.mark.slow
def test_two_workers_of_a_cluster_give_the_same(rng):
    from distributed import Client, LocalCluster

    values = rng.standard_normal((4, 6, 24, 30)).astype("f4")
    fields = xr.DataArray(values, dims=("ensemble", "time", "y", "x"))
    options = {"spacing_km": (2.0, 3.0), "direction": "radial", "over": ("ensemble", "time")}

    def both(of):
        return xr.Dataset(
            {
                "psd": power_spectrum(of, dim="radial", spacing_km=(2.0, 3.0)).mean(["ensemble", "time"]),
                "rho": autocorrelation(of, **options),
            }
        )

    settings = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(**settings) as cluster, Client(cluster):
        found = both(fields.chunk(time=2, ensemble=2)).compute()
    xr.testing.assert_allclose(found, both(fields), rtol=1e-5)
