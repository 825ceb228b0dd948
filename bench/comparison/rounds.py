"""Rounds of turns in which servers take turns, for CPU that can be compared on a machine that is not idle."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comparison import callers

if TYPE_CHECKING:
    from comparison.contestants import Contestant
    from comparison.upstream import Scenario


@dataclass(frozen=True, slots=True)
class Load:
    """Turns that one round sends to one server."""

    scenario: Scenario
    callers: int
    each: int
    """Number of sequential turns of each caller."""
    streams: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one turn of a round."""

    cpu_ms: float
    loop_ms: float
    """CPU of the event loop's thread."""
    switches: float
    """Voluntary context switches."""


async def round_of(contestant: Contestant, load: Load, run: str) -> Cost:
    """Send *load* for new users, whose names begin with *run*, and return the cost of a turn."""
    pid = contestant.child.process.pid
    users = [f"{run}-{number}" for number in range(load.callers)]
    async with callers.caller_of(contestant, load.scenario, streams=load.streams) as call:
        await callers.closed_loop(call, users, each=1)  # connects, opens the sessions
        used, on_loop, switched = cpu_seconds(pid), loop_seconds(pid), switches(pid)
        turns = len(await callers.closed_loop(call, users, each=load.each))
        return Cost(
            cpu_ms=(cpu_seconds(pid) - used) * 1000 / turns,
            loop_ms=(loop_seconds(pid) - on_loop) * 1000 / turns,
            switches=(switches(pid) - switched) / turns,
        )


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, in nanosecond steps.

    https://man7.org/linux/man-pages/man3/clock_getcpuclockid.3.html
    """
    return time.clock_gettime((~pid << 3) | 2)


def loop_seconds(pid: int) -> float:
    """Return the CPU time of the main thread of a process, which runs the event loop.

    https://docs.kernel.org/scheduler/sched-stats.html#proc-pid-schedstat
    """
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def switches(pid: int) -> int:
    """Return the voluntary context switches of the running threads of a process."""
    lines = [line for path in Path(f"/proc/{pid}/task").glob("*/status") for line in path.read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
