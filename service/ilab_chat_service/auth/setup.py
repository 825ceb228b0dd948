"""Choose the authenticator that the settings ask for."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from ilab_chat_service.auth.callers import AllowAll
from ilab_chat_service.auth.static_tokens import TokenAuthenticator
from ilab_chat_service.file_reload import reason
from ilab_chat_service.settings import SettingsError
from ilab_chat_service.settings.addresses import is_http_url
from ilab_chat_service.settings.fields import words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ilab_chat_service.auth.callers import Authenticator
    from ilab_chat_service.auth.jwks import KeySource
    from ilab_chat_service.settings.security import SecuritySettings


@asynccontextmanager
async def open_authenticator(settings: SecuritySettings) -> AsyncIterator[Authenticator]:
    """Yield the authenticator for `ILAB_CHAT_AUTH`.

    Raises:
        SettingsError: the tokens file or the key set cannot be read.
    """
    match settings.auth:
        case "tokens":
            with naming_variable("ILAB_CHAT_AUTH_TOKENS_FILE"):
                tokens = await asyncio.to_thread(TokenAuthenticator, settings.auth_tokens_file)
            yield tokens
        case "jwt":
            from ilab_chat_service.auth.jwt import JwtAuthenticator  # noqa: PLC0415 - PyJWT is slow to import

            async with open_keys(settings.jwt_jwks) as keys:
                yield JwtAuthenticator(
                    keys=keys,
                    issuer=settings.jwt_issuer,
                    audience=settings.jwt_audience,
                    algorithms=frozenset(words(settings.jwt_algorithms)),
                    leeway=settings.jwt_leeway_seconds,
                    scope=settings.jwt_scope,
                )
        case "spiffe":
            from ilab_chat_service.auth.spiffe import SpiffeAuthenticator  # noqa: PLC0415 - cryptography is slow to import

            yield SpiffeAuthenticator(words(settings.spiffe_ids))
        case _:
            yield AllowAll()


@asynccontextmanager
async def open_keys(location: str) -> AsyncIterator[KeySource]:
    """Yield the keys of the JWKS at *location*, a path or a URL.

    Raises:
        SettingsError: the key set cannot be read.
    """
    from ilab_chat_service.auth.jwks import FileKeys, UrlKeys  # noqa: PLC0415 - PyJWT is slow to import

    if not is_http_url(location):
        with naming_variable("ILAB_CHAT_JWT_JWKS"):
            file = await asyncio.to_thread(FileKeys, location)
        yield file
        return
    keys = UrlKeys(location)
    with naming_variable("ILAB_CHAT_JWT_JWKS"):
        await keys.fetch()
    try:
        yield keys
    finally:
        await keys.close()


@contextmanager
def naming_variable(variable: str) -> Iterator[None]:
    """Turn errors of a file or URL into a SettingsError that names *variable*."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise SettingsError(f"{variable}: {reason(error)}") from None
