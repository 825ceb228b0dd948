"""Callers known by a static bearer token.

The file has a token a line. A token alone may act for any user; `TOKEN user:alice` only for alice. Empty lines, and
lines that begin with #, do not count.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from ilab_chat_service.callers import ANY_USER, Caller, InvalidCredentials, MissingCredentials
from ilab_chat_service.file_reload import FileReload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ilab_chat_service.callers import Credentials

#: Shorter ones can be guessed. `openssl rand -hex 32` has 64.
LEAST_CHARACTERS = 16
USER = "user:"


class TokenAuthenticator:
    """The tokens of a file, which is read again when it changes.

    Raises:
        OSError: the file cannot be read.
        ValueError: it has no tokens, or a line that is none.
    """

    def __init__(self, path: str) -> None:
        self._file = FileReload([path], parse)

    async def caller(self, credentials: Credentials) -> Caller:
        """Return who has this token."""
        if credentials.bearer is None:
            raise MissingCredentials("this server asks for a bearer token")
        return match(await self._file.current(), credentials.bearer)


def match(known: Sequence[tuple[bytes, Caller]], token: str) -> Caller:
    """Return whose token it is, in a time that tells nothing of the known ones.

    Raises:
        InvalidCredentials: nobody's.
    """
    presented = digest(token.encode())
    found = [caller for each, caller in known if hmac.compare_digest(each, presented)]
    if not found:
        raise InvalidCredentials("the token is not known")
    return found[0]


def parse(file: bytes) -> Sequence[tuple[bytes, Caller]]:
    """Return the digest of each token and who has it.

    Raises:
        ValueError: a line cannot be used, by its number; or there is no token.
    """
    known: dict[bytes, Caller] = {}
    for number, line in enumerate(file.decode("utf-8-sig", "replace").split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        token, *rest = line.split(maxsplit=1)
        if len(token) < LEAST_CHARACTERS or not all("!" <= character <= "~" for character in token):
            raise ValueError(f"line {number}: a token has {LEAST_CHARACTERS} or more visible ASCII characters")
        key = digest(token.encode())
        if key in known:
            raise ValueError(f"line {number}: the token stands there twice")
        known[key] = owner_of("".join(rest).strip(), number)
    if not known:
        raise ValueError("there is no token in it")
    return tuple(known.items())


def owner_of(text: str, number: int) -> Caller:
    """Return for whom the token of a line may act."""
    if not text:
        return ANY_USER
    if not text.startswith(USER) or text == USER or "\ufffd" in text:
        raise ValueError(f"line {number}: after the token stands nothing, or user: and a user id")
    return Caller(text.removeprefix(USER))


def digest(token: bytes) -> bytes:
    """Return what tokens are compared by: of one length, and the tokens themselves need not be kept."""
    return hashlib.sha256(token).digest()
