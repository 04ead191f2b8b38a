"""Radar composites: north is up, rain is averaged as rain, what no radar sees stays missing."""

import gzip
import hashlib

import dask
import numpy as np
import pyproj
import pytest

from labkit.data import public, radar
from labkit.data.batches import Batches, load
from labkit.data.pairs import rain_from_reflectivity
from labkit.data.radar import open_radar, pgm, split_radar, window
from labkit.data.radar.pgm import read_header
from labkit.data.statistics import compute_statistics
from labkit.errors import DataError

SPHERE = pyproj.Proj("+proj=stere +lat_0=90 +lat_ts=60 +lon_0=25 +R=6371288")
SOUTH_WEST_M = (-200_000.0, -3_300_000.0)  # projected x, y of the outer corner
HEADER = """P5
# obstime {time}
# radar AAA 1 {lon:.6f} {lat:.6f}
# metersperpixel_x 1000
# metersperpixel_y 1000
# projection radar {{
# type stereographic
# centrallongitude 25
# centrallatitude 90
# truelatitude 60
# bottomleft {west:.6f} {south:.6f}
# topright {east:.6f} {north:.6f}
# }}
{nx} {ny}
255
"""


def write_pgm(folder, image, time="201609281445", stretch=1.0):
    """An FMI composite of `image` (row 0 is the north) with one radar in its south-west corner pixel."""
    ny, nx = image.shape
    x, y = SOUTH_WEST_M
    west, south = SPHERE(x, y, inverse=True)
    east, north = SPHERE(x + 1000 * nx * stretch, y + 1000 * ny * stretch, inverse=True)
    lon, lat = SPHERE(x + 500, y + 500, inverse=True)
    text = HEADER.format(time=time, lon=lon, lat=lat, west=west, south=south, east=east, north=north, nx=nx, ny=ny)
    path = folder / f"{time}.pgm.gz"
    path.write_bytes(gzip.compress(text.encode() + image.astype(np.uint8).tobytes()))
    return path


def random_image(seed=0, shape=(34, 21), missing=0.0):
    rng = np.random.default_rng(seed)
    image = np.where(rng.random(shape) < 0.5, 40, rng.integers(65, 160, shape))
    return np.where(rng.random(shape) < missing, 255, image)


@pytest.fixture
def folder(tmp_path):
    for minute in range(4):
        write_pgm(tmp_path, random_image(minute, (32, 16), missing=0.1), f"20160928144{minute}")
    return tmp_path


def test_the_first_row_of_the_image_is_the_north(tmp_path):
    image = np.full((32, 16), 64)
    image[3, 5] = 64 + 2 * 37  # 37 dBZ near the northern edge, in the west
    write_pgm(tmp_path, image)
    pairs = open_radar(tmp_path, factor=8)
    echo = pairs.target[0, 0].compute()
    brightest = echo.where(echo == 37, drop=True)
    assert brightest.size == 1 and float(brightest.squeeze()) == 37
    x_km, y_km = SOUTH_WEST_M[0] / 1000 + 5.5, SOUTH_WEST_M[1] / 1000 + 32 - 3 - 0.5
    np.testing.assert_allclose([brightest.x.item(), brightest.y.item()], [x_km, y_km])
    lon, lat = SPHERE(1000 * x_km, 1000 * y_km, inverse=True)
    np.testing.assert_allclose([brightest.lon.item(), brightest.lat.item()], [lon, lat], atol=1e-4)
    assert (pairs.target.lat.diff("y") > 0).all() and (pairs.target.lon.diff("x") > 0).all()


def test_the_radar_stands_where_the_header_says(folder):
    distance = open_radar(folder, factor=8).invariant[0].values
    assert distance[0, 0] < 0.01 and distance[-1, -1] == distance.max()
    # on this map the scale is (1 + sin 60) / (1 + sin lat) of the true distance; here it is within one per cent
    assert distance[0, 10] == pytest.approx(10, rel=0.01) and distance[10, 0] == pytest.approx(10, rel=0.01)


def test_decibels_and_missing_pixels(tmp_path):
    image = np.full((8, 8), 64)
    image[0, :4] = 0, 64, 66, 255
    write_pgm(tmp_path, image)
    pairs = open_radar(tmp_path, factor=4)
    np.testing.assert_array_equal(pairs.target[0, 0, -1, :4].values, [0, 0, 1, np.nan])
    assert pairs.mask.values.sum() == 63 and not pairs.mask[0, -1, 3]
    assert pairs.target.dtype == pairs.input.dtype == np.float32


def test_the_coarse_input_conserves_rain_and_not_decibels(tmp_path):
    write_pgm(tmp_path, random_image(shape=(32, 16)))
    pairs = open_radar(tmp_path, factor=8)
    fine, coarse = pairs.target[0, 0].values.astype(float), pairs.input.sel(channel="tp")[0].values
    assert coarse.mean() == pytest.approx(rain_from_reflectivity(fine).mean(), rel=1e-6)
    blocks = fine.reshape(4, 8, 2, 8).transpose(0, 2, 1, 3).reshape(4, 2, 64)
    np.testing.assert_allclose(coarse, rain_from_reflectivity(blocks).mean(axis=-1), rtol=1e-5)
    assert coarse.mean() > 1.5 * rain_from_reflectivity(blocks.mean(axis=-1)).mean()


