"""Sentences of a message: what the user wrote, without code, quoted lines and the middle of a long text."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

from ilab_chat_service.statements.text import folded, lowered, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Number of characters that are read at the beginning and at the end of a message.
READ_CHARACTERS = 4000

#: Maximum number of lines that are read at the beginning and at the end of a message.
READ_LINES = 200

FENCE = "```"

#: A longer run of marks makes normalization quadratic. No language has one.
MARKS = re.compile("[\u0300-\u036f]{31}")

BULLET = re.compile(r"(?:[-*•–+]|\d{1,2}[.)])\s+(?=\S)")

#: An end of a sentence: with a space after it, except in scripts that have none.
END = re.compile(r"""(?<![.!?…])[.!?…]++["'”»’)\]]{0,3}(?=\s)|[。！？؟]++[」』”）)]{0,3}|(?<=.)(?=¿)""")

QUOTED = re.compile(
    r"""(?<!\w)"[^"]*(?:"|$)|“[^”]*(?:”|$)|„[^“”]*(?:[“”]|$)|«[^»]*(?:»|$)|「[^」]*(?:」|$)|『[^』]*(?:』|$)|`[^`]*(?:`|$)"""
    r"""|(?<!\w)'(?=\w)(?:[^']|'(?=\w))*'(?!\w)"""
)

#: A full stop after these does not end a sentence. Nor does one after a single letter.
ABBREVIATIONS = frozenset(
    "dr mr mrs ms mx prof st sr sra srta dra jr mt vs etc approx nr no tel str bzw ca usw evtl z.b d.h u.a e.g i.e p.ex"
    " mme mlle mgr ing inż ul dott sig avv ud dhr mw bijv bv ul г ул т.д т.п св a.m p.m".split()
)

MONTH = re.compile(
    r"\s(?:jan|feb|mär|mar|apr|mai|maj|jun|jul|aug|sep|okt|oct|nov|dez|dec|kas|oca|şub|nis|haz|tem|ağu|eyl|eki|ara)",
    re.IGNORECASE,
)

QUESTION_MARKS = frozenset("?？؟")

#: Characters at the end of a sentence among which the question mark is.
END_CHARACTERS = 8


@dataclass(frozen=True)
class Sentence:
    """One sentence, on one line, with single spaces."""

    text: str
    quoted: tuple[tuple[int, int], ...] = ()
    """Spans of quoted words."""

    @cached_property
    def lower(self) -> str:
        """The text in lower case, in the same length."""
        return lowered(self.text)

    @cached_property
    def folded(self) -> str:
        """The text without case and accents, in the same length."""
        return folded(self.text)

    @cached_property
    def tokens(self) -> list[str]:
        """The words of the folded text, and pairs of characters of scripts without spaces."""
        return tokens(self.folded)

    @cached_property
    def lower_tokens(self) -> list[str]:
        """The words of the text in lower case, with accents, and pairs of characters."""
        return self.tokens if self.lower == self.folded else tokens(self.lower)

    @cached_property
    def lower_words(self) -> frozenset[str]:
        """The set of `lower_tokens`."""
        return frozenset(self.lower_tokens)

    @cached_property
    def stripped(self) -> str:
        """The text in lower case without the marks at its end."""
        return self.lower.rstrip(" .!?…。！？؟\"'”»’)]」』）:：~")

    @cached_property
    def asks(self) -> bool:
        """Whether it ends with a question mark."""
        for character in reversed(self.text[-END_CHARACTERS:]):
            if character in QUESTION_MARKS:
                return True
            if character.isalnum():
                break
        return False

    def is_quoted(self, position: int) -> bool:
        """Return whether the character at *position* is inside quotes."""
        return any(start <= position < end for start, end in self.quoted)


def lines_of(message: str) -> Iterator[str]:
    """Yield the lines that the user wrote, whitespace collapsed, without code blocks and quoted lines."""
    for part in parts_of(message):
        fenced = False
        for line in islice(part.splitlines(), READ_LINES):
            written = " ".join(line.split())
            if written.startswith(FENCE):
                fenced = not fenced
            elif written and not fenced and not written.startswith((">", "|")):
                yield written[bullet.end() :] if (bullet := BULLET.match(written)) else written


def parts_of(message: str) -> tuple[str, ...]:
    """Return *message*, or its first and last whole lines or sentences if it is long; in NFC."""
    if len(message) <= 2 * READ_CHARACTERS:
        return (normalized(message),)
    head, tail = message[:READ_CHARACTERS], message[-READ_CHARACTERS:]
    # A sentence that is cut could say the opposite of the whole one.
    ends = [each.end() for each in re.finditer(r"[.!?。！？]\s|\n", head)]
    begin = re.search(r"[.!?。！？]\s|[。！？]|\n", tail)
    head, tail = head[: ends[-1]] if ends else "", tail[begin.end() :] if begin else ""
    if message.count(FENCE, 0, len(message) - len(tail)) % 2:
        tail = f"{FENCE}\n{tail}"
    return normalized(head), normalized(tail)


def normalized(text: str) -> str:
    """Return *text* in NFC, unless that takes long."""
    if unicodedata.is_normalized("NFC", text) or MARKS.search(text):
        return text
    return unicodedata.normalize("NFC", text)


def sentences_of(line: str) -> Iterator[Sentence]:
    """Yield the sentences of a line. One that begins inside quotes is left out."""
    quotes = [found.span() for found in QUOTED.finditer(line)] if has_quotes(line) else []
    start = 0
    for stop in [*ends_of(line, quotes), len(line)]:
        text = line[start:stop]
        begin = start + len(text) - len(text.lstrip())
        if text := text.strip():
            yield Sentence(text, tuple((a - begin, b - begin) for a, b in quotes if b > begin and a < stop))
        start = stop


def has_quotes(line: str) -> bool:
    """Return whether *line* may contain quoted words."""
    return any(mark in line for mark in "\"“„«「『`'")


def ends_of(line: str, quotes: list[tuple[int, int]]) -> Iterator[int]:
    """Yield the positions where sentences end, the last excepted."""
    for end in END.finditer(line):
        position = end.start()
        if any(a < position < b - 1 for a, b in quotes):
            continue
        if line[position : position + 1] == "." and is_inside(line, position):
            continue
        yield end.end()


def is_inside(line: str, stop: int) -> bool:
    """Return whether the full stop at *stop* belongs to an abbreviation, an initial or a day of a month."""
    word = line[max(0, stop - 12) : stop].rpartition(" ")[2].lower().lstrip("(\"'")
    if word.isdigit():
        return len(word) <= 2 and MONTH.match(line, stop + 1) is not None  # noqa: PLR2004 - a day has two digits
    return word in ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word not in "iуяоиа")
