"""ERA5 subsets and GRIB ensembles: names, units, axes and members as the lab has them, whatever the file's."""

import builtins
import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tiny_grib import LAT, LON, grib

from labkit.data.era5 import open_era5
from labkit.data.grib import forecast_tree, open_grib
from labkit.data.grib import messages as grib_messages
from labkit.errors import DataError
from labkit.store.trees import open_tree

DATA = Path(os.environ.get("LABKIT_DATA", ""))
STORM = DATA / "ecmwf_ens_storm_20131028" / "ens_storm.grib"
MUIFA = DATA / "era5_gust_muifa_20110801" / "wgust_era5.nc"


def value(lat, lon):
    """A field that tells the place of each of its cells: longitudes of either convention give the same."""
    return np.asarray(lat) + np.sin(np.deg2rad(lon)) / 4 + np.cos(np.deg2rad(lon)) / 8


def cds(*, time="valid_time", units=None, levels=None, lat=LAT, lon=LON, n_time=2, **fields):
    """An ERA5 file in the layout of the Climate Data Store; `fields` {name: factor of `value`}."""
    field = np.repeat(value(lat[:, None], lon)[None], n_time, 0) + np.arange(n_time)[:, None, None]
    dims, axes = (time, "latitude", "longitude"), {"latitude": lat, "longitude": lon}
    if levels is not None:
        field = field[:, None] + 100 * np.asarray(levels, float)[:, None, None]
        dims = (time, "pressure_level", *dims[1:])
        axes["pressure_level"] = ("pressure_level", np.asarray(levels, float), {"units": "hPa"})
    stamps = np.datetime64("2020-09-01T00", "ns") + np.arange(n_time) * np.timedelta64(1, "h")
    variables = {
        name: (dims, factor * field, {"units": (units or {}).get(name, "K")}) for name, factor in fields.items()
    }
    return xr.Dataset(variables, {**axes, time: stamps})


def saved(dataset, folder, name="era5.nc"):
    dataset.to_netcdf(folder / name)
    return folder / name


@pytest.mark.parametrize("time", ["time", "valid_time"])
def test_era5_has_our_names_units_and_rows_to_the_north(tmp_path, time):
    found = open_era5(saved(cds(time=time, t2m=1, units={"t2m": "K"}), tmp_path))
    assert found.t2m.dims == ("time", "y", "x") and found.t2m.dtype == np.float32
    assert found.t2m.attrs["units"] == "K" and found.t2m.attrs["long_name"] == "2 m temperature"
    assert found.t2m.chunks is not None
    np.testing.assert_array_equal(found.lat[:, 0], LAT[::-1])
    np.testing.assert_array_equal(found.lon[0], np.arange(-150, 181, 30))
    np.testing.assert_allclose(found.t2m[1], value(found.lat, found.lon) + 1, rtol=1e-6)
    assert str(found.time.values[1])[:13] == "2020-09-01T01"
    # 2 degrees of latitude, and 30 of longitude at the mean over the rows of their cosine
    radius = 6371.0
    assert float(found.y[1] - found.y[0]) == pytest.approx(radius * np.deg2rad(2), rel=1e-3)
    along = 2 * radius * np.arcsin(np.cos(np.deg2rad(LAT)) * np.sin(np.deg2rad(15)))  # of the great circle
    assert float(found.x[1] - found.x[0]) == pytest.approx(along.mean(), rel=1e-6)


@pytest.mark.parametrize(
    ("box", "longitudes"),
    [
        ((-70, 21, 35, 27), [-60, -30, 0, 30]),
        ((145, 21, -110, 27), [150, 180, -150, -120]),
        ((290, 21, 395, 27), [-60, -30, 0, 30]),
    ],
)
def test_a_box_may_cross_greenwich_and_the_date_line(tmp_path, box, longitudes):
    found = open_era5(saved(cds(t2m=1), tmp_path), box=box)
    np.testing.assert_array_equal(found.lon[0], longitudes)
    np.testing.assert_array_equal(found.lat[:, 0], [22, 24, 26])
    np.testing.assert_allclose(found.t2m[0], value(found.lat, found.lon), rtol=1e-6)


