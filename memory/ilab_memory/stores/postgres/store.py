"""PostgresStore: the Store of one PostgreSQL database, for any number of processes."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal

from ilab_memory.core.models import Fact, Observation, SaveResult, Session, Statement, TypeStats, UserRows
from ilab_memory.core.store import (
    AddedRows,
    Change,
    Document,
    FactCursor,
    ImportedRow,
    Matches,
    ObservationCursor,
    Posting,
    Preview,
    RecentSessions,
    Redacted,
    SessionCursor,
    Source,
    Store,
)
from ilab_memory.limits import LARGEST_ID
from ilab_memory.long_texts import one_at_a_time
from ilab_memory.stores.common.rows import type_statistics
from ilab_memory.stores.postgres import (
    blind_index,
    copying,
    editing,
    expiry,
    exporting,
    reading,
    saving,
    statements,
    work_statements,
    writing,
)
from ilab_memory.stores.postgres import facts as fact_reads
from ilab_memory.stores.postgres.blind_index import IndexEntry
from ilab_memory.stores.postgres.connections import Connections
from ilab_memory.stores.postgres.conninfo import conninfo
from ilab_memory.stores.postgres.migrations import open_database
from ilab_memory.stores.postgres.pool import Pool
from ilab_memory.stores.postgres.vectors import PostgresVectors
from ilab_memory.stores.postgres.work import PostgresWork

#: Of `Config.durability`. "on" also waits for a synchronous standby, if the server has one.
SYNCHRONOUS_COMMIT = {"full": "on", "normal": "off"}
# A moment after every other one.
_AFTER_ALL = "infinity"


class PostgresStore(PostgresWork, PostgresVectors, Store):
    """Keeps everything in the schema `ilab_memory` of one PostgreSQL database, version 15 or newer.

    Every table is partitioned by user, and every statement touches one user's partition. Erased rows are in no answer
    any more when `forget` returns. But the server keeps it longer: in dead rows until they are vacuumed and their place
    is used again, in the write-ahead log until that is recycled, on standbys, in archives and backups.
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

        A call waits *wait_seconds* at most for a connection, as long for a lock, and a read as long for its answer. Of
        *pool_size* connections half are for reads and half for writes. *partitions* is how many of each table are made;
        tables that are there keep theirs.

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

    def recent_sessions(
        self,
        user_id: str,
        *,
        conversation_id: str,
        completed: int,
        each: int,
        preview_characters: int,
        now: datetime,
    ) -> RecentSessions:
        rows = self._connections.rows(
            "read the sessions",
            statements.RECENT_SESSIONS,
            user_id=user_id,
            conversation_id=conversation_id,
            completed=completed,
            each=each,
            characters=preview_characters,
            now=now,
        )
        return reading.recent_sessions(user_id, rows)

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
        session_id = saving.new_session_id()
        session = self._connections.write(
            "open a session",
            lambda transaction: saving.open_session(
                transaction,
                user_id,
                session_id,
                conversation_id=conversation_id,
                now=now,
                session_timeout=session_timeout,
            ),
            repeatable=True,
        )
        return session.id, session.id == session_id

    def end_session(
        self, user_id: str, *, conversation_id: str, summary: str, now: datetime, observation: Redacted | None = None
    ) -> Session | None:
        with one_at_a_time(0 if observation is None else len(observation.content)):
            indexed = None if observation is None else IndexEntry(observation.title, observation.content)
        ended = self._connections.write(
            "end the session",
            lambda transaction: writing.end_session(
                transaction,
                user_id,
                conversation_id=conversation_id,
                summary=summary,
                now=now,
                observation=observation,
                indexed=indexed,
            ),
        )
        if ended is None:
            return None
        session_id, started_at, ended_at = ended
        return reading.session(user_id, (session_id, started_at, ended_at, ended_at, summary, False, conversation_id))

    def save(self, redacted: Redacted, *, now: datetime, session_timeout: timedelta) -> SaveResult:
        with one_at_a_time(len(redacted.content)):
            indexed = [IndexEntry(each.title, each.content) for each in (redacted, *redacted.facts)]
        session_id = saving.new_session_id()
        return self._connections.write(
            "save the observation",
            lambda transaction: writing.save(
                transaction, redacted, indexed, session_id, now=now, session_timeout=session_timeout
            ),
        )

    def change(self, user_id: str, observation_id: int, change: Change, *, now: datetime) -> SaveResult | None:
        if observation_id > LARGEST_ID:
            return None
        doing = "change the observation"
        rows = self._connections.rows(doing, statements.TO_CHANGE, user_id=user_id, id=observation_id)
        if not rows:
            return None
        # Before the user's row is locked; under the lock, only what has changed by then is analyzed.
        analyzed = cache(IndexEntry)
        old = editing.stored(rows[0]).parts
        new = old.changed(change)
        if new != old and (index_key := self._user(user_id, doing)) is not None:
            with one_at_a_time(len(new.content)):
                analyzed(new.title, new.content).vector(index_key)
        return self._connections.write(
            doing,
            lambda transaction: editing.change(
                transaction, user_id, observation_id, change, analyzed=analyzed, now=now
            ),
        )

    def delete(self, user_id: str, observation_id: int) -> list[int]:
        """See Store, and the class for what the server keeps."""
        if observation_id > LARGEST_ID:
            return []
        return self._connections.write(
            "delete the observation", lambda transaction: editing.delete(transaction, user_id, observation_id)
        )

    def add_rows(self, user_id: str, sessions: Sequence[Session], rows: Sequence[ImportedRow]) -> AddedRows:
        """See Store. Retried after a lost connection only if the commit was not sent yet."""
        with one_at_a_time(sum(len(row.content) for row in rows)):
            indexed = [(row, IndexEntry(row.title, row.content)) for row in rows]
        if (index_key := self._user(user_id, "import")) is not None:
            # The hashes too, before the user's row is locked.
            for _, entry in indexed:
                entry.vector(index_key)
        return self._connections.write(
            "import", lambda transaction: editing.add_rows(transaction, user_id, sessions, indexed)
        )

    def add_sources(self, user_id: str, sources: Sequence[Source]) -> None:
        """See Store. Repeated if the connection is lost."""
        self._connections.write(
            "import", lambda transaction: editing.add_sources(transaction, user_id, sources), repeatable=True
        )

    def expire(self, *, now: datetime, older_than: Mapping[str, datetime], limit: int) -> int:
        """See Store, and the class for what the server keeps. One transaction for each user."""
        return expiry.expire(self._connections, now=now, older_than=older_than, limit=limit)

    def facts(
        self, user_id: str, *, types: Collection[str] | None, now: datetime, limit: int, before: FactCursor | None
    ) -> list[Fact]:
        return fact_reads.facts(self._connections, user_id, types=types, now=now, limit=limit, before=before)

    def about(self, user_id: str, *, now: datetime, limit: int, characters: int) -> list[Statement]:
        return fact_reads.about(self._connections, user_id, now=now, limit=limit, characters=characters)

    def earlier_sources(self, user_id: str, observation_ids: Collection[int]) -> Collection[int]:
        return fact_reads.earlier_sources(self._connections, user_id, observation_ids)

    def list_observations(
        self,
        user_id: str,
        *,
        types: Collection[str] | None,
        conversation_id: str | None,
        limit: int,
        most_bytes: int,
        before: ObservationCursor | None,
    ) -> list[Observation]:
        moment, observation_id = before or (_AFTER_ALL, 0)
        rows = self._connections.rows(
            "list the observations",
            statements.LIST_OBSERVATIONS if conversation_id is None else statements.LIST_OF_CONVERSATION,
            user_id=user_id,
            types=None if types is None else list(types),
            conversation_id=conversation_id,
            moment=moment,
            key=min(observation_id, LARGEST_ID),
            limit=limit,
            bytes=most_bytes,
        )
        return [reading.observation(user_id, row) for row in rows]

    def list_sessions(
        self, user_id: str, *, conversation_id: str | None, limit: int, most_bytes: int, before: SessionCursor | None
    ) -> list[Session]:
        moment, session_id = before or (_AFTER_ALL, "")
        rows = self._connections.rows(
            "list the sessions",
            statements.LIST_SESSIONS if conversation_id is None else statements.LIST_SESSIONS_OF_CONVERSATION,
            user_id=user_id,
            conversation_id=conversation_id,
            moment=moment,
            session_id=session_id,
            limit=limit,
            bytes=most_bytes,
        )
        return [reading.session(user_id, row) for row in rows]

    def get(self, user_id: str, observation_id: int) -> Observation | None:
        rows = self._of_observation("read the observation", statements.GET, user_id, observation_id)
        return rows[0] if rows else None

    def timeline(
        self, user_id: str, observation_id: int, *, neighbors: int = Store.DEFAULT_TIMELINE_NEIGHBORS
    ) -> list[Observation]:
        return self._of_observation(
            "read the timeline", statements.TIMELINE, user_id, observation_id, neighbors=neighbors
        )

    def recent(
        self,
        user_id: str,
        session_id: str,
        *,
        conversation_id: str,
        limit: int,
        key_prefixes: Sequence[str] | None,
        most_bytes: int,
        now: datetime,
    ) -> list[Observation]:
        rows = self._connections.rows(
            "read the session",
            statements.RECENT,
            user_id=user_id,
            session_id=session_id,
            conversation_id=conversation_id,
            limit=limit,
            prefixes=None if key_prefixes is None else list(key_prefixes),
            most_bytes=most_bytes,
            now=now,
        )
        return [reading.observation(user_id, row) for row in rows]

    def matches(
        self,
        user_id: str,
        terms: Sequence[str],
        *,
        most_places: int,
        most_rows: int,
        preview_characters: int,
        now: datetime,
        most_frequency: int = LARGEST_ID,  # noqa: ARG002 - counting all of them costs no more here
    ) -> Matches:
        """See Store. In one round trip."""
        asked = {
            "user_id": user_id,
            "terms": list(terms),
            # Each row may contain each of the terms.
            "most_for_places": most_places // len(terms),
            "most_rows": most_rows,
            "characters": preview_characters,
            "now": now,
        }
        queries = (statements.STATISTICS, statements.POSTINGS_OF_FEW, statements.ROWS_OF_FEW)
        found = self._connections.read_snapshot("search", *((query, asked) for query in queries))
        return reading.matches(found, terms, most_rows=most_rows)

    def postings(self, user_id: str, terms: Collection[str]) -> Mapping[str, Sequence[Posting]]:
        asked = list(terms)
        rows = self._connections.rows("search", statements.POSTINGS, user_id=user_id, terms=asked)
        return reading.postings(rows, asked)

    def newest_with(
        self, user_id: str, terms: Collection[str], *, in_reply: bool, most: int
    ) -> Mapping[str, Sequence[int]]:
        asked = list(terms)
        label = blind_index.REPLIED if in_reply else blind_index.SAID
        rows = self._connections.rows(
            "search", statements.NEWEST_WITH, user_id=user_id, terms=asked, label=label, most=most
        )
        return dict.fromkeys(asked, ()) | {asked[place - 1]: numbers for place, numbers in rows}

    def documents(self, user_id: str, numbers: Collection[int], *, now: datetime) -> Mapping[int, Document]:
        rows = self._connections.rows("search", statements.DOCUMENTS, user_id=user_id, numbers=list(numbers), now=now)
        return {row[0]: reading.document(row[1:]) for row in rows}

    def containing(self, user_id: str, text: str, *, at_most: int, most_characters: int) -> list[int]:
        rows = self._connections.rows(
            "search",
            statements.CONTAINING,
            user_id=user_id,
            text=text,
            at_most=at_most,
            most_bytes=most_characters,
        )
        return [number for (number,) in rows]

    def previews(self, user_id: str, numbers: Collection[int], *, characters: int) -> Mapping[int, Preview]:
        rows = self._connections.rows(
            "search", statements.PREVIEWS, user_id=user_id, numbers=list(numbers), characters=characters
        )
        return {row[0]: reading.preview(row[1:]) for row in rows}

    def stats(self, user_id: str) -> Mapping[str, int]:
        rows = self._connections.rows("read the statistics", statements.STATS, user_id=user_id)
        return dict(zip(("observations", "sessions"), rows[0] if rows else (0, 0), strict=True))

    def type_stats(self, user_id: str) -> list[TypeStats]:
        rows = self._connections.rows("read the statistics", statements.TYPE_STATS, user_id=user_id)
        return type_statistics(map(reading.texts, rows))

    def forget(self, user_id: str) -> int:
        """See Store, and the class for what the server keeps. One transaction: the user's own writers wait for it."""
        return self._connections.write("forget the user", lambda transaction: saving.forget(transaction, user_id))

    def size(self) -> int:
        """See Store. With indexes, and without the answers that a service stores in a schema of its own."""
        return int(self._connections.rows("read the size", work_statements.SIZE)[0][0])

    def export(self, user_id: str) -> Iterator[Session | Observation]:
        extent = exporting.extent(self._connections, user_id)
        return iter(()) if extent is None else iter(exporting.Export(self._connections, user_id, extent))

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
        rows = self._connections.rows(doing, statements.USER, user_id=user_id)
        return bytes(rows[0][0]) if rows else None

    def _of_observation(
        self, doing: str, statement: str, user_id: str, observation_id: int, **asked: Any
    ) -> list[Observation]:
        asked_id = min(observation_id, LARGEST_ID)
        rows = self._connections.rows(doing, statement, user_id=user_id, id=asked_id, **asked)
        return [reading.observation(user_id, row) for row in rows]
