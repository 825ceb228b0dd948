"""SQLiteStore: the Store of one file, or of the memory of one process."""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal

from ilab_memory.core.errors import raise_closed
from ilab_memory.core.models import Observation, SaveResult, Session
from ilab_memory.core.store import (
    AddedRows,
    Change,
    ImportedRow,
    Redacted,
    Source,
)
from ilab_memory.forks import Process
from ilab_memory.limits import LARGEST_ID
from ilab_memory.recall.analysis import SHORT_CHARACTERS, one_at_a_time
from ilab_memory.stores.common import rows
from ilab_memory.stores.sqlite import check, deletions, edits, exports, saves
from ilab_memory.stores.sqlite.blind_index import IndexEntry, KeyCache
from ilab_memory.stores.sqlite.bulk_insert import Save, insert_all
from ilab_memory.stores.sqlite.connections import SYNCHRONOUS, Database, Readers, SharedReader
from ilab_memory.stores.sqlite.erasure_schedule import Forgetting
from ilab_memory.stores.sqlite.group_commit import Writer
from ilab_memory.stores.sqlite.reads import SQLiteReads, user_key
from ilab_memory.stores.sqlite.vectors import SQLiteVectors
from ilab_memory.stores.sqlite.work import SQLiteWork
from ilab_memory.timestamps import to_text

# SQLite instructions between two tests whether the store was closed, which ends a check.
_INSTRUCTIONS = 100_000


