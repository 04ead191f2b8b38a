"""What is gone, was never written or is dated otherwise is said, and never taken for a place without data."""

import netCDF4
import numpy as np
import pytest
import xarray as xr
import zarr
from tiny_trees import FORMATS, NX, NY, corrdiff_file, fill, member, writer

from labkit.cli import main
from labkit.data.files import open_files
from labkit.data.pairs import Pairs
from labkit.data.reading import open_lazily
from labkit.data.statistics import compute_statistics
from labkit.errors import DataError
from labkit.store.trees import open_tree
from labkit.verify.scores import score, score_tree

HOURS = np.datetime64("2020-06-01T00", "ns") + np.arange(6) * np.timedelta64(1, "h")


def chunk_files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "zarr.json")


@pytest.mark.parametrize("array", ["prediction/u10", "truth/t2m", "interpolation/u10", "time", "lat"])
def test_a_lost_chunk_of_a_tree_is_refused_by_name(tmp_path, array):
    path = fill(writer(tmp_path / "out.zarr")).finish()
    open_tree(path).close()
    chunk_files(path / array)[-1].unlink()
    with pytest.raises(DataError, match=f"1 chunks that were written and are gone, of {array}"):
        open_tree(path)


def test_every_single_chunk_counts(tmp_path):
    path = fill(writer(tmp_path / "out.zarr")).finish()
    files = chunk_files(path)
    assert len(files) > 30
    for file in files:
        values = file.read_bytes()
        file.unlink()
        with pytest.raises(DataError, match="gone"):
            open_tree(path)
        file.write_bytes(values)
    open_tree(path).close()


@FORMATS
def test_members_that_were_never_drawn_are_no_lost_chunks_and_are_left_out_of_the_scores(tmp_path, suffix):
    output = writer(tmp_path / f"out{suffix}")
    for time in range(output.n_times):
        assert output.write_regression(time, member(time, 9)) if time else True
    fill(output, [(t, k) for t in range(3) for k in range(3) if (t, k) not in ((0, 0), (0, 1), (0, 2), (2, 1))])
    with open_tree(output.finish(allow_missing=True)) as tree:
        assert "prediction: time 2 member 1" in tree.attrs["missing_members"]
        scores = score_tree(tree)
        kept = [t.load() for t in (tree["prediction"].u10[:, 1:2], tree["truth"].u10[1:2])]
    own = scores.sel(source="prediction", variable="u10")
    assert float(own.crps) == pytest.approx(float(score(*kept).crps), rel=1e-6) and int(own.members) == 3
    assert "2 of 3 times (2021-09-12T00:00, 2021-09-12T00:10) lacking in pred" in scores.attrs["left_out"]["u10"]


def half_written(path, times=2):
    """What is left of CorrDiff's own generate.py when it is killed: fields of the later times were never written."""
    corrdiff_file(path)
    with netCDF4.Dataset(path, "a") as file:
        for group in ("truth", "prediction"):
            for variable in file[group].variables.values():
                fills = np.float32(netCDF4.default_fillvals["f4"])
                variable[(slice(None), slice(times, None)) if group == "prediction" else slice(times, None)] = fills
    return path


def test_fields_that_upstream_never_wrote_are_said_and_not_scored(tmp_path, capsys):
    whole, half = corrdiff_file(tmp_path / "whole.nc"), half_written(tmp_path / "half.nc")
    with open_tree(half) as tree, open_tree(whole) as other:
        assert float(abs(tree["prediction"]["10u"]).max()) < 10 and bool(tree["truth"]["10u"][2].isnull().all())
        first = {f"/{g}": other[g].to_dataset().isel(time=slice(2)) for g in ("truth", "prediction")}
        expected, found = score_tree(xr.DataTree.from_dict(first)), score_tree(tree)
        assert "10v of the prediction at 1 of 3 times" in tree.attrs["never_written"]
        assert "never_written" not in other.attrs
    np.testing.assert_allclose(found.crps, expected.crps, rtol=1e-6)
    assert int(found["count"].max()) == 2 * NY * NX and "1 of 3 times (1990-01-02T02:00) without truth" in str(
        found.attrs
    )
    assert main(["score", str(half)]) == 0
    assert "Never written, so that it takes no part: 10u of the truth at 1 of 3 times" in capsys.readouterr().err


