"""Parts of a data set: the same names for every reader, and none may share weather with another."""

import json

import numpy as np
import pytest
from test_files import HOURS, save
from test_hrrr_mini import write
from test_radar import random_image, write_pgm
from tiny_corrdiff import tiny_config, untrained

from labkit import recipes
from labkit.config import apply_overrides
from labkit.data.catalogue import READERS, open_pairs, options_of
from labkit.data.files import open_files
from labkit.data.hrrr_mini import open_hrrr_mini
from labkit.data.idealised.reader import open_idealised
from labkit.data.parts import check_parts, part_of, positions
from labkit.data.radar import open_radar, window
from labkit.errors import ConfigError, DataError
from labkit.recipes import validate

SMALL = {"shape": [16, 16], "factor": 4, "dx_km": 16.0}
DAY = ["2020-06-01T01", "2020-06-01T04"]


@pytest.fixture
def data_sets(tmp_path):
    """Options of every reader, of data from 00 to 05 UTC, each hour or two samples an hour."""
    inputs, target = save(tmp_path)
    radar = tmp_path / "radar"
    radar.mkdir()
    for hour in range(6):
        write_pgm(radar, random_image(hour, (32, 16)), f"2020060100{10 * hour:02d}")
    path = write(tmp_path / "mini.nc", 12)[0]
    return {
        "idealised": {"start": "2020-06-01", "end": "2020-06-01T05", **SMALL},
        "files": {"input": str(inputs), "target": str(target)},
        "radar": {"folder": str(radar), "factor": 8},
        "hrrr_mini": {"path": str(path)},
    }


