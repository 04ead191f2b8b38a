"""WRF output: pressure at sea level and on levels against columns in closed form, rain where the nest was before."""

import os
from pathlib import Path

import numpy as np
import pyproj
import pytest
import xarray as xr

from labkit.data.wrf import earth_relative, open_wrfout
from labkit.errors import DataError

DRY_AIR, GRAVITY, CP = 287.0, 9.81, 1004.5
SEA_LEVEL_PA = 101000.0
LAPSE = 0.0065
KATRINA = Path(os.environ.get("LABKIT_DATA", "")) / "wrf_katrina_10km"
needs_katrina = pytest.mark.skipif(
    not (KATRINA / "ci_test_file.nc").is_file(), reason="LABKIT_DATA names no folder with wrf_katrina_10km"
)


def pressure_at(z, t_sea, lapse=LAPSE):
    """Pa in a dry atmosphere of constant lapse rate, in closed form."""
    if lapse == 0:
        return SEA_LEVEL_PA * np.exp(-GRAVITY * z / (DRY_AIR * t_sea))
    return SEA_LEVEL_PA * (1 - lapse * z / t_sea) ** (GRAVITY / (DRY_AIR * lapse))


def wrfout(
    *,
    times=("2020-01-01_00:00:00", "2020-01-01_03:00:00"),
    corners=((0, 0), (0, 0)),
    shape=(9, 7),
    t_sea=285.0,
    lapse=LAPSE,
    rain=None,
    height=None,
    attrs=None,
):
    """A small wrfout on a Mercator-like grid of 0.1 degrees, 12 levels over terrain.

    `corners` are the (row, column) of the nest's corner on the parent's 0.1-degree grid at each time; `rain` (row,
    column, hour) accumulated mm on that grid.
    """
    n_t, (n_y, n_x) = len(times), shape
    corners = np.asarray(corners)[: len(times)] if len(corners) >= n_t else np.zeros((n_t, 2), int)
    rows = corners[:, 0, None] + np.arange(n_y)
    columns = corners[:, 1, None] + np.arange(n_x)
    lat = np.broadcast_to((20 + 0.1 * rows)[:, :, None], (n_t, n_y, n_x))
    lon = np.broadcast_to((-90 + 0.1 * columns)[:, None, :], (n_t, n_y, n_x))
    ground = np.zeros((n_y, n_x)) if height is None else height
    faces = ground + np.linspace(0, 9000, 13)[:, None, None]  # (level, y, x)
    z = 0.5 * (faces[1:] + faces[:-1])
    p = pressure_at(z, t_sea, lapse)
    theta = (t_sea - lapse * z) * (1e5 / p) ** (DRY_AIR / CP)

    def always(field):
        return np.repeat(field[None], n_t, 0).astype(np.float32)

    u = 10 + np.arange(n_x + 1) - 0.5  # at the west and east faces: u of cell j is 10 + j
    v = -5 + 2 * (np.arange(n_y + 1) - 0.5)
    here = ("Time", "south_north", "west_east")
    column = ("Time", "bottom_top", "south_north", "west_east")
    faces_u = np.broadcast_to(u, (12, n_y, n_x + 1))
    faces_v = np.broadcast_to(v[:, None], (12, n_y + 1, n_x))
    fields = {
        "Times": ("Time", np.array([t.encode() for t in times])),
        "XLAT": (here, lat.astype(np.float32)),
        "XLONG": (here, lon.astype(np.float32)),
        "T2": (here, always(np.full(shape, 288.0))),
        "U10": (here, always(np.broadcast_to(np.arange(n_x), shape))),
        "V10": (here, always(np.broadcast_to(-np.arange(n_y)[:, None], shape))),
        "PSFC": (here, always(pressure_at(ground, t_sea, lapse))),
        "HGT": (here, always(ground)),
        "P": (column, always(p - 5e4)),
        "PB": (column, always(np.full_like(p, 5e4))),
        "T": (column, always(theta - 300)),
        "QVAPOR": (column, always(np.zeros_like(p))),
        "PH": (("Time", "bottom_top_stag", *here[1:]), always(0.25 * GRAVITY * faces)),
        "PHB": (("Time", "bottom_top_stag", *here[1:]), always(0.75 * GRAVITY * faces)),
        "U": ((*column[:3], "west_east_stag"), always(faces_u)),
        "V": ((*column[:2], "south_north_stag", "west_east"), always(faces_v)),
    }
    if rain is not None:
        total = np.stack([rain(rows[t][:, None], columns[t], 3.0 * t) for t in range(n_t)]).astype(np.float32)
        fields |= {"RAINC": (here, 0.25 * total), "RAINNC": (here, 0.75 * total)}
    about = {"TITLE": " TEST", "DX": 11000.0, "DY": 12000.0, "MAP_PROJ": 3, "GRID_ID": 2}
    return xr.Dataset(fields, attrs=about | (attrs or {}))


