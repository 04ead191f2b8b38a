"""Fronts against closed forms: error-function fronts of known place, width and bearing, winds of known deformation."""

import dask
import numpy as np
import pytest
import xarray as xr
from scipy.special import erf

from labkit.data.idealised import open_idealised
from labkit.data.idealised.reader import EPOCH, world
from labkit.errors import DataError
from labkit.verify import fronts

X = np.arange(70) * 6.0 + 100  # km, unlike in spacing and size along the two axes
Y = np.arange(90) * 4.0 - 50
MIDDLE = (float(X.mean()), float(Y.mean()))
SMOOTH_KM = 12.0
CONTRAST = 8.0  # K


def on_grid(field, x=X, y=Y, **attrs):
    return xr.DataArray(field, dims=("y", "x"), coords={"y": y, "x": x}, attrs=attrs)


def distance(bearing, x=X, y=Y, offset=0.0):
    """km from a line through the middle, towards `bearing` (degrees, anticlockwise from the x axis)."""
    angle = np.deg2rad(bearing)
    return (x[None, :] - MIDDLE[0]) * np.cos(angle) + (y[:, None] - MIDDLE[1]) * np.sin(angle) - offset


def erf_front(bearing, *, width=15.0, offset=0.0, contrast=CONTRAST, x=X, y=Y):
    """Warm towards `bearing`: the integral of a Gaussian, which smoothing only widens."""
    return on_grid(285 + contrast / 2 * erf(distance(bearing, x, y, offset) / (np.sqrt(2) * width)), x, y)


def smoothed_gradient(s, width=15.0, contrast=CONTRAST, smooth_km=SMOOTH_KM):
    """K / 100 km at s km from the line, and its slope along s, K / (100 km)^2."""
    w = np.hypot(width, smooth_km)
    magnitude = 100 * contrast / (np.sqrt(2 * np.pi) * w) * np.exp(-0.5 * (s / w) ** 2)
    return magnitude, -100 * s / w**2 * magnitude


BEARINGS = [0, 35, 90, 145, 180, 250, 305]


@pytest.mark.parametrize("bearing", BEARINGS)
def test_gradient_of_an_error_function_is_the_gaussian_of_both_widths(bearing):
    found = fronts.gradient(erf_front(bearing), smooth_km=SMOOTH_KM)
    expected, slope = smoothed_gradient(distance(bearing))
    inner = {"y": slice(14, -14), "x": slice(10, -10)}
    n = np.deg2rad(bearing)
    for name, of in (("magnitude", expected), ("along_x", np.cos(n) * expected), ("along_y", np.sin(n) * expected)):
        np.testing.assert_allclose(found[name].isel(inner), on_grid(of).isel(inner), atol=0.02 * expected.max())
    # second differences over 12 km of a crest of 19 km
    atol = 0.1 * np.abs(slope).max()
    np.testing.assert_allclose(found.parameter.isel(inner), on_grid(-slope).isel(inner), atol=atol)
    assert found.magnitude.attrs["units"] == "K (100 km)-1"
    assert found.parameter.attrs["units"] == "K (100 km)-2"


@pytest.mark.parametrize("bearing", BEARINGS)
def test_parameter_is_positive_on_the_warm_side(bearing):
    parameter = fronts.gradient(erf_front(bearing)).parameter.values
    s = distance(bearing)
    assert (parameter[(s > 8) & (s < 40)] > 0).all()
    assert (parameter[(s < -8) & (s > -40)] < 0).all()


def test_smoothing_keeps_a_plane_up_to_the_border():
    plane = on_grid(280 + 0.03 * X[None, :] - 0.05 * Y[:, None])
    found = fronts.gradient(plane)
    np.testing.assert_allclose(found.along_x, 3.0, rtol=1e-6)
    np.testing.assert_allclose(found.along_y, -5.0, rtol=1e-6)
    assert fronts.line(plane) == []


def test_axes_that_run_the_other_way_change_nothing():
    field = erf_front(35)
    turned = fronts.gradient(field.isel(y=slice(None, None, -1), x=slice(None, None, -1)))
    xr.testing.assert_allclose(turned.sortby("y").sortby("x"), fronts.gradient(field))
    (one,), (other,) = fronts.line(field), fronts.line(field.isel(y=slice(None, None, -1)))
    np.testing.assert_allclose(one[[0, -1]], other[[0, -1]], atol=1e-6)


