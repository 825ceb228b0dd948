"""Statements that may hold no longer, because a newer one seems to change what they say, or tells their end.

Weaker findings than those of `outdated.py`, for a weaker mark.

    >>> list(doubts([Said("We curl on Wednesdays."), Said("Curling's moved to Sundays for the rest of the season.")]))
    [(0, 1)]

The newer message names the same, and

- has a word of change ("no longer", "moved to", "from now on", a phrase of `hints`), or
- has another day, date, time or amount.

Both are read as whole messages, because the subject is often named in another sentence than the value. Words that many
messages have do not name a subject. An event stays true: "I ran 5 km on Monday" is not in doubt.

    >>> list(endings(["Paolo owes me 50 euros.", "Paolo paid me back."]))
    [(0, 1)]

A newer statement tells an end without a word of change, by the words of a table's `[changes]`:

- a death ("Pip died last night") ends what was said of a person or an animal by the same name or word;
- a repayment (`repaid`) ends a debt (`owed`) of somebody of the same name;
- something done (`settled`: "the leak is fixed", "I sent the form") ends an open matter (`open`: "the tap leaks", "I
  have to send the form") that names the same thing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from ilab_chat_service.message_statements.change_words import ENDS
from ilab_chat_service.message_statements.language import LANGUAGES
from ilab_chat_service.message_statements.outdated import Findings, hint, is_event, told
from ilab_chat_service.message_statements.statement_words import (
    BEGINNING,
    beginnings,
    hints,
    language_of,
    saying,
)
from ilab_chat_service.message_statements.text import folded, key_of, lowered, tokens

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from ilab_chat_service.message_statements.language import Language
    from ilab_chat_service.message_statements.statement_words import Marker, Saying, Word

#: Kinds of phrases that tell a change, and those that do not if something is added.
STRONG, WEAK = ("ended", "disposed", "instead", "moved", "hints"), ("now",)
#: Letters of a word by which it is compared: "training" and "train".
STEM = 5
#: A word that more messages have does not tell what they are about.
MOST_MESSAGES = 5
#: Words that two messages have in common, if only a value tells a change.
LEAST_COMMON = 2
#: The kind of phrase that tells what each of `ENDS` ends. None: anything.
ENDED_BY = {"died": None, "repaid": "owed", "settled": "open"}


class Said(NamedTuple):
    """A statement."""

    text: str
    message: str = ""
    """All statements of its message. Empty: this one."""


class Digest(NamedTuple):
    """A message or a statement, as it is compared."""

    subjects: frozenset[int] = frozenset()
    """Its words that name something, without those in clauses that tell what happened."""
    words: frozenset[int] = frozenset()
    """All its words that name something."""
    names: frozenset[int] = frozenset()
    """Those of them that are names."""
    beginnings: Mapping[int, str] = {}
    """The first letters of each."""
    values: Mapping[str, frozenset[str]] = {}
    changed: frozenset[int] = frozenset()
    """Words of clauses with a word of change."""
    adds: bool = False
    """Whether it says that both hold ("also")."""
    is_own: bool = False
    """Whether it tells a change that it names nobody for but the user: "I moved out of Leeds"."""
    relative: int | None = None
    """The relative whom it begins with: "My sister lives in Leeds"."""


class Look(NamedTuple):
    """A first look at a message."""

    may_change: bool
    """Whether it may tell a change, or has a value."""
    about: frozenset[str]
    """Beginnings of its words."""


DIGESTS: Findings[int, Digest] = Findings()
LOOKS: Findings[int, Look] = Findings()
ENDED: Findings[tuple[int, int], bool] = Findings()
NOTHING = Digest()


def doubts(statements: Sequence[Said], known: Collection[int] | None = None) -> Iterator[tuple[int, int]]:
    """Yield the positions of a statement that is in doubt, and of the first one of the later message that doubts it.

    Args:
        statements: the statements, oldest first.
        known: positions of those that tell how many messages have a word. None: all.
    """
    messages: dict[str, list[int]] = defaultdict(list)
    for number, each in enumerate(statements):
        messages[each.message or each.text].append(number)
    texts, numbers = list(messages), list(messages.values())
    looks = [look(text) for text in texts]
    counts = Counter(
        word
        for each, of_message in zip(looks, numbers, strict=True)
        if known is None or of_message[0] in known
        for word in each.about
    )
    earlier: dict[str, list[int]] = defaultdict(list)
    for place, (may_change, about) in enumerate(looks):
        rare = [word for word in about if counts[word] <= MOST_MESSAGES]
        for before in {before for word in rare for before in earlier.get(word, ())} if may_change else ():
            new, old = digest(texts[place]), digest(texts[before])
            shared = {stem for stem in new.words & old.subjects if counts[new.beginnings[stem]] <= MOST_MESSAGES}
            if shared and not is_of_relative(new, old) and (changed := changed_values(new, old, shared)):
                doubtful = (each for each in numbers[before] if is_about(statements[each], shared, *changed))
                # A search hit may say the same as a known statement.
                newer = next((each for each in numbers[place] if known is None or each in known), numbers[place][0])
                yield from ((each, newer) for each in doubtful if each < newer)
        for word in rare:
            earlier[word].append(place)


def look(text: str) -> Look:
    """Return a first look at a message."""
    key = hash(text)
    found = LOOKS.get(key)
    if found is None:
        words = frozenset(tokens(folded(text)))
        tells = not words.isdisjoint(hints().doubting) or any(word[:1].isdigit() for word in words)
        found = LOOKS[key] = Look(tells, beginnings(words))
    return found


def changed_values(new: Digest, old: Digest, shared: set[int]) -> tuple[list[str]] | None:
    """Return the kinds of values of *old* that *new* changes; None: it changes nothing of what *shared* words name."""
    kinds = [kind for kind, values in new.values.items() if old.values.get(kind, values) != values]
    if not new.changed.isdisjoint(shared):
        # People are named in many a message: "Tenby's off" is about Tenby, "Ann has a new dog" is not about Ann.
        is_subject = new.changed <= shared or not shared <= (new.names | old.names)
        return (kinds,) if kinds or is_subject else None
    return (kinds,) if kinds and len(shared) >= LEAST_COMMON and not new.adds else None


def is_of_relative(new: Digest, old: Digest) -> bool:
    """Return whether *old* is about a relative of the user, and *new* about the user alone."""
    return new.is_own and old.relative is not None and old.relative not in new.words


def is_about(statement: Said, shared: set[int], kinds: Iterable[str]) -> bool:
    """Return whether *statement* has one of *shared*, words, or a value of *kinds*."""
    said = digest(statement.text)
    return not said.words.isdisjoint(shared) or any(kind in said.values for kind in kinds)


def digest(text: str) -> Digest:
    """Return how *text* is compared."""
    key = hash(text)
    found = DIGESTS.get(key)
    if found is None:
        language = language_of(folded(text), text)
        said = saying(text)
        found = DIGESTS[key] = digest_of(said, light_stems(language)) if language and said else NOTHING
    return found


def digest_of(said: Saying, light: frozenset[str]) -> Digest:
    """Return how *said* is compared."""
    stems = [(word, hash(word.key[:STEM])) for word in said.words if word.key[:STEM] not in light]
    adds = bool(said.marked("added"))
    markers = said.marked(*STRONG, *(() if adds else WEAK))
    near = {
        word
        for marker in markers
        for word in said.in_clause(marker.clause)
        if not marker.start <= word.start < marker.end
    }
    return Digest(
        subjects=frozenset(stem for word, stem in stems if word.clause not in said.event_clauses),
        words=frozenset(stem for _, stem in stems),
        names=frozenset(stem for word, stem in stems if word.is_name),
        beginnings={stem: word.key[:BEGINNING] for word, stem in stems},
        values=said.values,
        changed=frozenset(stem for word, stem in stems if word in near),
        adds=adds,
        is_own=said.is_own or (bool(markers) and all(word.start >= markers[0].end for word in near)),
        relative=next((stem for word, stem in stems[:1] if word.key in said.language.relatives), None),
    )


@cache
def light_stems(language: Language) -> frozenset[str]:
    """Return the stems of words with little content, whose other forms have little content, too."""
    changes = language.changes
    return frozenset(
        key_of(word)[:STEM] for word in (*changes.light, *changes.vague, *changes.several, *changes.events)
    )


def endings(statements: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the positions of one of *statements*, which are oldest first, and of a later one that tells its end."""
    looks = [hint(statement) for statement in statements]
    wanted = frozenset[str]().union(*(look.about | look.names for look in looks if look.may_end))
    about = ((look.may_end, (look.about | look.names) & wanted) for look in looks if wanted)
    yield from told(statements, about, ENDED, lambda newer: newer.marked(*ENDS), ends)


