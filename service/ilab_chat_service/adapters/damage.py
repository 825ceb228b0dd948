"""A damaged memory: found by checks at the start and by calls that fail, told to health and the log."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from ilab_chat_service.ports import MemoryUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ilab_chat_service.ports import Cause

log = logging.getLogger(__name__)

#: Beginnings of SQLite's codes for a damaged file.
CODES = ("SQLITE_CORRUPT", "SQLITE_NOTADB")

#: Files up to this size are checked before the server serves; it takes some tenths of a second. Larger ones are checked
#: while it serves.
CHECKED_AT_START_BYTES = 64 * 1024 * 1024

HINT = "`ilab-memory check` says what is damaged; restore a backup and start the server again"


class Damage:
    """Whether the memory is damaged. It stays so until the end of the process."""

    def __init__(self) -> None:
        self.found = False
        self._tell: Callable[[], None] | None = None

    def on_found(self, tell: Callable[[], None]) -> None:
        """Call *tell* when the memory is found damaged, at once if it was before."""
        self._tell = tell
        if self.found:
            tell()

    def failed(self, cause: Cause) -> None:
        """Note the cause of a failed call."""
        code = str(cause.get("memory.error_code", ""))
        if code.startswith(CODES):
            self.note(code)

    def note(self, what: str) -> None:
        """Note that the memory is damaged; the first time, log *what* was found."""
        if self.found:
            return
        self.found = True
        log.error("the memory is damaged: %s; %s", what, HINT)
        if self._tell:
            self._tell()


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
