"""The write queue: operations on a transaction that they share, each with a caller that waits for it.

The queue also takes touches of sessions, which nobody waits for.

The writer is woken as rarely as possible: each time, it must reacquire the GIL.
"""

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby, takewhile
from operator import itemgetter
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from ilab_memory.core.errors import raise_closed
from ilab_memory.forks import Process

T = TypeVar("T")
_Parameters = Sequence[Any]

#: Maximum number of operations in a transaction: it bounds how long the first caller waits for the last.
MAX_BATCH = 512
#: Maximum number of characters in a transaction, unless one text alone is longer. No more of a text is indexed, which
#: takes about 50 ms.
BATCH_CHARACTERS = 65_536
#: A longer text is a long one. Short texts overtake it, except in every second transaction.
LONG_CHARACTERS = 16_384
#: Seconds that a touch waits for an operation with which it is committed.
TOUCH_SECONDS = 1.0


class Transaction:
    """The statements that an operation may run."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.execute = connection.execute
        self.executemany = connection.executemany
        self._connection = connection
        self._index: list[tuple[str, _Parameters]] = []

    def index(self, statement: str, parameters: _Parameters) -> None:
        """Run *statement* on the full-text index just before the commit.

        The first of *parameters* is the row. The statements of one row run in the order of these calls.
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
        """Run the statements that `index` has deferred.

        In ascending order of rows: FTS5 flushes its buffer whenever a row is below the one before.
        """
        self._index.sort(key=lambda deferred: int(deferred[1][0]))
        for statement, deferred in groupby(self._index, key=itemgetter(0)):
            self.executemany(statement, [parameters for _, parameters in deferred])


#: Runs several operations of one kind together. Returns the result of each, in their order.
BulkOperation: TypeAlias = Callable[[Transaction, Sequence[Any]], Sequence[T]]


class Task(Generic[T]):
    """An operation and, once it is done, its result or error."""

    __slots__ = (
        "_done",
        "_ended",
        "alone",
        "behind",
        "bulk",
        "characters",
        "doing",
        "error",
        "operation",
        "result",
        "synced",
    )

    def __init__(
        self,
        doing: str,
        operation: Callable[[Transaction], T],
        *,
        synced: bool = True,
        alone: bool = False,
        bulk: BulkOperation[T] | None = None,
        characters: int = 0,
    ) -> None:
        self.doing = doing
        self.operation = operation
        self.synced = synced
        self.alone = alone
        self.bulk = bulk
        self.characters = characters
        """Length of the text that the operation stores or takes from the index."""
        self.error: BaseException | None = None
        self.result: T | None = None
        self.behind: Task[Any] | None = None
        """The next task of the batch: its caller is woken by the caller of this one."""
        self._ended = False
        # A lock that is held until the task is done: the cheapest thing to wait for.
        self._done = threading.Lock()
        self._done.acquire()

    def finish(self) -> None:
        """Wake the caller. A second call does nothing."""
        self._ended = True
        with suppress(RuntimeError):
            self._done.release()

    def wait(self) -> T:
        """Return the result once there is one, or raise the error; wake the next caller."""
        try:
            self._pass_on()
        except BaseException:
            # Interrupted (only the main thread can be): the callers behind must still be woken.
            threading.Thread(target=self._pass_on, name="ilab-memory-wake", daemon=True).start()
            raise
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]  # set, for there was no error

    def _pass_on(self) -> None:
        # An interrupted caller may have taken the lock of a task that is done, and left.
        if not self._ended:
            self._done.acquire()
        if self.behind is not None:
            self.behind.finish()


#: The last activity in sessions, by user and session id.
Touches: TypeAlias = Mapping[str, Mapping[str, str]]
_NO_TOUCHES: Mapping[str, str] = {}


class NextBatch(NamedTuple):
    """The operations of the writer's next transaction."""

    tasks: list[Task[Any]]
    touches: Touches


class _Sleep(NamedTuple):
    """The event that wakes the writer."""

    enough: int
    """This number of tasks."""
    or_touch: bool
    """A touch."""


