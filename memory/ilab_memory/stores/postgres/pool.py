"""A bounded pool of connections, and their parameters.

Not psycopg_pool (3.3): it connects in the background and does not tell waiting callers of a failure. So while the
server is away, each caller waits as long as for one that is lent, and after its return until the next attempt. Here the
caller connects: it learns at once that the server is away, and the first one after its return is served.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import Connection
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Format, TransactionStatus

from ilab_memory.core.errors import raise_closed
from ilab_memory.forks import Process
from ilab_memory.timestamps import to_text

# A URL may say otherwise.
_DEFAULTS: dict[str, str | int] = {
    "fallback_application_name": "ilab-memory",
    "client_encoding": "UTF8",
    # Of several hosts, the primary: every call may write.
    "target_session_attrs": "read-write",
    # Seconds, for each host. By default, libpq waits without a limit.
    "connect_timeout": 3,
    # A host that vanishes is noticed after 5 + 3 x 2 seconds of silence, or 10 without an answer to what was sent.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# The same for the server, or the locks of a process whose host has vanished would be held for hours.
_KEEPALIVES = "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10s"

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
#: How long `close` waits for calls that are under way, and then for those whose connections it has cut.
CLOSE_SECONDS = 2.0


class MomentLoader(Loader):
    """Loads a moment as text, see `ilab_memory.timestamps`."""

    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        """Return the text of microseconds since 2000."""
        return to_text(_EPOCH + timedelta(microseconds=int.from_bytes(data, "big", signed=True)))


class NotConnected(psycopg.OperationalError):
    """No connection is available: the server is away, or all stayed lent for as long as a caller waits."""


class Pool:
    """Lends connections in autocommit mode, one caller at a time each; a caller that finds none free waits for one.

    A connection that the server refuses ("too many clients") fails no call while others of the pool are lent: the
    caller waits for one of those.
    """

    def __init__(self, conninfo: str, *, size: int, wait_seconds: float) -> None:
        self._process = Process()
        self._conninfo = conninfo
        self._wait_seconds = wait_seconds
        self._places = threading.Semaphore(size)
        self._changed = threading.Condition()
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()
        self._closed = False
        self._unreachable = False
        self._trying = False

    @contextmanager
    def connection(self, wait_seconds: float | None = None) -> Iterator[Connection]:
        """Lend a connection; what is left of a transaction at the end is rolled back.

        *wait_seconds*: how long to wait for it at most, if that is less than the pool's own limit.

        Raises:
            RuntimeError: closed, or this is a forked child.
            NotConnected: the server cannot be reached, or no connection was free in time.
        """
        self._process.check()
        patience = self._wait_seconds if wait_seconds is None else max(min(wait_seconds, self._wait_seconds), 0)
        until = time.monotonic() + patience
        if not self._places.acquire(timeout=patience):
            raise NotConnected
        try:
            connection = self._take(until)
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._places.release()

    def discard_idle(self) -> None:
        """Close the connections that nobody has: those that are lent later are new."""
        with self._changed:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Refuse later calls; wait for those that are under way for CLOSE_SECONDS, then cut their connections.

        A call whose connection is cut raises as if the server had closed it.
        """
        if not self._process.is_this:
            # The connections are the parent's.
            return
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._lent, CLOSE_SECONDS)
            for connection in self._lent:
                cut(connection)
            self._changed.wait_for(lambda: not self._lent, CLOSE_SECONDS)
        self.discard_idle()

    def _take(self, until: float) -> Connection:
        if idle := self._idle_or_turn(until):
            return idle
        connection, refusal = None, None
        try:
            connection = psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=0)
            connection.adapters.register_loader("timestamptz", MomentLoader)
        except psycopg.OperationalError as error:
            refusal = error
        finally:
            with self._changed:
                self._unreachable, self._trying = connection is None, False
                self._changed.notify_all()
        with self._changed:
            if connection is None:
                self._wait(until, lambda: bool(self._idle) or not self._lent)
                if not self._idle:
                    raise NotConnected from refusal
                connection = self._idle.pop()
            return self._lend(connection)

    def _idle_or_turn(self, until: float) -> Connection | None:
        """Return an idle connection, or None when it is the caller's turn to make one.

        One caller finds out for all whether the server is back: each would wait as long for a host that is silent.
        """
        with self._changed:
            self._wait(until, lambda: bool(self._idle) or not (self._unreachable and self._trying and self._lent))
            if self._idle:
                return self._lend(self._idle.pop())
            if self._unreachable and self._trying:
                raise NotConnected
            self._trying = True
        return None

    def _wait(self, until: float, condition: Callable[[], bool]) -> None:
        """Wait for *condition*, until then at most."""
        self._changed.wait_for(lambda: self._closed or condition(), max(until - time.monotonic(), 0))
        if self._closed:
            raise_closed()

    def _lend(self, connection: Connection) -> Connection:
        if self._closed:
            connection.close()
            raise_closed()
        self._lent.add(connection)
        return connection

    def _give_back(self, connection: Connection) -> None:
        if connection.info.transaction_status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}:
            with suppress(psycopg.Error):
                connection.rollback()
        with self._changed:
            keep = not self._closed and connection.info.transaction_status == TransactionStatus.IDLE
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()
        with self._changed:
            self._lent.discard(connection)
            self._changed.notify_all()


def cut(connection: Connection) -> None:
    """End what *connection* waits for, in whichever thread: it sees the end of its stream, as of a server that died."""
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as other:
        other.shutdown(socket.SHUT_RDWR)


def conninfo(url: str, *, synchronous_commit: str, lock_seconds: float, statement_seconds: float) -> str:
    """Return the connection string for *url*, with our defaults.

    Raises:
        ValueError: *url* is not a connection URL of PostgreSQL.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # Its text quotes the URL, which may hold a password.
        raise ValueError("url must be a PostgreSQL connection URL") from None
    options = (
        f"{given.get('options') or ''} {_KEEPALIVES} -c TimeZone=UTC"
        f" -c synchronous_commit={synchronous_commit} -c lock_timeout={round(lock_seconds * 1000)}"
        f" -c statement_timeout={round(statement_seconds * 1000)}"
    )
    return make_conninfo(
        url, **{name: value for name, value in _DEFAULTS.items() if name not in given}, options=options
    )
