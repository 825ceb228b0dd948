"""Rows made into values. Moments come as text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ilab_memory.core.models import Fact, Observation, Session, Statement, TypeStats
from ilab_memory.core.store import Document, Matches, Posting, Preview, RecentSessions, TermStatistics

# In a row of a number, a document and a preview.
_PREVIEW_BEGINS = 1 + len(Document._fields)
_OBSERVATION_FIELDS = (
    "id", "session_id", "type", "title", "content", "topic_key", "normalized_hash", "revision_count", "created_at",
    "updated_at", "pinned", "expire_time", "about",
)  # fmt: skip
_FACT_FIELDS = (
    "id", "type", "title", "content", "topic_key", "pinned", "created_at", "updated_at", "expire_time",
    "revision_count",
)  # fmt: skip


def session(user_id: str, row: Sequence[Any]) -> Session:
    """Return the Session of a row of a store's columns of sessions."""
    session_id, started_at, ended_at, last_activity_at, summary, is_auto_generated, conversation_id = row
    return Session.model_construct(
        id=session_id,
        user_id=user_id,
        started_at=started_at,
        ended_at=ended_at,
        last_activity_at=last_activity_at,
        summary=summary,
        status="active" if ended_at is None else "completed",
        is_auto_generated=bool(is_auto_generated),
        conversation_id=conversation_id,
    )


def observation(user_id: str, row: Sequence[Any]) -> Observation:
    """Return the Observation of a row of a store's columns of observations."""
    *columns, sources = row
    fields = dict(zip(_OBSERVATION_FIELDS, columns, strict=True))
    if sources:
        ids = source_ids(sources)
        fields["source_ids"] = [source for source in ids if source > 0]
        fields["earlier_source_ids"] = [-source for source in reversed(ids) if source < 0]
    # Faster than model_construct, which goes through the fields in Python.
    return Observation(user_id=user_id, **fields)


def source_ids(sources: str | None) -> list[int]:
    """Return the ids in a list that a store has joined by commas, in their order."""
    return sorted(map(int, sources.split(","))) if sources else []


def fact(row: Sequence[Any]) -> Fact:
    """Return the Fact of a row of a store's columns of facts."""
    *columns, sources = row
    return Fact(source_ids=source_ids(sources), **dict(zip(_FACT_FIELDS, columns, strict=True)))


def statement(row: Sequence[Any]) -> Statement:
    """Return the Statement of a row: an id, an `about`, a moment, and whether it is an earlier one."""
    observation_id, text, updated_at, is_earlier = row
    return Statement(observation_id=observation_id, text=text, updated_at=updated_at, is_earlier=is_earlier)


def active_and_completed(sessions: list[Session], newest: list[Preview]) -> RecentSessions:
    """Return *sessions* with their newest observations. The first session may be the active one."""
    active = sessions.pop(0) if sessions and sessions[0].status == "active" else None
    return RecentSessions(active, sessions, newest)


def type_statistics(rows: Iterable[Sequence[Any]]) -> list[TypeStats]:
    """Return how much a user has of each type, most frequent first."""
    found = [
        TypeStats(type=kind, observations=observations, text_bytes=int(size), first_time=first, last_time=last)
        for kind, observations, size, first, last in rows
    ]
    return sorted(found, key=lambda each: (-each.observations, each.type))


def no_matches() -> Matches:
    """Return what a search finds of a user who has nothing."""
    return Matches(TermStatistics(0, (0, 0, 0, 0), {}), {}, {})


def matches(
    observations: int,
    lengths: Sequence[int],
    *,
    postings: Mapping[str, Sequence[Posting]] | None,
    counted: Iterable[tuple[str, int | None]],
    rows: Iterable[Sequence[Any]] | None,
) -> Matches:
    """Return what a search finds of a user. *observations* is their number, *lengths* that of the terms in each field.

    *counted*: how many observations contain each term, if there are no *postings*. A row is a number, a document and a
    preview.
    """
    if postings is None:
        frequencies = {term: frequency for term, frequency in counted if frequency}
    else:
        frequencies = {term: len({place[0] for place in places}) for term, places in postings.items() if places}
    found = None
    if rows is not None:
        found = {row[0]: (Document._make(row[1:_PREVIEW_BEGINS]), Preview._make(row[_PREVIEW_BEGINS:])) for row in rows}
    return Matches(TermStatistics(observations, lengths, frequencies), postings, found)
