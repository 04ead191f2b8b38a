"""Anyone's own pair of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import xarray as xr

from labkit.data.opening import open_flat, open_forecast, reader_of
from labkit.data.pairing import pairs_of
from labkit.data.pairs import Pairs
from labkit.data.parts import Samples, Times, part_of
from labkit.data.reading import check_group, open_lazily
from labkit.errors import DataError


def open_files(
    input: str | Path | Sequence[str | Path],
    target: str | Path | Sequence[str | Path],
    *,
    invariant: str | Path | None = None,
    input_channels: Sequence[str] | None = None,
    target_channels: Sequence[str] | None = None,
    invariant_channels: Sequence[str] | None = None,
    input_group: str | None = None,
    target_group: str | None = None,
    factor: int | tuple[int, int] | None = None,
    dims: Mapping[str, str] | None = None,
    spacing_km: float | None = None,
    units: Mapping[str, str] | None = None,
    accumulated: Mapping[str, float | str] | None = None,
    missing: str = "refuse",
    chunk: int = 8,
    times: Times | None = None,
    samples: Samples | None = None,
) -> Pairs:
    """A coarse and a fine file as pairs: NetCDF or Zarr, or GRIB or wrfout, of which several; opening reads coordinates
    only.

    Channels are the variables (time, y, x), or the names along a dimension `channel` of one variable; a fourth
    dimension of levels gives one channel a level ("t" at 850 is "t850"). They are chosen by their own or the
    registry's names; `input_group` and `target_group` name the groups of files that have some. Times are matched by
    value, and only those of both files are kept. Rows are turned from south to north. A coarse grid that reaches beyond
    the fine one is cropped to it, and centres of cells must fit where both files have positions; with a `factor` the
    input is interpolated to blocks of so many fine cells instead, wherever its own lie. `dims` maps dimension
    names {theirs: "time" | "y" | "x"} where they are not common ones; `spacing_km` is that of the target where its file
    has no positions. Values become those of the registry's units, `units` {name: unit} says what a file does not (see
    `labkit.units`). Accumulated rain becomes the rate of its interval, as bounds of the time, `cell_methods` or
    `accumulated` tell it (see `labkit.data.intervals`). NaN in the target is refused when it is read, or with
    `missing="mask"` becomes the mask; NaN in the input is then set to the mean where it is learnt from and drawn with,
    and the further input channel `observed` tells where that was. The unit of each channel is the coordinate `units`.
    `times` (first, last) and `samples` (such as "0:200") choose a part (`data.parts`).
    """
    coarse, fine = (
        _opened(path, group, f"{what}_group")
        for path, group, what in ((input, input_group, "input"), (target, target_group, "target"))
    )
    pairs = pairs_of(
        coarse,
        fine,
        None if invariant is None else open_lazily(invariant),
        input_channels=input_channels,
        target_channels=target_channels,
        invariant_channels=invariant_channels,
        factor=factor,
        dims=dims,
        spacing_km=spacing_km,
        units=units,
        accumulated=accumulated,
        missing=missing,
        chunk=chunk,
        names={"input": f"input {_named(input)}", "target": f"target {_named(target)}"},
    )
    source = f"{_named(input)} and {_named(target)}"
    return part_of(replace(pairs, attrs={"source": source} | pairs.attrs), times=times, samples=samples)


def _opened(path: str | Path | Sequence[str | Path], group: str | None, option: str) -> xr.Dataset:
    """GRIB and wrfout by their readers, of one file or several; NetCDF and Zarr as they are."""
    paths = [path] if isinstance(path, str | Path) else list(path)
    if group is None and paths and Path(paths[0]).exists() and reader_of(Path(paths[0])) is not open_flat:
        return open_forecast(paths).squeeze("ensemble", drop=True)
    if len(paths) != 1:
        found = f"{len(paths)} files that are neither GRIB nor wrfout"
        raise DataError(option.removesuffix("_group"), found=found, expected="one file", todo="join them first")
    check_group(paths[0], group, option)
    return open_lazily(paths[0], group=group)


def _named(path: str | Path | Sequence[str | Path]) -> str:
    return Path(path if isinstance(path, str | Path) else path[0]).name
