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

    Only queues whose operations are whole (SimpleQueue's are, being one call into C) stand between the two threads: a
    Ctrl-C inside a semaphore or an event of `threading` can leave its lock taken, and `close` would wait for ever.
    """

    def __init__(self, items: Generator[Item, None, None], depth: int) -> None:
        self._queue: SimpleQueue = SimpleQueue()
        self._room: SimpleQueue = SimpleQueue()  # a True for every item that may be made, a False to stop
        self._failure: Exception | None = None
        stopped: list[bool] = []
        for _ in range(depth):
            self._room.put(True)
        # the thread must not refer to this object, or it would never be collected
        arguments = (items, self._queue, self._room, stopped)
        thread = threading.Thread(target=_fill, args=arguments, name="labkit prefetch", daemon=True)
        self.close = weakref.finalize(self, _stop_thread, thread, self._room, stopped)
        thread.start()

    def __next__(self) -> Item:
        if self._failure is None:
            self._room.put(True)
            item, self._failure = self._queue.get()
        if self._failure is not None:
            raise self._failure
        return item


def _fill(items: Generator, queue: SimpleQueue, room: SimpleQueue, stopped: list[bool]) -> None:
    end: Exception = StopIteration()
    try:
        while room.get() and not stopped:
            queue.put((next(items), None))
    except Exception as error:
        end = error
    finally:
        items.close()
        queue.put((None, end))


def _stop_thread(thread: threading.Thread, room: SimpleQueue, stopped: list[bool]) -> None:
    stopped.append(True)
    room.put(False)
    # a read under way is waited for, but not for ever: the thread is a daemon
    if thread.is_alive() and thread is not threading.current_thread():
        thread.join(timeout=10)
