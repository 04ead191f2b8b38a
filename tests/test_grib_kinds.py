"""GRIB of many producers: members, levels, grids, scanning and products as they come, or refused in a sentence."""

import numpy as np
import pyproj
import pytest
from tiny_grib import LAT, LON, field, grib, rain

from labkit.cli import main
from labkit.data.grib import open_grib
from labkit.data.grib.messages import read_messages
from labkit.errors import DataError
from labkit.store.trees import open_tree

codes = pytest.importorskip("eccodes", reason='ecCodes is not installed: pip install "labkit[grib]"')
T2M = {"discipline": 0, "parameterCategory": 0, "parameterNumber": 0, "typeOfFirstFixedSurface": 103}
T2M |= {"scaledValueOfFirstFixedSurface": 2, "scaleFactorOfFirstFixedSurface": 0, "centre": "kwbc"}
KELVIN = 280 + np.add.outer(LAT, np.cos(np.deg2rad(LON)))


def t2m(step=6, add=0.0, **more):
    return {"values": KELVIN + add, **T2M, "stepRange": str(step), **more}


def warmer(found):
    """What `add` of each member and time was."""
    return (found.t2m - found.t2m[0, 0]).mean(("y", "x")).values


def test_a_deterministic_forecast_is_an_ensemble_of_one(tmp_path):
    found = open_grib(grib(tmp_path / "gfs.grb2", t2m(6), t2m(12, 1.0)))
    assert dict(found.sizes) == {"ensemble": 1, "time": 2, "y": len(LAT), "x": len(LON)}
    np.testing.assert_allclose(warmer(found), [[0, 1]], atol=1e-4)
    np.testing.assert_allclose(found.t2m[0, 0].mean(), KELVIN.mean(), rtol=1e-6)


def test_one_field_alone_opens(tmp_path):
    found = open_grib(grib(tmp_path / "analysis.grb2", t2m(0)))
    assert found.t2m.shape == (1, 1, len(LAT), len(LON)) and found.lead_time.values == np.timedelta64(0)


@pytest.mark.parametrize("numbered", [True, False])
def test_members_in_files_of_their_own(tmp_path, numbered):
    paths = []
    for k in range(4):
        number = {"productDefinitionTemplateNumber": 1, "perturbationNumber": k} if numbered else {}
        paths.append(grib(tmp_path / f"ge{k:02d}.grb2", *(t2m(6 * i, 10 * k + i, **number) for i in (1, 2))))
    order = [2, 0, 3, 1]
    found = open_grib([paths[k] for k in order])
    members = range(4) if numbered else order
    np.testing.assert_array_equal(found.ensemble, range(4))
    expected = np.array([[10 * k + i for i in (1, 2)] for k in members]) - 10 * members[0] - 1
    np.testing.assert_allclose(warmer(found), expected, atol=1e-4)


def test_ensembles_of_edition_2_are_counted_by_their_number(tmp_path):
    keys = {"productDefinitionTemplateNumber": 1}
    fields = [t2m(6, k, **keys, perturbationNumber=k) for k in (3, 0, 1, 2)]
    found = open_grib(grib(tmp_path / "gefs.grb2", *fields))
    np.testing.assert_allclose(warmer(found)[:, 0], [0, 1, 2, 3], atol=1e-4)


def test_rain_of_an_ensemble_is_each_members_own(tmp_path):
    keys = {"productDefinitionTemplateNumber": 11}
    fields = [
        {**rain(a, b, (k + 1.0) * (b - a)), **keys, "perturbationNumber": k, "stepRange": f"{a}-{b}"}
        for k in range(3)
        for a, b in ((0, 3), (0, 6), (6, 9))
    ]
    tp = open_grib(grib(tmp_path / "gefs.grb2", *fields)).tp
    np.testing.assert_allclose(tp.mean(("y", "x")), np.repeat([[1], [2], [3]], 3, 1), rtol=1e-4)


def level(kind, value, add, name="t", **more):
    """Temperature on a level of any kind."""
    surface = {"pl": (100, value * 100), "height": (103, value), "ground": (1, 0)}[kind]
    keys = {"parameterCategory": 0, "parameterNumber": 0, "typeOfFirstFixedSurface": surface[0]}
    keys |= {"scaleFactorOfFirstFixedSurface": 0, "scaledValueOfFirstFixedSurface": surface[1], "centre": "kwbc"}
    return {"values": KELVIN + add, **keys, "stepRange": "6", **more}


