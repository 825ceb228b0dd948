"""Writes of changes, deletions and imports. Each function runs inside one operation of the writer."""

from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple

from ilab_memory.core.models import UNSET, SaveResult, Session
from ilab_memory.core.store import AddedRows, Change, ImportedRow
from ilab_memory.stores.common.imports import (
    completed_by_import,
    imported_columns,
    imported_session_id,
    session_is_missing,
)
from ilab_memory.stores.sqlite import deletions, fact_statements, saves, statements
from ilab_memory.stores.sqlite.blind_index import IndexEntry
from ilab_memory.stores.sqlite.write_queue import Transaction
from ilab_memory.timestamps import to_text

_edited = itemgetter(*statements.EDITED)
_imported = itemgetter(*statements.IMPORTED)


class _Session(NamedTuple):
    """A session that imported rows belong to."""

    key: int
    conversation_id: str
    last_activity_at: str


def change(
    transaction: Transaction,
    user_id: str,
    observation_id: int,
    change: Change,
    *,
    analyzed: deletions.Analyze,
    now: datetime,
) -> SaveResult | None:
    """See `Store.change`. *analyzed* returns the index entry of a title and a content."""
    old = deletions.stored(transaction, user_id, observation_id)
    if old is None:
        return None
    new = old.parts.changed(change)
    outcome: saves.Outcome = "deduped"
    pinned = old.pinned if change.pinned is None else change.pinned
    expire_at = old.expire_at if change.expire_at is UNSET else change.expire_at
    if (pinned, expire_at) != (old.pinned, old.expire_at):
        outcome = "updated"
        transaction.execute(statements.PIN_OBSERVATION, (pinned, expire_at, observation_id))
    if new != old.parts:
        outcome = "updated"
        indexed = analyzed(new.title, new.content)
        row: dict[str, object] = {
            "user": old.user,
            "now": to_text(now),
            "preview": saves.preview(new.content),
            **new._asdict(),
            **indexed.lengths,
        }
        old.unindex(transaction, analyzed)
        edited = (*_edited(row), observation_id)
        _, number = transaction.execute(statements.EDIT_OBSERVATION, edited).fetchone()
        saves.index(transaction, old.user, old.index_key, number, indexed)
        if new.title != old.parts.title:
            saves.drop_title(transaction, old.user, old.parts.title)
        if new.content != old.parts.content:
            transaction.execute(fact_statements.MAKE_EARLIER, (old.user, observation_id))
            deletions.unlink(transaction, user_id, old.user, observation_id, kept=(), analyzed=analyzed)
    return SaveResult.model_construct(
        id=observation_id, outcome=outcome, session_id=old.session_id, topic_key=old.topic_key
    )


def add_rows(
    transaction: Transaction,
    user_id: str,
    sessions: Sequence[Session],
    rows: Sequence[tuple[ImportedRow, IndexEntry]],
) -> AddedRows:
    """See `Store.add_rows`."""
    user, index_key = saves.user_for_import(transaction, user_id)
    added_sessions = sum([_add_session(transaction, user_id, user, session) for session in sessions])
    added_rows = 0
    ids: list[int | None] = []
    activity: dict[int, str] = {}
    for row, indexed in rows:
        found = _session_of(transaction, user_id, user, row.session_id)
        if found is None:
            raise session_is_missing()
        activity.setdefault(found.key, found.last_activity_at)
        observation_id, number = _add_row(transaction, user, found, row, indexed)
        ids.append(observation_id)
        if number is not None:
            saves.index(transaction, user, index_key, number, indexed)
            added_rows += 1
    transaction.executemany(statements.RESTORE_ACTIVITY, [(moment, key) for key, moment in activity.items()])
    return AddedRows(added_sessions, added_rows, ids)


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
) -> tuple[int | None, int | None]:
    """Add the row and return its id and number. Without a number if the user has it, or, without an id, its key."""
    normalized_hash = bytes.fromhex(row.normalized_hash)
    if row.topic_key is None:
        same = (user, session.key, normalized_hash, row.type, row.title, row.created_at)
        found = transaction.execute(statements.HAS_ROW, same).fetchone()
    else:
        found = transaction.execute(statements.HAS_KEY, (user, row.topic_key)).fetchone()
    if found:
        return (found[0] if found[1:] == (row.type, row.title, normalized_hash) else None), None
    columns = {
        "user": user,
        "session": session.key,
        "conversation_id": session.conversation_id,
        **imported_columns(row),
        "preview": saves.preview(row.content),
        **indexed.lengths,
    }
    observation_id, number = transaction.execute(statements.IMPORT_OBSERVATION, _imported(columns)).fetchone()
    return int(observation_id), int(number)
