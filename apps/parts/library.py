"""What one server process shares among its sessions: the registry of runs, the arrays read so far, the draw queue."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from apps.parts.drawn import DrawnFolder
from apps.parts.files import file_mark
from apps.parts.models import CorrDiffModels, Models, is_run_folder, run_folders
from apps.parts.presets import Preset, find_presets
from apps.parts.queue import DrawQueue
from apps.parts.runs import FieldStore, Run
from apps.parts.told import files_and_told
from apps.parts.watch import Waiter, Watch
from labkit.errors import DataError
from labkit.store.registry import Registry
from labkit.variables import plain

MAX_RESULTS = 64
MAX_RESULT_BYTES = 512 * 2**20  # of those that say how much they hold
MAX_PROBLEM = 300  # characters


class Library:
    """Runs by id, opened once and read-only; sessions ask it and never watch it, so none is kept alive by it."""

    def __init__(self, registry: Registry, *, models: Models | None = None, queue: DrawQueue | None = None) -> None:
        self.registry, self.store, self.queue = registry, FieldStore(), queue or DrawQueue()
        self.models = models or CorrDiffModels([])
        self.drawn = DrawnFolder()
        self._runs: dict[str, Run] = {}
        self._presets: dict[str, list[Preset]] = {}
        self._results: OrderedDict[Hashable, Future] = OrderedDict()
        self._watches: dict[Hashable, Watch | None] = {}
        self._lock = threading.RLock()
        self._workers = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scores")

    def options(self) -> dict[str, str]:
        """Ids of the readable runs by unique label; files named by the user come before drawn and bundled runs."""
        options: dict[str, str] = {}
        for entry in sorted(self.registry, key=lambda entry: ("file", "drawn", "bundled").index(entry.kind)):
            if not entry.error:
                label = plain(entry.label, 60)
                options[label if label not in options else f"{label} ({entry.id})"] = entry.id
        if not options:
            raise DataError(
                "runs",
                found="no readable output tree",
                expected="at least one",
                todo="name one on the command line, or install a bundled run",
            )
        return options

    def problems(self) -> list[str]:
        """One plain sentence for each file that could not be read."""
        return [short(entry.error) for entry in self.registry if entry.error]

    def run(self, run_id: str) -> Run:
        """The run as its file is now: opened once, and again, as another run to all that is kept of it, when the file
        was replaced. One that was deleted or damaged meanwhile stays what it was, with its `fault`."""
        with self._lock:
            held, mark = self._runs.get(run_id), file_mark(self.path(run_id))
            if held is None or held.seen != mark:
                self._runs[run_id] = self._open(run_id) if held is None else self._renewed(run_id, held, mark)
            return self._runs[run_id]

    def presets(self, run_id: str) -> list[Preset]:
        """The cases worth seeing of a run by its own id."""
        with self._lock:
            if run_id not in self._presets:
                self._presets[run_id] = find_presets(self.run(base_id(run_id)))
            return self._presets[run_id]

    def _open(self, run_id: str, version: int = 0) -> Run:
        mark = file_mark(self.path(run_id))
        tree = self.registry.open(run_id)
        label = next(label for label, known in self.options().items() if known == run_id)
        unchanged = partial(self._is_still, run_id, mark)
        about = {"mark": mark, "unchanged": unchanged, "told": self.registry.told(run_id)}
        return Run(versioned_id(run_id, version), label, tree, self.store, **about)

    def _is_still(self, run_id: str, mark: tuple) -> bool:
        return file_mark(self.path(run_id)) == mark

    def _renewed(self, run_id: str, held: Run, mark: tuple) -> Run:
        """The run of the file that took the place of another's, if it can be read."""
        held.close()  # HDF5 would take the new file for the old one while that is open
        entry = self.registry.add(self.path(run_id))
        if not entry.error:
            self._presets.pop(held.id, None)
            return self._open(run_id, version_of(held.id) + 1)
        held.seen, what = mark, "has changed" if mark else "was deleted"
        held.fault = (
            f"{entry.path.name} {what} since it was opened, and cannot be read now: {short(entry.error)}. What is "
            "shown is the old file's, as far as it had been read. Put the file back, or choose another run."
        )
        return held

    def compute(self, key: Hashable, work: Callable[..., object], *, waiter: Waiter | None = None) -> Future:
        """The result of `work()`, done once for a key on a thread of its own, so that no session waits for another's.

        With a waiter it is `work(watch)`, a long one that says how far it is, and stops when all have left.
        """
        with self._lock:
            future = self._results.get(key)
            if new := future is None:
                watch = self._watches[key] = Watch() if waiter is not None else None
                work = partial(work, watch) if watch else work
                self._results[key] = future = self._workers.submit(self._unless_changed, key, work)
            if waiter is not None and self._watches.get(key) is not None:
                self._watches[key].join(waiter)
            self._results.move_to_end(key)
            self._forget_oldest()
            if new:
                future.add_done_callback(partial(self._finished, key))  # at once, where it is done: it may be forgotten
            return future

    def result(self, key: Hashable) -> object | None:
        """What came of the work of a key; None before it is done."""
        with self._lock:
            future = self._results.get(key)
        return future.result() if future is not None and future.done() and not future.exception() else None

    def leave(self, key: Hashable, waiter: Waiter) -> None:
        """This one waits for the work of a key no longer."""
        with self._lock:
            watch = self._watches.get(key)
        if watch is not None:
            watch.leave(waiter)

    def _unless_changed(self, key: Hashable, work: Callable[[], object]) -> object:
        """The result of the work, if the file that it is of is still the same."""
        run = self._runs.get(base_id(str(key[0])))
        check = run.check if run is not None and run.id == key[0] else lambda: None
        try:
            result = work()
        except (OSError, RuntimeError):  # what the libraries make of a file that changes while it is read
            check()
            raise
        check()
        return result

    def _finished(self, key: Hashable, future: Future) -> None:
        """A failure is forgotten, so that it may be tried again."""
        with self._lock:
            self._watches.pop(key, None)
            if future.exception() is not None:
                self._results.pop(key, None)

    def _forget_oldest(self) -> None:
        """Give up what was asked for longest ago, beyond what is kept."""
        held = {key: _nbytes(future) for key, future in self._results.items()}
        for key in list(held)[:-1]:
            if len(held) <= MAX_RESULTS and sum(held.values()) <= MAX_RESULT_BYTES:
                return
            held.pop(key)
            self._results.pop(key)

    def path(self, run_id: str) -> Path:
        """Where the run lies; for "show code" and never from the browser."""
        return self.registry[base_id(run_id)].path


def versioned_id(run_id: str, version: int) -> str:
    """The id of a run whose file was replaced so many times; that of a registry has no tilde."""
    return f"{run_id}~{version}" if version else run_id


def base_id(run_id: str) -> str:
    """The registry's id of a run."""
    return run_id.split("~")[0]


def version_of(run_id: str) -> int:
    return int(run_id.partition("~")[2] or 0)


def short(problem: str) -> str:
    """Why a file could not be read, in one line; to be escaped where it is shown."""
    kept = "".join(c for c in str(problem) if c.isprintable())
    return kept if len(kept) <= MAX_PROBLEM else kept[: MAX_PROBLEM - 1] + "…"


def _nbytes(future: Future) -> int:
    done = future.done() and not future.cancelled() and not future.exception()
    return getattr(future.result(), "nbytes", 0) if done else 0


def open_library(files: Sequence[str]) -> Library:
    """The library of the trees and the folders of training runs named on the command line, and of what is bundled."""
    named, told = files_and_told(files)
    folders = [path for path in named if is_run_folder(path)]
    trees = [path for path in named if path not in folders]
    return Library(Registry(trees, told=told), models=CorrDiffModels(run_folders(folders)))
