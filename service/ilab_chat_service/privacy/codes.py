"""Codes of a private text: passwords, keys, licence plates, account numbers with letters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ilab_chat_service.privacy.text import MIN_MATCH, skeleton

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A code with at least this many letters and digits is redacted also inside a longer word.
MIN_EMBEDDED_CODE = 6

#: Longer codes are found as part of the whole private text or by their digits. This bounds memory.
MAX_CODE = 256

#: A word in capitals with at most this many letters can be part of an adjacent code, as in `AB 123 CD`.
MAX_CAPITALS = 4

SEPARATOR = re.compile(r"[\s:=,;|()<>\[\]{}\"']+")


def codes_of(text: str) -> Iterator[str]:
    """Yield the skeletons of the codes in *text*, each alone and joined with adjacent codes and capitals."""
    adjacent: list[str] = []
    for chunk in (*SEPARATOR.split(text), ""):
        letters = skeleton(chunk) if len(chunk) <= MAX_CODE else ""
        has_digit = any("0" <= character <= "9" for character in letters)
        if letters and (has_digit or (len(letters) <= MAX_CAPITALS and chunk.isupper())):
            adjacent.append(letters)
            if is_code(letters):
                yield letters
        elif adjacent:
            if is_code(joined := "".join(adjacent)):
                yield joined
            adjacent.clear()


def is_code(letters: str) -> bool:
    """Return whether a skeleton is a code. Digits alone are a number."""
    return MIN_MATCH <= len(letters) <= MAX_CODE and not letters.isalpha() and not letters.isdigit()
