"""Sources of a tree brought to sea level, each with the ground that it knows."""

import numpy as np
import pytest
import xarray as xr

from labkit.data.regrid import block_mean, upsample
from labkit.verify.front_study import coarse_ground, front_of

LAPSE = 6.5e-3
AXIS = (np.arange(64) - 31.5) * 4.0


def on_grid(field):
    return xr.DataArray(field, dims=("y", "x"), coords={"y": AXIS, "x": AXIS})


def mountains():
    return 4000 * np.random.default_rng(0).random((64, 64))


def tree_of(height, coarse, warmth):
    """Hours of air of one warmth (time,) at sea level everywhere, over mountains, and its coarse input."""
    times, dims = (
        np.datetime64("2020-02-01", "ns") + np.arange(len(warmth)) * np.timedelta64(1, "h"),
        ("time", "y", "x"),
    )
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(coords={"time": times, "y": AXIS, "x": AXIS}),
            "/input": xr.Dataset({"orography": (("y", "x"), height)}),
            "/interpolation": xr.Dataset({"t2m": (dims, coarse)}),
            "/truth": xr.Dataset({"t2m": (dims, warmth[:, None, None] - LAPSE * height)}),
        }
    )


@pytest.mark.parametrize("factor", [(8, 8), (8, 4), (4, 16)])
@pytest.mark.parametrize("rounded_to", [0.0, 1 / 16])
def test_a_coarse_input_has_the_mountains_of_its_cells_and_no_finer_ones(factor, rounded_to):
    height, warmth = mountains(), np.random.default_rng(1).uniform(280, 300, 32)
    seen = upsample(block_mean(height, factor), factor)
    coarse = warmth[:, None, None] - LAPSE * seen
    coarse = np.round(coarse / rounded_to) * rounded_to if rounded_to else coarse
    np.testing.assert_allclose(coarse_ground(on_grid(height), on_grid(coarse.mean(0))), seen, atol=0.01)
    found = front_of(tree_of(height, coarse, warmth), time=5)
    for source, off in (("interpolation", 0.6 * rounded_to + 1e-3), ("truth", 1e-3)):
        np.testing.assert_allclose(found.fields[source].temperature, warmth[5], atol=off)
        assert found.lines[source] == [[]]


def test_what_sees_every_cell_keeps_the_ground_as_it_is():
    ground = on_grid(mountains())
    xr.testing.assert_identical(coarse_ground(ground, 290 - LAPSE * ground), ground)
    xr.testing.assert_identical(coarse_ground(ground, xr.full_like(ground, 290.0)), ground)
