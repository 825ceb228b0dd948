"""Lists of phrases of a table, found quickly: most sentences contain none of their first words."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from ilab_chat_service.message_statements.text import WORD, folded, lowered, tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: A pattern that matches nothing.
NOTHING = "(?!)"

#: A section and the end of one of its phrases.
Found: TypeAlias = tuple[str, int]


class Beginnings:
    """Phrases of several sections, looked up at once."""

    def __init__(self, sections: Mapping[str, Iterable[str]], *, spaced: bool) -> None:
        """Take the phrases by section. Of equally long phrases, the section that comes first counts."""
        self._spaced = spaced
        by_head: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for section, phrases in sections.items():
            for phrase in {lowered(each) for each in phrases}:
                by_head[head_of(phrase, 0, spaced=spaced)].append((phrase, section))
        self._by_head = {head: sorted(each, key=longest_first) for head, each in by_head.items()}

    def at(self, lower: str, start: int) -> list[Found]:
        """Return the sections of the phrases at *start* of a lower-case text with their ends, the longest first."""
        found: list[Found] = []
        phrases = self._by_head.get(head_of(lower, start, spaced=self._spaced))
        if phrases is None:
            return found
        for phrase, section in phrases:
            if lower.startswith(phrase, start):
                end = start + len(phrase)
                if not self._spaced or not lower[end : end + 1].isalnum() or not phrase[-1].isalnum():
                    found.append((section, end))
        return found


class Phrases:
    """Phrases of one section, in lower case."""

    def __init__(self, phrases: Iterable[str], *, spaced: bool) -> None:
        """Take *phrases* of a language whose words are separated by spaces, or not."""
        self._spaced = spaced
        self._phrases = sorted({lowered(each) for each in phrases}, key=len, reverse=True)

    def __bool__(self) -> bool:
        return bool(self._phrases)

    @cached_property
    def _beginnings(self) -> Beginnings:
        return Beginnings({"": self._phrases}, spaced=self._spaced)

    def at(self, lower: str, start: int) -> int:
        """Return the end of the longest phrase at *start* of a lower-case text, or 0."""
        found = self._beginnings.at(lower, start)
        return found[0][1] if found else 0

    def required(self) -> Iterator[tuple[frozenset[str], ...]]:
        """Yield for each phrase what a sentence with it has: a token of each set."""
        for phrase in map(folded, self._phrases):
            words = tokens(phrase) if self._spaced or phrase.isascii() else [phrase[0]]
            # "Don't" may follow an apostrophe.
            yield tuple({frozenset((word,)) for word in words if "'" not in word})

    @cached_property
    def anywhere(self) -> re.Pattern[str]:
        """A pattern that finds a phrase anywhere."""
        return re.compile(rf"(?<!\w)(?:{self._alternatives})(?!\w)" if self._spaced else self._alternatives)

    @cached_property
    def at_end(self) -> re.Pattern[str]:
        """A pattern that matches a phrase at the end of a text without closing marks."""
        before = r"(?<!\w)" if self._spaced else ""
        return re.compile(f"{before}(?:{self._alternatives})$")

    @property
    def _alternatives(self) -> str:
        return "|".join(map(re.escape, self._phrases)) or NOTHING


def longest_first(entry: tuple[str, str]) -> int:
    """Return a sorting key."""
    return -len(entry[0])


def head_of(text: str, start: int, *, spaced: bool) -> str:
    """Return the first word at *start*, or the first character of a script without spaces."""
    if not spaced:
        return text[start : start + 1]
    word = WORD.match(text, start)
    return word[0] if word else text[start : start + 1]
