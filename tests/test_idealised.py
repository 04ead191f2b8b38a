"""The idealised atmosphere keeps its promises: known law, random access, hardness, realism."""

import numpy as np
import pytest
from scipy import interpolate, stats

from labkit.data.idealised import IdealisedConfig, open_idealised
from labkit.data.idealised.fine_scale import TARGETS, NoiseMaker
from labkit.data.idealised.large_scale import fields_on
from labkit.data.idealised.randomness import hashed_normal, smooth_normal
from labkit.data.idealised.reader import EPOCH, STORM_NEAR_M_S, TRUTH_SEED, World, world
from labkit.data.regrid import block_mean, upsample
from labkit.errors import DataError

HOURS = np.arange(0, 24 * 365 * 3, 263.0)  # all seasons and times of day


@pytest.fixture(scope="module")
def place() -> World:
    return world(IdealisedConfig())


@pytest.fixture(scope="module")
def draws(place) -> np.ndarray:
    """(draw, time, channel, y, x): the truth first, then three draws of the same law."""
    return np.stack([place.fine(HOURS, seed) for seed in (TRUTH_SEED, 1, 2, 3)])


def test_opening_computes_nothing(monkeypatch):
    monkeypatch.setattr(World, "fine", lambda *_: pytest.fail("computed while opening"))
    monkeypatch.setattr(World, "coarse", lambda *_: pytest.fail("computed while opening"))
    pairs = open_idealised("2000-01-01", "2020-01-01")
    assert len(pairs) > 175_000
    assert len(pairs.input_channels) >= 10
    assert set(pairs.target_channels) >= {"t2m", "u10", "v10", "reflectivity"}


def test_any_hour_is_the_same_however_it_is_reached():
    whole = open_idealised("2003-06-01", "2003-06-03", chunk=16)
    alone = open_idealised("2003-06-02T05", "2003-06-02T05")
    np.testing.assert_allclose(
        whole.target.sel(time="2003-06-02T05").values, alone.target.values[0], rtol=1e-5, atol=1e-3
    )
    np.testing.assert_allclose(
        whole.input.sel(time="2003-06-02T05").values, alone.input.values[0], rtol=1e-5, atol=1e-3
    )


def test_input_is_a_function_of_the_large_scale_alone():
    one, other = (open_idealised("2001-02-01", "2001-02-01T03", truth_seed=seed) for seed in (2**41, 2**42))
    np.testing.assert_array_equal(one.input.values, other.input.values)
    assert not np.allclose(one.target.values, other.target.values)


def test_oracle_members_depend_on_their_own_seed_alone():
    pairs = open_idealised("2001-02-01", "2001-02-01T03")
    together, alone = pairs.oracle(pairs, 2, [4, 5, 6]), pairs.oracle(pairs, 2, [5])
    np.testing.assert_array_equal(together[1], alone[0])
    assert not np.allclose(together[0], together[1])
    with pytest.raises(DataError, match="truth's own seed"):
        pairs.oracle(pairs, 0, [TRUTH_SEED])


def test_oracle_follows_channel_selection():
    pairs = open_idealised("2001-02-01", "2001-02-01T03")
    chosen = pairs.select(target=["reflectivity", "u10"])
    np.testing.assert_array_equal(chosen.oracle(chosen, 1, [9])[0], pairs.oracle(pairs, 1, [9])[0][[3, 1]])


@pytest.mark.parametrize("channel", range(4))
def test_truth_is_one_more_draw_of_the_oracle(place, channel):
    """The rank of the truth among 9 members is uniform, at points far enough apart to be independent."""
    hours = HOURS[::3]
    truth = place.fine(hours, TRUTH_SEED)[:, channel, 8::24, 8::24]
    members = np.stack([place.fine(hours, seed)[:, channel, 8::24, 8::24] for seed in range(11, 20)])
    apart = members.std(0) > 0  # dry everywhere: no rank
    jitter = np.random.default_rng(0).uniform(0, 1e-6, (10, *truth.shape))
    ranks = (members + jitter[1:] < truth + jitter[0]).sum(0)[apart]
    counts = np.bincount(ranks, minlength=10)
    assert stats.chisquare(counts).pvalue > 1e-3, counts


