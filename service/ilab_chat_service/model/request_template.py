"""Send a request that the openai package has built once more, with another body.

The package and httpx build each request from its parts, which costs more CPU than sending it. Only the body differs
between the requests of one profile with one key, so the package builds the first one, and aiohttp sends the others.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
import httpx2
import openai

from ilab_chat_service.model.http_transport import SENDER, body_read_by, whole_error

if TYPE_CHECKING:
    from ilab_chat_service.model.http_transport import Body, Transport

#: Headers that describe one body, or one call. All others are sent again.
OF_ONE_REQUEST = frozenset({"content-length", "transfer-encoding", "traceparent"})


def request_template(response: httpx2.Response) -> RequestTemplate | None:
    """Return the request that *response* answers. None: the package's own HTTP client sent it."""
    sender: Transport | None = response.extensions.get(SENDER)
    return RequestTemplate(sender, response.request) if sender else None


class RequestTemplate:
    """The URL, headers and timeouts of a request, without its body."""

    def __init__(self, sender: Transport, request: httpx2.Request) -> None:
        self._sender = sender
        self._url = str(request.url)
        self._headers = {name: value for name, value in request.headers.items() if name not in OF_ONE_REQUEST}
        timeout = request.extensions["timeout"]
        # As the package's transport: for aiohttp, `pool` covers connecting, including name resolution.
        self._timeout = aiohttp.ClientTimeout(
            sock_connect=timeout["connect"], sock_read=timeout["read"], connect=timeout["pool"]
        )

    async def send(self, content: bytes, traceparent: str) -> Body:
        """Send the request with *content*, and return the unread body of its response.

        *traceparent*: the header that continues the call's trace. Empty: none.

        Raises:
            APIStatusError: the API answered with an error, as the package raises it.
            ClientError, TimeoutError: the connection failed.
        """
        headers = {**self._headers, "traceparent": traceparent} if traceparent else self._headers
        read = await self._sender.post(self._url, headers, content, self._timeout)
        if HTTPStatus(200) <= read.status < HTTPStatus(300):
            return body_read_by(read)
        response = await whole_error(httpx2.Response(read.status, headers=read.raw_headers), read)
        response.request = httpx2.Request("POST", self._url)
        raise openai.APIStatusError(f"HTTP {read.status}", response=response, body=error_in(response.text.strip()))


def error_in(text: str) -> object:
    """Return the body of an error as the package does: its `error`, the whole JSON, or else the text."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return body.get("error", body) if isinstance(body, dict) else body