@pytest.fixture
def written(tmp_path):
    """`written(name="wrfout_d02", **options)`: the path of a wrfout file."""

    def write(name="wrfout_d02", **options):
        wrfout(**options).to_netcdf(tmp_path / name)
        return tmp_path / name

    return write


def hill(shape=(9, 7)):
    return np.linspace(0, 1500, shape[0])[:, None] * np.linspace(0.5, 1, shape[1])


@pytest.mark.parametrize(("t_sea", "most_pa"), [(260.0, 15), (285.0, 15)])
def test_sea_level_pressure_of_a_standard_lapse_rate_is_its_closed_form_under_any_hill(written, t_sea, most_pa):
    msl = open_wrfout(written(height=hill(), t_sea=t_sea)).msl
    assert msl.attrs["units"] == "Pa"
    assert float(abs(msl - SEA_LEVEL_PA).max()) < most_pa


def test_sea_level_pressure_of_a_column_without_lapse_differs_as_much_as_its_virtual_warming_below_ground(written):
    t0, h = 270.0, 1200.0
    msl = open_wrfout(written(height=np.full((9, 7), h), t_sea=t0, lapse=0.0)).msl.values
    z = h + 375.0  # centre of the lowest layer, which is 750 m deep
    ground = pressure_at(z, t0, 0.0)
    # the level 100 hPa above the ground has the temperature t0 and this height, from where 6.5 K/km leads down
    z_high = z + DRY_AIR * t0 / GRAVITY * np.log(ground / (ground - 1e4))
    surface = t0 * (ground / (ground - 1e4)) ** (LAPSE * DRY_AIR / GRAVITY)
    expected = ground * np.exp(2 * GRAVITY * z / (DRY_AIR * (surface + t0 + LAPSE * z_high)))
    np.testing.assert_allclose(msl, expected, rtol=2e-5)
    assert expected < SEA_LEVEL_PA - 100


def test_moist_air_is_lighter_so_that_pressure_at_sea_level_is_lower(written, tmp_path):
    dry = wrfout(height=hill())
    moist = dry.assign(QVAPOR=dry.QVAPOR + np.float32(0.01))
    moist.to_netcdf(tmp_path / "moist")
    there = open_wrfout(tmp_path / "moist").msl - open_wrfout(written(height=hill())).msl
    # the weight of the air below the lowest centre of 1875 m goes as 1 / (1 + 0.608 q)
    assert float(there.min()) == pytest.approx(SEA_LEVEL_PA * (np.exp(-0.2205 * 0.00608) - 1), rel=0.15)


@pytest.mark.parametrize("level", [850, 500])
def test_pressure_levels_are_the_closed_form_of_the_column(written, level):
    found = open_wrfout(written(height=0.5 * hill(), t_sea=285.0), levels_hpa=[level]).isel(time=1)
    exponent = DRY_AIR * LAPSE / GRAVITY
    temperature = 285.0 * (level * 100 / SEA_LEVEL_PA) ** exponent
    height = (285.0 - temperature) / LAPSE
    np.testing.assert_allclose(found[f"t{level}"], temperature, atol=0.05, equal_nan=False)
    np.testing.assert_allclose(found[f"z{level}"], GRAVITY * height, atol=60)
    assert found[f"z{level}"].attrs["units"] == "m2 s-2"
    assert found[f"u{level}"].dims == ("y", "x")
    # winds at cell centres are the means of their faces: u of column j is 10 + j, v of row i is -5 + 2 i
    np.testing.assert_allclose(found[f"u{level}"], np.broadcast_to(10 + np.arange(7), (9, 7)), atol=1e-4)
    np.testing.assert_allclose(found[f"v{level}"], np.broadcast_to(-5 + 2 * np.arange(9)[:, None], (9, 7)), atol=1e-4)


def test_levels_below_the_ground_and_above_the_top_are_missing(written):
    found = open_wrfout(written(height=np.full((9, 7), 2500.0)), levels_hpa=[850, 500, 100])
    assert found.t850.isnull().all()
    assert found.t500.notnull().all()
    assert found.t100.isnull().all()


