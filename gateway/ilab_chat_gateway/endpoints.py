"""The endpoints of the contract's JSON: one function for each shape of a call, and the responses that are streamed."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, aclosing, suppress
from typing import TYPE_CHECKING, Any, cast

from starlette.responses import Response

from ilab_chat._memory_calls import item_of
from ilab_chat.errors import ChatError
from ilab_chat.v1.memory_pb2 import ExportUserResponse
from ilab_chat_gateway import problems
from ilab_chat_gateway.messages import from_json, from_query, json_line, to_json
from ilab_chat_gateway.problems import ClientGone, Problem, invalid_field
from ilab_chat_gateway.requests import (
    check_content_type,
    metadata,
    observation_id,
    request_id,
    unless_gone,
    user_id,
)
from ilab_chat_gateway.routes import Shape
from ilab_chat_gateway.values import MOST_VALUES, has_too_many_values

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from ilab_chat._memory_calls import Item
    from ilab_chat.aio import AsyncChatStream
    from ilab_chat.v1.chat_pb2 import StreamChatRequest, StreamChatResponse
    from ilab_chat_gateway.backend import Backend
    from ilab_chat_gateway.routes import Route

    Endpoint = Callable[[Request], Awaitable[Response]]
    #: Makes server-sent events of the first event of an answer and of the others.
    Events = Callable[[StreamChatResponse, AsyncChatStream], AsyncIterator[str]]

JSON = "application/json"
LINES = "application/x-ndjson"
EVENT_STREAM = "text/event-stream"

#: A proxy must neither collect nor store the events. https://nginx.org/en/docs/http/ngx_http_proxy_module.html
STREAM_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}

#: Deltas make up nearly all events, and `json_format` takes longer for one than everything else.
DELTAS = {"text_delta", "reasoning_delta"}


def endpoint(route: Route, most_line_bytes: int) -> Endpoint:
    """Return the endpoint of *route*."""

    async def answer_json(request: Request) -> Response:
        message = await request_message(route, request)
        call = backend_of(request).ask(route, message, metadata(request))
        return Response(await to_json(await unless_gone(request.receive, call)), media_type=JSON)

    async def answer_events(request: Request) -> Response:
        message = cast("StreamChatRequest", await request_message(route, request))
        return await stream_chat(request, message, chat_events)

    async def answer_lines(request: Request) -> Response:
        message = await request_message(route, request)
        async with AsyncExitStack() as stack:
            items = backend_of(request).download(route, message, metadata(request))
            await stack.enter_async_context(aclosing(cast("Any", items)))
            first = await unless_gone(request.receive, anext(items, None))
            return Stream(lines(first, items), LINES, stack.pop_all())

    async def take_lines(request: Request) -> Response:
        check_content_type(request, LINES, JSON)
        items = uploaded(request, most_line_bytes)
        response = await backend_of(request).upload(user_id(request), items, metadata(request))
        return Response(await to_json(response), media_type=JSON)

    by_shape: dict[Shape, Endpoint] = {
        Shape.JSON: answer_json,
        Shape.EVENTS: answer_events,
        Shape.DOWNLOAD: answer_lines,
        Shape.UPLOAD: take_lines,
    }
    return by_shape[route.shape]


def backend_of(request: Request) -> Backend:
    """Return the server of the app."""
    backend: Backend = request.app.state.backend
    return backend


async def request_message(route: Route, request: Request) -> Any:
    """Return the request of a call, from the body or the query, the path and the headers.

    Raises:
        Problem: it does not parse, or the path and the body differ.
    """
    message: Any
    if route.has_body:
        check_content_type(request, JSON)
        message = await from_json(route.request, await request.body())
    else:
        await request.body()
        message = from_query(route.request, request.query_params.multi_items())
    if "user_id" in request.path_params:
        set_from_path(message, "user_id", user_id(request))
    if "observation_id" in request.path_params:
        set_from_path(message, "observation_id", observation_id(request))
    if route.has_request_id:
        message.request_id = request_id(request, message.request_id)
    return message


def set_from_path(message: Any, field: str, value: str | int) -> None:
    """Set a field of which the path has the value.

    Raises:
        Problem: the body has another one.
    """
    if getattr(message, field) not in {value, type(value)()}:
        raise invalid_field(field, "differs from the path")
    setattr(message, field, value)


async def stream_chat(request: Request, message: StreamChatRequest, events: Events) -> Response:
    """Answer with the *events* of a streamed answer. A failure before the first one has an HTTP status of its own."""
    async with AsyncExitStack() as stack:
        stream = await stack.enter_async_context(backend_of(request).stream_chat(message, metadata(request)))
        first = await unless_gone(request.receive, anext(stream))
        return Stream(events(first, stream), EVENT_STREAM, stack.pop_all())


async def uploaded(request: Request, most: int) -> AsyncIterator[Item]:
    """Yield the items of an import, one for each line of the body.

    Raises:
        Problem: a line is too long or does not parse.
    """
    number = 0
    async for line in body_lines(request, most):
        number += 1
        if has_too_many_values(line):
            raise Problem("TOO_MANY_VALUES", f"line {number}: it has more than {MOST_VALUES:,} JSON values")
        try:
            item = item_of(await from_json(ExportUserResponse, line))
        except Problem as problem:
            problem.detail = f"line {number}: {problem.detail}"
            raise
        if item is None:
            raise invalid_field(f"line {number}", "must be an object with session or observation")
        yield item


async def body_lines(request: Request, most: int) -> AsyncIterator[bytes]:
    """Yield the lines of the body that are not blank, without their ends.

    Raises:
        Problem: a line has more than *most* bytes.
    """
    # Not joined with each chunk: a client may send a long line in chunks of one byte.
    rest = bytearray()
    async for chunk in request.stream():
        first, *others = chunk.split(b"\n")
        rest += first
        for other in others:
            if rest.strip():
                yield bytes(rest)
            rest = bytearray(other)
        if len(rest) > most:
            raise Problem("BODY_TOO_LARGE", f"a line of the import exceeds {most} bytes")
    if rest.strip():
        yield bytes(rest)


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
