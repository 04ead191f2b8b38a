"""Best tracks: every format to one table, units and averaging stated, storms chosen, positions between times."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from labkit.data import public
from labkit.data.tracks.best_tracks import BestTracks, read_best_tracks, track
from labkit.errors import DataError
from labkit.sphere import distance_km
from labkit.verify.cyclones import along_and_across, nearest, track_error

KNOT, MILE = 1852 / 3600, 1.852

IBTRACS = """\
SID,SEASON,NUMBER,BASIN,NAME,ISO_TIME,NATURE,LAT,LON,WMO_WIND,USA_LAT,USA_LON,USA_STATUS,USA_WIND,USA_PRES,\
USA_R34_NE,USA_R34_SE,USA_R34_SW,USA_R34_NW,USA_RMW,TOKYO_LAT,TOKYO_LON,TOKYO_GRADE,TOKYO_WIND,TOKYO_PRES,\
TOKYO_R50_LONG,TOKYO_R50_SHORT,TOKYO_R30_LONG,TOKYO_R30_SHORT
 ,Year, , , , , ,degrees_north,degrees_east,kts,degrees_north,degrees_east, ,kts,mb,\
nmile,nmile,nmile,nmile,nmile,degrees_north,degrees_east, ,kts,mb,nmile,nmile,nmile,nmile
2009215N20133,2009,30,WP,MORAKOT,2009-08-07 12:00:00,TS,23.6,121.9, ,23.6,121.9,TY,80,960,200,190,180,150,30,23.7,\
121.8,5,65,955,130,100,400,250
2009215N20133,2009,30,WP,MORAKOT,2009-08-07 15:00:00,TS,23.8,121.8, ,23.9,121.7,TS,68,972, , , , , , , , , , , , , , 
2009215N20133,2009,30,WP,MORAKOT,2009-08-07 18:00:00,TS,24.1,121.6, ,24.1,121.6,TS,55,985,200,190,0,150,45,24.0,\
121.5,4,60,965,120,90,400,250
2009100S12170,2009,12,SP,UNNAMED,2009-04-10 00:00:00,TS,-12,179, ,-12.0,179.0,TS,35,996, , , , , , , , , , , , , , 
2009100S12170,2009,12,SP,UNNAMED,2009-04-10 06:00:00,TS,-12,-179, ,-12.6,-178.0,TS,45,990, , , , , , , , , , , , , , 
2008215N20133,2008,30,NA,MORAKOT,2008-08-07 12:00:00,TS,23.6,121.9, , , , , , , , , , , ,23.7,121.8,3,35,990, , , , 
"""

ATCF = """\
WP, 09, 2009080712,   , BEST,   0, 236N, 1219E,  80,  960, TY,  34, NEQ,  200,  190,  180,  150, 1000,  300,  30, 100,\
   0,   W,   0,    ,   0,   0,    MORAKOT, D,
WP, 09, 2009080712,   , BEST,   0, 236N, 1219E,  80,  960, TY,  50, NEQ,  100,   90,    0,   70, 1000,  300,  30, 100,\
   0,   W,   0,    ,   0,   0,    MORAKOT, D,
WP, 09, 2009080712,   , BEST,   0, 236N, 1219E,  80,  960, TY,  64, AAA,   40,    0,    0,    0, 1000,  300,  30, 100,\
   0,   W,   0,    ,   0,   0,    MORAKOT, D,
WP, 09, 2009080718,   , BEST,   0, 241N, 1216E,  55,    0, TS,  34, SWQ,  180,  150,  200,  190,    0,    0,   0,   0,\
   0,   W,   0,    ,   0,   0,    MORAKOT, D,
