"""What an ensemble of tracks says: its mean, its cone, and how likely the storm is to come near a place."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.sphere import distance_km, wrapped
from labkit.verify.common import MEMBER
from labkit.verify.cyclones.tracks import track_error


def mean_track(tracks: xr.Dataset, *, least_share: float = 0.5) -> xr.Dataset:
    """Mean position (..., time) of the members' tracks (ensemble, ..., time), in degrees and in km, and `members`: how
    many of them have the storm; NaN where fewer than `least_share` of them do. Longitudes on the circle."""
    here = np.isfinite(tracks.row if "row" in tracks else tracks.lat)
    enough = here.mean(MEMBER) >= least_share
    found = {"members": here.sum(MEMBER)}
    for name in ("x", "y", "lat"):
        if name in tracks:
            found[name] = tracks[name].mean(MEMBER).where(enough)
    if "lon" in tracks:
        angle = np.exp(1j * np.deg2rad(tracks.lon)).mean(MEMBER)
        found["lon"] = xr.apply_ufunc(lambda z: np.rad2deg(np.angle(z)), angle).where(enough)
    return xr.Dataset(found)


def cone(tracks: xr.Dataset, *, share: float = 2 / 3) -> xr.Dataset:
    """The mean track with `radius` (km): the circle about it that holds `share` of the members that have the storm.

    Two thirds is what the forecast cones of the warning centres enclose; theirs come from past errors, this one from
    the members alone.
    """
    if not 0 < share <= 1:
        raise DataError("cone", found=f"a share of {share:g}", expected="0 to 1", todo="choose one of these")
    middle = mean_track(tracks)
    apart = track_error(tracks, middle)
    radius = (
        apart.quantile(share, MEMBER)
        .drop_vars("quantile")
        .where(np.isfinite(middle.x + 0 * middle.members) if _planar(middle) else np.isfinite(middle.lat))
    )
    return middle.assign(radius=radius.assign_attrs(units="km"))


def strike_probability(tracks: xr.Dataset, places: xr.Dataset, *, within_km: float = 65.0) -> xr.DataArray:
    """Share of the members whose storm comes within `within_km` of each place at any time of the tracks, 0 to 1.

    tracks: (ensemble, time). places: `lat`, `lon`, or `x`, `y` in km, of any dimensions. Between times the storm moves
    on a straight line, so that a fast one leaves no gaps. Members without a track count as misses. 65 nautical miles
    (120 km) is usual for strike probabilities of ensembles; 65 km suits a domain of a few hundred.
    """
    hits = closest_approach(tracks, places) <= within_km
    return hits.mean(MEMBER).assign_attrs(units="1")


def closest_approach(tracks: xr.Dataset, places: xr.Dataset) -> xr.DataArray:
    """Least distance (ensemble, ...) in km of each member's storm from each place at any time of the tracks, as in
    `strike_probability`; infinite for members without a track."""
    sphere = not _planar(tracks) and "lat" in places
    names = ("lat", "lon") if sphere else ("y", "x")
    grid = xr.broadcast(*(places[name].drop_vars(list(places[name].coords)) for name in names))
    points = np.stack([part.values.ravel() for part in grid], axis=-1).astype(np.float64)
    ways = np.stack([tracks[name].transpose(MEMBER, "time").values for name in names], axis=-1)
    closest = np.full((len(ways), len(points)), np.inf)
    for k, way in enumerate(ways):
        for start, end in _legs(way):
            closest[k] = np.minimum(closest[k], _from_leg(points, start, end, sphere))
    shape = (len(ways), *grid[0].shape)
    return xr.DataArray(
        closest.reshape(shape), dims=(MEMBER, *grid[0].dims), coords=places.coords, attrs={"units": "km"}
    )


def _planar(track: xr.Dataset) -> bool:
    return "lat" not in track or not bool(np.isfinite(track.lat).any())


def _legs(way: np.ndarray):
    """Straight parts between known positions that follow each other, and single positions."""
    known = np.isfinite(way).all(-1)
    for t in np.flatnonzero(known):
        after = t + 1 < len(way) and known[t + 1]
        yield way[t], way[t + 1] if after else way[t]


def _from_leg(points: np.ndarray, start: np.ndarray, end: np.ndarray, sphere: bool) -> np.ndarray:
    """Distance in km of points from a straight leg, in the plane or in a local plane of the sphere."""
    if sphere:
        scale = np.array([1.0, np.cos(np.deg2rad((start[0] + end[0]) / 2))])

        def local(p):
            return np.stack([p[..., 0] - start[0], wrapped(p[..., 1] - start[1])], axis=-1) * scale

        along, to = local(end), local(points)
    else:
        along, to = end - start, points - start
    length = float(along @ along)
    share = np.clip(to @ along / length, 0, 1) if length > 0 else np.zeros(len(points))
    if sphere:
        step = wrapped(end[1] - start[1])
        lat, lon = start[0] + share * (end[0] - start[0]), start[1] + share * step
        return distance_km(lat, lon, points[:, 0], points[:, 1])
    return np.hypot(*(to - share[:, None] * along).T)
