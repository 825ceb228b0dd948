"""Relevance in the search for a prompt: the least coverage of a result, and gains besides coverage. Pure."""

import re
from collections.abc import Collection
from math import log

from ilab_memory.core.store import Document
from ilab_memory.recall import dates, speakers
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

#: Most that a turn gains by its length, linearly up to this many terms: it has a reply, which says what it is about.
TURN_GAIN, TURN_TERMS = 0.06, 40
#: Most that any other row gains, by the logarithm: of messages of a conversation, the short ones say little.
MESSAGE_GAIN, MESSAGE_TERMS = 0.13, 60
#: Gain of a row whose speaker the message names, ...
SPEAKER_GAIN = 0.07
#: ... and of one that says a time, for a message that asks when.
TIME_GAIN = 0.1

_UNSPACED_TERM = re.compile(f"[{UNSPACED}]")


def least_coverage(asked: Asked, *, has_name: bool) -> float:
    """Return the least coverage of a result."""
    if asked.previous:
        return FOLLOW_UP_FLOOR * (UNSPACED_FLOOR if _UNSPACED_TERM.match(next(iter(asked.previous))) else 1.0)
    if has_name:
        return NAME_FLOOR
    return PERSONAL_FLOOR if asked.speaks_of_user or asked.asks_assistant else FLOOR


def length_gain(document: Document) -> float:
    """Return what a row gains by the number of its terms."""
    if document.reply_terms:
        return TURN_GAIN * min(document.said_terms, TURN_TERMS) / TURN_TERMS
    return MESSAGE_GAIN * log(1 + min(document.said_terms, MESSAGE_TERMS)) / log(1 + MESSAGE_TERMS)


def text_gain(said: str, asked: Asked, named: Collection[str]) -> float:
    """Return what a row gains by its text. *named*: the speakers that the message names."""
    gain = SPEAKER_GAIN if named and speakers.is_by(said, named) else 0.0
    if asked.asks_when and dates.says_time(said.lower(), asked.spoken):
        gain += TIME_GAIN
    return gain
