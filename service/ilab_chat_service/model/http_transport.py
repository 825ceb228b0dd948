"""The HTTP client that the openai package uses: aiohttp, without cookies and redirects, with bounded memory.

It uses private names of the package: the two hooks that create its aiohttp transport, and the transport's attributes.
Checked with openai 3.57. With another minor version, or if a hook is missing, the service uses the package's public
client and logs a warning. To move to a new version: run tests/service/model with it, then change CHECKED.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass
from functools import lru_cache, partial
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx2
import openai

from ilab_chat_service.model.content_encoding import Decoder, beginning

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from typing import TypeAlias

    Receive: TypeAlias = Callable[[], Awaitable[bytes]]

log = logging.getLogger(__name__)

#: The minor version of openai that this module was checked with, and the hooks of its client that are replaced here.
CHECKED = "3.57"
USED = ("_init_transport", "_init_proxy_transport")

#: Variables that name trusted authorities instead of those of the system: a file, and a folder.
AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")

#: Extensions of an httpx response that contain aiohttp's response, and the transport that sent the request.
AIOHTTP = "aiohttp"
SENDER = "sender"

#: Maximum size of the head of a response, and of one field. Gateways add long ones: policies, cookies, traces.
HEADER_BYTES = 64 * 1024

#: Size of a response's read buffer. aiohttp stops reading, and parsing, at twice this size, or at one HTTP chunk for
#: each 16 bytes of it. With its default of 256 KiB, parsing tiny chunks holds the event loop, and 256 streams can fill
#: 128 MiB.
READ_BUFFER_BYTES = 16 * 1024

#: Maximum number of bytes of an error's body that are read, and of its decoded body.
ERROR_BYTES = 64 * 1024

#: Timeout for reading an error's body.
ERROR_SECONDS = 5.0

#: Maximum number of interim responses (100 Continue, 103 Early Hints) before a response. aiohttp has no limit.
MAX_INTERIM = 16


def http_client(*, limits: httpx2.Limits, trust_env: bool) -> httpx2.AsyncClient:
    """Return a client for the model's APIs. It stores no state between calls, and sends prompts only to their hosts.

    Args:
        limits: the maximum number of connections.
        trust_env: whether to use the proxy that the environment names.
    """
    options: dict[str, Any] = {
        "limits": limits,
        "trust_env": trust_env,
        # A redirect would send the prompt to a host that is not configured.
        "follow_redirects": False,
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=())),
        # Compression saves little for small events, and a small compressed body can expand to a huge one.
        "headers": {"accept-encoding": "identity"},
    }
    known = openai.__version__.startswith(f"{CHECKED}.")
    if known and all(hasattr(openai.DefaultAioHttpClient, name) for name in USED):
        trusted = trusted_authorities(*(os.environ.get(name) if trust_env else None for name in AUTHORITIES))
        return ModelHttpClient(verify=trusted, **options)
    log.warning(
        "using the openai package's own HTTP client: openai %s is not supported. Calls cost more CPU, and error bodies"
        " are not limited: install openai %s.x",
        openai.__version__,
        CHECKED,
    )
    return openai.DefaultAsyncHttpxClient(**options)


@lru_cache(maxsize=1)
def trusted_authorities(file: str | None, folder: str | None) -> ssl.SSLContext:
    """Return a context that trusts the authorities in *file* or *folder*. None: those of the system.

    Kept, because to read them takes longer than the rest of a start, and the client reads them again for each proxy.
    """
    return httpx2.create_ssl_context(trust_env=bool(file or folder))


class ModelHttpClient(openai.DefaultAioHttpClient):
    """The package's client, with our transport in its two hooks for using aiohttp."""

    def _init_transport(self, *args: Any, **options: Any) -> httpx2.AsyncBaseTransport:
        return Transport(super()._init_transport(*args, **options))

    def _init_proxy_transport(self, *args: Any, **options: Any) -> httpx2.AsyncBaseTransport:
        return Transport(super()._init_proxy_transport(*args, **options))


class Transport(httpx2.AsyncBaseTransport):
    """The package's transport, with aiohttp's response as an extension of each response."""

    def __init__(self, transport: Any) -> None:
        # Called at the first request. By default the package's transport creates a session with a cookie jar.
        transport.client = partial(session, transport.ssl_context, transport.limits)
        self._transport = transport

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send *request* and return the response: an error with its body, any other with an unread body."""
        response: httpx2.Response = await self._transport.handle_async_request(request)
        # The package has no public access to it.
        read: aiohttp.ClientResponse = vars(response.stream)["_aiohttp_response"]
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            return await whole_error(response, read)
        response.extensions[AIOHTTP] = read
        response.extensions[SENDER] = self
        return response

    async def post(
        self, url: str, headers: Mapping[str, str], content: bytes, limits: aiohttp.ClientTimeout
    ) -> Response:
        """Send a request as the package's transport does, after a first one by `handle_async_request`."""
        proxy: httpx2.Proxy | None = self._transport.proxy
        response: Response = await self._transport.client.request(
            "POST",
            url,
            headers=headers,
            data=content,
            allow_redirects=False,
            auto_decompress=False,
            timeout=limits,
            proxy=str(proxy.url) if proxy else None,
            proxy_auth=aiohttp.BasicAuth(*proxy.auth) if proxy and proxy.auth else None,
            proxy_headers=proxy.headers if proxy else None,
        )
        return response

    async def aclose(self) -> None:
        """Close the transport."""
        await self._transport.aclose()


