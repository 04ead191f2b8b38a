"""A view of something that the library computes once, on a thread of its own."""

from __future__ import annotations

import weakref
from concurrent.futures import Future
from functools import partial

import panel as pn

from apps.parts.runs import Run
from apps.parts.view import View, failure
from labkit.errors import Cancelled


class Computed(View):
    """A view of something that the library computes: `ask(run)` is its key and the work, `result` what came of it.

    With `long`, the work is given a `Watch`, by which the page says how far it is; it stops when nobody waits for it.
    """

    working = "Computing ..."
    long = False

    def __init__(self, session, **params) -> None:
        super().__init__(session, **params)
        self.result, self.problem, self._key, self._page = None, "", None, None

    def draw(self, run: Run) -> None:
        self._leave()
        key, work = self.ask(run)
        self._key, self.result, self.problem = key, None, ""
        self._page = weakref.ref(pn.state.curdoc) if pn.state.curdoc else None
        future = self.session.library.compute(key, work, waiter=self if self.long else None)
        if not self.when_done(future, partial(self._arrived, run, key)):
            self.body.loading = True

    def touch(self, names: set[str]) -> None:
        super().touch(names)
        if "run" in names:  # it may be drawn much later, or never
            self._leave()

    def close(self) -> None:
        super().close()
        self._leave()

    def sentence(self, run: Run) -> str:
        return self.problem or (self.working if self.result is None else self.say(run))

    def told(self, share: float) -> None:
        """Called on the thread that does the work."""
        page = self._page and self._page()
        if page is not None and not self.closed:
            page.add_next_tick_callback(partial(_say, weakref.ref(self), share))

    def _leave(self) -> None:
        if self.long and self._key is not None:
            self.session.library.leave(self._key, self)

    def _arrived(self, run: Run, key: tuple, future: Future) -> None:
        if key != self._key:
            return
        if isinstance(future.exception(), Cancelled):  # by those who left, just before this one came
            self.draw(run)
            return
        late, self.body.loading = self.body.loading, False
        self.problem = failure(future)
        if not self.problem:
            self.result = future.result()
            with pn.io.hold():
                self.show_result(run)
        if late:
            self.session.announce(self.sentence(run))

    def ask(self, run: Run):
        raise NotImplementedError

    def show_result(self, run: Run) -> None:
        raise NotImplementedError

    def say(self, run: Run) -> str:
        raise NotImplementedError


def _say(view: weakref.ref, share: float) -> None:
    """How far it is; called on the session's own thread."""
    if (waiting := view()) is not None and waiting.body.loading and waiting.visible and pn.state.loaded:
        waiting.session.announce(f"{waiting.working} {share:.0%}")
