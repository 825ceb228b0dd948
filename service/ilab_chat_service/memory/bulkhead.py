"""Threads for one kind of blocking call, with a share of them for each user."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from ilab_chat_service.failures import RETRY_AFTER_SECONDS, MemoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    Turn: TypeAlias = asyncio.Future[None]

T = TypeVar("T")


class Bulkhead:
    """Runs calls on its own threads: first come, first served among the users that have not used up their share.

    A call waits for its thread on the event loop. A call that has begun keeps its thread, and its place in the user's
    share, to its own end, also when its caller has left.
    """

    def __init__(self, name: str, *, threads: int, per_user: int) -> None:
        """Use *threads* threads, of which one user has at most *per_user* at a time."""
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threads
        self._per_user = per_user
        self._users: Counter[str] = Counter()
        self._queue: deque[tuple[str, Turn]] = deque()

    async def run(self, user_id: str, call: Callable[[], T]) -> T:
        """Return what *call* returns, run on a thread.

        Raises:
            MemoryUnavailable: closed before a thread was free.
        """
        if self._free and self._users[user_id] < self._per_user:
            self._begin(user_id)
        else:
            await self._wait(user_id)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        # Not run_in_executor: when the caller leaves, its future ends while the thread goes on.
        self._executor.submit(self._work, loop, user_id, call, answer)
        return await answer

    def refuse(self) -> None:
        """Fail the calls that wait for a thread."""
        for _, turn in self._queue:
            if not turn.done():
                turn.set_exception(
                    MemoryUnavailable("memory is not available", retry_after_seconds=RETRY_AFTER_SECONDS)
                )

    async def close(self) -> None:
        """Wait for the threads to end."""
        # It joins them, so not on the event loop.
        await asyncio.to_thread(self._executor.shutdown)

    def _work(
        self, loop: asyncio.AbstractEventLoop, user_id: str, call: Callable[[], T], answer: asyncio.Future[T]
    ) -> None:
        """Run *call*, on a thread of the lane."""
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller waits for it
            loop.call_soon_threadsafe(self._failed, user_id, answer, error)
        else:
            loop.call_soon_threadsafe(self._answered, user_id, answer, result)

    def _answered(self, user_id: str, answer: asyncio.Future[T], result: T) -> None:
        self._end(user_id)
        if not answer.done():
            answer.set_result(result)

    def _failed(self, user_id: str, answer: asyncio.Future[T], error: BaseException) -> None:
        self._end(user_id)
        if not answer.done():
            answer.set_exception(error)

    async def _wait(self, user_id: str) -> None:
        turn: Turn = asyncio.get_running_loop().create_future()
        waiting = user_id, turn
        self._queue.append(waiting)
        try:
            await turn
        except BaseException:
            # The thread may have come in the moment in which the wait ended otherwise.
            if turn.done() and not turn.cancelled() and not turn.exception():
                self._end(user_id)
            elif waiting in self._queue:
                self._queue.remove(waiting)
            raise

    def _begin(self, user_id: str) -> None:
        self._free -= 1
        self._users[user_id] += 1

    def _end(self, user_id: str) -> None:
        self._free += 1
        self._users[user_id] -= 1
        if not self._users[user_id]:
            del self._users[user_id]
        for waiting in self._queue:
            user, turn = waiting
            # A caller that has left is cancelled before it comes to leave the queue.
            if self._users[user] < self._per_user and not turn.done():
                self._queue.remove(waiting)
                self._begin(user)
                turn.set_result(None)
                return
