"""Centres of vortices that are known exactly, on grids of 1 to 25 km, and none where there is no cyclone."""

import numpy as np
import pytest
import xarray as xr
from vortices import Vortex, axes, fields

from labkit.data.idealised.reader import IdealisedConfig, world
from labkit.errors import DataError
from labkit.verify.cyclones import Limits, find
from labkit.verify.cyclones.symmetry import symmetric_centres

WIDTH_KM = 640.0


def cells(dx):
    return int(np.clip(WIDTH_KM / dx, 28, 320))


def draw(seed, dx, kind, case):
    """A vortex somewhere on a grid, and the fields of a case."""
    rng = np.random.default_rng(seed)
    n = cells(dx)
    x, y = rng.uniform(-0.2, 0.2, 2) * n * dx
    options = {
        "plain": {},
        "moving": {"flow": tuple(rng.normal(size=2) * 6)},
        "sheared": {"flow": (4.0, -2.0), "shear": 4.0},
        "noisy": {"noise": 1.0, "seed": seed},
        "half off": {},
        "over terrain": {"friction": friction(n, dx, x, y, rng)},
    }[case]
    if case == "half off":
        x = (n / 2 - 0.6) * dx
    vortex = Vortex(x, y, vmax=rng.uniform(25, 60), rmw=max(2.5 * dx, rng.uniform(20, 70)), kind=kind)
    return vortex, fields(vortex, shape=(n, n), dx=dx, **options)


def friction(n, dx, x, y, rng):
    """A ridge across the vortex that takes a third of the wind."""
    gx, gy = np.meshgrid(*reversed(axes((n, n), dx)))
    return 1 - 0.35 * np.exp(-(((gx - x - 40 * rng.normal()) / 60) ** 2) - ((gy - y - 40 * rng.normal()) / 120) ** 2)


def miss(found, vortex):
    return float(np.hypot(found.x - vortex.x, found.y - vortex.y).squeeze())


@pytest.mark.parametrize("kind", ["holland", "rankine"])
@pytest.mark.parametrize("dx", [1.0, 2.0, 4.0, 10.0, 25.0])
@pytest.mark.parametrize("case", ["plain", "moving", "sheared", "noisy"])
def test_the_centre_is_found_within_half_a_cell_by_wind_alone(dx, kind, case):
    misses = []
    for seed in range(4):
        vortex, data = draw(seed, dx, kind, case)
        misses.append(miss(find(data.drop_vars("msl")), vortex))
    assert np.isfinite(misses).all() and max(misses) < 0.5 * dx


@pytest.mark.parametrize("dx", [2.0, 4.0, 10.0, 25.0])
@pytest.mark.parametrize("case", ["plain", "noisy", "over terrain"])
def test_the_centre_is_found_within_half_a_cell_by_pressure(dx, case):
    for seed in range(4):
        vortex, data = draw(seed, dx, "holland", case)
        assert miss(find(data), vortex) < 0.5 * dx


@pytest.mark.parametrize("dx", [4.0, 10.0, 25.0])
def test_half_a_vortex_beyond_the_edge_is_found_and_friction_costs_a_few_kilometres(dx):
    for seed in range(4):
        vortex, data = draw(seed, dx, "rankine", "half off")
        assert miss(find(data, by="wind"), vortex) < 0.5 * dx
        vortex, data = draw(seed, dx, "rankine", "over terrain")
        assert miss(find(data, by="wind"), vortex) < 7.0


@pytest.mark.parametrize("kind", ["holland", "rankine"])
@pytest.mark.parametrize("side", ["west", "east", "south", "north"])
def test_a_centre_beyond_the_edge_is_found_there_or_not_at_all_but_never_on_the_edge(kind, side):
    sign = 1 if side in ("east", "north") else -1
    half, along = 4.0 * 95 / 2, 37.0
    for beyond, found_there in ((8.0, True), (14.0, True), (120.0, False)):
        away = sign * (half + beyond)
        vortex = Vortex(*((away, along) if side in ("west", "east") else (along, away)), vmax=40, rmw=42, kind=kind)
        data = fields(vortex, noise=0.5, flow=(4.0, -3.0))
        for by in ("wind", "pressure", "vorticity"):
            found = find(data, by=by)
            assert miss(found, vortex) < 4.0 if found_there else not np.isfinite(found.x).any()


def test_no_centre_is_told_further_beyond_the_edge_than_three_quarters_of_its_radius():
    told = []
    for beyond in range(0, 120, 6):
        vortex = Vortex(-190.0 - beyond, 20.0, vmax=45, rmw=60)
        data = fields(vortex, noise=1.0, seed=beyond, shear=4.0, flow=(6.0, -4.0))
        found = find(data, by="wind")
        told.append((-190.0 - found.x.item()) / found["size"].item())
    assert np.nanmax(told) <= 0.75 and np.isnan(told[-1]) and np.isfinite(told[:6]).all()


