"""Small output trees for tests: a file as CorrDiff writes it, and a writer of ours to be filled."""

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from labkit.store.tree_writer import TreeWriter
from labkit.store.trees import FIELD_DIMS, MEMBER_DIMS

TIMES, MEMBERS, NY, NX = 3, 4, 6, 8

FORMATS = pytest.mark.parametrize("suffix", [".nc", ".zarr"])


def fields(*lead, seed=0):
    return np.random.default_rng(seed).standard_normal((*lead, NY, NX)).astype(np.float32)


def corrdiff_file(path, *, groups=("input", "truth", "prediction"), dims=MEMBER_DIMS, lat=None, lon=None, names=None):
    """A NetCDF file as CorrDiff's generate.py lays it out: no units, no coordinates but lat, lon and time."""
    sizes = {"time": TIMES, "ensemble": MEMBERS, "y": NY, "x": NX}
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", None)
        file.createDimension("ensemble", None)
        file.createDimension("x", NX)
        file.createDimension("y", NY)
        for name, values in (("lat", lat), ("lon", lon)):
            file.createVariable(name, "f4", ("y", "x"))[:] = np.nan if values is None else values
        hours = file.createVariable("time", "i8", ("time",))
        hours.setncatts({"units": "hours since 1990-01-01 00:00:00", "calendar": "standard"})
        hours[:] = 24 + np.arange(TIMES)
        file.cfg = "{'__import__': 'os'}"
        for group in groups:
            over = dims if group == "prediction" else FIELD_DIMS
            for k, name in enumerate((names or {}).get(group, ("10u", "10v"))):
                values = fields(MEMBERS, TIMES, seed=k) if group == "prediction" else fields(TIMES, seed=10 + k)
                full = xr.DataArray(values, dims=MEMBER_DIMS if group == "prediction" else FIELD_DIMS)
                laid = full.isel({d: 0 for d in full.dims if d not in over}).transpose(*over)
                assert laid.shape == tuple(sizes[d] for d in over)
                file.createGroup(group).createVariable(name, "f4", over)[:] = laid.values
    return path


def channels(names, *, seed=0, times=TIMES):
    coords = {
        "time": pd.date_range("2021-09-12", periods=times, freq="5min"),
        "channel": list(names),
        "y": ("y", np.arange(NY) * 2.0),
        "x": ("x", np.arange(NX) * 3.0 - 5),
        "lat": (("y", "x"), 20 + np.zeros((NY, NX), "f4") + np.arange(NY, dtype="f4")[:, None] * 2 / 111.2),
        "lon": (("y", "x"), 120 + np.zeros((NY, NX), "f4") + np.arange(NX, dtype="f4") * 3 / 104.5),
    }
    values = (
        fields(times, len(names), seed=seed) + np.float32(280) * np.array([n == "t2m" for n in names])[:, None, None]
    )
    return xr.DataArray(values, coords, ("time", "channel", "y", "x"))


def writer(path, **options):
    truth = channels(["t2m", "u10"])
    given = {
        "truth": truth,
        "inputs": channels(["t850", "orography", "tcwv"], seed=1),
        "interpolation": channels(["t2m", "u10"], seed=2),
        "seeds": [7, 8, 9],
        "attrs": {"solver": "heun", "title": "<script>alert(1)</script>"},
    }
    return TreeWriter(path, **(given | options))


def member(time_index, number):
    return fields(2, seed=100 + 10 * time_index + number)


def fill(output, keys=None):
    for key in output.missing() if keys is None else keys:
        assert output.write_member(*key, member(*key))
    return output
