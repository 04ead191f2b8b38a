"""Laws of channel statistics: streaming equals eager, normalising inverts, masks and NaN count for nothing."""

import json

import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr

from labkit.data.moments import merge, moments
from labkit.data.pairs import Pairs
from labkit.data.statistics import ChannelStatistics, Statistics, _time_blocks, compute_statistics
from labkit.errors import DataError


def make_pairs(n=50, *, chunk=7, mask=False, per_sample_invariant=False, seed=0):
    """Pairs with rain and pressure: skewed values and a large offset, 2 fine cells to a coarse one."""
    rng = np.random.default_rng(seed)
    tp = rng.gamma(0.5, 4, (n, 1, 8, 12))
    msl = 101_325 + 3 * rng.standard_normal((n, 1, 8, 12))
    target = np.concatenate([tp, msl], axis=1).astype(np.float32)
    dims = ("time", "channel", "y", "x")
    lead = (n,) if per_sample_invariant else ()
    invariant = rng.normal(300, 200, (*lead, 1, 8, 12)).astype(np.float32)
    return Pairs(
        input=xr.DataArray(
            da.from_array(target[:, :, ::2, ::2], chunks=(chunk, -1, -1, -1)),
            dims=("time", "channel", "y_in", "x_in"),
            coords={"channel": ["tp", "msl"]},
        ),
        target=xr.DataArray(
            da.from_array(target, chunks=(chunk, -1, -1, -1)),
            dims=dims,
            coords={"channel": ["tp", "msl"], "y": np.arange(8.0), "x": np.arange(12.0)},
        ),
        invariant=xr.DataArray(invariant, dims=dims[-invariant.ndim :], coords={"channel": ["orography"]}),
        mask=xr.DataArray(rng.random((n, 8, 12)) > 0.3, dims=("time", "y", "x")) if mask else None,
    )


@pytest.mark.parametrize("chunk", [1, 7, 50])
def test_streaming_equals_eager_whatever_the_chunks(chunk):
    pairs = make_pairs(chunk=chunk)
    statistics = compute_statistics(pairs)
    rain = np.log1p(pairs.target.values[:, 0].astype(np.float64))
    pressure = pairs.target.values[:, 1].astype(np.float64)
    assert statistics.target["tp"].transform == "log1p"
    np.testing.assert_allclose(statistics.mean("target", ["tp", "msl"]), [rain.mean(), pressure.mean()], rtol=1e-12)
    np.testing.assert_allclose(statistics.std("target", ["tp", "msl"]), [rain.std(), pressure.std()], rtol=1e-9)
    height = pairs.invariant.values.astype(np.float64)
    np.testing.assert_allclose(statistics.std("invariant", ["orography"]), [height.std()], rtol=1e-9)


def test_merging_survives_a_large_offset():
    values = 1e9 + np.random.default_rng(1).standard_normal((1000, 1, 4, 4))
    parts = [moments(block, ["identity"]) for block in np.split(values, 10)]
    total = parts[0]
    for part in parts[1:]:
        total = merge(total, part)
    assert np.sqrt(total.deviation / total.count)[0] == pytest.approx(values.std(), rel=1e-9)


def test_merging_with_an_empty_part_changes_nothing():
    some = moments(np.random.default_rng(2).normal(5, 2, (3, 1, 4, 4)), ["identity"])
    none = moments(np.full((1, 1, 4, 4), np.nan), ["identity"])
    for merged in (merge(some, none), merge(none, some)):
        np.testing.assert_array_equal(np.array(merged), np.array(some))


def test_masked_and_missing_values_are_left_out():
    pairs = make_pairs(mask=True)
    values = pairs.target.values
    values[5, 1] = np.nan
    pairs = Pairs(pairs.input, pairs.target.copy(data=da.from_array(values, chunks=7)), pairs.invariant, pairs.mask)
    kept = values[:, 1][pairs.mask.values].astype(np.float64)
    statistics = compute_statistics(pairs)
    assert statistics.target["msl"].mean == pytest.approx(np.nanmean(kept), rel=1e-12)
    assert statistics.target["msl"].std == pytest.approx(np.nanstd(kept), rel=1e-9)


def test_invariants_of_each_sample_are_streamed_too():
    pairs = make_pairs(per_sample_invariant=True)
    assert compute_statistics(pairs).invariant["orography"].mean == pytest.approx(
        pairs.invariant.values.astype(np.float64).mean(), rel=1e-12
    )