@pytest.mark.parametrize("name", READERS)
def test_every_reader_takes_times_and_samples_and_gives_just_these(name, data_sets):
    whole = open_pairs({"name": name, **data_sets[name]})
    stamps = whole.target.time.values
    first, last = stamps[len(stamps) // 3], stamps[-2]
    part = open_pairs({"name": name, **data_sets[name], "times": [str(first), str(last)]})
    inside = np.flatnonzero((stamps >= first) & (stamps <= last))
    np.testing.assert_array_equal(part.target.time.values, stamps[inside])
    np.testing.assert_allclose(part.target.values, whole.target.values[inside], atol=1e-4)
    part = open_pairs({"name": name, **data_sets[name], "samples": "1:4"})
    np.testing.assert_allclose(part.input.values, whole.input.values[1:4], rtol=1e-4)
    assert {"times", "samples"} <= set(options_of(name))
    assert check_parts({"a": whole.isel(slice(0, 2)), "b": whole.isel(slice(len(whole) - 2, None))}) == []
    with pytest.raises(
        ConfigError, match=r"parts a and b of the data: found 1 of the 3 samples of b at times and over"
    ):
        check_parts({"a": whole.isel(slice(0, 3)), "b": whole.isel([2, 4, 5] if name != "hrrr_mini" else [2, 6, 8])})


def test_positions_are_text_or_numbers():
    assert positions("2:9:3", 10) == [2, 5, 8] and positions("3,1", 10) == [3, 1] and positions([4, 2], 10) == [4, 2]
    assert positions("-2:", 10) == [8, 9]
    for wrong in ("early", "1:b", ["x"], 3):
        with pytest.raises(ConfigError, match="times: found"):
            positions(wrong, 10)


@pytest.mark.parametrize("text", ["0:4", "4:8", "24:30:2", "900:1000", "-3:"])
def test_ranges_in_a_command_are_not_taken_for_minutes_and_seconds(text):
    assert apply_overrides({}, [f"data.train.samples={text}"]) == {"data": {"train": {"samples": text}}}


def test_what_is_no_part_is_refused_in_a_sentence(tmp_path):
    pairs = open_files(*save(tmp_path))
    for times, said in (
        (["2020-06-01"], "first and the last"),
        (["a", "b"], "first and the last"),
        (DAY[::-1], "end after the start"),
    ):
        with pytest.raises(ConfigError, match=said):
            part_of(pairs, times=times)
    with pytest.raises(DataError, match="found 2020-06-01T00:00 to 2020-06-01T05:00, expected some within 2021"):
        part_of(pairs, times=["2021-01-01", "2021-02-01"])
    with pytest.raises(DataError, match="no sample"):
        part_of(pairs, samples="9:")


def test_parts_that_follow_one_another_keep_the_chunks(tmp_path):
    pairs = part_of(open_files(*save(tmp_path), chunk=2), times=DAY)
    assert pairs.target.chunksizes["time"] == (1, 2, 1) and len(pairs) == 4


def test_the_same_times_in_other_files_are_the_same_samples_only_over_the_same_cells(tmp_path):
    here = open_files(*save(tmp_path))
    with pytest.raises(ConfigError, match="6 of the 6 samples"):
        check_parts({"train": here, "test": open_files(*save(tmp_path))})
    parts = {"train": window(here, (0, 12, 0, 8)), "test": window(here, (0, 12, 8, 20))}
    said = "6 of the 6 samples of test have times of train, at another place: the weather there is alike"
    assert [sentence.rpartition(", so")[0] for sentence in check_parts(parts)] == [said]
    with pytest.raises(ConfigError, match="train and test"):
        check_parts({"train": window(here, (0, 12, 0, 12)), "test": window(here, (0, 12, 8, 20))})


def test_places_that_nothing_tells_apart_are_taken_for_the_same(tmp_path):
    files = save(tmp_path)
    with pytest.raises(ConfigError, match="no sample in two parts"):
        check_parts({"a": _nowhere(open_files(*files)), "b": _nowhere(open_files(*files))})


def _nowhere(pairs):
    nan = pairs.target.lat * np.nan
    return type(pairs)(pairs.input, pairs.target.assign_coords(lat=nan, lon=nan), pairs.invariant)


def test_windows_of_one_radar_image_side_by_side_share_no_cell(tmp_path):
    write_pgm(tmp_path, random_image(0, (32, 16)))
    image = open_radar(tmp_path, factor=8)
    assert len(check_parts({"a": window(image, (0, 16, 0, 16)), "b": window(image, (16, 32, 0, 16))})) == 1
    with pytest.raises(ConfigError):
        check_parts({"a": window(image, (0, 24, 0, 16)), "b": window(image, (16, 32, 0, 16))})


@pytest.mark.parametrize(("apart", "meet"), [((0, 0), True), ((15, 31), True), ((0, 32), False), ((16, 0), False)])
def test_crops_of_one_hour_meet_where_their_squares_do(tmp_path, apart, meet):
    """Two crops of an hour: the same sample to a validation where they share a cell, else its neighbour."""
    coord = np.array([[0, 0], apart])
    path = write(tmp_path / "mini.nc", 4, coord=np.zeros((4, 2), int))[0]
    pairs = open_hrrr_mini(path, samples="0:2")
    row, column = (("time", coord[:, i]) for i in (0, 1))
    pairs = type(pairs)(
        pairs.input.isel(y_in=slice(2), x_in=slice(4)),
        pairs.target.isel(y=slice(16), x=slice(32)).assign_coords(row=row, column=column),
        pairs.invariant.isel(y=slice(16), x=slice(32)),
    )
    parts = {"train": pairs.isel([0]), "validation": pairs.isel([1])}
    if meet:
        with pytest.raises(ConfigError, match="1 of the 1 samples of validation"):
            check_parts(parts)
    else:
        assert check_parts(parts)[0].startswith(
            "1 of the 1 samples of validation have times of train, at another place"
        )


def test_crops_at_one_place_of_other_hours_do_not_meet(tmp_path):
    path = write(tmp_path / "mini.nc", 8, coord=np.zeros((8, 2), int))[0]
    assert check_parts({"a": open_hrrr_mini(path, samples="0:4"), "b": open_hrrr_mini(path, samples="4:")}) == []


def test_another_seed_is_another_weather():
    a, b = (open_idealised("2020-01-01", "2020-01-02", seed=seed, **SMALL) for seed in (1, 2))
    assert check_parts({"a": a, "b": b}) == []
    with pytest.raises(ConfigError):
        check_parts({"a": a, "b": open_idealised("2020-01-02", "2020-01-03", seed=1, **SMALL)})


@pytest.mark.parametrize(
    "override",
    ["data.validation={start: 2000-01-05, end: 2000-01-20}", "data.test={start: 2001-01-05, end: 2001-01-09}"],
)
def test_training_on_parts_that_overlap_is_refused_before_anything_is_written(tmp_path, override):
    with pytest.raises(ConfigError, match="no sample in two parts"):
        recipes.train(tiny_config(override), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_hrrr_mini_without_parts_is_refused_and_with_samples_is_not(tmp_path):
    path = write(tmp_path / "mini.nc", 12)[0]
    values = json.loads(tiny_config().model_dump_json())
    values["data"] |= {"reader": "hrrr_mini", "options": {"path": str(path)}}
    values["data"] |= {"train": {}, "validation": {}, "test": {}}
    with pytest.raises(ConfigError, match="found 12 of the 12 samples of validation"):
        recipes.train(validate(values), tmp_path / "run", quiet=True)
    parts = {"train": {"samples": "0:6"}, "validation": {"samples": "6:10"}, "test": {"samples": "10:"}}
    config = validate(values | {"data": values["data"] | parts})
    assert check_parts({name: recipes.open_part(config, name) for name in parts}) == []


def test_a_run_without_a_test_of_its_own_hands_out_none():
    model = untrained()
    model.config = model.config.model_copy(update={"data": model.config.data.model_copy(update={"test": {}})})
    with pytest.raises(ConfigError, match="test part"):
        model.pairs("test")
    assert len(model.pairs("train")) and HOURS.size == 6


@pytest.mark.parametrize("preset", recipes.presets())
def test_parts_of_the_presets_are_apart(preset, request, monkeypatch):
    if preset == "radar":
        folder = request.getfixturevalue("real_data")("radar_fmi_20160928")
        monkeypatch.setenv("LABKIT_DATA", str(folder.parent))
    config = recipes.load_preset(preset)
    assert check_parts({part: recipes.open_part(config, part) for part in ("train", "validation", "test")}) == []
