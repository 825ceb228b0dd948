"""The search for a prompt: the observations that are relevant to a message, and no others.

Candidates come from the words of the message. Each has features: what it covers of the message, whether it states or
asks, how long it is. The score adds them; a floor on the coverage, which is absolute, rejects the rest. Other sources
of candidates and other features join in `_candidates` and `_scored`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ilab_memory.core.models import RecallHit
from ilab_memory.core.store import Document, Posting, Preview, Store, TermStatistics
from ilab_memory.recall import coverage, meaning, message_query, passage, speakers, spelling
from ilab_memory.recall.analysis import one_at_a_time
from ilab_memory.recall.coverage import Covered, Frequency
from ilab_memory.recall.equivalent_terms import EquivalentTerms
from ilab_memory.recall.meaning import Meaning
from ilab_memory.recall.message_query import MAX_TERMS, Asked
from ilab_memory.recall.passage import DEEP_CHARACTERS, HEAD_CHARACTERS, Finder
from ilab_memory.recall.period import said_within
from ilab_memory.recall.ranking import (
    WHOLE_LIST,
    Candidate,
    Scored,
    least_coverage,
    length_gain,
    selected,
    text_gain,
)
from ilab_memory.recall.scoring import recency
from ilab_memory.timestamps import to_text

if TYPE_CHECKING:
    from ilab_memory.recall.vectors import Cosines

#: Rows whose text is read per result: the best by coverage and length.
READ_PER_RESULT = 3
#: Results of which more than the beginning is read.
MAX_DEEP = 5
#: Factor of a row in which the message's terms are in questions or requests only, by the number of content words that
#: the message does not have. Without any it is the same question, asked before.
QUESTION = (0.3, 0.5, 0.65)
#: ... and of an earlier statement that a later one replaced.
EARLIER = 0.7
#: Most that a row gains by being new: it decides between rows that are equally relevant.
RECENCY_GAIN = 0.02
#: Gain of a row that is of the time in the message. If the message asks for what was said then, others are left out.
DATE_GAIN = 0.4


class Request(NamedTuple):
    """One search for a prompt."""

    user_id: str
    message: str
    limit: int
    previous: str | None = None
    types: frozenset[str] = frozenset()
    """Empty: all types."""
    zone: tzinfo = UTC
    """The user's time zone, for "yesterday"."""
    meaning: Meaning | None = None
    """The message as it is being embedded. None: only its words are looked up."""


_NOTHING = Covered()


@dataclass(slots=True)
class _Found:
    """The candidates of a message, best first, and what their texts are matched with."""

    candidates: Sequence[Candidate] = ()
    shares: Mapping[str, float] = field(default_factory=dict)
    previews: Mapping[int, Preview] | None = None
    """None: not read yet."""
    unknown: frozenset[str] = frozenset()
    """The terms of the message that are in no row."""
    named: frozenset[str] = frozenset()
    """The terms of the speakers that the message names."""


def recall(store: Store, request: Request, now: datetime) -> list[RecallHit]:
    """Return the rows that are relevant to the message of *request*, best first."""
    with one_at_a_time(len(request.message)):
        asked = message_query.read(request.message, request.previous, now.astimezone(request.zone))
    found = _dated(asked, _candidates(store, request, asked, now))
    if not any(row.covered.said_terms | row.covered.reply_terms for row in found.candidates):
        # Rows that are near in meaning are seldom those with the word that was misspelled, or with the id.
        ways = spelling.MOST_WAYS_OF_WORLD if found.candidates else spelling.MOST_WAYS
        known = partial(_known, store, request.user_id, now)
        if meant := spelling.corrected(asked, request.message, found.unknown, known, most_ways=ways):
            asked = meant
            found = _dated(asked, _candidates(store, request, asked, now))
    if not found.candidates:
        if asked.dated is not None and asked.asks_period:
            return said_within(store, request.user_id, request.types, asked.dated.period, now)
        return []
    numbers = [candidate.number for candidate in found.candidates]
    previews = found.previews or store.previews(request.user_id, numbers, characters=HEAD_CHARACTERS)
    finder = Finder(found.shares, asked.forms)
    before = passage.normalized(request.previous) if asked.previous and request.previous else None
    scored = list(_scored(asked, found, previews, finder=finder, known=before, now=now))
    _mark_earlier(store, request.user_id, scored)
    best = selected(scored, limit=request.limit, wants_all=asked.wants_all)
    longest = passage.PASSAGE_CHARACTERS if len(best) <= request.limit else passage.SHORT_PASSAGE_CHARACTERS
    return [_hit(row, finder, longest) for row in _deeper(store, request.user_id, best, finder)]