def pair_of_files(folder, calendar="standard", times=HOURS):
    """A coarse and a fine file of one temperature, by the NetCDF library itself, without fill values."""
    for name, n in (("coarse", 3), ("fine", 6)):
        with netCDF4.Dataset(folder / f"{name}.nc", "w") as file:
            for dim, size in (("time", len(times)), ("lat", n), ("lon", n)):
                file.createDimension(dim, size)
            for dim in ("lat", "lon"):
                file.createVariable(dim, "f8", (dim,))[:] = 40 + (np.arange(n) + 0.5) * 3 / n
            stamps = file.createVariable("time", "i8", ("time",))
            stamps.setncatts({"units": "hours since 2020-06-01 00:00:00", "calendar": calendar})
            stamps[:] = np.arange(len(times))
            t2m = file.createVariable("t2m", "f4", ("time", "lat", "lon"))
            t2m.units = "K"
            t2m[:] = 280 + np.random.default_rng(n).standard_normal((len(times), n, n))
    return folder / "coarse.nc", folder / "fine.nc"


def test_values_of_one_s_own_file_that_were_never_written_are_refused_when_they_are_read(tmp_path):
    files = pair_of_files(tmp_path)
    with netCDF4.Dataset(files[1], "a") as file:
        file["t2m"][4:] = np.float32(netCDF4.default_fillvals["f4"])
    for missing in ("refuse", "mask"):
        with pytest.raises(DataError, match=r"t2m of fine\.nc: found values that were never written"):
            compute_statistics(open_files(*files, missing=missing))


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "julian", "all_leap"])
def test_dates_of_another_calendar_are_refused_at_opening_in_one_sentence(tmp_path, calendar, capsys):
    files = pair_of_files(tmp_path, calendar)
    with pytest.raises(DataError, match=f"time of coarse.nc: found dates of the {calendar} calendar"):
        open_files(*files)
    options = [f"{name}={path}" for name, path in zip(("input", "target"), files, strict=True)]
    assert main(["data", "files", *options]) == 1 and capsys.readouterr().err.count("\n") == 1
    tree = corrdiff_file(tmp_path / "tree.nc")
    with netCDF4.Dataset(tree, "a") as file:
        file["time"].calendar = calendar
    with pytest.raises(DataError, match=f"dates of the {calendar} calendar"):
        open_tree(tree)


def test_the_way_out_that_the_refusal_names_works(tmp_path):
    files = pair_of_files(tmp_path, "noleap")
    for path in files:
        with xr.open_dataset(path) as dataset:
            converted = dataset.load().convert_calendar("standard", align_on="year")
        converted.to_netcdf(path)
    assert open_files(*files).target.time.values.astype("datetime64[h]").tolist() == HOURS.astype("M8[h]").tolist()


@pytest.mark.parametrize("calendar", ["standard", "gregorian", "proleptic_gregorian"])
def test_the_real_calendar_opens_by_all_its_names_and_not_beyond_its_range(tmp_path, calendar):
    files = pair_of_files(tmp_path, calendar)
    assert open_files(*files).target.time.dtype.kind == "M"
    with netCDF4.Dataset(files[1], "a") as file:
        file["time"].units = "hours since 3020-06-01 00:00:00"
    with pytest.raises(DataError, match=f"the {calendar} calendar, outside 1678 to 2262"):
        open_files(*files)


