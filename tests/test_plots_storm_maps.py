"""Maps of a storm in all sources: each about its own centre or on one ground, rings that are as far as they say."""

from io import BytesIO

import cartopy.io
import numpy as np
import pytest
import storm_parts as parts
import xarray as xr
from matplotlib.collections import QuadMesh

from labkit.errors import DataError
from labkit.plots.storms import storm_maps_figure
from labkit.sphere import KM_PER_DEGREE, distance_km

HOSTILE = "<b>$$\\frac$$"
TITLES = {
    "interpolation": "Coarse input",
    "regression": "Regression",
    "prediction": "Member 1",
    "truth": "Truth",
    "oracle": "Oracle member 1",
}


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return parts.storm_tree(hours=2, absent=(("regression", 0),))


@pytest.fixture(scope="module")
def storm() -> xr.DataTree:
    return tracks()


def tracks(absent: tuple[str, ...] = ("regression",)) -> xr.DataTree:
    """Where each source's vortex is at two hours, as a study would say it; the ensemble mean is left out."""
    groups = {}
    for source, aside in parts.ASIDE.items():
        way = np.array([[parts.place(source, hour, k) for hour in range(2)] for k in range(len(aside))])
        way = np.where(source in absent, np.nan, way if len(aside) > 1 else way[0])
        x, y = way[..., 0], way[..., 1]
        places = {"x": x, "y": y, "lat": 23.5 + y / 111.2, "lon": 121 + x / (111.2 * np.cos(np.deg2rad(23.5)))}
        dims = ("ensemble", "time")[-x.ndim :]
        groups[source] = xr.Dataset({name: (dims, values) for name, values in places.items()})
    return xr.DataTree.from_dict(groups)


def panels(figure) -> dict:
    return {axis.get_title(loc="left"): axis for axis in figure.axes if axis.get_title(loc="left")}


def mesh(axis) -> QuadMesh:
    return next(child for child in axis.get_children() if isinstance(child, QuadMesh))


def middles(axis) -> tuple[np.ndarray, np.ndarray]:
    """x and y (y, x) of the cells' centres of the mesh that is drawn."""
    corners = mesh(axis).get_coordinates()
    centres = (corners[1:, 1:] + corners[:-1, :-1]) / 2
    return centres[..., 0], centres[..., 1]


def rings(axis) -> list[np.ndarray]:
    return [line.get_xydata() for line in axis.lines if line.get_linestyle() == "--" and len(line.get_xydata()) == 73]


def crosses(axis) -> list[np.ndarray]:
    return [line.get_xydata()[0] for line in axis.lines if line.get_marker() == "+"]


def test_each_source_is_shown_about_its_own_storm(tree, storm):
    figure = storm_maps_figure(tree, storm, variable="u10", time=1, member=1, rings_km=(40.0,), reach_km=90)
    shown = panels(figure)
    for source in ("interpolation", "prediction", "truth", "oracle"):
        axis = shown[TITLES[source]]
        x, y = parts.place(source, 1, 1 if source in ("prediction", "oracle") else 0)
        across, up = middles(axis)
        np.testing.assert_allclose(across[0], tree.x.values - x)
        np.testing.assert_allclose(up[:, 0], tree.y.values - y)
        field = tree[source].u10.isel(time=1)
        field = field.isel(ensemble=1) if "ensemble" in field.dims else field
        np.testing.assert_array_equal(mesh(axis).get_array(), field.values)
        (ring,) = rings(axis)
        np.testing.assert_allclose(np.hypot(*ring.T), 40)
        np.testing.assert_array_equal(crosses(axis), np.zeros((2, 2)))
        assert axis.get_xlim() == axis.get_ylim() == (-90, 90)
    assert len({mesh(axis).get_clim() for axis in shown.values()}) == 1, "one scale for all"
    assert "2021-09-12T01:00 UTC" in figure.get_suptitle() and "rings at 40 km" in figure.get_suptitle()
    assert figure.axes[-1].get_ylabel() == "eastward wind 10 m [m s-1]"


def test_the_warm_core_is_in_the_middle_of_every_map(tree, storm):
    """A flipped or swapped axis would put it elsewhere."""
    for title, axis in panels(storm_maps_figure(tree, storm, variable="t2m", time=1, member=1)).items():
        if title in TITLES.values():
            across, up = middles(axis)
            k = np.unravel_index(mesh(axis).get_array().argmax(), across.shape)
            assert np.hypot(across[k], up[k]) < parts.DX_KM


