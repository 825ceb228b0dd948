"""Statements that hold no longer, because a newer one says so.

    >>> list(replacements(["I drive a red Fiesta.", "I sold the Fiesta on Saturday."]))
    [(0, 1)]

Works by words, without a model. Two statements both hold unless the newer one says something else about the same:

- it ends it ("I no longer play the cello", "I sold the Fiesta", "Theo and I broke up");
- it corrects it ("Mira, not Luna", "to Edinburgh instead of London", "from 50 to 75 mg");
- it has a word of change and another value ("the appointment moved to Thursday", "I only work Fridays now");
- both say "my ..." of the same, with another date, time or amount ("my deadline is 20 June", "... 27 June").

A wrong mark is worse than a missing one. So in doubt both hold: what happened stays true, "also" adds, and another
subject is another matter.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from functools import cache, partial
from heapq import nlargest
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ilab_chat_service.message_statements.statement_words import READ_CHARACTERS, beginnings, hints, saying
from ilab_chat_service.message_statements.text import folded, tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from ilab_chat_service.message_statements.statement_words import Marker, Saying, Word

K = TypeVar("K")
V = TypeVar("V")

#: Words after "instead of" that name what is replaced.
REPLACED_WORDS = 2
#: Words of a statement about one thing: then "from A to B" needs no other common word.
SHORT = 3
#: Longest run of words in whose place another one is.
PLACE = 3
#: Words with content of a statement that says enough.
LEAST_WORDS = 3

#: Maximum number of earlier statements that are found by one word, the newest, and that a statement is compared with:
#: those that share most words with it. Without them, the work is quadratic in the number of statements.
FOUND, COMPARED = 64, 32
#: Maximum number of findings that are remembered.
KNOWN = 20_000
#: The beginning of a word with a capital letter.
NAME = re.compile(r"\b[^\W\d_a-z]\w{2,3}")


class Hint(NamedTuple):
    """A first look at a statement."""

    may_change: bool
    """Whether it may say that another statement holds no longer."""
    may_end: bool
    """Whether it may tell an end without a word of change, see `endings`."""
    about: frozenset[str]
    """Beginnings of its words."""
    names: frozenset[str]
    """Beginnings of its words with a capital letter, which may be common words of some language: "Mia"."""


class Findings(dict[K, V]):
    """Findings by the hashes of texts, at most KNOWN: a prompt has mostly the statements of the one before.

    Of a text, only the first letters of its words stay in memory.
    """

    def __setitem__(self, key: K, value: V) -> None:
        if len(self) >= KNOWN:
            self.clear()
        super().__setitem__(key, value)


HINTS: Findings[int, Hint] = Findings()
REPLACED: Findings[tuple[int, int], bool] = Findings()


def replacements(statements: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the positions of one of *statements*, which are oldest first, and of a later one that replaces it."""
    looks = ((look.may_change, look.about) for look in map(hint, statements))
    yield from told(statements, looks, REPLACED, may_replace, replaces)


def told(
    statements: Sequence[str],
    looks: Iterable[tuple[bool, Collection[str]]],
    findings: Findings[tuple[int, int], bool],
    may_tell: Callable[[Saying], object],
    tells: Callable[[Saying, Saying], bool],
) -> Iterator[tuple[int, int]]:
    """Yield the positions of one of *statements* and of a later one that *tells* something about it.

    Args:
        statements: the statements, oldest first.
        looks: see `compared`.
        findings: what was found for pairs of statements before.
        may_tell: whether a statement can tell something about any other.
        tells: whether the first statement tells something about the second.
    """
    read = cache(saying)
    for older, newer in compared(looks):
        key = hash(statements[older]), hash(statements[newer])
        found = findings.get(key)
        if found is None:
            said = read(statements[newer])
            before = read(statements[older]) if said and may_tell(said) else None
            found = findings[key] = said is not None and before is not None and tells(said, before)
        if found:
            yield older, newer


