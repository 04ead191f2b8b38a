"""`Pairs` refuse what does not fit, pick by name, stay lazy, and give the baseline that they promise."""

from __future__ import annotations

import copy

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from labkit.data.pairs import Pairs, rain_from_reflectivity, reflectivity_from_rain
from labkit.data.regrid import block_mean
from labkit.errors import DataError, LabError

TIMES = np.datetime64("2021-09-12T00", "ns") + np.arange(3) * np.timedelta64(1, "h")


def array(values, dims, *, channel=None, time=True, spacing=(4.0, 2.0)) -> xr.DataArray:
    coords = {} if channel is None else {"channel": channel}
    if time and "time" in dims:
        coords["time"] = TIMES[: values.shape[0]]
    if "y" in dims:
        coords |= {axis: np.arange(n) * d for axis, n, d in zip("yx", values.shape[-2:], spacing, strict=True)}
    return xr.DataArray(values, dims=dims, coords=coords)


@pytest.fixture
def parts(rng) -> dict[str, xr.DataArray]:
    """Three times on a 12 x 10 grid of 4 x 2 km under 4 x 2 coarse cells, so that no two sizes or steps agree."""
    fine = rng.normal(size=(3, 2, 12, 10)).astype(np.float32)
    coarse = np.concatenate([block_mean(fine, (3, 5)), rng.gamma(1, size=(3, 1, 4, 2)).astype(np.float32)], axis=1)
    return {
        "input": array(coarse, ("time", "channel", "y_in", "x_in"), channel=["t2m", "u10", "tp"]),
        "target": array(fine, ("time", "channel", "y", "x"), channel=["t2m", "u10"]),
        "invariant": array(np.ones((1, 12, 10), np.float32), ("channel", "y", "x"), channel=["orography"]),
    }


@pytest.fixture
def pairs(parts) -> Pairs:
    return Pairs(**parts)


def test_sizes_and_names(pairs):
    assert len(pairs) == 3
    assert pairs.shape == (12, 10)
    assert pairs.factor == (3, 5)
    assert pairs.spacing_km == (4.0, 2.0)
    assert (pairs.input_channels, pairs.target_channels) == (["t2m", "u10", "tp"], ["t2m", "u10"])
    assert pairs.invariant_channels == ["orography"]


@pytest.mark.parametrize("name", ["input", "target", "invariant"])
def test_exchanged_axes_are_refused(parts, name):
    dims = parts[name].dims
    with pytest.raises(DataError, match=f"{name} of pairs.*transpose or rename"):
        Pairs(**{**parts, name: parts[name].transpose(*dims[:-2], dims[-1], dims[-2])})


def test_unequal_numbers_of_times_are_refused(parts):
    with pytest.raises(DataError, match="found 2 input and 3 target times"):
        Pairs(**{**parts, "input": parts["input"][:2]})


def test_shuffled_times_are_refused(parts):
    with pytest.raises(DataError, match="time 0 of pairs: found input of 2021-09-12T02"):
        Pairs(**{**parts, "input": parts["input"][::-1]})


def test_repeated_times_are_allowed(parts):
    once = {name: parts[name].isel(time=[0, 0, 1]) for name in ("input", "target")}
    assert len(Pairs(**{**parts, **once})) == 3


def test_a_grid_without_whole_coarse_cells_is_refused(parts):
    less = {name: parts[name][..., :-1] for name in ("target", "invariant")}
    with pytest.raises(DataError, match="grid along x: found 9 fine cells over 2 coarse cells"):
        Pairs(**{**parts, **less})


def test_a_mismatched_invariant_is_refused(parts):
    with pytest.raises(DataError, match=r"invariant of pairs.*11"):
        Pairs(**{**parts, "invariant": parts["invariant"][:, :-1]})


def test_a_mask_on_another_grid_or_in_another_order_is_refused(parts):
    mask = xr.DataArray(np.ones((3, 12, 10), bool), dims=("time", "y", "x"))
    assert Pairs(**parts, mask=mask).mask is mask
    with pytest.raises(DataError, match="mask of pairs"):
        Pairs(**parts, mask=mask[:, :, :5])
    with pytest.raises(DataError, match="mask of pairs"):
        Pairs(**parts, mask=mask.transpose("time", "x", "y"))


