"""One radar scene in every format: the same decibels at the same places, dry where seen, missing where not."""

import numpy as np
import pyproj
import pytest
from tiny_grib import grib
from tiny_radar import (
    GAIN,
    NODATA,
    OFFSET,
    PROJ,
    SOUTH_WEST_M,
    UNDETECT,
    WRITERS,
    h5py,
    scene,
    write_knmi,
    write_odim,
    write_tiff,
)

from labkit.cli import main
from labkit.data.catalogue import open_pairs
from labkit.data.pairs import rain_from_reflectivity, reflectivity_from_rain
from labkit.data.radar import open_radar
from labkit.errors import ConfigError, DataError


def expected_dbz(numbers):
    """Rows from the south, at least 0 dBZ, NaN where unseen."""
    values = np.maximum(numbers.astype(float) * GAIN + OFFSET, 0)
    return np.where(numbers == NODATA, np.nan, np.where(numbers == UNDETECT, 0, values))[::-1]


def test_the_scene_tells_undetected_from_unseen():
    numbers = scene()
    assert {UNDETECT, NODATA} <= set(numbers.flat) and np.isnan(expected_dbz(numbers)).sum() > 20


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_values_places_and_times_of_each_format(tmp_path, write):
    numbers = scene()
    write(tmp_path, numbers)
    pairs = open_radar(tmp_path, factor=8)
    expected = expected_dbz(numbers)
    np.testing.assert_allclose(pairs.target[0, 0], expected, atol=1e-5)
    np.testing.assert_array_equal(pairs.mask[0], np.isfinite(expected))
    assert str(pairs.target.time.values[0])[:16] == "2020-06-01T12:00"
    x, y = (corner / 1000 + 0.5 + np.arange(n) for corner, n in zip(SOUTH_WEST_M, (24, 32), strict=True))
    np.testing.assert_allclose(pairs.target.x, x, atol=0.02)
    np.testing.assert_allclose(pairs.target.y, y, atol=0.02)
    lon, lat = pyproj.Proj(PROJ)(*np.meshgrid(1000 * x, 1000 * y), inverse=True)
    np.testing.assert_allclose(pairs.target.lat, lat, atol=2e-4)
    np.testing.assert_allclose(pairs.target.lon, lon, atol=2e-4)
    seen = np.isfinite(expected).reshape(4, 8, 3, 8)
    rain = np.where(seen, rain_from_reflectivity(np.nan_to_num(expected)).reshape(seen.shape), 0)
    tp, observed = pairs.input[0].values
    np.testing.assert_allclose(observed, seen.mean(axis=(1, 3)), rtol=1e-6)
    np.testing.assert_allclose(tp, rain.sum(axis=(1, 3)) / seen.sum(axis=(1, 3)), rtol=1e-4)
    assert pairs.invariant_channels == []


@pytest.mark.parametrize(("quantity", "factor"), [("RATE", 1), ("ACRR", 12)])
def test_odim_rates_and_amounts_of_five_minutes(tmp_path, quantity, factor):
    numbers = scene()
    write_odim(tmp_path, numbers, quantity=quantity, gain=0.1, offset=0.0)
    pairs = open_radar(tmp_path, factor=8)
    rain = np.where(numbers == NODATA, np.nan, 0.1 * factor * numbers)[::-1]
    np.testing.assert_allclose(pairs.target[0, 0], reflectivity_from_rain(rain), rtol=1e-5, atol=1e-4)
    assert float(pairs.input[0, 0].mean()) == pytest.approx(np.nanmean(rain), rel=0.02)


def test_knmi_amounts_are_of_their_interval(tmp_path):
    numbers = scene()
    write_knmi(tmp_path, numbers, what="ACCUMULATED_PRECIPITATION_[MM]", gain=0.01, offset=0)
    rain = np.where(numbers == NODATA, np.nan, 12 * 0.01 * numbers)[::-1]
    np.testing.assert_allclose(open_radar(tmp_path, factor=8).target[0, 0], reflectivity_from_rain(rain), atol=1e-3)