def test_pairs_made_by_hand_are_asked_too():
    times = xr.date_range("2001-02-27", periods=3, calendar="noleap", use_cftime=True)
    fine = xr.DataArray(
        np.zeros((3, 1, 4, 4), "f4"), {"time": times, "channel": ["t2m"]}, ("time", "channel", "y", "x")
    )
    coarse = fine[..., ::2, ::2].rename(y="y_in", x="x_in")
    with pytest.raises(DataError, match="times of pairs: found dates of the noleap calendar"):
        Pairs(coarse, fine, fine[0, :0].drop_vars("time"))


STORED = np.arange(-5, 20).reshape(5, 5)
LIMITS = {
    "floats": ("f4", {"valid_range": np.array([0, 9], "f4")}),
    "ends": ("f4", {"valid_min": np.float32(0), "valid_max": np.float32(9)}),
    "one end": ("f4", {"valid_max": np.float32(9)}),
    "packed": ("i2", {"valid_range": np.array([0, 9], "i2"), "scale_factor": 0.01, "add_offset": 273.0}),
    "packed upside down": ("i2", {"valid_range": np.array([0, 9], "i2"), "scale_factor": -0.01, "add_offset": 273.0}),
    "bytes": ("i1", {"valid_min": np.int8(0), "_FillValue": np.int8(3), "scale_factor": 0.5}),
    "both marks": ("f4", {"_FillValue": np.float32(-5), "missing_value": np.float32(19)}),
}


@pytest.mark.parametrize(("kind", "attrs"), LIMITS.values(), ids=LIMITS)
def test_what_a_file_calls_invalid_is_missing_as_the_netcdf_library_has_it(tmp_path, kind, attrs):
    path = tmp_path / "limits.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("y", 5)
        file.createDimension("x", 5)
        made = file.createVariable("t2m", kind, ("y", "x"), fill_value=attrs.get("_FillValue"))
        made.setncatts({name: value for name, value in attrs.items() if name != "_FillValue"})
        made.set_auto_maskandscale(False)
        made[:] = STORED.astype(kind)
    with netCDF4.Dataset(path) as file:
        expected = np.ma.filled(file["t2m"][:].astype(float), np.nan)
    assert 0 < np.isnan(expected).sum() < expected.size
    found = open_lazily(path)["t2m"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert not {"valid_range", "valid_min", "valid_max"} & set(found.attrs)  # converted, they would be wrong


def test_a_limit_in_floats_beside_stored_integers_is_one_of_decoded_values_and_a_mark_may_be_text(tmp_path):
    values = np.array([[271.0, 274.0], [276.0, -9999.0]])
    one = xr.Dataset({"t2m": (("y", "x"), values[:, :1], {"valid_range": [270.0, 275.0]})})
    one.to_netcdf(tmp_path / "a.nc", encoding={"t2m": {"dtype": "i2", "scale_factor": 0.01, "add_offset": 273.0}})
    np.testing.assert_allclose(open_lazily(tmp_path / "a.nc")["t2m"], [[271.0], [np.nan]])
    xr.Dataset({"t2m": (("y", "x"), values, {"missing_value": "-9999."})}).to_netcdf(tmp_path / "b.nc")
    np.testing.assert_allclose(open_lazily(tmp_path / "b.nc")["t2m"], [[271.0, 274.0], [276.0, np.nan]])


def test_a_zero_of_zarr_2_is_a_zero_and_another_fill_is_missing(tmp_path):
    rain = np.array([[0.0, 2.0], [0.0, -9.0]], "f4")
    for name, mark in (("zero", 0.0), ("nine", -9.0)):
        made = zarr.open_group(tmp_path / f"{name}.zarr", mode="w", zarr_format=2)
        array = made.create_array("tp", shape=(2, 2), dtype="f4", fill_value=mark)
        array.attrs["_ARRAY_DIMENSIONS"] = ["y", "x"]
        array[:] = rain
    np.testing.assert_array_equal(open_lazily(tmp_path / "zero.zarr")["tp"], rain)
    np.testing.assert_array_equal(open_lazily(tmp_path / "nine.zarr")["tp"], np.where(rain < 0, np.nan, rain))
