"""The time zones of the IANA database."""

from __future__ import annotations

import asyncio
import zoneinfo
from datetime import UTC
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import tzinfo


def names() -> frozenset[str]:
    """Return the names of all time zones.

    The package tzdata has them in one file. Without it, zoneinfo searches the system's files, which takes much longer.
    """
    try:
        return frozenset(resources.files("tzdata").joinpath("zones").read_text().split())
    except ModuleNotFoundError:
        return frozenset(zoneinfo.available_timezones())


#: Names that callers may use. Read when the server starts: a call must not wait for a disk.
NAMES = names()

_loaded: dict[str, tzinfo] = {"": UTC}


async def time_zone(name: str) -> tzinfo:
    """Return the time zone of this name, which is one of NAMES. Empty: UTC."""
    if name not in _loaded:
        _loaded[name] = await asyncio.to_thread(zoneinfo.ZoneInfo, name)
    return _loaded[name]
