"""Output trees: foreign files are read uniformly, and bad ones refused."""

import time
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr
from tiny_trees import MEMBERS, NX, NY, TIMES, corrdiff_file, fields, fill, writer

from labkit.errors import DataError
from labkit.store.trees import FIELD_DIMS, MEMBER_DIMS, open_tree, spacing_known


def test_corrdiff_file_opens_with_units_coordinates_and_order(tmp_path):
    tree = open_tree(corrdiff_file(tmp_path / "corrdiff_output.nc"))
    assert set(tree.children) == {"input", "truth", "prediction"}
    assert tree["prediction/10u"].dims == MEMBER_DIMS and tree["truth/10v"].dims == FIELD_DIMS
    assert tree["prediction/10u"].chunks is not None
    np.testing.assert_array_equal(tree["prediction/10v"].values, fields(MEMBERS, TIMES, seed=1))
    assert tree["truth/10u"].attrs == {"units": "m s-1", "long_name": "eastward wind 10 m"}
    assert tree.time.values[1] == np.datetime64("1990-01-02T01")
    np.testing.assert_array_equal(tree.ensemble, np.arange(MEMBERS))
    assert np.isnan(tree.lat).all() and tree.lat.dims == ("y", "x")
    assert "cell number" in tree.x.attrs["source"] and tree.sizes["x"] == NX
    assert not spacing_known(tree)
    assert tree.attrs["cfg"] == "{'__import__': 'os'}"


def test_axes_in_km_follow_from_latitude_and_longitude_and_rows_are_turned_northwards(tmp_path):
    lat = 24 - 0.02 * np.arange(NY)[:, None] + np.zeros(NX)  # rows from north to south
    lon = (179.9 + 0.03 * np.arange(NX) + 180) % 360 - 180 + np.zeros((NY, 1))  # over the date line
    tree = open_tree(corrdiff_file(tmp_path / "a.nc", lat=lat, lon=lon))
    degree = 2 * np.pi * 6371 / 360
    np.testing.assert_allclose(np.diff(tree.y), 0.02 * degree, rtol=1e-3)
    np.testing.assert_allclose(np.diff(tree.x), 0.03 * degree * np.cos(np.deg2rad(lat.mean())), rtol=1e-3)
    assert tree.x.attrs["units"] == "km" and "great-circle" in tree.x.attrs["source"]
    assert spacing_known(tree)
    np.testing.assert_allclose(tree.lat[:, 0], lat[::-1, 0], rtol=1e-6)
    np.testing.assert_array_equal(tree["prediction/10v"].values, fields(MEMBERS, TIMES, seed=1)[..., ::-1, :])


def test_shuffled_dimensions_are_put_right_by_name(tmp_path):
    straight = open_tree(corrdiff_file(tmp_path / "a.nc"))
    shuffled = open_tree(corrdiff_file(tmp_path / "b.nc", dims=("x", "time", "ensemble", "y")))
    assert shuffled["prediction/10u"].dims == MEMBER_DIMS
    np.testing.assert_array_equal(shuffled["prediction/10u"].values, straight["prediction/10u"].values)


