"""Run an iterator ahead in a background thread."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Generator, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Prefetch(Generic[Item], Iterator[Item]):
    """Iterator over `items`, which a daemon thread works out up to `depth` ahead of the consumer.

    An exception of the generator is raised in the consumer, and again on every later call. `close` stops the thread;
    so do collection of this object and the end of the interpreter.
    """

    def __init__(self, items: Generator[Item, None, None], depth: int) -> None:
        self._queue: SimpleQueue = SimpleQueue()
        self._room, self._stop = threading.Semaphore(depth), threading.Event()
        self._failure: Exception | None = None
        # the thread must not refer to this object, or it would never be collected
        arguments = (items, self._queue, self._room, self._stop)
        thread = threading.Thread(target=_fill, args=arguments, name="labkit prefetch", daemon=True)
        self.close = weakref.finalize(self, _stop_thread, thread, self._room, self._stop)
        thread.start()

    def __next__(self) -> Item:
        if self._failure is None:
            item, self._failure = self._queue.get()
        if self._failure is not None:
            raise self._failure
        self._room.release()
        return item


def _fill(items: Generator, queue: SimpleQueue, room: threading.Semaphore, stop: threading.Event) -> None:
    end: Exception = StopIteration()
    try:
        while room.acquire() and not stop.is_set():
            queue.put((next(items), None))
    except Exception as error:
        end = error
    finally:
        items.close()
        queue.put((None, end))


def _stop_thread(thread: threading.Thread, room: threading.Semaphore, stop: threading.Event) -> None:
    stop.set()
    room.release()
    # a read under way is waited for, but not for ever: the thread is a daemon
    if thread is not threading.current_thread():
        thread.join(timeout=10)
