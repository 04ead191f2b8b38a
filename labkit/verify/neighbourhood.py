"""How near is near enough? The fractions skill score (Roberts & Lean 2008) over any window, from one cell upwards.

A window is `window` cells along y and x (or a pair of numbers), about each cell; near the edge and beside cells
without truth it is what there is of it. So a window of twice the domain holds the whole domain everywhere, and the
score is then the asymptotic one, exactly. Probabilities of a neighbourhood by distance are in `products`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dask
import numpy as np
import pandas as pd
import xarray as xr

from labkit.errors import DataError
from labkit.grid import SPACE, spacing_km
from labkit.variables import Variable
from labkit.verify.bootstrap import interval, resampled_means
from labkit.verify.probability import event
from labkit.verify.products import exceedance_probability
from labkit.verify.scores import MEMBER
from labkit.verify.selection import judged, variable_of
from labkit.verify.slabs import whole

SUMS = ("difference", "squares", "forecast", "observed", "count")
Window = int | tuple[int, int]
SINGLE = "member"  # single members, each compared by itself: what a deterministic forecast may be compared with
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
    def by_threshold(self) -> list[xr.Dataset]:
        return [self.thresholds.isel(threshold=k) for k in range(self.thresholds.sizes["threshold"])]

    @property
    def useful_km(self) -> dict[str, float]:
        return {source: float(useful_window(one)) for source, one in self.sources.items()}


def fss(
    forecast: xr.DataArray,
    truth: xr.DataArray,
    *,
    thresholds: Sequence[float],
    windows: Sequence[Window],
    over: Sequence[str] = ("time",),
    compare: str = "probability",
) -> xr.Dataset:
    """Fractions skill score of events above each threshold: (threshold, window, and the dimensions not in `over`).

    forecast: (time, y, x), or with members (ensemble, time, y, x), whose probability takes the place of the event with
    compare="probability", and of which each is compared by itself with "members" (pooled with "ensemble" in `over`).
    Numerator and denominator are added up over `over` before their ratio is taken: times without an event in either
    add nothing to it, false alarms then count in full, and where there was no event at all the score is NaN, since
    there was nothing to forecast. Variables: fss; asymptotic, its limit for windows as large as the domain; useful,
    0.5 + base_rate / 2, the score of a forecast that has skill (Roberts & Lean 2008); base_rate and forecast_rate.
    """
    sums = [fss_sums(forecast, truth, threshold=t, windows=windows, compare=compare) for t in thresholds]
    return fss_of(xr.concat(sums, "threshold").assign_coords(threshold=list(thresholds)), over=over)


def fss_sums(
    forecast: xr.DataArray,
    truth: xr.DataArray,
    *,
    threshold: float,
    windows: Sequence[Window],
    compare: str = "probability",
) -> xr.Dataset:
    """What an FSS is made of, summed over the cells where both are known; it adds up over times, lazy as the input.

    difference, squares: of the fractions of forecast and truth, (window, ...); forecast, observed, count: events
    forecast and observed, and cells.
    """
    pairs = [_pair(window) for window in windows]
    predicted, observed = _events(forecast, truth, threshold, compare)
    sums = xr.apply_ufunc(
        _field_sums,
        whole(predicted),
        whole(observed),
        kwargs={"windows": pairs},
        input_core_dims=[SPACE, SPACE],
        output_core_dims=[["sum", "window"]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"sum": len(SUMS), "window": len(pairs)}},
    )
    sums = sums.assign_coords(window=[w if isinstance(w, int) else f"{w[0]} x {w[1]}" for w in windows])
    by_window = {name: sums.isel(sum=i) for i, name in enumerate(SUMS[:2])}
    alike = {name: sums.isel(sum=2 + i, window=0, drop=True) for i, name in enumerate(SUMS[2:])}
    return xr.Dataset(by_window | alike)


def fss_of(sums: xr.Dataset, *, over: Sequence[str] = ("time",)) -> xr.Dataset:
    """`fss` from its sums, added up over `over` (or of means of them, as a bootstrap draws them, with over=())."""
    count = sums["count"].where(sums["count"] > 0)
    p, o = sums.forecast / count, sums.observed / count
    together = (count * (p - o) ** 2).sum(over), (count * (p**2 + o**2)).sum(over)
    total = sums.sum(over)
    cells = total["count"].where(total["count"] > 0)
    base_rate = total.observed / cells
    return xr.Dataset(
        {
            "fss": 1 - total.difference / total.squares.where(total.squares > 0),
            "asymptotic": 1 - together[0] / together[1].where(together[1] > 0),
            "useful": 0.5 + base_rate / 2,
            "base_rate": base_rate,
            "forecast_rate": total.forecast / cells,
        }
    )


def window_fraction(events: np.ndarray, window: Window) -> np.ndarray:
    """Mean of events (..., y, x) over the window about each cell, NaN left out; NaN where there is none known."""
    known = np.isfinite(events)
    pair = _pair(window)
    cells = _window_sum(known.astype(np.float64), pair)
    total = _window_sum(np.where(known, events, 0.0), pair)
    return np.divide(total, cells, out=np.full_like(total, np.nan), where=cells > 0.5)


def fss_data(
    tree: xr.DataTree,
    variable: str,
    *,
    threshold: float,
    thresholds: Sequence[float] | None = None,
    times: Sequence[int] | None = None,
) -> Neighbourhoods:
    """FSS of values above the threshold by window and source, and the model's for several thresholds.

    thresholds: by default `thresholds_of` the truth. times: positions, all by default. Reads what `judged` does of all
    sources. Raises DataError where the truth never has the event, since there is then nothing to find.
    """
    truth, fields = judged(tree, variable, ("interpolation", "regression", "prediction", "oracle"), times=times)
    known = variable_of(tree, variable)
    if not bool((truth > threshold).any()):
        raise DataError(
            f"{known.long_name} above {threshold:g} {known.units}",
            found=f"at most {float(truth.max()):.3g} {known.units} in the truth",
            expected="an event somewhere",
            todo="lower the threshold",
        )
    windows, window_km = _windows(tree)
    options = {"threshold": threshold, "windows": windows}
    (sums,) = dask.compute({s: fss_sums(field, truth, **options) for s, field in fields.items()})
    sources = {s: fss_of(one) for s, one in sums.items()} | {SINGLE: _single(fields["prediction"], truth, **options)}
    sources = {s: one.assign_coords(window_km=("window", window_km)) for s, one in sources.items()}
    drawn = fss_of(sums["prediction"].map(resampled_means), over=()).fss
    own = sources["prediction"].assign(interval(drawn).to_dataset("bound"))
    sources["prediction"] = own.assign_attrs(left_out=truth.attrs["left_out"])
    steps = list(thresholds_of(known, truth) if thresholds is None else thresholds)
    several = fss(fields["prediction"], truth, thresholds=steps, windows=windows).compute()
    return Neighbourhoods(threshold, sources, several.assign_coords(window_km=("window", window_km)))


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
    more = [_lines(one, keep).assign(source="prediction", threshold=float(one.threshold)) for one in data.by_threshold]
    table = pd.concat([*lines, *more], ignore_index=True)
    return table[["source", "threshold", *keep]].drop_duplicates(["source", "threshold", "window_km"])


def _pair(window: Window) -> tuple[int, int]:
    pair = (window, window) if np.ndim(window) == 0 else tuple(window)
    if len(pair) != 2 or any(width != int(width) or width < 1 for width in pair):
        raise DataError(
            "window of the FSS", found=str(window), expected="whole numbers of cells, from 1", todo="choose others"
        )
    return pair


def _events(forecast, truth, threshold: float, compare: str) -> tuple[xr.DataArray, xr.DataArray]:
    if compare not in ("probability", "members"):
        raise DataError("FSS", found=repr(compare), expected="probability or members", todo="name one")
    sizes = {d: n for d, n in forecast.sizes.items() if d != MEMBER}
    try:
        forecast, truth = xr.align(forecast, truth, join="exact", exclude=[MEMBER])
    except ValueError:
        sizes = {}
    if sizes != dict(truth.sizes):
        found, expected = "forecast and truth of different cells or times", "the same in both"
        raise DataError("FSS", found=found, expected=expected, todo="select those that both have")
    if compare == "probability" and MEMBER in forecast.dims:
        return exceedance_probability(forecast, threshold), event(truth, threshold)
    return event(forecast, threshold), event(truth, threshold)


def _field_sums(p: np.ndarray, o: np.ndarray, *, windows: Sequence[tuple[int, int]]) -> np.ndarray:
    """p, o (..., y, x) -> (..., 5 sums, window)."""
    p, o = np.broadcast_arrays(p, o)
    known = np.isfinite(p) & np.isfinite(o)
    p, o = np.where(known, p, np.nan), np.where(known, o, np.nan)
    sums = []
    for window in windows:
        near_p, near_o = (np.where(known, window_fraction(field, window), 0.0) for field in (p, o))
        sums.append([(near_p - near_o) ** 2, near_p**2 + near_o**2, np.nan_to_num(p), np.nan_to_num(o), known])
    return np.stack([np.stack([s.sum((-2, -1), dtype=np.float64) for s in row], -1) for row in sums], -1)


def _window_sum(values: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """Sums over the window about each cell, by differences of running sums: as quick for any window."""
    for axis, width in zip((-2, -1), window, strict=True):
        n = values.shape[axis]
        start = np.zeros_like(np.take(values, [0], axis))
        running = np.concatenate([start, np.cumsum(values, axis)], axis)
        low = np.arange(n) - width // 2
        upper, lower = (np.take(running, np.clip(edge, 0, n), axis) for edge in (low + width, low))
        values = upper - lower
    return values


def _windows(tree: xr.DataTree) -> tuple[list[tuple[int, int]], np.ndarray]:
    """About nine windows from a cell to the domain as odd numbers of cells (y, x), and their width in km."""
    spacing = spacing_km(tree)
    cells = [tree[axis].size for axis in ("y", "x")]
    widest = min(d * n for d, n in zip(spacing, cells, strict=True))
    widths = np.geomspace(max(spacing), max(widest, max(spacing)), 9)
    pairs = [tuple(max(1, 2 * round((w / d - 1) / 2) + 1) for d in spacing) for w in widths]
    pairs = list(dict.fromkeys(pairs))
    return pairs, np.array([np.sqrt(py * spacing[0] * px * spacing[1]) for py, px in pairs])


def _single(members: xr.DataArray, truth: xr.DataArray, **options) -> xr.Dataset:
    """FSS of members compared by themselves, pooled: of SOME at most, one after the other for the memory's sake."""
    n = members.sizes["ensemble"]
    some = np.unique(np.linspace(0, n - 1, min(n, SOME)).astype(int))
    each = [fss_sums(members.isel(ensemble=k, drop=True), truth, **options) for k in some]
    return fss_of(xr.concat(dask.compute(*each), "ensemble"), over=("time", "ensemble"))


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
