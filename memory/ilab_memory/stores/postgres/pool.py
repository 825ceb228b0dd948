"""A bounded pool of connections.

Not psycopg_pool (3.3): it connects in the background and tells those who wait nothing of a failure. So while the server
is away, each caller waits as long as for one that is lent, and after its return until the next attempt. Here the
caller connects: it learns at once that the server is away, and the first one after its return is served.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg import Connection
from psycopg.pq import TransactionStatus


class NotConnected(psycopg.OperationalError):
    """There is no connection to be had: the server is away, or all were lent for as long as a caller waits."""


class Pool:
    """Lends connections in autocommit mode, one caller at a time each; who finds none free waits for one."""

    def __init__(self, conninfo: str, *, size: int, wait_seconds: float) -> None:
        self._conninfo = conninfo
        self._size = size
        self._wait_seconds = wait_seconds
        self._places = threading.Semaphore(size)
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._closed = False
        self._unreachable = False
        self._trying = False

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection; what is left of a transaction at the end is rolled back.

        Raises:
            RuntimeError: closed.
            NotConnected: the server cannot be reached, or no connection was free in time.
        """
        if not self._places.acquire(timeout=self._wait_seconds):
            raise NotConnected
        try:
            connection = self._take()
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._places.release()

    def discard_idle(self) -> None:
        """Close the connections that nobody has: those that are lent later are new."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Refuse later calls and wait for those that are under way, but not for ever; close what comes back."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        deadline = time.monotonic() + self._wait_seconds
        returned = 0
        while returned < self._size and self._places.acquire(timeout=max(deadline - time.monotonic(), 0)):
            returned += 1
        self.discard_idle()
        if returned:
            self._places.release(returned)

    def _take(self) -> Connection:
        with self._lock:
            if self._closed:
                raise RuntimeError("the memory is closed")
            if self._idle:
                return self._idle.pop()
            if self._unreachable and self._trying:
                # One finds out for all whether the server is back: each would wait as long for a host that is silent.
                raise NotConnected
            self._trying = True
        reached = False
        try:
            connection = psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=0)
            reached = True
        except psycopg.OperationalError as error:
            raise NotConnected from error
        finally:
            with self._lock:
                self._unreachable, self._trying = not reached, False
        return connection

    def _give_back(self, connection: Connection) -> None:
        if connection.info.transaction_status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}:
            with suppress(psycopg.Error):
                connection.rollback()
        with self._lock:
            if not self._closed and connection.info.transaction_status == TransactionStatus.IDLE:
                self._idle.append(connection)
                return
        connection.close()
