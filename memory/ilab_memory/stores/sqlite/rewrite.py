"""Rewriting the file without the bytes of erased rows, in memory that does not depend on its size.

VACUUM would do, but its temporary file is in memory or in a directory that only settings of the whole process choose.
So VACUUM INTO builds the new pages in a file next to it, and SQLite's backup writes them back, as VACUUM does. The
first takes about half of the time and only reads: saves go on. If something was saved by the end of it, the copy is
old and is made once more while saves wait. Readers never wait.
"""

import os
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TypeVar

from ilab_memory.core.errors import StorageError
from ilab_memory.stores.sqlite import erasure, erasure_statements
from ilab_memory.stores.sqlite.connections import SYNCHRONOUS, Database, Identity, raise_closed
from ilab_memory.stores.sqlite.rewrite_wait import REWRITE_SUFFIX
from ilab_memory.stores.sqlite.transaction import Transaction
from ilab_memory.stores.sqlite.write_queue import BATCH_CHARACTERS
from ilab_memory.stores.sqlite.writer import Writer

if sys.platform != "win32":
    import fcntl

T = TypeVar("T")
#: Free space beyond the copy and the write-ahead log, which each take about as much as the database.
SPARE_BYTES = 1024 * 1024
# Bytes that are written back between two tests whether the store is closed. Each test waits for the GIL, up to 5 ms
# with busy threads, while saves wait for the rewrite.
_STEP_BYTES = 4 * 1024 * 1024
# Page cache for that, which one step must not fill, see `check`.
_CACHE_BYTES = 6 * 1024 * 1024
# SQLite instructions between two such tests.
_INSTRUCTIONS = 1_000_000
# Seconds between two attempts to lock the copy, which another process has locked.
_LOCK_SECONDS = 0.05
# Number of attempts while saves of this process wait. Another process can save in between only by chance.
_LOCKED_ATTEMPTS = 3
_FORGETTING = "forget the user"


def free_bytes(folder: Path) -> int:
    """Return the free space of the disk that *folder* is on, in bytes."""
    return shutil.disk_usage(folder).free


class _Changed(Exception):
    """Something was saved since the copy was made."""