def test_levels_of_one_name_are_told_apart(tmp_path):
    fields = [level("pl", 850, 1), level("pl", 500, 2), level("height", 80, 3), level("height", 100, 4)]
    found = open_grib(grib(tmp_path / "levels.grb2", *fields, level("ground", 0, 5), t2m()))
    mean = {name: float((found[name] - found.t2m).mean()) for name in found}
    expected = {"t2m": 0, "t850": 1, "t500": 2, "t_surface": 5}
    expected |= {"t_heightAboveGround_80": 3, "t_heightAboveGround_100": 4}
    assert mean == pytest.approx(expected, abs=1e-4)


def test_means_and_maxima_over_an_interval_are_not_the_field_at_its_end(tmp_path):
    keys = {"productDefinitionTemplateNumber": 8}
    ways = [t2m(0, 2, **keys, stepType=way) | {"stepRange": "0-6"} for way in ("avg", "max")]
    found = open_grib(grib(tmp_path / "ways.grb2", t2m(6), *ways))
    assert set(found) == {"t2m", "t2m_avg", "t2m_max"} or {"mx2t", "t2m"} <= set(found)
    np.testing.assert_allclose(found.t2m.mean(), KELVIN.mean(), rtol=1e-6)


def test_percentiles_probabilities_and_means_of_an_ensemble_are_not_its_rain(tmp_path):
    percentile = {"productDefinitionTemplateNumber": 10, "percentileValue": 90}
    probability = {"productDefinitionTemplateNumber": 9, "probabilityType": 1, "scaleFactorOfUpperLimit": 2}
    probability |= {"scaledValueOfUpperLimit": 254, "scaleFactorOfLowerLimit": 2, "scaledValueOfLowerLimit": 254}
    fields = [rain(0, 6, 6.0)]
    for keys in (percentile, probability):
        fields.append({**rain(0, 6, 50.0), **keys, "parameterCategory": 1, "parameterNumber": 8, "stepRange": "0-6"})
    found = open_grib(grib(tmp_path / "nbm.grb2", *fields))
    assert set(found) == {"tp", "tp_percentile90", "tp_probability1_2.54_2.54"} or len(found) == 3
    np.testing.assert_allclose(found.tp, 1, rtol=1e-5)


@pytest.mark.parametrize(
    "lon", [np.arange(350.0, 371.0, 2.0), np.arange(170.0, 191.0, 2.0), np.arange(-10.0, 11.0, 2.0)]
)
def test_longitudes_across_greenwich_and_the_date_line_run_on(tmp_path, lon):
    values = np.add.outer(LAT, np.arange(len(lon)))
    found = open_grib(grib(tmp_path / "lon.grb2", t2m() | {"values": values + 250, "lon": lon}))
    np.testing.assert_allclose(np.unwrap(found.lon[0], period=360) - float(found.lon[0, 0]), lon - lon[0], atol=1e-4)
    np.testing.assert_allclose(found.t2m[0, 0], values[::-1] + 250, rtol=1e-6)
    assert abs(found.lon).max() <= 180 and (np.diff(found.lat[:, 0]) > 0).all()


def test_rows_from_the_south_are_not_turned_again(tmp_path):
    found = open_grib(grib(tmp_path / "south.grb2", t2m() | {"lat": LAT[::-1].copy(), "values": KELVIN[::-1]}))
    np.testing.assert_allclose(found.lat[:, 0], LAT[::-1])
    np.testing.assert_allclose(found.t2m[0, 0, :, found.lon.values[0].argmin()].values, KELVIN[::-1, 7], rtol=1e-5)


def test_what_a_bitmap_hides_is_missing(tmp_path):
    values = KELVIN.copy()
    values[1, 2] = np.nan
    found = open_grib(grib(tmp_path / "bitmap.grb2", t2m() | {"values": values})).t2m
    assert int(found.isnull().sum()) == 1 and np.isnan(found.sortby("x").values[0, 0, len(LAT) - 2]).any()


