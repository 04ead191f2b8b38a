"""Panel as the apps need it, with what Panel 1.9.4 and Bokeh 3.9.2 get wrong put right until they do."""

from __future__ import annotations

from urllib.parse import quote

import panel as pn
import panel.io.document as messages

# Every Material layout lays out all that it will hold each time that something in it comes onto the page, so that a
# figure eight layouts deep was laid out twenty times before it was drawn, and threw where it had no layout yet. Here,
# as when it draws, a layout looks only at what is on the page. A figure throws too where the ticks of a colour bar
# change before it is laid out; it is measured soon after anyway.
PATCH = """
let layout = Bokeh.Models.get("Figure").prototype.default_view.prototype;
while (!Object.hasOwn(layout, "layoutable_views")) layout = Object.getPrototypeOf(layout);
const {get} = Object.getOwnPropertyDescriptor(layout, "layoutable_views");
const on_page = function () {
  const views = get.call(this);
  return "_child_rendered" in this ? views.filter((view) => view.el.isConnected) : views;
};
Object.defineProperty(layout, "layoutable_views", {configurable: true, get: on_page});
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
