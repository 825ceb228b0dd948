"""Batching: requests of concurrent calls run as one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Wanted = TypeVar("Wanted")
Got = TypeVar("Got")


class Batcher(Generic[Wanted, Got]):
    """Runs one batch at a time. Requests that arrive while it runs form the next batch."""

    def __init__(self, do: Callable[[list[Wanted]], Awaitable[Sequence[Got]]]) -> None:
        """*do* processes a batch and returns one result per request, in order. If it raises, all of them raise."""
        self._do = do
        self._wanted: list[Wanted] = []
        self._doing = asyncio.Lock()

    async def get(self, wanted: Wanted) -> Got:
        """Add *wanted* to the next batch and return its result."""
        place = len(self._wanted)
        self._wanted.append(wanted)
        if place == 0:
            self._next = asyncio.create_task(self._do_all())
        # Cancelling one caller must not cancel the batch.
        return (await asyncio.shield(self._next))[place]

    async def _do_all(self) -> Sequence[Got]:
        async with self._doing:
            wanted, self._wanted = self._wanted, []
            return await self._do(wanted)
