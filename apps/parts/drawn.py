"""Where a server keeps what it draws: a temporary folder of its own, in which no pieces pile up."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import IO

from apps.parts.models import DrawRequest
from labkit.errors import LabError

PREFIX = "labkit-explorer-"
LOCK = "in-use"
MAX_DRAWN = 32


class DrawnFolder:
    """Made with the first draw and gone with the server; what a killed server left is removed by the next."""

    def __init__(self) -> None:
        self._folder: TemporaryDirectory | None = None
        self._lock, self._held = threading.Lock(), None

    @property
    def path(self) -> Path:
        with self._lock:
            if self._folder is None:
                remove_abandoned(Path(gettempdir()))
                self._folder = TemporaryDirectory(prefix=PREFIX)
                self._held = hold(Path(self._folder.name))
            return Path(self._folder.name)

    def begin(self, model_id: str, request: DrawRequest) -> Path:
        """Where a draw is written: the same place for the same request, which goes on where it was cancelled.

        The pieces of other draws that were cancelled, or failed, are removed: one draw's pieces are the most that lie
        here. LabError where the folder holds many results.
        """
        held = len(list(self.path.glob("*.nc")))
        if held >= MAX_DRAWN:
            found, todo = f"{held} results", "restart the explorer, or use `labkit sample` in a terminal"
            raise LabError("drawn results on this server", found=found, expected=f"fewer than {MAX_DRAWN}", todo=todo)
        digest = hashlib.sha256(repr((model_id, request)).encode()).hexdigest()[:16]
        target = self.path / f"{model_id}-{digest}.nc"
        for pieces in self.path.glob("*.partial"):
            if pieces.name != f"{target.name}.partial":
                shutil.rmtree(pieces)
        return target

    def keep(self, drawn: Path, name: str) -> Path:
        """Give a finished draw a name of its own, so that the same request drawn again is a new run."""
        return drawn.rename(self.path / name)


def hold(folder: Path) -> IO:
    """Mark a folder as in use while this process lives; the mark is the operating system's, and dies with it."""
    mark = (folder / LOCK).open("w")
    if os.name == "posix":
        import fcntl

        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return mark


def remove_abandoned(parent: Path) -> None:
    """Remove the folders of servers that were killed: nobody holds their mark, which every living one does."""
    for mark in parent.glob(f"{PREFIX}*/{LOCK}") if os.name == "posix" else ():
        try:
            hold(mark.parent).close()
        except OSError:  # held, or another user's
            continue
        shutil.rmtree(mark.parent, ignore_errors=True)
