"""The HTTP client that the openai package asks the model's API with: aiohttp, without cookies and redirections."""

from __future__ import annotations

from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import aiohttp
import openai

if TYPE_CHECKING:
    import ssl

    import httpx2


class ModelHttpClient(openai.DefaultAioHttpClient):
    """Keeps nothing of one user's call for the next, and sends prompts only where the operator said."""

    def __init__(self, *, limits: httpx2.Limits, trust_env: bool) -> None:
        """Open at most so many connections; *trust_env*: through the proxy that the environment names, if any."""
        super().__init__(
            limits=limits,
            trust_env=trust_env,
            # A redirected prompt would go to a host that nobody named.
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )

    # The two hooks by which the package brings aiohttp in. Its transport makes a session with a cookie jar of its own,
    # unless it is given one.
    def _init_transport(self, *args: Any, **options: Any) -> httpx2.AsyncBaseTransport:
        return with_sessions_without_cookies(super()._init_transport(*args, **options))

    def _init_proxy_transport(self, *args: Any, **options: Any) -> httpx2.AsyncBaseTransport:
        return with_sessions_without_cookies(super()._init_proxy_transport(*args, **options))


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
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
