"""Writes of changes, deletions and imports. Each function runs inside one transaction, and commits it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ilab_memory.core.models import ImportResult, SaveResult, Session
from ilab_memory.core.store import Change, ImportedRow
from ilab_memory.stores.common.changes import Stored
from ilab_memory.stores.common.imports import (
    completed_by_import,
    imported_columns,
    imported_session_id,
    session_is_missing,
)
from ilab_memory.stores.common.users import LENGTHS
from ilab_memory.stores.postgres import saving, statements
from ilab_memory.stores.postgres.blind_index import IndexEntry
from ilab_memory.stores.postgres.connections import Query, Row, Transaction
from ilab_memory.timestamps import to_text


class StoredObservation(NamedTuple):
    """An observation as it is."""

    session_id: str
    topic_key: str | None
    parts: Stored
    lengths: Mapping[str, int]


def stored(row: Row) -> StoredObservation:
    """Return the observation of a row of `TO_CHANGE`."""
    *texts, normalized_hash = row[2:6]
    lengths = dict(zip(LENGTHS, row[6:], strict=True))
    return StoredObservation(row[0], row[1], Stored._make((*texts, bytes(normalized_hash))), lengths)


def change(
    transaction: Transaction,
    user_id: str,
    observation_id: int,
    change: Change,
    *,
    analyzed: Callable[[str, str], IndexEntry],
    now: datetime,
) -> SaveResult | None:
    """See `Store.change`. *analyzed* returns the index entry of a title and a content."""
    asked: dict[str, Any] = {"user_id": user_id, "id": observation_id}
    users, found = transaction.ask((statements.LOCK_USER, asked), (statements.TO_CHANGE, asked))
    if not found:
        return None
    user, old = saving.User._make(users[0]), stored(found[0])
    new = old.parts.changed(change)
    result = SaveResult.model_construct(
        id=observation_id, outcome="deduped", session_id=old.session_id, topic_key=old.topic_key
    )
    if new == old.parts:
        return result
    indexed = analyzed(new.title, new.content)
    number = user.last_number + 1
    row = asked | indexed.lengths | new._asdict()
    row |= {"number": number, "now": now, "terms": indexed.vector(user.index_key)}
    added = {name: indexed.lengths[name] - old.lengths[name] for name in LENGTHS}
    edit: Query = (statements.EDIT_OBSERVATION, row)
    counting = saving.count_in(user_id, user, last_number=number, **added)
    if new.title == old.parts.title:
        transaction.commit(edit, counting)
    else:
        transaction.ask(edit, counting)
        saving.drop_title(transaction, user_id, old.parts.title)
        transaction.commit()
    return result.model_copy(update={"outcome": "updated"})


def delete(transaction: Transaction, user_id: str, observation_id: int) -> bool:
    """See `Store.delete`."""
    asked = {"user_id": user_id, "id": observation_id}
    users, found = transaction.ask((statements.LOCK_USER, asked), (statements.TO_CHANGE, asked))
    if not found:
        return False
    user, old = saving.User._make(users[0]), stored(found[0])
    removed = {name: -length for name, length in old.lengths.items()}
    transaction.ask((statements.DELETE_OBSERVATION, asked), saving.count_in(user_id, user, observations=-1, **removed))
    saving.drop_title(transaction, user_id, old.parts.title)
    transaction.commit()
    return True


def add_rows(
    transaction: Transaction,
    user_id: str,
    sessions: Sequence[Session],
    rows: Sequence[tuple[ImportedRow, IndexEntry]],
) -> ImportResult:
    """See `Store.add_rows`."""
    ids = {session.id for session in sessions} | {row.session_id for row, _ in rows}
    asked = {
        "user_id": user_id,
        "session_ids": [an_id for given in ids for an_id in (given, imported_session_id(user_id, given))],
        "topic_keys": [row.topic_key for row, _ in rows if row.topic_key is not None],
        "hashes": [bytes.fromhex(row.normalized_hash) for row, _ in rows if row.topic_key is None],
    }
    queries = (
        statements.SESSIONS_OF_IDS, statements.ACTIVE_CONVERSATIONS, statements.KEYS, statements.UNKEYED,
    )  # fmt: skip
    user, (known, active, keys, unkeyed) = saving.locked(transaction, user_id, *((query, asked) for query in queries))
    importing = _Importing(user_id, user, {row[0]: (row[1], row[2]) for row in known})
    importing.active = {conversation_id for (conversation_id,) in active}
    importing.keys = {key for (key,) in keys}
    importing.unkeyed = {(*row[:3], bytes(row[3]), to_text(row[4])) for row in unkeyed}
    for session in sessions:
        importing.add_session(session)
    for row, indexed in rows:
        importing.add_row(row, indexed)
    transaction.commit(*importing.queries())
    return importing.result


class _Importing:
    """The rows that an import writes, and the user's counts after it."""

    def __init__(self, user_id: str, user: saving.User, known: Mapping[str, tuple[int, str]]) -> None:
        self._user_id = user_id
        self._user = user
        self._known = dict(known)
        self._number = user.last_number
        self._session = user.last_session
        self._sessions: list[Query] = []
        self._rows: list[Query] = []
        self._added = dict.fromkeys(LENGTHS, 0)
        self.active: set[str] = set()
        self.keys: set[str] = set()
        self.unkeyed: set[tuple[Any, ...]] = set()

    @property
    def result(self) -> ImportResult:
        return ImportResult(sessions=len(self._sessions), observations=len(self._rows))

    def queries(self) -> list[Query]:
        counting = saving.count_in(
            self._user_id,
            self._user,
            last_number=self._number,
            last_session=self._session,
            observations=len(self._rows),
            **self._added,
        )
        return [*self._sessions, *self._rows, counting]

    def add_session(self, session: Session) -> None:
        if self._session_of(session.id) is not None:
            return
        if session.ended_at is None:
            if session.conversation_id in self.active:
                session = completed_by_import(session)
            else:
                self.active.add(session.conversation_id)
        self._session += 1
        session_id = imported_session_id(self._user_id, session.id)
        self._known[session_id] = (self._session, session.conversation_id)
        row = {
            "user_id": self._user_id,
            "session": self._session,
            "session_id": session_id,
            "conversation_id": session.conversation_id,
            "started_at": session.started_at,
            "ended_at": session.ended_at,
            "last_activity_at": session.last_activity_at,
            "summary": session.summary,
            "is_auto_generated": session.is_auto_generated,
        }
        self._sessions.append((statements.IMPORT_SESSION, row))

    def add_row(self, row: ImportedRow, indexed: IndexEntry) -> None:
        found = self._session_of(row.session_id)
        if found is None:
            raise session_is_missing()
        session, conversation_id = found
        normalized_hash = bytes.fromhex(row.normalized_hash)
        same = (session, row.type, row.title, normalized_hash, row.created_at)
        if row.topic_key in self.keys if row.topic_key is not None else same in self.unkeyed:
            return
        if row.topic_key is None:
            self.unkeyed.add(same)
        else:
            self.keys.add(row.topic_key)
        self._number += 1
        for name in LENGTHS:
            self._added[name] += indexed.lengths[name]
        columns = {
            "user_id": self._user_id,
            "id": self._user.first_id + self._number,
            "number": self._number,
            "session": session,
            "conversation_id": conversation_id,
            **imported_columns(row),
            "terms": indexed.vector(self._user.index_key),
            **indexed.lengths,
        }
        self._rows.append((statements.IMPORT_OBSERVATION, columns))

    def _session_of(self, session_id: str) -> tuple[int, str] | None:
        """Return number and conversation of the session that has this id in an export."""
        return self._known.get(session_id) or self._known.get(imported_session_id(self._user_id, session_id))
