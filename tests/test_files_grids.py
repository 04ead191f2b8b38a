"""Grids of anyone's pair of files: wherever their axes run and their longitudes begin, or refused."""

import numpy as np
import pytest
import xarray as xr
from test_files import COARSE, FACTOR, HOURS, assert_true_everywhere, fields, save

from labkit.cli import main
from labkit.data.files import open_files
from labkit.data.regrid import block_mean
from labkit.errors import DataError

GLOBE = np.arange(-179.5, 180)


@pytest.mark.parametrize("conventions", ["-180 to 180", "0 to 360"])
@pytest.mark.parametrize("west", [-3, 177, 10, -180, 179])
@pytest.mark.parametrize("own", [0, -180])
def test_a_domain_is_found_on_a_globe_of_either_convention(tmp_path, west, conventions, own):
    """Five degrees of longitude anywhere, at 60 to 63 north; the file of the domain may count degrees as it likes."""
    lon = west + (np.arange(20) + 0.5) / 4
    fine = fields().assign_coords(lat=60 + (np.arange(12) + 0.5) / 4, lon=(lon - own) % 360 + own)
    true = np.cos(np.radians(lon))
    fine["u10"][:] = true
    globe = np.sort(GLOBE % 360) if conventions == "0 to 360" else GLOBE
    lat = np.arange(-89.5, 90)
    means = np.cos(np.radians(globe)) * np.sin(np.radians(0.5)) / (4 * np.sin(np.radians(0.125)))  # of four columns
    coarse = xr.Dataset(
        {"u10": (("time", "lat", "lon"), np.broadcast_to(means, (6, 180, 360)).copy(), {"units": "m s-1"})},
        {"time": HOURS, "lat": lat, "lon": globe},
    )
    pairs = open_files(*save(tmp_path, coarse, fine), target_channels=["u10"])
    assert pairs.factor == (4, 4) and pairs.attrs["alignment"] == ""
    np.testing.assert_allclose(pairs.input[0, 0, 0], true.reshape(5, 4).mean(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pairs.target[0, 0, 0], true, rtol=1e-5, atol=1e-6)
    assert np.ptp(np.unwrap(pairs.target.lon.values[0], period=360)) == pytest.approx(4.75, abs=1e-3)


def test_whether_grids_were_seen_to_fit_is_said(tmp_path):
    assert open_files(*save(tmp_path)).attrs["alignment"] == ""
    bare = fields(factor=FACTOR).drop_vars(["lat", "lon"])
    assert "taken to lie" in open_files(*save(tmp_path, bare)).attrs["alignment"]
    static = fields(times=HOURS[:1]).isel(time=0, drop=True)[["t2m"]].rename(t2m="height")
    for invariant, said in ((static, ""), (static.drop_vars(["lat", "lon"]), "both invariants and target")):
        invariant.to_netcdf(tmp_path / f"{said}.nc")
        found = open_files(*save(tmp_path), invariant=tmp_path / f"{said}.nc").attrs["alignment"]
        assert said in found and bool(said) == bool(found)


@pytest.mark.parametrize("verb", [["data"], ["spectra", "--direction", "x"]], ids=lambda words: words[0])
def test_grids_that_are_taken_as_aligned_are_told_in_the_terminal(tmp_path, capsys, verb):
    bare = fields(factor=FACTOR).drop_vars(["lat", "lon"])
    for coarse, said in ((None, False), (bare, True)):
        files = [f"{name}={path}" for name, path in zip(("input", "target"), save(tmp_path, coarse), strict=True)]
        assert main([verb[0], "files", *files, *verb[1:]]) == 0
        found = capsys.readouterr().err
        assert found.count("note: Cells are taken to lie one on the other") == said


@pytest.mark.parametrize("which", ["coarse", "fine", "both"])
def test_rows_from_north_to_south_are_turned_over(tmp_path, which):
    coarse, fine = fields(factor=FACTOR), fields()
    coarse = coarse.isel(lat=slice(None, None, -1)) if which != "fine" else coarse
    fine = fine.isel(lat=slice(None, None, -1)) if which != "coarse" else fine
    assert_true_everywhere(open_files(*save(tmp_path, coarse, fine)))


def test_two_dimensional_positions_and_other_dimension_names(tmp_path):
    def curvilinear(dataset):
        lat, lon = xr.broadcast(dataset.lat, dataset.lon)
        renamed = dataset.drop_vars(["lat", "lon"]).rename(lat="south_north", lon="west_east")
        places = {
            "XLAT": (("south_north", "west_east"), lat.values),
            "XLONG": (("south_north", "west_east"), lon.values),
        }
        return renamed.assign_coords(places)

    assert_true_everywhere(open_files(*save(tmp_path, curvilinear(fields(factor=FACTOR)), curvilinear(fields()))))


def test_projected_axes_give_kilometres(tmp_path):
    def projected(dataset, metres):
        axes = {name: ((np.arange(dataset.sizes[name]) + 0.5) * metres) for name in ("lat", "lon")}
        renamed = dataset.assign_coords(axes).rename(lat="y", lon="x")
        for axis in ("y", "x"):
            renamed[axis].attrs["units"] = "m"
        return renamed

    files = save(tmp_path, projected(fields(factor=FACTOR), 12_000), projected(fields(), 3_000))
    pairs = open_files(*files)
    assert pairs.spacing_km == (3.0, 3.0) and pairs.target.y[0] == 1.5 and np.isnan(pairs.target.lat).all()
    shifted = projected(fields(factor=FACTOR), 12_000)
    shifted = shifted.assign_coords(x=shifted.x + 6_000)
    shifted["x"].attrs["units"] = "m"
    with pytest.raises(DataError, match="centres of coarse cells"):
        open_files(*save(tmp_path, shifted, projected(fields(), 3_000)))


def test_a_wider_input_is_cropped_to_the_cells_of_the_target(tmp_path):
    pairs = open_files(*save(tmp_path, fields(factor=FACTOR, margin=2)))
    assert pairs.input.shape[-2:] == COARSE
    assert_true_everywhere(pairs)


def test_grids_that_do_not_fit_are_refused(tmp_path):
    shifted = fields(factor=FACTOR)
    with pytest.raises(DataError, match="centres of coarse cells"):
        open_files(*save(tmp_path, shifted.assign_coords(lon=shifted.lon + 0.4)))
    with pytest.raises(DataError, match="ends after"):
        open_files(*save(tmp_path, shifted.isel(lon=slice(0, 4))))
    with pytest.raises(DataError, match="multiple of 4 x 4"):
        open_files(*save(tmp_path, fine=fields().isel(lon=slice(0, 18))))


def test_without_positions_the_sizes_must_fit(tmp_path):
    bare, coarse = (data.drop_vars(["lat", "lon"]) for data in (fields(), fields(factor=FACTOR)))
    with pytest.raises(DataError, match="spacing_km"):
        open_files(*save(tmp_path, coarse, bare))
    assert open_files(*save(tmp_path, coarse, bare), spacing_km=2).spacing_km == (2.0, 2.0)
    with pytest.raises(DataError, match="18 fine cells over 5"):
        open_files(*save(tmp_path, coarse, bare.isel(lon=slice(0, 18))), spacing_km=2)


def test_moving_grids_are_refused(tmp_path):
    fine = fields().rename(lat="y", lon="x").drop_vars(["y", "x"])
    moving = np.broadcast_to(np.arange(6)[:, None, None] + np.arange(12)[:, None], (6, 12, 20)).astype(float)
    fine = fine.assign_coords(XLAT=(("time", "y", "x"), moving), XLONG=(("time", "y", "x"), moving))
    with pytest.raises(DataError, match="change with time"):
        open_files(*save(tmp_path, fine=fine))


def globe(factor, start, lat0=40.0, n_lat=3, units=None):
    """Fields around the globe, a degree of 1 / FACTOR x factor each, whose longitudes begin at `start`."""
    step = factor / FACTOR * 3
    lat, lon = (
        lat0 + step * (np.arange(n_lat * FACTOR // factor) + 0.5),
        start + step * (np.arange(int(360 / step)) + 0.5),
    )
    t2m = 280 + np.add.outer(lat / 10, np.cos(np.radians(lon))) + np.zeros((len(HOURS), 1, 1))
    return xr.Dataset({"t2m": (("time", "lat", "lon"), t2m, {"units": "K"})}, {"time": HOURS, "lat": lat, "lon": lon})


@pytest.mark.parametrize("start", [0, -180])
@pytest.mark.parametrize("west", [-9, 171, 351, -189])
@pytest.mark.parametrize("split", [False, True])
def test_a_domain_across_greenwich_or_the_date_line_is_found_on_any_globe(tmp_path, start, west, split):
    coarse = globe(FACTOR, start)
    lon = west + 0.75 * (np.arange(24) + 0.5)
    if split:  # as a mask cuts it out of a globe: both ends of the row
        lon = np.sort((lon - start) % 360 + start)
    whole = globe(1, 0)
    fine = whole.isel(lon=slice(0, 24)).assign_coords(lon=lon)
    fine["t2m"] = 280 + fine.lat / 10 + np.cos(np.radians(fine.lon)) + 0 * fine.time.dt.hour
    fine = fine.transpose("time", "lat", "lon")
    fine["t2m"].attrs["units"] = "K"
    pairs = open_files(*save(tmp_path, coarse, fine))
    assert pairs.shape == (12, 24) and pairs.factor == (4, 4)
    expected = 280 + pairs.target.lat.values / 10 + np.cos(np.radians(pairs.target.lon.values))
    np.testing.assert_allclose(pairs.target[0, 0], expected, atol=1e-4)
    np.testing.assert_allclose(pairs.input[0, 0], block_mean(pairs.target[0, 0].values, (4, 4)), atol=2e-3)
    assert (np.abs(np.diff(np.unwrap(pairs.target.lon[0], period=360)) - 0.75) < 1e-3).all()


@pytest.mark.parametrize("with_degrees", [True, False])
def test_a_moved_pole_with_or_without_latitudes(tmp_path, with_degrees):
    """COSMO's and CORDEX's grid; positions by the formula of a rotation about the y axis and one about the z axis."""
    pole_lat, pole_lon = 39.25, -162.0

    def rotated(factor):
        step = 0.11 * factor
        rlat, rlon = (low + step * (np.arange(n // factor) + 0.5) for low, n in ((-4.0, 12), (-6.0, 20)))
        phi, lam, p = *np.radians(np.meshgrid(rlat, rlon, indexing="ij")), np.radians(pole_lat)
        lat = np.arcsin(np.sin(phi) * np.sin(p) + np.cos(phi) * np.cos(lam) * np.cos(p))
        east = np.cos(phi) * np.sin(lam)
        lon = np.arctan2(east, np.cos(phi) * np.cos(lam) * np.sin(p) - np.sin(phi) * np.cos(p)) + np.radians(
            pole_lon + 180
        )
        dims = ("time", "grid_latitude", "grid_longitude") if factor == 1 else ("time", "rlat", "rlon")
        t2m = 280 + np.degrees(lat) / 10 + np.zeros((len(HOURS), 1, 1))
        found = xr.Dataset({"t2m": (dims, t2m, {"units": "K", "grid_mapping": "pole"})}, {"time": HOURS})
        for name, values in zip(dims[1:], (rlat, rlon), strict=True):
            found[name] = (name, values, {"units": "degrees"})
        found["pole"] = ((), 0, {
            "grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": pole_lat,
            "grid_north_pole_longitude": pole_lon,
        })  # fmt: skip
        if with_degrees:
            found = found.assign_coords(lat=(dims[1:], np.degrees(lat)), lon=(dims[1:], np.degrees(lon)))
        return found, np.degrees(lat), np.degrees(lon)

    (coarse, *_), (fine, lat, lon) = rotated(4), rotated(1)
    pairs = open_files(*save(tmp_path, coarse, fine))
    np.testing.assert_allclose(pairs.target.lat, lat, atol=1e-3)
    np.testing.assert_allclose(pairs.target.lon, lon, atol=1e-3)
    np.testing.assert_allclose(pairs.target[0, 0], 280 + lat / 10, rtol=1e-6)
    np.testing.assert_allclose(pairs.spacing_km, 0.11 * 111.19, rtol=5e-3)
    if not with_degrees:  # without the pole its degrees are no latitudes, but as long
        bare = open_files(*save(tmp_path, coarse.drop_vars("pole"), fine.drop_vars("pole")))
        np.testing.assert_allclose(bare.spacing_km, 0.11 * 111.19, rtol=5e-3)
        assert np.isnan(bare.target.lat).all() and "taken to lie" in bare.attrs["alignment"]


def test_cells_half_a_cell_beside_are_said(tmp_path):
    pairs = open_files(*save(tmp_path, fine=fields().assign_coords(lat=fields().lat + 0.125)))
    assert pairs.attrs["alignment"] == "The centres of input and target are up to 13.9 km apart."
