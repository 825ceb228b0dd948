"""Damage of a store's file: detected by failed calls and checks, reported to health and the log."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ilab_chat_service.failures import Cause

log = logging.getLogger(__name__)

#: Prefixes of SQLite's error codes for a damaged file.
CODES = ("SQLITE_CORRUPT", "SQLITE_NOTADB")

HINT = "run `ilab-memory check` for details, restore a backup and restart the server"


class Damage:
    """Whether the memory is damaged. Once found, it stays damaged until the process ends."""

    def __init__(self) -> None:
        self.found = False
        self.failures = asyncio.Event()
        """Set after a failed call of the store, and cleared by the watch."""
        self._tell: Callable[[], None] | None = None

    def on_found(self, tell: Callable[[], None]) -> None:
        """Call *tell* when damage is found, or now if it was found before."""
        self._tell = tell
        if self.found:
            tell()

    def failed(self, cause: Cause) -> None:
        """Record the cause of a failed call, which may be damage. On the event loop."""
        self.failures.set()
        code = str(cause.get("memory.error_code", ""))
        if code.startswith(CODES):
            self.note(code)

    def note(self, what: str) -> None:
        """Record that the memory is damaged. The first time, log *what* was found."""
        if self.found:
            return
        self.found = True
        log.error("the memory is damaged: %s; %s", what, HINT)
        if self._tell:
            self._tell()
