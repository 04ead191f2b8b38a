"""What is on the screen as a file: PNG of the figure, CSV of the numbers at the place, NetCDF of the case."""

from __future__ import annotations

import tempfile
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import pandas as pd

from apps.explorer.calibration_jobs import asked_of, table_of
from apps.explorer.code import case_dataset, figure_of
from apps.explorer.state import ExplorerState
from apps.parts.files import csv_of, png_of
from apps.parts.runs import Run
from labkit.errors import LabError

MAX_NETCDF_BYTES = 300 * 2**20


def png(run: Run, state: ExplorerState) -> BytesIO:
    """The tab as a figure."""
    return png_of(figure_of(run, state))


def place_table(run: Run, state: ExplorerState) -> pd.DataFrame:
    """The chosen variable at the chosen place: one line for each time, a column for each source and member."""
    place = run.place(state.point, state.box)
    columns: dict[str, np.ndarray] = {"time": np.asarray(run.times)}
    for source in ("truth", "interpolation", "regression"):
        if run.has(source, state.variable):
            columns[source] = run.series(source, state.variable, place, state.box_statistic)
    for source in ("prediction", "oracle"):
        if run.has(source, state.variable):
            values = run.series(source, state.variable, place, state.box_statistic)
            columns |= {f"{source}_{name}": values[k] for k, name in enumerate(run.member_names)}
    return pd.DataFrame(columns)


def csv(run: Run, state: ExplorerState) -> StringIO:
    """`place_table` as text, with a first line that says what and where; of the calibration, its own numbers."""
    variable = run.describe(state.variable)
    if state.tab == "calibration":
        asked = asked_of(run, state)
        what = f"{asked.diagnostic} of {variable.name} [{variable.units}], {len(asked.times)} times"
        return csv_of(what, table_of(run, asked), index=False)
    x, y = (f"{v:g}" for v in state.point)
    where = f"x {x} km, y {y} km" if state.box is None else f"{state.box_statistic} over box {state.box} km"
    return csv_of(f"{variable.name} [{variable.units}] at {where}", place_table(run, state), index=False)


def netcdf(run: Run, state: ExplorerState) -> BytesIO:
    """The chosen time of the run as an output tree of its own; LabError where it would be too large to download."""
    tree = case_dataset(run, state)
    if tree.nbytes > MAX_NETCDF_BYTES:
        found, expected = f"{tree.nbytes / 2**20:.0f} MiB", f"at most {MAX_NETCDF_BYTES / 2**20:.0f} MiB"
        raise LabError("NetCDF of the case", found=found, expected=expected, todo="take it from the file itself")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.nc"
        tree.to_netcdf(path)
        return BytesIO(path.read_bytes())


WRITERS = {"png": png, "csv": csv, "nc": netcdf}
