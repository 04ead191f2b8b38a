"""Figures of wind against pressure: the sources' own pairs, relations in the figure's averaging, refused in words."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import PathCollection

from labkit.errors import DataError
from labkit.plots.storms import wind_pressure_figure
from labkit.verify.cyclones.wind_pressure import ATKINSON_HOLLIDAY, Relation

LAW = Relation("a law", 0.4, 0.6, 101000.0, 10)
HOURS, MEMBERS = 20, 7


def source(shape: tuple[int, ...], seed: int, *, pressure: bool = True) -> xr.Dataset:
    """Highest winds and lowest pressures of a storm that deepens hour by hour, each with its own deviation."""
    rng = np.random.default_rng(seed)
    dims = ("ensemble", "time")[-len(shape) :]
    lowest = 99000 - 4000 * np.linspace(0, 1, HOURS) + 400 * rng.normal(size=shape)
    wind = LAW.wind(lowest) * np.exp(0.06 * rng.normal(size=shape))
    made = {"max_wind": (dims, wind), "min_pressure": (dims, lowest if pressure else np.nan * lowest)}
    return xr.Dataset(made)


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    times = np.datetime64("2021-09-12T00", "ns") + np.arange(HOURS) * np.timedelta64(1, "h")
    return xr.DataTree(xr.Dataset(coords={"time": times}))


@pytest.fixture(scope="module")
def found() -> xr.DataTree:
    names = {"truth": (HOURS,), "regression": (HOURS,), "prediction": (MEMBERS, HOURS), "oracle": (MEMBERS, HOURS)}
    return xr.DataTree.from_dict({name: source(shape, seed) for seed, (name, shape) in enumerate(names.items())})


def line(axis, label: str) -> np.ndarray:
    (shown,) = [line.get_xydata() for line in axis.lines if str(line.get_label()).startswith(label)]
    return shown


def best_track(minutes: int | None) -> xr.Dataset:
    made = xr.Dataset({"wind": ("time", [50.0, 45.0]), "pressure": ("time", [94000.0, 95000.0])})
    made.wind.attrs |= {"averaging_min": minutes} if minutes else {}
    return made


def test_points_are_the_sources_own_in_hectopascals(tree, found):
    axis = wind_pressure_figure(tree, found, time=5).axes[0]
    now = line(axis, "Model")
    members = found["prediction"].isel(time=5)
    np.testing.assert_allclose(now, np.stack([members.min_pressure / 100, members.max_wind], axis=1))
    everything = [line.get_xydata() for line in axis.lines if len(line.get_xydata()) == MEMBERS * HOURS]
    expected = [np.ravel(found[name].min_pressure) / 100 for name in ("prediction", "oracle")]
    np.testing.assert_allclose([points[:, 0] for points in everything], expected)
    np.testing.assert_allclose(everything[0][:, 1], np.ravel(found["prediction"].max_wind))
    assert "2021-09-12T05:00 UTC" in axis.get_title(loc="left")
    assert "[hPa]" in axis.get_xlabel() and "1010 hPa" in axis.get_xlabel() and "[m s-1]" in axis.get_ylabel()
    assert axis.xaxis_inverted(), "stronger storms to the right"


@pytest.mark.parametrize(("minutes", "factor"), [(1, 1.0), (10, 0.93)])
def test_relations_are_in_the_averaging_that_the_axis_names(tree, found, minutes, factor):
    axis = wind_pressure_figure(tree, found, averaging_min=minutes).axes[0]
    curve = line(axis, f"Atkinson & Holliday (1977), {minutes}-minute mean")
    np.testing.assert_allclose(curve[:, 1], factor * ATKINSON_HOLLIDAY.wind(100 * curve[:, 0]))
    assert f"{minutes}-minute mean" in axis.get_ylabel()


def test_the_fit_to_the_members_has_a_band_about_it(tree, found):
    axis = wind_pressure_figure(tree, found).axes[0]
    curve = line(axis, f"Fit to the members, {MEMBERS * HOURS} pairs: exponent 0.")
    inner = curve[(curve[:, 0] > 945) & (curve[:, 0] < 995)]
    np.testing.assert_allclose(inner[:, 1], LAW.wind(100 * inner[:, 0]), rtol=0.06)
    (band,) = [child for child in axis.collections if not isinstance(child, PathCollection)]
    edges = band.get_paths()[0].vertices
    at = np.isclose(edges[:, 0], inner[10, 0])
    assert edges[at, 1].min() < inner[10, 1] < edges[at, 1].max()


def test_a_best_track_is_converted_and_says_so(tree, found):
    axis = wind_pressure_figure(tree, found, best_track=best_track(1)).axes[0]
    shown = line(axis, "Best track, 1-minute mean × 0.93")
    np.testing.assert_allclose(shown, [[940, 46.5], [950, 41.85]])
    axis = wind_pressure_figure(tree, found, best_track=best_track(10)).axes[0]
    np.testing.assert_allclose(line(axis, "Best track, 10-minute mean")[:, 1], [50, 45])
    with pytest.raises(DataError, match="no word of their averaging"):
        wind_pressure_figure(tree, found, best_track=best_track(None))


def test_without_pressure_it_says_what_to_do(tree, found):
    dry = xr.DataTree.from_dict({"truth": source((HOURS,), 0, pressure=False)})
    with pytest.raises(DataError, match=r"no sea-level pressure in truth.*estimated_pressure"):
        wind_pressure_figure(tree, dry)
    some = xr.DataTree.from_dict(
        {"truth": found["truth"].to_dataset(), "prediction": source((3, HOURS), 1, pressure=False)}
    )
    axis = wind_pressure_figure(tree, some).axes[0]
    assert "no pressure in model" in axis.get_title(loc="left")
    assert not [line for line in axis.lines if str(line.get_label()).startswith("Fit")]
