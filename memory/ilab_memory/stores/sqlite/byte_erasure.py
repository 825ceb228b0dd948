"""Removing the bytes of erased rows from unused parts of the file's pages, while others save and read.

VACUUM would build all pages again, but nobody can save while it writes them. Instead, what `pages` finds is overwritten
in the file itself, past SQLite. That is safe while nobody writes to the file. In WAL mode only checkpoints do, and a
checkpoint ends at what the oldest reader reads. So a reader of our own keeps the file as it is (`_Pass`):

1. While nobody saves, for a moment: all of the log is moved into the file, and a reader begins.
2. All pages are overwritten. Saves go on. They may put pages into the log that were read before.
3. While nobody saves: what is in the log is moved into the file. If these are few pages, they are overwritten at once,
   and it is done. Otherwise they are overwritten as in 2, while saves go on, and this step comes again.

Step 3 commits a change, so that no connection of any process keeps a page from before. Nothing here is needed after a
crash: the erasure is recorded until the log is empty, and begins again.
"""

import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from ilab_memory.core.errors import StorageDamaged, StorageError, raise_closed
from ilab_memory.stores.sqlite import schema, user_erasure
from ilab_memory.stores.sqlite.connections import SYNCHRONOUS, Database
from ilab_memory.stores.sqlite.group_commit import REWRITE_SUFFIX, Writer
from ilab_memory.stores.sqlite.page_file import PageFile, pages_in_log
from ilab_memory.stores.sqlite.pages import MOST_PAGES, DamagedPageError
from ilab_memory.stores.sqlite.write_queue import BATCH_CHARACTERS, Transaction

if sys.platform != "win32":
    import fcntl

T = TypeVar("T")
#: Pages that are overwritten while nobody can save: a few milliseconds.
MOST_PAGES_AT_ONCE = 500
#: Rounds of others' saves after which their pages are overwritten at once, whatever their number.
MOST_ROUNDS = 20
#: For how long saves wait for readers that began before, in seconds: in the first attempt, and at most. Each attempt
#: waits twice as long as the one before.
PATIENCE_SECONDS, MOST_PATIENCE_SECONDS = 0.05, 0.4
# Saves go on between two attempts for this many times as long as they waited, and at least for these seconds.
_REST, _REST_SECONDS = 4.0, 0.2
# Where the timeout is short, there are this many attempts nevertheless.
_LEAST_ATTEMPTS = 3
# Seconds between two looks whether readers have ended, and whether another process has unlocked the file.
_LOOK_SECONDS = 0.002
_LOCK_SECONDS = 0.05
_FORGETTING = "forget the user"


class Rewriter:
    """Rewrites one file. Only one thread at a time may call it."""

    def __init__(self, database: Database, writer: Writer, closed: threading.Event) -> None:
        self._database = database
        self._writer = writer
        self._closed = closed
        self.rewrites = 0
        """How many have been done."""
        self.held_seconds = 0.0
        """For how long saves have waited for rewrites, failed ones too."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other process rewrite the file while the block runs. Wait for one that does."""
        real = self._database.path.resolve()
        path = real.with_name(real.name + REWRITE_SUFFIX)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                self._lock(descriptor)
                # The process that had it locked has removed it, unless it was killed.
                if _is_at(descriptor, path):
                    try:
                        yield
                        return
                    finally:
                        # Before it is unlocked: from then on it may be another process's.
                        path.unlink()
            finally:
                os.close(descriptor)

    def merge_index(self) -> None:
        """Remove the hashes of deleted observations from the full-text index, if there are any.

        Raises:
            StorageError, RuntimeError: as `Writer.run`.
        """
        with closing(self._database.connect()) as source:
            erasures = user_erasure.erasures_in_index(source)
        if not erasures:
            return
        # Each step takes about as long as a transaction may.
        merge = partial(self._writer.run, _FORGETTING, characters=BATCH_CHARACTERS, synced=False)
        segments = merge(user_erasure.merge_index)
        while segments:
            check_open(self._closed)
            segments = merge(partial(user_erasure.merge_index, segments=segments))
        self._writer.run(_FORGETTING, partial(user_erasure.record_merged, erasures=erasures))

    def rewrite(self) -> None:
        """Overwrite what belongs to nothing in all pages. The write-ahead log still has pages as they were.

        Raises:
            StorageError: readers were in the way for too long, the file is damaged, or another has taken its place.
            sqlite3.Error, OSError: it is not done.
            RuntimeError: closed.
        """
        with self._database.page_file() as file, ExitStack() as stack:
            self._check_is(file)
            connections = [stack.enter_context(closing(self._connect())) for _ in range(4)]
            one = _Pass(self._database.path, file, self._closed, connections)
            try:
                self._step(one, -1)
                pages: set[int] | None = None
                for round_ in range(MOST_ROUNDS + 1):
                    one.overwrite(pages)
                    one.advance()
                    pages = self._step(one, MOST_PAGES_AT_ONCE if round_ < MOST_ROUNDS else MOST_PAGES)
                    if not pages:
                        break
                file.sync()
            except DamagedPageError as error:
                raise StorageDamaged(
                    f"could not {_FORGETTING}: pages are damaged: `ilab-memory check` says what is damaged"
                ) from error
            self._check_is(file)
        self.rewrites += 1

    def empty_log(self) -> None:
        """Move the write-ahead log into the file and truncate it.

        Raises:
            StorageError: a reader needed what it has of the past for too long.
        """
        self._attempt(lambda patience, writer: user_erasure.empty_wal(writer, patience) or None)

    def _step(self, one: "_Pass", most: int) -> set[int]:
        def step(patience: float, _: Transaction) -> set[int] | None:
            began = time.monotonic()
            try:
                return one.step(most, patience)
            finally:
                self.held_seconds += time.monotonic() - began

        return self._attempt(step)

    def _attempt(self, operation: Callable[[float, Transaction], T | None]) -> T:
        """Run *operation* in the writer's thread until it does not return None. Readers are in its way then.

        It waits for them as long as it is told, while saves wait. Raises StorageError if they do not end for as long as
        a lock is waited for.
        """
        deadline = time.monotonic() + self._database.busy_timeout_seconds
        patience, attempts = PATIENCE_SECONDS, 0
        while True:
            began = time.monotonic()
            result = self._writer.run_alone(_FORGETTING, partial(operation, patience))
            if result is not None:
                return result
            attempts += 1
            if time.monotonic() >= deadline and attempts >= _LEAST_ATTEMPTS:
                raise StorageError(
                    "could not finish forgetting: a reader holds the erased pages in the write-ahead log; call again"
                )
            rest = max(_REST * (time.monotonic() - began), _REST_SECONDS)
            self._closed.wait(min(rest, max(self._database.busy_timeout_seconds / _LEAST_ATTEMPTS, _LOOK_SECONDS)))
            check_open(self._closed)
            patience = min(2 * patience, MOST_PATIENCE_SECONDS)

    def _connect(self) -> sqlite3.Connection:
        connection = self._database.connect()
        # The erasure is recorded until all of it is synced.
        connection.execute(SYNCHRONOUS["normal"])
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        return connection

    def _check_is(self, file: PageFile) -> None:
        if self._database.identity() != file.identity:
            raise StorageError(f"could not {_FORGETTING}: another file has taken the place of the database; call again")

    def _lock(self, descriptor: int) -> None:
        if sys.platform == "win32":
            return
        while True:
            check_open(self._closed)
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A version that built the pages again in this file may have left some.
                os.ftruncate(descriptor, 0)
                return
            self._closed.wait(_LOCK_SECONDS)


