"""Ctrl-C at any instruction of taking an item leaves a stream that can be closed: nothing waits for ever."""

import itertools
import sys
import threading

import pytest

from labkit.data.prefetch import Prefetch


def numbers(closed):
    try:
        yield from itertools.count()
    finally:
        closed.append(True)


class InterruptAt:
    """Raises KeyboardInterrupt before the n-th Python instruction, library code included, of a `with` block."""

    def __init__(self, n):
        self.left, self.raised = n, False

    def __enter__(self):
        sys.settrace(self._trace)

    def __exit__(self, *_):
        sys.settrace(None)

    def _trace(self, frame, event, _):
        frame.f_trace_opcodes = True
        if frame.f_code.co_name != "__exit__" and event == "opcode":
            self.left -= 1
            if self.left < 0 and not self.raised:
                self.raised = True
                raise KeyboardInterrupt
        return self._trace


def closes(stream, seconds=5):
    thread = threading.Thread(target=stream.close, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


@pytest.mark.parametrize("depth", [1, 3])
def test_an_interrupt_anywhere_in_taking_an_item_leaves_a_stream_that_closes(depth):
    for n in itertools.count():
        closed = []
        stream = Prefetch(numbers(closed), depth)
        assert next(stream) == 0
        interrupt = InterruptAt(n)
        try:
            with interrupt:
                next(stream)
        except KeyboardInterrupt:
            pass
        assert closes(stream), f"close waits for ever after an interrupt at instruction {n}"
        assert closed == [True]
        if not interrupt.raised:
            break
    assert n > 5  # the loop did interrupt


def test_items_come_in_order_and_no_more_than_depth_ahead():
    asked = []

    def items():
        for n in range(20):
            asked.append(n)
            yield n

    stream = Prefetch(items(), 3)
    for n in range(20):
        assert next(stream) == n
        assert len(asked) <= n + 1 + 3
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(stream)


def test_a_failure_is_raised_where_it_came_and_again():
    def items():
        yield 0
        raise OSError("the disk went away")

    stream = Prefetch(items(), 2)
    assert next(stream) == 0
    for _ in range(2):
        with pytest.raises(OSError, match="went away"):
            next(stream)
    assert closes(stream)
