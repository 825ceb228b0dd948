"""The models of the memory library's transports: arguments of the tools, and results made from the contract's messages.

A test compares them with those of `ilab_memory.transports`.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ilab_chat.v1 import chat_pb2, memory_pb2

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp


UserId = Annotated[str, Field(max_length=256, description="The user whose memory this is.")]
ConversationId = Annotated[
    str, Field(max_length=256, description="One of the user's conversations. Empty: the default one.")
]
Text = Annotated[str, Field(max_length=1024 * 1024)]
Title = Annotated[str, Field(max_length=512, description="A short title.")]
Type = Annotated[
    str, Field(description="profile, preference, decision, discovery or pattern, unless configured otherwise.")
]
ObservationId = Annotated[int, Field(ge=1, le=2**63 - 1, description="The id of an observation of the user.")]


class _Request(BaseModel):
    # Strict: True is not the number 1. An error names the field and never quotes the value.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    user_id: UserId


class SessionStart(_Request):
    """Return the session to work in, the last completed sessions, and the user's best memories.

    Call it when a conversation begins. Reuses the active session or opens one.
    """

    conversation_id: ConversationId = ""


class SessionEnd(_Request):
    """Complete the active session with a summary of what happened."""

    summary: Annotated[Text, Field(description="The course of the session.")]
    conversation_id: ConversationId = ""


class SessionSummary(_Request):
    """Store a summary of the session as an observation. The session stays open."""

    summary: Annotated[Text, Field(description="The course of the session so far.")]
    conversation_id: ConversationId = ""


class Save(_Request):
    """Store one observation about the user: a preference, a decision, something learned.

    With a topic_key, it replaces the observation of that key. Text inside <private> tags is redacted.
    """

    content: Annotated[Text, Field(description="The text to remember.")]
    type: Type
    title: Title
    topic_key: Annotated[str | None, Field(max_length=256, description="Identifies what the observation is about.")] = (
        None
    )
    conversation_id: ConversationId = ""


class Search(_Request):
    """Find the user's observations that answer a question in plain language, best first."""

    query: Annotated[Text, Field(description="Plain language. There are no operators.")]
    limit: Annotated[int, Field(ge=1, le=100, description="Maximum number of results.")] = 10
    types: Annotated[list[str] | None, Field(description="Only these types.")] = None
    types_exclude: Annotated[list[str] | None, Field(description="All types but these. Not with types.")] = None


class GetObservation(_Request):
    """Return one observation of the user in full, or null if the user has none of this id."""

    observation_id: ObservationId


class Timeline(_Request):
    """Return an observation and those before and after it, oldest first."""

    observation_id: ObservationId


class Stats(_Request):
    """Count the user's observations and sessions."""


class Recall(_Request):
    """Return the memories that would enter the prompt for a message: facts, summaries, and what search finds."""

    message: Annotated[str, Field(description="The user's message.")]
    conversation_id: ConversationId = ""


class List(_Request):
    """List the user's observations, the last changed first."""

    types: Annotated[list[str], Field(description="Only these types. Empty: all.")] = []
    limit: Annotated[int, Field(ge=1, le=200, description="Maximum number of results.")] = 50
    page_token: Annotated[str, Field(description="The next_page_token of the page before. Empty: the first page.")] = ""


class Correct(_Request):
    """Correct an observation of the user: its content, title or type."""

    observation_id: ObservationId
    content: Annotated[Text | None, Field(description="The new text. Null: unchanged.")] = None
    title: Annotated[Title | None, Field(description="The new title. Null: unchanged.")] = None
    type: Annotated[Type | None, Field(description="The new type. Null: unchanged.")] = None


class Forget(_Request):
    """Erase one observation and what was derived from it alone, or everything of the user. It cannot be undone."""

    observation_id: Annotated[ObservationId | None, Field(description="The observation to erase.")] = None
    everything: Annotated[bool, Field(description="Erase all of the user's memory. Without observation_id.")] = False


class Observation(BaseModel):
    """One remembered item of a user, complete."""

    id: int
    session_id: str
    user_id: str
    type: str
    title: str
    content: str
    topic_key: str | None = None
    normalized_hash: str | None = None
    revision_count: int = 1
    created_at: str
    updated_at: str
    pinned: bool = False
    expire_time: str | None = None
    source_ids: list[int] = []

    @classmethod
    def of(cls, message: memory_pb2.Observation) -> Observation:
        """Return the model of *message*."""
        return cls(
            id=message.id,
            session_id=message.session_id,
            user_id=message.user_id,
            type=message.type,
            title=message.title,
            content=message.content,
            topic_key=optional(message, "topic_key"),
            normalized_hash=message.content_hash.hex() or None,
            revision_count=message.revision_count,
            created_at=time(message.create_time),
            updated_at=time(message.update_time),
            pinned=message.pinned,
            expire_time=time(message.expire_time) if message.HasField("expire_time") else None,
            source_ids=list(message.source_observation_ids),
        )


