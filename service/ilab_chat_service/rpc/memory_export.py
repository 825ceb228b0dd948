"""ExportUser: exports whose callers read slowly yield their slots to others that wait for one."""

from __future__ import annotations

import asyncio
import math
from contextlib import AsyncExitStack
from operator import methodcaller
from typing import TYPE_CHECKING

from ilab_chat_service.rpc.admission import busy
from ilab_chat_service.rpc.errors import DeadlineExceeded
from ilab_chat_service.rpc.streams import CROWDED_SECONDS, INTERVAL_SECONDS, UNREAD_SECONDS
from ilab_chat_service.tasks import in_background

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ilab_chat_service.rpc.admission import Admission, Slot

#: While others wait for a slot, an export ends whose caller has not read for CROWDED_SECONDS, or for this many seconds
#: in all its waits together: a caller could read a message now and then.
CROWDED_TOTAL_SECONDS = 60.0


class Export:
    """An export while it runs, in *slot*."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._loop = asyncio.get_running_loop()
        self._waited = 0.0
        self._since = math.inf
        self._timeout: asyncio.Timeout | None = None
        self._is_ended = False

    async def write(self, writing: Awaitable[None]) -> None:
        """Wait for *writing*, a write to the caller.

        Raises:
            DeadlineExceeded: the caller did not read in time.
            ServerBusy: the export was ended for another one.
        """
        self._since = self._loop.time()
        try:
            async with asyncio.timeout(UNREAD_SECONDS) as self._timeout:
                await writing
        except BaseException as error:
            # gRPC keeps the response, and the call, until its caller reads, cancels or disconnects.
            self._slot.keep_counting()
            if not isinstance(error, TimeoutError):
                raise
            if self._is_ended:
                raise busy("idle", "the caller read slowly, and another export waited for the slot") from None
            raise DeadlineExceeded(f"the caller did not read for {UNREAD_SECONDS:g} s") from None
        finally:
            self._waited += self._loop.time() - self._since
            self._since, self._timeout = math.inf, None

    def waited(self) -> float:
        """Return for how many seconds it has waited for its caller in all, or 0 if it may stay."""
        now = max(self._loop.time() - self._since, 0.0)
        total = self._waited + now
        return total if now >= CROWDED_SECONDS or total >= CROWDED_TOTAL_SECONDS else 0.0

    def end(self) -> None:
        """End it, if it waits for its caller now."""
        if self._timeout is not None:
            self._is_ended = True
            self._timeout.reschedule(self._loop.time())


class OpenExports:
    """The exports of all callers, in the slots of *admission*."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._running: set[Export] = set()

    async def run(self, user_id: str, work: Callable[[Export], Awaitable[None]]) -> None:
        """Run *work* in a slot.

        Raises:
            ServerBusy: there is no slot, or the export was ended for another one.
        """
        async with AsyncExitStack() as stack:
            async with in_background(self._make_room()):
                export = Export(await stack.enter_async_context(self._admission.slot(user_id)))
            self._running.add(export)
            stack.callback(self._running.discard, export)
            await work(export)

    async def _make_room(self) -> None:
        """Until cancelled, end the export that has waited longest for its caller, as soon as it has waited too long."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            if self._running and self._admission.running == self._admission.limit:
                slowest = max(self._running, key=methodcaller("waited"))
                if slowest.waited():
                    slowest.end()