def test_the_coarse_mean_is_over_observed_cells(tmp_path):
    image = np.full((16, 8), 64 + 60)
    image[:8] = 255  # nothing seen in the northern coarse cell
    image[8:12] = 255  # half of the southern one
    write_pgm(tmp_path, image)
    pairs = open_radar(tmp_path, factor=8)
    south, north = pairs.input[0, :, :, 0].values.T
    np.testing.assert_allclose(south, [rain_from_reflectivity(np.array(30.0)), 0.5], rtol=1e-6)
    assert np.isnan(north[0]) and north[1] == 0


def test_the_domain_is_the_middle_in_whole_coarse_cells(tmp_path):
    write_pgm(tmp_path, random_image(shape=(34, 21)))
    pairs = open_radar(tmp_path, factor=8)
    assert pairs.shape == (32, 16) and pairs.factor == (8, 8) and pairs.spacing_km == (1.0, 1.0)
    corner = [pairs.target.y[0] - SOUTH_WEST_M[1] / 1000, pairs.target.x[0] - SOUTH_WEST_M[0] / 1000]
    np.testing.assert_allclose(corner, [1.5, 2.5], atol=1e-3)
    np.testing.assert_allclose(pairs.input.y_in, pairs.target.y.values.reshape(4, 8).mean(axis=1))
    np.testing.assert_allclose(pairs.input.x_in, pairs.target.x.values.reshape(2, 8).mean(axis=1))


def test_opening_reads_headers_and_each_frame_is_decoded_once(folder, monkeypatch):
    decoded, read_image = [], pgm.read_image
    monkeypatch.setattr(pgm, "read_image", lambda path, header: decoded.append(path) or read_image(path, header))
    pairs = open_radar(folder, factor=8)
    assert decoded == []
    dask.compute(pairs.input.data, pairs.target.data, pairs.mask.data)
    assert len(decoded) == 4
    pairs.target[2].values  # noqa: B018
    assert len(decoded) == 5


def test_frames_come_in_order_of_time_and_can_be_chosen(folder):
    times = open_radar(folder, factor=8).target.time.values
    assert (np.diff(times) == np.timedelta64(1, "m")).all() and str(times[0])[:16] == "2016-09-28T14:40"
    chosen = open_radar(folder, factor=8, times=("2016-09-28T14:41", "2016-09-28T14:42"))
    np.testing.assert_array_equal(chosen.target.time, times[1:3])


def test_a_region_is_the_same_cells(folder):
    whole, part = open_radar(folder, factor=8), open_radar(folder, factor=8, region=(8, 24, 8, 16))
    assert part.shape == (16, 8) and part.input.shape == (4, 2, 2, 1)
    inside = {"y": part.target.y, "x": part.target.x}
    np.testing.assert_array_equal(part.target, whole.target.sel(inside))
    np.testing.assert_array_equal(part.target.lat, whole.target.lat.sel(inside))
    np.testing.assert_array_equal(part.input, whole.input.sel(y_in=part.input.y_in, x_in=part.input.x_in))


def test_training_and_test_share_neither_time_nor_place(folder):
    pairs = open_radar(folder, factor=8)
    train, test = split_radar(pairs, last=1, region=(8, 16, 0, 8))
    assert set(train.target.time.values).isdisjoint(test.target.time.values) and len(train) == 3 and len(test) == 1
    held_out = window(train, (8, 16, 0, 8))
    assert not held_out.mask.any() and np.isnan(held_out.target).all()
    assert np.isnan(held_out.input.sel(channel="tp")).all() and (held_out.input.sel(channel="observed") == 0).all()
    np.testing.assert_array_equal(test.target, window(pairs, (8, 16, 0, 8)).target[3:])
    elsewhere = (16, 32, 0, 16)
    for name in ("input", "target", "mask"):
        kept, original = (getattr(window(p, elsewhere), name) for p in (train, pairs.isel(slice(0, 3))))
        np.testing.assert_array_equal(kept, original)
        assert kept.dtype == original.dtype
    assert train.target.chunksizes["time"] == (1, 1, 1)


def test_batches_of_training_crops_hold_nothing_of_the_region(folder):
    train, _ = split_radar(open_radar(folder, factor=8), last=1, region=(8, 16, 0, 8))
    statistics = compute_statistics(train)
    with Batches(train, statistics, batch_size=24, seed=0, crop=(8, 8), min_observed=0) as batches:
        batch = next(batches)
    inside = (batch.position == batch.position.new_tensor([8, 0])).all(dim=1)
    assert inside.any() and not inside.all()
    assert not batch.mask[inside].any() and batch.mask[~inside].float().mean() > 0.8
    assert (batch.target[inside] == 0).all() and (batch.input[inside][:, 0] == 0).all()
    unseen = statistics.normalise("input", np.zeros((2, 1, 1), np.float32), train.input_channels)[1].item()
    assert (batch.input[inside][:, 1] == unseen).all()