def tells_move(text: str) -> bool:
    """Return whether *text*, where the user lives, tells a move."""
    lower = lowered(text)
    return any(phrase in lower for language in LANGUAGES for phrase in language.changes.phrases("relocated"))


def tells_end(text: str) -> bool:
    """Return whether *text* tells an end of something that it names: "The leak is fixed"."""
    if not hint(text).may_end:
        return False
    said = saying(text)
    return said is not None and any(
        marker.clause not in {each.clause for each in said.marked("unless")}
        and any(word.clause == marker.clause and not is_of_phrase(word, marker, said) for word in said.words)
        for marker in said.marked(*ENDS)
    )


def ends(newer: Saying, older: Saying) -> bool:
    """Return whether *newer* tells the end of what *older* says."""
    for marker in newer.marked(*ENDS):
        if any(each.clause == marker.clause for each in newer.marked("unless")):
            continue
        wanted = ENDED_BY[marker.kind]
        if wanted and not older.marked(wanted):
            continue
        words = [word for word in newer.in_clause(marker.clause) if not is_of_phrase(word, marker, newer)]
        if marker.kind == "died":
            if is_same_being(newer, words, older, marker):
                return True
        elif marker.kind == "repaid":
            if any(is_being(word, newer) and word.key in older.keys for word in words):
                return True
        elif is_same_matter(newer, words, older):
            return True
    return False


