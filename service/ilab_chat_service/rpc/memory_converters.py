"""The library's models as messages of the contract, field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from ilab_chat.v1 import memory_pb2
from ilab_chat_service.limits import CONVERSATION_ID_CHARACTERS, RECENT_SUMMARY_CHARACTERS
from ilab_chat_service.rpc.errors import InvalidFields
from ilab_chat_service.rpc.text_validation import ascii_violations
from ilab_memory.core.config import FACT_TYPES
from ilab_memory.core.models import Observation, Session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ilab_memory.core.models import Fact, ObservationCompact, SaveResult, SessionSummaryCompact, TypeStats

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
        pinned=row.pinned,
        expire_time=None if row.expire_time is None else timestamp(row.expire_time),
        source_observation_ids=row.source_ids,
    )


def fact(row: Fact) -> memory_pb2.Fact:
    """Return a fact."""
    return memory_pb2.Fact(
        observation_id=row.id,
        type=row.type,
        title=row.title,
        content=row.content,
        topic_key=row.topic_key,
        pinned=row.pinned,
        expire_time=None if row.expire_time is None else timestamp(row.expire_time),
        source_observation_ids=row.source_ids,
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
        conversation_id=row.conversation_id,
    )


def imported_session(message: memory_pb2.Session) -> Session:
    """Return a session of an import.

    Raises:
        InvalidFields: a time is missing, or it contradicts the state.
    """
    if message.state not in {memory_pb2.SESSION_STATE_ACTIVE, memory_pb2.SESSION_STATE_COMPLETED}:
        raise InvalidFields([("state", "must be ACTIVE or COMPLETED")])
    if violations := list(ascii_violations("conversation_id", message.conversation_id, CONVERSATION_ID_CHARACTERS)):
        raise InvalidFields(violations)
    is_completed = message.state == memory_pb2.SESSION_STATE_COMPLETED
    if message.HasField("end_time") is not is_completed:
        raise InvalidFields([("end_time", "must be set if, and only if, the session is COMPLETED")])
    return Session.model_construct(
        id=message.id,
        user_id=message.user_id,
        started_at=moment(message, "start_time"),
        ended_at=moment(message, "end_time") if is_completed else None,
        last_activity_at=moment(message, "last_activity_time"),
        summary=message.summary if message.HasField("summary") else None,
        status="completed" if is_completed else "active",
        is_auto_generated=message.auto_generated,
        conversation_id=message.conversation_id,
    )


def imported_observation(message: memory_pb2.Observation) -> Observation:
    """Return an observation of an import.

    Raises:
        InvalidFields: a time is missing.
    """
    return Observation.model_construct(
        session_id=message.session_id,
        user_id=message.user_id,
        type=message.type,
        title=message.title,
        content=message.content,
        topic_key=message.topic_key if message.HasField("topic_key") else None,
        revision_count=message.revision_count,
        created_at=moment(message, "create_time"),
        updated_at=moment(message, "update_time"),
        id=message.id or None,
        pinned=message.pinned,
        expire_time=moment(message, "expire_time") if message.HasField("expire_time") else None,
        source_ids=list(message.source_observation_ids),
    )


def moment(message: memory_pb2.Session | memory_pb2.Observation, field: str) -> str:
    """Return the time in *field* of *message* as ISO 8601.

    Raises:
        InvalidFields: it is not set, or out of range.
    """
    if not message.HasField(field):  # type: ignore[arg-type]
        raise InvalidFields([(field, "must be set")])
    try:
        text: str = getattr(message, field).ToJsonString()
    except ValueError:
        raise InvalidFields([(field, "must be a time of the years 1 to 9999")]) from None
    return text


def session_summary(row: SessionSummaryCompact) -> memory_pb2.SessionSummary:
    """Return a completed session in short."""
    return memory_pb2.SessionSummary(
        session_id=row.session_id,
        end_time=timestamp(row.date),
        summary=row.summary[:RECENT_SUMMARY_CHARACTERS],
        auto_generated=row.is_auto_generated,
    )


def stats(counts: Mapping[str, int], types: Sequence[TypeStats] | None) -> memory_pb2.GetStatsResponse:
    """Return what a user has. Without *types*, only the counts."""
    if types is None:
        return memory_pb2.GetStatsResponse(observations=counts["observations"], sessions=counts["sessions"])
    response = memory_pb2.GetStatsResponse(
        observations=counts["observations"],
        sessions=counts["sessions"],
        facts=sum(each.observations for each in types if each.type in FACT_TYPES),
        text_bytes=sum(each.text_bytes for each in types),
        types=[
            memory_pb2.TypeStats(
                type=each.type,
                observations=each.observations,
                text_bytes=each.text_bytes,
                first_time=timestamp(each.first_time),
                last_time=timestamp(each.last_time),
            )
            for each in types
        ],
    )
    if types:
        response.first_time.CopyFrom(timestamp(min(each.first_time for each in types)))
        response.last_time.CopyFrom(timestamp(max(each.last_time for each in types)))
    return response


def timestamp(text: str) -> Timestamp:
    """Return an ISO 8601 moment as a message."""
    moment = Timestamp()
    moment.FromJsonString(text)
    return moment
