"""Statements and transactions of one database, retries after a lost connection, and translation of errors.

A statement costs a round trip, so statements that do not need each other's results are sent together (pipeline mode).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import Connection, errors

from ilab_memory.core.errors import StorageError
from ilab_memory.stores.postgres.pool import NotConnected, Pool
from ilab_memory.time_limit import seconds_left

T = TypeVar("T")
Row = tuple[Any, ...]
Query = tuple[str, Mapping[str, Any]]

#: Attempts of an operation that the database rolled back (deadlock, serialization failure) or that lost its connection.
ATTEMPTS = 3

# A writer that has taken the user's lock must see what the writer before it committed: each statement sees what is
# committed when it begins. Under REPEATABLE READ it would see the past, and fail.
_BEGIN: Query = ("BEGIN ISOLATION LEVEL READ COMMITTED", {})
_COMMIT: Query = ("COMMIT", {})
# The SQLSTATE of a warning; this library's statements cause no other.
_WARNING = "01000"
# Several statements of one search must speak of the same rows.
_BEGIN_SNAPSHOT: Query = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", {})
# Of one read: sent before it where less time is left than the session's own timeout.
_READ_TIMEOUT = "SELECT set_config('statement_timeout', %(milliseconds)s, true)"
_UNDONE = (errors.SerializationFailure, errors.DeadlockDetected)
# Errors of a server that shuts down, or is not the primary any more. An error without SQLSTATE is the driver's own.
_LOST = (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.ReadOnlySqlTransaction)


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Raise StorageError instead of what the driver raises while *doing*.

    The driver's error is not chained: the server's texts quote rows ("Key (user_id, topic_key)=(...) already exists").
    """
    try:
        yield
    except psycopg.Error as error:
        state = f" ({error.sqlstate})" if error.sqlstate else ""
        raise StorageError(f"could not {doing}: {type(error).__name__}{state}") from None


class NotReplicated(psycopg.OperationalError):
    """The commit is on this server, and its wait for the standby was cancelled: a failover may lose it."""


@contextmanager
def replicated(connection: Connection) -> Iterator[None]:
    """Raise NotReplicated if a commit in this block is not known to be on the synchronous standby."""
    warnings: list[str | None] = []

    def note(notice: errors.Diagnostic) -> None:
        warnings.append(notice.sqlstate)

    connection.add_notice_handler(note)
    try:
        yield
    finally:
        connection.remove_notice_handler(note)
        # https://www.postgresql.org/docs/current/warm-standby.html#SYNCHRONOUS-REPLICATION-HA
        if _WARNING in warnings:
            raise NotReplicated


