"""Who may run now: a bounded number of calls, a bounded queue behind them, and a share of both for each user."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter, deque
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

from ilab_chat_service.rpc.errors import ServerBusy
from ilab_chat_service.telemetry.call_record import phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Turn: TypeAlias = asyncio.Future[None]

T = TypeVar("T")

#: When a refused caller should try again, in seconds: drawn anew for each, so that they do not all come at once.
RETRY_AFTER_SECONDS = (0.5, 1.5)


class Admission:
    """Hands out slots, first come, first served. All limits are of one process.

    Args:
        running: most calls that have a slot.
        queued: most calls that wait for one.
        per_user: most calls of one user that have a slot or wait for one.
        wait_seconds: longest that a call waits.
        running_per_user: most calls of one user that have a slot; calls of others pass the user's that wait. None: no
            limit but the others.
        size: most that the sizes of the calls that have a slot or wait for one come to. None: no limit.
        size_per_user: the same of one user.
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
        self._free = running
        self._queued = queued
        self._per_user = per_user
        self._wait_seconds = wait_seconds
        self._running_per_user = running if running_per_user is None else running_per_user
        self._size_left: float = math.inf if size is None else size
        self._size_per_user: float = math.inf if size_per_user is None else size_per_user
        self._queue: deque[tuple[str, Turn]] = deque()
        self._users: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()

    def slot(self, user_id: str, size: int = 0) -> Slot:
        """Return a slot, to be held inside the block as soon as there is one.

        Raises:
            ServerBusy: on entering: the user has as many calls or bytes as allowed, the queue is full, or none came in
                time.
        """
        return Slot(self, user_id, size)

    async def run(self, user_id: str, work: Callable[[], Awaitable[T]], *, size: int = 0) -> T:
        """Return what *work* returns, begun as soon as there is a slot, which it holds to its own end.

        For work on a thread, which nothing can stop: a caller that leaves before it has begun takes it along; one that
        leaves later leaves it behind, in its slot.

        Raises:
            ServerBusy: as `slot` does.
        """
        async with AsyncExitStack() as slot:
            await slot.enter_async_context(self.slot(user_id, size))
            running = asyncio.create_task(held(slot.pop_all(), work))
        # Asking for the exception tells asyncio that it was seen: the caller who would have got it may be gone.
        running.add_done_callback(lambda task: task.cancelled() or task.exception())
        # Other than awaiting the task, this does not cancel it when the caller leaves.
        await asyncio.wait([running])
        return running.result()

    async def take(self, user_id: str, size: int) -> None:
        """Take a slot for a call of the user. See `slot`."""
        if self._users[user_id] >= self._per_user:
            raise busy(f"this user has {self._per_user} calls running or waiting, the most that are allowed")
        if self._sizes[user_id] + size > self._size_per_user:
            raise busy(f"this user's requests have {self._size_per_user:,} bytes, the most that are allowed at once")
        if size > self._size_left:
            raise busy("the server is busy")
        self._count(user_id, size, 1)
        try:
            with phase("queue"):
                await self._take(user_id)
        except BaseException:
            self._count(user_id, size, -1)
            raise

    def give_back(self, user_id: str, size: int) -> None:
        """Give back a slot that was taken for a call of the user."""
        self._give_back(user_id)
        self._count(user_id, size, -1)

    def give_back_after(self, call: asyncio.Task[Any], user_id: str, size: int) -> None:
        """Give back a slot now, and the user's share when *call* is done."""
        self._give_back(user_id)
        call.add_done_callback(lambda _: self._count(user_id, size, -1))

    def _count(self, user_id: str, size: int, calls: int) -> None:
        """Count one call more or less of the user."""
        self._size_left -= calls * size
        self._sizes[user_id] += calls * size
        self._users[user_id] += calls
        if not self._users[user_id]:
            del self._users[user_id], self._sizes[user_id]

    async def _take(self, user_id: str) -> None:
        if self._free and self._running[user_id] < self._running_per_user:
            self._begin(user_id)
            return
        if len(self._queue) >= self._queued:
            raise busy("the server is busy")
        turn: Turn = asyncio.get_running_loop().create_future()
        waiting = user_id, turn
        self._queue.append(waiting)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turn
        except BaseException as error:
            # The slot may have come in the moment in which the wait ended otherwise.
            if turn.done() and not turn.cancelled():
                self._give_back(user_id)
            elif waiting in self._queue:
                self._queue.remove(waiting)
            if isinstance(error, TimeoutError):
                raise busy(f"the server is busy: no call ended within {self._wait_seconds:g} s") from None
            raise

    def _begin(self, user_id: str) -> None:
        self._free -= 1
        self._running[user_id] += 1

    def _give_back(self, user_id: str) -> None:
        """Pass the slot on to the first in the queue whose user has not too many."""
        self._free += 1
        self._running[user_id] -= 1
        if not self._running[user_id]:
            del self._running[user_id]
        for waiting in self._queue:
            user, turn = waiting
            # A caller that has left is cancelled before it comes to leave the queue.
            if self._running[user] < self._running_per_user and not turn.done():
                self._queue.remove(waiting)
                self._begin(user)
                turn.set_result(None)
                return


class Slot:
    """What `Admission.slot` returns."""

    __slots__ = ("_admission", "_outlived_by", "_size", "_user_id")

    def __init__(self, admission: Admission, user_id: str, size: int) -> None:
        self._admission = admission
        self._outlived_by: asyncio.Task[Any] | None = None
        self._user_id = user_id
        self._size = size

    def outlived_by(self, call: asyncio.Task[Any]) -> None:
        """Count the call as one of the user's until *call* is done, although its slot is free before."""
        self._outlived_by = call

    async def __aenter__(self) -> Self:
        await self._admission.take(self._user_id, self._size)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._outlived_by is None:
            self._admission.give_back(self._user_id, self._size)
        else:
            self._admission.give_back_after(self._outlived_by, self._user_id, self._size)


async def held(slot: AsyncExitStack, work: Callable[[], Awaitable[T]]) -> T:
    """Return what *work* returns, and give *slot* back."""
    async with slot:
        return await work()


def busy(text: str) -> ServerBusy:
    """Return the refusal."""
    least, most = RETRY_AFTER_SECONDS
    return ServerBusy(text, retry_after_seconds=random.uniform(least, most))  # noqa: S311 - spreads callers, no secret
