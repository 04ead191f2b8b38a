"""Do intervals of 95 % hold the truth in 95 of 100 records? Coverage and false positives on series whose law is known.

    python benchmarks/bench_intervals.py                   # AR(1): means beside two rivals, curved figures, comparisons
    python benchmarks/bench_intervals.py --other           # series that are not AR(1), and times with gaps
    python benchmarks/bench_intervals.py --trials 400

Each line: coverage among those told / share not told for want of independent cases; for comparisons the share with
p below 0.05 where there is no difference, of all trials.
"""

from __future__ import annotations

import argparse

import numpy as np
import xarray as xr
from scipy.signal import lfilter
from scipy.stats import ttest_1samp

from labkit.verify.autocorrelation import autocorrelation_draws, decorrelation_lengths
from labkit.verify.bootstrap import chance, interval, length_interval, resampled_means
from labkit.verify.compare import SCORES, paired_scores
from labkit.verify.exchangeability import flatness, pit_tables
from labkit.verify.scores import cell_statistics, cell_sums

LENGTHS, LAGS = (16, 32, 96, 365), (0.0, 0.5, 0.8, 0.95)


def ar1(rng, phi, *shape):
    """Stationary AR(1) of unit variance along the last axis."""
    noise = rng.standard_normal((*shape[:-1], shape[-1] + 400)) * np.sqrt(1 - phi**2)
    return lfilter([1], [1, -phi], noise)[..., 400:]


def of_hours(rng, phi, hours, trials):
    """AR(1) of unit variance at hours with gaps."""
    covariance = phi ** abs(np.subtract.outer(hours, hours))
    return rng.standard_normal((trials, len(hours))) @ np.linalg.cholesky(covariance + 1e-9 * np.eye(len(hours))).T


def means_of(values, hours=None) -> xr.DataArray:
    """resampled_means of (..., trial, time)."""
    dims = (*"abcd"[: values.ndim - 1], "time")
    return resampled_means(xr.DataArray(values, {} if hours is None else {"time": hours}, dims))


def coverage(bounds, value: float) -> str:
    low, high = np.asarray(bounds)
    told = np.isfinite(low) & np.isfinite(high)
    held = ((low <= value) & (value <= high))[told].mean() if told.any() else np.nan
    return f"{held:.3f} / {1 - told.mean():.2f}"


