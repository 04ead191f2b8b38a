"""Ranks with each member by turns in the role of the truth: what a flat histogram may look like by chance."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import uniform_filter

from labkit.errors import DataError
from labkit.verify.calibration import flat_band, rank_histogram
from labkit.verify.distributions import pit_histogram
from labkit.verify.exchangeability import flatness, pit_tables

TIMES, SIDE = 10, 12


def ensemble(
    rng, *, n: int = 7, spread: float = 1.0, width: int = 1, times: int = TIMES
) -> tuple[xr.DataArray, xr.DataArray]:
    """Members and truth of one law, but for the members' spread; `width` cells at a time are alike."""
    fields = rng.standard_normal((n + 1, times, SIDE, SIDE))
    fields = uniform_filter(fields, (0, 0, width, width), mode="wrap")
    members = xr.DataArray(spread * fields[1:], dims=("ensemble", "time", "y", "x"))
    return members, xr.DataArray(fields[0], dims=("time", "y", "x"))


def test_the_truths_own_role_is_the_rank_histogram(rng, monkeypatch):
    members, truth = ensemble(rng)
    monkeypatch.setattr("labkit.verify.exchangeability.SLAB", 300)  # a few cells at a time
    own = pit_tables(members, truth, seed=0).isel(role=0).sum("time")
    np.testing.assert_array_equal(own.o, rank_histogram(members, truth, seed=5))
    ten = pit_tables(members, truth, seed=0, bins=4).isel(role=0).sum("time")
    np.testing.assert_array_equal(ten.o, pit_histogram(members, truth, seed=5, bins=4))


def test_in_each_cell_every_rank_is_taken_once(rng):
    members, truth = ensemble(rng)
    tables = pit_tables(members.round(), truth.round(), seed=0)  # with many ties
    assert (tables.o.sum("role") == SIDE**2).all() and (tables.o.sum("bin") == SIDE**2).all()


def test_dry_cells_fall_into_all_ranks_alike(rng):
    """Where all are zero the rank is drawn; else the first field would take the lowest rank everywhere."""
    members, truth = ensemble(rng)
    tables = pit_tables(members * 0, truth * 0, seed=0).sum("time")
    assert (abs(tables.o / (TIMES * SIDE**2) - 1 / 8) < 0.04).all()


def test_cells_without_truth_are_left_out(rng):
    members, truth = ensemble(rng)
    gone = truth.where(xr.DataArray(np.arange(SIDE) != 3, dims="x"))
    tables = pit_tables(members, gone, seed=0)
    assert (tables["count"] == SIDE * (SIDE - 1)).all()
    np.testing.assert_array_equal(tables.o.isel(role=0).sum("bin"), SIDE * (SIDE - 1))


def test_the_band_holds_an_exchangeable_truth_where_a_binomial_one_does_not(rng):
    inside, naive = [], []
    for seed in range(60):
        members, truth = ensemble(rng, width=6)
        flat = flatness(pit_tables(members, truth, seed=seed))
        inside.append(((flat.frequency >= flat.low) & (flat.frequency <= flat.high)).values)
        low, high = (8 * v for v in flat_band(TIMES * SIDE**2, 8, 0.95))
        naive.append(((flat.frequency >= low) & (flat.frequency <= high)).values)
    assert 0.9 < np.mean(inside) < 0.985
    assert np.mean(naive) < 0.7, "neighbouring cells are not independent"


def test_hours_in_a_row_are_fewer_cases(rng):
    """The truth's error is a red series, the members are drawn anew each hour: a role for each hour left one bin in
    eight outside a band of 95 %."""
    outside = []
    for seed in range(40):
        error = rng.standard_normal((24, 3, 3))
        for t in range(1, 24):
            error[t] = 0.8 * error[t - 1] + 0.6 * error[t]
        members = xr.DataArray(rng.standard_normal((8, 24, 3, 3)), dims=("ensemble", "time", "y", "x"))
        flat = flatness(pit_tables(members, xr.DataArray(error, dims=("time", "y", "x")), seed=seed))
        outside.append(((flat.frequency < flat.low) | (flat.frequency > flat.high)).values)
    assert 0.005 < np.mean(outside) < 0.085


def test_few_times_are_one_case(rng):
    """Of three the range is that of the n + 1 fields: one in eight of them is the highest of a bin, one the lowest."""
    inside = []
    for seed in range(60):
        members, truth = ensemble(rng, width=6, times=3)
        flat = flatness(pit_tables(members, truth, seed=seed))
        inside.append(((flat.frequency >= flat.low) & (flat.frequency <= flat.high)).values)
    assert 0.65 < np.mean(inside) < 0.85


def test_too_narrow_an_ensemble_is_beyond_the_band_at_both_ends(rng):
    members, truth = ensemble(rng, spread=0.5, width=3, times=32)
    flat = flatness(pit_tables(members, truth, seed=0))
    assert (flat.frequency > flat.high)[[0, -1]].all() and (flat.frequency < flat.low)[3:5].all()
    assert float(flat.frequency.mean()) == pytest.approx(1)


def test_a_single_field_without_times_is_refused(rng):
    members, truth = ensemble(rng)
    with pytest.raises(DataError, match="dimension time"):
        pit_tables(members.isel(time=0), truth.isel(time=0), seed=0)
