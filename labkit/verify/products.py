"""Products of an ensemble that forecasters know: fields out of its members, xarray in and out, lazy where the input is.

`members` are (ensemble, ..., y, x) in any order of dimensions; the result has the dimensions left. Where distances are
asked for, x and y are in km and evenly spaced, and every cell counts alike. A cell where a member is NaN is NaN, and
counts in no neighbourhood, pool or area.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.grid import SPACE
from labkit.verify.common import MEMBER
from labkit.verify.slabs import whole

SEVERITIES = ("area", "mean", "maximum")


def maximum(members: xr.DataArray) -> xr.DataArray:
    """The greatest member in each cell."""
    return members.max(MEMBER, skipna=False)


def minimum(members: xr.DataArray) -> xr.DataArray:
    """The smallest member in each cell."""
    return members.min(MEMBER, skipna=False)


def percentile(members: xr.DataArray, rank: float) -> xr.DataArray:
    """The percentile `rank`, 0 to 100, of the members in each cell, linear between them."""
    if not 0 <= rank <= 100:
        raise DataError("percentile", found=f"{rank:g}", expected="0 to 100", todo="name one of these")
    return whole(members, [MEMBER]).quantile(rank / 100, MEMBER, skipna=False).drop_vars("quantile")


def known_percentiles(values: np.ndarray, ranks: float | Sequence[float]) -> np.ndarray:
    """Percentiles, 0 to 100, of an array (member, ...) over those members that have a value, as a storm may be in some
    alone: (...), or (rank, ...) of several; NaN where no member has one."""
    known = np.isfinite(values).any(axis=0)
    return np.where(known, np.nanpercentile(np.where(known, values, 0.0), ranks, axis=0), np.nan)


def exceedance_probability(members: xr.DataArray, threshold: float) -> xr.DataArray:
    """Share of the members above the threshold in each cell, 0 to 1."""
    return (members > threshold).mean(MEMBER).where(members.notnull().all(MEMBER))


def neighbourhood_probability(members: xr.DataArray, threshold: float, *, radius_km: float) -> xr.DataArray:
    """Mean of the exceedance probability over the disc about each cell, 0 to 1 (Theis et al. 2005).

    How likely a place that is picked at random within `radius_km` is to be above the threshold; with 0 km it is the
    plain probability. Of a single field (without "ensemble") it is the fraction that the FSS compares. Near the edge
    the disc is what lies within the domain.
    """
    members = _with_members(members)
    known = members.notnull().all(MEMBER)
    count = (members > threshold).sum(MEMBER).where(known, 0)
    above, cells = (_disc_sum(field, radius_km) for field in (count, known))
    return (above / (members.sizes[MEMBER] * cells)).where(known)


def neighbourhood_maximum_probability(members: xr.DataArray, threshold: float, *, radius_km: float) -> xr.DataArray:
    """Share of the members that are above the threshold anywhere in the disc about each cell (Schwartz & Sobash 2017).

    How likely it is to happen within `radius_km`: never less than the probability in the cell, nor than
    `neighbourhood_probability`. Edges as there.
    """
    members = _with_members(members)
    known = members.notnull().all(MEMBER)
    return (_disc_sum((members > threshold) & known, radius_km) > 0).mean(MEMBER).where(known)


def probability_matched_mean(members: xr.DataArray) -> xr.DataArray:
    """The pattern of the mean with the amounts of the members (Ebert 2001): its maxima are not averaged away.

    The k-th largest of the domain's N means gives way to the mean of the k-th n of all n N member values in their
    order, so that the area mean stays what it was (Ebert takes every n-th value, which does not keep it).
    """
    return _over_space(_matched, members)


def local_probability_matched_mean(
    members: xr.DataArray, *, patch_km: float, halo_km: float | None = None
) -> xr.DataArray:
    """The probability-matched mean of each patch, so that rain here is not given the amounts of rain far away.

    Patches of about `patch_km` are matched with the `halo_km` about them (as much as the patch by default), of which
    the patch is kept (Snook et al. 2019).
    """
    spacing = _spacing(members)
    halo_km = patch_km if halo_km is None else halo_km
    patch, halo = ([round(length / d) for d in spacing] for length in (patch_km, halo_km))
    if min(patch) < 1 or min(halo) < 0:
        found = f"patches of {patch_km:g} km and {halo_km:g} km about them"
        expected = f"patches of at least a cell, {max(spacing):g} km, and nothing negative about them"
        raise DataError("local probability-matched mean", found=found, expected=expected, todo="choose larger ones")
    return _over_space(_locally_matched, members, patch=patch, halo=halo)


def severity(members: xr.DataArray, *, by: str, threshold: float | None = None) -> xr.DataArray:
    """How extreme each member's whole field is, (ensemble, ...): the "area" above the threshold as a share of the
    cells, 0 to 1, the area "mean" or the "maximum" in the variable's unit."""
    known = members.notnull().all(MEMBER)
    if by == "area" and threshold is not None:
        return (members > threshold).astype(np.float64).where(known).mean(SPACE)
    if by in ("mean", "maximum"):
        chosen = members.where(known)
        return chosen.mean(SPACE, dtype=np.float64) if by == "mean" else chosen.max(SPACE)
    found = f"{by!r}" + (" without a threshold" if by == "area" else "")
    raise DataError("severity of members", found=found, expected=", ".join(SEVERITIES), todo="name one of these")


