"""The search: from a query to the observations that answer it best."""

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
from ilab_memory.recall.equivalent_terms import EquivalentTerms
from ilab_memory.recall.message_query import function_terms, languages_in
from ilab_memory.recall.scoring import RANK_WEIGHT, search_score
from ilab_memory.recall.search_query import QUERY_CHARACTERS, is_short, query_forms, query_terms

#: Longest query, in characters, for a substring search. Its cost grows with the query and with the text that the user
#: has stored, and SQLite refuses patterns over 50,000 bytes.
LONGEST_SUBSTRING = 256
#: Characters of the newest observations that a substring search reads.
SEARCHED_CHARACTERS = 16 * 1024 * 1024
#: A user with at most this many observations has all of them read in one query. With more, reading only the matching
#: ones costs less.
FEW_ROWS = 32
# A limit above the number of rows in any store, and valid in every store.
_MOST_ROWS = 2**31


@dataclass(frozen=True, slots=True)
class TypeFilter:
    """Which types of observations a search returns."""

    included: frozenset[str] | None = None
    """None: all types."""
    excluded: frozenset[str] = frozenset()

    def accepts(self, observation_type: str) -> bool:
        """Return whether observations of this type are returned."""
        return observation_type not in self.excluded and (self.included is None or observation_type in self.included)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One search: whose, for what, and how many results."""

    user_id: str
    query: str
    limit: int
    types: TypeFilter = TypeFilter()

    @property
    def at_most(self) -> int | None:
        """How many rows are ranked exactly; None for all, because a filter may reject any of them."""
        return min(max(ranking.MAX_RANKED, self.limit), _MOST_ROWS) if self.types == TypeFilter() else None


class _Ranked(NamedTuple):
    score: float
    updated_at: str
    id: int
    number: int


@dataclass(frozen=True, slots=True)
class _Found:
    """The rows that match, by sequence number."""

    scores: Mapping[int, float] = field(default_factory=dict)
    """How well a row matches; only the ratios mean something."""
    documents: Mapping[int, Document] = field(default_factory=dict)
    previews: Mapping[int, Preview] | None = None
    """None: not read yet."""

    def best(self, question: Question, now: datetime) -> list[_Ranked]:
        """Return the best of the rows that the filter accepts, best first."""
        accepts = question.types.accepts
        matching = [
            (score, number, document)
            for number, score in self.scores.items()
            if (document := self.documents.get(number)) and accepts(document.type)
        ]
        matching.sort(key=itemgetter(0), reverse=True)
        highest = matching[0][0] if matching else 1.0
        best: list[_Ranked] = []
        for score, number, document in matching:
            if len(best) == question.limit and RANK_WEIGHT * score / highest + (1 - RANK_WEIGHT) < best[0].score:
                # No further row can rank higher than the worst of the best, however new it is.
                break
            ranked = _Ranked(_search_score(score / highest, document, now), document.updated_at, document.id, number)
            (heapq.heappush if len(best) < question.limit else heapq.heappushpop)(best, ranked)
        return sorted(best, reverse=True)


def search(store: Store, question: Question, now: datetime) -> list[ObservationCompact]:
    """Return the best rows for *question* by SearchScore; ties by newer updated_at, then higher id."""
    found = _Found() if is_short(question.query) else _by_terms(store, question, now)
    if not found.scores:
        found = _by_substring(store, question, now)
    return _compact(store, question.user_id, found.best(question, now), found.previews)


def _by_terms(store: Store, question: Question, now: datetime) -> _Found:
    terms = query_terms(question.query, _stop_terms(question.query[:QUERY_CHARACTERS]))
    if not terms:
        return _Found()
    index = EquivalentTerms(store, question.user_id, query_forms(question.query, terms))
    statistics, postings, rows = index.matches(
        terms,
        most_places=ranking.MAX_PLACES,
        most_rows=FEW_ROWS,
        preview_characters=PREVIEW_CHARACTERS,
        now=now,
    )
    affordable = ranking.affordable(statistics)
    if not affordable:
        return _Found()
    # The next reads may see a later state: rows deleted since are skipped.
    if postings is None:
        postings = index.postings(affordable)
    # In this order, because the last digits of a sum depend on its order.
    postings = {term: postings[term] for term in affordable}
    if rows is not None:
        documents = {number: document for number, (document, _) in rows.items()}
        previews = {number: preview for number, (_, preview) in rows.items()}
        return _Found(ranking.bm25(postings, documents, statistics), documents, previews)
    numbers = ranking.shortlist(postings, statistics, question.at_most)
    known = store.documents(question.user_id, numbers, now=now)
    return _Found(ranking.bm25(postings, known, statistics), known)


def _stop_terms(text: str) -> frozenset[str]:
    """Return the terms without content in the languages of *text*; empty if it may be English, see `STOP_TERMS`."""
    spoken = languages_in(text)
    return frozenset() if "en" in spoken else function_terms(spoken)


def _by_substring(store: Store, question: Question, now: datetime) -> _Found:
    text = question.query.strip()
    if len(text) > LONGEST_SUBSTRING:
        return _Found()
    at_most = ranking.MAX_PLACES if question.at_most is None else question.at_most
    numbers = store.containing(question.user_id, text, at_most=at_most, most_characters=SEARCHED_CHARACTERS)
    if not numbers:
        return _Found()
    # All that is known of each row is that it contains the query: they rank equally.
    return _Found(dict.fromkeys(numbers, 1.0), store.documents(question.user_id, numbers, now=now))


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
        # A row that was saved again since it was ranked has a new sequence number. A row with another id belongs to a
        # user who was forgotten and has come back.
        if rows and (row := rows.get(ranked.number)) and row.id == ranked.id
    ]
