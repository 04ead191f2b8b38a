"""HRRR-Mini's layout, written here as the reference gives it: names, crops, repeated times, damage."""

import json

import netCDF4
import numpy as np
import pytest

from labkit.data.batches import Batches, load
from labkit.data.hrrr_mini import open_hrrr_mini
from labkit.data.statistics import Statistics, compute_statistics
from labkit.errors import DataError
from labkit.variables import lookup

LEVELS = [f"{name}{level}" for name in "uvztq" for level in (1000, 850, 500, 250)]
INPUTS = [*LEVELS, "u10", "v10", "t2m", "tcwv", "sp", "msl"]
OUTPUTS = ["2t", "10u", "10v", "tp"]
GRID = (80, 96)


def level(i, name):
    """About what the `i`th variable of a group is: each has its own, and such as nature keeps to."""
    low, high = lookup(name).plausible or (0.0, 3000.0)
    return low + (i + 1) / 30 * (high - low)


def write(path, n=10, *, coord=None, upside_down=False, time="i8", nan=False, inputs=INPUTS, outputs=OUTPUTS, skip=()):
    """A file in exactly HRRR-Mini's layout, with random fields on a small HRRR grid."""
    rng = np.random.default_rng(0)
    coord = np.stack([rng.integers(0, GRID[i] - 64, n) for i in range(2)], axis=1) if coord is None else coord
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("sample", n), ("two", 2)):
            file.createDimension(name, size)
        file.createVariable("time", time, ("sample",))[:] = 1_514_764_800_000_000_000 + 3_600_000_000_000 * (
            np.arange(n) // 2
        )
        if "coord" not in skip:
            file.createVariable("coord", "i8", ("sample", "two"))[:] = coord
        for group, names, size in (("input", inputs, 8), ("output", outputs, 64)):
            if group in skip:
                continue
            made = file.createGroup(group)
            made.createDimension("y", size)
            made.createDimension("x", size)
            for i, name in enumerate(names):
                values = level(i, name) + rng.standard_normal((n, size, size))
                values[3, 2, 1] = np.nan if nan else values[3, 2, 1]
                made.createVariable(name, "f4", ("sample", "y", "x"))[:] = values
                made[name].units = lookup(name).units or "1"
        if "invariant" not in skip:
            made = file.createGroup("invariant")
            made.createDimension("y", GRID[0])
            made.createDimension("x", GRID[1])
            row, column = np.mgrid[: GRID[0], : GRID[1]]
            latitude = 30 + (GRID[0] - row if upside_down else row) * 0.03
            fields = {"latitude": latitude, "longitude": -100 + column * 0.03, "elev_mean": row * 100 + column}
            for name, values in {**fields, "lsm_mean": row % 2}.items():
                made.createVariable(name, "f4", ("y", "x"))[:] = values
                made[name].units = lookup(name).units or "1"
    return path, np.asarray(coord)


def test_every_group_is_read_by_name_and_lazily(tmp_path):
    path, _ = write(tmp_path / "mini.nc")
    pairs = open_hrrr_mini(path, chunk=4)
    assert pairs.input.shape == (10, 26, 8, 8) and pairs.target.shape == (10, 4, 64, 64)
    assert pairs.target_channels == ["t2m", "u10", "v10", "tp"] and pairs.invariant_channels == [
        "orography",
        "land_mask",
    ]
    assert pairs.target.native.values.tolist() == OUTPUTS and pairs.input.native.values.tolist() == INPUTS
    assert pairs.factor == (8, 8) and pairs.spacing_km == (3.0, 3.0)
    assert pairs.target.chunksizes["time"] == pairs.invariant.chunksizes["time"] == (4, 4, 2)
    with netCDF4.Dataset(path) as file:
        np.testing.assert_array_equal(pairs.target.sel(channel="v10"), file["output/10v"][:])
        np.testing.assert_array_equal(pairs.input.sel(channel="tcwv"), file["input/tcwv"][:])


def test_chosen_channels_come_in_the_order_asked_for(tmp_path):
    path, _ = write(tmp_path / "mini.nc")
    pairs = open_hrrr_mini(path, input_channels=["msl", "u10"], target_channels=["10v", "u10"])
    assert pairs.input_channels == ["msl", "u10"] and pairs.target_channels == ["v10", "u10"]
    assert pairs.target.mean(("time", "y", "x")).values == pytest.approx([level(2, "10v"), level(1, "10u")], abs=0.1)
    wanted = [level(25, "msl"), level(20, "u10")]
    assert pairs.input.mean(("time", "y_in", "x_in")).values == pytest.approx(wanted, abs=0.2)


@pytest.mark.parametrize("time", ["i8", "u8"])
def test_times_are_nanoseconds_and_may_repeat(tmp_path, time):
    path, _ = write(tmp_path / "mini.nc", time=time)
    times = open_hrrr_mini(path).target.time.values.astype("datetime64[h]").astype(str)
    assert times[:4].tolist() == ["2018-01-01T00", "2018-01-01T00", "2018-01-01T01", "2018-01-01T01"]


