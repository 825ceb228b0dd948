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
        Context,
        Generation,
        Memory,
        MemoryMode,
        Model,
        Turn,
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
