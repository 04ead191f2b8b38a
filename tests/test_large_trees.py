"""Trees larger than memory: every figure is worked out chunk by chunk, and is the same as in memory."""

import weakref

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

from labkit.verify.calibration import calibration_data
from labkit.verify.distributions import distribution_data
from labkit.verify.neighbourhood import fss_data
from labkit.verify.probability import reliability_data
from labkit.verify.scales import correlation_data, reach_data, spectra_data
from labkit.verify.score_maps import score_maps_data
from labkit.verify.selection import judged
from labkit.verify.strata import strata_data

MEMBERS, TIMES, SIDE = 4, 12, 16
SHAPE = (MEMBERS, TIMES, SIDE, SIDE)
HOURS = np.datetime64("2021-07-01T00", "ns") + np.arange(TIMES) * np.timedelta64(6, "h")
DATA = {
    "calibration": lambda tree: calibration_data(tree, "t2m"),
    "reliability": lambda tree: vars(reliability_data(tree, "t2m", threshold=281.0)["prediction"]),
    "fss": lambda tree: vars(fss_data(tree, "t2m", threshold=281.0)),
    "distributions": lambda tree: vars(distribution_data(tree, "t2m")),
    "strata": lambda tree: strata_data(tree, "t2m", by="season"),
    "strata of the mean": lambda tree: strata_data(tree, "t2m", by="mean"),
    "score maps": lambda tree: score_maps_data(tree, "t2m"),
    "spectra": lambda tree: vars(spectra_data(tree, "t2m")),
    "correlation": lambda tree: vars(correlation_data(tree, "t2m", draws=20)),
    "reach": lambda tree: reach_data(tree, ["t2m"], quantity="raw", draws=20),
}


class Blocks:
    """Blocks of fields as a file gives them; `most` is how many of them were alive at once."""

    def __init__(self) -> None:
        self.alive = self.most = self.read = 0

    def _gone(self) -> None:
        self.alive -= 1

    def of(self, values: np.ndarray) -> da.Array:
        """The members (ensemble, time, y, x) with all of one time in a block."""

        def block(block_info) -> np.ndarray:
            (_, (start, stop), *_) = block_info[None]["array-location"]
            made = values[:, start:stop].copy()
            self.alive, self.read = self.alive + 1, self.read + 1
            self.most = max(self.most, self.alive)
            weakref.finalize(made, self._gone)
            return made

        chunks = (values.shape[:1], (1,) * TIMES, *((n,) for n in values.shape[2:]))
        return da.map_blocks(block, chunks=chunks, dtype=values.dtype, meta=values[:0])


def tree_of(blocks: Blocks | None, *, forecast: bool = False) -> xr.DataTree:
    """Members and oracle about one signal, lazily where there are blocks; of a forecast there is no truth."""
    rng = np.random.default_rng(0)
    signal = 280 + rng.standard_normal(SHAPE[1:]).cumsum(-1).astype(np.float32) / 4
    truth, members, oracle = (
        (signal + rng.standard_normal(shape)).astype(np.float32) for shape in (SHAPE[1:], SHAPE, SHAPE)
    )
    ensembles = {"prediction": members, "oracle": oracle}
    lazy = {name: blocks.of(values) if blocks else values for name, values in ensembles.items()}
    axis = 4.0 * np.arange(SIDE)
    root = xr.Dataset(coords={"time": HOURS, "y": axis, "x": axis, "ensemble": np.arange(MEMBERS)})
    fields = {"truth": np.full_like(truth, np.nan) if forecast else truth, "interpolation": signal}
    nodes = {f"/{name}": xr.Dataset({"t2m": (("time", "y", "x"), values)}) for name, values in fields.items()}
    nodes |= {f"/{name}": xr.Dataset({"t2m": (("ensemble", "time", "y", "x"), a)}) for name, a in lazy.items()}
    return xr.DataTree.from_dict({"/": root} | nodes)


def assert_alike(found, expected) -> None:
    """The same to rounding, and worked out."""
    if isinstance(expected, dict):
        assert set(found) == set(expected)
        for name in expected:
            assert_alike(found[name], expected[name])
    elif isinstance(expected, xr.DataArray | xr.Dataset):
        assert not dask.is_dask_collection(found)
        xr.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    elif expected is not None and not isinstance(expected, str):
        np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.fixture
def large(monkeypatch):
    """Nothing is small enough to be kept."""
    monkeypatch.setattr("labkit.verify.selection.IN_MEMORY", 0)
    with dask.config.set(scheduler="synchronous"):
        yield


# What needs no truth is judged by the members then; the reach is the judge's alone.
CASES = [(name, False) for name in DATA if name != "reach"] + [(name, True) for name in ("correlation", "reach")]


@pytest.mark.parametrize(("name", "forecast"), CASES)
def test_a_large_ensemble_is_never_whole_in_memory_and_gives_the_same(name, forecast, large):
    expected = DATA[name](tree_of(None, forecast=forecast))
    blocks = Blocks()
    assert_alike(DATA[name](tree_of(blocks, forecast=forecast)), expected)
    assert blocks.read >= TIMES, "the blocks are what it was made of"
    assert blocks.most <= TIMES / 4


def test_a_small_ensemble_is_read_once():
    blocks = Blocks()
    truth, fields = judged(tree_of(blocks), "t2m")
    assert blocks.read == 2 * TIMES and not any(map(dask.is_dask_collection, (truth, *fields.values())))
