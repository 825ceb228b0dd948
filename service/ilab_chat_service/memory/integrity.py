"""Checks of the memory's file: at start if it is small, in the background if it is large."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from ilab_chat_service.failures import MemoryUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ilab_chat_service.store_damage import Damage

log = logging.getLogger(__name__)

#: Files up to this size are checked before the server serves; it takes some tenths of a second. Larger ones are checked
#: while it serves.
CHECKED_AT_START_BYTES = 64 * 1024 * 1024


class Checked(Protocol):
    """The part of the memory that this needs."""

    async def check(self) -> list[str]:
        """Return what is damaged. Raises MemoryUnavailable."""


@asynccontextmanager
async def checking(memory: Checked, damage: Damage) -> AsyncIterator[None]:
    """Check *memory* once while the block runs, and note damage. Leaving does not wait for the check."""
    task = asyncio.create_task(check_once(memory, damage))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def check_once(memory: Checked, damage: Damage) -> None:
    """Check *memory*; note damage, log a failure."""
    try:
        found = await memory.check()
    except MemoryUnavailable as error:
        log.warning("the memory could not be checked: %s", error.__cause__ or error)
    else:
        if found:
            damage.note(found[0])
