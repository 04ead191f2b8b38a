"""Groups of a tree that lie in orders of their own: scores are those of the fields cell by cell and time by time."""

import netCDF4
import numpy as np
import pytest
import xarray as xr

from labkit.errors import DataError
from labkit.grid import spacing_km
from labkit.store.trees import open_tree
from labkit.verify.scores import score_table, score_tree

NT, NE, N = 4, 3, 8
TIME = np.datetime64("2020-06-01", "ns") + np.arange(NT) * np.timedelta64(1, "h")
LAT, LON = 24 + 0.1 * np.arange(N), 121 + 0.1 * np.arange(N)
RNG = np.random.default_rng(4)
TRUTH = 290 + np.arange(NT)[:, None, None] + LAT[:, None] + LON / 10 + RNG.normal(size=(NT, N, N))
MEMBERS = TRUTH + 1 + RNG.normal(size=(NE, NT, N, N))
RMSE = float(np.sqrt(np.mean((MEMBERS.mean(0) - TRUTH) ** 2)))


def group(values, *, dated="time", dims=("lat", "lon"), member="ensemble", order=None, **coords):
    lead = (member,) * (values.ndim - 3) + (dated,)
    found = xr.Dataset({"t2m": ((*lead, *dims), values, {"units": "K"})}, {dated: TIME, "lat": LAT, "lon": LON})
    return found.isel(order or {}).assign_coords(coords)


def tree_of(folder, truth, prediction, **root):
    path = folder / "tree.nc"
    xr.Dataset(coords=root).to_netcdf(path)
    truth.to_netcdf(path, group="truth", mode="a")
    prediction.to_netcdf(path, group="prediction", mode="a")
    return path


def rmse(path):
    with open_tree(path) as tree:
        table = score_table(score_tree(tree)).reset_index()
        return float(table[table.source == "prediction"].rmse.iloc[0])


BACK = slice(None, None, -1)
ORDERS = {
    "rows from the north": {"order": {"lat": BACK}},
    "columns from the east": {"order": {"lon": BACK}},
    "times from the last": {"order": {"time": BACK}},
    "times in no order": {"order": {"time": [2, 0, 3, 1]}},
    "longitudes of the other convention": {"lon": LON - 360},
    "valid_time from the last": {"dated": "valid_time", "order": {"valid_time": BACK}},
    **{f"members as {name}": {"member": name} for name in ("number", "realization", "member", "ens")},
}


@pytest.mark.parametrize("own", ORDERS.values(), ids=ORDERS)
def test_each_group_goes_by_its_own_coordinates(tmp_path, own):
    assert rmse(tree_of(tmp_path, group(TRUTH), group(MEMBERS, **own))) == pytest.approx(RMSE, rel=1e-5)


def test_each_group_goes_by_its_own_two_dimensional_positions(tmp_path):
    def curved(values, rows):
        named = group(values).rename_dims(lat="j", lon="i").drop_vars(["lat", "lon"])
        lat, lon = np.meshgrid(LAT, LON, indexing="ij")
        return named.assign_coords(lat=(("j", "i"), lat), lon=(("j", "i"), lon)).isel(j=rows)

    path = tree_of(tmp_path, curved(TRUTH, slice(None)), curved(MEMBERS, BACK))
    assert rmse(path) == pytest.approx(RMSE, rel=1e-5)


@pytest.mark.parametrize(
    ("other", "name"),
    [({"lat": LAT + 0.05}, "lat"), ({"lon": LON + 0.05}, "lon"), ({"time": TIME + np.timedelta64(1, "h")}, "time")],
)
def test_groups_of_other_places_or_times_are_refused(tmp_path, other, name):
    path = tree_of(tmp_path, group(TRUTH), group(MEMBERS, **other))
    with pytest.raises(DataError, match=f"{name} of group 'prediction' unlike that of the other groups"):
        open_tree(path)


def test_times_of_a_tree_rise_and_have_dates_by_any_common_name(tmp_path):
    shuffled = [group(values, dated="valid_time", order={"valid_time": [1, 3, 0, 2]}) for values in (TRUTH, MEMBERS)]
    tree = open_tree(tree_of(tmp_path, *shuffled))
    np.testing.assert_array_equal(tree.time, TIME)
    np.testing.assert_allclose(tree["truth/t2m"], TRUTH, rtol=1e-6)


@pytest.mark.parametrize("west", [-0.4, 179.6])
@pytest.mark.parametrize("flat", [True, False], ids=["lon (x)", "lon (y, x)"])
def test_columns_that_the_file_holds_in_two_pieces_become_one(tmp_path, west, flat):
    """Sorted by its own numbers, a domain across Greenwich or the date line is torn: 0.05, 0.15 ... 359.75, 359.85."""
    lon = west + 0.05 + 0.1 * np.arange(N)
    stored = lon % 360 if west < 0 else (lon + 180) % 360 - 180
    order = np.argsort(stored)
    parts = [group(values, order={"lon": order}, lon=stored[order]) for values in (TRUTH, MEMBERS)]
    if not flat:
        lat, columns = np.meshgrid(LAT, stored[order], indexing="ij")
        bare = [part.rename_dims(lat="y", lon="x").drop_vars(["lat", "lon"]) for part in parts]
        parts = [part.assign_coords(lat=(("y", "x"), lat), lon=(("y", "x"), columns)) for part in bare]
    tree = open_tree(tree_of(tmp_path, *parts))
    np.testing.assert_allclose(tree["truth/t2m"], TRUTH, rtol=1e-6)
    width = np.deg2rad(0.1) * 6371 * np.cos(np.deg2rad(LAT)).mean()
    assert spacing_km(tree)[1] == pytest.approx(width, rel=1e-3)


def test_the_unit_of_another_group_is_taken_aloud(tmp_path, capsys):
    from labkit.cli import main

    silent = group(MEMBERS).rename(t2m="skin")
    silent["skin"].attrs.clear()
    path = tree_of(tmp_path, group(TRUTH).rename(t2m="skin"), silent)
    assert main(["score", str(path)]) == 0 and "taken for skin K" in capsys.readouterr().err


def test_attributes_of_several_numbers_are_no_hindrance(tmp_path):
    path = tree_of(tmp_path, group(TRUTH), group(MEMBERS))
    with netCDF4.Dataset(path, "a") as file:
        file["truth/t2m"].actual_range = np.array([200.0, 400.0])
    assert rmse(path) == pytest.approx(RMSE, rel=1e-5)
