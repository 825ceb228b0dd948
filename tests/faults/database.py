"""Faults of PostgreSQL: sessions ended and cancelled, read-only, locks, no connections left, a standby that stops."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeAlias

import psycopg

from faults.kept import InDatabase
from faults.load import Ledger
from faults.scenarios import WARM, talking
from faults.stage import Stage
from postgres import Pair

#: Does harm for as long as the block runs.
Harm: TypeAlias = Callable[[str, Ledger, int], Awaitable[None]]

#: Sessions of the servers, and not those of the harness.
SERVERS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'ilab-memory'"
#: Calls that are answered after each harm.
AFTER = 10
#: The deadline of calls whose commits hang, less than the server waits for the memory.
HANGING_SECONDS = 3.0
REFUSED = "MEMORY_UNAVAILABLE"


async def storm(url: str, ledger: Ledger, times: int, function: str) -> None:
    """End or cancel all sessions of the servers at once, again after each few answers."""
    for _ in range(times):
        await asyncio.to_thread(execute, url, f"SELECT {function}(pid) {SERVERS}")
        await ledger.more(3)


async def terminated(url: str, ledger: Ledger, times: int) -> None:
    """Terminate all sessions, this many times."""
    await storm(url, ledger, times, "pg_terminate_backend")


async def cancelled(url: str, ledger: Ledger, times: int) -> None:
    """Cancel the statements of all sessions, this many times."""
    await storm(url, ledger, 5 * times, "pg_cancel_backend")


async def read_only(url: str, ledger: Ledger, times: int) -> None:
    """Refuse every write until this many calls have failed."""
    await asyncio.to_thread(alter_system, url, "SET default_transaction_read_only = on")
    try:
        await ledger.more(times, REFUSED)
    finally:
        await asyncio.to_thread(alter_system, url, "RESET default_transaction_read_only")


async def table_locked(url: str, ledger: Ledger, times: int) -> None:
    """Lock out all writers and readers of the observations until this many calls have failed."""
    async with locked(url, "LOCK TABLE ilab_memory.observations IN ACCESS EXCLUSIVE MODE"):
        await ledger.more(times, REFUSED)


async def row_locked(url: str, ledger: Ledger, times: int) -> None:
    """Lock one user's row while ten times this many calls of others are answered."""
    async with locked(url, "SELECT FROM ilab_memory.users WHERE user_id = 'user-0' FOR UPDATE"):
        await ledger.more(10 * times)


async def connections_used_up(url: str, ledger: Ledger, times: int) -> None:
    """Take all connections that the server has, and those of the servers, until this many calls have failed."""
    with ExitStack() as taken:
        await asyncio.to_thread(take_all_connections, url, taken)
        await ledger.more(times, REFUSED)


def take_all_connections(url: str, taken: ExitStack) -> None:
    own = taken.enter_context(psycopg.connect(url, autocommit=True))
    while True:
        try:
            taken.enter_context(psycopg.connect(url))
        except psycopg.OperationalError:
            if not own.execute(f"SELECT pg_terminate_backend(pid) {SERVERS}".encode()).rowcount:
                break


HARMS: dict[str, Harm] = {
    "sessions terminated": terminated,
    "statements cancelled": cancelled,
    "read-only": read_only,
    "a table locked": table_locked,
    "a row locked": row_locked,
    "connections used up": connections_used_up,
}


async def harmed(stage: Stage, harms: dict[str, Harm], times: int) -> Ledger:
    """Let each of *harms* happen to the database of *stage*, and see that calls succeed after it."""
    assert isinstance(stage.kept, InDatabase)
    async with stage.serving(), talking(stage) as ledger:
        await ledger.more(AFTER)
        for harm in harms.values():
            await harm(stage.kept.url, ledger, times)
            await ledger.more(AFTER)
    return ledger


async def standby_stopped(stage: Stage, pair: Pair, times: int) -> Ledger:
    """Stop the synchronous standby, so that commits hang, until this many calls have failed; then let it go on."""
    async with stage.serving(), talking(stage, deadline=HANGING_SECONDS) as ledger:
        await ledger.more(WARM)
        with stopped(pair.standby.pid):
            await ledger.more(times, "DEADLINE_EXCEEDED")
        await ledger.more(WARM)
    return ledger


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a server of PostgreSQL and its children."""
    processes = [pid, *children(pid)]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@asynccontextmanager
async def locked(url: str, statement: str) -> AsyncIterator[None]:
    """Take a lock; not on the event loop, which forwards what the holders of the lock still need."""
    with await asyncio.to_thread(lambda: psycopg.connect(url, options="-c lock_timeout=30s")) as connection:
        await asyncio.to_thread(lambda: connection.execute(statement.encode()))
        yield
        connection.rollback()


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def alter_system(url: str, change: str) -> None:
    execute(url, f"ALTER SYSTEM {change}")
    execute(url, "SELECT pg_reload_conf()")
