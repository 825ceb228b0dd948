"""Callers known by the SPIFFE id of their certificate, which TLS has verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ilab_chat_service.callers import ANY_USER, InvalidCredentials, MissingCredentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ilab_chat_service.callers import Caller, Credentials


class SpiffeAuthenticator:
    """An allow-list of SPIFFE ids; one that ends with /* is for every id below. Each may act for any user."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._ids = frozenset(each for each in allowed if not each.endswith("/*"))
        self._folders = tuple(each.removesuffix("*") for each in allowed if each.endswith("/*"))

    async def caller(self, credentials: Credentials) -> Caller:
        """Return who has this certificate."""
        spiffe_id = credentials.spiffe_id
        if spiffe_id is None:
            raise MissingCredentials("this server asks for a client certificate with a SPIFFE id")
        if spiffe_id not in self._ids and not spiffe_id.startswith(self._folders):
            raise InvalidCredentials("the SPIFFE id is not on the allow-list")
        return ANY_USER
