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
    remaining,
    told_sentence,
    upstream_cover,
)


def reach(side, high=None, fold=None, *, zero=None, rho=0.1, sure=0.05, end=0.0, trend=0.0):
    """side, high, fold, zero: (variable, (y, x)) in km; rho within +- sure at all distances but the last, there end."""
    side = np.asarray(side, float)
    values = {
        "side": side,
        "side_low": side * 0.9,
        "side_high": side if high is None else high,
        "e_folding": side / 4 if fold is None else fold,
        "zero_crossing": side * np.nan if zero is None else zero,
        "trend": side * 0 + trend,
    }
    data = {name: (("variable", "direction"), np.asarray(array, float)) for name, array in values.items()}
    curve = np.broadcast_to(np.append(np.full(200, rho), end), (*side.shape, 201))
    for name, shift in (("rho", 0), ("rho_low", -sure), ("rho_high", sure)):
        data[name] = ("variable", "direction", "cell"), curve + shift
    coords = {"variable": ["t2m", "u10"][: len(side)], "direction": ["y", "x"], "cell": range(201), "times": 30}
    return xr.Dataset(data, coords=coords)


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
    found = reach([[np.nan, 20], [30, 30]], end=0.4)
    advice = recommend_patch(found, spacing_km=(1.0, 1.0), shape=(70, 70), multiple=16)
    assert advice.patch == (64, 32)
    assert np.isnan(advice.needed_km[0]) and "All of it is taken" in advice.reasons[0]
    said = "Along y this domain is too small to tell how far t2m reaches: at half of it the correlation is 0.40"
    assert advice.reasons[0].startswith(said) and any(sentence.startswith(said) for sentence in advice.warnings)


def test_the_least_certain_variable_never_gets_the_smallest_patch_without_a_word():
    """u10 would need 12 km along x, and nobody knows up to what: not 12 km, nor what t2m needs, but all, and why."""
    found = reach([[30, 30], [30, 12]], high=[[35, 35], [35, np.nan]])
    advice = recommend_patch(found, spacing_km=(1.0, 1.0), shape=(448, 448), multiple=16)
    assert advice.patch == (48, 448) and advice.limiting[1] == "u10"
    said = "Along x u10: 30 times are too few to tell how far it reaches"
    assert advice.reasons[1].startswith(said) and said in advice.warnings
    assert said in reach_warnings(found, (16, 16), spacing_km=(1.0, 1.0), shape=(448, 448))


def test_a_patch_that_is_the_domain_has_no_neighbours():
    found = reach([[np.nan, np.nan]], end=0.4)
    advice = recommend_patch(found, spacing_km=(1.0, 1.0), shape=(64, 64), multiple=8)
    assert advice.patch == (64, 64) and advice.overlap == 0
    assert all("too small to tell" in sentence for sentence in advice.warnings) and len(advice.warnings) == 2


def test_too_small_a_patch_is_named_with_the_variable_and_what_it_misses():
    found = reach([[30, 50], [60, 20]], rho=0.3)
    said = reach_warnings(found, (20, 20), spacing_km=(2.0, 2.0), shape=(448, 448))
    told = "a cell beyond the edge tells 9% of the variance in the middle (95 %: 6% to 12%; correlation 0.30)"
    assert said == [
        f"Along y u10: {told}; a patch of 40 km is too short",
        f"Along x t2m: {told}; a patch of 40 km is too short",
    ]
    assert reach_warnings(reach([[60, 60]]), (64, 64), spacing_km=(1.0, 1.0), shape=(64, 64)) == []


def test_what_a_patch_misses_is_the_square_of_a_correlation_of_either_sign():
    for rho, said in ((-0.4, "tells 16% of the variance in the middle (95 %: 12% to 20%"), (0.02, "95 %: 0% to 0%")):
        left = remaining(reach([[60, 60]], rho=rho), (20, 20), shape=(448, 448)).isel(variable=0, direction=0)
        assert said in told_sentence(left)
    unsure = remaining(reach([[60, 60]], sure=np.nan), (20, 20), shape=(448, 448)).isel(variable=0, direction=0)
    assert "too few independent times to say how sure" in told_sentence(unsure)
    whole = remaining(reach([[60, 60]]), (448, 20), shape=(448, 448)).isel(variable=0)
    assert told_sentence(whole.sel(direction="y")) == "nothing lies beyond the patch"


def test_upstreams_rule_is_one_line_and_decides_nothing():
    found = reach([[30, 30], [40, 40]], zero=[[200, np.nan], [90, 80]])
    advice = recommend_patch(found, spacing_km=(1.0, 1.0), shape=(448, 448))
    assert advice.patch == (40, 40)
    (rule,) = (text for text in advice.reasons if "first zero" in text)
    assert rule.endswith("within half the domain: 200 km along y (t2m), none along x.")


def test_a_trend_is_named():
    said = reach_warnings(reach([[30, 30]], trend=0.4), (48, 48), spacing_km=(1.0, 1.0), shape=(448, 448))
    assert len(said) == 2 and said[0].startswith("40% of the variance of t2m is a straight line along y")


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

    from labkit import recipes

    lines = configuration((32, 48), 8)
    patch = yaml.safe_load(lines["labkit"])["patch"]
    config = recipes.load_preset("nano", [f"patch={patch}"])
    assert config.patch.shape == (32, 48) and config.patch.overlap == 8
    assert yaml.safe_load(lines["CorrDiff"])["generation.overlap_pix"] == 8
