"""The worker: claims users whose turns are to be consolidated, asks the model, and stores the result.

Each process consolidates one user at a time: one model call may be lost when it is killed. Several processes share the
work through the memory.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import time
from collections import Counter
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from datetime import time as time_of_day
from functools import partial
from typing import TYPE_CHECKING

from ilab_chat_service.consolidation.memory_access import Library, Taken, store, take
from ilab_chat_service.consolidation.model_call import Asked, ask
from ilab_chat_service.consolidation.operations import InvalidAnswer, Operations, operations
from ilab_chat_service.failures import (
    Failure,
    MemoryUnavailable,
    ModelQuotaExhausted,
    ModelRateLimited,
    ModelRejected,
    ModelUnavailable,
)
from ilab_chat_service.telemetry.call_record import CALL, Call, outcome_of, phase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from ilab_chat_service.ports import Clock, Model
    from ilab_chat_service.telemetry.spans import Traces

log = logging.getLogger(__name__)

#: Failures that are not about the turns. The attempt does not count.
OUTAGES = (ModelUnavailable, ModelRateLimited, ModelQuotaExhausted, ModelRejected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much, how often and how long. Times are in seconds."""

    model: str = ""
    """Name of the model. Empty: the default one."""
    turns: int = 8
    """New turns of a user that are enough."""
    idle: float = 600.0
    """Time after which fewer are enough."""
    daily_tokens: int = 0
    """Tokens per user and day. 0: no limit."""
    total_daily_tokens: int = 0
    """Tokens of all users per day. 0: no limit."""
    lease: float = 30.0
    call: float = 120.0
    """Deadline of a model call."""
    attempts: int = 8
    """Failed attempts after which work is given up."""
    poll: float = 1.0
    """Interval of the search for due work."""
    backoff: float = 60.0
    """Rest after a user's first failed attempt. It doubles with each one."""
    most_backoff: float = 3600.0
    dead_rest: float = 86400.0
    """Time after which work that was given up is tried again, once the user is active."""
    pause: float = 5.0
    """Rest of the worker after a failed call, of any user. It doubles with each one until a call succeeds."""
    most_pause: float = 900.0


