"""The values that cross the ports."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from ilab_chat_service.message_statements import Reading

if TYPE_CHECKING:
    from datetime import datetime


#: A message that says nothing explicitly.
NOTHING_STATED = Reading()


class MemoryMode(enum.Enum):
    """Whether a call reads and writes memory."""

    READ_WRITE = enum.auto()
    READ_ONLY = enum.auto()
    OFF = enum.auto()


class TurnRetention(enum.Enum):
    """Which turns of a conversation stay stored."""

    EVERY_TURN = enum.auto()
    LATEST_ONLY = enum.auto()


class MemorySource(enum.Enum):
    """Why a memory is a candidate for the prompt. Stored answers have the values."""

    FACT = "FACT"
    TURN = "TURN"
    SEARCH = "SEARCH"
    SUMMARY = "SUMMARY"


class FinishReason(enum.Enum):
    """Why the model stopped. Stored answers have the values."""

    STOP = "STOP"
    LENGTH = "LENGTH"
    CONTENT_FILTER = "CONTENT_FILTER"
    OTHER = "OTHER"


class ReasoningEffort(enum.Enum):
    """How much a reasoning model should think. The values are those of the model's API."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"


@dataclass(frozen=True, slots=True)
class TextFormat:
    """The reply is plain text."""


@dataclass(frozen=True, slots=True)
class JsonObjectFormat:
    """The reply is one JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonSchemaFormat:
    """The reply is JSON that matches a schema. `schema` is a JSON Schema, as JSON text."""

    name: str
    schema: str
    strict: bool | None = None


ResponseFormat: TypeAlias = TextFormat | JsonObjectFormat | JsonSchemaFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How the model should write. None or empty: the model's own default."""

    model: str = ""
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    stop_sequences: tuple[str, ...] = ()
    seed: int | None = None
    reasoning_effort: ReasoningEffort | None = None
    response_format: ResponseFormat | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A document that the caller adds to one call. It is data, never an instruction. The title may be empty."""

    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRequest:
    """A valid message of a user.

    `request_id_is_new`: the server made the id for this call, so it has no answer yet. Empty `conversation_id`: the
    default conversation. Empty `time_zone`: UTC. Empty `memory_types`: all types. `reading`: what the message says
    explicitly, without its private text.
    """

    user_id: str
    message: str
    request_id: str
    request_id_is_new: bool = field(default=False, compare=False)
    generation: Generation = Generation()
    memory_mode: MemoryMode = MemoryMode.READ_WRITE
    retention: TurnRetention = TurnRetention.EVERY_TURN
    conversation_id: str = ""
    instructions: str = ""
    documents: tuple[Document, ...] = ()
    time_zone: str = ""
    memory_types: tuple[str, ...] = ()
    reading: Reading = NOTHING_STATED

    @property
    def text_bytes(self) -> int:
        """Size of all texts in UTF-8."""
        return sum(len(text.encode()) for text in (self.message, *self.unstored))

    @property
    def unstored(self) -> tuple[str, ...]:
        """The texts of the call that are not stored. The reply may still repeat their private text."""
        response_format = self.generation.response_format
        return (
            self.instructions,
            *(text for each in self.documents for text in (each.title, each.text)),
            *self.generation.stop_sequences,
            *((response_format.schema,) if isinstance(response_format, JsonSchemaFormat) else ()),
        )


@dataclass(frozen=True, slots=True)
class Part:
    """A sentence of a search hit in which the user states something, and its mark."""

    text: str
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """A memory in short: a candidate for one line of the prompt.

    `observation_id` is 0 for the summary of a session. `title` is empty for statements, summaries and turns. `snippet`
    is the text that enters the prompt. `score` is set for search hits only. `is_earlier`: a later statement of the user
    replaced it. `is_doubted`: a later message of the user seems to change it. `says_little`: its words are few.
    `parts` of a search hit: its sentences that state something, if they say enough without the others. `source_ids`:
    the turns that it was derived from.
    """

    observation_id: int
    type: str
    title: str
    updated_at: datetime
    source: MemorySource
    snippet: str = ""
    score: float = 0.0
    pinned: bool = False
    is_earlier: bool = False
    is_doubted: bool = False
    says_little: bool = False
    parts: tuple[Part, ...] = ()
    source_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTurn:
    """A stored turn of this session, as conversation. `recalled` is the same turn in short."""

    message: str
    reply: str
    recalled: Recalled


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The memories and turns that may help to answer a message.

    Order: `facts` by importance, `summaries` newest first, `found` and `related` best first, `statements` and `turns`
    oldest first. `related`: what the user said that may matter, for space that is left in the prompt.
    """

    session_id: str = ""
    is_new_session: bool = False
    facts: tuple[Recalled, ...] = ()
    statements: tuple[Recalled, ...] = ()
    summaries: tuple[Recalled, ...] = ()
    turns: tuple[PastTurn, ...] = ()
    found: tuple[Recalled, ...] = ()
    related: tuple[Recalled, ...] = ()

    forgotten_ids: tuple[int, ...] = ()
    """The observations that the message asks to forget, newest first."""

    def without_forgotten(self) -> Context:
        """Return the context without the observations to forget, and without facts derived from them alone."""
        forgotten = {*self.forgotten_ids}
        if not forgotten:
            return self

        def kept(memories: tuple[Recalled, ...]) -> tuple[Recalled, ...]:
            return tuple(each for each in memories if each.observation_id not in forgotten)

        return replace(
            self,
            facts=tuple(
                each for each in kept(self.facts) if not (each.source_ids and forgotten.issuperset(each.source_ids))
            ),
            statements=kept(self.statements),
            turns=tuple(each for each in self.turns if each.recalled.observation_id not in forgotten),
            found=kept(self.found),
            related=kept(self.related),
        )


