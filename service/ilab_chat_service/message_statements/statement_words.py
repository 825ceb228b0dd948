"""The subject of a statement: its words with content, its values, and its words of change, by a table's `[changes]`."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from ilab_chat_service.message_statements.change_words import ENDING_PHRASES, ENDS, GAP, PART
from ilab_chat_service.message_statements.language import COMMON, LANGUAGES, languages_of
from ilab_chat_service.message_statements.text import folded, key_of, lowered, tokens

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from ilab_chat_service.message_statements.language import Language

#: Kinds of phrases by which a statement tells a change, no matter whom it is about.
TELLING = frozenset({"ended", "disposed", "left", "instead", "moved"})
#: Kinds of phrases whose words are words of the statement as well.
UNTAKEN = frozenset({"switched", "added", "hints", *ENDING_PHRASES})
#: Maximum number of characters of a statement that are read.
READ_CHARACTERS = 300

#: A number, or a word of letters.
TOKEN = re.compile(r"\d+(?:[.,:h]\d+)*|[^\W\d_]+")
#: A time of day in digits.
CLOCK = re.compile(r"\d{1,2}[:h.]\d{2}")
#: Between clauses. The point of a number or an abbreviation has a letter or digit behind it.
CLAUSE = re.compile(r"[,;:!?…]\s|[.]\s(?=\S{2})|\s[-–—]\s|[，、；：。！？（）()]|,(?=[^\W\d_a-zA-Z])")
#: Runs of characters of scripts without spaces: a word in katakana, Han characters, or Hangul.
RUN = re.compile("[\u30a1-\u30ff]{2,}|[\u4e00-\u9fff]+|[\uac00-\ud7a3]+")

#: Characters of a word by which statements about the same are found.
BEGINNING = 4
#: Shortest word of change that tells a language by itself.
TELLING_CHARACTERS = 4
#: Maximum number of characters between two parts of a phrase of change.
GAP_CHARACTERS = 50


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
    triggers = triggers_of("ended", "disposed", "left", "instead", "moved", "now")
    values = frozenset(word for language in LANGUAGES for word in language.changes.kinds)
    return Hints(
        triggers=triggers,
        possessive=frozenset(word for language in LANGUAGES for word in language.changes.possessive),
        values=values,
        doubting=triggers | values | triggers_of("hints"),
        ending=triggers_of(*ENDS),
    )


def triggers_of(*sections: str) -> frozenset[str]:
    """Return tokens of which a text with a phrase of *sections* has one."""
    return frozenset(
        trigger_of(phrase, spaced=language.spaced)
        for language in LANGUAGES
        for section in sections
        for phrase in language.changes.phrases(section)
    )


def trigger_of(phrase: str, *, spaced: bool) -> str:
    """Return a token of a text that contains *phrase*."""
    last = folded(phrase.rpartition(GAP)[2].strip(" ,"))
    return min(reversed(tokens(last)), key=lambda word: (word in COMMON, -len(word))) if spaced else last[:2]


class Word(NamedTuple):
    """A word with content, or a value."""

    key: str
    """Equal for the forms of a word."""
    start: int
    clause: int
    is_name: bool


class Marker(NamedTuple):
    """A phrase of change."""

    kind: str
    start: int
    end: int
    clause: int


@dataclass(frozen=True, slots=True)
class Saying:
    """One statement."""

    words: tuple[Word, ...]
    """Those with content, in order."""
    light_words: tuple[Word, ...]
    """Those with little content, such as "day"."""
    numbers: tuple[Word, ...]
    values: Mapping[str, frozenset[str]]
    """Days, dates, times, amounts and numbers, by kind."""
    value_clauses: Mapping[str, frozenset[int]]
    markers: tuple[Marker, ...]
    event_clauses: frozenset[int]
    """Clauses that tell an event of the past, which no later one changes."""
    has_several: bool
    """Whether its verb can have several objects at once: "have", "like"."""
    is_possessed: bool
    """Whether it begins with "my"."""
    keys: frozenset[str]
    """Of its words, and the numbers in the name of what it is about."""
    language: Language
    is_own: bool
    """Whether it begins with a word by which a speaker means themselves."""

    def marked(self, *kinds: str) -> list[Marker]:
        """Return the markers of these kinds."""
        return [each for each in self.markers if each.kind in kinds]

    def in_clause(self, clause: int) -> list[Word]:
        """Return the words of a clause, or of the last one before it that has any."""
        while clause > 0 and not any(word.clause == clause for word in self.words):
            clause -= 1
        return [word for word in self.words if word.clause == clause]


def saying(text: str) -> Saying | None:
    """Return what *text*, one statement, is about; None if its language is unknown."""
    text = " ".join(text[:READ_CHARACTERS].split())
    low = folded(text)
    language = language_of(low, text)
    if language is None:
        return None
    return Reader(text, low, language).saying()


def tells_change(text: str) -> bool:
    """Return whether *text* tells that something has ended or changed."""
    if frozenset(tokens(folded(text))).isdisjoint(hints().triggers):
        return False
    said = saying(text)
    return said is not None and bool(said.words) and any(each.kind in TELLING for each in said.markers)


def language_of(low: str, text: str) -> Language | None:
    """Return the language of a statement: the one with most of its words."""
    words = tokens(low)
    found = languages_of(words, text)
    if len(found) == 1 and has_phrase(found[0], words):
        return found[0]
    spelled = frozenset(tokens(lowered(text)))
    # "Larguei o curso" has no word that is common, but one that only one language has.
    telling = [word for word in words if len(word) >= TELLING_CHARACTERS]
    longer = frozenset(word for word in spelled if len(word) + (not word.isascii()) >= TELLING_CHARACTERS)
    found += tuple(
        each
        for each in LANGUAGES
        if each not in found and (has_phrase(each, telling) or (found and not each.changes.words.isdisjoint(longer)))
    )

    def likelihood(language: Language) -> tuple[int, int, bool]:
        known = len(language.changes.words & longer)
        return count_of(language, words) + known, len(language.common & spelled), has_phrase(language, words)

    return max(found, key=likelihood, default=None)


def has_phrase(language: Language, words: Sequence[str]) -> bool:
    """Return whether *words* may contain a phrase of change."""
    return not language.changes.triggers.isdisjoint(words)


def count_of(language: Language, words: Sequence[str]) -> int:
    """Return how many of *words* are words of the language without content, or tell an owner."""
    changes = language.changes
    return sum(word in changes.light or word in changes.possessive for word in words)


class Reader:
    """Reads one statement."""

    def __init__(self, text: str, low: str, language: Language) -> None:
        self._text = text
        self._low = low
        self._lower = lowered(text)
        self._language = language
        self._changes = language.changes
        #: The words and numbers, each with its start and its end.
        self._tokens = [(each.group(), each.start(), each.end()) for each in TOKEN.finditer(low)]
        self._starts = [found.end() for found in CLAUSE.finditer(text)]
        self._values: dict[str, set[str]] = defaultdict(set)
        self._value_clauses: dict[str, set[int]] = defaultdict(set)
        self._taken: list[tuple[int, int]] = []
        self._light_words: list[Word] = []
        self._subject_numbers: set[str] = set()

    def saying(self) -> Saying:
        """Return what it says."""
        markers = tuple(self._markers())
        numbers = tuple(self._numbers())
        words = tuple(self._spaced() if self._language.spaced else self._unspaced())
        return Saying(
            words=words,
            light_words=tuple(self._light_words),
            numbers=numbers,
            values={kind: frozenset(each) for kind, each in self._values.items()},
            value_clauses={kind: frozenset(each) for kind, each in self._value_clauses.items()},
            markers=markers,
            event_clauses=frozenset(self._clauses_of(self._changes.events)),
            has_several=bool(list(self._clauses_of(self._changes.several))),
            is_possessed=self._is_possessed(),
            keys=frozenset(word.key for word in words) | self._subject_numbers,
            language=self._language,
            is_own=self._speaks_first(),
        )

    def _clause(self, position: int) -> int:
        return bisect_right(self._starts, position)

    def _markers(self) -> Iterator[Marker]:
        starts = self._changes.starts
        if self._language.spaced:
            places = [(each[0], each.start()) for each in PART.finditer(self._lower)]
        else:
            places = [(each, at) for at, each in enumerate(self._lower)]
        for word, start in places:
            seen = set()
            for kind, parts in starts.get(word, ()):
                if kind not in seen and (spans := self._spans(parts, start)):
                    seen.add(kind)
                    yield Marker(kind, spans[0][0], spans[-1][1], self._clause(start))
                    if kind not in UNTAKEN:
                        self._taken += spans

    def _spans(self, parts: Sequence[str], start: int) -> list[tuple[int, int]]:
        """Return where *parts* of a phrase are whose first letter is at *start*; empty: they are not there."""
        first = parts[0]
        # ", not" begins with a mark.
        start -= next(at for at in range(len(first)) if first[at].isalnum())
        spans: list[tuple[int, int]] = []
        for part in parts:
            if spans:
                start = self._lower.find(part, spans[-1][1], spans[-1][1] + GAP_CHARACTERS)
                while start >= 0 and not self._is_whole(start, start + len(part)):
                    start = self._lower.find(part, start + 1, spans[-1][1] + GAP_CHARACTERS)
            if start < 0 or not self._lower.startswith(part, start) or not self._is_whole(start, start + len(part)):
                return []
            spans.append((start, start + len(part)))
        return spans if self._clause(spans[0][1] - 1) == self._clause(spans[-1][1] - 1) else []

    def _is_whole(self, start: int, end: int) -> bool:
        """Return whether no word is cut at *start* and *end*."""
        low = self._lower
        if not self._language.spaced:
            return True
        cuts_before = low[start].isalnum() and start > 0 and low[start - 1].isalnum()
        return not cuts_before and not (low[end - 1].isalnum() and low[end : end + 1].isalnum())

    def _is_taken(self, start: int) -> bool:
        return any(begin <= start < end for begin, end in self._taken)

    def _clauses_of(self, words: Collection[str]) -> Iterator[int]:
        if self._language.spaced:
            yield from (self._clause(start) for word, start, _ in self._tokens if word in words)
        else:
            yield from (self._clause(at) for word in words if (at := self._low.find(word)) >= 0)

    def _is_possessed(self) -> bool:
        if not self._language.spaced:
            return self._low.startswith(self._changes.possessive)
        return bool({word for word, _, _ in self._tokens[:2]} & {*self._changes.possessive})

    def _speaks_first(self) -> bool:
        first = self._lower.split(" ", 1)[0]
        return not self._language.first_person.isdisjoint({first, first.partition("'")[0]})

    def _add(self, kind: str, value: str, start: int) -> None:
        self._values[kind].add(value)
        self._value_clauses[kind].add(self._clause(start))

    def _numbers(self) -> Iterator[Word]:
        kinds, clock, found = self._changes.kinds, self._changes.clock, self._tokens
        for number, (token, start, end) in enumerate(found):
            if not token[0].isdigit():
                continue
            before = found[number - 1][0] if number else ""
            after = found[number + 1] if number + 1 < len(found) else ("", end, end)
            near = after[0] if after[1] - end <= 2 else ""  # noqa: PLR2004 - ". " of a German date
            second = found[number + 2][0] if number + 2 < len(found) else ""
            months = {
                each for each in (before, near, second if near in {"de", "of"} else "") if kinds.get(each) == "month"
            }
            yield Word(token, start, self._clause(start), is_name=False)
            if self._is_in_subject(number):
                self._subject_numbers.add(token)
            elif months:
                self._add("date", f"{token} {min(months)}", start)
            elif CLOCK.fullmatch(token) or near in clock or before in clock or self._low[end : end + 1] in clock:
                self._add("time", self._low[start : end + 3].strip(), start)
            elif not self._language.spaced:
                unit = self._low[end : end + 1]
                self._add(f"number {unit}", token, start)
            else:
                light = self._changes.light
                self._add(f"number {near}" if near and near not in light else "number", token, start)
                # Its unit does not tell what it is about: euros are paid for anything.
                self._taken.append((after[1], after[2]))
                is_label = before.isalpha() and before not in light and start - found[number - 1][2] == 1
                if is_label and (not near or near in light):
                    self._add(f"label {before}", token, start)

    def _is_in_subject(self, number: int) -> bool:
        """Return whether a number belongs to the name of what "my ..." is about: "my flight 212 leaves at nine"."""
        if number < 2 or not self._language.spaced or not self._is_possessed():  # noqa: PLR2004 - "my", a noun
            return False
        return all(word.isalpha() and word not in self._changes.function for word, _, _ in self._tokens[1:number])

    def _spaced(self) -> Iterator[Word]:
        changes = self._changes
        for word, start, _ in self._tokens:
            kind = changes.kinds.get(word)
            # "May is my best friend".
            if kind and not (kind == "month" and start == 0):
                self._add(kind, word.removesuffix("s"), start)
            elif (
                word.isalpha() and len(word) > 1 and not self._is_taken(start) and not self._is_contracted(word, start)
            ):
                is_name = start > 0 and self._text[start].isupper()
                made = Word(key_of(word), start, self._clause(start), is_name)
                if word not in changes.light:
                    yield made
                elif word not in changes.function:
                    self._light_words.append(made)

    def _is_contracted(self, word: str, start: int) -> bool:
        """Return whether *word* is the end of a contraction: "I've"."""
        return len(word) <= 2 and self._lower[start - 1 : start] == "'"  # noqa: PLR2004 - "ve", "ll", "re"

    def _unspaced(self) -> Iterator[Word]:
        for word, kind in self._changes.kinds.items():
            if (at := self._low.find(word)) >= 0:
                self._add(kind, word, at)
        light = [each.span() for each in self._changes.light_pattern.finditer(self._low)]
        gaps = sorted({*light, *self._taken})
        masked = list(self._low)
        for begin, end in gaps:
            masked[begin:end] = " " * (end - begin)
        for run in RUN.finditer("".join(masked)):
            text, start = run.group(), run.start()
            whole = len(text) <= 2 or "\u30a1" <= text[0] <= "\u30ff"  # noqa: PLR2004 - a pair
            for at in range(1 if whole else len(text) - 1):
                yield Word(text if whole else text[at : at + 2], start + at, self._clause(start), is_name=False)


def beginnings(words: Iterable[str]) -> frozenset[str]:
    """Return the beginnings of words that may have content: statements about the same share one."""
    return frozenset(word[:BEGINNING] for word in words if word not in COMMON and (len(word) > 2 or not word.isascii()))  # noqa: PLR2004
