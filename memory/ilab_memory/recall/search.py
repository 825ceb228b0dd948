"""The search: a query to the observations that answer it best."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple

from ilab_memory.core.models import ObservationCompact
from ilab_memory.core.store import Document, Preview, Store
from ilab_memory.recall import ranking
from ilab_memory.recall.compact import PREVIEW_CHARACTERS, compact
from ilab_memory.recall.query import is_short, query_terms
from ilab_memory.recall.scoring import RANK_WEIGHT, search_score

#: Characters of a query that is looked for as it stands. Looking costs time in proportion to them and to all that the
#: user has stored; and SQLite refuses patterns over 50,000 bytes.
LONGEST_SUBSTRING = 256
#: Characters of the newest observations in which it is looked for.
SEARCHED_CHARACTERS = 16 * 1024 * 1024
#: Observations of a user that a search reads all at once: beyond that, reading those that it needs costs less.
FEW_ROWS = 32
# A limit beyond any store's number of rows, that every store can take.
_MOST_ROWS = 2**31


@dataclass(frozen=True, slots=True)
class TypeFilter:
    """Which types of observations a search returns."""

    only: frozenset[str] | None = None
    but: frozenset[str] = frozenset()

    def lets_through(self, observation_type: str) -> bool:
        """Tell whether an observation of this type is returned."""
        return observation_type not in self.but and (self.only is None or observation_type in self.only)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a search looks for, and how much of it is wanted."""

    user_id: str
    query: str
    limit: int
    types: TypeFilter = TypeFilter()

    @property
    def at_most(self) -> int | None:
        """How many rows are looked at closely; None for all, for a filter may leave out any of them."""
        return min(max(ranking.MAX_RANKED, self.limit), _MOST_ROWS) if self.types == TypeFilter() else None


class _Ranked(NamedTuple):
    score: float
    updated_at: str
    id: int
    number: int


@dataclass(frozen=True, slots=True)
class _Found:
    """The rows that match, by number."""

    scores: Mapping[int, float] = field(default_factory=dict)
    """How well a row matches, in no particular unit."""
    documents: Mapping[int, Document] = field(default_factory=dict)
    previews: Mapping[int, Preview] | None = None
    """None: not read yet."""

    def best(self, question: Question, now: datetime) -> list[_Ranked]:
        """Return the best of the rows that the filter lets through, the best first."""
        lets_through = question.types.lets_through
        matching = [
            (score, number, document)
            for number, score in self.scores.items()
            if (document := self.documents.get(number)) and lets_through(document.type)
        ]
        matching.sort(key=itemgetter(0), reverse=True)
        highest = matching[0][0] if matching else 1.0
        best: list[_Ranked] = []
        for score, number, document in matching:
            if len(best) == question.limit and RANK_WEIGHT * score / highest + (1 - RANK_WEIGHT) < best[0].score:
                # No row from here on can be better than the worst of the best, however new it is.
                break
            ranked = _Ranked(_search_score(score / highest, document, now), document.updated_at, document.id, number)
            (heapq.heappush if len(best) < question.limit else heapq.heappushpop)(best, ranked)
        return sorted(best, reverse=True)


def search(store: Store, question: Question, now: datetime) -> list[ObservationCompact]:
    """Return the best rows for *question* by SearchScore, equal ones by newer updated_at, then higher id."""
    found = _Found() if is_short(question.query) else _by_terms(store, question)
    if not found.scores:
        found = _by_substring(store, question)
    return _compact(store, question.user_id, found.best(question, now), found.previews)


def _by_terms(store: Store, question: Question) -> _Found:
    terms = query_terms(question.query)
    if not terms:
        return _Found()
    statistics, postings, rows = store.matches(
        question.user_id,
        terms,
        most_places=ranking.MAX_PLACES,
        most_rows=FEW_ROWS,
        preview_characters=PREVIEW_CHARACTERS,
    )
    affordable = ranking.affordable(statistics)
    if not affordable:
        return _Found()
    # What is read from here on may be of a later moment: rows that have gone meanwhile are passed over.
    if postings is None:
        postings = store.postings(question.user_id, affordable)
    # A sum depends on its order in its last digits.
    postings = {term: postings[term] for term in affordable}
    if rows is not None:
        documents = {number: document for number, (document, _) in rows.items()}
        previews = {number: preview for number, (_, preview) in rows.items()}
        return _Found(ranking.bm25(postings, documents, statistics), documents, previews)
    numbers = ranking.shortlist(postings, statistics, question.at_most)
    known = store.documents(question.user_id, numbers)
    return _Found(ranking.bm25(postings, known, statistics), known)


def _by_substring(store: Store, question: Question) -> _Found:
    text = question.query.strip()
    if len(text) > LONGEST_SUBSTRING:
        return _Found()
    at_most = ranking.MAX_PLACES if question.at_most is None else question.at_most
    numbers = store.containing(question.user_id, text, at_most=at_most, most_characters=SEARCHED_CHARACTERS)
    if not numbers:
        return _Found()
    # Each row has the query in it, and that is all that is known: they are equally good.
    return _Found(dict.fromkeys(numbers, 1.0), store.documents(question.user_id, numbers))


def _search_score(fts5_rank: float, document: Document, now: datetime) -> float:
    return search_score(fts5_rank, updated_at=document.updated_at, revision_count=document.revision_count, now=now)


def _compact(
    store: Store, user_id: str, best: Sequence[_Ranked], rows: Mapping[int, Preview] | None
) -> list[ObservationCompact]:
    if rows is None and best:
        rows = store.previews(user_id, [ranked.number for ranked in best], characters=PREVIEW_CHARACTERS)
    return [
        compact(row, ranked.score)
        for ranked in best
        # A row that was saved anew since it was ranked has another number. One of another id is of a user who has come
        # again after having been forgotten.
        if rows and (row := rows.get(ranked.number)) and row.id == ranked.id
    ]
