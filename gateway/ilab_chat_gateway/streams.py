"""Responses that are sent while a call runs. They end the call when the client leaves."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from ilab_chat.errors import ChatError
from ilab_chat_gateway import problems
from ilab_chat_gateway.messages import json_line, to_json
from ilab_chat_gateway.problems import ClientGone
from ilab_chat_gateway.requests import unless_gone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from ilab_chat.aio import AsyncChatStream
    from ilab_chat.v1.chat_pb2 import StreamChatResponse

EVENT_STREAM = "text/event-stream"

#: A proxy must neither collect nor store the events. https://nginx.org/en/docs/http/ngx_http_proxy_module.html
STREAM_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}

#: Deltas make up nearly all events, and `json_format` takes longer for one than everything else.
DELTAS = {"text_delta", "reasoning_delta"}


class Stream(Response):
    """A response whose body is an iterator of texts. *call* is closed at the end, or when the client leaves."""

    def __init__(self, pieces: AsyncIterator[str], media_type: str, call: AsyncExitStack) -> None:
        super().__init__(headers=STREAM_HEADERS, media_type=media_type)
        del self.headers["content-length"]
        self._pieces = pieces
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces."""
        del scope
        async with self._call:
            with suppress(ClientGone):
                await unless_gone(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def server_sent_event(event: StreamChatResponse, request_id: str) -> str:
    """Return an event of the contract as a server-sent event; a heartbeat as a comment."""
    kind = event.WhichOneof("event") or "heartbeat"
    if kind == "heartbeat":
        return ": heartbeat\n\n"
    if kind in DELTAS:
        data = json.dumps({"text": getattr(event, kind).text}, ensure_ascii=False)
    else:
        data = json_line(getattr(event, kind))
    # Only CR and LF end a line, and JSON escapes both. The id is visible ASCII.
    return f"event: {kind}\nid: {request_id}\ndata: {data}\n\n"


def problem_event(details: dict[str, Any]) -> str:
    """Return the problem that ended a stream. `error` would be mixed up with EventSource's own event."""
    return f"event: problem\ndata: {json.dumps(details, ensure_ascii=False)}\n\n"


async def chat_events(first: StreamChatResponse, stream: AsyncChatStream) -> AsyncIterator[str]:
    """Yield the events of an answer, *first* included. A failure becomes the last event."""
    yield server_sent_event(first, stream.request_id)
    try:
        async for event in stream:
            yield server_sent_event(event, stream.request_id)
    except ChatError as error:
        yield problem_event(problems.of_chat_error(error))


async def lines(first: Any, items: AsyncIterator[Any]) -> AsyncIterator[str]:
    """Yield one line for each message; *first* may be None. A failure cuts the response short."""
    if first is not None:
        yield await to_json(first) + "\n"
    async for item in items:
        yield await to_json(item) + "\n"
