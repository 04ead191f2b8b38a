"""A long computation that visitors share: told to those who wait, and stopped when nobody does."""

import threading

import explorer_parts as parts
import pytest

from apps.parts import watch as watching
from apps.parts.watch import Watch
from labkit.errors import Cancelled


class Waiter:
    def __init__(self):
        self.heard = []

    def told(self, share):
        self.heard.append(share)


@pytest.fixture
def library(tmp_path):
    return parts.library(tmp_path)


def counting(steps: int, *, go: threading.Semaphore, done: list):
    """Work of so many steps, each of which waits for `go`."""

    def work(watch: Watch):
        for step in range(steps):
            assert go.acquire(timeout=10)
            if watch.cancelled():
                raise Cancelled("counting")
            done.append(step)
            watch.progress(step + 1, steps)
        return sum(range(steps))

    return work


def test_everyone_who_waits_hears_how_far_it_is(library, monkeypatch):
    monkeypatch.setattr(watching, "EVERY_S", 0.0)
    go, done, waiters = threading.Semaphore(0), [], [Waiter(), Waiter()]
    futures = [library.compute("sum", counting(4, go=go, done=done), waiter=waiter) for waiter in waiters]
    assert library.result("sum") is None
    go.release(4)
    assert [future.result(10) for future in futures] == [6, 6] and done == [0, 1, 2, 3], "done once"
    assert [waiter.heard for waiter in waiters] == [[0.25, 0.5, 0.75, 1.0]] * 2
    assert library.result("sum") == 6


def test_little_is_said_where_steps_are_quick():
    watch, waiter = Watch(), Waiter()
    watch.join(waiter)
    for step in range(1000):
        watch.progress(step, 1000)
    assert len(waiter.heard) <= 2


def test_it_goes_on_while_one_waits_and_stops_when_none_does(library):
    go, done, (first, second) = threading.Semaphore(0), [], (Waiter(), Waiter())
    future = library.compute("sum", counting(9, go=go, done=done), waiter=first)
    library.compute("sum", lambda watch: pytest.fail("it runs already"), waiter=second)
    library.leave("sum", first)
    go.release(3)
    while len(done) < 3:
        pass
    library.leave("sum", second)
    go.release(9)
    with pytest.raises(Cancelled):
        future.result(10)
    assert len(done) in (3, 4)


def test_what_was_stopped_begins_anew_for_the_next(library):
    go, done, gone = threading.Semaphore(0), [], Waiter()
    stopped = library.compute("sum", counting(2, go=go, done=done), waiter=gone)
    library.leave("sum", gone)
    go.release(1)
    with pytest.raises(Cancelled):
        stopped.result(10)
    go.release(2)
    assert library.compute("sum", counting(2, go=go, done=done), waiter=Waiter()) is not stopped


def test_a_waiter_that_is_gone_waits_no_longer():
    watch = Watch()
    watch.join(waiter := Waiter())
    assert not watch.cancelled()
    del waiter
    assert watch.cancelled()
