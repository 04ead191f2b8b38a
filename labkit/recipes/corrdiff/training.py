"""Training a CorrDiff: statistics, regression, measured residuals, diffusion."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from labkit.data.batches import Batch, Batches
from labkit.data.pairs import Pairs
from labkit.data.parts import check_parts
from labkit.data.samples import shared_invariant
from labkit.data.statistics import Statistics, compute_statistics
from labkit.diffusion.edm import edm_loss
from labkit.diffusion.patches import cut
from labkit.errors import ConfigError, DataError, LabError
from labkit.recipes.corrdiff.config import CorrDiffConfig
from labkit.recipes.corrdiff.drawing import draw_cases
from labkit.recipes.corrdiff.model import (
    CorrDiff,
    default_batch,
    load_in_turn,
    open_part,
    residual_std,
    residual_std_in,
    restore,
    rmse,
    stage_header,
)
from labkit.recipes.corrdiff.regression import Channels, regression_loss
from labkit.sampling import Schedule
from labkit.store.checkpoints import load_header
from labkit.store.runs import RunFolder
from labkit.training import Trainer, check_header

STAGES = ("regression", "diffusion")
LOOKED_AT = 16  # samples, where the statistics come from a file
Log = Callable[[dict], None]


def train(
    config: CorrDiffConfig,
    run: str | Path,
    *,
    tensorboard: bool = False,
    on_log: Log | None = None,
    quiet: bool = False,
) -> CorrDiff:
    """Train both stages into a run folder, going on where an earlier call stopped, and return the model.

    Raises ConfigError where the folder holds a run of another configuration, CheckpointError where its checkpoints are
    damaged or of another model, Cancelled after Ctrl-C.
    """
    folder = RunFolder(run)
    _check_folder(folder, config)
    parts = _separate_parts(config, quiet)
    pairs, validation = parts["train"], parts["validation"]
    statistics = _statistics(config, folder, pairs)
    model = CorrDiff(config, Channels.of(pairs), statistics, shape=pairs.shape, factor=pairs.factor)
    model.folder = folder
    for part in ("validation", "test"):
        _check_part(model, part, parts[part])
    _whole_invariant(model, pairs)  # raises for what only the second stage would miss
    options = {"tensorboard": tensorboard, "on_log": on_log, "quiet": quiet}
    stream = None
    for stage in STAGES:
        if not folder.checkpoint_path(stage).exists():
            stream = _train_stage(model, stage, pairs, validation, stream, options)
        restore(model, stage)
    return model


def _separate_parts(config: CorrDiffConfig, quiet: bool) -> dict[str, Pairs]:
    """The parts of the data, after a look that those that were named share no sample."""
    parts = {"train": open_part(config, "train")}
    for name in ("validation", "test"):
        with _of_part(name):
            parts[name] = open_part(config, name)
    named = {name: pairs for name, pairs in parts.items() if name != "test" or config.data.test}
    for sentence in check_parts(named):
        if not quiet:
            print(f"note: {sentence}", file=sys.stderr)
    return parts


def _check_part(model: CorrDiff, part: str, pairs: Pairs) -> None:
    """What is drawn after training, or judged by meanwhile, must be what the model can take: known before it begins."""
    with _of_part(part):
        if not len(pairs):
            raise DataError("times", found="none", expected="one or more", todo="choose other times")
        model.check(pairs)
        if model.config.patch is not None:
            model.patch_grid(pairs.shape)
        if model.config.patch is None or not model.regression_in_patches:
            model.regression.unet.check_shape(pairs.shape)
        if model.config.patch is None:
            model.diffusion.network.check_shape(pairs.shape)


@contextmanager
def _of_part(part: str) -> Iterator[None]:
    """Say of an error that it is about this part of the data."""
    try:
        yield
    except LabError as error:
        raise type(error)(
            f"data.{part}: {error.what}",
            found=error.found,
            expected=error.expected,
            todo=f"correct data.{part}, which is needed after the first stage",
        ) from error


def _claim(model: CorrDiff) -> None:
    """Write configuration and statistics into a new folder: once nothing more can be refused."""
    if not ((model.folder.path / "config.yaml").exists() and model.folder.statistics_path.exists()):
        model.folder.save_statistics(model.statistics.to_dict())
        model.folder.save_config(json.loads(model.config.model_dump_json()))


def _check_folder(folder: RunFolder, config: CorrDiffConfig) -> None:
    """Raises ConfigError where the folder holds a run of another configuration."""
    if not (folder.path / "config.yaml").exists():
        return
    found = folder.load_config()
    if path := _first_difference(found, json.loads(config.model_dump_json())):
        raise ConfigError(
            f"run folder {folder.path.name}",
            found=f"a run with another {path}",
            expected="the same configuration, to go on, or an empty folder",
            todo="choose another folder with --run",
        )


def _first_difference(found, wanted) -> str:
    """Path of the first value that differs between two nested configurations, "" where they are equal."""
    if not (isinstance(found, dict) and isinstance(wanted, dict)):
        return "" if found == wanted else "value"
    for key in sorted(found.keys() | wanted.keys()):
        if inner := _first_difference(found.get(key), wanted.get(key)):
            return key if inner == "value" else f"{key}.{inner}"
    return ""


def _statistics(config: CorrDiffConfig, folder: RunFolder, pairs: Pairs) -> Statistics:
    if folder.statistics_path.exists() and (folder.path / "config.yaml").exists():
        return Statistics.from_dict(folder.load_statistics())
    if config.data.statistics_file:
        statistics = Statistics.load(Path(config.data.statistics_file))
        compute_statistics(pairs, max_samples=LOOKED_AT)  # whose units may not be those of the file's data
        return statistics
    return compute_statistics(pairs, max_samples=config.data.statistics_samples)


def _train_stage(
    model: CorrDiff, stage: str, pairs: Pairs, validation: Pairs, earlier: Batches | None, options: dict
) -> Batches:
    """Train one stage and return its stream of samples, so that the next need not read them again."""
    settings = getattr(model.config, stage)
    header = stage_header(model, stage)
    if stage == "regression":
        model.regression.scale.copy_(_difference_std(model, pairs))
        loss, judge = regression_loss, _judge_regression(model, validation)
    else:
        model.residual_std = _residual_std(model, validation, header)
        header |= {"residual_std": model.residual_std.tolist()}
        loss, judge = _diffusion_loss(model, _whole_invariant(model, pairs)), _judge_diffusion(model, validation)
    batches = Batches(
        pairs,
        model.statistics,
        batch_size=settings.batch_size,
        seed=model.config.seed + STAGES.index(stage),
        crop=_crop(model, stage),
        whole_input=model.config.patch is not None and _crop(model, stage) is not None,
        cache_mb=model.config.data.cache_mb,
        reuse=earlier,
        pin=model.hardware.device.type == "cuda",
    )
    _claim(model)
    Trainer(
        model.stage_weights(stage),
        loss,
        batches,
        settings=settings,
        hardware=model.hardware,
        folder=model.folder,
        stage=stage,
        header=header,
        seed=model.config.seed,
        validate=judge,
        **options,
    ).run()
    return batches


def _crop(model: CorrDiff, stage: str) -> tuple[int, int] | None:
    """What a stage is trained on: patches or crops (y, x), or None for whole domains."""
    if model.config.patch is None:
        return model.config.data.crop
    return model.config.patch.shape if stage == "diffusion" or model.regression_in_patches else None


def _whole_invariant(model: CorrDiff, pairs: Pairs) -> Tensor | None:
    """The whole domain's invariants (1, C, y, x) where patches need the mean of a regression of whole domains."""
    if model.config.patch is None or model.regression_in_patches:
        return None
    invariant = shared_invariant(pairs, model.statistics)
    if invariant is None:
        raise ConfigError(
            "patch.regression",
            found="'whole' for a data set in which every sample has invariants of its own",
            expected="'patches'",
            todo="set patch.regression=patches",
        )
    return torch.from_numpy(invariant).to(model.hardware.device)