#: Prefixes of the topic_keys of stored turns: of one observation per turn, and of the rolling observation. They differ
#: so that no request_id can produce the rolling key. Callers of MemoryService cannot use them, because observations
#: with these keys are read back as conversation, replies included.
TURN_KEY = "chat:turn/"
LATEST_KEY = "chat/"
RESERVED_KEYS = (TURN_KEY, LATEST_KEY)

#: Prefix of the topic_keys of facts that users stated or consolidation found. Callers may use it too: the newest value
#: of a key wins.
FACT_KEY = "fact/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A message and its reply, to be stored.

    `reply`: without the private text of the call. `interrupted`: the caller left before the model was done.
    """

    user_id: str
    request_id: str
    message: str
    reply: str
    retention: TurnRetention
    interrupted: bool = False
    conversation_id: str = ""
    reading: Reading = NOTHING_STATED


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """A fact that a turn added or changed."""

    observation_id: int
    type: str
    title: str
    content: str
    topic_key: str
    pinned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Persisted:
    """A turn as it was stored. `remembered`: the facts that it added or changed."""

    observation_id: int
    remembered: tuple[Remembered, ...] = ()


#: Maximum number of tokens in the contract's int32.
TOKENS_MOST = 2**31 - 1


def token_count(value: object) -> int:
    """Return *value* if it is a valid number of tokens, else 0."""
    # `type`, because JSON's true is an int in Python.
    return value if type(value) is int and 0 <= value <= TOKENS_MOST else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts of the model's API. Input includes cached tokens, output includes reasoning tokens."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A finished answer, as returned to the caller and to repeats of the call.

    `observation_id` is 0 if nothing was stored. `finish_reason` and `usage` are None if the model's API did not send
    them. `forgotten_ids`: what was erased because the user asked for it, newest first.
    """

    session_id: str
    is_new_session: bool
    model: str
    memories: tuple[Recalled, ...]
    reply: str
    observation_id: int
    finish_reason: FinishReason | None
    usage: Usage | None
    create_time: datetime
    model_response_id: str = ""
    included_documents: int = 0
    remembered: tuple[Remembered, ...] = ()
    forgotten_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTokens:
    """Estimated tokens of a prompt by section, as the contract names them."""

    instructions: int = 0
    message: int = 0
    context: int = 0
    facts: int = 0
    summaries: int = 0
    search: int = 0
    conversation: int = 0

    @property
    def total(self) -> int:
        """All sections together. Written out, because several calls of each turn need it."""
        return (
            self.instructions
            + self.message
            + self.context
            + self.facts
            + self.summaries
            + self.search
            + self.conversation
        )

    def plus(self, other: PromptTokens) -> PromptTokens:
        """Return the sums of both, section by section."""
        return PromptTokens(
            **{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKey:
    """Identifies a call and its repeats. Calls of different methods never share a key."""

    user_id: str
    method: str
    request_id: str


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response as it is stored. `observation_ids`: the observations that it contains or refers to."""

    fingerprint: str
    """That of its request, see `ports.RepeatableCall.fingerprint`."""
    text: str
    observation_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of the model's reasoning. It is not part of the reply and is never stored."""

    text: str
