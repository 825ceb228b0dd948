"""The interceptor of our own methods: runs each call inside layers, and parses its requests.

A layer is one concern of every call, such as its log line. The other modules of this package have the layers.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from ilab_chat_service.limits import HEADER_BYTES, HEADER_FIELD_BYTES, REQUEST_FIELDS
from ilab_chat_service.rpc.errors import (
    EMPTY_MESSAGE,
    DeadlineExceeded,
    InvalidFields,
    UnparsableRequest,
    WrongRequestCount,
)
from ilab_chat_service.telemetry.call_record import CALL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable

    Headers: TypeAlias = tuple[tuple[str, str | bytes], ...]
    Requests: TypeAlias = AsyncIterator[bytes]
    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
    Continue: TypeAlias = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]
    Method: TypeAlias = Callable[[Requests, Context], Awaitable[Any]]
    #: Awaits the method, which may be in further layers, with the two arguments behind it.
    Layer: TypeAlias = Callable[["CallDetails", Method, Requests, Context], Awaitable[Any]]

OUR_METHODS = "/ilab_chat.v1."

#: Time for a call's request to arrive completely.
REQUEST_SECONDS = 30.0

#: Types of fields on the wire. https://protobuf.dev/programming-guides/encoding
VARINT, EIGHT_BYTES, WITH_LENGTH, FOUR_BYTES = 0, 1, 2, 5
FIXED = {EIGHT_BYTES: 8, FOUR_BYTES: 4}


@dataclass(frozen=True, slots=True)
class CallDetails:
    """The method of a call, its headers, and their size. Headers that are too large are left out."""

    method: str
    headers: Headers
    header_bytes: int


def bounded(details: grpc.HandlerCallDetails) -> CallDetails:
    """Return *details* with headers of at most HEADER_BYTES, or none.

    gRPC enforces that limit only for clients that have acknowledged it. The others can send 16 MiB of headers in 16 KB,
    by references. So they are converted to Python once, by gRPC before the first interceptor, and are freed before the
    call begins. Each use of `context.invocation_metadata()` would convert them again.
    """
    headers = details.invocation_metadata or ()
    size = header_bytes(headers)
    return CallDetails(details.method, tuple(headers) if size <= HEADER_BYTES else (), size)


def header_bytes(headers: Iterable[tuple[str, str | bytes]]) -> int:
    """Return the size of *headers* (RFC 9113, 6.5.2)."""
    return sum(len(name) + len(value) + HEADER_FIELD_BYTES for name, value in headers)


def is_ours(details: grpc.HandlerCallDetails) -> bool:
    """Return whether the method is one of our own, not of health or reflection."""
    return details.method.startswith(OUR_METHODS)


class LayeredMethods(grpc.aio.ServerInterceptor):
    """Runs the calls of our methods inside *layers*, the outermost first.

    For methods whose handlers are coroutines: ours write responses instead of yielding them.

    gRPC gets handlers that take a stream of bytes, and the innermost call parses them. So a missing request, a second
    request of a unary method, and a request that cannot be parsed fail like other invalid input. gRPC itself never
    answers a call without a request, and answers an unparsable one with UNKNOWN and the parser's text.
    """

    def __init__(self, *layers: Layer) -> None:
        self._layers = layers

    async def intercept_service(
        self, continuation: Continue, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Wrap the handler if the method is one of ours."""
        handler = await continuation(handler_call_details)
        if not handler or not is_ours(handler_call_details):
            return handler
        details = bounded(handler_call_details)
        method = reading_many(handler) if handler.request_streaming else reading_one(handler)
        for layer in reversed(self._layers):
            method = partial(layer, details, method)
        streams = handler.response_streaming
        make = grpc.stream_stream_rpc_method_handler if streams else grpc.stream_unary_rpc_method_handler
        return make(method, None, handler.response_serializer)


def reading_one(handler: Handler) -> Method:
    """Return the method of *handler*, which takes one message, as a method that takes a stream of bytes."""
    method: Any = handler.unary_stream or handler.unary_unary
    parse: Any = handler.request_deserializer

    async def call(requests: Requests, context: Context) -> Any:
        request = await the_one(requests)
        parsed, is_empty = parsed_by(parse, request), not request
        # Every request of ours has a user_id.
        CALL.get().user_id = parsed.user_id
        answering = method(parsed, context)
        # Free the request while the method runs; the method keeps what it needs.
        del parsed, request
        try:
            return await answering
        except InvalidFields as error:
            if is_empty:
                raise InvalidFields(error.violations, cause=EMPTY_MESSAGE) from None
            raise

    return call


def reading_many(handler: Handler) -> Method:
    """Return the method of *handler*, which takes a stream of messages, as a method that takes a stream of bytes."""
    method: Any = handler.stream_unary or handler.stream_stream
    parse: Any = handler.request_deserializer

    async def messages(requests: Requests) -> AsyncGenerator[Any, None]:
        is_first = True
        async for request in requests:
            parsed = parsed_by(parse, request)
            if is_first:
                # The first message of each of our streams has a user_id.
                CALL.get().user_id = parsed.user_id
                is_first = False
            yield parsed

    async def call(requests: Requests, context: Context) -> Any:
        async with aclosing(messages(requests)) as parsed:
            return await method(parsed, context)

    return call


def parsed_by(parse: Any, request: bytes) -> Any:
    """Parse *request*.

    Raises:
        UnparsableRequest: *request* cannot be parsed, or has more than REQUEST_FIELDS fields.
    """
    if has_more_fields(request, REQUEST_FIELDS):
        raise UnparsableRequest(f"the request must have at most {REQUEST_FIELDS:,} fields and items of lists")
    try:
        return parse(request)
    except DecodeError:
        raise UnparsableRequest("the request cannot be parsed as a message of this method") from None


async def the_one(requests: Requests) -> bytes:
    """Return the only request of a call, after the caller has closed its side.

    Raises:
        WrongRequestCount: the call has no request, or a second one.
        DeadlineExceeded: the request did not arrive completely in time.
    """
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            request = await anext(requests, None)
            another = request is not None and await anext(requests, None) is not None
    except TimeoutError:
        raise DeadlineExceeded(f"the request did not arrive completely within {REQUEST_SECONDS:g} s") from None
    if request is None or another:
        raise WrongRequestCount(f"the method takes exactly one message; the call has {'more' if another else 'none'}")
    return request


def has_more_fields(message: bytes, most: int) -> bool:
    """Return whether *message* has more than *most* fields, each item of a list counted, those of fields not.

    False for a message that cannot be parsed. Counted before parsing: an item of a list can be 2 bytes in *message*,
    and 80 in memory.
    """
    at, fields = 0, 0
    try:
        while at < len(message):
            fields += 1
            if fields > most:
                return True
            tag, at = varint(message, at)
            kind = tag & 7
            if kind == WITH_LENGTH:
                size, at = varint(message, at)
                at += size
            elif kind == VARINT:
                _, at = varint(message, at)
            else:
                at += FIXED[kind]
    except (IndexError, KeyError):
        return False
    return False


def varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at *at*, and where it ends."""
    number = shift = 0
    while True:
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        # A longer one cannot be parsed, and would take time.
        if byte < 0x80 or shift > 63:  # noqa: PLR2004
            return number, at
        shift += 7
