"""Panel as the apps need it, with what Panel 1.9.4 and Bokeh 3.9.2 get wrong put right until they do."""

from __future__ import annotations

from urllib.parse import quote

import panel as pn
import panel.io.document as messages

# They measure a figure that has been put into a Material layout but not laid out yet, and throw, as they do where the
# ticks of a colour bar change by then; both are measured soon after anyway.
PATCH = """
const figure = Bokeh.Models.get("Figure").prototype.default_view.prototype;
for (const step of ["_measure_layout", "_after_layout"]) {
  const original = figure[step];
  figure[step] = function () { if (this.layout != null) original.call(this); };
}
const bar = Bokeh.Models.get("ColorBar").prototype.default_view.prototype, initialize = bar.lazy_initialize;
bar.lazy_initialize = async function () {
  await initialize.call(this);
  const frame = this._frame_view.parent, request = frame.request_layout;
  frame.request_layout = () => { if (this.layout != null) request.call(frame); };
};
"""


def extension() -> None:
    """Load Panel as the apps need it; call it in the served file, and once in a notebook."""
    _send_everything()
    patch = "data:text/javascript," + quote(PATCH)
    pn.extension(respect_explicit_sizing=True, js_files={"patch": patch})


def _send_everything() -> None:
    """A message that comes while another is being written to the page waited for the next click: it is sent too."""
    original = messages._dispatch_msgs
    if getattr(original, "sends_everything", False):
        return

    async def dispatch(doc) -> None:
        await original(doc)
        if doc in messages._WRITE_MSGS and doc not in messages._WRITE_BLOCK:
            messages._WRITE_BLOCK[doc] = True
            messages._dispatch_write_task(doc, messages._dispatch_msgs, doc)

    dispatch.sends_everything = True
    messages._dispatch_msgs = dispatch
