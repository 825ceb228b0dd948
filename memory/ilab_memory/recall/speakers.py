"""Conversations of several people, whose rows begin with the speaker's name: "Leila: I moved to Porto." Pure."""

import re
from collections.abc import Collection

from ilab_memory.core.store import TermStatistics
from ilab_memory.recall import coverage
from ilab_memory.recall.analysis import terms
from ilab_memory.recall.message_query import Asked, speaks_of_user

#: A name in the message is that of a speaker if this share of the rows contains it, and at least LEAST_ROWS.
SHARE_OF_ROWS, LEAST_ROWS = 0.15, 5

# One or two capitalized words.
_LABEL = re.compile(r"\s*((?!User:|Assistant:)[^\W\d_][\w'\u2019-]{0,30}(?: [^\W\d_][\w'\u2019-]{0,30})?):\s+")
_NAME = re.compile(r"([^\W\d_]+)(['\u2019]s\b)?")


def label(said: str) -> str:
    """Return the name that *said* begins with, before a colon; empty without one."""
    found = _LABEL.match(said)
    return found[1] if found and all(word[0].isupper() for word in found[1].split(" ")) else ""


def without_label(said: str) -> str:
    """Return *said* without the name of its speaker, if its speaker speaks of themself in it."""
    if not label(said):
        return said
    rest = said.split(":", 1)[1].lstrip()
    return rest if speaks_of_user(rest) else said


def is_by(said: str, named: Collection[str]) -> bool:
    """Return whether *said* begins with the name of a speaker whose term is one of *named*."""
    return not set(terms(label(said))).isdisjoint(named)


def speakers(asked: Asked, statistics: TermStatistics) -> frozenset[str]:
    """Return the terms of the names in the message that are those of speakers."""
    # A store may not have counted further.
    least = min(max(LEAST_ROWS, SHARE_OF_ROWS * statistics.observations), coverage.MOST_EXACT + 1)
    return frozenset(name for name in asked.names if statistics.frequencies.get(name, 0) >= least)


def as_speaker(text: str, named: Collection[str], spoken: Collection[str]) -> str:
    """Return *text* as the speakers *named* would ask it of themselves, since they say "I" in their rows.

    In other languages than English, the names are left out.
    """
    is_english = "en" in spoken
    of_speakers = frozenset(named)

    def own(found: re.Match[str]) -> str:
        if not found[1][0].isupper() or of_speakers.isdisjoint(terms(found[1])):
            return found[0]
        return "" if not is_english else "my" if found[2] else "I"

    return _NAME.sub(own, text)
