"""A limit of connections below that of open files, so that files and the model's API can be opened at any time."""

from __future__ import annotations

import asyncio
import logging
import resource
from typing import TYPE_CHECKING, NoReturn

from ilab_chat_service.rpc.transport import descriptor_numbers

if TYPE_CHECKING:
    from ilab_chat_service.settings import Settings

log = logging.getLogger(__name__)

#: Descriptors for files, the database, health, metrics and the process itself.
OTHERS = 256
#: Time between two counts of the descriptors.
INTERVAL_SECONDS = 1.0
#: Share of the limit below which connections are accepted again, for the log: one line each way, not one a second.
ACCEPTED_AGAIN = 0.9


def most_connections(settings: Settings) -> int:
    """Return how many connections are accepted: what the limit of open files leaves after the calls' own descriptors.

    At least half of the limit.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Each call may have a connection to the model's API.
    reserved = settings.max_calls + OTHERS
    return min(max(limit - reserved, limit // 2), 2**31 - 1)


async def watch_connections(most: int) -> NoReturn:
    """Log when connections are refused, and when they are accepted again, until cancelled."""
    refuses = False
    while True:
        count = len(await asyncio.to_thread(descriptor_numbers))
        if count >= most and not refuses:
            refuses = True
            log.warning(
                "%d descriptors are open: connections beyond %d are refused; raise the limit of open files", count, most
            )
        elif refuses and count < most * ACCEPTED_AGAIN:
            refuses = False
            log.warning("%d descriptors are open: connections are accepted again", count)
        await asyncio.sleep(INTERVAL_SECONDS)