def test_opening_reads_no_field_but_one_of_a_variable_without_units(tmp_path, monkeypatch):
    path, read = corrdiff_file(tmp_path / "a.nc"), []
    with netCDF4.Dataset(path, "a") as file:
        for group in ("input", "truth", "prediction"):
            file[group]["10u"].units = "m s-1"
    wrapper = xr.backends.netCDF4_.NetCDF4ArrayWrapper
    getitem = wrapper._getitem

    def spy(self, key):
        values = getitem(self, key)
        read.extend([self.variable_name] * (values.size // (NY * NX)))
        return values

    monkeypatch.setattr(wrapper, "_getitem", spy)
    tree = open_tree(path)
    assert "lat" in read and "10u" not in read and read.count("10v") == 3
    tree["truth/10u"].load()
    assert read.count("10u") == TIMES


def test_axes_in_metres_become_km(tmp_path):
    path = corrdiff_file(tmp_path / "a.nc")
    with netCDF4.Dataset(path, "a") as file:
        axis = file.createVariable("x", "f8", ("x",))
        axis.units = "m"
        axis[:] = np.arange(NX) * 1500.0
    np.testing.assert_allclose(open_tree(path).x, np.arange(NX) * 1.5)


def test_truth_may_be_masked_and_invariants_may_lack_time(tmp_path):
    path = corrdiff_file(tmp_path / "a.nc")
    with netCDF4.Dataset(path, "a") as file:
        file["truth/10u"][0, 0, 0] = np.nan
        file["input"].createVariable("orography", "f4", ("x", "y"))[:] = np.arange(NX)[:, None]
    tree = open_tree(path)
    assert int(np.isnan(tree["truth/10u"]).sum()) == 1
    assert tree["input/orography"].dims == FIELD_DIMS
    np.testing.assert_array_equal(tree["input/orography"][2, 1], np.arange(NX))


def refuse(path, *words):
    with pytest.raises(DataError) as caught:
        open_tree(path)
    text = str(caught.value)
    assert Path(path).name in text and "\n" not in text and all(word in text for word in words), text


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_refused(tmp_path, share):
    content = corrdiff_file(tmp_path / "a.nc").read_bytes()
    path = tmp_path / "short.nc"
    path.write_bytes(content[: int(share * len(content))])
    refuse(path, "truncated")


def test_what_is_no_tree_is_refused(tmp_path):
    refuse(tmp_path / "absent.nc", "no such file")
    (tmp_path / "text.nc").write_text("time,lat,lon\n")
    refuse(tmp_path / "text.nc", "cannot be read")
    (tmp_path / "empty.zarr").mkdir()
    refuse(tmp_path / "empty.zarr", "cannot be read")
    xr.Dataset({"t2m": (("y", "x"), np.zeros((2, 2)))}).to_netcdf(tmp_path / "flat.nc")
    refuse(tmp_path / "flat.nc", "groups: none", "'prediction'")


def test_without_members_a_file_is_refused(tmp_path):
    refuse(corrdiff_file(tmp_path / "a.nc", groups=["input", "truth"]), "'prediction'", "input")


def test_a_forecast_without_a_truth_has_one_that_is_nowhere_known(tmp_path):
    tree = open_tree(corrdiff_file(tmp_path / "a.nc", groups=["input", "prediction"]))
    members, truth = tree["prediction"].to_dataset(), tree["truth"].to_dataset()
    assert set(truth.data_vars) == set(members.data_vars)
    for name, field in truth.data_vars.items():
        assert field.dims == FIELD_DIMS and field.attrs == members[name].attrs and field.chunks is not None
        assert field.isnull().all() and field.shape == members[name].shape[1:]


def test_prediction_without_members_is_refused(tmp_path):
    refuse(corrdiff_file(tmp_path / "a.nc", dims=FIELD_DIMS), "prediction/10u", "ensemble")


def test_groups_without_a_common_variable_are_refused(tmp_path):
    path = corrdiff_file(tmp_path / "a.nc", names={"truth": ("2t",), "prediction": ("10u",)})
    refuse(path, "2t", "10u", "at least one variable in both")


def test_groups_on_other_grids_or_times_are_refused(tmp_path):
    path = corrdiff_file(tmp_path / "a.nc")
    with netCDF4.Dataset(path, "a") as file:
        group = file.createGroup("regression")
        group.createDimension("x", NX + 2)
        group.createVariable("10u", "f4", FIELD_DIMS)[:] = 0
    refuse(path, "regression/10u", f"{NX + 2} along x", "same grid")
    path = corrdiff_file(tmp_path / "b.nc")
    with netCDF4.Dataset(path, "a") as file:
        hours = file["truth"].createVariable("time", "i8", ("time",))
        hours.units = "hours since 1990-01-01 00:00:00"
        hours[:] = np.arange(TIMES)
    refuse(path, "time of group", "truth")


def test_opening_is_quick(tmp_path):
    path = fill(writer(tmp_path / "out.nc")).finish()
    open_tree(path).close()
    start = time.perf_counter()
    open_tree(path)
    assert time.perf_counter() - start < 1


def test_a_duration_stays_a_number(tmp_path):
    path = corrdiff_file(tmp_path / "a.nc", names={"input": ("sunshine",)})
    with netCDF4.Dataset(path, "a") as file:
        file["input/sunshine"].units = "hours"
    assert open_tree(path)["input/sunshine"].dtype == np.float32