def test_corners_at_the_centres_of_cells_are_understood_and_others_refused(tmp_path):
    numbers = scene((32, 24))
    path = write_odim(tmp_path, numbers)
    inner = [
        pyproj.Proj(PROJ)(*(c + 500 + 1000 * k for c, k in zip(SOUTH_WEST_M, n, strict=True)), inverse=True)
        for n in ((0, 0), (23, 31))
    ]
    with h5py().File(path, "a") as file:
        for name, (lon, lat) in zip(("LL", "UR"), inner, strict=True):
            file["where"].attrs[f"{name}_lon"], file["where"].attrs[f"{name}_lat"] = lon, lat
    np.testing.assert_allclose(open_radar(tmp_path, factor=8).target.x[0], SOUTH_WEST_M[0] / 1000 + 0.5, atol=1e-3)
    with h5py().File(path, "a") as file:
        file["where"].attrs["xscale"] = 2000.0
    with pytest.raises(DataError, match=r"corners 1[12]\.\d+ cells apart"):
        open_radar(tmp_path, factor=8)


def test_mrms_grib_is_known_though_ecmwf_has_no_name_for_it(tmp_path):
    lat, lon = np.arange(30.0, 29.6, -0.01)[:32], np.arange(262.0, 262.5, 0.01)[:24]
    rain = np.random.default_rng(0).gamma(0.5, 4, (32, 24))
    rain[:4], rain[4:8] = -1, -3  # no value, no coverage
    keys = {"centre": 161, "discipline": 209, "parameterCategory": 6, "parameterNumber": 1}
    for minute in (0, 2):
        date = f"2020-06-01T12:0{minute}"
        grib(tmp_path / f"PrecipRate_{minute}.grib2", {"values": rain, "lat": lat, "lon": lon, "date": date, **keys})
    pairs = open_radar(tmp_path, factor=8)
    expected = np.where(rain < 0, np.nan, rain)[::-1]
    np.testing.assert_allclose(pairs.target[1, 0], reflectivity_from_rain(expected), atol=1e-2)
    np.testing.assert_allclose(pairs.target.lon[0, [0, -1]], [-98, -97.77], atol=1e-3)
    np.testing.assert_allclose(pairs.target.lat[[0, -1], 0], [29.69, 30], atol=1e-3)
    assert pairs.spacing_km == pytest.approx((1.112, 1.112 * np.cos(np.radians(29.845))), rel=1e-3)
    assert str(pairs.target.time.values[1])[:16] == "2020-06-01T12:02"


@pytest.mark.realdata
def test_a_real_mrms_frame_has_the_rain_that_ecmwf_decodes(real_data):
    import eccodes

    path = sorted(real_data("radar_mrms_20190610").glob("*.grib2"))[0]
    pairs = open_radar(path, factor=20, region=(1000, 1200, 4000, 4200)).target
    with path.open("rb") as file:
        raw = eccodes.codes_get_values(eccodes.codes_grib_new_from_file(file)).reshape(3500, 7000)[::-1]
    raw = np.where(raw < 0, np.nan, raw)[1000:1200, 4000:4200]
    np.testing.assert_allclose(pairs[0, 0], reflectivity_from_rain(raw), rtol=1e-4)
    np.testing.assert_allclose(pairs.lat[[0, -1], 0], [30.005, 31.995], atol=1e-3)


def test_numbers_of_which_nothing_says_what_they_are_are_refused_unless_told(tmp_path):
    numbers = scene()
    write_tiff(tmp_path, numbers, units="", gain=1, offset=0)
    with pytest.raises(DataError, match=r"numbers without a unit.*quantity=reflectivity"):
        open_radar(tmp_path, factor=8)
    told = {"quantity": "reflectivity", "gain": GAIN, "offset": OFFSET, "undetect": UNDETECT}
    np.testing.assert_allclose(open_radar(tmp_path, factor=8, **told).target[0, 0], expected_dbz(numbers), atol=1e-5)
    with pytest.raises(DataError, match="found snow"):
        open_radar(tmp_path, quantity="snow")


def test_a_rain_rate_below_zero_is_no_rain_but_an_error(tmp_path):
    numbers = np.where(scene() == NODATA, -1, scene().astype(np.int16)).astype(np.int16)
    write_tiff(tmp_path, numbers, units="mm/h", gain=1, offset=0)
    with pytest.raises(DataError, match=r"a rain rate of -1 mm h-1.*nodata=-1"):
        open_radar(tmp_path, factor=8).target.values  # noqa: B018
    assert np.isnan(open_radar(tmp_path, factor=8, nodata=-1).target).sum() == (numbers == -1).sum()


