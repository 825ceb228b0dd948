"""Private text that a model repeats in its reply, found so that it is not stored. Pure, and linear in both texts.

Two things count as a repetition: the whole of a private text, whatever stands between its letters and digits in the
reply, and each telling word of it, also with an ending or cut short. What a reply says of a secret in other words, or
spells out, is not found.
"""

from __future__ import annotations

import heapq
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

#: A name with so many letters and digits of a message in a row quotes it. Fewer may be the name of a model that the
#: message asks about.
QUOTED_LETTERS = 12

#: Neighbouring characters that are told apart in scripts without spaces.
GRAM = 3

#: Scripts without spaces: Thai to Khmer, kana, Chinese characters, Hangul (which joins words).
UNSPACED = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"

WORD = re.compile(rf"[{UNSPACED}]+|[^\W_{UNSPACED}]+")
NAME_WORD = re.compile("[a-z0-9]+")
LETTERS_OR_DIGITS = re.compile("[a-z]+|[0-9]+")
NO_LETTERS = re.compile("[^a-z0-9]+")
TAG = re.compile(r"</?private(?:\s[^<>]*)?/?>", re.IGNORECASE)
ATTRIBUTES = re.compile(r"<private\s([^<>]*)>", re.IGNORECASE)


def without_echo(reply: str, message: str) -> str:
    """Return *reply* with what it repeats of the private text of *message* redacted."""
    secrets = secrets_of(message)
    if not secrets:
        return reply
    public = {folded(word) for word in WORD.findall(strip_private(message))}
    telling = {folded(word) for secret in secrets for word in WORD.findall(secret)} - public - FUNCTION_WORDS
    whole = whole_echoes(reply, secrets)
    return redacted(reply, heapq.merge(whole, word_echoes(reply, Vocabulary.of(telling))))


def is_quoted(name: str, message: str, known: str) -> bool:
    """Return whether *name*, of a model, repeats a word or number of private text, or much of *message* in a row.

    What it has in common with *known*, a name that is not secret, does not count. Compares ASCII letters and digits
    only. Cheap enough for the event loop.
    """
    said, public, asked = bare(name), bare(message), bare(known)
    if said == public:
        return True
    words = NAME_WORD.findall(name.lower())
    parts = {*words, *LETTERS_OR_DIGITS.findall(said)}
    private = " ".join(secrets_of(message)).lower()
    telling = {*NAME_WORD.findall(private)} - FUNCTION_WORDS if private else frozenset()
    secret = bare(private)
    return any(
        part not in asked and (part in telling or (len(part) >= CERTAIN_LETTERS and part in secret)) for part in parts
    ) or any(
        part in public and part not in asked
        for part in (said[at : at + QUOTED_LETTERS] for at in range(len(said) - QUOTED_LETTERS + 1))
    )


def bare(text: str) -> str:
    """Return the ASCII letters and digits of *text* in lower case."""
    return NO_LETTERS.sub("", text.lower())


def secrets_of(message: str) -> set[str]:
    """Return the private texts of *message*, those in the attributes of tags among them."""
    return {*map(without_tags, private_spans(message)), *ATTRIBUTES.findall(message)}


def whole_echoes(reply: str, secrets: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield where *reply* has all letters and digits of a secret in a row, in order; joins what overlaps or touches."""
    patterns = Patterns.of(wanted for wanted in {letters(secret)[0] for secret in secrets} if wanted)
    text, places = letters(reply)
    # Not tuples: a place may be every second character.
    starts, ends = array("L"), array("L")
    for first, last in patterns.found(text):
        start, end = places[first], places[last] + 1
        certain = last + 1 - first >= CERTAIN_LETTERS or not text[first : last + 1].isascii()
        if certain or not (reply[start - 1 : start].isalnum() or reply[end : end + 1].isalnum()):
            # Ends come in order; a later one may start before several others.
            while ends and ends[-1] >= start:
                start = min(start, starts.pop())
                ends.pop()
            starts.append(start)
            ends.append(end)
    return zip(starts, ends, strict=True)


class Patterns:
    """Texts that are looked for in one pass, however many there are (Aho and Corasick, CACM 18(6), 1975).

    A state is a beginning of a pattern: the longest that the text read so far ends in. State 0 is the empty one.
    """

    def __init__(self) -> None:
        # Of each state, the first character that continues it, and the state that this leads to. The other ones are in
        # a dictionary: most states have none, and a dictionary for each would take ten times the memory.
        self._code = array("L", [0])
        self._following = array("L", [0])
        self._others: dict[tuple[int, int], int] = {}
        # Of each state, that of its longest proper ending, and the lengths of the patterns that it ends in: the longest
        # one, and a bit for each that is shorter than CERTAIN_LETTERS.
        self._ending = array("L", [0])
        self._longest = array("L", [0])
        self._short = bytearray(1)

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Patterns:
        """Return what finds *patterns*, of which none is empty."""
        made = cls()
        # One character of each at a time: what a new state ends in is shorter, so it is there already.
        growing = [(pattern, 0) for pattern in patterns]
        length = 0
        while growing:
            length += 1
            grown = [(pattern, made._grow(state, ord(pattern[length - 1]))) for pattern, state in growing]
            growing = []
            for pattern, state in grown:
                if len(pattern) > length:
                    growing.append((pattern, state))
                else:
                    made._longest[state] = length
                    made._short[state] |= (length < CERTAIN_LETTERS) << length
        return made

    def found(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the first and the last place of patterns in *text*, by rising last place.

        Of those that end in one place, the longest, and each that is shorter than CERTAIN_LETTERS.
        """
        step, all_longest, all_short = self._step, self._longest, self._short
        state = 0
        for last, character in enumerate(text):
            state = step(state, ord(character))
            if longest := all_longest[state]:
                yield last + 1 - longest, last
            if short := all_short[state]:
                yield from ((last + 1 - length, last) for length in range(1, CERTAIN_LETTERS) if short >> length & 1)

    def _grow(self, state: int, code: int) -> int:
        """Return the state that *code* leads to from *state*; make it if there is none."""
        if found := self._child(state, code):
            return found
        new = len(self._ending)
        ending = self._step(self._ending[state], code) if state else 0
        if self._following[state]:
            self._others[state, code] = new
        else:
            self._code[state], self._following[state] = code, new
        for column, value in (
            (self._code, 0), (self._following, 0), (self._ending, ending), (self._longest, self._longest[ending]),
            (self._short, self._short[ending]),
        ):  # fmt: skip
            column.append(value)
        return new

    def _step(self, state: int, code: int) -> int:
        """Return the state after *state* and a character."""
        while not (found := self._child(state, code)) and state:
            state = self._ending[state]
        return found

    def _child(self, state: int, code: int) -> int:
        if self._code[state] == code:
            return self._following[state]
        return self._others.get((state, code), 0)


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
    """Return *text* with what lies in *places*, which are in order and may overlap, redacted."""
    pieces = []
    position = 0
    end_of_last = -1
    for start, end in places:
        if start > end_of_last:
            pieces += [text[position:start], REDACTED]
        position = end_of_last = max(end, end_of_last)
    return "".join([*pieces, text[position:]])
