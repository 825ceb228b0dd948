"""Writes of changes, deletions and imports. Each function runs inside one operation of the writer."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple

from ilab_memory.core.models import ImportResult, SaveResult, Session
from ilab_memory.core.store import Change, ImportedRow
from ilab_memory.stores.common.changes import Stored
from ilab_memory.stores.common.imports import (
    completed_by_import,
    imported_columns,
    imported_session_id,
    session_is_missing,
)
from ilab_memory.stores.sqlite import erasure, saving, statements
from ilab_memory.stores.sqlite.blind_index import IndexEntry
from ilab_memory.stores.sqlite.transaction import Transaction
from ilab_memory.timestamps import to_text

_edited = itemgetter(*statements.EDITED)
_imported = itemgetter(*statements.IMPORTED)


class StoredObservation(NamedTuple):
    """An observation as it is."""

    user: int
    index_key: bytes
    session_id: str
    number: int
    topic_key: str | None
    parts: Stored


class _Session(NamedTuple):
    """A session that imported rows belong to."""

    key: int
    conversation_id: str
    last_activity_at: str


def stored(connection: Transaction | sqlite3.Connection, user_id: str, observation_id: int) -> StoredObservation | None:
    """Return the user's observation as it is, or None."""
    found = connection.execute(statements.TO_CHANGE, (user_id, observation_id)).fetchone()
    return None if found is None else StoredObservation._make((*found[:5], Stored._make(found[5:])))


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
    old = stored(transaction, user_id, observation_id)
    if old is None:
        return None
    new = old.parts.changed(change)
    outcome: saving.Outcome = "deduped"
    if new != old.parts:
        outcome = "updated"
        indexed = analyzed(new.title, new.content)
        row: dict[str, object] = {
            "user": old.user,
            "now": to_text(now),
            "preview": saving.preview(new.content),
            **new._asdict(),
            **indexed.lengths,
        }
        _unindex(transaction, old, analyzed)
        edited = (*_edited(row), observation_id)
        _, number = transaction.execute(statements.EDIT_OBSERVATION, edited).fetchone()
        saving.index(transaction, old.user, old.index_key, number, indexed)
        if new.title != old.parts.title:
            saving.drop_title(transaction, old.user, old.parts.title)
    return SaveResult.model_construct(
        id=observation_id, outcome=outcome, session_id=old.session_id, topic_key=old.topic_key
    )


def delete(
    transaction: Transaction, user_id: str, observation_id: int, *, analyzed: Callable[[str, str], IndexEntry]
) -> bool:
    """Delete the observation, and record that its bytes must leave the file; return whether there was one.

    *analyzed* returns the index entry of a title and a content.
    """
    old = stored(transaction, user_id, observation_id)
    if old is None:
        return False
    deleted = transaction.execute(statements.DELETE_OBSERVATION, (observation_id,)).fetchone()
    transaction.execute(statements.COUNT_OUT, deleted)
    _unindex(transaction, old, analyzed)
    saving.drop_title(transaction, old.user, old.parts.title)
    erasure.add(transaction, user_id, None, is_in_index=True)
    return True


def add_rows(
    transaction: Transaction,
    user_id: str,
    sessions: Sequence[Session],
    rows: Sequence[tuple[ImportedRow, IndexEntry]],
) -> ImportResult:
    """See `Store.add_rows`."""
    user, index_key = saving.user_for_import(transaction, user_id)
    added_sessions = sum([_add_session(transaction, user_id, user, session) for session in sessions])
    added_rows = 0
    activity: dict[int, str] = {}
    for row, indexed in rows:
        found = _session_of(transaction, user_id, user, row.session_id)
        if found is None:
            raise session_is_missing()
        activity.setdefault(found.key, found.last_activity_at)
        if (number := _add_row(transaction, user, found, row, indexed)) is not None:
            saving.index(transaction, user, index_key, number, indexed)
            added_rows += 1
    transaction.executemany(statements.RESTORE_ACTIVITY, [(moment, key) for key, moment in activity.items()])
    return ImportResult(sessions=added_sessions, observations=added_rows)


def _unindex(transaction: Transaction, old: StoredObservation, analyzed: Callable[[str, str], IndexEntry]) -> None:
    entry = analyzed(old.parts.title, old.parts.content)
    saving.unindex(transaction, old.user, old.index_key, old.number, entry)


def _session_of(transaction: Transaction, user_id: str, user: int, session_id: str) -> _Session | None:
    """Return the session that has this id in an export."""
    for an_id in (session_id, imported_session_id(user_id, session_id)):
        found = transaction.execute(statements.SESSION_OF_ID, (user, an_id)).fetchone()
        if found is not None:
            return _Session._make(found)
    return None


def _add_session(transaction: Transaction, user_id: str, user: int, session: Session) -> bool:
    if _session_of(transaction, user_id, user, session.id) is not None:
        return False
    conversation = (user, session.conversation_id)
    if session.ended_at is None and transaction.execute(statements.HAS_ACTIVE, conversation).fetchone():
        session = completed_by_import(session)
    times = (session.started_at, session.ended_at, session.last_activity_at)
    row = (imported_session_id(user_id, session.id), *conversation, *times, session.summary, session.is_auto_generated)
    transaction.execute(statements.IMPORT_SESSION, row)
    return True


def _add_row(
    transaction: Transaction, user: int, session: _Session, row: ImportedRow, indexed: IndexEntry
) -> int | None:
    """Add the row and return its number; None if the user has it."""
    normalized_hash = bytes.fromhex(row.normalized_hash)
    if row.topic_key is None:
        same = (session.key, normalized_hash, row.type, row.title, row.created_at)
        found = transaction.execute(statements.HAS_ROW, same).fetchone()
    else:
        found = transaction.execute(statements.HAS_KEY, (user, row.topic_key)).fetchone()
    if found:
        return None
    columns = {
        "user": user,
        "session": session.key,
        "conversation_id": session.conversation_id,
        **imported_columns(row),
        "preview": saving.preview(row.content),
        **indexed.lengths,
    }
    return int(transaction.execute(statements.IMPORT_OBSERVATION, _imported(columns)).fetchone()[0])
