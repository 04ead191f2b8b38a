"""Noise levels, preconditioning and loss, held to the laws that they were derived from."""

import math

import pytest
import torch

from labkit.diffusion.edm import EDM, edm_loss, preconditioning
from labkit.diffusion.gaussian import exact_denoiser
from labkit.diffusion.noise_levels import edm_noise_levels, lognormal_noise_levels
from labkit.errors import ConfigError, DataError

SIGMA_DATA = torch.tensor([0.2, 0.5, 3.0])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- noise levels


def test_noise_levels_are_even_in_the_root():
    sigmas = edm_noise_levels(18, sigma_min=0.002, sigma_max=80, rho=7)
    assert sigmas.shape == (19,) and sigmas.dtype == torch.float64 and sigmas[-1] == 0
    assert sigmas[0].item() == pytest.approx(80) and sigmas[-2].item() == pytest.approx(0.002)
    roots = sigmas[:-1] ** (1 / 7)
    torch.testing.assert_close(roots.diff(), (roots[-1] - roots[0]).expand(17) / 17)


def test_noise_levels_that_cannot_be_are_refused():
    with pytest.raises(ConfigError):
        edm_noise_levels(0)
    with pytest.raises(ConfigError):
        edm_noise_levels(5, sigma_min=1, sigma_max=0.1)


def test_training_levels_are_lognormal_in_every_place_of_the_batch():
    g = generator()
    logs = torch.stack([lognormal_noise_levels(4, mean=-0.5, std=1.2, generator=g).log() for _ in range(4000)])
    for place in range(4):
        assert logs[:, place].mean().item() == pytest.approx(-0.5, abs=4 * 1.2 / 4000**0.5)
        assert logs[:, place].std().item() == pytest.approx(1.2, rel=0.05)
    assert logs.mean(1).std() < 0.75 * 1.2 / 4**0.5  # strata: a batch's mean varies less than with free draws


# --- preconditioning


def test_network_sees_and_learns_unit_variance_in_every_channel():
    g, sigma = generator(), torch.tensor([0.01, 0.3, 2.0, 50.0])
    shape = (4, 3, 200, 200)
    clean = torch.randn(shape, generator=g, dtype=torch.float64) * SIGMA_DATA[None, :, None, None]
    noisy = clean + sigma[:, None, None, None] * torch.randn(shape, generator=g, dtype=torch.float64)
    c_skip, c_out, c_in = preconditioning(sigma.double(), SIGMA_DATA.double())
    seen, learnt = c_in * noisy, (clean - c_skip * noisy) / c_out
    torch.testing.assert_close(seen.var((2, 3)), torch.ones(4, 3).double(), rtol=0.04, atol=0)
    torch.testing.assert_close(learnt.var((2, 3)), torch.ones(4, 3).double(), rtol=0.04, atol=0)
    assert (seen * learnt).mean((2, 3)).abs().max() < 0.03  # nothing linear is left to learn


class Recorder(torch.nn.Module):
    """A network that returns a constant and remembers what it was given."""

    def __init__(self, constant: float) -> None:
        super().__init__()
        self.constant = torch.nn.Parameter(torch.tensor(constant))

    def forward(self, x, noise, **options):
        self.x, self.noise, self.options = x, noise, options
        return self.constant * torch.ones_like(x[:, :3])


def test_denoiser_is_skip_plus_scaled_network():
    network = Recorder(0.7)
    model, x, condition = EDM(network, SIGMA_DATA), torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)
    sigma = torch.tensor([0.3, 4.0])
    denoised = model.denoise(x, sigma, condition, position="corners")
    s, d = sigma[:, None, None, None], SIGMA_DATA[None, :, None, None]
    total = s**2 + d**2
    torch.testing.assert_close(denoised, x * d**2 / total + 0.7 * s * d / total.sqrt())
    torch.testing.assert_close(network.x, torch.cat([x / total.sqrt(), condition], dim=1))
    torch.testing.assert_close(network.noise, sigma.log() / 4)
    assert network.options == {"position": "corners"}