class SQLiteStore(SQLiteReads, SQLiteWork, SQLiteVectors):
    """Stores everything in one SQLite database in WAL mode, with an FTS5 index.

    Several processes may use one file. Readers have connections of their own and never wait for the writer, except in a
    database in memory, which has one connection.
    """

    def __init__(
        self,
        db_path: str | Path,
        *,
        durability: Literal["full", "normal"] = "full",
        busy_timeout_seconds: float = 5.0,
        create: bool = False,
    ) -> None:
        """Open or create *db_path*; `:memory:` lives as long as the store.

        *create* makes an empty file even if files of a lost database exist.

        Raises:
            StorageError: the file cannot be opened or created, is not a database, or belongs to another program or
                another version.
        """
        self._process = Process()
        database = Database(str(db_path), busy_timeout_seconds=busy_timeout_seconds, create=create)
        self._database = database
        self._users = KeyCache()
        self._closed = threading.Event()
        # One import at a time analyzes and waits for the writer: others' saves wait for one batch, not for one of each.
        self._importing = threading.Lock()
        lock = threading.Lock()
        self._writer = Writer(database, synchronous=SYNCHRONOUS[durability], lock=lock)
        self._readers: Readers | SharedReader
        if database.is_memory:
            self._readers = SharedReader(self._writer.connection, lock)
        else:
            self._readers = Readers(database)
        self._forgetting = Forgetting(database, self._writer, self._readers)

    def touch_session(self, user_id: str, session_id: str, *, now: datetime) -> None:
        self._writer.touch("open a session", user_id, session_id, to_text(now))

    def open_session(
        self, user_id: str, *, conversation_id: str, now: datetime, session_timeout: timedelta
    ) -> tuple[str, bool]:
        enter = partial(saves.open_session, user_id=user_id, conversation_id=conversation_id)
        user = self._writer.run("open a session", partial(enter, now=now, session_timeout=session_timeout))
        return user.session_id, user.is_new_session

    def end_session(
        self, user_id: str, *, conversation_id: str, summary: str, now: datetime, observation: Redacted | None = None
    ) -> Session | None:
        characters = 0 if observation is None else len(observation.content)
        end = partial(saves.end_session, user_id=user_id, conversation_id=conversation_id, summary=summary, now=now)
        if observation is not None:
            with one_at_a_time(characters):
                end = partial(end, last=(observation, IndexEntry(observation.title, observation.content)))
        ended = self._writer.run("end the session", end, characters=characters)
        if ended is None:
            return None
        session_id, started_at, ended_at = ended
        return rows.session(user_id, (session_id, started_at, ended_at, ended_at, summary, False, conversation_id))

    def save(self, redacted: Redacted, *, now: datetime, session_timeout: timedelta) -> SaveResult:
        characters = sum(len(each.content) for each in (redacted, *redacted.facts))
        with one_at_a_time(characters):
            facts = [IndexEntry(fact.title, fact.content) for fact in redacted.facts]
            indexed = IndexEntry(redacted.title, redacted.content)
        if len(redacted.content) > SHORT_CHARACTERS:
            self._hash(redacted.user_id, [indexed])
        save = Save(redacted, indexed, facts, now, session_timeout)
        return self._writer.run("save the observation", save, bulk=insert_all, characters=characters)

    def change(self, user_id: str, observation_id: int, change: Change, *, now: datetime) -> SaveResult | None:
        if observation_id > LARGEST_ID:
            return None
        with self._readers.connection("change the observation") as connection:
            affected = deletions.going(connection, user_id, observation_id)
        if not affected:
            return None
        # In this thread, to keep work off the writer; it analyzes only what has changed by then.
        analyzed = deletions.analysis(deletions.edited(affected, change))
        return self._writer.run(
            "change the observation",
            lambda transaction: edits.change(transaction, user_id, observation_id, change, analyzed=analyzed, now=now),
            characters=deletions.characters(affected) + len(change.content or ""),
        )

    def delete(self, user_id: str, observation_ids: Sequence[int]) -> list[int]:
        """See Store. The file is rewritten, see `forget`."""
        return self._forgetting.delete(user_id, observation_ids)

    def expire(self, *, now: datetime, older_than: Mapping[str, datetime], limit: int) -> int:
        """See Store. The file is rewritten, see `forget`."""
        return self._forgetting.expire(deletions.expiry(now, older_than), limit)

    def add_rows(self, user_id: str, sessions: Sequence[Session], rows: Sequence[ImportedRow]) -> AddedRows:
        characters = sum(len(row.content) for row in rows)
        with self._importing:
            with one_at_a_time(characters):
                indexed = [(row, IndexEntry(row.title, row.content)) for row in rows]
            self._hash(user_id, [entry for _, entry in indexed])
            return self._writer.run(
                "import",
                lambda transaction: edits.add_rows(transaction, user_id, sessions, indexed),
                characters=characters,
            )

    def add_sources(self, user_id: str, sources: Sequence[Source]) -> None:
        with self._importing:
            self._writer.run("import", lambda transaction: edits.add_sources(transaction, user_id, sources))

    def forget(self, user_id: str) -> int:
        """See Store. Takes time in proportion to the size of the file, all of whose pages are read. Saves go on.

        Calls that wait at the same time share a rewrite. The next one begins after a rest, see `erasure_schedule.REST`.
        """
        try:
            return self._forgetting.forget(user_id)
        finally:
            self._users.drop(user_id)

    def finish_forgetting(self) -> int:
        return self._forgetting.finish()

    def pending_erasures(self) -> int:
        return self._forgetting.pending()

    def size(self) -> int:
        if not self._database.is_memory:
            return self._database.size()
        with self._readers.connection("read the size") as connection:
            pages = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
            return int(connection.execute(pages).fetchone()[0])

    def probe(self, *, room: int) -> None:
        """See Store. A file that another process rewrites is waited for, as a save does."""
        self._writer.run("write", lambda transaction: saves.probe(transaction, room), synced=False)

    def check(self) -> list[str]:
        with self._readers.connection("check the file") as connection:
            connection.set_progress_handler(self._closed.is_set, _INSTRUCTIONS)
            try:
                return check.quick(connection)
            except sqlite3.OperationalError:
                if self._closed.is_set():
                    raise_closed()
                raise
            finally:
                connection.set_progress_handler(None, 0)

    def export(self, user_id: str) -> Iterator[Session | Observation]:
        with self._readers.connection("export") as connection:
            extent = exports.extent(connection, user_id)
        return iter(()) if extent is None else iter(exports.Export(self._readers, self._writer, user_id, extent))

    def _hash(self, user_id: str, entries: Iterable[IndexEntry]) -> None:
        """Hash the words of *entries* of the user, who may be new, in this thread, to keep work off the writer."""
        with self._readers.connection("read the user") as connection:
            user = user_key(connection, user_id)
        if user is not None:
            for entry in entries:
                entry.tokens(*user)

    def close(self) -> None:
        if not self._process.is_this:
            # The threads and connections are the parent's.
            return
        self._closed.set()
        with ExitStack() as steps:
            # From the last one to the first, also after one of them has failed.
            for step in (self._database.close, self._readers.close, self._writer.close, self._forgetting.close):
                steps.callback(step)
