"""Parts for trying the explorer without training: a library on a synthetic tree, and models that draw noise."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import xarray as xr
from synthetic_tree import START, VARIABLES, draw, state, synthetic_tree, write_tree

from apps.parts.library import Library
from apps.parts.models import DrawRequest, ModelCard
from labkit.errors import Cancelled
from labkit.store.registry import Registry

N, DX_KM = 32, 8.0


class FakeModels:
    """Models that draw `state` with noise. `gate`: each member waits for it, so that a test sees a draw halfway."""

    def __init__(self, *, gate: threading.Semaphore | None = None, fault: Exception | None = None) -> None:
        self.gate, self.fault, self.requests = gate, fault, []

    def options(self) -> dict[str, str]:
        return {"fake": "fake", "other": "other"}

    def card(self, model_id: str) -> ModelCard:
        times = START + np.arange(6) * np.timedelta64(1, "h")
        return ModelCard(times, (N, N), VARIABLES, ("heun", "euler"), "heun", 9, has_oracle=model_id == "fake")

    def evaluations(self, request: DrawRequest) -> int:
        return 2 * request.num_steps - 1

    def draw(self, model_id: str, request: DrawRequest, path: Path, *, on_member, progress, cancel) -> Path:
        self.requests.append(request)
        total = request.members * len(request.times)
        for done, (k, seed) in enumerate((k, s) for k in range(len(request.times)) for s in request.seeds):
            if self.gate is not None:
                self.gate.acquire(timeout=20)
            if cancel():
                raise Cancelled
            if self.fault is not None:
                raise self.fault
            on_member(k, seed - request.seed, draw(state(request.times[k], N, DX_KM), seed))
            progress(done + 1, total)
        return write_tree(path, synthetic_tree(members=request.members, times=len(request.times), n=N, dx_km=DX_KM))


def small_tree(**options) -> xr.DataTree:
    return synthetic_tree(**({"members": 5, "times": 6, "n": N, "dx_km": DX_KM} | options))


def library(folder: Path, *, models=None, trees: dict[str, xr.DataTree] | None = None) -> Library:
    """A library of the trees by file name; by default one small tree, `sample`."""
    trees = trees or {"sample": small_tree()}
    files = [write_tree(folder / f"{name}.nc", tree) for name, tree in trees.items()]
    return Library(Registry(files, bundled=False), models=models or FakeModels())
