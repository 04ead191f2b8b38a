"""Odd rows, odd files and every format of tracks, on small files written by the descriptions of their formats."""

from __future__ import annotations

import gzip
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from test_best_tracks import ATCF, IBTRACS, KNOT, MILE, TOKYO, read, refused

from labkit.data.tracks.best_tracks import read_best_tracks, track
from labkit.errors import DataError

HEADER = "track_id,time,lat,lon,wind,slp\n"
HURDAT2 = """\
AL092021,                IDA,      3,
20210829, 1655, L, HU, 29.1N,  90.2W, 130,  931,  130,  110,   80,  110,   70,   60,   40,   60,   45,   35,   20,\
   30,   10
20210829, 1800,  , HU, 29.2N,  90.4W, 125,  932,  130,  120,   80,   80,   70,   60,   40,   60,   45,   35,   20,\
   30, -999
20210830, 0000,  , HU, 30.1N,  90.7W, -99, -999, -999, -999, -999, -999, -999, -999, -999, -999, -999, -999, -999,\
 -999, -999
EP132015,            UNNAMED,      1,
20150907, 0600,  , TD, 15.0N, 179.8E,  30, 1005, -999, -999, -999, -999, -999, -999, -999, -999, -999, -999, -999, -999
"""
STITCHED = """\
start\t2\t1999\t9\t10\t0
\t605\t36\t302.500000\t18.000000\t1.003906e+05\t1.918985e+01\t1999\t9\t10\t0
\t604\t37\t302.000000\t18.500000\t1.002089e+05\t2.398492e+01\t1999\t9\t10\t6
start\t1\t1999\t9\t12\t0
\t10\t37\t179.500000\t-18.500000\t9.902089e+04\t3.398492e+01\t1999\t9\t12\t0
"""
NODES = """\
track_id, year, month, day, hour, i, j, lon, lat, slp, zs, wind10
0, 1999, 9, 10, 0, 605, 36, 302.500000, 18.000000, 1.003906e+05, -1.071180e+01, 1.918985e+01
0, 1999, 9, 10, 6, 604, 37, 302.000000, 18.500000, 1.002089e+05, -1.071180e+01, 2.398492e+01
1, 1999, 9, 12, 0, 10, 37, 179.500000, -18.500000, 9.902089e+04, -1.071180e+01, 3.398492e+01
"""
ODD = ["10,nan", "-999,130", ",130", "MM,MM", "abc,130", "0,0", "95,130", "10,1800", "10,-999"]


@pytest.mark.parametrize("where", ODD)
def test_odd_positions_are_left_out_of_every_table(tmp_path, where):
    rows = [f"A,2020-01-0{day},1{day}.5,13{day},40,99{day}" for day in (1, 2, 3)]
    rows.insert(2, f"A,2020-01-02T12:00,{where},40,995")
    start = IBTRACS.index("23.9,121.7")
    ibtracs = IBTRACS[:start] + where.replace(",130", "x,130") + IBTRACS[start + 10 :]
    for text, line, left in [(HEADER + "\n".join(rows), "line 4", 3), (ibtracs, "line 4", 4)]:
        found = read(tmp_path, text, agency="usa")
        assert len(found.skipped) == 1 and found.skipped[0].startswith(line)
        assert "1 row that cannot be read" in found.notice and len(found.table) == left


def test_longitudes_may_go_round_the_globe_either_way(tmp_path):
    degrees = [179.7, -180.3, -0.5, 359.5, 180]
    lines = "\n".join(f"A,2020-01-0{k + 1},10,{lon},40,995" for k, lon in enumerate(degrees))
    found = read(tmp_path, HEADER + lines, agency="jtwc")
    np.testing.assert_allclose(found.table.lon, [179.7, 179.7, -0.5, -0.5, 180])
    assert not found.notice


def test_what_stands_for_unknown_is_no_number(tmp_path):
    blanks = ["", "-999", "NaN", "MM", "-99"]
    rows = "\n".join(f"A,2020-01-0{k + 1},10,130,{blank},{blank}" for k, blank in enumerate(blanks))
    found = read(tmp_path, HEADER + rows, agency="jtwc")
    assert len(found.table) == 5 and found.table.wind.isna().all() and found.table.pressure.isna().all()
    assert not found.notice