def compared(looks: Iterable[tuple[bool, Collection[str]]]) -> Iterator[tuple[int, int]]:
    """Yield the positions of a statement and of a later one that are compared.

    *looks*: of each statement, oldest first, whether it may say something about an earlier one, and what it is about.
    Such a statement is compared with those that share most of that, COMPARED at most.
    """
    earlier: dict[str, deque[int]] = defaultdict(partial(deque, maxlen=FOUND))
    for number, (may_tell, about) in enumerate(looks):
        if may_tell:
            shared = Counter(older for word in about for older in earlier.get(word, ()))
            for older in nlargest(COMPARED, shared, key=lambda older: (shared[older], older)):
                yield older, number
        for word in about:
            earlier[word].append(number)


def hint(statement: str) -> Hint:
    """Return a first look at *statement*."""
    key = hash(statement)
    found = HINTS.get(key)
    if found is None:
        words = frozenset(tokens(folded(statement[:READ_CHARACTERS])))
        found = HINTS[key] = Hint(
            not words.isdisjoint(hints().triggers) or is_of_own_value(words),
            not words.isdisjoint(hints().ending),
            beginnings(words),
            frozenset(found.lower() for found in NAME.findall(statement[:READ_CHARACTERS])),
        )
    return found


def is_of_own_value(words: frozenset[str]) -> bool:
    """Return whether a statement with these tokens may say "my" of a value."""
    return not words.isdisjoint(hints().possessive) and (
        not words.isdisjoint(hints().values) or any(word[:1].isdigit() for word in words)
    )


def may_replace(newer: Saying) -> bool:
    """Return whether *newer* has a word of change, or says "my" of a value."""
    return bool(newer.markers or (newer.is_possessed and newer.values))


def replaces(newer: Saying, older: Saying) -> bool:
    """Return whether *older* holds no longer when *newer* is said."""
    return (
        any(ends(newer, older, marker) for marker in newer.marked("ended", "disposed", "left"))
        or any(corrects(newer, older, marker) for marker in newer.marked("instead"))
        or switches(newer, older)
        or has_other_value(newer, older)
        or is_said_of_another(newer, older)
    )


def is_event(older: Saying, keys: Iterable[str]) -> bool:
    """Return whether *older* tells an event in a clause with one of *keys*."""
    wanted = {*keys}
    return any(word.clause in older.event_clauses for word in older.words if word.key in wanted)


def ends(newer: Saying, older: Saying, marker: Marker) -> bool:
    """Return whether *newer* says by *marker* that what *older* says has ended."""
    if older.marked("ended", "disposed", "left"):
        # It has ended already.
        return False
    objects = newer.in_clause(marker.clause)
    keys = [word.key for word in objects]
    if not keys or keys[0] not in older.keys or is_event(older, keys[:1]):
        return False
    if marker.kind == "ended" and not older.keys.issuperset(keys):
        return False
    if marker.kind == "left" and not (objects[0].is_name and objects[0].start >= marker.end):
        # "I left Leeds", but not "I left the office at six".
        return False
    if marker.kind != "ended" and not disposes(newer, older, marker, objects):
        return False
    is_own = newer.is_own or not any(word.start < marker.start for word in objects)
    return not has_name_before(older, keys, or_relative=is_own)


def disposes(newer: Saying, older: Saying, marker: Marker, objects: Sequence[Word]) -> bool:
    """Return whether *newer* says by *marker* that *objects*, which *older* names, were given up."""
    subjects = [word.key for word in objects if word.start < marker.start]
    if subjects and not is_about(older, subjects):
        return False
    ended = {word.key for word in objects if word.start >= marker.end}
    if ended and not ended & older.keys:
        # "Ana stopped smoking" ends nothing else about Ana.
        return False
    names = {word.key for word in objects if word.is_name}
    return not newer.marked("added") and (not names or bool(names & older.keys))


def is_about(older: Saying, subjects: Sequence[str]) -> bool:
    """Return whether *older* has all *subjects* ("Ann and Ben split up"), the first of them in its first clause."""
    first_clause = {word.key for word in older.words if word.clause == 0}
    return subjects[0] in first_clause and older.keys.issuperset(subjects)


def has_name_before(older: Saying, keys: Sequence[str], *, or_relative: bool) -> bool:
    """Return whether *older* names something else, *or_relative*, before what *keys* are."""
    for word in older.words:
        if word.key in keys:
            return False
        if word.is_name or (or_relative and word.key in older.language.relatives):
            return True
    return False