@pytest.mark.parametrize("bearing", BEARINGS)
@pytest.mark.parametrize("offset", [0.0, 17.3])
def test_the_line_is_where_the_front_is_with_the_warm_side_on_its_right(bearing, offset):
    (way,) = fronts.line(erf_front(bearing, offset=offset))
    angle = np.deg2rad(bearing)
    apart = (way[:, 0] - MIDDLE[0]) * np.cos(angle) + (way[:, 1] - MIDDLE[1]) * np.sin(angle) - offset
    inner = (abs(way[:, 0] - MIDDLE[0]) < 170) & (abs(way[:, 1] - MIDDLE[1]) < 140)
    assert np.abs(apart[inner]).max() < 0.5
    assert np.abs(apart).max() < 0.5 * 6.0  # up to the border, beyond which the field is not known
    assert np.hypot(*(way[-1] - way[0])) > 250
    along = (way[-1] - way[0]) / np.hypot(*(way[-1] - way[0]))
    # the right of `along` is (along_y, -along_x), which is the bearing of the warm air
    np.testing.assert_allclose([along[1], -along[0]], [np.cos(angle), np.sin(angle)], atol=0.02)


def test_the_line_of_a_tanh_front_with_a_meander_follows_it():
    course = 20 * np.sin((Y - Y[0]) / 70)
    (way,) = fronts.line(on_grid(285 + 4 * np.tanh((X[None, :] - MIDDLE[0] - course[:, None]) / 20)))
    apart = way[:, 0] - MIDDLE[0] - np.interp(way[:, 1], Y, course)
    # smoothing shortens the meander: 20 km by exp(-(12 / 70)^2 / 2), and its bends see only one side
    assert np.abs(apart).max() < 3.0
    assert way[:, 1].min() < Y[4] and way[:, 1].max() > Y[-5]


def test_two_fronts_are_two_lines_and_the_trough_between_them_is_none():
    field = erf_front(0, offset=-60, width=12) + 0.7 * (erf_front(0, offset=60, width=12) - 285) + 0.04 * X
    found = fronts.line(field, least=1.0)
    assert sorted(round(float(way[:, 0].mean() - MIDDLE[0]), -1) for way in found) == [-60, 60]
    assert float(fronts.gradient(field).magnitude.min()) > 1.0


def test_no_front_no_line():
    assert fronts.line(erf_front(35, contrast=1.0)) == []
    assert fronts.line(erf_front(35), least=100.0) == []
    assert fronts.line(erf_front(35), least_km=5000.0) == []
    assert fronts.line(on_grid(np.full((90, 70), 285.0))) == []


def test_a_front_turned_by_hand_is_found_turned():
    """An axis that is mixed up with the other would leave the line where it was."""
    field = erf_front(20, x=X, y=X + MIDDLE[1] - MIDDLE[0])
    (way,) = fronts.line(field)
    (other,) = fronts.line(field.copy(data=field.values.T))
    np.testing.assert_allclose(
        np.median(np.diff(way, axis=0), 0)[0] ** 2 < np.median(np.diff(way, axis=0), 0)[1] ** 2, True
    )
    assert np.ptp(other[:, 0]) > 2 * np.ptp(other[:, 1])


def test_nothing_is_known_by_what_is_missing_and_a_lone_gap_is_bridged():
    field, whole = erf_front(0), fronts.gradient(erf_front(0)).magnitude
    holed = field.copy()
    holed[:, :30] = np.nan
    found = fronts.gradient(holed).magnitude
    assert found[:, :33].isnull().all()
    np.testing.assert_allclose(found[:, 37:], whole[:, 37:], atol=0.03 * float(whole.max()))
    (way,) = fronts.line(field.where(field.y > MIDDLE[1]))
    assert way[:, 1].min() > MIDDLE[1]
    assert np.abs(way[:, 0] - MIDDLE[0]).max() < 1
    lone = field.copy()
    lone[40, 30] = np.nan
    np.testing.assert_allclose(fronts.gradient(lone).magnitude, whole, atol=0.02 * float(whole.max()))


