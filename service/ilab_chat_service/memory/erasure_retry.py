"""Background retry of erasures that ForgetUser calls could not finish.

A full disk, a reader in another process or the end of this process can interrupt an erasure. The memory records each
erasure until its last byte is gone, so the next start finds it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import NoReturn, Protocol

from ilab_chat_service.failures import MemoryUnavailable

log = logging.getLogger(__name__)

#: Time between two retries.
INTERVAL_SECONDS = 60.0


class Erasures(Protocol):
    """The part of the memory that is needed here. Both methods raise MemoryUnavailable."""

    async def pending_erasures(self) -> int:
        """Return the number of unfinished erasures."""

    async def finish_forgetting(self) -> int:
        """Finish them; return how many are still pending."""


async def retry_erasures(memory: Erasures, interval_seconds: float = INTERVAL_SECONDS) -> NoReturn:
    """Finish pending erasures now and after every interval, until cancelled."""
    while True:
        await finish_pending_erasures(memory)
        await asyncio.sleep(interval_seconds)


async def finish_pending_erasures(memory: Erasures) -> None:
    """Finish pending erasures and log the outcome."""
    pending = 0
    try:
        pending = await memory.pending_erasures()
        if pending:
            await memory.finish_forgetting()
            log.info("finished %d pending erasures", pending)
    except MemoryUnavailable as error:
        # The cause is the library's own error, which quotes no user.
        cause = error.__cause__ or error
        log.warning("%s pending erasures: retry failed: %s", pending or "unknown number of", cause)
