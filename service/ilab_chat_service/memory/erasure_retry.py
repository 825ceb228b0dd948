"""Finishing, in the background, the erasures that calls of ForgetUser could not finish.

A full disk, a reader in another process or the end of this one may have been in the way. The memory records each
erasure until no byte is left, so the next start finds it.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from ilab_chat_service.failures import MemoryUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = logging.getLogger(__name__)

#: Seconds between two looks for unfinished erasures.
INTERVAL_SECONDS = 60.0


class Erasures(Protocol):
    """The part of the memory that this needs. Both raise MemoryUnavailable."""

    async def pending_erasures(self) -> int:
        """Return how many erasures are not finished."""

    async def finish_forgetting(self) -> int:
        """Finish them; return how many are pending."""


@asynccontextmanager
async def finishing_erasures(memory: Erasures, interval_seconds: float = INTERVAL_SECONDS) -> AsyncIterator[None]:
    """Try now and then every *interval_seconds* while the block runs. Neither entering nor leaving waits for a try."""
    task = asyncio.create_task(try_for_ever(memory, interval_seconds))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def try_for_ever(memory: Erasures, interval_seconds: float) -> None:
    """Finish what is unfinished, now and after each interval."""
    while True:
        await try_once(memory)
        await asyncio.sleep(interval_seconds)


async def try_once(memory: Erasures) -> None:
    """Finish what is unfinished; log what became of it."""
    pending = 0
    try:
        pending = await memory.pending_erasures()
        if pending:
            await memory.finish_forgetting()
            log.info("unfinished erasures of users: finished %d", pending)
    except MemoryUnavailable as error:
        # The library's own text: it quotes no user.
        cause = error.__cause__ or error
        log.warning("unfinished erasures of users: %s pending: %s", pending or "unknown number", cause)
