"""Which rows are results of the search for a prompt: floors of the coverage, gains besides it, and the choice. Pure.

Of what was said several times one row is chosen, and some places are for the rows that are nearest in meaning.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log
from typing import NamedTuple

from ilab_memory.core.store import Document, Preview
from ilab_memory.recall import dates, meaning, speakers
from ilab_memory.recall.analysis import UNSPACED
from ilab_memory.recall.coverage import Covered
from ilab_memory.recall.message_query import Asked
from ilab_memory.recall.passage import Parts

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

#: Results for a message that asks for a complete list: at most, and their least share of the best score.
WHOLE_LIST, LIKE_THE_BEST = 20, 0.6
#: Share of the content words in which two questions are the same.
SIMILAR = 0.5

_UNSPACED_TERM = re.compile(f"[{UNSPACED}]")


class Candidate(NamedTuple):
    """A row that may answer the message, by its sequence number."""

    number: int
    document: Document
    covered: Covered
    relevance: float
    nearness: int | None = None
    """Its place among the rows that are near enough in meaning, 0 for the nearest."""


@dataclass(slots=True)
class Scored:
    """A candidate whose text was read."""

    candidate: Candidate
    preview: Preview
    content: Parts
    said: str
    """Normalized, to recognize repetitions."""
    score: float
    order: float
    """The score and what decides between rows that are equally relevant."""
    news: frozenset[str] | None
    """Content beyond the message's, if the message's terms are in questions or requests only."""
    is_earlier: bool = False


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


def selected(rows: Iterable[Scored], *, limit: int, wants_all: bool) -> list[Scored]:
    """Return the best of *rows*: of what was said several times the newest, of similar questions one."""
    best: dict[object, Scored] = {}
    newest_first = sorted(rows, key=lambda row: (row.preview.updated_at, row.preview.id), reverse=True)
    for row in newest_first:
        best.setdefault(row.said, row)
    ordered = sorted(best.values(), key=lambda row: (row.order, row.preview.updated_at, row.preview.id), reverse=True)
    chosen: list[Scored] = []
    questions: list[frozenset[str]] = []
    for row in _with_nearest(ordered):
        if row.news is not None:
            if any(len(row.news & other) >= SIMILAR * len(row.news | other) for other in questions):
                continue
            questions.append(row.news)
        is_one_of_all = wants_all and chosen and row.score >= LIKE_THE_BEST * chosen[0].score
        if len(chosen) < limit or (is_one_of_all and len(chosen) < WHOLE_LIST):
            chosen.append(row)
    return chosen


def _with_nearest(rows: Sequence[Scored]) -> Iterator[Scored]:
    """Yield *rows* in their order, but in each `meaning.EVERY`th place the one that is nearest in meaning."""
    left = dict.fromkeys(range(len(rows)))
    nearest = sorted(
        (place for place, row in enumerate(rows) if row.candidate.nearness is not None),
        key=lambda place: rows[place].candidate.nearness or 0,
    )
    for count in range(1, len(rows) + 1):
        place = next(iter(left))
        if count % meaning.EVERY == 0:
            place = next((each for each in nearest if each in left), place)
        del left[place]
        yield rows[place]
