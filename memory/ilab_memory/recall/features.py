"""Gains of a row in relevance by its length and its text, besides the words of the message. Pure."""

from collections.abc import Collection
from math import log

from ilab_memory.core.store import Document
from ilab_memory.recall import dates, speakers
from ilab_memory.recall.message_query import Asked

#: Most that a turn gains by its length, linearly up to this many terms: it has a reply, which says what it is about.
TURN_GAIN, TURN_TERMS = 0.06, 40
#: Most that any other row gains, by the logarithm: of messages of a conversation, the short ones say little.
MESSAGE_GAIN, MESSAGE_TERMS = 0.13, 60
#: Gain of a row whose speaker the message names, ...
SPEAKER_GAIN = 0.07
#: ... and of one that says a time, for a message that asks when.
TIME_GAIN = 0.1


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