def wind(ux, uy, vx, vy):
    """u and v (m/s) linear in x and y, with gradients in 1/s."""
    x, y = (X[None, :] - MIDDLE[0]) * 1000, (Y[:, None] - MIDDLE[1]) * 1000
    return on_grid(ux * x + uy * y), on_grid(vx * x + vy * y)


def on_the_line(field, bearing=0):
    return field.where(np.abs(distance(bearing)) < 20).isel(y=slice(14, -14), x=slice(10, -10))


@pytest.mark.parametrize(
    ("gradients", "rate"),
    [
        ((2e-5, 0, 0, -2e-5), (-2e-5, 0)),  # stretched along x, across the isotherms: frontolysis
        ((-2e-5, 0, 0, 2e-5), (2e-5, 0)),  # stretched along y, along the isotherms: frontogenesis
        ((-1e-5, 0, 0, -1e-5), (0, 1e-5)),  # converging from all sides
        ((-2e-5, 0, 0, 0), (1e-5, 1e-5)),  # converging along x, half deformation
        ((0, -3e-5, 3e-5, 0), (0, 0)),  # turning
        ((0, 3e-5, 3e-5, 0), (0, 0)),  # sheared at 45 degrees to the isotherms: turned, not sharpened
    ],
)
def test_frontogenesis_of_a_north_south_front_is_its_closed_form(gradients, rate):
    temperature = erf_front(0)
    found = fronts.frontogenesis(temperature, *wind(*gradients))
    magnitude, _ = smoothed_gradient(distance(0))
    for name, share in (("deformation", rate[0]), ("divergence", rate[1]), ("total", sum(rate))):
        expected = on_grid(share * 3600 * magnitude)  # K / 100 km / h
        np.testing.assert_allclose(
            on_the_line(found[name]), on_the_line(expected), atol=0.02 * 2e-5 * 3600 * magnitude.max()
        )
    assert found.total.attrs["units"] == "K (100 km)-1 h-1"


@pytest.mark.parametrize("bearing", BEARINGS)
@pytest.mark.parametrize(
    "gradients", [(2e-5, 0, 0, -2e-5), (0, 2e-5, 2e-5, 0), (0, 4e-5, 0, 0), (-1e-5, 2e-5, 0, 1e-5)]
)
def test_frontogenesis_of_any_front_is_the_rate_at_which_the_wind_brings_its_isotherms_together(bearing, gradients):
    ux, uy, vx, vy = gradients
    n = np.array([np.cos(np.deg2rad(bearing)), np.sin(np.deg2rad(bearing))])
    # along the unit normal, d|grad T|/dt = -|grad T| n . (grad v) . n
    rate = -(n[0] ** 2 * ux + n[1] ** 2 * vy + n[0] * n[1] * (uy + vx))
    found = fronts.frontogenesis(erf_front(bearing), *wind(*gradients)).total
    expected = on_grid(rate * 3600 * smoothed_gradient(distance(bearing))[0])
    atol = 0.02 * 2e-5 * 3600 * smoothed_gradient(0)[0]
    np.testing.assert_allclose(on_the_line(found, bearing), on_the_line(expected, bearing), atol=atol)


def test_frontogenesis_is_what_advection_does_in_an_hour():
    """Carried by a wind that converges on the line, the front of an hour later has the gradient that was foretold."""
    rate, hour, x = 2e-5, 3600.0, MIDDLE[0] + np.arange(-40.0, 41.0)
    converging = on_grid(np.broadcast_to(-rate * 1000 * (x - MIDDLE[0]), (90, 81)), x)
    before, after = erf_front(0, x=x), erf_front(0, width=15 * np.exp(-rate * hour), x=x)
    middle = {"x": 40, "y": 45}
    grown = (fronts.gradient(after, smooth_km=0) - fronts.gradient(before, smooth_km=0)).magnitude[middle]
    foretold = fronts.frontogenesis(before, converging, xr.zeros_like(converging), smooth_km=0).total[middle]
    # a gradient that grows by 7 % of itself in the hour gathers 4 % of interest
    assert float(grown / foretold) == pytest.approx(np.expm1(rate * hour) / (rate * hour), rel=0.005)