def test_the_error_says_how_far_off_the_centre_is_where_noise_differs_from_cell_to_cell():
    misses, errors = [], []
    for seed in range(30):
        vortex = Vortex(*np.random.default_rng(seed).uniform(-40, 40, 2), vmax=30, rmw=40)
        found = find(fields(vortex, shape=(64, 64), noise=3.0, seed=seed), by="wind")
        misses.append(miss(found, vortex))
        errors.append(float(found.error.squeeze()))
    assert 0.7 < np.sqrt(np.mean(np.square(misses)) / np.mean(np.square(errors))) < 1.4


def test_a_start_on_the_very_centre_of_a_cell_is_as_good_as_one_beside_it():
    vortex = Vortex(6.0, -5.0, rmw=30)
    data = fields(vortex, shape=(64, 64), noise=1.0)
    wind = (data.u10.values + 1j * data.v10.values)[None]
    row, col = 30.0 + np.array([0.0, 1e-4]), 33.0 + np.array([0.0, 1e-4])
    same, radius = np.zeros(2, int), np.full(2, 30.0)
    rows, cols, errors = symmetric_centres(wind, np.isfinite(wind), (4.0, 4.0), same, row, col, radius)
    for found in (rows, cols, errors):
        assert found[0] == pytest.approx(found[1], abs=2e-3)


def test_vorticity_finds_it_too_and_pressure_must_be_given_to_be_used():
    vortex, data = draw(1, 4.0, "rankine", "moving")
    assert miss(find(data, by="vorticity"), vortex) < 2.0
    with pytest.raises(DataError, match="expected msl"):
        find(data.drop_vars("msl"), by="pressure")
    with pytest.raises(DataError, match="expected wind, vorticity, pressure"):
        find(data, by="eye")


def test_a_uniform_flow_does_not_move_the_centre_and_a_shift_moves_it_by_itself():
    vortex = Vortex(13.0, -22.0, rmw=45)
    plain, carried = (find(fields(vortex, flow=flow), by="wind") for flow in ((0, 0), (15.0, -9.0)))
    assert abs(plain.row - carried.row) < 0.02 and abs(plain.col - carried.col) < 0.02
    data = fields(vortex)
    rolled = data.assign_coords(x=data.x).roll(x=5)  # the winds, not the axis
    assert (find(rolled, by="wind").col - plain.col).item() == pytest.approx(5, abs=0.05)


def test_axes_are_not_confused():
    """A mirrored cyclone is an anticyclone, and one that lies in the north-west is found there."""
    vortex = Vortex(-90.0, 60.0, rmw=40)
    data = fields(vortex, shape=(80, 120), dx=4.0)
    found = find(data, by="wind")
    np.testing.assert_allclose([found.x.squeeze(), found.y.squeeze()], [-90, 60], atol=1)
    assert not np.isfinite(find(data.assign(u10=-data.u10, v10=-data.v10)).row).any()
    assert not miss(find(data.assign(u10=data.v10, v10=data.u10)), vortex) < 20


def test_a_southern_cyclone_turns_the_other_way():
    data = fields(Vortex(rmw=40)).drop_vars("msl")
    degrees = {"lat": (("y", "x"), np.repeat(-20 + data.y.values[:, None] / 111.2, data.sizes["x"], 1)),
               "lon": (("y", "x"), np.repeat(150 + data.x.values[None, :] / 104.5, data.sizes["y"], 0))}  # fmt: skip
    southern = data.assign(u10=-data.u10, v10=-data.v10).assign_coords(degrees)
    found = find(southern)
    assert float(found.lat.squeeze()) == pytest.approx(-20, abs=0.02)
    assert float(found.lon.squeeze()) == pytest.approx(150, abs=0.02)
    assert not np.isfinite(find(data.assign_coords(degrees)).row).any()


def still(seed):
    """Winds without a cyclone: uniform, sheared, strained, a jump, noise."""
    y, x = axes((96, 96), 4.0)
    gx, gy = np.meshgrid(x, y)
    noise = np.random.default_rng(seed).normal(size=(2, 96, 96)) * 5
    front = 12 * np.tanh(gx / 20)
    return {
        "uniform": (0 * gx + 20, 0 * gx - 15),
        "shear": (gy / 10, 0 * gx),
        "strain": (gx / 12, -gy / 12),
        "divergence": (gx / 12, gy / 12),
        "front": (0 * gx + 5, front),
        "noise": tuple(noise),
    }


@pytest.mark.parametrize("flow", ["uniform", "shear", "strain", "divergence", "front", "noise"])
def test_what_is_no_cyclone_is_not_found(flow):
    y, x = axes((96, 96), 4.0)
    u, v = still(3)[flow]
    data = xr.Dataset({"u10": (("y", "x"), u), "v10": (("y", "x"), v)}, {"y": y, "x": x})
    assert not np.isfinite(find(data).row).any()