def _known(store: Store, user_id: str, now: datetime, terms: Sequence[str]) -> Iterable[str]:
    """Return those of *terms* that occur in any row of the user."""
    matches = store.matches(user_id, terms, most_places=0, most_rows=0, preview_characters=1, now=now, most_frequency=1)
    return matches.statistics.frequencies


def _dated(asked: Asked, found: _Found) -> _Found:
    """Return *found* with the rows first, or only those, that are of the time that the message names."""
    if asked.dated is None:
        return found
    start, end = map(to_text, asked.dated.period)
    inside = [row for row in found.candidates if start <= row.document.updated_at < end]
    dated = [row._replace(relevance=row.relevance + DATE_GAIN) for row in inside]
    if not asked.dated.asks_talk:
        dated += [row for row in found.candidates if not start <= row.document.updated_at < end]
    return replace(found, candidates=dated)


def _candidates(store: Store, request: Request, asked: Asked, now: datetime) -> _Found:
    """Return the rows that cover enough of the message by their words, the best first."""
    terms = [*asked.terms, *(term for term in asked.previous if term not in asked.terms)][:MAX_TERMS]
    if not terms:
        return _by_meaning_alone(store, request, asked, now)
    index = EquivalentTerms(store, request.user_id, asked.forms)
    statistics, postings, rows = index.matches(
        terms,
        most_places=coverage.MOST_EXACT,
        preview_characters=HEAD_CHARACTERS,
        now=now,
        most_frequency=coverage.MOST_EXACT + 1,
    )
    asks_many = asked.wants_all or asked.dated is not None
    # Before more is read: until here, the message was being embedded.
    named = speakers.speakers(asked, statistics)
    unknown = frozenset(terms).difference(statistics.frequencies)
    cosines, nearest = _nearest(store, request, asked, named, unknown)
    if not statistics.frequencies and not nearest:
        return _Found(unknown=unknown)
    postings, said, frequencies = _places(index, statistics, postings, replies=asked.asks_assistant)
    shares = coverage.weights(asked, statistics, said, frequencies)
    postings = {term: places for term, places in postings.items() if term in shares}
    if rows is None:
        least = coverage.COVERED_OF_MANY if asks_many else coverage.LEAST_COVERED
        at_most = None if request.types else max(least, coverage.COVERED_PER_RESULT * request.limit)
        numbers = coverage.shortlist(postings, said, shares, at_most, replies=asked.asks_assistant) | {*nearest}
        documents = store.documents(request.user_id, numbers, now=now)
    else:
        documents = {number: document for number, (document, _) in rows.items()}
    covered = coverage.coverage(postings, documents, statistics, shares, replies=asked.asks_assistant)
    bits = {term: 1 << place for place, term in enumerate(postings)}
    gains = {} if cosines is None else meaning.gains(cosines, nearest, covered)
    relevant = _relevant(request, asked, covered, documents, bits=bits, nearest=nearest, gains=gains)
    previews = None if rows is None else {number: preview for number, (_, preview) in rows.items()}
    read = READ_PER_RESULT * max(request.limit, WHOLE_LIST if asks_many else 0)
    kept = [*relevant[:read], *(row for row in relevant[read:] if row.nearness is not None)]
    return _Found(kept, shares, previews, unknown, named)


