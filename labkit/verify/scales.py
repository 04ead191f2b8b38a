"""Which scales an output tree has: spectra, autocorrelations and lengths of all its sources, and how sure they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from labkit.errors import DataError
from labkit.grid import spacing_km
from labkit.verify import selection
from labkit.verify.autocorrelation import autocorrelation, autocorrelation_draws, decorrelation_lengths
from labkit.verify.bootstrap import FEWEST, interval, length_interval, resampled_means
from labkit.verify.common import Common, on_common_cells
from labkit.verify.reach import reach, trend_share
from labkit.verify.resolution import effective_resolution
from labkit.verify.spectra import power_spectrum

TOLERANCE = 0.2  # of the variance at a wavelength that may be lacking or too much where it still counts as resolved
LEVEL = 0.9  # of a ratio's interval, which it leaves on one side: in one case of twenty
BASES = {"residual": "regression", "detail": "interpolation"}  # what is taken off the fields, by quantity


@dataclass(frozen=True)
class Spectra:
    """spectra: power spectral density by source, (wavenumber,) or (ensemble, wavenumber); judge: the source that the
    others are compared with, "truth", or "prediction" of a forecast without one; band: 95 % of the judge's mean over
    times (bound, wavenumber), None for few times; resolution: by source the wavelength in km at which it surely leaves
    the truth's, NaN where it does not; seeming: that at which it seems to, NaN where it does not."""

    spectra: Mapping[str, xr.DataArray]
    judge: str
    band: xr.DataArray | None
    resolution: Mapping[str, float]
    seeming: Mapping[str, float]
    tolerance: float = TOLERANCE


@dataclass(frozen=True)
class Correlation:
    """rho: autocorrelation by source (lag in km,); judge: as of `Spectra`; band: 95 % of the judge's; lengths:
    e_folding, integral_scale and zero_crossing in km over `source`; bounds: (low, high) of the judge's; rose: 1/e
    lengths (angle,) by source; trend: share of the judge's variance on a straight line along x or y, whichever is more
    (`reach.trend_share`)."""

    rho: Mapping[str, xr.DataArray]
    judge: str
    band: xr.DataArray | None
    lengths: xr.Dataset
    bounds: Mapping[str, tuple[float, float]]
    rose: Mapping[str, xr.DataArray]
    trend: float


def scale_fields(
    tree: xr.DataTree,
    variable: str,
    *,
    quantity: str = "raw",
    box: tuple[float, ...] | None = None,
    times: Sequence[int] | None = None,
) -> dict[str, xr.DataArray]:
    """Fields by source, lazily: (time, y, x), (ensemble, time, y, x) of the ensembles; no truth where none is known.

    quantity: "raw"; "residual", what the regression leaves of truth and ensembles; or "detail", what the interpolated
    input leaves of all others. box: west, south, east, north in km. times: positions, all by default.
    """
    times = slice(None) if times is None else list(times)
    cells = dict(zip(("y", "x"), selection.place(tree, (0.0, 0.0), box) if box else (slice(None),) * 2, strict=True))
    sources = selection.available(tree, variable)
    fields = {s: selection.field(tree, s, variable).isel(time=times, **cells) for s in sources}
    if "prediction" in fields and not any(one.notnull().any() for one in fields["truth"].transpose("time", ...)):
        del fields["truth"]
    if quantity == "raw":
        return fields
    without = BASES[quantity]
    if without not in fields:
        raise DataError(
            f"{quantity}s of {variable}",
            found=f"a tree with {', '.join(fields)}",
            expected=f"the {without} too, which is taken off",
            todo=f"look at the fields themselves (raw), or write the {without} into the tree",
        )
    kept = ("prediction", "truth", "oracle") if quantity == "residual" else [s for s in fields if s != without]
    return {s: fields[s] - fields[without] for s in kept if s in fields}


def judge_of(sources: Collection[str]) -> str:
    """The source that the others are compared with: the truth, or the members where nothing was observed."""
    return "truth" if "truth" in sources else "prediction"


def finest_quantity(tree: xr.DataTree, variable: str) -> str:
    """What comes nearest to what a diffusion model learns: "residual", else "detail", else "raw"."""
    sources = selection.available(tree, variable)
    return next((quantity for quantity, base in BASES.items() if base in sources), "raw")


