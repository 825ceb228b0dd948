"""What the loop needs from outside: a memory, a model, and a store of answers by request_id."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeAlias

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
        MemoryMode,
        Reasoning,
        Turn,
        TurnRequest,
        Usage,
    )

#: Returns the time now, in UTC and timezone-aware.
Clock: TypeAlias = Callable[[], datetime]


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


class Lease(Protocol):
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


class IdempotencyStore(Protocol):
    """Answers by user and request_id, kept for 24 hours."""

    async def begin(self, request: TurnRequest) -> Lease:
        """Return the lease to *request*, as soon as every call that has it already has released it.

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
