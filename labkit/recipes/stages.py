"""Training a model of any recipe into a run folder, stage by stage, and loading it again."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from labkit.config import first_difference
from labkit.data.batches import Batches
from labkit.data.pairs import Pairs
from labkit.data.parts import check_parts
from labkit.data.statistics import Statistics, compute_statistics
from labkit.errors import CheckpointError, ConfigError, DataError, LabError
from labkit.recipes import open_part, recipe, validate
from labkit.recipes.model import DENOISER, Channels, Model
from labkit.recipes.sections import RecipeConfig
from labkit.store.checkpoints import load_checkpoint, load_header, reading_checkpoint
from labkit.store.runs import RunFolder
from labkit.training import Trainer, check_header

LOOKED_AT = 16  # samples, where the statistics come from a file
MOST_CELLS = 2**28  # of a domain; a damaged header may say anything


def train(
    config: RecipeConfig,
    run: str | Path,
    *,
    tensorboard: bool = False,
    on_log: Callable[[dict], None] | None = None,
    quiet: bool = False,
) -> Model:
    """Train all stages into a run folder, going on where an earlier call stopped, and return the model.

    Raises ConfigError where the folder holds a run of another configuration, CheckpointError where its checkpoints are
    damaged or of another model, Cancelled after Ctrl-C.
    """
    folder = RunFolder(run)
    _check_folder(folder, config)
    parts = _separate_parts(config, quiet)
    pairs, validation = parts["train"], parts["validation"]
    statistics = _statistics(config, folder, pairs)
    model = recipe(config.recipe)(config, Channels.of(pairs), statistics, shape=pairs.shape, factor=pairs.factor)
    model.folder = folder
    for part in ("validation", "test"):
        _check_part(model, part, parts[part])
    model.check_training(pairs)
    options = {"tensorboard": tensorboard, "on_log": on_log, "quiet": quiet}
    stream = None
    for stage in model.stages:
        if not folder.checkpoint_path(stage).exists():
            stream = _train_stage(model, stage, pairs, validation, stream, options)
        restore(model, stage)
    return model


def _train_stage(
    model: Model, name: str, pairs: Pairs, validation: Pairs, earlier: Batches | None, options: dict
) -> Batches:
    """Train one stage and return its stream of samples, so that the next need not read them again."""
    stage = model.stage(name, pairs, validation)
    batches = Batches(
        pairs,
        model.statistics,
        batch_size=stage.settings.batch_size,
        seed=model.config.seed + model.stages.index(name),
        crop=stage.windows,
        whole_input=stage.windows is not None,  # edges are interpolated from beyond, as in a whole domain
        cache_mb=model.config.data.cache_mb,
        reuse=earlier,
        pin=model.hardware.device.type == "cuda",
    )
    _claim(model)
    Trainer(
        model.networks[name],
        stage.loss,
        batches,
        settings=stage.settings,
        hardware=model.hardware,
        folder=model.folder,
        stage=name,
        header=model.stage_header(name) | ({"residual_std": model.residual_std.tolist()} if name == DENOISER else {}),
        seed=model.config.seed,
        validate=stage.judge,
        **options,
    ).run()
    return batches


def load(
    run: str | Path,
    *,
    device: str | None = None,
    precision: str | None = None,
    stages: Sequence[str] | None = None,
) -> Model:
    """The trained model of a run folder; raises CheckpointError where it is incomplete or of another model.

    stages: all by default; a run whose later ones are not yet trained opens with the first alone, without the networks
    of the others."""
    folder = RunFolder(run)
    changes = {name: value for name, value in (("device", device), ("precision", precision)) if value is not None}
    config = validate(folder.load_config() | changes)
    kind = recipe(config.recipe)
    stages = kind.stages if stages is None else tuple(stages)
    if not stages or stages != kind.stages[: len(stages)]:
        expected = f"the first of {', '.join(kind.stages)}"
        raise ConfigError("stages", found=", ".join(stages) or "none", expected=expected, todo="name these in order")
    path = folder.checkpoint_path(stages[-1])
    header = load_header(path)
    check_header(path.name, header, {"recipe": config.recipe})
    with reading_checkpoint(path):
        channels = Channels(*(tuple(map(str, header[name])) for name in ("input", "invariant", "target")))
        shape, factor = (_cells(header[name]) for name in ("shape", "factor"))
    model = kind(config, channels, Statistics.from_dict(folder.load_statistics()), shape=shape, factor=factor)
    model.folder = folder
    model.networks = {stage: model.networks[stage] for stage in stages}
    for stage in stages:
        restore(model, stage)
    return model


def restore(model: Model, stage: str) -> None:
    """Put a finished stage's weights into the model."""
    path = model.folder.checkpoint_path(stage)
    tensors, header = load_checkpoint(path)
    check_header(path.name, header, model.stage_header(stage))
    network = model.networks[stage]
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"checkpoint {path.name}",
            found="weights of another network",
            expected="those of the configuration beside it",
            todo="restore the run's own config.yaml",
        ) from error
    network.eval().requires_grad_(False)
    if stage == DENOISER:
        model.residual_std = residual_std_in(model, path, header)