def test_denoiser_takes_one_level_for_all_and_keeps_precision():
    model, x = EDM(Recorder(0.0), SIGMA_DATA), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    bound = model.bind(torch.zeros(2, 1, 4, 4))(x, torch.tensor(0.5))
    assert bound.dtype == torch.float64
    torch.testing.assert_close(bound, model.denoise(x, torch.tensor([0.5, 0.5])))


def test_scaling_stays_exact_around_a_network_in_bf16():
    model, x = EDM(Recorder(0.7).bfloat16(), SIGMA_DATA), torch.randn(2, 3, 4, 4)
    assert model.denoise(x, 1e-3).dtype == torch.float32
    torch.testing.assert_close(model.denoise(x, 1e-3), x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("wrong", "error"), [([0.5, 0.0], DataError), ([0.5, math.nan], DataError), (0.5, ConfigError)]
)
def test_sigma_data_that_cannot_be_is_refused(wrong, error):
    with pytest.raises(error, match="sigma_data"):
        EDM(Recorder(0.0), torch.tensor(wrong))


# --- loss


def closed_form_minimum(std: torch.Tensor, sigma_data: torch.Tensor, mean: float, spread: float) -> float:
    """E over ln(sigma) ~ N(mean, spread^2) and channels of lambda(sigma) std^2 sigma^2 / (std^2 + sigma^2)."""
    z = torch.linspace(-8, 8, 20001, dtype=torch.float64)[:, None]
    sigma = (mean + spread * z).exp()
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    density = (-(z**2) / 2).exp() / (-(z**2) / 2).exp().sum()
    return float((density * weight * std**2 * sigma**2 / (std**2 + sigma**2)).sum(0).mean())


@pytest.mark.parametrize("ratio", [1.0, 0.6])
def test_loss_of_the_exact_denoiser_is_the_closed_form_minimum(ratio):
    std, g = SIGMA_DATA.double() * ratio, generator(3)
    clean = torch.randn(256, 3, 16, 16, generator=g, dtype=torch.float64) * std[:, None, None]
    denoise = exact_denoiser(0.0, std[:, None, None])
    options = {"sigma_data": SIGMA_DATA, "noise_mean": -0.3, "noise_std": 1.0}
    loss = torch.stack([edm_loss(denoise, clean, generator=g, **options) for _ in range(4)]).mean()
    expected = closed_form_minimum(std, SIGMA_DATA.double(), -0.3, 1.0)
    assert loss.item() == pytest.approx(expected, rel=0.02)
    assert ratio != 1 or expected == pytest.approx(1)
    worse = edm_loss(lambda x, sigma: 0.7 * denoise(x, sigma), clean, generator=g, **options)
    assert worse > loss


def test_loss_depends_on_its_generator_alone():
    clean, denoise = torch.randn(4, 3, 8, 8), exact_denoiser()
    losses = [edm_loss(denoise, clean, sigma_data=SIGMA_DATA, generator=generator(s)) for s in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_masked_pixels_count_for_nothing():
    """Neither their values nor their number matter, also to a denoiser that looks at all pixels together."""
    mask = torch.zeros(4, 8, 8, dtype=torch.bool)
    mask[:, :2] = True
    clean = torch.randn(4, 3, 8, 8, generator=generator())
    holed = torch.where(mask[:, None], clean, torch.nan)
    seen = []

    def denoise(x, sigma):
        seen.append((sigma, x.mean((2, 3), keepdim=True) + 0.5 * x))
        return seen[-1][1]

    losses = [
        edm_loss(denoise, field, sigma_data=SIGMA_DATA, mask=mask, generator=generator(5)) for field in (clean, holed)
    ]
    assert losses[1].isfinite() and losses[0] == losses[1]
    sigma, denoised = seen[0]
    s, d = sigma[:, None, None, None], SIGMA_DATA[None, :, None, None]
    error = (s**2 + d**2) / (s * d) ** 2 * (denoised - clean) ** 2
    torch.testing.assert_close(losses[0], error[:, :, :2].mean())


def test_a_batch_without_a_valid_pixel_has_no_loss():
    mask = torch.zeros(2, 8, 8, dtype=torch.bool)
    nothing = torch.full((2, 3, 8, 8), torch.nan)
    assert edm_loss(exact_denoiser(), nothing, sigma_data=SIGMA_DATA, mask=mask, generator=generator()) == 0
