"""Connections to one SQLite database: open, lend, check and close them, and translate their errors."""

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

from ilab_memory.core.errors import StorageDamaged, StorageError, raise_closed
from ilab_memory.forks import Process
from ilab_memory.stores.sqlite.migrations import check_version
from ilab_memory.stores.sqlite.numbered_parameters import Connection
from ilab_memory.stores.sqlite.page_file import PageFile, PageFiles
from ilab_memory.stores.sqlite.shm_space import SharedIndex, space_for_index
from ilab_memory.time_limit import Visit, current_visit

MEMORY = ":memory:"
#: The device and inode of a file. Another file of the same name has a different identity.
Identity: TypeAlias = tuple[int, int]

#: Maximum number of idle reader connections. More are open only during bursts.
_IDLE_READERS = 8

#: Suffixes of files next to a database in use: SQLite's log, and the locks of ilab-chat. Without the database, or with
#: an empty one, they mean that it was lost; SQLite would delete the log.
_BESIDE = ("-wal", "-locks")
#: Prefixes of SQLite's error names for a damaged file.
DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
#: Prefixes of the names of errors that a read-only file system may cause.
_MAY_BE_READ_ONLY = ("SQLITE_READONLY", "SQLITE_IOERR", "SQLITE_CANTOPEN")

#: Prefixes of the names of errors, besides SQLITE_FULL, that a full disk may cause: -shm cannot be created or extended.
_MAY_BE_FULL = ("SQLITE_IOERR_SHM", "SQLITE_CANTOPEN")
#: Number of bytes by which -shm grows.
_SHM_BYTES = 32 * 1024

#: Size to which the write-ahead log shrinks, in bytes.
LOG_BYTES = 16 * 1024 * 1024

# Seconds between two attempts to turn on the write-ahead log of a new file, which other processes open too.
_NEW_FILE_SECONDS = 0.005

_PRAGMAS = (
    "secure_delete = ON",  # what is deleted is overwritten
    "temp_store = MEMORY",  # no user's text in temporary files
    "foreign_keys = ON",  # off by default, for compatibility
    # A reader or a rewrite may let the log grow. SQLite truncates it to this size when it starts from its beginning.
    # Usually the log is smaller, since SQLite checkpoints at 1,000 pages.
    f"journal_size_limit = {LOG_BYTES}",
)
#: Of `Config.durability`. In WAL mode FULL syncs each commit, NORMAL only checkpoints.
SYNCHRONOUS = {"full": "PRAGMA synchronous = FULL", "normal": "PRAGMA synchronous = NORMAL"}


def translated(error: BaseException, doing: str, path: Path | None = None) -> BaseException:
    """Return the StorageError for an error of the driver or the system while *doing*; any other *error* unchanged.

    The message names only the kind of failure: a driver's text may quote its arguments. *path*: the file, whose file
    system may be the cause.
    """
    translation: StorageError
    if isinstance(error, sqlite3.Error):
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        if name.startswith(DAMAGED):
            translation = StorageDamaged(f"could not {doing}: {name}: `ilab-memory check` says what is damaged")
        else:
            translation = StorageError(f"could not {doing}: {name}{_reason(name, path)}")
    elif isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno else ""
        translation = StorageError(f"could not {doing}: {type(error).__name__}{reason and f': {reason}'}")
    else:
        return error
    translation.__cause__ = error
    return translation


def _reason(name: str, path: Path | None) -> str:
    """Return what SQLite's error *name* means to an operator, where that is known."""
    if name.startswith("SQLITE_FULL") or (path and name.startswith(_MAY_BE_FULL) and _is_on_a_full_disk(path)):
        return ": the disk is full"
    # A write to a file that was opened before its file system turned read-only is an I/O error to SQLite.
    if path and name.startswith(_MAY_BE_READ_ONLY) and _is_on_a_read_only_file_system(path):
        return ": the file system is read-only"
    return ": the file is read-only" if name.startswith("SQLITE_READONLY") else ""


def _is_on_a_full_disk(path: Path) -> bool:
    try:
        found = os.statvfs(path.resolve().parent)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _SHM_BYTES


