"""Who may talk to a served app: browsers on this machine, and those that the server was told to allow."""

from __future__ import annotations

import gc
import ipaddress
import logging
from collections.abc import Iterable

import panel as pn
from bokeh.server.tornado import BokehTornado
from bokeh.settings import settings
from tornado.httputil import HTTPServerRequest
from tornado.web import ErrorHandler

LOCAL = ("localhost", "127.0.0.1")
FORBIDDEN = 403
log = logging.getLogger(__name__)


def guard() -> bool:
    """Have every Bokeh server of this process refuse what `refusal` finds a reason for, from now on; False if it did.

    Bokeh 3.9.2 checks the origin of a WebSocket only where the request names one, and listens on every interface where
    it is given no address.
    """
    if "find_handler" in vars(BokehTornado):
        return False
    find = BokehTornado.find_handler

    def find_handler(self, request, **options):
        if reason := refusal(request, origins(self)):
            log.warning("refused %s from %s: %s", request.path, request.remote_ip, reason)
            return self.get_handler_delegate(request, ErrorHandler, {"status_code": FORBIDDEN})
        return find(self, request, **options)

    BokehTornado.find_handler = find_handler
    return True


def admitted() -> bool:
    """Whether the session that is being made may be, and later ones only if `refusal` finds nothing.

    `panel serve` reads an app's file with the first session, whose request nobody has guarded.
    """
    if not guard():
        return True
    allowed = [name for server in gc.get_objects() if isinstance(server, BokehTornado) for name in origins(server)]
    request = pn.state.curdoc.session_context.request
    if request is not None and (reason := refusal(request._request, allowed)):
        log.warning("refused the first session: %s", reason)
        return False
    return True


def refusal(request: HTTPServerRequest, allowed: Iterable[str]) -> str:
    """Why a request is refused, "" where it is not; allowed: origins as `host:port`."""
    if request.path.endswith("/ws") and not request.headers.get("Origin"):
        return "a WebSocket without an Origin is no browser's"
    public = [origin for origin in allowed if origin.rsplit(":", 1)[0] not in LOCAL]
    if not public and not _is_local(request.remote_ip):
        return "another machine, and no origin but this machine's is allowed (see docs/serving.md)"
    return ""


def origins(server: BokehTornado) -> Iterable[str]:
    """The origins that a server allows, as Bokeh's own check takes them."""
    return settings.allowed_ws_origin() or server.websocket_origins


def _is_local(address: str) -> bool:
    """Of this machine; a Unix socket is, which Tornado calls 0.0.0.0."""
    found = ipaddress.ip_address(address.split("%")[0])
    mapped = getattr(found, "ipv4_mapped", None) or found
    return mapped.is_loopback or mapped.is_unspecified
