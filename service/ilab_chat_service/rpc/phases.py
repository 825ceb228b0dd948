"""The ports of the loop, with the time that each takes noted as a phase of the running call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from ilab_chat_service.rpc.call import CALL, Phase

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from ilab_chat_service.ports import (
        Answer,
        Cause,
        ChatMessage,
        ChosenModel,
        Claim,
        Context,
        Generation,
        Memory,
        MemoryMode,
        Model,
        ReplayLog,
        Turn,
        TurnRequest,
    )

T = TypeVar("T")


class TimedMemory:
    """The Memory port: phases `hydrate` and `persist`."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def hydrate(self, user_id: str, message: str, mode: MemoryMode) -> Context:
        """See `ports.Memory.hydrate`."""
        with Phase("hydrate"):
            return await self._memory.hydrate(user_id, message, mode)

    async def persist(self, turn: Turn) -> int:
        """See `ports.Memory.persist`."""
        with Phase("persist"):
            return await self._memory.persist(turn)


class TimedReplayLog:
    """The ReplayLog port: phase `replay`, which has the wait for another call of the same request in it."""

    def __init__(self, replays: ReplayLog) -> None:
        self._replays = replays

    async def claim(self, request: TurnRequest) -> Claim:
        """See `ports.ReplayLog.claim`."""
        with Phase("replay"):
            return await self._replays.claim(request)

    async def forget(self, user_id: str) -> int:
        """See `ports.ReplayLog.forget`."""
        return await self._replays.forget(user_id)


class TimedModel:
    """The Model port: phases `first_token`, up to the model's first word, and `model`, up to its end."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def choose(self, generation: Generation, user_id: str = "") -> TimedChoice:
        """See `ports.Model.choose`."""
        return TimedChoice(self._model.choose(generation, user_id))


class TimedChoice:
    """What `TimedModel.choose` returns."""

    __slots__ = ("_chosen", "cause", "prompt_tokens")

    def __init__(self, chosen: ChosenModel) -> None:
        self._chosen = chosen
        self.cause = chosen.cause
        self.prompt_tokens = chosen.prompt_tokens

    def answer(self, messages: Sequence[ChatMessage], until: float) -> TimedAnswer:
        """See `ports.ChosenModel.answer`."""
        return TimedAnswer(self._chosen.answer(messages, until), self.cause)


class TimedAnswer:
    """What `TimedChoice.answer` returns, around what its model returned."""

    __slots__ = ("_asked", "_cause", "_first_token", "_model")

    def __init__(self, asked: AbstractAsyncContextManager[Answer], cause: Cause) -> None:
        self._asked = asked
        self._cause = cause
        self._model = Phase("model")
        self._first_token = Phase("first_token")

    async def __aenter__(self) -> Answer:
        self._model.__enter__()
        self._first_token.__enter__()
        try:
            answer = await self._asked.__aenter__()
        except BaseException:
            self._model.__exit__()
            # A failure has a cause of its own; a deadline or a caller who leaves has not.
            CALL.get().cause = {**self._cause, "upstream.error": "no answer yet"}
            raise
        self._first_token.__exit__()
        CALL.get().attempts = answer.attempts
        return answer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._model.__exit__()
        if error:
            CALL.get().cause = self._cause
        return await self._asked.__aexit__(kind, error, trace)


class TimedEntry(Generic[T]):
    """A context manager whose entering is a phase of the running call."""

    __slots__ = ("_entered", "_phase")

    def __init__(self, phase: str, entered: AbstractAsyncContextManager[T]) -> None:
        self._phase = phase
        self._entered = entered

    async def __aenter__(self) -> T:
        with Phase(self._phase):
            return await self._entered.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._entered.__aexit__(kind, error, trace)
