"""Output trees with a storm that is known: where each source's vortex is, how strong and how wide, hour by hour."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from explorer_parts import FakeModels
from synthetic_tree import write_tree
from vortices import Vortex, axes, fields

from apps.parts.library import Library
from labkit.store.registry import Registry

N, DX_KM, HOURS, MEMBERS = 64, 4.0, 4, 3
TIMES = np.datetime64("2021-09-12T00", "ns") + np.arange(HOURS) * np.timedelta64(1, "h")
# East, north of the truth's centre (km), vmax (m/s), rmw (km); one entry a member.
ASIDE = {
    "truth": [(0.0, 0.0, 40.0, 28.0)],
    "regression": [(4.0, -6.0, 30.0, 40.0)],
    "interpolation": [(-5.0, 8.0, 24.0, 52.0)],
    "prediction": [(8.0, 3.0, 37.0, 30.0), (-6.0, 9.0, 40.0, 28.0), (2.0, -10.0, 43.0, 26.0)],
    "oracle": [(5.0, -4.0, 38.0, 29.0), (-7.0, -2.0, 41.0, 27.0), (1.0, 8.0, 44.0, 25.0)],
}


def centre(hour: int) -> tuple[float, float]:
    """x, y of the truth's centre in km: north of the middle, going west, slowly north; no symmetry hides a flip."""
    return 36.0 - 18.0 * hour, 20.0 + 4.0 * hour


def place(source: str, hour: int, member: int = 0) -> tuple[float, float]:
    """x, y of the centre of a source in km."""
    east, north, _, _ = ASIDE[source][member]
    x, y = centre(hour)
    return x + east, y + north


def storm_tree(
    *,
    hours: int | tuple[int, ...] = HOURS,
    times: np.ndarray | None = None,
    shape: tuple[int, int] = (N, N),
    storm: bool = True,
    without: tuple[str, ...] = (),
    absent: tuple[tuple[str, int], ...] = (),
    known_place: bool = True,
    names: Sequence = tuple(range(MEMBERS)),
) -> xr.DataTree:
    """u10, v10, msl, t2m of every source, in the axes of labkit's trees.

    hours: how many, or which. times: what stands in the tree for them. without: sources that the tree lacks. absent:
    (source, member) that have no vortex. known_place: whether there are latitudes. names: of the members.
    """
    hours = range(hours) if isinstance(hours, int) else hours
    y, x = axes(shape, DX_KM)
    lat, lon = 23.5 + y[:, None] / 111.2 + 0 * x, 121.0 + x / (111.2 * np.cos(np.deg2rad(23.5))) + 0 * y[:, None]
    lat, lon = (part if known_place else np.full(shape, np.nan) for part in (lat, lon))
    times = TIMES[0] + np.array(hours) * np.timedelta64(1, "h") if times is None else times
    coords = {"time": times, "ensemble": list(names)}
    coords |= {"y": ("y", y, {"units": "km"}), "x": ("x", x, {"units": "km"})}
    coords |= {"lat": (("y", "x"), lat), "lon": (("y", "x"), lon)}
    nodes = {"/": xr.Dataset(coords=coords, attrs={"title": "a known vortex"})}
    for source, aside in ASIDE.items():
        if source in without:
            continue
        there = [storm and (source, k) not in absent for k in range(len(aside))]
        members = [_member(source, k, hours, shape, there[k]) for k in range(len(aside))]
        nodes[f"/{source}"] = xr.concat(members, "ensemble") if len(members) > 1 else members[0]
    return xr.DataTree.from_dict(nodes)


def _member(source: str, k: int, hours: Iterable[int], shape: tuple[int, int], there: bool) -> xr.Dataset:
    _, _, vmax, rmw = ASIDE[source][k]
    steps = []
    for hour in hours:
        x, y = place(source, hour, k)
        vortices = [Vortex(x, y, vmax=vmax, rmw=rmw)] if there else []
        step = fields(*vortices, shape=shape, dx=DX_KM, flow=(-2.0, 1.0))
        gy, gx = np.meshgrid(*axes(shape, DX_KM), indexing="ij")
        warm = 298 + 4 * there * np.exp(-(((gx - x) / rmw) ** 2) - ((gy - y) / rmw) ** 2)
        steps.append(step.assign(t2m=(("y", "x"), warm.astype(np.float32))))
    return xr.concat(steps, "time").drop_vars(["x", "y"])


def library(folder: Path, trees: dict[str, xr.DataTree] | None = None) -> Library:
    """A library of the trees by file name; by default one, `storm`."""
    trees = trees or {"storm": storm_tree()}
    files = [write_tree(folder / f"{name}.nc", tree) for name, tree in trees.items()]
    return Library(Registry(files, bundled=False), models=FakeModels())


def table_of(explorer) -> pd.DataFrame:
    """The table beside the tracks: cells as text by source and column."""
    rows = re.findall(r"<tr>(.*?)</tr>", explorer.views["track"].table.object)
    cells = [
        [html.unescape(re.sub("<.*?>", " ", c)).strip() for c in re.findall(r"<t[hd]>(.*?)</t[hd]>", r)] for r in rows
    ]
    return pd.DataFrame([c[1:] for c in cells[1:]], [c[0].lstrip("● ") for c in cells[1:]], cells[0][1:])


def best_track_table(*, name: str = "KNOWN", east_km: float = 0.0, hours=(-6, 0, 6)) -> str:
    """A plain table of the truth's storm, so far east of it: 80 knots, 960 hPa at first; an hour brings -2 and +1."""
    lines = ["track_id,name,time,lat,lon,wind,slp"]
    for hour in hours:
        x, y = centre(hour)
        lat, lon = 23.5 + y / 111.2, 121.0 + (x + east_km) / (111.2 * np.cos(np.deg2rad(23.5)))
        time = str(TIMES[0] + hour * np.timedelta64(1, "h"))[:19].replace("T", " ")
        lines.append(f"2021001,{name},{time},{lat:.4f},{lon:.4f},{80 - 2 * hour},{960 + hour}")
    return "\n".join(lines) + "\n"
