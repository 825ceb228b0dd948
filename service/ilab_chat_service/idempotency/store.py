"""The idempotency store: one call per key proceeds, repeats get its response. For every method and database.

Within this process, calls with the same key wait for each other in a flight. A lock of the database keeps other
processes out. It is polled while another process holds it, and released when that process ends.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ilab_chat_service.failures import RETRY_AFTER_SECONDS, MemoryUnavailable, RequestIdReused
from ilab_chat_service.storage_cause import storage_cause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from ilab_chat_service.ports import Clock, Joins, RepeatableCall
    from ilab_chat_service.values import RequestKey, StoredResponse

R = TypeVar("R")
T = TypeVar("T")

#: How long a response is stored (contract).
RETENTION = timedelta(hours=24)

#: Pauses between polls of a request that another process is answering, in seconds: the first, the longest, and the
#: factor from one to the next.
FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.5
PAUSE_FACTOR = 1.5

#: Bits of the number of a key's lock. It must fit into a file offset.
LOCK_BITS = 62


class Records(Protocol):
    """Stores responses, with one lock per key that keeps other processes out.

    Within this process, only one call per key is between `enter` and `leave` at a time.
    """

    async def enter(self, key: RequestKey, since: datetime, *, is_new: bool) -> tuple[bool, StoredResponse | None]:
        """Take the lock of *key* unless another process has it. Return whether it was taken, and the response.

        The response is read after the lock was requested. It is None if the store has none newer than *since*, and for
        a new key, which is not looked up.

        Raises:
            MemoryUnavailable: the store cannot be read.
        """

    def leave(self, key: RequestKey) -> None:
        """Release the lock of *key* if this process has it. Do not wait."""

    async def put(self, key: RequestKey, stored: StoredResponse, now: datetime) -> None:
        """Store the response. Replace an earlier one with the same key.

        Raises:
            MemoryUnavailable: the response is not stored.
        """

    async def forget(self, user_id: str) -> int:
        """See `ports.ResponseStore.forget`."""

    async def forget_observation(self, user_id: str, observation_id: int) -> int:
        """See `ports.ResponseStore.forget_observation`."""

    async def drop(self, user_id: str, method: str, observation_id: int) -> None:
        """See `ports.ResponseStore.drop`."""


class SingleFlight:
    """The ResponseStore port over *records*."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._flights: dict[RequestKey, Flight] = {}

    async def begin(self, call: RepeatableCall[R], *, joins: Joins | None = None) -> RequestLease[R]:
        """See `ports.ResponseStore.begin`."""
        fingerprint = await computed(lambda: call.fingerprint, is_long=call.is_large)
        flight = self._flights.get(call.key)
        if flight is None:
            flight = self._flights[call.key] = Flight(fingerprint)
        elif flight.fingerprint != fingerprint:
            raise request_id_reused()
        flight.callers += 1
        lease = RequestLease(self, call, flight)
        try:
            lease.running = await flight.enter(lease, joins)
            if lease.running is None:
                lease.earlier = await self._enter(call)
        except BaseException:
            lease.release()
            raise
        return lease

    async def put(self, call: RepeatableCall[R], stored: StoredResponse) -> None:
        """Store the response of *call*. See `ports.Lease.put`."""
        await self._records.put(call.key, stored, self._clock())

    async def forget(self, user_id: str) -> int:
        """See `ports.ResponseStore.forget`."""
        running = self._running(user_id)
        for lease in running:
            lease.forgotten = True
        await wait_for_puts(running)
        return await self._records.forget(user_id)

    async def forget_observation(self, user_id: str, observation_id: int) -> int:
        """See `ports.ResponseStore.forget_observation`."""
        await store_none_with(observation_id, self._running(user_id))
        return await self._records.forget_observation(user_id, observation_id)

    async def drop(self, user_id: str, method: str, observation_id: int) -> None:
        """See `ports.ResponseStore.drop`."""
        await store_none_with(observation_id, self._running(user_id, method))
        await self._records.drop(user_id, method, observation_id)

    def leave(self, key: RequestKey, *, entered: bool) -> None:
        """End this call: if it had *entered*, admit the next call with *key*. Remove the flight after the last call."""
        flight = self._flights[key]
        if entered:
            self._records.leave(key)
            flight.leave()
        flight.callers -= 1
        if not flight.callers:
            del self._flights[key]

    async def _enter(self, call: RepeatableCall[R]) -> R | None:
        """Return the stored response. While another process is answering, wait. None: this call must answer."""
        for pause in pauses():
            taken, stored = await self._records.enter(call.key, self._clock() - RETENTION, is_new=call.is_new)
            if stored and stored.fingerprint != call.fingerprint:
                raise request_id_reused()
            if stored:
                return call.from_store(stored.text)
            if taken:
                break
            await asyncio.sleep(pause)
        return None

    def _running(self, user_id: str, method: str = "") -> list[RequestLease[Any]]:
        """Return the leases of the user's running calls, or only those of *method*."""
        return [
            flight.lease
            for key, flight in self._flights.items()
            if key.user_id == user_id and method in {"", key.method} and flight.lease is not None
        ]


