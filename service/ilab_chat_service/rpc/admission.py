"""Admission control: limits on running calls, on queued calls, and on both for each user."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ilab_chat_service.fair_slots import FairSlots
from ilab_chat_service.rpc.errors import ServerBusy
from ilab_chat_service.telemetry.call_record import CALL, phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

#: Range of the retry delay of a rejected call, in seconds. It is random, so that callers do not all retry at once.
RETRY_AFTER_SECONDS = (0.5, 1.5)


class Admission:
    """Hands out slots, first come, first served. All limits are per process.

    Args:
        running: maximum number of calls with a slot.
        queued: maximum number of calls that wait for a slot.
        per_user: maximum number of calls of one user, with a slot or waiting.
        wait_seconds: maximum time that a call waits.
        running_per_user: maximum number of calls of one user with a slot; waiting calls of other users overtake the
            user's. None: no separate limit.
        size: maximum total size of the calls with a slot or waiting. None: no limit.
        size_per_user: the same for one user.
    """

    def __init__(
        self,
        *,
        running: int,
        queued: int,
        per_user: int,
        wait_seconds: float,
        running_per_user: int | None = None,
        size: int | None = None,
        size_per_user: int | None = None,
    ) -> None:
        self._slots = FairSlots(running, running if running_per_user is None else running_per_user)
        self._queued = queued
        self._per_user = per_user
        self._wait_seconds = wait_seconds
        self._size_left: float = math.inf if size is None else size
        self._size_per_user: float = math.inf if size_per_user is None else size_per_user
        self._users: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()

    @property
    def limit(self) -> int:
        """Number of slots."""
        return self._slots.size

    @property
    def running(self) -> int:
        """Number of calls that have a slot."""
        return self._slots.used

    @property
    def waiting(self) -> int:
        """Number of calls that wait for a slot."""
        return self._slots.waiting

    def slot(self, user_id: str, size: int = 0, *, share: str = "") -> Slot:
        """Return a context manager that waits for a slot and owns it inside the block.

        *share*: whose slots `running_per_user` limits. Empty: the user's.

        Raises:
            ServerBusy: on entering: the user's limit on calls or bytes is reached, the queue is full, or no slot became
                free in time.
        """
        return Slot(self, user_id, size, share or user_id)

    async def run(self, user_id: str, work: Callable[[], Awaitable[T]], *, size: int = 0, share: str = "") -> T:
        """Run *work* in a slot and return its result. The slot stays taken until *work* ends.

        For work on a thread, which cannot be stopped. Cancelling the caller before *work* starts withdraws it;
        cancelling the caller later leaves *work* running in its slot.

        Raises:
            ServerBusy: see `slot`.
        """
        async with AsyncExitStack() as slot:
            await slot.enter_async_context(self.slot(user_id, size, share=share))
            running = asyncio.create_task(run_in(slot.pop_all(), work))
        # Retrieve the exception, or asyncio logs it as never retrieved when the caller is gone.
        running.add_done_callback(lambda task: task.cancelled() or task.exception())
        # Unlike `await running`, this does not cancel the task when the caller is cancelled.
        await asyncio.wait([running])
        return running.result()

    async def acquire(self, user_id: str, size: int, share: str) -> None:
        """Wait for a slot for a call of the user. See `slot`."""
        if self._users[user_id] >= self._per_user:
            raise busy("user", f"this user already has the maximum of {self._per_user} running or queued calls")
        if self._sizes[user_id] + size > self._size_per_user:
            raise busy(
                "user_bytes", f"this user's running and queued requests would exceed {self._size_per_user:,} bytes"
            )
        if size > self._size_left:
            raise busy("bytes", "the server is busy")
        self._count(user_id, size, 1)
        try:
            with phase("queue"):
                await self._acquire_slot(share)
        except BaseException:
            self._count(user_id, size, -1)
            raise

    def release(self, user_id: str, size: int, share: str, outlived_by: asyncio.Task[Any] | None) -> None:
        """Give back a slot of the user. Count the call for its user until *outlived_by*, if there is one, is done."""
        self._slots.release(share)
        if outlived_by is None:
            self._count(user_id, size, -1)
        else:
            outlived_by.add_done_callback(lambda _: self._count(user_id, size, -1))

    def _count(self, user_id: str, size: int, calls: int) -> None:
        """Add *calls*, 1 or -1, to the totals."""
        self._size_left -= calls * size
        self._sizes[user_id] += calls * size
        self._users[user_id] += calls
        if not self._users[user_id]:
            del self._users[user_id], self._sizes[user_id]

    async def _acquire_slot(self, share: str) -> None:
        if self._slots.try_acquire(share):
            return
        if self._slots.waiting >= self._queued:
            raise busy("queue", "the server is busy")
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._slots.acquire(share)
        except TimeoutError:
            raise busy("wait", f"the server is busy: no slot became free within {self._wait_seconds:g} s") from None


class Slot:
    """A slot of one call. See `Admission.slot`."""

    __slots__ = ("_admission", "_outlived_by", "_share", "_size", "_user_id")

    def __init__(self, admission: Admission, user_id: str, size: int, share: str) -> None:
        self._admission = admission
        self._outlived_by: asyncio.Task[Any] | None = None
        self._user_id = user_id
        self._size = size
        self._share = share

    def keep_counting(self) -> None:
        """Count the call for its user until this task is done, even though its slot is free at the end of the block."""
        self._outlived_by = asyncio.current_task()

    async def __aenter__(self) -> Self:
        await self._admission.acquire(self._user_id, self._size, self._share)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._admission.release(self._user_id, self._size, self._share, self._outlived_by)


async def run_in(slot: AsyncExitStack, work: Callable[[], Awaitable[T]]) -> T:
    """Run *work*, then give *slot* back."""
    async with slot:
        return await work()


def busy(limit: str, text: str) -> ServerBusy:
    """Return the error of a rejected call, and note the *limit* that was reached in the running call."""
    if call := CALL.get(None):
        call.refused_by = limit
    return ServerBusy(text, retry_after_seconds=random.uniform(*RETRY_AFTER_SECONDS))  # noqa: S311 - not a secret
