"""What a half-written output tree was asked to hold, so that a later run can tell whether it is its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.store.tree_assembly import plain

ARRAY_DIMS = ("time", "channel", "y", "x")
_VOLATILE = ("history", "created")


def make_request(
    truth: xr.DataArray, inputs: xr.DataArray, seeds: Sequence[int], attrs: Mapping, with_oracle: bool
) -> dict:
    """The request as plain JSON: names, times, seeds, grid, attributes, and a fingerprint of the truth."""
    return {
        "format": 1,
        "channels": channel_names(truth),
        "input_channels": channel_names(inputs),
        "times": [str(time) for time in times_of(truth)],
        "shape": [int(truth.sizes[axis]) for axis in "yx"],
        "seeds": [int(seed) for seed in seeds],
        "with_oracle": bool(with_oracle),
        "attrs": {name: plain(value) for name, value in attrs.items() if name not in _VOLATILE},
        "fingerprint": _fingerprint(truth),
    }


def differences(found: Mapping, wanted: Mapping) -> list[str]:
    """What two requests differ in, by name; fingerprints may differ by rounding."""
    if not isinstance(found, Mapping):
        raise ValueError(f"a {type(found).__name__}")
    other = [name for name in wanted if name not in ("fingerprint", "attrs") and found.get(name) != wanted[name]]
    have, want = found.get("attrs", {}), wanted["attrs"]
    other += [f"attrs.{name}" for name in sorted({*have, *want}) if have.get(name) != want.get(name)]
    marks = [np.array(request.get("fingerprint", []), float) for request in (found, wanted)]
    if marks[0].shape != marks[1].shape or not np.allclose(*marks, rtol=1e-4, atol=1e-6, equal_nan=True):
        other.append("the truth")
    return other


def check_fields(what: str, truth: xr.DataArray, fields: Mapping[str, xr.DataArray]) -> None:
    """Raises DataError unless all fields are (time, channel, y, x) on the truth's times and grid."""
    for name, array in fields.items():
        sizes = {dim: (array.sizes.get(dim), truth.sizes.get(dim)) for dim in ("time", "y", "x")}
        names = channel_names(array) if "channel" in array.dims else []
        if set(array.dims) != set(ARRAY_DIMS) or any(a != b for a, b in sizes.values()):
            found, expected = f"{name} over {dict(array.sizes)}", f"{ARRAY_DIMS} on the truth's {dict(truth.sizes)}"
        elif len(set(names)) < len(names):
            found, expected = f"{name} channels {', '.join(names)}", "each name once"
        elif name == "interpolation" and names != channel_names(truth):
            found, expected = f"interpolation of {', '.join(names)}", f"{', '.join(channel_names(truth))}, as the truth"
        else:
            continue
        raise DataError(what, found=found, expected=expected, todo="select the same times and regrid to the fine grid")


def units_of(array: xr.DataArray) -> dict[str, str]:
    """Units by channel, where the coordinate `units` along it tells them."""
    told = np.atleast_1d(array["units"].values) if "units" in array.coords else []
    return dict(zip(channel_names(array), map(str, told), strict=False))


def channel_names(array: xr.DataArray) -> list[str]:
    """Names of the channels, in order."""
    return [str(name) for name in array.channel.values]


def times_of(truth: xr.DataArray) -> np.ndarray:
    """The truth's times, or the numbers of its cases where it has none."""
    return truth.time.values if "time" in truth.coords else np.arange(truth.sizes["time"])


def _fingerprint(truth: xr.DataArray) -> list:
    """Mean and standard deviation of each channel at the first and last time; None where nothing was observed."""
    ends = truth.transpose(*ARRAY_DIMS).isel(time=[0, -1]).values.astype(float)
    ends = ends.reshape(*ends.shape[:2], -1)
    seen = [cells[np.isfinite(cells)] for time in ends for cells in time]
    return [[float(cells.mean()), float(cells.std())] if cells.size else [None, None] for cells in seen]
