"""Every solver against the Gaussian whose probability flow is known in closed form."""

from itertools import pairwise

import pytest
import torch

from labkit.diffusion.gaussian import exact_denoiser, probability_flow, spread_left
from labkit.diffusion.noise_levels import edm_noise_levels
from labkit.diffusion.solvers import SOLVERS, dpmpp_2m, euler, evaluations, heun, stochastic_heun
from labkit.errors import ConfigError

DETERMINISTIC = {"euler": 1, "heun": 2, "dpmpp_2m": 2}  # and their order


def normal(seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=g, dtype=torch.float64)


@pytest.mark.parametrize(("name", "order"), DETERMINISTIC.items())
def test_order_of_convergence_to_the_exact_flow(name, order):
    x = torch.tensor([-7.0, 3.0, 30.0], dtype=torch.float64)
    errors = []
    for steps in (64, 128, 256):
        sigmas = edm_noise_levels(steps, sigma_min=0.05, sigma_max=10)[:-1]
        exact = probability_flow(x, 10.0, 0.05, mean=2.0, std=0.7)
        errors.append((SOLVERS[name](exact_denoiser(2.0, 0.7), x, sigmas) - exact).abs().max())
    for coarse, fine in pairwise(errors):
        assert torch.log2(coarse / fine).item() == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("name", SOLVERS)
def test_law_of_the_data_is_recovered(name):
    """Mean and spread of many draws, each channel its own."""
    mean, std = torch.tensor([[3.0], [-1.0]]).double(), torch.tensor([[0.5], [2.0]]).double()
    noise, sigmas = normal(1), edm_noise_levels(300, sigma_max=80)
    x = SOLVERS[name](exact_denoiser(mean, std), sigmas[0] * noise((2, 8000)), sigmas, noise=noise)
    torch.testing.assert_close(x.mean(1, keepdim=True) / std, mean / std, rtol=0.03, atol=0.03)
    torch.testing.assert_close(x.std(1, keepdim=True) / std, torch.ones(2, 1).double(), rtol=0.03, atol=0)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_exact_flow_is_what_the_ode_says(name):
    """A solver that only knows the denoiser ends where the closed form says, to 0 included."""
    x = torch.tensor([[-60.0, 90.0]], dtype=torch.float64)
    end = SOLVERS[name](exact_denoiser(1.0, 0.5), x, edm_noise_levels(3000, sigma_max=80))
    torch.testing.assert_close(end, probability_flow(x, 80.0, 0.0, mean=1.0, std=0.5), rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("name", SOLVERS)
def test_evaluations_are_counted(name):
    calls = []
    exact = exact_denoiser()
    SOLVERS[name](lambda x, s: calls.append(float(s)) or exact(x, s), torch.ones(1, 1), edm_noise_levels(7),
                  noise=lambda shape: torch.zeros(shape))  # fmt: skip
    assert len(calls) == evaluations(name, 7) == {"euler": 7, "dpmpp_2m": 7}.get(name, 13)
    assert min(calls) > 0


@pytest.mark.parametrize("name", SOLVERS)
def test_callback_counts_steps_and_can_stop(name):
    seen = []

    def stop_at_two(step, x0):
        seen.append((step, x0.shape))
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SOLVERS[name](exact_denoiser(), torch.ones(4, 1), edm_noise_levels(7), noise=torch.zeros, callback=stop_at_two)
    assert seen == [(0, (4, 1)), (1, (4, 1)), (2, (4, 1))]


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_of_the_state_is_kept_and_the_start_is_not_changed(name, dtype):
    x, seen = torch.full((2, 3), 80.0, dtype=dtype), set()
    exact = exact_denoiser()
    y = SOLVERS[name](
        lambda x, s: seen.update((x.dtype, s.dtype)) or exact(x, s), x, edm_noise_levels(5), noise=normal()
    )
    assert y.dtype == dtype and seen == {dtype} and (x == 80).all()


# --- what few steps do to the spread


@pytest.mark.parametrize(
    ("solver", "steps", "sigma_max", "inflation"),
    [(heun, 18, 80, 0.055), (heun, 18, 800, 0.13), (euler, 9, 80, -0.30)],
    ids=["heun18", "heun18-wide", "euler9"],
)
def test_spread_that_the_published_presets_leave(solver, steps, sigma_max, inflation):
    """For data of std 0.5, the sigma_data that they assume."""
    left = spread_left(solver, edm_noise_levels(steps, sigma_max=sigma_max), std=0.5)
    assert left / 0.5 - 1 == pytest.approx(inflation, abs=0.003)


def test_spread_left_agrees_with_draws():
    sigmas, noise = edm_noise_levels(12, sigma_max=80), normal(2)
    draws = stochastic_heun(exact_denoiser(0, 0.5), sigmas[0] * noise((30000,)), sigmas, noise=noise, S_churn=4)
    assert draws.std().item() == pytest.approx(spread_left(stochastic_heun, sigmas, std=0.5, S_churn=4), rel=0.015)


def test_multistep_on_near_geometric_levels_keeps_the_spread_at_all_scales():
    """The advice for few steps: half of Heun's evaluations, and a fraction of its error."""
    sigmas = edm_noise_levels(18, sigma_max=20, rho=30)
    for std in (0.02, 0.05, 0.1, 0.3, 1.0, 2.0):
        assert abs(spread_left(dpmpp_2m, sigmas, std=std) / std - 1) < 0.022
        assert spread_left(heun, edm_noise_levels(18, sigma_max=800), std=std) / std - 1 > 0.08


# --- churn


def test_churn_brings_the_variance_that_the_raised_level_asks_for():
    """From sigma to sigma_hat = (1 + S_churn/N) sigma, times S_noise; seen in what the denoiser is given first."""
    seen, x = [], torch.zeros(30000, dtype=torch.float64)
    sigmas = torch.tensor([2.0, 1.0, 0.0])

    def denoise(x, sigma):
        seen.append((x, float(sigma)))
        return torch.zeros_like(x)

    stochastic_heun(denoise, x, sigmas, noise=normal(), S_churn=0.5, S_noise=1.1)
    raised, sigma_hat = seen[0]
    assert sigma_hat == pytest.approx(2 * 1.25)
    assert raised.std().item() == pytest.approx(1.1 * (sigma_hat**2 - 4) ** 0.5, rel=0.01)


def test_churn_is_capped():
    levels, sigmas = [], edm_noise_levels(6)
    exact = exact_denoiser()
    stochastic_heun(
        lambda x, s: levels.append(float(s)) or exact(x, s), torch.ones(1), sigmas, noise=normal(), S_churn=1e9
    )
    assert levels[0] == pytest.approx(float(sigmas[0]) * 2**0.5)


def test_churn_acts_between_its_limits_only():
    calls = []
    sigmas = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0])
    noise = lambda shape: calls.append(1) or torch.zeros(shape)  # noqa: E731
    stochastic_heun(exact_denoiser(), torch.ones(1), sigmas, noise=noise, S_churn=2, S_min=2.0, S_max=4.0)
    assert len(calls) == 2