def is_of_phrase(word: Word, marker: Marker, said: Saying) -> bool:
    """Return whether *word* belongs to the phrase of *marker*, and not to a gap in it ("paid Greta back")."""
    return marker.start <= word.start < marker.end and word.key in said.language.changes.ending_keys


def is_same_being(newer: Saying, words: Sequence[Word], older: Saying, marker: Marker) -> bool:
    """Return whether a word of *words* names somebody whom *older* names, too, or says something of."""
    if older.marked("died"):
        return False
    names = {word.key for word in older.words if word.is_name}
    subjects = [word for word in words if word.start < marker.start] or words
    common = [word for word in subjects if word.key in older.keys and not is_event(older, [word.key])]
    if not newer.language.spaced:
        return bool(common)
    known = newer.language.beings
    if any(word.key in known and word.key not in older.keys for word in subjects):
        # "Ella's hamster died" says nothing of Ella.
        return False
    named = [word for word in common if word.key not in known and (word.is_name or word.key in names or not word.start)]
    if named:
        # "I love David Lynch films" holds all the same.
        has_being = not known.isdisjoint(older.keys)
        is_first = older.words[0].key in {word.key for word in named}
        return has_being or is_first or not older.has_several
    said = {word.key for word in subjects if word.is_name or word.key in known}
    is_own = newer.is_possessed or bool(subjects and not subjects[0].start)
    return bool(said) and is_own and said <= {word.key for word in common}


def is_being(word: Word, said: Saying) -> bool:
    """Return whether *word* of *said* may name a person."""
    return word.is_name or not word.start or not said.language.spaced or word.key in said.language.beings


def is_same_matter(newer: Saying, words: Sequence[Word], older: Saying) -> bool:
    """Return whether a word of *words* that is not a name, if there is any, is in *older*."""
    names_tell = newer.language.spaced and not newer.language.changes.capital_nouns
    things = [word for word in words if not word.is_name] if names_tell else words
    return any(word.key in older.keys for word in things or words)