def test_wind_speed_is_made_of_both_components(tree, storm):
    axis = panels(storm_maps_figure(tree, storm, variable="wind_speed", time=1))["Truth"]
    speed = np.hypot(tree["truth"].u10, tree["truth"].v10).isel(time=1)
    np.testing.assert_allclose(mesh(axis).get_array(), speed)


def test_without_a_storm_the_truths_place_is_shown_and_it_is_said(tree, storm):
    shown = panels(storm_maps_figure(tree, storm, variable="msl", time=1))
    axis = shown["Regression: no storm found,\nabout the truth's place"]
    np.testing.assert_allclose(middles(axis)[0][0], tree.x.values - parts.centre(1)[0])
    assert not rings(axis) and not crosses(axis)
    shown = panels(storm_maps_figure(tree, tracks(("truth", "oracle")), variable="u10", time=1))
    others = [parts.place(s, 1) for s in ("interpolation", "regression", "prediction")]
    np.testing.assert_allclose(
        middles(shown["Truth: no storm found,\nabout the others' place"])[1][:, 0],
        tree.y.values - np.mean(others, axis=0)[1],
    )
    nowhere = storm_maps_figure(tree, tracks(tuple(parts.ASIDE)), variable="u10", time=1)
    assert sum("about the middle of the grid" in title for title in panels(nowhere)) == 6


def test_fixed_to_the_ground_all_are_in_degrees_with_rings_of_kilometres(tree, storm, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(cartopy.io.Downloader, "acquire_resource", refuse)
    figure = storm_maps_figure(tree, storm, variable="u10", time=1, member=1, about="earth")
    figure.savefig(BytesIO(), dpi=30)
    shown = panels(figure)
    for source in ("prediction", "truth"):
        axis = shown[TITLES[source]]
        place = storm[source].isel(time=1)
        place = place.isel(ensemble=1) if source == "prediction" else place
        lon, lat = float(place.lon), float(place.lat)
        np.testing.assert_allclose(crosses(axis), [(lon, lat)] * 2)
        far = [distance_km(lat, lon, ring[:, 1], ring[:, 0]) for ring in rings(axis)]
        np.testing.assert_allclose(far, np.repeat([[50.0], [100.0]], 73, axis=1), rtol=0.01)
        east = rings(axis)[1][0]
        assert east[0] - lon == pytest.approx(100 / (KM_PER_DEGREE * np.cos(np.deg2rad(lat)))) and east[1] == lat
        across, up = middles(axis)
        np.testing.assert_allclose(across[5:-5, 5:-5], tree.lon.values[5:-5, 5:-5], atol=1e-3)
        np.testing.assert_allclose(up[5:-5, 5:-5], tree.lat.values[5:-5, 5:-5], atol=1e-3)
    assert not rings(shown["Regression: no storm found"])


def test_the_ground_is_a_plane_where_no_latitude_is_known(storm):
    flat = parts.storm_tree(hours=2, known_place=False)
    axis = panels(storm_maps_figure(flat, storm, variable="msl", time=1, about="earth"))["Truth"]
    np.testing.assert_allclose(middles(axis)[0][0], flat.x.values)
    np.testing.assert_allclose(crosses(axis)[0], parts.centre(1))
    np.testing.assert_allclose(np.hypot(*(rings(axis)[0] - parts.centre(1)).T), 50)
    panels(storm_maps_figure(flat, storm, variable="msl", time=1))


def test_what_is_not_there_is_refused_in_words_and_names_are_text(tree, storm):
    with pytest.raises(DataError, match="found about='sky', expected storm or earth"):
        storm_maps_figure(tree, storm, variable="u10", about="sky")
    with pytest.raises(DataError, match="expected reflectivity of one source"):
        storm_maps_figure(tree, storm, variable="reflectivity")
    hostile = parts.storm_tree(hours=2, without=("truth", "interpolation"), names=[HOSTILE, "two", "three"])
    figure = storm_maps_figure(hostile, storm, variable="t2m", limits=(290.0, 300.0))
    figure.savefig(BytesIO(), dpi=30)
    assert "$" not in "".join(panels(figure)) and mesh(figure.axes[0]).get_clim() == (290, 300)
