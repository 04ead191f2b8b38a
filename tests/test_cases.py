"""The catalogue of cases: every entry is true of the data it names, and a user's file is checked entry by entry."""

from __future__ import annotations

from datetime import datetime, timedelta
from importlib import resources

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from labkit.data import public
from labkit.data.cases import Case, best_track, case, cases
from labkit.data.catalogue import open_pairs
from labkit.data.idealised.reader import IdealisedConfig, world
from labkit.data.tracks.best_tracks import BestTracks, track
from labkit.errors import ConfigError, DataError
from labkit.sphere import distance_km

KNOT = 1852 / 3600
IDEALISED = [one for one in cases().values() if one.idealised]
MINE = """\
- key: my-storm
  title: Mine
  kind: cyclone
  start: 2020-01-01T00:00:00
  end: 2020-01-02T00:00:00+08:00
  lat: -15
  lon: 150
  why: I was there.
"""


def mine(tmp_path, text: str):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def state_of(one: Case):
    """The hourly large-scale state of an idealised case, and the world."""
    place = world(IdealisedConfig(**one.options))
    times = pd.date_range(one.start, one.end, freq="h")
    return place, times, place.state((times - pd.Timestamp("2000-01-01")) / pd.Timedelta(hours=1))


def test_the_catalogue_has_the_storms_that_were_asked_for():
    wanted = {"morakot-2009", "soudelor-2015", "nepartak-2016", "chanthu-2021", "haikui-2023", "gaemi-2024"}
    assert wanted | {"katrina-2005", "muifa-2011"} <= set(cases())
    assert [one.kind for one in IDEALISED].count("cyclone") >= 3 and [one.kind for one in IDEALISED].count("front") >= 2
    assert all(key == one.key and one.why for key, one in cases().items())


def test_cases_name_data_sets_that_exist():
    named = {one.data for one in cases().values() if one.data and not one.idealised}
    assert named and named <= set(public.datasets())
    assert all(one.at_hand for one in IDEALISED)


def test_at_hand_follows_the_files(monkeypatch, tmp_path):
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    katrina = case("katrina-2005")
    assert not katrina.at_hand and not case("morakot-2009").at_hand
    (tmp_path / katrina.data).mkdir()
    for file in public.datasets()[katrina.data].files:
        (tmp_path / katrina.data / file).touch()
    assert katrina.at_hand


@pytest.mark.parametrize("one", IDEALISED, ids=lambda one: one.key)
def test_no_preset_has_seen_the_idealised_cases(one):
    folder = resources.files("labkit.recipes") / "presets"
    presets = [yaml.safe_load(item.read_text()) for item in folder.iterdir() if item.name.endswith(".yaml")]
    parts = [preset["data"][part] for preset in presets if preset["data"]["reader"] == "idealised"
             for part in ("train", "validation", "test")]  # fmt: skip
    assert len(parts) >= 6
    for part in parts:
        start, end = (pd.Timestamp(part[name]) for name in ("start", "end"))
        assert one.end < start or one.start > end


@pytest.mark.parametrize("one", [one for one in IDEALISED if one.kind == "cyclone"], ids=lambda one: one.key)
def test_an_idealised_typhoon_is_where_its_case_says(one):
    place, _, state = state_of(one)
    storm, half = state.typhoon, place.x[-1]
    inside = (np.abs(storm.x) <= half) & (np.abs(storm.y) <= half) & (storm.speed > 0)
    assert len(np.unique(storm.slot)) == 1 and 10 <= inside.sum() < len(inside)
    assert not inside[0] and not inside[-1]  # it comes and goes within the case
    pairs = open_pairs({"name": "idealised", "start": str(one.start), "end": str(one.start), **one.options})
    row, col = np.unravel_index(
        distance_km(one.lat, one.lon, pairs.target.lat.values, pairs.target.lon.values).argmin(), pairs.shape
    )
    away = np.hypot(storm.x - place.x[col], storm.y - place.y[row])
    assert away.min() < 10  # the place lies on its way


