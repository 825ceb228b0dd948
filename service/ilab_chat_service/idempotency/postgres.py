"""Records of the idempotency store in PostgreSQL, for any number of processes. Needs the extra `postgres`.

A record is committed without waiting for a disk or a standby: a crash of the database or a failover may lose the
records of the last moments (three times `wal_writer_delay`). A repeat then asks the model again and overwrites the same
turn, because the turn's key contains the request_id.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

import psycopg

from ilab_chat_service.failures import MemoryUnavailable, StoreNotOpened
from ilab_chat_service.idempotency.schema import migrate
from ilab_chat_service.idempotency.store import RETENTION, SingleFlight, lock_key, unavailable
from ilab_chat_service.settings import database_url
from ilab_chat_service.tasks import in_background
from ilab_chat_service.values import StoredResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from psycopg import Connection

    from ilab_chat_service.ports import Clock
    from ilab_chat_service.values import RequestKey

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Parameters of the lock session.
SESSION = {
    # A read after taking a lock must see the commit of the previous holder.
    "default_transaction_isolation": "read committed",
    "synchronous_commit": "off",  # see above
    "lock_timeout": "5s",
    "TimeZone": "UTC",
    # Otherwise an idle server would lose its locks.
    "idle_session_timeout": "0",
    # The locks of a host that vanishes are released after 5 + 3 x 2 seconds.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
}

#: Errors after which a call runs again.
UNDONE = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)

#: Mean time between two sweeps of one process, and the number of expired responses that one statement deletes.
SWEEP_SECONDS = 60.0
SWEPT_AT_ONCE = 100

TRY_LOCK = "SELECT pg_try_advisory_lock(%s)"
UNLOCK = "SELECT pg_advisory_unlock(%s)"
FIND = """
    SELECT fingerprint, answer FROM ilab_chat.idempotency_records
    WHERE user_id = %s AND method = %s AND request_id = %s AND created_at > %s