async def whole_error(response: httpx2.Response, read: aiohttp.ClientResponse) -> httpx2.Response:
    """Return an error response with the first ERROR_BYTES of its body, so that no body can fill memory.

    A truncated body, or one that does not end in time, is enough: the beginning contains the error.
    """
    received = bytearray()
    try:
        async with asyncio.timeout(ERROR_SECONDS):
            while len(received) < ERROR_BYTES and (more := await read.content.readany()):
                received += more
    except (aiohttp.ClientError, TimeoutError):
        pass
    finally:
        # Reuse the connection if the body has ended, else close it.
        if read.content.at_eof():
            read.release()
        else:
            read.close()
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in BODY_HEADERS]
    content = bytes(received[:ERROR_BYTES])
    if encoding := encoding_in(response.headers):
        content = beginning(content, encoding, ERROR_BYTES)
    return httpx2.Response(response.status_code, headers=headers, content=content)


#: Headers that describe the original body, not the one that is passed on.
BODY_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})


def encoding_in(headers: Mapping[str, str]) -> str:
    """Return the encoding of a body with *headers*, whose names have any case. Empty: it is not encoded."""
    encoding = headers.get("content-encoding", "").strip().lower()
    return "" if encoding == "identity" else encoding


class TooManyInterimResponses(aiohttp.ClientError):
    """More than MAX_INTERIM interim responses arrived before the response."""


class HeadersTooLarge(aiohttp.ClientError):
    """The head of a response is larger than HEADER_BYTES."""


@dataclass(slots=True)
class Parsing:
    """CPU time of parsing the HTTP of a response."""

    seconds: float = 0.0
    """CPU time of the event loop."""


class Response(aiohttp.ClientResponse):
    """A response with limits on the size of its head and on interim responses before it."""

    parsing: Parsing

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """Wait for the head of the response.

        Raises:
            TooManyInterimResponses: only interim responses arrived.
            HeadersTooLarge: the head does not end within HEADER_BYTES.
        """
        protocol = connection.protocol
        read, received = protocol.read, partial(type(protocol).data_received, protocol)
        heads = size = 0
        in_head = True
        parsing = self.parsing = Parsing()

        def received_bounded(data: bytes) -> None:
            nonlocal size
            # The first bytes of the body may arrive with the head, so count only what arrived before. aiohttp limits
            # the size and the number of fields, but not the size of all.
            if in_head and size > HEADER_BYTES and not protocol._buffer:  # noqa: SLF001 - complete heads
                protocol.set_exception(HeadersTooLarge())
                protocol.transport.abort()
                return
            size += len(data)
            began = time.thread_time()
            received(data)
            parsing.seconds += time.thread_time() - began

        async def read_bounded() -> Any:
            nonlocal heads
            heads += 1
            if heads > MAX_INTERIM + 1:
                raise TooManyInterimResponses
            return await read()

        # aiohttp reads heads in a loop without any other hook. The next response on the connection replaces the others.
        protocol.read, protocol.data_received = read_bounded, received_bounded
        protocol.resume_reading = partial(resume_if_paused, protocol)
        try:
            started = await super().start(connection)
        finally:
            in_head = False
            del protocol.read
        if sum(len(name) + len(value) for name, value in self.raw_headers) > HEADER_BYTES:
            raise HeadersTooLarge
        return started


def resume_if_paused(protocol: Any, **options: bool) -> None:
    """Resume reading only if it is paused. aiohttp resumes, and parses nothing, at each HTTP chunk that is read.

    *options* are those of aiohttp's own method.
    """
    if protocol._reading_paused:  # noqa: SLF001 - no public name
        type(protocol).resume_reading(protocol, **options)


def session(ssl_context: ssl.SSLContext, limits: httpx2.Limits) -> aiohttp.ClientSession:
    """Return a session like that of the package's transport, without cookies."""
    connector = aiohttp.TCPConnector(
        keepalive_timeout=limits.keepalive_expiry, ssl=ssl_context, limit=limits.max_connections or 0
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=HEADER_BYTES,
        max_field_size=HEADER_BYTES,
        read_bufsize=READ_BUFFER_BYTES,
        response_class=Response,
    )


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a response. `receive` waits for bytes and returns all that have arrived. Empty: the end."""

    receive: Receive
    aclose: Callable[[], Awaitable[None]]
    parsing: Parsing


def body_of(response: httpx2.Response) -> Body:
    """Return the unread body of a response.

    It reads from aiohttp directly: httpx would add five generators, and keeps the request in memory.
    """
    read: Response | None = response.extensions.get(AIOHTTP)
    if read is not None:
        return body_read_by(read)
    receive = decoded(partial(next_of, response.aiter_raw()), response.headers)
    return Body(receive, response.aclose, Parsing())


def body_read_by(read: Response) -> Body:
    """Return the unread body of aiohttp's response *read*."""
    return Body(decoded(read.content.readany, read.headers), partial(read.__aexit__, None, None, None), read.parsing)


def decoded(receive: Receive, headers: Mapping[str, str]) -> Receive:
    """Return *receive*, or a function that also decodes what it returns if the body is encoded."""
    encoding = encoding_in(headers)
    return Decoder(receive, encoding).receive if encoding else receive


async def next_of(pieces: AsyncIterator[bytes]) -> bytes:
    """Return the next piece that is not empty. Empty: the end."""
    async for piece in pieces:
        if piece:
            return piece
    return b""