def lambert(values, *, mode=64, **more):
    """A Lambert message of HRRR's map, 3 km, from 21.14 N, 122.7 W; `mode` is the scanning mode."""
    handle = field(codes, **T2M, values=280.0)
    nj, ni = values.shape
    grid = {"gridType": "lambert", "Nx": ni, "Ny": nj, "LaDInDegrees": 38.5, "LoVInDegrees": 262.5}
    grid |= {"Latin1InDegrees": 38.5, "Latin2InDegrees": 38.5, "DxInMetres": 3000.0, "DyInMetres": 3000.0}
    grid |= {"latitudeOfFirstGridPointInDegrees": 30.0, "longitudeOfFirstGridPointInDegrees": 250.0}
    for key, value in (grid | more | {"scanningMode": mode}).items():
        codes.codes_set(handle, key, value)
    codes.codes_set_values(handle, values.astype(float).ravel())
    return handle


def write(path, *handles):
    with path.open("wb") as file:
        for handle in handles:
            codes.codes_write(handle, file)
    return path


MAP = pyproj.Proj("+proj=lcc +lat_0=38.5 +lat_1=38.5 +lat_2=38.5 +lon_0=262.5 +R=6367470")


@pytest.mark.parametrize("mode", [64, 0, 192, 128, 80, 16])
def test_a_lambert_grid_lies_where_its_scanning_mode_says(tmp_path, mode):
    """Scanning: 128 columns from the east, 64 rows from the south, 16 every other row backwards."""
    stored = 250.0 + np.arange(12.0).reshape(3, 4)
    found = open_grib(write(tmp_path / "hrrr.grb2", lambert(stored, mode=mode)))
    natural = stored.copy()
    if mode & 16:
        natural[1::2] = natural[1::2, ::-1]
    rows, columns = (1 if mode & 64 else -1), (-1 if mode & 128 else 1)
    x0, y0 = MAP(250.0, 30.0)
    for j in range(3):
        for i in range(4):
            lon, lat = MAP(x0 + columns * 3000 * i, y0 + rows * 3000 * j, inverse=True)
            apart = np.hypot(found.lat - lat, found.lon - lon)
            assert float(apart.min()) < 1e-4
            here = np.unravel_index(int(apart.values.argmin()), apart.shape)
            assert float(found.t2m[0, 0][here]) == pytest.approx(natural[j, i], abs=1e-3)
    np.testing.assert_allclose(np.diff(found.x), 3.0)
    assert found.attrs["crs_wkt"]


