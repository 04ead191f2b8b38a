"""The one training loop: any network, any loss, resumable to the last bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from labkit.data.batches import Batch, Batches
from labkit.errors import Cancelled, CheckpointError, LabError
from labkit.store.checkpoints import flatten, load_checkpoint, save_checkpoint, unflatten
from labkit.store.runs import RunFolder

Loss = Callable[[nn.Module, Batch, torch.Generator], Tensor]
Validate = Callable[[nn.Module], Mapping[str, float]]


@dataclass(frozen=True)
class Hardware:
    """Where and in which precision to compute: `device`, and `autocast` to bf16 or not."""

    device: torch.device
    bf16: bool

    @classmethod
    def choose(cls, device: str = "auto", precision: str = "auto") -> "Hardware":
        """CUDA where there is one; bf16 where the device multiplies it quickly: recent GPUs, processors with AMX."""
        cuda = torch.cuda.is_available() if device == "auto" else device == "cuda"
        if cuda and not torch.cuda.is_available():
            raise LabError("device", found="no CUDA device", expected="one", todo="use device=cpu")
        fast = torch.cuda.is_bf16_supported() if cuda else torch.cpu.get_capabilities().get("amx_bf16", False)
        return cls(torch.device("cuda" if cuda else "cpu"), fast if precision == "auto" else precision == "bf16")

    def autocast(self):
        """Context in which networks run."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)


class EMA:
    """Exponential average of a network's parameters; its half-life is at most a tenth of the samples seen so far, so
    that the first ones are soon forgotten (Karras et al. 2022)."""

    def __init__(self, network: nn.Module, halflife_samples: int) -> None:
        self.network = deepcopy(network).eval().requires_grad_(False)
        self.halflife_samples = halflife_samples

    @torch.no_grad()
    def update(self, network: nn.Module, samples_seen: int, batch_size: int) -> None:
        halflife = min(self.halflife_samples, samples_seen / 10)
        weight = 1 - 0.5 ** (batch_size / halflife) if halflife > 0 else 1.0
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), weight)
        for mine, theirs in zip(self.network.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs)


def learning_rate(settings, samples_seen: int) -> float:
    """The rate at a sample count: linear warm-up, then constant or half a cosine down to 1 % at the end."""
    warm = min(1.0, (samples_seen + 1) / settings.warmup_samples) if settings.warmup_samples else 1.0
    if settings.decay == "none":
        return settings.lr * warm
    done = min(1.0, samples_seen / settings.samples)
    return settings.lr * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


