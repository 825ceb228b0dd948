"""The one thread that writes. Group commit: queued operations share one transaction and one sync.

An operation that fails does not fail the others: the batch is then repeated, with each operation in a savepoint.
Additions to the full-text index are written once per batch, just before the commit: FTS5 flushes its buffer at each
savepoint. A process that rewrites the file is waited for: it holds the write lock for longer than a save does. The
timeout of locks may be shorter than that, and the disk slow.
"""

import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from ilab_memory.core.errors import StorageError
from ilab_memory.stores.sqlite import statements
from ilab_memory.stores.sqlite.connections import SYNCHRONOUS, Database, Identity, storage_errors, translated
from ilab_memory.stores.sqlite.migrations import check_version, migrate
from ilab_memory.stores.sqlite.write_queue import BulkOperation, Task, Touches, Transaction, WriteQueue

if sys.platform != "win32":
    import fcntl

#: Added to the name of the file for an empty one, which the process that rewrites locks.
REWRITE_SUFFIX = "-rewrite"
#: How long a write waits for another process that rewrites the file.
REWRITE_SECONDS = 30.0
_RETRY_SECONDS = 0.02

T = TypeVar("T")
_Batch = Sequence[Task[Any]]
_NOT_SYNCED = SYNCHRONOUS["normal"]


