"""The library's models as messages of the contract, field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from ilab_chat.v1 import memory_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ilab_memory.core.models import Observation, ObservationCompact, SaveResult, Session, SessionSummaryCompact

#: Of the summary of a completed session in short: five of them, of 1 MiB each, would be more than callers accept.
SUMMARY_CHARACTERS = 32_768

OUTCOMES: Mapping[str, memory_pb2.SaveOutcome.ValueType] = {
    "created": memory_pb2.SAVE_OUTCOME_CREATED,
    "updated": memory_pb2.SAVE_OUTCOME_UPDATED,
    "deduped": memory_pb2.SAVE_OUTCOME_DEDUPED,
}
STATES: Mapping[str, memory_pb2.SessionState.ValueType] = {
    "active": memory_pb2.SESSION_STATE_ACTIVE,
    "completed": memory_pb2.SESSION_STATE_COMPLETED,
}


def observation(row: Observation) -> memory_pb2.Observation:
    """Return an observation in full."""
    return memory_pb2.Observation(
        id=row.id or 0,
        session_id=row.session_id,
        user_id=row.user_id,
        type=row.type,
        title=row.title,
        content=row.content,
        topic_key=row.topic_key,
        content_hash=bytes.fromhex(row.normalized_hash or ""),
        revision_count=row.revision_count,
        create_time=timestamp(row.created_at),
        update_time=timestamp(row.updated_at),
    )


def observation_compact(row: ObservationCompact) -> memory_pb2.ObservationCompact:
    """Return an observation in short."""
    return memory_pb2.ObservationCompact(
        id=row.id,
        type=row.type,
        title=row.title,
        topic_key=row.topic_key,
        score=row.score,
        snippet=row.snippet,
        update_time=timestamp(row.updated_at),
    )


def save_result(saved: SaveResult) -> memory_pb2.SaveResult:
    """Return what became of a save."""
    return memory_pb2.SaveResult(
        id=saved.id, outcome=OUTCOMES[saved.outcome], session_id=saved.session_id, topic_key=saved.topic_key
    )


def session(row: Session) -> memory_pb2.Session:
    """Return a session."""
    return memory_pb2.Session(
        id=row.id,
        user_id=row.user_id,
        start_time=timestamp(row.started_at),
        end_time=None if row.ended_at is None else timestamp(row.ended_at),
        last_activity_time=timestamp(row.last_activity_at),
        summary=row.summary,
        state=STATES[row.status],
        auto_generated=row.is_auto_generated,
    )


def session_summary(row: SessionSummaryCompact) -> memory_pb2.SessionSummary:
    """Return a completed session in short."""
    return memory_pb2.SessionSummary(
        session_id=row.session_id,
        end_time=timestamp(row.date),
        summary=row.summary[:SUMMARY_CHARACTERS],
        auto_generated=row.is_auto_generated,
    )


def timestamp(text: str) -> Timestamp:
    """Return an ISO 8601 moment as a message."""
    moment = Timestamp()
    moment.FromJsonString(text)
    return moment
