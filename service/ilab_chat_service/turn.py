"""One turn: idempotency, hydrate, call the model, persist. Standard library only.

The methods of `TurnRunner` are in the order in which a call runs them. Chat and StreamChat share this code: Chat
collects the stream into one response.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from io import StringIO
from typing import TYPE_CHECKING, Any, TypeVar

from ilab_chat_service import prompt
from ilab_chat_service.failures import ContextTooLong, Failure, MemoryUnavailable, TurnNotStored
from ilab_chat_service.prompt_budget import tokens
from ilab_chat_service.running_answer import RunningAnswer, joined
from ilab_chat_service.telemetry.call_record import failing_with, interrupted, phase
from ilab_chat_service.time_zones import time_zone
from ilab_chat_service.turn_events import Completed, Delta, Generated, ReasoningDelta, Started
from ilab_chat_service.values import Answered, Context, MemoryMode, Reasoning, Turn, TurnRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
    from datetime import tzinfo

    from ilab_chat_service.ports import (
        Answer,
        ChosenModel,
        Clock,
        IsQuoted,
        Lease,
        Memory,
        Model,
        RepeatableCall,
        ResponseStore,
    )
    from ilab_chat_service.prompt import Prompt
    from ilab_chat_service.rate_limits import RateLimits
    from ilab_chat_service.turn_events import Event

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The prompt for a request, and the model that would get it."""

    prompt: Prompt
    session_id: str
    model: str
    budget_tokens: int


