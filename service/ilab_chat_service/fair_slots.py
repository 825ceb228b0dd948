"""A fixed number of slots, shared fairly among users."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    Grant: TypeAlias = asyncio.Future[None]


class FairSlots:
    """Hands out slots first come, first served, to users below their own limit.

    Waiters of a user at its limit do not block other users.

    Args:
        slots: number of slots.
        per_user: maximum number of slots of one user.
    """

    def __init__(self, slots: int, per_user: int) -> None:
        self.size = slots
        self._free = slots
        self._per_user = per_user
        self._used: Counter[str] = Counter()
        self._queue: deque[tuple[str, Grant]] = deque()

    @property
    def used(self) -> int:
        """Number of slots that are taken."""
        return self.size - self._free

    @property
    def waiting(self) -> int:
        """Number of waiters."""
        return len(self._queue)

    def try_acquire(self, user_id: str) -> bool:
        """Take a slot if one is available to the user now, and return whether it was."""
        if not self._free or self._used[user_id] >= self._per_user:
            return False
        self._free -= 1
        self._used[user_id] += 1
        return True

    async def acquire(self, user_id: str) -> None:
        """Wait for a slot and take it. A cancelled wait takes none.

        Raises:
            Exception: the one that `fail_waiting` was given.
        """
        if self.try_acquire(user_id):
            return
        grant: Grant = asyncio.get_running_loop().create_future()
        waiter = user_id, grant
        self._queue.append(waiter)
        try:
            await grant
        except BaseException:
            # The slot may have been granted at the moment of the cancellation.
            if grant.done() and not grant.cancelled() and not grant.exception():
                self.release(user_id)
            elif waiter in self._queue:
                self._queue.remove(waiter)
            raise

    def release(self, user_id: str) -> None:
        """Give back a slot of the user, and grant it to the first waiter whose user is below its limit."""
        self._free += 1
        self._used[user_id] -= 1
        if not self._used[user_id]:
            del self._used[user_id]
        for waiter in self._queue:
            user, grant = waiter
            # A cancelled waiter is still in the queue until its task runs.
            if not grant.done() and self.try_acquire(user):
                self._queue.remove(waiter)
                grant.set_result(None)
                return

    def fail_waiting(self, make_error: Callable[[], Exception]) -> None:
        """Raise an error in every waiter."""
        for _, grant in self._queue:
            if not grant.done():
                grant.set_exception(make_error())
