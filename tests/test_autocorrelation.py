"""Autocorrelations of fields whose own are known: AR(1), Matern, white noise, gaps, both directions, any spacing."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import ConfigError
from labkit.verify.autocorrelation import (
    autocorrelation,
    autocorrelation_draws,
    average_power_spectrum,
    centred,
    decorrelation_lengths,
    pair_sums,
    power_spectra_to_acf,
    variogram,
)
from labkit.verify.bootstrap import interval


def gaussian_fields(rng, times, shape, spacing, lengths, *, margin=3):
    """Fields (time, y, x) of the covariance exp(-r), r in units of `lengths` (y, x) [km]: Matern with nu = 1/2, exact
    on a torus `margin` times as large (circulant embedding), of which a corner is kept."""
    ny, nx = (margin * n for n in shape)
    y = np.minimum(np.arange(ny), ny - np.arange(ny))[:, None] * spacing[0] / lengths[0]
    x = np.minimum(np.arange(nx), nx - np.arange(nx))[None, :] * spacing[1] / lengths[1]
    power = np.fft.fft2(np.exp(-np.hypot(y, x))).real.clip(0)
    noise = np.fft.fft2(rng.standard_normal((times, ny, nx)))
    fields = np.fft.ifft2(noise * np.sqrt(power)).real
    return xr.DataArray(fields[:, : shape[0], : shape[1]], dims=("time", "y", "x"))


@pytest.mark.parametrize("direction", ["x", "y", "radial", "rose"])
def test_white_noise_knows_nothing_of_its_neighbours(rng, direction):
    field = xr.DataArray(rng.standard_normal((60, 24, 31)), dims=("time", "y", "x"))
    rho = autocorrelation(field, spacing_km=(3.0, 2.0), direction=direction)
    np.testing.assert_allclose(rho.isel(lag=0), 1)
    assert abs(rho.isel(lag=slice(1, 6))).max() < 0.05


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (3.0, 2.0), (2.0, 7.0)])
def test_lags_are_kilometres_and_a_plane_wave_returns_after_its_length(spacing):
    n, dx = 64, spacing[1]
    wave = np.cos(2 * np.pi * np.arange(n) / 8)[None, None, :] * np.ones((1, 20, 1))
    rho = autocorrelation(xr.DataArray(wave, dims=("time", "y", "x")), spacing_km=spacing, direction="x")
    np.testing.assert_allclose(rho.lag[:3], [0, dx, 2 * dx])
    np.testing.assert_allclose(rho, np.cos(2 * np.pi * rho.lag / (8 * dx)), atol=0.05)
    along_y = autocorrelation(xr.DataArray(wave, dims=("time", "y", "x")), spacing_km=spacing, direction="y")
    np.testing.assert_allclose(along_y, 1, atol=1e-9)


def test_pair_products_are_those_of_all_pairs(rng):
    """Against the sum over every pair, with gaps, counted by hand."""
    field = rng.standard_normal((2, 6, 7))
    field[rng.random(field.shape) < 0.25] = np.nan
    array = xr.DataArray(field, dims=("time", "y", "x"))
    rho = autocorrelation(array, spacing_km=(1.0, 1.0), direction="y")
    centred, means = (
        field - np.nanmean(field),
        np.nansum(field - np.nanmean(field), axis=(1, 2)) / np.isfinite(field).sum(),
    )
    error = 2 * (means @ np.cos(np.pi * np.array([1, 3]) / 4)) ** 2  # of the mean, which two times say
    covariance = [np.nanmean(centred[:, : 6 - lag] * centred[:, lag:]) for lag in range(4)]
    np.testing.assert_allclose(rho, (np.array(covariance) + error) / (covariance[0] + error))
    radial = autocorrelation(array, spacing_km=(1.0, 1.0), direction="radial")
    at_one = np.concatenate(
        [
            (centred[:, :, :-1] * centred[:, :, 1:]).ravel(),
            (centred[:, :-1] * centred[:, 1:]).ravel(),
            (centred[:, :-1, :-1] * centred[:, 1:, 1:]).ravel(),
            (centred[:, :-1, 1:] * centred[:, 1:, :-1]).ravel(),
        ]
    )  # the four neighbours whose distance rounds to one
    np.testing.assert_allclose(radial[1], (np.nanmean(at_one) + error) / (np.nanmean(centred**2) + error))


@pytest.mark.parametrize("direction", ["x", "y", "radial", "rose"])
def test_gaps_at_random_change_little_and_none_nothing(rng, direction):
    fields = gaussian_fields(rng, 20, (30, 36), (2.0, 2.0), (10.0, 10.0))
    whole = autocorrelation(fields, spacing_km=(2.0, 2.0), direction=direction)
    holes = fields.where(rng.random(fields.shape) > 0.3)
    one = fields.copy()
    one[0, 0, 0] = np.nan
    np.testing.assert_allclose(
        autocorrelation(one, spacing_km=(2.0, 2.0), direction=direction), whole, atol=2e-3, equal_nan=True
    )
    found = autocorrelation(holes, spacing_km=(2.0, 2.0), direction=direction)
    np.testing.assert_allclose(found.isel(lag=slice(0, 8)), whole.isel(lag=slice(0, 8)), atol=0.06, equal_nan=True)


@pytest.mark.parametrize("direction", ["x", "radial", "rose"])
def test_chunks_change_nothing(rng, direction):
    fields = gaussian_fields(rng, 7, (20, 24), (2.0, 2.0), (10.0, 10.0)).expand_dims(ensemble=2)
    options = {"spacing_km": (2.0, 2.0), "direction": direction, "over": ("time", "ensemble")}
    lazy = autocorrelation(fields.chunk(time=3, y=7), **options)
    assert lazy.chunks is not None
    np.testing.assert_allclose(lazy, autocorrelation(fields, **options), equal_nan=True)


@pytest.mark.parametrize("direction", ["y", "radial"])
@pytest.mark.parametrize("centre", ["all", "each"])
def test_a_large_mean_drowns_nothing_in_single_precision(rng, direction, centre):
    """Pressure in Pa: its mean squared is a million times its variance; the times' means differ as well."""
    fields = gaussian_fields(rng, 12, (20, 24), (2.0, 2.0), (10.0, 10.0)) * 100
    fields = fields + xr.DataArray(rng.normal(size=12) * 80, dims="time")
    options = {"spacing_km": (2.0, 2.0), "direction": direction, "centre": centre}
    single = (fields + 1e5).astype("f4")
    np.testing.assert_allclose(autocorrelation(single, **options), autocorrelation(fields, **options), atol=1e-3)
    by_hand = fields - (fields.mean() if centre == "all" else fields.mean(["y", "x"]))
    expected = autocorrelation(by_hand, **(options | {"centre": None if centre == "each" else "all"}))
    np.testing.assert_allclose(autocorrelation(fields, **options), expected, atol=1e-9)


