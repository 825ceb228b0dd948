"""The HTTP client that the openai package asks the model's API with: aiohttp, without cookies and redirections.

It uses private names of the package: the two hooks that create its aiohttp transport, and the transport's attributes.
Checked with openai 3.57. With another minor version, or if a hook is missing, the service uses the package's public
client and logs a warning. To move to a new version: run tests/service/model with it, then change CHECKED.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import lru_cache, partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx2
import openai

from ilab_chat_service.model.content_encoding import Decoder, beginning

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

log = logging.getLogger(__name__)

#: The minor version of openai that this module was checked with, and the hooks of its client that are replaced here.
CHECKED = "3.57"
USED = ("_init_transport", "_init_proxy_transport")

#: The extension of a response that is aiohttp's own.
AIOHTTP = "aiohttp"

#: Most bytes of a header field of a response, name and value. Gateways add long ones: policies, cookies, traces.
HEADER_BYTES = 64 * 1024

#: Bytes of an error's body that are read, and that its decompression may give.
ERROR_BYTES = 64 * 1024

#: Longest time that an error's body is waited for, in seconds.
ERROR_SECONDS = 5.0

#: Maximum number of interim responses (100 Continue, 103 Early Hints) before a response. aiohttp has no limit.
MOST_INTERIM = 16

HTTP_BAD_REQUEST = 400

parsed = lru_cache(maxsize=8)(httpx2.URL)


def http_client(*, limits: httpx2.Limits, trust_env: bool) -> httpx2.AsyncClient:
    """Return a client for the model's APIs.

    Args:
        limits: the maximum number of connections.
        trust_env: whether to use the proxy that the environment names.
    """
    known = openai.__version__.startswith(f"{CHECKED}.")
    if known and all(hasattr(openai.DefaultAioHttpClient, name) for name in USED):
        return ModelHttpClient(limits=limits, trust_env=trust_env)
    log.warning(
        "using the openai package's own HTTP client: openai %s is not supported. Calls cost more CPU, and error bodies"
        " are not limited: install openai %s.x",
        openai.__version__,
        CHECKED,
    )
    return openai.DefaultAsyncHttpxClient(limits=limits, trust_env=trust_env, **private_options())


def private_options() -> dict[str, Any]:
    """Return the options of a client that keeps no cookies and sends prompts only to the given hosts."""
    return {
        # A redirected prompt would go to a host that nobody named.
        "follow_redirects": False,
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=())),
        # Compressing a stream of small events saves little, and a compressed body can be far larger than it looks.
        "headers": {"accept-encoding": "identity"},
    }


class ModelHttpClient(openai.DefaultAioHttpClient):
    """Keeps nothing of one user's call for the next, and sends prompts only where the operator said."""

    def __init__(self, *, limits: httpx2.Limits, trust_env: bool) -> None:
        """Create a client. The arguments are those of `http_client`."""
        super().__init__(limits=limits, trust_env=trust_env, **private_options())
        self._own_headers = self.headers.multi_items()

    def build_request(
        self,
        method: str,
        url: httpx2.URL | str,
        *,
        headers: Any = None,
        content: Any = None,
        timeout: Any = None,
        **others: Any,
    ) -> httpx2.Request:
        """Return what httpx makes of the same, in half the time for a request as the openai package makes it.

        httpx parses the URL again, always the same one, and has a slow way to join the headers with its own.
        """
        if any(others.values()):
            return super().build_request(method, url, headers=headers, content=content, timeout=timeout, **others)
        given = {name.lower() for name, _ in headers}
        return httpx2.Request(
            method,
            parsed(str(url)),
            headers=[*(header for header in self._own_headers if header[0] not in given), *headers],
            content=content,
            extensions={"timeout": timeout.as_dict()},
        )

    # The two hooks by which the package brings aiohttp in. Its transport makes a session with a cookie jar of its own,
    # unless it is given one.
    def _init_transport(self, *args: Any, **options: Any) -> httpx2.AsyncBaseTransport:
        return Transport(with_sessions_without_cookies(super()._init_transport(*args, **options)))

    def _init_proxy_transport(self, *args: Any, **options: Any) -> httpx2.AsyncBaseTransport:
        return Transport(with_sessions_without_cookies(super()._init_proxy_transport(*args, **options)))