@pytest.mark.parametrize("name", ["broken.h5", "broken.tif", "broken.grib2"])
def test_spoilt_files_and_other_hdf5_are_refused_in_a_sentence(tmp_path, name):
    writers = {"broken.h5": write_odim, "broken.tif": write_tiff}
    whole = writers[name](tmp_path, scene()) if name in writers else grib(tmp_path / "whole", {"discipline": 209})
    raw = whole.read_bytes()
    whole.unlink()
    (tmp_path / name).write_bytes(raw[: len(raw) // 3])
    with pytest.raises(DataError):
        open_radar(tmp_path, factor=8).target.values  # noqa: B018


def test_an_hdf5_file_of_another_kind_says_what_is_in_it(tmp_path):
    with h5py().File(tmp_path / "volume.h5", "w") as file:
        file.create_group("what").attrs["object"] = np.bytes_("PVOL")
        file.create_group("dataset1")
    with pytest.raises(DataError, match="HDF5 with dataset1, what"):
        open_radar(tmp_path)


def test_two_products_of_one_time_are_refused(tmp_path):
    write_odim(tmp_path, scene())
    write_tiff(tmp_path, scene())
    with pytest.raises(DataError, match="one composite for each time"):
        open_radar(tmp_path, factor=8)


def sequence(folder, n=10):
    for minute in range(n):
        write_odim(folder, scene((32, 32), minute), f"2020060112{5 * minute:02d}")
    return {"name": "radar", "folder": str(folder), "factor": 8, "last": 0.2, "validation": 0.1}


def test_parts_of_ones_own_sequence_share_no_frame(tmp_path):
    options = sequence(tmp_path)
    parts = {part: open_pairs({**options, "part": part}) for part in ("train", "validation", "test", "all")}
    minutes = {part: [int(str(t)[14:16]) for t in pairs.target.time.values] for part, pairs in parts.items()}
    assert minutes["train"] == [0, 5, 10, 15, 20, 25, 30] and minutes["validation"] == [35]
    assert minutes["test"] == [40, 45] and len(minutes["all"]) == 10
    held = open_pairs({**options, "part": "train", "held_out": [8, 16, 0, 8]})
    assert np.isnan(held.target[:, 0, 8:16, :8]).all() and np.isfinite(held.target[:, 0, 16:]).any()
    assert open_pairs({**options, "part": "test", "held_out": [8, 16, 0, 8]}).shape == (8, 8)
    with pytest.raises(ConfigError, match="radar validation: found 9 of 9 frames"):
        open_pairs({**options, "part": "train", "last": 1, "validation": 9})


def test_a_strangers_sequence_trains_in_one_command(tmp_path):
    (tmp_path / "mine").mkdir()
    sequence(tmp_path / "mine", 12)
    small = ["data.crop=[16,16]", "data.options.factor=8", "validation.cases=1", "validation.members=2"]
    small += [
        "validation.num_steps=2",
        "sampler.num_steps=2",
        "regression_network.model_channels=8",
        "diffusion_network.model_channels=8",
    ]
    for stage in ("regression", "diffusion"):
        small += [f"{stage}.{key}=16" for key in ("samples", "validate_every", "checkpoint_every", "log_every")]
    words = ["train", "corrdiff", "--preset", "radar", "--run", str(tmp_path / "run")]
    assert main([*words, f"data.options.folder={tmp_path / 'mine'}", *small]) == 0
    assert main(["sample", str(tmp_path / "run"), str(tmp_path / "drawn.nc"), "--times", "0:1", "--members", "2"]) == 0
    assert main(["score", str(tmp_path / "drawn.nc")]) == 0


def test_a_mark_that_no_file_declares_is_no_dry_weather(tmp_path):
    """-9999 dBZ, unseen, would be taken for dry: as weak an echo does not exist."""
    numbers = np.where(np.arange(32 * 24).reshape(32, 24) < 100, -9999.0, 20.0).astype(np.float32)
    path = write_odim(tmp_path, numbers, gain=1.0, offset=0.0, nodata=-1.0, undetect=-2.0)
    with pytest.raises(DataError, match=r"-9999 dBZ.*at least -100 dBZ.*nodata=-9999"):
        open_radar(path, factor=8).target.load()
    found = open_radar(path, factor=8, nodata=-9999).target.values
    assert np.isnan(found).sum() == 100 and np.nanmin(found) == 20
