"""The layers between the connection and the router: hosts, sizes, user ids in paths, and headers of responses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from ilab_chat_gateway import problems

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

USERS = b"/v1/users/"
IMPORT = re.compile(rb"/v1/users/[^/]+/import")

#: Probes name the address of a container. Their answers say nothing that a page may not know.
PROBES = {"/livez", "/readyz"}

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
        raw: bytes = scope.get("raw_path") or b""
        if raw.startswith(USERS) and raw.isascii():
            scope = {**scope, "path": raw.decode("ascii")}
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
        return host_of(Headers(scope=scope).get("host", "")) in self._hosts


def host_of(header: str) -> str:
    """Return the host of a Host header in lower case, without its port. An IPv6 address keeps its brackets."""
    host, colon, port = header.rpartition(":")
    return (host if colon and port.isdigit() else header).lower()


class LimitedBodies:
    """Refuses bodies that are too large, by their declared length or as soon as the limit is exceeded.

    Imports are streamed: their lines are limited instead.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or IMPORT.fullmatch(scope.get("raw_path") or b""):
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdigit() or int(declared[:20]) > self._most:
            details = problems.problem(413, "BODY_TOO_LARGE", f"the body exceeds {self._most} bytes")
            await problems.response(details, {"connection": "close"})(scope, receive, send)
            return
        left = self._most

        async def limited() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, headers={"connection": "close"})
            return message

        await self._app(scope, limited, send)


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
