"""A view of something that the library computes once, on a thread of its own."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial

import panel as pn

from apps.parts.runs import Run
from apps.parts.view import View, failure


class Computed(View):
    """A view of something that the library computes: `ask(run)` is its key and the work, `result` what came of it."""

    working = "Computing ..."

    def __init__(self, session, **params) -> None:
        super().__init__(session, **params)
        self.result, self.problem, self._key = None, "", None

    def draw(self, run: Run) -> None:
        key, work = self.ask(run)
        self._key, self.result, self.problem = key, None, ""
        if not self.when_done(self.session.library.compute(key, work), partial(self._arrived, run, key)):
            self.body.loading = True

    def sentence(self, run: Run) -> str:
        return self.problem or (self.working if self.result is None else self.say(run))

    def _arrived(self, run: Run, key: tuple, future: Future) -> None:
        if key != self._key:
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
