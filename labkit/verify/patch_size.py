"""Which patch to train a diffusion model with: from how far its fields know of themselves, and what that costs.

A patch is large enough when a cell beyond its edge tells little of the variance in its middle, for every variable, with
the uncertainty of that (`labkit.verify.reach`). CorrDiff's documentation advises the distance at which the
autocorrelation reaches zero, which a correlation need not do, and which any curve does once each field's own mean is
taken off: that distance is said beside. Its other guidance is kept: coarsening by no more than 16, or 11 where
variables are inferred; at least 50,000 samples, of which each patch is one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import xarray as xr

from labkit.errors import ConfigError
from labkit.tiling import tiles
from labkit.verify.reach import TOLD, TREND

MAX_COARSENING = 16
MAX_COARSENING_INFERRED = 11
MIN_SAMPLES = 50_000


@dataclass(frozen=True)
class Advice:
    """patch (y, x) and overlap in cells; needed_km (y, x) that the patch holds, NaN where the domain is too small or
    there are too few times to tell; limiting: the variable that decides along y and along x; reasons and warnings:
    sentences."""

    patch: tuple[int, int]
    overlap: int
    needed_km: tuple[float, float]
    limiting: tuple[str, str]
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Cost:
    """Of covering a domain by patches: how many along (y, x), and the cells computed over those of the domain."""

    counts: tuple[int, int]
    waste: float

    @property
    def patches(self) -> int:
        return self.counts[0] * self.counts[1]


def recommend_patch(
    reach: xr.Dataset,
    *,
    spacing_km: tuple[float, float],
    shape: tuple[int, int],
    multiple: int | tuple[int, int] = 1,
    align: tuple[int, int] = (1, 1),
) -> Advice:
    """The smallest patch that surely is large enough for every variable, in whole multiples of cells.

    reach: `labkit.verify.reach.reach` over (variable, direction). It is the upper end of the interval that counts, and
    where there is none the whole domain is taken: what is least known never gets the smallest patch. multiple: cells
    that a side must be a multiple of, such as the network's downsampling factor, along (y, x) or both. align: cells at
    whose multiples patches begin, such as those of a coarse cell; a patch holds two of these, so that neighbours can
    share one. Raises ConfigError where the domain is none.
    """
    multiples = (multiple, multiple) if isinstance(multiple, int) else tuple(multiple)
    sides, needed, limiting, reasons = [], [], [], []
    for i, direction in enumerate(("y", "x")):
        most = shape[i] // multiples[i] * multiples[i]
        if most == 0:
            raise ConfigError(
                "patch size",
                found=f"{shape[i]} cells along {direction}",
                expected=f"at least {multiples[i]}, the smallest patch of this network",
                todo="choose a network with fewer levels, or a larger domain",
            )
        name, km, sentence = _decide(reach.sel(direction=direction), direction)
        cells = most if math.isnan(km) else math.ceil(km / spacing_km[i] - 1e-9)
        least = _round_up(2 * align[i], multiples[i])
        sides.append(min(max(_round_up(cells, multiples[i]), least), most))
        needed.append(km)
        limiting.append(name)
        reasons.append(sentence)
    patch = (sides[0], sides[1])
    overlap, why = _overlap(reach, spacing_km, patch) if patch != tuple(shape) else (0, "One patch covers the domain.")
    warnings = reach_warnings(reach, patch, spacing_km=spacing_km, shape=shape)
    reasons += [why, zero_sentence(reach)]
    return Advice(patch, overlap, tuple(needed), tuple(limiting), tuple(reasons), tuple(warnings))


def reach_warnings(
    reach: xr.Dataset, patch: tuple[int, int], *, spacing_km: tuple[float, float], shape: tuple[int, int]
) -> list[str]:
    """One sentence for each variable and direction of which a patch may miss more than `TOLD`, or nobody can tell, and
    for each with a trend."""
    said, missed = [], remaining(reach, patch, shape=shape)
    for i, direction in enumerate(("y", "x")):
        side = patch[i] * spacing_km[i]
        for name in reach.variable.values:
            one = reach.sel(variable=name, direction=direction)
            if math.isnan(one.side_high):
                said.append(unknown_sentence(one, f"Along {direction}"))
            elif patch[i] < shape[i] and side < float(one.side_high):
                told = told_sentence(missed.sel(variable=name, direction=direction))
                said.append(f"Along {direction} {name}: {told}; a patch of {side:.0f} km is too short")
            if one.trend > TREND:
                said.append(trend_sentence(str(name), float(one.trend), f"along {direction}"))
    return said


def trend_sentence(name: str, share: float, where: str) -> str:
    """What a trend does to lengths."""
    line = f"{share:.0%} of the variance of {name} is a straight line {where} across the domain"
    return f"{line} (a trend or a longer wave), which stretches its lengths: take it off, or look at a larger domain"


def remaining(reach: xr.Dataset, patch: tuple[int, int], *, shape: tuple[int, int]) -> xr.Dataset:
    """Correlation between the middle of a patch (y, x) and its edge, over (variable, direction): `half`, and its
    interval `low`, `high`. NaN where the patch fills the domain's side, so that nothing lies beyond, or not known."""
    sides = xr.DataArray(list(patch), dims="direction", coords={"direction": ["y", "x"]})
    cut = sides < xr.DataArray(list(shape), dims="direction", coords=sides.coords)
    cells, last = (sides + 1) // 2, reach.rho.sizes["cell"] - 1
    known = reach[["rho", "rho_low", "rho_high"]].sel(cell=xr.where(cells > last, 0, cells)).drop_vars("cell")
    return known.where((cells <= last) & cut).rename(rho="half", rho_low="low", rho_high="high").assign(cut=cut)