def quantity_or_raw(tree: xr.DataTree, variables: Sequence[str], quantity: str) -> dict[str, str]:
    """The quantity by variable, "raw" for those of which the tree has nothing to take off."""
    return {v: quantity if BASES.get(quantity) in selection.available(tree, v) else "raw" for v in variables}


def spectra_data(
    tree: xr.DataTree,
    variable: str,
    *,
    quantity: str = "raw",
    direction: str = "radial",
    window: str | None = "hann",
    detrend: str | None = "mean",
    box: tuple[float, ...] | None = None,
    times: Sequence[int] | None = None,
) -> Spectra:
    """Spectra of all sources of a variable. direction, window, detrend: as in `power_spectrum`; the rest selects as in
    `scale_fields`. Ensembles keep their members. Reads the variable of all sources, chunk by chunk."""
    fields = scale_fields(tree, variable, quantity=quantity, box=box, times=times)
    # rings need whole fields, of which a source with gaps has none; of rows and columns those with gaps are left out
    fields = fields if direction == "radial" else _on_common_cells(fields)
    options = {"dim": direction, "spacing_km": spacing_km(tree), "window": window, "detrend": detrend}
    kept = ("ensemble", "time", "wavenumber")
    series = {s: power_spectrum(a, **options) for s, a in fields.items()}
    series = _where_whole(
        variable, {s: a.mean([d for d in a.dims if d not in kept]).compute() for s, a in series.items()}
    )
    spectra = {s: a.mean("time") for s, a in series.items()}
    judge = judge_of(series)
    resolution, seeming, drawn = {}, {}, resampled_means(selection.over_members(series[judge]))
    for source in (s for s in ("prediction", "regression", "interpolation") if s in series and judge == "truth"):
        mean = selection.over_members(series[source])
        ratio = mean.mean("time") / spectra["truth"]
        bounds = interval(resampled_means(mean) / drawn, level=LEVEL, positive=True)
        resolution[source] = float(effective_resolution(ratio, bounds, tolerance=TOLERANCE))
        seeming[source] = float(effective_resolution(ratio, tolerance=TOLERANCE))
    band = interval(drawn, positive=True) if drawn.sizes["draw"] > FEWEST else None
    return Spectra(spectra, judge, band, resolution, seeming)


def correlation_data(
    tree: xr.DataTree,
    variable: str,
    *,
    quantity: str = "raw",
    direction: str = "radial",
    centre: str | None = "all",
    box: tuple[float, ...] | None = None,
    times: Sequence[int] | None = None,
    draws: int = 300,
) -> Correlation:
    """Autocorrelations of all sources of a variable, their lengths, and how sure the judge's are. direction, centre: as
    in `autocorrelation`; the rest selects as in `scale_fields`. Reads the variable of all sources, chunk by chunk."""
    fields = _on_common_cells(scale_fields(tree, variable, quantity=quantity, box=box, times=times))
    spacing = spacing_km(tree)
    options = {"spacing_km": spacing, "direction": direction, "centre": centre, "over": ("ensemble", "time")}
    rho = {s: autocorrelation(a, **options).compute() for s, a in fields.items()}
    lengths = xr.concat([decorrelation_lengths(a) for a in rho.values()], "source").assign_coords(source=list(rho))
    band, bounds = None, {name: (np.nan, np.nan) for name in lengths.data_vars}
    judged = fields[judge_of(fields)]
    if judged.sizes["time"] >= FEWEST:
        drawn = autocorrelation_draws(judged, draws=draws, **options).compute()
        band = interval(drawn)
        found = decorrelation_lengths(drawn)
        furthest = float(drawn.lag.max())
        sure = {name: length_interval(found[name]) for name in found.data_vars}
        bounds = {name: tuple(float(v) for v in each.where(each <= furthest)) for name, each in sure.items()}
    options["direction"] = "rose"
    roses = {s: autocorrelation(a, **options) for s, a in fields.items() if s in ("truth", "prediction")}
    rose = {s: decorrelation_lengths(a).e_folding.compute() for s, a in roses.items()}
    trend = max(trend_share(judged, direction) for direction in ("y", "x"))
    return Correlation(rho, judge_of(fields), band, lengths, bounds, rose, trend)