GRIDS = {
    "rotated_ll": {
        "latitudeOfSouthernPoleInDegrees": -40.0, "longitudeOfSouthernPoleInDegrees": 10.0, "Ni": 6, "Nj": 5,
        "latitudeOfFirstGridPointInDegrees": 4.0, "latitudeOfLastGridPointInDegrees": -4.0,
        "longitudeOfFirstGridPointInDegrees": 355.0, "longitudeOfLastGridPointInDegrees": 5.0,
        "iDirectionIncrementInDegrees": 2.0, "jDirectionIncrementInDegrees": 2.0, "angleOfRotationInDegrees": 0.0,
    },
    "polar_stereographic": {
        "Nx": 6, "Ny": 5, "LaDInDegrees": 60.0, "orientationOfTheGridInDegrees": 250.0, "DxInMetres": 5e3,
        "DyInMetres": 5e3, "latitudeOfFirstGridPointInDegrees": 45.0, "longitudeOfFirstGridPointInDegrees": 240.0,
        "jScansPositively": 1,
    },
    "mercator": {
        "Ni": 6, "Nj": 5, "LaDInDegrees": 20.0, "latitudeOfFirstGridPointInDegrees": 18.0, "jScansPositively": 1,
        "longitudeOfFirstGridPointInDegrees": 198.0, "DiInMetres": 2500.0, "DjInMetres": 2500.0,
        "latitudeOfLastGridPointInDegrees": 18.0898, "longitudeOfLastGridPointInDegrees": 198.1196,
    },
    "lambert_azimuthal_equal_area": {
        "Nx": 6, "Ny": 5, "standardParallelInDegrees": 54.9, "centralLongitudeInDegrees": 357.5, "jScansPositively": 1,
        "DxInMetres": 2000.0, "DyInMetres": 2000.0, "latitudeOfFirstGridPointInDegrees": 44.5,
        "longitudeOfFirstGridPointInDegrees": 342.8,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", GRIDS)
def test_positions_on_maps_and_of_a_moved_pole_are_those_of_eccodes(tmp_path, kind):
    handle = field(codes, **T2M, values=280.0)
    for key, value in ({"gridType": kind} | GRIDS[kind]).items():
        codes.codes_set(handle, key, value)
    values = 280.0 + np.arange(30.0)
    codes.codes_set_values(handle, values)
    found = open_grib(write(tmp_path / "map.grb2", handle))
    lat, lon = (codes.codes_get_array(handle, key) for key in ("latitudes", "longitudes"))
    for k in range(30):
        apart = np.hypot(found.lat - lat[k], (found.lon - lon[k] + 180) % 360 - 180)
        assert float(apart.min()) < 2e-4
        here = np.unravel_index(int(apart.values.argmin()), apart.shape)
        assert float(found.t2m[0, 0][here]) == pytest.approx(values[k], abs=1e-3)


def test_a_regular_gaussian_grid_has_its_own_latitudes(tmp_path):
    handle = codes.codes_grib_new_from_samples("regular_gg_sfc_grib2")
    for key, value in T2M.items():
        codes.codes_set(handle, key, value)
    lat = codes.codes_get_array(handle, "distinctLatitudes")
    codes.codes_set_values(handle, np.repeat(250 + lat / 10, 128))
    found = open_grib(write(tmp_path / "gg.grb2", handle))
    np.testing.assert_allclose(found.lat[:, 0], np.sort(lat), atol=1e-4)
    np.testing.assert_allclose(found.t2m[0, 0, :, 5], 250 + np.sort(lat) / 10, atol=1e-3)


def test_two_winds_in_one_message_are_both_read(tmp_path):
    """NCEP packs u and v together: without care only the first would be seen."""
    wind = {"discipline": 0, "parameterCategory": 2, "typeOfFirstFixedSurface": 103, "centre": "kwbc"}
    wind |= {"scaleFactorOfFirstFixedSurface": 0, "scaledValueOfFirstFixedSurface": 10}
    multi = codes.codes_grib_multi_new()
    for number, value in ((2, 7.0), (3, -3.0)):
        handle = field(codes, values=value + KELVIN / 100, **wind, parameterNumber=number)
        codes.codes_grib_multi_append(handle, 4, multi)
    with (tmp_path / "nam.grb2").open("wb") as file:
        codes.codes_grib_multi_write(multi, file)
    found = open_grib(tmp_path / "nam.grb2")
    assert len(read_messages(tmp_path / "nam.grb2")) == 2 and set(found) == {"u10", "v10"}
    np.testing.assert_allclose(found.u10 - found.v10, 10, atol=1e-3)


def test_headers_and_padding_between_messages_are_passed_over(tmp_path):
    raw = grib(tmp_path / "one.grb2", t2m(6)).read_bytes()
    more = grib(tmp_path / "two.grb2", t2m(12)).read_bytes()
    (tmp_path / "telegram.grb2").write_bytes(
        b"\x01\r\r\nYTPA98 KWBC 010000\r\r\n" + raw + bytes(900) + more + bytes(3000)
    )
    assert open_grib(tmp_path / "telegram.grb2").sizes["time"] == 2


@pytest.mark.parametrize("cut", [10, 100, -20, -2])
def test_a_cut_file_is_refused(tmp_path, cut):
    raw = grib(tmp_path / "whole.grb2", t2m(6), t2m(12)).read_bytes()
    (tmp_path / "cut.grb2").write_bytes(raw[:cut])
    with pytest.raises(DataError, match=r"cut\.grb2"):
        open_grib(tmp_path / "cut.grb2")


def test_grids_that_have_no_rows_and_two_grids_are_refused(tmp_path):
    handle = codes.codes_grib_new_from_samples("reduced_gg_sfc_grib2")
    with pytest.raises(DataError, match=r"a grid of the kind reduced_gg.*grid="):
        open_grib(write(tmp_path / "era5.grib", handle))
    path = grib(tmp_path / "two.grb2", t2m(), level("pl", 850, 0) | {"lat": LAT[:3], "values": KELVIN[:3]})
    with pytest.raises(DataError, match="2 grids, such as those of t"):
        open_grib(path)
    assert set(open_grib(path, variables=["t2m"])) == {"t2m"}


def test_a_field_written_twice_is_one_and_two_that_differ_are_refused(tmp_path):
    assert open_grib(grib(tmp_path / "twice.grb2", t2m(), t2m())).sizes["time"] == 1
    with pytest.raises(DataError, match=r"two fields of .*, member 0, that differ"):
        open_grib(grib(tmp_path / "differ.grb2", t2m(), t2m(add=1)))


def test_a_box_on_a_map_keeps_what_is_inside(tmp_path):
    path = write(tmp_path / "hrrr.grb2", lambert(250.0 + np.arange(400.0).reshape(20, 20)))
    whole = open_grib(path)
    west, east = (float(whole.lon[:, k].mean()) for k in (5, 12))
    south, north = (float(whole.lat[k].mean()) for k in (4, 10))
    part = open_grib(path, box=(west, south, east, north))
    assert 5 <= part.sizes["y"] <= 12 and 6 <= part.sizes["x"] <= 12
    same = whole.sel(y=part.y, x=part.x)
    np.testing.assert_array_equal(part.t2m, same.t2m)


@pytest.mark.realdata
def test_rain_of_hrrr_is_that_of_the_hour_on_a_grid_of_three_kilometres(real_data):
    """The file has what fell in 12 hours and what fell in the last of them."""
    path = next(real_data("hrrr_tp_3km_20201214").glob("*.grib2"))
    found = open_grib(path)
    with path.open("rb") as file:
        handles = [codes.codes_grib_new_from_file(file) for _ in range(2)]
    assert [codes.codes_get(handle, "stepRange") for handle in handles] == ["0-12", "11-12"]
    np.testing.assert_allclose(found.tp[0, 0].values.ravel(), codes.codes_get_values(handles[1]), atol=1e-5)
    for name, key in (("lat", "latitudes"), ("lon", "longitudes")):
        apart = found[name].values.ravel() - codes.codes_get_array(handles[1], key)
        assert np.abs((apart + 180) % 360 - 180).max() < 1e-4
    np.testing.assert_allclose(np.diff(found.x), 3, rtol=1e-6)


def test_every_verb_names_the_command_that_makes_grib_a_tree(tmp_path, capsys):
    number = {"productDefinitionTemplateNumber": 1}
    lat, lon = np.arange(30.0, 20.0, -0.5), np.arange(110.0, 120.0, 0.5)
    place = {"lat": lat, "lon": lon, "values": 280 + np.random.default_rng(0).normal(size=(20, 20))}
    fields = [t2m(6 * i, **number, perturbationNumber=k) | place for i in (1, 2) for k in range(3)]
    path = grib(tmp_path / "storm.grib", *fields)
    for verb in (["score"], ["spectra"], ["track"]):
        assert main([*verb, str(path)]) == 1
        assert "labkit convert storm.grib storm_tree.nc" in capsys.readouterr().err
    assert main(["convert", str(path), str(tmp_path / "tree.nc"), "variables=[t2m]"]) == 0
    tree, fields = open_tree(tmp_path / "tree.nc"), open_grib(path)
    np.testing.assert_array_equal(tree["prediction/t2m"], fields.t2m)
    np.testing.assert_allclose(tree["lat"], fields.lat)
    for words in (["missing.grib", "x.nc"], [str(path), "x.grib"], [str(path), "x.nc", "colour=red"], [str(path)]):
        assert main(["convert", *words]) in (1, 2)


def test_the_wind_at_ten_hectopascals_is_not_that_in_ten_metres(tmp_path):
    def wind(surface, level, value):
        place = {"typeOfFirstFixedSurface": surface, "scaleFactorOfFirstFixedSurface": 0}
        place |= {"scaledValueOfFirstFixedSurface": level}
        return {"keys": {"parameterCategory": 2, "parameterNumber": 2, **place}, "values": value}

    heights = [wind(103, 10, 1.0), wind(100, 1000, 2.0), wind(100, 85000, 3.0)]
    found = open_grib(grib(tmp_path / "wind.grib2", *heights))
    assert {name: float(found[name][0, 0, 0, 0]) for name in found} == {"u10": 1.0, "u_10hPa": 2.0, "u850": 3.0}
    assert set(open_grib(grib(tmp_path / "high.grib2", heights[1]))) == {"u_10hPa"}
