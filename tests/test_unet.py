"""The UNet: published sizes, who sees what, batch entries that never touch, and the hand-written normalisation."""

import pytest
import torch
from torch.nn import functional

from labkit.errors import ConfigError, DataError
from labkit.models.embeddings import GridEmbedding, sinusoidal_grid
from labkit.models.layers import ResidualBlock, SelfAttention, conv, conv_folded, conv_unfolded, downsample, upsample
from labkit.models.normalise import GroupNormSiLU
from labkit.models.unet import UNet, flops, parameter_count


def small_unet(*, seed=0, **options) -> UNet:
    """A quick network whose zero-initialised layers are stirred, so that everything reaches the output."""
    torch.manual_seed(seed)
    defaults = {"shape": (16, 24), "model_channels": 16, "channel_mult": (1, 2), "num_blocks": 1, "dropout": 0.0}
    network = UNet(3, 2, **(defaults | options))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


@pytest.mark.parametrize(
    ("options", "published"),
    [
        ({"shape": (64, 64), "model_channels": 64, "channel_mult": (1, 2, 2), "attn_resolutions": (16,)}, 10.86e6),
        ({"shape": (448, 448), "attn_resolutions": (28,)}, 79.67e6),
    ],
    ids=["mini", "normal"],
)
def test_sizes_of_the_published_networks(options, published):
    """They were counted with a silent noise label: all but the two linear layers that embed it."""
    inputs = 32 if options["shape"] == (64, 64) else 16
    with torch.device("meta"):
        network = UNet(inputs, 4, **options)
    assert parameter_count(network) - parameter_count(network.noise) == pytest.approx(published, rel=1e-3)


def test_size_of_the_published_patch_network():
    with torch.device("meta"):
        network = UNet(16, 4, shape=(448, 448), attn_resolutions=(28,), grid_embedding="learnable", grid_channels=100)
    assert parameter_count(network) == pytest.approx(100.2e6, rel=1e-3)


@pytest.mark.parametrize("patch_embed", [1, 2])
@pytest.mark.parametrize("noise_embedding", ["positional", "none"])
def test_keeps_non_square_grids(patch_embed, noise_embedding):
    network = small_unet(patch_embed=patch_embed, noise_embedding=noise_embedding)
    noise = torch.zeros(2) if noise_embedding == "positional" else None
    assert network(torch.randn(2, 3, 16, 24), noise).shape == (2, 2, 16, 24)


def test_starts_near_zero():
    network = UNet(3, 2, shape=(16, 16), model_channels=16, channel_mult=(1, 2), num_blocks=1)
    assert network(torch.randn(2, 3, 16, 16), torch.zeros(2)).abs().max() < 1e-3


@pytest.mark.parametrize("options", [{}, {"patch_embed": 2, "head_channels": 8}], ids=str)
def test_hears_its_noise_level(options):
    network, x = small_unet(**options), torch.randn(2, 3, 16, 24)
    assert (network(x, torch.tensor([-1.0, -1.0])) - network(x, torch.tensor([1.0, -1.0])))[0].abs().max() > 1e-2


def test_noise_label_that_does_not_fit_is_refused():
    x = torch.randn(1, 3, 16, 24)
    with pytest.raises(ConfigError, match="noise label"):
        small_unet()(x)
    with pytest.raises(ConfigError, match="noise label"):
        small_unet(noise_embedding="none")(x, torch.zeros(1))


def test_grids_that_do_not_divide_are_refused():
    with pytest.raises(DataError, match="multiple of 4"):
        small_unet(shape=(16, 18), patch_embed=2)
    with pytest.raises(DataError, match="multiple of 2"):
        small_unet()(torch.randn(1, 3, 15, 24), torch.zeros(1))
    with pytest.raises(DataError, match="channels"):
        small_unet()(torch.randn(1, 4, 16, 24), torch.zeros(1))


