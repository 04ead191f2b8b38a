"""Runs as the views read them: a field, an ensemble, a series at a time, from a bounded store shared by sessions."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping
from functools import cached_property
from types import MappingProxyType

import numpy as np
import xarray as xr

from labkit.errors import DataError
from labkit.grid import spacing_km
from labkit.plots.colours import colour_limits
from labkit.plots.geography import coast_lines, graticule
from labkit.store.trees import cautions
from labkit.variables import Variable, canonical, describe, lookup
from labkit.verify import selection
from labkit.verify.selection import ENSEMBLES

WHOLE_VARIABLE_BYTES = 48 * 2**20


class FieldStore:
    """Read-only arrays by key, the least recently used given up beyond `max_bytes`; each is read once, whoever asks."""

    def __init__(self, max_bytes: int = 768 * 2**20) -> None:
        self.max_bytes, self._bytes = max_bytes, 0
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._lock = threading.RLock()

    def get(self, key: Hashable, read: Callable[[], np.ndarray]) -> np.ndarray:
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
                return self._arrays[key]
            array = np.asarray(read())
            array.flags.writeable = False
            self._arrays[key] = array
            self._bytes += array.nbytes
            while self._bytes > self.max_bytes and len(self._arrays) > 1:
                self._bytes -= self._arrays.popitem(last=False)[1].nbytes
            return array

    @property
    def nbytes(self) -> int:
        return self._bytes


class Run:
    """One opened output tree. Sources are "interpolation", "regression", "mean", "prediction", "truth", "oracle".

    Arrays are float32 in native units and must not be written to.
    """

    fault = ""  # why its file cannot be read any more
    seen: tuple = ()  # the mark of its file when that was last looked at
    told: Mapping = MappingProxyType({})  # what was said of its file
    _unchanged: Callable[[], bool] = staticmethod(lambda: True)

    def __init__(
        self,
        run_id: str,
        label: str,
        tree: xr.DataTree,
        store: FieldStore,
        *,
        mark: tuple = (),
        unchanged: Callable[[], bool] = lambda: True,
        told: Mapping = MappingProxyType({}),
    ) -> None:
        self.id, self.label, self.tree, self._store = run_id, label, tree, store
        self.seen, self._unchanged, self.told = mark, unchanged, dict(told)
        self.x, self.y = (np.asarray(tree[axis].values, float) for axis in ("x", "y"))
        self.lat, self.lon = tree["lat"].values, tree["lon"].values
        self.times = np.atleast_1d(tree["time"].values)
        self.member_names = [str(m) for m in tree["prediction"]["ensemble"].values]
        self.variables = _variables(tree)

    def check(self) -> None:
        """DataError where the file is no longer the one that was opened: nothing read of it now may be shown."""
        if not self._unchanged():
            raise DataError(
                f"file of {self.label}",
                found="another one, or none, since it was opened",
                expected="the one that was opened",
                todo="look again in a moment, or put the file back",
            )

    def close(self) -> None:
        """Let go of the file; what was read of it stays."""
        self.tree.close()

    @property
    def caution(self) -> str:
        """What has to be known before anything is read off this run; "" where nothing has."""
        said = cautions(self.tree)
        return f"{self.label}: {' '.join(said)}" if said else ""

    @property
    def n_members(self) -> int:
        return len(self.member_names)

    @property
    def spacing_km(self) -> tuple[float, float]:
        """Grid spacing (dy, dx) in km."""
        return spacing_km(self.tree)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """West, south, east and north edges of the grid in km."""
        dy, dx = self.spacing_km
        west, south = self.x.min() - dx / 2, self.y.min() - dy / 2
        return float(west), float(south), float(self.x.max() + dx / 2), float(self.y.max() + dy / 2)

    @cached_property
    def observed(self) -> bool:
        """Whether the truth has any value; a forecast's has none."""
        fields = (self._read("truth", self._parts(v)[0], t) for v in self.variables for t in range(len(self.times)))
        return any(np.isfinite(field).any() for field in fields)

    @property
    def judge(self) -> str:
        """The source in which cases worth seeing are looked for: the truth, or the first member where there is none."""
        return "truth" if self.observed else "prediction"

    @cached_property
    def coast(self) -> list[np.ndarray]:
        return coast_lines(self.tree)

    @cached_property
    def graticule(self) -> list[tuple[str, np.ndarray]]:
        return graticule(self.x, self.y, self.lat, self.lon)

    def has(self, source: str, variable: str) -> bool:
        group = "prediction" if source == "mean" else source
        return group in self.tree.children and all(v in self.tree[group].data_vars for v in self._parts(variable))

    def sources(self, variable: str) -> list[str]:
        """The sources that this run has for `variable`, in the order of the maps."""
        return [source for source in selection.SOURCES if self.has(source, variable)]

    def describe(self, variable: str) -> Variable:
        if variable == "wind_speed":
            return lookup("wind_speed")
        return describe(variable, dict(self.tree["prediction"][variable].attrs))

    def field(self, source: str, variable: str, time: int, member: int = 0) -> np.ndarray:
        """(y, x); the ensemble mean for "mean", member `member` of the ensembles."""
        if source == "mean":
            key = (self.id, "mean", variable, time)
            return self._store.get(key, lambda: self.members(variable, time).mean(axis=0))
        if source in ENSEMBLES:
            return self.members(variable, time, source=source)[member]
        return self._read(source, variable, time)

    def members(self, variable: str, time: int, *, source: str = "prediction") -> np.ndarray:
        """(member, y, x) at one time."""
        return self._read(source, variable, time)

    def series(self, source: str, variable: str, place: tuple[slice, slice], statistic: str) -> np.ndarray:
        """(time,) or (member, time): mean, maximum or minimum over the cells of `place` (y slice, x slice)."""
        if source == "mean":
            return self.series("prediction", variable, place, statistic).mean(axis=0)
        key = (self.id, "series", source, variable, statistic, *((s.start, s.stop) for s in place))
        return self._store.get(key, lambda: self._series(source, variable, place, statistic))

    def _series(self, source: str, variable: str, place: tuple[slice, slice], statistic: str) -> np.ndarray:
        """Of a variable too large for memory in one go: time by time, thousands of them would take minutes."""
        reduce = {"mean": np.nanmean, "maximum": np.nanmax, "minimum": np.nanmin}[statistic]
        parts = [self.tree[source][part] for part in self._parts(variable)]
        if parts[0].nbytes <= WHOLE_VARIABLE_BYTES:
            steps = [self._read(source, variable, t)[..., place[0], place[1]] for t in range(len(self.times))]
            cells = np.stack(steps, axis=-3)
        else:
            read = [self._values(part.isel(y=place[0], x=place[1])) for part in parts]
            cells = read[0] if len(read) == 1 else np.hypot(*read)
        with np.errstate(all="ignore"):
            return _quiet(reduce, cells)

    def place(self, point: tuple[float, float], box: tuple[float, ...] | None = None) -> tuple[slice, slice]:
        """The cells (y slice, x slice) of the box, or the one nearest to the point."""
        return selection.cells(self.x, self.y, point, box)

    def full_tree(self) -> xr.DataTree:
        """The tree with wind speed added, lazily, to every group that has its components."""
        if self.variables[0] != "wind_speed" or "wind_speed" in self.tree["truth"].data_vars:
            return self.tree
        nodes = {"/": self.tree.to_dataset(inherit=False)}
        for name in self.tree.children:
            dataset = self.tree[name].to_dataset(inherit=False)
            if name != "input" and self.has(name, "wind_speed"):
                dataset = dataset.assign(wind_speed=selection.field(self.tree, name, "wind_speed"))
            nodes[f"/{name}"] = dataset
        return xr.DataTree.from_dict(nodes)

    def held(self, names: Collection[str]) -> xr.DataTree:
        """The tree with these variables, by the registry's names, in memory; those too large for it stay on disk."""
        nodes = {"/": self.tree.to_dataset(inherit=False)}
        for group in self.tree.children:
            dataset = self.tree[group].to_dataset(inherit=False)
            wanted = [str(v) for v in dataset.data_vars if canonical(str(v)) in names and dataset[v].chunks is not None]
            small = [v for v in wanted if dataset[v].nbytes <= WHOLE_VARIABLE_BYTES]
            nodes[f"/{group}"] = dataset.assign({v: dataset[v].copy(data=self._whole(group, v)) for v in small})
        return xr.DataTree.from_dict(nodes)

    def limits(self, variable: str, time: int | None = None) -> tuple[float, float]:
        """Colour limits of truth and members, over the run (up to eight of its times) or at one time."""
        times = np.unique(np.linspace(0, len(self.times) - 1, 8).astype(int)) if time is None else [time]
        key = (self.id, "limits", variable, time)
        return tuple(float(v) for v in self._store.get(key, lambda: np.array(self._limits(variable, times))))

    def _limits(self, variable: str, times) -> tuple[float, float]:
        fields = [self._read("truth", variable, int(t)) for t in times]
        fields += [self.members(variable, int(t))[::4] for t in times]
        return colour_limits(self.describe(variable), fields)

    def _parts(self, variable: str) -> tuple[str, ...]:
        names = selection.names_of(self.tree["prediction"])
        return (names["u10"], names["v10"]) if variable == "wind_speed" and "u10" in names else (variable,)

    def _read(self, group: str, variable: str, time: int) -> np.ndarray:
        parts = self._parts(variable)
        if len(parts) == 2:
            return self._store.get(
                (self.id, group, variable, time), lambda: np.hypot(*(self._read(group, part, time) for part in parts))
            )
        array = self.tree[group][variable]
        if array.nbytes <= WHOLE_VARIABLE_BYTES:
            return self._whole(group, variable)[..., time, :, :]
        return self._store.get((self.id, group, variable, time), lambda: self._values(array.isel(time=time)))

    def _whole(self, group: str, variable: str) -> np.ndarray:
        return self._store.get((self.id, group, variable), lambda: self._values(self.tree[group][variable]))

    def _values(self, array: xr.DataArray) -> np.ndarray:
        """The values of a file that was the same before and after; DataError where it was not, or is damaged."""
        self.check()
        try:
            values = np.array(array.values, np.float32)
        except (OSError, RuntimeError) as error:  # what the libraries make of a damaged file
            self.check()
            todo = "copy or write it again; it may be cut off"
            found = f"values that cannot be read ({error})"
            raise DataError(f"file of {self.label}", found=found, expected="a whole file", todo=todo) from error
        self.check()
        return values


def _quiet(reduce: Callable, cells: np.ndarray) -> np.ndarray:
    """`reduce` over the last two axes, NaN (and no warning) where every cell is missing."""
    missing = np.isnan(cells).all(axis=(-2, -1))
    return np.where(missing, np.nan, reduce(np.where(missing[..., None, None], 0, cells), axis=(-2, -1)))


def _variables(tree: xr.DataTree) -> list[str]:
    """Variables of truth and prediction, wind speed first where both components are there."""
    names = [str(v) for v in tree["prediction"].data_vars if v in tree["truth"].data_vars]
    known = {canonical(name) for name in names}
    return (["wind_speed"] if {"u10", "v10"} <= known and "wind_speed" not in known else []) + names