def test_a_region_across_the_date_line_keeps_its_order(tmp_path):
    lon = np.array([170.0, 175.0, 180.0, -175.0])
    found = open_era5(saved(cds(t2m=1, lon=lon), tmp_path))
    np.testing.assert_array_equal(found.lon[0], [170, 175, 180, -175])
    westward = open_era5(saved(cds(t2m=1, lon=lon[::-1].copy()), tmp_path, "westward.nc"))
    xr.testing.assert_allclose(westward, found.assign_attrs(source="westward.nc"))


def test_a_box_with_nothing_inside_is_refused(tmp_path):
    with pytest.raises(DataError, match="0 x 4 cells"):
        open_era5(saved(cds(t2m=1), tmp_path), box=(-70, -40, 35, -20))


def test_units_become_those_of_the_registry_or_are_refused(tmp_path):
    units = {"tp": "m", "msl": "hPa", "lsm": "(0 - 1)", "i10fg": "m s**-1", "d2m": "K"}
    found = open_era5(saved(cds(tp=1e-3, msl=1, lsm=1, i10fg=1, d2m=1, units=units), tmp_path))
    here = value(found.lat, found.lon)
    np.testing.assert_allclose(found.tp[0], here, rtol=1e-5)
    np.testing.assert_allclose(found.msl[0], 100 * here, rtol=1e-5)
    np.testing.assert_allclose(found.gust[0], here, rtol=1e-5)
    assert [found[name].attrs["units"] for name in ("tp", "msl", "land_mask", "gust")] == ["mm h-1", "Pa", "1", "m s-1"]
    warm = saved(cds(t2m=1, units={"t2m": "degC"}), tmp_path, "warm.nc")
    np.testing.assert_allclose(open_era5(warm).t2m[0], here + 273.15, rtol=1e-6)
    wrong = saved(cds(t2m=1, u10=1, units={"t2m": "W m-2", "u10": "m s**-1"}), tmp_path, "wrong.nc")
    with pytest.raises(DataError, match=r"t2m in ERA5 file wrong.nc: found 'W m-2', expected K"):
        open_era5(wrong)
    assert list(open_era5(wrong, variables=["u10"])) == ["u10"]
    with pytest.raises(DataError, match="expected msl"):
        open_era5(wrong, variables=["msl"])


def test_pressure_levels_become_variables(tmp_path):
    units = {"t": "K", "u": "m s**-1"}
    found = open_era5(saved(cds(t=1, u=1, levels=[500, 850], units=units), tmp_path))
    assert set(found) == {"t500", "t850", "u500", "u850"}
    np.testing.assert_allclose(found.t850[0], value(found.lat, found.lon) + 85000, rtol=1e-6)


def test_final_values_stand_before_preliminary_ones(tmp_path):
    final = cds(time="time", t2m=1)
    final["t2m"][1] = np.nan
    both = xr.concat([cds(time="time", t2m=3), final], xr.Variable("expver", [5, 1]))
    found = open_era5(saved(both, tmp_path))
    here = value(found.lat, found.lon)
    np.testing.assert_allclose(found.t2m[0], here, rtol=1e-5)
    np.testing.assert_allclose(found.t2m[1], 3 * (here + 1), rtol=1e-5)


def test_the_members_of_the_era5_ensemble(tmp_path):
    members = xr.concat([cds(t2m=1), cds(t2m=2)], xr.Variable("number", [0, 1]))
    found = open_era5(saved(members, tmp_path))
    assert found.t2m.dims == ("ensemble", "time", "y", "x")
    np.testing.assert_allclose(found.t2m.sel(ensemble=1, time="2020-09-01T00"), 2 * value(found.lat, found.lon))