def residual_std_in(model: Model, path: Path, header: dict) -> Tensor:
    """The residuals' standard deviation (C,) that a checkpoint's header tells."""
    with reading_checkpoint(path):
        found = torch.tensor(header["residual_std"], dtype=torch.float32)
        if found.shape != (len(model.channels.target),) or not bool((found.isfinite() & (found > 0)).all()):
            raise ValueError(f"residual_std = {header['residual_std']}")
    return found.to(model.hardware.device)


def _cells(pair: Sequence[int]) -> tuple[int, int]:
    """Numbers of cells (y, x) out of a header."""
    y, x = map(int, pair)
    if not 0 < y * x <= MOST_CELLS or y < 0:
        raise ValueError(f"{y} x {x} cells")
    return y, x


def _separate_parts(config: RecipeConfig, quiet: bool) -> dict[str, Pairs]:
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


def _check_part(model: Model, part: str, pairs: Pairs) -> None:
    """What is drawn after training, or judged by meanwhile, must be what the model can take: known before it begins."""
    with _of_part(part):
        if not len(pairs):
            raise DataError("times", found="none", expected="one or more", todo="choose other times")
        model.check(pairs)
        model.check_shape(pairs.shape)


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
            todo=error.todo,
        ) from error


def _claim(model: Model) -> None:
    """Write configuration and statistics into a new folder: once nothing more can be refused."""
    if not ((model.folder.path / "config.yaml").exists() and model.folder.statistics_path.exists()):
        model.folder.save_statistics(model.statistics.to_dict())
        model.folder.save_config(json.loads(model.config.model_dump_json()))


def _check_folder(folder: RunFolder, config: RecipeConfig) -> None:
    """Raises ConfigError where the folder holds a run of another configuration."""
    if not (folder.path / "config.yaml").exists():
        return
    found, wanted = (json.loads(one.model_dump_json()) for one in (validate(folder.load_config()), config))
    if path := first_difference(found, wanted):
        raise ConfigError(
            f"run folder {folder.path.name}",
            found=f"a run with another {path}",
            expected="the same configuration, to go on, or an empty folder",
            todo="choose another folder with --run",
        )


def _statistics(config: RecipeConfig, folder: RunFolder, pairs: Pairs) -> Statistics:
    if folder.statistics_path.exists() and (folder.path / "config.yaml").exists():
        return Statistics.from_dict(folder.load_statistics())
    if config.data.statistics_file:
        statistics = Statistics.load(Path(config.data.statistics_file))
        compute_statistics(pairs, max_samples=LOOKED_AT)  # whose units may not be those of the file's data
        return statistics
    return compute_statistics(pairs, max_samples=config.data.statistics_samples)