def test_without_churn_it_is_heun_to_the_last_bit():
    x, sigmas = torch.randn(5, 3, dtype=torch.float64) * 80, edm_noise_levels(9)
    plain = heun(exact_denoiser(), x, sigmas)
    assert torch.equal(stochastic_heun(exact_denoiser(), x, sigmas, S_churn=0), plain)
    assert not torch.equal(stochastic_heun(exact_denoiser(), x, sigmas, noise=normal(), S_churn=5), plain)


def test_churn_forgets_a_wrong_start():
    """Noise of the wrong size at the start: the ODE carries it to the end, churn forgets it."""
    sigmas, noise = edm_noise_levels(200, sigma_max=5), normal(4)
    start = 0.5 * sigmas[0] * noise((20000,))
    kept = heun(exact_denoiser(), start, sigmas).std()
    forgotten = stochastic_heun(exact_denoiser(), start, sigmas, noise=noise, S_churn=80).std()
    assert kept < 0.55 and forgotten.item() == pytest.approx(1, abs=0.06)


def test_churn_without_noise_is_refused():
    with pytest.raises(ConfigError, match="noise"):
        stochastic_heun(exact_denoiser(), torch.ones(1), edm_noise_levels(3), S_churn=1)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("levels", [[1.0], [1.0, 1.0, 0.0], [1.0, 2.0], [1.0, -0.1]])
def test_levels_that_do_not_fall_are_refused(name, levels):
    with pytest.raises(ConfigError, match="noise levels"):
        SOLVERS[name](exact_denoiser(), torch.ones(1), torch.tensor(levels), noise=torch.zeros)


def test_unknown_solver_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"euler, heun.*dpmpp_2m"):
        evaluations("rk4", 5)


@pytest.mark.parametrize("std", [3.0, 10.0, 20.0, 30.0])
def test_patterns_as_wide_as_the_first_noise_level_lose_spread(std):
    """Draws start from N(0, sigma_max^2), the noised law is N(0, std^2 + sigma_max^2). The largest patterns of a smooth
    field have many times the spread of a pixel, so that sigma_max has to be far above one."""
    levels = edm_noise_levels(64, sigma_min=0.005, sigma_max=40.0)
    assert spread_left(heun, levels, std=std) / std == pytest.approx(40 / (1600 + std**2) ** 0.5, rel=0.01)
