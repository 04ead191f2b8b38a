"""One's own files: names, units, north, times and grids must come out right whatever the file's habits."""

import re

import numpy as np
import pytest
import xarray as xr

from labkit.cli import main
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


GLOBE = np.arange(-179.5, 180)


@pytest.mark.parametrize("conventions", ["-180 to 180", "0 to 360"])
@pytest.mark.parametrize("west", [-3, 177, 10, -180, 179])
@pytest.mark.parametrize("own", [0, -180])
def test_a_domain_is_found_on_a_globe_of_either_convention(tmp_path, west, conventions, own):
    """Five degrees of longitude anywhere, at 60 to 63 north; the file of the domain may count degrees as it likes."""
    lon = west + (np.arange(20) + 0.5) / 4
    fine = fields().assign_coords(lat=60 + (np.arange(12) + 0.5) / 4, lon=(lon - own) % 360 + own)
    true = np.cos(np.radians(lon))
    fine["u10"][:] = true
    globe = np.sort(GLOBE % 360) if conventions == "0 to 360" else GLOBE
    lat = np.arange(-89.5, 90)
    means = np.cos(np.radians(globe)) * np.sin(np.radians(0.5)) / (4 * np.sin(np.radians(0.125)))  # of four columns
    coarse = xr.Dataset(
        {"u10": (("time", "lat", "lon"), np.broadcast_to(means, (6, 180, 360)).copy(), {"units": "m s-1"})},
        {"time": HOURS, "lat": lat, "lon": globe},
    )
    pairs = open_files(*save(tmp_path, coarse, fine), target_channels=["u10"])
    assert pairs.factor == (4, 4) and pairs.attrs["alignment"] == ""
    np.testing.assert_allclose(pairs.input[0, 0, 0], true.reshape(5, 4).mean(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pairs.target[0, 0, 0], true, rtol=1e-5, atol=1e-6)
    assert np.ptp(np.unwrap(pairs.target.lon.values[0], period=360)) == pytest.approx(4.75, abs=1e-3)


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


def test_whether_grids_were_seen_to_fit_is_said(tmp_path):
    assert open_files(*save(tmp_path)).attrs["alignment"] == ""
    bare = fields(factor=FACTOR).drop_vars(["lat", "lon"])
    assert "taken to lie" in open_files(*save(tmp_path, bare)).attrs["alignment"]
    static = fields(times=HOURS[:1]).isel(time=0, drop=True)[["t2m"]].rename(t2m="height")
    for invariant, said in ((static, ""), (static.drop_vars(["lat", "lon"]), "both invariants and target")):
        invariant.to_netcdf(tmp_path / f"{said}.nc")
        found = open_files(*save(tmp_path), invariant=tmp_path / f"{said}.nc").attrs["alignment"]
        assert said in found and bool(said) == bool(found)


@pytest.mark.parametrize("verb", [["data"], ["spectra", "--direction", "x"]], ids=lambda words: words[0])
def test_grids_that_are_taken_as_aligned_are_told_in_the_terminal(tmp_path, capsys, verb):
    bare = fields(factor=FACTOR).drop_vars(["lat", "lon"])
    for coarse, said in ((None, False), (bare, True)):
        files = [f"{name}={path}" for name, path in zip(("input", "target"), save(tmp_path, coarse), strict=True)]
        assert main([verb[0], "files", *files, *verb[1:]]) == 0
        found = capsys.readouterr().err
        assert found.count("note: Cells are taken to lie one on the other") == said


def test_zarr_is_read_as_well(tmp_path):
    fields(factor=FACTOR).to_zarr(tmp_path / "coarse.zarr", consolidated=False)
    fields().to_zarr(tmp_path / "fine.zarr", consolidated=False)
    assert_true_everywhere(open_files(tmp_path / "coarse.zarr", tmp_path / "fine.zarr"))


@pytest.mark.parametrize("which", ["coarse", "fine", "both"])
def test_rows_from_north_to_south_are_turned_over(tmp_path, which):
    coarse, fine = fields(factor=FACTOR), fields()
    coarse = coarse.isel(lat=slice(None, None, -1)) if which != "fine" else coarse
    fine = fine.isel(lat=slice(None, None, -1)) if which != "coarse" else fine
    assert_true_everywhere(open_files(*save(tmp_path, coarse, fine)))


def test_two_dimensional_positions_and_other_dimension_names(tmp_path):
    def curvilinear(dataset):
        lat, lon = xr.broadcast(dataset.lat, dataset.lon)
        renamed = dataset.drop_vars(["lat", "lon"]).rename(lat="south_north", lon="west_east")
        places = {
            "XLAT": (("south_north", "west_east"), lat.values),
            "XLONG": (("south_north", "west_east"), lon.values),
        }
        return renamed.assign_coords(places)

    assert_true_everywhere(open_files(*save(tmp_path, curvilinear(fields(factor=FACTOR)), curvilinear(fields()))))


def test_uncommon_dimension_names_are_said(tmp_path):
    files = save(tmp_path, fine=fields().rename(lat="rows", lon="columns").drop_vars(["rows", "columns"]))
    with pytest.raises(DataError, match="rows, columns"):
        open_files(*files)
    pairs = open_files(*files, dims={"rows": "y", "columns": "x"}, spacing_km=25)
    assert pairs.shape == (12, 20) and pairs.spacing_km == (25.0, 25.0)


def test_projected_axes_give_kilometres(tmp_path):
    def projected(dataset, metres):
        axes = {name: ((np.arange(dataset.sizes[name]) + 0.5) * metres) for name in ("lat", "lon")}
        renamed = dataset.assign_coords(axes).rename(lat="y", lon="x")
        for axis in ("y", "x"):
            renamed[axis].attrs["units"] = "m"
        return renamed

    files = save(tmp_path, projected(fields(factor=FACTOR), 12_000), projected(fields(), 3_000))
    pairs = open_files(*files)
    assert pairs.spacing_km == (3.0, 3.0) and pairs.target.y[0] == 1.5 and np.isnan(pairs.target.lat).all()
    shifted = projected(fields(factor=FACTOR), 12_000)
    shifted = shifted.assign_coords(x=shifted.x + 6_000)
    shifted["x"].attrs["units"] = "m"
    with pytest.raises(DataError, match="centres of coarse cells"):
        open_files(*save(tmp_path, shifted, projected(fields(), 3_000)))


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


def test_times_are_matched_by_value(tmp_path):
    files = save(tmp_path, fields(HOURS[[4, 2, 0]], factor=FACTOR), fields(HOURS[[5, 4, 3, 2]]))
    pairs = open_files(*files)
    np.testing.assert_array_equal(pairs.target.time, HOURS[[2, 4]])
    assert_true_everywhere(pairs)


def test_times_apart_repeated_or_lacking_are_refused(tmp_path):
    later = fields(HOURS + np.timedelta64(1, "D"))
    with pytest.raises(DataError, match="input of 2020-06-01T00:00 to 2020-06-01T05:00"):
        open_files(*save(tmp_path, fine=later))
    with pytest.raises(DataError, match="repeat"):
        open_files(*save(tmp_path, fine=fields(HOURS[[0, 1, 1]])))
    with pytest.raises(DataError, match="time of the target"):
        open_files(*save(tmp_path, fine=fields().drop_vars("time")))


def test_a_wider_input_is_cropped_to_the_cells_of_the_target(tmp_path):
    pairs = open_files(*save(tmp_path, fields(factor=FACTOR, margin=2)))
    assert pairs.input.shape[-2:] == COARSE
    assert_true_everywhere(pairs)


def test_grids_that_do_not_fit_are_refused(tmp_path):
    shifted = fields(factor=FACTOR)
    with pytest.raises(DataError, match="centres of coarse cells"):
        open_files(*save(tmp_path, shifted.assign_coords(lon=shifted.lon + 0.4)))
    with pytest.raises(DataError, match="ends after"):
        open_files(*save(tmp_path, shifted.isel(lon=slice(0, 4))))
    with pytest.raises(DataError, match="multiple of 4 x 4"):
        open_files(*save(tmp_path, fine=fields().isel(lon=slice(0, 18))))


def test_without_positions_the_sizes_must_fit(tmp_path):
    bare, coarse = (data.drop_vars(["lat", "lon"]) for data in (fields(), fields(factor=FACTOR)))
    with pytest.raises(DataError, match="spacing_km"):
        open_files(*save(tmp_path, coarse, bare))
    assert open_files(*save(tmp_path, coarse, bare), spacing_km=2).spacing_km == (2.0, 2.0)
    with pytest.raises(DataError, match="18 fine cells over 5"):
        open_files(*save(tmp_path, coarse, bare.isel(lon=slice(0, 18))), spacing_km=2)


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


def test_moving_grids_are_refused(tmp_path):
    fine = fields().rename(lat="y", lon="x").drop_vars(["y", "x"])
    moving = np.broadcast_to(np.arange(6)[:, None, None] + np.arange(12)[:, None], (6, 12, 20)).astype(float)
    fine = fine.assign_coords(XLAT=(("time", "y", "x"), moving), XLONG=(("time", "y", "x"), moving))
    with pytest.raises(DataError, match="change with time"):
        open_files(*save(tmp_path, fine=fine))


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


def globe(factor, start, lat0=40.0, n_lat=3, units=None):
    """Fields around the globe, a degree of 1 / FACTOR x factor each, whose longitudes begin at `start`."""
    step = factor / FACTOR * 3
    lat, lon = (
        lat0 + step * (np.arange(n_lat * FACTOR // factor) + 0.5),
        start + step * (np.arange(int(360 / step)) + 0.5),
    )
    t2m = 280 + np.add.outer(lat / 10, np.cos(np.radians(lon))) + np.zeros((len(HOURS), 1, 1))
    return xr.Dataset({"t2m": (("time", "lat", "lon"), t2m, {"units": "K"})}, {"time": HOURS, "lat": lat, "lon": lon})


@pytest.mark.parametrize("start", [0, -180])
@pytest.mark.parametrize("west", [-9, 171, 351, -189])
@pytest.mark.parametrize("split", [False, True])
def test_a_domain_across_greenwich_or_the_date_line_is_found_on_any_globe(tmp_path, start, west, split):
    coarse = globe(FACTOR, start)
    lon = west + 0.75 * (np.arange(24) + 0.5)
    if split:  # as a mask cuts it out of a globe: both ends of the row
        lon = np.sort((lon - start) % 360 + start)
    whole = globe(1, 0)
    fine = whole.isel(lon=slice(0, 24)).assign_coords(lon=lon)
    fine["t2m"] = 280 + fine.lat / 10 + np.cos(np.radians(fine.lon)) + 0 * fine.time.dt.hour
    fine = fine.transpose("time", "lat", "lon")
    fine["t2m"].attrs["units"] = "K"
    pairs = open_files(*save(tmp_path, coarse, fine))
    assert pairs.shape == (12, 24) and pairs.factor == (4, 4)
    expected = 280 + pairs.target.lat.values / 10 + np.cos(np.radians(pairs.target.lon.values))
    np.testing.assert_allclose(pairs.target[0, 0], expected, atol=1e-4)
    np.testing.assert_allclose(pairs.input[0, 0], block_mean(pairs.target[0, 0].values, (4, 4)), atol=2e-3)
    assert (np.abs(np.diff(np.unwrap(pairs.target.lon[0], period=360)) - 0.75) < 1e-3).all()


@pytest.mark.parametrize("with_degrees", [True, False])
def test_a_moved_pole_with_or_without_latitudes(tmp_path, with_degrees):
    """COSMO's and CORDEX's grid; positions by the formula of a rotation about the y axis and one about the z axis."""
    pole_lat, pole_lon = 39.25, -162.0

    def rotated(factor):
        step = 0.11 * factor
        rlat, rlon = (low + step * (np.arange(n // factor) + 0.5) for low, n in ((-4.0, 12), (-6.0, 20)))
        phi, lam, p = *np.radians(np.meshgrid(rlat, rlon, indexing="ij")), np.radians(pole_lat)
        lat = np.arcsin(np.sin(phi) * np.sin(p) + np.cos(phi) * np.cos(lam) * np.cos(p))
        east = np.cos(phi) * np.sin(lam)
        lon = np.arctan2(east, np.cos(phi) * np.cos(lam) * np.sin(p) - np.sin(phi) * np.cos(p)) + np.radians(
            pole_lon + 180
        )
        dims = ("time", "grid_latitude", "grid_longitude") if factor == 1 else ("time", "rlat", "rlon")
        t2m = 280 + np.degrees(lat) / 10 + np.zeros((len(HOURS), 1, 1))
        found = xr.Dataset({"t2m": (dims, t2m, {"units": "K", "grid_mapping": "pole"})}, {"time": HOURS})
        for name, values in zip(dims[1:], (rlat, rlon), strict=True):
            found[name] = (name, values, {"units": "degrees"})
        found["pole"] = ((), 0, {
            "grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": pole_lat,
            "grid_north_pole_longitude": pole_lon,
        })  # fmt: skip
        if with_degrees:
            found = found.assign_coords(lat=(dims[1:], np.degrees(lat)), lon=(dims[1:], np.degrees(lon)))
        return found, np.degrees(lat), np.degrees(lon)

    (coarse, *_), (fine, lat, lon) = rotated(4), rotated(1)
    pairs = open_files(*save(tmp_path, coarse, fine))
    np.testing.assert_allclose(pairs.target.lat, lat, atol=1e-3)
    np.testing.assert_allclose(pairs.target.lon, lon, atol=1e-3)
    np.testing.assert_allclose(pairs.target[0, 0], 280 + lat / 10, rtol=1e-6)
    np.testing.assert_allclose(pairs.spacing_km, 0.11 * 111.19, rtol=5e-3)
    if not with_degrees:  # without the pole its degrees are no latitudes, but as long
        bare = open_files(*save(tmp_path, coarse.drop_vars("pole"), fine.drop_vars("pole")))
        np.testing.assert_allclose(bare.spacing_km, 0.11 * 111.19, rtol=5e-3)
        assert np.isnan(bare.target.lat).all() and "taken to lie" in bare.attrs["alignment"]


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


def test_one_time_without_its_dimension(tmp_path):
    files = save(tmp_path, fields(factor=FACTOR).isel(time=2), fields())
    pairs = open_files(*files)
    assert len(pairs) == 1 and pairs.target.time.values[0] == HOURS[2]
    assert_true_everywhere(pairs)


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


BASE = np.datetime64("2020-06-01T00", "ns")
LEADS = (HOURS - BASE) / np.timedelta64(1, "h")


def by_step(valid=True, step="step", base="time", lead=HOURS - BASE, **attrs):
    """The layout of cfgrib and its like: one base, steps from it, and perhaps the dates of validity."""
    found = fields().rename_dims(time=step).drop_vars("time")
    found = found.assign_coords({base: BASE, step: (step, lead, attrs)})
    return found.assign_coords(valid_time=(step, HOURS)) if valid else found


DATED = {
    "cfgrib": by_step(),
    "cfgrib without valid_time": by_step(valid=False),
    "lead times in hours": by_step(False, "lead_time", "forecast_reference_time", LEADS, units="hours"),
    "lead times in minutes": by_step(False, "lead_time", "init_time", 60 * LEADS, units="minutes"),
    "one step of many bases": fields(HOURS)
    .assign_coords(time=HOURS - np.timedelta64(6, "h"))
    .assign_coords(valid_time=("time", HOURS), step=np.timedelta64(6, "h")),
    "dates as text": fields().assign_coords(time=[f"{str(t)[:19]}Z" for t in HOURS]),
    "dates as text of another offset": fields().assign_coords(
        time=[f"{str(t + np.timedelta64(9, 'h'))[:19]}+09:00" for t in HOURS]
    ),
    "a dimension of another name": fields().rename(time="forecast_reference_time"),
}


@pytest.mark.parametrize("fine", DATED.values(), ids=DATED)
def test_times_are_those_of_validity(tmp_path, fine):
    dims = {"forecast_reference_time": "time"} if "forecast_reference_time" in fine.dims else None
    pairs = open_files(*save(tmp_path, fine=fine), dims=dims)
    np.testing.assert_array_equal(pairs.target.time, HOURS)
    assert_true_everywhere(pairs)


def test_fractions_of_an_hour_are_matched_to_the_second_and_lost_partners_are_said(tmp_path, caplog):
    thirds = HOURS[0] + np.arange(6) * np.timedelta64(20, "m")
    fine = fields(thirds)
    fine["time"] = ("time", (np.arange(6) / 3).astype("f4"), {"units": "hours since 2020-06-01"})
    pairs = open_files(*save(tmp_path, fields(thirds, factor=FACTOR), fine))
    np.testing.assert_array_equal(pairs.target.time, thirds)
    assert_true_everywhere(pairs)
    assert "no partner" not in caplog.text
    open_files(*save(tmp_path, fields(HOURS[[0, 1, 5]], factor=FACTOR), fields(HOURS[[0, 2, 3, 5]])))
    assert "2 are in both files; between them 1 of the input and 2 of the target" in caplog.text


@pytest.mark.parametrize("times", [np.arange(6), 2020060100 + np.arange(6), 20200601 + np.arange(6) / 24])
def test_numbers_are_no_dates(tmp_path, times):
    parts = [fields(factor=f).assign_coords(time=times) for f in (FACTOR, 1)]
    with pytest.raises(DataError, match="no date for each step"):
        open_files(*save(tmp_path, *parts))


def test_several_bases_with_steps_are_refused(tmp_path):
    both = by_step().expand_dims(time=[BASE, BASE + np.timedelta64(12, "h")])
    with pytest.raises(DataError, match="2 bases with 6 steps each"):
        open_files(*save(tmp_path, fine=both))


def test_one_label_for_two_intervals_is_refused(tmp_path):
    """Rain from 0 to 1 is at 1 in the input, at 0 in the target: by the labels it would be an hour too late."""
    hour = np.timedelta64(1, "h")
    parts = []
    for factor, shift in ((FACTOR, -hour), (1, 0 * hour)):
        one = fields(factor=factor)
        one["time_bnds"] = (("time", "nv"), np.stack([HOURS + shift, HOURS + shift + hour], axis=1))
        one["time"].attrs["bounds"] = "time_bnds"
        parts.append(one)
    with pytest.raises(DataError, match="2020-06-01T00:00 of input and target"):
        open_files(*save(tmp_path, *parts))
    assert_true_everywhere(open_files(*save(tmp_path, parts[0], fields())))


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


def test_cells_half_a_cell_beside_are_said(tmp_path):
    pairs = open_files(*save(tmp_path, fine=fields().assign_coords(lat=fields().lat + 0.125)))
    assert pairs.attrs["alignment"] == "The centres of input and target are up to 13.9 km apart."
