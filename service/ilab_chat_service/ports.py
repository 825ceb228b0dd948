"""What the loop needs from outside: its two ports, the values that cross them, and the failures that they promise.

Failures, as a tree; `rpc/errors.py` says what a caller sees of each:

    Failure
    ├── ContextTooLong          the message does not fit into the model's window
    ├── ContentFiltered         a content filter stopped the prompt
    ├── FieldRefused            a field of the request is not acceptable
    │   ├── ModelNotFound             the caller named a model that does not exist or is not offered
    │   └── ModelOptionUnsupported    the model refuses an option that the caller set
    ├── ModelRateLimited        the model's API limits the rate of requests
    ├── ModelQuotaExhausted     the quota or the credit of our key is used up
    ├── ModelUnavailable        the model could not be reached, or failed before it began
    ├── ModelInterrupted        the model broke off after it began
    ├── ModelRejected           the model's API refuses our request or our key
    ├── MemoryUnavailable       memory could not be read or written: nothing has been stored
    ├── TurnNotStored           the model has answered, and the turn could not be stored, not even in part
    ├── RequestIdReused         the request_id belongs to another request
    └── NotSupported            the memory library in use does not have what was asked for
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

#: Returns the time now, in UTC and timezone-aware.
Clock: TypeAlias = Callable[[], datetime]


#: What an operator should know of a failure, by the name of the field of the log: statuses, codes and errno, never text
#: of a user, a model or a key.
Cause: TypeAlias = Mapping[str, str | int]


class MemoryMode(enum.Enum):
    """Whether a call reads and writes memory."""

    READ_WRITE = enum.auto()
    READ_ONLY = enum.auto()
    OFF = enum.auto()


class TurnRetention(enum.Enum):
    """What remains of a user's earlier turns when a turn is stored."""

    EVERY_TURN = enum.auto()
    LATEST_ONLY = enum.auto()


class MemorySource(enum.Enum):
    """Why a memory is a candidate for the prompt. Stored answers have the values."""

    SESSION = "SESSION"
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
    stop: tuple[str, ...] = ()
    seed: int | None = None
    reasoning_effort: ReasoningEffort | None = None
    response_format: ResponseFormat | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRequest:
    """One valid message of one user. `request_id_is_new`: made for this call: it has no answer yet."""

    user_id: str
    message: str
    request_id: str
    request_id_is_new: bool = False
    generation: Generation = Generation()
    memory_mode: MemoryMode = MemoryMode.READ_WRITE
    retention: TurnRetention = TurnRetention.EVERY_TURN


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """A memory in short: a candidate for one line of the prompt.

    `observation_id` is 0 for the summary of a session. `score` is 0 to 1 among memories of the same source.
    """

    observation_id: int
    type: str
    title: str
    updated_at: datetime
    source: MemorySource
    snippet: str = ""
    score: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTurn:
    """A stored turn of this session, as conversation. `recalled` is the same turn in short."""

    message: str
    reply: str
    recalled: Recalled


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What memory knows that may help to answer a message. `turns` are oldest first."""

    session_id: str = ""
    is_new_session: bool = False
    memories: tuple[Recalled, ...] = ()
    turns: tuple[PastTurn, ...] = ()
    found: tuple[Recalled, ...] = ()
    summaries: tuple[Recalled, ...] = ()


#: How the topic_keys of stored turns begin: one observation per turn, and the one rolling observation of a user. They
#: differ so that no request_id can produce the rolling key. Callers of MemoryService cannot save under either: what is
#: stored under them is read back as conversation, replies included.
TURN_KEY = "chat:turn/"
LATEST_KEY = "chat/"
RESERVED_KEYS = (TURN_KEY, LATEST_KEY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A message and its reply, to be stored. `interrupted`: the caller left before the model was done."""

    user_id: str
    request_id: str
    message: str
    reply: str
    retention: TurnRetention
    interrupted: bool = False


class Memory(Protocol):
    """The user's memory."""

    async def hydrate(self, user_id: str, message: str, mode: MemoryMode) -> Context:
        """Return what may help to answer *message*. READ_WRITE opens or continues a session; READ_ONLY writes nothing.

        Raises:
            MemoryUnavailable: nothing was read.
        """

    async def persist(self, turn: Turn) -> int:
        """Store *turn* and return its observation id, 1 or more. When this returns, the turn survives power loss.

        Storing a turn with the same user and request_id again overwrites it; an interrupted one overwrites none. Text
        that the message marks as private is stored neither from the message nor from the reply.

        Raises:
            TurnNotStored: not even in part.
        """


#: Largest number of tokens that the contract's int32 holds.
TOKENS_MOST = 2**31 - 1


def token_count(value: object) -> int:
    """Return *value* as a number of tokens; 0 if it is not one, or does not fit the contract."""
    # JSON's true is an int in Python, and not a number to protobuf.
    return value if type(value) is int and 0 <= value <= TOKENS_MOST else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens, as the model's API counted them: input includes the cached ones, output those of reasoning."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A finished answer: what a caller is told, and what a repetition of the call is told again.

    `observation_id` is 0 when nothing was to be stored; `finish_reason` and `usage` are None if the model's API did not
    say.
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


