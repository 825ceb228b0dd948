"""Statements that may hold no longer, because a newer one seems to change what they say.

    >>> list(doubts([Said("We curl on Wednesdays."), Said("Curling's moved to Sundays for the rest of the season.")]))
    [(0, 1)]

A weaker finding than that of `outdated.py`, for a weaker mark. The newer message names the same, and

- has a word of change ("no longer", "moved to", "from now on", a phrase of `hints`), or
- has another day, date, time or amount.

Both are read as whole messages, because the subject is often named in another sentence than the value. Words that many
messages have do not name a subject. An event stays true: "I ran 5 km on Monday" is not in doubt.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ilab_chat_service.message_statements.change_words import CHANGES, hints
from ilab_chat_service.message_statements.statement_words import (
    BEGINNING,
    beginnings,
    key_of,
    language_of,
    relatives,
    saying,
)
from ilab_chat_service.message_statements.text import folded, tokens

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from ilab_chat_service.message_statements.statement_words import Saying

#: Kinds of phrases that tell a change, and those that do not if something is added.
STRONG, WEAK = ("ended", "disposed", "instead", "moved", "hints"), ("now",)
#: Letters of a word by which it is compared: "training" and "train".
STEM = 5
#: A word that more messages have does not tell what they are about.
MOST_MESSAGES = 5
#: Words that two messages have in common, if only a value tells a change.
LEAST_COMMON = 2


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


#: Findings by the hash of the text: a prompt has mostly the statements of the one before. Of a text, only the first
#: letters of its words stay in memory.
DIGESTS: dict[int, Digest] = {}
LOOKS: dict[int, Look] = {}
#: Maximum number of entries of each.
KNOWN = 20_000
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
        if len(LOOKS) >= KNOWN:
            LOOKS.clear()
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
        if len(DIGESTS) >= KNOWN:
            DIGESTS.clear()
        language = language_of(folded(text), text)
        said = saying(text)
        found = DIGESTS[key] = digest_of(said, light_stems(language.code)) if language and said else NOTHING
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
        relative=next((stem for word, stem in stems[:1] if word.key in relatives(said.code)), None),
    )


@lru_cache
def light_stems(code: str) -> frozenset[str]:
    """Return the stems of words with little content, whose other forms have little content, too."""
    changes = CHANGES[code]
    return frozenset(
        key_of(word)[:STEM] for word in (*changes.light, *changes.vague, *changes.several, *changes.events)
    )
