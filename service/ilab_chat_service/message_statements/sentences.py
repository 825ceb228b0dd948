"""Sentences of a message: what the user wrote, without code, quoted lines and the middle of a long text."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ilab_chat_service.message_statements.text import folded, lowered, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: The beginning and the end of a part of a text.
Span: TypeAlias = tuple[int, int]

#: Number of characters that are read at the beginning and at the end of a message.
READ_CHARACTERS = 2000

#: Maximum number of lines that are read at the beginning and at the end of a message, and of sentences.
READ_LINES = 200
READ_SENTENCES = 32

FENCE = "```"

#: A longer run of marks makes normalization quadratic. No language has one.
MARKS = re.compile("[\u0300-\u036f]{31}")

BULLET = re.compile(r"(?:[-*•–+]|\d{1,2}[.)])\s+(?=\S)")

#: An end of a sentence: with a space after it, except in scripts that have none.
ASCII_END = re.compile(r"""[.!?…](?<![.!?…].)[.!?…]*+["'”»’)\]]{0,3}(?=\s)""")
END = re.compile(rf"{ASCII_END.pattern}|[。！？؟]++[」』”）)]{{0,3}}|(?<=.)(?=¿)")

QUOTED = re.compile(
    r"""(?<!\w)"[^"]*(?:"|$)|“[^”]*(?:”|$)|„[^“”]*(?:[“”]|$)|«[^»]*(?:»|$)|「[^」]*(?:」|$)|『[^』]*(?:』|$)|`[^`]*(?:`|$)"""
    r"""|(?<!\w)'(?=\w)(?:[^']|'(?=\w)){1,300}+'(?!\w)"""
)

#: A mark that may begin quoted words: not the apostrophe of a word.
QUOTE = re.compile(r"""["“„«「『`'](?<!\w')""")

#: A full stop after these does not end a sentence. Nor does one after a single letter.
ABBREVIATIONS = frozenset(
    "dr mr mrs ms mx prof st sr sra srta dra jr mt vs etc approx nr no tel str bzw ca usw evtl z.b d.h u.a e.g i.e p.ex"
    " mme mlle mgr ing inż ul dott sig avv ud dhr mw bijv bv ul г ул т.д т.п св a.m p.m".split()
)

MONTH = re.compile(
    r"\s(?:jan|feb|mär|mar|apr|mai|maj|jun|jul|aug|sep|okt|oct|nov|dez|dec|kas|oca|şub|nis|haz|tem|ağu|eyl|eki|ara)",
    re.IGNORECASE,
)

QUESTION = re.compile(r"[?？؟][\W_]*$")

#: Characters at the end of a sentence among which the question mark is.
END_CHARACTERS = 8


class Sentence:
    """One sentence, on one line, with single spaces."""

    def __init__(self, text: str, quoted: Sequence[Span] = (), *, ends_line: bool = True) -> None:
        """Take the spans of quoted words in *text*, and whether it is the last sentence of its line."""
        self.text = text
        self.quoted = quoted
        self.ends_line = ends_line
        #: The text without case, and without case and accents, in the same length.
        self.lower = lowered(text)
        self.folded = folded(text)
        #: The words of both, with pairs of characters of scripts without spaces.
        self.lower_tokens = tokens(self.lower)
        self.words = frozenset(self.lower_tokens if self.lower == self.folded else tokens(self.folded))
        #: Whether it ends with a question mark.
        self.asks = QUESTION.search(text, len(text) - END_CHARACTERS) is not None

    @property
    def stripped(self) -> str:
        """The text in lower case without the marks at its end."""
        return self.lower.rstrip(" .!?…。！？؟\"'”»’)]」』）:：~")

    def is_quoted(self, position: int) -> bool:
        """Return whether the character at *position* is inside quotes."""
        return bool(self.quoted) and any(start <= position < end for start, end in self.quoted)


def sentences_of(message: str) -> list[Sentence]:
    """Return the sentences that the user wrote: of many, the first and the last `READ_SENTENCES`."""
    found = [place for line in lines_of(message) for place in places_of(line)]
    if len(found) > 2 * READ_SENTENCES:
        found = found[:READ_SENTENCES] + found[-READ_SENTENCES:]
    return [place.sentence() for place in found]


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


class Place(NamedTuple):
    """Where a sentence is."""

    line: str
    span: Span
    quotes: Sequence[Span]
    """The spans of quoted words in the line."""

    def sentence(self) -> Sentence:
        """Return the sentence."""
        start, stop = self.span
        if not self.quotes:
            return Sentence(self.line[start:stop], ends_line=stop == len(self.line))
        inside = self.quotes[bisect_right(self.quotes, start, key=itemgetter(1)) : bisect_left(self.quotes, (stop,))]
        quoted = [(begin - start, end - start) for begin, end in inside]
        return Sentence(self.line[start:stop], quoted, ends_line=stop == len(self.line))


def places_of(line: str) -> Iterator[Place]:
    """Yield the places of the sentences of a line, which has no space at its ends."""
    quotes = [found.span() for found in QUOTED.finditer(line)] if QUOTE.search(line) else []
    start = 0
    for stop in ends_of(line, quotes):
        if stop < len(line):
            yield Place(line, (start, stop), quotes)
            start = stop + line.startswith(" ", stop)
    yield Place(line, (start, len(line)), quotes)


def ends_of(line: str, quotes: Sequence[Span]) -> Iterator[int]:
    """Yield the positions where sentences end, the last excepted."""
    for end in (ASCII_END if line.isascii() else END).finditer(line):
        position = end.start()
        before = bisect_left(quotes, (position,)) if quotes else 0
        if before and position < quotes[before - 1][1] - 1:
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
