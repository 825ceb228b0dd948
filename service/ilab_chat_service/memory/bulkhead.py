"""Bulkhead: a thread pool for one kind of blocking call, shared fairly among users."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from ilab_chat_service.failures import RETRY_AFTER_SECONDS, MemoryUnavailable
from ilab_chat_service.fair_slots import FairSlots

if TYPE_CHECKING:
    from collections.abc import Callable

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

    async def run(self, user_id: str, call: Callable[[], T]) -> T:
        """Run *call* on a thread and return its result.

        Raises:
            MemoryUnavailable: the bulkhead was closed before a thread was free.
        """
        await self.slots.acquire(user_id)
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        # Not run_in_executor: its future ends when the caller is cancelled, while the thread is still busy.
        self._executor.submit(self._work, loop, user_id, call, result)
        return await result

    def refuse(self) -> None:
        """Fail the calls that wait for a thread."""
        self.slots.fail_waiting(
            lambda: MemoryUnavailable("memory is not available", retry_after_seconds=RETRY_AFTER_SECONDS)
        )

    async def close(self) -> None:
        """Wait for the threads to end."""
        # Joining them blocks.
        await asyncio.to_thread(self._executor.shutdown)

    def _work(
        self, loop: asyncio.AbstractEventLoop, user_id: str, call: Callable[[], T], result: asyncio.Future[T]
    ) -> None:
        """Run *call* on a thread of the pool."""
        try:
            value = call()
        except BaseException as error:  # noqa: BLE001 - the caller waits for the outcome, whatever it is
            loop.call_soon_threadsafe(self._failed, user_id, result, error)
        else:
            loop.call_soon_threadsafe(self._succeeded, user_id, result, value)

    def _succeeded(self, user_id: str, result: asyncio.Future[T], value: T) -> None:
        self.slots.release(user_id)
        if not result.done():
            result.set_result(value)

    def _failed(self, user_id: str, result: asyncio.Future[T], error: BaseException) -> None:
        self.slots.release(user_id)
        if not result.done():
            result.set_exception(error)
