"""From which scale on is a forecast useful? FSS against the window for sources and thresholds (matplotlib)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.errors import DataError
from labkit.grid import spacing_km
from labkit.plots import selection
from labkit.plots.calibration import judged
from labkit.plots.colours import SOURCE_COLOURS, SOURCE_LABELS, THRESHOLD_COLOURS
from labkit.variables import Variable
from labkit.verify.bootstrap import interval, resampled_means
from labkit.verify.neighbourhood import fss_of, fss_sums

SINGLE = "member"  # single members, each compared by itself: what a deterministic forecast may be compared with
LABELS = SOURCE_LABELS | {"prediction": "Model, probability", SINGLE: "Model, single members"}
COLOURS = SOURCE_COLOURS | {SINGLE: SOURCE_COLOURS["prediction"]}
DASHES = {"interpolation": "dotted", "regression": "dashed", SINGLE: "dashed"}
SOME = 8  # members speak for all of them
COMMON = (0.001, 0.9)  # shares of the truth between which a threshold of the registry says something
QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class Neighbourhoods:
    """`sources`: `fss` by window for one threshold, with `window_km` and, of the model, `low` and `high`;
    `thresholds`: the model's, by threshold too; `useful_km`: `useful_window` by source."""

    threshold: float
    sources: dict[str, xr.Dataset]
    thresholds: xr.Dataset

    @property
    def useful_km(self) -> dict[str, float]:
        return {source: float(useful_window(one)) for source, one in self.sources.items()}


def fss_data(
    tree: xr.DataTree,
    variable: str,
    *,
    threshold: float,
    thresholds: Sequence[float] | None = None,
    times: Sequence[int] | None = None,
) -> Neighbourhoods:
    """FSS of values above the threshold by window and source, and the model's for several thresholds.

    thresholds: by default `thresholds_of` the truth. times: positions, all by default. Raises DataError where the
    truth never has the event, since there is then nothing to find.
    """
    truth, fields = judged(tree, variable, ("interpolation", "regression", "prediction", "oracle"), times=times)
    known = selection.variable_of(tree, variable)
    if not bool((truth > threshold).any()):
        raise DataError(
            f"{known.long_name} above {threshold:g} {known.units}",
            found=f"at most {float(truth.max()):.3g} {known.units} in the truth",
            expected="an event somewhere",
            todo="lower the threshold",
        )
    windows, window_km = _windows(tree)
    sums = {s: _sums(field, truth, threshold, windows, window_km) for s, field in fields.items()}
    sources = {s: fss_of(one) for s, one in sums.items()}
    sources[SINGLE] = _single(fields["prediction"], truth, threshold, windows, window_km)
    own = sources["prediction"].merge(_bounds(sums["prediction"]))
    sources["prediction"] = own.assign_attrs(left_out=truth.attrs["left_out"])
    steps = list(thresholds_of(known, truth) if thresholds is None else thresholds)
    several = [fss_of(_sums(fields["prediction"], truth, step, windows, window_km)) for step in steps]
    return Neighbourhoods(threshold, sources, xr.concat(several, "threshold").assign_coords(threshold=steps))


def thresholds_of(known: Variable, truth: xr.DataArray) -> list[float]:
    """The registry's thresholds that the truth exceeds neither hardly ever nor nearly always; else its quantiles."""
    low, high = COMMON
    good = [t for t in known.thresholds if low < float((truth > t).where(truth.notnull()).mean()) < high]
    if len(good) > 1:
        return good
    return sorted({float(f"{float(truth.quantile(q)):.3g}") for q in QUANTILES})


def useful_window(fss: xr.Dataset) -> xr.DataArray:
    """Width in km of the smallest window from which on a forecast has skill (Roberts & Lean 2008): where its FSS
    reaches `useful`, linearly between windows. The first window where it always has, NaN where it never does."""
    gap = (fss.fss - fss.useful).transpose(..., "window")
    width = fss.window_km.values
    return xr.apply_ufunc(_crossing, gap, kwargs={"width": width}, input_core_dims=[["window"]], vectorize=True)


def useful_point(fss: xr.Dataset) -> tuple[float, float]:
    """Where on its line a forecast becomes useful: width in km and FSS, NaN where it never does."""
    width = float(useful_window(fss))
    return width, float(np.interp(width, fss.window_km, fss.fss)) if np.isfinite(width) else np.nan


def fss_table(data: Neighbourhoods) -> pd.DataFrame:
    """One line for each source and window at the chosen threshold, and for each further threshold of the model."""
    keep = ["window_km", "fss", "useful", "low", "high"]
    lines = [_lines(one, keep).assign(source=source, threshold=data.threshold) for source, one in data.sources.items()]
    more = [_lines(one, keep).assign(source="prediction", threshold=float(one.threshold)) for one in _each(data)]
    table = pd.concat([*lines, *more], ignore_index=True)
    return table[["source", "threshold", *keep]].drop_duplicates(["source", "threshold", "window_km"])


