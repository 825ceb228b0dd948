"""The parts of a request that every route reads: the body, the headers that are passed on, and the user in the path."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote_to_bytes

from ilab_chat_gateway.problems import ClientGone, Problem, invalid_field

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.requests import Request
    from starlette.types import Receive

T = TypeVar("T")

#: Headers that reach the server as they are.
PASSED_ON = ("authorization", "traceparent", "tracestate")

#: Bytes of those headers. The server takes 16 KiB of metadata, which includes gRPC's own fields.
MAX_PASSED_ON_BYTES = 14 * 1024

MAX_REQUEST_ID = 64


def metadata(request: Request) -> tuple[tuple[str, str], ...]:
    """Return the gRPC metadata of the call.

    Raises:
        Problem: a header has characters that metadata cannot contain, or they are too long.
    """
    pairs = [(name, value) for name in PASSED_ON for value in request.headers.getlist(name)]
    for name, value in pairs:
        if not (value.isascii() and value.isprintable()):
            raise invalid_field(name, "the header must consist of visible ASCII characters and spaces")
    if sum(len(name) + len(value) for name, value in pairs) > MAX_PASSED_ON_BYTES:
        longest = max(pairs, key=lambda pair: len(pair[1]))[0]
        raise invalid_field(longest, f"{' and '.join(PASSED_ON)} must have at most {MAX_PASSED_ON_BYTES:,} bytes")
    return tuple(pairs)


def request_id(request: Request, in_body: str = "") -> str:
    """Return the request id of Idempotency-Key, Last-Event-ID or the body. Empty: the request has no id.

    Raises:
        Problem: they differ, or the id has more than 64 characters or others than visible ASCII.
    """
    given = [("request_id", in_body)] + [
        (name, value) for name in ("idempotency-key", "last-event-id") for value in request.headers.getlist(name)
    ]
    named = {value: name for name, value in given if value}
    if len(named) > 1:
        raise invalid_field("request_id", "Idempotency-Key, Last-Event-ID and request_id must be equal")
    for value, name in named.items():
        if len(value) > MAX_REQUEST_ID or not all("!" <= character <= "~" for character in value):
            raise invalid_field(name, f"must be at most {MAX_REQUEST_ID} visible ASCII characters")
        return value
    return ""


def user_id(request: Request) -> str:
    """Return the user in the path.

    Raises:
        Problem: the path segment is not UTF-8.
    """
    # The path reaches the router with its percent-encoding (see `middleware.KeepEncodedUser`), so that a user id may
    # contain a slash.
    try:
        return unquote_to_bytes(request.path_params["user_id"]).decode()
    except UnicodeDecodeError:
        raise invalid_field("user_id", "must be UTF-8, percent-encoded") from None


def observation_id(request: Request) -> int:
    """Return the observation in the path.

    Raises:
        Problem: it is not a 64-bit integer.
    """
    text = request.path_params["observation_id"]
    if not (text.isascii() and text.isdigit() and int(text[:20]) < 2**63 and len(text) < 20):  # noqa: PLR2004
        raise invalid_field("observation_id", "must be a positive integer")
    return int(text)


def check_content_type(request: Request, *allowed: str) -> None:
    """Refuse a body of another type. A page of another origin can send those without asking first.

    Raises:
        Problem: the Content-Type is not one of *allowed*.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in allowed:
        raise Problem("UNSUPPORTED_MEDIA_TYPE", f"the Content-Type must be {' or '.join(allowed)}")


async def unless_gone(receive: Receive, call: Awaitable[T]) -> T:
    """Return the result of *call*, or cancel it when the client closes its connection. The body must have been read.

    Raises:
        ClientGone: the client has closed its connection.
    """
    answering = asyncio.ensure_future(call)
    leaving = asyncio.ensure_future(disconnected(receive))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ClientGone
        return answering.result()
    finally:
        answering.cancel()
        leaving.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)


async def disconnected(receive: Receive) -> None:
    """Return when the client has closed its connection."""
    message: Any = {}
    while message.get("type") != "http.disconnect":
        message = await receive()
