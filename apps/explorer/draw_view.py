"""Draw: new members from a trained model, seen as they are drawn; one draw at a time on a server."""

from __future__ import annotations

import time
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import numpy as np
import panel as pn
import panel_material_ui as pmui
import param

from apps.explorer.members_view import Mosaic
from apps.parts.labels import time_label
from apps.parts.library import Library
from apps.parts.models import DrawRequest, ModelCard
from apps.parts.queue import Job, check_work
from apps.parts.runs import Run
from apps.parts.scale import Look
from apps.parts.view import View, failure, html, icon, select, set_text, widgets
from labkit.errors import LabError
from labkit.plots.colours import colour_limits, palette
from labkit.variables import describe

POLL_MS = 400
MAX_SHOWN = 64


class DrawForm(param.Parameterized):
    """What a draw may be asked for; every value is bounded, whoever sets it."""

    model = param.Selector(objects=[""])
    case = param.Integer(0, bounds=(0, 0), doc="First case, a position in the model's test data.")
    cases = param.Integer(1, bounds=(1, 24))
    members = param.Integer(8, bounds=(1, MAX_SHOWN))
    seed = param.Integer(0, bounds=(0, 2**31 - 1), doc="Seed of the first member; the next has the next.")
    solver = param.Selector(objects=[""])
    num_steps = param.Integer(9, bounds=(2, 64))
    with_oracle = param.Boolean(True)

    def load(self, card: ModelCard) -> None:
        """Fit the bounds to a model."""
        self.param.case.bounds = (0, len(card.times) - 1)
        self.param.solver.objects = list(card.solvers)
        self.param.update(
            case=min(self.case, len(card.times) - 1),
            solver=card.solver,
            num_steps=int(np.clip(card.num_steps, 2, 64)),
            with_oracle=card.has_oracle,
        )

    def request(self, card: ModelCard) -> DrawRequest:
        last = min(self.case + self.cases, len(card.times))
        return DrawRequest(
            times=tuple(range(self.case, last)),
            members=self.members,
            seed=self.seed,
            solver=self.solver,
            num_steps=self.num_steps,
            with_oracle=self.with_oracle and card.has_oracle,
        )


def submit(library: Library, model_id: str, card: ModelCard, request: DrawRequest) -> Job:
    """Queue a draw, after checking that it is not too large; its result joins the library's runs."""
    check_work(
        members=request.members,
        cases=len(request.times),
        evaluations=library.models.evaluations(request),
        pixels=int(np.prod(card.shape)) * len(card.variables),
    )
    label = f"{model_id}, {request.members} members, {request.solver} {request.num_steps}, seed {request.seed}"
    return library.queue.submit(partial(_work, library, model_id, request, label), label)


def _work(library: Library, model_id: str, request: DrawRequest, label: str, job: Job) -> Path:
    path = library.drawn.begin(model_id, request)
    drawn = library.models.draw(
        model_id,
        request,
        path,
        on_member=lambda case, member, fields: job.arrived.append((case, member, np.array(fields, np.float32))),
        progress=job.progress,
        cancel=job.cancelled,
    )
    drawn = library.drawn.keep(drawn, f"{model_id}-{job.number}.nc")
    job.run_id = library.registry.add(drawn, kind="drawn", label=f"{label} ({job.number})").id
    return drawn