def test_a_file_in_other_units_is_refused_and_one_that_says_them_is_converted(tmp_path):
    rows = "\n".join(f"A,2020-01-{k:02d},10,130,300,995" for k in range(1, 20))
    assert "19 of 19 rows" in refused(tmp_path, HEADER + rows, agency="jtwc")
    text = "track_id,time,lat,lon,wind (m/s),slp [Pa]\nA,2020-01-01,10,130,40,99500\n"
    row = read(tmp_path, text, agency="jtwc").table.iloc[0]
    assert (row.wind, row.pressure) == (40, 99500)
    assert "furlongs" in refused(tmp_path, text.replace("m/s", "furlongs"), agency="jtwc")


def test_columns_are_not_shifted_by_a_comma_too_many(tmp_path):
    rows = "A,2020-01-01,10,130,40,995\nA,2020-01-02,10,13,1,40,995\nA,2020-01-03,10,132,40,995,\n"
    found = read(tmp_path, HEADER + rows, agency="jtwc")
    assert found.table.lon.tolist() == [130, 132] and "line 3 (7 of 6 fields" in found.notice


@pytest.mark.parametrize(
    "time", ["2009-08-07T12:00:00Z", "2009-08-07 20:00:00+08:00", "2009-08-07 12:00 UTC", "20090807T12"]
)
def test_times_with_an_offset_are_turned_to_utc(tmp_path, time):
    rows = f"A,{time},20,130,40,995\nA,2009-08-07T18:00,21,131,40,995"
    found = read(tmp_path, HEADER + rows, agency="jtwc")
    assert found.table.time.tolist() == list(pd.to_datetime(["2009-08-07T12", "2009-08-07T18"]))
    assert found.at(["2009-08-07T15:00Z"]).lat[0] == found.at(["2009-08-07T15:00"]).lat[0] == 20.5
    assert len(found.near(20, 130, pd.Timestamp("2009-08-07T12Z"))) == 1
    assert len(found.along([20, 21], [130, 131], pd.to_datetime(["2009-08-07T12Z", "2009-08-07T18Z"]))) == 1
    with pytest.raises(DataError, match="usual calendar"):
        found.at(["2024010100f03"])


def test_ibtracs_without_its_units_loses_nothing_and_with_others_is_converted(tmp_path):
    lines = IBTRACS.splitlines(keepends=True)
    whole, bare = read(tmp_path, IBTRACS), read(tmp_path, lines[0] + "".join(lines[2:]))
    pd.testing.assert_frame_equal(whole.table, bare.table)
    assert len(whole.table) == 5 and not bare.notice
    metres = lines[1].replace("degrees_east, ,kts,mb", "degrees_east, ,m/s,hPa", 1)
    assert metres != lines[1]
    found = read(tmp_path, lines[0] + metres + "".join(lines[2:]))
    np.testing.assert_allclose(found.table.wind * KNOT, whole.table.wind)
    np.testing.assert_allclose(found.table.pressure, whole.table.pressure)
    twice = read(tmp_path, IBTRACS + IBTRACS.replace("MORAKOT", "AGAIN").replace("2009", "2010"))
    assert len(twice.table) == 10 and not twice.notice  # files put together


@pytest.mark.parametrize("change", ["bom", "crlf", "cr", "gzip", "semicolon", "tab", "comment", "quotes"])
def test_a_csv_is_read_however_it_was_saved(tmp_path, change):
    lines = [line.replace(",", {"semicolon": ";", "tab": "\t"}.get(change, ",")) for line in IBTRACS.splitlines()]
    lines = [re.sub(r"(\d)\.(\d)", r"\1,\2", line) for line in lines] if change == "semicolon" else lines
    lines = [line.replace("MORAKOT", '"MORAKOT"') for line in lines] if change == "quotes" else lines
    comment = ["# made by hand"] * (change == "comment")
    raw = {"crlf": "\r\n", "cr": "\r"}.get(change, "\n").join(comment + lines).encode("utf-8")
    path = tmp_path / "saved.csv"
    path.write_bytes({"gzip": gzip.compress(raw), "bom": b"\xef\xbb\xbf" + raw}.get(change, raw))
    found = read_best_tracks(path)
    assert not found.notice
    pd.testing.assert_frame_equal(found.table, read(tmp_path, IBTRACS).table)


