"""The search: from a query to the observations that answer it best."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple

from ilab_memory.core.models import ObservationCompact
from ilab_memory.core.store import Document, Preview, Store
from ilab_memory.recall import bm25f
from ilab_memory.recall.analysis import forms, terms
from ilab_memory.recall.equivalent_terms import EquivalentTerms
from ilab_memory.recall.languages import ENGLISH
from ilab_memory.recall.message_query import MAX_TERMS, QUERY_CHARACTERS, function_terms, languages_in
from ilab_memory.recall.scoring import PREVIEW_CHARACTERS, RANK_WEIGHT, compact, search_score

#: A trimmed query of fewer characters is found by substring only (documented contract).
SHORTEST_INDEXED = 3
#: English terms that a query loses: those of function words and greetings, without some that may be an abbreviation.
STOP_TERMS = frozenset(terms(f"{ENGLISH.function} yes ok okay hi hello hey")).difference(terms("dont every id im ive"))
#: Longest query, in characters, for a substring search. Its cost grows with the query and with the text that the user
#: has stored, and SQLite refuses patterns over 50,000 bytes.
LONGEST_SUBSTRING = 256
#: Characters of the newest observations that a substring search reads.
SEARCHED_CHARACTERS = 16 * 1024 * 1024
# A limit above the number of rows in any store, and valid in every store.
_MOST_ROWS = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One search: whose, for what, and how many results."""

    user_id: str
    query: str
    limit: int
    types: frozenset[str] | None = None
    """Only these types. None: all types."""
    types_exclude: frozenset[str] = frozenset()

    def accepts(self, observation_type: str) -> bool:
        """Return whether observations of this type are returned."""
        return observation_type not in self.types_exclude and (self.types is None or observation_type in self.types)

    @property
    def at_most(self) -> int | None:
        """How many rows are ranked exactly; None for all, because a filter may reject any of them."""
        if self.types is not None or self.types_exclude:
            return None
        return min(max(bm25f.MAX_RANKED, self.limit), _MOST_ROWS)


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
        matching = [
            (score, number, document)
            for number, score in self.scores.items()
            if (document := self.documents.get(number)) and question.accepts(document.type)
        ]
        matching.sort(key=itemgetter(0), reverse=True)
        highest = matching[0][0] if matching else 1.0
        best: list[_Ranked] = []
        for score, number, document in matching:
            if len(best) == question.limit and RANK_WEIGHT * score / highest + (1 - RANK_WEIGHT) < best[0].score:
                # No further row can rank higher than the worst of the best, however new it is.
                break
            total = search_score(
                score / highest, updated_at=document.updated_at, revision_count=document.revision_count, now=now
            )
            ranked = _Ranked(total, document.updated_at, document.id, number)
            (heapq.heappush if len(best) < question.limit else heapq.heappushpop)(best, ranked)
        return sorted(best, reverse=True)


def search(store: Store, question: Question, now: datetime) -> list[ObservationCompact]:
    """Return the best rows for *question* by SearchScore; ties by newer updated_at, then higher id."""
    is_short = len(question.query.strip()) < SHORTEST_INDEXED
    found = _Found() if is_short else _by_terms(store, question, now)
    if not found.scores:
        found = _by_substring(store, question, now)
    best = found.best(question, now)
    rows = found.previews
    if rows is None and best:
        rows = store.previews(question.user_id, [ranked.number for ranked in best], characters=PREVIEW_CHARACTERS)
    return [
        compact(row, ranked.score)
        for ranked in best
        # A row that was saved again since it was ranked has a new sequence number. A row with another id belongs to a
        # user who was forgotten and has come back.
        if rows and (row := rows.get(ranked.number)) and row.id == ranked.id
    ]


def query_terms(query: str) -> list[str]:
    """Return the distinct terms of *query* to look up, at most MAX_TERMS.

    Terms without content, in English or in the languages of the query, are left out, unless it has no other term.
    """
    found = list(dict.fromkeys(terms(query, most=QUERY_CHARACTERS)))
    spoken = languages_in(query[:QUERY_CHARACTERS])
    stop_terms = STOP_TERMS if "en" in spoken else STOP_TERMS | function_terms(spoken)
    return ([term for term in found if term not in stop_terms] or found)[:MAX_TERMS]


def _by_terms(store: Store, question: Question, now: datetime) -> _Found:
    wanted = query_terms(question.query)
    if not wanted:
        return _Found()
    index = EquivalentTerms(store, question.user_id, forms(question.query, wanted, most=QUERY_CHARACTERS))
    statistics, postings, rows = index.matches(
        wanted,
        most_places=bm25f.MAX_PLACES,
        preview_characters=PREVIEW_CHARACTERS,
        now=now,
    )
    affordable = bm25f.affordable(statistics)
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
        return _Found(bm25f.bm25(postings, documents, statistics), documents, previews)
    numbers = bm25f.shortlist(postings, statistics, question.at_most)
    known = store.documents(question.user_id, numbers, now=now)
    return _Found(bm25f.bm25(postings, known, statistics), known)


def _by_substring(store: Store, question: Question, now: datetime) -> _Found:
    text = question.query.strip()
    if len(text) > LONGEST_SUBSTRING:
        return _Found()
    at_most = bm25f.MAX_PLACES if question.at_most is None else question.at_most
    numbers = store.containing(question.user_id, text, at_most=at_most, most_characters=SEARCHED_CHARACTERS)
    if not numbers:
        return _Found()
    # All that is known of each row is that it contains the query: they rank equally.
    return _Found(dict.fromkeys(numbers, 1.0), store.documents(question.user_id, numbers, now=now))
