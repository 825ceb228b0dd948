"""Which observations a message asks to forget."""

from __future__ import annotations

import re
import time
from itertools import islice
from typing import TYPE_CHECKING

from ilab_chat_service.memory.turn_codec import decoded_turn, is_turn
from ilab_chat_service.message_statements import read
from ilab_chat_service.values import FACT_KEY
from ilab_memory.recall.analysis import UNSPACED, folded
from ilab_memory.recall.message_query import content_terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ilab_chat_service.message_statements import Reading
    from ilab_chat_service.values import PastTurn
    from ilab_memory import ILabMemory
    from ilab_memory.core.models import Observation
    from ilab_memory.core.store import ObservationCursor

#: Number of rows that are read at once, and seconds after which the search lets others go on.
PAGE, SECONDS = 50, 0.02
#: Letters at the beginning of a word that all its forms have.
BEGINNING = 3
#: Share of the terms of a subject, in a script without spaces, that a message about it has: they are pairs of
#: characters, also across words.
SHARE = 0.5

_UNSPACED = re.compile(f"[{UNSPACED}]")
#: A word in which the last letter may be an ending, and the maximum difference in length of its forms.
_CYRILLIC = re.compile("[\u0400-\u04ff]{4,}")
LONGER = 2
#: A word with a capital letter.
_NAME = re.compile(r"\b[^\W\d_a-z][\w'-]+")


class Search:
    """Looks for the observations that a message asks to forget, newest first, a while at a time.

    - "Forget that": the last of *turns*, those of the session, which are oldest first.
    - "Forget what I said about Lyle": the newest turn in which the user speaks of Lyle, first of the session.
    - "Forget everything about Lyle": all turns of all sessions in which the user or, by name, the assistant speaks of
      Lyle, and all other observations about Lyle.
    - "Forget my address": facts of the topic, and all turns that state one.
    """

    def __init__(self, user_id: str, reading: Reading, turns: Sequence[PastTurn]) -> None:
        self._user_id = user_id
        self._reading = reading
        self._finds_all = bool(reading.forget_all or reading.forget_topics)
        last = turns[-1:] if reading.forget_last else ()
        self.found = [each.recalled.observation_id for each in last]
        # Of the session: looked at before the other observations.
        self._turns = () if self._finds_all else turns
        self._before: ObservationCursor | None = None

    def proceed(self, memory: ILabMemory) -> bool:
        """Look at a page of observations, or at its beginning if they take long; return whether that was all."""
        turns, self._turns = self._turns, ()
        said = (each for each in reversed(turns) if is_about(each.message, self._reading.forget_about))
        self.found += [each.recalled.observation_id for each in islice(said, 1)]
        if self.found and not self._finds_all:
            return True
        finds = is_meant if self._finds_all else is_said
        page = memory.mem_list(self._user_id, limit=PAGE, before=self._before)
        until = time.monotonic() + SECONDS
        for row in page:
            self._before = (row.updated_at, row.id or 0)
            if row.id and finds(row, self._reading):
                self.found.append(row.id)
                if not self._finds_all:
                    return True
            if time.monotonic() >= until:
                break
        return not page


def is_said(row: Observation, reading: Reading) -> bool:
    """Return whether *row* is a turn in which the user speaks of what *reading* asks to forget."""
    pair = decoded_turn(row.content) if is_turn(row) else None
    return pair is not None and is_about(pair[0], reading.forget_about)


def is_meant(row: Observation, reading: Reading) -> bool:
    """Return whether *row* is about all that *reading* asks to forget."""
    subject = reading.forget_about
    if not is_turn(row):
        is_of_topic = is_key_of(row.topic_key or "", (FACT_KEY + each for each in reading.forget_topics))
        return is_of_topic or is_about(f"{row.title} {row.content}", subject)
    pair = decoded_turn(row.content)
    if pair is None:
        return False
    message, reply = pair
    if is_about(message, subject) or (_NAME.search(subject) and is_named(reply, subject)):
        return True
    return bool(reading.forget_topics) and any(
        is_key_of(fact.topic_key, reading.forget_topics) for fact in read(message).facts
    )


def is_key_of(key: str, topics: Iterable[str]) -> bool:
    """Return whether *key* is one of *topics* or below one."""
    return any(key == topic or key.startswith(f"{topic}/") for topic in topics)


def is_named(reply: str, subject: str) -> bool:
    """Return whether *reply* has the words of *subject*, and its names with their capital letters."""
    return is_about(reply, subject) and all(
        re.search(rf"\b{re.escape(name)}\b", reply) for name in _NAME.findall(subject)
    )


def is_about(message: str, subject: str) -> bool:
    """Return whether *message* has the words of *subject* that mean something."""
    terms, beginnings = meant_by(subject)
    if not terms:
        return False
    if _UNSPACED.search(subject):
        return subject in message or len(terms & set(content_terms(message))) >= max(1, SHARE * len(terms))
    text = folded(message)
    # A hundred times as fast as reading the terms, and few messages have them all.
    if not all(each in text for each in beginnings):
        return False
    said = set(content_terms(message))
    return all(term in said or is_inflected(term, said) for term in terms)


def meant_by(subject: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the terms of *subject* that mean something, and the beginnings that their forms have in common."""
    words = [word for word in folded(subject).split() if content_terms(word)]
    return frozenset(content_terms(subject)), frozenset(word.strip("'\"")[:BEGINNING] for word in words)


def is_inflected(term: str, said: Iterable[str]) -> bool:
    """Return whether *said* has another form of *term*, a word in Cyrillic letters: names have cases there."""
    stem = term[:-1]
    return _CYRILLIC.fullmatch(term) is not None and any(
        each.startswith(stem) and abs(len(each) - len(term)) <= LONGER for each in said
    )
