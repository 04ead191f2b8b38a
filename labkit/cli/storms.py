"""The terminal's verb of storms: `labkit track`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from labkit.cli.told import add_told, told, warn

TRACK_HELP = """\
Follow a cyclone through every source and member of an output tree, or through WRF output.

  labkit track ensemble.nc                                 the storm of the truth, in input, regression, members, oracle
  labkit track ensemble.nc --csv storm.csv                 a line for each source, member and time
  labkit track ensemble.nc --netcdf storm.nc               numbers and profiles around the centre, to be read again
  labkit track ensemble.nc --case soudelor-2015            the storm of the catalogue, by its best track
  labkit track ensemble.nc --best-track bwp132015.dat --storm SOUDELOR     one of a best-track file
  labkit track wrfout_d02_2005-08-28_12:00:00              centres, pressure and wind in model output

In the CSV winds are in m/s, pressure in Pa, distances in km, positions in degrees; empty: not found.
Prints for each time the highest 10 m wind [m/s] and its radius [km]: of ensembles the median over the members that have
the storm, and how many do. With a best track also how far away the centre is. Model winds are those of the model's time
step; best tracks have 1-minute or 10-minute means, which the output names and never mixes.
"""
MODEL = "model"  # what WRF output is called
SHOWN = (MODEL, "truth", "interpolation", "regression", "prediction", "oracle")
SAMPLED, FAR_KM = 400, 1000  # of the fields' places so many are looked at
HEADS = {"interpolation": "input", "prediction": "members"}


def add_verb(add) -> None:
    """Add the verb by `add(name, summary, help, function)`, which gives a parser."""
    track = add("track", "follow a cyclone", TRACK_HELP, _track)
    track.add_argument("files", nargs="+", metavar="FILE", help="an output tree, or wrfout files")
    add_told(track)
    track.add_argument("--case", help="a case of the catalogue, whose best track is followed")
    track.add_argument("--cases", type=Path, help="a file of further cases")
    track.add_argument(
        "--best-track", type=Path, help="IBTrACS (CSV, NetCDF), b-deck, HURDAT2, RSMC Tokyo or StitchNodes file"
    )
    track.add_argument("--storm", help="its id or name in that file")
    track.add_argument("--agency", help="whose, of IBTrACS or a table that does not say: usa, jtwc, tokyo, cma ...")
    track.add_argument("--columns", help="of StitchNodes' text: its --in_fmt, as in lon,lat,slp,wind")
    track.add_argument("--csv", type=Path, help="also write all numbers as CSV")
    track.add_argument("--netcdf", type=Path, help="also write numbers and profiles as NetCDF")


def _track(options: argparse.Namespace) -> None:
    from labkit.verify.cyclones.study import NoStorm
    from labkit.verify.cyclones.tables import long_table

    _check_outputs(options)
    storm = _best_track(options)
    tree, known = _opened(options.files, options)
    reference = _at_times(storm, tree["time"].values) if storm is not None else None
    if reference is not None:
        _check_place(reference, known["lat"], known["lon"])
    try:
        found = _studied(tree, reference, known)
    except NoStorm as none:
        print(f"No storm: {none.found}. What counts as one: {none.expected}.")
        return
    print(_summary(found, known["times"], reference).to_string(index=False, na_rep="-"))
    if coarse := _coarse(found):
        print(coarse)
    if reference is not None:
        said = f"{storm.agency}, winds {storm.averaging}"
        print(f"best track: {reference.attrs['name'] or reference.attrs['storm']} ({said})")
    if options.csv is not None:
        long_table(found, known["times"]).to_csv(options.csv, index=False, float_format="%.7g")
    if options.netcdf is not None:
        found.to_netcdf(options.netcdf)


def _check_outputs(options: argparse.Namespace) -> None:
    """Whether what is asked for can be done, before the work."""
    from labkit.border import existing
    from labkit.errors import ConfigError

    if options.case and options.best_track:
        found, todo = "--case and --best-track", "leave one of them out"
        raise ConfigError("best track", found=found, expected="one of the two", todo=todo)
    for path in (options.csv, options.netcdf):
        if path is not None and not path.parent.is_dir():
            found, todo = f"no folder {path.parent}", "make it first, or write elsewhere"
            raise ConfigError(f"output {path.name}", found=found, expected="a folder", todo=todo)
    for path in (options.best_track, options.cases, *options.files):
        if path is not None:
            existing(path, Path(path).name, folder=str(path) in options.files)


def _best_track(options: argparse.Namespace):
    from labkit.data.cases import best_track, case
    from labkit.data.tracks.best_tracks import read_best_tracks
    from labkit.errors import ConfigError

    if options.case:
        return best_track(case(options.case, options.cases))
    if options.best_track is None:
        if options.storm or options.agency:
            given = "--storm" if options.storm else "--agency"
            todo = "name the file with --best-track, or a case with --case"
            raise ConfigError("best track", found=f"{given} without a file", expected="--best-track FILE", todo=todo)
        return None
    columns = options.columns.split(",") if options.columns else None
    tracks = read_best_tracks(options.best_track, agency=options.agency, columns=columns)
    if tracks.notice:
        print(f"{options.best_track.name}: {tracks.notice}", file=sys.stderr)
    if options.storm:
        return tracks.storm(options.storm)
    if len(tracks) > 1:
        found, todo = f"{len(tracks)} storms in {options.best_track.name}", "name it with --storm"
        raise ConfigError("best track", found=found, expected="one storm", todo=todo)
    return tracks


def _at_times(storm, times):
    """The best track at the times of the fields; DataError where it has none of them."""
    import numpy as np

    from labkit.data.tracks.best_tracks import track
    from labkit.errors import DataError

    reference = track(storm, times)
    if not np.isfinite(reference.lat).any():
        own = storm.one().table.time
        raise DataError(
            f"best track of {reference.attrs['name'] or reference.attrs['storm']}",
            found=f"one from {own.min():%Y-%m-%d %H} to {own.max():%Y-%m-%d %H} UTC",
            expected=f"a position between {str(times[0])[:16]} and {str(times[-1])[:16]}",
            todo="choose the storm of these times",
        )
    return reference


def _check_place(reference, lat, lon) -> None:
    """DataError where a best track passes nowhere near the fields, whose places in degrees may be unknown."""
    import numpy as np

    from labkit.errors import DataError
    from labkit.sphere import distance_km

    known = np.isfinite(reference.lat.values)
    rows = np.column_stack([np.ravel(lat), np.ravel(lon)])[:: max(1, np.size(lat) // SAMPLED)]
    if not np.isfinite(rows).all():
        return
    there = np.column_stack([reference.lat.values[known], reference.lon.values[known]])
    apart = distance_km(rows[:, None, 0], rows[:, None, 1], there[:, 0], there[:, 1]).min()
    if apart > FAR_KM:
        raise DataError(
            f"best track of {reference.attrs['name'] or reference.attrs['storm']}",
            found=f"one that comes no nearer than {apart:.0f} km to the fields",
            expected=f"a storm within {FAR_KM} km of {rows[:, 0].min():.0f} to {rows[:, 0].max():.0f} N, "
            f"{rows[:, 1].min():.0f} to {rows[:, 1].max():.0f} E",
            todo="choose the storm of this place",
        )


def _opened(files: list[str], options: argparse.Namespace):
    """An output tree, and what is known of it; WRF output as a tree with one source, the "model"."""
    import numpy as np
    import xarray as xr

    from labkit.store.trees import open_tree
    from labkit.verify.cyclones.tracks import valid_times

    if _is_wrf(files[0]):
        from labkit.data.wrf import open_wrfout

        fields = open_wrfout(files)
        return xr.DataTree.from_dict({f"/{MODEL}": fields, "/": xr.Dataset(coords={"time": fields.time})}), {
            "times": fields.time.values,
            "fields": fields,
            "lat": fields.lat.values,
            "lon": fields.lon.values,
        }
    if len(files) > 1:
        from labkit.errors import ConfigError

        raise ConfigError("output tree", found=f"{len(files)} files", expected="one", todo="track one after the other")
    tree = open_tree(files[0], **told(options))
    warn(tree)
    tree.dataset = tree.to_dataset(inherit=False).assign_coords(time=valid_times(tree["time"].values))
    return tree, {"times": np.atleast_1d(tree["time"].values), "lat": tree.lat.values, "lon": tree.lon.values}


def _is_wrf(file: str) -> bool:
    import netCDF4

    try:
        with netCDF4.Dataset(file) as opened:
            return "XLAT" in opened.variables
    except (OSError, RuntimeError):
        return False  # whatever it is, `open_tree` says what is wrong with it


def _studied(tree, reference, known):
    import numpy as np
    import xarray as xr
    from tqdm.auto import tqdm

    from labkit.verify.cyclones import WEAK, find, intensity, join, nearest, study
    from labkit.verify.cyclones.study import NOT_FOUND, NoStorm

    if "fields" in known:
        fields = known["fields"]
        tracks = join(find(fields, count=2, limits=WEAK), count=2, gap_h=12, least_times=min(2, fields.sizes["time"]))
        storm = tracks.isel(track=0) if reference is None else nearest(tracks, reference)
        if not np.isfinite(storm.row).any():
            raise NoStorm("storm of the model", found="no cyclone in its wind", **NOT_FOUND)
        found = xr.merge([storm, intensity(fields, storm).compute()], compat="override", join="exact")
        return xr.DataTree.from_dict({f"/{MODEL}": found})
    with tqdm(total=None, desc="following the storm", unit=" steps") as bar:

        def step(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return study(tree, reference=reference, progress=step)


def _summary(found, times, reference):
    """A line for each time: wind, radius and position by source, how many members have the storm."""
    import numpy as np
    import pandas as pd

    from labkit.verify.cyclones import track_error

    table = {"time": pd.DatetimeIndex(times).strftime("%Y-%m-%d %H:%M") if _dated(times) else times}
    for source in SHOWN:
        if source not in found.children:
            continue
        group, head = found[source].to_dataset(), HEADS.get(source, source)
        members = "ensemble" in group.dims
        middle = group.median("ensemble", skipna=True) if members else group
        table[f"{head} m/s"] = middle.max_wind.values.round(1)
        table[f"{head} km"] = middle.rmw.values.round(0)
        if "min_pressure" in middle and np.isfinite(middle.min_pressure).any():
            table[f"{head} hPa"] = (middle.min_pressure.values / 100).round(1)
        if members:
            table[f"{head} with"] = np.isfinite(group.row).sum("ensemble").values
        if source in (MODEL, "truth") and not members and np.isfinite(middle.lat).any():
            table["lat"], table["lon"] = middle.lat.values.round(2), middle.lon.values.round(2)
        if reference is not None:
            apart = track_error(group, reference)
            table[f"{head} off km"] = (apart.median("ensemble") if members else apart).values.round(0)
    if reference is not None:
        table["best track m/s"] = reference.wind.values.round(1)
    return pd.DataFrame(table)


def _coarse(found) -> str:
    """What the size of the cells leaves open of the radii of maximum wind, where it is more than a sixth of one."""
    import numpy as np

    groups = [group.to_dataset() for group in found.children.values()]
    wide = [float(group.rmw_error.where(group.rmw_error > group.rmw / 6).max()) for group in groups]
    if not np.isfinite(wide).any():
        return ""
    return f"radius of maximum wind: off by up to {np.nanmax(wide):.0f} km, half a cell, where cells are so coarse"


def _dated(times) -> bool:
    import numpy as np

    return np.issubdtype(np.asarray(times).dtype, np.datetime64)
