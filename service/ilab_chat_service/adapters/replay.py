"""The replay log: answers by user and request_id, in a table of its own in the memory's SQLite file.

A record is committed without a sync of its own: it survives a crash of the process. After a loss of power a repetition
may ask the model again, and still overwrites the same turn, whose key has the request_id in it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from ilab_chat_service.adapters import answer_record
from ilab_chat_service.ports import RETRY_AFTER_SECONDS, MemoryUnavailable, RequestIdReused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from ilab_chat_service.ports import Answered, Clock, TurnRequest

T = TypeVar("T")

#: How long an answer is kept (contract).
RETENTION = timedelta(hours=24)

#: Expired answers that one new answer sweeps away, so that sweeping never takes long.
SWEPT_AT_ONCE = 10

BUSY_SECONDS = 5.0

PRAGMAS = (
    "journal_mode = WAL",  # as the memory has it: readers do not wait for the writer
    "synchronous = NORMAL",  # no sync of its own, see above
    "secure_delete = ON",  # what is forgotten is overwritten
)

#: One row a version: the statements that lead to it. Applied ones never change.
MIGRATIONS = (
    """
    CREATE TABLE replay (
        user_id TEXT NOT NULL,
        request_id TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        answer TEXT NOT NULL,
        created_at TEXT NOT NULL,
        PRIMARY KEY (user_id, request_id)
    ) WITHOUT ROWID;
    CREATE INDEX replay_by_age ON replay (created_at);
    """,
)
VERSION = "SELECT version FROM replay_schema"
FIND = "SELECT fingerprint, answer FROM replay WHERE user_id = ? AND request_id = ? AND created_at > ?"
PUT = "INSERT OR REPLACE INTO replay VALUES (?, ?, ?, ?, ?)"
SWEEP = """
    DELETE FROM replay WHERE (user_id, request_id) IN
    (SELECT user_id, request_id FROM replay WHERE created_at <= ? ORDER BY created_at LIMIT ?)
"""
FORGET = "DELETE FROM replay WHERE user_id = ?"


@asynccontextmanager
async def open_replay_log(path: str, clock: Clock) -> AsyncIterator[SQLiteReplayLog]:
    """Open the replay log in the SQLite file *path*, which the memory has made; leaving closes it.

    Raises:
        MemoryUnavailable: it cannot be opened, or is of a newer version of this service.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="replay")
    loop = asyncio.get_running_loop()
    try:
        connection = await loop.run_in_executor(thread, connect, path)
        try:
            yield SQLiteReplayLog(connection, thread, clock)
        finally:
            await loop.run_in_executor(thread, connection.close)
    finally:
        await asyncio.to_thread(thread.shutdown)


def connect(path: str) -> sqlite3.Connection:
    """Open *path* and bring its table up to date."""
    with storage_errors():
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        with transaction(connection):
            connection.execute("CREATE TABLE IF NOT EXISTS replay_schema (version INTEGER NOT NULL)")
            [version] = connection.execute(VERSION).fetchone() or [0]
            if version > len(MIGRATIONS):
                raise MemoryUnavailable("the replay log is of a newer version of this service")
            for statements in MIGRATIONS[version:]:
                for statement in statements.split(";"):
                    connection.execute(statement)
            connection.execute("DELETE FROM replay_schema")
            connection.execute("INSERT INTO replay_schema VALUES (?)", [len(MIGRATIONS)])
        return connection


class SQLiteReplayLog:
    """The ReplayLog port over an open connection, which only the one thread of *thread* uses."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, clock: Clock) -> None:
        self._connection = connection
        self._thread = thread
        self._clock = clock
        self._turnstiles: dict[tuple[str, str], Turnstile] = {}

    async def claim(self, request: TurnRequest) -> SQLiteClaim:
        """See `ports.ReplayLog.claim`."""
        key = request.user_id, request.request_id
        turnstile = self._turnstiles.setdefault(key, Turnstile())
        turnstile.callers += 1
        claim = SQLiteClaim(self, request)
        try:
            await turnstile.lock.acquire()
            claim.entered = True
            claim.earlier = await self.find(request)
        except BaseException:
            claim.release()
            raise
        return claim

    async def find(self, request: TurnRequest) -> Answered | None:
        """Return the stored answer to *request*.

        Raises:
            RequestIdReused, MemoryUnavailable: see `ports.ReplayLog.claim`.
        """
        expired = (self._clock() - RETENTION).isoformat()
        key = request.user_id, request.request_id
        row = await self._run(lambda connection: connection.execute(FIND, [*key, expired]).fetchone())
        if row is None:
            return None
        fingerprint, text = row
        if fingerprint != answer_record.fingerprint(request):
            raise RequestIdReused("this request_id belongs to another request")
        return answer_record.answered(text)

    async def put(self, request: TurnRequest, answered: Answered) -> None:
        """Store *answered*, and sweep some expired answers away."""
        now = self._clock()
        expired = (now - RETENTION).isoformat()

        def write(connection: sqlite3.Connection) -> None:
            record = answer_record.record(answered, request.message)
            fingerprint = answer_record.fingerprint(request)
            with transaction(connection):
                connection.execute(PUT, [request.user_id, request.request_id, fingerprint, record, now.isoformat()])
                connection.execute(SWEEP, [expired, SWEPT_AT_ONCE])

        await self._run(write)

    async def forget(self, user_id: str) -> None:
        """See `ports.ReplayLog.forget`. The pages that held it go when the memory, in the same file, is forgotten."""
        await self._run(lambda connection: connection.execute(FORGET, [user_id]))

    def leave(self, request: TurnRequest, *, entered: bool) -> None:
        """Let the next call of *request* in, if this one was in, and forget the turnstile behind the last."""
        key = request.user_id, request.request_id
        turnstile = self._turnstiles[key]
        if entered:
            turnstile.lock.release()
        turnstile.callers -= 1
        if not turnstile.callers:
            del self._turnstiles[key]

    async def _run(self, call: Callable[[sqlite3.Connection], T]) -> T:
        with storage_errors():
            return await asyncio.get_running_loop().run_in_executor(self._thread, call, self._connection)


class Turnstile:
    """Lets the calls of one request through one at a time."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.callers = 0


class SQLiteClaim:
    """The Claim port."""

    def __init__(self, log: SQLiteReplayLog, request: TurnRequest) -> None:
        self.earlier: Answered | None = None
        self.entered = False
        self._log = log
        self._request = request
        self._released = False

    async def put(self, answered: Answered) -> None:
        """See `ports.Claim.put`."""
        await self._log.put(self._request, answered)

    def release(self) -> None:
        """See `ports.Claim.release`."""
        if not self._released:
            self._released = True
            self._log.leave(self._request, entered=self.entered)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what is done inside, all of it or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def storage_errors() -> Iterator[None]:
    """Translate what SQLite raises."""
    try:
        yield
    except sqlite3.Error as error:
        raise MemoryUnavailable("the replay log is not available", retry_after_seconds=RETRY_AFTER_SECONDS) from error