def test_max_samples_are_evenly_spread_and_progress_counts_them():
    pairs = make_pairs(n=50, chunk=1)
    seen = []
    statistics = compute_statistics(pairs, max_samples=5, progress=lambda done, total: seen.append((done, total)))
    spread = pairs.target.values[[5, 15, 25, 35, 45], 1].astype(np.float64)
    assert statistics.target["msl"].mean == pytest.approx(spread.mean(), rel=1e-12)
    assert seen[-1] == (5, 5)


def test_a_sample_of_samples_reads_few_chunks():
    pairs = counting(make_pairs(n=400, chunk=5), read := [])
    statistics = compute_statistics(pairs, max_samples=100)
    assert sum(read) == 100
    assert statistics.target["msl"].mean == pytest.approx(101_325, abs=0.1)


@pytest.mark.parametrize("wanted", [1, 7, 32, 50, 319])
def test_a_sample_of_large_chunks_still_spans_all_times(wanted):
    blocks = _time_blocks(make_pairs(n=320, chunk=20), wanted)
    chosen = np.concatenate(blocks)
    assert len(blocks) == min(wanted, 16)
    assert 0.9 * wanted <= len(chosen) <= wanted and (np.diff(chosen) > 0).all()
    assert abs(chosen.mean() - 159.5) < 12


def counting(pairs, read):
    """The pairs with a target that notes the length of every block it reads."""

    def block(values):
        if values.size:
            read.append(len(values))
        return values

    counted = pairs.target.data.map_blocks(block, meta=np.empty((0, 0, 0, 0), np.float32))
    return Pairs(pairs.input, pairs.target.copy(data=counted), pairs.invariant)


def test_statistics_are_one_pass_over_the_blocks():
    compute_statistics(counting(make_pairs(n=20, chunk=5), read := []))
    assert read == [5, 5, 5, 5]


@pytest.mark.parametrize("as_kind", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_denormalise_inverts_normalise_and_leaves_its_argument_alone(as_kind):
    pairs = make_pairs()
    statistics = compute_statistics(pairs)
    values = as_kind(pairs.target.values)
    before = np.asarray(values).copy()
    normal = statistics.normalise("target", values, ["tp", "msl"])
    back = statistics.denormalise("target", normal, ["tp", "msl"])
    np.testing.assert_array_equal(np.asarray(values), before)
    assert type(normal) is type(values) and normal.dtype == values.dtype
    np.testing.assert_allclose(np.asarray(back), before, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(np.asarray(normal).mean(axis=(0, 2, 3)), 0, atol=3e-3)
    np.testing.assert_allclose(np.asarray(normal).std(axis=(0, 2, 3)), 1, atol=3e-3)
    kept = np.asarray(normal).copy()
    statistics.denormalise("target", normal, ["tp", "msl"])
    np.testing.assert_array_equal(np.asarray(normal), kept)


def test_channels_are_picked_by_name_in_any_order_and_by_alias():
    statistics = compute_statistics(make_pairs())
    values = make_pairs().target.values
    straight = statistics.normalise("target", values, ["tp", "msl"])
    swapped = statistics.normalise("target", values[:, ::-1], ["mslp", "precip"])
    np.testing.assert_array_equal(swapped[:, ::-1], straight)


def test_slightly_negative_rain_survives_the_round_trip():
    statistics = Statistics(input={}, invariant={}, target={"tp": ChannelStatistics(0.3, 0.5, "log1p")})
    values = np.array([-2.0, -0.1, 0.0, 0.1, 50.0]).reshape(1, 1, 5)
    back = statistics.denormalise("target", statistics.normalise("target", values, ["tp"]), ["tp"])
    np.testing.assert_allclose(back, values, atol=1e-12)


def test_reflectivity_is_not_transformed():
    statistics = Statistics(
        input={}, invariant={}, target=dict.fromkeys(["reflectivity"], ChannelStatistics(10.0, 5.0))
    )
    np.testing.assert_allclose(statistics.normalise("target", np.full((1, 2, 2), 30.0), ["reflectivity"]), 4.0)


def test_a_constant_channel_gets_unit_std_and_a_note():
    pairs = make_pairs()
    flat = pairs.target.copy(data=da.full(pairs.target.shape, 99000.0, chunks=7, dtype=np.float32))
    channel = compute_statistics(Pairs(pairs.input, flat[:, 1:], pairs.invariant)).target["msl"]
    assert channel.std == 1.0 and "constant" in channel.note


@pytest.mark.parametrize(
    ("name", "values", "found"),
    [
        ("msl", [101_325e2], r"values of 1.013e\+07 to 1.013e\+07 Pa, about 1.013e\+07, where the file says hPa"),
        ("tp", [0.0] * 19 + [5000.0], "values of 0 to 5000 mm h-1"),  # of a day, nearly all of it dry
        ("t2m", [20.0], "values of 20 to 20 K, about 20, where the file says hPa"),
        ("t2m", [285.0] * 19 + [-9999.0], "values of -9999 to 285 K"),
        ("land_mask", [0.0, 0.0, 100.0], "values of 0 to 100 1"),
    ],
)
@pytest.mark.parametrize("kind", ["input", "target", "invariant"])
def test_values_that_cannot_be_in_their_unit_are_refused_whatever_it_is_called(kind, name, values, found):
    pairs = make_pairs()
    array = getattr(pairs, kind)[..., :1, :, :].assign_coords(channel=[name], native_units=("channel", ["hPa"]))
    array = array.copy(data=np.resize(np.float32(values), array.shape))
    arrays = {"input": pairs.input, "target": pairs.target, "invariant": pairs.invariant} | {kind: array}
    with pytest.raises(DataError, match=rf"units of {name} in the {kind}: found {found}.*units={{'{name}'"):
        compute_statistics(Pairs(**arrays))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("t2m", [220.0, 320.0]),
        ("tp", [-1e-3] * 50 + [0.0, 620.0]),  # packed, and hail to a radar
        ("reflectivity", [-99.0, 0.0, 60.0]),  # as some write no echo
        ("foreign", [1e9, -1e9]),
    ],
)
def test_what_nature_or_a_radar_does_is_learnt_from(name, values):
    pairs = make_pairs()
    array = pairs.target[:, :1].assign_coords(channel=[name])
    array = array.copy(data=np.resize(np.float32(values), array.shape))
    assert compute_statistics(Pairs(pairs.input, array, pairs.invariant)).target[name].std > 0