def test_idealised_typhoons_are_as_their_texts_say():
    speeds = {one.key: state_of(one)[2].typhoon.speed.max() for one in IDEALISED if one.kind == "cyclone"}
    assert speeds["idealised-crossing"] == pytest.approx(25.7, abs=0.05)
    assert speeds["idealised-weak"] == pytest.approx(17.2, abs=0.05)
    hours = {key: over_land(case(key)) for key in ("idealised-crossing", "idealised-coast")}
    assert hours == {"idealised-crossing": 7, "idealised-coast": 1}
    storm = state_of(case("idealised-slow"))[2].typhoon
    assert np.hypot(np.diff(storm.x), np.diff(storm.y)).mean() == pytest.approx(15, abs=0.5)


def over_land(one: Case) -> int:
    """Hours in which the coarse centre is within a cell of land."""
    place, _, state = state_of(one)
    rows, cols = np.nonzero(place.terrain.land > 0.5)
    x, y = state.typhoon.x[:, None], state.typhoon.y[:, None]
    return int((np.hypot(place.x[cols] - x, place.y[rows] - y).min(axis=1) < place.config.dx_km).sum())


@pytest.mark.parametrize(
    ("key", "contrast_k", "km_h"), [("idealised-front-strong", 7.2, 35), ("idealised-front-slow", 7.1, 28)]
)
def test_an_idealised_front_crosses_the_island_as_its_text_says(key, contrast_k, km_h):
    _, times, state = state_of(case(key))
    front = state.front
    assert front.strength.max() * 6 == pytest.approx(contrast_k, abs=0.05)
    assert np.diff(front.position).mean() == pytest.approx(km_h, abs=0.5)
    assert front.position[0] < -150 and front.position[-1] > 150
    if key == "idealised-front-strong":
        assert times[np.abs(front.position).argmin()] == pd.Timestamp("2021-12-19T07")


def test_a_case_is_found_by_its_key():
    assert case("gaemi-2024").title.startswith("Typhoon Gaemi")
    with pytest.raises(ConfigError, match=r"'gaemi'.*morakot-2009.*choose one of these keys"):
        case("gaemi")


def test_a_user_adds_cases_after_ours(tmp_path):
    found = cases(mine(tmp_path, MINE))
    assert list(found) == [*cases(), "my-storm"]
    assert found["my-storm"].end == datetime(2020, 1, 1, 16)  # UTC
    assert case("my-storm", mine(tmp_path, MINE)).lat == -15
    assert "my-storm" not in cases()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINE.replace("kind", "sort"), ["case 1 (my-storm) at sort", "an unknown key"]),
        (MINE.replace("  lat: -15\n", "  lat: -15\n  speed: 3\n"), ["at speed", "an unknown key", "key, title, kind"]),
        (MINE.replace("  title: Mine\n", ""), ["at title", "found nothing"]),
        (MINE.replace("lat: -15", "lat: 95"), ["at lat", "95", "less than or equal to 90"]),
        (MINE.replace("2020-01-02", "2019-01-02"), ["case 1 (my-storm)", "not before the start"]),
        (MINE.replace("my-storm", "My storm"), ["at key", "My storm"]),
        (MINE.replace("kind: cyclone", "kind: tornado"), ["at kind", "'cyclone' or 'front'"]),
        (MINE + MINE, ["case 2", "the key my-storm again"]),
        (MINE.replace("my-storm", "gaemi-2024"), ["case 1", "the key gaemi-2024 again"]),
        (MINE + "- hello\n", ["case 2", "'hello'"]),
        ("", ["case 1", "None"]),
        (MINE.replace("title: Mine", "title: Mine: again"), ["line 2", "quotes"]),
    ],
)
def test_a_bad_file_says_which_entry_and_what(tmp_path, text, said):
    with pytest.raises(ConfigError) as caught:
        cases(mine(tmp_path, text))
    assert "mine.yaml" in str(caught.value) and all(word in str(caught.value) for word in said)


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml.*no such file"):
        cases(tmp_path / "absent.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\x89HDF\xff\xfe\0")
    with pytest.raises(ConfigError, match="no text"):
        cases(binary)