def test_attention_sits_where_it_was_asked_for():
    attended = [m for m in small_unet(attn_resolutions=(16,)).modules() if isinstance(m, SelfAttention)]
    assert len(attended) == 1 + 1 + 1  # one encoder block, the middle, the last decoder block of that level
    with pytest.raises(ConfigError, match=r"\[28\].*\[16, 8\]"):
        small_unet(attn_resolutions=(28,))


def test_attention_is_softmax_attention():
    torch.manual_seed(1)
    layer, x = SelfAttention(8), torch.randn(2, 8, 3, 4)
    with torch.no_grad():
        layer.project.weight.normal_()
        q, k, v = layer.qkv(layer.norm(x)).flatten(2).chunk(3, dim=1)  # (B, C, H*W)
        weights = torch.einsum("bcq,bck->bqk", q, k).div(8**0.5).softmax(dim=2)
        expected = (layer.project(torch.einsum("bqk,bck->bcq", weights, v).reshape(x.shape)) + x) * 0.5**0.5
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_operations_are_counted():
    c, pixels = 16, 8 * 8
    network = UNet(3, 2, shape=(8, 8), model_channels=c, channel_mult=(1,), num_blocks=1, attn_resolutions=(),
                   grid_embedding="none", noise_embedding="none")  # fmt: skip
    attention = 4 * c * c + 2 * pixels * c
    encoder, middle, decoder = 2 * 9 * c * c, 4 * 9 * c * c + attention, 2 * (3 * 9 * c * c + 2 * c * c)
    assert flops(network, (8, 8), batch=3) == 3 * 2 * pixels * (9 * 3 * c + encoder + middle + decoder + 9 * c * 2)


# --- the place of each pixel


def test_sinusoidal_grid_knows_rows_from_columns():
    grid = sinusoidal_grid((5, 9), 8)
    x = torch.linspace(0, 2 * torch.pi, 9).expand(5, 9)
    y = torch.linspace(0, 2 * torch.pi, 5)[:, None].expand(5, 9)
    expected = [x.sin(), y.sin(), x.cos(), y.cos(), (2 * x).sin(), (2 * y).sin(), (2 * x).cos(), (2 * y).cos()]
    torch.testing.assert_close(grid, torch.stack(expected))


@pytest.mark.parametrize("kind", ["sinusoidal", "learnable"])
def test_each_patch_gets_its_own_part_of_the_grid(kind):
    """CorrDiff's own patched training pairs them wrongly for batches above one; unequal corners would show it."""
    embedding = GridEmbedding(kind, 4, (12, 20))
    corners = torch.tensor([[0, 0], [3, 11], [8, 2]])
    windows = embedding(3, (4, 6), corners)
    for window, (y0, x0) in zip(windows, corners.tolist(), strict=True):
        torch.testing.assert_close(window, embedding.grid[:, y0 : y0 + 4, x0 : x0 + 6])


def test_patches_in_one_batch_equal_patches_alone():
    network = small_unet(shape=(8, 8), grid_shape=(16, 24))
    x, noise, corners = torch.randn(3, 3, 8, 8), torch.randn(3), torch.tensor([[0, 0], [8, 16], [3, 5]])
    together = network(x, noise, position=corners)
    alone = [network(x[b : b + 1], noise[b : b + 1], position=corners[b : b + 1]) for b in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)
    assert (network(x, noise, position=corners.flip(0)) - together).abs().max() > 1e-2


def test_patches_outside_or_without_a_place_are_refused():
    network = small_unet(shape=(8, 8), grid_shape=(16, 24))
    with pytest.raises(DataError, match="position"):
        network(torch.randn(1, 3, 8, 8), torch.zeros(1))
    with pytest.raises(DataError, match="corners"):
        network(torch.randn(1, 3, 8, 8), torch.zeros(1), position=torch.tensor([[9, 0]]))


# --- members never touch


