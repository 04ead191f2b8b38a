"""How far fields of a known law reach, in domains of 1 to 10 of their lengths: right, or said not to be known."""

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import brentq

from labkit.verify.patch_size import recommend_patch, remaining, unknown_sentence
from labkit.verify.reach import TOLD, reach, trend_share

LAWS = {
    "exponential": lambda r: np.exp(-r),
    "matern32": lambda r: (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r),
    "matern52": lambda r: (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r),
    "gaussian": lambda r: np.exp(-(r**2) / 2),
}
# Sides, in lengths, at whose half rho^2 is TOLD; 3 for the exponential.
NEEDS = {name: 2 * brentq(lambda r, law=law: law(r) ** 2 - TOLD, 0.1, 9) for name, law in LAWS.items()}
N = 48


def fields_of(seed, law="exponential", *, lengths=5.0, times=32, shape=(N, N)):
    """Independent fields of a law in cells, exact by circulant embedding; lengths (y, x) in cells."""
    lengths = np.broadcast_to(lengths, 2)
    size = [int(n + 8 * length) for n, length in zip(shape, lengths, strict=True)]
    y, x = (np.minimum(np.arange(n), n - np.arange(n)) / length for n, length in zip(size, lengths, strict=True))
    power = np.fft.fft2(LAWS[law](np.hypot(y[:, None], x))).real.clip(0)
    noise = np.fft.fft2(np.random.default_rng(seed).standard_normal((times, *size)))
    fields = np.fft.ifft2(noise * np.sqrt(power / power.mean())).real
    return xr.DataArray(fields[:, : shape[0], : shape[1]], dims=("time", "y", "x"))


def reach_of(fields, **options):
    return reach(fields, spacing_km=(1.0, 1.0), **options).expand_dims(variable=["v"])


def said_of(found, direction="x"):
    one = found.isel(variable=0).sel(direction=direction)
    return unknown_sentence(one, "Here") if np.isnan(one.side_high) else "known"


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("law", LAWS)
def test_ten_lengths_are_enough_for_any_law_with_gaps_and_without(law, masked):
    fields = fields_of(1, law, lengths=4.8)
    if masked:  # three cells of ten, in patches
        land = fields_of(2, "gaussian", lengths=6.0, times=1)[0]
        fields = fields.where(land > float(land.quantile(0.3)))
    found = reach_of(fields)
    assert said_of(found, "x") == said_of(found, "y") == "known"
    np.testing.assert_allclose(found.side / 4.8, NEEDS[law], rtol=0.15)
    assert (found.side_low <= found.side).all() and (found.side <= found.side_high).all()
    assert float(found.side_high.max()) < 1.5 * NEEDS[law] * 4.8


def test_each_direction_has_its_own():
    found = reach_of(fields_of(3, lengths=(3.0, 9.0), shape=(40, 96)))
    np.testing.assert_allclose(found.side[0] / [3.0, 9.0], NEEDS["exponential"], rtol=0.2)
    np.testing.assert_allclose(found.e_folding[0] / [3.0, 9.0], 1, rtol=0.12)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("lengths", [1, 2])
def test_a_domain_of_one_or_two_lengths_is_said_to_be_too_small(lengths, seed):
    found = reach_of(fields_of([4, seed], lengths=N / lengths, times=64))
    assert "this domain is too small to tell how far v reaches" in said_of(found)
    advice = recommend_patch(found, spacing_km=(1.0, 1.0), shape=(N, N), multiple=8)
    assert advice.patch == (N, N)
    true = np.exp(-lengths / 2)
    one = remaining(found, (N - 8, N - 8), shape=(N, N)).isel(variable=0).sel(direction="x")
    assert abs(float(one.half) - true) < 0.17  # what each field's own mean leaves is below zero
    assert any("too small" in sentence for sentence in advice.warnings)


def test_short_noise_and_a_constant_of_two_per_cent_are_advised_by_the_noise():
    """The constant is one a time, so that the correlation is 0.02 for ever after and has no zero."""
    rng = np.random.default_rng(5)
    constant = xr.DataArray(rng.standard_normal(48), dims="time")
    constant = constant / np.sqrt((constant**2).mean())
    fields = np.sqrt(0.98) * fields_of(6, lengths=3.0, times=48) + np.sqrt(0.02) * constant
    found = reach_of(fields)
    np.testing.assert_allclose(found.side / 3.0, NEEDS["exponential"], rtol=0.2)
    assert max(recommend_patch(found, spacing_km=(1.0, 1.0), shape=(N, N)).patch) <= 14