def extreme_members(members: xr.DataArray, *, by: str, threshold: float | None = None) -> xr.DataArray:
    """The least and the most extreme member as they are: (extreme, ..., y, x), extreme "least" and "most".

    Extreme by `severity`, whose value is the coordinate `severity`; the coordinate "ensemble" says which member it is
    at each time. Of members that are alike the first is taken. Computes the severities.
    """
    values = severity(members, by=by, threshold=threshold).compute()
    filled = values.fillna(-np.inf)
    which = xr.concat([filled.argmin(MEMBER), filled.argmax(MEMBER)], "extreme")
    which = which.assign_coords(extreme=["least", "most"])
    return _numbered(members).isel({MEMBER: which}).assign_coords(severity=_numbered(values).isel({MEMBER: which}))


def disc(radius_km: float, spacing: tuple[float, float]) -> np.ndarray:
    """Which cells (y, x), odd in number each way, have their centre within `radius_km` of the middle one's.

    spacing: of the grid along y and x in km.
    """
    if not (np.isfinite(radius_km) and radius_km >= 0):
        raise DataError("radius", found=f"{radius_km:g} km", expected="0 km or more", todo="choose a larger one")
    reach = radius_km * (1 + 1e-9)
    y, x = (np.arange(-int(reach // d), int(reach // d) + 1) * d for d in spacing)
    return np.hypot(y[:, None], x) <= reach


def _with_members(field: xr.DataArray) -> xr.DataArray:
    return field if MEMBER in field.dims else field.expand_dims(MEMBER)


def _numbered(members: xr.DataArray) -> xr.DataArray:
    return members if MEMBER in members.coords else members.assign_coords({MEMBER: np.arange(members.sizes[MEMBER])})


def _spacing(field: xr.DataArray) -> tuple[float, float]:
    """Grid spacing along y and x in km; DataError without coordinates, or where they are not evenly spaced."""
    return tuple(_even(field, axis) for axis in SPACE)


def _even(field: xr.DataArray, axis: str) -> float:
    steps = np.diff(np.asarray(field[axis].values, float)) if axis in field.coords else np.array([])
    if not (steps.size and np.allclose(steps, steps.mean(), rtol=1e-3) and steps.mean()):
        found = f"steps from {steps.min():g} to {steps.max():g}" if steps.size else "none"
        todo = "give the field its coordinates x and y in km"
        raise DataError(f"{axis} of a neighbourhood", found=found, expected="evenly spaced cells", todo=todo)
    return abs(float(steps.mean()))


def _disc_sum(counts: xr.DataArray, radius_km: float) -> xr.DataArray:
    """Sum of whole numbers over the disc about each cell."""
    spacing = _spacing(counts)
    if radius_km < min(spacing):
        return counts.astype(np.float64)
    lengths = [counts.sizes[axis] * d for axis, d in zip(SPACE, spacing, strict=True)]
    kernel = disc(min(radius_km, float(np.hypot(*lengths))), spacing)
    return _over_space(_convolved, counts, member=False, kernel=kernel)


def _convolved(counts: np.ndarray, *, kernel: np.ndarray) -> np.ndarray:
    kernel = kernel.astype(float).reshape((1,) * (counts.ndim - 2) + kernel.shape)
    # Sums of whole numbers are whole: what the transforms leave beside them is rounding, and undone.
    from scipy.signal import fftconvolve  # half a second, which most products need not wait for

    return np.rint(fftconvolve(counts.astype(float), kernel, mode="same", axes=(-2, -1)))


def _over_space(work: Callable, field: xr.DataArray, *, member: bool = True, **options) -> xr.DataArray:
    """`work` on arrays ([ensemble,] y, x): of one time and the like after the other if they have members."""
    core = [MEMBER, *SPACE] if member else list(SPACE)
    return xr.apply_ufunc(
        work,
        whole(field, core),
        kwargs=options,
        input_core_dims=[core],
        output_core_dims=[list(SPACE)],
        vectorize=member,
        dask="parallelized",
        output_dtypes=[np.result_type(field.dtype, np.float32) if member else np.float64],
        keep_attrs=True,
    )


def _matched(members: np.ndarray) -> np.ndarray:
    """members (n, y, x): `probability_matched_mean`."""
    known = np.isfinite(members).all(axis=0)
    values = members[:, known]
    pooled = np.sort(values, axis=None).reshape(-1, len(members)).mean(axis=1, dtype=np.float64)
    matched = np.empty_like(pooled)
    matched[np.argsort(values.mean(axis=0, dtype=np.float64), kind="stable")] = pooled
    field = np.full(known.shape, np.nan, np.result_type(members.dtype, np.float32))
    field[known] = matched
    return field


def _locally_matched(members: np.ndarray, *, patch: list[int], halo: list[int]) -> np.ndarray:
    """members (n, y, x): `_matched` of each patch with its halo, both in cells (y, x)."""
    field = np.empty(members.shape[1:], np.result_type(members.dtype, np.float32))
    spans = [_spans(n, p, h) for n, p, h in zip(field.shape, patch, halo, strict=True)]
    for y, outer_y, inner_y in spans[0]:
        for x, outer_x, inner_x in spans[1]:
            field[y, x] = _matched(members[:, outer_y, outer_x])[inner_y, inner_x]
    return field


def _spans(n: int, patch: int, halo: int) -> list[tuple[slice, slice, slice]]:
    """Along one axis: each patch, the same with its halo, and where the patch lies in that."""
    edges = np.linspace(0, n, max(round(n / patch), 1) + 1).round().astype(int).tolist()
    spans = []
    for a, b in pairwise(edges):
        low, high = max(a - halo, 0), min(b + halo, n)
        spans.append((slice(a, b), slice(low, high), slice(a - low, b - low)))
    return spans
