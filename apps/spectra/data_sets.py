"""Data sets beside the runs: what is on this machine, opened lazily, in the form in which the views read a run."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr

from apps.parts.library import Library
from apps.parts.models import CorrDiffModels, is_run_folder, run_folders
from apps.parts.runs import FieldStore, Run
from apps.parts.told import files_and_told
from labkit.errors import LabError
from labkit.plots.colours import colour_limits
from labkit.store.registry import Registry
from labkit.variables import Variable, canonical, describe, plain

MOST_TIMES = 48
IDEALISED = {"name": "idealised", "start": "2019-01-05", "end": "2019-12-31T23", "step_h": 175}


@dataclass(frozen=True)
class DataSet:
    """A data set on offer: what it is called, and the arguments of `open_pairs`."""

    label: str
    config: Mapping = field(default_factory=dict)


def known_data_sets(files: Sequence[Path] = ()) -> dict[str, DataSet]:
    """The idealised atmosphere, the radar sequence where it is on this machine, and HRRR-Mini files that are named."""
    from labkit.data.public import present
    from labkit.data.radar import DATASET, HELD_OUT

    found = {"data-idealised": DataSet("Data: idealised atmosphere", IDEALISED)}
    if present(DATASET):
        found["data-radar"] = DataSet("Data: radar, 256 km, 1 km cells", {"name": "radar", "region": list(HELD_OUT)})
        found["data-radar-all"] = DataSet("Data: radar, whole composite", {"name": "radar"})
    for i, path in enumerate(files):
        config = {"name": "hrrr_mini", "path": str(path.resolve())}
        found[f"data-hrrr-mini-{i + 1}"] = DataSet(f"Data: HRRR-Mini, {plain(path.stem, 40)}", config)
    return found


class DataRun(Run):
    """A data set as the views read a run, without members: truth, and interpolation of the input."""

    def __init__(self, run_id: str, data: DataSet, store: FieldStore) -> None:
        from labkit.data.catalogue import open_pairs
        from labkit.data.field_tree import spread, tree_of

        self.pairs = open_pairs(data.config)
        self.id, self.label, self.config, self._store = run_id, data.label, data.config, store
        self.tree = tree_of(spread(self.pairs, MOST_TIMES))
        self.x, self.y = (np.asarray(self.tree[axis].values, float) for axis in ("x", "y"))
        self.lat, self.lon = self.tree["lat"].values, self.tree["lon"].values
        self.times = np.atleast_1d(self.tree["time"].values)
        self.member_names, self.variables = [], [str(name) for name in self.tree["truth"].data_vars]
        self._loaded: xr.DataTree | None = None
        self._lock = threading.Lock()

    def in_memory(self) -> xr.DataTree:
        """The tree, read once; to be called where a page does not wait for it."""
        with self._lock:
            if self._loaded is None:
                self._loaded = self.tree.load()
            return self._loaded

    def describe(self, variable: str) -> Variable:
        return describe(variable, dict(self.tree["truth"][variable].attrs))

    def _limits(self, variable: str, times) -> tuple[float, float]:
        return colour_limits(self.describe(variable), [self._read("truth", variable, int(t)) for t in times[::3]])

    def _parts(self, variable: str) -> tuple[str, ...]:
        return (variable,)

    def _read(self, group: str, variable: str, time: int) -> np.ndarray:
        """One time alone: a whole variable would be computed while the page waits."""
        array = self.tree[group][variable]
        return self._store.get((self.id, group, variable, time), lambda: np.array(array.isel(time=time), np.float32))


def tree_in_memory(run: Run) -> xr.DataTree:
    """The tree to compute with: of a data set read once, of a run lazily."""
    return run.in_memory() if isinstance(run, DataRun) else run.tree


def channels_of(run: Run) -> tuple[int, int, int]:
    """How many of input, invariant and target; a tree does not say which of its inputs are invariant."""
    if isinstance(run, DataRun):
        pairs = run.pairs
        return len(pairs.input_channels), len(pairs.invariant_channels), len(pairs.target_channels)
    inputs = len(run.tree["input"].data_vars) if "input" in run.tree.children else 1
    return inputs, 0, len(run.tree["prediction"].data_vars)


def data_sentences(run: Run, patch: tuple[int, int]) -> list[str]:
    """What the guidance says of a data set."""
    from labkit.data.field_tree import baseline_channels
    from labkit.verify.patch_size import data_warnings

    if not isinstance(run, DataRun):
        return []
    told = {canonical(name) for name in baseline_channels(run.pairs)}
    inferred = any(canonical(name) not in told for name in run.pairs.target_channels)
    known = {"coarsening": run.pairs.factor, "inferred": inferred, "samples": len(run.pairs)}
    return data_warnings(**known, patch=patch, shape=run.pairs.shape)


class SpectraLibrary(Library):
    """Runs as the ensemble explorer has them, and data sets."""

    def __init__(self, registry: Registry, *, data_sets: Mapping[str, DataSet] | None = None, **options) -> None:
        super().__init__(registry, **options)
        self.data_sets = known_data_sets() if data_sets is None else dict(data_sets)

    def options(self) -> dict[str, str]:
        offered = {data.label: run_id for run_id, data in self.data_sets.items()}
        try:
            return super().options() | offered
        except LabError:
            if not offered:
                raise
            return offered

    def run(self, run_id: str) -> Run:
        if run_id not in self.data_sets:
            return super().run(run_id)
        with self._lock:
            if run_id not in self._runs:
                self._runs[run_id] = DataRun(run_id, self.data_sets[run_id], self.store)
            return self._runs[run_id]


def open_spectra_library(files: Sequence[str]) -> SpectraLibrary:
    """The library of the trees, HRRR-Mini files and run folders named on the command line, and of what is there."""
    named, told = files_and_told(files)
    folders = [path for path in named if is_run_folder(path)]
    samples = [path for path in named if path not in folders and is_hrrr_mini(path)]
    trees = [path for path in named if path not in folders and path not in samples]
    models = CorrDiffModels(run_folders(folders))
    return SpectraLibrary(Registry(trees, told=told), models=models, data_sets=known_data_sets(samples))


def is_hrrr_mini(path: Path) -> bool:
    """Whether a file has the groups of HRRR-Mini."""
    import netCDF4

    try:
        with netCDF4.Dataset(path) as file:
            return {"input", "output", "invariant"} <= set(file.groups)
    except OSError:
        return False