def fss_figure(
    tree: xr.DataTree,
    variable: str,
    *,
    threshold: float,
    thresholds: Sequence[float] | None = None,
    times: Sequence[int] | None = None,
) -> Figure:
    """FSS against the width of the window: all sources at one threshold, and the model at several."""
    known = selection.variable_of(tree, variable)
    data = fss_data(tree, variable, threshold=threshold, thresholds=thresholds, times=times)
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    fss_axes(left, data, known)
    thresholds_axes(right, data, known)
    figure.suptitle(known.long_name, x=0.02, ha="left", fontsize=11)
    return figure


def fss_axes(axis: Axes, data: Neighbourhoods, known: Variable) -> None:
    """All sources at one threshold, with the model's interval and the score from which a forecast is useful."""
    own = data.sources["prediction"]
    style = {"color": COLOURS["prediction"], "alpha": 0.2, "lw": 0}
    axis.fill_between(own.window_km, own.low, own.high, **style)
    for source, one in data.sources.items():
        look = {"color": COLOURS[source], "ls": DASHES.get(source, "solid"), "label": LABELS[source]}
        axis.plot(one.window_km, one.fss, marker="o", ms=3, **look)
    axis.axhline(float(own.useful), color="#666666", ls="--", lw=1, label="useful from here")
    axis.set(ylabel="fractions skill score", title=f"above {data.threshold:g} {known.units}", ylim=(0, 1))
    _finish(axis, own)


def thresholds_axes(axis: Axes, data: Neighbourhoods, known: Variable) -> None:
    """The model's probabilities at each threshold; a ring where they become useful."""
    for k, one in enumerate(_each(data)):
        label = f"above {float(one.threshold):g} {known.units} ({100 * float(one.base_rate):.2g} % of cells)"
        colour = THRESHOLD_COLOURS[k % len(THRESHOLD_COLOURS)]
        axis.plot(one.window_km, one.fss, "-", color=colour, label=label)
        axis.plot(*useful_point(one), "o", ms=8, mfc="none", mew=2, color=colour)
    axis.set_title("the model, by threshold; ring: useful from here")
    _finish(axis, data.thresholds)


def _finish(axis: Axes, one: xr.Dataset) -> None:
    width = one.window_km.values
    axis.set(xscale="log", xlabel="width of the window [km]")
    axis.set_xticks(width, [f"{w:.0f}" if w >= 10 else f"{w:.2g}" for w in width])
    axis.minorticks_off()
    axis.legend(frameon=False, fontsize=8, loc="lower right")


def _windows(tree: xr.DataTree) -> tuple[list[tuple[int, int]], np.ndarray]:
    """About nine windows from a cell to the domain as odd numbers of cells (y, x), and their width in km."""
    spacing = spacing_km(tree)
    cells = [tree[axis].size for axis in ("y", "x")]
    widest = min(d * n for d, n in zip(spacing, cells, strict=True))
    widths = np.geomspace(max(spacing), max(widest, max(spacing)), 9)
    pairs = [tuple(max(1, 2 * round((w / d - 1) / 2) + 1) for d in spacing) for w in widths]
    pairs = list(dict.fromkeys(pairs))
    return pairs, np.array([np.sqrt(py * spacing[0] * px * spacing[1]) for py, px in pairs])


def _sums(field, truth, threshold: float, windows, window_km: np.ndarray) -> xr.Dataset:
    sums = fss_sums(field, truth, threshold=threshold, windows=windows)
    return sums.assign_coords(window_km=("window", window_km))


def _single(members, truth, threshold: float, windows, window_km: np.ndarray) -> xr.Dataset:
    """FSS of members compared by themselves, pooled: of SOME at most, one after the other for the memory's sake."""
    n = members.sizes["ensemble"]
    some = np.unique(np.linspace(0, n - 1, min(n, SOME)).astype(int))
    each = [_sums(members.isel(ensemble=k, drop=True), truth, threshold, windows, window_km) for k in some]
    return fss_of(xr.concat(each, "ensemble"), over=("time", "ensemble"))


def _bounds(sums: xr.Dataset) -> xr.Dataset:
    """95 % intervals of the FSS over times; NaN where these are too few to say."""
    drawn = interval(fss_of(sums.map(resampled_means), over=()).fss)
    return xr.Dataset({name: drawn.sel(bound=name, drop=True) for name in ("low", "high")})


def _each(data: Neighbourhoods) -> list[xr.Dataset]:
    return [data.thresholds.isel(threshold=k) for k in range(data.thresholds.sizes["threshold"])]


def _lines(one: xr.Dataset, keep: Sequence[str]) -> pd.DataFrame:
    return one.drop_vars("window").to_dataframe().reset_index(drop=True).reindex(columns=list(keep))


def _crossing(gap: np.ndarray, *, width: np.ndarray) -> float:
    reached = np.flatnonzero(gap >= 0)
    if not reached.size:
        return np.nan
    first = reached[0]
    if first == 0:
        return float(width[0])
    share = gap[first - 1] / (gap[first - 1] - gap[first])
    return float(width[first - 1] + share * (width[first] - width[first - 1]))
