"""The patch follows from the reach: large enough, no larger than needed, whole multiples, and honest warnings."""

import math

import numpy as np
import pytest
import xarray as xr

from labkit.errors import ConfigError
from labkit.verify.patch_size import (
    configuration,
    cover_cost,
    data_warnings,
    reach_warnings,
    recommend_patch,
    upstream_cover,
)


def reach(zero, high=None, fold=None):
    """zero, high, fold: (variable, (y, x)) in km."""
    zero = np.asarray(zero, float)
    values = {
        "zero_crossing": zero,
        "high": zero if high is None else high,
        "e_folding": zero / 4 if fold is None else fold,
    }
    data = {name: (("variable", "direction"), np.asarray(array, float)) for name, array in values.items()}
    return xr.Dataset(data, coords={"variable": ["t2m", "u10"][: len(zero)], "direction": ["y", "x"]})


def test_the_patch_holds_the_farthest_variable_along_each_axis():
    advice = recommend_patch(reach([[30, 50], [60, 20]]), spacing_km=(2.0, 1.0), shape=(448, 400))
    assert advice.patch == (30, 50)  # 60 km of 2 km cells, 50 km of 1 km cells
    assert advice.limiting == ("u10", "t2m")
    assert advice.needed_km == (60, 50)
    assert not advice.warnings


def test_it_is_the_upper_bound_that_counts_and_whole_multiples():
    found = reach([[30, 30]], high=[[41, 33]])
    assert recommend_patch(found, spacing_km=(1.0, 1.0), shape=(448, 448), multiple=16).patch == (48, 48)
    assert recommend_patch(found, spacing_km=(1.0, 1.0), shape=(448, 448), multiple=(1, 8)).patch == (41, 40)


@pytest.mark.parametrize("dx", [0.5, 1.0, 3.0])
def test_a_distance_in_km_is_so_many_cells(dx):
    advice = recommend_patch(reach([[24, 24]]), spacing_km=(dx, dx), shape=(448, 448))
    assert advice.patch == (24 / dx, 24 / dx)
    assert advice.overlap == 6 / dx


def test_a_field_that_never_forgets_takes_the_whole_domain_and_says_so():
    advice = recommend_patch(reach([[np.nan, 20], [30, 30]]), spacing_km=(1.0, 1.0), shape=(70, 70), multiple=16)
    assert advice.patch == (64, 32)
    assert np.isnan(advice.needed_km[0]) and "take all of it" in advice.reasons[0]
    assert any("half the domain along y" in sentence for sentence in advice.warnings)  # 64 of 70


def test_a_patch_that_is_the_domain_has_no_neighbours():
    advice = recommend_patch(reach([[np.nan, np.nan]]), spacing_km=(1.0, 1.0), shape=(64, 64), multiple=8)
    assert advice.patch == (64, 64) and advice.overlap == 0 and not advice.warnings


def test_too_small_a_patch_is_named_with_the_variable_and_the_distance():
    said = reach_warnings(reach([[30, 50], [60, 20]]), (20, 20), spacing_km=(2.0, 2.0), shape=(448, 448))
    assert said == [
        "u10 reaches zero at 60 km along y, beyond the patch of 40 km",
        "t2m reaches zero at 50 km along x, beyond the patch of 40 km",
    ]
    assert reach_warnings(reach([[np.nan, np.nan]]), (64, 64), spacing_km=(1.0, 1.0), shape=(64, 64)) == []


def test_a_domain_smaller_than_the_smallest_patch_is_refused():
    with pytest.raises(ConfigError, match="found 12 cells along y, expected at least 16"):
        recommend_patch(reach([[5, 5]]), spacing_km=(1.0, 1.0), shape=(12, 64), multiple=16)


@pytest.mark.parametrize("km", [1, 9, 17, 40])
@pytest.mark.parametrize("align", [(8, 8), (1, 16)])
def test_what_is_recommended_can_be_laid_on_coarse_cells(km, align):
    found = reach([[km, km]], fold=[[km, km]])
    multiple = tuple(math.lcm(4, a) for a in align)
    advice = recommend_patch(found, spacing_km=(1.0, 1.0), shape=(64, 64), multiple=multiple, align=align)
    cost = cover_cost((64, 64), advice.patch, advice.overlap, align=align)  # raises where it cannot be
    assert cost.patches > 1 and advice.overlap > 0


def test_guidance_on_coarsening_and_samples():
    right = {"coarsening": (8, 11), "inferred": True, "samples": 6000, "patch": (16, 16), "shape": (64, 48)}
    assert data_warnings(**right) == []  # 12 patches a field
    assert "coarsening by 12, beyond the 11" in data_warnings(**right | {"coarsening": (4, 12)})[0]
    assert data_warnings(**right | {"coarsening": (16, 16), "inferred": False}) == []
    assert (
        "beyond the 16 advised for the same" in data_warnings(**right | {"coarsening": (17, 4), "inferred": False})[0]
    )
    assert "48,000 samples" in data_warnings(**right | {"samples": 4000})[0]


@pytest.mark.parametrize(
    ("length", "patch", "overlap", "boundary", "count", "padded"),
    [
        (448, 224, 4, 2, 3, 662),
        (64, 32, 4, 2, 3, 86),
        (1056, 448, 4, 2, 3, 1334),
        (1792, 448, 4, 2, 5, 2218),
        (16, 10, 4, 2, 4, 24),
    ],
)
def test_upstreams_patches_are_those_of_its_own_code(length, patch, overlap, boundary, count, padded):
    """Counts and padded lengths measured by running CorrDiff's patching."""
    assert upstream_cover(length, patch, overlap, boundary) == (count, padded)


def test_cost_of_covering():
    whole = cover_cost((64, 48), (64, 48), 8)
    assert (whole.patches, whole.waste) == (1, 1)
    halves = cover_cost((64, 64), (32, 32), 0)
    assert (halves.patches, halves.waste) == (4, 1)
    shared = cover_cost((64, 64), (32, 32), 4)
    assert (shared.counts, shared.waste) == ((3, 3), 9 / 4)  # as upstream's, which pads where ours overlaps more
    assert cover_cost((64, 64), (32, 64), 4).counts == (3, 1)
    assert cover_cost((64, 64), (16, 16), 4).counts == (5, 5)
    assert cover_cost((64, 64), (16, 16), 4, align=(8, 1)).counts == (7, 5)  # they begin at coarse cells of eight


def test_configuration_is_read_by_the_recipe():
    import yaml

    from labkit.recipes import corrdiff

    lines = configuration((32, 48), 8)
    patch = yaml.safe_load(lines["labkit"])["patch"]
    config = corrdiff.load_preset("nano", [f"patch={patch}"])
    assert config.patch.shape == (32, 48) and config.patch.overlap == 8
    assert yaml.safe_load(lines["CorrDiff"])["generation.overlap_pix"] == 8
