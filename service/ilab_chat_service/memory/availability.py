"""Watch over a memory in a file: health follows whether it can be written, and whether it is damaged."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from ilab_chat_service.failures import MemoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ilab_chat_service.memory.executor import MemoryExecutor
    from ilab_chat_service.store_damage import Damage

log = logging.getLogger(__name__)

#: Time between two probes of a working memory, in addition to RETRY_SECONDS. A failed call ends it early.
INTERVAL_SECONDS = 5.0
#: Minimum time between two probes, and the interval while the memory does not work.
RETRY_SECONDS = 1.0
#: Size of the write after a failure: that of a long turn. A disk may have space for less.
ROOM_BYTES = 256 * 1024
#: Prefixes of the codes of temporary failures: another process has locked the file.
PASSING = ("SQLITE_BUSY", "SQLITE_LOCKED")


async def watch_memory(memory: MemoryExecutor, failures: asyncio.Event, tell: Callable[[bool], None]) -> NoReturn:
    """Probe *memory* until cancelled, and *tell* when it stops or starts to work. Both are logged, with the cause.

    Args:
        memory: the open memory.
        failures: set by each failed call; cleared here.
        tell: called with whether the memory works, after each change.
    """
    failed = ""
    while True:
        room = ROOM_BYTES if failed or failures.is_set() else 0
        failures.clear()
        cause = await cause_of_failure(memory, room)
        if cause is None:
            # The state is unknown, so report no change.
            pass
        elif cause:
            if cause != failed:
                log.error("the memory cannot be used: %s; health is NOT_SERVING until it can", cause)
                tell(False)
            failed = cause
        elif failed:
            log.warning("the memory can be used again; health is SERVING")
            tell(True)
            failed = ""
        await asyncio.sleep(RETRY_SECONDS)
        if not failed:
            with suppress(TimeoutError):
                await asyncio.wait_for(failures.wait(), INTERVAL_SECONDS)


async def cause_of_failure(memory: MemoryExecutor, room: int) -> str | None:
    """Return why *memory* cannot be written. Empty: it can. None: another process has locked it."""
    try:
        await memory.probe(room)
    except MemoryUnavailable as error:
        code = str(error.cause.get("memory.error_code", ""))
        # The cause is the library's own error, which quotes no user.
        return None if code.startswith(PASSING) else str(error.__cause__ or error)
    return ""


async def check_integrity(memory: MemoryExecutor, damage: Damage) -> None:
    """Check *memory* and record damage in *damage*. A check that fails is logged."""
    try:
        found = await memory.check()
    except MemoryUnavailable as error:
        log.warning("integrity check of the memory failed: %s", error.__cause__ or error)
    else:
        if found:
            damage.note(found[0])
