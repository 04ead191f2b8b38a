"""Drawing members from the explorer: they appear as they come, and can be stopped; the server is never overrun."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import explorer_parts as parts
import numpy as np
import panel as pn
import pytest

from apps.explorer.app import Explorer
from apps.explorer.draw_view import DrawForm, progress_text
from apps.parts.queue import DrawQueue, Job, check_work
from labkit.errors import DataError, LabError


@pytest.fixture(scope="module", autouse=True)
def _extension():
    pn.extension(respect_explicit_sizing=True)


def wait(condition, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


@pytest.fixture
def drawing(tmp_path):
    gate = threading.Semaphore(0)
    library = parts.library(tmp_path, models=parts.FakeModels(gate=gate))
    explorer = Explorer(library, tab="draw")
    view = explorer.views["draw"]
    view.form.param.update(members=4, cases=2, seed=11)
    yield explorer, view, gate
    gate.release(100)
    view.close()


def test_members_appear_as_they_are_drawn_and_the_result_joins_the_runs(drawing):
    explorer, view, gate = drawing
    view._start(None)
    assert view.go.disabled and not view.stop.disabled
    gate.release(3)
    wait(lambda: view.job.done == 3)
    view.poll()
    canvas = view.mosaic.image.data["image"][0]
    there = [np.isfinite(canvas[y + 5, x + 5]) for x, y in map(view.mosaic.corner, range(4))]
    assert there == [True, True, True, False] and view.mosaic.labels.data["text"][0] == "Seed 11"
    assert "38% done" in view.message.object
    gate.release(50)
    wait(lambda: view.job.over)
    view.poll()
    assert view.job.status == "done" and view.look.visible and view._poller is None
    request = view.session.library.models.requests[0]
    assert (request.times, request.seeds, request.with_oracle) == ((0, 1), [11, 12, 13, 14], True)
    view._open(None)
    assert explorer.state.run == view.job.run_id != "sample" and explorer.state.tab == "maps"
    assert explorer.state.run in explorer.run_select.options.values()
    assert len(explorer.session.run.member_names) == 4


def test_cancel_stops_at_the_next_member_and_frees_the_server(drawing):
    _, view, gate = drawing
    view._start(None)
    gate.release(1)
    wait(lambda: view.job.done == 1)
    view._cancel(None)
    gate.release(1)
    wait(lambda: view.job.over)
    view.poll()
    assert view.job.status == "cancelled" and view.job.done == 1 and "Cancelled" in view.message.object
    assert len(view.session.library.queue) == 0 and not view.go.disabled


def test_the_end_of_a_session_cancels_its_draw(drawing):
    _, view, gate = drawing
    view._start(None)
    job = view.job
    view.close()
    gate.release(1)
    wait(lambda: job.over)
    assert job.status == "cancelled" and view._poller is None


def test_one_draw_at_a_time_and_the_others_know_their_place(drawing):
    explorer, view, gate = drawing
    second = Explorer(explorer.session.library, tab="draw").views["draw"]
    second.form.members = 2
    view._start(None)
    second._start(None)
    wait(lambda: view.job.status == "running")
    second.poll()
    assert second.job.status == "waiting" and "1 draw before this one" in second.message.object
    second._cancel(None)
    assert second.job.status == "cancelled", "a waiting draw is gone at once"
    gate.release(50)
    wait(lambda: view.job.over)
    assert view.job.status == "done" and len(explorer.session.library.models.requests) == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (DataError("grid", found="a", expected="b", todo="do c"), "grid: found a, expected b; do c."),
        (MemoryError(), "Out of memory"),
        (RuntimeError("<b>secret path</b>"), "The draw failed (RuntimeError)"),
    ],
)
def test_a_draw_that_fails_says_why_and_the_server_goes_on(tmp_path, fault, said):
    library = parts.library(tmp_path, models=parts.FakeModels(fault=fault))
    view = Explorer(library, tab="draw").views["draw"]
    view._start(None)
    wait(lambda: view.job.over)
    view.poll()
    assert view.job.status == "failed" and said in view.message.object and "secret" not in view.message.object
    assert len(library.queue) == 0


def test_too_much_work_is_refused_before_it_is_queued(drawing):
    _, view, _ = drawing
    view.form.param.update(members=64, num_steps=64, cases=6)
    view.card = type(view.card)(**(view.card.__dict__ | {"shape": (448, 448)}))
    view._start(None)
    assert view.job is None and "labkit sample" in view.message.object
    with pytest.raises(LabError, match="at most"):
        check_work(members=64, cases=24, evaluations=127, pixels=10**6)


@pytest.mark.parametrize(
    ("name", "value"),
    [("members", 65), ("members", 0), ("num_steps", 1000), ("cases", 25), ("seed", -1), ("model", "../x")],
)
def test_draws_are_bounded_whoever_asks(name, value):
    form = DrawForm()
    with pytest.raises(ValueError):
        setattr(form, name, value)


def test_a_queue_that_is_full_says_so():
    gate, queue = threading.Event(), DrawQueue(max_waiting=1)
    jobs = [queue.submit(lambda job: gate.wait(10) and Path(), "a") for _ in range(2)]
    with pytest.raises(LabError, match="at most 1 waiting"):
        queue.submit(lambda job: Path(), "c")
    gate.set()
    wait(lambda: all(job.over for job in jobs))
    assert [job.number for job in jobs] == [1, 2] and len(queue) == 0


def test_progress_in_words():
    job = Job(lambda job: Path(), "a")
    assert progress_text(job, 2, 0.0) == "Waiting: 2 draws before this one."
    job.status, job.done, job.total = "running", 1, 4
    assert progress_text(job, 0, 10.0) == "Drawing: 25% done, about 30 s left."


class Resumed(parts.FakeModels):
    """Goes on with a draw of which the first two members were there."""

    def draw(self, *args, on_member, **options):
        return super().draw(*args, on_member=lambda t, k, fields: k < 2 or on_member(t, k, fields), **options)


def test_members_that_were_there_before_are_shown_with_the_others(tmp_path):
    explorer = Explorer(parts.library(tmp_path, models=Resumed()), tab="draw")
    view = explorer.views["draw"]
    view.form.param.update(members=4, seed=11)
    view._start(None)
    wait(lambda: view.job.over)
    view.poll()
    canvas = view.mosaic.image.data["image"][0]
    assert all(np.isfinite(canvas[y + 5, x + 5]) for x, y in map(view.mosaic.corner, range(4)))
    view.close()
