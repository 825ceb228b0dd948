"""Records of the idempotency store in SQLite: a table in the memory's file, and a file for locks next to it.

A record is committed without a sync of its own: it survives a crash of the process. After a power loss, a repeat may
run again. A chat call then overwrites the same turn, because the turn's key contains the request_id.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Generic, TypeAlias, TypeVar

import msgspec

from ilab_chat_service.failures import StoreNotOpened
from ilab_chat_service.idempotency.store import RETENTION, SingleFlight, lock_key, unavailable
from ilab_chat_service.settings.memory import IN_MEMORY
from ilab_chat_service.storage_cause import storage_cause
from ilab_chat_service.store_damage import Damage
from ilab_chat_service.values import StoredResponse
from ilab_memory.stores.sqlite import RewriteWait, request_rewrite, translated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from datetime import datetime

    from ilab_chat_service.ports import Clock
    from ilab_chat_service.values import RequestKey

    #: User, method, request id, and the time from which on a record counts.
    Asked: TypeAlias = tuple[str, str, str, str]
    Answer: TypeAlias = tuple[RequestKey, StoredResponse, datetime]

T = TypeVar("T")
A = TypeVar("A")
Wanted = TypeVar("Wanted")
Got = TypeVar("Got")

#: New answers between two sweeps of expired ones, and the number of expired answers that a sweep deletes per new one.
ANSWERS_A_SWEEP = 10
SWEPT_FOR_EACH = 10

BUSY_SECONDS = 5.0

PRAGMAS = (
    "journal_mode = WAL",  # as in the memory: readers do not wait for the writer
    "synchronous = NORMAL",  # no sync per record, see above
    "secure_delete = ON",  # erased rows are overwritten
)

#: The statements that migrate to each version. They never change once released.
MIGRATIONS = (
    """
    CREATE TABLE idempotency_records (
        user_id TEXT NOT NULL,
        method TEXT NOT NULL,
        request_id TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        answer TEXT NOT NULL,
        observation_ids TEXT NOT NULL,  -- a JSON array
        created_at TEXT NOT NULL,
        PRIMARY KEY (user_id, method, request_id)
    ) WITHOUT ROWID;
    CREATE INDEX idempotency_by_age ON idempotency_records (created_at);
    """,
)
VERSION = "SELECT version FROM idempotency_schema"
# One statement per batch: the driver releases the GIL at each step, and reacquiring it from a busy event loop costs
# more than the step.
FIND = """
    SELECT asked.key, record.fingerprint, record.answer FROM json_each(?) asked CROSS JOIN idempotency_records record
    ON record.user_id = asked.value ->> 0 AND record.method = asked.value ->> 1
        AND record.request_id = asked.value ->> 2 AND record.created_at > asked.value ->> 3
"""
PUT = """
    INSERT OR REPLACE INTO idempotency_records
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value -> 5, value ->> 6 FROM json_each(?)
"""
SWEEP = """
    DELETE FROM idempotency_records WHERE (user_id, method, request_id) IN
    (SELECT user_id, method, request_id FROM idempotency_records WHERE created_at <= ? ORDER BY created_at LIMIT ?)
"""
HAS_ANSWERS = "SELECT EXISTS (SELECT 1 FROM idempotency_records WHERE user_id = ?)"
FORGET = "DELETE FROM idempotency_records WHERE user_id = ?"
FORGET_OBSERVATION = """
    DELETE FROM idempotency_records
    WHERE user_id = ? AND EXISTS (SELECT 1 FROM json_each(observation_ids) WHERE value = ?)
"""
DROP = f"{FORGET_OBSERVATION} AND method = ?"


@asynccontextmanager
async def open_sqlite_store(path: str, clock: Clock, damage: Damage | None = None) -> AsyncIterator[SingleFlight]:
    """Open the idempotency store in the SQLite file *path*, which the memory has created. Leaving closes it.

    Calls that find the file damaged report it to *damage*.

    Raises:
        StoreNotOpened: the file cannot be opened, or is of a newer version of this service.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="idempotency")
    loop = asyncio.get_running_loop()
    try:
        connection = await loop.run_in_executor(thread, connect, path)
        try:
            with (
                closing(await loop.run_in_executor(thread, open_locks, path)) as locks,
                closing(SQLiteRecords(connection, thread, locks, damage or Damage(), file_of(path))) as records,
            ):
                yield SingleFlight(records, clock)
        finally:
            await loop.run_in_executor(thread, connection.close)
    finally:
        await asyncio.to_thread(thread.shutdown)