@pytest.mark.parametrize("channel", range(4))
def test_the_input_leaves_20_to_60_percent_of_the_small_scales_open(draws, channel):
    fine = draws[:, :, channel]
    small = fine - upsample(block_mean(fine, 8), 8)
    share = small.var(axis=0, ddof=1).mean() / (small**2).mean()
    assert 0.20 < share < 0.60, f"{TARGETS[channel]}: {share:.2f}"


def test_random_fields_have_unit_variance_and_no_wrap_around():
    maker = NoiseMaker((48, 64), 4.0)
    hours = np.arange(0, 1600, 5.3)  # on and between knots
    noise = maker(3, hours)
    for name in ("u", "v", "t", "z"):
        field = getattr(noise, name)
        assert field.var() == pytest.approx(1.0, abs=0.06), name
        edges = np.corrcoef(field[:, :, 0].ravel(), field[:, :, -1].ravel())[0, 1]
        near = np.corrcoef(field[:, :, 0].ravel(), field[:, :, 1].ravel())[0, 1]
        assert abs(edges) < 0.12 < near, name


def test_wind_noise_is_isotropic_and_mostly_rotational():
    maker = NoiseMaker((64, 64), 4.0)
    noise = maker(5, np.arange(0, 800, 8.0))
    assert noise.u.var() == pytest.approx(noise.v.var(), rel=0.06)
    inside = np.s_[:, 2:-2, 2:-2]
    vorticity = (np.gradient(noise.v, axis=2) - np.gradient(noise.u, axis=1))[inside]
    divergence = (np.gradient(noise.u, axis=2) + np.gradient(noise.v, axis=1))[inside]
    assert (vorticity**2).mean() / (divergence**2).mean() == pytest.approx(0.65 / 0.35, rel=0.1)


def test_hours_are_coherent_and_forget():
    place = world(IdealisedConfig())
    fine = np.stack([place.fine(start + np.array([0.0, 1, 2, 12]), TRUTH_SEED) for start in HOURS[:20]])
    mean = np.stack([place.fine(start + np.array([0.0, 1, 2, 12]), 77) for start in HOURS[:20]])
    noise = (fine - mean)[:, :, 1]
    one, two, twelve = (np.corrcoef(noise[:, 0].ravel(), noise[:, lag].ravel())[0, 1] for lag in (1, 2, 3))
    assert one > 0.45
    assert one > two > twelve
    assert abs(twelve) < 0.15


def test_smooth_normal_is_unit_at_every_time():
    values = smooth_normal(np.array([[3.0], [6.0], [7.5]]), 12.0, np.arange(20_000)[None, :])
    np.testing.assert_allclose(values.std(axis=1), 1.0, atol=0.02)
    np.testing.assert_allclose(values.mean(axis=1), 0.0, atol=0.03)


