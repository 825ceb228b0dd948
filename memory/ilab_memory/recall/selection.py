"""The results among rows that were scored: no repetitions, and places for those that are nearest in meaning. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ilab_memory.core.store import Document, Preview
from ilab_memory.recall import meaning
from ilab_memory.recall.coverage import Covered
from ilab_memory.recall.passage import Parts

#: Results for a message that asks for a complete list: at most, and their least share of the best score.
WHOLE_LIST, LIKE_THE_BEST = 20, 0.6
#: Share of the content words in which two questions are the same.
SIMILAR = 0.5


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