def in_blocks(values, rng, draws=400) -> np.ndarray:
    """What was here before: percentiles of means of blocks of n^(1/3), drawn again round the end of the record."""
    n = values.shape[-1]
    block = int(np.ceil(n ** (1 / 3) - 1e-9))
    starts = rng.integers(0, n, (draws, -(-n // block)))
    times = ((starts[..., None] + np.arange(block)) % n).reshape(draws, -1)[:, :n]
    counts = np.stack([np.bincount(row, minlength=n) for row in times])
    return np.quantile(values @ counts.T / n, [0.025, 0.975], axis=-1)


def means(rng, phi, n, trials) -> dict[str, str]:
    values = ar1(rng, phi, trials, n)
    found = means_of(values)
    plain = ttest_1samp(values, 0, axis=-1).confidence_interval()
    bounds = interval(found)
    wide = np.nanmedian((bounds[1] - bounds[0]) / (plain.high - plain.low))
    return {
        "mean": coverage(bounds, 0),
        "p < .05": f"{float((chance(found) < 0.05).mean()):.3f}",
        "median width over plain t": f"{wide:.2f}",
        "plain t": coverage((plain.low, plain.high), 0),
        "blocks": coverage(in_blocks(values, rng), 0),
    }


def curved(rng, phi, n, trials) -> dict[str, str]:
    """Root mean square, ratio of mean squares, standard deviation, and a spectral density of 8 modes a time."""
    first, second = ar1(rng, phi, 2, trials, n)
    mean, square, other = (means_of(v) for v in (first, first**2, second**2))
    modes = means_of((ar1(rng, phi, 8, trials, n) ** 2).mean(0))
    return {
        "rms": coverage(interval(square**0.5, positive=True), 1),
        "ratio": coverage(interval(square / other, positive=True), 1),
        "deviation": coverage(interval((square - mean**2) ** 0.5, positive=True), 1),
        "spectrum": coverage(interval(modes), 1),
        "spectrum, positive": coverage(interval(modes, positive=True), 1),
    }


def comparisons(rng, phi, n, trials) -> dict[str, str]:
    """`labkit score --compare` of two runs of one law: sums of 5 members of 16 cells whose errors persist."""
    fields = ar1(rng, phi, 11, 16, trials, n)
    p = paired_scores(*(_sums(members, fields[0]) for members in (fields[1:6], fields[6:]))).p
    shares = {name: f"{float((p.sel(score=name) < 0.05).mean()):.3f}" for name in SCORES}
    return shares | {"not told": f"{float(p.isnull().mean()):.2f}"}


def _sums(members, truth) -> xr.Dataset:
    """`scores.cell_sums` of (member, cell, trial, time)."""
    members, truth = (xr.DataArray(a, dims=("ensemble", "x", "trial", "time")[-a.ndim :]) for a in (members, truth))
    return cell_sums(cell_statistics(members, truth), over="x")


def lengths(rng, phi, n, trials) -> dict[str, str]:
    """1/e length of fields that are AR(1) along x (5 cells) and in time, about a mean that is known."""
    noise = np.moveaxis(ar1(rng, np.exp(-1 / 5), trials, n, 64), 1, -1) * np.sqrt(1 - phi**2)
    noise[..., 0] /= np.sqrt(1 - phi**2)
    fields = xr.DataArray(lfilter([1], [1, -phi], noise)[:, None], dims=("trial", "y", "x", "time"))
    fields = fields.transpose("trial", "time", "y", "x")
    drawn = autocorrelation_draws(fields, spacing_km=(1.0, 1.0), direction="x", centre=None)
    return {"1/e length": coverage(length_interval(decorrelation_lengths(drawn).e_folding), 5)}


def bands(rng, phi, n, trials) -> dict[str, str]:
    """Bins of rank histograms beyond chance: errors of 9 cells persist, 8 members are drawn anew each time."""
    outside = []
    for seed in range(trials):
        truth = xr.DataArray(ar1(rng, phi, 3, 3, n), dims=("y", "x", "time"))
        members = xr.DataArray(rng.standard_normal((8, 3, 3, n)), dims=("ensemble", "y", "x", "time"))
        flat = flatness(pit_tables(members, truth, seed=seed))
        outside.append((flat.frequency < flat.low) | (flat.frequency > flat.high))
    return {"bins beyond chance": f"{np.mean(outside):.3f}"}


def others(rng, n, trials) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Series of mean zero that are not AR(1), and their times."""
    t, noise = np.arange(n), rng.standard_normal((trials, n + 400))
    days, two = t // 8 * 24 + t % 8, t + 1000 * (t >= n // 2)
    slow = ar1(rng, 0.9, trials, n)
    cycle = lfilter([1], [1, -1.8 * np.cos(np.pi / 12), 0.81], noise)[:, 400:]
    missing = np.where(rng.random((trials, n)) < 0.7, ar1(rng, 0.5, trials, n), np.nan)
    return {
        "sum of 4": (lfilter(np.ones(4), [1], noise)[:, 400:], None),
        "moving difference": (lfilter([1, -0.5], [1], noise)[:, 400:], None),
        "AR(2), daily cycle": (cycle, None),
        "AR(1) 0.9 and noise, 4:9": (slow + 1.5 * noise[:, :n], None),
        "long memory, d = 0.3": (_long_memory(noise, 0.3)[:, 400:], None),
        "lognormal": (np.exp(noise[:, :n]) - np.exp(0.5), None),
        "lognormal of AR(1) 0.8": (np.exp(ar1(rng, 0.8, trials, n)) - np.exp(0.5), None),
        "Student's t, 3": (rng.standard_t(3, (trials, n)), None),
        "AR(1) 0.5, loud by night": (ar1(rng, 0.5, trials, n) * np.where(t % 24 < 12, 0.3, 1.5), None),
        "AR(1) 0.5, 30 % missing": (missing, None),
        "8 h a day, AR(1) 0.8": (of_hours(rng, 0.8, days, trials), days),
        "8 h a day, AR(1) 0.95": (of_hours(rng, 0.95, days, trials), days),
        "two weeks apart, AR(1) 0.8": (of_hours(rng, 0.8, two, trials), two),
        "random walk (about its start)": (np.cumsum(noise[:, :n], axis=1), None),
        "trend and noise": (3 * (t - t.mean()) / n + 0.3 * noise[:, :n], None),
    }


def _long_memory(noise, d: float) -> np.ndarray:
    steps = np.arange(1, noise.shape[-1])
    return lfilter(np.cumprod(np.r_[1, (steps - 1 + d) / steps]), [1], noise)


def show(label: str, columns: dict[str, str]) -> None:
    print(label, *(f"{name} {value}" for name, value in columns.items()), sep=" | ", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--other", action="store_true", help="series that are not AR(1)")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    for n in LENGTHS:
        if options.other:
            for name, (values, hours) in others(rng, n, options.trials).items():
                show(f"n {n}, {name}", {"mean": coverage(interval(means_of(values, hours)), 0)})
            continue
        for phi in LAGS:
            columns = means(rng, phi, n, options.trials) | curved(rng, phi, n, options.trials)
            show(f"n {n}, lag 1 {phi}", columns)
            few = options.trials // 5
            show(f"n {n}, lag 1 {phi}, two runs of one law, p < .05", comparisons(rng, phi, n, few))
            show(f"n {n}, lag 1 {phi}", lengths(rng, phi, n, few) | bands(np.random.default_rng(1), phi, n, few // 2))


if __name__ == "__main__":
    main()
