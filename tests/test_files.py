"""One's own files: names, units, north, times and grids must come out right whatever the file's habits."""

import re

import numpy as np
import pytest
import xarray as xr

from labkit.data.batches import load
from labkit.data.catalogue import open_pairs
from labkit.data.files import open_files
from labkit.data.regrid import block_mean
from labkit.data.statistics import compute_statistics
from labkit.errors import ConfigError, DataError

FACTOR, COARSE = 4, (3, 5)
HOURS = np.datetime64("2020-06-01T00", "ns") + np.arange(6) * np.timedelta64(1, "h")


def fields(times=HOURS, factor=1, margin=0):
    """Temperature and wind on a lat/lon grid as a file would hold them; one degree to a coarse cell.

    t2m = 280 + hour + latitude / 10 and u10 = longitude, so that every value tells its time and place.
    """
    step = factor / FACTOR
    n = [(size + 2 * margin) * FACTOR // factor for size in COARSE]
    lat, lon = (origin - margin + step * (np.arange(k) + 0.5) for origin, k in zip((40, 10), n, strict=True))
    hour = (times - HOURS[0]) / np.timedelta64(1, "h")
    t2m = 280 + hour[:, None, None] + lat[:, None] / 10 + 0 * lon
    u10 = 0 * t2m + lon
    dims = ("time", "lat", "lon")
    return xr.Dataset(
        {"t2m": (dims, t2m, {"units": "K"}), "u10": (dims, u10, {"units": "m s-1"})},
        coords={"time": times, "lat": lat, "lon": lon},
    )


def save(tmp_path, coarse=None, fine=None):
    coarse = fields(factor=FACTOR) if coarse is None else coarse
    fine = fields() if fine is None else fine
    folder = tmp_path / str(len(list(tmp_path.iterdir())))  # a file that is open cannot be written anew
    folder.mkdir()
    coarse.to_netcdf(folder / "coarse.nc")
    fine.to_netcdf(folder / "fine.nc")
    return folder / "coarse.nc", folder / "fine.nc"


def assert_true_everywhere(pairs):
    """Every value is that of its own time and place, and coarse cells are the means of their fine ones."""
    target = pairs.target.compute()
    hour = (target.time.values - HOURS[0]) / np.timedelta64(1, "h")
    expected = 280 + hour[:, None, None] + target.lat.values / 10
    np.testing.assert_allclose(target.sel(channel="t2m"), expected, rtol=1e-6)
    np.testing.assert_allclose(target.sel(channel="u10"), np.broadcast_to(target.lon, expected.shape), rtol=1e-6)
    means = block_mean(target.values, pairs.factor)
    np.testing.assert_allclose(pairs.input.sel(channel=target.channel).values, means, rtol=1e-5)
    assert (target.lat.diff("y") > 0).all() and (np.diff(target.y) > 0).all()


def test_a_plain_pair(tmp_path):
    pairs = open_files(*save(tmp_path))
    assert pairs.shape == (12, 20) and pairs.factor == (4, 4) and len(pairs) == 6
    assert pairs.target.units.values.tolist() == ["K", "m s-1"]
    assert pairs.target.dtype == pairs.input.dtype == np.float32 and pairs.target.chunks is not None
    assert_true_everywhere(pairs)
    dy, dx = pairs.spacing_km  # a quarter of a degree, and of one at 41.5 north
    assert dy == pytest.approx(27.8, rel=0.01) and dx == pytest.approx(27.8 * np.cos(np.radians(41.5)), rel=0.01)
    np.testing.assert_allclose(pairs.input.y_in, pairs.target.y.values.reshape(3, 4).mean(axis=1))
    batch = load(pairs, [0, 5], compute_statistics(pairs))
    assert batch.invariant.shape == (1, 0, 12, 20)


def test_foreign_units_become_ours_and_what_is_not_said_is_asked(tmp_path):
    coarse, fine = fields(factor=FACTOR), fields()
    fine["t2m"] = (fine["t2m"] - 273.15).assign_attrs(units="degC")
    fine["u10"] = (fine["u10"] * 3600 / 1852).assign_attrs(units="kt")
    pairs = open_files(*save(tmp_path, coarse, fine))
    assert pairs.target.units.values.tolist() == ["K", "m s-1"]
    assert_true_everywhere(pairs)
    del fine["t2m"].attrs["units"], fine["u10"].attrs["units"]
    files = save(tmp_path, coarse, fine)
    with pytest.raises(DataError, match="units of t2m in target: found none, and values about 1"):
        open_files(*files)
    assert_true_everywhere(open_pairs({"name": "files", "input": files[0], "target": files[1],
                                       "units": {"t2m": "degC", "u10": "knots"}}))  # fmt: skip


def test_values_that_are_not_in_the_unit_of_the_file_are_not_learnt_from_until_it_is_said(tmp_path):
    coarse, fine = fields(factor=FACTOR), fields()
    fine["t2m"] = (fine["t2m"] - 273.15).assign_attrs(units="K")
    files = save(tmp_path, coarse, fine)
    with pytest.raises(DataError, match=r"units of t2m in target: found .* values, expected K"):
        compute_statistics(open_files(*files))
    pairs = open_files(*files, units={"t2m": "degC"})  # also said of the input, which is right
    assert_true_everywhere(pairs)
    assert compute_statistics(pairs).target["t2m"].mean == pytest.approx(float(fields()["t2m"].mean()), rel=1e-5)


def test_zarr_is_read_as_well(tmp_path):
    fields(factor=FACTOR).to_zarr(tmp_path / "coarse.zarr", consolidated=False)
    fields().to_zarr(tmp_path / "fine.zarr", consolidated=False)
    assert_true_everywhere(open_files(tmp_path / "coarse.zarr", tmp_path / "fine.zarr"))


def test_uncommon_dimension_names_are_said(tmp_path):
    files = save(tmp_path, fine=fields().rename(lat="rows", lon="columns").drop_vars(["rows", "columns"]))
    with pytest.raises(DataError, match="rows, columns"):
        open_files(*files)
    pairs = open_files(*files, dims={"rows": "y", "columns": "x"}, spacing_km=25)
    assert pairs.shape == (12, 20) and pairs.spacing_km == (25.0, 25.0)


def test_channels_are_picked_by_name_never_by_place(tmp_path):
    shuffled = fields(factor=FACTOR)[["u10", "t2m"]].rename(t2m="2t", u10="10u")
    files = save(tmp_path, coarse=shuffled)
    assert_true_everywhere(open_files(*files))
    chosen = open_files(*files, input_channels=["t2m", "10u"], target_channels=["u10"])
    assert chosen.input_channels == ["t2m", "u10"] and chosen.target_channels == ["u10"]
    assert float(chosen.input[0, 0].mean()) > 280 and float(chosen.input[0, 1].mean()) < 20
    with pytest.raises(DataError, match="msl"):
        open_files(*files, input_channels=["msl"])


def test_a_channel_dimension_and_levels_are_taken_apart(tmp_path):
    fine = fields().to_array("channel").transpose("time", "channel", "lat", "lon").to_dataset(name="values")
    levels = fields(factor=FACTOR)
    levels["z"] = levels["t2m"].expand_dims(level=[850, 500], axis=1) * xr.DataArray([50, 180], dims="level")
    levels["z"].attrs["units"] = "m2 s-2"
    pairs = open_files(*save(tmp_path, levels, fine))
    assert pairs.target_channels == ["t2m", "u10"] and pairs.input_channels == ["t2m", "u10", "z850", "z500"]
    np.testing.assert_allclose(pairs.input.sel(channel="z500"), 180 * pairs.input.sel(channel="t2m"), rtol=1e-6)
    assert_true_everywhere(pairs)


def test_missing_targets_are_refused_or_masked(tmp_path):
    fine = fields()
    fine["t2m"][1, 2, 3] = np.nan
    files = save(tmp_path, fine=fine)
    pairs = open_files(*files)
    with pytest.raises(DataError, match="1 in t2m"):
        load(pairs, [0, 1], compute_statistics(pairs))
    pairs = open_files(*files, missing="mask")
    batch = load(pairs, [0, 1], compute_statistics(pairs))
    assert (~batch.mask).nonzero().tolist() == [[1, 0, 2, 3]] and batch.target.isfinite().all()
    with pytest.raises(DataError, match="refuse"):
        open_files(*files, missing="zero")


def test_missing_input_is_refused_or_set_to_the_mean_and_told(tmp_path):
    coarse = fields(factor=FACTOR)
    coarse["t2m"][1, 2, 3] = np.nan
    coarse["u10"][1, 2, 3:] = np.nan
    files = save(tmp_path, coarse=coarse)
    pairs = open_files(*files)
    with pytest.raises(DataError, match=r"input values: found .*1 in t2m"):
        load(pairs, [0, 1], compute_statistics(pairs))
    pairs = open_files(*files, missing="mask")
    statistics = compute_statistics(pairs)
    assert pairs.input_channels == ["t2m", "u10", "observed"] and bool(pairs.mask.all())
    assert statistics.input["t2m"].mean == pytest.approx(float(coarse.t2m.mean()), rel=1e-6)
    batch = load(pairs, [0, 1], statistics)
    assert batch.input.isfinite().all() and batch.input[1, 0, 2, 3] == 0 and (batch.input[1, 1, 2, 3:] == 0).all()
    expected = np.ones((6, *COARSE))
    expected[1, 2, 3:] = 0, 0.5
    np.testing.assert_array_equal(pairs.input.sel(channel="observed"), expected)
    assert pairs.input.chunksizes["channel"] == (3,) and pairs.input.dtype == np.float32


def test_invariants_of_a_wider_file_are_cropped_and_turned(tmp_path):
    wide = fields(margin=1).isel(time=0, drop=True).isel(lat=slice(None, None, -1))
    wide["t2m"].attrs["units"] = "m"
    wide[["t2m"]].rename(t2m="HGT").to_netcdf(tmp_path / "static.nc")
    pairs = open_files(*save(tmp_path), invariant=tmp_path / "static.nc")
    assert pairs.invariant_channels == ["orography"]
    np.testing.assert_allclose(pairs.invariant[0], 280 + pairs.target.lat / 10, rtol=1e-6)


def test_truncated_and_absent_files_are_refused(tmp_path):
    coarse, fine = save(tmp_path)
    fine.write_bytes(fine.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"fine\.nc.*cannot be read"):
        open_files(coarse, fine)
    with pytest.raises(DataError, match="no such file"):
        open_files(tmp_path / "none.nc", fine)


@pytest.mark.realdata
def test_a_real_nested_pair_of_wrf(real_data):
    folder = real_data("wrf_nested_pair_tibet")
    pairs = open_files(folder / "wrf_tip_d1.nc", folder / "wrf_tip_d2.nc")
    assert pairs.shape == (180, 270) and pairs.factor == (3, 3) and pairs.target_channels == ["t2m"]
    assert pairs.spacing_km == pytest.approx((10, 10), rel=0.01)
    coarse, fine = pairs.input[0, 0].values, block_mean(pairs.target[0].values, 3)[0]
    # the nest lies where the file says: shifted by a single coarse cell the two agree clearly less
    agreement = np.corrcoef(coarse.ravel(), fine.ravel())[0, 1]
    assert agreement > 0.99 > np.corrcoef(coarse[:, 1:].ravel(), fine[:, :-1].ravel())[0, 1]


def test_the_catalogue_opens_by_name(tmp_path):
    coarse, fine = save(tmp_path)
    assert_true_everywhere(open_pairs({"name": "files", "input": coarse, "target": fine}))
    with pytest.raises(ConfigError, match="hrrr_mini"):
        open_pairs({"name": "era6"})
    with pytest.raises(ConfigError, match="colour"):
        open_pairs({"name": "files", "input": coarse, "target": fine, "colour": 1})
    with pytest.raises(ConfigError, match="target"):
        open_pairs({"name": "files", "input": coarse})


def test_the_catalogue_opens_the_idealised_atmosphere():
    pairs = open_pairs({"name": "idealised", "end": "2000-01-02", "shape": [32, 48], "seed": 3})
    assert pairs.shape == (32, 48) and len(pairs) == 25
    with pytest.raises(ConfigError, match="sede"):
        open_pairs({"name": "idealised", "sede": 3})


def test_groups_are_listed_and_can_be_named(tmp_path):
    path = tmp_path / "both.nc"
    fields(factor=FACTOR).to_netcdf(path, group="coarse")
    fields().to_netcdf(path, group="fine/hourly", mode="a")
    with pytest.raises(
        DataError, match=r"groups only: coarse \(t2m, u10\); fine/hourly \(t2m, u10\).*input_group=coarse"
    ):
        open_files(path, path)
    assert_true_everywhere(open_files(path, path, input_group="coarse", target_group="fine/hourly"))
    with pytest.raises(DataError, match=r"no group 'middle', expected one of coarse \(t2m, u10\)"):
        open_files(path, path, input_group="middle")


def levels_of(dim, labels, units=None, name="u"):
    """A target with t2m, and `name` (m/s) along levels, each a thousandth of its number plus the longitude."""
    fine = fields()
    attrs = {"units": units} if units else {}
    axis = xr.DataArray(np.asarray(labels), dims=dim, attrs=attrs)
    values = (fine["u10"] + 1e-3 * axis).transpose("time", dim, "lat", "lon").assign_attrs(units="m s-1")
    return fine.drop_vars("u10").assign({name: values}).assign_coords({dim: axis})


@pytest.mark.parametrize(
    ("dim", "labels", "units", "names"),
    [
        ("level", [10.0, 850.0], "hPa", ["u_10hPa", "u850"]),
        ("level", [10, 850], "millibars", ["u_10hPa", "u850"]),
        ("plev", [85000.0, 1000.0], "Pa", ["u850", "u_10hPa"]),
        ("pressure_level", [10.0, 500.0], None, ["u_10hPa", "u500"]),
        ("height", [10.0, 100.0], "m", ["u10", "u100"]),
        ("hybrid", [9, 10], None, ["u_9", "u_10"]),
        ("depth", [10.0], "m", ["u"]),
    ],
)
def test_only_the_wind_in_ten_metres_is_called_so(tmp_path, dim, labels, units, names):
    pairs = open_files(*save(tmp_path, fine=levels_of(dim, labels, units)))
    assert pairs.target_channels == ["t2m", *names]
    for k, name in enumerate(names):
        expected = np.broadcast_to(pairs.target.lon + 1e-3 * labels[k], pairs.target.sel(channel=name).shape)
        np.testing.assert_allclose(pairs.target.sel(channel=name), expected, rtol=1e-5)


def test_members_are_no_channels(tmp_path):
    ten = levels_of("number", np.arange(1, 11))
    with pytest.raises(DataError, match=r"variable u: found 10 members along number.*isel\(number=0\)"):
        open_files(*save(tmp_path, fine=ten))
    one = fields().expand_dims(number=[3], axis=1)
    assert_true_everywhere(open_files(*save(tmp_path, fine=one)))


@pytest.mark.parametrize(
    ("name", "value"), [("t2m", -9999.0), ("t2m", 12.0), ("t2m", 0.0), ("u10", 1e20), ("u10", -999)]
)
@pytest.mark.parametrize("side", ["input", "target"])
def test_values_that_cannot_be_are_refused_when_they_are_read(tmp_path, side, name, value):
    parts = [fields(factor=FACTOR), fields()]
    parts[side == "target"][name][2, 1, 3] = value
    pairs = open_files(*save(tmp_path, *parts))
    with pytest.raises(DataError, match=re.escape(f"{name} in {side}: found {value:.5g} in 1 of")):
        getattr(pairs, side).load()
