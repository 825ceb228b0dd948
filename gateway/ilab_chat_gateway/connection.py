"""Connections: uvicorn's HTTP/1.1, with limits that it does not have.

Without them, the head of a request may have any size and take any time, and a client that does not read its response
holds it, and the call behind it, for as long as it is connected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

#: Size of a request line and its header fields. Parts that arrive together with a body are not counted.
HEAD_BYTES = 64 * 1024

#: Time for a head to arrive.
HEAD_SECONDS = 30.0

#: Time for a client to take what fills the connection's write buffer.
TAKE_SECONDS = 60.0


class Connection(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._is_in_head = True
        self._head_ended = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._take_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._end_late_head)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the timers."""
        self._cancel_head_timer()
        self._cancel_take_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Handle a part of a request."""
        self._head_ended = False
        super().data_received(data)
        if not self._is_in_head or self._head_ended:
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            if self._is_answering():
                self.transport.close()
            else:
                self.send_400_response(f"The head of the request exceeds {HEAD_BYTES} bytes.")
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._end_late_head)

    def on_headers_complete(self) -> None:
        """Handle the end of a head."""
        self._is_in_head = False
        self._head_ended = True
        self._cancel_head_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Handle the end of a request. The next one may follow."""
        self._is_in_head = True
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Handle a full write buffer."""
        super().pause_writing()
        self._take_timer = self.loop.call_later(TAKE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Handle a write buffer that has room again."""
        self._cancel_take_timer()
        super().resume_writing()

    def _end_late_head(self) -> None:
        self._head_timer = None
        if not self._is_answering():
            self.transport.close()

    def _is_answering(self) -> bool:
        # The type says that there always is a cycle.
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _cancel_take_timer(self) -> None:
        if self._take_timer is not None:
            self._take_timer.cancel()
            self._take_timer = None