class _Pass:
    """One pass over the file *path*, which is open as *file*.

    From the first `step` on, one of two readers has a snapshot. A checkpoint moves nothing into the file that is newer,
    and the log does not begin again before all that it has is in the file. So the file changes only in `step` and
    `advance`, and the log has all pages that were written since.
    """

    def __init__(
        self, path: Path, file: PageFile, closed: threading.Event, connections: Sequence[sqlite3.Connection]
    ) -> None:
        self._path = path
        self._file = file
        self._closed = closed
        self._lock, self._mover, self._reader, self._idle = connections

    def overwrite(self, pages: set[int] | None) -> None:
        """Overwrite what belongs to nothing in *pages*, None for all, while saves go on. Call it after `step`."""
        self._file.overwrite(pages, self._check_open)
        self._file.sync()

    def advance(self) -> None:
        """Move most of the log into the file while saves go on, so that `step` has little left to move."""
        self._read_anew()
        self._mover.execute(user_erasure.MOVE_WAL).fetchone()

    def step(self, most: int, patience: float) -> set[int] | None:
        """Move all of the log into the file while nobody can save, and overwrite the pages that were in it.

        Returns the pages that were in it if they are more than *most*: they are not overwritten. Otherwise, none of the
        file's pages has bytes that belong to nothing, and the pass ends. Returns None if, after *patience* in seconds,
        a reader or a writer was still in the way.
        """
        deadline = time.monotonic() + patience
        if not self._begin_immediate():
            return None
        try:
            pages = pages_in_log(self._path)
            self._read_anew()
            if not self._move_all(deadline):
                return None
            # It reads from the file alone now, and lets the log begin again.
            self._read_anew()
            if len(pages) <= most:
                self._file.overwrite(pages, self._check_open)
                # It changes nothing. Each connection drops the pages that it has read when another has written any.
                self._lock.execute(f"PRAGMA user_version = {schema.VERSION}")
                self._lock.execute("COMMIT")
                pages = set()
        finally:
            if self._lock.in_transaction:
                self._lock.execute("ROLLBACK")
        return pages

    def _begin_immediate(self) -> bool:
        try:
            self._lock.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            return False
        return True

    def _read_anew(self) -> None:
        """Begin to read what the database is now, then end the reader before."""
        self._idle.execute("BEGIN")
        self._idle.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if self._reader.in_transaction:
            self._reader.execute("ROLLBACK")
        self._reader, self._idle = self._idle, self._reader

    def _move_all(self, deadline: float) -> bool:
        """Move all of the log into the file; return False if readers need what the file was until *deadline*."""
        while True:
            busy, size, moved = self._mover.execute(user_erasure.MOVE_WAL).fetchone()
            if not busy and size == moved:
                return True
            if time.monotonic() >= deadline or self._closed.is_set():
                return False
            time.sleep(_LOOK_SECONDS)

    def _check_open(self) -> None:
        check_open(self._closed)


def check_open(closed: threading.Event) -> None:
    """Raise RuntimeError if *closed* is set."""
    if closed.is_set():
        raise_closed()


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