def test_every_agency_of_ibtracs_has_its_own_columns_and_averaging(tmp_path):
    text = IBTRACS.replace("TOKYO_", "CMA_").replace("CMA_GRADE", "CMA_CAT")
    found = read(tmp_path, text, agency="cma").storm("MORAKOT", 2009)
    assert (found.agency, found.averaging_min) == ("CMA", 2)
    assert found.table.wind[0] == pytest.approx(65 * KNOT) and found.table.status[0] == "5"
    assert track(found).wind.attrs["averaging_min"] == 2
    with pytest.raises(DataError, match="1 or 10 minutes"):
        found.averaged_over(10)
    assert "no column REUNION_LAT" in refused(tmp_path, IBTRACS, agency="reunion")
    several = "SID,NAME,ISO_TIME,LAT,LON,WMO_WIND,WMO_PRES\nS,A,2020-01-01,10,130,50,990\n"
    wmo = read(tmp_path, several, agency="wmo")  # of each basin's agency, each with its own averaging
    assert (wmo.averaging_min, wmo.table.lon[0]) == (None, 130)


def test_hurdat2(tmp_path):
    found = read(tmp_path, HURDAT2)
    assert (found.agency, found.averaging_min, len(found), found.notice) == ("NHC", 1, 2, "")
    landfall, _, last = found.storm("Ida").table.itertuples()
    assert (landfall.time, landfall.lat, landfall.lon) == (pd.Timestamp("2021-08-29T16:55"), 29.1, -90.2)
    assert (landfall.wind, landfall.pressure, landfall.rmw) == pytest.approx((130 * KNOT, 93100, 10 * MILE))
    assert [landfall.r34_ne, landfall.r34_nw, landfall.r64_sw] == pytest.approx([130 * MILE, 110 * MILE, 20 * MILE])
    assert np.isnan([last.wind, last.pressure, last.rmw, last.r34_ne]).all()
    old = found.storm("EP132015").table.iloc[0]  # without a radius of maximum wind, as before 2021
    assert (old.lon, old["name"]) == (179.8, "") and np.isnan(old.rmw)
    broken = read(tmp_path, HURDAT2.replace("EP132015,            UNNAMED,      1,", "EP13, UNNAMED"))
    assert len(broken.table) == 3 and [row[:6] for row in broken.skipped] == ["line 5", "line 6"]


def test_tempest_extremes_in_pa_and_metres_a_second_of_an_unknown_averaging(tmp_path):
    text, nodes = read(tmp_path, STITCHED), read(tmp_path, NODES)
    pd.testing.assert_frame_equal(text.table, nodes.table)
    assert (text.agency, text.averaging_min) == ("TempestExtremes", None)
    assert text.averaging == "averaged over an unknown time"
    first = text.table.iloc[0]
    assert (first.storm, first.lat, first.lon, first.wind, first.pressure) == ("0", 18, -57.5, 19.18985, 100390.6)
    assert "taken for lon, lat, slp, wind" in text.notice and not nodes.notice
    assert "averaging_min" not in track(text.storm("0")).wind.attrs
    with pytest.raises(DataError, match="no word of it in the file"):
        text.averaged_over(10)
    known = read(tmp_path, STITCHED, averaging_min=10)
    assert known.averaged_over(1).table.wind[0] == pytest.approx(19.18985 / 0.93)
    assert "agency of best tracks: found jtwc" in refused(tmp_path, STITCHED, agency="jtwc")


