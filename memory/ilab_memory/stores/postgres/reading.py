"""Rows made into values."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ilab_memory.core.models import Observation, Session
from ilab_memory.core.store import Document, Matches, Posting, Preview, RecentSessions, TermStatistics
from ilab_memory.stores.postgres.blind_index import places
from ilab_memory.stores.postgres.connections import Row
from ilab_memory.timestamps import to_text

# In a row of `ROWS_OF_FEW`, behind a number and a document.
_PREVIEW_BEGINS = 1 + len(Document._fields)


def session(user_id: str, row: Sequence[Any]) -> Session:
    """Return the Session of a row of `_SESSION_COLUMNS`."""
    session_id, started_at, ended_at, last_activity_at, summary, is_auto_generated, conversation_id = row
    return Session.model_construct(
        id=session_id,
        user_id=user_id,
        started_at=to_text(started_at),
        ended_at=None if ended_at is None else to_text(ended_at),
        last_activity_at=to_text(last_activity_at),
        summary=summary,
        status="active" if ended_at is None else "completed",
        is_auto_generated=is_auto_generated,
        conversation_id=conversation_id,
    )


def observation(user_id: str, row: Sequence[Any]) -> Observation:
    """Return the Observation of a row of `_OBSERVATION_COLUMNS`."""
    names = ("id", "session_id", "type", "title", "content", "topic_key", "normalized_hash", "revision_count")
    *values, created_at, updated_at = row
    return Observation.model_construct(
        user_id=user_id,
        created_at=to_text(created_at),
        updated_at=to_text(updated_at),
        **dict(zip(names, values, strict=True)),
    )


def preview(row: Sequence[Any]) -> Preview:
    """Return the Preview of a row of `_PREVIEW_COLUMNS`."""
    *values, updated_at, content = row
    return Preview._make((*values, to_text(updated_at), content))


def recent_sessions(user_id: str, rows: Iterable[Row]) -> RecentSessions:
    """Return what `RECENT_SESSIONS` has found."""
    sessions: list[Session] = []
    newest: list[Preview] = []
    for *columns, observations in rows:
        sessions.append(session(user_id, columns))
        newest += map(preview, observations)
    active = sessions.pop(0) if sessions and sessions[0].status == "active" else None
    return RecentSessions(active, sessions, newest)


def document(row: Sequence[Any]) -> Document:
    """Return the Document of a row of `DOCUMENTS`, without its number."""
    observation_id, session_number, kind, updated_at, *numbers = row
    return Document._make((observation_id, session_number, kind, to_text(updated_at), *numbers))


def matches(found: Sequence[Sequence[Row]], terms: Sequence[str], *, most_rows: int) -> Matches:
    """Return what `STATISTICS`, `POSTINGS_OF_FEW` and `ROWS_OF_FEW` have found of *terms*."""
    statistics, placed_rows, rows = found
    if not statistics:
        return Matches(TermStatistics(0, (0, 0, 0, 0), {}), {}, {})
    observations, *lengths = statistics[0][:5]
    placed = postings(placed_rows, terms) if placed_rows else None
    if placed is None:
        frequencies = {terms[place - 1]: frequency for *_, place, frequency in statistics if frequency}
    else:
        frequencies = {term: len({place[0] for place in places}) for term, places in placed.items() if places}
    return Matches(
        TermStatistics(observations, lengths, frequencies),
        placed,
        {row[0]: (document(row[1:_PREVIEW_BEGINS]), preview(row[_PREVIEW_BEGINS:])) for row in rows}
        if observations <= most_rows
        else None,
    )


def postings(rows: Iterable[Row], terms: Sequence[str]) -> Mapping[str, Sequence[Posting]]:
    """Return what `POSTINGS` has found of *terms*."""
    found: dict[str, list[Posting]] = {term: [] for term in terms}
    by_token: Mapping[str, str] = {}
    for number, text in rows:
        if not by_token:
            by_token = dict(zip(text.split(" "), terms, strict=True))
            continue
        for term, posting in places(number, text, by_token):
            found[term].append(posting)
    return found
