"""The batched sampler: members x cases packed into full batches, each member from its own seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from labkit.diffusion.noise_levels import edm_noise_levels
from labkit.diffusion.solvers import SOLVERS, evaluations
from labkit.errors import Cancelled, ConfigError

Cancel = Callable[[], bool]


@dataclass(frozen=True)
class Request:
    """One member to draw: a case (what `Conditions` is asked for), and the number that seeds its noise."""

    case: int
    member: int
    noise_seed: int


def noise_seed(seed: int, time: np.datetime64, repeat: int = 0) -> int:
    """Seed of a member's noise at one time: a hash of the member's seed and the time alone, so that a member is the
    same whichever others are drawn, and noise at different times is independent. `repeat` counts equal times."""
    stamp = int(np.datetime64(time, "ns").astype(np.int64))
    digest = hashlib.blake2b(f"{int(seed)}/{stamp}/{int(repeat)}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@dataclass(frozen=True)
class Schedule:
    """Solver and noise levels; `sigma_max` and `sigma_min` are in units of the residuals' standard deviation."""

    solver: str = "heun"
    num_steps: int = 18
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        evaluations(self.solver, self.num_steps)  # raises for an unknown solver
        if self.num_steps < 2:
            raise ConfigError("num_steps", found=str(self.num_steps), expected="at least 2", todo="take more steps")
        if not _falling(self):
            raise ConfigError(
                "noise levels",
                found=f"{self.num_steps} from {self.sigma_max:g} to {self.sigma_min:g} with rho {self.rho:g}",
                expected="levels that fall at every step, in 32 bits",
                todo="change sigma_min, sigma_max, rho or num_steps",
            )

    @property
    def sigmas(self) -> Tensor:
        return edm_noise_levels(self.num_steps, sigma_min=self.sigma_min, sigma_max=self.sigma_max, rho=self.rho)

    @property
    def evaluations(self) -> int:
        """Network evaluations a member costs."""
        return evaluations(self.solver, self.num_steps)


def _falling(schedule: Schedule) -> bool:
    """Whether a solver can step through the levels: known before anything is trained or drawn."""
    try:
        levels = schedule.sigmas.float()
    except ArithmeticError:
        return False
    return bool(levels.isfinite().all() and (levels.diff() < 0).all())


class NoiseStreams:
    """Standard normal noise (B, C, H, W), entry b from its own generator: the sampler's only randomness."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, shape: torch.Size) -> Tensor:
        return torch.stack([torch.randn(tuple(shape[1:]), generator=g) for g in self.generators])


def draw(
    bind: Callable[[list[int]], Callable[[Tensor, Tensor], Tensor]],
    requests: Sequence[Request],
    *,
    shape: tuple[int, int, int],
    schedule: Schedule,
    batch_size: int,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    cancel: Cancel | None = None,
) -> Iterator[tuple[Request, Tensor]]:
    """Draw the requests in full batches and yield each with its field (C, H, W) in units of unit-variance noise.

    `bind(cases)` gives `denoise(x, sigma)` for a batch of those cases. Every batch has `batch_size` entries, the last
    filled up with copies that are thrown away, so that a member does not depend on how many others are drawn.
    `progress(done, total)` counts network evaluations times members. `cancel()` is asked before each evaluation;
    Cancelled is raised when it says so.
    """
    per_member, total = schedule.evaluations, schedule.evaluations * len(requests)
    for start in range(0, len(requests), batch_size):
        wanted = list(requests[start : start + batch_size])
        filled = wanted + [wanted[-1]] * (batch_size - len(wanted))
        before, each = start * per_member, len(wanted)
        denoise = _watched(
            bind([request.case for request in filled]),
            cancel,
            None if progress is None else lambda k, before=before, each=each: progress(before + k * each, total),
        )
        fields = _solve(denoise, [request.noise_seed for request in filled], shape, schedule, device)
        yield from zip(wanted, fields, strict=False)


@torch.inference_mode()
def _solve(denoise, seeds: list[int], shape: tuple[int, int, int], schedule: Schedule, device) -> Tensor:
    streams = NoiseStreams(seeds)
    sigmas = schedule.sigmas
    x = streams(torch.Size((len(seeds), *shape))).to(device) * float(sigmas[0])
    return SOLVERS[schedule.solver](denoise, x, sigmas.to(device), noise=lambda size: streams(size).to(device)).cpu()


def _watched(denoise, cancel: Cancel | None, report: Callable[[int], None] | None):
    """The denoiser, stopping when cancelled and reporting the number of its evaluations."""
    calls = 0

    def evaluate(x: Tensor, sigma: Tensor) -> Tensor:
        nonlocal calls
        if cancel is not None and cancel():
            raise Cancelled("drawing was cancelled; finished members are kept")
        result = denoise(x, sigma)
        calls += 1
        if report is not None:
            report(calls)
        return result

    return evaluate
