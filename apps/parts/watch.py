"""How far a shared computation is, told to those who wait for it; it stops when nobody does any more."""

from __future__ import annotations

import threading
import time
import weakref
from typing import Protocol

EVERY_S = 0.4


class Waiter(Protocol):
    def told(self, share: float) -> None:
        """Hear, on the thread that works, which share of the work is done (0 to 1)."""


class Watch:
    """Given to the work as `work(watch)`: it says `progress(done, total)`, and asks `cancelled()` between steps.

    Waiters are held weakly: a session that has ended waits for nothing.
    """

    def __init__(self) -> None:
        self._waiting: weakref.WeakSet[Waiter] = weakref.WeakSet()
        self._lock, self._said = threading.Lock(), 0.0

    def join(self, waiter: Waiter) -> None:
        with self._lock:
            self._waiting.add(waiter)

    def leave(self, waiter: Waiter) -> None:
        with self._lock:
            self._waiting.discard(waiter)

    def cancelled(self) -> bool:
        with self._lock:
            return not len(self._waiting)

    def progress(self, done: int, total: int) -> None:
        """Tell those who wait, a few times a second."""
        now = time.monotonic()
        if now - self._said < EVERY_S:
            return
        self._said = now
        with self._lock:
            waiting = list(self._waiting)
        for waiter in waiting:
            waiter.told(done / total)