def replaced_words(newer: Saying, marker: Marker) -> list[Word]:
    """Return the words next to *marker* that name what is replaced: of its clause, on its side."""
    near = sorted((*newer.words, *newer.numbers), key=lambda word: word.start)
    if newer.language.changes.before:
        return [word for word in near if word.start < marker.start and word.clause == marker.clause][-1:]
    return [word for word in near if word.start >= marker.end and word.clause == marker.clause][:REPLACED_WORDS]


def is_in(word: Word, older: Saying) -> bool:
    """Return whether *older* has *word*."""
    return word.key in older.keys or any(word.key == number.key for number in older.numbers)


def corrects(newer: Saying, older: Saying, marker: Marker) -> bool:
    """Return whether *newer* says that it is something else, "not" or "instead of" what *older* says."""
    replaced = replaced_words(newer, marker)
    if not replaced or not is_in(replaced[0], older):
        return False
    others = {word.key for word in newer.words} - {replaced[0].key}
    return bool(others & older.keys)


def switches(newer: Saying, older: Saying) -> bool:
    """Return whether *newer* says that something changed "from" what *older* says."""
    if not newer.marked("moved"):
        return False
    common = newer.keys & older.keys
    for marker in newer.marked("switched"):
        replaced = replaced_words(newer, marker)[:1]
        if not replaced or not is_in(replaced[0], older) or is_event(older, [replaced[0].key]):
            continue
        if common - {replaced[0].key} or (len(older.keys) <= SHORT and replaced[0].key in common):
            return True
    return False


def has_other_value(newer: Saying, older: Saying) -> bool:
    """Return whether *newer* says with a word of change that a date, time or amount of *older* is another one."""
    markers = newer.marked("now", "moved")
    if not markers or newer.marked("added"):
        return False
    for kind in newer.values.keys() & older.values.keys():
        if newer.values[kind] == older.values[kind]:
            continue
        clauses = newer.value_clauses[kind] | {marker.clause for marker in markers}
        said = {word.key for clause in clauses for word in newer.in_clause(clause)}
        before = older.keys
        if not said:
            # "My days off changed".
            said = {word.key for word in newer.light_words if word.clause <= max(clauses)}
            before = frozenset(word.key for word in older.light_words)
        common = said & before
        if not common or is_event(older, common):
            continue
        others = len(said - common)
        # "The doctor raised my ramipril to 10 mg": a change of an amount may name who changed it.
        is_changed = kind.startswith("number ") and bool(newer.marked("moved"))
        if kind.startswith("label ") or not others or (others == 1 and (len(common) > 1 or is_changed)):
            return True
    return False


def is_said_of_another(newer: Saying, older: Saying) -> bool:
    """Return whether both say something of the same, and something else: "my exam is ...", "I work on ... now"."""
    if newer.marked("added") or older.marked("added") or is_event(older, newer.keys):
        return False
    if newer.is_possessed and older.is_possessed and newer.keys == older.keys and not newer.event_clauses:
        kinds = newer.values.keys() & older.values.keys()
        return any(newer.values[kind] != older.values[kind] for kind in kinds)
    if not newer.marked("now") or newer.has_several or older.has_several:
        return False
    return is_in_place_of(newer, older)


def is_in_place_of(newer: Saying, older: Saying) -> bool:
    """Return whether *newer* has other words in one place of *older*, behind the same words."""
    keys, before = ([word.key for word in each.words] for each in (newer, older))
    start = next((at for at, pair in enumerate(zip(keys, before, strict=False)) if pair[0] != pair[1]), 0)
    if start == 0 or newer.words[0].clause != newer.words[start - 1].clause:
        return False
    rest, rest_before = keys[start:], before[start:]
    names = [each.words[start].is_name for each in (newer, older)]
    is_same_kind = names[0] == names[1] and not {*rest} & {*rest_before}
    return is_same_kind and max(len(rest), len(rest_before)) <= PLACE and start > 1


def says_much(statement: str) -> bool:
    """Return whether *statement* has a few words with content: "Pray for us." has one."""
    return len(hint(statement).about) >= LEAST_WORDS
