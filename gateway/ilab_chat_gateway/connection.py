"""Connections: uvicorn's HTTP/1.1, with limits that it does not have.

Without them, the head of a request may have any size and take any time, a client may send requests and read no
responses, and one that does not read its response holds it, and the call behind it, for as long as it is connected.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

#: Bytes of a head, of the trailers or of the line of a chunk. One read may exceed it: reads have 256 KiB at most.
HEAD_BYTES = 64 * 1024

#: Header fields of a request, its trailers included.
HEAD_FIELDS = 128

#: Time for a head to arrive.
HEAD_SECONDS = 30.0

#: Requests that wait for the response to the one before on their connection.
PIPELINED = 4

#: Bytes of a response that the kernel buffers before it sends them (Linux, macOS). Without this limit it buffers
#: megabytes: answers that nobody reads would be generated in full.
UNSENT_BYTES = 64 * 1024

#: Bytes of a small part of a body. To handle a part takes a tenth of a millisecond, whatever its size: some hundreds of
#: clients that send single bytes would take all of the CPU.
SMALL_PART_BYTES = 512

#: Small parts of a body that are handled at once. After a further one, nothing is read for a while, so that what comes
#: then is one part.
SMALL_PARTS = 2

#: Time for which nothing is read: it doubles with each small part.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.01, 4.0

#: Time for a client to take what fills the connection's write buffer.
TAKE_SECONDS = 60.0


class BeyondLimit(Exception):
    """The request exceeds a limit. The parser passes it on as an invalid request, which ends the connection."""


class Connection(HttpToolsProtocol):
    """One connection of a client."""

    #: Bytes since the last part of a body, or since the last end of a head or a request.
    _unfinished_bytes = 0
    _has_finished = False
    _head_timer: asyncio.TimerHandle | None = None
    _take_timer: asyncio.TimerHandle | None = None
    #: Bytes of a body in the last read, and small parts in a row.
    _body_bytes = 0
    _small_parts = 0
    _pause_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Wait for the first request."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        # asyncio does it for sockets that name their protocol, and those that are accepted from `create_server` do not.
        # Without it, the body waits until the client acknowledges the head, which it may delay for 40 ms.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        limit_unsent(connection)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the timers."""
        for timer in (self._head_timer, self._take_timer, self._pause_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse a part of a request. End the connection if it exceeds a limit."""
        self._has_finished = False
        self._body_bytes = 0
        super().data_received(data)
        if self._body_bytes:
            self._pace()
        self._unfinished_bytes = 0 if self._has_finished else self._unfinished_bytes + len(data)
        if self._unfinished_bytes > HEAD_BYTES and not self.transport.is_closing():
            if self._is_answering():
                self.transport.close()
            else:
                self.send_400_response(f"The head of the request exceeds {HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        """Handle the beginning of a request."""
        if len(self.pipeline) >= PIPELINED:
            raise BeyondLimit
        super().on_message_begin()
        self._small_parts = 0
        self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Handle a header field."""
        if len(self.headers) >= HEAD_FIELDS:
            raise BeyondLimit
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Handle the end of a head."""
        self._has_finished = True
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Handle a part of a body."""
        self._has_finished = True
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Handle the end of a request. The next one may follow."""
        self._has_finished = True
        self._body_bytes = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Handle a full write buffer."""
        super().pause_writing()
        self._take_timer = self.loop.call_later(TAKE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Handle a write buffer that has room again."""
        if self._take_timer is not None:
            self._take_timer.cancel()
        super().resume_writing()

    def _pace(self) -> None:
        """Read nothing for a while after a part of a body, if it and those before it are small."""
        self._small_parts = self._small_parts + 1 if self._body_bytes < SMALL_PART_BYTES else 0
        further = self._small_parts - SMALL_PARTS
        if further > 0 and self._pause_timer is None and not self.transport.is_closing():
            seconds = min(FIRST_PAUSE_SECONDS * 2 ** min(further - 1, 16), LONGEST_PAUSE_SECONDS)
            self.transport.pause_reading()
            self._pause_timer = self.loop.call_later(seconds, self._read_on)

    def _read_on(self) -> None:
        self._pause_timer = None
        # uvicorn pauses too, while the app does not take a body.
        if not self.flow.read_paused:
            self.transport.resume_reading()

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._end_late_head)

    def _end_late_head(self) -> None:
        self._head_timer = None
        if self._is_answering():
            self._await_head()
        else:
            self.transport.close()

    def _is_answering(self) -> bool:
        # The type says that there always is a cycle.
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete


def limit_unsent(connection: socket.socket) -> None:
    """Let the kernel take at most UNSENT_BYTES that it has not sent."""
    # Some systems lack the option, and so may their Python.
    with suppress(OSError, AttributeError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
