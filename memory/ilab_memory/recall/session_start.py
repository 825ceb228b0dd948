"""The context of a new session: the last sessions, and their best memories."""

from collections.abc import Iterable
from datetime import datetime

from ilab_memory.core.models import ObservationCompact, Session, SessionStartResponse, SessionSummaryCompact
from ilab_memory.core.store import Preview, RecentSessions, Store
from ilab_memory.recall.scoring import PREVIEW_CHARACTERS, compact, context_score

#: Completed sessions that a session start shows (documented contract).
SESSIONS_SHOWN = 5
#: Memories that a session start returns (documented contract).
MEMORIES_SHOWN = 10
#: Newest observations of each session from which they are chosen.
CANDIDATES_PER_SESSION = 10


def recent_sessions(
    store: Store, user_id: str, conversation_id: str, now: datetime, *, with_memories: bool
) -> RecentSessions:
    """Return the conversation's active and the user's last completed sessions, and the candidates for `memories`."""
    return store.recent_sessions(
        user_id,
        conversation_id=conversation_id,
        completed=SESSIONS_SHOWN,
        each=CANDIDATES_PER_SESSION if with_memories else 0,
        preview_characters=PREVIEW_CHARACTERS,
        now=now,
    )


def memories(candidates: Iterable[Preview], now: datetime) -> list[ObservationCompact]:
    """Return the best of *candidates* by ContextScore."""
    scored = [
        (
            context_score(row.type, updated_at=row.updated_at, revision_count=row.revision_count, now=now),
            row.updated_at,
            row.id,
            row,
        )
        for row in candidates
    ]
    scored.sort(reverse=True)
    return [compact(row, score) for score, _, _, row in scored[:MEMORIES_SHOWN]]


def sessions_context(completed: Iterable[Session]) -> list[SessionSummaryCompact]:
    """Return the compact form of *completed* sessions."""
    return [
        SessionSummaryCompact.model_construct(
            session_id=session.id,
            date=session.ended_at or session.last_activity_at,
            summary=session.summary or "",
            is_auto_generated=session.is_auto_generated,
        )
        for session in completed
    ]


def response(session_id: str, recent: RecentSessions, *, is_new: bool, now: datetime) -> SessionStartResponse:
    """Return the response of a session start, with what *recent* has."""
    return SessionStartResponse.model_construct(
        session_id=session_id,
        is_new=is_new,
        sessions_context=sessions_context(recent.completed),
        memories=memories(recent.newest, now),
    )