class DrawView(View):
    """Keeps the session's own job; the periodic callback that follows it lives no longer than the job does."""

    tab, title = "draw", "Draw"
    uses = ("variable",)

    def __init__(self, session, **params) -> None:
        super().__init__(session, **params)
        self.form, self.job, self.card = DrawForm(), None, None
        self._poller, self._began = None, 0.0
        self._fields: dict[int, np.ndarray] = {}
        models = self.session.library.models.options()
        self.form.param.model.objects = list(models.values()) or [""]
        if models:
            self.form.model = next(iter(models.values()))

    def build(self, run: Run) -> list:
        if not self.session.library.models.options():
            said = "There is no trained model on offer: train one with `labkit train corrdiff --preset nano`."
            return [html(said, margin=(16, 12))]
        form, number = self.form.param, {"size": "small", "width": 120, "description": "", "margin": (8, 6)}
        self.case_text = html(faint=True, margin=(0, 10))
        self.go = pmui.Button(label="Draw", icon=icon("play_arrow"), on_click=self._start, margin=(10, 8))
        outlined = {"variant": "outlined", "margin": (10, 8)}
        self.stop = pmui.Button(label="Cancel", icon=icon("stop"), color="secondary", on_click=self._cancel, **outlined)
        self.look = pmui.Button(label="Open in the explorer", icon=icon("open_in_new"), on_click=self._open, **outlined)
        self.progress = pmui.LinearProgress(value=0, sizing_mode="stretch_width", visible=False, margin=(6, 12))
        self.message, self.mosaic = html(margin=(4, 12)), Mosaic(aspect=2.4)
        controls = widgets(
            select(form.model, self.session.library.models.options(), "Model", width=220),
            pmui.IntSlider.from_param(
                form.case, label="First case", description="", width=230, size="small", margin=(8, 16)
            ),
            pmui.IntInput.from_param(form.cases, label="Cases", **number),
            pmui.IntInput.from_param(form.members, label="Members", **number),
            pmui.IntInput.from_param(form.seed, label="First seed", **number),
        )
        how = widgets(
            select(form.solver, {self.form.solver: self.form.solver}, "Solver", width=220),
            pmui.IntSlider.from_param(
                form.num_steps, label="Steps", description="", width=230, size="small", margin=(8, 16)
            ),
            pmui.Checkbox.from_param(form.with_oracle, label="Draw the oracle too", description="", margin=(12, 6)),
            self.go,
            self.stop,
            self.look,
        )
        self.solver = how[0]
        self._watchers = [
            self.form.param.watch(self._model_changed, "model"),
            self.form.param.watch(self._describe, ["case"]),
        ]
        return [controls, self.case_text, how, self.progress, self.message, self.mosaic.row(margin=400)]

    def draw(self, run: Run) -> None:
        if not self.form.model:
            return
        if self.card is None:
            self._model_changed()
        self._refresh()
        self._show_members()

    def sentence(self, run: Run) -> str:
        waiting = len(self.session.library.queue)
        busy = (
            f"{waiting} draw{'s' * (waiting != 1)} running or waiting on this server"
            if waiting
            else "The server is free"
        )
        return f"Draw new members from a trained model. {busy}; one is drawn at a time."

    def close(self) -> None:
        """The session has ended: its draw is cancelled."""
        super().close()
        self._stop_polling()
        if self.job is not None and not self.job.over:
            self.session.library.queue.cancel(self.job)

    def poll(self) -> None:
        """Show what has arrived since the last time."""
        if self.job is None:
            return
        arrived = self._take_members()
        if self.job.status == "done" and len(self._fields) < self._request.members:
            arrived = self._take_result()
        if self.visible:
            with pn.io.hold():
                self._refresh()
                if arrived:
                    self._show_members()
        else:
            self._stale = True
        if self.job.over:
            self._stop_polling()
            self.session.refresh_runs()

    def _start(self, event) -> None:
        if self.job is not None and not self.job.over:
            return
        try:
            request = self.form.request(self.card)
            self.job = submit(self.session.library, self.form.model, self.card, request)
        except LabError as error:
            set_text(self.message, str(error))
            return
        self._began, self._fields = time.monotonic(), {}
        self._request = request
        self._fitted = ("", False)
        y, x = (np.arange(n, dtype=float) for n in self.card.shape)
        self.mosaic.arrange(x, y, request.members)
        self._refresh()
        self._poller = pn.state.add_periodic_callback(self.poll, period=POLL_MS)

    def _cancel(self, event) -> None:
        if self.job is not None:
            self.session.library.queue.cancel(self.job)
            self._refresh()

    def _open(self, event) -> None:
        self.session.refresh_runs()
        self.state.param.update(run=self.job.run_id, tab="maps")

    def _stop_polling(self) -> None:
        if self._poller is not None:
            self._poller.stop()
            self._poller = None

    def _model_changed(self, *events) -> None:
        library, model = self.session.library, self.form.model
        self.card = None
        self.go.disabled = True
        future = library.compute(("card", model), partial(library.models.card, model))
        if not self.when_done(future, partial(self._show_card, model)):
            set_text(self.message, "Opening the model ...")

    def _show_card(self, model: str, future: Future) -> None:
        if model != self.form.model:
            return
        problem = failure(future)
        set_text(self.message, problem)
        if not problem:
            self.card = future.result()
            self.form.load(self.card)
            self.solver.options = list(self.card.solvers)
            self.solver.value = self.form.solver
            self._describe()
            self._refresh()

    def _describe(self, *events) -> None:
        if self.card is not None:
            set_text(self.case_text, f"First case: {time_label(self.card.times[self.form.case])}")

    def _refresh(self) -> None:
        job = self.job
        running = job is not None and not job.over
        self.go.disabled, self.stop.disabled = running or self.card is None, not running
        self.look.visible = job is not None and job.status == "done"
        self.progress.visible = running
        if job is not None:
            self.progress.value = int(100 * job.done / job.total) if job.total else 0
            set_text(
                self.message,
                progress_text(job, self.session.library.queue.position(job), time.monotonic() - self._began),
            )

    def _take_members(self) -> bool:
        """Take the members drawn since the last time; whether one of them is of the case that is shown."""
        arrived = False
        while self.job.arrived:
            case, member, fields = self.job.arrived.pop(0)
            arrived = arrived or case == 0
            if case == 0:
                self._fields[member] = fields
        return arrived

    def _take_result(self) -> bool:
        """All members of the first case, of a draw that went on where it was cancelled: some were there already."""
        run = self.session.library.run(self.job.run_id)
        fields = np.stack([run.members(variable, 0) for variable in self.card.variables], axis=1)
        self._fields = dict(enumerate(fields))
        return True

    def _show_members(self) -> None:
        """The members of the first case drawn so far, in their places."""
        if not self._fields:
            return
        channel = self.card.variables.index(self.state.variable) if self.state.variable in self.card.variables else 0
        variable = describe(self.card.variables[channel])
        blank = np.full(self.card.shape, np.nan, np.float32)
        fields = np.stack(
            [self._fields[k][channel] if k in self._fields else blank for k in range(self._request.members)]
        )
        names = [f"Seed {seed}" for seed in self._request.seeds]
        if (variable.name, self.job.over) != self._fitted:  # at the first members, and again when all are there
            self._fitted = (variable.name, self.job.over)
            self._look = Look(colour_limits(variable, fields), palette(variable.cmap), variable.units)
        self.mosaic.show(fields, names, self._look)


def progress_text(job: Job, position: int, seconds: float) -> str:
    """Where a job stands, in one sentence."""
    if job.status == "waiting":
        return f"Waiting: {position} draw{'s' * (position != 1)} before this one."
    if job.status == "running":
        share = job.done / job.total if job.total else 0.0
        left = f", about {seconds / share - seconds:.0f} s left" if share > 0.02 else ""
        return f"Drawing: {share:.0%} done{left}."
    if job.status == "done":
        return f"Done in {seconds:.0f} s; the result is in the list of runs."
    return job.message
