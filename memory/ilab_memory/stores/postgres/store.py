"""PostgresStore: the Store of one PostgreSQL database, for any number of processes."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Literal

from ilab_memory.core.models import Observation, SaveResult, Session, UserRows
from ilab_memory.core.store import (
    AddedRows,
    Change,
    ImportedRow,
    Redacted,
    Source,
)
from ilab_memory.limits import LARGEST_ID
from ilab_memory.recall.analysis import one_at_a_time
from ilab_memory.stores.common import rows
from ilab_memory.stores.postgres import (
    copying,
    edits,
    expiry,
    exports,
    saves,
    statements,
    user_sessions,
    work_statements,
)
from ilab_memory.stores.postgres.blind_index import IndexEntry
from ilab_memory.stores.postgres.connections import Connections
from ilab_memory.stores.postgres.migrations import open_database
from ilab_memory.stores.postgres.pool import Pool, conninfo
from ilab_memory.stores.postgres.reads import PostgresReads
from ilab_memory.stores.postgres.vectors import PostgresVectors
from ilab_memory.stores.postgres.work import PostgresWork

#: Of `Config.durability`. "on" also waits for a synchronous standby, if the server has one.
SYNCHRONOUS_COMMIT = {"full": "on", "normal": "off"}


class PostgresStore(PostgresReads, PostgresWork, PostgresVectors):
    """Stores everything in the schema `ilab_memory` of one PostgreSQL database, version 15 or newer.

    Every table is partitioned by user, and every statement touches one user's partition. When `forget` returns, no call
    returns erased rows. But the server keeps their bytes longer: in dead rows until they are vacuumed and overwritten,
    in the write-ahead log until it is recycled, on standbys, and in archives and backups.
    """

    def __init__(
        self,
        url: str,
        *,
        durability: Literal["full", "normal"] = "full",
        wait_seconds: float = 5.0,
        pool_size: int = 16,
        partitions: int = 16,
    ) -> None:
        """Open the database *url* (`postgresql://...`, or whatever libpq takes); make the tables if they are missing.

        A call waits at most *wait_seconds* for a connection, and again for a lock; a read waits at most as long for its
        answer. Of *pool_size* connections, half are for reads and half for writes. *partitions* is the number of
        partitions of new tables; existing tables keep theirs.

        Raises:
            ValueError: *url* is not a URL of PostgreSQL, or a number is too small.
            StorageError: the database cannot be reached or used, or belongs to a newer version of this library.
        """
        for name, number, least in (("pool_size", pool_size, 2), ("partitions", partitions, 1)):
            if number < least:
                raise ValueError(f"{name} must be at least {least}")
        commit = SYNCHRONOUS_COMMIT[durability]
        # A statement timeout would cancel commits that wait for the standby.
        writes = conninfo(url, synchronous_commit=commit, lock_seconds=wait_seconds, statement_seconds=0)
        reads = conninfo(url, synchronous_commit=commit, lock_seconds=wait_seconds, statement_seconds=wait_seconds)
        open_database(writes, partitions=partitions)
        self._connections = Connections(
            Pool(reads, size=pool_size // 2, wait_seconds=wait_seconds),
            Pool(writes, size=pool_size - pool_size // 2, wait_seconds=wait_seconds),
            read_seconds=wait_seconds,
        )
        self._connections.connect()

    def touch_session(self, user_id: str, session_id: str, *, now: datetime) -> None:
        touch = statements.TOUCH_ACTIVE, {"user_id": user_id, "session_id": session_id, "now": now}
        self._connections.write(
            "open a session",
            lambda transaction: transaction.commit((statements.NOT_SYNCED, {}), touch),
            repeatable=True,
        )

    def open_session(
        self, user_id: str, *, conversation_id: str, now: datetime, session_timeout: timedelta
    ) -> tuple[str, bool]:
        """See Store. Repeated if the connection is lost: an id made here tells whether an earlier try opened it."""
        session_id = user_sessions.new_session_id()
        enter = partial(
            user_sessions.open_session, user_id=user_id, session_id=session_id, conversation_id=conversation_id
        )
        session = self._connections.write(
            "open a session", partial(enter, now=now, session_timeout=session_timeout), repeatable=True
        )
        return session.id, session.id == session_id

    def end_session(
        self, user_id: str, *, conversation_id: str, summary: str, now: datetime, observation: Redacted | None = None
    ) -> Session | None:
        end = partial(saves.end_session, user_id=user_id, conversation_id=conversation_id, summary=summary, now=now)
        if observation is not None:
            with one_at_a_time(len(observation.content)):
                end = partial(end, last=(observation, IndexEntry(observation.title, observation.content)))
        ended = self._connections.write("end the session", end)
        if ended is None:
            return None
        session_id, started_at, ended_at = ended
        return rows.session(user_id, (session_id, started_at, ended_at, ended_at, summary, False, conversation_id))

    def save(self, redacted: Redacted, *, now: datetime, session_timeout: timedelta) -> SaveResult:
        with one_at_a_time(len(redacted.content)):
            indexed = [IndexEntry(each.title, each.content) for each in (redacted, *redacted.facts)]
        session_id = user_sessions.new_session_id()
        save = partial(saves.save, redacted=redacted, indexed=indexed, session_id=session_id)
        return self._connections.write("save the observation", partial(save, now=now, session_timeout=session_timeout))

    def change(self, user_id: str, observation_id: int, change: Change, *, now: datetime) -> SaveResult | None:
        if observation_id > LARGEST_ID:
            return None
        doing = "change the observation"
        found = self._connections.rows(doing, statements.TO_CHANGE, user_id=user_id, id=observation_id)
        if not found:
            return None
        # Before the user's row is locked; under the lock, only what has changed by then is analyzed.
        analyzed = cache(IndexEntry)
        old = edits.stored(found[0]).parts
        new = old.changed(change)
        if new != old and (index_key := self._user(user_id, doing)) is not None:
            with one_at_a_time(len(new.content)):
                analyzed(new.title, new.content).vector(index_key)
        return self._connections.write(
            doing,
            lambda transaction: edits.change(transaction, user_id, observation_id, change, analyzed=analyzed, now=now),
        )

    def delete(self, user_id: str, observation_ids: Sequence[int]) -> list[int]:
        """See Store, and the class for what the server keeps."""
        deleted: list[int] = []
        for each in observation_ids:
            if each <= LARGEST_ID:
                delete = partial(edits.delete, user_id=user_id, observation_id=each)
                deleted += self._connections.write("delete the observation", delete)
        return deleted

    def add_rows(self, user_id: str, sessions: Sequence[Session], rows: Sequence[ImportedRow]) -> AddedRows:
        """See Store. Retried after a lost connection only if the commit was not sent yet."""
        with one_at_a_time(sum(len(row.content) for row in rows)):
            indexed = [(row, IndexEntry(row.title, row.content)) for row in rows]
        if (index_key := self._user(user_id, "import")) is not None:
            # The hashes too, before the user's row is locked.
            for _, entry in indexed:
                entry.vector(index_key)
        return self._connections.write(
            "import", lambda transaction: edits.add_rows(transaction, user_id, sessions, indexed)
        )

    def add_sources(self, user_id: str, sources: Sequence[Source]) -> None:
        """See Store. Repeated if the connection is lost."""
        self._connections.write(
            "import", lambda transaction: edits.add_sources(transaction, user_id, sources), repeatable=True
        )

    def expire(self, *, now: datetime, older_than: Mapping[str, datetime], limit: int) -> int:
        """See Store, and the class for what the server keeps. One transaction for each user."""
        return expiry.expire(self._connections, now=now, older_than=older_than, limit=limit)

    def forget(self, user_id: str) -> int:
        """See Store, and the class for what the server keeps. One transaction: the user's own writers wait for it."""
        return self._connections.write(
            "forget the user", lambda transaction: user_sessions.forget(transaction, user_id)
        )

    def size(self) -> int:
        """See Store. With indexes, and without the answers that a service stores in a schema of its own."""
        return int(self._connections.rows("read the size", work_statements.SIZE)[0][0])

    def export(self, user_id: str) -> Iterator[Session | Observation]:
        extent = exports.extent(self._connections, user_id)
        return iter(()) if extent is None else iter(exports.Export(self._connections, user_id, extent))

    def write_rows(self, rows: UserRows, *, replace: bool = False) -> bool:
        """Write all that another store keeps of a user, in one transaction.

        It was redacted there, so it is written as it is: ids, sessions, moments, counts, hashes and the order of saving
        stay. With *replace*, rows of the user that are already here are erased first. Returns whether it was written:
        False if the user is already here and *replace* is false.

        Raises:
            StorageError: nothing was written or erased; but if the connection was lost during the commit, all may be.
        """
        with self._connections.borrow("copy the user") as connection:
            return copying.write(connection, rows, replace=replace)

    def count_users(self) -> int:
        """Return how many users the database holds. Reads all partitions."""
        with self._connections.borrow("count the users") as connection:
            [count] = connection.execute(copying.COUNT_USERS).fetchone() or [0]
        return int(count)

    def close(self) -> None:
        self._connections.close()

    def _user(self, user_id: str, doing: str) -> bytes | None:
        """Return the user's index key, None if there is no such user."""
        found = self._connections.rows(doing, statements.USER, user_id=user_id)
        return bytes(found[0][0]) if found else None