class Transport(httpx2.AsyncBaseTransport):
    """The package's transport, whose responses have aiohttp's own as an extension."""

    def __init__(self, transport: httpx2.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send *request*, and return the response: an error with its body, any other with nothing of it read."""
        response = await self._transport.handle_async_request(request)
        # The package does not offer it in public.
        read: aiohttp.ClientResponse = vars(response.stream)["_aiohttp_response"]
        if response.status_code >= HTTP_BAD_REQUEST:
            return await whole_error(response, read)
        response.extensions[AIOHTTP] = read
        return response

    async def aclose(self) -> None:
        """Close what it has opened."""
        await self._transport.aclose()


async def whole_error(response: httpx2.Response, read: aiohttp.ClientResponse) -> httpx2.Response:
    """Return an error with the beginning of its body, read to its end here, so that no body can fill memory.

    A body that does not end is as good as one that does: what matters is at its beginning.
    """
    received = bytearray()
    try:
        async with asyncio.timeout(ERROR_SECONDS):
            while len(received) < ERROR_BYTES and (more := await read.content.readany()):
                received += more
    except (aiohttp.ClientError, TimeoutError):
        pass
    finally:
        # At its end its connection is used again; before that, closed.
        if read.content.at_eof():
            read.release()
        else:
            read.close()
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in BODY_HEADERS]
    content = bytes(received[:ERROR_BYTES])
    if encoding := encoding_of(response):
        content = beginning(content, encoding, ERROR_BYTES)
    return httpx2.Response(response.status_code, headers=headers, content=content)


#: What describes a body as it came, which is not the one that is passed on.
BODY_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})


def encoding_of(response: httpx2.Response) -> str:
    """Return how a response's body is encoded. Empty: it is not."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    return "" if encoding == "identity" else encoding


class TooManyInterimResponses(aiohttp.ClientError):
    """There were more than MOST_INTERIM interim responses, and no response."""


class Response(aiohttp.ClientResponse):
    """A response that is not waited for behind endless interim ones."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """Wait for the head of the response.

        Raises:
            TooManyInterimResponses: it did not come.
        """
        protocol = connection.protocol
        read = protocol.read
        heads = 0

        async def read_bounded() -> Any:
            nonlocal heads
            heads += 1
            if heads > MOST_INTERIM + 1:
                raise TooManyInterimResponses
            return await read()

        # aiohttp reads heads in a loop that has no other hook.
        protocol.read = read_bounded
        try:
            return await super().start(connection)
        finally:
            del protocol.read


def with_sessions_without_cookies(transport: Any) -> httpx2.AsyncBaseTransport:
    """Return *transport*, which is to make its session, on its first call, without a cookie jar."""
    transport.client = partial(session, transport.ssl_context, transport.limits)
    made: httpx2.AsyncBaseTransport = transport
    return made


def session(ssl_context: ssl.SSLContext, limits: httpx2.Limits) -> aiohttp.ClientSession:
    """Return what the package's transport makes, without cookies."""
    connector = aiohttp.TCPConnector(
        keepalive_timeout=limits.keepalive_expiry, ssl=ssl_context, limit=limits.max_connections or 0
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=HEADER_BYTES,
        max_field_size=HEADER_BYTES,
        response_class=Response,
    )


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a response. `receive` waits for the next bytes and returns all that are there; at the end, none."""

    receive: Callable[[], Awaitable[bytes]]
    aclose: Callable[[], Awaitable[None]]


def body_of(response: httpx2.Response) -> Body:
    """Return the body of a response that nobody has read.

    It is read from aiohttp: httpx has five generators on the way, and keeps the request in memory.
    """
    read: aiohttp.ClientResponse | None = response.extensions.get(AIOHTTP)
    if read is None:
        receive: Callable[[], Awaitable[bytes]] = partial(next_of, response.aiter_raw())
        aclose: Callable[[], Awaitable[None]] = response.aclose
    else:
        receive, aclose = read.content.readany, partial(read.__aexit__, None, None, None)
    if encoding := encoding_of(response):
        receive = Decoder(receive, encoding).receive
    return Body(receive, aclose)


async def next_of(pieces: AsyncIterator[bytes]) -> bytes:
    """Return the next piece that is not empty; at the end, none."""
    async for piece in pieces:
        if piece:
            return piece
    return b""