class Trainer:
    """Trains one network for one stage of a run; `settings` is a `StageConfig`.

    `loss(network, batch, generator)` is a scalar; `validate(network)` gives figures, of which `score` is what the best
    checkpoint has least of. `header` describes the model and travels in every checkpoint. Checkpoints `<stage>-last`
    hold all that is needed to go on, `<stage>-best` and `<stage>` the averaged weights.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Loss,
        batches: Batches,
        *,
        settings,
        hardware: Hardware,
        folder: RunFolder,
        stage: str,
        header: Mapping,
        seed: int = 0,
        validate: Validate | None = None,
        tensorboard: bool = False,
        on_log: Callable[[dict], None] | None = None,
        quiet: bool = False,
    ) -> None:
        self.network, self.loss, self.batches = network.to(hardware.device), loss, batches
        self.settings, self.hardware, self.folder, self.stage = settings, hardware, folder, stage
        self.header, self.seed, self.validate = dict(header), seed, validate
        self.on_log, self.quiet = on_log, quiet
        self.ema = EMA(network, settings.ema_halflife_samples)
        fused = {"fused": True} if hardware.device.type in ("cuda", "cpu") else {}
        self.optimiser = torch.optim.Adam(network.parameters(), lr=settings.lr, betas=(0.9, 0.99), **fused)
        self.samples, self.micro_batch, self.best = 0, settings.micro_batch or settings.batch_size, math.inf
        self.writer = _tensorboard(folder, stage) if tensorboard else None
        self.generator = torch.Generator(hardware.device)

    def run(self) -> nn.Module:
        """Train to the end, from the last checkpoint where there is one, and return the averaged network.

        Ctrl-C saves a checkpoint and raises Cancelled; a kill loses what came after the last checkpoint.
        """
        self._resume()
        try:
            with self._progress() as bar:
                self._loop(bar)
        except KeyboardInterrupt as stop:
            self._save_last()
            raise Cancelled(f"{self.stage} stopped after {self.samples} samples; the same command goes on") from stop
        finally:
            self.batches.close()
            if self.writer is not None:
                self.writer.close()
        save_checkpoint(self.folder.checkpoint_path(self.stage), *self._weights())
        return self.ema.network

    def _loop(self, bar: tqdm) -> None:
        losses, since, started = [], self.samples, time.perf_counter()
        while self.samples < self.settings.samples:
            before = self.samples
            losses.append(self._step(next(self.batches)))
            bar.update(self.samples - before)
            if _crossed(before, self.samples, self.settings.log_every):
                rate = (self.samples - since) / (time.perf_counter() - started)
                self._log(bar, {"loss": float(torch.stack(losses).mean()), "samples_per_s": round(rate, 1)})
                losses, since, started = [], self.samples, time.perf_counter()
            done = self.samples >= self.settings.samples
            if self.validate and (done or _crossed(before, self.samples, self.settings.validate_every)):
                self._validate(bar)
                since, started = self.samples, time.perf_counter()
            if done or _crossed(before, self.samples, self.settings.checkpoint_every):
                self._save_last()

    def _step(self, batch: Batch) -> Tensor:
        """One optimiser step; when memory runs out the batch is taken again in halves."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.settings, self.samples)
        while True:
            try:
                loss = self._backward(batch)
                break
            except RuntimeError as error:
                self._halve(error)
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        self.optimiser.step()
        self.samples += len(batch)
        self.ema.update(self.network, self.samples, len(batch))
        return loss

    def _backward(self, batch: Batch) -> Tensor:
        """Gradients of the batch, a micro-batch at a time. All randomness follows from the seed and the sample count,
        so that a resumed run draws what the uninterrupted one would have drawn."""
        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        seed = (self.seed * 1_000_003 + self.samples) % 2**63
        torch.manual_seed(seed)  # dropout
        self.generator.manual_seed(seed)
        total = torch.zeros((), device=self.hardware.device)
        for part in _parts(batch, self.micro_batch):
            with self.hardware.autocast():
                loss = self.loss(self.network, part.to(self.hardware.device), self.generator)
            share = len(part) / len(batch)
            (loss * share).backward()
            total += loss.detach() * share
        if not torch.isfinite(total):
            raise LabError(
                f"{self.stage} loss after {self.samples} samples",
                found=str(float(total)),
                expected="a finite number",
                todo="lower the learning rate or look for extreme values in the data; the last checkpoint is whole",
            )
        return total

    def _halve(self, error: RuntimeError) -> None:
        memory = isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
        if not memory or self.micro_batch == 1:
            raise error
        self.micro_batch = max(1, self.micro_batch // 2)
        self.optimiser.zero_grad(set_to_none=True)
        if self.hardware.device.type == "cuda":
            torch.cuda.empty_cache()
        tqdm.write(f"{self.stage}: out of memory, going on with micro-batches of {self.micro_batch}")
        self.folder.log(stage=self.stage, step=self.samples, micro_batch=self.micro_batch)

    def _validate(self, bar: tqdm) -> None:
        with torch.random.fork_rng(devices=[]):
            figures = dict(self.validate(self.ema.network))
        self._log(bar, {f"validation_{name}": value for name, value in figures.items()})
        if figures["score"] < self.best:
            self.best = figures["score"]
            save_checkpoint(self.folder.checkpoint_path(f"{self.stage}-best"), *self._weights())

    def _log(self, bar: tqdm, figures: dict) -> None:
        entry = {"stage": self.stage, "step": self.samples, **figures}
        self.folder.log(**entry)
        bar.set_postfix({name: f"{value:.4g}" for name, value in figures.items() if isinstance(value, float)})
        if self.writer is not None:
            for name, value in figures.items():
                self.writer.add_scalar(f"{self.stage}/{name}", value, self.samples)
        if self.on_log is not None:
            self.on_log(entry)

    def _progress(self) -> tqdm:
        return tqdm(
            total=self.settings.samples, initial=self.samples, desc=self.stage, unit=" samples", disable=self.quiet
        )

    def _weights(self) -> tuple[dict[str, Tensor], dict]:
        return self.ema.network.state_dict(), {**self.header, "stage": self.stage, "samples": self.samples}

    def _save_last(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "ema": self.ema.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        tensors, structure = flatten(state)
        header = {
            **self.header,
            "stage": self.stage,
            "samples": self.samples,
            "best": self.best if math.isfinite(self.best) else None,
            "micro_batch": self.micro_batch,
            "batches": self.batches.state_dict(),
            "structure": structure,
        }
        save_checkpoint(self.folder.checkpoint_path(f"{self.stage}-last"), tensors, header)

    def _resume(self) -> None:
        path = self.folder.checkpoint_path(f"{self.stage}-last")
        if not path.exists():
            return
        tensors, header = load_checkpoint(path)
        check_header(path.name, header, self.header)
        state = unflatten(header["structure"], tensors)
        self.network.load_state_dict(state["network"])
        self.ema.network.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.batches.load_state_dict(header["batches"])
        self.samples, self.micro_batch = header["samples"], header["micro_batch"]
        self.best = math.inf if header["best"] is None else header["best"]
        self.folder.truncate_metrics(self.samples, stage=self.stage)


def check_header(name: str, found: Mapping, expected: Mapping) -> None:
    """Raise CheckpointError, naming the first difference, unless the checkpoint is of the model that is expected."""
    for key, value in expected.items():
        if found.get(key) != value:
            raise CheckpointError(
                f"checkpoint {name}",
                found=f"{key} = {found.get(key)}",
                expected=f"{value}",
                todo="choose the run that fits, or train into a new folder",
            )


def _parts(batch: Batch, size: int) -> list[Batch]:
    """The batch cut into micro-batches of at most `size`."""
    if size >= len(batch):
        return [batch]
    return [batch[start : start + size] for start in range(0, len(batch), size)]


def _crossed(before: int, after: int, every: int) -> bool:
    return before // every < after // every


def _tensorboard(folder: RunFolder, stage: str):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise LabError(
            "TensorBoard", found="not installed", expected="the extra", todo="pip install labkit[tensorboard]"
        ) from error
    return SummaryWriter(folder.path / "tensorboard" / stage)
