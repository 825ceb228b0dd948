"""Statements that may hold no longer, because a newer one tells an end without a word of change.

    >>> list(endings(["Paolo owes me 50 euros.", "Paolo paid me back."]))
    [(0, 1)]

By the words of a table's `[changes]`:

- a death ("Pip died last night") ends what was said of a person or an animal by the same name or word;
- a repayment (`repaid`) ends a debt (`owed`) of somebody of the same name;
- something done (`settled`: "the leak is fixed", "I sent the form") ends an open matter (`open`: "the tap leaks", "I
  have to send the form") that names the same thing.

A finding is as weak as one of `doubt`, so it leads to the same mark.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ilab_chat_service.message_statements.change_words import CHANGES, ENDS
from ilab_chat_service.message_statements.outdated import compared, hint, is_event
from ilab_chat_service.message_statements.statement_words import beings, key_of, saying
from ilab_chat_service.message_statements.text import folded, lowered, tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ilab_chat_service.message_statements.statement_words import Marker, Saying, Word

#: The kind of phrase that tells what each of `ENDS` ends. None: anything.
ENDED_BY = {"died": None, "repaid": "owed", "settled": "open"}

#: Findings by the hashes of both statements: a prompt has mostly the statements of the one before.
ENDED: dict[tuple[int, int], bool] = {}
#: Maximum number of entries.
KNOWN = 20_000


def endings(statements: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the positions of one of *statements*, which are oldest first, and of a later one that tells its end."""
    looks = [hint(statement) for statement in statements]
    wanted = frozenset[str]().union(*(look.about | look.names for look in looks if look.may_end))
    read = cache(saying)
    for older, newer in compared((look.may_end, (look.about | look.names) & wanted) for look in looks if wanted):
        if is_ended(statements[older], statements[newer], read):
            yield older, newer


def tells_move(text: str) -> bool:
    """Return whether *text*, where the user lives, tells a move."""
    lower = lowered(text)
    return any(phrase in lower for changes in CHANGES.values() for phrase in changes.phrases("relocated"))


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


def is_ended(older: str, newer: str, read: Callable[[str], Saying | None]) -> bool:
    """Return whether *newer* tells the end of what *older* says. *read*: reads a statement."""
    key = hash(older), hash(newer)
    found = ENDED.get(key)
    if found is None:
        said = read(newer)
        before = read(older) if said and said.marked(*ENDS) else None
        found = said is not None and before is not None and ends(said, before)
        if len(ENDED) >= KNOWN:
            ENDED.clear()
        ENDED[key] = found
    return found


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
    return marker.start <= word.start < marker.end and word.key in telling(said.code)


def is_same_being(newer: Saying, words: Sequence[Word], older: Saying, marker: Marker) -> bool:
    """Return whether a word of *words* names somebody whom *older* names, too, or says something of."""
    if older.marked("died"):
        return False
    names = {word.key for word in older.words if word.is_name}
    subjects = [word for word in words if word.start < marker.start] or words
    common = [word for word in subjects if word.key in older.keys and not is_event(older, [word.key])]
    if not newer.spaced:
        return bool(common)
    known = beings(newer.code)
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
    return word.is_name or not word.start or not said.spaced or word.key in beings(said.code)


def is_same_matter(newer: Saying, words: Sequence[Word], older: Saying) -> bool:
    """Return whether a word of *words* that is not a name, if there is any, is in *older*."""
    names_tell = newer.spaced and not CHANGES[newer.code].capital_nouns
    things = [word for word in words if not word.is_name] if names_tell else words
    return any(word.key in older.keys for word in things or words)


@cache
def telling(code: str) -> frozenset[str]:
    """Return the words of the phrases that tell an end in a language."""
    phrases = (phrase for kind in ENDS for phrase in CHANGES[code].phrases(kind))
    return frozenset(key_of(word) for phrase in phrases for word in tokens(folded(phrase)))