def test_a_file_without_latitudes_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected latitude, longitude and time"):
        open_era5(saved(xr.Dataset({"t": ("x", np.zeros(3))}), tmp_path))


def message(name, short, numbers, hours, *, scale=1.0, level="surface", levels=(0.0,), step_type="instant", units="K"):
    """A hypercube as cfgrib gives it: values of `value` + number + 10 x lead, times the scale."""
    steps = np.array(hours) * np.timedelta64(1, "h").astype("timedelta64[ns]")
    base = np.array(["2020-09-01T00"], "datetime64[ns]")
    lead = np.array(hours, float)[None, None, :, None, None, None]
    one = np.asarray(numbers, float)[:, None, None, None, None, None]
    height = np.asarray(levels, float)[None, None, None, :, None, None]
    field = scale * (value(LAT[:, None], LON) + one + 10 * lead + height)
    dims = ("number", "time", "step", level, "latitude", "longitude")
    attrs = {"GRIB_shortName": short, "GRIB_typeOfLevel": level, "GRIB_stepType": step_type, "units": units}
    coords = {"number": list(numbers), "time": base, "step": steps, level: list(levels)}
    coords |= {"latitude": LAT, "longitude": LON, "valid_time": (("time", "step"), base[:, None] + steps)}
    return xr.Dataset({name: (dims, field.astype(np.float32), attrs)}, coords).chunk()


@pytest.fixture
def messages(tmp_path):
    """`messages(*hypercubes)`: the path of a GRIB file of all of their fields."""

    def written(*hypercubes):
        return grib(tmp_path / "ensemble.grib", *(one for cube in hypercubes for one in fields_of(cube)))

    return written


def fields_of(cube):
    """The messages of a hypercube, as ECMWF codes them in edition 1."""
    (name,) = cube.data_vars
    about, level = cube[name].attrs, cube[name].dims[3]
    for number, time, step, height in np.ndindex(*cube[name].shape[:4]):
        end = int(cube.step[step] / np.timedelta64(1, "h"))
        accumulated = about["GRIB_stepType"] == "accum"
        kind = {"type": "pf" if cube.number[number] else "cf", "number": int(cube.number[number]), "totalNumber": 51}
        where = {"indicatorOfTypeOfLevel": "pl", "level": int(cube[level][height])} if level != "surface" else {}
        yield {
            "edition": 1, "centre": "ecmf", "date": str(cube.time.values[time])[:13],
            "shortName": about["GRIB_shortName"],
            "setLocalDefinition": 1, "localDefinitionNumber": 1, "stream": "enfo", **kind, **where,
            "timeRangeIndicator": 4 if accumulated else 0, "stepRange": f"0-{end}" if accumulated else str(end),
            "values": cube[name].values[number, time, step, height],
        }  # fmt: skip


def test_control_and_members_are_one_ensemble_at_times_of_validity(messages):
    perturbed = message("t2m", "2t", [1, 2, 3], [24, 30])
    found = open_grib(messages(perturbed, message("t2m", "2t", [0], [24, 30])))
    assert found.t2m.dims == ("ensemble", "time", "y", "x")
    np.testing.assert_array_equal(found.ensemble, [0, 1, 2, 3])
    assert [str(t)[:13] for t in found.time.values] == ["2020-09-02T00", "2020-09-02T06"]
    np.testing.assert_array_equal(found.lead_time.values / np.timedelta64(1, "h"), [24, 30])
    here = value(found.lat, found.lon)
    for k in range(4):
        for i, lead in enumerate((24, 30)):
            np.testing.assert_allclose(found.t2m[k, i], here + k + 10 * lead, rtol=1e-6)


def test_names_hold_for_every_version_of_ecmwf_tables_and_levels_are_told_apart(messages):
    kinds = {"units": "m s**-1"}
    gust = message("fg10_3", "10fg3", [0], [6], **kinds)
    wind = message("u", "u", [0], [6], level="isobaricInhPa", levels=[850, 500], **kinds)
    assert set(open_grib(messages(gust, wind))) == {"gust", "u850", "u500"}
    assert set(open_grib(messages(message("fg310", "10fg3", [0], [6], **kinds)))) == {"gust"}
    found = open_grib(messages(wind), variables=["u500"])
    np.testing.assert_allclose(found.u500[0, 0], value(found.lat, found.lon) + 60 + 500, rtol=1e-6)