def test_sharpness_tells_the_sharper_front_and_is_that_of_the_line():
    narrow, wide = (fronts.sharpness(erf_front(0, width=width), smooth_km=6.0) for width in (12.0, 48.0))
    for found, width in ((narrow, 12.0), (wide, 48.0)):
        expected, _ = smoothed_gradient(distance(0), width=width, smooth_km=6.0)
        assert float(found) == pytest.approx(np.quantile(np.broadcast_to(expected, (90, 70)), 0.99), rel=0.04)
    assert narrow > 2 * wide


def test_at_sea_level_takes_a_mountain_away():
    height = 2000 * np.exp(-(distance(0) ** 2 + distance(90) ** 2) / 60**2)
    t2m = on_grid(288 - fronts.LAPSE * height, units="K")
    assert fronts.line(t2m) != []
    level = fronts.at_sea_level(t2m, on_grid(height, units="m"))
    np.testing.assert_allclose(level, 288)
    assert level.attrs["units"] == "K" and fronts.line(level) == []


def wave(kx=2 * np.pi / 200, ky=2 * np.pi / 160):
    return on_grid(np.sin(kx * X[None, :] + ky * Y[:, None])), kx, ky


@pytest.mark.parametrize(("start", "end"), [((150, 0), (400, 200)), ((400, 200), (150, 0)), ((300, 250), (300, 10))])
def test_a_section_samples_a_plane_wave_along_its_line(start, end):
    field, kx, ky = wave()
    found = fronts.section(xr.Dataset({"t2m": field}), start, end)
    share = found.distance / found.distance[-1]
    x, y = (a + share * (b - a) for a, b in zip(start, end, strict=True))
    assert float(found.distance[-1]) == pytest.approx(np.hypot(end[0] - start[0], end[1] - start[1]))
    assert float(found.distance.diff("distance").max()) < 4.0 + 1e-9
    np.testing.assert_allclose(found.x, x)
    np.testing.assert_allclose(found.t2m, np.sin(kx * x + ky * y), atol=0.01)


def test_winds_along_and_across_a_section():
    fields = xr.Dataset({"u10": on_grid(np.full((90, 70), 3.0)), "v10": on_grid(np.full((90, 70), 4.0))})
    eastward = fronts.section(fields, (150, 100), (350, 100))
    np.testing.assert_allclose(eastward.along, 3)
    np.testing.assert_allclose(eastward.across, 4)  # northward is to the left of an eastward line
    northward = fronts.section(fields, (200, 0), (200, 200))
    np.testing.assert_allclose(northward.along, 4)
    np.testing.assert_allclose(northward.across, -3)
    slanted = fronts.section(fields, (150, 0), (300, 200))  # along (3, 4)
    np.testing.assert_allclose(slanted.along, 5)
    np.testing.assert_allclose(slanted.across, 0, atol=1e-6)


def test_a_section_is_missing_outside_and_keeps_members_and_times():
    t2m = wave()[0].expand_dims(ensemble=[0, 1], time=[5]).copy()
    t2m[1] += 10
    lat = (("y", "x"), np.broadcast_to(Y[:, None] / 111, (90, 70)))
    fields = xr.Dataset({"t2m": t2m, "scalar": 3.0}).assign_coords(lat=lat)
    found = fronts.section(fields, (50, 100), (600, 100), step_km=5.0)
    assert found.t2m.dims == ("ensemble", "time", "distance")
    np.testing.assert_array_equal(found.t2m[0, 0].isnull(), (found.x < X[0]) | (found.x > X[-1]))
    np.testing.assert_allclose((found.t2m[1] - found.t2m[0]).dropna("distance"), 10)
    lazy = fronts.section(fields.chunk(ensemble=1, y=20, x=20), (50, 100), (600, 100), step_km=5.0)
    assert lazy.t2m.chunks is not None
    xr.testing.assert_allclose(lazy.compute(), found)
    with pytest.raises(DataError, match="the same place"):
        fronts.section(fields, (50, 100), (50, 100))


def ensemble(offsets=(-30.0, 0.0, 10.0, 30.0)):
    return xr.concat([erf_front(0, offset=offset) for offset in offsets], "ensemble")


