"""The floors of the search for a prompt: how much of the message a row must cover to be a result. Pure."""

import re

from ilab_memory.recall.analysis import UNSPACED
from ilab_memory.recall.message_query import Asked

#: Least coverage of a result that contains a name in the message, ...
NAME_FLOOR = 0.2
#: ... for a message that speaks of the user or asks for the assistant's words, ...
PERSONAL_FLOOR = 0.25
#: ... for a follow-up question, which is also about the subject of the message before, ...
FOLLOW_UP_FLOOR = 0.35
#: ... in scripts without spaces a part of it, where many terms are pairs of characters of two words, ...
UNSPACED_FLOOR = 0.7
#: ... and for any other: of two equally rare terms, one is not enough.
FLOOR = 0.5

_UNSPACED_TERM = re.compile(f"[{UNSPACED}]")


def least_coverage(asked: Asked, *, has_name: bool) -> float:
    """Return the least coverage of a result."""
    if asked.previous:
        return FOLLOW_UP_FLOOR * (UNSPACED_FLOOR if _UNSPACED_TERM.match(next(iter(asked.previous))) else 1.0)
    if has_name:
        return NAME_FLOOR
    return PERSONAL_FLOOR if asked.speaks_of_user or asked.asks_assistant else FLOOR