def test_times_with_units_are_read_as_well(tmp_path):
    path, _ = write(tmp_path / "mini.nc")
    with netCDF4.Dataset(path, "a") as file:
        file["time"].units = "hours since 2000-01-01"
        file["time"][:] = np.arange(10)
    assert str(open_hrrr_mini(path).target.time.values[9])[:13] == "2000-01-01T09"


def test_each_sample_has_the_invariants_of_its_place(tmp_path):
    path, coord = write(tmp_path / "mini.nc")
    pairs = open_hrrr_mini(path, chunk=3)
    orography = pairs.invariant.sel(channel="orography").values
    np.testing.assert_array_equal(orography[:, 0, 0], coord @ [100, 1])
    np.testing.assert_array_equal(orography[:, 63, 63], (coord + 63) @ [100, 1])
    assert np.isnan(pairs.target.lat).all()


def test_one_place_has_latitudes_and_longitudes(tmp_path):
    path, _ = write(tmp_path / "mini.nc", coord=np.tile([[5, 7]], (10, 1)))
    target = open_hrrr_mini(path).target
    np.testing.assert_allclose([target.lat[0, 0], target.lon[0, 0]], [30.15, -99.79], rtol=1e-6)


def test_rows_from_north_to_south_are_turned_over_in_all_groups(tmp_path):
    path, _ = write(tmp_path / "mini.nc", upside_down=True, coord=np.tile([[5, 7]], (10, 1)))
    pairs = open_hrrr_mini(path)
    assert (pairs.target.lat.diff("y") > 0).all()
    assert (pairs.invariant.sel(channel="orography")[:, 0, 0].values == (5 + 63) * 100 + 7).all()
    with netCDF4.Dataset(path) as file:
        np.testing.assert_array_equal(pairs.target[:, 0].values, file["output/2t"][:, ::-1])
        np.testing.assert_array_equal(pairs.input[:, 0].values, file["input/u1000"][:, ::-1])


def test_it_trains_with_its_own_stats_json(tmp_path):
    path, _ = write(tmp_path / "mini.nc")
    groups = {"input": INPUTS, "output": OUTPUTS, "invariant": ["elev_mean", "lsm_mean"]}
    entries = {
        g: {name: {"mean": level(i, name), "std": 2.0} for i, name in enumerate(names)} for g, names in groups.items()
    }
    (tmp_path / "stats.json").write_text(json.dumps(entries))
    pairs, statistics = open_hrrr_mini(path), Statistics.load(tmp_path / "stats.json")
    with Batches(pairs, statistics, batch_size=4, seed=0) as batches:
        batch = next(batches)
    assert batch.invariant.shape == (4, 2, 64, 64)
    assert batch.target.std().item() == pytest.approx(0.5, rel=0.05) and abs(batch.target.mean().item()) < 0.02
    own = compute_statistics(pairs)
    assert own.target["u10"].mean == pytest.approx(level(1, "10u"), abs=0.1)
    assert own.target["u10"].std == pytest.approx(1, abs=0.02)


def test_nan_is_named_when_the_sample_is_read(tmp_path):
    path, _ = write(tmp_path / "mini.nc", nan=True)
    pairs = open_hrrr_mini(path, target_channels=["10u"])
    statistics = compute_statistics(pairs)
    assert load(pairs, [2], statistics).target.isfinite().all()
    with pytest.raises(DataError, match="1 in u10"):
        load(pairs, [3], statistics)


@pytest.mark.parametrize("group", ["input", "output", "invariant"])
def test_a_missing_group_is_named(tmp_path, group):
    path, _ = write(tmp_path / "mini.nc", skip=(group,))
    with pytest.raises(DataError, match=f"group {group}"):
        open_hrrr_mini(path)


def test_missing_places_other_names_and_places_outside_are_refused(tmp_path):
    with pytest.raises(DataError, match="coord"):
        open_hrrr_mini(write(tmp_path / "a.nc", skip=("coord",))[0])
    with pytest.raises(DataError, match="snow"):
        open_hrrr_mini(write(tmp_path / "b.nc")[0], target_channels=["snow"])
    with pytest.raises(DataError, match="sample 4"):
        open_hrrr_mini(write(tmp_path / "c.nc", coord=np.array([[0, 0]] * 4 + [[17, 0]] * 6))[0])


def test_truncated_absent_and_foreign_files_are_refused(tmp_path):
    path, _ = write(tmp_path / "mini.nc")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match="cannot be read"):
        open_hrrr_mini(path)
    with pytest.raises(DataError, match="no such file"):
        open_hrrr_mini(tmp_path / "none.nc")
    (tmp_path / "text.nc").write_text("hello")
    with pytest.raises(DataError, match="cannot be read"):
        open_hrrr_mini(tmp_path / "text.nc")