class Claim(Protocol):
    """The right to answer a request, which no other call of the same user and request_id has meanwhile."""

    @property
    def earlier(self) -> Answered | None:
        """The answer that is stored already, if one is: then there is nothing left to do."""

    async def put(self, answered: Answered) -> None:
        """Store the answer, without the private text that it repeats. It survives a crash of the process.

        Raises:
            MemoryUnavailable: it is not stored.
        """

    def release(self) -> None:
        """Let the next one have it. A second call does nothing."""


class ReplayLog(Protocol):
    """Answers by user and request_id, kept for 24 hours."""

    async def claim(self, request: TurnRequest) -> Claim:
        """Return the claim to *request*, as soon as every call that has it already has released it.

        Raises:
            RequestIdReused: the same user and request_id have been answered, or are being answered by this process, for
                another message or other options.
            MemoryUnavailable: it cannot be told.
        """

    async def forget(self, user_id: str) -> int:
        """Erase every answer to the user, and keep none of the calls that are running; return how many were erased.

        Raises:
            MemoryUnavailable: not all of it is erased.
        """


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of the model's reasoning. It is not part of the reply and is never stored."""

    text: str


class Answer(Protocol):
    """What the model writes: iterate it once for the pieces, none of them empty; then the rest is known.

    Text is part of the reply. Iterating raises ModelInterrupted when the model breaks off.
    """

    @property
    def model(self) -> str:
        """The model's name, in its API's words."""

    @property
    def requested_model(self) -> str:
        """The name that its API was asked for."""

    @property
    def attempts(self) -> int:
        """How often the model was asked until it began."""

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why it stopped. None: not yet, or its API did not say."""

    @property
    def usage(self) -> Usage | None:
        """What its API counted. None: not yet, or it did not say."""

    def __aiter__(self) -> AsyncIterator[str | Reasoning]: ...


class ChosenModel(Protocol):
    """The model of one call."""

    @property
    def cause(self) -> Cause:
        """What an operator should know of it if the call ends while it works."""

    @property
    def prompt_tokens(self) -> int:
        """Estimated tokens that memory and conversation may fill the prompt up to."""

    def answer(self, messages: Sequence[ChatMessage], until: float) -> AbstractAsyncContextManager[Answer]:
        """Ask the model. Entered when it has begun, by reasoning or by writing, or has ended; leaving ends its work.

        It is not asked again after *until*, a moment of the event loop's clock. *messages* are not kept once it has
        begun.

        Raises:
            Failure: on entering: any that is about the model, except ModelInterrupted.
        """


class Model(Protocol):
    """The models that callers may ask."""

    def choose(self, generation: Generation, user_id: str = "") -> ChosenModel:
        """Return the model that *generation* names, or the default one, to be asked with these options.

        *user_id*: whose call it is. What fails for one user alone must not look like an outage to others.

        Raises:
            ModelNotFound: it is not offered.
        """


#: How long a caller should wait before trying again, in seconds, where nobody says better.
RETRY_AFTER_SECONDS = 1.0


class Failure(Exception):
    """A call that could not be answered. The text names no user, no message, no key and no other exception."""

    def __init__(self, text: str, *, retry_after_seconds: float | None = None, cause: Cause | None = None) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds
        self.cause: Cause = cause or {}


class ContextTooLong(Failure):
    """The message does not fit into the model's window."""


class ContentFiltered(Failure):
    """A content filter stopped the prompt."""


class FieldRefused(Failure):
    """A field of the request is not acceptable. `field` is its path in the proto; `description` never quotes it."""

    def __init__(self, field: str, description: str, *, cause: Cause | None = None) -> None:
        super().__init__(f"{field}: {description}", cause=cause)
        self.field = field
        self.description = description


class ModelNotFound(FieldRefused):
    """The caller named a model that does not exist or is not offered."""


class ModelOptionUnsupported(FieldRefused):
    """The model refuses an option that the caller set."""


class ModelRateLimited(Failure):
    """The model's API limits the rate of requests."""


class ModelQuotaExhausted(Failure):
    """The quota or the credit of our key is used up. Waiting does not help."""


class ModelUnavailable(Failure):
    """The model could not be reached, or failed before it began."""


class ModelInterrupted(Failure):
    """The model broke off after it began."""


class ModelRejected(Failure):
    """The model's API refuses our request or our key."""


class MemoryUnavailable(Failure):
    """Memory could not be read or written: nothing has been stored."""


class TurnNotStored(Failure):
    """The model has answered, and the turn could not be stored, not even in part."""


class RequestIdReused(Failure):
    """The request_id belongs to another request."""


class NotSupported(Failure):
    """The memory library in use does not have what was asked for."""
