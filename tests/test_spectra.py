"""Spectra obey Parseval and find a wave at its wavelength, whatever the spacing."""

import numpy as np
import pytest
import xarray as xr
from scipy import fft

from labkit.errors import ConfigError
from labkit.verify.bootstrap import interval, resampled_means
from labkit.verify.resolution import effective_resolution
from labkit.verify.spectra import coherence, power_spectrum, spectral_ratio


@pytest.mark.parametrize("n", [63, 64])
@pytest.mark.parametrize("dx_km", [1.0, 3.0])
def test_parseval(rng, n, dx_km):
    field = xr.DataArray(rng.normal(size=(5, n)), dims=("y", "x"))
    variance = power_spectrum(field, spacing_km=(7.0, dx_km)).sum("wavenumber") / (n * dx_km)
    np.testing.assert_allclose(variance, field.var("x"), rtol=1e-10)


@pytest.mark.parametrize("dim", ["x", "y"])
def test_a_wave_is_found_at_its_wavelength(dim):
    n = {"x": 96, "y": 48}
    spacing = {"x": 4.0, "y": 2.0}
    wave = np.sin(2 * np.pi * np.arange(n[dim]) * spacing[dim] / 32.0)
    other = "y" if dim == "x" else "x"
    field = xr.DataArray(np.tile(wave, (n[other], 1)), dims=(other, dim))
    spectrum = power_spectrum(field, dim=dim, spacing_km=(2.0, 4.0))
    assert float(1 / spectrum.mean(other).idxmax("wavenumber")) == pytest.approx(32.0)


def test_white_noise_is_flat_and_its_ratio_one(rng):
    one, other = (xr.DataArray(rng.normal(size=(2000, 32)), dims=("y", "x")) for _ in range(2))
    np.testing.assert_allclose(power_spectrum(one, spacing_km=(9.0, 2.0)).mean("y")[:-1], 2 * 2.0, rtol=0.12)
    np.testing.assert_allclose(spectral_ratio(3 * one, other, spacing_km=(9.0, 2.0)), 9.0, rtol=0.15)


SPACING = {"spacing_km": (3.0, 2.0)}


def total(spectrum):
    """The variance that a spectrum holds."""
    return (spectrum * spectrum.width).sum("wavenumber")


@pytest.mark.parametrize("shape", [(63, 64), (64, 63)])
@pytest.mark.parametrize("dim", ["x", "y"])
@pytest.mark.parametrize("window", [None, "dct"])
@pytest.mark.parametrize("detrend", ["mean", "plane"])
def test_parseval_without_a_window_and_with_the_cosine_transform(rng, shape, dim, window, detrend):
    field = xr.DataArray(rng.normal(size=(3, *shape)) + 5, dims=("time", "y", "x"))
    spectrum = power_spectrum(field, dim=dim, window=window, detrend=detrend, **SPACING)
    line = field - field.mean(dim)
    if detrend == "plane":
        line = line.assign_coords({dim: np.arange(line.sizes[dim])})
        fit = line.polyfit(dim, 1).polyfit_coefficients
        line = line - xr.polyval(line[dim], fit)
    np.testing.assert_allclose(total(spectrum), (line**2).mean(dim), rtol=1e-9)


def test_hanns_window_keeps_the_variance_in_expectation(rng):
    field = xr.DataArray(rng.normal(size=(4000, 64)), dims=("y", "x"))
    assert float(total(power_spectrum(field, dim="x", window="hann", **SPACING)).mean()) == pytest.approx(1, rel=0.02)
    fields = blank(80, 50, 64) + field.values.reshape(-1, 50, 64)
    whole, hann = (power_spectrum(fields, dim="radial", window=window, **SPACING) for window in (None, "hann"))
    assert float(total(hann).mean()) == pytest.approx(float(total(whole).mean()), rel=0.02)


def blank(n, ny, nx):
    return xr.DataArray(np.zeros((n, ny, nx)), dims=("time", "y", "x"))


@pytest.mark.parametrize("window", [None, "dct"])
@pytest.mark.parametrize("shape", [(40, 40), (33, 48), (64, 128), (24, 150)])
def test_radial_parseval_for_waves_that_the_grid_resolves_in_every_direction(rng, window, shape):
    """A field made of long waves alone: all of its variance lies inside the circle. Each annulus gives the mean of
    its waves, so that a single one counts by its wavenumber over the annulus': within a fifth in the first, a twentieth
    from the third on."""
    y, x = np.meshgrid(*(np.arange(n) + 0.5 for n in shape), indexing="ij")
    (ny, nx), field = shape, np.zeros(shape)
    for p, q in ((1, 0), (0, 1), (0, 2), (3, 2), (5, 5)):
        field += rng.normal() * np.cos(np.pi * 2 * p * y / ny) * np.cos(np.pi * 2 * q * x / nx)
    array = xr.DataArray(field, dims=("y", "x"))
    spectrum = power_spectrum(array, dim="radial", window=window, **SPACING)
    np.testing.assert_allclose(total(spectrum), array.var(), rtol=0.25)