@pytest.mark.parametrize(("value", "found"), [(np.nan, "no observed"), (np.inf, "infinite")])
def test_a_channel_without_finite_values_is_refused(value, found):
    pairs = make_pairs()
    bad = pairs.target.copy(data=da.full(pairs.target.shape, value, chunks=7, dtype=np.float32))
    with pytest.raises(DataError, match=found):
        compute_statistics(Pairs(pairs.input, bad, pairs.invariant))


def test_missing_channel_and_wrong_shape_are_refused():
    statistics = compute_statistics(make_pairs())
    with pytest.raises(DataError, match="t2m"):
        statistics.normalise("target", np.zeros((1, 4, 4)), ["t2m"])
    with pytest.raises(DataError, match="shape"):
        statistics.normalise("target", np.zeros((3, 4, 4)), ["tp", "msl"])


def test_saved_and_loaded_are_equal(tmp_path):
    statistics = compute_statistics(make_pairs())
    statistics.save(tmp_path / "stats.json")
    assert Statistics.load(tmp_path / "stats.json") == statistics
    assert set(json.loads((tmp_path / "stats.json").read_text())) == {"input", "invariant", "output"}


def test_the_stats_json_of_hrrr_mini_is_read_as_it_is(tmp_path):
    theirs = {"input": {"tcwv": {"mean": 20.0, "std": 9.0}}, "invariant": {}, "output": {"10u": {"mean": 1, "std": 4}}}
    (tmp_path / "stats.json").write_text(json.dumps(theirs))
    statistics = Statistics.load(tmp_path / "stats.json")
    assert statistics.channel("target", "u10") == ChannelStatistics(1.0, 4.0, "identity")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"foo": {}}', '{"output": {"a": {"mean": 1}}}', '{"output": {"a": {"mean": 1, "std": 0}}}']
)
def test_a_damaged_file_is_refused(tmp_path, text):
    (tmp_path / "stats.json").write_text(text)
    with pytest.raises(DataError):
        Statistics.load(tmp_path / "stats.json")