WP, 09, 2009080718,   , CARQ,  24, 999N, 1999E, 155,  900, TS,  34, SWQ,  180,  150,  200,  190,    0,    0,   0,   0,
"""

TOKYO = "\n".join([
    "66666 9119   2 0045 9119 0 6             MIRREILE              19920701",
    "91092706 002 5 325 1293  935     095     30180 0140 30400 0260         #",
    "91092712 002 4 345 1315  950     080     90150 0150 10350 0250          ",
    "66666 0001   1 0001 0001 1 6                                   20010101",
    "00010100 002 2 120 1851 1004     000                                    ",
    "",
])  # fmt: skip


def read(tmp_path, text: str, name: str = "tracks.txt", **options) -> BestTracks:
    path = tmp_path / name
    path.write_text(text)
    return read_best_tracks(path, **options)


def tracks_of(rows: list[tuple], averaging_min: int = 1) -> BestTracks:
    """Storms of (id, name, time, lat, lon, knots)."""
    table = pd.DataFrame(rows, columns=["storm", "name", "time", "lat", "lon", "wind"])
    table = table.assign(time=pd.to_datetime(table.time), wind=table.wind * KNOT, status="", pressure=1e5, rmw=np.nan)
    return BestTracks(table, "JTWC", averaging_min)


def refused(tmp_path, text: str | bytes, **options) -> str:
    path = tmp_path / "bad.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as caught:
        read_best_tracks(path, **options)
    return str(caught.value)


def test_ibtracs_gives_each_agency_its_own_winds(tmp_path):
    usa, tokyo = (read(tmp_path, IBTRACS, agency=agency) for agency in ("usa", "tokyo"))
    assert (usa.averaging_min, tokyo.averaging_min) == (1, 10)
    first, other = (found.storm("2009215N20133").table.iloc[0] for found in (usa, tokyo))
    assert (first.lat, first.lon, first.status) == (23.6, 121.9, "TY")
    assert first.wind == pytest.approx(80 * KNOT) and other.wind == pytest.approx(65 * KNOT)
    assert first.pressure == pytest.approx(96000) and other.pressure == pytest.approx(95500)
    assert first.rmw == pytest.approx(30 * MILE) and np.isnan(other.rmw)
    assert first.r34_nw == pytest.approx(150 * MILE)
    assert (other.r50_longest, other.r30_shortest) == pytest.approx((130 * MILE, 250 * MILE))
    assert other.status == "TY"


def test_ibtracs_blanks_are_unknown_and_rows_of_other_agencies_are_left_out(tmp_path):
    usa, tokyo = (read(tmp_path, IBTRACS, agency=agency) for agency in ("usa", "tokyo"))
    assert len(usa.storm("MORAKOT").table) == 3  # with the row between, which IBTrACS interpolated
    assert len(tokyo.storm("MORAKOT", 2009).table) == 2
    between, last = usa.storm("MORAKOT").table.iloc[1:].itertuples()
    assert np.isnan(between.r34_ne) and np.isnan(between.rmw)
    assert last.r34_sw == 0  # said by the agency: not reached
    assert usa.storms().name.tolist() == ["", "MORAKOT"]  # UNNAMED is no name


def test_atcf_lines_of_one_time_are_one_row(tmp_path):
    found = read(tmp_path, ATCF)
    assert (found.agency, found.averaging_min) == ("JTWC", 1)
    first, last = found.storm("wp092009").table.itertuples()
    assert (first.lat, first.lon, first.name, first.status) == (23.6, 121.9, "MORAKOT", "TY")
    assert (first.wind, first.pressure, first.rmw) == pytest.approx((80 * KNOT, 96000, 30 * MILE))
    assert [first.r34_ne, first.r34_se, first.r34_sw, first.r34_nw] == pytest.approx(
        MILE * np.array([200, 190, 180, 150])
    )
    assert (first.r50_sw, first.r64_ne, first.r64_nw) == pytest.approx((0, 40 * MILE, 40 * MILE))
    assert np.isnan(last.pressure) and np.isnan(last.rmw) and np.isnan(last.r50_ne)
    # SWQ: clockwise from the south-west
    assert [last.r34_ne, last.r34_se, last.r34_sw, last.r34_nw] == pytest.approx(MILE * np.array([200, 190, 180, 150]))


def test_atcf_letters_say_the_hemisphere(tmp_path):
    line = "SH, 01, 2023123118,   , BEST,   0, {}, {},  45,  990, TS,   0,    ,    0,    0,    0,    0,"
    for lat, lon, there in [("125S", "1795W", (-12.5, -179.5)), ("125N", "1795E", (12.5, 179.5))]:
        row = read(tmp_path, line.format(lat, lon)).table.iloc[0]
        assert (row.lat, row.lon) == there
    assert "N or S" in refused(tmp_path, line.format("1795E", "125N"))


def test_no_storm_falls_apart_at_new_year(tmp_path):
    line = "{}, 01, {},   , BEST,   0, 125N, 1795W,  45,  990, TS,"
    text = "\n".join(line.format(b, t) for b in ("WP", "SH") for t in ("2023123118", "2024010100", "2024010106"))
    found = read(tmp_path, text)
    assert found.storms().storm.tolist() == ["SH012024", "WP012023"]  # a southern season is named after its end
    assert (found.table.groupby("storm").size() == 3).all()
    again = read(tmp_path, "\n".join(line.format("WP", t) for t in ("2023080100", "2024080100")))
    assert again.storms().storm.tolist() == ["WP012023", "WP012024"]


def test_tokyo_columns(tmp_path):
    found = read(tmp_path, TOKYO)
    assert (found.agency, found.averaging_min) == ("RSMC Tokyo", 10)
    first, last = found.storm("199119").table.itertuples()
    assert (str(first.time), first.lat, first.lon, first.name) == ("1991-09-27 06:00:00", 32.5, 129.3, "MIRREILE")
    assert (first.wind, first.pressure, first.status) == (pytest.approx(95 * KNOT), 93500, "TY")
    radii = (first.r50_longest, first.r50_shortest, first.r30_longest, first.r30_shortest)
    assert radii == pytest.approx(tuple(MILE * np.array([180, 140, 400, 260])))
    assert (last.status, last.r50_longest) == ("STS", pytest.approx(150 * MILE))


def test_tokyo_years_and_longitudes_beyond_180(tmp_path):
    storm = read(tmp_path, TOKYO).storm("200001").table.iloc[0]
    assert storm.time == pd.Timestamp("2000-01-01") and storm.lon == pytest.approx(-174.9)
    assert np.isnan(storm.wind) and np.isnan(storm.r50_longest)  # not analysed, not calm
    old = TOKYO.replace("66666 0001", "66666 5101").replace("00010100", "51021900")
    assert read(tmp_path, old).storm("195101").table.time.iloc[0] == pd.Timestamp("1951-02-19")


def test_a_plain_table_must_say_whose_winds_it_has(tmp_path):
    text = "track_id,time,lat,lon,wind,slp\nA,2020-01-01 00:00:00,10,190,100,950\nA,2020-01-01 06:00:00,11,191,,\n"
    assert "averaging" in refused(tmp_path, text)
    found = read(tmp_path, text, agency="jtwc")
    assert (found.agency, found.averaging_min) == ("JTWC", 1)
    assert read(tmp_path, text, averaging_min=10).averaging_min == 10
    first, last = found.table.itertuples()
    assert (first.wind, first.pressure, first.lon) == pytest.approx((100 * KNOT, 95000, -170))
    assert np.isnan(last.wind) and np.isnan(last.pressure)


@pytest.mark.parametrize(("agency", "averaging_min"), [("tokyo", None), (None, 10), ("usa", 3)])
def test_no_file_is_taken_for_another_agency_or_averaging(tmp_path, agency, averaging_min):
    message = refused(tmp_path, ATCF, agency=agency, averaging_min=averaging_min)
    assert (agency if averaging_min is None else str(averaging_min)) in message


def test_winds_are_converted_in_one_place_and_back_again():
    one = tracks_of([("A", "", "2020-01-01", 0, 0, 100.0)])
    ten = one.averaged_over(10)
    assert ten.table.wind[0] == pytest.approx(93 * KNOT) and ten.averaging_min == 10
    assert ten.averaged_over(1).table.wind[0] == pytest.approx(100 * KNOT)
    assert one.averaged_over(1) is one
    assert one.table.wind[0] == pytest.approx(100 * KNOT)  # untouched
    with pytest.raises(DataError, match="3 minutes"):
        one.averaged_over(3)


def test_radii_of_converted_winds_are_dropped(tmp_path):
    found = read(tmp_path, ATCF)
    assert "r34_ne" in found.table and "r34_ne" not in found.averaged_over(10).table


def test_a_storm_is_chosen_by_id_name_and_year():
    rows = [(key, name, f"{year}-08-01", 20.0, 120.0, 50.0) for key, name, year in
            [("A1", "Morakot", 2003), ("A2", "MORAKOT", 2009), ("A3", "", 2009), ("A4", "", 2010)]]  # fmt: skip
    tracks = tracks_of(rows)
    assert tracks.storm("a2").table.storm.tolist() == ["A2"]
    assert tracks.storm("morakot", 2009).table.storm.tolist() == ["A2"]
    with pytest.raises(DataError, match=r"A1 \(2003\), A2 \(2009\).*give the year"):
        tracks.storm("morakot")
    for wanted, year in [("morakot", 2010), ("", None), ("Haiyan", None)]:
        with pytest.raises(DataError, match="none among 4 storms"):
            tracks.storm(wanted, year)


def test_a_storm_is_chosen_by_place_and_time():
    rows = [("far", "", "2020-08-01", 23.0, 125.0, 50.0), ("close", "", "2020-08-01", 23.0, 122.0, 50.0),
            ("later", "", "2020-08-03", 23.0, 121.0, 50.0)]  # fmt: skip
    tracks = tracks_of(rows)
    assert tracks.near(23, 121, "2020-08-01T03").storms().storm.tolist() == ["close", "far"]
    assert tracks.near(23, 121, "2020-08-01T03", within_km=200).storms().storm.tolist() == ["close"]
    assert tracks.near(23, 121, "2020-08-03").storms().storm.tolist() == ["later"]
    with pytest.raises(DataError, match="within 500 km and 6 h"):
        tracks.near(23, 121, "2020-08-02")
    with pytest.raises(DataError, match="3 storms"):
        tracks.at(["2020-08-01"])


def test_interpolation_is_linear_and_ends_with_the_track():
    tracks = tracks_of([("A", "", "2020-08-01T00", 20.0, 125.0, 50.0), ("A", "", "2020-08-01T06", 23.0, 122.0, 80.0)])
    found = tracks.at(["2020-08-01T00", "2020-08-01T02", "2020-08-01T06", "2020-08-01T07", "2020-07-31T23"])
    np.testing.assert_allclose(found.lat, [20, 21, 23, np.nan, np.nan])
    np.testing.assert_allclose(found.lon, [125, 124, 122, np.nan, np.nan])
    np.testing.assert_allclose(found.wind, KNOT * np.array([50, 60, 80, np.nan, np.nan]))
    assert found.rmw.isna().all()


@pytest.mark.parametrize(("start", "end"), [(179.0, -178.0), (-178.0, 179.0), (181.0, -178.5)])
def test_interpolation_crosses_the_date_line_the_short_way(start, end):
    tracks = tracks_of([("A", "", "2020-08-01T00", 0.0, start, 50.0), ("A", "", "2020-08-01T06", 0.0, end, 50.0)])
    hourly = tracks.at(pd.date_range("2020-08-01", periods=7, freq="h"))
    assert hourly.lon.between(-180, 180).all()
    steps = distance_km(0, hourly.lon.to_numpy()[:-1], 0, hourly.lon.to_numpy()[1:])
    np.testing.assert_allclose(steps, distance_km(0, start, 0, end) / 6, rtol=1e-9)


def test_what_is_unknown_stays_unknown_between():
    tracks = tracks_of([("A", "", f"2020-08-01T{hour:02d}", 20.0, 125.0, knots)
                        for hour, knots in [(0, 50.0), (6, np.nan), (12, 70.0), (18, 80.0)]])  # fmt: skip
    found = tracks.at(["2020-08-01T00", "2020-08-01T03", "2020-08-01T06", "2020-08-01T12", "2020-08-01T15"]).wind
    np.testing.assert_allclose(found / KNOT, [50, np.nan, np.nan, 70, 75])


def test_a_track_is_a_reference_for_the_cyclones_room(tmp_path):
    reference = track(read(tmp_path, ATCF), pd.date_range("2009-08-07T12", periods=7, freq="h"))
    assert reference.sizes == {"time": 7}
    assert reference.wind.attrs == {"units": "m s-1", "averaging_min": 1}
    assert (reference.pressure.attrs["units"], reference.rmw.attrs["units"]) == ("Pa", "km")
    assert reference.attrs == {"storm": "WP092009", "name": "MORAKOT", "agency": "JTWC"}
    north = reference[["lat", "lon"]].assign(lat=reference.lat + 0.5)
    np.testing.assert_allclose(track_error(north, reference), 0.5 * np.pi / 180 * 6371, rtol=1e-6)
    parts = along_and_across(north, reference)  # the storm goes north-west: the north lies ahead and to the right
    assert (parts.along > 0).all() and (parts.across > 0).all()
    others = xr.concat([north.assign(lat=north.lat + 3), north], "track")
    np.testing.assert_allclose(nearest(others, reference).lat, north.lat)


def test_a_track_has_its_own_times_unless_others_are_asked_for(tmp_path):
    storm = read(tmp_path, ATCF)
    assert track(storm).time.values.astype("datetime64[h]").astype(str).tolist() == ["2009-08-07T12", "2009-08-07T18"]
    assert track(storm.averaged_over(10)).wind.attrs["averaging_min"] == 10


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "begins with ''"),
        ("hello\n", "begins with 'hello"),
        (b"\x89HDF\r\n\x1a\n\0\0\0", "binary"),
        ("SID,NAME,ISO_TIME\n", "no column USA_LAT, USA_LON"),
        (IBTRACS.split("2009215N")[0], "no position"),
        (ATCF[:45], "cut off"),
        (ATCF[:85], "cut off"),
        (ATCF.replace("BEST", "CARQ"), "forecasts"),
        ("track_id,time,lat,lon\nA,2020-01-01,1,1\n", "no column wind"),
        ("track_id,time,lat,lon,wind,slp\nA,2020-01-01,1,1,40,99500\n", "pressure of 9.95e+06 Pa"),
        ("track_id,time,lat,lon,wind,slp\nA,2020-01-01,1,,40,995\n", "no lon"),
        ("track_id,time,lat,lon,wind,slp\nA,yesterday,1,1,40,995\n", "yesterday"),
        (b"CDF\x09" + bytes(60), "no NetCDF of IBTrACS"),
        (b"\x1f\x8b\x08" + b"nothing packed", "bad.txt"),
        ("a" * 70_000, "longer than tracks are"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_words(tmp_path, text, said):
    agency = {"agency": "jtwc"} if "track_id" in str(text) else {}
    message = refused(tmp_path, text, **agency)
    assert said in message and "found" in message and "b-deck" in message


@pytest.mark.parametrize(
    ("text", "said", "left"),
    [
        (IBTRACS[:-40], ["line 8", "cut off"], 5),
        (IBTRACS.replace("121.9,TY", "east,TY"), ["line 3", "'east'"], 4),
        (ATCF.replace("236N", "2365", 1), ["line 1", "'2365'"], 2),
        (ATCF + ATCF[:45], ["line 6", "cut off"], 2),
        (TOKYO[:142], ["fewer of 199119", "line 2"], 1),
        (TOKYO[: TOKYO.index("080 ") + 2], ["line 3", "within a number"], 1),
        (TOKYO.replace("66666 0001", "67666 0001"), ["line 4", "line 5"], 2),
        (TOKYO.replace("325 1293", "925 1293"), ["line 2", "lat of 92.5"], 2),
    ],
)
def test_rows_that_cannot_be_read_are_named_and_the_rest_is_used(tmp_path, text, said, left):
    found = read(tmp_path, text)
    assert len(found.table) == left
    assert all(part in found.notice for part in said)
    assert track(found.storm(found.table.storm[0])).attrs["notice"] == found.notice


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_best_tracks(tmp_path / "absent.csv")


def test_files_without_an_address_are_asked_for_not_downloaded(monkeypatch, tmp_path):
    monkeypatch.delenv("LABKIT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert not public.present("best_tracks_and_coast")
    with pytest.raises(DataError, match=r"LABKIT_DATA.*no public address"):
        public.fetch("best_tracks_and_coast")


@pytest.mark.realdata
def test_real_storms_near_taiwan(real_data):
    path = real_data("best_tracks_and_coast") / "ibtracs_jtwc_taiwan_2000_2024.csv"
    tracks = read_best_tracks(path, agency="jtwc")
    assert len(tracks) == 145
    highest = {name: tracks.storm(name).table.wind.max() / KNOT for name in ("Morakot", "Soudelor")}
    assert highest == pytest.approx({"Morakot": 80, "Soudelor": 155})
    assert tracks.near(23.6, 121.9, "2009-08-07T12").storms().name[0] == "MORAKOT"
    assert track(tracks.storm("Gaemi", 2024)).pressure.min() == 91900