def test_a_best_track_needs_a_storm_and_its_table():
    times = pd.date_range("2009-08-07", periods=2, freq="6h")
    table = pd.DataFrame(
        {"storm": case("morakot-2009").storm, "name": "", "time": times, "wind": 40.0, "pressure": 1e5}
    )
    tracks = BestTracks(table, "JTWC", 1)
    assert best_track(case("morakot-2009"), tracks).table.time[0] == times[0]
    with pytest.raises(DataError, match="found no storm"):
        best_track(case("idealised-weak"), tracks)
    with pytest.raises(DataError, match="none among 1 storms"):
        best_track(case("gaemi-2024"), tracks)


@pytest.mark.realdata
def test_real_cases_agree_with_their_best_tracks(real_data):
    real_data("best_tracks_and_coast")
    found = [one for one in cases().values() if one.storm and one.data is None]
    assert len(found) == 6
    for one in found:
        storm = best_track(one)
        assert storm.table["name"].iloc[0].lower() == one.key.split("-")[0]
        assert storm.table.time.iloc[0] <= one.start < one.end <= storm.table.time.iloc[-1]
        middle = one.start + (one.end - one.start) / 2
        assert len(storm.near(one.lat, one.lon, middle, within_km=20, within_h=24))


def fall_in_18_h(storm: BestTracks) -> float:
    wind = track(storm).wind
    later = track(storm, wind.time.values + np.timedelta64(18, "h")).wind
    return float(np.nanmin(later.values - wind.values))


@pytest.mark.realdata
def test_the_numbers_in_the_texts_are_those_of_the_best_tracks(real_data):
    real_data("best_tracks_and_coast")

    def knots(key: str, time: str | None = None) -> float:
        storm = best_track(case(key))
        return round((storm.table.wind.max() if time is None else storm.at([time]).wind[0]) / KNOT)

    assert [knots(key) for key in ("morakot-2009", "soudelor-2015", "gaemi-2024", "haikui-2023")] == [80, 155, 125, 105]
    assert [knots("soudelor-2015", f"2015-08-08T{hour}") for hour in ("00", "06")] == [95, 75]
    assert [knots("nepartak-2016", time) for time in ("2016-07-07T12", "2016-07-08T06")] == [135, 65]
    falls = {key: -fall_in_18_h(best_track(one)) / KNOT for key, one in cases().items() if one.storm and not one.data}
    assert max(falls, key=falls.get) == "nepartak-2016" and round(max(falls.values())) == 70
    still = best_track(case("haikui-2023")).at(["2023-09-03T12", "2023-09-03T18"])
    assert distance_km(still.lat[0], still.lon[0], still.lat[1], still.lon[1]) < 30
    gaemi = best_track(case("gaemi-2024")).at(["2024-07-24T06", "2024-07-24T12"])
    assert gaemi.lat[1] < gaemi.lat[0]


@pytest.mark.realdata
def test_muifa_is_the_strongest_gust_of_its_hour(real_data):
    muifa = case("muifa-2011")
    with xr.open_dataset(real_data(muifa.data) / "wgust_era5.nc") as data:
        gust = data.i10fg.sel(time=muifa.start)
        row, col = np.unravel_index(gust.values.argmax(), gust.shape)
        assert float(gust.max()) == pytest.approx(38, abs=0.5)
        assert distance_km(muifa.lat, muifa.lon, gust.latitude[row].item(), gust.longitude[col].item()) < 30


@pytest.mark.realdata
def test_katrina_is_cut_off_at_her_lowest_pressure(real_data):
    katrina = case("katrina-2005")
    with xr.open_dataset(real_data(katrina.data) / "ci_test_file.nc") as data:
        times = [datetime.strptime(text.decode(), "%Y-%m-%d_%H:%M:%S") for text in data.Times.values]
        assert (times[0], times[-1]) == (katrina.start, katrina.end) and len(times) == 4
        lowest = data.PSFC.min("west_east").argmin("south_north")
        assert (lowest == data.sizes["south_north"] - 1).all()
    assert katrina.end - katrina.start == timedelta(hours=9)
