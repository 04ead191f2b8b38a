"""What a model is judged by while it trains: errors of its mean, and scores of small ensembles on fixed cases."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from labkit.data import batches
from labkit.data.batches import Batch
from labkit.data.pairs import Pairs
from labkit.recipes.drawing import draw_cases
from labkit.recipes.model import Model, default_batch
from labkit.sampling import Schedule

Judge = Callable[[nn.Module], dict[str, float]]


@torch.inference_mode()
def rmse(model: Model, batches: Iterable[Batch], mean: Callable[[Tensor], Tensor]) -> Tensor:
    """Root mean square (C,) of truth minus `mean(conditions)` in normalised units over the observed pixels."""
    sums, count = 0.0, 0.0
    for batch in batches:
        batch = batch.to(model.hardware.device)
        error = batch.target - mean(model.conditions(batch))
        valid = torch.ones_like(error, dtype=torch.bool) if batch.mask is None else batch.mask.expand_as(error)
        sums = sums + (torch.where(valid, error, 0).double() ** 2).sum((0, 2, 3))
        count = count + valid.sum((0, 2, 3))
    return (sums / count).sqrt().float()


def load_in_turn(model: Model, pairs: Pairs, indices: Sequence[int]) -> Iterator[Batch]:
    """The named samples in batches of whole domains, as many at once as hold about a million fine cells."""
    size = max(1, 2**20 // math.prod(pairs.shape))
    for start in range(0, len(indices), size):
        yield batches.load(pairs, list(indices[start : start + size]), model.statistics)


def spread_cases(pairs: Pairs, n: int) -> list[int]:
    """At most `n` positions spread evenly over the pairs."""
    return sorted({int(i) for i in np.linspace(0, len(pairs) - 1, min(n, len(pairs))).round()})


def residual_std(model: Model, pairs: Pairs, indices: Sequence[int]) -> Tensor:
    """Standard deviation (C,) of truth minus the model's mean over some samples: the diffusion's sigma_data.

    Measured on samples that the mean was not learnt from, because residuals of learnt samples are too small and would
    make the ensemble under-dispersive.
    """
    return rmse(model, load_in_turn(model, pairs, indices), model.mean)


def ensemble_judge(model: Model, stage: str, validation: Pairs) -> Judge:
    """Fair CRPS per channel of a small ensemble on fixed cases and seeds, drawn with a stage's network, and the
    achieved skill against interpolation where an oracle is known; `score` is the mean CRPS in units of the residuals'
    standard deviation."""
    settings = model.config.validation
    cases, seeds = spread_cases(validation, settings.cases), list(range(settings.members))
    batch_size = default_batch(model, validation.shape, members=len(cases) * len(seeds))
    changes = {"solver": settings.solver, "num_steps": settings.num_steps}
    schedule = Schedule(**model.config.sampler.model_dump() | changes)
    truth, rivals = _rivals(validation, cases, seeds)
    scale = model.residual_std.cpu().numpy() * model.statistics.std("target", model.channels.target)

    def judge(network: nn.Module) -> dict[str, float]:
        judged = model.with_network(stage, network)
        drawn = list(draw_cases(judged, validation, cases, seeds, schedule=schedule, batch_size=batch_size))
        members = np.stack([fields for _, _, fields in drawn]).reshape(len(cases), len(seeds), *truth.shape[1:])
        crps = _fair_crps(members, truth)
        figures = {"score": float(np.mean(crps / scale))}
        for i, name in enumerate(model.channels.target):
            figures[f"crps_{name}"] = float(crps[i])
            if rivals is not None:
                figures[f"achieved_{name}"] = float((rivals[0][i] - crps[i]) / (rivals[0][i] - rivals[1][i]))
        return figures

    return judge


def _rivals(pairs: Pairs, cases: list[int], seeds: list[int]):
    """Truth (case, channel, y, x), and the CRPS (channel,) of interpolation and oracle, or None where no law is known.

    The truth is NaN where the interpolation of a channel has gaps: all are compared on the same cells."""
    truth = np.asarray(pairs.target.isel(time=cases).data)
    if pairs.oracle is None:
        return truth, None
    oracle = np.stack([pairs.oracle(pairs, case, [10_000 + seed for seed in seeds]) for case in cases])
    baseline = pairs.interpolated(cases).values
    gaps = np.isnan(baseline)
    truth = np.where(gaps & ~gaps.all((0, 2, 3), keepdims=True), np.nan, truth)
    return truth, (_fair_crps(baseline[:, None].repeat(2, axis=1), truth), _fair_crps(oracle, truth))


def _fair_crps(members: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(case, member, channel, y, x) and (case, channel, y, x) -> (channel,), pixels without truth left out."""
    import scoringrules as sr  # here, because it takes seconds to import where numba is installed

    return np.nanmean(sr.crps_ensemble(truth, members, m_axis=1, estimator="fair"), axis=(0, 2, 3))
