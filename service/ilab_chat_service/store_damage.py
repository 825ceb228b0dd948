"""Whether a store's file is damaged: noticed by failed calls and by checks, told to health and the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ilab_chat_service.failures import Cause

log = logging.getLogger(__name__)

#: Beginnings of SQLite's codes for a damaged file.
CODES = ("SQLITE_CORRUPT", "SQLITE_NOTADB")

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
