"""Private text that a model repeats in its reply, found so that it is not stored. Pure, and linear in the reply.

Two things count as a repetition: the whole of a private text, whatever stands between its letters and digits in the
reply, and each telling word of it, also with an ending or cut short. What a reply says of a secret in other words, or
spells out, is not found.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from ilab_chat_service.prompt import FUNCTION_WORDS
from ilab_memory.redaction import private_spans, strip_private

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

REDACTED = "[REDACTED]"

#: A private text with so many letters and digits is redacted wherever it stands, a shorter one only between others.
CERTAIN_LETTERS = 4

#: A word of the reply that begins like a telling word for so many letters is a form of it.
COMMON_BEGINNING = 5

#: The same for the last word of a reply, which may have been cut off in its middle.
CUT_BEGINNING = 3

#: Neighbouring characters that are told apart in scripts without spaces.
GRAM = 3

#: Scripts without spaces: Thai to Khmer, kana, Chinese characters, Hangul (which joins words).
UNSPACED = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"

WORD = re.compile(rf"[{UNSPACED}]+|[^\W_{UNSPACED}]+")
TAG = re.compile(r"</?private(?:\s[^<>]*)?/?>", re.IGNORECASE)
ATTRIBUTES = re.compile(r"<private\s([^<>]*)>", re.IGNORECASE)


def without_echo(reply: str, message: str) -> str:
    """Return *reply* with what it repeats of the private text of *message* redacted."""
    secrets = [*map(without_tags, private_spans(message)), *ATTRIBUTES.findall(message)]
    if not secrets:
        return reply
    public = {folded(word) for word in WORD.findall(strip_private(message))}
    telling = {folded(word) for secret in secrets for word in WORD.findall(secret)} - public - FUNCTION_WORDS
    return redacted(reply, [*whole_echoes(reply, set(secrets)), *word_echoes(reply, Vocabulary.of(telling))])


def whole_echoes(reply: str, secrets: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield where *reply* has all letters and digits of a secret in a row."""
    text, places = letters(reply)
    for secret in secrets:
        wanted, _ = letters(secret)
        start = text.find(wanted) if wanted else -1
        while start >= 0:
            first, last = places[start], places[start + len(wanted) - 1]
            certain = len(wanted) >= CERTAIN_LETTERS or not wanted.isascii()
            if certain or not (reply[first - 1 : first].isalnum() or reply[last + 1 : last + 2].isalnum()):
                yield first, last + 1
            start = text.find(wanted, start + len(wanted))


def word_echoes(reply: str, vocabulary: Vocabulary) -> Iterator[tuple[int, int]]:
    """Yield where *reply* has a telling word."""
    last = None
    for last in WORD.finditer(reply):
        if vocabulary.has(folded(last[0])):
            yield last.span()
    if last and vocabulary.has_beginning(folded(last[0])):
        yield last.span()


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The telling words of private texts. Beginnings are looked up in order: all of one long word would fill memory."""

    words: frozenset[str]
    spaced: list[str]
    """Those of scripts with spaces, sorted."""
    stems: list[str]
    """Those that longer forms are told by, sorted. None begins with another, so one alone can begin a given word."""
    grams: frozenset[str]

    @classmethod
    def of(cls, words: Iterable[str]) -> Vocabulary:
        """Return the vocabulary of *words*, which are folded."""
        words = frozenset(words)
        spaced = sorted(word for word in words if not re.match(f"[{UNSPACED}]", word))
        stems: list[str] = []
        for word in sorted(words):
            if len(word) >= COMMON_BEGINNING and not (stems and word.startswith(stems[-1])):
                stems.append(word)
        return cls(words, spaced, stems, frozenset(gram for word in words.difference(spaced) for gram in grams(word)))

    def has(self, word: str) -> bool:
        """Whether *word* is a telling word, a longer form of one, cut short, or shares characters in a row with one."""
        if word in self.words or (len(word) >= COMMON_BEGINNING and self._is_beginning(word)):
            return True
        before = bisect_right(self.stems, word)
        longer = before > 0 and word.startswith(self.stems[before - 1])
        return longer or (bool(self.grams) and not self.grams.isdisjoint(grams(word)))

    def has_beginning(self, word: str) -> bool:
        """Whether *word* may be the beginning of a telling word."""
        return len(word) >= CUT_BEGINNING and self._is_beginning(word)

    def _is_beginning(self, word: str) -> bool:
        # Whatever begins with it comes right after it in order.
        after = bisect_left(self.spaced, word)
        return after < len(self.spaced) and self.spaced[after].startswith(word)


def grams(word: str) -> list[str]:
    """Return each GRAM neighbouring characters of *word*; all of it, and its pairs, if it is shorter."""
    length = min(GRAM, max(len(word), 1))
    return [word[start : start + length] for start in range(len(word) - length + 1)]


def letters(text: str) -> tuple[str, array[int]]:
    """Return the letters and digits of *text*, folded and without accents, and where each stands in it."""
    kept = []
    # Not a list: a text may become eighteen times as long.
    places = array("L")
    for place, character in enumerate(text):
        found = "".join(filter(str.isalnum, folded(character)))
        kept.append(found)
        places.extend((place,) * len(found))
    return "".join(kept), places


def folded(text: str) -> str:
    """Return *text* without differences of case, accent and width."""
    if text.isascii():
        return text.lower()
    return "".join(map(folded_character, text))


@lru_cache(maxsize=4096)
def folded_character(character: str) -> str:
    """Return what `folded` makes of one character: texts have few different ones."""
    decomposed = unicodedata.normalize("NFKD", character).casefold()
    return "".join(each for each in decomposed if not unicodedata.combining(each))


def without_tags(span: str) -> str:
    """Return a private span without the tags nested in it."""
    return TAG.sub(" ", span)


def redacted(text: str, places: Iterable[tuple[int, int]]) -> str:
    """Return *text* with what lies in *places*, which may overlap, redacted."""
    pieces = []
    position = 0
    end_of_last = -1
    for start, end in sorted(places):
        if start > end_of_last:
            pieces += [text[position:start], REDACTED]
        position = end_of_last = max(end, end_of_last)
    return "".join([*pieces, text[position:]])
