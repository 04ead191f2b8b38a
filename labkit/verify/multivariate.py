"""Scores of whole patterns and of several variables together: energy score and variogram score.

The CRPS of each cell knows nothing of how cells or variables belong together; these do. Formulas and estimators are
those of `scoringrules`, which needs members^2 x cells of memory; here a field's cells may be many, or NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import xarray as xr
from scipy.spatial.distance import pdist

from labkit.errors import DataError
from labkit.grid import SPACE
from labkit.verify.scores import MEMBER, anomalies
from labkit.verify.slabs import whole

ESTIMATORS = ("fair", "nrg")


def energy_score(
    members: xr.DataArray,
    truth: xr.DataArray,
    *,
    dims: Sequence[str] = SPACE,
    scale: xr.DataArray | float = 1.0,
    estimator: str = "fair",
) -> xr.DataArray:
    """Energy score (Gneiting & Raftery 2007) of the vectors along `dims`, e.g. ("y", "x") or ("variable", "y", "x").

    E|X - y| - E|X - X'| / 2 with the root *mean* square of the vector for its length, so that the figure is in the
    unit of the variable whatever the size of the domain, and equals the CRPS of a single cell; times the root of the
    number of cells it is that of scoringrules. scale: divides values first, so that variables of unlike units count
    alike (their climatological standard deviations). estimator: "fair" for any number of members from 2, or "nrg".
    Cells that are NaN in the truth or any member are left out. Lazy where the input is.
    """
    return _over_vectors(_energy, members, truth, dims, scale, estimator)


def variogram_score(
    members: xr.DataArray,
    truth: xr.DataArray,
    *,
    reach_km: float,
    spacing_km: tuple[float, float],
    p: float = 0.5,
    estimator: str = "fair",
) -> xr.DataArray:
    """Variogram score of order p (Scheuerer & Hamill 2015) of fields (y, x), in the unit to the power 2 p.

    Mean over all pairs of cells up to `reach_km` apart, weighted by one over their distance, of the squared difference
    between |y_i - y_j|^p and its mean over the members: blind to a bias, sharp for wrong roughness. spacing_km: grid
    spacing along y and x. Pairs with a NaN are left out. It is that of scoringrules over the sum of its weights.
    """
    reach = _offsets(reach_km, spacing_km)
    return _over_vectors(_variogram, members, truth, SPACE, 1.0, estimator, offsets=reach, p=p)


def variogram_score_between(
    members: xr.DataArray,
    truth: xr.DataArray,
    *,
    dim: str = "variable",
    scale: xr.DataArray | float = 1.0,
    p: float = 0.5,
    estimator: str = "fair",
) -> xr.DataArray:
    """Variogram score of order p of the vectors along one short dimension, all pairs weighted alike: (those left).

    With `scale` for variables of unlike units, e.g. wind and temperature in each cell. NaN where any value is.
    """
    return _over_vectors(_variogram_between, members, truth, [dim], scale, estimator, p=p)


def _over_vectors(work, members, truth, dims, scale, estimator, **options) -> xr.DataArray:
    """`work` on arrays (..., member, *dims) of members and (..., *dims) of truth, block by block."""
    if estimator not in ESTIMATORS:
        raise DataError("estimator", found=repr(estimator), expected=" or ".join(ESTIMATORS), todo="name one")
    n = members.sizes.get(MEMBER, 0)
    if n < 2 and estimator == "fair":
        raise DataError("fair score", found=f"{n} members", expected="2 or more", todo='take estimator="nrg"')
    anomalies(members, truth)  # refuses cells and times that differ
    core = [[MEMBER, *dims], [*dims]]
    fields = map(whole, (members / scale, truth / scale), core)
    return xr.apply_ufunc(
        work,
        *fields,
        kwargs={"fair": estimator == "fair", "axes": len(dims), **options},
        input_core_dims=core,
        dask="parallelized",
        output_dtypes=[np.float64],
    )


def _energy(members: np.ndarray, truth: np.ndarray, *, fair: bool, axes: int) -> np.ndarray:
    """One case after the other, so that memory grows with members^2 + members x cells."""
    lead = truth.shape[: truth.ndim - axes]
    cells, n = int(np.prod(truth.shape[-axes:])), members.shape[-axes - 1]
    rows = zip(members.reshape(-1, n, cells), truth.reshape(-1, cells), strict=True)
    return np.array([_energy_of(x.astype(np.float64), y.astype(np.float64), fair) for x, y in rows]).reshape(lead)


def _energy_of(x: np.ndarray, y: np.ndarray, fair: bool) -> float:
    """x (member, cell), y (cell)."""
    known = np.isfinite(y) & np.isfinite(x).all(axis=0)
    if not known.any():
        return np.nan
    x, y, n = x[:, known], y[known], len(x)
    pairs = n * (n - 1) if fair else n * n
    length = np.sqrt(known.sum())
    return (np.linalg.norm(x - y, axis=1).mean() - pdist(x).sum() / pairs) / length


def _variogram(members, truth, *, fair: bool, axes: int, offsets: list[tuple[int, int, float]], p: float) -> np.ndarray:
    """members (..., member, y, x), truth (..., y, x): each offset (dy, dx, weight) shifts whole fields."""
    score, total = 0.0, 0.0
    for dy, dx, weight in offsets:
        near, far = (_shifted(truth.shape[-2:], sign * dy, sign * dx) for sign in (1, -1))
        terms = _pair_terms(members[near], members[far], truth[near], truth[far], p, fair, member_axis=-3)
        known = np.isfinite(terms)
        score = score + weight * np.where(known, terms, 0.0).sum((-2, -1))
        total = total + weight * known.sum((-2, -1))
    return np.divide(score, total, out=np.full(np.shape(score), np.nan), where=total > 0)


def _variogram_between(members: np.ndarray, truth: np.ndarray, *, fair: bool, axes: int, p: float) -> np.ndarray:
    """members (..., member, variable), truth (..., variable)."""
    pairs = list(combinations(range(truth.shape[-1]), 2))
    terms = [
        _pair_terms(members[..., i], members[..., j], truth[..., i], truth[..., j], p, fair, member_axis=-1)
        for i, j in pairs
    ]
    return sum(terms) / len(terms)


def _pair_terms(x_i, x_j, y_i, y_j, p: float, fair: bool, *, member_axis: int) -> np.ndarray:
    """Squared difference of the variograms of order p. The mean of n members misses that of the law by variance / n on
    average: taken off, that is the fair estimator (its double sum over members in closed form)."""
    of_members = np.abs(x_i.astype(np.float64) - x_j) ** p
    terms = (of_members.mean(member_axis) - np.abs(y_i.astype(np.float64) - y_j) ** p) ** 2
    if fair:
        terms -= of_members.var(member_axis, ddof=1) / of_members.shape[member_axis]
    return terms


def _shifted(shape: tuple[int, int], dy: int, dx: int) -> tuple:
    """Slices (..., y, x) of the cells that have a neighbour dy, dx away within the field."""
    spans = [slice(max(-d, 0), max(n - max(d, 0), 0)) for n, d in zip(shape, (dy, dx), strict=True)]
    return (..., *spans)


def _offsets(reach_km: float, spacing_km: tuple[float, float]) -> list[tuple[int, int, float]]:
    """Offsets (dy, dx) in cells within reach, one of each opposite two, with one over their length in km."""
    reach = reach_km * (1 + 1e-9)
    most = [int(reach // d) for d in spacing_km]
    half = [(dy, dx) for dy in range(most[0] + 1) for dx in range(-most[1], most[1] + 1) if dy > 0 or dx > 0]
    lengths = [float(np.hypot(dy * spacing_km[0], dx * spacing_km[1])) for dy, dx in half]
    offsets = [(dy, dx, 1 / r) for (dy, dx), r in zip(half, lengths, strict=True) if r <= reach]
    if not offsets:
        found, expected = f"a reach of {reach_km:g} km", f"at least a cell, {min(spacing_km):g} km"
        raise DataError("variogram score", found=found, expected=expected, todo="choose a longer one")
    return offsets