def _is_on_a_read_only_file_system(path: Path) -> bool:
    # Its flags do not say so if the kernel stopped writing to it after an error. Opening and closing the file itself
    # would free the locks that SQLite has on it.
    try:
        os.utime(path.resolve().parent)
    except OSError as error:
        return error.errno == errno.EROFS
    return False


@contextmanager
def storage_errors(doing: str, path: Path | None = None) -> Iterator[None]:
    """Translate errors of the driver and the system, see `translated`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise translated(error, doing, path) from error


@contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection]:
    """Lend a connection that reads *file*, which other processes may use, and never writes to it.

    Raises:
        sqlite3.Error, OSError: it cannot be opened.
    """
    uri = f"file://{quote(str(file))}?mode=ro"
    with (
        space_for_index(file),
        closing(sqlite3.connect(uri, uri=True, timeout=5.0, isolation_level=None)) as connection,
    ):
        yield connection


class Database:
    """One database, in a file or in memory: opens connections, and notices when another file has replaced it."""

    def __init__(self, path: str, *, busy_timeout_seconds: float, create: bool = False) -> None:
        self.is_memory = path == MEMORY
        # Absolute: connections are opened later too, when the process may be in another folder.
        self._path = path if self.is_memory else str(Path(path).expanduser().absolute())
        # Never create: a file that has been removed must not come back empty.
        # With an empty authority: otherwise "//tmp/x" would be read as an authority and a path.
        self._uri = "file::memory:" if self.is_memory else f"file://{quote(self._path)}?mode=rw"
        self.busy_timeout_seconds = busy_timeout_seconds
        # The file that was opened last, and its write-ahead log.
        self._opened: tuple[Identity, Collection[Identity]] | None = None
        if not self.is_memory:
            with storage_errors("create the database file"):
                if not create:
                    self._refuse_what_is_left_of_a_lost_file()
                self._create_file()
        #: The file. Not for a database in memory.
        self.path = Path(self._path)
        self._index = None if self.is_memory else SharedIndex.of(self.path)
        self._page_files = PageFiles(self.path)

    def size(self) -> int:
        """Return the bytes of the file and its write-ahead log. Not for a database in memory.

        Raises:
            StorageError: the file is missing.
        """
        with storage_errors("read the size"):
            total = self.path.stat().st_size
            with suppress(FileNotFoundError):
                total += Path(f"{self._path}-wal").stat().st_size
        return total

    def connect(self) -> sqlite3.Connection:
        """Open a connection that any thread may use, in autocommit mode.

        Raises:
            StorageError: the file belongs to another program or version, and is not changed; or another file has
                replaced it, while the log of the former file still exists.
        """
        file = self.identity()
        self._refuse_the_log_of_another(file)
        if self._index:
            self._index.prepare()
        connection = sqlite3.connect(
            self._uri,
            uri=True,
            timeout=self.busy_timeout_seconds,
            isolation_level=None,
            check_same_thread=False,
            factory=Connection,
        )
        try:
            # Before anything that would change the file.
            check_version(connection)
            # Of a new file. Such files have pages that tell where others are, and their free pages are cut off.
            connection.execute("PRAGMA auto_vacuum = NONE")
            self._turn_on_the_log(connection)
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        self.remember_the_log_of(file)
        return connection

    def _turn_on_the_log(self, connection: sqlite3.Connection) -> None:
        """Set WAL mode, in which readers do not wait for the writer. The mode is stored in the file.

        On a new file, SQLite ignores its timeout: it never waits for a lock to turn a read into a write.
        """
        deadline = time.monotonic() + self.busy_timeout_seconds
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
            else:
                return
            time.sleep(_NEW_FILE_SECONDS)

    def page_file(self) -> AbstractContextManager[PageFile]:
        """Lend the file itself, to be read and written past SQLite. Not for a database in memory."""
        return self._page_files.opened()

    def check_reserve(self) -> None:
        """Raise OSError if the disk is so full that using the file may end the process."""
        if self._index:
            self._index.check_reserve()

    def close(self) -> None:
        """Close the files. Call it after the last connection is closed."""
        if self._index:
            self._index.release()
        self._page_files.close()

    def identity(self) -> Identity:
        """Return the identity of this file: another file of the same name has a different one.

        Raises:
            OSError: there is no such file.
        """
        return (0, 0) if self.is_memory else _identity(self._path)

    def remember_the_log_of(self, file: Identity) -> None:
        """Note which write-ahead log belongs to *file*, which is open. A new file has one from its first write on."""
        # Unless the file was replaced while it was opened: then it is unknown which of the two SQLite has opened.
        if not self.is_memory and self.identity() == file:
            self._opened = (file, self._logs())

    def _refuse_the_log_of_another(self, file: Identity) -> None:
        # SQLite does not know whose log it is: it would write pages of the other file into this one.
        if self._opened is not None and self._opened[0] != file and not self._logs().isdisjoint(self._opened[1]):
            raise StorageError(
                "could not open the database: another file has taken its place, and the write-ahead log of the one"
                " before is still there; remove the files that end in -wal and -shm"
            )

    def _logs(self) -> set[Identity]:
        found = set()
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                found.add(_identity(self._path + suffix))
        return found

    def _refuse_what_is_left_of_a_lost_file(self) -> None:
        # In this order: a process that creates the file now writes its first page before there is a log.
        left = [suffix for suffix in _BESIDE if Path(self._path + suffix).exists()]
        with suppress(FileNotFoundError):
            if Path(self._path).stat().st_size:
                return
        if left:
            raise StorageError(
                f"could not open the database: the file is missing or empty, but files of it that end in"
                f" {' and '.join(left)} are there; restore the file (the -wal may contain saves that are nowhere else),"
                " or set `create` to begin with an empty one"
            )

    def _create_file(self) -> None:
        Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        # SQLite would create it readable for others; its WAL and shm files take over the mode of this one.
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _identity(path: str) -> Identity:
    # Not by pathlib, which takes three times as long: this runs before every read.
    status = os.stat(path)  # noqa: PTH116
    return (status.st_dev, status.st_ino)


class Readers:
    """Lends connections for reading, one caller at a time each; opens another when none is idle, so no caller waits."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._process = Process()
        self._lock = threading.Lock()
        self._idle: list[tuple[sqlite3.Connection, Identity]] = []
        self._closed = False

    @contextmanager
    def connection(self, doing: str) -> Iterator[sqlite3.Connection]:
        """Lend a connection; translate errors as of *doing*. All calls of one visit get the same.

        Raises:
            RuntimeError: closed, or this is a forked child.
        """
        self._process.check()
        with storage_errors(doing, self._database.path):
            if here := current_visit():
                yield self._of_visit(here)
                return
            connection, identity = self._take()
            try:
                yield connection
            finally:
                self._give_back(connection, identity)

    def _of_visit(self, here: Visit) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = here.lent.get(self)
        if connection is None:
            connection, identity = self._take()
            here.lent[self] = connection
            here.at_end.callback(self._give_back, connection, identity)
        return connection

    def close(self) -> None:
        """Close idle connections now, and lent ones when they are returned."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    def _take(self) -> tuple[sqlite3.Connection, Identity]:
        present = self._database.identity()
        self._database.check_reserve()
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

    def _give_back(self, connection: sqlite3.Connection, identity: Identity) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < _IDLE_READERS:
                self._idle.append((connection, identity))
                return
        connection.close()


class SharedReader:
    """Lends the one connection of a database in memory, to one caller at a time."""

    def __init__(self, connection: sqlite3.Connection, lock: threading.Lock) -> None:
        self._connection = connection
        self._process = Process()
        self._lock = lock
        self._closed = False

    @contextmanager
    def connection(self, doing: str) -> Iterator[sqlite3.Connection]:
        """Lend the connection; translate errors as of *doing*.

        Raises:
            RuntimeError: closed, or this is a forked child.
        """
        self._process.check()
        with storage_errors(doing), self._lock:
            if self._closed:
                raise_closed()
            yield self._connection

    def close(self) -> None:
        """Refuse every later call. The connection belongs to the writer, which closes it."""
        with self._lock:
            self._closed = True
