"""One turn, read top to bottom: idempotency, hydrate, call, persist. Standard library only.

Chat and StreamChat are this one loop: Chat is the stream, joined.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ilab_chat_service import prompt
from ilab_chat_service.failures import ContextTooLong, MemoryUnavailable
from ilab_chat_service.telemetry.call_record import CALL, failing_with, phase
from ilab_chat_service.values import Answered, Context, MemoryMode, Reasoning, Recalled, Turn, TurnRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator

    from ilab_chat_service.ports import Answer, ChosenModel, Clock, IdempotencyStore, Lease, Memory, Model

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The model has begun to work, by reasoning or by answering: from here on the work is billed."""

    session_id: str
    is_new_session: bool
    model: str
    memories: tuple[Recalled, ...]


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the reply; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """The next piece of the model's reasoning; never empty, never stored."""

    text: str


@dataclass(frozen=True, slots=True)
class Generated:
    """The model is done, and its turn is being stored, whatever the caller does."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The whole answer. The turn is stored. `replayed`: it is the stored answer of an earlier call."""

    answered: Answered
    replayed: bool = False


Event: TypeAlias = Started | Delta | ReasoningDelta | Generated | Completed


class TurnRunner:
    """Answers messages: owns when memory is read, when the model is asked, and when the turn is written."""

    def __init__(
        self,
        memory: Memory,
        model: Model,
        idempotency: IdempotencyStore,
        clock: Clock,
        *,
        instruction: str,
        escape_message: bool = False,
        is_quoted: Callable[[str, str, str], bool] = lambda _name, _message, _known: False,
    ) -> None:
        """Make what answers messages.

        Args:
            memory: read before the model is asked, and written after it has answered.
            model: asked once per message.
            idempotency: answers for repetitions.
            clock: for the time of an answer.
            instruction: first line of the system prompt.
            escape_message: escape control tokens in the current message too.
            is_quoted: whether a name, the first argument, repeats the message, the second, beyond what is in a known
                name, the third.
        """
        self._memory = memory
        self._model = model
        self._idempotency = idempotency
        self._clock = clock
        self._instruction = instruction
        self._escape_message = escape_message
        self._is_quoted = is_quoted
        self._writes: set[asyncio.Task[Any]] = set()

    async def run(self, request: TurnRequest, *, until: float) -> AsyncGenerator[Event, None]:
        """Yield Started, then every Delta, Generated if it is to be stored, then one Completed. Wrap it in `aclosing`.

        The model is not asked again after *until*, a moment of the event loop's clock; to end the call is up to the
        caller.

        A repetition of an answered call gets the stored answer; one that overlaps it waits for it. When the caller
        leaves (this generator is closed or its task cancelled), the model's work ends at once. What it had written by
        then is stored as an interrupted turn; a finished reply is stored as usual.

        Raises:
            Failure: one of `ports.py`. Before Started nothing but the session has been written, and the call may be
                repeated; after it the model has been billed. What a model wrote before it broke off is not stored: its
                caller was told that the call failed.
        """
        with phase("idempotency"):
            lease = await self._begin(request)
        writing = False
        try:
            if lease and lease.earlier:
                for event in replayed_events(lease.earlier):
                    yield event
                return
            # After the look for a stored answer, which a repeat gets whatever has become of its model since.
            chosen = self._model.choose(request.generation, request.user_id)
            reply = StringIO()
            try:
                async with AsyncExitStack() as asking:
                    # The context is an argument only, so that it is freed while the model answers.
                    started, answer = await self._ask(asking, request, chosen, await self._hydrate(request), until)
                    yield started
                    async for piece in answer:
                        if isinstance(piece, Reasoning):
                            yield ReasoningDelta(piece.text)
                        else:
                            reply.write(piece)
                            yield Delta(piece)
                    answered = self._answered(started, reply.getvalue(), answer)
            except (asyncio.CancelledError, GeneratorExit):
                if lease and reply.tell():
                    writing = True
                    self._write(self._store_interrupted(request, reply.getvalue()), lease)
                raise
            if lease:
                # Durable before "done": the caller may forget its own copy now. Shielded: the model has finished, so
                # the turn is stored even if the caller leaves while it is being written.
                writing = True
                storing = self._write(self._store(request, answered, lease), lease)
                yield Generated()
                answered = await asyncio.shield(storing)
            yield Completed(answered)
        finally:
            if lease and not writing:
                lease.release()

    async def finish_writes(self) -> None:
        """Wait until no turn is being written any more, stored or not. Call it before memory is closed."""
        while self._writes:
            await asyncio.wait(self._writes)

    async def _begin(self, request: TurnRequest) -> Lease[Answered] | None:
        """Return the lease to *request*. None: nothing of the call may be written, a record of it included."""
        return await self._idempotency.begin(request) if request.memory_mode is MemoryMode.READ_WRITE else None

    async def _hydrate(self, request: TurnRequest) -> Context:
        if request.memory_mode is MemoryMode.OFF:
            return Context()
        with phase("hydrate"):
            return await self._memory.hydrate(request.user_id, request.message, request.memory_mode)

    async def _ask(
        self, asking: AsyncExitStack, request: TurnRequest, chosen: ChosenModel, context: Context, until: float
    ) -> tuple[Started, Answer]:
        """Ask the model; closing *asking* stops it. If memory makes the prompt too long, ask with half, then none."""
        compose = partial(
            prompt.compose,
            context,
            request.message,
            instruction=self._instruction,
            escape_message=self._escape_message,
        )
        composed = compose(budget_tokens=chosen.prompt_tokens)
        asking.enter_context(phase("model"))
        asking.enter_context(failing_with(chosen.cause))
        with (
            phase("first_token", unless_failed=True),
            failing_with({**chosen.cause, "upstream.error": "no answer yet"}),
        ):
            for smaller in (composed.memory_tokens // 2, 0, None):
                try:
                    answer = await asking.enter_async_context(chosen.answer(composed.messages, until))
                    break
                except ContextTooLong:
                    if smaller is None or not composed.memory_tokens:
                        raise
                    composed = compose(budget_tokens=composed.message_tokens + smaller)
        if call := CALL.get(None):
            call.attempts = answer.attempts
        return Started(
            session_id=context.session_id,
            is_new_session=context.is_new_session,
            model=self._model_name(answer, request),
            memories=composed.memories,
        ), answer

    def _model_name(self, answer: Answer, request: TurnRequest) -> str:
        """Return the model's name in its API's words or, if that quotes the message, the name that was asked for."""
        said, requested = answer.model, answer.requested_model
        if said == requested or not self._is_quoted(said, request.message, requested):
            return said
        return requested

    def _answered(self, started: Started, reply: str, answer: Answer) -> Answered:
        return Answered(
            session_id=started.session_id,
            is_new_session=started.is_new_session,
            model=started.model,
            memories=started.memories,
            reply=reply,
            observation_id=0,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            create_time=self._clock(),
        )

    def _write(self, storing: Coroutine[None, None, T], lease: Lease[Answered]) -> asyncio.Task[T]:
        """Begin to store in a task that outlives the caller and releases *lease* at its end."""
        task = asyncio.create_task(storing)
        self._writes.add(task)
        task.add_done_callback(lambda _: lease.release())
        task.add_done_callback(self._written)
        return task

    async def _store(self, request: TurnRequest, answered: Answered, lease: Lease[Answered]) -> Answered:
        """Store the turn, then the answer for repetitions of the call."""
        with phase("persist"):
            observation_id = await self._memory.persist(turn_of(request, answered.reply))
        answered = replace(answered, observation_id=observation_id)
        try:
            await lease.put(answered)
        except MemoryUnavailable:
            # The turn is stored, and its key keeps a repetition from storing another.
            log.warning("an answer was not stored for repetitions of its call")
        return answered

    async def _store_interrupted(self, request: TurnRequest, reply: str) -> None:
        with phase("persist"):
            await self._memory.persist(turn_of(request, reply, interrupted=True))

    def _written(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        # Asking for the exception also tells asyncio that it was seen: the caller who would have got it may be gone.
        if not task.cancelled() and (failure := task.exception()):
            log.error("a turn was not stored: %s", type(failure).__name__)


def replayed_events(answered: Answered) -> Iterator[Event]:
    """Yield the events of a stored answer."""
    yield Started(
        session_id=answered.session_id,
        is_new_session=answered.is_new_session,
        model=answered.model,
        memories=answered.memories,
    )
    if answered.reply:
        yield Delta(answered.reply)
    yield Completed(answered, replayed=True)


def turn_of(request: TurnRequest, reply: str, *, interrupted: bool = False) -> Turn:
    """Return what is to be stored of a request and its reply."""
    return Turn(
        user_id=request.user_id,
        request_id=request.request_id,
        message=request.message,
        reply=reply,
        retention=request.retention,
        interrupted=interrupted,
    )
