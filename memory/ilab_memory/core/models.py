"""The models that ILabMemory returns. Timestamps are ISO 8601, UTC, of fixed width, so text order is time order."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"


#: An argument that was not given, where None means something.
UNSET: Final = Unset.UNSET


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Observation(BaseModel):
    """One remembered item of a user, complete."""

    id: int | None = None
    session_id: str
    """The session of the last material update."""
    user_id: str
    type: str
    title: str
    content: str
    """The content, redacted and otherwise unchanged."""
    topic_key: str | None = None
    normalized_hash: str | None = None
    """SHA-256 of the content after redaction, hexadecimal."""
    revision_count: int = 1
    created_at: str
    updated_at: str
    pinned: bool = False
    expire_time: str | None = None
    """From this time on, only `mem_list`, `mem_get_observation`, `mem_timeline` and `mem_export` return it."""
    about: str | None = None
    """Statements about the user in the content, one per line; redacted."""
    source_ids: list[int] = []
    """The observations that the current content was derived from, in the order of their ids."""
    earlier_source_ids: list[int] = []
    """The observations that an earlier content of the same topic_key was derived from."""


class ObservationCompact(_Frozen):
    """One observation in a list."""

    id: int
    type: str
    title: str
    topic_key: str | None = None
    score: float
    """SearchScore in the results of mem_search, ContextScore in memories. Never compare one with the other."""
    snippet: str
    """A preview of the content, about 100 tokens."""
    updated_at: str


class RecallHit(_Frozen):
    """An observation that is relevant to a message."""

    id: int
    type: str
    title: str
    passage: str
    """The part that matches, on one line. Of a turn, the user's words; if only the assistant's reply matches, also the
    part of it that does, after `Assistant:`."""
    score: float
    """How much of the message the observation covers, in [0, 1]: absolute, so comparable between messages."""
    updated_at: str
    is_earlier: bool = False
    """True if a later statement replaced what it says."""


class SaveResult(_Frozen):
    """The result of a save."""

    id: int
    outcome: Literal["created", "updated", "deduped"]
    session_id: str
    """The user's session at the time of the save."""
    topic_key: str | None = None
    facts: "tuple[SaveResult, ...]" = ()
    """The results of the facts that were saved with the observation, in their order."""


class NewFact(BaseModel):
    """A fact to save with the observation that it was derived from."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    type: str
    """One of FACT_TYPES."""
    title: str
    content: str
    topic_key: str
    """A fact replaces the stored one of the same topic_key."""
    pinned: bool = False
    expire_time: datetime | None = None


class Fact(_Frozen):
    """One fact that holds now."""

    id: int
    type: str
    title: str
    content: str
    """The content; of a content of over 2,048 characters the first 512."""
    topic_key: str | None = None
    pinned: bool = False
    created_at: str
    updated_at: str
    expire_time: str | None = None
    revision_count: int = 1
    source_ids: list[int] = []
    """The observations that the content was derived from, in the order of their ids."""


class Statement(_Frozen):
    """One line of the `about` of an observation."""

    observation_id: int
    text: str
    updated_at: str
    is_earlier: bool = False
    """True if a fact that was derived from the observation has been replaced by a newer one."""


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
    """True if the session expired and the library wrote its summary."""
    conversation_id: str = ""
    """The conversation that the session belongs to. Empty: the default one."""


class ImportResult(_Frozen):
    """Number of sessions and observations that an import added, without those that the user already had."""

    sessions: int
    observations: int


class TypeStats(_Frozen):
    """How much a user has of one type of observations."""

    type: str
    observations: int
    text_bytes: int
    """Titles and contents, in UTF-8."""
    first_time: str
    """When the first one was created."""
    last_time: str
    """When one was last changed."""


class SessionSummaryCompact(_Frozen):
    """A completed session in a list."""

    session_id: str
    date: str
    """When the session ended."""
    summary: str
    is_auto_generated: bool = False


class Recall(list[RecallHit]):
    """The memory for a prompt: a list of the observations that are relevant to a message, best first, and more."""

    def __init__(
        self,
        hits: Iterable[RecallHit] = (),
        *,
        facts: Sequence["Fact"] = (),
        summaries: Sequence[SessionSummaryCompact] = (),
    ) -> None:
        super().__init__(hits)
        self.facts = facts
        """The facts about the user, whatever the message is: see `mem_facts`."""
        self.summaries = summaries
        """The last sessions with a summary that a caller wrote, newest first."""

    @property
    def hits(self) -> list[RecallHit]:
        """The list itself."""
        return self


class SessionStartResponse(_Frozen):
    """The session to work in, with the latest sessions and the best memories."""

    session_id: str
    is_new: bool
    sessions_context: list[SessionSummaryCompact]
    """The last completed sessions, newest first, at most 5."""
    memories: list[ObservationCompact]
    """The best observations by ContextScore, best first, at most 10."""


@dataclass(frozen=True, slots=True)
class UserRows:
    """All rows of a user as of one snapshot, for a copy from one store to another."""

    user_id: str
    last_number: int
    """The user's largest sequence number so far, see `Store`."""
    largest_id: int
    """The largest id of the user's observations; 0 without observations."""
    sessions: Sequence[Session]
    """The sessions, in the order of their start."""
    observations: Iterator[tuple[int, Observation]]
    """The observations with their sequence numbers, by (created_at, id). Read lazily, only once."""
