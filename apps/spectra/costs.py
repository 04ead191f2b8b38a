"""What the chosen patch costs on this machine: measured in the server's queue when somebody asks for it."""

from __future__ import annotations

from functools import partial
from html import escape

import panel as pn
import panel_material_ui as pmui

from apps.parts.queue import Job
from apps.parts.runs import Run
from apps.parts.view import column, widgets
from apps.spectra.data_sets import channels_of
from labkit.errors import LabError
from labkit.grid import coarsening
from labkit.variables import plain

POLL_MS = 400


class Costs:
    """A button that measures what the patch costs on this machine, in the queue that also draws; and what came of it.

    The periodic callback that follows the job lives no longer than the job does, and shows nothing while the view that
    it belongs to is not looked at (see `View.arrive`).
    """

    def __init__(self, view) -> None:
        self.view, self.session = view, view.session
        self.job, self._asked, self._poller = None, None, None
        self.known: dict[tuple, list[str]] = {}
        small = {"size": "small", "variant": "outlined", "margin": (6, 8)}
        self.go = pmui.Button(label="Measure on this machine", on_click=self._start, **small)
        self.stop = pmui.Button(label="Cancel", on_click=self._cancel, visible=False, **small)
        self.progress = pmui.LinearProgress(value=0, sizing_mode="stretch_width", visible=False, margin=(4, 12))
        self.text = pn.pane.HTML(sizing_mode="stretch_width", margin=(0, 12))
        self.row = column(widgets(self.go, self.stop), self.progress, self.text)

    def show(self, run: Run) -> None:
        """What is known of the patch that is chosen."""
        self.go.disabled = self.stop.visible = self.progress.visible = self.running
        if not self.running:
            key = cost_key(run, self.session.state)
            failed = [self.job.message] if self.job and self.job.status != "done" and self._asked == key else []
            self._say(
                self.known.get(key)
                or failed
                or ["not measured yet: a few training steps and evaluations, ten to thirty seconds"]
            )

    @property
    def running(self) -> bool:
        return self.job is not None and not self.job.over

    def poll(self) -> None:
        """Show how far the measurement is."""
        job = self.job
        if job is None:
            return
        if job.over:
            self._stop_polling()
            if job.status == "done":
                self.known[self._asked] = job.arrived[0]
        if not self.view.visible:
            self.view.touch({"run"})  # to be drawn when it is opened
            return
        self.progress.value = int(100 * job.done / job.total) if job.total else 0
        if not job.over:
            waiting = self.session.library.queue.position(job)
            self._say([f"waiting for {waiting} others on this server" if waiting > 0 else "measuring ..."])
            return
        self.show(self.session.run)

    def close(self) -> None:
        self._stop_polling()
        if self.running:
            self.session.library.queue.cancel(self.job)

    def _start(self, event) -> None:
        if self.running:
            return
        run, state = self.session.run, self.session.state
        self._asked = cost_key(run, state)
        work = partial(measured_cost, run, state.network, (state.height, state.width), state.overlap)
        try:
            self.job = self.session.library.queue.submit(work, "what a patch costs")
        except LabError as error:
            self._say([str(error)])
            return
        self.show(self.session.run)
        self._say(["waiting ..."])
        self._poller = pn.state.add_periodic_callback(self.poll, period=POLL_MS)

    def _cancel(self, event) -> None:
        if self.job is not None:
            self.session.library.queue.cancel(self.job)

    def _stop_polling(self) -> None:
        if self._poller is not None:
            self._poller.stop()
            self._poller = None

    def _say(self, sentences: list[str]) -> None:
        self.text.object = f"<ul>{''.join(f'<li>{escape(plain(text, 200))}</li>' for text in sentences)}</ul>"


def cost_key(run: Run, state) -> tuple:
    """What a measurement is of."""
    return run.id, state.network, state.height, state.width, state.overlap


def measured_cost(run: Run, network: str, patch: tuple[int, int], overlap: int, job: Job) -> None:
    """Measure, and leave the sentences in `job.arrived`."""
    from labkit.recipes import load_preset
    from labkit.recipes.probe import cost_sentences, probe

    config, place = load_preset(network), {"shape": (len(run.y), len(run.x)), "factor": coarsening(run.tree)}
    told = {"progress": lambda share: job.progress(int(100 * share), 100), "cancel": job.cancelled}
    found = probe(config, channels=channels_of(run), patch=patch, **place, **told)
    job.arrived.append(cost_sentences(found, config, overlap=overlap, **place))
