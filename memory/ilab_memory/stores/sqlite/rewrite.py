"""Removing the bytes of erased rows from unused parts of the file's pages, while others save and read.

VACUUM would build all pages again, but nobody can save while it writes them. Instead, what `pages` finds is overwritten
in the file itself, past SQLite. That is safe while nobody writes to the file, and nobody does while there is a reader
for whom all of the write-ahead log is in the file already: saves go to the log, and cannot be moved from there. So:

1. While nobody saves, for a moment: all of the log is moved into the file, and a reader begins (`_step`).
2. All pages are overwritten. Saves go on. They may put pages into the log that were read before.
3. While nobody saves: the reader ends, and what is in the log is moved into the file. If these are few pages, they are
   overwritten at once. Otherwise another reader begins, and they are overwritten while saves go on, as in 2.

Each step commits a change, so that no connection of any process keeps a page from before.
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial

from ilab_memory.core.errors import StorageDamaged, StorageError
from ilab_memory.stores.sqlite import erasure, erasure_statements, schema
from ilab_memory.stores.sqlite.connections import SYNCHRONOUS, Database, raise_closed
from ilab_memory.stores.sqlite.page_file import PageFile
from ilab_memory.stores.sqlite.pages import MOST_PAGES, DamagedPageError
from ilab_memory.stores.sqlite.transaction import Transaction
from ilab_memory.stores.sqlite.wal import pages_in_log
from ilab_memory.stores.sqlite.write_queue import BATCH_CHARACTERS
from ilab_memory.stores.sqlite.writer import Writer

#: Pages that are overwritten while nobody can save: a few milliseconds.
MOST_PAGES_AT_ONCE = 500
#: Rounds of others' saves after which their pages are overwritten at once, whatever the number.
MOST_ROUNDS = 20
#: How often all pages are overwritten because a reader came in the way of a later step.
_ATTEMPTS = 3
# How long one step waits, while nobody can save, for readers who began before; and the time between two looks.
_PATIENCE_SECONDS = 0.1
_LOOK_SECONDS = 0.002
# Time between two attempts of the first step.
_REST_SECONDS = 0.2
_FORGETTING = "forget the user"


class Rewriter:
    """Rewrites one file. Only one thread at a time may call it."""

    def __init__(
        self, database: Database, writer: Writer, closed: threading.Event, *, busy_timeout_seconds: float
    ) -> None:
        self._database = database
        self._writer = writer
        self._closed = closed
        self._busy_timeout_seconds = busy_timeout_seconds
        self.rewrites = 0
        """How many have been done."""

    def merge_index(self) -> None:
        """Remove the hashes of deleted observations from the full-text index, if there are any.

        Raises:
            StorageError, RuntimeError: as `Writer.run`.
        """
        with closing(self._database.connect()) as source:
            erasures = erasure.in_index(source)
        if not erasures:
            return
        # Each step takes about as long as a transaction may.
        merge = partial(self._writer.run, _FORGETTING, characters=BATCH_CHARACTERS)
        segments = merge(erasure.merge_index)
        while segments:
            self._check_open()
            segments = merge(partial(erasure.merge_index, segments=segments))
        self._writer.run(_FORGETTING, partial(erasure.merged, erasures=erasures))

    def rewrite(self) -> None:
        """Overwrite what belongs to nothing in all pages. The write-ahead log still has pages as they were.

        Raises:
            StorageError: readers were in the way for too long, the file is damaged, or another has taken its place.
            sqlite3.Error, OSError: it is not done.
            RuntimeError: closed.
        """
        with self._database.page_file() as file, closing(self._connect()) as reader, closing(self._connect()) as lock:
            self._check_is(file)
            with closing(self._connect()) as mover:
                step = partial(self._step, file=file, reader=reader, lock=lock, mover=mover)
                try:
                    is_done = any(self._overwrite_all(file, step) for _ in range(_ATTEMPTS))
                except DamagedPageError as error:
                    raise StorageDamaged(
                        f"could not {_FORGETTING}: pages are damaged: `ilab-memory check` says what is damaged"
                    ) from error
            if not is_done:
                raise in_the_way()
            self._check_is(file)
        self.rewrites += 1

    def _overwrite_all(self, file: PageFile, step: Callable[..., set[int] | None]) -> bool:
        """Overwrite all pages; return False if a reader was in the way of a later step than the first."""
        self._begin(step)
        pages: set[int] | None = None
        for round_ in range(MOST_ROUNDS + 1):
            file.overwrite(pages, self._check_open)
            file.sync()
            most = MOST_PAGES_AT_ONCE if round_ < MOST_ROUNDS else MOST_PAGES
            pages = self._writer.run_alone(_FORGETTING, partial(step, most=most))
            if not pages:
                break
        file.sync()
        return pages is not None

    def _begin(self, step: Callable[..., set[int] | None]) -> None:
        """Do the first step; wait, as long as for a lock, until no reader is in its way."""
        deadline = time.monotonic() + self._busy_timeout_seconds
        # A negative number: another reader begins in any case.
        while self._writer.run_alone(_FORGETTING, partial(step, most=-1)) is None:
            if time.monotonic() >= deadline:
                raise in_the_way()
            self._closed.wait(min(_REST_SECONDS, self._busy_timeout_seconds / 10))
            self._check_open()

    def _step(
        self,
        _: Transaction,
        *,
        file: PageFile,
        reader: sqlite3.Connection,
        lock: sqlite3.Connection,
        mover: sqlite3.Connection,
        most: int,
    ) -> set[int] | None:
        """End *reader*, move the log into the file, and overwrite what was in it. Runs in the writer's thread.

        Returns the pages that were in it if they are more than *most*: then *reader* has begun again instead. Returns
        None if other readers were in the way.
        """
        lock.execute("BEGIN IMMEDIATE")
        try:
            pages = pages_in_log(self._database.path)
            if reader.in_transaction:
                reader.execute("ROLLBACK")
            if not self._moved(mover):
                return None
            if len(pages) > most:
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            else:
                file.overwrite(pages, self._check_open)
                pages = set()
            # It changes nothing. Each connection drops the pages that it has read when another has written any.
            lock.execute(f"PRAGMA user_version = {schema.VERSION}")
            lock.execute("COMMIT")
        finally:
            if lock.in_transaction:
                lock.execute("ROLLBACK")
        return pages

    def _moved(self, mover: sqlite3.Connection) -> bool:
        """Move all of the log into the file; return False if readers need what the file was for too long."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            busy, size, moved = mover.execute(erasure_statements.MOVE_WAL).fetchone()
            if not busy and size == moved:
                return True
            if time.monotonic() >= deadline or self._closed.is_set():
                return False
            time.sleep(_LOOK_SECONDS)

    def _connect(self) -> sqlite3.Connection:
        connection = self._database.connect()
        # The erasure is recorded until all of it is synced.
        connection.execute(SYNCHRONOUS["normal"])
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        return connection

    def _check_is(self, file: PageFile) -> None:
        if self._database.identity() != file.identity:
            raise StorageError(f"could not {_FORGETTING}: another file has taken the place of the database; call again")

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise_closed()


def in_the_way() -> StorageError:
    """Return the error for an erasure that readers keep from its end."""
    return StorageError(
        "could not finish forgetting: a reader holds the erased pages in the write-ahead log; call again"
    )
