"""The words of change in each language, such as "no longer" and "instead of": the section `[changes]` of its table."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache, cached_property
from typing import TYPE_CHECKING, NamedTuple

from ilab_chat_service.message_statements.language import COMMON, LANGUAGES
from ilab_chat_service.message_statements.text import folded, lowered, tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ilab_chat_service.message_statements.language import Language

#: The sections of `[changes]` that are lists of phrases.
PHRASES = ("ended", "disposed", "left", "instead", "moved", "switched", "now", "added", "hints")
#: Those whose phrases tell an end without a word of change, and those about what ends: words of a statement as well.
ENDS = ("died", "repaid", "settled")
ENDING_PHRASES = (*ENDS, "owed", "open", "unless")
#: Those that tell the language.
LANGUAGE_PHRASES = frozenset({*PHRASES, *ENDS} - {"hints"})
#: Stands for some words of the same clause in a phrase.
GAP = "…"

#: A word, or a part of one with an apostrophe.
PART = re.compile(r"[^\W_]+")


class Changes:
    """The section `[changes]` of a table."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self.code = language.code
        self.spaced = language.spaced

    @cached_property
    def _table(self) -> Mapping[str, object]:
        found: Mapping[str, object] = self._language.table.get("changes", {})
        return found

    @property
    def before(self) -> bool:
        """Whether "instead of" and "from" follow their words."""
        return bool(self._table.get("before"))

    @property
    def capital_nouns(self) -> bool:
        """Whether all nouns have a capital letter."""
        return bool(self._table.get("capital_nouns"))

    def phrases(self, section: str) -> list[str]:
        """Return the phrases of a list."""
        listed = self._table.get(section, [])
        return [lowered(str(each)) for each in listed] if isinstance(listed, list) else []

    def listed(self, section: str) -> frozenset[str]:
        """Return the words of a text."""
        return frozenset(folded(str(self._table.get(section, ""))).split())

    @cached_property
    def starts(self) -> dict[str, list[tuple[str, list[str]]]]:
        """The phrases as kind and parts between gaps, by their first word, or character without spaces."""
        found: dict[str, list[tuple[str, list[str]]]] = defaultdict(list)
        for section in (*PHRASES, *ENDING_PHRASES):
            for phrase in sorted(self.phrases(section), key=len, reverse=True):
                first = next(at for at in range(len(phrase)) if phrase[at].isalnum())
                word = PART.match(phrase, first) if self.spaced else None
                found[word[0] if word else phrase[first]].append((section, phrase.split(f" {GAP} ")))
        return dict(found)

    @cached_property
    def triggers(self) -> frozenset[str]:
        """Words by which a phrase of change begins."""
        return frozenset(
            folded(word)
            for word, phrases in self.starts.items()
            if any(kind in LANGUAGE_PHRASES for kind, _ in phrases)
        )

    @cached_property
    def words(self) -> frozenset[str]:
        """Words of all phrases, with accents, as far as they have some content."""
        phrases = (phrase for section in (*PHRASES, *ENDING_PHRASES) for phrase in self.phrases(section))
        found = {word for phrase in phrases for word in PART.findall(phrase)}
        return frozenset(word for word in found if folded(word) not in self.light)

    @cached_property
    def function(self) -> frozenset[str]:
        """Words with a function alone."""
        return self.listed("function")

    @cached_property
    def light(self) -> frozenset[str]:
        """Words with little or no content."""
        return self.function | self.listed("light")

    @cached_property
    def vague(self) -> frozenset[str]:
        """Words that tell less than others which matter a statement is about."""
        return self.listed("vague")

    @cached_property
    def light_pattern(self) -> re.Pattern[str]:
        """A pattern for words without content in a script without spaces."""
        words = sorted(self.light | self.listed("times") | self.listed("weekdays"), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, words)) or "(?!)")

    @cached_property
    def possessive(self) -> tuple[str, ...]:
        """Words of "my"."""
        return tuple(self.listed("possessive"))

    def speaks_first(self, lower: str) -> bool:
        """Return whether *lower*, a statement, begins with a word by which a speaker means themselves."""
        first = lower.split(" ", 1)[0]
        return not self._language.first_person.isdisjoint({first, first.partition("'")[0]})

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The kind of a word that is a value."""
        of_kind = {"weekdays": "weekday", "months": "month", "times": "part"}
        return {word: kind for section, kind in of_kind.items() for word in self.listed(section)}

    @cached_property
    def clock(self) -> frozenset[str]:
        """Words next to a time of day."""
        return self.listed("clock")

    @cached_property
    def events(self) -> frozenset[str]:
        """Words of events of the past."""
        return self.listed("events")

    @cached_property
    def several(self) -> frozenset[str]:
        """Verbs that can have several objects."""
        return self.listed("several")


CHANGES = {language.code: Changes(language) for language in LANGUAGES}


class Hints(NamedTuple):
    """Tokens by which a statement may tell a change, of all languages."""

    triggers: frozenset[str]
    """A statement with a phrase of change has one of these."""
    possessive: frozenset[str]
    """Words of "my"."""
    values: frozenset[str]
    """Words of days, months and times of day."""
    doubting: frozenset[str]
    """A message that puts a statement in doubt has a number or one of these."""
    ending: frozenset[str]
    """A statement that tells an end without a word of change has one of these."""


@cache
def hints() -> Hints:
    """Return the hints. The first call parses all tables."""
    of_all = CHANGES.values()
    triggers = triggers_of("ended", "disposed", "left", "instead", "moved", "now")
    values = frozenset(word for changes in of_all for word in changes.kinds)
    return Hints(
        triggers=triggers,
        possessive=frozenset(word for changes in of_all for word in changes.possessive),
        values=values,
        doubting=triggers | values | triggers_of("hints"),
        ending=triggers_of(*ENDS),
    )


def triggers_of(*sections: str) -> frozenset[str]:
    """Return tokens of which a text with a phrase of *sections* has one."""
    return frozenset(
        trigger_of(phrase, spaced=changes.spaced)
        for changes in CHANGES.values()
        for section in sections
        for phrase in changes.phrases(section)
    )


def load() -> None:
    """Build the tables and patterns that the first statement needs."""
    hints()
    for changes in CHANGES.values():
        for made in ("starts", "triggers", "words", "light", "light_pattern", "kinds", "clock", "events", "several"):
            getattr(changes, made)


def may_change(words: frozenset[str]) -> bool:
    """Return whether a statement with these tokens may have a word of change, or say "my" of a value."""
    if not words.isdisjoint(hints().triggers):
        return True
    return not words.isdisjoint(hints().possessive) and (
        not words.isdisjoint(hints().values) or any(word[:1].isdigit() for word in words)
    )


def trigger_of(phrase: str, *, spaced: bool) -> str:
    """Return a token of a text that contains *phrase*."""
    last = folded(phrase.rpartition(GAP)[2].strip(" ,"))
    return min(reversed(tokens(last)), key=lambda word: (word in COMMON, -len(word))) if spaced else last[:2]