class WriteQueue:
    """Takes tasks and touches from any thread, and hands them to the writer's thread."""

    def __init__(self) -> None:
        self._process = Process()
        self._lock = threading.Lock()
        self._tasks: deque[Task[Any]] = deque()
        # The inner mappings are replaced, never changed: `touched` reads them without the lock.
        self._touches: dict[str, Mapping[str, str]] = {}
        self._closed = False
        self._had_long = False
        """Whether the last batch had a long text."""
        self._sleep: _Sleep | None = None
        # Unlocked to wake the writer.
        self._alarm = threading.Lock()
        self._alarm.acquire()

    @property
    def is_closed(self) -> bool:
        """Whether `close` has been called."""
        return self._closed

    def put(self, task: Task[Any]) -> None:
        """Append *task*.

        Raises:
            RuntimeError: closed, or this is a forked child.
        """
        self._process.check()
        with self._lock:
            if self._closed:
                raise_closed()
            self._tasks.append(task)
            self._wake()

    def touch(self, user_id: str, session_id: str, moment: str) -> None:
        """Add activity in a session, which is taken with the next task, or after TOUCH_SECONDS.

        Raises:
            RuntimeError: closed, or this is a forked child.
        """
        self._process.check()
        with self._lock:
            if self._closed:
                raise_closed()
            before = self._touches.get(user_id, _NO_TOUCHES)
            self._touches[user_id] = {**before, session_id: max(moment, before.get(session_id, moment))}
            self._wake()

    def touched(self, user_id: str) -> Mapping[str, str]:
        """Return the last activity in sessions of the user that is not committed, by session id.

        Ask before reading the sessions that it is compared with.
        """
        return self._touches.get(user_id, _NO_TOUCHES)

    def take(self, answered: int, patience: float) -> NextBatch | None:
        """Wait for the next batch; None if the queue is closed and empty.

        Once there is a task, wait up to *patience* seconds for the number of tasks that were queued plus *answered*.
        """
        expected = min(len(self._tasks) + answered, MAX_BATCH)
        while not (self._tasks or self._closed):
            if self._slept(_Sleep(1, or_touch=False), TOUCH_SECONDS):
                continue
            if self._touches:
                break
            self._slept(_Sleep(1, or_touch=True), -1)
        if self._tasks:
            self._slept(_Sleep(expected, or_touch=False), patience)
        with self._lock:
            tasks = self._batch()
            touches = dict(self._touches)
            if self._closed:
                # Even if they cannot be committed: no batch takes them again.
                self._touches = {}
                if not tasks and not touches:
                    return None
        return NextBatch(tasks, touches)

    def committed(self, touches: Touches) -> None:
        """Drop *touches*, which are committed. If a user has newer ones, all of that user are committed once more."""
        with self._lock:
            for user_id, moments in touches.items():
                if self._touches.get(user_id) is moments:
                    del self._touches[user_id]

    def close(self) -> None:
        """Refuse later tasks and touches."""
        with self._lock:
            self._closed = True
            self._wake()

    def _batch(self) -> list[Task[Any]]:
        """Take the tasks of the next transaction. Tasks that do not fit, or wait their turn, stay in their order.

        A short text waits for at most one long text: one that is being stored when the short one is queued.
        """
        passable = takewhile(lambda task: not task.alone, self._tasks)
        only_short = self._had_long and any(task.characters <= LONG_CHARACTERS for task in passable)
        tasks: list[Task[Any]] = []
        left: deque[Task[Any]] = deque()
        characters = 0
        while self._tasks and len(tasks) < MAX_BATCH:
            # It runs after all that came before it.
            if left and self._tasks[0].alone:
                break
            task = self._tasks.popleft()
            is_passed = only_short and task.characters > LONG_CHARACTERS
            if is_passed or (tasks and characters + task.characters > BATCH_CHARACTERS):
                left.append(task)
            else:
                tasks.append(task)
                characters += task.characters
        self._had_long = any(task.characters > LONG_CHARACTERS for task in tasks)
        self._tasks.extendleft(reversed(left))
        return tasks

    def _slept(self, sleep: _Sleep, seconds: float) -> bool:
        """Wait for *sleep*, at most *seconds* (-1: forever); return whether it may have occurred."""
        with self._lock:
            if self._is_there(sleep):
                return True
            self._sleep = sleep
        if self._alarm.acquire(timeout=seconds):
            return True
        with self._lock:
            self._sleep = None
            # It may have gone off since the wait ended.
            return self._alarm.acquire(blocking=False)

    def _wake(self) -> None:
        if self._sleep is not None and self._is_there(self._sleep):
            # In this order, and again if need be: a caller in the main thread may be interrupted in between. Then the
            # alarm may go off once too often, which does no harm.
            with suppress(RuntimeError):
                self._alarm.release()
            self._sleep = None

    def _is_there(self, sleep: _Sleep) -> bool:
        return self._closed or len(self._tasks) >= sleep.enough or (sleep.or_touch and bool(self._touches))
