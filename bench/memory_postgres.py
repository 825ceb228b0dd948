"""Measure ilab_memory on PostgreSQL: one user's calls in a database of 1,000 rows, and in one of many more.

    PYTHONPATH=tests python bench/memory_postgres.py                    100,000 rows, a few minutes
    PYTHONPATH=tests python bench/memory_postgres.py --rows 1000000     some 10 minutes and 5 GB of disk

Both databases are in one server of its own, from the Debian package. The calls take turns between them, so that a slow
moment of the machine hits both. Milliseconds: the medians of what a caller waits, and the CPU time of a call, that of
the server's processes and that of the caller's.
"""

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import psycopg

from ilab_memory import Config, ILabMemory
from ilab_memory.core.models import Observation, Session, UserRows
from ilab_memory.redaction import normalized_hash
from ilab_memory.stores.postgres import PostgresStore
from ilab_memory.timestamps import to_text
from memory import OWN_ROWS, QUESTIONS, message
from postgres import Cluster, running_cluster

SMALL: Final = 1_000
SETTINGS: Final = ("fsync=off", "full_page_writes=off", "shared_buffers=256MB", "max_wal_size=8GB")
BEGUN: Final = datetime(2026, 1, 1, tzinfo=UTC)
TICKS: Final = os.sysconf("SC_CLK_TCK")

#: Turns of each database, and calls in a turn.
TURNS, CALLS = 30, 10


def rows_of(user_id: str, count: int, texts: list[str], first_id: int) -> UserRows:
    """Return a user with one session of *count* messages, one hour apart."""
    moments = [to_text(BEGUN + timedelta(hours=number)) for number in range(count)]
    session = Session(id=f"{user_id}'s", user_id=user_id, started_at=moments[0], last_activity_at=moments[-1])

    def observations() -> Iterator[tuple[int, Observation]]:
        for number, moment in enumerate(moments, 1):
            content = f"{texts[(first_id + number) * 7919 % len(texts)]} {number}"
            yield (
                number,
                Observation(
                    id=first_id + number,
                    session_id=session.id,
                    user_id=user_id,
                    type="discovery",
                    title=content[:60],
                    content=content,
                    normalized_hash=normalized_hash(content),
                    created_at=moment,
                    updated_at=moment,
                ),
            )

    return UserRows(user_id, count, first_id + count, [session], observations())


def fill(url: str, rows: int, texts: list[str]) -> None:
    """Create a database of *rows* rows, OWN_ROWS of them of the measured user."""
    begun = time.monotonic()
    with PostgresStore(url) as store:
        store.write_rows(rows_of("own", OWN_ROWS, texts, 0))
        for first in range(OWN_ROWS, rows, OWN_ROWS):
            store.write_rows(rows_of(f"user {first}", min(OWN_ROWS, rows - first), texts, first))
            if first % (100 * OWN_ROWS) == 0:
                print(f"{first:,} of {rows:,} rows, {time.monotonic() - begun:.0f} s", flush=True)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def server_seconds(cluster: Cluster) -> float:
    """Return the CPU time of the server's processes that run."""
    postmaster = (cluster.data / "postmaster.pid").read_text().splitlines()[0]
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[1] == postmaster:
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


class Measured:
    """Cost of one kind of call in one database."""

    def __init__(self, cluster: Cluster, call: Callable[[], object]) -> None:
        self._cluster = cluster
        self._call = call
        self.waited: list[float] = []
        self.server = self.caller = 0.0

    def turn(self) -> None:
        """Make some calls."""
        server, caller = server_seconds(self._cluster), time.process_time()
        for _ in range(CALLS):
            begun = time.perf_counter()
            self._call()
            self.waited.append((time.perf_counter() - begun) * 1000)
        self.caller += (time.process_time() - caller) * 1000
        self.server += (server_seconds(self._cluster) - server) * 1000

    def figures(self) -> tuple[float, float, float]:
        """Return the median of the waits, then the server's and the caller's CPU time of a call."""
        calls = len(self.waited)
        return statistics.median(self.waited), self.server / calls, self.caller / calls


def main() -> None:
    """Fill both databases, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the large database (default: 100,000)")
    rows = parser.parse_args().rows
    dice = random.Random(0)
    texts = [message(dice) for _ in range(2_000)]
    config = Config(durability="normal")
    with running_cluster(settings=SETTINGS) as cluster:
        urls = cluster.create_database(), cluster.create_database()
        for url, size in zip(urls, (SMALL, rows), strict=True):
            fill(url, size, texts)
        memories = [ILabMemory.from_url(url, config) for url in urls]
        calls: dict[str, Callable[[ILabMemory], object]] = {
            "mem_session_start": lambda mem: mem.mem_session_start("own"),
            "mem_search": lambda mem: mem.mem_search("own", dice.choice(QUESTIONS)),
        }
        print(f"{'':>20}{'rows':>12}{'waited':>10}{'server':>10}{'caller':>10}")
        for name, call in calls.items():
            small, large = [Measured(cluster, lambda mem=mem, call=call: call(mem)) for mem in memories]  # type: ignore[misc]
            for _ in range(TURNS):
                small.turn()
                large.turn()
            for size, measured in ((SMALL, small), (rows, large)):
                print(f"{name:>20}{size:>12,}" + "".join(f"{figure:>10.2f}" for figure in measured.figures()))
            ratios = [b / a if a else float("nan") for a, b in zip(small.figures(), large.figures(), strict=True)]
            print(f"{'':>20}{'ratio':>12}" + "".join(f"{ratio:>9.2f}x" for ratio in ratios), flush=True)
        for mem in memories:
            mem.close()


if __name__ == "__main__":
    main()
