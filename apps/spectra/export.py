"""What is on the screen as a file: PNG of the figure, CSV of the curves."""

from __future__ import annotations

from io import BytesIO, StringIO

import pandas as pd
import xarray as xr

from apps.parts.files import csv_of, png_of
from apps.parts.runs import Run
from apps.spectra.code import call_of, figure_of, known_variables
from apps.spectra.data_sets import tree_in_memory
from apps.spectra.state import SpectraState


def png(run: Run, state: SpectraState) -> BytesIO:
    """The tab as a figure."""
    return png_of(figure_of(run, state))


def csv(run: Run, state: SpectraState) -> StringIO:
    """The curves as columns, a line for each wavelength or distance, with a first line that says what and where."""
    variable, quantity = run.describe(state.variable), state.quantity
    where = "whole domain" if state.box is None else f"box {state.box} km"
    if state.tab == "patch":
        what = f"all variables, {quantity}, patch {state.height} x {state.width} cells, {where}"
        return csv_of(what, patch_table(run, state))
    what = f"{variable.name} [{variable.units}], {quantity}, {state.direction}, {where}"
    return csv_of(what, curve_table(run, state), index_label=None)


def curve_table(run: Run, state: SpectraState) -> pd.DataFrame:
    """Spectra [units^2 km] by wavenumber [cycles/km], or autocorrelations by lag [km]; a column a source and member."""
    from labkit.verify.scales import correlation_data, spectra_data

    name, options = call_of(state)
    if name == "correlation_figure":
        curves, axis = correlation_data(tree_in_memory(run), state.variable, **options).rho, "lag"
    else:
        curves, axis = spectra_data(tree_in_memory(run), state.variable, **options).spectra, "wavenumber"
    columns: dict[str, xr.DataArray] = {}
    for source, values in curves.items():
        if "ensemble" in values.dims:
            columns |= {f"{source}_{m}": values.isel(ensemble=i) for i, m in enumerate(run.member_names)}
        else:
            columns[source] = values
    index = next(iter(curves.values()))[axis].values
    return pd.DataFrame({key: values.values for key, values in columns.items()}, index=pd.Index(index, name=axis))


def patch_table(run: Run, state: SpectraState) -> pd.DataFrame:
    """How far each variable reaches [km] and what is left of its correlation at the patch's edge, by direction."""
    from labkit.verify.patch_size import remaining
    from labkit.verify.scales import quantity_or_raw, reach_data

    _, options = call_of(state)
    patch, tree, names = options.pop("patch"), tree_in_memory(run), known_variables(run)
    options["quantity"] = quantity_or_raw(tree, names, options["quantity"])
    reach = reach_data(tree, names, **options)
    left = remaining(reach, patch, shape=(len(run.y), len(run.x)))
    table = reach.drop_dims("cell").merge(left.rename(half="middle_to_edge"))
    return table.to_dataframe()


WRITERS = {"png": png, "csv": csv}
