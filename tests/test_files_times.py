"""Times of anyone's pair of files: those of validity, matched to the second, or refused."""

import numpy as np
import pytest
from test_files import FACTOR, HOURS, assert_true_everywhere, fields, save

from labkit.data.files import open_files
from labkit.errors import DataError


def test_times_are_matched_by_value(tmp_path):
    files = save(tmp_path, fields(HOURS[[4, 2, 0]], factor=FACTOR), fields(HOURS[[5, 4, 3, 2]]))
    pairs = open_files(*files)
    np.testing.assert_array_equal(pairs.target.time, HOURS[[2, 4]])
    assert_true_everywhere(pairs)


def test_times_apart_repeated_or_lacking_are_refused(tmp_path):
    later = fields(HOURS + np.timedelta64(1, "D"))
    with pytest.raises(DataError, match="input of 2020-06-01T00:00 to 2020-06-01T05:00"):
        open_files(*save(tmp_path, fine=later))
    with pytest.raises(DataError, match="repeat"):
        open_files(*save(tmp_path, fine=fields(HOURS[[0, 1, 1]])))
    with pytest.raises(DataError, match="time of the target"):
        open_files(*save(tmp_path, fine=fields().drop_vars("time")))


def test_one_time_without_its_dimension(tmp_path):
    files = save(tmp_path, fields(factor=FACTOR).isel(time=2), fields())
    pairs = open_files(*files)
    assert len(pairs) == 1 and pairs.target.time.values[0] == HOURS[2]
    assert_true_everywhere(pairs)


BASE = np.datetime64("2020-06-01T00", "ns")
LEADS = (HOURS - BASE) / np.timedelta64(1, "h")


def by_step(valid=True, step="step", base="time", lead=HOURS - BASE, **attrs):
    """The layout of cfgrib and its like: one base, steps from it, and perhaps the dates of validity."""
    found = fields().rename_dims(time=step).drop_vars("time")
    found = found.assign_coords({base: BASE, step: (step, lead, attrs)})
    return found.assign_coords(valid_time=(step, HOURS)) if valid else found


DATED = {
    "cfgrib": by_step(),
    "cfgrib without valid_time": by_step(valid=False),
    "lead times in hours": by_step(False, "lead_time", "forecast_reference_time", LEADS, units="hours"),
    "lead times in minutes": by_step(False, "lead_time", "init_time", 60 * LEADS, units="minutes"),
    "one step of many bases": fields(HOURS)
    .assign_coords(time=HOURS - np.timedelta64(6, "h"))
    .assign_coords(valid_time=("time", HOURS), step=np.timedelta64(6, "h")),
    "dates as text": fields().assign_coords(time=[f"{str(t)[:19]}Z" for t in HOURS]),
    "dates as text of another offset": fields().assign_coords(
        time=[f"{str(t + np.timedelta64(9, 'h'))[:19]}+09:00" for t in HOURS]
    ),
    "a dimension of another name": fields().rename(time="forecast_reference_time"),
}


@pytest.mark.parametrize("fine", DATED.values(), ids=DATED)
def test_times_are_those_of_validity(tmp_path, fine):
    dims = {"forecast_reference_time": "time"} if "forecast_reference_time" in fine.dims else None
    pairs = open_files(*save(tmp_path, fine=fine), dims=dims)
    np.testing.assert_array_equal(pairs.target.time, HOURS)
    assert_true_everywhere(pairs)


def test_fractions_of_an_hour_are_matched_to_the_second_and_lost_partners_are_said(tmp_path, caplog):
    thirds = HOURS[0] + np.arange(6) * np.timedelta64(20, "m")
    fine = fields(thirds)
    fine["time"] = ("time", (np.arange(6) / 3).astype("f4"), {"units": "hours since 2020-06-01"})
    pairs = open_files(*save(tmp_path, fields(thirds, factor=FACTOR), fine))
    np.testing.assert_array_equal(pairs.target.time, thirds)
    assert_true_everywhere(pairs)
    assert "no partner" not in caplog.text
    open_files(*save(tmp_path, fields(HOURS[[0, 1, 5]], factor=FACTOR), fields(HOURS[[0, 2, 3, 5]])))
    assert "2 are in both files; between them 1 of the input and 2 of the target" in caplog.text


@pytest.mark.parametrize("times", [np.arange(6), 2020060100 + np.arange(6), 20200601 + np.arange(6) / 24])
def test_numbers_are_no_dates(tmp_path, times):
    parts = [fields(factor=f).assign_coords(time=times) for f in (FACTOR, 1)]
    with pytest.raises(DataError, match="no date for each step"):
        open_files(*save(tmp_path, *parts))


def test_several_bases_with_steps_are_refused(tmp_path):
    both = by_step().expand_dims(time=[BASE, BASE + np.timedelta64(12, "h")])
    with pytest.raises(DataError, match="2 bases with 6 steps each"):
        open_files(*save(tmp_path, fine=both))


def test_one_label_for_two_intervals_is_refused(tmp_path):
    """Rain from 0 to 1 is at 1 in the input, at 0 in the target: by the labels it would be an hour too late."""
    hour = np.timedelta64(1, "h")
    parts = []
    for factor, shift in ((FACTOR, -hour), (1, 0 * hour)):
        one = fields(factor=factor)
        one["time_bnds"] = (("time", "nv"), np.stack([HOURS + shift, HOURS + shift + hour], axis=1))
        one["time"].attrs["bounds"] = "time_bnds"
        parts.append(one)
    with pytest.raises(DataError, match="2020-06-01T00:00 of input and target"):
        open_files(*save(tmp_path, *parts))
    assert_true_everywhere(open_files(*save(tmp_path, parts[0], fields())))
