"""Laws of patching: weights sum to one, every patch meets its own place, the network's batch is bounded."""

import pytest
import torch

from labkit.diffusion.gaussian import exact_denoiser
from labkit.diffusion.noise_levels import edm_noise_levels
from labkit.diffusion.patches import PatchGrid, chunk_size, cut, fuse, members_at_once, patched
from labkit.diffusion.solvers import SOLVERS
from labkit.errors import ConfigError

GRIDS = [
    ((40, 52), (16, 24), {"overlap": 6}),
    ((41, 53), (16, 7), {"overlap": 3}),
    ((40, 52), (16, 24), {"overlap": 6, "align": (4, 4)}),
    ((40, 52), (16, 24), {"overlap": 6, "boundary": 2}),
    ((40, 52), (40, 20), {"overlap": 12}),
    ((16, 16), (16, 16), {"overlap": 8, "boundary": 2}),
    ((32, 64), (16, 16), {}),
]


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pixelwise(denoise):
    """A denoiser of patches out of one that looks at each pixel alone."""
    return lambda x, sigma, entry, corner: denoise(x, sigma)


@pytest.mark.parametrize(("shape", "patch", "options"), GRIDS)
def test_weights_sum_to_one_everywhere_and_smoothly(shape, patch, options):
    grid = PatchGrid.of(shape, patch, **options)
    total = torch.zeros(shape, dtype=torch.float64)
    for (y, x), weights in zip(grid.corners.tolist(), grid.weights, strict=True):
        assert 0 <= y <= shape[0] - patch[0] and 0 <= x <= shape[1] - patch[1]
        total[y : y + patch[0], x : x + patch[1]] += weights
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)
    assert grid.weights.min() >= 0
    if options.get("overlap", 0) > 5 and patch[0] < shape[0]:
        steps = grid.weights.diff(dim=1).abs().max()
        assert steps < 0.5  # a uniform mean of overlapping patches would step by a half


def test_cut_takes_each_patch_from_its_own_entry_and_place():
    fields = normal(3, 2, 20, 30)
    entry, corner = torch.tensor([2, 0, 2, 1]), torch.tensor([[0, 5], [7, 11], [13, 20], [3, 0]])
    patches = cut(fields, entry, corner, (6, 9))
    assert patches.shape == (4, 2, 6, 9)
    for found, b, (y, x) in zip(patches, entry, corner.tolist(), strict=True):
        assert torch.equal(found, fields[b, :, y : y + 6, x : x + 9])