def reach_data(
    tree: xr.DataTree,
    variables: Sequence[str],
    *,
    quantity: str | Mapping[str, str] = "residual",
    box: tuple[float, ...] | None = None,
    times: Sequence[int] | None = None,
    draws: int = 200,
) -> xr.Dataset:
    """How far the truth's fields, or residuals, reach along y and x: what `patch_size.recommend_patch` decides by,
    `labkit.verify.reach.reach` over (variable, direction). quantity: one for all variables, or by variable. The
    coordinate `judge` says by variable whose fields these are, the members' where there is no truth. Reads these alone,
    one variable after the other, chunk by chunk where they are large."""
    spacing, rows, judges = spacing_km(tree), [], []
    for variable in variables:
        what = quantity if isinstance(quantity, str) else quantity[variable]
        fields = scale_fields(tree, variable, quantity=what, box=box, times=times)
        judges.append(judge_of(fields))
        (judged,) = selection.held({variable: fields[judges[-1]]}).values()
        rows.append(reach(judged, spacing_km=spacing, draws=draws))
    return xr.concat(rows, "variable").assign_coords(variable=list(variables), judge=("variable", judges))


def scale_tables(
    tree: xr.DataTree, *, quantity: str = "raw", direction: str = "radial"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All variables of a tree as tables: a line for each with the effective resolution of its sources (`_unsure` where
    the times are too few to be sure that it ends there) and the lengths (their intervals as `_low`, `_high`) in km of
    `judge`, the truth or without one the members, and the share of its variance that is a trend; and the spectra, by
    variable, source and wavenumber. Reads all sources, one variable after the other, chunk by chunk."""
    lines, curves = {}, {}
    judged = tree["prediction"].data_vars if "prediction" in tree.children else tree["truth"].data_vars
    for variable in (str(v) for v in judged if v in tree["truth"].data_vars):
        options = {"quantity": quantity, "direction": direction}
        spectra = spectra_data(tree, variable, **options)
        correlation = correlation_data(tree, variable, **options)
        line = {"judge": spectra.judge}
        for source, at in spectra.resolution.items():
            line[f"{source}_resolution"] = at
            if np.isnan(at) and np.isfinite(spectra.seeming[source]):
                line[f"{source}_unsure"] = spectra.seeming[source]
        for name, values in correlation.lengths.sel(source=correlation.judge).items():
            low, high = correlation.bounds[name]
            line |= {name: float(values), f"{name}_low": low, f"{name}_high": high}
        line["trend"] = correlation.trend
        lines[variable] = line
        for source, psd in spectra.spectra.items():
            curves[variable, source] = selection.over_members(psd).to_series()
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("variable")
    return table, pd.concat(curves, names=["variable", "source"]).rename("psd").to_frame()


def _where_whole(variable: str, series: dict[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """The spectra of those times and members of which all sources have one; DataError where the judge has none."""
    common = _common(series)
    known = common.truth.notnull().all("wavenumber")
    if not known.any() or ("truth" in series and not common.observed):
        raise DataError(
            f"spectra of {variable}",
            found="missing cells at every time",
            expected="whole fields",
            todo="choose a part of the domain that is observed, or look at autocorrelations, which leave gaps out",
        )
    return {source: common.fields.get(source, values).where(known) for source, values in series.items()}


def _on_common_cells(fields: dict[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """The fields on the cells, times and members that all of them know (`verify.common`), lazily."""
    common = _common(fields)
    known = common.truth.notnull().compute()  # once, not with each of the fields
    told = np.flatnonzero(known.any(("y", "x")).values)
    return {s: common.fields.get(s, fields[s]).where(known).isel(time=told) for s in fields}


def _common(fields: Mapping[str, xr.DataArray]) -> Common:
    """What all of them know; a truth that nobody observed is known wherever the others are."""
    truth = fields["truth"] if "truth" in fields else fields["prediction"].isel(ensemble=0, drop=True) * np.nan
    return on_common_cells(truth, {s: field for s, field in fields.items() if s != "truth"})
