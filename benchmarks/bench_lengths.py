"""Measure lengths and patch advice on fields whose law is known, in domains of few of their lengths.

    python benchmarks/bench_lengths.py [--laws exponential noise] [--masks none half] [--persistence 0 0.8]
        [--times 4 16 32] [--lengths 5 10] [--trials 20] [--cells 48] [--seed 0]

Gaussian fields, exact by circulant embedding, in domains of 1, 2, 3, 5 and 10 lengths, whole or with half the cells
missing in patches; "anisotropic": exponential in a domain half as long along y, as are its lengths; "noise":
exponential, and one constant a time with 2 % of the variance. persistence: correlation of one time and the next. Both
directions count. Of each: the 1/e length over the truth (median; "-" where most do not reach it within half the domain)
less the mean of all and less each field's own; how often the domain is said to be too small or the times too few, and a
patch is advised; how often one that is `short` of what the law needs, by more than a cell; and of the patches advised
their side over that (median), how often the interval of the side holds it, and that of the correlation between the
middle of the patch and its edge the true one. The second table is of all laws and masks together.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr
from scipy import fft, signal
from scipy.optimize import brentq

from labkit.verify.autocorrelation import autocorrelation, decorrelation_lengths
from labkit.verify.patch_size import recommend_patch, remaining, unknown_sentence
from labkit.verify.reach import TOLD, reach

DOMAINS = (1, 2, 3, 5, 10)  # lengths
CONSTANT = 0.02  # of the variance
LAWS: dict[str, Callable] = {  # correlation at distances in units of the length
    "exponential": lambda r: np.exp(-r),
    "matern32": lambda r: (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r),
    "matern52": lambda r: (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r),
    "gaussian": lambda r: np.exp(-(r**2) / 2),
    "anisotropic": lambda r: np.exp(-r),
    "noise": lambda r: (1 - CONSTANT) * np.exp(-r) + CONSTANT,
}
MASKS = ("none", "half")
CASE = ["law", "mask", "persistence", "times", "lengths"]
SHOWN = ["1/e, all", "1/e, each", "said", "side", "short", "held", "rho held"]


def known_fields(
    rng: np.random.Generator, times: int, shape: tuple[int, int], lengths: tuple[float, float], law: Callable
) -> xr.DataArray:
    """Independent fields (time, y, x) of unit variance and a law of distance, lengths (y, x) in cells."""
    size = [fft.next_fast_len(int(n + 8 * length) + 1) for n, length in zip(shape, lengths, strict=True)]
    y, x = (np.minimum(np.arange(n), n - np.arange(n)) / length for n, length in zip(size, lengths, strict=True))
    power = fft.fft2(law(np.hypot(y[:, None], x))).real.clip(0)
    two = rng.standard_normal((2, -(-times // 2), *size)) * np.sqrt(power / power.mean())
    waves = fft.ifft2(two[0] + 1j * two[1], norm="ortho")[:, : shape[0], : shape[1]]  # two fields each
    return xr.DataArray(np.concatenate([waves.real, waves.imag])[:times], dims=("time", "y", "x"))


def persistent(fields: xr.DataArray, correlation: float) -> xr.DataArray:
    """Fields of the same law of which each resembles the one before."""
    fresh = np.sqrt(1 - correlation**2) * fields.values
    fresh[0] = fields[0]
    return fields.copy(data=signal.lfilter([1.0], [1.0, -correlation], fresh, axis=0))


def half_known(fields: xr.DataArray, rng: np.random.Generator) -> xr.DataArray:
    """The fields without half of their cells, always the same ones, in patches of a tenth of the domain."""
    shape = (fields.sizes["y"], fields.sizes["x"])
    land = known_fields(rng, 1, shape, (shape[0] / 20, shape[1] / 20), LAWS["gaussian"])[0]
    return fields.where(land > float(land.median()))


def folds(fields: xr.DataArray, direction: str, true: float) -> dict[str, float]:
    """1/e lengths along a direction over the truth, infinite where not reached within half the domain."""
    options = {"spacing_km": (1.0, 1.0), "direction": direction}
    found = {c: decorrelation_lengths(autocorrelation(fields, centre=c, **options)).e_folding for c in ("all", "each")}
    return {f"1/e, {c}": float(value.fillna(np.inf)) / true for c, value in found.items()}


def advised(found: xr.Dataset, direction: str, shape: tuple[int, int], length: float, law: Callable) -> dict:
    """What is advised along a direction, and what is claimed of it."""
    advice = recommend_patch(found, spacing_km=(1.0, 1.0), shape=shape)
    patch, cells = advice.patch[direction == "x"], shape[direction == "x"]
    one = found.isel(variable=0).sel(direction=direction)
    if np.isnan(one.side_high):
        return {"said": "small" if "domain is too small" in unknown_sentence(one, "Here") else "few"}
    need = 2 * length * brentq(lambda r: law(r) ** 2 - TOLD, 0.01, 20)
    left = remaining(found, advice.patch, shape=shape).isel(variable=0).sel(direction=direction)
    inside = float(left.low) <= law((patch + 1) // 2 / length) <= float(left.high)
    return {
        "said": "advised",
        "side": patch / need,
        "short": patch < min(need, cells) - 1,
        "held": bool(one.side_low <= need <= one.side_high),
        "rho held": np.nan if np.isnan(left.low) else inside,
    }


def trial(
    number: int, *, law: str, mask: str, persistence: float, times: int, lengths: int, cells: int, seed: int
) -> list[dict]:
    """What one set of fields tells along y and x."""
    rng = np.random.default_rng([seed, times, lengths, number])
    shape = (cells // 2 if law == "anisotropic" else cells, cells)
    sizes = (shape[0] / lengths, shape[1] / lengths)
    fields = known_fields(rng, times, shape, sizes, LAWS["exponential" if law == "noise" else law])
    if law == "noise":
        constant = xr.DataArray(rng.standard_normal(times), dims="time")
        fields = np.sqrt(1 - CONSTANT) * fields + np.sqrt(CONSTANT) * constant
    fields = persistent(fields, persistence)
    fields = half_known(fields, rng) if mask == "half" else fields
    found = reach(fields, spacing_km=(1.0, 1.0)).expand_dims(variable=["field"])
    fold = brentq(lambda r: LAWS[law](r) - np.exp(-1), 0.1, 9)
    return [
        folds(fields, direction, size * fold) | advised(found, direction, shape, size, LAWS[law])
        for direction, size in zip(("y", "x"), sizes, strict=True)
    ]


def summary(found: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """A line for each case, of the columns of `by` alone."""
    said = pd.DataFrame({word: found.said == word for word in ("small", "few", "advised")})
    short = found.short.eq(True)  # of all: a patch that is not advised does no harm
    middle, shares = ["1/e, all", "1/e, each", "side"], ["small", "few", "advised", "short", "held", "rho held"]
    groups = found.assign(short=short, **said).astype(dict.fromkeys(shares, float)).groupby(by, sort=False)
    table = groups[middle].median().replace(np.inf, np.nan).join(groups[shares].mean())
    return table[[*middle[:2], *shares[:4], middle[2], *shares[4:]]].reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--laws", nargs="+", choices=LAWS, default=["exponential"])
    parser.add_argument("--masks", nargs="+", choices=MASKS, default=["none"])
    parser.add_argument("--persistence", nargs="+", type=float, default=[0.0])
    parser.add_argument("--times", nargs="+", type=int, default=[4, 16, 32])
    parser.add_argument("--lengths", nargs="+", type=int, default=DOMAINS)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--cells", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    cases = itertools.product(args.laws, args.masks, args.persistence, args.times, args.lengths)
    found = []
    for case in (dict(zip(CASE, values, strict=True)) for values in cases):
        for number in range(args.trials):
            found += [case | one for one in trial(number, cells=args.cells, seed=args.seed, **case)]
    for by in (CASE, CASE[2:]):  # the second of all laws and masks together
        table = summary(pd.DataFrame(found).reindex(columns=[*CASE, *SHOWN]), by)
        print(table.to_string(index=False, float_format=lambda value: f"{value:.2f}", na_rep="-"), end="\n\n")


if __name__ == "__main__":
    main()