class Writer:
    """Runs operations of any thread, those of one thread in order."""

    def __init__(self, database: Database, *, synchronous: str, lock: threading.Lock) -> None:
        self._database = database
        self._synchronous = synchronous
        # Of a database in memory: it has one connection, and a reader must not see half of a batch.
        self._lock = lock
        self._queue = WriteQueue()
        self._answered = 0
        self._commit_seconds = 0.0
        self._failing = False
        self._chosen: tuple[sqlite3.Connection, str] | None = None
        self._path = None if database.is_memory else database.path
        with storage_errors("open the database", self._path):
            try:
                self.connection, self._identity = self._connect()
            except BaseException:
                database.close()
                raise
        self._thread = threading.Thread(target=self._run, name="ilab-memory-writer", daemon=True)
        self._thread.start()

    def run(
        self,
        doing: str,
        operation: Callable[[Transaction], T],
        *,
        synced: bool = True,
        bulk: BulkOperation[T] | None = None,
        characters: int = 0,
    ) -> T:
        """Run *operation* in a transaction, and return its result after the commit.

        *characters*: length of the text that it stores or removes from the index; it bounds the size of a transaction.
        With *synced* false, a commit of this operation alone is not synced: the next synced commit makes it durable.
        Operations of a batch that name the same *bulk* operation are passed to it together, unless it has failed.

        Raises:
            StorageError: nothing of *operation* is stored.
            RuntimeError: closed.
        """
        return self._finished(Task(doing, operation, synced=synced, bulk=bulk, characters=characters))

    def run_alone(self, doing: str, operation: Callable[[Transaction], T]) -> T:
        """Run *operation* outside of any transaction, after the operations that were queued before it."""
        return self._finished(Task(doing, operation, alone=True))

    def touch(self, doing: str, user_id: str, session_id: str, moment: str) -> None:
        """Record activity in a session. It is committed with the next operation, or a little later.

        The call does not wait for the commit, unless the last commit failed: then it waits for the next one.

        Raises:
            StorageError: that commit failed. A later one may succeed.
            RuntimeError: closed.
        """
        self._queue.touch(user_id, session_id, moment)
        if self._failing:
            self.run(doing, _nothing, synced=False)

    def touched(self, user_id: str) -> Mapping[str, str]:
        """See `WriteQueue.touched`."""
        return self._queue.touched(user_id)

    def close(self) -> None:
        """Run the queued operations, then close the connection."""
        self._queue.close()
        self._thread.join()

    def _finished(self, task: Task[T]) -> T:
        self._queue.put(task)
        return task.wait()

    def _run(self) -> None:
        # Callers that were just answered are likely to save again soon. Without waiting for them, callers would settle
        # in two halves, one waiting while the other is synced. Waiting is worth at most the time of a sync.
        while taken := self._queue.take(self._answered, self._commit_seconds):
            with self._lock:
                batch = [task for task in taken.tasks if not task.alone]
                if batch or taken.touches:
                    self._write(batch, partial(self._commit, touches=taken.touches))
                for task in taken.tasks:
                    if task.alone:
                        self._write([task], self._run_alone)
        with self._lock:
            self.connection.close()

    def _write(self, batch: _Batch, how: Callable[[_Batch], None]) -> None:
        failed = False
        try:
            how(batch)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the callers are waiting for it
            failed = True
            self._roll_back()
            for task in batch:
                task.error = translated(error, task.doing, self._path)
        self._failing = failed or any(isinstance(task.error, StorageError) for task in batch)
        self._answered = len(batch)
        # Each caller wakes the next: if all woke at once, a thread that reads would wait for the GIL behind them all.
        for task, behind in pairwise(batch):
            task.behind = behind
        if batch:
            batch[0].finish()

    def _run_alone(self, batch: _Batch) -> None:
        self._follow_the_file()
        for task in batch:
            task.result = task.operation(Transaction(self.connection))

    def _commit(self, batch: _Batch, touches: Touches) -> None:
        self._follow_the_file()
        self._choose_sync(batch)
        transaction = self._begin(touches)
        try:
            self._run_batch(transaction, batch)
        except Exception:  # noqa: BLE001 - told when it is known whose it is
            self._roll_back()
            transaction = self._begin(touches)
            self._run_isolated(transaction, batch)
        transaction.flush_index()
        begun = time.monotonic()
        self.connection.execute("COMMIT")
        if batch:
            self._commit_seconds = time.monotonic() - begun
        self._queue.committed(touches)
        # Written, but into a file that nobody can open again.
        if self._database.identity() != self._identity:
            raise FileNotFoundError

    def _run_batch(self, transaction: Transaction, batch: _Batch) -> None:
        kinds: dict[BulkOperation[Any] | None, list[Task[Any]]] = {}
        for task in batch:
            kinds.setdefault(task.bulk, []).append(task)
        for bulk, tasks in kinds.items():
            # A single operation is faster than the bulk operation.
            if bulk is None or len(tasks) == 1:
                results: Sequence[Any] = [task.operation(transaction) for task in tasks]
            else:
                results = bulk(transaction, [task.operation for task in tasks])
            for task, result in zip(tasks, results, strict=True):
                task.result = result

    def _run_isolated(self, transaction: Transaction, batch: _Batch) -> None:
        for task in batch:
            try:
                task.result = transaction.isolated(task.operation)
            except Exception as error:
                if not self.connection.in_transaction:
                    raise
                task.error = translated(error, task.doing, self._path)

    def _begin(self, touches: Touches) -> Transaction:
        self._lock_the_file()
        # Of another process, since the file was opened.
        check_version(self.connection)
        if touches:
            # First: they came before the operations, which may check whether a session has expired.
            rows = json.dumps(
                [
                    (user_id, moment, session_id)
                    for user_id, moments in touches.items()
                    for session_id, moment in moments.items()
                ]
            )
            self.connection.execute(statements.TOUCH_ACTIVE, (rows,))
        return Transaction(self.connection)

    def _lock_the_file(self) -> None:
        """Begin a transaction that writes. Wait for a process that rewrites the file."""
        waiting = RewriteWait(self._path)
        while True:
            try:
                self.connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if self._queue.is_closed or not waiting.goes_on(error):
                    raise
            else:
                return

    def _roll_back(self) -> None:
        # SQLite may have undone the whole transaction already, for instance because the disk is full. An error of the
        # rollback itself must not end the thread that all callers wait for.
        if self.connection.in_transaction:
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")

    def _choose_sync(self, batch: _Batch) -> None:
        synchronous = self._synchronous if any(task.synced for task in batch) else _NOT_SYNCED
        if self._chosen != (self.connection, synchronous):
            self.connection.execute(synchronous)
            self._chosen = (self.connection, synchronous)

    def _connect(self) -> tuple[sqlite3.Connection, Identity]:
        identity = self._database.identity()
        connection = self._database.connect()
        try:
            migrate(connection)
            self._database.remember_the_log_of(identity)
        except BaseException:
            connection.close()
            raise
        return connection, identity

    def _follow_the_file(self) -> None:
        """Open the file again if another has taken its place, as a restored backup does."""
        self._database.check_reserve()
        if self._database.identity() != self._identity:
            connection, identity = self._connect()
            self.connection.close()
            self.connection, self._identity = connection, identity


def _nothing(_: Transaction) -> None:
    """Do nothing. Its caller waits for the commit."""


class RewriteWait:
    """How long one write waits for a rewrite of *path*. None: it never does."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._until = time.monotonic() + REWRITE_SECONDS

    def goes_on(self, error: sqlite3.OperationalError) -> bool:
        """Return whether to try again after *error*, a moment later: some process is rewriting the file."""
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or not self._path or not is_being_rewritten(self._path):
            return False
        if time.monotonic() > self._until:
            return False
        # SQLite has waited already, unless its timeout is very short.
        time.sleep(_RETRY_SECONDS)
        return True


def is_being_rewritten(path: Path) -> bool:
    """Tell whether some process is rewriting the file *path* now."""
    if sys.platform == "win32":
        return False
    real = path.resolve()
    try:
        descriptor = os.open(real.with_name(real.name + REWRITE_SUFFIX), os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
