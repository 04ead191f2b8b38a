"""What Panel gets wrong and the apps put right: a message that comes while another is being written is sent too."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import panel.io.document as messages
import pytest
from bokeh.document import Document

from apps.parts.extension import _send_everything


class SlowSocket:
    """Takes messages, and says only when told to that they are through."""

    def __init__(self) -> None:
        self.taken: list = []
        self.through: list[asyncio.Future] = []

    def take(self, connection, message) -> list[asyncio.Future]:
        self.taken.append(message)
        self.through.append(asyncio.get_running_loop().create_future())
        return self.through[-1:]


@pytest.fixture
def socket(monkeypatch) -> SlowSocket:
    monkeypatch.setattr(messages, "_dispatch_msgs", messages._dispatch_msgs)  # put back afterwards
    monkeypatch.setitem(messages.extra_socket_handlers, SlowSocket, lambda conn, msg: conn._socket.take(conn, msg))
    return SlowSocket()


async def written(socket: SlowSocket) -> tuple:
    """What was taken when a second message came while the first was on its way; is anything kept or blocked still?"""
    connection, doc = Mock(_socket=socket), Document()
    connection.protocol.create = lambda kind, events: events
    messages.schedule_write_events(doc, [connection], ["first"])
    await asyncio.sleep(0.02)
    socket.through[0].set_result(None)
    messages.schedule_write_events(doc, [connection], ["second"])
    await asyncio.sleep(0.05)
    for future in socket.through[1:]:
        future.set_result(None)
    await asyncio.sleep(0.02)
    return socket.taken, doc in messages._WRITE_MSGS, doc in messages._WRITE_BLOCK


def test_a_message_that_comes_while_another_is_written_is_sent(socket):
    _send_everything()
    once = messages._dispatch_msgs
    _send_everything()
    assert messages._dispatch_msgs is once
    assert asyncio.run(written(socket)) == ([["first"], ["second"]], False, False)
