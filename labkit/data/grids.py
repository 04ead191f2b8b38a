"""Which coarse cells a fine grid fills."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labkit.data.regrid import block_mean
from labkit.errors import DataError
from labkit.grid import eastwards, positions_km

_EXACT = 0.05  # of a coarse cell; what the bending of a map does to means of centres is less


def covering_cells(coarse: xr.Dataset, fine: xr.Dataset, what: str = "input") -> xr.Dataset:
    """The part of the coarse grid (or of one like the fine) whose cells the fine grid fills, also across the edge of a
    globe.

    Each coarse centre must be the mean of its fine centres to a quarter of the coarse spacing, else DataError. Where
    positions are lacking on a side, or differ in kind, nothing can be checked and the grids are taken as aligned; the
    attribute `alignment` of what is returned says so, or how far apart centres are; "" where they agree.
    """
    inner = positions_km(fine, "target")
    if inner is not None and inner[0] == "sphere":
        coarse = eastwards(coarse, middle=float(np.degrees(np.arctan2(*np.nanmean(inner[1], (0, 1))[[1, 0]]))))
    points = positions_km(coarse, what)
    if points is None or inner is None or points[0] != inner[0]:
        taken = f"Cells are taken to lie one on the other: nothing tells where both {what} and target lie."
        return coarse.assign_attrs(alignment=taken)
    points, inner = points[1], inner[1]
    middle = np.linalg.norm(points - inner.mean((0, 1)), axis=-1)
    spacing = cell_spacing(points, np.unravel_index(np.argmin(middle), middle.shape))
    factor = [max(1, round(spacing[i] / cell_spacing(inner)[i])) for i in (0, 1)]
    if inner.shape[0] % factor[0] or inner.shape[1] % factor[1]:
        raise _misfit(what, inner, f"a multiple of {factor[0]} x {factor[1]} cells")
    centres = np.moveaxis(block_mean(np.moveaxis(inner, -1, 0), factor), 0, -1)
    corner = np.linalg.norm(points - centres[0, 0], axis=-1)
    y0, x0 = np.unravel_index(np.argmin(corner), corner.shape)
    part = points[y0 : y0 + centres.shape[0], x0 : x0 + centres.shape[1]]
    if part.shape != centres.shape:
        raise _misfit(
            what, inner, f"a grid inside the coarse one, which ends after {part.shape[0]} x {part.shape[1]} cells"
        )
    apart = np.linalg.norm(part - centres, axis=-1).max()
    if apart > 0.25 * min(spacing):
        raise _misfit(
            what, inner, f"centres of coarse cells at most {0.25 * min(spacing):.3g} km away, not {apart:.3g}"
        )
    there = {"y": slice(y0, y0 + part.shape[0]), "x": slice(x0, x0 + part.shape[1])}
    off = f"The centres of {what} and target are up to {apart:.3g} km apart." if apart > _EXACT * min(spacing) else ""
    return coarse.isel(there).assign_attrs(alignment=off)


def cell_spacing(points: np.ndarray, at: tuple[int, int] | None = None) -> tuple[float, float]:
    """Distance of neighbours along (y, x) in km, the median or that next to a cell; infinite along an axis of one."""
    if at is not None:
        row, column = (max(0, min(int(k), n - 2)) for k, n in zip(at, points.shape, strict=False))
        points = points[row : row + 2, column : column + 2]
    steps = (np.linalg.norm(np.diff(points, axis=i), axis=-1) for i in (0, 1))
    return tuple(float(np.median(step)) if step.size else float("inf") for step in steps)


def _misfit(what: str, inner: np.ndarray, expected: str) -> DataError:
    return DataError(
        f"grids of target and {what}",
        found=f"a target of {inner.shape[0]} x {inner.shape[1]} cells that does not fill cells of the {what}",
        expected=expected,
        todo="crop one of them so that whole target cells fill each cell of the other, or have the input interpolated "
        "to blocks of so many target cells with factor=",
    )
