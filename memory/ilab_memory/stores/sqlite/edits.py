"""Writes of changes, deletions and imports. Each function runs inside one operation of the writer."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from ilab_memory.core.models import UNSET, SaveResult, Session
from ilab_memory.core.store import AddedRows, Change, ImportedRow, Source
from ilab_memory.stores.common.imports import (
    completed_by_import,
    imported_columns,
    imported_session_id,
    session_is_missing,
)
from ilab_memory.stores.sqlite import deletions, fact_statements, saves, statements
from ilab_memory.stores.sqlite.blind_index import IndexEntry, UserKey
from ilab_memory.stores.sqlite.write_queue import Transaction
from ilab_memory.timestamps import to_text


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
            "user": old.user.key,
            "session": old.user.session,
            "conversation_id": old.user.conversation_id,
            "updated_at": to_text(now),
            "preview": saves.preview(new.content),
            "pinned": pinned,
            "expire_at": expire_at,
            **new._asdict(),
            **indexed.lengths,
        }
        title, content, normalized_hash = old.parts.title, old.parts.content, old.parts.normalized_hash
        before = saves.Old(observation_id, old.number, title, normalized_hash, analyzed(title, content))
        saves.change(transaction, old.user, before, row, indexed)
        if new.content != content:
            deletions.unlink(transaction, user_id, old.user.key, observation_id, kept=(), analyzed=analyzed)
    return SaveResult.model_construct(
        id=observation_id, outcome=outcome, session_id=old.user.session_id, topic_key=old.topic_key
    )


def add_rows(
    transaction: Transaction,
    user_id: str,
    sessions: Sequence[Session],
    rows: Sequence[tuple[ImportedRow, IndexEntry]],
) -> AddedRows:
    """See `Store.add_rows`."""
    user = saves.user_for_import(transaction, user_id)
    added_sessions = sum([_add_session(transaction, user_id, user.key, session) for session in sessions])
    added_rows = 0
    ids: list[int | None] = []
    activity: dict[int, str] = {}
    for row, indexed in rows:
        found = _session_of(transaction, user_id, user.key, row.session_id)
        if found is None:
            raise session_is_missing()
        activity.setdefault(found.key, found.last_activity_at)
        observation_id, is_added = _add_row(transaction, user, found, row, indexed)
        ids.append(observation_id)
        added_rows += is_added
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
    transaction.execute(statements.NEW_SESSION, row)
    return True


def _add_row(
    transaction: Transaction, user: UserKey, session: _Session, row: ImportedRow, indexed: IndexEntry
) -> tuple[int | None, bool]:
    """Add the row, unless the user has it or its key; return its id, None if another has its key, and if it is new."""
    normalized_hash = bytes.fromhex(row.normalized_hash)
    if row.topic_key is None:
        same = (user.key, session.key, normalized_hash, row.type, row.title, row.created_at)
        found = transaction.execute(statements.HAS_ROW, same).fetchone()
    else:
        found = transaction.execute(statements.HAS_KEY, (user.key, row.topic_key)).fetchone()
    if found:
        return (found[0] if found[1:] == (row.type, row.title, normalized_hash) else None), False
    columns = {
        "user": user.key,
        "session": session.key,
        "conversation_id": session.conversation_id,
        **imported_columns(row),
        "preview": saves.preview(row.content),
        **indexed.lengths,
    }
    return saves.add(transaction, user, columns, indexed), True


def add_sources(transaction: Transaction, user_id: str, sources: Sequence[Source]) -> None:
    """See `Store.add_sources`."""
    transaction.executemany(
        fact_statements.IMPORT_SOURCE,
        [(user_id, fact, source, is_earlier) for fact, source, is_earlier in sources],
    )
