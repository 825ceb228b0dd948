"""The ports of the loop, with the time that each takes noted as a phase of the running call."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from ilab_chat_service.rpc.call import CALL, phase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ilab_chat_service.ports import (
        Answer,
        ChatMessage,
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


class TimedMemory:
    """The Memory port: phases `hydrate` and `persist`."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def hydrate(self, user_id: str, message: str, mode: MemoryMode) -> Context:
        """See `ports.Memory.hydrate`."""
        with phase("hydrate"):
            return await self._memory.hydrate(user_id, message, mode)

    async def persist(self, turn: Turn) -> int:
        """See `ports.Memory.persist`."""
        with phase("persist"):
            return await self._memory.persist(turn)


class TimedReplayLog:
    """The ReplayLog port: phase `replay`, which has the wait for another call of the same request in it."""

    def __init__(self, replays: ReplayLog) -> None:
        self._replays = replays

    async def claim(self, request: TurnRequest) -> Claim:
        """See `ports.ReplayLog.claim`."""
        with phase("replay"):
            return await self._replays.claim(request)

    async def forget(self, user_id: str) -> None:
        """See `ports.ReplayLog.forget`."""
        await self._replays.forget(user_id)


class TimedModel:
    """The Model port: phases `first_token`, up to the model's first word, and `model`, up to its end."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @asynccontextmanager
    async def answer(
        self, messages: Sequence[ChatMessage], generation: Generation, until: float
    ) -> AsyncIterator[Answer]:
        """See `ports.Model.answer`."""
        async with AsyncExitStack() as stack:
            with phase("model"):
                with phase("first_token"):
                    answer = await stack.enter_async_context(self._model.answer(messages, generation, until))
                CALL.get().attempts = answer.attempts
                yield answer