class Rewriter:
    """Rewrites one file. Only one thread at a time may call it."""

    def __init__(
        self, database: Database, writer: Writer, closed: threading.Event, free: Callable[[Path], int] = free_bytes
    ) -> None:
        self._database = database
        self._writer = writer
        self._closed = closed
        self._free = free
        self.rewrites = 0
        """How many have been done."""
        self.held_seconds = 0.0
        """For how long saves have waited for rewrites, failed ones too."""

    def rewrite(self) -> None:
        """Rewrite the file if an erasure needs it.

        Raises:
            StorageError: the disk has not enough free space, or another process saves without pause.
            sqlite3.Error, OSError: the file was not changed.
            RuntimeError: closed.
        """
        with self._locked_copy() as copy, closing(self._connect()) as source:
            # Another process may have done it while this one waited.
            if not erasure.needs_rewrite(source):
                return
            self._check_space(source)
            self._merge_index(source)
            identity = self._database.identity()
            # Until the new pages are in the database, saves must not move them there: they would wait for it.
            pages = self._writer.run_alone(_FORGETTING, partial(_set_autocheckpoint, pages=0))
            try:
                self._make_and_write_back(source, copy, identity)
            finally:
                self._writer.run_alone(_FORGETTING, partial(_set_autocheckpoint, pages=pages))
        self.rewrites += 1

    def _merge_index(self, source: sqlite3.Connection) -> None:
        """Remove the hashes of deleted observations from the full-text index, if there are any."""
        erasures = erasure.in_index(source)
        if not erasures:
            return
        # Each step takes about as long as a transaction may.
        merge = partial(self._writer.run, _FORGETTING, characters=BATCH_CHARACTERS)
        segments = merge(erasure.merge_index)
        while segments:
            if self._closed.is_set():
                raise_closed()
            segments = merge(partial(erasure.merge_index, segments=segments))
        self._writer.run(_FORGETTING, partial(erasure.merged, erasures=erasures))

    def _make_and_write_back(self, source: sqlite3.Connection, copy: Path, identity: Identity) -> None:
        version = _data_version(source)
        self._make(source, copy)
        write_back = partial(self._write_back, source=source, copy=copy, identity=identity)
        if not self._hold_saves(partial(write_back, version=version)):
            self._hold_saves(partial(self._make_locked, write_back=write_back, source=source, copy=copy))
        # Not in the writer's thread, and by no save: it takes as long as writing back.
        source.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _hold_saves(self, operation: Callable[[Transaction], T]) -> T:
        """Run *operation* in the writer's thread, and count the time that it takes."""

        def timed(transaction: Transaction) -> T:
            began = monotonic()
            try:
                return operation(transaction)
            finally:
                self.held_seconds += monotonic() - began

        return self._writer.run_alone(_FORGETTING, timed)

    def _make(self, source: sqlite3.Connection, copy: Path) -> None:
        os.truncate(copy, 0)
        # The copy is not needed after a crash.
        source.execute("PRAGMA synchronous = OFF")
        try:
            source.execute(erasure_statements.REWRITE_INTO, (str(copy),))
        except sqlite3.OperationalError:
            if self._closed.is_set():
                raise_closed()
            raise
        finally:
            source.execute(SYNCHRONOUS["normal"])
        with closing(sqlite3.connect(copy, isolation_level=None)) as made:
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "temp_store = MEMORY"):
                made.execute(f"PRAGMA {pragma}")
            made.execute(erasure_statements.REWRITTEN)

    def _make_locked(
        self, transaction: Transaction, write_back: Callable[..., bool], source: sqlite3.Connection, copy: Path
    ) -> None:
        """Make the copy while nobody can save, and write it back. Runs in the writer's thread."""
        for _ in range(_LOCKED_ATTEMPTS):
            # Other processes wait for this, the callers in this one for the writer's thread.
            transaction.execute("BEGIN IMMEDIATE")
            try:
                version = _data_version(source)
                self._make(source, copy)
            finally:
                transaction.execute("ROLLBACK")
            if write_back(transaction, version=version):
                return
        raise StorageError(f"could not {_FORGETTING}: another process saves without pause; call again")

    def _write_back(
        self, _: Transaction, source: sqlite3.Connection, copy: Path, identity: Identity, version: int
    ) -> bool:
        """Write the copy's pages over the database, in one transaction. Runs in the writer's thread.

        Returns False, and changes nothing, if the database is not what it was at *version* of *source*.
        """
        if self._database.identity() != identity:
            raise StorageError(f"could not {_FORGETTING}: another file has taken the place of the database; call again")

        checked = False

        def check(status: int, _remaining: int, _pages: int) -> None:
            nonlocal checked
            if status == sqlite3.SQLITE_DONE:
                return
            if self._closed.is_set():
                raise_closed()
            if status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise StorageError(f"could not {_FORGETTING}: SQLITE_BUSY")
            # Nobody else can write from the first step on. Later, the version also changes when SQLite starts the WAL
            # from its beginning, to write out pages of this very transaction.
            if not checked and _data_version(source) != version:
                raise _Changed
            checked = True

        with closing(sqlite3.connect(copy)) as made, closing(self._connect()) as target:
            target.execute(f"PRAGMA cache_size = -{_CACHE_BYTES // 1024}")
            (pages,) = made.execute("PRAGMA page_count").fetchone()
            (size,) = made.execute("PRAGMA page_size").fetchone()
            try:
                # The last step commits, so there must be one before it.
                made.backup(target, pages=max(1, min(_STEP_BYTES // size, pages // 2)), progress=check)
            except _Changed:
                return False
        return True

    def _connect(self) -> sqlite3.Connection:
        connection = self._database.connect()
        # The commit is synced by the checkpoint that follows; the erasure is recorded until then.
        connection.execute(SYNCHRONOUS["normal"])
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.set_progress_handler(self._closed.is_set, _INSTRUCTIONS)
        return connection

    def _check_space(self, source: sqlite3.Connection) -> None:
        pages, unused, size = (
            source.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        needed = 2 * (pages - unused) * size + SPARE_BYTES
        free = self._free(self._database.path.parent)
        if free < needed:
            raise StorageError(
                f"could not {_FORGETTING}: rewriting the database file needs {_megabytes(needed)} of free disk space,"
                f" {_megabytes(free)} are free; call again when there is enough"
            )

    @contextmanager
    def _locked_copy(self) -> Iterator[Path]:
        """Create the file for the copy, which other processes wait for; remove it in the end.

        What a killed process has left of one is truncated before it is used.
        """
        real = self._database.path.resolve()
        path = real.with_name(real.name + REWRITE_SUFFIX)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                self._lock(descriptor)
                # The process that had it locked has removed it, unless it was killed.
                if _is_at(descriptor, path):
                    try:
                        yield path
                        return
                    finally:
                        # Before it is unlocked: from then on it may be another process's.
                        path.unlink()
            finally:
                os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        if sys.platform == "win32":
            return
        while True:
            if self._closed.is_set():
                raise_closed()
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            self._closed.wait(_LOCK_SECONDS)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _data_version(connection: sqlite3.Connection) -> int:
    """Return a number that changes whenever another connection, of any process, commits."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _set_autocheckpoint(transaction: Transaction, pages: int) -> int:
    """Set at how many pages in the WAL a commit moves them into the database, 0 for never; return what it was."""
    before = int(transaction.execute("PRAGMA wal_autocheckpoint").fetchone()[0])
    transaction.execute(f"PRAGMA wal_autocheckpoint = {int(pages)}")
    return before


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