class ObservationCompact(BaseModel):
    """One observation in a list."""

    id: int
    type: str
    title: str
    topic_key: str | None = None
    score: float
    snippet: str
    updated_at: str

    @classmethod
    def of(cls, message: memory_pb2.ObservationCompact) -> ObservationCompact:
        """Return the model of *message*."""
        return cls(
            id=message.id,
            type=message.type,
            title=message.title,
            topic_key=optional(message, "topic_key"),
            score=message.score,
            snippet=message.snippet,
            updated_at=time(message.update_time),
        )


class SaveResult(BaseModel):
    """The result of a save."""

    id: int
    outcome: Literal["created", "updated", "deduped"]
    session_id: str
    topic_key: str | None = None

    @classmethod
    def of(cls, message: memory_pb2.SaveResult) -> SaveResult:
        """Return the model of *message*."""
        outcome: Any = memory_pb2.SaveOutcome.Name(message.outcome).removeprefix("SAVE_OUTCOME_").lower()
        topic_key = optional(message, "topic_key")
        return cls(id=message.id, outcome=outcome, session_id=message.session_id, topic_key=topic_key)


class Session(BaseModel):
    """A unit of work of one user."""

    id: str
    user_id: str
    started_at: str
    ended_at: str | None = None
    last_activity_at: str
    summary: str | None = None
    status: Literal["active", "completed"] = "active"
    is_auto_generated: bool = False
    conversation_id: str = ""

    @classmethod
    def of(cls, message: memory_pb2.Session) -> Session:
        """Return the model of *message*."""
        return cls(
            id=message.id,
            user_id=message.user_id,
            started_at=time(message.start_time),
            ended_at=time(message.end_time) if message.HasField("end_time") else None,
            last_activity_at=time(message.last_activity_time),
            summary=optional(message, "summary"),
            status="completed" if message.state == memory_pb2.SESSION_STATE_COMPLETED else "active",
            is_auto_generated=message.auto_generated,
            conversation_id=message.conversation_id,
        )


class SessionSummaryCompact(BaseModel):
    """A completed session in a list."""

    session_id: str
    date: str
    summary: str
    is_auto_generated: bool = False

    @classmethod
    def of(cls, message: memory_pb2.SessionSummary) -> SessionSummaryCompact:
        """Return the model of *message*."""
        return cls(
            session_id=message.session_id,
            date=time(message.end_time),
            summary=message.summary,
            is_auto_generated=message.auto_generated,
        )


class SessionStartResponse(BaseModel):
    """The session to work in, with the latest sessions and the best memories."""

    session_id: str
    is_new: bool
    sessions_context: list[SessionSummaryCompact]
    memories: list[ObservationCompact]

    @classmethod
    def of(cls, message: memory_pb2.StartSessionResponse) -> SessionStartResponse:
        """Return the model of *message*."""
        return cls(
            session_id=message.session_id,
            is_new=message.new_session,
            sessions_context=[SessionSummaryCompact.of(each) for each in message.recent_sessions],
            memories=[ObservationCompact.of(each) for each in message.memories],
        )


#: Characters of a title that is the beginning of a text.
TITLE_CHARACTERS = 80


def beginning(text: str) -> str:
    """Return the beginning of *text* as one line."""
    line = " ".join(text.split())
    return line if len(line) <= TITLE_CHARACTERS else f"{line[: TITLE_CHARACTERS - 1].rstrip()}…"


class Memory(BaseModel):
    """A memory that would enter the prompt."""

    id: int
    source: str
    type: str
    title: str = Field(description="The title, or the beginning of the passage.")
    passage: str = Field(description="The text. Of a turn, what the user said and what the assistant answered.")
    score: float = Field(
        description="How well it answers the message, 0 to 1. 1 for what enters the prompt whatever the message says."
    )
    updated_at: str
    is_earlier: bool = False

    @classmethod
    def of(cls, message: chat_pb2.HydratedMemory, turn: tuple[str, str] | None) -> Memory:
        """Return the model of *message*.

        Args:
            message: the memory.
            turn: the user's message and the reply. None: it is not a turn.
        """
        passage = f"user: {turn[0]}\nassistant: {turn[1]}" if turn else message.snippet
        return cls(
            id=message.observation_id,
            source=chat_pb2.MemorySource.Name(message.source).removeprefix("MEMORY_SOURCE_").lower(),
            type=message.type,
            title=message.title or beginning(turn[0] if turn else passage),
            passage=passage,
            score=message.score if message.source == chat_pb2.MEMORY_SOURCE_SEARCH else 1.0,
            updated_at=time(message.update_time),
            is_earlier=message.earlier,
        )


class Page(BaseModel):
    """A page of observations."""

    observations: list[Observation]
    next_page_token: str


class Forgotten(BaseModel):
    """The number of observations that the user had (everything), or 1."""

    observations: int


def time(stamp: Timestamp) -> str:
    """Return *stamp* as the library writes times."""
    return stamp.ToDatetime(tzinfo=UTC).isoformat(timespec="microseconds")


def optional(message: Any, field: str) -> str | None:
    """Return a field of *message* that may be absent."""
    value: str | None = getattr(message, field) if message.HasField(field) else None
    return value
