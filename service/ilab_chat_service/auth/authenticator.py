"""The way callers are known that the settings ask for."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from ilab_chat_service.auth.callers import ANY_USER
from ilab_chat_service.auth.tokens import TokenAuthenticator
from ilab_chat_service.file_reload import reason
from ilab_chat_service.settings import SettingsError
from ilab_chat_service.settings.addresses import is_http_url
from ilab_chat_service.settings.fields import words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ilab_chat_service.auth.callers import Authenticator, Caller, Credentials
    from ilab_chat_service.auth.jwks import KeySource
    from ilab_chat_service.settings.security import SecuritySettings


class Trusting:
    """Lets everybody act for any user."""

    async def caller(self, _credentials: Credentials) -> Caller:
        """Return a caller that may."""
        return ANY_USER


@asynccontextmanager
async def open_authenticator(settings: SecuritySettings) -> AsyncIterator[Authenticator]:
    """Yield what knows callers.

    Raises:
        SettingsError: the tokens or the keys cannot be read.
    """
    match settings.auth:
        case "tokens":
            with refused("ILAB_CHAT_AUTH_TOKENS_FILE"):
                tokens = await asyncio.to_thread(TokenAuthenticator, settings.auth_tokens_file)
            yield tokens
        case "jwt":
            from ilab_chat_service.auth.jwt import JwtAuthenticator  # noqa: PLC0415 - starts sooner without

            async with open_keys(settings.jwt_jwks) as keys:
                yield JwtAuthenticator(
                    keys,
                    issuer=settings.jwt_issuer,
                    audience=settings.jwt_audience,
                    algorithms=words(settings.jwt_algorithms),
                    leeway=settings.jwt_leeway_seconds,
                    scope=settings.jwt_scope,
                )
        case "spiffe":
            from ilab_chat_service.auth.spiffe import SpiffeAuthenticator  # noqa: PLC0415 - the same

            yield SpiffeAuthenticator(words(settings.spiffe_ids))
        case _:
            yield Trusting()


@asynccontextmanager
async def open_keys(place: str) -> AsyncIterator[KeySource]:
    """Yield the keys of a JWKS.

    Raises:
        SettingsError: they cannot be read.
    """
    from ilab_chat_service.auth.jwks import FileKeys, UrlKeys  # noqa: PLC0415 - starts sooner without

    if not is_http_url(place):
        with refused("ILAB_CHAT_JWT_JWKS"):
            file = await asyncio.to_thread(FileKeys, place)
        yield file
        return
    keys = UrlKeys(place)
    with refused("ILAB_CHAT_JWT_JWKS"):
        await keys.open()
    try:
        yield keys
    finally:
        await keys.close()


@contextmanager
def refused(variable: str) -> Iterator[None]:
    """Name the variable that leads to what cannot be read."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise SettingsError(f"{variable}: {reason(error)}") from None