def test_columns_of_stitched_nodes_are_told_by_their_user_or_left_unknown(tmp_path):
    whole = read(tmp_path, STITCHED).table
    more = re.sub(r"(\S+e\+01)", r"0.0\t\1", STITCHED)
    unknown = read(tmp_path, more)
    assert unknown.table.wind.isna().all() and "left unknown" in unknown.notice and len(unknown.table) == 3
    told = read(tmp_path, more, columns=("lon", "lat", "slp", "zs", "wind"))
    pd.testing.assert_frame_equal(told.table, whole)
    one_index = re.sub(r"(?m)^\t\d+", "", STITCHED)  # an unstructured grid
    pd.testing.assert_frame_equal(read(tmp_path, one_index).table, whole)
    assert "5 values" in refused(tmp_path, more, columns=("lon", "lat", "slp", "wind"))
    cut = read(tmp_path, "".join(STITCHED.splitlines(keepends=True)[:2]))
    assert len(cut.table) == 1 and "1 lines fewer of track 0" in cut.notice


def ibtracs_netcdf(path, text: str) -> None:
    """The rows of an IBTrACS CSV as its NetCDF has them: storms by times, filled up, in bytes and float32."""
    header, units, *rows = (line.split(",") for line in text.splitlines())
    storms = list(dict.fromkeys(row[0] for row in rows))
    own = [[dict(zip(header, row, strict=True)) for row in rows if row[0] == storm] for storm in storms]

    def filled(name, blank):
        values = np.full((len(storms), max(map(len, own)) + 2), blank, "S32" if blank == b"" else np.float32)
        for (k, t), _ in np.ndenumerate(values):
            said = own[k][t][name].strip() if t < len(own[k]) else ""
            values[k, t] = said.encode() if blank == b"" else float(said or "nan")
        return values

    made = {}
    for name, unit in zip(header, units, strict=True):
        if name in ("ISO_TIME", "USA_STATUS"):
            made[name.lower()] = ("storm", "date_time"), filled(name, b"")
        elif unit.strip() and name != "SEASON" and "_R34_" not in name:
            made[name.lower()] = ("storm", "date_time"), filled(name, np.nan), {"units": unit}
    quadrants = np.stack([filled(f"USA_R34_{end}", np.nan) for end in ("NE", "SE", "SW", "NW")], -1)
    made["usa_r34"] = ("storm", "date_time", "quadrant"), quadrants, {"units": "nmile"}
    made["sid"] = "storm", np.array(storms, "S13")
    made["name"] = "storm", np.array([group[0]["NAME"] for group in own], "S64")
    xr.Dataset(made).to_netcdf(path, engine="netcdf4")


def test_the_netcdf_of_ibtracs_is_its_csv(tmp_path):
    path = tmp_path / "IBTrACS.nc"
    ibtracs_netcdf(path, IBTRACS)
    pd.testing.assert_frame_equal(read_best_tracks(path).table, read(tmp_path, IBTRACS).table, check_exact=True)
    tokyo = read_best_tracks(path, agency="tokyo")
    assert len(tokyo.table) == 3 and tokyo.averaging_min == 10
    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(path)
    with pytest.raises(DataError, match="a NetCDF without sid"):
        read_best_tracks(path)


@pytest.mark.parametrize("name", ["ibtracs", "atcf", "tokyo", "hurdat2", "stitched", "nodes"])
def test_damaged_files_are_read_in_part_or_refused(tmp_path, name):
    """Bytes changed, cut out and put in: what is left is on the globe, or one sentence says why nothing is."""
    whole = {"ibtracs": IBTRACS, "atcf": ATCF, "tokyo": TOKYO, "hurdat2": HURDAT2, "stitched": STITCHED, "nodes": NODES}
    rng, path, read_in_part = np.random.default_rng(0), tmp_path / "damaged.txt", 0
    for _ in range(40):
        raw = bytearray(whole[name].encode())
        for place in rng.integers(0, len(raw) - 60, rng.integers(1, 6)):
            put = [bytes([rng.integers(256)]), b"", b",-999,", b"1e400", b"99999999999", b"\n"][rng.integers(6)]
            raw[place : place + rng.integers(0, 9)] = put
        path.write_bytes(bytes(raw))
        try:
            table = read_best_tracks(path).table
        except DataError:
            continue
        read_in_part += 1
        assert table.lat.between(-90, 90).all() and table.lon.between(-180, 180).all()
        assert not (table.wind > 120).any() and table.time.notna().all()
    assert read_in_part > 5
