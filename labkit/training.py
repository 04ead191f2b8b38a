"""The one training loop: any network, any loss, resumable to the last bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from labkit.data.batches import Batch, Batches
from labkit.errors import Cancelled, CheckpointError, LabError
from labkit.interrupts import uninterrupted
from labkit.models.ema import EMA
from labkit.models.hardware import Hardware
from labkit.models.optimiser import make_optimiser
from labkit.store.checkpoints import flatten, load_checkpoint, reading_checkpoint, save_checkpoint, unflatten
from labkit.store.runs import RunFolder

Loss = Callable[[nn.Module, Batch, torch.Generator], Tensor]
Validate = Callable[[nn.Module], Mapping[str, float]]


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
        self.optimiser = make_optimiser(settings.optimiser, network, settings.lr)
        self.samples = self.reported = 0  # samples learnt from, and those whose logs and validation are done
        self.micro_batch = min(settings.micro_batch or settings.batch_size, settings.batch_size)
        self.best, self.losses = math.inf, []
        self.position = batches.state_dict()
        self.generator = torch.Generator(hardware.device)
        self.tensorboard, self.writer = tensorboard, None
        self.shown: dict[str, str] = {}
        self.started = (0, time.perf_counter())

    def run(self) -> nn.Module:
        """Train to the end, from the last checkpoint where there is one, and return the averaged network.

        Ctrl-C saves a checkpoint and raises Cancelled; a kill loses what came after the last checkpoint. Either way
        the next run ends with the very weights and metrics of one that was never stopped.
        """
        self._resume()
        with self._watched() as bar:
            while True:
                if self.reported < self.samples:
                    self._report(bar)
                if self.samples >= self.settings.samples:
                    break
                batch = next(self.batches)
                for group in self.optimiser.param_groups:
                    group["lr"] = learning_rate(self.settings, self.samples) * group.get("ratio", 1.0)
                loss = self._gradients(batch)
                norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm or math.inf)
                self._check_finite(loss + norm)
                with uninterrupted():
                    self.optimiser.step()
                    self.samples += len(batch)
                    self.ema.update(self.network, self.samples, len(batch))
                    self.losses.append(loss)
                    self.position = self.batches.state_dict()
                    bar.update(len(batch))
        save_checkpoint(self.folder.checkpoint_path(self.stage), *self._weights())
        return self.ema.network

    @contextmanager
    def _watched(self) -> Iterator[tqdm]:
        """The progress bar, and TensorBoard where it is asked for; Ctrl-C saves what there is."""
        self.writer = _tensorboard(self.folder, self.stage, self.reported) if self.tensorboard else None
        self.started = (self.samples, time.perf_counter())
        shown = {"total": self.settings.samples, "initial": self.samples, "desc": self.stage, "unit": " samples"}
        try:
            with tqdm(**shown, disable=self.quiet) as bar:
                yield bar
        except KeyboardInterrupt as stop:
            self._save_last()
            raise Cancelled(f"{self.stage} stopped after {self.samples} samples; the same command goes on") from stop
        finally:
            self.batches.close()
            if self.writer is not None:
                self.writer.close()

    def _report(self, bar: tqdm) -> None:
        """Log, validate and save where these are due; all of it is done again where Ctrl-C came in between."""
        done = self.samples >= self.settings.samples
        logs, validates, saves = (
            _crossed(self.reported, self.samples, getattr(self.settings, f"{what}_every"))
            for what in ("log", "validate", "checkpoint")
        )
        if logs:
            rate = (self.samples - self.started[0]) / (time.perf_counter() - self.started[1])
            self._log(bar, {"loss": float(torch.stack(self.losses).mean()), "samples_per_s": round(rate, 1)})
        if self.validate and (validates or done):
            self._validate(bar)
        if logs or validates:
            self.started = (self.samples, time.perf_counter())
        with uninterrupted():
            self.losses = [] if logs else self.losses
            self.reported = self.samples
        if saves or done:
            self._save_last()

    def _gradients(self, batch: Batch) -> Tensor:
        """The loss, with its gradients in the network; where memory runs out the batch is taken again in halves."""
        while True:
            try:
                return self._backward(batch)
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
            self._halve()  # outside of the handler, whose traceback holds on to what was allocated

    def _backward(self, batch: Batch) -> Tensor:
        """Gradients of the batch, a micro-batch at a time. All randomness follows from the seed and the sample count,
        so that a resumed run draws what the uninterrupted one would have drawn. Micro-batches count by their samples:
        where masks hide unlike shares of them the gradient is not quite that of the whole batch."""
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
        return total

    def _check_finite(self, figure: Tensor) -> None:
        if not torch.isfinite(figure):
            raise LabError(
                f"{self.stage} loss or gradient after {self.samples} samples",
                found=str(float(figure)),
                expected="a finite number",
                todo="lower the learning rate or look for extreme values in the data; the last checkpoint is whole",
            )

    def _halve(self) -> None:
        """Make the micro-batch smaller after memory ran out, and say so."""
        self.optimiser.zero_grad(set_to_none=True)
        if self.hardware.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.micro_batch == 1:
            raise self._too_little_memory("for a single sample")
        self.micro_batch //= 2
        tqdm.write(f"{self.stage}: out of memory, going on with micro-batches of {self.micro_batch}")
        self.folder.log(stage=self.stage, step=self.samples, micro_batch=self.micro_batch)

    def _too_little_memory(self, what: str) -> LabError:
        return LabError(
            f"memory for {self.stage}",
            found=f"too little {what} on the {self.hardware.device.type}",
            expected="room for it",
            todo="train on crops (data.crop), with a smaller network or on a larger device",
        )

    def _validate(self, bar: tqdm) -> None:
        with torch.random.fork_rng(devices=[]):
            figures = dict(self.validate(self.ema.network))
        self._log(bar, {f"validation_{name}": value for name, value in figures.items()})
        if figures["score"] < self.best:
            save_checkpoint(self.folder.checkpoint_path(f"{self.stage}-best"), *self._weights())
            self.best = figures["score"]

    def _log(self, bar: tqdm, figures: dict) -> None:
        entry = {"stage": self.stage, "step": self.samples, **figures}
        self.folder.log(**entry)
        shown = {"loss": "loss", "validation_score": "score"}
        self.shown |= {shown[name]: f"{value:.4g}" for name, value in figures.items() if name in shown}
        with uninterrupted():
            bar.set_postfix(self.shown)
            if self.writer is not None:
                for name, value in figures.items():
                    self.writer.add_scalar(f"{self.stage}/{name}", value, self.samples)
        if self.on_log is not None:
            self.on_log(entry)

    def _weights(self) -> tuple[dict[str, Tensor], dict]:
        return self.ema.network.state_dict(), {**self.header, "stage": self.stage, "samples": self.samples}

    def _save_last(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "ema": self.ema.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "losses": list(self.losses),
        }
        tensors, structure = flatten(state)
        header = {
            **self.header,
            "stage": self.stage,
            "samples": self.samples,
            "reported": self.reported,
            "best": self.best if math.isfinite(self.best) else None,
            "micro_batch": self.micro_batch,
            "batches": self.position,
            "structure": structure,
        }
        save_checkpoint(self.folder.checkpoint_path(f"{self.stage}-last"), tensors, header)

    def _resume(self) -> None:
        path = self.folder.checkpoint_path(f"{self.stage}-last")
        if not path.exists():
            self.folder.truncate_metrics(-1, stage=self.stage)  # of a run killed before its first checkpoint
            return
        tensors, header = load_checkpoint(path)
        check_header(path.name, header, self.header)
        with reading_checkpoint(path):
            state = unflatten(header["structure"], tensors)
            try:
                self.network.load_state_dict(state["network"])
                self.ema.network.load_state_dict(state["ema"])
                self.optimiser.load_state_dict(state["optimiser"])
                _lay_out_alike(self.optimiser)
                self.losses = [loss.to(self.hardware.device) for loss in state["losses"]]
            except RuntimeError as error:
                if _out_of_memory(error):  # which is no damage of the file
                    raise self._too_little_memory("to go on from the checkpoint") from error
                raise
            self.batches.load_state_dict(header["batches"])
            self.position = header["batches"]
            self.samples, self.reported, self.micro_batch = (header[n] for n in ("samples", "reported", "micro_batch"))
            self.best = math.inf if header["best"] is None else header["best"]
        self.folder.truncate_metrics(self.reported, stage=self.stage)


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


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _lay_out_alike(optimiser) -> None:
    """Give loaded moments the memory layout of their weights: the fused step pairs numbers by their place in memory."""
    for weight, state in optimiser.state.items():
        for name, value in state.items():
            if value.shape == weight.shape:
                state[name] = torch.empty_like(weight).copy_(value)


def _crossed(before: int, after: int, every: int) -> bool:
    return before // every < after // every


def _tensorboard(folder: RunFolder, stage: str, reported: int):
    """A writer of events; those that an earlier run wrote after `reported` samples are hidden."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise LabError(
            "TensorBoard", found="not installed", expected="the extra", todo="pip install labkit[tensorboard]"
        ) from error
    return SummaryWriter(folder.path / "tensorboard" / stage, purge_step=reported + 1)
