"""Identifying words of a private text: inflected, truncated, or in a script without spaces."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilab_chat_service.privacy.text import UNSPACED, WORD, folded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ilab_chat_service.privacy.text import Span

#: A word is a form of another if one begins with the other and the shorter has at least this many letters.
MIN_STEM = 5

#: The same for the last word of a reply, which may be truncated.
MIN_TRUNCATED_STEM = 3

#: Words of scripts without spaces match if they share this many consecutive characters.
GRAM = 3


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
