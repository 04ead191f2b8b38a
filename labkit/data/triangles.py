"""Linear interpolation between grids that do not nest, such as latitudes and longitudes under a map: once worked out,
a sum of three values for each cell."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.spatial import Delaunay, QhullError

from labkit.data.grids import cell_spacing
from labkit.data.regrid import block_mean
from labkit.errors import DataError
from labkit.grid import eastwards, positions_km

FINEST = 0.5  # of the cells that are made: a finer input is a mean there, and no value between two


def regridded(coarse: xr.Dataset, fine: xr.Dataset, factor: int | tuple[int, int], what: str = "input") -> xr.Dataset:
    """The coarse fields (..., y, x) at the centres of blocks of `factor` fine cells (of both axes, or along y and x).

    Linear within the triangles of neighbouring centres (Delaunay, in the stereographic plane that touches the middle of
    the fine grid), so that what is linear there is reproduced; NaN where any of the three is. DataError where positions
    are lacking, the blocks are no whole number, the input does not reach over them, or is so much finer than they are
    that a mean is wanted and not a value.
    """
    factor = (factor, factor) if isinstance(factor, int) else tuple(factor)
    inner = positions_km(fine, "target")
    if inner is not None and inner[0] == "sphere":
        coarse = eastwards(coarse, middle=float(np.degrees(np.arctan2(*np.nanmean(inner[1], (0, 1))[[1, 0]]))))
    outer = positions_km(coarse, what)
    if inner is None or outer is None or inner[0] != outer[0] or not np.isfinite(inner[1]).all():
        found = "positions that are lacking on a side, or of two kinds"
        expected = "latitudes and longitudes of both, everywhere"
        raise DataError(f"grids of target and {what}", found=found, expected=expected, todo="add them to the files")
    if any(f < 1 or n % f for n, f in zip(inner[1].shape, factor, strict=False)):
        raise DataError(
            f"factor {factor[0]} x {factor[1]}",
            found=f"a target of {inner[1].shape[0]} x {inner[1].shape[1]} cells",
            expected="whole blocks",
            todo="choose a factor that divides both sides, or crop the target",
        )
    centres = block_mean(np.moveaxis(inner[1], -1, 0), factor)
    centres, points = np.moveaxis(centres, 0, -1), outer[1]
    near = _near(points, centres)
    points, coarse = points[near["y"], near["x"]], coarse.isel(near)
    wanted, have = min(np.multiply(factor, cell_spacing(inner[1]))), min(cell_spacing(points))
    if have < FINEST * wanted:
        raise DataError(
            f"factor {factor[0]} x {factor[1]}",
            found=f"an {what} every {have:.3g} km for cells of {wanted:.3g} km",
            expected=f"cells of at most {have / FINEST:.3g} km",
            todo="choose a smaller factor, or average the input first",
        )
    corners, weights = _weights(*(_on_plane(p, centres, inner[0]) for p in (points, centres)), what)
    return _applied(coarse, corners, weights, centres.shape[:2]).assign_attrs(
        alignment=f"The {what} was interpolated to cells of {wanted:.3g} km from a grid that lies otherwise."
    )


def _near(points: np.ndarray, centres: np.ndarray) -> dict[str, slice]:
    """The rows and columns of a grid around the centres."""
    middle = centres.mean((0, 1))
    reach = np.linalg.norm(centres - middle, axis=-1).max()
    distance = np.linalg.norm(points - middle, axis=-1)
    row, column = np.unravel_index(np.nanargmin(distance), distance.shape)
    around = distance <= reach + 3 * max(s for s in cell_spacing(points, (row, column)) if np.isfinite(s))
    rows, columns = (np.flatnonzero(around.any(axis)) for axis in (1, 0))
    return {"y": slice(rows[0], rows[-1] + 1), "x": slice(columns[0], columns[-1] + 1)}


def _on_plane(points: np.ndarray, centres: np.ndarray, kind: str) -> np.ndarray:
    """Points (..., 2) in km: those of a plane as they are, those of the sphere by a stereographic map."""
    if kind == "plane":
        return points[..., :2]
    radius = np.linalg.norm(points[0, 0])
    up = centres.mean((0, 1))
    up = up / np.linalg.norm(up)
    east = np.cross([0.0, 0.0, 1.0] if abs(up[2]) < 0.9 else [1.0, 0.0, 0.0], up)
    east = east / np.linalg.norm(east)
    axes = np.stack([east, np.cross(up, east)], axis=-1)
    return 2 * radius * (points @ axes) / (np.linalg.norm(points, axis=-1) + points @ up)[..., None]


def _weights(points: np.ndarray, centres: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Of each centre the three grid points around it, (n, 3), as positions in the flat grid, and their weights."""
    flat, wanted = points.reshape(-1, 2), centres.reshape(-1, 2)
    known = np.flatnonzero(np.isfinite(flat).all(1))
    try:
        mesh = Delaunay(flat[known])
        simplex = mesh.find_simplex(wanted)
    except (QhullError, ValueError):  # a single row or column
        simplex = np.array([-1])
    if (simplex < 0).any():
        raise DataError(
            f"grids of target and {what}",
            found=f"an {what} that does not reach over {(simplex < 0).mean():.0%} of the target",
            expected="an input around all of it",
            todo="read more of the input, or crop the target",
        )
    transform = mesh.transform[simplex]
    two = np.einsum("nij,nj->ni", transform[:, :2], wanted - transform[:, 2])
    return known[mesh.simplices[simplex]], np.concatenate([two, 1 - two.sum(1, keepdims=True)], axis=1)


def _applied(coarse: xr.Dataset, corners: np.ndarray, weights: np.ndarray, shape: tuple[int, int]) -> xr.Dataset:
    def interpolate(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(*values.shape[:-2], -1)
        return (flat[..., corners] * weights).sum(-1).astype(np.float32).reshape(*values.shape[:-2], *shape)

    maps = {n: f for n, f in coarse.data_vars.items() if {"y", "x"} <= set(f.dims) and f.dtype.kind in "fiu"}
    bare = xr.Dataset(maps).drop_vars([n for n, c in coarse.coords.items() if {"y", "x"} & set(c.dims)])
    bare = bare.chunk({"y": -1, "x": -1}) if bare.chunks else bare
    made = xr.apply_ufunc(
        interpolate,
        bare,
        input_core_dims=[["y", "x"]],
        output_core_dims=[["y_in", "x_in"]],
        dask="parallelized",
        output_dtypes=[np.float32],
        dask_gufunc_kwargs={"output_sizes": {"y_in": shape[0], "x_in": shape[1]}},
        keep_attrs=True,
    )
    return made.rename(y_in="y", x_in="x")