def told_sentence(missed: xr.Dataset) -> str:
    """What a patch misses of a variable along one direction, of `remaining`: how much of the variance in its middle the
    nearest cell beyond its edge could tell."""
    rho, low, high = (float(missed[name]) for name in ("half", "low", "high"))
    if not missed.cut:
        return "nothing lies beyond the patch"
    if math.isnan(rho):
        return "not known what a cell beyond the edge tells of the middle"
    sure = "too few independent times to say how sure" if math.isnan(low) else f"95 %: {_shares(low, high)}"
    return f"a cell beyond the edge tells {rho**2:.0%} of the variance in the middle ({sure}; correlation {rho:.2f})"


def unknown_sentence(one: xr.Dataset, where: str) -> str:
    """Why it is not known which patch a variable needs: the domain is too small, or there are too few times."""
    name, times, known = str(one["variable"].values), int(one.times), one.dropna("cell", how="all", subset=["rho"])
    if not known.sizes["cell"]:
        return f"{where} {name}: one time is too few to tell how far it reaches, its mean may be part of a longer wave"
    rho, low, high = (float(known[bound][-1]) for bound in ("rho", "rho_low", "rho_high"))
    half = f"at half of it the correlation is {rho:.2f}"
    if math.isnan(one.side) and low > 0:
        why = f"{half} ({low:.2f} to {high:.2f}, 95 %), and it may have a trend or a longer wave"
        return f"{where} this domain is too small to tell how far {name} reaches: {why}"
    small = f", and the domain may be too small: {half}" if math.isnan(one.side) else ""
    return f"{where} {name}: {times} times are too few to tell how far it reaches{small}"


def zero_sentence(reach: xr.Dataset) -> str:
    """CorrDiff's own rule, which decides nothing here: the farthest first zero along y and along x."""
    said = []
    for direction in ("y", "x"):
        zero = reach.zero_crossing.sel(direction=direction)
        name = str(zero.idxmax("variable").values) if zero.notnull().all() else None
        said.append(f"{float(zero.max()):.0f} km along {direction} ({name})" if name else f"none along {direction}")
    return f"CorrDiff's rule, the first zero of the autocorrelation within half the domain: {', '.join(said)}."