"""
PUT = """
    INSERT INTO ilab_chat.idempotency_records
        (user_id, method, request_id, created_at, fingerprint, answer, observation_ids)
    VALUES (%s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (user_id, method, request_id) DO UPDATE
    SET created_at = excluded.created_at, fingerprint = excluded.fingerprint, answer = excluded.answer,
        observation_ids = excluded.observation_ids
"""
# The only statement that names no user. The order is the same in all processes, so that two sweeps cannot deadlock.
EXPIRED = """
    SELECT user_id, method, request_id, created_at FROM ilab_chat.idempotency_records WHERE created_at <= %s
    ORDER BY created_at, user_id, method, request_id LIMIT %s
"""
ERASE = """
    DELETE FROM ilab_chat.idempotency_records
    WHERE user_id = %s AND method = %s AND request_id = %s AND created_at = %s
"""
FORGET = "DELETE FROM ilab_chat.idempotency_records WHERE user_id = %s"
FORGET_OBSERVATION = f"{FORGET} AND %s = ANY (observation_ids)"
DROP = f"{FORGET_OBSERVATION} AND method = %s"


@asynccontextmanager
async def open_postgres_store(url: str, clock: Clock) -> AsyncIterator[SingleFlight]:
    """Open the idempotency store in the database *url*; leaving closes it.

    Raises:
        StoreNotOpened: it cannot be opened, or is of a newer version of this service.
    """
    conninfo = database_url.conninfo(url, **SESSION)
    await asyncio.to_thread(prepare, conninfo)
    async with open_lock_session(conninfo) as connection:
        records = PostgresRecords(connection)
        async with in_background(sweep_for_ever(records, clock)):
            yield SingleFlight(records, clock)


def prepare(conninfo: str) -> None:
    """Bring the tables up to date."""
    try:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            migrate(connection)
    except psycopg.Error as error:
        # The text contains no user data, and the operator needs it.
        reason = "; ".join(str(error).splitlines())
        raise StoreNotOpened(f"ILAB_MEMORY_URL: could not open the idempotency store: {reason}") from error


async def sweep_for_ever(records: PostgresRecords, clock: Clock) -> None:
    """Delete expired responses regularly, at random times so that processes do not collide."""
    while True:
        await asyncio.sleep(random.uniform(0.5, 1.5) * SWEEP_SECONDS)  # noqa: S311 - no secret
        try:
            await records.sweep(clock())
        except MemoryUnavailable:
            log.warning("expired responses were not deleted")


class PostgresRecords:
    """Records over one connection. Its session owns the locks: the database releases them when the connection ends.

    If the connection is lost while calls run, other processes may answer the same requests. The records of the calls
    are written over the next connection.
    """

    def __init__(self, connection: LockSession) -> None:
        self._connection = connection
        self._locked_on: dict[int, Connection] = {}
        """The connection on which each lock was requested. Only the connection's thread uses it."""

    async def enter(self, key: RequestKey, since: datetime, *, is_new: bool) -> tuple[bool, StoredResponse | None]:
        """See `store.Records.enter`. One round trip."""
        number = lock_key(key)
        asked = key.user_id, key.method, key.request_id, since

        def enter(connection: Connection) -> tuple[bool, StoredResponse | None]:
            # Recorded first: if the request fails, the lock may have been taken.
            self._locked_on[number] = connection
            with connection.pipeline():
                locking = connection.execute(TRY_LOCK, [number])
                finding = None if is_new else connection.execute(FIND, asked)
            [taken] = locking.fetchone() or [False]
            if not taken:
                del self._locked_on[number]
            row = finding and finding.fetchone()
            return taken, StoredResponse(*row) if row else None

        return await self._connection.run(enter)

    def leave(self, key: RequestKey) -> None:
        """See `store.Records.leave`."""
        number = lock_key(key)

        def leave(connection: Connection | None) -> None:
            if self._locked_on.pop(number, None) is connection and connection:
                connection.execute(UNLOCK, [number])

        self._connection.later(leave)

    async def put(self, key: RequestKey, stored: StoredResponse, now: datetime) -> None:
        """See `store.Records.put`."""
        row = [
            *(key.user_id, key.method, key.request_id, now),
            *(stored.fingerprint, stored.text, list(stored.observation_ids)),
        ]
        await self._connection.run(lambda connection: connection.execute(PUT, row))

    async def forget(self, user_id: str) -> int:
        """See `store.Records.forget`. The rows stay in the files until a vacuum, like those of the memory."""
        return await self._connection.run(lambda connection: connection.execute(FORGET, [user_id]).rowcount)

    async def forget_observation(self, user_id: str, observation_id: int) -> int:
        """See `store.Records.forget_observation`. The rows stay in the files until a vacuum."""
        values = [user_id, observation_id]
        return await self._connection.run(lambda connection: connection.execute(FORGET_OBSERVATION, values).rowcount)

    async def drop(self, user_id: str, method: str, observation_id: int) -> None:
        """See `store.Records.drop`."""
        values = [user_id, observation_id, method]
        await self._connection.run(lambda connection: connection.execute(DROP, values))

    async def sweep(self, now: datetime) -> None:
        """Delete expired responses in small batches, so that calls between them do not wait.

        Raises:
            MemoryUnavailable: some expired responses are left.
        """

        def sweep(connection: Connection) -> int:
            expired = connection.execute(EXPIRED, [now - RETENTION, SWEPT_AT_ONCE]).fetchall()
            connection.cursor().executemany(ERASE, expired)
            return len(expired)

        while await self._connection.run(sweep) == SWEPT_AT_ONCE:
            pass


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
    """A connection in autocommit mode that lasts as long as the server, and is replaced when it is lost.

    Only the one thread of *thread* uses it, for one call after another.
    """

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
            raise unavailable(error) from None

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