@pytest.mark.parametrize("window", [None, "dct"])
@pytest.mark.parametrize("shape", [(40, 40), (33, 48), (24, 150)])
def test_each_annulus_gives_the_mean_of_its_waves(rng, window, shape):
    """By hand, wave by wave: 2 pi k times the two-dimensional density, at the mean wavenumber; and what its waves have
    of the variance but for how k goes with it."""
    values = rng.normal(size=shape)
    spectrum = power_spectrum(xr.DataArray(values, dims=("y", "x")), dim="radial", window=window, **SPACING)
    (ny, nx), (dy, dx), centred = shape, (3.0, 2.0), values - values.mean()
    if window == "dct":
        ky, kx = np.arange(ny) / (2 * ny * dy), np.arange(nx) / (2 * nx * dx)
        density = fft.dctn(centred, norm="ortho") ** 2 * dy * dx
    else:
        ky, kx = np.fft.fftfreq(ny, dy), np.fft.fftfreq(nx, dx)
        density = abs(np.fft.fft2(centred)) ** 2 * dy * dx / (ny * nx)
    k, step = np.hypot(ky[:, None], kx), max(abs(ky[1]), kx[1])
    edges = np.arange(int(min(0.5 / dy, 0.5 / dx) / step + 1e-9) + 1) * step + step / 2
    rings = [(k > low) & (k <= low + step) for low in edges - step]
    rings = [ring & (k > 0) for ring in rings if (ring & (k > 0)).any()]
    np.testing.assert_allclose(spectrum.wavenumber, [k[ring].mean() for ring in rings])
    np.testing.assert_allclose(spectrum, [2 * np.pi * (k * density)[ring].mean() for ring in rings])
    held = [density[ring].sum() / (dy * ny * dx * nx) for ring in rings]
    np.testing.assert_allclose(spectrum * spectrum.width, held, rtol=0.3)
    assert float(total(spectrum)) == pytest.approx(sum(held), rel=0.02)


@pytest.mark.parametrize("power", [0, 5 / 3])
@pytest.mark.parametrize("shape", [(32, 48), (64, 96)])
def test_a_smooth_law_is_smooth_from_the_first_annulus_on(power, shape):
    """A field whose waves have exactly the power of the law k^-power, 2 pi k P(k), in a square of 3 x 2 km cells."""
    (ny, nx), (dy, dx) = shape, (3.0, 2.0)
    k = np.hypot(np.fft.fftfreq(ny, dy)[:, None], np.fft.fftfreq(nx, dx))
    law = np.where(k > 0, np.maximum(k, 1e-9) ** -(power + 1 if power else 0), 0)
    noise = np.fft.fft2(np.random.default_rng(0).normal(size=shape))
    field = np.fft.ifft2(noise / abs(noise) * np.sqrt(law)).real
    spectrum = power_spectrum(xr.DataArray(field, dims=("y", "x")), dim="radial", **SPACING)
    k = spectrum.wavenumber
    expected = 2 * np.pi * k * k ** -(power + 1 if power else 0) * dy * dx / (ny * nx)
    assert abs(spectrum / expected - 1).max() < (0.08 if power else 1e-9)
    assert abs(spectrum / expected - 1)[2:].max() < 0.02


@pytest.mark.parametrize("along", ["x", "y"])
def test_a_plane_wave_has_one_wavelength_in_both_directions_of_an_oblong_grid(along):
    """64 x 128 cells of 3 x 2 km: 32 km is a whole part of either side."""
    y, x = np.meshgrid(np.arange(64) * 3.0, np.arange(128) * 2.0, indexing="ij")
    wave = xr.DataArray(np.cos(2 * np.pi * {"x": x, "y": y}[along] / 32), dims=("y", "x"))
    spectrum = power_spectrum(wave, dim="radial", **SPACING)
    found = spectrum.isel(wavenumber=int(spectrum.argmax("wavenumber")))
    assert float(found.wavelength) == pytest.approx(32, rel=0.02)  # the mean of the annulus
    assert float(found * found.width) == pytest.approx(0.5, rel=0.02)