@pytest.mark.parametrize("name", ["input", "target", "invariant"])
def test_channels_need_distinct_names(parts, name):
    with pytest.raises(DataError, match=f"{name} channels: found no names"):
        Pairs(**{**parts, name: parts[name].drop_vars("channel")})
    twice = xr.concat([parts[name], parts[name]], dim="channel")
    with pytest.raises(DataError, match=f"{name} channels.*none twice"):
        Pairs(**{**parts, name: twice})


def test_channels_are_picked_by_name_in_the_order_asked(parts, pairs):
    chosen = pairs.select(input=["tp", "t2m"], target=["u10"])
    assert (chosen.input_channels, chosen.target_channels) == (["tp", "t2m"], ["u10"])
    np.testing.assert_array_equal(chosen.input.values, parts["input"].values[:, [2, 0]])
    np.testing.assert_array_equal(chosen.target.values, parts["target"].values[:, [1]])
    assert pairs.target_channels == ["t2m", "u10"]


def test_a_missing_channel_is_named(pairs):
    with pytest.raises(DataError, match="target channels: found t2m, u10, expected v10; choose"):
        pairs.select(target=["u10", "v10"])


@pytest.mark.parametrize("pick", [1, np.int64(1), [1], slice(1, 2), np.array([1])])
def test_times_are_picked_by_position_and_keep_their_dimension(parts, pairs, pick):
    one = pairs.isel(pick)
    assert len(one) == 1
    np.testing.assert_array_equal(one.input.values, parts["input"].values[1:2])
    np.testing.assert_array_equal(one.target.values, parts["target"].values[1:2])
    np.testing.assert_array_equal(one.invariant.values, parts["invariant"].values)
    np.testing.assert_array_equal(pairs.interpolated(pick).values, pairs.interpolated().values[1:2])


def test_the_mask_and_the_invariants_of_crops_follow_the_times(parts):
    crops = xr.DataArray(np.arange(3 * 120.0).reshape(3, 1, 12, 10), dims=("time", "channel", "y", "x"))
    crops = crops.assign_coords(channel=["orography"])
    mask = xr.DataArray(np.arange(360).reshape(3, 12, 10) % 7 > 0, dims=("time", "y", "x"))
    last = Pairs(**{**parts, "invariant": crops}, mask=mask).isel([2])
    np.testing.assert_array_equal(last.invariant.values, crops.values[2:])
    np.testing.assert_array_equal(last.mask.values, mask.values[2:])


def test_choosing_computes_nothing(parts):
    def burn(block):
        raise AssertionError("computed")

    lazy = {}
    for name, eager in parts.items():
        bad = da.map_blocks(burn, da.zeros(eager.shape, dtype=np.float32), dtype=np.float32, meta=np.zeros((), "f4"))
        lazy[name] = eager.copy(data=bad)
    pairs = Pairs(**lazy).select(input=["tp"], target=["u10"]).isel([0, 2])
    assert (len(pairs), pairs.factor, pairs.spacing_km) == (2, (3, 5), (4.0, 2.0))
    with pytest.raises(AssertionError, match="computed"):
        pairs.target.compute()


def test_the_baseline_matches_channels_by_meaning_and_not_by_position(parts, pairs):
    baseline = pairs.select(target=["u10", "t2m"]).interpolated()
    assert baseline.dims == ("time", "channel", "y", "x")
    assert baseline.dtype == np.float32
    assert list(baseline.channel.values) == ["u10", "t2m"]
    np.testing.assert_array_equal(baseline.values[:, ::-1], pairs.interpolated().values)
    aliased = parts["target"].assign_coords(channel=["2t", "eastward_wind_10m"])
    np.testing.assert_array_equal(Pairs(**{**parts, "target": aliased}).interpolated().values, pairs.interpolated())


def affine_pairs(parts, values, *, input_name, target_name) -> Pairs:
    """Pairs whose one input channel has the given (y_in, x_in) values at every time."""
    coarse = np.broadcast_to(np.asarray(values, np.float32), (3, 1, 4, 2))
    return Pairs(
        input=array(coarse, ("time", "channel", "y_in", "x_in"), channel=[input_name]),
        target=parts["target"][:, :1].assign_coords(channel=[target_name]),
        invariant=parts["invariant"],
    )