async def store_none_with(observation_id: int, leases: list[RequestLease[Any]]) -> None:
    """Keep *leases* from storing a response that contains this observation."""
    for lease in leases:
        lease.forgotten_observations.add(observation_id)
    await wait_for_puts(leases)


async def wait_for_puts(leases: list[RequestLease[Any]]) -> None:
    """Wait while any of *leases* is storing its response, so that the erasure that follows includes the response."""
    for lease in leases:
        await lease.nothing_put.wait()


def request_id_reused() -> RequestIdReused:
    """Return the failure for a reused request_id."""
    return RequestIdReused("this request_id belongs to another request")


class Flight:
    """Runs the calls with one key one at a time. Other calls can join the answer that the running call has shared.

    `lease` is the lease of the running call.
    """

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.lease: RequestLease[Any] | None = None
        self.callers = 0
        self._running: Any = None
        self._waiting: list[asyncio.Future[None]] = []

    async def enter(self, lease: RequestLease[Any], joins: Joins | None) -> Any:
        """Wait until no other call runs and return None, or return a running answer that *joins* accepts."""
        while self.lease:
            if self._running is not None and joins and joins(self._running):
                return self._running
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            try:
                await waiting
            finally:
                if waiting in self._waiting:
                    self._waiting.remove(waiting)
        self.lease, lease.entered = lease, True
        return None

    def share(self, running: object) -> None:
        """Let waiting and later calls join *running*."""
        self._running = running
        self._wake()

    def leave(self) -> None:
        """Admit the next call."""
        self.lease = self._running = None
        self._wake()

    def _wake(self) -> None:
        """Let all waiting calls check again, in their order. They are few: one user's calls with one request_id."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()


class RequestLease(Generic[R]):
    """The Lease port.

    `forgotten`: the user was erased after this call began, so its response must not be stored.
    `forgotten_observations`: observations that were erased after this call began. A response that contains one of them
    must not be stored.
    """

    def __init__(self, store: SingleFlight, call: RepeatableCall[R], flight: Flight) -> None:
        self.earlier: R | None = None
        self.running: Any = None
        self.entered = False
        self.forgotten = False
        self.forgotten_observations: set[int] = set()
        self.nothing_put = asyncio.Event()
        self.nothing_put.set()
        self._store = store
        self._call = call
        self._flight = flight
        self._released = False

    def share(self, running: object) -> None:
        """See `ports.Lease.share`."""
        self._flight.share(running)

    async def put(self, response: R) -> None:
        """See `ports.Lease.put`."""
        if self.forgotten:
            return
        self.nothing_put.clear()
        try:
            make = partial(self._call.to_store, response)
            # Large responses are encoded on another thread: neither the event loop nor the records' thread waits.
            stored = await computed(make, is_long=self._call.is_large_response(response))
            if self.forgotten_observations.isdisjoint(stored.observation_ids):
                await self._store.put(self._call, stored)
        finally:
            self.nothing_put.set()

    def release(self) -> None:
        """See `ports.Lease.release`."""
        if not self._released:
            self._released = True
            self._store.leave(self._call.key, entered=self.entered)


async def computed(compute: Callable[[], T], *, is_long: bool) -> T:
    """Run *compute*, on a thread if it *is_long*, and return its result."""
    return await asyncio.to_thread(compute) if is_long else compute()


def unavailable(error: Exception) -> MemoryUnavailable:
    """Return the failure of a call of the store that failed with *error*."""
    return MemoryUnavailable(
        "the idempotency store is not available",
        retry_after_seconds=RETRY_AFTER_SECONDS,
        cause=storage_cause(error),
    )


def pauses() -> Iterator[float]:
    """Yield the seconds between polls, without end. Random, so that waiting processes do not poll at the same time."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield random.uniform(pause / 2, pause)  # noqa: S311 - no secret
        pause = min(pause * PAUSE_FACTOR, LONGEST_PAUSE_SECONDS)


def lock_key(key: RequestKey) -> int:
    """Return the number of the lock of *key*. Two keys with the same number would only wait for each other."""
    name = f"{len(key.user_id)}:{key.user_id}{len(key.method)}:{key.method}{key.request_id}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) >> (64 - LOCK_BITS)