def _difference_std(model: CorrDiff, pairs: Pairs) -> Tensor:
    """Standard deviation (C,) of the target minus its baseline: what the regression's UNet has to learn."""
    return rmse(model, load_in_turn(model, pairs, _cases(pairs, 128)), model.regression.baseline).clamp(min=1e-3)


def _residual_std(model: CorrDiff, validation: Pairs, header: dict) -> Tensor:
    """What an earlier run measured, to the last bit, or where there is none the residuals on validation cases."""
    path = model.folder.checkpoint_path("diffusion-last")
    if not path.exists():
        return residual_std(model, validation, _cases(validation, 64))
    found = load_header(path)
    check_header(path.name, found, header)
    return residual_std_in(model, path, found)


class _Means:
    """The regression's means of training samples, remembered in half precision: it is frozen, and running it again in
    every epoch would cost a fifth of the diffusion's training. Crops differ each time and are computed each time, but
    where `invariant` (1, C, y, x) of the whole domain is given its mean is remembered and patches are cut from it.

    A batch with any unknown mean is computed whole, so that what is remembered does not depend on what was known.
    """

    def __init__(self, model: CorrDiff, room_mb: float, invariant: Tensor | None = None) -> None:
        self.model, self.room, self.known, self.invariant = model, room_mb * 2**20, {}, invariant

    @torch.no_grad()
    def __call__(self, conditions: Tensor, batch: Batch) -> Tensor:
        if batch.position is None:
            return self._whole(batch.index.tolist(), conditions.device, lambda: self.model.regression(conditions))
        if self.invariant is None:
            return self.model.regression(conditions, position=batch.position)
        means = self._whole(batch.index.tolist(), conditions.device, lambda: self._of_whole_domains(batch))
        return cut(means, torch.arange(len(batch)), batch.position, conditions.shape[-2:])

    def _whole(self, samples: list[int], device: torch.device, compute: Callable[[], Tensor]) -> Tensor:
        if not all(sample in self.known for sample in samples):
            means = compute().half()
            self._keep(samples, means)
            return means.float()
        return torch.stack([self.known[sample].float() for sample in samples]).to(device)

    def _of_whole_domains(self, patches: Batch) -> Tensor:
        """Means of the domains that patches are of, as many at once as have the patches' cells."""
        whole = replace(patches, input=patches.whole_input, invariant=self.invariant, whole_input=None, position=None)
        regression, cells = self.model.regression, self.invariant[0, 0].numel()
        size = max(1, patches.target[:, 0].numel() // cells)
        parts = (whole[start : start + size] for start in range(0, len(whole), size))
        return torch.cat([regression(regression.conditions(part)) for part in parts])

    def _keep(self, samples: list[int], means: Tensor) -> None:
        for sample, mean in zip(samples, means.cpu(), strict=True):
            if sample not in self.known and self.room >= mean.nbytes:
                self.known[sample] = mean.clone()
                self.room -= mean.nbytes


def _diffusion_loss(model: CorrDiff, whole_invariant: Tensor | None = None):
    """EDM's loss of the residuals, in units of their measured standard deviation; `whole_invariant` as in `_Means`."""
    settings, means = model.config.diffusion, _Means(model, model.config.data.mean_cache_mb, whole_invariant)

    def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        conditions = model.regression.conditions(batch)
        mean = means(conditions, batch)
        residual = (batch.target - mean) / model.residual_std[:, None, None]
        told = [] if batch.whole_input is None else [model.context(batch.whole_input)]
        seen = torch.cat([conditions, mean, *told], dim=1)
        return edm_loss(
            lambda x, sigma: network(x, sigma, seen, position=batch.position),
            residual,
            sigma_data=network.sigma_data,
            noise_mean=settings.noise_mean,
            noise_std=settings.noise_std,
            mask=batch.mask,
            generator=generator,
        )

    return loss


def _judge_regression(model: CorrDiff, validation: Pairs):
    """RMSE of the mean in normalised units on fixed cases; `score` is the regression's loss on them."""
    batches = list(load_in_turn(model, validation, _cases(validation, 32)))

    def judge(network: nn.Module) -> dict[str, float]:
        with model.hardware.autocast():
            error = rmse(model, batches, partial(model.regress, network))
        named = {f"rmse_{name}": float(value) for name, value in zip(model.channels.target, error, strict=True)}
        return {"score": float(((error / network.scale) ** 2).mean()), **named}

    return judge


def _judge_diffusion(model: CorrDiff, validation: Pairs):
    """Fair CRPS per channel of a small ensemble on fixed cases and seeds, and the achieved skill against interpolation
    where an oracle is known; `score` is the mean CRPS in units of the residuals' standard deviation."""
    settings = model.config.validation
    cases = _cases(validation, settings.cases)
    seeds = list(range(settings.members))
    batch_size = default_batch(model, validation.shape, members=len(cases) * len(seeds))
    schedule = _schedule(model, solver=settings.solver, num_steps=settings.num_steps)
    truth, rivals = _rivals(validation, cases, seeds)
    scale = model.residual_std.cpu().numpy() * model.statistics.std("target", model.channels.target)

    def judge(network: nn.Module) -> dict[str, float]:
        training, model.diffusion = model.diffusion, network
        try:
            drawn = list(draw_cases(model, validation, cases, seeds, schedule=schedule, batch_size=batch_size))
        finally:
            model.diffusion = training
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
    import scoringrules as sr  # here, because it takes seconds to import, and only training needs it

    return np.nanmean(sr.crps_ensemble(truth, members, m_axis=1, estimator="fair"), axis=(0, 2, 3))


def _schedule(model: CorrDiff, **changes) -> Schedule:
    return Schedule(**{**model.config.sampler.model_dump(), **changes})


def _cases(pairs: Pairs, n: int) -> list[int]:
    """At most `n` positions spread evenly over the pairs."""
    return sorted({int(i) for i in np.linspace(0, len(pairs) - 1, min(n, len(pairs))).round()})
