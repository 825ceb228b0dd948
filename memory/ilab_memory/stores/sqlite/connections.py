"""Connections to one SQLite database: how they are opened, lent, checked and closed, and how their errors are told."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from ilab_memory.core.errors import StorageError

MEMORY = ":memory:"

#: Reader connections that are kept for the next call: more than that read at once only in bursts.
_IDLE_READERS = 8

_PRAGMAS = (
    "journal_mode = WAL",  # readers do not wait for the writer
    "secure_delete = ON",  # what is deleted is overwritten: mem_forget depends on it
    "temp_store = MEMORY",  # no user's text in temporary files
    "foreign_keys = ON",  # off by default, for compatibility
)
#: Of `Config.durability`. In WAL mode FULL syncs each commit, NORMAL only checkpoints.
SYNCHRONOUS = {"full": "PRAGMA synchronous = FULL", "normal": "PRAGMA synchronous = NORMAL"}


def translated(error: BaseException, doing: str) -> BaseException:
    """Return the StorageError for what the driver or the system raised while *doing*; any other *error* as it is.

    The message names the kind of failure alone: a driver's own text may quote what it was given.
    """
    if isinstance(error, sqlite3.Error):
        translation = StorageError(f"could not {doing}: {getattr(error, 'sqlite_errorname', type(error).__name__)}")
    elif isinstance(error, OSError):
        translation = StorageError(f"could not {doing}: {type(error).__name__}")
    else:
        return error
    translation.__cause__ = error
    return translation


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Raise what is `translated` in the place of what the driver or the system raises."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise translated(error, doing) from error


class Database:
    """One database, in a file or in memory: opens its connections and notices when the file is not what it was."""

    def __init__(self, path: str, *, busy_timeout_seconds: float) -> None:
        self.is_memory = path == MEMORY
        # Absolute: connections are opened later too, when the process may be in another folder.
        self._path = path if self.is_memory else str(Path(path).expanduser().absolute())
        # Never create: a file that has been removed must not come back empty.
        self._uri = "file::memory:" if self.is_memory else f"file:{quote(self._path)}?mode=rw"
        self._busy_timeout_seconds = busy_timeout_seconds
        if not self.is_memory:
            with storage_errors("create the database file"):
                self._create_file()

    def connect(self) -> sqlite3.Connection:
        """Open a connection that any thread may use, in autocommit mode."""
        connection = sqlite3.connect(
            self._uri, uri=True, timeout=self._busy_timeout_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    def identity(self) -> tuple[int, int]:
        """Return what tells this file from another of the same name.

        Raises:
            OSError: there is no such file.
        """
        if self.is_memory:
            return (0, 0)
        status = Path(self._path).stat()
        return (status.st_dev, status.st_ino)

    def _create_file(self) -> None:
        Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        # SQLite would create it readable for others; its WAL and shm files take over the mode of this one.
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


class _Held(threading.local):
    """The connection that the present thread reads a snapshot from."""

    connection: sqlite3.Connection | None = None

    @contextmanager
    def by_this_thread(self, connection: sqlite3.Connection) -> Iterator[None]:
        self.connection = connection
        try:
            yield
        finally:
            self.connection = None


class Readers:
    """Lends connections for reading, one caller at a time each; opens another when none is idle, so no caller waits."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._idle: list[tuple[sqlite3.Connection, tuple[int, int]]] = []
        self._closed = False
        self._held = _Held()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Lend this thread the same connection, in one transaction, for all it reads in the block."""
        if self._held.connection is not None:
            yield
            return
        with self.connection("read") as connection, self._held.by_this_thread(connection):
            connection.execute("BEGIN")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def connection(self, doing: str) -> Iterator[sqlite3.Connection]:
        """Lend a connection; translate errors as of *doing*.

        Raises:
            RuntimeError: closed.
        """
        with storage_errors(doing):
            if self._held.connection is not None:
                yield self._held.connection
                return
            connection, identity = self._take()
            try:
                yield connection
            finally:
                self._give_back(connection, identity)

    def close(self) -> None:
        """Close what is idle now, and what is lent when it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    def _take(self) -> tuple[sqlite3.Connection, tuple[int, int]]:
        present = self._database.identity()
        while True:
            with self._lock:
                if self._closed:
                    raise_closed()
                lent = self._idle.pop() if self._idle else None
            if lent is None:
                return self._database.connect(), present
            if lent[1] == present:
                return lent
            # The file has been replaced: this connection reads the old one.
            lent[0].close()

    def _give_back(self, connection: sqlite3.Connection, identity: tuple[int, int]) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < _IDLE_READERS:
                self._idle.append((connection, identity))
                return
        connection.close()


class SharedReader:
    """Lends the one connection of a database in memory, to one caller at a time."""

    def __init__(self, connection: sqlite3.Connection, lock: threading.Lock) -> None:
        self._connection = connection
        self._lock = lock
        self._closed = False
        self._held = _Held()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Keep the writer and other readers out until this thread has read all it wants in the block."""
        if self._held.connection is not None:
            yield
            return
        with self.connection("read") as connection, self._held.by_this_thread(connection):
            yield

    @contextmanager
    def connection(self, doing: str) -> Iterator[sqlite3.Connection]:
        """Lend the connection; translate errors as of *doing*.

        Raises:
            RuntimeError: closed.
        """
        with storage_errors(doing):
            if self._held.connection is not None:
                yield self._held.connection
                return
            with self._lock:
                if self._closed:
                    raise_closed()
                yield self._connection

    def close(self) -> None:
        """Refuse every later call. The connection belongs to the writer, which closes it."""
        with self._lock:
            self._closed = True


def raise_closed() -> None:
    """Raise what every call after close raises."""
    raise RuntimeError("the memory is closed")


def on_close(*steps: Callable[[], None]) -> None:
    """Run every one of *steps*, also after one of them has failed; raise the first failure."""
    if steps:
        try:
            steps[0]()
        finally:
            on_close(*steps[1:])
