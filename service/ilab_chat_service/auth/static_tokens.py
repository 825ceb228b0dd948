"""Authentication by static bearer tokens.

The file has one token per line. `TOKEN` may act for any user, `TOKEN user:alice` for alice only. Empty lines and lines
that begin with # are skipped.

The format is strict because a truncated line can grant more than the whole line: `TOKEN` alone acts for any user. One
invalid line rejects the whole file.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING

from ilab_chat_service.auth.callers import ANY_USER, Caller, InvalidCredentials, MissingCredentials
from ilab_chat_service.file_reload import FileReload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ilab_chat_service.auth.callers import Credentials

#: Shorter tokens can be guessed. `openssl rand -hex 32` prints 64 characters.
MIN_TOKEN_CHARACTERS = 16

#: Hexadecimal digits of a token's SHA-256 that name it in the audit log.
NAME_DIGITS = 8

#: A token and the user it is bound to. Neither begins nor ends with white space.
LINE = re.compile(r"(?P<token>[!-~]+)(?:[ \t]+user:(?P<user_id>\S(?:.*\S)?))?")

#: Unicode categories that a user id in the file must not contain: control characters and line separators.
SEPARATORS = {"Cc", "Zl", "Zp"}


class TokenAuthenticator:
    """Accepts the tokens in a file, which is reloaded when it changes.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is invalid; see `parse`.
    """

    def __init__(self, path: str) -> None:
        self._file = FileReload([path], parse)

    async def caller(self, credentials: Credentials) -> Caller:
        """Return the caller with this token."""
        if credentials.bearer is None:
            raise MissingCredentials("this server requires a bearer token")
        caller = match(await self._file.current(), credentials.bearer)
        return replace(caller, name=f"token:{digest(credentials.bearer.encode()).hex()[:NAME_DIGITS]}")


def match(known: Sequence[tuple[bytes, Caller]], token: str) -> Caller:
    """Return the caller with *token*, in a time that does not depend on the known tokens.

    Raises:
        InvalidCredentials: the token is not known.
    """
    presented = digest(token.encode())
    found = [caller for each, caller in known if hmac.compare_digest(each, presented)]
    if not found:
        raise InvalidCredentials("unknown token")
    return found[0]


def parse(file: bytes) -> Sequence[tuple[bytes, Caller]]:
    """Return the digest of each token and its caller.

    Raises:
        ValueError: the file does not end with a newline, has an invalid line, or has no token. The text gives the line
            number and never quotes the line.
    """
    *lines, rest = file.decode("utf-8-sig", "replace").split("\n")
    if rest:
        raise ValueError(
            f"line {len(lines) + 1}: the last line does not end with a newline; the file may be incomplete"
        )
    known: dict[bytes, Caller] = {}
    for number, ended in enumerate(lines, 1):
        line = ended.removesuffix("\r")
        if not line or line.startswith("#"):
            continue
        token, caller = entry(line, number)
        key = digest(token.encode())
        if key in known:
            raise ValueError(f"line {number}: the token is already in the file")
        known[key] = caller
    if not known:
        raise ValueError("the file contains no token")
    return tuple(known.items())


def entry(line: str, number: int) -> tuple[str, Caller]:
    """Return the token of a line and its caller.

    Raises:
        ValueError: the line is invalid.
    """
    found = LINE.fullmatch(line)
    if (
        not found
        or "\ufffd" in line
        or any(unicodedata.category(each) in SEPARATORS for each in found["user_id"] or "")
    ):
        raise ValueError(f"line {number}: must be TOKEN or TOKEN user:USER_ID, without leading or trailing white space")
    if len(found["token"]) < MIN_TOKEN_CHARACTERS:
        raise ValueError(f"line {number}: a token must have at least {MIN_TOKEN_CHARACTERS} visible ASCII characters")
    return found["token"], ANY_USER if found["user_id"] is None else Caller(found["user_id"])


def digest(token: bytes) -> bytes:
    """Return the SHA-256 of *token*. Digests have one length, and the tokens themselves are not kept in memory."""
    return hashlib.sha256(token).digest()
