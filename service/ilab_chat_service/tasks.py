"""Helpers for asyncio: background tasks bound to a block, and long computations on a thread."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

T = TypeVar("T")


async def computed(compute: Callable[[], T], *, is_long: bool) -> T:
    """Run *compute*, on a thread if it *is_long*, and return its result."""
    return await asyncio.to_thread(compute) if is_long else compute()


@asynccontextmanager
async def in_background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run *work* in a task while the block runs, and cancel it at the end of the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