def test_few_times_of_a_wide_domain_are_known_where_each_tells_the_same():
    """Four times of 32 lengths: e^-2 at two of them, within an interval of three degrees of freedom."""
    held, known = [], []
    for seed in range(6):
        found = reach_of(fields_of([7, seed], lengths=3.0, times=4, shape=(96, 96))).isel(variable=0)
        at = found.sel(cell=6)
        held += ((at.rho_low < np.exp(-2)) & (at.rho_high > np.exp(-2))).values.tolist()
        known += found.side_high.notnull().values.tolist()
        assert (at.rho_high - at.rho_low > 0.02).all()
    assert np.mean(held) > 0.8 and np.mean(known) > 0.5


@pytest.mark.parametrize("times", [2, 4])
def test_what_all_of_a_wide_domain_share_is_not_taken_for_known_from_few_times(times):
    """A constant of 30 % of the variance, one a time: no patch is enough, however wide the domain is, and its places
    know nothing of it."""
    advised, rng = [], np.random.default_rng([15, times])
    for seed in range(10):
        constant = xr.DataArray(rng.standard_normal(times), dims="time")
        fields = fields_of([16, seed], lengths=3.0, times=times, shape=(96, 96))
        found = reach_of(np.sqrt(0.7) * fields + np.sqrt(0.3) * constant)
        advised += found.side_high.notnull().values.ravel().tolist()
    assert np.mean(advised) <= 0.1


def test_few_times_of_a_small_domain_are_not_known():
    found = reach_of(fields_of(7, lengths=N / 3, times=4))
    assert found.side_high.isnull().all() and "4 times are too few" in said_of(found)
    assert (found.rho_high - found.rho_low)[..., 1:].mean() > 0.8


def test_one_time_tells_nothing_and_says_so():
    found = reach_of(fields_of(8, lengths=3.0, times=1))
    assert found[["rho", "side", "e_folding", "zero_crossing"]].to_array("of").isnull().all()
    assert "one time is too few to tell" in said_of(found)
    assert recommend_patch(found, spacing_km=(1.0, 1.0), shape=(N, N)).patch == (N, N)


def test_a_wave_is_not_forgotten_where_it_crosses_zero():
    """Correlation cos(2 pi r / 16) e^(-r / 40): zero at 4 cells, -0.82 at 8."""
    rng = np.random.default_rng(9)
    fields = fields_of(10, "gaussian", lengths=(40.0, 40.0), times=48, shape=(N, 96))
    phase = xr.DataArray(rng.uniform(0, 2 * np.pi, 48), dims="time")
    wave = np.cos(2 * np.pi * xr.DataArray(np.arange(96), dims="x") / 16 + phase)
    one = reach_of((np.sqrt(2) * fields * wave).transpose("time", "y", "x")).isel(variable=0).sel(direction="x")
    assert float(one.zero_crossing) < 6
    assert np.isnan(one.side_high) or float(one.side_high) > 60


def test_a_trend_is_found_and_a_short_field_has_none():
    fields = fields_of(11, lengths=4.8)
    ramp = xr.DataArray(np.arange(N) - (N - 1) / 2, dims="x")
    ramp = ramp / np.sqrt((ramp**2).mean())
    slopes = xr.DataArray(np.random.default_rng(12).choice([-1, 1], fields.sizes["time"]), dims="time")
    both = np.sqrt(0.6) * fields + np.sqrt(0.4) * slopes * ramp
    assert trend_share(both, "x") == pytest.approx(0.4, abs=0.06)
    assert trend_share(both, "y") < 0.06 and trend_share(fields, "x") < 0.1
    gappy = both.where(fields_of(13, "gaussian", lengths=5.0, times=1)[0] > -0.5)
    assert trend_share(gappy, "x") == pytest.approx(0.4, abs=0.15)


def test_units_and_an_offset_change_nothing():
    fields = fields_of(14, times=12)
    one, other = reach_of(fields), reach_of((3 * fields + 280).assign_coords(x=np.arange(N) * 4.0))
    xr.testing.assert_allclose(one, other, rtol=1e-6)
    coarse = reach(fields, spacing_km=(2.0, 4.0)).expand_dims(variable=["v"])
    np.testing.assert_allclose(coarse.side_high, one.side_high * [2.0, 4.0])