def test_the_baseline_of_an_affine_field_is_that_field(parts):
    y, x = (np.arange(4) + 0.5) * 3, (np.arange(2) + 0.5) * 5
    pairs = affine_pairs(parts, 2 * y[:, None] - x, input_name="t2m", target_name="2t")
    wanted = 2 * (np.arange(12) + 0.5)[:, None] - (np.arange(10) + 0.5)
    np.testing.assert_allclose(pairs.interpolated().values[2, 0], wanted, atol=1e-5)


def test_rain_is_never_negative_in_the_baseline(parts):
    steep = [[9, 0], [0, 0], [0, 0], [0, 9]]
    baseline = affine_pairs(parts, steep, input_name="tp", target_name="tp").interpolated().values
    assert baseline.min() == 0
    assert affine_pairs(parts, steep, input_name="u10", target_name="u10").interpolated().values.min() < 0


def test_reflectivity_follows_from_the_coarse_rain_rate(parts):
    pairs = affine_pairs(parts, np.full((4, 2), 10.0), input_name="tp", target_name="reflectivity")
    np.testing.assert_allclose(pairs.interpolated().values, 10 * np.log10(200 * 10**1.6), rtol=1e-5)


def test_a_target_that_the_input_says_nothing_of_has_no_baseline(parts):
    pairs = affine_pairs(parts, np.ones((4, 2)), input_name="t2m", target_name="v10")
    assert np.isnan(pairs.interpolated().values).all()


def test_a_missing_coarse_cell_leaves_the_rest_of_the_baseline_alone(parts, pairs):
    holed = parts["input"].copy(deep=True)
    holed[0, 0, 0, 0] = np.nan
    baseline, whole = Pairs(**{**parts, "input": holed}).interpolated().values, pairs.interpolated().values
    assert np.isfinite(np.delete(baseline[0, 0], np.s_[:3], axis=0)).all()
    assert np.isfinite(baseline[0, 0, :, 5:]).all()
    np.testing.assert_array_equal(baseline[1:], whole[1:])
    np.testing.assert_array_equal(baseline[0, 1:], whole[0, 1:])
    np.testing.assert_allclose(baseline[0, 0, 6:], whole[0, 0, 6:], atol=1e-6)


def test_marshall_and_palmers_law():
    # Z = 200 R^1.6: 1 mm/h is 23.0 dBZ, 10 mm/h is 39.0 dBZ, 100 mm/h is 55.0 dBZ.
    np.testing.assert_allclose(reflectivity_from_rain(np.array([1.0, 10.0, 100.0])), [23.01, 39.01, 55.01], atol=0.005)


def test_rain_and_reflectivity_are_each_others_inverse():
    dbz = np.linspace(0.5, 70, 200)
    np.testing.assert_allclose(reflectivity_from_rain(rain_from_reflectivity(dbz)), dbz, rtol=1e-9)
    rain = np.geomspace(0.04, 300, 200)
    np.testing.assert_allclose(rain_from_reflectivity(reflectivity_from_rain(rain)), rain, rtol=1e-9)


def test_dry_is_dry_and_missing_is_missing():
    np.testing.assert_array_equal(reflectivity_from_rain(np.array([0.0, -1.0, np.nan])), [0, 0, np.nan])
    np.testing.assert_array_equal(rain_from_reflectivity(np.array([0.0, -20.0, np.nan])), [0, 0, np.nan])


def test_area_mean_rain_is_not_the_rain_of_the_area_mean_reflectivity():
    # One cell of 50 dBZ among dry ones: averaging dBZ loses nearly all of its rain.
    dbz = np.zeros((4, 4))
    dbz[0, 0] = 50.0
    rain = block_mean(rain_from_reflectivity(dbz), 4)[0, 0]
    assert rain * 16 == pytest.approx(rain_from_reflectivity(np.array(50.0)))
    assert rain_from_reflectivity(block_mean(dbz, 4))[0, 0] < 0.05 * rain


def test_errors_say_found_expected_and_what_to_do():
    error = DataError("grid", found="9 rows", expected="8 rows", todo="crop it.")
    assert isinstance(error, LabError)
    assert str(error) == "grid: found 9 rows, expected 8 rows; crop it."


def test_errors_survive_the_way_back_from_a_worker():
    # copy.copy takes the same road as the message of another process.
    error = DataError("grid", found="9 rows", expected="8 rows", todo="crop it")
    again = copy.copy(error)
    assert type(again) is DataError
    assert (str(again), again.found, again.todo) == (str(error), "9 rows", "crop it")
