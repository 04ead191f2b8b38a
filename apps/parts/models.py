"""Trained models on offer to the Draw tab, and drawing from them; nothing here knows of sessions or widgets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Protocol

import numpy as np

from labkit.errors import DataError

OnMember = Callable[[int, int, np.ndarray], None]


@dataclass(frozen=True)
class ModelCard:
    """What must be known of a model before drawing: its cases, its grid, its sampler's habits."""

    times: np.ndarray
    shape: tuple[int, int]
    variables: tuple[str, ...]
    solvers: tuple[str, ...]
    solver: str
    num_steps: int
    has_oracle: bool


@dataclass(frozen=True)
class DrawRequest:
    """What to draw: members `seed`, `seed + 1` ... of the cases at positions `times` of the model's test data."""

    times: tuple[int, ...]
    members: int
    seed: int
    solver: str
    num_steps: int
    with_oracle: bool = False

    @property
    def seeds(self) -> list[int]:
        return list(range(self.seed, self.seed + self.members))


class Models(Protocol):
    """The models on offer, by id."""

    def options(self) -> dict[str, str]: ...

    def card(self, model_id: str) -> ModelCard: ...

    def evaluations(self, request: DrawRequest) -> int: ...

    def draw(
        self, model_id: str, request: DrawRequest, path: Path, *, on_member: OnMember, progress, cancel
    ) -> Path: ...


class CorrDiffModels:
    """CorrDiff run folders; torch is imported when the first of them is used."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders: dict[str, Path] = {}
        for folder in folders:
            base = re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-") or "model"
            name = next(n for n in (base, *(f"{base}-{i}" for i in range(2, 999))) if n not in self._folders)
            self._folders[name] = folder
        self._loaded: dict[str, tuple] = {}

    def options(self) -> dict[str, str]:
        """Ids by label."""
        return {name: name for name in self._folders}

    def folder(self, model_id: str) -> Path:
        return self._folders[model_id]

    def card(self, model_id: str) -> ModelCard:
        from labkit.diffusion.solvers import SOLVERS

        model, pairs = self._open(model_id)
        return ModelCard(
            times=pairs.target.time.values,
            shape=pairs.shape,
            variables=tuple(pairs.target_channels),
            solvers=tuple(SOLVERS),
            solver=model.config.sampler.solver,
            num_steps=model.config.sampler.num_steps,
            has_oracle=pairs.oracle is not None,
        )

    def evaluations(self, request: DrawRequest) -> int:
        from labkit.diffusion.solvers import evaluations

        return evaluations(request.solver, request.num_steps)

    def draw(self, model_id: str, request: DrawRequest, path: Path, *, on_member: OnMember, progress, cancel) -> Path:
        from labkit.recipes import sample
        from labkit.recipes.model import default_batch

        model, pairs = self._open(model_id)
        wanted = len(request.times) * len(request.seeds)
        return sample(
            model,
            pairs,
            path,
            times=request.times,
            seeds=request.seeds,
            solver=request.solver,
            num_steps=request.num_steps,
            with_oracle=request.with_oracle,
            batch_size=default_batch(model, pairs.shape, members=wanted),
            on_member=on_member,
            progress=progress,
            cancel=cancel,
        )

    def _open(self, model_id: str) -> tuple:
        from labkit.recipes import load

        if model_id not in self._folders:
            known = ", ".join(self._folders) or "none"
            raise DataError("model", found=repr(model_id)[:80], expected=f"one of: {known}", todo="choose one on offer")
        if model_id not in self._loaded:
            model = load(self._folders[model_id])
            self._loaded[model_id] = (model, model.pairs())
        return self._loaded[model_id]


def is_run_folder(path: Path) -> bool:
    """Whether a folder is that of a training run: a configuration and at least one checkpoint."""
    return (path / "config.yaml").is_file() and any((path / "checkpoints").glob("*.safetensors"))


def run_folders(named: Iterable[Path] = ()) -> list[Path]:
    """The run folders among those named, those below ./runs, and the bundled ones, each once."""
    bundled = Path(str(resources.files("labkit"))) / "bundled"
    found = [*named, *sorted(Path("runs").glob("*")), *sorted(bundled.glob("*"))]
    return list(dict.fromkeys(folder.resolve() for folder in found if is_run_folder(folder)))