def test_grid_and_surface_fields(written):
    found = open_wrfout(written(height=hill()))
    assert found.attrs["projection"] == "Mercator"
    np.testing.assert_allclose(found.x, 11.0 * (np.arange(7) + 0.5))
    np.testing.assert_allclose(found.y, 12.0 * (np.arange(9) + 0.5))
    assert found.lat.dims == found.lon.dims == ("y", "x")
    assert float(found.lat[-1, 0] - found.lat[0, 0]) == pytest.approx(0.8, abs=1e-4)
    assert [str(t)[:13] for t in found.time.values] == ["2020-01-01T00", "2020-01-01T03"]
    np.testing.assert_array_equal(found.u10[0, 3], np.arange(7))
    np.testing.assert_array_equal(found.v10[0, :, 3], -np.arange(9))
    np.testing.assert_allclose(found.orography[0], hill(), rtol=1e-6)
    assert all(found[name].dtype == np.float32 for name in found)
    assert "tp" not in found and "reflectivity" not in found


def falling(row, column, hour):
    """Accumulated rain: 1 to 5 mm/h, another at every place, on top of what fell before."""
    return 20.0 + 3 * row - column + hour * (1 + ((3 * row + 2 * column) % 5))


def rate(found, t):
    row = (found.lat.values[t] - 20) * 10
    column = (found.lon.values[t] + 90) * 10
    return 1 + np.round(3 * row + 2 * column) % 5


@pytest.mark.parametrize("step", [(2, -3), (-2, 3), (2, 1), (0, -1)])
def test_rain_of_a_moving_nest_is_that_of_the_place(written, step):
    corners = [(10 + k * step[0], 10 + k * step[1]) for k in range(3)]
    times = [f"2020-01-01_{3 * k:02d}:00:00" for k in range(3)]
    found = open_wrfout(written(times=times, corners=corners, rain=falling))
    assert found.lat.dims == ("time", "y", "x")
    assert found.tp[0].isnull().all()
    for t in (1, 2):
        tp, known = found.tp[t].values, found.tp[t].notnull().values
        assert known.sum() == (9 - abs(step[0])) * (7 - abs(step[1]))
        np.testing.assert_allclose(tp[known], rate(found, t)[known], atol=1e-4)
        # the rows and columns that the nest has just reached
        assert not known[-step[0] if step[0] > 0 else 0 : None if step[0] > 0 else -step[0]].any() or step[0] == 0


def test_rain_of_a_nest_that_leaps_out_of_its_domain_is_unknown(written):
    found = open_wrfout(written(corners=[(0, 0), (40, 40)], rain=falling))
    assert found.tp[1].isnull().all()


def test_rain_of_a_fixed_grid_counts_emptied_buckets_and_leaves_out_restarts(tmp_path):
    whole = wrfout(rain=falling)
    whole.attrs["BUCKET_MM"] = 10.0
    here = ("Time", "south_north", "west_east")
    for name in ("RAINC", "RAINNC"):
        whole[f"I_{name}"] = (here, np.floor(whole[name].values / 10).astype(np.int32))
        whole[name] = whole[name] % 10
    whole.to_netcdf(tmp_path / "buckets")
    found = open_wrfout(tmp_path / "buckets").tp[1].values
    row, column = np.mgrid[:9, :7]
    np.testing.assert_allclose(found, 1 + (3 * row + 2 * column) % 5, atol=1e-4)
    anew = wrfout(rain=falling)
    for name in ("RAINC", "RAINNC"):
        anew[name] = anew[name] * np.array([1, 0], np.float32)[:, None, None]
    anew.to_netcdf(tmp_path / "anew")
    assert open_wrfout(tmp_path / "anew").tp[1].isnull().all()
    # where more has fallen since the restart than before it, the difference is not negative, and just as wrong
    part = wrfout(rain=lambda row, column, hour: np.where(row < 4, 5.0 - hour, hour) + 0 * column)
    part.to_netcdf(tmp_path / "part")
    assert open_wrfout(tmp_path / "part").tp[1].isnull().all()


def constant(row, column, hour):
    return hour + 0.0 * (row + column)


def test_a_constant_millimetre_an_hour_is_one(written):
    found = open_wrfout(written(times=[f"2020-01-01_{h:02d}:00:00" for h in (0, 3, 6)], rain=constant)).tp
    np.testing.assert_allclose(found[1:], 1.0, rtol=1e-5)


def squeezed(raw):
    return raw.isel(Time=1)


def minutes(raw, **attrs):
    return raw.drop_vars("Times").assign(XTIME=("Time", np.array([0.0, 180.0], np.float32), attrs))


