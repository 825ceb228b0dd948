"""A connection to PostgreSQL that lasts as long as the server, replaced when lost. Needs the extra `postgres`."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

import psycopg

from ilab_chat_service.failures import RETRY_AFTER_SECONDS, MemoryUnavailable
from ilab_chat_service.storage_cause import storage_cause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from psycopg import Connection

T = TypeVar("T")

UNDONE = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)


@asynccontextmanager
async def open_lock_session(conninfo: str) -> AsyncIterator[LockSession]:
    """Yield a connection that connects on first use. Leaving the block closes it after all queued calls."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="idempotency")
    connection = LockSession(conninfo, thread)
    try:
        yield connection
    finally:
        await asyncio.get_running_loop().run_in_executor(thread, connection.close)
        await asyncio.to_thread(thread.shutdown)


class LockSession:
    """A connection in autocommit mode. Only the one thread of *thread* uses it, for one call after another."""

    def __init__(self, conninfo: str, thread: ThreadPoolExecutor) -> None:
        self._conninfo = conninfo
        self._thread = thread
        self._connection: Connection | None = None
        self._failed_at = 0.0

    async def run(self, call: Callable[[Connection], T]) -> T:
        """Return the result of *call*.

        If the connection is lost, run it again on a new one. Also run it again after a serialization failure or a
        deadlock.

        Raises:
            MemoryUnavailable: the database cannot be reached or reported an error.
        """
        asked_at = time.monotonic()

        def visit() -> T:
            found = self._connection
            try:
                return self._used(call, asked_at)
            except psycopg.Error as error:
                lost = found is not None and self._connection is not found
                if not (lost or isinstance(error, UNDONE)):
                    raise
                return self._used(call, asked_at)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, visit)
        except psycopg.Error as error:
            # Not chained: the server's texts quote rows.
            raise MemoryUnavailable(
                "the idempotency store is not available",
                retry_after_seconds=RETRY_AFTER_SECONDS,
                cause=storage_cause(error),
            ) from None

    def later(self, call: Callable[[Connection | None], object]) -> None:
        """Queue *call*, which gets the connection if there is one. Ignore errors of the database."""

        def visit() -> None:
            with suppress(psycopg.Error):
                call(self._connection)

        self._thread.submit(visit)

    def close(self) -> None:
        """Close the connection, on its own thread."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def _used(self, call: Callable[[Connection], T], asked_at: float) -> T:
        connection = self._connected(asked_at)
        try:
            return call(connection)
        except psycopg.Error as error:
            # A primary that became a standby does not close idle connections.
            if connection.closed or isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
                self.close()
            raise

    def _connected(self, asked_at: float) -> Connection:
        """Return the connection; connect first if necessary.

        Callers queued behind a failed connection attempt share its error: otherwise each of them would wait in turn for
        a host that does not answer.
        """
        if self._connection is None:
            if asked_at < self._failed_at:
                raise psycopg.OperationalError
            try:
                self._connection = psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=0)
            except psycopg.Error:
                self._failed_at = time.monotonic()
                raise
        return self._connection
