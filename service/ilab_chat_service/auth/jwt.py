"""Authentication by signed tokens of an identity provider (JWT, RFC 7519)."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jwt

from ilab_chat_service.auth.callers import ANY_USER, Caller, InvalidCredentials, MissingCredentials

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ilab_chat_service.auth.callers import Credentials
    from ilab_chat_service.auth.jwks import KeySource

#: Error texts for callers. For any other error: INVALID_TOKEN.
REASONS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token is not valid yet",
    jwt.InvalidAudienceError: "the token is for another audience",
    jwt.InvalidIssuerError: "the token is from another issuer",
    jwt.InvalidSignatureError: "the token's signature is invalid",
    jwt.InvalidAlgorithmError: "the token's signature algorithm is not allowed",
    jwt.MissingRequiredClaimError: "the token must have the claims exp, aud and iss",
}
INVALID_TOKEN = "the token is not a valid JWT"  # noqa: S105 - an error message

#: Client identifiers that are logged.
CLIENT_NAME = re.compile(r"[A-Za-z0-9._:/-]{1,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtAuthenticator:
    """Accepts tokens of one issuer for one audience."""

    keys: KeySource
    """The issuer's public keys."""
    issuer: str
    """Required value of the `iss` claim."""
    audience: str
    """Value that the `aud` claim must equal or contain."""
    algorithms: frozenset[str]
    """Accepted signature algorithms."""
    leeway: float
    """Allowed clock difference, in seconds."""
    scope: str
    """Scope that allows a token to act for any user. Without it, a token acts for its `sub`. Empty: no token may act
    for any user."""

    async def caller(self, credentials: Credentials) -> Caller:
        """Return the caller that the bearer token names."""
        if credentials.bearer is None:
            raise MissingCredentials("this server requires a bearer token")
        claims = await self._claims(credentials.bearer)
        if self.scope and self.scope in scopes(claims):
            return replace(ANY_USER, name=name_of(claims))
        if not claims.get("sub"):
            raise InvalidCredentials("the token has neither a sub claim nor the scope that allows any user")
        return Caller(claims["sub"], name_of(claims))

    async def _claims(self, token: str) -> dict[str, Any]:
        with rejecting_token():
            header = jwt.get_unverified_header(token)
            # Check this before looking up the key: a token that cannot be accepted must not cause a request.
            if header.get("alg") not in self.algorithms:
                raise jwt.InvalidAlgorithmError
        key = await self.keys.find(header.get("kid"))
        if key is None:
            raise InvalidCredentials("the token is signed with an unknown key")
        with rejecting_token():
            claims: dict[str, Any] = jwt.decode(
                token,
                key.public,
                algorithms=sorted(self.algorithms & key.algorithms),
                audience=self.audience,
                issuer=self.issuer,
                leeway=self.leeway,
                options={"require": ["exp", "aud", "iss"]},
            )
        return claims


@contextmanager
def rejecting_token() -> Iterator[None]:
    """Turn every exception into InvalidCredentials.

    Tokens are untrusted input. PyJWT compares and hashes their JSON values without checking types, so it raises more
    than its own errors.
    """
    try:
        yield
    except Exception as error:
        raise InvalidCredentials(REASONS.get(type(error), INVALID_TOKEN)) from error


def name_of(claims: dict[str, Any]) -> str:
    """Return the name of the client that got the token. Never `sub`, which may be a person."""
    found = claims.get("azp", claims.get("client_id", ""))
    return f"jwt:{found}" if isinstance(found, str) and CLIENT_NAME.fullmatch(found) else "jwt"


def scopes(claims: dict[str, Any]) -> list[str]:
    """Return the token's scopes from `scope` (RFC 8693) or `scp` (some providers), a string or a list."""
    found = claims.get("scope", claims.get("scp", ""))
    return found.split() if isinstance(found, str) else found if isinstance(found, list) else []
