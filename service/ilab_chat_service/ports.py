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

#: Returns the current time, timezone-aware and in UTC.
Clock: TypeAlias = Callable[[], datetime]

#: Returns whether a call may join the running answer that was passed to `Lease.share`.
Joins: TypeAlias = Callable[[Any], bool]

#: Returns whether a name quotes text of a request. Text that is also in the second name, a known one, does not count.
IsQuoted: TypeAlias = Callable[[str, str], Awaitable[bool]]

R = TypeVar("R")


class Memory(Protocol):
    """The user's memory."""

    async def hydrate(self, request: TurnRequest) -> Context:
        """Return the memory for *request*. READ_WRITE opens or continues a session; READ_ONLY writes nothing.

        Raises:
            MemoryUnavailable: nothing was read.
        """

    async def persist(self, turn: Turn) -> Persisted:
        """Store *turn*, with the facts that its message states. When this returns, they survive power loss.

        A turn overwrites an earlier one with the same user and request_id, unless it is interrupted. Private text of
        the message is not stored. The reply is already redacted.

        Raises:
            TurnNotStored: no part of the turn is stored.
        """

    async def forget(self, user_id: str, observation_ids: Sequence[int]) -> None:
        """Erase observations, the facts derived from each alone, and the stored answers that contain any. Idempotent.

        Raises:
            TurnNotStored: a part of them is left.
        """


class RepeatableCall(Protocol[R]):
    """A call that may be repeated with the same request_id, and how its response is stored."""

    @property
    def key(self) -> RequestKey:
        """Identifies the call and its repeats."""

    @property
    def fingerprint(self) -> str:
        """Differs between requests that must not share a key. Not derived from private text."""

    @property
    def is_new(self) -> bool:
        """Whether the server made the request_id for this call, so that the store cannot have a response."""

    @property
    def is_large(self) -> bool:
        """Whether computing `fingerprint` may take long, so that it must run on a thread."""

    def to_store(self, response: R) -> StoredResponse:
        """Encode *response*, without private text. Runs on a thread if `is_large_response`."""

    def is_large_response(self, response: R) -> bool:
        """Whether `to_store` may take long."""

    def from_store(self, text: str) -> R:
        """Decode the `StoredResponse.text` of a response."""


class Lease(Protocol, Generic[R]):
    """The right to answer a call. While a call holds the lease, its repeats wait."""

    @property
    def earlier(self) -> R | None:
        """The stored response. None: the call has no stored response and must run."""

    @property
    def running(self) -> Any:
        """The running answer that this call joins. None: the call does not join one, and holds the lease."""

    def share(self, running: object) -> None:
        """Let repeats in this process join *running* instead of waiting, until the lease is released."""

    async def put(self, response: R) -> None:
        """Store the response. It survives a crash of the process.

        Raises:
            MemoryUnavailable: the response is not stored.
        """

    def release(self) -> None:
        """Let the next repeat proceed. A second call does nothing."""


class ResponseStore(Protocol):
    """Stores responses by user, method and request_id for 24 hours."""

    async def begin(self, call: RepeatableCall[R], *, joins: Joins | None = None) -> Lease[R]:
        """Wait until no other call holds the lease of *call*, and return it.

        If *joins* accepts the running answer, do not wait: return the answer to join in `Lease.running`.

        Raises:
            RequestIdReused: a call with the same key and another fingerprint is stored, or running in this process.
            MemoryUnavailable: the store cannot be read.
        """

    async def forget(self, user_id: str) -> int:
        """Erase every response to the user and return their number. Responses of running calls are not stored.

        Raises:
            MemoryUnavailable: some are not erased.
        """

    async def forget_observation(self, user_id: str, observation_id: int) -> int:
        """Erase the responses that contain this observation of the user, and return their number.

        Responses of running calls that contain it are not stored.

        Raises:
            MemoryUnavailable: some are not erased.
        """

    async def drop(self, user_id: str, method: str, observation_id: int) -> None:
        """Delete the *method*'s responses that contain this observation of the user, whose text has changed.

        Responses of running calls that contain it are not stored. Deleted bytes may stay in the files for some time,
        like those of the old text.

        Raises:
            MemoryUnavailable: some are not deleted.
        """


class Answer(Protocol):
    """The model's answer. Iterate it once for its pieces, which are never empty; then its properties are complete.

    Pieces of text are the reply. Iterating raises ModelInterrupted if the model breaks off.
    """

    @property
    def model(self) -> str:
        """The model's name, as its API reports it."""

    @property
    def requested_model(self) -> str:
        """The name in the request to the API."""

    @property
    def response_id(self) -> str:
        """The id of its API's response. Empty: the API sent none."""

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the model stopped. None: it has not stopped, or its API gave no reason."""

    @property
    def usage(self) -> Usage | None:
        """Token counts of its API. None: the API has not sent them."""

    def __aiter__(self) -> AsyncIterator[str | Reasoning]: ...


class ChosenModel(Protocol):
    """The model of one call."""

    @property
    def cause(self) -> Cause:
        """Log fields for a call that fails while the model works."""

    @property
    def name(self) -> str:
        """The model's name in requests to its API."""

    @property
    def prompt_tokens(self) -> int:
        """Prompt budget, in estimated tokens."""

    def answer(self, messages: Sequence[ChatMessage], until: float) -> AbstractAsyncContextManager[Answer]:
        """Ask the model. Entering waits until the model has begun to reason or write, or has ended. Leaving stops it.

        The model is not asked again after *until*, a time of the event loop's clock. *messages* are freed once it has
        begun.

        Raises:
            Failure: on entering: any failure of the model except ModelInterrupted.
        """


class Model(Protocol):
    """The models that callers may ask."""

    def choose(self, generation: Generation, user_id: str = "") -> ChosenModel:
        """Return the model that *generation* names, or the default model, with these options.

        *user_id*: the user of the call. Failures of one user alone must not look like an outage to others.

        Raises:
            ModelNotFound: the server does not offer the model.
        """