def data_warnings(
    *, coarsening: Sequence[int], inferred: bool, samples: int, patch: tuple[int, int], shape: tuple[int, int]
) -> list[str]:
    """What the guidance says of a data set. coarsening: fine cells a coarse cell along (y, x); inferred: whether
    variables are drawn that the input does not have; samples: fields to train on, each of which gives many patches."""
    said, most = [], MAX_COARSENING_INFERRED if inferred else MAX_COARSENING
    if max(coarsening) > most:
        kind = "where variables are inferred that the input has not" if inferred else "for the same variables"
        said.append(f"coarsening by {max(coarsening)}, beyond the {most} advised {kind}")
    patches = samples * patches_of(shape, patch)
    if patches < MIN_SAMPLES:
        said.append(f"{patches:,} samples (of which each patch is one), below the {MIN_SAMPLES:,} advised")
    return said


def patches_of(shape: tuple[int, int], patch: tuple[int, int]) -> int:
    """How many patches side by side a field gives: independent samples, as a rough count."""
    return math.prod(max(n // p, 1) for n, p in zip(shape, patch, strict=True))


def cover_cost(
    shape: tuple[int, int], patch: tuple[int, int], overlap: int, *, align: tuple[int, int] = (1, 1)
) -> Cost:
    """What it takes to draw the whole domain with patches that share at least `overlap` cells and begin at multiples
    of `align`, such as the fine cells of a coarse one."""
    sides = zip(shape, patch, align, strict=True)
    counts = tuple(len(tiles(n, p, overlap if p < n else 0, align=a)) for n, p, a in sides)
    return Cost(counts, math.prod(counts) * math.prod(patch) / math.prod(shape))


def upstream_cover(length: int, patch: int, overlap: int, boundary: int) -> tuple[int, int]:
    """CorrDiff's own patches along one side: how many, and the padded length (as run, November 2026)."""
    stride = patch - overlap - boundary
    count = math.ceil(length / stride)
    return count, stride * (count - 1) + patch + boundary


def configuration(patch: tuple[int, int], overlap: int) -> Mapping[str, str]:
    """The lines that train with this patch: by whose configuration they are."""
    height, width = patch
    return {
        "labkit": f"patch:\n  shape: [{height}, {width}]\n  overlap: {overlap}",
        "CorrDiff": f"training.hp.patch_shape_y: {height}\ntraining.hp.patch_shape_x: {width}\n"
        f"generation.overlap_pix: {overlap}\ngeneration.boundary_pix: {max(overlap // 2, 1) if overlap else 0}",
    }


def _decide(reach: xr.Dataset, direction: str) -> tuple[str, float, str]:
    """The variable that needs the longest side along a direction, that side (km), and the sentence that says so."""
    unknown = reach.side_high.isnull().values
    if unknown.any():
        one = reach.isel(variable=int(unknown.argmax()))
        return (
            str(one["variable"].values),
            math.nan,
            f"{unknown_sentence(one, f'Along {direction}')}. All of it is taken.",
        )
    one = reach.isel(variable=int(reach.side_high.values.argmax()))
    name, low, side, high = str(one["variable"].values), *(float(one[k]) for k in ("side_low", "side", "side_high"))
    need = f"{side:.0f} km ({low:.0f} to {high:.0f}, 95 %)"
    why = f"so that a cell beyond the edge tells less than {TOLD:.0%} of the middle"
    return name, high, f"Along {direction} {name} needs most: {need}, {why}."


def _shares(low: float, high: float) -> str:
    """Shares of the variance that go with an interval of a correlation."""
    least = 0.0 if low <= 0 <= high else min(low**2, high**2)
    return f"{least:.0%} to {max(low**2, high**2):.0%}"


def _overlap(reach: xr.Dataset, spacing_km: tuple[float, float], sides: Sequence[int]) -> tuple[int, str]:
    """Cells that neighbours should share: so many that what both draw has lost its common memory across them."""
    fold = float(reach.e_folding.max())
    if math.isnan(fold):
        return min(sides) // 2, "Neighbours share half a patch: the correlation never falls to 1/e."
    cells, most = math.ceil(fold / min(spacing_km) - 1e-9), min(sides) // 2
    if cells > most:
        return most, f"Neighbours share {most} cells, half a patch; the correlation falls to 1/e only at {fold:.0f} km."
    return cells, f"Neighbours share {cells} cells, over which the correlation falls to 1/e ({fold:.0f} km)."


def _round_up(cells: int, multiple: int) -> int:
    return -(-cells // multiple) * multiple
