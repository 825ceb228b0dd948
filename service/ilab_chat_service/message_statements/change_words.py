"""The words of change in a language, such as "no longer" and "instead of": the section `[changes]` of its table."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from ilab_chat_service.message_statements.text import folded, key_of, lowered, tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The sections of `[changes]` that are lists of phrases.
PHRASES = ("ended", "disposed", "left", "instead", "moved", "switched", "now", "added", "hints")
#: Those whose phrases tell an end without a word of change, and those about what ends: words of a statement as well.
ENDS = ("died", "repaid", "settled")
ENDING_PHRASES = (*ENDS, "owed", "open", "unless")
#: Those that tell the language.
LANGUAGE_PHRASES = frozenset({*PHRASES, *ENDS} - {"hints"})
#: Stands for some words of the same clause in a phrase.
GAP = "…"
#: Sections with words that are values, and the kinds of these.
KINDS = {"weekdays": "weekday", "months": "month", "times": "part"}

#: A word, or a part of one with an apostrophe.
PART = re.compile(r"[^\W_]+")


class Changes:
    """The section `[changes]` of a table."""

    def __init__(self, table: Mapping[str, Any], *, spaced: bool) -> None:
        self._table = table
        self.before: bool = table.get("before", False)
        """Whether "instead of" and "from" follow their words."""
        self.capital_nouns: bool = table.get("capital_nouns", False)
        """Whether all nouns have a capital letter."""
        self.possessive = tuple(self._listed("possessive"))
        """Words of "my"."""
        self.function = self._listed("function")
        """Words with a function alone."""
        self.light = self.function | self._listed("light")
        """Words with little or no content."""
        self.vague = self._listed("vague")
        """Words that tell less than others which matter a statement is about."""
        self.clock = self._listed("clock")
        """Words next to a time of day."""
        self.events = self._listed("events")
        """Words of events of the past."""
        self.several = self._listed("several")
        """Verbs that can have several objects."""
        self.kinds = {word: kind for section, kind in KINDS.items() for word in self._listed(section)}
        """The kind of a word that is a value."""
        self.starts: dict[str, list[tuple[str, list[str]]]] = defaultdict(list)
        """The phrases as kind and parts between gaps, by their first word, or character without spaces."""
        words: set[str] = set()
        for section in (*PHRASES, *ENDING_PHRASES):
            for phrase in sorted(self.phrases(section), key=len, reverse=True):
                first = next(at for at in range(len(phrase)) if phrase[at].isalnum())
                word = PART.match(phrase, first) if spaced else None
                self.starts[word[0] if word else phrase[first]].append((section, phrase.split(f" {GAP} ")))
                words.update(PART.findall(phrase))
        self.triggers = frozenset(
            folded(word)
            for word, phrases in self.starts.items()
            if any(kind in LANGUAGE_PHRASES for kind, _ in phrases)
        )
        """Words by which a phrase of change begins."""
        self.words = frozenset(word for word in words if folded(word) not in self.light)
        """Words of all phrases, with accents, as far as they have some content."""
        self.ending_keys = frozenset(
            key_of(word) for kind in ENDS for phrase in self.phrases(kind) for word in tokens(folded(phrase))
        )
        """Words of the phrases that tell an end, as they are compared."""
        empty = frozenset() if spaced else self.light | self._listed("times") | self._listed("weekdays")
        self.light_pattern = re.compile("|".join(map(re.escape, sorted(empty, key=len, reverse=True))) or "(?!)")
        """A pattern for words without content in a script without spaces."""

    def phrases(self, section: str) -> list[str]:
        """Return the phrases of a list."""
        return [lowered(each) for each in self._table.get(section, ())]

    def _listed(self, section: str) -> frozenset[str]:
        return frozenset(folded(self._table.get(section, "")).split())