def test_hashed_normals_are_normal_and_unrelated():
    keys = np.arange(40_000)
    one, other = hashed_normal(1, keys), hashed_normal(2, keys)
    assert stats.kstest(one, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.02
    assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 0.02


def test_input_determines_the_large_scale(place):
    """A cubic spline through the coarse wind finds the background wind to a small part of what is random."""
    state = place.state(HOURS[:40])
    calm = (state.typhoon.speed == 0) & (state.front.strength == 0)
    coarse = place.coarse(HOURS[:40])[:, 8] / 1.15  # u850
    fine = fields_on(state, place.x, place.y).u
    inside = np.s_[4:-4, 4:-4]
    errors = [
        (interpolate.RectBivariateSpline(place.y_in, place.x_in, c)(place.y, place.x) - f)[inside]
        for c, f, is_calm in zip(coarse, fine, calm, strict=True)
        if is_calm
    ]
    assert len(errors) > 10
    assert np.sqrt(np.mean(np.square(errors))) < 0.1


def test_rain_is_intermittent_and_skewed(draws):
    dbz = draws[:, :, 3]
    assert dbz.min() == 0
    assert 0.1 < (dbz > 0).mean() < 0.6
    rate = np.where(dbz > 0, (10 ** (dbz / 10) / 200) ** (1 / 1.6), 0)
    assert stats.skew(rate, axis=None) > 3
    assert dbz.max() < 70


def test_mountains_are_colder_and_north_is_up(place, draws):
    height, t2m = place.terrain.height_km, draws[0][:, 0].mean(0)
    slope = stats.linregress(height[place.terrain.land > 0.9], t2m[place.terrain.land > 0.9]).slope
    assert -9 < slope < -4  # K/km
    target = open_idealised("2000-01-01", "2000-01-01").target
    assert (np.diff(target.lat.values, axis=0) > 0).all()
    assert (np.diff(target.lon.values, axis=1) > 0).all()


def test_flow_over_the_island_is_drier_and_calmer_in_the_lee(place):
    west = np.full((1, 64, 64), 10.0, np.float32)
    east_side, west_side = place.terrain.sheltering(west, 0 * west)[0], place.terrain.sheltering(-west, 0 * west)[0]
    centre = (place.terrain.height_km * place.x).sum() / place.terrain.height_km.sum()
    assert (east_side * place.x).sum() / east_side.sum() > centre > (west_side * place.x).sum() / west_side.sum()


def test_typhoons_come_in_summer_move_and_sharpen(place):
    hours = np.arange(0, 24 * 365 * 6, 3.0)
    storm = place.state(hours).typhoon
    strong = storm.speed > 15
    months = (hours[strong] / 24 % 365.25) / 30.4
    assert strong.mean() > 0.01
    assert ((months > 3) & (months < 11)).mean() > 0.95
    k = int(np.flatnonzero(strong & (np.hypot(storm.x, storm.y) < 60))[0])
    coarse, fine = place.coarse(hours[k : k + 1])[0], place.fine(hours[k : k + 1], TRUTH_SEED)[0]
    assert np.hypot(fine[1], fine[2]).max() > 1.15 * np.hypot(coarse[2], coarse[3]).max()
    steps = np.hypot(np.diff(storm.x[k : k + 3]), np.diff(storm.y[k : k + 3])) / 3
    assert (steps > 8).all()  # km/h


def test_the_island_is_the_same_on_every_grid():
    coarse = World(IdealisedConfig(island_km=100.0))
    fine = World(IdealisedConfig(shape=(128, 128), dx_km=2.0, factor=16, island_km=100.0))
    np.testing.assert_allclose(block_mean(fine.terrain.height_km, 2), coarse.terrain.height_km, atol=0.12)


def test_other_grids():
    pairs = open_idealised("2000-07-01", "2000-07-01T05", shape=[32, 96], dx_km=3.0, factor=4)
    assert pairs.input.shape == (6, 14, 8, 24)
    assert pairs.spacing_km == (3.0, 3.0)
    assert np.isfinite(pairs.target.values).all()
    with pytest.raises(DataError, match="whole coarse cells"):
        open_idealised(shape=[30, 64])


def test_storms_can_be_seen_more_often_than_their_climate():
    usual = open_idealised("2001-06-01", "2001-10-31T23", step_h=97)
    often = open_idealised("2001-06-01", "2001-10-31T23", step_h=97, storm_step_h=12)
    extra = np.setdiff1d(often.target.time.values, usual.target.time.values)
    assert set(usual.target.time.values) < set(often.target.time.values) and len(extra) > 5
    place = world(often.attrs["config"])
    hours = (extra.astype("datetime64[h]") - EPOCH).astype(float)
    assert (place.state(hours).typhoon.speed > STORM_NEAR_M_S).all() and (hours % 12 == 0).all()
    same = usual.target.time.values[3]
    np.testing.assert_array_equal(often.target.sel(time=same), usual.target.sel(time=same))
