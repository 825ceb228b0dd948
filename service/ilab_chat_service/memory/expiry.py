"""Background erasure of observations that have expired, or are older than the operator's retention."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

from ilab_chat_service.failures import MemoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ilab_chat_service.memory.executor import MemoryExecutor

log = logging.getLogger(__name__)

#: Interval of the search for observations to erase. They leave prompts and searches when they expire.
INTERVAL_SECONDS = 3600.0
#: Observations that one call of the library erases.
BATCH = 1000


async def expire_observations(memory: MemoryExecutor, retention_days: Mapping[str, float]) -> NoReturn:
    """Erase what has expired or is old, now and after every interval, until cancelled.

    Args:
        memory: the open memory.
        retention_days: days that observations are kept after their last change, by type; "" is all other types.
    """
    retention = {kind: timedelta(days=days) for kind, days in retention_days.items()}
    while True:
        await erase_expired(memory, retention)
        await asyncio.sleep(INTERVAL_SECONDS)


async def erase_expired(memory: MemoryExecutor, retention: Mapping[str, timedelta]) -> None:
    """Erase all that has expired or is old, and log how many observations that were."""
    erased = 0
    try:
        while batch := await memory.expire(retention, BATCH):
            erased += batch
            if batch < BATCH:
                break
    except MemoryUnavailable as error:
        # The cause is the library's own error, which quotes no user.
        log.warning("expired observations: erasure failed: %s", error.__cause__ or error)
    if erased:
        log.info("erased %d expired observations", erased)