TIMES = {
    "with Z": lambda raw: raw.assign(Times=("Time", [b"2020-01-01_00:00:00Z", b"2020-01-01_03:00:00Z"])),
    "with T": lambda raw: raw.assign(Times=("Time", [b"2020-01-01T00:00:00", b"2020-01-01T03:00:00"])),
    "a scalar": squeezed,
    "XTIME by its units": lambda raw: minutes(raw, units="minutes since 2020-01-01 00:00:00"),
    "XTIME by its description": lambda raw: minutes(raw, description="minutes since 2020-01-01 00:00:00", units=""),
    "XTIME as a duration": lambda raw: minutes(raw, description="minutes since 2020-01-01 00:00:00", units="minutes"),
    "XTIME by the start": lambda raw: minutes(raw).assign_attrs(SIMULATION_START_DATE="2020-01-01_00:00:00"),
    "a scalar XTIME": lambda raw: squeezed(minutes(raw, units="minutes since 2020-01-01 00:00:00")),
}


@pytest.mark.parametrize("change", TIMES.values(), ids=TIMES)
def test_times_in_every_form(tmp_path, change):
    raw = change(wrfout(height=hill()))
    raw.to_netcdf(tmp_path / "wrfout")
    found = open_wrfout(tmp_path / "wrfout", levels_hpa=(500,))
    hours = ["00", "03"] if "Time" in raw.dims else ["03"]
    assert [str(t)[:13] for t in found.time.values] == [f"2020-01-01T{h}" for h in hours]
    assert found.t2m.dims == ("time", "y", "x") and found.t500.dims == ("time", "y", "x")
    np.testing.assert_allclose(found.u10[-1, 3], np.arange(7))


def test_times_that_nothing_dates_are_refused(tmp_path):
    minutes(wrfout()).to_netcdf(tmp_path / "undated")
    with pytest.raises(DataError, match="XTIME since a date"):
        open_wrfout(tmp_path / "undated")


def test_several_files_in_any_order_with_a_time_in_two_are_the_file_they_were_cut_from(written, tmp_path):
    times = [f"2020-01-01_{3 * k:02d}:00:00" for k in range(4)]
    options = {"times": times, "corners": [(5 + k, 5 + 2 * k) for k in range(4)], "rain": falling}
    whole, parts = wrfout(**options), []
    for i, part in enumerate((slice(2, 4), slice(0, 1), slice(1, 3))):
        parts.append(tmp_path / f"part_{i}")
        whole.isel(Time=part).to_netcdf(parts[-1])
    xr.testing.assert_allclose(open_wrfout(parts).drop_attrs(), open_wrfout(written(**options)).drop_attrs())


def test_winds_of_a_lambert_grid_turn_with_its_meridians(written):
    """On a cone that touches at 40 degrees north, east is turned from the x axis by sin(40) of the longitude from its
    own, to the left in its east."""
    x = np.arange(40) * 100e3 - 1950e3
    lon, lat = pyproj.Proj("+proj=lcc +lat_1=40 +lat_2=40 +lat_0=40 +lon_0=170 +R=6370000")(
        *np.meshgrid(x, x), inverse=True
    )
    grid = {"lat": (("y", "x"), lat), "lon": (("y", "x"), lon)}
    winds = {"u10": 3.0, "v10": 4.0, "u850": 1.0, "v850": 0.0}
    fields = xr.Dataset({name: (("y", "x"), np.full((40, 40), value)) for name, value in winds.items()}, grid)
    turn = np.sin(np.deg2rad(40)) * np.deg2rad((lon - 170 + 180) % 360 - 180)
    found = earth_relative(fields.assign(t2m=fields.u10))
    np.testing.assert_allclose(found.u850, np.cos(turn), atol=2e-3)
    np.testing.assert_allclose(found.v850, -np.sin(turn), atol=2e-3)
    np.testing.assert_allclose(found.u10, 3 * np.cos(turn) + 4 * np.sin(turn), atol=0.01)
    np.testing.assert_allclose(np.hypot(found.u10, found.v10), 5, rtol=1e-6)
    np.testing.assert_array_equal(found.t2m, fields.u10)
    straight = open_wrfout(written(), levels_hpa=(500,))
    same = earth_relative(straight)
    np.testing.assert_allclose(same.v10, straight.v10, atol=1e-4)
    assert same.u500.dims == straight.u500.dims and same.u500.attrs == straight.u500.attrs


def test_reflectivity_is_the_highest_of_the_column_and_never_below_nothing(tmp_path):
    raw = wrfout()
    echo = np.full((2, 12, 9, 7), -35.0, np.float32)
    echo[:, 4, 2, 3] = 47.0
    raw["REFL_10CM"] = (raw.P.dims, echo)
    raw.to_netcdf(tmp_path / "echo")
    found = open_wrfout(tmp_path / "echo").reflectivity
    assert found[0, 2, 3] == 47.0
    assert float(found.sum()) == 2 * 47.0


