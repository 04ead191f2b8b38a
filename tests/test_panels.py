"""Maps of the lessons: right way up, in place, one scale for all."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from labkit.plots import panels
from labkit.variables import lookup


@pytest.fixture
def grid() -> xr.DataArray:
    """A field of 4 x 6 cells, 10 km apart, growing northwards."""
    y, x = np.arange(4) * 10.0, np.arange(6) * 10.0
    return xr.DataArray(np.repeat(y[:, None], 6, axis=1), dims=("y", "x"), coords={"y": y, "x": x})


def images(figure) -> list:
    return [ax.images[0] for ax in figure.axes if ax.images]


def test_maps_share_one_scale_and_name_the_variable_with_its_unit(grid):
    figure = panels.maps({"low": grid, "high": grid + 30}, "t2m", like=grid)
    low, high = images(figure)
    assert low.get_clim() == high.get_clim()
    assert low.get_clim()[0] <= 0.1 and low.get_clim()[1] >= 59.9
    assert [ax.get_title() for ax in figure.axes[:2]] == ["low", "high"]
    assert figure.axes[-1].get_ylabel() == lookup("t2m").label
    assert "[km]" in figure.get_supxlabel() and "[km]" in figure.get_supylabel()


def test_north_is_up_and_every_resolution_fills_the_domain(grid):
    coarse = grid.values.reshape(2, 2, 3, 2).mean((1, 3))
    fine, blocks = images(panels.maps({"fine": grid, "coarse": coarse}, "t2m", like=grid))
    assert fine.origin == blocks.origin == "lower"
    assert tuple(fine.get_extent()) == tuple(blocks.get_extent()) == (-5.0, 55.0, -5.0, 35.0)
    assert fine.get_array()[-1].mean() > fine.get_array()[0].mean()


def test_differences_have_a_scale_symmetric_about_zero(grid):
    (image,) = images(panels.differences({"error": grid - 5}, "t2m", like=grid))
    low, high = image.get_clim()
    assert low == -high and high >= 24


def test_limits_given_are_kept(grid):
    (image,) = images(panels.maps({"one": grid}, "reflectivity", like=grid, limits=(0, 50)))
    assert image.get_clim() == (0, 50)


def test_missing_values_are_left_blank(grid):
    (image,) = images(panels.maps({"one": grid.where(grid.x > 20)}, "t2m", like=grid))
    assert np.ma.getmaskarray(image.get_array()).sum() == 12


def test_rows_wrap_and_empty_places_are_hidden(grid):
    figure = panels.maps({str(i): grid for i in range(5)}, "t2m", like=grid, columns=3)
    assert sum(bool(ax.images) for ax in figure.axes) == 5
    assert sum(not ax.get_visible() for ax in figure.axes) == 1


def test_the_coast_runs_where_half_of_a_cell_is_land(grid):
    land = (grid.y >= 20).astype(float) * xr.ones_like(grid)
    figure = panels.maps({"one": grid}, "t2m", like=grid, land=land)
    paths = [path for lines in figure.axes[0].collections for path in lines.get_paths()]
    assert paths and all(np.allclose(path.vertices[:, 1], 15.0) for path in paths if len(path.vertices))
