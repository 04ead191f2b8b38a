"""The runs that the apps may open: chosen by a short id, never by a path from a browser."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import xarray as xr

from labkit.errors import DataError, LabError
from labkit.store.trees import open_tree


@dataclass(frozen=True)
class Entry:
    """One run on offer. `kind` is "bundled", "file" or "drawn"; `error` says why it cannot be opened, "" if it can."""

    id: str
    label: str
    path: Path
    kind: str
    bytes: int
    error: str = ""


class Registry:
    """Output trees by id, in the order in which they were added; safe to share between the sessions of a server.

    paths: NetCDF files, Zarr folders, or folders that hold some. What cannot be opened stays in the list with its
    `error`. The same file is listed once, different files of one name get different ids. `bundled` adds the samples
    that ship with labkit. told: `units` and `spacing_km` of the files in `paths`, as `open_tree` takes them.
    """

    def __init__(self, paths: Sequence[str | Path] = (), *, bundled: bool = True, told: Mapping | None = None) -> None:
        self._told = dict(told or {})
        self._entries: dict[str, Entry] = {}
        self._lock = threading.Lock()
        for path in bundled_samples() if bundled else ():
            self.add(path, kind="bundled", label=path.parent.name)
        for path in paths:
            for tree in _trees_in(Path(path)):
                self.add(tree)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def __contains__(self, id: object) -> bool:
        return id in self._entries

    def __getitem__(self, id: str) -> Entry:
        """The entry of that id; DataError for any other text, be it a path."""
        try:
            return self._entries[id]
        except KeyError:
            known = ", ".join(self._entries) or "none"
            raise DataError(
                "run", found=repr(id)[:80], expected=f"one of: {known}", todo="choose a run on offer"
            ) from None

    def add(self, path: str | Path, *, kind: str = "file", label: str | None = None) -> Entry:
        """Offer one more tree, or refresh it if it is on offer already (a result drawn anew)."""
        path = Path(path).resolve()
        before = next((entry for entry in list(self._entries.values()) if entry.path == path), None)
        kind = before.kind if before else kind
        size, error = _bytes(path), _fault(path, self._told if kind == "file" else {})
        with self._lock:
            before = next((entry for entry in self._entries.values() if entry.path == path), None)
            id = before.id if before else self._free_id(path, label)
            label = label or (before.label if before else path.stem)
            entry = Entry(id, label, path, kind, size, error)
            self._entries[id] = entry
        return entry

    def open(self, id: str) -> xr.DataTree:
        """The tree of a run on offer, lazily; DataError for an unknown id or an unreadable file."""
        return open_tree(self[id].path, **self.told(id))

    def told(self, id: str) -> dict:
        """What was said of a run's file."""
        return self._told if self[id].kind == "file" else {}

    def _free_id(self, path: Path, label: str | None) -> str:
        slug = _slug(label or path.stem)
        if slug not in self._entries:
            return slug
        beside = f"{_slug(path.parent.name)}-{slug}"
        if beside not in self._entries:
            return beside
        return f"{slug}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def bundled_samples() -> list[Path]:
    """Samples that ship with labkit, labkit/bundled/<name>/sample.nc."""
    return sorted(Path(str(resources.files("labkit"))).glob("bundled/*/sample.nc"))


def _trees_in(path: Path) -> list[Path]:
    """The path itself, or the trees in it where it is a folder that holds some."""
    if not path.is_dir() or path.suffix == ".zarr":
        return [path]
    found = sorted(child for child in path.iterdir() if child.suffix in (".nc", ".zarr") and child.name[0] != ".")
    return found or [path]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48] or "run"


def _bytes(path: Path) -> int:
    """Size on disk, 0 where there is nothing."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _fault(path: Path, told: Mapping) -> str:
    try:
        open_tree(path, **told).close()
    except LabError as error:
        return str(error)
    return ""