def test_a_front_that_meets_the_border_is_rarely_taken_for_half_a_storm():
    """Strong fronts of any width and direction, of which the border cuts a piece that turns like half a vortex."""
    y, x = axes((96, 96), 4.0)
    gx, gy = np.meshgrid(x, y)
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(40):
        width, jump, offset = rng.uniform(8, 60), rng.uniform(8, 15), rng.uniform(-100, 100)
        angle = rng.uniform(0, 2 * np.pi)
        along = jump * np.tanh((gx * np.cos(angle) + gy * np.sin(angle) - offset) / width)
        u, v = np.stack([5 - along * np.sin(angle), 3 + along * np.cos(angle)]) + rng.normal(size=(2, 96, 96))
        data = xr.Dataset({"u10": (("y", "x"), u), "v10": (("y", "x"), v)}, {"y": y, "x": x})
        alarms += bool(np.isfinite(find(data).row))
    assert alarms <= 5


def test_a_thousand_hours_without_a_typhoon_raise_fewer_than_ten_alarms_and_typhoons_are_found():
    config = IdealisedConfig()
    place = world(config)
    hours = np.arange(0, 8760 * 4, 7.0)
    storm = place.state(hours).typhoon
    calm = np.random.default_rng(0).choice(hours[storm.speed == 0], 1000, replace=False)
    near = (np.hypot(storm.x, storm.y) < 80) & (storm.speed > 14)

    def share(chosen):
        found = []
        for part in np.array_split(chosen, max(1, len(chosen) // 50)):
            drawn = place.fine(part, config.truth_seed)
            names = {"u10": (("time", "y", "x"), drawn[:, 1]), "v10": (("time", "y", "x"), drawn[:, 2])}
            found.append(np.isfinite(find(xr.Dataset(names, {"y": place.y, "x": place.x})).row.values))
        return np.concatenate(found).mean()

    assert share(calm) < 0.01
    assert near.sum() > 40 and share(hours[near]) > 0.97


def test_missing_cells_and_borders_cost_certainty_only():
    vortex = Vortex(20.0, -10.0, rmw=40)
    data = fields(vortex, dx=4.0, noise=0.5)
    holes = np.random.default_rng(1).random(data.u10.shape) < 0.2
    holes[:, :12] = holes[-9:] = True
    found = find(data.where(~xr.DataArray(holes, dims=("y", "x"))), by="wind")
    assert miss(found, vortex) < 2.0
    assert not np.isfinite(find(data.where(False)).row).any()


def test_two_at_once_the_more_evident_first_and_limits_leave_the_weak_one_out():
    strong, weak = Vortex(-180.0, 30.0, vmax=45, rmw=35), Vortex(170.0, -60.0, vmax=22, rmw=45)
    data = fields(strong, weak, shape=(140, 180), dx=4.0).drop_vars("msl")
    found = find(data, count=3)
    np.testing.assert_allclose(found.x, [-180, 170, np.nan], atol=2)
    assert found.turning[0] > found.turning[1]
    alone = find(data, count=3, limits=Limits(turning=25))
    np.testing.assert_allclose(alone.x, [-180, np.nan, np.nan], atol=2)


def test_dask_and_leading_dimensions_give_what_single_fields_give():
    drawn = [[draw(10 * m + t, 10.0, "holland", "moving")[1] for t in range(3)] for m in range(2)]
    data = xr.concat([xr.concat(row, "time") for row in drawn], "ensemble")
    whole = find(data.chunk({"ensemble": 1, "time": 2, "y": 30}), count=2)
    assert whole.row.chunks is not None
    for m in range(2):
        for t in range(3):
            xr.testing.assert_allclose(whole.isel(ensemble=m, time=t).compute(), find(drawn[m][t], count=2))


def test_a_grid_that_moves_is_read_time_by_time():
    """The same storm on the ground, seen by a nest that moves a degree east."""
    data = fields(Vortex(rmw=60), shape=(60, 60), dx=10.0)
    y, x = data.y.values, data.x.values

    def on(lon0):
        lat = 25 + y[:, None] / 111.19 + 0 * x
        lon = lon0 + x[None, :] / (111.19 * np.cos(np.deg2rad(lat)))
        return lat, lon

    first, second = on(-90.0), on(-89.0)
    shift = round(111.19 * np.cos(np.deg2rad(25)) / 10)
    later = fields(Vortex(x=-10.0 * shift, rmw=60), shape=(60, 60), dx=10.0)
    moving = xr.concat([data, later], xr.Variable("time", np.array([0, 1], "datetime64[h]").astype("datetime64[ns]")))
    moving = moving.drop_vars(["x", "y"]).assign_coords(
        lat=(("time", "y", "x"), np.stack([first[0], second[0]])),
        lon=(("time", "y", "x"), np.stack([first[1], second[1]])),
    )
    found = find(moving)
    np.testing.assert_allclose(found.lon.squeeze(), -90, atol=0.08)
    np.testing.assert_allclose(found.lat.squeeze(), 25, atol=0.03)
    assert (found.col[0] - found.col[1]).item() == pytest.approx(shift, abs=0.3)


def test_fields_without_a_place_are_refused():
    data = fields(Vortex()).drop_vars(["x", "y"])
    with pytest.raises(DataError, match="positions in degrees or axes in km"):
        find(data)
