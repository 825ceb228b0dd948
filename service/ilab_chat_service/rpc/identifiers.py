"""Identifiers of calls."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes of an identifier, and identifiers that one question to the system makes: each question gives way to all other
#: threads, and to come back from it takes longer than all else about an identifier.
BYTES, AT_ONCE = 16, 256


def new_identifier() -> str:
    """Return 32 hexadecimal digits that nobody has had and nobody can tell. For the one thread of the event loop."""
    return next(_IDENTIFIERS)


def _identifiers() -> Iterator[str]:
    while True:
        random = os.urandom(BYTES * AT_ONCE)
        for start in range(0, len(random), BYTES):
            yield random[start : start + BYTES].hex()


_IDENTIFIERS = _identifiers()
