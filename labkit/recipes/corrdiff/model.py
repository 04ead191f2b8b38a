"""CorrDiff: a UNet predicts the mean, a diffusion model draws the rest (Mardani et al. 2025).

Two departures from the paper, both in the scaling: the regression learns the difference from the interpolated input
where the input has the channel, and residuals are divided by their own measured standard deviation, so that
`sigma_data` is 1 for every channel and noise levels mean the same everywhere.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from labkit.data import batches
from labkit.data.batches import Batch
from labkit.data.catalogue import open_pairs
from labkit.data.pairs import Pairs
from labkit.data.statistics import Statistics
from labkit.diffusion.edm import EDM, Denoise
from labkit.diffusion.patches import PatchGrid, cut, fuse, patched
from labkit.errors import CheckpointError, ConfigError
from labkit.models.hardware import Hardware
from labkit.models.unet import UNet
from labkit.recipes.corrdiff.config import CorrDiffConfig, validate
from labkit.recipes.corrdiff.regression import Channels, Regression
from labkit.store.checkpoints import checkpoint_hash, load_checkpoint, load_header, reading_checkpoint
from labkit.store.runs import RunFolder
from labkit.training import check_header
from labkit.variables import lookup

MOST_CELLS = 2**28  # of a domain; a damaged header may say anything


class CorrDiff:
    """Both networks with what they need: `config`, channels, grid and statistics. Made by `train` or `load`.

    `shape` is the fine grid (y, x), `factor` the number of fine cells in a coarse one along each.
    """

    def __init__(
        self,
        config: CorrDiffConfig,
        channels: Channels,
        statistics: Statistics,
        *,
        shape: tuple[int, int],
        factor: tuple[int, int],
    ) -> None:
        self.config, self.channels, self.statistics = config, channels, statistics
        self.shape, self.factor = tuple(shape), tuple(factor)
        self.hardware = Hardware.choose(config.device, config.precision)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            regression, diffusion = self._networks()
        self.regression = Regression(regression, channels, statistics).to(self.hardware.device)
        self.diffusion = EDM(diffusion, torch.ones(len(channels.target))).to(self.hardware.device)
        self.residual_std = torch.ones(len(channels.target), device=self.hardware.device)
        self.folder: RunFolder | None = None
        if config.patch is not None:
            self.patch_grid(self.shape)  # raises for patches that do not fit, before anything is trained

    def _networks(self) -> tuple[UNet, UNet]:
        seen, out = len(self.channels.input) + len(self.channels.invariant), len(self.channels.target)
        patch, whole = self.config.patch, self.config.data.crop or self.shape
        told = len(self.channels.input) if patch is not None and patch.context else 0
        options = [network.model_dump() for network in (self.config.regression_network, self.config.diffusion_network)]
        options[0] |= {"shape": patch.shape if self.regression_in_patches else whole, "grid_shape": self.shape}
        options[1] |= {"shape": whole if patch is None else patch.shape, "grid_shape": self.shape}
        regression = UNet(seen, out, noise_embedding="none", **options[0])
        return regression, UNet(seen + 2 * out + told, out, noise_embedding="positional", **options[1])

    @property
    def any_grid(self) -> bool:
        """Whether the networks know nothing of place, so that they work on any domain."""
        if self.config.patch is not None and self.config.patch.context:
            return False
        kinds = {self.config.regression_network.grid_embedding, self.config.diffusion_network.grid_embedding}
        return kinds == {"none"}

    @property
    def regression_in_patches(self) -> bool:
        """Whether the regression too only ever sees patches."""
        return self.config.patch is not None and self.config.patch.regression == "patches"

    def patch_grid(self, shape: tuple[int, int]) -> PatchGrid:
        """The patches of a domain `shape` (y, x), on whole coarse cells as in training."""
        patch = self.config.patch
        options = {"overlap": patch.overlap, "boundary": patch.boundary, "align": self.factor}
        return PatchGrid.of(shape, patch.shape, **options)

    @property
    def header(self) -> dict:
        """What makes a checkpoint fit: the recipe, channels, grid, networks and statistics."""
        described = json.dumps(statistics_dict(self.statistics), sort_keys=True)
        return {
            "recipe": "corrdiff",
            "input": list(self.channels.input),
            "invariant": list(self.channels.invariant),
            "target": list(self.channels.target),
            "shape": list(self.shape),
            "factor": list(self.factor),
            "regression_network": json.loads(self.config.regression_network.model_dump_json()),
            "diffusion_network": json.loads(self.config.diffusion_network.model_dump_json()),
            "statistics": hashlib.sha256(described.encode()).hexdigest()[:16],
            **({} if self.config.patch is None else {"patch": json.loads(self.config.patch.model_dump_json())}),
        }

    def pairs(self, part: str = "test") -> Pairs:
        """The data set the model was trained on: its `train`, `validation` or `test` part.

        Raises ConfigError for a test that the configuration does not set apart from what was learnt."""
        if part == "test" and not self.config.data.test:
            raise ConfigError(
                "test part of the data",
                found="nothing in the run's configuration that sets it apart",
                expected="data.test with times or samples of its own",
                todo="draw from another part, or open the data yourself",
            )
        return open_part(self.config, part)

    def check(self, pairs: Pairs) -> None:
        """Raise CheckpointError unless the pairs have the model's channels, by name and in order, its coarsening and,
        where the networks are told of it, its grid."""
        found = {f"{kind} channels": names for kind, names in vars(Channels.of(pairs)).items()}
        expected = {f"{kind} channels": names for kind, names in vars(self.channels).items()}
        found |= {"fine cells in a coarse one": pairs.factor, "grid": pairs.shape}
        expected |= {"fine cells in a coarse one": self.factor, "grid": pairs.shape if self.any_grid else self.shape}
        different = next((what for what in found if found[what] != expected[what]), None)
        if different is not None:
            raise CheckpointError(
                f"{different} of the data",
                found=_listed(found[different]),
                expected=f"{_listed(expected[different])}, as the model learnt",
                todo="select what the model was trained on, or choose the run that fits",
            )

    def conditions(self, batch: Batch) -> Tensor:
        """What the networks are given of a batch, (B, input + invariant, y, x), on the model's device."""
        return self.regression.conditions(batch.to(self.hardware.device))

    @torch.inference_mode()
    def mean(self, conditions: Tensor, position: Tensor | None = None) -> Tensor:
        """The regression's mean (B, C, y, x), normalised units."""
        with self.hardware.autocast():
            if position is None:
                return self.regress(self.regression, conditions).float()
            return self.regression(conditions, position=position).float()

    def regress(self, network: nn.Module, conditions: Tensor) -> Tensor:
        """The mean (B, C, y, x) of a whole domain by `network`, a regression, also one that only knows patches."""
        if not self.regression_in_patches:
            return network(conditions)
        patch = self.config.patch.shape

        def evaluate(entry: Tensor, corner: Tensor) -> Tensor:
            return network(cut(conditions, entry, corner, patch), position=corner)

        grid, size = self.patch_grid(conditions.shape[-2:]), default_batch(self, patch)
        return fuse(evaluate, grid, conditions, channels=len(self.channels.target), batch_size=size)

    def denoiser(self, *given: Tensor, position: Tensor | None = None):
        """`denoise(x, sigma)` for residuals in units of `residual_std`, given conditions and mean, side by side."""
        seen = torch.cat(given, dim=1) if len(given) > 1 else given[0]

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            with self.hardware.autocast():
                return self.diffusion.denoise(x, sigma, seen, position=position)

        return denoise

    def context(self, coarse: Tensor) -> Tensor:
        """The whole domain's coarse input (B, input, y_in, x_in), resized to a patch; no channel where not wanted."""
        if not self.config.patch.context:
            return coarse.new_zeros(len(coarse), 0, *self.config.patch.shape)
        with torch.autocast(coarse.device.type, enabled=False):
            return functional.interpolate(coarse, self.config.patch.shape, mode="bilinear", antialias=True)

    def patched_denoiser(self, seen: Tensor, coarse: Tensor, case: Tensor, *, batch_size: int) -> Denoise:
        """`denoise(x, sigma)` of whole domains in patches, at most `batch_size` at once.

        seen (conditions and mean) and coarse input are those of U cases; case (B,) says which one each entry of `x` is
        of.
        """
        context, patch = self.context(coarse), self.config.patch.shape
        case = case.to(seen.device)

        def denoise(x: Tensor, sigma: Tensor, entry: Tensor, corner: Tensor) -> Tensor:
            told = torch.cat([cut(seen, case[entry], corner, patch), context[case[entry]]], dim=1)
            with self.hardware.autocast():
                return self.diffusion.denoise(x, sigma, told, position=corner)

        return patched(denoise, self.patch_grid(seen.shape[-2:]), batch_size=batch_size)

    def add(self, mean: Tensor, residual: Tensor) -> Tensor:
        """Mean plus residual, both on the CPU: members (B, C, y, x) in normalised units."""
        return mean + residual * self.residual_std.cpu()[:, None, None]

    def physical(self, fields: Tensor) -> np.ndarray:
        """Normalised fields (..., C, y, x) in native units, none below 0 where a variable has no such values."""
        values = np.array(self.statistics.denormalise("target", fields.float().numpy(), list(self.channels.target)))
        for i, name in enumerate(self.channels.target):
            if lookup(name).non_negative:
                np.maximum(values[..., i, :, :], 0, out=values[..., i, :, :])
        return values.astype(np.float32)

    def stage_weights(self, stage: str) -> nn.Module:
        """The network that a stage trains."""
        return self.regression if stage == "regression" else self.diffusion

    def describe(self) -> dict:
        """How members of this model were made, for the attributes of output trees."""
        if self.folder is None:
            return {"model": "corrdiff"}
        path, patch = self.folder.checkpoint_path("diffusion"), self.config.patch
        found = {"model": "corrdiff", "checkpoint": self.folder.path.name, "checkpoint_sha256": checkpoint_hash(path)}
        if patch is not None:
            found["patches"] = "{} x {} cells".format(*patch.shape)
            found["patches"] += f", overlap {patch.overlap}, boundary {patch.boundary}"
        return found


