"""One turn, from top to bottom: idempotency, hydrate, call the model, persist. Standard library only.

Chat and StreamChat share this code: Chat collects the stream into one response.
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
    """Asked once per message."""
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
    compose: Callable[[TurnRequest, Context, Callable[[], Prompt]], Awaitable[Prompt]]
    """Runs the given function, which composes a prompt, on a thread if its texts are long."""
    memory_tokens: int
    """Maximum number of tokens of memory in a prompt."""
    limits: RateLimits
    """Rate limits of users and callers."""
    escape_message: bool
    """Whether control tokens are escaped in the current message too."""
    _answers: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _writes: set[asyncio.Task[Any]] = field(default_factory=set, init=False)

    async def run(self, request: TurnRequest, *, until: float, joins: bool = False) -> AsyncGenerator[Event, None]:
        """Yield Started, every Delta, Generated if the turn is to be stored, and one Completed. Wrap it in `aclosing`.

        The model is not asked again after *until*, a time of the event loop's clock. The caller must end the call.

        A repeat of an answered call gets the stored answer. A repeat that overlaps the call waits for the answer or, if
        it *joins* and this process is answering the call, gets the events so far and all later ones.

        When the last caller leaves (this generator is closed or its task cancelled), the model's work ends at once. The
        text so far is stored as an interrupted turn; a finished reply is stored as usual.

        Raises:
            Failure: one of `failures.py`. Before Started, only the session has been written, and the call may be
                repeated. After Started, the model has been billed. Text of a model that broke off is not stored: the
                caller was told that the call failed.
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

    def _events(self, request: TurnRequest, lease: Lease[Answered] | None, until: float) -> AsyncGenerator[Event, None]:
        """Return the events of a stored answer, a running one or a new one. *lease* is released by their end."""
        if not lease:
            return self._answer(request, None, until)
        if lease.running:
            lease.release()
            return joined(lease.running)
        if lease.earlier:
            return replayed(lease.earlier, lease)
        return self._shared(request, lease, until)

    def _shared(self, request: TurnRequest, lease: Lease[Answered], until: float) -> AsyncGenerator[Event, None]:
        """Answer *request* in a task, so that others can join; return the events for its own caller."""
        running = RunningAnswer(request)
        task = running.start(self._answer(request, lease, until))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)
        task.add_done_callback(lambda _: None if running.has_begun else lease.release())
        lease.share(running)
        return running.listen()

    async def _answer(
        self, request: TurnRequest, lease: Lease[Answered] | None, until: float
    ) -> AsyncGenerator[Event, None]:
        """Ask the model. With a lease, store the turn and release the lease."""
        writing = False
        try:
            # After the search for a stored answer: a repeat gets that answer even if its model was removed since.
            chosen = self.model.choose(request.generation, request.user_id)
            reply = StringIO()
            asked_tokens = reasoning_tokens = 0

            def answered_tokens() -> int:
                return tokens(reply.getvalue()) + reasoning_tokens

            try:
                async with AsyncExitStack() as asking:
                    # A replay is not charged, so charge after the search for a stored answer.
                    charge = asking.enter_context(self.limits.turn(request.user_id))
                    # No variable refers to the context, so that it is freed while the model answers.
                    started, answer, is_quoted, asked_tokens = await self._ask(
                        asking, request, chosen, await self._hydrate(request), until
                    )
                    charge.began(answer, lambda: asked_tokens + answered_tokens())
                    yield started
                    async for piece in answer:
                        if isinstance(piece, Reasoning):
                            reasoning_tokens += tokens(piece.text)
                            yield ReasoningDelta(piece.text)
                        else:
                            reply.write(piece)
                            yield Delta(piece)
                    answered = await self._answered(started, reply.getvalue(), answer, is_quoted)
            except (asyncio.CancelledError, GeneratorExit):
                if asked_tokens:
                    interrupted(
                        input_tokens=asked_tokens,
                        output_tokens=answered_tokens(),
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
                storing = self._write(self._store(request, answered, lease), lease)
                yield Generated()
                answered = await asyncio.shield(storing)
            yield Completed(answered)
        finally:
            if lease and not writing:
                lease.release()

    async def preview(self, request: TurnRequest) -> Preview:
        """Return the first prompt that `run` would send. Ask no model and write nothing.

        Raises:
            Failure: one of `failures.py`.
        """
        chosen = self.model.choose(request.generation, request.user_id)
        if request.memory_mode is MemoryMode.READ_WRITE:
            request = replace(request, memory_mode=MemoryMode.READ_ONLY)
        context = await self._hydrate(request)
        compose = self._composer(request, context.without_forgotten(), await time_zone(request.time_zone))
        return Preview(
            prompt=await compose(chosen.prompt_tokens),
            session_id=context.session_id,
            model=chosen.name,
            budget_tokens=chosen.prompt_tokens,
        )

    async def finish_writes(self) -> None:
        """Wait until all running writes have succeeded or failed. Call it before memory is closed."""
        while tasks := self._answers | self._writes:
            await asyncio.wait(tasks)

    async def _begin(self, request: TurnRequest, *, joins: bool) -> Lease[Answered] | None:
        """Return the lease of *request*. None: the call must write nothing, not even a stored answer."""
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

    async def _hydrate(self, request: TurnRequest) -> Context:
        if request.memory_mode is MemoryMode.OFF:
            return Context()
        with phase("hydrate"):
            return await self.memory.hydrate(request)

    def _composer(self, request: TurnRequest, context: Context, zone: tzinfo) -> Callable[[int], Awaitable[Prompt]]:
        """Return a function that composes the prompt within a number of tokens."""
        make = partial(
            prompt.compose,
            context,
            request.message,
            instructions=(self.instruction, request.instructions),
            documents=request.documents,
            now=self.clock().astimezone(zone),
            memory_tokens=self.memory_tokens,
            escape_message=self.escape_message,
        )
        return lambda budget: self.compose(request, context, partial(make, budget_tokens=budget))

    async def _ask(
        self, asking: AsyncExitStack, request: TurnRequest, chosen: ChosenModel, context: Context, until: float
    ) -> tuple[Started, Answer, IsQuoted, int]:
        """Ask the model; closing *asking* stops it. Return the event, the answer, the check, and the prompt's tokens.

        If the prompt is too long for the model, ask again with half of the memory and documents, then without them.
        """
        # Runs while the model works.
        preparing = asyncio.ensure_future(self.quotes(request))
        asking.callback(preparing.cancel)
        compose = self._composer(request, context.without_forgotten(), await time_zone(request.time_zone))
        composed = await compose(chosen.prompt_tokens)
        asking.enter_context(phase("model"))
        asking.enter_context(failing_with(chosen.cause))
        with (
            phase("first_token", unless_failed=True),
            failing_with({**chosen.cause, "upstream.error": "no answer yet"}),
        ):
            for smaller in (composed.other_tokens // 2, 0, None):
                try:
                    answer = await asking.enter_async_context(chosen.answer(composed.messages, until))
                    break
                except ContextTooLong:
                    if smaller is None or not composed.other_tokens:
                        raise
                    composed = await compose(composed.fixed_tokens + smaller)
        is_quoted = await preparing
        started = Started(
            session_id=context.session_id,
            is_new_session=context.is_new_session,
            model=await model_name(answer, is_quoted),
            model_response_id=await response_id(answer, is_quoted),
            memories=composed.memories,
            included_documents=composed.included_documents,
            forgotten_ids=context.forgotten_ids if request.memory_mode is MemoryMode.READ_WRITE else (),
        )
        return started, answer, is_quoted, composed.tokens.total

    async def _answered(self, started: Started, reply: str, answer: Answer, is_quoted: IsQuoted) -> Answered:
        return Answered(
            session_id=started.session_id,
            is_new_session=started.is_new_session,
            model=started.model,
            model_response_id=started.model_response_id or await response_id(answer, is_quoted),
            memories=started.memories,
            included_documents=started.included_documents,
            reply=reply,
            observation_id=0,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
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

    async def _store(self, request: TurnRequest, answered: Answered, lease: Lease[Answered]) -> Answered:
        """Store the turn, then the answer for repeats of the call."""
        if request.reading.forgets:
            return await self._forget(request, answered, lease)
        with phase("persist"):
            reply = await self.redact(request, answered.reply)
            stored = await self.memory.persist(turn_of(request, reply))
        answered = replace(answered, observation_id=stored.observation_id, remembered=stored.remembered)
        try:
            await lease.put(replace(answered, reply=reply))
        except MemoryUnavailable:
            # The turn is stored, and its topic key keeps a repeat from storing another.
            log.warning("a response was not stored for repeats of its call")
        return answered

    async def _forget(self, request: TurnRequest, answered: Answered, lease: Lease[Answered]) -> Answered:
        """Erase what the user asked to forget; store no turn.

        The answer is stored first. It names what is erased, so that a repeat of the call erases the same.
        """
        with phase("persist"):
            reply = await self.redact(request, answered.reply)
            try:
                await lease.put(replace(answered, reply=reply))
            except MemoryUnavailable as error:
                raise TurnNotStored("the turn could not be erased", cause=error.cause) from error
            if answered.forgotten_ids:
                await self.memory.forget(request.user_id, answered.forgotten_ids)
        return answered

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


async def model_name(answer: Answer, is_quoted: IsQuoted) -> str:
    """Return the model's name as its API reports it or, if that quotes the message, the requested name."""
    said, requested = answer.model, answer.requested_model
    return said if said == requested or not await is_quoted(said, requested) else requested


async def response_id(answer: Answer, is_quoted: IsQuoted) -> str:
    """Return the id of the API's response, or an empty text if the id quotes the message."""
    said = answer.response_id
    return "" if said and await is_quoted(said, "") else said


async def replayed(answered: Answered, lease: Lease[Answered]) -> AsyncGenerator[Event, None]:
    """Yield the events of a stored answer, then release *lease*."""
    try:
        yield Started(
            session_id=answered.session_id,
            is_new_session=answered.is_new_session,
            model=answered.model,
            model_response_id=answered.model_response_id,
            memories=answered.memories,
            included_documents=answered.included_documents,
        )
        if answered.reply:
            yield Delta(answered.reply)
        yield Completed(answered, replayed=True)
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
