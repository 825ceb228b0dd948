"""Lists of phrases of a table, found quickly: most sentences contain none of their first words."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from ilab_chat_service.statements.text import WORD, lowered, tokens

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

#: A pattern that matches nothing.
NOTHING = "(?!)"


class Phrases:
    """Phrases in lower case."""

    def __init__(self, phrases: Iterable[str], *, spaced: bool) -> None:
        """Take *phrases* of a language whose words are separated by spaces, or not."""
        self._spaced = spaced
        self._phrases = sorted({lowered(each) for each in phrases}, key=len, reverse=True)
        by_head: dict[str, list[str]] = defaultdict(list)
        for phrase in self._phrases:
            by_head[head_of(phrase, 0, spaced=spaced)].append(phrase)
        self._by_head = {head: tuple(each) for head, each in by_head.items()}
        #: A sentence without any of these contains no phrase.
        self._first_tokens = frozenset(map(self._first_token, self._phrases))
        self._search: re.Pattern[str] | None = None
        self._at_end: re.Pattern[str] | None = None

    @property
    def words(self) -> list[str]:
        """The phrases of one word."""
        return [each for each in self._phrases if each.isalpha()]

    def __bool__(self) -> bool:
        return bool(self._phrases)

    def _first_token(self, phrase: str) -> str:
        return next(iter(tokens(phrase)), "") if self._spaced or phrase.isascii() else phrase[0]

    def at(self, lower: str, start: int) -> int:
        """Return the end of the longest phrase at *start* of a lower-case text; 0 if there is none."""
        for phrase in self._by_head.get(head_of(lower, start, spaced=self._spaced), ()):
            if lower.startswith(phrase, start):
                end = start + len(phrase)
                if not self._spaced or not lower[end : end + 1].isalnum() or not phrase[-1].isalnum():
                    return end
        return 0

    def may_be_in(self, words: Collection[str]) -> bool:
        """Return whether a sentence with these tokens may contain a phrase."""
        return not self._first_tokens.isdisjoint(words)

    @property
    def anywhere(self) -> re.Pattern[str]:
        """A pattern that finds a phrase anywhere."""
        if self._search is None:
            self._search = re.compile(rf"(?<!\w)(?:{self._alternatives})(?!\w)" if self._spaced else self._alternatives)
        return self._search

    @property
    def at_end(self) -> re.Pattern[str]:
        """A pattern that matches a phrase at the end of a text without closing marks."""
        if self._at_end is None:
            before = r"(?<!\w)" if self._spaced else ""
            self._at_end = re.compile(f"{before}(?:{self._alternatives})$")
        return self._at_end

    @property
    def _alternatives(self) -> str:
        return "|".join(map(re.escape, self._phrases)) or NOTHING


class Beginnings:
    """Phrases of several sections, looked up at once."""

    def __init__(self, sections: Mapping[str, Iterable[str]], *, spaced: bool) -> None:
        """Take the phrases by section. Of equally long phrases, the section that comes first counts."""
        self._spaced = spaced
        by_head: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for section, phrases in sections.items():
            for phrase in {lowered(each) for each in phrases}:
                by_head[head_of(phrase, 0, spaced=spaced)].append((phrase, section))
        self._by_head = {head: tuple(sorted(each, key=longest_first)) for head, each in by_head.items()}

    def at(self, lower: str, start: int) -> Iterator[tuple[str, int]]:
        """Yield the sections of the phrases at *start* of a lower-case text with their ends, the longest first."""
        for phrase, section in self._by_head.get(head_of(lower, start, spaced=self._spaced), ()):
            if lower.startswith(phrase, start):
                end = start + len(phrase)
                if not self._spaced or not lower[end : end + 1].isalnum() or not phrase[-1].isalnum():
                    yield section, end


def longest_first(entry: tuple[str, str]) -> int:
    """Return a sorting key."""
    return -len(entry[0])


def head_of(text: str, start: int, *, spaced: bool) -> str:
    """Return the first word at *start*, or the first character of a script without spaces."""
    if not spaced:
        return text[start : start + 1]
    word = WORD.match(text, start)
    return word[0] if word else text[start : start + 1]
