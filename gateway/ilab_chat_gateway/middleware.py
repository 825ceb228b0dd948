"""The layers between the connection and the router: hosts, sizes, user ids in paths, defects, headers of responses."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from ilab_chat_gateway import problems
from ilab_chat_gateway.values import MOST_VALUES, has_too_many_values, marks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

USERS = "/v1/users/"
IMPORT = re.compile(rb"/v1/users/[^/]+/import")

#: Probes name the address of a container. Their answers say nothing that a page may not know.
PROBES = {"/livez", "/readyz"}

#: Bytes of all bodies that have not arrived completely. Complete ones are sent on or refused at once.
INCOMPLETE_BYTES = 64 * 1024 * 1024
#: Seconds that the next part of a body may take.
PART_SECONDS = 30.0

#: Of every response. The playground adds its Content-Security-Policy.
RESPONSE_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class KeepEncodedUser:
    """Routes paths of users by their percent-encoded form, so that a user id may contain a slash."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        # By the decoded path: `/v1/%75sers/a%2541` must not be decoded twice. It has no route.
        if scope["type"] == "http" and scope["path"].startswith(USERS):
            scope = {**scope, "path": scope["raw_path"].decode("ascii")}
        await self._app(scope, receive, send)


class AllowedHosts:
    """Refuses requests that name another host: a page of any origin could point its own name at this address."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["path"] not in PROBES and not self._is_allowed(scope):
            details = problems.problem(400, "HOST_NOT_ALLOWED", "the Host header names a host that is not allowed")
            await problems.response(details)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        # With several, a proxy in front could have read another one than this.
        named = Headers(scope=scope).getlist("host")
        return len(named) == 1 and host_of(named[0]) in self._hosts


def host_of(header: str) -> str:
    """Return the host of a Host header in lower case, without its port. An IPv6 address keeps its brackets."""
    host, colon, port = header.rpartition(":")
    return (host if colon and port.isdigit() else header).lower()


class LimitedBodies:
    """Refuses bodies that are too large, by their declared length or as soon as the limit is exceeded.

    Refuses complete ones of too many JSON values. Imports are streamed: their lines are limited instead. There is room
    for INCOMPLETE_BYTES of bodies that have not arrived completely. Beyond that, the one that has waited longest
    for its next part is refused: clients that send nothing more must not keep out others.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._room = max(INCOMPLETE_BYTES, 2 * most)
        # With their sizes, in the order of their last parts.
        self._incomplete: dict[Incomplete, int] = {}
        self._incomplete_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_import = IMPORT.fullmatch(scope.get("raw_path") or b"") is not None
        declared = Headers(scope=scope).get("content-length", "0")
        if not is_import and (not declared.isdigit() or int(declared[:20]) > self._most):
            details = problems.problem(413, "BODY_TOO_LARGE", f"the body exceeds {self._most} bytes")
            await problems.response(details, {"connection": "close"})(scope, receive, send)
            return
        body = Incomplete(is_import=is_import)

        async def limited() -> Message:
            if body.is_complete:
                # The next message is the end of the connection.
                return await receive()
            message = await body.received(receive)
            self._remove(body)
            if not is_import and body.size > self._most:
                raise HTTPException(413, headers={"connection": "close"})
            if body.has_too_many_values():
                raise problems.TooManyValues
            if not body.is_complete:
                self._incomplete[body] = body.size
                self._incomplete_bytes += body.size
                self._make_room()
            return message

        try:
            await self._app(scope, limited, send)
        finally:
            self._remove(body)

    def _remove(self, body: Incomplete) -> None:
        self._incomplete_bytes -= self._incomplete.pop(body, 0)

    def _make_room(self) -> None:
        # Not a sum of all sizes: thousands of clients may send a byte at a time.
        while self._incomplete_bytes > self._room:
            first = next(iter(self._incomplete))
            self._remove(first)
            first.refuse()


class Incomplete:
    """A body that is being received. Of an import, only the line that has not ended is in memory."""

    def __init__(self, *, is_import: bool) -> None:
        self.size = 0
        self.is_complete = False
        self._is_import = is_import
        self._parts: list[bytes] = []
        self._marks = 0
        self._refused = asyncio.Event()

    async def received(self, receive: Receive) -> Message:
        """Return the next part of the body.

        Raises:
            HTTPException: it did not come in time, or the body was refused in favor of others.
        """
        receiving, refused = asyncio.ensure_future(receive()), asyncio.ensure_future(self._refused.wait())
        try:
            await asyncio.wait([receiving, refused], timeout=PART_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if refused.done() or not receiving.done():
                raise HTTPException(408, headers={"connection": "close"})
            message = receiving.result()
        finally:
            receiving.cancel()
            refused.cancel()
        part = message.get("body", b"")
        ended = self._is_import and b"\n" in part
        self.size = len(part) - part.rindex(b"\n") - 1 if ended else self.size + len(part)
        self.is_complete = not message.get("more_body")
        if not self._is_import:
            self._parts.append(part)
            self._marks += marks(part)
        return message

    def has_too_many_values(self) -> bool:
        """Tell whether the body is complete and has too many JSON values."""
        if not self.is_complete:
            return False
        parts, self._parts = self._parts, []
        return self._marks > MOST_VALUES and has_too_many_values(b"".join(parts))

    def refuse(self) -> None:
        """End the wait for the next part, which then fails."""
        self._refused.set()


class Defects:
    """Answers exceptions that nothing expects with a problem, and logs each once.

    Starlette's own layer for them is outside of all others: its response lacks their headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        is_started = False

        async def noted(message: Message) -> None:
            nonlocal is_started
            is_started = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            if is_started or scope["type"] != "http":
                # uvicorn logs it, and cuts the connection.
                raise
            await problems.response(problems.of_exception(error))(scope, receive, send)


class ResponseHeaders:
    """Adds headers to each response that does not have them."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)