def default_batch(model: CorrDiff, shape: tuple[int, int], *, members: int | None = None) -> int:
    """A batch that keeps the device busy: about 65,000 fine cells on a CPU, 8 million on a GPU. Of patches where the
    model draws these, else of domains of `shape`. No more than `members` of the domain need, where that is given."""
    cells = 65_536 if model.hardware.device.type == "cpu" else 8_000_000
    in_patches = model.config.patch is not None
    seen = model.config.patch.shape if in_patches else shape
    size = int(np.clip(cells // int(np.prod(seen)), 1, 512))
    if members is None:
        return size
    return min(size, members * (len(model.patch_grid(shape)) if in_patches else 1))


def open_part(config: CorrDiffConfig, part: str, **changes) -> Pairs:
    """One part of the configured data set, with the configured channels; `changes` are other options of its reader."""
    data = config.data
    pairs = open_pairs({"name": data.reader, **data.options, **getattr(data, part), **changes})
    return pairs.select(input=data.input_channels, target=data.target_channels)


def load(
    run: str | Path,
    *,
    device: str | None = None,
    precision: str | None = None,
    stages: Sequence[str] = ("regression", "diffusion"),
) -> CorrDiff:
    """The trained model of a run folder; raises CheckpointError where it is incomplete or of another model. A run
    whose diffusion is not yet trained opens with stages=("regression",)."""
    folder = RunFolder(run)
    changes = {name: value for name, value in (("device", device), ("precision", precision)) if value is not None}
    config = validate(folder.load_config() | changes)
    path = folder.checkpoint_path(stages[-1])
    header = load_header(path)
    check_header(path.name, header, {"recipe": "corrdiff"})
    with reading_checkpoint(path):
        channels = Channels(*(tuple(map(str, header[name])) for name in ("input", "invariant", "target")))
        shape, factor = (_cells(header[name]) for name in ("shape", "factor"))
    statistics = Statistics.from_dict(folder.load_statistics())
    model = CorrDiff(config, channels, statistics, shape=shape, factor=factor)
    model.folder = folder
    for stage in stages:
        restore(model, stage)
    return model


def restore(model: CorrDiff, stage: str) -> None:
    """Put a finished stage's weights into the model."""
    path = model.folder.checkpoint_path(stage)
    tensors, header = load_checkpoint(path)
    check_header(path.name, header, stage_header(model, stage))
    network = model.stage_weights(stage)
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
    if stage == "diffusion":
        model.residual_std = residual_std_in(model, path, header)


def residual_std_in(model: CorrDiff, path: Path, header: dict) -> Tensor:
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


def stage_header(model: CorrDiff, stage: str) -> dict:
    """What a stage's checkpoints must say: the model, and for the diffusion also whose residuals it learnt."""
    if stage == "regression":
        return model.header
    return {**model.header, "regression": checkpoint_hash(model.folder.checkpoint_path("regression"))[:16]}


def _listed(values: Sequence) -> str:
    return ", ".join(map(str, values)) or "none"


def statistics_dict(statistics: Statistics) -> dict:
    """Mean, standard deviation and transform of every channel, as plain lists by kind and name."""
    return {
        kind: {name: [c.mean, c.std, c.transform] for name, c in getattr(statistics, kind).items()}
        for kind in ("input", "invariant", "target")
    }


@torch.inference_mode()
def rmse(model: CorrDiff, batches: Iterable[Batch], mean: Callable[[Tensor], Tensor]) -> Tensor:
    """Root mean square (C,) of truth minus `mean(conditions)` in normalised units over the observed pixels."""
    sums, count = 0.0, 0.0
    for batch in batches:
        batch = batch.to(model.hardware.device)
        error = batch.target - mean(model.conditions(batch))
        valid = torch.ones_like(error, dtype=torch.bool) if batch.mask is None else batch.mask.expand_as(error)
        sums = sums + (torch.where(valid, error, 0).double() ** 2).sum((0, 2, 3))
        count = count + valid.sum((0, 2, 3))
    return (sums / count).sqrt().float()


def load_in_turn(model: CorrDiff, pairs: Pairs, indices: Sequence[int]) -> Iterator[Batch]:
    """The named samples in batches of whole domains, as many at once as hold about a million fine cells."""
    size = max(1, 2**20 // math.prod(pairs.shape))
    for start in range(0, len(indices), size):
        yield batches.load(pairs, list(indices[start : start + size]), model.statistics)


def residual_std(model: CorrDiff, pairs: Pairs, indices: Sequence[int]) -> Tensor:
    """Standard deviation (C,) of truth minus the regression's mean over some samples: the diffusion's sigma_data.

    Measured on samples that the regression did not learn from, because residuals of learnt samples are too small and
    would make the ensemble under-dispersive.
    """
    return rmse(model, load_in_turn(model, pairs, indices), model.mean)