def test_a_frame_without_echo_or_sight_still_loads(tmp_path):
    write_pgm(tmp_path, random_image(1, (8, 8)), "201609281440")
    write_pgm(tmp_path, np.full((8, 8), 255), "201609281445")
    pairs = open_radar(tmp_path, factor=8)
    batch = load(pairs, [1], compute_statistics(pairs))
    assert not batch.mask.any() and (batch.target == 0).all()


def spoil_truncated(folder):
    path = next(folder.glob("*.gz"))
    path.write_bytes(path.read_bytes()[:-40])


def spoil_cut_short(folder):
    path = next(folder.glob("*.gz"))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-10]))


@pytest.mark.parametrize(
    ("spoil", "found"), [(spoil_truncated, "truncated or unreadable"), (spoil_cut_short, "502 pixels")]
)
def test_a_damaged_image_is_named_when_it_is_read(tmp_path, spoil, found):
    write_pgm(tmp_path, random_image(shape=(32, 16)))
    spoil(tmp_path)
    with pytest.raises(DataError, match=found):
        open_radar(tmp_path, factor=8).target.values  # noqa: B018


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"GIF89a", "no PGM header"), (b"P5\n# obstime 201609281445\n4 4\n255\n" + bytes(16), "proper type")],
)
def test_another_file_is_refused_at_opening(tmp_path, content, found):
    (tmp_path / "a.pgm").write_bytes(content)
    with pytest.raises(DataError, match=found):
        open_radar(tmp_path)


def test_an_empty_folder_other_grids_and_wrong_corners_are_refused(tmp_path):
    with pytest.raises(DataError, match="0 PGM files"):
        open_radar(tmp_path)
    write_pgm(tmp_path, random_image(shape=(32, 16)), "201609281440")
    write_pgm(tmp_path, random_image(shape=(16, 16)), "201609281445")
    with pytest.raises(DataError, match="16 x 16"):
        open_radar(tmp_path, factor=8)
    for path in tmp_path.iterdir():
        path.unlink()
    write_pgm(tmp_path, random_image(shape=(32, 16)), stretch=1.1)
    with pytest.raises(DataError, match="corners 35"):
        open_radar(tmp_path, factor=8)


@pytest.mark.parametrize("region", [(4, 16, 0, 8), (0, 40, 0, 8), (8, 8, 0, 8)])
def test_a_region_of_part_cells_or_outside_is_refused(folder, region):
    with pytest.raises(DataError, match="region"):
        open_radar(folder, factor=8, region=region)


@pytest.mark.realdata
def test_the_real_sequence_is_seen_by_its_radars(real_data, monkeypatch):
    monkeypatch.setenv("LABKIT_DATA", str(real_data(radar.DATASET).parent))
    pairs = open_radar()
    assert len(pairs) == 40 and pairs.shape == (1216, 752) and pairs.input.shape == (40, 2, 76, 47)
    frame = pairs.isel(0)
    observed, distance = frame.mask.values[0], pairs.invariant.values[0]
    # all near a radar is seen, and nothing far from all: upside down or mirrored this would not hold
    assert observed[distance < 50].all() and distance[observed].max() < 300
    rain = rain_from_reflectivity(frame.target.values[0, 0].astype(float))
    tp, share = frame.input.values[0].astype(float)
    assert np.nansum(tp * share) * 256 == pytest.approx(np.nansum(rain), rel=1e-4)
    assert 0.1 < np.nanmean(rain) < 1.0


@pytest.mark.realdata
def test_the_header_of_a_real_file(real_data):
    header = read_header(sorted(real_data(radar.DATASET).glob("*.pgm.gz"))[0])
    assert header.shape == (1226, 760) and len(header.radars) == 10
    assert header.time == np.datetime64("2016-09-28T14:45") and header.radars[0][0] == "KOR"


def test_every_public_file_has_an_address_a_checksum_and_a_licence():
    for dataset in public.datasets().values():
        assert dataset.licence and dataset.citation and dataset.files
        assert dataset.address.startswith("https://") or (not dataset.address and dataset.derived)
        assert all(len(sha256) == 64 and int(sha256, 16) for sha256 in dataset.files.values())


@pytest.mark.realdata
@pytest.mark.parametrize("name", sorted(public.datasets()))
def test_the_checksums_are_those_of_the_cache(real_data, name):
    folder = real_data(name)
    for file, sha256 in public.datasets()[name].files.items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == sha256


@pytest.mark.offline
def test_without_cache_and_network_fetch_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.delenv("LABKIT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match="LABKIT_DATA"):
        public.fetch(radar.DATASET)
    assert not list(tmp_path.rglob("*.gz"))


def test_an_unknown_data_set_is_refused():
    with pytest.raises(DataError, match=radar.DATASET):
        public.fetch("radar")