def test_rain_is_what_fell_since_the_step_before_by_the_hour(messages):
    rain = message("tp", "tp", [0, 1], [6, 12, 24], scale=1e-3, step_type="accum", units="m")
    found = open_grib(messages(rain))
    here = value(found.lat, found.lon)
    assert found.tp.attrs["units"] == "mm h-1"
    np.testing.assert_allclose(found.tp[1, 0], (here + 1 + 60) / 6, rtol=1e-4)
    np.testing.assert_allclose(found.tp[:, 1:], 10, rtol=1e-4)


def test_what_a_file_lacks_is_missing_and_not_another_time(messages):
    gust = message("fg10_3", "10fg3", [0, 1], [6, 12], units="m s**-1")
    both = open_grib(messages(gust, message("t2m", "2t", [0, 1], [12])))
    assert both.gust.notnull().all()
    np.testing.assert_array_equal(both.t2m.isnull().all(("y", "x")), [[True, False]] * 2)
    assert both.lead_time.notnull().all()


def test_bases_of_several_steps_are_one_series_unless_two_tell_of_one_time(messages):
    first = message("t2m", "2t", [0], [6, 12])
    second = first.assign_coords(time=first.time + np.timedelta64(1, "D")).drop_vars("valid_time")
    later = xr.concat([first.drop_vars("valid_time"), second], "time").assign_coords(valid_time=0)
    found = open_grib(messages(later))
    assert [str(t)[:13] for t in found.time.values] == [f"2020-09-0{d}T{h}" for d in (1, 2) for h in ("06", "12")]
    np.testing.assert_array_equal(found.lead_time / np.timedelta64(1, "h"), [6, 12, 6, 12])
    np.testing.assert_allclose(found.t2m[0, :, 0, 0] - found.t2m[0, 0, 0, 0], [0, 60, 0, 60], atol=1e-4)
    found = open_grib(messages(later.isel(step=[0])))
    assert [str(t)[:13] for t in found.time.values] == ["2020-09-01T06", "2020-09-02T06"]
    second = first.assign_coords(time=first.time + np.timedelta64(6, "h")).drop_vars("valid_time")
    path = messages(xr.concat([first.drop_vars("valid_time"), second], "time").assign_coords(valid_time=0))
    with pytest.raises(DataError, match=r"2 bases .* base='2020-09-01T06:00'"):
        open_grib(path)
    alone = open_grib(path, base="2020-09-01T06")
    assert [str(t)[:13] for t in alone.time.values] == ["2020-09-01T12", "2020-09-01T18"]
    lagged = open_grib(path, lagged=True).sel(time="2020-09-01T12").t2m
    np.testing.assert_allclose(lagged[0] - lagged[1], 60, atol=1e-4)  # 12 h of the older, 6 h of the newer base


def test_a_forecast_is_a_tree_that_the_apps_open(messages, tmp_path):
    found = open_grib(messages(message("t2m", "2t", [0, 1, 2], [24, 30])))
    forecast_tree(found).to_netcdf(tmp_path / "forecast.nc")
    tree = open_tree(tmp_path / "forecast.nc")
    np.testing.assert_array_equal(tree["prediction/t2m"], found.t2m)
    np.testing.assert_allclose(tree["lat"], found.lat)
    assert tree["truth/t2m"].isnull().all() and tree["truth/t2m"].dims == ("time", "y", "x")
    known = found.isel(ensemble=1, drop=True)
    np.testing.assert_array_equal(forecast_tree(found, known)["truth/t2m"], known.t2m)


