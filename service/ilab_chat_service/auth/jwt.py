"""Callers known by a signed token of an identity provider (JWT, RFC 7519)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import jwt

from ilab_chat_service.auth.callers import ANY_USER, Caller, InvalidCredentials, MissingCredentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ilab_chat_service.auth.callers import Credentials
    from ilab_chat_service.auth.jwks import KeySource

#: What a caller is told; whatever else is wrong with a token is the last line of `refusal`.
REFUSALS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token is not valid yet",
    jwt.InvalidAudienceError: "the token is for another audience",
    jwt.InvalidIssuerError: "the token is of another issuer",
    jwt.InvalidSignatureError: "the token's signature is wrong",
    jwt.InvalidAlgorithmError: "the token's algorithm is not allowed",
    jwt.MissingRequiredClaimError: "the token lacks one of the claims exp, aud and iss",
}


class JwtAuthenticator:
    """Tokens of one issuer for one audience.

    Args:
        keys: the issuer's public keys.
        issuer: what `iss` must be.
        audience: what `aud` must be or contain.
        algorithms: what tokens may be signed with.
        leeway: seconds that the clocks may differ by.
        scope: a token with this scope may act for any user, another only for its `sub`. Empty: none may.
    """

    def __init__(
        self, keys: KeySource, *, issuer: str, audience: str, algorithms: Sequence[str], leeway: float, scope: str
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._algorithms = frozenset(algorithms)
        self._leeway = leeway
        self._scope = scope

    async def caller(self, credentials: Credentials) -> Caller:
        """Return who was given this token."""
        if credentials.bearer is None:
            raise MissingCredentials("this server asks for a bearer token")
        claims = await self._claims(credentials.bearer)
        if self._scope and self._scope in scopes(claims):
            return ANY_USER
        if not claims.get("sub"):
            raise InvalidCredentials("the token has neither a subject nor the scope that allows any user")
        return Caller(claims["sub"])

    async def _claims(self, token: str) -> dict[str, Any]:
        with refused():
            header = jwt.get_unverified_header(token)
            # Before a key is looked for: a token that cannot be accepted must not cause a request.
            if header.get("alg") not in self._algorithms:
                raise jwt.InvalidAlgorithmError
        key = await self._keys.find(header.get("kid"))
        if key is None:
            raise InvalidCredentials("the token is signed with an unknown key")
        with refused():
            claims: dict[str, Any] = jwt.decode(
                token,
                key.public,
                algorithms=sorted(self._algorithms & key.algorithms),
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway,
                options={"require": ["exp", "aud", "iss"]},
            )
        return claims


@contextmanager
def refused() -> Iterator[None]:
    """Turn whatever looking at a token raises into InvalidCredentials: a stranger wrote it, and the library trusts it.

    It compares and hashes values of any type that JSON has, so that it does not only raise its own errors.
    """
    try:
        yield
    except Exception as error:
        raise InvalidCredentials(refusal(error)) from error


def refusal(error: Exception) -> str:
    """Return what may be said of a token that is not accepted."""
    return REFUSALS.get(type(error), "the token is no valid JWT")


def scopes(claims: dict[str, Any]) -> list[str]:
    """Return the token's scopes: `scope` (RFC 8693), or `scp` as some providers call it; a text or a list."""
    found = claims.get("scope", claims.get("scp", ""))
    return found.split() if isinstance(found, str) else found if isinstance(found, list) else []
