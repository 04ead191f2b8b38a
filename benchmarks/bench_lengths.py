"""Measure lengths and patch advice on fields whose law is known, in domains of few of their lengths.

    python benchmarks/bench_lengths.py [--laws exponential gaussian] [--times 4 16 64] [--trials 20] [--cells 48]

Gaussian fields, exact by circulant embedding, in domains of 1, 2, 3, 5 and 10 lengths. Of each: the 1/e length over
the truth (median; "-" where most do not reach it within half the domain) less the mean of all and less each field's
own; how often the domain is said to be too small or the times too few, and a patch is advised; the side advised over
the length, the correlation between its middle and edge as claimed and as it is, and how often the interval
claimed holds that.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr
from scipy.fft import next_fast_len
from scipy.optimize import brentq

from labkit.verify.autocorrelation import autocorrelation, decorrelation_lengths
from labkit.verify.patch_size import recommend_patch, remaining, unknown_sentence
from labkit.verify.reach import reach

DOMAINS = (1, 2, 3, 5, 10)  # lengths
LAWS: dict[str, Callable] = {  # correlation at distances in units of the length
    "exponential": lambda r: np.exp(-r),
    "matern32": lambda r: (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r),
    "matern52": lambda r: (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r),
    "gaussian": lambda r: np.exp(-(r**2) / 2),
}


def known_fields(
    rng: np.random.Generator, times: int, shape: tuple[int, int], lengths: tuple[float, float], law: Callable
) -> xr.DataArray:
    """Independent fields (time, y, x) of unit variance and a law of distance, lengths (y, x) in cells."""
    size = [next_fast_len(int(n + 8 * length) + 1) for n, length in zip(shape, lengths, strict=True)]
    y, x = (np.minimum(np.arange(n), n - np.arange(n)) / length for n, length in zip(size, lengths, strict=True))
    power = np.fft.fft2(law(np.hypot(y[:, None], x))).real.clip(0)
    noise = np.fft.fft2(rng.standard_normal((times, *size)))
    fields = np.fft.ifft2(noise * np.sqrt(power / power.mean())).real
    return xr.DataArray(fields[:, : shape[0], : shape[1]], dims=("time", "y", "x"))


def folds(fields: xr.DataArray, length: float, law: Callable) -> dict[str, float]:
    """1/e lengths along x over the truth, infinite where not reached within half the domain."""
    true = length * brentq(lambda r: law(r) - np.exp(-1), 0.1, 9)
    options = {"spacing_km": (1.0, 1.0), "direction": "x"}
    found = {c: decorrelation_lengths(autocorrelation(fields, centre=c, **options)).e_folding for c in ("all", "each")}
    return {f"1/e, {c}": float(value.fillna(np.inf)) / true for c, value in found.items()}


def advised(fields: xr.DataArray, length: float, law: Callable) -> dict[str, float | str]:
    """What is advised along x, and what is claimed of it."""
    shape = (fields.sizes["y"], fields.sizes["x"])
    found = reach(fields, spacing_km=(1.0, 1.0)).expand_dims(variable=["field"])
    advice = recommend_patch(found, spacing_km=(1.0, 1.0), shape=shape)
    one = found.isel(variable=0).sel(direction="x")
    if np.isnan(one.side_high):
        return {"said": "small" if "domain is too small" in unknown_sentence(one, "Along x") else "few"}
    left = remaining(found, advice.patch, shape=shape).isel(variable=0).sel(direction="x")
    true = float(law((advice.patch[1] + 1) // 2 / length))
    held = bool(left.low <= true <= left.high)
    return {
        "said": "advised",
        "side": advice.patch[1] / length,
        "claimed": float(left.half),
        "true": true,
        "held": held,
    }


def row(law: str, times: int, lengths: int, *, trials: int, cells: int) -> dict:
    """One line of the table."""
    found, length = [], cells / lengths
    for trial in range(trials):
        rng = np.random.default_rng([times, lengths, trial])
        fields = known_fields(rng, times, (cells, cells), (length, length), LAWS[law])
        found.append(folds(fields, length, LAWS[law]) | advised(fields, length, LAWS[law]))
    table = pd.DataFrame(found).reindex(columns=["1/e, all", "1/e, each", "said", "side", "claimed", "true", "held"])
    said = {f"said {word}": (table.said == word).mean() for word in ("small", "few", "advised")}
    middle = table[["1/e, all", "1/e, each"]].median().replace(np.inf, np.nan)
    rest = table[["side", "claimed", "true", "held"]].astype(float).mean()
    return {"law": law, "times": times, "lengths": lengths} | middle.to_dict() | said | rest.to_dict()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--laws", nargs="+", choices=LAWS, default=["exponential"])
    parser.add_argument("--times", nargs="+", type=int, default=[4, 16, 64])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--cells", type=int, default=48)
    args = parser.parse_args()
    size = {"trials": args.trials, "cells": args.cells}
    rows = [row(law, times, n, **size) for law in args.laws for times in args.times for n in DOMAINS]
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda value: f"{value:.2f}", na_rep="-"))


if __name__ == "__main__":
    main()
