"""Centres of single times joined into tracks, member by member, and the track of one storm among them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import xarray as xr
from scipy.optimize import linear_sum_assignment

from labkit.errors import DataError
from labkit.sphere import KM_PER_DEGREE, distance_km, wrapped
from labkit.verify.cyclones.detection import VORTEX

TRACK = "track"
LEAD_TIME = re.compile(r"(\d{10})[fF+](\d{1,4})")
FASTEST_KM_H = 100.0
SLACK_KM = 40.0  # by which a centre may be off, whatever the time between
EVIDENT = 10.0  # m/s of turning that a track must reach once


def join(
    found: xr.Dataset,
    *,
    count: int = 1,
    gap_h: float = 6.0,
    evident: float = EVIDENT,
    fastest_km_h: float = FASTEST_KM_H,
    least_times: int = 2,
) -> xr.Dataset:
    """The `count` longest and strongest tracks (..., track, time) of centres (..., time, vortex) that `find` gave.

    A centre continues the track whose last motion leads nearest to it, if it is no further than `fastest_km_h` allows;
    all pairs of a time are matched at once. A track may be lost for `gap_h` (over mountains, beyond the edge) and is
    NaN there. Kept are tracks of at least `least_times` centres whose turning reaches `evident` m/s once: weak centres
    prolong a track but make none (let `find` look with a lower `least`). First comes the track with the greatest sum of
    turning. Computes.
    """
    if "time" not in found.dims or VORTEX not in found.dims:
        expected, todo = f"dimensions time and {VORTEX}", "give what `find` gave for several times"
        raise DataError("centres to join", found=str(tuple(found.dims)), expected=expected, todo=todo)
    found = found.compute()
    hours = hours_of(found.time.values)
    if (np.diff(hours) <= 0).any():
        raise DataError("times of centres", found="times that repeat", expected="rising times", todo="sort them")
    lead = [str(dim) for dim in found.turning.dims if dim not in ("time", VORTEX)]
    rules = _Rules(gap_h, evident, fastest_km_h, least_times)

    def chosen(east, north, turning):
        tracks = _joined(hours, np.stack([east, north], axis=-1), turning, rules)[:count]
        picks = np.full((count, len(hours)), -1)
        for k, track in enumerate(tracks):
            picks[k, track.times] = track.picks
        return picks

    east, north = _plane(found)
    dims = ["time", VORTEX]
    picks = xr.apply_ufunc(
        chosen,
        *(part.transpose(*lead, *dims) for part in (east, north, found.turning)),
        input_core_dims=[dims] * 3,
        output_core_dims=[[TRACK, "time"]],
        vectorize=True,
    )
    seen = picks >= 0
    chosen_ones = found.isel({VORTEX: picks.where(seen, 0).astype(int)}).where(seen)
    return chosen_ones.transpose(*lead, TRACK, "time")


def hours_of(times: np.ndarray) -> np.ndarray:
    """Hours since the first of some times: dates of any calendar, times since one, or words that `valid_times` knows.
    DataError for numbers and other words, of which nobody knows how far apart they are."""
    times = valid_times(times)
    if len(times) == 1:
        return np.zeros(1)
    try:
        if times.dtype.kind not in "MmO":
            raise TypeError
        return np.asarray(pd.to_timedelta(times - times[0]) / pd.Timedelta(hours=1))
    except (TypeError, ValueError) as error:
        raise _no_times(times) from error


def valid_times(times: np.ndarray) -> np.ndarray:
    """Times as they are, or for words of dates, or of a start and a lead time as in 2024010100f03, those dates in UTC;
    DataError for other words."""
    times = np.atleast_1d(times)
    if times.dtype.kind not in "US" and not isinstance(times[0], str):
        return times
    try:
        return np.array([_valid(str(time)) for time in times], "datetime64[ns]")
    except ValueError as error:
        raise _no_times(times) from error


def _no_times(times: np.ndarray) -> DataError:
    found = ", ".join(str(time)[:20] for time in times[:2]) + ", of which nobody says how far apart they are"
    todo = "give the fields dates as their `time`, or take one time alone"
    return DataError("times of centres", found=found, expected="dates, or times since one", todo=todo)


def _valid(word: str) -> datetime:
    """The time for which a date in ISO 8601, or a start and lead time in hours (2024010100f03), stands, in UTC."""
    if lead := LEAD_TIME.fullmatch(word.strip()):
        return datetime.strptime(lead[1], "%Y%m%d%H") + timedelta(hours=int(lead[2]))
    found = datetime.fromisoformat(word.strip())
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found


def nearest(tracks: xr.Dataset, reference: xr.Dataset, *, within_km: float = 300.0) -> xr.Dataset:
    """Of each member's tracks (..., track, time) the one nearest to a reference (time) with `lat` and `lon`, or `x` and
    `y`: (..., time), NaN for members without one whose mean distance over common times is within `within_km`."""
    apart = track_error(tracks, reference).mean("time")
    best = apart.fillna(np.inf).argmin(TRACK)
    return tracks.isel({TRACK: best}).where(apart.min(TRACK) <= within_km)


def track_error(track: xr.Dataset, reference: xr.Dataset) -> xr.DataArray:
    """Distance in km between positions, NaN where one is: on the sphere where the reference has degrees, else in the
    plane of `x` and `y`."""
    if _on_sphere(reference) and "lat" in track:
        apart = xr.apply_ufunc(distance_km, track.lat, track.lon, reference.lat, reference.lon)
    elif "x" in reference and "x" in track:
        apart = xr.apply_ufunc(np.hypot, track.x - reference.x, track.y - reference.y)
    else:
        found, todo = "neither lat and lon nor x and y in both", "give the reference positions at these times"
        raise DataError("distance of tracks", found=found, expected="one of them", todo=todo)
    return apart.assign_attrs(units="km")


def along_and_across(track: xr.Dataset, reference: xr.Dataset) -> xr.Dataset:
    """The track error in parts (km): `along` the reference's motion, positive ahead of it, and `across` it, positive to
    the right. NaN where the reference stands still or ends."""
    east, north = _plane(reference)
    own_east, own_north = _plane(track, like=reference)
    hours = hours_of(reference.time.values)
    u, v = (part.assign_coords(time=hours).differentiate("time").assign_coords(time=reference.time)
            for part in (east, north))  # fmt: skip
    speed = xr.apply_ufunc(np.hypot, u, v)
    u, v = (part / speed.where(speed > 0.5) for part in (u, v))
    dx, dy = own_east - east, own_north - north
    parts = xr.Dataset({"along": dx * u + dy * v, "across": dx * v - dy * u})
    return parts.map(lambda part: part.assign_attrs(units="km"))


@dataclass(frozen=True)
class _Rules:
    gap_h: float
    evident: float
    fastest_km_h: float
    least_times: int


@dataclass
class _Track:
    times: list[int] = field(default_factory=list)
    picks: list[int] = field(default_factory=list)
    strength: list[float] = field(default_factory=list)
    places: list[np.ndarray] = field(default_factory=list)

    def add(self, time: int, pick: int, place: np.ndarray, strength: float) -> None:
        self.times.append(time)
        self.picks.append(pick)
        self.places.append(place)
        self.strength.append(strength)

    def expected(self, hours: np.ndarray, time: int, fastest: float) -> np.ndarray:
        """Where its motion of the last hours leads."""
        last = self.places[-1]
        if len(self.times) < 2:
            return last
        k = max(-4, -len(self.times))
        motion = (last - self.places[k]) / (hours[self.times[-1]] - hours[self.times[k]])
        speed = np.hypot(*motion)
        motion = motion * min(1.0, fastest / max(speed, 1e-9))
        return last + motion * (hours[time] - hours[self.times[-1]])


def _joined(hours: np.ndarray, places: np.ndarray, turning: np.ndarray, rules: _Rules) -> list[_Track]:
    """places (time, vortex, 2) km, turning (time, vortex) -> tracks, the strongest first."""
    active, done = [], []
    for t, hour in enumerate(hours):
        lost = [track for track in active if hour - hours[track.times[-1]] > rules.gap_h + 1e-6]
        # A step between times that is longer than the gap allowed loses no track by itself.
        lost = [track for track in lost if t - track.times[-1] > 1]
        done += lost
        active = [track for track in active if track not in lost]
        fresh = [k for k in range(places.shape[1]) if np.isfinite(places[t, k]).all()]
        matched = set()
        if active and fresh:
            expected = np.array([track.expected(hours, t, rules.fastest_km_h) for track in active])
            last = np.array([track.places[-1] for track in active])
            since = np.array([hour - hours[track.times[-1]] for track in active])
            there = places[t, fresh]
            miss = np.hypot(*(expected[:, None] - there[None]).transpose(2, 0, 1))
            moved = np.hypot(*(last[:, None] - there[None]).transpose(2, 0, 1))
            allowed = moved <= (rules.fastest_km_h * since + SLACK_KM)[:, None]
            for i, j in zip(*linear_sum_assignment(np.where(allowed, miss, 1e6)), strict=True):
                if allowed[i, j]:
                    active[i].add(t, fresh[j], there[j], turning[t, fresh[j]])
                    matched.add(fresh[j])
        for k in fresh:
            if k not in matched:
                active.append(_Track())
                active[-1].add(t, k, places[t, k], turning[t, k])
    kept = [
        track
        for track in done + active
        if len(track.times) >= rules.least_times and max(track.strength) >= rules.evident
    ]
    return sorted(kept, key=lambda track: -sum(track.strength))


def _on_sphere(track: xr.Dataset) -> bool:
    return "lat" in track and bool(np.isfinite(track.lat).any())


def _plane(track: xr.Dataset, like: xr.Dataset | None = None) -> tuple[xr.DataArray, xr.DataArray]:
    """East and north in km about the middle of a track (or of another one), or x and y where degrees are unknown."""
    other = track if like is None else like
    if not (_on_sphere(track) and _on_sphere(other)):
        return track.x, track.y
    lat0, lon0 = float(other.lat.mean()), float(other.lon.where(np.isfinite(other.lon)).max())
    east = xr.apply_ufunc(wrapped, track.lon - lon0) * KM_PER_DEGREE * np.cos(np.deg2rad(lat0))
    return east, (track.lat - lat0) * KM_PER_DEGREE
