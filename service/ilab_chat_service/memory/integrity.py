"""Integrity check of the memory's file: at the start if it is small, in the background if it is large."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from ilab_chat_service.failures import MemoryUnavailable

if TYPE_CHECKING:
    from ilab_chat_service.store_damage import Damage

log = logging.getLogger(__name__)

#: Files up to this size are checked before the server serves, which takes some tenths of a second. Larger files are
#: checked while it serves.
CHECKED_AT_START_BYTES = 64 * 1024 * 1024


class Checked(Protocol):
    """The part of the memory that is needed here."""

    async def check(self) -> list[str]:
        """Return what is damaged. Raises MemoryUnavailable."""


async def check_integrity(memory: Checked, damage: Damage) -> None:
    """Check *memory* and record damage in *damage*. A check that fails is logged."""
    try:
        found = await memory.check()
    except MemoryUnavailable as error:
        log.warning("integrity check of the memory failed: %s", error.__cause__ or error)
    else:
        if found:
            damage.note(found[0])
