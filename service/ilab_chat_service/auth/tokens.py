"""Callers known by a static bearer token.

The file has one token per line. A token alone may act for any user; `TOKEN user:alice` only for alice. Empty lines, and
lines that begin with #, are skipped.

The format is strict, because a line that was cut short may grant more than the whole line: `TOKEN` acts for any user.
One bad line refuses the whole file.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from typing import TYPE_CHECKING

from ilab_chat_service.auth.callers import ANY_USER, Caller, InvalidCredentials, MissingCredentials
from ilab_chat_service.file_reload import FileReload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ilab_chat_service.auth.callers import Credentials

#: Shorter ones can be guessed. `openssl rand -hex 32` has 64.
LEAST_CHARACTERS = 16

#: A token, and the user that it is bound to. Neither begins nor ends with white space.
LINE = re.compile(r"(?P<token>[!-~]+)(?:[ \t]+user:(?P<user_id>\S(?:.*\S)?))?")

#: Unicode categories that no user id in the file may have: control characters and line separators.
SEPARATORS = {"Cc", "Zl", "Zp"}


class TokenAuthenticator:
    """The tokens of a file, which is read again when it changes.

    Raises:
        OSError: the file cannot be read.
        ValueError: `parse` refuses it.
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
        ValueError: the file does not end with a newline, has an invalid line, or has no token. The text names the line
            by its number and quotes nothing.
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
        raise ValueError("the file has no token")
    return tuple(known.items())


def entry(line: str, number: int) -> tuple[str, Caller]:
    """Return the token of a line and for whom it may act.

    Raises:
        ValueError: the line is invalid.
    """
    found = LINE.fullmatch(line)
    if (
        not found
        or "\ufffd" in line
        or any(unicodedata.category(each) in SEPARATORS for each in found["user_id"] or "")
    ):
        raise ValueError(
            f"line {number}: a line must be TOKEN or TOKEN user:USER_ID, with no white space before or after it"
        )
    if len(found["token"]) < LEAST_CHARACTERS:
        raise ValueError(f"line {number}: a token must have {LEAST_CHARACTERS} or more visible ASCII characters")
    return found["token"], ANY_USER if found["user_id"] is None else Caller(found["user_id"])


def digest(token: bytes) -> bytes:
    """Return what tokens are compared by: of one length, and the tokens themselves need not be kept."""
    return hashlib.sha256(token).digest()