def _places(
    index: EquivalentTerms,
    statistics: TermStatistics,
    postings: Mapping[str, Sequence[Posting]] | None,
    *,
    replies: bool,
) -> tuple[Mapping[str, Sequence[Posting]], Mapping[str, set[int]], Mapping[str, Frequency]]:
    """Return the places of the terms, the rows in which the user said each, and how frequent each is.

    *postings*: those that were read already. *replies*: the assistant's words count as much as the user's.
    """
    # In the order of `split`, because the last digits of a sum depend on its order.
    exact, frequent = coverage.split(statistics)
    if postings is None:
        postings = index.postings(exact) if exact else {}
    found = {term: postings[term] for term in exact}
    said = coverage.said_rows(found)
    frequencies = {term: Frequency(statistics.frequencies[term], len(rows)) for term, rows in said.items()}
    if frequent:
        rows = statistics.observations
        most = max(1, coverage.MOST_NEWEST // (len(frequent) * (2 if replies else 1)))
        newest = index.newest_with(frequent, in_reply=False, most=most)
        replied = index.newest_with(frequent, in_reply=True, most=most) if replies else {}
        for term in frequent:
            in_reply = replied.get(term, ())
            said[term] = {*newest[term]}
            found[term] = [(number, "said", 0) for number in newest[term]] + [(n, "reply", 0) for n in in_reply]
            times, others = (coverage.estimated(numbers, most, rows) for numbers in (newest[term], in_reply))
            frequencies[term] = Frequency(min(rows, times + others), times)
    return found, said, frequencies


def _by_meaning_alone(store: Store, request: Request, asked: Asked, now: datetime) -> _Found:
    """Return the rows that are near a question about the user in which no word has content, the best first."""
    if not asked.speaks_of_user:
        return _Found()
    cosines, nearest = _nearest(store, request, asked)
    if cosines is None or not nearest:
        return _Found()
    gains = meaning.gains(cosines, nearest, {})
    documents = store.documents(request.user_id, {*nearest}, now=now)
    return _Found(_relevant(request, asked, {}, documents, bits={}, nearest=nearest, gains=gains))


def _nearest(
    store: Store,
    request: Request,
    asked: Asked,
    named: frozenset[str] = frozenset(),
    unknown: frozenset[str] = frozenset(),
) -> tuple["Cosines | None", Sequence[int]]:
    """Return how near the user's rows are to the message in meaning, and which are near enough, the nearest first.

    *named*: speakers that the message names, see `speakers`. *unknown*: its terms that are in no row. None: only words
    are known.
    """
    meant = request.meaning
    if meant is None:
        return None, ()
    text = ""
    if named:
        text = speakers.as_speaker(meant.text, named, asked.spoken)
        asked = replace(asked, speaks_of_user=True, names=asked.names - named)
    found = meant.near(store, request.user_id, text)
    if found is None:
        return None, ()
    cosines, reading = found
    # In German, nouns are capitalized too.
    names_stranger = "de" not in asked.spoken and not asked.names.isdisjoint(unknown)
    return cosines, meaning.nearest(cosines, reading, asked, request.limit, names_stranger=names_stranger)


def _relevant(
    request: Request,
    asked: Asked,
    covered: Mapping[int, Covered],
    documents: Mapping[int, Document],
    *,
    bits: Mapping[str, int],
    nearest: Sequence[int],
    gains: Mapping[int, float],
) -> list[Candidate]:
    """Return the rows that cover enough of the message or are near enough to it in meaning, the best first."""
    relevant: list[Candidate] = []
    names = sum(bits.get(term, 0) for term in asked.names)
    places = {number: place for place, number in enumerate(nearest)}
    for number in {**covered, **places}:
        document = documents.get(number)
        if document is None or (request.types and document.type not in request.types):
            continue
        row = covered.get(number, _NOTHING)
        # The assistant's claims about the user are not facts.
        is_claim = not row.said_terms and asked.speaks_of_user and not asked.asks_assistant
        is_covered = not is_claim and row.total >= least_coverage(asked, has_name=bool(row.said_terms & names))
        if is_covered or number in places:
            relevance = row.total + length_gain(document) + gains.get(number, 0.0)
            relevant.append(Candidate(number, document, row, relevance, places.get(number)))
    return sorted(relevant, key=lambda row: (row.relevance, row.document.updated_at, row.document.id), reverse=True)


def _scored(
    asked: Asked,
    found: _Found,
    previews: Mapping[int, Preview],
    *,
    finder: Finder,
    known: str | None,
    now: datetime,
) -> Iterator[Scored]:
    """Yield the candidates with what their texts tell, without those that say nothing, or what is *known*."""
    # A text that was said many times is read once.
    read: dict[str, tuple[bool, frozenset[str] | None]] = {}
    for candidate in found.candidates:
        preview = previews.get(candidate.number)
        # A row that was saved again since it was ranked has a new sequence number. A row with another id belongs to a
        # user who was forgotten and has come back.
        if preview is None or preview.id != candidate.document.id or not _has_names(preview, asked.cased.values()):
            continue
        content = passage.parts(preview.content)
        said = passage.normalized(content.said)
        if said == known:
            continue
        if content.said not in read:
            read[content.said] = _news(asked, content.said, finder)
        says_something, news = read[content.said]
        if not says_something:
            continue
        factor = 1.0 if news is None else QUESTION[min(len(news), len(QUESTION) - 1)]
        relevance = candidate.relevance * factor + text_gain(content.said, asked, found.named)
        # The reserved places are for what the speaker said.
        is_other = found.named and not speakers.is_by(content.said, found.named)
        order = relevance + RECENCY_GAIN * recency(candidate.document.updated_at, now)
        placed = candidate._replace(nearness=None) if is_other else candidate
        yield Scored(placed, preview, content, said, min(1.0, relevance), order, news)


def _news(asked: Asked, said: str, finder: Finder) -> tuple[bool, frozenset[str] | None]:
    """Return whether *said* says something for the message, and its news if it only asks: see `Scored.news`."""
    if asked.asks_assistant or not passage.is_asked(said, finder, asked.spoken):
        return True, None
    # A question that was asked before, or one about the world, says nothing about the user.
    if asked.speaks_of_user and not message_query.speaks_of_user(said):
        return False, None
    news = frozenset(message_query.content_terms(said)).difference(asked.terms)
    return bool(news) or not asked.speaks_of_user, news


def _has_names(preview: Preview, names: Iterable[str]) -> bool:
    """Return whether the row contains each of *names* as it is written."""
    return all(name in preview.content or name in preview.title for name in names)


def _mark_earlier(store: Store, user_id: str, rows: Sequence[Scored]) -> None:
    earlier = store.earlier_sources(user_id, [row.preview.id for row in rows]) if rows else ()
    for row in rows:
        if row.preview.id in earlier:
            row.is_earlier = True
            row.score *= EARLIER
            row.order *= EARLIER


def _deeper(store: Store, user_id: str, rows: Sequence[Scored], finder: Finder) -> Sequence[Scored]:
    """Read more of the rows whose terms are not all in what was read of them."""
    deep = [row for row in rows if len(row.preview.content) == HEAD_CHARACTERS and not _has_all(row, finder)]
    if deep:
        numbers = [row.candidate.number for row in deep[:MAX_DEEP]]
        read = store.previews(user_id, numbers, characters=DEEP_CHARACTERS)
        for row in deep:
            preview = read.get(row.candidate.number)
            if preview is not None and preview.id == row.preview.id:
                row.content = passage.parts(preview.content)
    return rows


def _has_all(row: Scored, finder: Finder) -> bool:
    """Return whether what was read of *row* contains all its terms: of the reply only if the user said none of them."""
    covered = row.candidate.covered
    text, terms = (
        (row.content.said, covered.said_terms) if covered.said_terms else (row.content.reply, covered.reply_terms)
    )
    return len(finder.found(text)) >= terms.bit_count()


def _hit(row: Scored, finder: Finder, longest: int) -> RecallHit:
    covered = row.candidate.covered
    return RecallHit(
        id=row.preview.id,
        type=row.preview.type,
        title=row.preview.title,
        passage=passage.passage(
            row.content, finder, longest, shows_reply=bool(covered.reply_terms & ~covered.said_terms)
        ),
        score=row.score,
        updated_at=row.preview.updated_at,
        is_earlier=row.is_earlier,
    )
