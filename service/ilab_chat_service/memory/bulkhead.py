"""Bulkhead: a thread pool for one kind of blocking call, shared fairly among users."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from ilab_chat_service.failures import RETRY_AFTER_SECONDS, MemoryUnavailable
from ilab_chat_service.fair_slots import FairSlots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")


class Bulkhead:
    """Runs blocking calls on its own threads, first come, first served among users below their share.

    Calls wait for a thread on the event loop. A call that has started keeps its thread, and counts for its user, until
    it returns, even if its caller is cancelled.
    """

    def __init__(self, name: str, *, threads: int, per_user: int) -> None:
        """Start up to *threads* threads, of which one user gets at most *per_user* at a time."""
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self.slots = FairSlots(threads, per_user)
        """The threads, and the calls that wait for one."""
        # Of the threads, those that calls with long texts may have.
        self._long = FairSlots(max(1, threads // 2), per_user)

    async def run(self, user_id: str, call: Callable[[], T], *, is_long: bool = False) -> T:
        """Run *call* on a thread and return its result.

        *is_long*: it works on a long text. Such calls leave half of the threads to the others.

        Raises:
            MemoryUnavailable: the bulkhead was closed before a thread was free.
        """
        held: list[FairSlots] = []
        try:
            for slots in (self._long, self.slots) if is_long else (self.slots,):
                await slots.acquire(user_id)
                # The threads are freed before the others.
                held.insert(0, slots)
        except BaseException:
            release(user_id, held)
            raise
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        # Not run_in_executor: its future ends when the caller is cancelled, while the thread is still busy.
        self._executor.submit(work, loop, partial(release, user_id, held), call, result)
        return await result

    def refuse(self) -> None:
        """Fail the calls that wait for a thread."""
        for slots in (self._long, self.slots):
            slots.fail_waiting(
                lambda: MemoryUnavailable("memory is not available", retry_after_seconds=RETRY_AFTER_SECONDS)
            )

    async def close(self) -> None:
        """Wait for the threads to end."""
        # Joining them blocks.
        await asyncio.to_thread(self._executor.shutdown)


def work(
    loop: asyncio.AbstractEventLoop, free: Callable[[], None], call: Callable[[], T], result: asyncio.Future[T]
) -> None:
    """Run *call* on a thread of the pool. Then, on the event loop, *free* and set the *result*."""
    try:
        value = call()
    except BaseException as error:  # noqa: BLE001 - the caller waits for the outcome, whatever it is
        # Not by a variable: the traceback of the error would keep it, and it the error, until a garbage collection.
        loop.call_soon_threadsafe(finish, free, result, partial(result.set_exception, error))
    else:
        loop.call_soon_threadsafe(finish, free, result, partial(result.set_result, value))


def finish(free: Callable[[], None], result: asyncio.Future[T], tell: Callable[[], None]) -> None:
    """Free the slots, and tell the caller if it is still there."""
    free()
    if not result.done():
        tell()


def release(user_id: str, held: Iterable[FairSlots]) -> None:
    """Give back a slot of the user to each of *held*."""
    for slots in held:
        slots.release(user_id)