def connect(path: str) -> sqlite3.Connection:
    """Open *path* and bring its table up to date. Wait for a process that rewrites the file."""
    with not_opened(path):
        connection = sqlite3.connect(as_the_memory(path), timeout=BUSY_SECONDS, isolation_level=None)
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        waiting = RewriteWait(file_of(path))
        while True:
            try:
                migrate(connection)
            except sqlite3.OperationalError as error:
                if not waiting.goes_on(error):
                    raise
            else:
                return connection


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the table up to date. Write in any case: a read-only file is refused at start."""
    with transaction(connection):
        connection.execute("CREATE TABLE IF NOT EXISTS idempotency_schema (version INTEGER NOT NULL)")
        [version] = connection.execute(VERSION).fetchone() or [0]
        if version > len(MIGRATIONS):
            raise StoreNotOpened("the idempotency store is of a newer version of this service")
        for statements in MIGRATIONS[version:]:
            for statement in statements.split(";"):
                connection.execute(statement)
        connection.execute("DELETE FROM idempotency_schema")
        connection.execute("INSERT INTO idempotency_schema VALUES (?)", [len(MIGRATIONS)])


def open_locks(path: str) -> IO[bytes]:
    """Open the lock file next to *path*. It stays empty: locks cover byte offsets beyond its end."""
    with not_opened(path):
        if path == IN_MEMORY:  # no other process can share it
            return tempfile.TemporaryFile()
        return open(f"{as_the_memory(path)}-locks", "ab", opener=private)


def as_the_memory(path: str) -> str:
    """Expand *path* like the memory does."""
    return path if path == IN_MEMORY else str(Path(path).expanduser())


def file_of(path: str) -> Path | None:
    """Return the file, None for a database in memory."""
    return None if path == IN_MEMORY else Path(as_the_memory(path))


def private(path: str, flags: int) -> int:
    """Create the file with mode 0600."""
    return os.open(path, flags, mode=0o600)


class SQLiteRecords:
    """Records over an open connection, which only the one thread of *thread* uses.

    A request's lock covers one byte of *locks* (POSIX, see fcntl(2)). The kernel releases it when the process ends. It
    releases all locks of the process when the process closes any descriptor of the file, so nothing else opens the
    file. While a process rewrites *file*, the memory's, writes wait for it until `close`.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        thread: ThreadPoolExecutor,
        locks: IO[bytes],
        damage: Damage,
        file: Path | None,
    ) -> None:
        self._connection = connection
        self._thread = thread
        self._locks = locks
        self._damage = damage
        self._file = file
        self._is_closed = False
        self._since_sweep = 0
        self._finds = Batcher(partial(self._run, self._find))
        self._puts = Batcher(partial(self._run, self._put))

    def close(self) -> None:
        """Let writes no longer wait for a process that rewrites the file."""
        self._is_closed = True

    async def enter(self, key: RequestKey, since: datetime, *, is_new: bool) -> tuple[bool, StoredResponse | None]:
        """See `store.Records.enter`."""
        taken = self._lock(key)
        if is_new:
            return taken, None
        return taken, await self._finds.get((key.user_id, key.method, key.request_id, since.isoformat()))

    def leave(self, key: RequestKey) -> None:
        """See `store.Records.leave`."""
        fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, lock_key(key))

    async def put(self, key: RequestKey, stored: StoredResponse, now: datetime) -> None:
        """See `store.Records.put`."""
        await self._puts.get((key, stored, now))

    def _find(self, asked: list[Asked]) -> list[StoredResponse | None]:
        found: list[StoredResponse | None] = [None] * len(asked)
        for place, *record in self._connection.execute(FIND, [msgspec.json.encode(asked).decode()]):
            found[place] = StoredResponse(*record)
        return found

    def _put(self, answers: list[Answer]) -> list[None]:
        """Write *answers*, all or none. Every few answers, delete some expired ones too."""
        rows = [
            (
                *(key.user_id, key.method, key.request_id),
                *(stored.fingerprint, stored.text, stored.observation_ids, now.isoformat()),
            )
            for key, stored, now in answers
        ]
        if self._since_sweep >= ANSWERS_A_SWEEP:
            [*_, (_, _, now)] = answers
            self._connection.execute(SWEEP, [(now - RETENTION).isoformat(), SWEPT_FOR_EACH * self._since_sweep])
            self._since_sweep = 0
        self._since_sweep += len(answers)
        self._connection.execute(PUT, [msgspec.json.encode(rows).decode()])
        return [None] * len(answers)

    async def forget(self, user_id: str) -> int:
        """See `store.Records.forget`. The memory is in the same file and rewrites the pages when it forgets."""
        return await self._run(partial(self._forget, FORGET), [user_id])

    async def forget_observation(self, user_id: str, observation_id: int) -> int:
        """See `store.Records.forget_observation`. The memory rewrites the pages when it erases."""
        return await self._run(partial(self._forget, FORGET_OBSERVATION), [user_id, observation_id])

    async def drop(self, user_id: str, method: str, observation_id: int) -> None:
        """See `store.Records.drop`."""
        await self._run(self._drop, (user_id, observation_id, method))

    def _drop(self, values: Sequence[str | int]) -> None:
        # Check first without the lock for writes, which the memory may hold.
        if self._connection.execute(HAS_ANSWERS, values[:1]).fetchone()[0]:
            self._connection.execute(DROP, values)

    def _forget(self, statement: str, values: list[str | int]) -> int:
        """Erase records by *statement*. The first of *values* is the user."""
        if not self._connection.execute(HAS_ANSWERS, values[:1]).fetchone()[0]:
            return 0
        with transaction(self._connection):
            erased = self._connection.execute(statement, values).rowcount
            if erased:
                request_rewrite(self._connection, str(values[0]))
        return erased

    def _lock(self, key: RequestKey) -> bool:
        try:
            fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, lock_key(key))
        except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: fcntl(2) allows both
            return False
        except OSError as error:
            raise unavailable(error) from error
        return True

    async def _run(self, call: Callable[[A], T], argument: A) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._waiting, call, argument)
        except sqlite3.Error as error:
            self._damage.failed(storage_cause(error))
            raise unavailable(error) from error

    def _waiting(self, call: Callable[[A], T], argument: A) -> T:
        """Return what *call* returns. Call it again while a rewrite of the file keeps others from writing."""
        waiting = RewriteWait(self._file)
        while True:
            try:
                return call(argument)
            except sqlite3.OperationalError as error:
                if self._is_closed or not waiting.goes_on(error):
                    raise


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block in a transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def not_opened(path: str) -> Iterator[None]:
    """Translate errors of opening a file. The message says if the disk is full, or the file system read-only."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        cause = translated(error, "open the idempotency store", Path(as_the_memory(path)))
        raise StoreNotOpened(f"ILAB_MEMORY_DB_PATH: {cause}") from error


class Batcher(Generic[Wanted, Got]):
    """Runs requests of concurrent calls as one batch at a time. Those that arrive while it runs form the next batch."""

    def __init__(self, do: Callable[[list[Wanted]], Awaitable[Sequence[Got]]]) -> None:
        """*do* processes a batch and returns one result per request, in order. If it raises, all of them raise."""
        self._do = do
        self._wanted: list[Wanted] = []
        self._doing = asyncio.Lock()

    async def get(self, wanted: Wanted) -> Got:
        """Add *wanted* to the next batch and return its result."""
        place = len(self._wanted)
        self._wanted.append(wanted)
        if place == 0:
            self._next = asyncio.create_task(self._do_all())
        # Cancelling one caller must not cancel the batch.
        return (await asyncio.shield(self._next))[place]

    async def _do_all(self) -> Sequence[Got]:
        async with self._doing:
            wanted, self._wanted = self._wanted, []
            return await self._do(wanted)
