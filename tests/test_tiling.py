"""Laws of tilings: every cell is covered, nothing sticks out, and weights are a smooth partition of unity."""

import numpy as np
import pytest

from labkit.errors import ConfigError
from labkit.tiling import tile_weights, tiles

CASES = [
    (96, 32, 8, 1),
    (97, 32, 8, 1),
    (448, 224, 6, 1),
    (100, 64, 60, 1),
    (64, 64, 9, 1),
    (128, 48, 10, 8),
    (5, 1, 0, 1),
]


@pytest.mark.parametrize(("length", "patch", "overlap", "align"), CASES)
def test_tiles_cover_the_domain_and_end_with_it(length, patch, overlap, align):
    starts = tiles(length, patch, overlap, align=align)
    assert starts[0] == 0 and starts[-1] + patch == length
    assert (starts % align == 0).all()
    assert (patch - np.diff(starts) >= overlap).all()


@pytest.mark.parametrize(("length", "patch", "overlap", "align"), CASES)
def test_no_fewer_tiles_would_do(length, patch, overlap, align):
    n = len(tiles(length, patch, overlap, align=align))
    reach = (patch - overlap) // align * align
    assert n == 1 or patch + (n - 2) * reach < length


def test_tiles_are_spread_evenly():
    steps = np.diff(tiles(1059, 128, 16))
    assert steps.max() - steps.min() <= 1


@pytest.mark.parametrize("boundary", [0, 2])
@pytest.mark.parametrize(("length", "patch", "overlap", "align"), CASES[:6])
def test_weights_sum_to_one_everywhere(length, patch, overlap, align, boundary):
    starts = tiles(length, patch, overlap, align=align)
    weights = tile_weights(length, patch, starts, boundary=boundary)
    total = np.zeros(length)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + patch] += weight
    np.testing.assert_allclose(total, 1, atol=1e-12)
    assert (weights >= 0).all()


def test_boundary_cells_count_nothing_but_at_the_domains_edge():
    weights = tile_weights(80, 32, tiles(80, 32, 8), boundary=3)
    assert (weights[1][:3] == 0).all() and (weights[1][-3:] == 0).all()
    assert (weights[0][:3] == 1).all() and (weights[-1][-3:] == 1).all()


def test_weights_are_smooth_across_the_overlap():
    # A raised cosine over n cells climbs at most pi / (2 n) a cell; a uniform mean would jump by a half.
    starts = tiles(112, 64, 16)
    weight = tile_weights(112, 64, starts)[1]
    assert np.abs(np.diff(weight, prepend=0.0)).max() <= np.pi / 32
    assert (np.diff(weight) >= 0).all()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [((64, 65, 0), "1 to 64"), ((64, 32, 32), "0 to 31"), ((64, 32, -1), "0 to 31"), ((64, 0, 0), "1 to 64")],
)
def test_what_cannot_be_tiled_is_refused(arguments, what):
    with pytest.raises(ConfigError, match=what):
        tiles(*arguments)


def test_tiles_that_break_blocks_are_refused():
    with pytest.raises(ConfigError, match="whole blocks of 8"):
        tiles(64, 20, 4, align=8)


def test_a_boundary_wider_than_half_of_what_is_shared_is_refused():
    with pytest.raises(ConfigError, match="half of what they share"):
        tile_weights(48, 32, tiles(48, 32, 6), boundary=9)
