"""A run's folder: config.yaml, metrics.jsonl, statistics.json and checkpoints/*.safetensors."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from labkit.border import MODULUS, MODULUS_TODO, format_of, read_json, read_yaml
from labkit.errors import DataError
from labkit.store.atomic import atomic_write, make_folder, write_error

__all__ = ["RunFolder", "atomic_write"]


class RunFolder:
    """The files of one training run; the folder is made on the first write, and every file is whole or absent."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def statistics_path(self) -> Path:
        """Where the channel statistics lie, statistics.json."""
        return self.path / "statistics.json"

    @property
    def checkpoints(self) -> list[Path]:
        """Checkpoints of the run, oldest first."""
        found = (self.path / "checkpoints").glob("*.safetensors")
        return sorted((path for path in found if not path.name.startswith(".")), key=lambda p: p.stat().st_mtime_ns)

    def checkpoint_path(self, name: str) -> Path:
        """checkpoints/<name>.safetensors"""
        return self.path / "checkpoints" / f"{name}.safetensors"

    def save_config(self, config: Mapping) -> None:
        """Write the configuration, plain values only, as config.yaml in its own order."""
        make_folder(self.path)
        atomic_write(self.path / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False).encode())

    def load_config(self) -> dict:
        """The configuration; DataError where there is none or it is not a YAML mapping."""
        return self._mapping("config.yaml", read_yaml)

    def save_statistics(self, statistics: Mapping) -> None:
        """Write statistics.json."""
        make_folder(self.path)
        atomic_write(self.statistics_path, json.dumps(dict(statistics), indent=1).encode())

    def load_statistics(self) -> dict:
        """The statistics; DataError where there are none or the file is damaged."""
        return self._mapping("statistics.json", read_json)

    def log(self, **metrics) -> None:
        """Append one line of metrics, with its `step`, to metrics.jsonl."""
        make_folder(self.path)
        line = json.dumps(metrics) + "\n"
        try:
            with self._metrics_path.open("ab") as stream:
                # A kill may have torn the last line: begin anew, so that only that one is lost.
                torn = stream.tell() and not _ends_with_newline(self._metrics_path)
                stream.write((b"\n" if torn else b"") + line.encode())
        except OSError as error:
            raise write_error(self._metrics_path, error) from error

    def metrics(self) -> list[dict]:
        """All metrics logged so far, in order; lines torn by a kill are left out."""
        if not self._metrics_path.is_file():
            return []
        lines = self._metrics_path.read_bytes().splitlines()
        return [metrics for line in lines if (metrics := _parsed(line)) is not None]

    def truncate_metrics(self, step: int, *, stage: str | None = None) -> None:
        """Drop the metrics logged after `step`, of one stage or of all: a resumed run logs these steps again."""
        kept = [m for m in self.metrics() if m.get("step", 0) <= step or stage not in (None, m.get("stage"))]
        if self._metrics_path.exists():
            atomic_write(self._metrics_path, "".join(json.dumps(metrics) + "\n" for metrics in kept).encode())

    @property
    def _metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    def _mapping(self, name: str, read) -> dict:
        what, todo = f"{name} of run {self.path.name}", "choose the folder of a run that labkit made"
        if self.path.is_file():
            known = format_of(self.path) or "a file"
            todo = MODULUS_TODO if known == MODULUS else todo
            raise DataError(f"run {self.path.name}", found=known, expected="a folder", todo=todo)
        content = read(self.path / name, what, kind=DataError)
        if not isinstance(content, dict):
            raise DataError(what, found=type(content).__name__, expected="a mapping of names", todo=todo)
        return content


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


def _parsed(line: bytes) -> dict | None:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and isinstance(content.get("step", 0), int | float) else None