def test_a_lacking_reader_is_told_with_the_extra_that_brings_it(monkeypatch, tmp_path):
    (tmp_path / "storm.grib").write_bytes(b"GRIB7777")
    original = builtins.__import__

    def without(name, *rest):
        if name.startswith("eccodes"):
            raise ModuleNotFoundError("No module named 'eccodes'")
        return original(name, *rest)

    for name in [name for name in sys.modules if name.startswith("eccodes")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(grib_messages, "_loaded", grib_messages._loaded.__wrapped__)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"No module named 'eccodes'.*pip install \"labkit\[grib\]\""):
        open_grib(tmp_path / "storm.grib")
    with pytest.raises(DataError, match="no such file"):
        open_grib(tmp_path / "other.grib")


needs_eccodes = pytest.mark.skipif(
    importlib.util.find_spec("eccodes") is None, reason='ecCodes is not installed: pip install "labkit[grib]"'
)
needs_storm = pytest.mark.skipif(
    not STORM.is_file(), reason="LABKIT_DATA names no folder with ecmwf_ens_storm_20131028"
)
needs_muifa = pytest.mark.skipif(
    not MUIFA.is_file(), reason="LABKIT_DATA names no folder with era5_gust_muifa_20110801"
)


@needs_eccodes
def test_what_is_no_grib_is_refused(tmp_path):
    (tmp_path / "other.grib").write_bytes(b"GRIB of another kind, 7777")
    with pytest.raises(DataError, match=r"GRIB file other\.grib"):
        open_grib(tmp_path / "other.grib")


def decoded(path, number, step):
    """The gusts of a member at a step, rows from the north, straight from ecCodes."""
    import eccodes

    with path.open("rb") as file:
        while (handle := eccodes.codes_grib_new_from_file(file)) is not None:
            keys = [eccodes.codes_get(handle, key) for key in ("shortName", "number", "step", "Nj", "Ni")]
            if keys[:3] == ["10fg3", number, step]:
                return eccodes.codes_get_values(handle).reshape(keys[3:]).astype(np.float32)
            eccodes.codes_release(handle)


@needs_eccodes
@needs_storm
@pytest.mark.realdata
def test_the_storm_of_october_2013_has_51_members_as_ecmwf_coded_them():
    found = open_grib(STORM, variables=["gust"])
    assert dict(found.gust.sizes) == {"ensemble": 51, "time": 3, "y": 31, "x": 48}
    assert [str(t)[:13] for t in found.time.values] == ["2013-10-28T00", "2013-10-28T06", "2013-10-28T12"]
    np.testing.assert_array_equal(found.ensemble, np.arange(51))
    np.testing.assert_allclose(found.lat[[0, -1], 0], [43.5, 66])
    gust = found.gust.load()
    assert gust.notnull().all() and float(gust.min()) >= 0 and 40 < float(gust.max()) < 60
    np.testing.assert_array_equal(gust.sel(ensemble=17, time="2013-10-28T06"), decoded(STORM, 17, 78)[::-1])
    assert not list(STORM.parent.glob("*.idx"))


@needs_eccodes
@needs_storm
@pytest.mark.realdata
def test_a_cut_grib_file_is_refused(tmp_path):
    whole = STORM.read_bytes()
    (tmp_path / "cut.grib").write_bytes(whole[: len(whole) // 2 - 1000])
    with pytest.raises(DataError, match=r"cut\.grib"):
        open_grib(tmp_path / "cut.grib").load()


@needs_muifa
@pytest.mark.realdata
def test_the_strongest_gust_of_the_globe_is_in_muifa():
    found = open_era5(MUIFA)
    j, i = np.unravel_index(int(found.gust[0].values.argmax()), found.gust.shape[1:])
    assert (float(found.lat[j, i]), float(found.lon[j, i])) == (18.5, 133.75)
    near = open_era5(MUIFA, box=(125, 12, 140, 25))
    assert float(near.gust.max()) == float(found.gust.max()) == pytest.approx(38.28, abs=0.01)
