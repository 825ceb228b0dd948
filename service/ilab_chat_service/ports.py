"""The ports of the service: a memory, a model, and a store of responses by request_id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from ilab_chat_service.failures import Cause
    from ilab_chat_service.values import (
        Answered,
        ChatMessage,
        Context,
        FinishReason,
        Generation,
        Persisted,
        Reasoning,
        RequestKey,
        StoredResponse,
        Turn,
        TurnRequest,
        Usage,
    )

#: Returns the time now, in UTC and timezone-aware.
Clock: TypeAlias = Callable[[], datetime]

#: Returns whether a call may join a running answer, which `Lease.share` was given.
Joins: TypeAlias = Callable[[Any], bool]

#: Returns whether a name quotes text of a request. Text of the second name, which is known, does not count.
IsQuoted: TypeAlias = Callable[[str, str], Awaitable[bool]]

R = TypeVar("R")


class Memory(Protocol):
    """The user's memory."""

    async def hydrate(self, request: TurnRequest) -> Context:
        """Return what may help to answer *request*. READ_WRITE opens or continues a session; READ_ONLY writes nothing.

        Raises:
            MemoryUnavailable: nothing was read.
        """

    async def persist(self, turn: Turn) -> Persisted:
        """Store *turn*, with the facts that its message states. When this returns, they survive power loss.

        Storing a turn with the same user and request_id again overwrites it; an interrupted one overwrites none. Text
        that the message marks as private is not stored. The reply is already redacted.

        Raises:
            TurnNotStored: not even in part.
        """

    async def forget(self, user_id: str, observation_id: int) -> None:
        """Erase a turn, what was derived from it alone, and the stored answers that contain any of it. Again: nothing.

        Raises:
            TurnNotStored: not all of it is erased.
        """


class RepeatableCall(Protocol[R]):
    """A call that may be repeated with the same request_id, and how its response is stored."""

    @property
    def key(self) -> RequestKey:
        """Identifies the call and its repetitions."""

    @property
    def fingerprint(self) -> str:
        """Differs between requests that must not share a key. Not derived from private text."""

    @property
    def is_new(self) -> bool:
        """Whether the request_id was made for this call, so that no response can be stored."""

    @property
    def is_large(self) -> bool:
        """Whether `fingerprint` may take long: it is then first read on a thread."""

    def to_store(self, response: R) -> StoredResponse:
        """Return what is stored of *response*, without private text. Runs on a thread if `is_large_response`."""

    def is_large_response(self, response: R) -> bool:
        """Whether `to_store` may take long."""

    def from_store(self, text: str) -> R:
        """Return the response whose `StoredResponse.text` is *text*."""


class Lease(Protocol, Generic[R]):
    """The right to answer a call. While one call holds it, its repetitions wait."""

    @property
    def earlier(self) -> R | None:
        """The stored response. None: the call was not answered yet and has to be done."""

    @property
    def running(self) -> Any:
        """The running answer that was shared under this key and that this call joins. It then holds no lease."""

    def share(self, running: object) -> None:
        """Let repetitions in this process join *running* instead of waiting, until the lease is released."""

    async def put(self, response: R) -> None:
        """Store the response. It survives a crash of the process.

        Raises:
            MemoryUnavailable: it is not stored.
        """

    def release(self) -> None:
        """Let the next repetition proceed. A second call does nothing."""


class ResponseStore(Protocol):
    """Responses by user, method and request_id, kept for 24 hours."""

    async def begin(self, call: RepeatableCall[R], *, joins: Joins | None = None) -> Lease[R]:
        """Return the lease of *call* once no other call with its key holds it, or at once a running answer to join.

        Raises:
            RequestIdReused: a call with the same key and another fingerprint is stored, or running in this process.
            MemoryUnavailable: the store cannot be read.
        """

    async def forget(self, user_id: str) -> int:
        """Erase every response to the user, and store none of the running calls; return how many were erased.

        Raises:
            MemoryUnavailable: not all of it is erased.
        """

    async def forget_observation(self, user_id: str, observation_id: int) -> int:
        """Erase the responses that contain this observation of the user; return how many were erased.

        Responses of running calls that contain it are not stored.

        Raises:
            MemoryUnavailable: not all of it is erased.
        """

    async def drop(self, user_id: str, method: str, observation_id: int) -> None:
        """Delete the *method*'s responses that contain this observation of the user, whose text has changed.

        Responses of running calls that contain it are not stored. Deleted bytes may stay in the files for some time,
        as those of the old text do.

        Raises:
            MemoryUnavailable: not all of them are deleted.
        """


class IdempotencyStore(Protocol):
    """Answers of the chat, by user and request_id."""

    async def begin(self, request: TurnRequest, *, joins: Joins) -> Lease[Answered]:
        """Return the lease of *request*, or a running answer to join. Raises what `ResponseStore.begin` does."""


class Answer(Protocol):
    """The model's answer: iterate it once for its pieces, none of them empty; then the rest is known.

    Text is part of the reply. Iterating raises ModelInterrupted when the model breaks off.
    """

    @property
    def model(self) -> str:
        """The model's name, in its API's words."""

    @property
    def requested_model(self) -> str:
        """The name that its API was asked for."""

    @property
    def response_id(self) -> str:
        """The id of its API's response. Empty: the API sent none."""

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why it stopped. None: not yet, or its API did not say."""

    @property
    def usage(self) -> Usage | None:
        """The tokens that its API counted. None: not yet, or it did not say."""

    def __aiter__(self) -> AsyncIterator[str | Reasoning]: ...


class ChosenModel(Protocol):
    """The model of one call."""

    @property
    def cause(self) -> Cause:
        """Log fields for an operator, in case the call ends while the model works."""

    @property
    def name(self) -> str:
        """The name that its API is asked for."""

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

        *user_id*: the user of the call. Failures of one user alone must not look like an outage to others.

        Raises:
            ModelNotFound: it is not offered.
        """