def test_lines_of_members_are_in_their_order():
    found = fronts.lines(ensemble())
    np.testing.assert_allclose([way[:, 0].mean() - MIDDLE[0] for (way,) in found], [-30, 0, 10, 30], atol=1)


def test_frequency_is_the_share_of_members_with_a_front_near():
    found = fronts.frequency(ensemble(), within_km=15.0)
    s = X - MIDDLE[0]
    expected = np.mean([np.abs(s - offset) <= 15 for offset in (-30, 0, 10, 30)], axis=0)
    sure = np.min([np.abs(np.abs(s - offset) - 15) for offset in (-30, 0, 10, 30)], axis=0) > 1
    np.testing.assert_allclose(found[20, sure], expected[sure])
    assert sure.sum() > 50
    assert set(np.unique(found)) <= {0, 0.25, 0.5, 0.75, 1}
    calm = xr.full_like(ensemble(), 285.0)
    assert (fronts.frequency(calm) == 0).all()


def test_frequency_leaves_out_members_that_are_missing_there():
    members = ensemble((0.0, 0.0)).copy()
    members[1] = np.nan
    np.testing.assert_array_equal(fronts.frequency(members), fronts.near(members[0]))
    assert fronts.frequency(members[1:]).isnull().all()


def test_chunked_equals_eager():
    field = ensemble().expand_dims(time=2).copy()
    u, v = (part.expand_dims(ensemble=4, time=2) for part in wind(-2e-5, 1e-5, 0, 1e-5))
    chunks = {"ensemble": 1, "time": 1, "y": 30, "x": 25}
    lazy = [part.chunk(chunks) for part in (field, u, v)]
    pairs = [
        (fronts.gradient(lazy[0]), fronts.gradient(field)),
        (fronts.frontogenesis(*lazy), fronts.frontogenesis(field, u, v)),
        (fronts.sharpness(lazy[0]), fronts.sharpness(field)),
        (fronts.frequency(lazy[0]), fronts.frequency(field)),
    ]
    for later, now in pairs:
        assert dask.is_dask_collection(later) and not dask.is_dask_collection(now)
        xr.testing.assert_allclose(later.compute(), now)


@pytest.mark.parametrize("time", ["2000-01-03T23", "2000-01-31T09", "2000-03-03T01"])
def test_the_longest_line_of_an_idealised_case_is_its_known_front(time):
    pairs = open_idealised(time, time, shape=(128, 128), dx_km=4.0)
    place, hour = world(pairs.attrs["config"]), (np.array([time], "datetime64[h]") - EPOCH).astype(float)
    front = place.state(hour).front
    assert front.strength[0] > 0.8
    meander = 6 * place.noise(pairs.attrs["config"].truth_seed, hour).w[0]
    n = np.array([np.ravel(front.normal_x)[0], np.ravel(front.normal_y)[0]])
    ahead = n[0] * place.x + n[1] * place.y[:, None] - front.position[0] + meander
    t2m, ground = pairs.target.sel(channel="t2m")[0], pairs.invariant.sel(channel="orography")
    way = fronts.line(fronts.at_sea_level(t2m, ground, lapse=6.2e-3), smooth_km=16.0)[0]
    apart = xr.DataArray(ahead, dims=("y", "x"), coords={"y": place.y, "x": place.x}).interp(
        x=("point", way[:, 0]), y=("point", way[:, 1])
    )
    assert np.hypot(*(way[-1] - way[0])) > 400
    assert float(np.abs(apart).median()) < 2 * 4.0
    along = (way[-1] - way[0]) / np.hypot(*(way[-1] - way[0]))
    assert along[1] * n[0] - along[0] * n[1] > 0.95  # the warm air ahead is on the right


def test_grids_that_are_uneven_or_have_no_coordinates_are_refused():
    field = erf_front(0)
    with pytest.raises(DataError, match="x and y in km"):
        fronts.gradient(field.drop_vars("x"))
    with pytest.raises(DataError, match="uneven y"):
        fronts.gradient(field.assign_coords(y=Y**2))
    with pytest.raises(DataError, match="select one member and time"):
        fronts.line(ensemble())