@dataclass(eq=False, kw_only=True)
class TurnRunner:
    """Answers messages: decides when memory is read, when the model is asked, and when the turn is stored."""

    memory: Memory
    """Read before the model is asked, and written after it has answered."""
    model: Model
    """Asked for each message that has no stored answer."""
    responses: ResponseStore
    """Stores answers for repeated calls."""
    repeatable: Callable[[TurnRequest], RepeatableCall[Answered]]
    """Says how the answer to a request is stored."""
    clock: Clock
    """Dates answers and prompts."""
    instruction: str
    """First line of the system prompt."""
    quotes: Callable[[TurnRequest], Awaitable[IsQuoted]]
    """Prepares a check whether a name from the model's API quotes text of a request."""
    redact: Callable[[TurnRequest, str], Awaitable[str]]
    """Removes the private text of a request from its reply, before the reply is stored."""
    compose_on_thread: Callable[[TurnRequest, Context, Callable[[], Prompt]], Awaitable[Prompt]]
    """Runs the given function, which composes a prompt, on a thread if its texts are long."""
    memory_tokens: int
    """Maximum number of tokens of memory in a prompt."""
    limits: RateLimits
    """Rate limits of users and callers."""
    escape_message: bool
    """Whether control tokens are escaped in the current message too."""
    _running_answers: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _writes: set[asyncio.Task[Any]] = field(default_factory=set, init=False)

    async def run(self, request: TurnRequest, *, until: float, joins: bool = False) -> AsyncGenerator[Event, None]:
        """Yield the events of the answer to *request*. Wrap it in `aclosing`.

        They are Started, every Delta and ReasoningDelta, Generated if memory is to be written, and one Completed. The
        model is not asked again after *until*, a time of the event loop's clock. The caller must end the call.

        A repeat of an answered call gets the stored answer: Started, one Delta, Completed. A repeat that overlaps
        the call waits for the answer or, if it *joins* and this process is answering the call, gets the events so far
        and the later ones. A call that falls behind the others of a joined answer gets the rest of the reply in one
        Delta at the end, and no more reasoning: see `running_answer.Caller`.

        When the last caller leaves (this generator is closed or its task cancelled), the model's work ends at once. The
        text so far is stored as an interrupted turn; a finished reply is stored as usual.

        Raises:
            Failure: one of `failures.py`. Before Started, the call may be repeated: it has written its session at most,
                or finished the erasure of the call that it repeats. After Started, a model that was asked is billed.
                Text of a model that broke off is not stored: the caller was told that the call failed.
        """
        while True:
            with phase("idempotency"):
                lease = await self._begin(request, joins=joins)
            has_started = False
            try:
                async with aclosing(self._events(request, lease, until)) as events:
                    async for event in events:
                        has_started = True
                        yield event
            except Failure:
                # This call joined an answer that failed before it sent anything, so it may ask the model itself.
                if has_started or not (lease and lease.running):
                    raise
            else:
                return

    async def _begin(self, request: TurnRequest, *, joins: bool) -> Lease[Answered] | None:
        """Return the lease of *request*. None: the call must write nothing, not even a stored answer.

        If the call repeats a request to forget, erase again what its stored answer names.
        """
        if request.memory_mode is not MemoryMode.READ_WRITE:
            return None
        lease = await self.responses.begin(
            self.repeatable(request), joins=lambda running: joins and running.is_open and running.request == request
        )
        if lease.earlier and lease.earlier.forgotten_ids:
            try:
                # The first call may have ended before it erased them.
                await self.memory.forget(request.user_id, lease.earlier.forgotten_ids)
            except BaseException:
                lease.release()
                raise
        return lease

    def _events(self, request: TurnRequest, lease: Lease[Answered] | None, until: float) -> AsyncGenerator[Event, None]:
        """Return the events of a stored answer, a running one or a new one. *lease* is released by their end."""
        if not lease:
            return self._stream_answer(request, None, until)
        if lease.running:
            lease.release()
            return joined(lease.running)
        if lease.earlier:
            return replayed(lease.earlier, lease)
        return self._shared(request, lease, until)

    def _shared(self, request: TurnRequest, lease: Lease[Answered], until: float) -> AsyncGenerator[Event, None]:
        """Answer *request* in a task, so that others can join; return the events for its own caller."""
        running = RunningAnswer(request)
        task = running.start(self._stream_answer(request, lease, until))
        self._running_answers.add(task)
        task.add_done_callback(self._running_answers.discard)
        task.add_done_callback(lambda _: None if running.has_begun else lease.release())
        lease.share(running)
        return running.listen()

    async def _stream_answer(
        self, request: TurnRequest, lease: Lease[Answered] | None, until: float
    ) -> AsyncGenerator[Event, None]:
        """Ask the model and yield the events of its answer. With a lease, store the turn and release the lease."""
        writing = False
        try:
            # After the search for a stored answer: a repeat gets that answer even if its model was removed since.
            chosen = self.model.choose(request.generation, request.user_id)
            reply = StringIO()
            input_tokens = reasoning_tokens = 0

            def output_tokens() -> int:
                return tokens(reply.getvalue()) + reasoning_tokens

            try:
                async with AsyncExitStack() as model_call:
                    # A replay is not charged, so charge after the search for a stored answer.
                    charge = model_call.enter_context(self.limits.turn(request.user_id))
                    # No variable refers to the context, so that it is freed while the model answers.
                    started, model_answer, is_quoted, input_tokens = await self._begin_answer(
                        model_call, request, chosen, await self._hydrate(request), until
                    )
                    charge.began(model_answer, lambda: input_tokens + output_tokens())
                    yield started
                    async for piece in model_answer:
                        if isinstance(piece, Reasoning):
                            reasoning_tokens += tokens(piece.text)
                            yield ReasoningDelta(piece.text)
                        else:
                            reply.write(piece)
                            yield Delta(piece)
                    finished = await self._finished_answer(started, reply.getvalue(), model_answer, is_quoted)
            except (asyncio.CancelledError, GeneratorExit):
                if input_tokens:
                    interrupted(
                        input_tokens=input_tokens,
                        output_tokens=output_tokens(),
                        stored=bool(lease and reply.tell() and not request.reading.forgets),
                    )
                if lease and reply.tell():
                    writing = True
                    self._write(self._store_interrupted(request, reply.getvalue()), lease)
                raise
            if lease:
                # Stored before Completed, because the caller may then drop its own copy. Shielded, so that the turn is
                # stored even if the caller leaves while it is being written.
                writing = True
                storing = self._write(self._store(request, finished, lease), lease)
                yield Generated()
                finished = await asyncio.shield(storing)
            yield Completed(finished)
        finally:
            if lease and not writing:
                lease.release()

    async def _hydrate(self, request: TurnRequest) -> Context:
        if request.memory_mode is MemoryMode.OFF:
            return Context()
        with phase("hydrate"):
            return await self.memory.hydrate(request)

    async def _begin_answer(
        self, model_call: AsyncExitStack, request: TurnRequest, chosen: ChosenModel, context: Context, until: float
    ) -> tuple[Started, Answer, IsQuoted, int]:
        """Ask the model; closing *model_call* stops it. Return Started, the answer, the check, and the prompt's tokens.

        If the prompt is too long for the model, ask again with half of the memory and documents, then without them.
        """
        # Runs while the model works.
        preparing = asyncio.ensure_future(self.quotes(request))
        model_call.callback(preparing.cancel)
        compose_within = self._composer(request, context.without_forgotten(), await time_zone(request.time_zone))
        composed = await compose_within(chosen.prompt_tokens)
        model_call.enter_context(phase("model"))
        model_call.enter_context(failing_with(chosen.cause))
        with (
            phase("first_token", unless_failed=True),
            failing_with({**chosen.cause, "upstream.error": "no answer yet"}),
        ):
            for smaller in (composed.other_tokens // 2, 0, None):
                try:
                    model_answer = await model_call.enter_async_context(chosen.answer(composed.messages, until))
                    break
                except ContextTooLong:
                    if smaller is None or not composed.other_tokens:
                        raise
                    composed = await compose_within(composed.fixed_tokens + smaller)
        is_quoted = await preparing
        started = Started(
            session_id=context.session_id,
            is_new_session=context.is_new_session,
            model=await model_name(model_answer, is_quoted),
            model_response_id=await response_id(model_answer, is_quoted),
            memories=composed.memories,
            included_documents=composed.included_documents,
            forgotten_ids=context.forgotten_ids if request.memory_mode is MemoryMode.READ_WRITE else (),
        )
        return started, model_answer, is_quoted, composed.tokens.total

    def _composer(self, request: TurnRequest, context: Context, zone: tzinfo) -> Callable[[int], Awaitable[Prompt]]:
        """Return a function that composes the prompt within a number of tokens."""
        compose = partial(
            prompt.compose,
            context,
            request.message,
            instructions=(self.instruction, request.instructions),
            documents=request.documents,
            now=self.clock().astimezone(zone),
            memory_tokens=self.memory_tokens,
            escape_message=self.escape_message,
        )
        return lambda budget: self.compose_on_thread(request, context, partial(compose, budget_tokens=budget))

    async def _finished_answer(
        self, started: Started, reply: str, model_answer: Answer, is_quoted: IsQuoted
    ) -> Answered:
        return Answered(
            session_id=started.session_id,
            is_new_session=started.is_new_session,
            model=started.model,
            model_response_id=started.model_response_id or await response_id(model_answer, is_quoted),
            memories=started.memories,
            included_documents=started.included_documents,
            reply=reply,
            observation_id=0,
            finish_reason=model_answer.finish_reason,
            usage=model_answer.usage,
            create_time=self.clock(),
            forgotten_ids=started.forgotten_ids,
        )

    def _write(self, storing: Coroutine[None, None, T], lease: Lease[Answered]) -> asyncio.Task[T]:
        """Run *storing* in a task that outlives the caller and releases *lease* at its end."""
        task = asyncio.create_task(storing)
        self._writes.add(task)
        task.add_done_callback(lambda _: lease.release())
        task.add_done_callback(self._written)
        return task

    async def _store(self, request: TurnRequest, finished: Answered, lease: Lease[Answered]) -> Answered:
        """Store the turn, then the answer for repeats of the call."""
        if request.reading.forgets:
            return await self._forget(request, finished, lease)
        with phase("persist"):
            reply = await self.redact(request, finished.reply)
            stored = await self.memory.persist(turn_of(request, reply))
        finished = replace(finished, observation_id=stored.observation_id, remembered=stored.remembered)
        try:
            await lease.put(replace(finished, reply=reply))
        except MemoryUnavailable:
            # The turn is stored, and its topic key keeps a repeat from storing another.
            log.warning("a response was not stored for repeats of its call")
        return finished

    async def _forget(self, request: TurnRequest, finished: Answered, lease: Lease[Answered]) -> Answered:
        """Erase what the user asked to forget; store no turn.

        The answer is stored first. It names what is erased, so that a repeat of the call erases the same.
        """
        with phase("persist"):
            reply = await self.redact(request, finished.reply)
            try:
                await lease.put(replace(finished, reply=reply))
            except MemoryUnavailable as error:
                raise TurnNotStored("the turn could not be erased", cause=error.cause) from error
            if finished.forgotten_ids:
                await self.memory.forget(request.user_id, finished.forgotten_ids)
        return finished

    async def _store_interrupted(self, request: TurnRequest, reply: str) -> None:
        if request.reading.forgets:
            return
        with phase("persist"):
            redacted = await self.redact(request, reply)
            await self.memory.persist(turn_of(request, redacted, interrupted=True))

    def _written(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        # Reading the exception also keeps asyncio from reporting it: the caller that should get it may be gone.
        if not task.cancelled() and (failure := task.exception()):
            log.error("a turn was not stored: %s", type(failure).__name__)

    async def preview(self, request: TurnRequest) -> Preview:
        """Return the first prompt that `run` would send. Ask no model and write nothing.

        Raises:
            Failure: one of `failures.py`.
        """
        chosen = self.model.choose(request.generation, request.user_id)
        if request.memory_mode is MemoryMode.READ_WRITE:
            request = replace(request, memory_mode=MemoryMode.READ_ONLY)
        context = await self._hydrate(request)
        compose_within = self._composer(request, context.without_forgotten(), await time_zone(request.time_zone))
        return Preview(
            prompt=await compose_within(chosen.prompt_tokens),
            session_id=context.session_id,
            model=chosen.name,
            budget_tokens=chosen.prompt_tokens,
        )

    async def finish_writes(self) -> None:
        """Wait until all running writes have succeeded or failed. Call it before memory is closed."""
        while tasks := self._running_answers | self._writes:
            await asyncio.wait(tasks)


async def model_name(answer: Answer, is_quoted: IsQuoted) -> str:
    """Return the model's name as its API reports it or, if that quotes the message, the requested name."""
    said, requested = answer.model, answer.requested_model
    return said if said == requested or not await is_quoted(said, requested) else requested


async def response_id(answer: Answer, is_quoted: IsQuoted) -> str:
    """Return the id of the API's response, or an empty text if the id quotes the message."""
    said = answer.response_id
    return "" if said and await is_quoted(said, "") else said


async def replayed(stored: Answered, lease: Lease[Answered]) -> AsyncGenerator[Event, None]:
    """Yield the events of a stored answer, then release *lease*."""
    try:
        yield Started(
            session_id=stored.session_id,
            is_new_session=stored.is_new_session,
            model=stored.model,
            model_response_id=stored.model_response_id,
            memories=stored.memories,
            included_documents=stored.included_documents,
        )
        if stored.reply:
            yield Delta(stored.reply)
        yield Completed(stored, replayed=True)
    finally:
        lease.release()


def turn_of(request: TurnRequest, reply: str, *, interrupted: bool = False) -> Turn:
    """Return the turn to store for a request and its redacted reply."""
    return Turn(
        user_id=request.user_id,
        request_id=request.request_id,
        message=request.message,
        reply=reply,
        retention=request.retention,
        interrupted=interrupted,
        conversation_id=request.conversation_id,
        reading=request.reading,
    )
