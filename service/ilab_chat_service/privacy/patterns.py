"""Whole private texts and codes, found in one pass over the reply."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from ilab_chat_service.privacy.text import MIN_MATCH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ilab_chat_service.privacy.text import Skeleton, Span


#: Patterns times characters of the reply up to which each pattern is looked up first. That takes 20 ms at most.
MAX_LOOKUPS = 4_000_000

#: Maximum number of steps that a search remembers. This bounds memory.
MAX_STEPS = 65_536


def verbatim_leaks(reply: Skeleton, patterns: Iterable[str]) -> Iterator[Span]:
    """Yield the spans of *reply* that are one of *patterns*. Overlapping spans are joined."""
    patterns = [pattern for pattern in patterns if len(pattern) <= len(reply.text)]
    if len(patterns) * len(reply.text) <= MAX_LOOKUPS:
        # Most replies repeat nothing, and an automaton takes as long to build as there is private text.
        patterns = [pattern for pattern in patterns if pattern in reply.text]
    # Arrays, not tuples: every second character may start a span.
    starts, ends = array("L"), array("L")
    for first, last in Patterns.of(patterns).found(reply.text):
        start, end = reply.span(first, last)
        can_be_embedded = last + 1 - first >= MIN_MATCH or not reply.text[first : last + 1].isascii()
        if can_be_embedded or not (reply.source[start - 1 : start].isalnum() or reply.source[end : end + 1].isalnum()):
            # Ends are ascending, but a later match may start before several earlier ones.
            while ends and ends[-1] >= start:
                start = min(start, starts.pop())
                ends.pop()
            starts.append(start)
            ends.append(end)
    return zip(starts, ends, strict=True)


class Patterns:
    """An automaton that finds any number of patterns in one pass (Aho and Corasick, CACM 18(6), 1975).

    A state is a prefix of a pattern: the longest one that the text read so far ends with. State 0 is the empty prefix.
    """

    def __init__(self) -> None:
        # Per state: the first transition, as a character and the next state. Further transitions are in one dictionary:
        # most states have only one, and a dictionary per state would need ten times the memory.
        self._character = array("L", [0])
        self._next = array("L", [0])
        self._more: dict[tuple[int, int], int] = {}
        # Per state: the failure link (the state of its longest proper suffix), the length of the longest pattern that
        # ends here, and a bit for each length below MIN_MATCH of a pattern that ends here.
        self._failure = array("L", [0])
        self._longest = array("L", [0])
        self._short = bytearray(1)

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Patterns:
        """Return the automaton of *patterns*, which must not be empty texts."""
        made = cls()
        # Breadth first: the failure link of a new state is a shorter prefix, so it exists already.
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
                    made._short[state] |= (length < MIN_MATCH) << length
        return made

    def found(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the first and last index of matches in *text*, with ascending last index.

        Of the patterns that end at one index: the longest, and every one shorter than MIN_MATCH.
        """
        all_longest, all_short = self._longest, self._short
        # Steps taken before, which is several times as fast: a text that follows few patterns repeats its steps.
        steps: dict[int, int] = {}
        state = 0
        for last, character in enumerate(map(ord, text)):
            # A code point has 21 bits.
            step = state << 21 | character
            if (after := steps.get(step)) is None:
                after = self._step(state, character)
                if len(steps) < MAX_STEPS:
                    steps[step] = after
            state = after
            if longest := all_longest[state]:
                yield last + 1 - longest, last
            if short := all_short[state]:
                yield from ((last + 1 - length, last) for length in range(1, MIN_MATCH) if short >> length & 1)

    def _grow(self, state: int, character: int) -> int:
        """Return the state after *state* and *character*, added if it is missing."""
        if found := self._child(state, character):
            return found
        new = len(self._failure)
        failure = self._step(self._failure[state], character) if state else 0
        if self._next[state]:
            self._more[state, character] = new
        else:
            self._character[state], self._next[state] = character, new
        for column, value in (
            (self._character, 0), (self._next, 0), (self._failure, failure), (self._longest, self._longest[failure]),
            (self._short, self._short[failure]),
        ):  # fmt: skip
            column.append(value)
        return new

    def _step(self, state: int, character: int) -> int:
        """Return the state after *state* and *character*, following failure links."""
        while not (found := self._child(state, character)) and state:
            state = self._failure[state]
        return found

    def _child(self, state: int, character: int) -> int:
        if self._character[state] == character:
            return self._next[state]
        return self._more.get((state, character), 0)
