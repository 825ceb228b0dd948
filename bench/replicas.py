"""Compare one and two servers on PostgreSQL, and one on SQLite: turns/s, and CPU time of service and database per turn.

    PYTHONPATH=tests python bench/replicas.py           about two minutes on an idle machine
    PYTHONPATH=tests python bench/replicas.py --quick   one run, as a smoke test

Each run measures every group, and the figures are medians. The database syncs its commits, and shares the machine with
servers and callers: on two cores, turns/s show how the work is divided, not how it scales. Needs Linux and h2load
(Debian: nghttp2-client).
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comparison import h2load
from comparison.contestants import Contestant, started
from comparison.measure import Upstream, serving
from comparison.processes import cpu_seconds, free_port, running
from comparison.upstream import Scenario
from ilab_memory import ILabMemory
from postgres import Cluster, running_cluster

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RUNS = 5
CALLERS = 64
#: Number of turns per caller.
EACH = 6

SCENARIO = Scenario()


class TurnsMissing(Exception):
    """An answered turn is not stored."""


@dataclass(frozen=True, slots=True)
class Group:
    """Servers that share one memory."""

    name: str
    servers: Sequence[Contestant]
    database: Cluster | None = None

    def service_seconds(self) -> float:
        """Return the CPU time of the servers."""
        return sum(server.child.cpu_seconds() for server in self.servers)

    def database_seconds(self) -> float:
        """Return the CPU time of the database. For SQLite it is part of the servers' time."""
        return cpu_seconds(self.database.pid) if self.database else 0.0

    def stored(self, users: Sequence[str]) -> int:
        """Return the number of stored turns of *users*."""
        if self.database is None:
            return self.servers[0].stored(users)
        with ILabMemory.from_url(self.database.url()) as memory:
            return sum(memory.mem_stats(user)["observations"] for user in users)


async def measure(group: Group, folder: Path, run: int, each: int) -> dict[str, float]:
    """Let CALLERS take *each* turns, divided among the servers; return the figures.

    Raises:
        TurnsMissing: an answered turn is not stored.
    """
    before = group.service_seconds(), group.database_seconds()
    loads = await asyncio.gather(
        *(
            h2load.turns(
                server, SCENARIO, folder, callers=CALLERS // len(group.servers), each=each, run=f"{run}-{number}"
            )
            for number, server in enumerate(group.servers)
        )
    )
    service, database = group.service_seconds() - before[0], group.database_seconds() - before[1]
    turns = sum(load.calls for load in loads)
    if group.stored([user for load in loads for user in load.users]) != turns:
        raise TurnsMissing(group.name)
    return {
        "turns/s": turns / max(load.seconds for load in loads),
        "CPU ms per turn, service": service / turns * 1000,
        "CPU ms per turn, database": database / turns * 1000,
    }


def start(stack: ExitStack, folder: Path, upstream_port: int) -> list[Group]:
    """Start the groups, each with its own database. *stack* stops them."""

    def servers(count: int, settings: Mapping[str, str]) -> list[Contestant]:
        return [stack.enter_context(started("ours", upstream_port, folder, settings)) for _ in range(count)]

    groups = [Group("SQLite, 1 server", servers(1, {}))]
    for count in (1, 2):
        cluster = stack.enter_context(running_cluster(settings=()))
        settings = {"ILAB_MEMORY_DB_PATH": "", "ILAB_MEMORY_URL": cluster.url()}
        name = f"PostgreSQL, {count} server{'s' if count > 1 else ''}"
        groups.append(Group(name, servers(count, settings), cluster))
    for group in groups:
        for server in group.servers:
            serving(server)
    return groups


async def compare(groups: Sequence[Group], folder: Path, *, runs: int, each: int) -> dict[str, dict[str, float]]:
    """Return the medians of the runs by group and figure."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for group in groups:
        await measure(group, folder, -1, 1)  # opens connections
    for run in range(runs):
        for group in groups:
            for figure, value in (await measure(group, folder, run, each)).items():
                values[group.name, figure].append(value)
    table: dict[str, dict[str, float]] = {group.name: {} for group in groups}
    for (name, figure), measured in values.items():
        table[name][figure] = statistics.median(measured)
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short run, as a smoke test")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, port = Path(name), free_port()
        model = running(["-m", "comparison.upstream", str(port)], {}, folder, name="upstream", port=port)
        Upstream(stack.enter_context(model)).answers(SCENARIO)
        groups = start(stack, folder, port)
        table = asyncio.run(compare(groups, folder, runs=1 if quick else RUNS, each=1 if quick else EACH))
    figures = list(next(iter(table.values())))
    print("| | " + " | ".join(figures) + " |")
    print("|---" * (len(figures) + 1) + "|")
    for name, row in table.items():
        print(f"| {name} | " + " | ".join(f"{row[figure]:.1f}" for figure in figures) + " |")


if __name__ == "__main__":
    main()
