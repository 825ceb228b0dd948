"""The idempotency store: who may answer a request now, and what was answered. The same for every store of records.

Calls of one request that overlap in this process wait for each other in a flight. Against those in other processes
the store has a lock, which is asked for again and again while another process has it, and is freed when that ends.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ilab_chat_service.failures import RequestIdReused
from ilab_chat_service.idempotency import codec
from ilab_memory.redaction import strip_private

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from ilab_chat_service.ports import Clock
    from ilab_chat_service.values import Answered, TurnRequest

#: How long an answer is kept (contract).
RETENTION = timedelta(hours=24)

#: Pauses between two looks at a request that another process is answering, in seconds: the first, the longest, and
#: what each is to the one before.
FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.5
PAUSE_FACTOR = 1.5

#: A record takes its time to make when the message has private text, whose echo is looked for in the reply, or when the
#: reply is longer than this, in characters.
LONG_CHARACTERS = 65_536

#: Bits of the number that stands for a request among locks: what fits into the offset of a lock of a file.
LOCK_BITS = 62


@dataclass(frozen=True, slots=True)
class Record:
    """A stored answer: of which request it is, see `codec.fingerprint`, and as `codec` writes it."""

    fingerprint: str
    answer: str


class Records(Protocol):
    """Where answers are kept, with a lock for each request that keeps other processes away.

    Within this process, no two calls of one request are in between `enter` and `leave`.
    """

    async def enter(self, request: TurnRequest, since: datetime) -> tuple[bool, Record | None]:
        """Take the request's lock unless another process has it; return whether it was taken, and then the record.

        The record is looked up after the lock was asked for, and not before, and not for a request_id that is new.
        None: there is none newer than *since*.

        Raises:
            MemoryUnavailable: it cannot be told.
        """

    def leave(self, request: TurnRequest) -> None:
        """Free the request's lock if this process has it. Does not wait."""

    async def put(self, request: TurnRequest, record: Record, now: datetime) -> None:
        """Store the record in the place of any other of the same request.

        Raises:
            MemoryUnavailable: it is not stored.
        """

    async def forget(self, user_id: str) -> int:
        """See `ports.IdempotencyStore.forget`."""


class SingleFlight:
    """The IdempotencyStore port over *records*."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._flights: dict[tuple[str, str], Flight] = {}

    async def begin(self, request: TurnRequest) -> RequestLease:
        """See `ports.IdempotencyStore.lease`."""
        key = request.user_id, request.request_id
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = Flight(request)
        elif codec.fingerprint(flight.request) != codec.fingerprint(request):
            raise reused()
        flight.callers += 1
        lease = RequestLease(self, request)
        try:
            await flight.lock.acquire()
            lease.entered = True
            flight.lease = lease
            lease.earlier = await self._enter(request)
        except BaseException:
            lease.release()
            raise
        return lease

    async def put(self, request: TurnRequest, answered: Answered) -> None:
        """See `ports.Lease.put`."""
        made = partial(record_of, request, answered)
        long = len(answered.reply) > LONG_CHARACTERS or strip_private(request.message) != request.message
        # Elsewhere than on the event loop, and than where all other calls' records are written.
        record = await asyncio.to_thread(made) if long else made()
        await self._records.put(request, record, self._clock())

    async def forget(self, user_id: str) -> int:
        """See `ports.IdempotencyStore.forget`."""
        running = [
            flight.lease for (user, _), flight in self._flights.items() if user == user_id and flight.lease is not None
        ]
        for lease in running:
            lease.forgotten = True
        for lease in running:
            # What it is putting is then erased with the rest.
            await lease.nothing_put.wait()
        return await self._records.forget(user_id)

    def leave(self, request: TurnRequest, *, entered: bool) -> None:
        """Let the next call of *request* in, if this one was in, and forget the flight behind the last."""
        key = request.user_id, request.request_id
        flight = self._flights[key]
        if entered:
            flight.lease = None
            self._records.leave(request)
            flight.lock.release()
        flight.callers -= 1
        if not flight.callers:
            del self._flights[key]

    async def _enter(self, request: TurnRequest) -> Answered | None:
        """Return the stored answer, or None as soon as no other process is answering and there is none."""
        for pause in pauses():
            taken, record = await self._records.enter(request, self._clock() - RETENTION)
            if record and record.fingerprint != codec.fingerprint(request):
                raise reused()
            if record:
                return codec.answered(record.answer)
            if taken:
                break
            await asyncio.sleep(pause)
        return None


def record_of(request: TurnRequest, answered: Answered) -> Record:
    """Return what is stored of the answer to *request*."""
    return Record(codec.fingerprint(request), codec.record(answered, request.message))


def reused() -> RequestIdReused:
    """Return the failure of a request whose request_id has another body already."""
    return RequestIdReused("this request_id belongs to another request")


class Flight:
    """Lets the calls of one request through one at a time; *request* is the first of them, `lease` whose turn it is."""

    def __init__(self, request: TurnRequest) -> None:
        self.request = request
        self.lease: RequestLease | None = None
        self.lock = asyncio.Lock()
        self.callers = 0


class RequestLease:
    """The Lease port. `forgotten`: the user has been, since this call began, and its answer is not kept."""

    def __init__(self, log: SingleFlight, request: TurnRequest) -> None:
        self.earlier: Answered | None = None
        self.entered = False
        self.forgotten = False
        self.nothing_put = asyncio.Event()
        self.nothing_put.set()
        self._log = log
        self._request = request
        self._released = False

    async def put(self, answered: Answered) -> None:
        """See `ports.Lease.put`."""
        if self.forgotten:
            return
        self.nothing_put.clear()
        try:
            await self._log.put(self._request, answered)
        finally:
            self.nothing_put.set()

    def release(self) -> None:
        """See `ports.Lease.release`."""
        if not self._released:
            self._released = True
            self._log.leave(self._request, entered=self.entered)


def pauses() -> Iterator[float]:
    """Yield the seconds to wait between two looks, without end; they differ, so that those who wait spread out."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield random.uniform(pause / 2, pause)  # noqa: S311 - no secret
        pause = min(pause * PAUSE_FACTOR, LONGEST_PAUSE_SECONDS)


def lock_key(request: TurnRequest) -> int:
    """Return the number that stands for the request among locks. Two requests that share one would wait in turn."""
    name = f"{len(request.user_id)}:{request.user_id}{request.request_id}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) >> (64 - LOCK_BITS)
