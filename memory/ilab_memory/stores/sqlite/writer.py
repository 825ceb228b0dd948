"""The one thread that writes. It takes all that is waiting, and commits it as one transaction: one sync for all.

An operation that fails takes no other with it: the batch is then begun again, each operation between a savepoint and
its release. What an operation adds to the full-text index is done once for the batch, just before the commit: FTS5
writes out all it holds at each savepoint.
"""

import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby, pairwise
from typing import Any, Generic, TypeAlias, TypeVar

from ilab_memory.stores.sqlite.connections import Database, Identity, raise_closed, storage_errors, translated
from ilab_memory.stores.sqlite.migrations import check_version, migrate

T = TypeVar("T")
Parameters = Sequence[Any]

#: Operations of one transaction at most: a bound on how long its first caller waits for its last.
MAX_BATCH = 512


class Transaction:
    """What an operation may do."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.execute = connection.execute
        self.executemany = connection.executemany
        self._connection = connection
        self._index: list[tuple[str, Parameters]] = []

    def index(self, statement: str, parameters: Parameters) -> None:
        """Run *statement* on the full-text index just before the commit.

        The first of *parameters* is the row; what is done to one row is done in order.
        """
        self._index.append((statement, parameters))

    def isolated(self, operation: "Callable[[Transaction], T]") -> T:
        """Run *operation*; if it raises, undo what it did and nothing else."""
        indexed = len(self._index)
        self.execute("SAVEPOINT operation")
        try:
            return operation(self)
        except BaseException:
            del self._index[indexed:]
            # A full disk, for one, has already undone the whole transaction.
            if self._connection.in_transaction:
                self.execute("ROLLBACK TO operation")
            raise
        finally:
            if self._connection.in_transaction:
                self.execute("RELEASE operation")

    def flush_index(self) -> None:
        """Do what `index` has put off.

        By rising row: FTS5 writes out all it holds whenever it is given a row below the last one.
        """
        self._index.sort(key=_row_of_index)
        for statement, put_off in groupby(self._index, key=_statement):
            self.executemany(statement, [parameters for _, parameters in put_off])


#: Does several operations of one kind at once; returns the result of each, in their order.
Together: TypeAlias = Callable[[Transaction, Sequence[Any]], Sequence[T]]


def _statement(put_off: tuple[str, Parameters]) -> str:
    return put_off[0]


def _row_of_index(put_off: tuple[str, Parameters]) -> int:
    return int(put_off[1][0])


class _Task(Generic[T]):
    """An operation and, once it is done, what became of it."""

    __slots__ = ("_done", "alone", "behind", "doing", "error", "operation", "result", "synced", "together")

    def __init__(
        self,
        doing: str,
        operation: Callable[[Transaction], T],
        *,
        synced: bool = True,
        alone: bool = False,
        together: Together[T] | None = None,
    ) -> None:
        self.doing = doing
        self.operation = operation
        self.synced = synced
        self.alone = alone
        self.together = together
        self.error: BaseException | None = None
        self.result: T | None = None
        self.behind: _Task[Any] | None = None
        """The task of the same batch whose caller the caller of this one wakes."""
        # A lock that is held until the task is done: the cheapest thing to wait for.
        self._done = threading.Lock()
        self._done.acquire()

    def finish(self) -> None:
        """Wake the caller. Again: nothing."""
        with suppress(RuntimeError):
            self._done.release()

    def wait(self) -> T:
        """Return the result once there is one, or raise the error; wake the next caller."""
        try:
            self._pass_on()
        except BaseException:
            # Interrupted (only the main thread can be): the callers behind must not wait for one who has left.
            threading.Thread(target=self._pass_on, name="ilab-memory-wake", daemon=True).start()
            raise
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]  # set, for there was no error

    def _pass_on(self) -> None:
        self._done.acquire()
        self.finish()
        if self.behind is not None:
            self.behind.finish()


_Batch = Sequence[_Task[Any]]


class Writer:
    """Runs operations of any thread, those of one thread in order."""

    def __init__(self, database: Database, *, synchronous: str, lock: threading.Lock) -> None:
        self._database = database
        self._synchronous = synchronous
        # Of a database in memory: it has one connection, and a reader must not see half of a batch.
        self._lock = lock
        self._tasks: queue.SimpleQueue[_Task[Any] | None] = queue.SimpleQueue()
        self._answered = 0
        self._commit_seconds = 0.0
        self._closing = threading.Lock()
        self._closed = False
        with storage_errors("open the database"):
            self.connection, self._identity = self._connect()
        self._thread = threading.Thread(target=self._run, name="ilab-memory-writer", daemon=True)
        self._thread.start()

    def run(
        self,
        doing: str,
        operation: Callable[[Transaction], T],
        *,
        synced: bool = True,
        together: Together[T] | None = None,
    ) -> T:
        """Run *operation* in a transaction, return its result when that is committed.

        With *synced* false, a commit of this alone is not synced: it is on the disk after the next one that is. Several
        operations of a batch that name the same *together* are given to it, unless it has failed.

        Raises:
            StorageError: nothing of *operation* is stored.
            RuntimeError: closed.
        """
        return self._finished(_Task(doing, operation, synced=synced, together=together))

    def run_alone(self, doing: str, operation: Callable[[Transaction], T]) -> T:
        """Run *operation* outside of any transaction, after what was waiting before it."""
        return self._finished(_Task(doing, operation, alone=True))

    def close(self) -> None:
        """Finish what is waiting, then close the connection."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._tasks.put(None)
        self._thread.join()

    def _finished(self, task: _Task[T]) -> T:
        with self._closing:
            if self._closed:
                raise_closed()
            self._tasks.put(task)
        return task.wait()

    def _run(self) -> None:
        open_ = True
        while open_:
            batch, open_ = self._take()
            with self._lock:
                self._write([task for task in batch if not task.alone], self._commit)
                for task in batch:
                    if task.alone:
                        self._write([task], self._run_alone)
        with self._lock:
            self.connection.close()

    def _take(self) -> tuple[list[_Task[Any]], bool]:
        """Wait for a task; return it with those behind it, and whether there may be more."""
        # Whoever was just answered is likely to come again soon: without waiting for them, callers would settle in two
        # halves, one waiting while the other is synced. That is worth what a sync costs, so it waits no longer.
        expected = min(self._answered + self._tasks.qsize(), MAX_BATCH)
        batch: list[_Task[Any]] = []
        task = self._tasks.get()
        deadline = time.monotonic() + self._commit_seconds
        try:
            while task is not None:
                batch.append(task)
                if len(batch) == MAX_BATCH:
                    return batch, True
                patience = deadline - time.monotonic() if len(batch) < expected else 0
                task = self._tasks.get(timeout=patience) if patience > 0 else self._tasks.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False

    def _write(self, batch: _Batch, how: Callable[[_Batch], None]) -> None:
        try:
            if batch:
                how(batch)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the callers are waiting for it
            self._roll_back()
            for task in batch:
                task.error = translated(error, task.doing)
        self._answered = len(batch)
        # Each caller wakes the next: if all woke at once, whoever reads meanwhile would wait for the interpreter
        # behind all of them.
        for task, behind in pairwise(batch):
            task.behind = behind
        if batch:
            batch[0].finish()

    def _run_alone(self, batch: _Batch) -> None:
        self._follow_the_file()
        for task in batch:
            task.result = task.operation(Transaction(self.connection))

    def _commit(self, batch: _Batch) -> None:
        self._follow_the_file()
        self._choose_sync(batch)
        transaction = self._begin()
        try:
            self._run_together(transaction, batch)
        except Exception:  # noqa: BLE001 - told when it is known whose it is
            self._roll_back()
            transaction = self._begin()
            self._run_isolated(transaction, batch)
        transaction.flush_index()
        begun = time.monotonic()
        self.connection.execute("COMMIT")
        self._commit_seconds = time.monotonic() - begun
        # Written, but into a file that nobody can open again.
        self._check_the_file()

    def _run_together(self, transaction: Transaction, batch: _Batch) -> None:
        kinds: dict[Together[Any] | None, list[_Task[Any]]] = {}
        for task in batch:
            kinds.setdefault(task.together, []).append(task)
        for together, tasks in kinds.items():
            # One alone is done faster by itself.
            if together is None or len(tasks) == 1:
                results: Sequence[Any] = [task.operation(transaction) for task in tasks]
            else:
                results = together(transaction, [task.operation for task in tasks])
            for task, result in zip(tasks, results, strict=True):
                task.result = result

    def _run_isolated(self, transaction: Transaction, batch: _Batch) -> None:
        for task in batch:
            try:
                task.result = transaction.isolated(task.operation)
            except Exception as error:
                if not self.connection.in_transaction:
                    raise
                task.error = translated(error, task.doing)

    def _begin(self) -> Transaction:
        self.connection.execute("BEGIN IMMEDIATE")
        # Of another process, since the file was opened.
        check_version(self.connection)
        return Transaction(self.connection)

    def _roll_back(self) -> None:
        # A full disk, for one, has already undone the whole transaction. What a rollback itself raises is of no use to
        # anybody, and must not end the thread that all callers wait for.
        if self.connection.in_transaction:
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")

    def _choose_sync(self, batch: _Batch) -> None:
        synced = any(task.synced for task in batch)
        self.connection.execute(self._synchronous if synced else "PRAGMA synchronous = NORMAL")

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
        if self._database.identity() != self._identity:
            connection, identity = self._connect()
            self.connection.close()
            self.connection, self._identity = connection, identity

    def _check_the_file(self) -> None:
        if self._database.identity() != self._identity:
            raise FileNotFoundError
