"""Codes of a private text (passwords, keys, licence plates), and its numbers, however their digits are grouped."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilab_chat_service.privacy.text import MIN_MATCH, folded, skeleton

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ilab_chat_service.privacy.text import Skeleton, Span

#: This many consecutive digits of a private number are redacted anywhere. By chance, one reply in a thousand with a
#: hundred longer numbers shares six digits with a card number.
WINDOW = 6

NUMBER = re.compile(f"[0-9]{{{MIN_MATCH},}}")
HAS_DIGIT = re.compile(r"\d")

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


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of some texts."""

    short: frozenset[str]
    """Numbers of MIN_MATCH to WINDOW - 1 digits, and the last MIN_MATCH digits of longer ones."""
    windows: frozenset[str]
    """Every WINDOW consecutive digits of longer numbers."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> Numbers:
        """Return the numbers of *texts*: each group of digits, and adjacent groups joined."""
        short: set[str] = set()
        windows: set[str] = set()
        for text in texts:
            if not HAS_DIGIT.search(text):
                continue
            for number in {*NUMBER.findall(skeleton(text)), *NUMBER.findall(folded(text))}:
                short.add(number if len(number) < WINDOW else number[-MIN_MATCH:])
                windows.update(number[at : at + WINDOW] for at in range(len(number) - WINDOW + 1))
        return cls(frozenset(short), frozenset(windows))

    def __sub__(self, other: Numbers) -> Numbers:
        return Numbers(self.short - other.short, self.windows - other.windows)


def number_leaks(reply: Skeleton, numbers: Numbers) -> Iterator[Span]:
    """Yield the spans of *reply* that are one of *numbers*."""
    if not (numbers.short or numbers.windows):
        return
    text = reply.text
    for run in NUMBER.finditer(text):
        for first in range(run.start(), run.end() - MIN_MATCH + 1):
            if numbers.windows and text[first : first + WINDOW] in numbers.windows:
                yield reply.span(first, first + WINDOW - 1)
            if numbers.short:
                for end in range(first + MIN_MATCH, min(first + WINDOW, run.end() + 1)):
                    if text[first:end] in numbers.short:
                        span = reply.span(first, end - 1)
                        if not has_adjacent_digit(reply.source, span):
                            yield span


def has_adjacent_digit(text: str, span: Span) -> bool:
    """Return whether a digit directly precedes or follows *span* of *text*."""
    start, end = span
    return text[start - 1 : start].isdecimal() or text[end : end + 1].isdecimal()
