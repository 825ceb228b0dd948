"""Rows made into values."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ilab_memory.core.models import Fact, Observation, Session, Statement
from ilab_memory.core.store import Document, Matches, Posting, Preview, RecentSessions, TermStatistics
from ilab_memory.stores.common import rows
from ilab_memory.stores.postgres.blind_index import places
from ilab_memory.stores.postgres.connections import Row
from ilab_memory.timestamps import to_text


def texts(row: Sequence[Any]) -> list[Any]:
    """Return the values of *row* with moments as text."""
    return [to_text(value) if isinstance(value, datetime) else value for value in row]


def session(user_id: str, row: Sequence[Any]) -> Session:
    """Return the Session of a row of `SESSION_COLUMNS`."""
    return rows.session(user_id, texts(row))


def observation(user_id: str, row: Sequence[Any]) -> Observation:
    """Return the Observation of a row of `OBSERVATION_COLUMNS`."""
    return rows.observation(user_id, texts(row))


def fact(row: Sequence[Any]) -> Fact:
    """Return the Fact of a row of `LIST_FACTS`."""
    return rows.fact(texts(row))


def statement(row: Sequence[Any]) -> Statement:
    """Return the Statement of a row of `LIST_ABOUT`."""
    return rows.statement(texts(row))


def preview(row: Sequence[Any]) -> Preview:
    """Return the Preview of a row of `_PREVIEW_COLUMNS`."""
    return Preview._make(texts(row))


def recent_sessions(user_id: str, found: Iterable[Row]) -> RecentSessions:
    """Return what `RECENT_SESSIONS` has found."""
    sessions: list[Session] = []
    newest: list[Preview] = []
    for *columns, observations in found:
        sessions.append(session(user_id, columns))
        newest += map(preview, observations)
    return rows.active_and_completed(sessions, newest)


def document(row: Sequence[Any]) -> Document:
    """Return the Document of a row of `DOCUMENTS`, without its number."""
    return Document._make(texts(row))


def matches(found: Sequence[Sequence[Row]], terms: Sequence[str], *, most_rows: int) -> Matches:
    """Return what `STATISTICS`, `POSTINGS_OF_FEW` and `ROWS_OF_FEW` have found of *terms*."""
    statistics, placed_rows, all_rows = found
    if not statistics:
        return rows.no_matches()
    observations, *lengths = statistics[0][:5]
    placed = postings(placed_rows, terms) if placed_rows else None
    if placed is None:
        frequencies = {terms[place - 1]: frequency for *_, place, frequency in statistics if frequency}
    else:
        frequencies = dict(rows.term_frequencies(placed))
    return Matches(
        TermStatistics(observations, lengths, frequencies),
        placed,
        {row[0]: rows.document_and_preview(texts(row)) for row in all_rows} if observations <= most_rows else None,
    )


def postings(found_rows: Iterable[Row], terms: Sequence[str]) -> Mapping[str, Sequence[Posting]]:
    """Return what `POSTINGS` has found of *terms*."""
    found: dict[str, list[Posting]] = {term: [] for term in terms}
    by_token: Mapping[str, str] = {}
    for number, text in found_rows:
        if not by_token:
            by_token = dict(zip(text.split(" "), terms, strict=True))
            continue
        for term, posting in places(number, text, by_token):
            found[term].append(posting)
    return found
