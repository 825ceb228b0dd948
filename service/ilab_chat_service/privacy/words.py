"""Words and names of a private text.

Words are found inflected, truncated, or in a script without spaces (`Vocabulary`); names, and words with separators
inside, from the beginning of a word of the reply to the end of one (`Phrases`).
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ilab_chat_service.privacy.text import MIN_MATCH, UNSPACED, WORD, folded, words_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from ilab_chat_service.privacy.text import Span

#: A word is a form of another if one begins with the other and the shorter has at least this many letters.
MIN_STEM = 5

#: The same for the last word of a reply, which may be truncated.
MIN_TRUNCATED_STEM = 3

#: Words of scripts without spaces match if they share this many consecutive characters.
GRAM = 3

#: Maximum number of letters of a name, or of a word with separators inside.
MAX_LETTERS = 64

#: Maximum number of words of the reply that form one.
MAX_WORDS = 16


def word_leaks(reply: str, vocabulary: Vocabulary) -> Iterator[Span]:
    """Yield the spans of the words of *reply* that match *vocabulary*."""
    last = None
    for last in WORD.finditer(reply):
        if vocabulary.matches(folded(last[0])):
            yield last.span()
    if last and vocabulary.matches_truncated(folded(last[0])):
        yield last.span()


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Identifying words. Prefixes are found by bisection: a set of all prefixes of a long word would fill memory."""

    words: frozenset[str]
    spaced: list[str]
    """The words of scripts with spaces, sorted."""
    stems: list[str]
    """The words that inflected forms begin with, sorted. None is a prefix of another, so at most one matches a word."""
    grams: frozenset[str]

    @classmethod
    def of(cls, words: Iterable[str]) -> Vocabulary:
        """Return the vocabulary of *words*, which are folded."""
        words = frozenset(words)
        spaced = sorted(word for word in words if not re.match(f"[{UNSPACED}]", word))
        stems: list[str] = []
        for word in sorted(words):
            if len(word) >= MIN_STEM and not (stems and word.startswith(stems[-1])):
                stems.append(word)
        return cls(words, spaced, stems, frozenset(gram for word in words.difference(spaced) for gram in grams(word)))

    def matches(self, word: str) -> bool:
        """Return whether *word* is an identifying word, inflected or truncated, or shares a gram with one."""
        if word in self.words or (len(word) >= MIN_STEM and self._is_prefix(word)):
            return True
        before = bisect_right(self.stems, word)
        is_inflected = before > 0 and word.startswith(self.stems[before - 1])
        return is_inflected or (bool(self.grams) and not self.grams.isdisjoint(grams(word)))

    def matches_truncated(self, word: str) -> bool:
        """Return whether *word*, the last one of a reply, may be a truncated identifying word."""
        return len(word) >= MIN_TRUNCATED_STEM and self._is_prefix(word)

    def _is_prefix(self, word: str) -> bool:
        # In sorted order, the words that begin with a prefix directly follow it.
        after = bisect_left(self.spaced, word)
        return after < len(self.spaced) and self.spaced[after].startswith(word)


def grams(word: str) -> list[str]:
    """Return every GRAM consecutive characters of *word*, or the whole of a shorter word."""
    length = min(GRAM, max(len(word), 1))
    return [word[start : start + length] for start in range(len(word) - length + 1)]


@dataclass(frozen=True, slots=True)
class Phrases:
    """Skeletons that are searched for from the beginning of a word of the reply to the end of a word."""

    anywhere: set[str]
    """Match in any spelling."""
    in_title_case: set[str]
    """Pairs of words that match only where the reply writes them in title case, like a name."""
    as_one_word: set[str]
    """Pairs of words that match only where the reply writes them as one word."""

    @classmethod
    def of(cls, private: Iterable[str], public: str, identifying: AbstractSet[str]) -> Phrases:
        """Return the *identifying* words and the names of the *private* texts, except pairs of words of *public*."""
        phrases = cls({word for word in identifying if MIN_MATCH <= len(word) <= MAX_LETTERS}, set(), set())
        for text in private:
            phrases._add_names(text, identifying)
        known = {f"{one}{other}" for one, other in pairwise(words_of(public))}
        return cls(phrases.anywhere - known, phrases.in_title_case - known, phrases.as_one_word - known)

    def leaks(self, reply: str) -> Iterator[Span]:
        """Yield the spans of *reply* that match a phrase, the longest from each word."""
        wanted = self.anywhere | self.in_title_case | self.as_one_word
        if not wanted:
            return
        lengths = set(map(len, wanted))
        longest = max(lengths)
        heads = {each[:MIN_MATCH] for each in wanted}
        starts, ends, offsets = array("L"), array("L"), array("L", [0])
        words = []
        for word in WORD.finditer(reply):
            # A longer word is part of no phrase, and folding it is slow.
            words.append(folded(word[0]) if len(word[0]) <= longest else "\0" * (longest + 1))
            starts.append(word.start())
            ends.append(word.end())
            offsets.append(offsets[-1] + len(words[-1]))
        letters = "".join(words)
        del words
        for first, start in enumerate(starts):
            offset = offsets[first]
            if letters[offset : offset + MIN_MATCH] not in heads:
                continue
            found = 0
            for last in range(first, min(first + MAX_WORDS, len(ends))):
                if (length := offsets[last + 1] - offset) > longest:
                    break
                if (
                    length in lengths
                    and (phrase := letters[offset : offset + length]) in wanted
                    and self._matches(phrase, reply, starts[first : last + 1])
                ):
                    found = ends[last]
            if found:
                yield start, found

    def _matches(self, phrase: str, reply: str, starts: array[int]) -> bool:
        """Return whether *phrase* matches as the words of *reply* that begin at *starts*."""
        if phrase in self.anywhere or (len(starts) == 1 and phrase in self.as_one_word):
            return True
        return phrase in self.in_title_case and all(reply[start].isupper() for start in starts)

    def _add_names(self, text: str, identifying: AbstractSet[str]) -> None:
        name: list[str] = []
        before = ""
        for word in (*WORD.findall(text), ""):
            if not word.istitle():
                self._add_name(name)
                name = []
            self._add_pair(before, word, identifying)
            if word.istitle():
                name.append(folded(word))
            before = word

    def _add_pair(self, one: str, other: str, identifying: AbstractSet[str]) -> None:
        pair = folded(one) + folded(other)
        if min(len(one), len(other)) <= 1 or not MIN_MATCH <= len(pair) <= MAX_LETTERS:
            return
        if one.istitle() and other.istitle():
            self.anywhere.add(pair)
            return
        count = sum(folded(word) in identifying for word in (one, other))
        if count < 2:  # noqa: PLR2004 - with two, each is found by itself
            self.in_title_case.add(pair)
        if count:
            self.as_one_word.add(pair)

    def _add_name(self, words: list[str]) -> None:
        if len(words) > 1 and MIN_MATCH <= len(name := "".join(words)) <= MAX_LETTERS:
            self.anywhere.add(name)
