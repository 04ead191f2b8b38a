"""One storm in every source of an output tree: its track, its numbers and its profiles, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

import dask
import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.verify.cyclones.detection import PRESSURE, WEAK, WIND, find
from labkit.verify.cyclones.pieces import Piece, cut, joined, side_by_side
from labkit.verify.cyclones.structure import intensity, profiles
from labkit.verify.cyclones.tracks import TRACK, join, nearest
from labkit.verify.selection import IN_MEMORY, SOURCES, names_of

REFERENCES = ("truth", "mean", "regression", "interpolation")  # whose storm is followed, the first that has one
RADII_KM = np.arange(0.0, 204.0, 4.0)
MATCH_KM = 200.0
OTHERS = ("t2m", "tp", "reflectivity")  # fields whose profiles go along

NOT_FOUND = {
    "expected": "a wind that turns by 10 m/s or more about a point",
    "todo": "choose times with a storm, or give a best track as the reference",
}


class NoStorm(DataError):
    """Fields that can be searched and have no storm."""


def study(
    tree: xr.DataTree,
    *,
    reference: xr.Dataset | None = None,
    radius_km: Sequence[float] = RADII_KM,
    within_km: float = MATCH_KM,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> xr.DataTree:
    """The storm of an output tree in each of its sources: groups "interpolation", "regression", "mean" (of the
    members), "prediction", "truth" and "oracle", each (time) or (ensemble, time).

    Every source is tracked by itself; of its tracks that nearest to the `reference` (a track with `lat` and `lon`, or
    `x` and `y`, such as a best track) is kept, if its mean distance is within `within_km`: by default that of the
    truth, or of the first other source that has one. Variables: `x`, `y` (km), `lat`, `lon`, `row`, `col`, `size`,
    `turning`, `explained`, those of `intensity`, and profiles (..., radius). NaN where a source has no storm. The root
    says in `reference` what was followed. NoStorm where no source has one. Computes, on as many threads as there
    are cores, in pieces of some 100,000 cells (chunks, where the tree is too large to hold): after each `progress(done,
    total)` is called, and between them Cancelled is raised where `cancel()` is true.
    """
    fields = _fields(tree)
    if reference is not None:
        reference = _at_times(reference, next(iter(fields.values())).time)
    pieces = {source: cut(winds) for source, winds in fields.items()}
    total, done = 2 * sum(map(len, pieces.values())), 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    def each(function: Callable[[str, Piece], xr.Dataset]) -> dict[str, xr.Dataset]:
        keys = [(source, piece) for source in fields for piece in pieces[source]]
        parts = iter(side_by_side([partial(function, *key) for key in keys], step, cancel, "the study of a storm"))
        return {source: joined(fields[source], own, list(islice(parts, len(own)))) for source, own in pieces.items()}

    def centres(source: str, piece: Piece) -> xr.Dataset:
        return find(fields[source].isel(piece), count=3, limits=WEAK).compute()

    def numbers(source: str, piece: Piece) -> xr.Dataset:
        winds, own = fields[source].isel(piece), storms[source].isel(piece)
        found = dask.compute(intensity(winds, own), profiles(winds, own, np.asarray(radius_km)))
        return xr.merge(found, compat="override", join="exact")

    tracks = {
        source: join(found, count=3, least_times=min(2, found.sizes["time"])) for source, found in each(centres).items()
    }
    name, followed = ("given", reference) if reference is not None else _reference(tracks)
    storms = {source: nearest(found, followed, within_km=within_km) for source, found in tracks.items()}
    if not any(np.isfinite(found.row).any() for found in storms.values()):
        raise NoStorm(
            "storm of the tree", found=f"none within {within_km:g} km of the track that was given", **NOT_FOUND
        )
    nodes = {"/": xr.Dataset(attrs={"reference": name})}
    for source, found in each(numbers).items():
        whole = xr.merge([storms[source], found], compat="override", join="exact")
        nodes[source] = whole.drop_vars([name for name in whole.coords if name not in ("time", "ensemble", "radius")])
    return xr.DataTree.from_dict(nodes)


def _fields(tree: xr.DataTree) -> dict[str, xr.Dataset]:
    """The fields of each source that has wind, in memory where all of them together are small."""
    found = {source: winds for source in SOURCES if (winds := fields_of(tree, source)) is not None}
    if not found:
        have = (
            ", ".join(str(name) for name in tree["prediction"].data_vars) if "prediction" in tree.children else "none"
        )
        raise DataError("storm of the tree", found=have, expected="u10 and v10", todo="open a tree with 10 m wind")
    if sum(winds.nbytes for winds in found.values()) > IN_MEMORY:
        return {source: winds.unify_chunks() for source, winds in found.items()}
    return dict(zip(found, dask.compute(*found.values()), strict=True))


def fields_of(tree: xr.DataTree, source: str) -> xr.Dataset | None:
    """Wind and what goes with it of a source, by the registry's names, with x, y, lat and lon; None without wind."""
    group = "prediction" if source == "mean" else source
    if group not in tree.children:
        return None
    names = names_of(tree[group])
    if not set(WIND) <= set(names):
        return None
    wanted = [name for name in (*WIND, PRESSURE, *OTHERS) if name in names]
    found = xr.Dataset({name: tree[group][names[name]] for name in wanted})
    root = tree.to_dataset(inherit=False)
    places = {name: root[name] for name in ("x", "y", "time") if name in root.coords}
    if all(name in root.variables and np.isfinite(root[name]).all() for name in ("lat", "lon")):
        places |= {name: root[name] for name in ("lat", "lon")}
    found = found.drop_vars(["lat", "lon"], errors="ignore").assign_coords(places)
    if source != "mean":
        return found
    return found.mean("ensemble", keep_attrs=True) if "ensemble" in found.dims else None


def _at_times(reference: xr.Dataset, times: xr.DataArray) -> xr.Dataset:
    """The reference at the times of the fields; DataError where it has no position at any of them."""
    found = reference.reindex(time=times.values)
    place = found.lat if "lat" in found else found.x
    if not np.isfinite(place).any():
        span = " to ".join(str(t)[:16] for t in (reference.time.values[0], reference.time.values[-1]))
        expected = f"a position between {str(times.values[0])[:16]} and {str(times.values[-1])[:16]}"
        todo = "choose the storm of these times, or interpolate the track to them"
        raise DataError("track of the storm to follow", found=f"one of {span}", expected=expected, todo=todo)
    return found


def _reference(tracks: dict[str, xr.Dataset]) -> tuple[str, xr.Dataset]:
    for source in REFERENCES:
        if source in tracks and np.isfinite(tracks[source].isel({TRACK: 0}).row).any():
            return source, tracks[source].isel({TRACK: 0})
    raise NoStorm("storm of the tree", found="no cyclone in truth, ensemble mean, regression or input", **NOT_FOUND)
