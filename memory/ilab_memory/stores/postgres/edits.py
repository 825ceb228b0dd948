"""Writes of changes, deletions and imports. Each function runs inside one transaction, and commits it."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ilab_memory.core.models import UNSET, SaveResult, Session
from ilab_memory.core.store import AddedRows, Change, ImportedRow, Source
from ilab_memory.stores.common.changes import Stored
from ilab_memory.stores.common.imports import (
    completed_by_import,
    imported_columns,
    imported_session_id,
    session_is_missing,
)
from ilab_memory.stores.common.users import LENGTHS
from ilab_memory.stores.postgres import fact_statements, statements, user_sessions
from ilab_memory.stores.postgres.blind_index import IndexEntry
from ilab_memory.stores.postgres.connections import Query, Row, Transaction
from ilab_memory.stores.postgres.saves import Writing, alone, old_row


class StoredObservation(NamedTuple):
    """An observation as it is."""

    session: int
    session_id: str
    conversation_id: str
    topic_key: str | None
    pinned: bool
    expire_at: str | None
    parts: Stored
    lengths: Sequence[int]


def stored(row: Row) -> StoredObservation:
    """Return the observation of a row of `TO_CHANGE`."""
    *place, kind, title, content, normalized_hash, about = row[: -len(LENGTHS)]
    parts = Stored(kind, title, content, bytes(normalized_hash), about)
    return StoredObservation._make((*place, parts, row[-len(LENGTHS) :]))


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
    user, old = user_sessions.User._make(users[0]), stored(found[0])
    new = old.parts.changed(change)
    result = SaveResult.model_construct(
        id=observation_id, outcome="deduped", session_id=old.session_id, topic_key=old.topic_key
    )
    flags: dict[str, Any] = {
        "pinned": old.pinned if change.pinned is None else change.pinned,
        "expire_at": old.expire_at if change.expire_at is UNSET else change.expire_at,
    }
    pin: Query = (statements.PIN_OBSERVATION, asked | flags)
    is_pinned = (old.pinned, old.expire_at) == tuple(flags.values())
    if new == old.parts:
        if is_pinned:
            return result
        transaction.commit(pin)
        return result.model_copy(update={"outcome": "updated"})
    indexed = analyzed(new.title, new.content)
    row = asked | indexed.lengths | new._asdict() | flags
    row |= {
        "number": user.last_number + 1,
        "session": old.session,
        "conversation_id": old.conversation_id,
        "updated_at": now,
        "terms": indexed.vector(user.index_key),
    }
    writing = Writing(user_id, user)
    before = old_row((observation_id, old.parts.title, *old.lengths))
    writing.change(row, before, old_hash=old.parts.normalized_hash)
    if not is_pinned:
        writing.queries.append(pin)
    if new.content != old.parts.content:
        writing.remove(alone(transaction, user_id, observation_id))
        source = {"user_id": user_id, "source": observation_id, "kept": []}
        writing.queries.append((fact_statements.REMOVE_SOURCE, source))
    writing.commit(transaction)
    return result.model_copy(update={"outcome": "updated"})


def delete(transaction: Transaction, user_id: str, observation_id: int) -> list[int]:
    """See `Store.delete`."""
    asked = {"user_id": user_id, "id": observation_id}
    users, found = transaction.ask((statements.LOCK_USER, asked), (statements.TO_CHANGE, asked))
    if not found:
        return []
    old = stored(found[0])
    this = old_row((observation_id, old.parts.title, *old.lengths))
    going = [this, *alone(transaction, user_id, observation_id)]
    writing = Writing(user_id, user_sessions.User._make(users[0]))
    writing.remove(going)
    writing.commit(transaction)
    return [each.id for each in going]


def add_sources(transaction: Transaction, user_id: str, sources: Sequence[Source]) -> None:
    """See `Store.add_sources`."""
    asked: dict[str, Any] = {"user_id": user_id}
    asked |= zip(("facts", "sources", "earlier"), map(list, zip(*sources, strict=True)), strict=True)
    transaction.commit((statements.LOCK_USER, asked), (fact_statements.IMPORT_SOURCES, asked))


def add_rows(
    transaction: Transaction,
    user_id: str,
    sessions: Sequence[Session],
    rows: Sequence[tuple[ImportedRow, IndexEntry]],
) -> AddedRows:
    """See `Store.add_rows`."""
    ids = {session.id for session in sessions} | {row.session_id for row, _ in rows}
    unkeyed_rows = [row for row, _ in rows if row.topic_key is None]
    asked = {
        "user_id": user_id,
        "session_ids": [an_id for given in ids for an_id in (given, imported_session_id(user_id, given))],
        "topic_keys": [row.topic_key for row, _ in rows if row.topic_key is not None],
        "hashes": [bytes.fromhex(row.normalized_hash) for row in unkeyed_rows],
        "types": [row.type for row in unkeyed_rows],
        "titles": [row.title for row in unkeyed_rows],
        "moments": [row.created_at for row in unkeyed_rows],
    }
    queries = (
        statements.SESSIONS_OF_IDS, statements.ACTIVE_CONVERSATIONS, statements.KEYS, statements.UNKEYED,
    )  # fmt: skip
    user, (known, active, keys, unkeyed) = user_sessions.locked(
        transaction, user_id, *((query, asked) for query in queries)
    )
    importing = _Importing(user_id, user, {row[0]: (row[1], row[2]) for row in known})
    importing.active = {conversation_id for (conversation_id,) in active}
    for key, observation_id, kind, title, normalized_hash in keys:
        importing.stored[key] = (observation_id, kind, title, bytes(normalized_hash))
    for number, kind, title, normalized_hash, created_at, observation_id in unkeyed:
        parts = (kind, title, bytes(normalized_hash))
        importing.stored[number, *parts, created_at] = (observation_id, *parts)
    for session in sessions:
        importing.add_session(session)
    for row, indexed in rows:
        importing.add_row(row, indexed)
    importing.commit(transaction)
    return importing.result


class _Importing(Writing):
    """The rows that an import writes."""

    def __init__(self, user_id: str, user: user_sessions.User, known: Mapping[str, tuple[int, str]]) -> None:
        super().__init__(user_id, user)
        self._known = dict(known)
        self.active: set[str] = set()
        self.stored: dict[Hashable, tuple[Any, ...]] = {}
        """The id, type, title and hash of rows, by topic key, or by session, type, title, hash and creation."""
        self._ids: list[int | None] = []

    @property
    def result(self) -> AddedRows:
        return AddedRows(self._session - self._user.last_session, self._added["observations"], self._ids)

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
        self.queries.append((statements.IMPORT_SESSION, row))

    def add_row(self, row: ImportedRow, indexed: IndexEntry) -> None:
        found = self._session_of(row.session_id)
        if found is None:
            raise session_is_missing()
        session, conversation_id = found
        parts = (row.type, row.title, bytes.fromhex(row.normalized_hash))
        key = (session, *parts, row.created_at) if row.topic_key is None else row.topic_key
        if key in self.stored:
            observation_id, *stored = self.stored[key]
            # None: another row has this topic key.
            self._ids.append(observation_id if tuple(stored) == parts else None)
            return
        number = self._number + 1
        observation_id = self._user.first_id + number
        self._ids.append(observation_id)
        self.stored[key] = (observation_id, *parts)
        columns = {
            "user_id": self._user_id,
            "id": observation_id,
            "number": number,
            "session": session,
            "conversation_id": conversation_id,
            **imported_columns(row),
            "terms": indexed.vector(self._user.index_key),
            **indexed.lengths,
        }
        self.add(columns)

    def _session_of(self, session_id: str) -> tuple[int, str] | None:
        """Return number and conversation of the session that has this id in an export."""
        return self._known.get(session_id) or self._known.get(imported_session_id(self._user_id, session_id))
