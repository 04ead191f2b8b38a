"""Which patch to train a diffusion model with: from how far its fields know of themselves, and what that costs.

The guidance is CorrDiff's own (its documentation: choose the patch at the distance where the autocorrelation reaches
zero; coarsening by no more than 16, or 11 where variables are inferred; at least 50,000 samples, of which each patch is
one). Here the distance is that of the residual where a regression is at hand, of all variables, with its uncertainty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from labkit.errors import ConfigError
from labkit.tiling import tiles

MAX_COARSENING = 16
MAX_COARSENING_INFERRED = 11
MIN_SAMPLES = 50_000


@dataclass(frozen=True)
class Advice:
    """patch (y, x) and overlap in cells; needed_km (y, x) that the patch holds, NaN where no distance within half the
    domain is enough; limiting: the variable that decides along y and along x; reasons and warnings: sentences."""

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
    """The smallest patch that holds the reach of every variable, in whole multiples of cells, within the domain.

    reach: over (variable, direction "y" and "x"), in km: `zero_crossing`, `high`, its upper bound (NaN: not known), and
    `e_folding`. A zero crossing that is NaN lies beyond half the domain. multiple: cells that a side must be a multiple
    of, such as the network's downsampling factor, along (y, x) or both. align: cells at whose multiples patches begin,
    such as those of a coarse cell; a patch holds two of these, so that neighbours can share one. Raises ConfigError
    where the domain is none.
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
    return Advice(patch, overlap, tuple(needed), tuple(limiting), (*reasons, why), tuple(warnings))


def reach_warnings(
    reach: xr.Dataset, patch: tuple[int, int], *, spacing_km: tuple[float, float], shape: tuple[int, int]
) -> list[str]:
    """One sentence for each variable and direction in which a patch is shorter than the distance to the first zero."""
    said = []
    for i, direction in enumerate(("y", "x")):
        if patch[i] >= shape[i]:
            continue
        side, where = patch[i] * spacing_km[i], f"along {direction}"
        for name in reach.variable.values:
            zero = float(reach.zero_crossing.sel(variable=name, direction=direction))
            if math.isnan(zero):
                said.append(f"{name} is correlated beyond half the domain {where}; no patch is sure to hold it")
            elif zero > side:
                said.append(f"{name} reaches zero at {zero:.0f} km {where}, beyond the patch of {side:.0f} km")
    return said


def remaining(reach: xr.Dataset, patch: tuple[int, int], *, shape: tuple[int, int]) -> xr.Dataset:
    """Correlation that is left at distances which a patch (y, x) does not hold, over (variable, direction).

    `half`: between its middle and its edge; `whole`: between its two edges, zero or less where the guidance is kept.
    reach: with `rho` over (variable, direction, cell), cells up to half the domain. NaN where the patch fills the
    domain's side, so that nothing lies beyond, and where the correlation is not known.
    """
    sides = xr.DataArray(list(patch), dims="direction", coords={"direction": ["y", "x"]})
    cut = sides < xr.DataArray(list(shape), dims="direction", coords=sides.coords)
    last, found = reach.rho.sizes["cell"] - 1, {}
    for name, cells in (("half", (sides + 1) // 2), ("whole", sides)):
        known = reach.rho.sel(cell=xr.where(cells > last, 0, cells)).drop_vars("cell")
        found[name] = known.where((cells <= last) & cut)
    return xr.Dataset(found)


def lost_sentence(name: str, rho: float) -> str:
    """What it means that a field is still correlated by `rho` between a patch's middle and its edge."""
    if math.isnan(rho):
        return f"{name}: nothing, the patch is the domain"
    share = max(rho, 0.0) ** 2
    return f"{name}: {rho:.2f} correlated from the middle to the edge, {share:.0%} of the variance told from beyond it"


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
    """The variable that reaches farthest along a direction, how far (km), and the sentence that says so."""
    zero = reach.zero_crossing.values
    names = [str(name) for name in reach.variable.values]
    if np.isnan(zero).any():
        name = names[int(np.isnan(zero).argmax())]
        return name, math.nan, f"Along {direction} {name} is correlated beyond half the domain: take all of it."
    high = np.where(np.isnan(reach.high.values), zero, reach.high.values)
    i = int(high.argmax())
    known = "upper bound not known" if np.isnan(reach.high.values[i]) else f"up to {high[i]:.0f} km, 95 %"
    return (
        names[i],
        float(high[i]),
        f"Along {direction} {names[i]} reaches farthest: zero at {zero[i]:.0f} km ({known}).",
    )


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