@pytest.mark.parametrize(("shape", "patch", "options"), GRIDS)
@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_a_pixelwise_denoiser_is_the_same_in_patches(shape, patch, options, batch_size):
    """Another mean and spread at every pixel and another level for each entry, so that nothing may be mixed up."""
    grid = PatchGrid.of(shape, patch, **options)
    mean, std = normal(3, 2, *shape, seed=1), 0.5 + normal(3, 2, *shape, seed=2).abs()
    x, sigma = normal(3, 2, *shape), torch.tensor([0.1, 1.0, 7.0], dtype=torch.float64)

    def denoise(patches, levels, entry, corner):
        here = [cut(field, entry, corner, patch) for field in (mean, std)]
        return exact_denoiser(*here)(patches, levels)

    found = patched(denoise, grid, batch_size=batch_size)(x, sigma)
    torch.testing.assert_close(found, exact_denoiser(mean, std)(x, sigma), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_draws_the_same_through_patches(name):
    grid = PatchGrid.of((24, 36), (12, 16), overlap=4)
    sigmas = edm_noise_levels(6, sigma_max=40)
    start = sigmas[0] * normal(2, 3, 24, 36)
    streams = [torch.Generator().manual_seed(3) for _ in range(2)]
    drawn = [
        SOLVERS[name](
            denoise, start, sigmas, noise=lambda size, g=g: torch.randn(size, generator=g, dtype=torch.float64)
        )
        for denoise, g in zip(
            (exact_denoiser(0.3, 0.7), patched(pixelwise(exact_denoiser(0.3, 0.7)), grid, batch_size=5)),
            streams,
            strict=True,
        )
    ]
    torch.testing.assert_close(drawn[1], drawn[0], rtol=0, atol=1e-11)


@pytest.mark.parametrize(("members", "batch_size"), [(1, 4), (3, 7), (5, 100), (2, 1)])
def test_the_network_never_sees_more_patches_than_asked_for_whatever_the_domain(members, batch_size):
    for shape in ((16, 16), (64, 64), (128, 96)):
        grid, sizes = PatchGrid.of(shape, (16, 16), overlap=4), []

        def denoise(x, sigma, entry, corner, sizes=sizes):
            sizes.append((len(x), tuple(x.shape[2:])))
            assert len(sigma) == len(entry) == len(corner) == len(x)
            return x

        patched(denoise, grid, batch_size=batch_size)(normal(members, 1, *shape), 1.0)
        total = members * len(grid)
        assert len(set(sizes)) == 1 and sizes[0] == (chunk_size(total, batch_size), (16, 16))
        assert sizes[0][0] <= batch_size
        assert len(sizes) == -(-total // batch_size)  # as few calls as can be
        assert sizes[0][0] * len(sizes) < total + len(sizes)  # and hardly a copy among them


def test_an_entry_does_not_depend_on_its_company():
    """To the last bit with batches of one size, as the sampler promises."""
    grid = PatchGrid.of((40, 52), (16, 24), overlap=6)
    network = torch.nn.Conv2d(2, 2, 3, padding=1, dtype=torch.float64)
    denoise = patched(pixelwise(lambda x, sigma: network(x)), grid, batch_size=6)
    x = normal(4, 2, 40, 52)
    with torch.no_grad():
        found = denoise(x, 1.0)
        shuffled = denoise(x[[2, 0, 2, 1]], 1.0)
    assert torch.equal(shuffled, found[[2, 0, 2, 1]])


@pytest.mark.parametrize(("patches", "batch_size"), [(1, 16), (4, 16), (9, 16), (25, 16), (9, 1), (100, 7)])
def test_members_fill_the_batches(patches, batch_size):
    members = members_at_once(patches, batch_size)
    calls = -(-members * patches // batch_size)
    assert members * patches >= 0.75 * calls * batch_size
    assert members * patches <= 4 * batch_size + patches  # no more whole domains held than that takes


def test_weights_of_a_fusion_are_not_those_of_a_uniform_mean():
    """Patches that disagree by one meet halfway in the middle of what they share, and nowhere else at once."""
    grid = PatchGrid.of((8, 28), (8, 16), overlap=4)
    assert grid.corners.tolist() == [[0, 0], [0, 12]]

    def evaluate(entry, corner):
        return (corner[:, 1] > 0).double()[:, None, None, None].expand(-1, 1, 8, 16)

    row = fuse(evaluate, grid, normal(1, 1, 8, 28), channels=1, batch_size=8)[0, 0, 3]
    assert (row[:12] == 0).all() and (row[16:] == 1).all()
    assert (row[12:16].diff() > 0).all() and row[12] < 0.1 and row[15] > 0.9
    assert (row[13] + row[14]) / 2 == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("patch", "options", "message"),
    [
        ((50, 16), {}, "patch: found 50 cells, expected 1 to 40"),
        ((16, 16), {"overlap": 16}, "overlap of patches"),
        ((16, 16), {"overlap": 2, "boundary": 9}, "boundary of patches"),
        ((18, 16), {"align": (4, 4)}, "whole blocks of 4 cells"),
    ],
)
def test_patches_that_do_not_fit_are_refused(patch, options, message):
    with pytest.raises(ConfigError, match=message):
        PatchGrid.of((40, 52), patch, **options)
