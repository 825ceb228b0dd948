"""Three servers on a synchronous pair of PostgreSQL: servers are killed, the primary too, and the standby promoted."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import suppress

from faults.load import Ledger
from faults.scenarios import WARM, talking
from faults.stage import Servers, Stage
from postgres import Pair

#: Time between two kills of servers.
KILL_SECONDS = 0.5

#: Kills of servers before the primary's end and after the promotion, in the short run.
KILLS = 3


async def failed_over(stage: Stage, pair: Pair, kills: int = KILLS) -> Ledger:
    """Kill a server every KILL_SECONDS, before the primary is killed and again after the standby is promoted."""
    async with stage.serving() as servers, talking(stage) as ledger:
        await ledger.more(WARM)
        killer = Killer(stage, servers)
        async with asyncio.TaskGroup() as work:
            killing = work.create_task(killer.kill_for_ever(work))
            await killer.more(kills)
            await asyncio.to_thread(pair.primary.stop, signal.SIGKILL)
            await ledger.more(WARM, "MEMORY_UNAVAILABLE")
            await asyncio.to_thread(pair.standby.promote)
            promoted = time.monotonic()
            await ledger.more(1)
            ledger.figures["first answer after the promotion, s"] = time.monotonic() - promoted
            await killer.more(kills)
            killing.cancel()
        await ledger.more(WARM)
        ledger.figures["servers killed"] = killer.killed
    return ledger


class Killer:
    """Kills servers and starts them again, each as soon as the database lets it; the last that serves is spared."""

    def __init__(self, stage: Stage, servers: Servers) -> None:
        self.killed = 0
        self._stage = stage
        self._servers = servers
        self._serving = set(stage.addresses)
        self._has_killed = asyncio.Condition()

    async def more(self, count: int) -> None:
        """Wait until *count* more servers are killed."""
        goal = self.killed + count
        async with self._has_killed:
            await asyncio.wait_for(self._has_killed.wait_for(lambda: self.killed >= goal), 60)

    async def kill_for_ever(self, work: asyncio.TaskGroup) -> None:
        """Kill one every KILL_SECONDS, and let *work* start it again."""
        while True:
            await asyncio.sleep(KILL_SECONDS)
            if len(self._serving) == 1:
                continue
            address = self._stage.rng.choice(sorted(self._serving))
            self._serving.remove(address)
            self._servers.running[address].process.kill()
            self.killed += 1
            async with self._has_killed:
                self._has_killed.notify_all()
            work.create_task(self._start(address))

    async def _start(self, address: str) -> None:
        """Start the server at *address*, which ends at once while there is no primary."""
        while address not in self._serving:
            with suppress(AssertionError):
                await asyncio.to_thread(self._servers.start, address)
                self._serving.add(address)
