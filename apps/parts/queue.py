"""One draw at a time on a server: a queue of jobs that can be watched, cancelled and bounded; no user interface."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from labkit.errors import Cancelled, LabError

MAX_WAITING = 8
MAX_WORK = 2_000_000_000
log = logging.getLogger(__name__)


@dataclass
class Job:
    """One request to draw. `work(job)` does it and returns the path of the tree; it asks `cancelled()` between steps.

    `status`: "waiting", "running", "done", "cancelled" or "failed". `done` of `total` steps. `arrived` collects what
    the work hands over as it goes, for the session to take away.
    """

    work: Callable[["Job"], Path]
    label: str
    number: int = 0
    status: str = "waiting"
    done: int = 0
    total: int = 0
    message: str = ""
    result: Path | None = None
    run_id: str = ""
    arrived: list = field(default_factory=list)
    _cancel: threading.Event = field(default_factory=threading.Event)

    def cancelled(self) -> bool:
        return self._cancel.is_set()

    def progress(self, done: int, total: int) -> None:
        self.done, self.total = done, total

    @property
    def over(self) -> bool:
        return self.status in ("done", "cancelled", "failed")


class DrawQueue:
    """Runs jobs one after another on one thread, which ends when there is nothing to do."""

    def __init__(self, *, max_waiting: int = MAX_WAITING) -> None:
        self.max_waiting = max_waiting
        self._jobs: list[Job] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._numbers = itertools.count(1)

    def submit(self, work: Callable[[Job], Path], label: str) -> Job:
        """Queue a job; LabError where too many wait already."""
        with self._lock:
            if len(self._jobs) >= self.max_waiting + 1:
                found, expected = f"{len(self._jobs)} jobs", f"at most {self.max_waiting} waiting"
                raise LabError("draw queue", found=found, expected=expected, todo="try again when some are done")
            job = Job(work, label, number=next(self._numbers))
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="draw", daemon=True)
                self._thread.start()
        return job

    def position(self, job: Job) -> int:
        """0 while it runs, else how many are before it; -1 when it is over."""
        with self._lock:
            return self._jobs.index(job) if job in self._jobs else -1

    def __len__(self) -> int:
        """Jobs running or waiting."""
        with self._lock:
            return len(self._jobs)

    def cancel(self, job: Job) -> None:
        """Stop a running job at its next step; take a waiting one out."""
        job._cancel.set()
        with self._lock:
            if job in self._jobs and self._jobs.index(job) > 0:
                self._jobs.remove(job)
                job.status, job.message = "cancelled", "Cancelled before it began."

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._thread = None
                    return
                job = self._jobs[0]
            self._run(job)
            with self._lock:
                self._jobs.remove(job)

    def _run(self, job: Job) -> None:
        job.status = "running"
        try:
            if job.cancelled():
                raise Cancelled
            job.result = job.work(job)
        except Cancelled:
            job.message, job.status = (
                "Cancelled; the members that were finished are kept, for the same draw to go on, until another begins.",
                "cancelled",
            )
        except LabError as error:
            job.message, job.status = str(error), "failed"
        except MemoryError:
            job.message, job.status = "Out of memory: draw fewer members at a time.", "failed"
        except Exception as error:
            log.exception("draw %d failed", job.number)
            job.message, job.status = (
                f"The draw failed ({type(error).__name__}); the server's log says where.",
                "failed",
            )
        else:
            job.status = "done"


def check_work(*, members: int, cases: int, evaluations: int, pixels: int, limit: int = MAX_WORK) -> None:
    """LabError where members x cases x network evaluations x pixels is more than one click may ask for."""
    work = members * cases * evaluations * pixels
    if work > limit:
        raise LabError(
            "draw",
            found=f"{members} members x {cases} cases x {evaluations} evaluations x {pixels} pixels = {work:.1e}",
            expected=f"at most {limit:.1e}",
            todo="choose fewer members or steps here, or use `labkit sample` in a terminal",
        )
