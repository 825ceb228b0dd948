"""Rows made into values."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ilab_memory.core.models import Observation, Session
from ilab_memory.core.store import Document, Posting, Preview, RecentSessions, TermStatistics
from ilab_memory.stores.postgres.connections import Row
from ilab_memory.stores.postgres.terms import places
from ilab_memory.timestamps import to_text


def session(user_id: str, row: Sequence[Any]) -> Session:
    """Return the Session of a row of `_SESSION_COLUMNS`."""
    session_id, started_at, ended_at, last_activity_at, summary, is_auto_generated = row
    return Session.model_construct(
        id=session_id,
        user_id=user_id,
        started_at=to_text(started_at),
        ended_at=None if ended_at is None else to_text(ended_at),
        last_activity_at=to_text(last_activity_at),
        summary=summary,
        status="active" if ended_at is None else "completed",
        is_auto_generated=is_auto_generated,
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


def term_statistics(rows: Sequence[Row], terms: Sequence[str]) -> TermStatistics:
    """Return what `STATISTICS` has found of *terms*."""
    if not rows:
        return TermStatistics(0, (0, 0, 0, 0), {})
    observations, *lengths = rows[0][:5]
    return TermStatistics(observations, lengths, {terms[place - 1]: found for *_, place, found in rows if found})


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
