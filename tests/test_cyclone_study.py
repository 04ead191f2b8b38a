"""One storm in all sources of a tree."""

import sys

import numpy as np
import pytest
import xarray as xr
from vortices import Vortex, fields

from labkit.errors import Cancelled, DataError
from labkit.verify.cyclones import pieces, study

MODULE = sys.modules[study.__module__]  # which the function's name hides
HOURS = 4
TIMES = np.datetime64("2021-06-01T00", "ns") + np.arange(HOURS) * np.timedelta64(1, "h")


def source(*members, names=("u10", "v10")):
    """Fields (ensemble, time, y, x), or (time, y, x) of a single one, of `member(hour)` -> vortices."""
    options = {"shape": (90, 100), "dx": 5.0}
    drawn = [xr.concat([fields(*make(h), **options) for h in range(HOURS)], "time") for make in members]
    whole = xr.concat(drawn, "ensemble") if len(drawn) > 1 else drawn[0]
    return whole[["u10", "v10"]].rename(dict(zip(("u10", "v10"), names, strict=True)))


def moving(dy=0.0, vmax=35.0, rmw=40.0):
    return lambda h: [Vortex(-40 + 20.0 * h, dy, vmax=vmax, rmw=rmw)]


@pytest.fixture(scope="module")
def tree():
    truth = source(moving())
    nodes = {
        "truth": truth,
        "interpolation": source(moving(10, 22, 80)),
        "prediction": source(moving(6, 33, 44), moving(-6, 37, 36), names=("eastward_wind_10m", "northward_wind_10m")),
    }
    root = xr.Dataset(coords={"time": TIMES, "y": truth.y, "x": truth.x})
    nodes = {name: node.drop_vars(["x", "y"]) for name, node in nodes.items()}
    return xr.DataTree.from_dict({"/": root, **nodes})


def same(one, other):
    """Whether two studies agree in everything; on the crest of next to no wave as well as rounding lets."""
    for source in one.children:
        first, second = (whole[source].to_dataset() for whole in (one, other))
        xr.testing.assert_allclose(first.drop_vars("crest1"), second.drop_vars("crest1"), rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(first.crest1, second.crest1, atol=0.05)
    return set(one.children) == set(other.children)


@pytest.mark.parametrize("cells", [1, 90 * 100 * 3, 2**30])
def test_the_size_of_the_pieces_changes_nothing(tree, monkeypatch, cells):
    whole = study(tree)
    monkeypatch.setattr(pieces, "CELLS", cells)
    assert same(study(tree), whole)


def test_a_tree_too_large_to_hold_is_read_chunk_by_chunk_with_the_same_answer(tree, monkeypatch):
    whole = study(tree)
    lazy = tree.map_over_datasets(lambda node: node.chunk({"time": 3, "y": 40} if "time" in node.dims else {}))
    lazy["prediction"] = xr.DataTree(tree["prediction"].to_dataset().chunk({"ensemble": 1, "time": 2}))
    monkeypatch.setattr(MODULE, "IN_MEMORY", 0)
    seen = []
    assert same(study(lazy, progress=lambda done, total: seen.append(total)), whole)
    assert seen[0] == 2 * (2 + 2 + 2 + 4)


def test_an_error_of_a_piece_is_that_of_the_study(tree, monkeypatch):
    def fail(*args, **options):
        raise DataError("a piece", found="nothing", expected="something", todo="look")

    monkeypatch.setattr(MODULE, "profiles", fail)
    with pytest.raises(DataError, match="a piece"):
        study(tree)


def test_every_source_has_its_own_track_and_numbers(tree):
    found = study(tree)
    assert set(found.children) == {"truth", "interpolation", "prediction", "mean"}
    assert found.attrs["reference"] == "truth"
    np.testing.assert_allclose(found["truth"].x, -40 + 20.0 * np.arange(HOURS), atol=1)
    np.testing.assert_allclose(found["prediction"].y, np.array([[6.0] * HOURS, [-6.0] * HOURS]), atol=1)
    np.testing.assert_allclose(found["prediction"].rmw.mean("time"), [44, 36], atol=2)
    np.testing.assert_allclose(found["interpolation"].max_wind, 22, rtol=0.02)
    np.testing.assert_allclose(found["mean"].y, 0, atol=1)
    assert found["prediction"].tangential.dims == ("ensemble", "time", "radius")
    assert float(found["truth"].tangential.idxmax("radius")[0]) == pytest.approx(40, abs=4)


def test_a_given_track_is_followed_and_a_source_without_its_storm_is_empty(tree):
    other = source(lambda h: [Vortex(150, 150, vmax=40, rmw=30)])
    both = tree.copy()
    both["regression"] = xr.DataTree(other.drop_vars(["x", "y"]))
    found = study(both, within_km=60)
    assert np.isnan(found["regression"].max_wind).all() and np.isfinite(found["truth"].max_wind).all()
    line = xr.Dataset({"x": ("time", [150.0] * HOURS), "y": ("time", [150.0] * HOURS)}, {"time": TIMES})
    found = study(both, reference=line, within_km=60)
    assert found.attrs["reference"] == "given"
    assert np.isfinite(found["regression"].max_wind).all() and np.isnan(found["truth"].max_wind).all()


def test_no_storm_no_wind_and_a_cancelled_study_say_so(tree):
    calm = xr.DataTree.from_dict({"/": tree.to_dataset(), "/prediction": source(lambda h: []).drop_vars(["x", "y"])})
    with pytest.raises(DataError, match="no cyclone"):
        study(calm)
    dry = xr.DataTree.from_dict({"/": tree.to_dataset(), "/prediction": tree["truth"].to_dataset()[["u10"]]})
    with pytest.raises(DataError, match="expected u10 and v10"):
        study(dry)
    with pytest.raises(Cancelled):
        study(tree, cancel=lambda: True)


def test_progress_is_told_piece_by_piece_and_what_is_under_way_can_be_broken_off(tree, monkeypatch):
    monkeypatch.setattr(pieces, "CELLS", 90 * 100 * 3)
    seen = []
    study(tree, progress=lambda done, total: seen.append((done, total)))
    count = 2 * (2 + 2 + 2 + 4)  # twice over truth, input, mean: 3 hours and 1; members: hour by hour
    assert seen == [(k, count) for k in range(1, count + 1)]
    seen.clear()
    with pytest.raises(Cancelled):
        study(tree, progress=lambda done, total: seen.append(done), cancel=lambda: len(seen) >= 5)
    assert 5 <= len(seen) <= 8