@pytest.mark.parametrize("options", [{}, {"patch_embed": 2}, {"patch_embed": 2, "head_channels": 8}], ids=str)
def test_an_entry_is_the_same_to_the_last_bit_whatever_shares_its_batch(options):
    network = small_unet(**options)
    x, noise = torch.randn(16, 3, 16, 24), torch.randn(16)
    padded = torch.zeros_like(x)
    padded[0] = x[5]
    with torch.no_grad():
        full = network(x, noise)
        assert torch.equal(network(padded, noise[5].repeat(16))[0], full[5])
        order = torch.randperm(16, generator=torch.Generator().manual_seed(2))
        assert torch.equal(network(x[order], noise[order]), full[order])


# --- layers


def test_resampling_repeats_and_averages():
    x = torch.randn(2, 3, 4, 6)
    torch.testing.assert_close(upsample(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(downsample(upsample(x)), x)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_folding_is_pixel_unshuffle_and_shuffle(k):
    torch.manual_seed(0)
    x, down, up = torch.randn(2, 5, 6, 12), conv(5 * k * k, 7, 3), conv(5, 4 * k * k, 3)
    with torch.no_grad():
        up.bias.normal_()
        torch.testing.assert_close(conv_folded(down, x, k), down(functional.pixel_unshuffle(x, k)))
        torch.testing.assert_close(conv_unfolded(up, x, k), functional.pixel_shuffle(up(x), k))


@pytest.mark.parametrize("resample", ["none", "down", "up"])
def test_residual_block_is_what_ddpmpp_writes(resample):
    """Written out plainly: each branch resampled first, then convolved."""
    torch.manual_seed(0)
    block, x, embedding = (
        ResidualBlock(8, 12, emb_channels=5, resample=resample),
        torch.randn(2, 8, 4, 6),
        torch.randn(2, 5),
    )
    torch.nn.init.normal_(block.conv1.weight, std=0.1)
    with torch.no_grad():
        change = {"none": lambda x: x, "down": downsample, "up": upsample}[resample]
        y = block.conv0(change(functional.silu(functional.group_norm(x, 2, eps=1e-6))))
        y = functional.group_norm(y + block.embed(embedding)[:, :, None, None], 3, eps=1e-6)
        expected = (block.conv1(functional.silu(y)) + block.skip(change(x))) * 0.5**0.5
        torch.testing.assert_close(block(x, embedding), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activate", [True, False])
def test_gradient_of_the_normalisation(activate):
    torch.manual_seed(0)
    layer = GroupNormSiLU(8, activate=activate).double()

    def apply(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, x)

    x = torch.randn(2, 8, 3, 5, dtype=torch.float64) * 2 + 3
    arguments = [x, torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)]
    assert torch.autograd.gradcheck(apply, [a.requires_grad_() for a in arguments])


@pytest.mark.parametrize("side", [8, 32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_normalisation_is_group_norm_then_silu(side, dtype):
    """Forward and backward, with and without gradients, on both sides of the grid size at which kernels change."""
    torch.manual_seed(0)
    layer = GroupNormSiLU(48)
    x = (torch.randn(2, 48, side, side) * 2 + 3).to(dtype).contiguous(memory_format=torch.channels_last)
    gradient, tolerance = torch.randn(2, 48, side, side), 1e-5 if dtype == torch.float32 else 1e-2
    expected_x = x.float().requires_grad_()
    expected = functional.silu(functional.group_norm(expected_x, 12, layer.weight, layer.bias, 1e-6))
    expected.backward(gradient)
    expected_weight, layer.weight.grad = layer.weight.grad, None
    x.requires_grad_()
    y = layer(x)
    y.backward(gradient.to(dtype))
    with torch.no_grad():
        assert _distance(layer(x), expected) < tolerance
    assert _distance(y, expected) < tolerance
    assert _distance(x.grad, expected_x.grad) < tolerance
    assert _distance(layer.weight.grad, expected_weight) < 3 * tolerance


def _distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.float() - b).detach().norm() / b.detach().norm())