class Consolidator:
    """Consolidates turns until it is stopped."""

    def __init__(
        self,
        library: Library,
        model: Model,
        limits: Limits,
        clock: Clock,
        *,
        spoken: Callable[[str], tuple[str, str] | None],
        hashed: Callable[[str], str],
        asked: Callable[[Call], None] = lambda _: None,
        traces: Traces | None = None,
    ) -> None:
        """Make a worker.

        Args:
            library: the memory.
            model: asked once per consolidation.
            limits: how much, how often and how long.
            clock: for days and rests.
            spoken: returns message and reply of a turn's stored content.
            hashed: replaces user ids in the log.
            asked: called with the record of each consolidation.
            traces: record a span of each consolidation.
        """
        self.counts = Counter[str]()
        """Counters of this process: calls, turns, facts, failures and so on."""
        self._library = library
        self._model = model
        self._limits = limits
        self._clock = clock
        self._hashed = hashed
        self._asked = asked
        self._traces = traces
        self._take = partial(
            take,
            owner=f"{socket.gethostname()[:40]}:{os.getpid()}",
            lease=timedelta(seconds=limits.lease),
            turns=limits.turns,
            idle=timedelta(seconds=limits.idle),
            spoken=spoken,
        )
        self._stopping = asyncio.Event()
        self._stopped_at = 0.0
        self._failures = 0
        self._paused_until: datetime | None = None

    def stop(self) -> None:
        """Claim nothing any more. A second call does nothing."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._stopped_at = asyncio.get_running_loop().time()

    def remaining(self, seconds: float) -> float:
        """Return the rest of the *seconds* that began when `stop` was called."""
        return max(0.0, self._stopped_at + seconds - asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Claim and consolidate until `stop` is called. Cancelled, it ends its call and releases its work."""
        while not self._stopping.is_set():
            taken = await self._taken()
            if taken is None:
                await self._rest(self._limits.poll)
                continue
            # A task of its own: it has its own call record, and ends alone if its lease is lost.
            task = asyncio.create_task(self._consolidate(taken))
            task.add_done_callback(log_failure)
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                task.cancel()
                await asyncio.wait([task])
                raise

    async def _rest(self, seconds: float) -> None:
        """Return after about *seconds*, or when the worker is to stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds * jitter())

    async def _taken(self) -> Taken | None:
        """Claim work; None if none is due, or none may be done now."""
        if self._paused_until and self._clock() < self._paused_until:
            return None
        try:
            return await self._library.work(self._take)
        except MemoryUnavailable as failure:
            self._pause("memory", failure)
            return None
        except Exception:
            # An unexpected error must not end consolidation until the next start.
            log.exception("consolidation: looking for work failed")
            self._paused_until = self._clock() + timedelta(seconds=self._limits.most_pause)
            return None

    async def _consolidate(self, taken: Taken) -> None:
        """Do the work that was taken: one model call, and one transaction."""
        keeping = asyncio.create_task(self._keep(taken, asyncio.current_task()))
        try:
            if not await self._is_allowed(taken):
                return
            with self._traced(len(taken.material.turns)):
                await self._ask_and_store(taken, keeping)
        except MemoryUnavailable as failure:
            # The lease expires by itself.
            self._pause("memory", failure)
        except asyncio.CancelledError:
            self.counts["interrupted"] += 1
            await asyncio.shield(self._release(taken))
            raise
        finally:
            keeping.cancel()

    @contextmanager
    def _traced(self, turns: int) -> Iterator[None]:
        """Record the block in a call record of its own, and its span. This task has inherited none."""
        call, began = Call(method="consolidation"), time.perf_counter()
        CALL.set(call)
        if self._traces:
            self._traces.work_began(call, began)
        try:
            yield
        except BaseException as error:
            call.reason = outcome_of(error)
            raise
        finally:
            if self._traces:
                seconds = time.perf_counter() - began
                self._traces.work_ended(call, seconds, {"ilab_chat.consolidation.turns": turns})

    async def _ask_and_store(self, taken: Taken, keeping: asyncio.Task[None]) -> None:
        asked = Asked()
        if taken.material.turns:
            try:
                async with asyncio.timeout(self._limits.call):
                    await self._ask(taken, asked)
                found = operations(asked.answer, taken.material)
            except (Failure, InvalidAnswer, TimeoutError) as failure:
                CALL.get().reason = outcome_of(failure)
                await self._fail(taken, failure, asked)
                return
            self._failures, self._paused_until = 0, None
        else:
            found = Operations(set=(), retire=(), summaries={})
        # From here on the lease is long enough, and ends.
        keeping.cancel()
        with phase("store"):
            await self._store(taken, found, asked)

    async def _ask(self, taken: Taken, asked: Asked) -> None:
        """Ask the model."""
        call = CALL.get()
        try:
            with phase("model"):
                await ask(self._model, self._limits.model, taken.material, asked)
        finally:
            if asked.input_tokens:
                call.input_tokens, call.output_tokens = asked.input_tokens, asked.output_tokens
            self._asked(call)

    async def _store(self, taken: Taken, found: Operations, asked: Asked) -> None:
        stored = await self._library.work(lambda memory: store(memory, taken, found, asked.tokens_used))
        self._library.on_saved(taken.work.user_id)
        self.counts["calls"] += asked.calls
        self.counts["tokens"] += asked.tokens_used
        if not stored:
            # Another worker has it, the user was forgotten, or a turn was changed: if it is ours, do it again soon.
            self.counts["lost"] += 1
            await self._rest_work(taken, self._limits.backoff, tokens_used=asked.tokens_used)
            return
        self.counts["turns"] += len(taken.material.turns)
        self.counts["set"] += len(found.set)
        self.counts["retired"] += len(found.retire)
        self.counts["summaries"] += len(found.summaries)
        self.counts.update({f"dropped: {reason}": times for reason, times in found.dropped.items()})

    async def _is_allowed(self, taken: Taken) -> bool:
        """Return whether the work may be done: not if it was tried too often, or a budget is used up."""
        limits, work = self._limits, taken.work
        if work.attempts > limits.attempts:
            # It never came to an end: its process died each time.
            await self._give_up(taken, "interrupted")
            return False
        is_total = bool(limits.total_daily_tokens) and taken.stats.tokens_used >= limits.total_daily_tokens
        if not is_total and not (limits.daily_tokens and work.tokens_used >= limits.daily_tokens):
            return True
        tomorrow = datetime.combine(self._clock().date() + timedelta(days=1), time_of_day(), self._clock().tzinfo)
        self.counts["over budget"] += 1
        if is_total:
            self._paused_until = tomorrow
            log.warning("consolidation pauses until midnight UTC: the daily token budget of all users is used up")
            await self._release(taken)
        else:
            # Not all at midnight.
            rest = (tomorrow - self._clock()).total_seconds() + limits.backoff * jitter()
            await self._rest_work(taken, rest, counts=False)
        return False

    async def _fail(self, taken: Taken, failure: Exception, asked: Asked) -> None:
        """Let the work rest, longer each time, or give up."""
        counts = not isinstance(failure, OUTAGES)
        reason = type(failure).__name__
        self.counts["calls"] += asked.calls
        self.counts["tokens"] += asked.tokens_used
        self._pause(reason, failure)
        if counts and taken.work.attempts >= self._limits.attempts:
            await self._give_up(taken, reason, tokens_used=asked.tokens_used)
            return
        rest = min(self._limits.backoff * 2 ** min(taken.work.attempts - 1, 20), self._limits.most_backoff) * jitter()
        log.warning(
            "consolidation failed (%s): trying again in %.0f s",
            reason,
            rest,
            extra={"fields": self._fields(taken, failure)},
        )
        await self._rest_work(taken, rest, counts=counts, tokens_used=asked.tokens_used)

    async def _give_up(self, taken: Taken, reason: str, *, tokens_used: int = 0) -> None:
        self.counts["dead"] += 1
        log.error(
            "consolidation of a user was given up (%s) after %d attempts: it is tried again when the user is active "
            "after %g h",
            reason,
            taken.work.attempts,
            self._limits.dead_rest / 3600,
            extra={"fields": self._fields(taken)},
        )
        await self._rest_work(taken, self._limits.dead_rest, is_dead=True, tokens_used=tokens_used)

    def _fields(self, taken: Taken, failure: Exception | None = None) -> dict[str, object]:
        fields: dict[str, object] = {"user.hash": self._hashed(taken.work.user_id), "attempt": taken.work.attempts}
        return fields | dict(failure.cause) if isinstance(failure, Failure) else fields

    def _pause(self, reason: str, failure: Exception) -> None:
        """Rest after a failure of any user: a model that is broken must not cost a call for each user."""
        self._failures += 1
        self.counts[f"failed: {reason}"] += 1
        pause = min(self._limits.pause * 2 ** min(self._failures - 1, 20), self._limits.most_pause) * jitter()
        self._paused_until = self._clock() + timedelta(seconds=pause)
        if isinstance(failure, MemoryUnavailable):
            log.warning("consolidation: memory is not available", extra={"fields": dict(failure.cause)})

    async def _rest_work(
        self, taken: Taken, seconds: float, *, is_dead: bool = False, counts: bool = True, tokens_used: int = 0
    ) -> None:
        not_before = self._clock() + timedelta(seconds=seconds)
        await self._library.work(
            lambda memory: memory.mem_work_fail(
                taken.work, not_before=not_before, is_dead=is_dead, counts=counts, tokens_used=tokens_used
            )
        )

    async def _release(self, taken: Taken) -> None:
        with suppress(MemoryUnavailable):
            await self._library.work(lambda memory: memory.mem_work_release(taken.work))

    async def _keep(self, taken: Taken, working: asyncio.Task[None] | None) -> None:
        """Renew the lease. If it is lost, or the user was forgotten, stop working."""
        lease = timedelta(seconds=self._limits.lease)
        while True:
            await asyncio.sleep(self._limits.lease / 3)
            with suppress(MemoryUnavailable):
                if not await self._library.work(lambda memory: memory.mem_work_renew(taken.work, lease=lease)):
                    if working:
                        working.cancel()
                    return


@asynccontextmanager
async def consolidating(consolidator: Consolidator, drain_seconds: float) -> AsyncIterator[None]:
    """Run *consolidator* while the block runs. Its call has *drain_seconds* to finish after it was stopped."""
    task = asyncio.create_task(consolidator.run())
    try:
        yield
    finally:
        consolidator.stop()
        await asyncio.wait([task], timeout=consolidator.remaining(drain_seconds))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def log_failure(task: asyncio.Task[None]) -> None:
    """Log the exception of *task*, if it has one."""
    if not task.cancelled() and (error := task.exception()):
        log.error("a consolidation failed: %s", type(error).__name__, exc_info=error)


def jitter() -> float:
    """Return a factor from 0.75 to 1.25."""
    return random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret
