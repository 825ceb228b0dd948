"""One turn, read top to bottom: hydrate, call, persist. Standard library only.

Chat and StreamChat are this one loop: Chat is the stream, joined.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ilab_chat_service import prompt
from ilab_chat_service.ports import (
    Context,
    FinishReason,
    Memory,
    MemoryMode,
    Model,
    Recalled,
    Turn,
    TurnRequest,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The model has begun to answer: from here on the work is billed."""

    session_id: str
    is_new_session: bool
    model: str
    memories: tuple[Recalled, ...]


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the reply; never empty."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The whole answer. The turn is stored. `observation_id` is 0 when nothing was to be stored."""

    started: Started
    reply: str
    observation_id: int
    finish_reason: FinishReason | None
    usage: Usage | None


Event: TypeAlias = Started | Delta | Completed


class TurnRunner:
    """Answers messages: owns when memory is read, when the model is asked, and when the turn is written."""

    def __init__(self, memory: Memory, model: Model, *, instruction: str, prompt_tokens: int) -> None:
        self._memory = memory
        self._model = model
        self._instruction = instruction
        self._prompt_tokens = prompt_tokens
        self._writes: set[asyncio.Task[int]] = set()

    async def run(self, request: TurnRequest) -> AsyncGenerator[Event, None]:
        """Yield Started, then every Delta, then one Completed. Wrap it in `aclosing`.

        When the caller leaves (this generator is closed or its task cancelled), the model's work ends at once. What it
        had written by then is stored as an interrupted turn; a finished reply is stored as usual.

        Raises:
            Failure: one of `ports.py`. Before Started nothing but the session has been written, and the call may be
                repeated; after it the model has been billed. What a model wrote before it broke off is not stored: its
                caller was told that the call failed.
        """
        context = await self._hydrate(request)
        composed = prompt.compose(
            context, request.message, instruction=self._instruction, budget_tokens=self._prompt_tokens
        )
        pieces: list[str] = []
        try:
            async with self._model.answer(composed.messages, request.generation) as answer:
                started = Started(
                    session_id=context.session_id,
                    is_new_session=context.is_new_session,
                    model=answer.model,
                    memories=composed.memories,
                )
                yield started
                async for text in answer:
                    pieces.append(text)
                    yield Delta(text)
        except (asyncio.CancelledError, GeneratorExit):
            if pieces:
                self._persist(request, "".join(pieces), interrupted=True)
            raise
        reply = "".join(pieces)
        # Durable before "done": the caller may forget its own copy now. Shielded: the model has finished, so the turn
        # is stored even if the caller leaves while it is being written.
        observation_id = await asyncio.shield(self._persist(request, reply))
        yield Completed(
            started=started,
            reply=reply,
            observation_id=observation_id,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
        )

    async def finish_writes(self) -> None:
        """Wait until no turn is being written any more, stored or not. Call it before memory is closed."""
        while self._writes:
            await asyncio.wait(self._writes)

    async def _hydrate(self, request: TurnRequest) -> Context:
        if request.memory_mode is MemoryMode.OFF:
            return Context()
        return await self._memory.hydrate(request.user_id, request.message, request.memory_mode)

    def _persist(self, request: TurnRequest, reply: str, *, interrupted: bool = False) -> asyncio.Task[int]:
        """Begin to store the turn, in a task that outlives the caller. Its result is the observation id, or 0."""
        task = asyncio.create_task(self._stored(request, reply, interrupted=interrupted))
        self._writes.add(task)
        task.add_done_callback(self._written)
        return task

    async def _stored(self, request: TurnRequest, reply: str, *, interrupted: bool) -> int:
        if request.memory_mode is not MemoryMode.READ_WRITE:
            return 0
        return await self._memory.persist(
            Turn(
                user_id=request.user_id,
                request_id=request.request_id,
                message=request.message,
                reply=reply,
                retention=request.retention,
                interrupted=interrupted,
            )
        )

    def _written(self, task: asyncio.Task[int]) -> None:
        self._writes.discard(task)
        # Asking for the exception also tells asyncio that it was seen: the caller who would have got it may be gone.
        if not task.cancelled() and (failure := task.exception()):
            log.error("a turn was not stored: %s", type(failure).__name__)