def test_opening_reads_no_fields(written, monkeypatch):
    path, read = written(height=hill(), rain=falling), []
    import xarray.backends.netCDF4_ as backend

    original = backend.NetCDF4ArrayWrapper._getitem

    def counted(self, key):
        read.append(self.variable_name)
        return original(self, key)

    monkeypatch.setattr(backend.NetCDF4ArrayWrapper, "_getitem", counted)
    found = open_wrfout(path, levels_hpa=(850,))
    assert set(read) <= {"Times", "XLAT", "XLONG"}
    assert all(array.chunks is not None for array in found.data_vars.values())
    found.msl.compute()
    assert "QVAPOR" in read and "U" not in read


def test_refusals_say_what_is_lacking(written, tmp_path):
    xr.Dataset({"t2m": ("x", np.zeros(3))}).to_netcdf(tmp_path / "other")
    with pytest.raises(DataError, match=r"wrfout other: found t2m, expected XLAT"):
        open_wrfout(tmp_path / "other")
    with pytest.raises(DataError, match="expected at least one"):
        open_wrfout([])
    with pytest.raises(DataError, match="no such file"):
        open_wrfout(tmp_path / "nothing")
    wrfout().drop_vars("QVAPOR").to_netcdf(tmp_path / "surface")
    assert "msl" not in open_wrfout(tmp_path / "surface")
    with pytest.raises(DataError, match="QVAPOR"):
        open_wrfout(tmp_path / "surface", levels_hpa=(850,))
    whole = written().read_bytes()
    (tmp_path / "truncated").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="truncated"):
        open_wrfout(tmp_path / "truncated")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"attrs": {"GRID_ID": 3}}, "domain 3 of 9 x 7"),
        ({"attrs": {"DX": 3000.0}}, "3000 m"),
        ({"shape": (8, 7)}, "8 x 7 cells"),
        ({"rain": falling}, "RAINC"),
    ],
)
def test_files_of_two_domains_are_refused(written, other, said):
    with pytest.raises(DataError, match=said):
        open_wrfout([written("one"), written("two", **other)])


@needs_katrina
@pytest.mark.realdata
def test_katrina_agrees_with_the_published_diagnostics_of_its_first_time():
    found = open_wrfout(KATRINA / "ci_test_file.nc", levels_hpa=(850,))
    with xr.open_dataset(KATRINA / "ci_result_file.nc") as theirs:
        apart = found.msl[0].values / 100 - theirs.slp.values
        assert np.abs(apart).max() < 0.05
        np.testing.assert_allclose(found.u10[0], theirs.uvmet10[0], atol=1e-4)
        np.testing.assert_allclose(found.v10[0], theirs.uvmet10[1], atol=1e-4)
        # theirs is linear in pressure between levels 20 hPa apart
        for name, field in (("u850", theirs.ua), ("v850", theirs.va), ("t850", theirs.tk)):
            np.testing.assert_allclose(found[name][0], _at_850(field.values, theirs.pressure.values), atol=0.1)
        apart = found.z850[0].values / GRAVITY - theirs.interplevel.values
        assert np.abs(apart).max() < 4.0  # theirs is linear in pressure between levels 450 m apart


def _at_850(field, pressure):
    above = (pressure <= 850).argmax(0)[None]
    (p0, p1), (f0, f1) = ([np.take_along_axis(a, above - k, 0)[0] for k in (1, 0)] for a in (pressure, field))
    return f0 + (f1 - f0) * (p0 - 850) / (p0 - p1)


@needs_katrina
@pytest.mark.realdata
def test_katrina_moves_north_west_and_rains_where_the_nest_was():
    found = open_wrfout(KATRINA / "ci_test_file.nc")
    assert np.all(np.diff(found.lat.values[:, 0, 0]) > 0)
    assert np.all(np.diff(found.lon.values[:, 0, 0]) < 0)
    assert float(found.tp.min()) >= 0
    # 3 rows and 6 columns, or 6 and 3, are new at each step; all else was seen before
    np.testing.assert_array_equal(found.tp.isnull().sum(("y", "x")), [48 * 48] + 3 * [48 * 48 - 45 * 42])
    deepest = found.msl.min(("y", "x")).values / 100
    np.testing.assert_allclose(deepest, [942.77, 939.33, 939.44, 938.43], atol=0.02)