class Transaction:
    """A transaction that writes. Queries that are passed together are sent in one round trip."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._begin: tuple[Query, ...] = (_BEGIN,)
        self.committing = False
        """Whether a commit has been sent. After that, a lost connection leaves its outcome unknown."""

    def ask(self, *queries: Query) -> list[list[Row]]:
        """Return the rows of each of *queries*."""
        begin, self._begin = self._begin, ()
        return send(self._connection, *begin, *queries)[len(begin) :]

    def commit(self, *queries: Query) -> list[list[Row]]:
        """Return the rows of each of *queries*, when all of the transaction is committed.

        Raises:
            NotReplicated: it is committed, but not known to be on the standby that it must be on.
        """
        self.committing = True
        with replicated(self._connection):
            return self.ask(*queries, _COMMIT)[: len(queries)]


class Connections:
    """Runs statements and transactions of any thread: reads on one pool of connections, writes on another.

    So a commit that waits for a lock or a standby takes no connection from reads.
    """

    def __init__(self, reads: Pool, writes: Pool, *, read_seconds: float) -> None:
        """Use both pools, which `close` closes. *read_seconds*: `statement_timeout` of the sessions of *reads*."""
        self._reads = reads
        self._writes = writes
        self._read_seconds = read_seconds

    def connect(self) -> None:
        """Make the first connection of each pool. Later, a refused connection makes callers wait instead of fail."""
        with storage_errors("open the database"), self._reads.connection(), self._writes.connection():
            pass

    def rows(self, doing: str, statement: str, **parameters: Any) -> list[Row]:
        """Return the rows of *statement*, which may be run again if the connection is lost."""
        return self._read(doing, None, (statement, parameters))[0]

    def read_snapshot(self, doing: str, *queries: Query) -> list[list[Row]]:
        """Return the rows of each of *queries* as of one moment, in one round trip; repeated like `rows`."""
        return self._read(doing, _BEGIN_SNAPSHOT, *queries)

    def write(self, doing: str, operation: Callable[[Transaction], T], *, repeatable: bool = False) -> T:
        """Run *operation*, which commits its transaction; return what it returns.

        It is retried if the database rolled it back (deadlock, serialization failure), or if the connection was lost
        before the commit was sent; a *repeatable* one also if it was lost later.

        Raises:
            StorageError: nothing is stored; but if the connection was lost during the commit, all of it may be.
        """
        transactions: list[Transaction] = []

        def attempt() -> T:
            with self._writes.connection() as connection:
                transactions.append(Transaction(connection))
                return operation(transactions[-1])

        with storage_errors(doing):
            return self._repeated(attempt, lambda: repeatable or not transactions[-1].committing)

    @contextmanager
    def borrow(self, doing: str) -> Iterator[Connection]:
        """Lend a connection for anything other than single round trips. Nothing is repeated."""
        with storage_errors(doing), self._writes.connection() as connection:
            yield connection

    def close(self) -> None:
        """Refuse later calls, and finish running ones in bounded time."""
        try:
            self._writes.close()
        finally:
            self._reads.close()

    def _read(self, doing: str, begin: Query | None, *queries: Query) -> list[list[Row]]:
        """Return the rows of each of *queries*, in a transaction if *begin* begins one."""

        def attempt() -> list[list[Row]]:
            with self._reads.connection(seconds_left(self._read_seconds)) as connection:
                seconds = seconds_left(self._read_seconds)
                if begin is None and seconds >= self._read_seconds:
                    return send(connection, *queries)
                before: list[Query] = [begin or _BEGIN]
                if seconds < self._read_seconds:
                    # 0 would be no limit.
                    before.append((_READ_TIMEOUT, {"milliseconds": str(max(round(seconds * 1000), 1))}))
                return send(connection, *before, *queries, _COMMIT)[len(before) : -1]

        with storage_errors(doing):
            return self._repeated(attempt, lambda: True)

    def _repeated(self, attempt: Callable[[], T], may_repeat_when_lost: Callable[[], bool]) -> T:
        for _ in range(ATTEMPTS - 1):
            try:
                return attempt()
            except _UNDONE:
                continue
            except psycopg.Error as error:
                if not _is_lost(error) or not may_repeat_when_lost():
                    raise
                # Others are likely to be lost too.
                self._reads.discard_idle()
                self._writes.discard_idle()
        return attempt()


def send(connection: Connection, *queries: Query) -> list[list[Row]]:
    """Run *queries* in one round trip; return the rows of each."""
    if len(queries) == 1:
        return [_fetched(connection.execute(*queries[0], binary=True))]
    with connection.pipeline():
        cursors = [connection.execute(statement, parameters, binary=True) for statement, parameters in queries]
    return [_fetched(cursor) for cursor in cursors]


def _fetched(cursor: psycopg.Cursor[Row]) -> list[Row]:
    return cursor.fetchall() if cursor.description else []


def _is_lost(error: psycopg.Error) -> bool:
    """Return whether an established connection failed."""
    if isinstance(error, (NotConnected, NotReplicated)):
        return False
    return isinstance(error, _LOST) or (isinstance(error, psycopg.OperationalError) and error.sqlstate is None)