LAT, LON = np.linspace(10, 50, 90), np.linspace(120, 140, 70)
TRUE_KM = np.deg2rad(6371.0)  # of a degree


def on_globe(field):
    """A field on latitudes and longitudes, with the axes in km that a tree gives them: the mean distance of cells."""
    dx = TRUE_KM * np.cos(np.deg2rad(LAT)).mean() * np.diff(LON).mean()
    axes = {"x": ("x", np.arange(70) * dx), "y": ("y", TRUE_KM * (LAT - LAT[0]))}
    return xr.DataArray(field, dims=("y", "x"), coords=axes | {"lat": ("y", LAT), "lon": ("x", LON)})


@pytest.mark.parametrize("two_dimensional", [True, False])
def test_on_latitudes_and_longitudes_each_row_has_its_own_kilometres(two_dimensional):
    """A temperature that rises by as much in each degree of longitude rises faster, in km, nearer to the pole."""
    field = on_globe(280 + 0.5 * np.broadcast_to(LON, (90, 70)))
    if two_dimensional:
        field = field.assign_coords(dict(zip(("lat", "lon"), xr.broadcast(field.lat, field.lon), strict=True)))
    found = fronts.gradient(field, smooth_km=40.0)
    expected = 100 * 0.5 / (TRUE_KM * np.cos(np.deg2rad(LAT)))
    np.testing.assert_allclose(found.along_x, np.broadcast_to(expected[:, None], (90, 70)), rtol=1e-3)
    np.testing.assert_allclose(found.along_y, 0, atol=1e-6)
    turned = fronts.gradient(field.isel(y=slice(None, None, -1)), smooth_km=40.0)
    xr.testing.assert_allclose(turned.isel(y=slice(None, None, -1)).magnitude, found.magnitude)


def test_smoothing_is_as_wide_on_the_ground_in_each_row():
    """Fronts of one width in km keep it at every latitude: a Gaussian of both widths."""
    away = TRUE_KM * np.cos(np.deg2rad(LAT))[:, None] * (LON - 130)
    found = fronts.gradient(on_globe(285 + CONTRAST / 2 * erf(away / (np.sqrt(2) * 90))), smooth_km=60.0)
    expected = 100 * CONTRAST / (np.sqrt(2 * np.pi) * np.hypot(90, 60)) * np.exp(-0.5 * (away / np.hypot(90, 60)) ** 2)
    np.testing.assert_allclose(found.along_x[10:-10], expected[10:-10], atol=0.02 * expected.max())


def test_a_map_is_taken_as_it_is():
    """Where rows are no circles of latitude, the scale of a map differs little and x and y decide."""
    field = erf_front(35)
    lat = 23 + (field.y - field.y.mean()) / 111 + 1e-4 * (field.x - field.x.mean())
    lon = 121 + (field.x - field.x.mean()) / (111 * np.cos(np.deg2rad(lat)))
    xr.testing.assert_allclose(
        fronts.gradient(field.assign_coords(lat=lat.transpose(), lon=lon)).drop_vars(["lat", "lon"]),
        fronts.gradient(field),
    )


def test_metres_are_converted_and_degrees_refused():
    field = erf_front(35)
    metres = field.assign_coords({a: (a, 1000 * field[a].values, {"units": "m"}) for a in ("x", "y")})
    np.testing.assert_allclose(fronts.gradient(metres).magnitude, fronts.gradient(field).magnitude)
    np.testing.assert_allclose(fronts.line(metres)[0], fronts.line(field)[0])
    wrong = {
        "in degrees_": {
            a: (a, field[a].values / 111, {"units": f"degrees_{b}"}) for a, b in (("x", "east"), ("y", "north"))
        },
        "give x in km, not in degrees": {a: (a, field[a].values / 111) for a in ("x", "y")},
        "say the units of": {a: (a, 1000 * field[a].values) for a in ("x", "y")},
        "where longitudes are": {"x": LON, "y": LAT, "lon": ("x", LON), "lat": ("y", LAT)},
    }
    for said, axes in wrong.items():
        for function in (fronts.gradient, fronts.line, fronts.near, fronts.sharpness):
            with pytest.raises(DataError, match=said):
                function(field.assign_coords(axes), **({"smooth_km": 5.0} if "where" in said else {}))