def test_white_noise_is_flat_in_each_wave_of_the_radial_spectrum(rng):
    """Annuli hold ever more waves, so that the density grows with the wavenumber: 2 pi k dx dy."""
    field = xr.DataArray(rng.normal(size=(40, 96, 96)), dims=("time", "y", "x"))
    spectrum = power_spectrum(field, dim="radial", spacing_km=(2.0, 2.0)).mean("time")
    np.testing.assert_allclose(spectrum / (2 * np.pi * spectrum.wavenumber * 4.0), 1, atol=0.15)
    np.testing.assert_allclose(spectrum[5:] / (2 * np.pi * spectrum.wavenumber[5:] * 4.0), 1, atol=0.08)


def test_a_plane_is_no_spectrum_once_removed(rng):
    y, x = np.meshgrid(np.arange(30.0), np.arange(40.0), indexing="ij")
    plane = xr.DataArray(3 * x - 2 * y + 7, dims=("y", "x"))
    kept = power_spectrum(plane, dim="radial", spacing_km=(1.0, 1.0))
    gone = power_spectrum(plane, dim="radial", spacing_km=(1.0, 1.0), detrend="plane")
    assert float(total(gone)) < 1e-20 < float(total(kept))
    tapered = power_spectrum(plane, dim="radial", spacing_km=(1.0, 1.0), window="dct")
    slope = np.log(kept[12] / kept[3]) / np.log(kept.wavenumber[12] / kept.wavenumber[3])
    steeper = np.log(tapered[24] / tapered[6]) / np.log(tapered.wavenumber[24] / tapered.wavenumber[6])
    assert float(steeper) < float(slope) - 1  # edges that do not fit: k^-2 without, k^-4 with the cosine transform


@pytest.mark.parametrize("dim", ["x", "y", "radial"])
@pytest.mark.parametrize("window", [None, "hann", "dct"])
def test_chunks_change_nothing_and_float32_stays(rng, dim, window):
    field = xr.DataArray(rng.normal(size=(4, 3, 20, 24)).astype("f4"), dims=("ensemble", "time", "y", "x"))
    options = {"dim": dim, "window": window, "detrend": "plane", **SPACING}
    eager, lazy = power_spectrum(field, **options), power_spectrum(field.chunk(time=1, y=7, x=5), **options)
    assert lazy.chunks is not None and lazy.dtype == eager.dtype == np.float32
    np.testing.assert_allclose(lazy, eager, rtol=1e-6, atol=1e-6 * float(eager.max()))
    double = power_spectrum(field.astype(float), **options)
    np.testing.assert_allclose(eager, double, rtol=2e-3, atol=1e-5 * float(double.max()))


def test_coherence_of_the_same_of_half_and_of_strangers(rng):
    one, other = (xr.DataArray(rng.normal(size=(50, 40, 48)), dims=("time", "y", "x")) for _ in range(2))
    options = {"over": ["time"], "spacing_km": (3.0, 2.0)}
    np.testing.assert_allclose(coherence(one, -3 * one, **options), 1)
    assert float(coherence(one, other, **options).max()) < 0.05
    np.testing.assert_allclose(coherence(one, one + other, **options), 0.5, atol=0.12)


@pytest.mark.parametrize("along", ["x", "y"])
def test_two_fields_cohere_at_the_wavelength_that_they_share_in_an_oblong_grid(rng, along):
    """64 x 128 cells of 3 x 2 km, a wave of 32 km beneath noise of their own."""
    y, x = np.meshgrid(np.arange(64) * 3.0, np.arange(128) * 2.0, indexing="ij")
    wave = xr.DataArray(np.cos(2 * np.pi * {"x": x, "y": y}[along] / 32), dims=("y", "x"))
    one, other = (wave + 0.1 * xr.DataArray(rng.normal(size=(20, 64, 128)), dims=("time", "y", "x")) for _ in range(2))
    found = coherence(one, other, over=["time"], **SPACING)
    assert float(found.wavelength[int(found.argmax("wavenumber"))]) == pytest.approx(32, rel=0.02)
    assert float(found.max()) > 0.9 > 0.2 > float(found.sortby(found)[-2])


def test_effective_resolution_is_where_the_ratio_leaves_for_good():
    k = np.array([1, 2, 4, 8, 16]) / 256
    ratio = xr.DataArray([[1.5, 1.0, 1.0, 0.6, 0.2], [1, 1, 1, 1, 1.1], [3, 3, 3, 3, 3]], dims=("case", "wavenumber"))
    found = effective_resolution(ratio.assign_coords(wavenumber=k), tolerance=0.2)
    np.testing.assert_allclose(found, [64 / np.sqrt(2), np.nan, 256])  # half way in log k between 64 and 32 km


