"""End streams whose callers do not read, so that they do not keep the slots that other calls need.

A stream waits while flow control has no room for its next message. It keeps its slot, and the model's API waits with
it. A caller that never reads would keep the slot until the call's deadline.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ilab_chat_service.rpc.admission import Admission
    from ilab_chat_service.rpc.deadlines import Limit
    from ilab_chat_service.rpc.event_writer import EventWriter

#: Seconds after which a stream ends whose caller does not read.
UNREAD_SECONDS = 30.0
#: The same while other calls wait for a slot, or if such streams have more than their share of the slots.
CROWDED_SECONDS = 1.0
#: Part of the slots that such streams leave to others.
SHARE_OF_OTHERS = 4
#: Time between two looks at the streams.
INTERVAL_SECONDS = 0.25


class OpenStreams:
    """The open streams of the calls that *admission* admits."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._streams: dict[EventWriter, Limit] = {}

    @contextmanager
    def entered(self, writer: EventWriter, limit: Limit) -> Iterator[None]:
        """Watch the stream of *writer* during the block. It is ended through *limit*."""
        self._streams[writer] = limit
        try:
            yield
        finally:
            self._streams.pop(writer, None)

    async def watch(self) -> NoReturn:
        """End streams that are not read, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            self._end_unread(asyncio.get_running_loop().time())

    def _end_unread(self, now: float) -> None:
        unread = [(now - writer.unread_since, writer) for writer in self._streams if writer.unread_since is not None]
        unread.sort(key=lambda each: each[0], reverse=True)
        number = number_to_end(
            [seconds for seconds, _ in unread], slots=self._admission.limit, waiting=self._admission.waiting
        )
        for seconds, writer in unread[:number]:
            self._streams.pop(writer).end(f"the caller did not read for {seconds:.0f} s")


def number_to_end(unread: Sequence[float], *, slots: int, waiting: int) -> int:
    """Return how many streams to end, of those unread longest.

    Args:
        unread: for how many seconds each has been unread, the longest first.
        slots: number of slots, each of a running call.
        waiting: number of calls that wait for a slot.
    """
    overdue = sum(seconds >= UNREAD_SECONDS for seconds in unread)
    idle = sum(seconds >= CROWDED_SECONDS for seconds in unread)
    beyond_share = idle - (slots - slots // SHARE_OF_OTHERS)
    return max(overdue, min(idle, max(beyond_share, waiting)))