@pytest.mark.parametrize(("direction", "length"), [("x", 8.0), ("y", 20.0)])
def test_the_length_of_a_known_field_in_both_directions(rng, direction, length):
    """exp(-r / length) falls to 1/e at the length, whatever the spacing."""
    fields = gaussian_fields(rng, 60, (60, 80), (4.0, 2.0), (20.0, 8.0))
    rho = autocorrelation(fields, spacing_km=(4.0, 2.0), direction=direction, centre=None)
    lengths = decorrelation_lengths(rho)
    assert float(lengths.e_folding) == pytest.approx(length, rel=0.1)
    np.testing.assert_allclose(rho[:5], np.exp(-rho.lag[:5] / length), atol=0.05)


def test_the_rose_points_along_the_longer_axis(rng):
    fields = gaussian_fields(rng, 40, (64, 64), (2.0, 2.0), (20.0, 7.0))
    rose = decorrelation_lengths(autocorrelation(fields, spacing_km=(2.0, 2.0), direction="rose")).e_folding
    assert float(rose.angle[int(rose.argmax("angle"))]) == 90  # along y
    assert float(rose.sel(angle=90)) > 1.8 * float(rose.sel(angle=0))
    turned = decorrelation_lengths(
        autocorrelation(
            fields.rename(x="y", y="x").transpose("time", "y", "x"), spacing_km=(2.0, 2.0), direction="rose"
        )
    ).e_folding
    assert float(turned.angle[int(turned.argmax("angle"))]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ar1", "matern"])
def test_the_interval_holds_the_known_length_in_95_of_100_records(rng, kind):
    """Independent times, so that single ones are drawn; a bootstrap of thirty is a little too short, and chance is."""
    held = 0
    for _ in range(100):
        if kind == "ar1":  # along x with phi = exp(-1/5): rho = exp(-r / 5 cells), spacing 3 km
            noise = rng.standard_normal((40, 4, 96)) * np.sqrt(1 - np.exp(-2 / 5))
            noise[..., 0] /= np.sqrt(1 - np.exp(-2 / 5))
            for i in range(1, 96):
                noise[..., i] += np.exp(-1 / 5) * noise[..., i - 1]
            fields, spacing, true = xr.DataArray(noise, dims=("time", "y", "x")), (3.0, 3.0), 15.0
        else:
            fields = gaussian_fields(rng, 40, (32, 40), (2.0, 2.0), (8.0, 8.0), margin=2)
            spacing, true = (2.0, 2.0), 8.0
        drawn = autocorrelation_draws(fields, spacing_km=spacing, direction="x", centre=None, draws=200)
        low, high = interval(decorrelation_lengths(drawn).e_folding)
        held += bool(low <= true <= high)
    assert 88 <= held <= 100


def test_lengths_of_curves_that_are_known():
    lag = np.arange(0, 60.0, 3)
    rho = xr.DataArray([np.exp(-lag / 10), 1 - lag / 20, np.cos(lag / 10)], dims=("curve", "lag"), coords={"lag": lag})
    found = decorrelation_lengths(rho)
    np.testing.assert_allclose(found.e_folding[0], 10, rtol=0.02)  # linear between lags
    assert np.isnan(found.zero_crossing[0]) and np.isnan(found.integral_scale[0])
    np.testing.assert_allclose([found.zero_crossing[1], found.integral_scale[1]], [20, 10])
    np.testing.assert_allclose(found.e_folding[1], 20 * (1 - np.exp(-1)))
    np.testing.assert_allclose(found.zero_crossing[2], 10 * np.pi / 2, rtol=0.01)
    np.testing.assert_allclose(variogram(rho, 4.0)[:, 0], 0)


def test_a_gap_in_the_lags_is_bridged():
    rho = xr.DataArray([1, np.nan, 0.5, 0.0], dims="lag", coords={"lag": [0.0, 1, 2, 3]})
    found = decorrelation_lengths(rho)
    assert float(found.zero_crossing) == 3
    np.testing.assert_allclose(found.integral_scale, 0.75 * 2 + 0.25)


def test_lengths_are_right_in_domains_of_few_of_them(rng):
    """exp(-r / L) in domains of 2 and 5 lengths, 32 times: e^-1 at L and e^-2.5 at half the domain, where what each
    field's own mean leaves is below zero."""
    for lengths, lag, truth in ((2, 20, np.exp(-1)), (5, 8, np.exp(-1)), (5, 20, np.exp(-2.5))):
        fields = gaussian_fields(rng, 32, (40, 40), (1.0, 1.0), (40 / lengths,) * 2, margin=5)
        rho, own = (autocorrelation(fields, spacing_km=(1, 1), direction="x", centre=c) for c in ("all", "each"))
        assert float(rho[lag]) == pytest.approx(truth, abs=0.12)
        assert float(own[lag]) < truth - 0.09


def test_what_the_mean_varies_by_is_added_back(rng):
    """On average over many records of three times the correlation is that of the law, in a domain of two lengths: the
    mean of three takes off a ninth of the variance, and half as much again of it at half the domain."""
    products = np.zeros((2, 2))
    for _ in range(150):
        fields = gaussian_fields(rng, 3, (20, 20), (1.0, 1.0), (10.0, 10.0), margin=6)
        sums = pair_sums(fields, spacing_km=(1.0, 1.0), direction="x")
        plain = (fields - fields.mean()).values
        right = centred(sums, ["time"]).sum("time")
        products[0] += [float(right[0, lag] / right[1, lag]) for lag in (0, 10)]
        products[1] += [(plain**2).mean(), (plain[..., :10] * plain[..., 10:]).mean()]
    (added, without), truth = products / 150, np.array([1, np.exp(-1)])
    np.testing.assert_allclose(added, truth, atol=0.06)
    assert (without < truth - 0.08).all()


def test_hours_in_a_row_are_not_taken_for_independent_ones(rng):
    """Six weathers of eight like hours each: the mean is that of six, not of 48."""
    lost = {}
    for name, fields in (("once", 6), ("in a row", 6)):
        error = []
        for _ in range(60):
            means = rng.normal(size=fields)
            series = np.repeat(means, 8 if name == "in a row" else 1)
            flat = xr.DataArray(series[:, None, None] * np.ones((1, 4, 4)), dims=("time", "y", "x"))
            right = centred(pair_sums(flat, spacing_km=(1.0, 1.0), direction="x"), ["time"]).sum("time")
            error.append(float(right[0, 0] / right[1, 0]))
        lost[name] = np.mean(error)
    assert lost["once"] == pytest.approx(1, abs=0.2)
    assert lost["in a row"] == pytest.approx(1, abs=0.2)


def test_each_fields_own_mean_forces_the_curve_below_zero(rng):
    fields = gaussian_fields(rng, 50, (30, 30), (2.0, 2.0), (30.0, 30.0))
    options = {"spacing_km": (2.0, 2.0), "direction": "radial"}
    assert float(autocorrelation(fields, centre="each", **options)[-1]) < -0.05
    assert float(autocorrelation(fields, centre="all", **options)[-1]) > 0.1


@pytest.mark.parametrize("n", [63, 64])
@pytest.mark.parametrize("d", [1.0, 2.0, 3.0, 2000.0])
def test_upstreams_names_with_the_right_figures(rng, n, d):
    """rho(0) is 1 for any spacing and size, lags are distances, and the curve is the circular one of the rows."""
    data = rng.standard_normal((5, 4, n))
    freqs, power = average_power_spectrum(data, d)
    centred = data - data.mean(-1, keepdims=True)
    np.testing.assert_allclose(power.sum() * freqs[1], (centred**2).mean())
    lag, rho = power_spectra_to_acf(freqs, power, n=n)
    np.testing.assert_allclose(lag, d * np.arange(n // 2 + 1))
    circular = [(centred * np.roll(centred, -k, -1)).mean() for k in range(n // 2 + 1)]
    np.testing.assert_allclose(rho, np.array(circular) / circular[0], atol=1e-12)


def test_what_cannot_be_is_refused(rng):
    field = xr.DataArray(rng.standard_normal((4, 8, 8)), dims=("time", "y", "x"))
    with pytest.raises(ConfigError, match="direction of an autocorrelation: found 'zonal'"):
        autocorrelation(field, spacing_km=(1.0, 1.0), direction="zonal")
    with pytest.raises(ConfigError, match="centre of an autocorrelation"):
        autocorrelation(field, spacing_km=(1.0, 1.0), centre="median")