def test_what_is_lost_and_comes_back_as_noise_is_lost_and_what_strays_is_not():
    k = np.arange(1, 9) / 256
    lost = [1.0, 1.0, 0.7, 0.6, 0.5, 0.7, 1.0, 1.1]
    strays = [1.0, 1.5, 0.6, 1.0, 1.0, 1.0, 0.7, 1.0]
    found = effective_resolution(xr.DataArray([lost, strays], dims=("case", "wavenumber"), coords={"wavenumber": k}))
    np.testing.assert_allclose(found, [256 / (2 * 1.5 ** (2 / 3)), np.nan])  # 2/3 of the way in log k from 2 to 3


def draws_of_two(rng, times, n=40, lag=0.0):
    """Spectra at each time of a truth, of a mean of four members drawn alike, and of the truth smoothed. lag: the
    correlation of a time with the one before."""
    k = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.fftfreq(n))
    shape = np.where(k > 0, np.maximum(k, 1e-9) ** -1.33, 0)
    noise = rng.normal(size=(5, times, n, n))
    for t in range(1, times):
        noise[:, t] = lag * noise[:, t - 1] + np.sqrt(1 - lag**2) * noise[:, t]
    fields = np.fft.ifft2(np.fft.fft2(noise) * shape).real
    of = {"dim": "radial", "spacing_km": (2.0, 2.0), "window": "hann"}
    all_of_them = power_spectrum(xr.DataArray(fields, dims=("ensemble", "time", "y", "x")), **of)
    smooth = xr.DataArray(fields[0], dims=("time", "y", "x")).rolling(x=3, y=3, center=True, min_periods=1).mean()
    return all_of_them[0], all_of_them[1:].mean("ensemble"), power_spectrum(smooth, **of)


def ratio_interval(members, truth, level=0.9):
    return interval(resampled_means(members) / resampled_means(truth), level=level, positive=True)


def test_a_perfect_model_of_four_times_is_never_called_unresolved_and_a_smooth_one_always(rng):
    """By the ratio alone a third of the perfect models are; twenty of twenty must not be."""
    wrong, by_the_ratio = 0, 0
    for _ in range(20):
        truth, perfect, smooth = draws_of_two(rng, 4)
        ratio = perfect.mean("time") / truth.mean("time")
        wrong += np.isfinite(effective_resolution(ratio, ratio_interval(perfect, truth)))
        by_the_ratio += np.isfinite(effective_resolution(ratio))
        lost = smooth.mean("time") / truth.mean("time")
        assert 4 < float(effective_resolution(lost, ratio_interval(smooth, truth))) < 30  # cells of 2 km, three as one
    assert wrong == 0 < by_the_ratio


@pytest.mark.parametrize("times", [4, 8])
def test_hours_that_are_alike_do_not_call_a_perfect_model_unresolved(rng, times):
    """Of hours with a correlation of 0.95 one in five was."""
    wrong = 0
    for _ in range(60):
        truth, perfect, _ = draws_of_two(rng, times, lag=0.95)
        ratio = perfect.mean("time") / truth.mean("time")
        wrong += np.isfinite(effective_resolution(ratio, ratio_interval(perfect, truth)))
    assert wrong <= 6


@pytest.mark.parametrize("times", [16, 32])
def test_a_model_that_loses_half_of_the_variance_is_unresolved_there(rng, times):
    """Below 16 km, on cells of 2 km."""
    for _ in range(10):
        truth, perfect, _ = draws_of_two(rng, times)
        lost = perfect.where(perfect.wavenumber < 1 / 16, perfect / 2)
        ratio = lost.mean("time") / truth.mean("time")
        assert 10 < float(effective_resolution(ratio, ratio_interval(lost, truth))) < 40


def test_one_time_says_nothing_of_how_a_ratio_varies(rng):
    truth, _, smooth = draws_of_two(rng, 1)
    bounds = ratio_interval(smooth, truth)
    assert bounds.isnull().all()
    assert np.isnan(effective_resolution(smooth.mean("time") / truth.mean("time"), bounds))


def test_the_interval_of_a_ratio_holds_it(rng):
    """Members unlike the truth by a known factor, so that the ratio is known: 1.5 within nearly all of 95 %."""
    held = []
    for _ in range(12):
        truth, perfect, _ = draws_of_two(rng, 32)
        bounds = ratio_interval(1.5 * perfect, truth, level=0.95)
        held.append(((bounds.sel(bound="low") < 1.5) & (bounds.sel(bound="high") > 1.5)).values)
    assert 0.92 < np.mean(held) <= 1
    assert float((bounds.sel(bound="high") / bounds.sel(bound="low"))[-5:].max()) < 1.6


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="direction of a spectrum: found 'zonal'"):
        power_spectrum(blank(1, 8, 8), dim="zonal", spacing_km=(1.0, 1.0))
    with pytest.raises(ConfigError, match="window of a spectrum: found 'box', expected None, hann, dct"):
        power_spectrum(blank(1, 8, 8), window="box", spacing_km=(1.0, 1.0))
