"""Writes of sessions and saves. Each function runs inside one operation of the writer."""

import secrets
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from ilab_memory.core.models import SaveResult
from ilab_memory.core.store import Redacted
from ilab_memory.limits import LONG_CHARACTERS, MOST_REBUILT, PREVIEW_CHARACTERS
from ilab_memory.sessions import SUMMARY_WITHOUT_TITLES, auto_close_summary, is_ahead, is_expired
from ilab_memory.stores.common.changes import Keyed
from ilab_memory.stores.common.users import new_index_key
from ilab_memory.stores.sqlite import fact_statements, schema, statements, work_statements
from ilab_memory.stores.sqlite.blind_index import IndexEntry, UserKey
from ilab_memory.stores.sqlite.schema import ID_BLOCKS, NUMBER_BITS
from ilab_memory.stores.sqlite.write_queue import Transaction
from ilab_memory.timestamps import to_text

Outcome = Literal["created", "updated", "deduped"]
#: Returns the values of these columns.
written = itemgetter(*statements.WRITTEN)
_changed = itemgetter(*statements.CHANGED)
_same = itemgetter("type", "title", "pinned", "expire_at", "about")


class UserNow(NamedTuple):
    """A user and the session to work in."""

    key: int
    index_key: bytes
    session: int
    session_id: str
    conversation_id: str
    is_new_session: bool = False


class Old(NamedTuple):
    """A stored observation that is changed."""

    id: int
    number: int
    title: str
    normalized_hash: bytes
    indexed: IndexEntry


def open_session(
    transaction: Transaction, user_id: str, *, conversation_id: str, now: datetime, session_timeout: timedelta
) -> UserNow:
    """Return the user with the session to work in, touched."""
    user = _enter_session(transaction, user_id, conversation_id, now=now, session_timeout=session_timeout)
    transaction.execute(statements.TOUCH_SESSION, (to_text(now), user.session))
    return user


def end_session(
    transaction: Transaction,
    user_id: str,
    *,
    conversation_id: str,
    summary: str,
    now: datetime,
    last: tuple[Redacted, IndexEntry] | None = None,
) -> tuple[str, str, str] | None:
    """Complete the active session; return its id, start and end, or None if no session is active.

    Store the observation *last*, which comes with its index entry, in it.
    """
    found = transaction.execute(statements.USER_NOW, (user_id, conversation_id)).fetchone()
    if found is None or found[2] is None:
        return None
    user, index_key, session, session_id, started_at, last_activity_at = found
    if last is not None:
        entered = UserNow(user, index_key, session, session_id, conversation_id)
        _save_unkeyed(transaction, entered, last[0], row(entered, *last, to_text(now)), last[1])
    ended_at = max(to_text(now), last_activity_at)
    transaction.execute(statements.COMPLETE_SESSION, (ended_at, summary, False, ended_at, session))
    transaction.execute(work_statements.SESSION_ENDED, (user,))
    return session_id, started_at, ended_at


def save(
    transaction: Transaction, redacted: Redacted, indexed: IndexEntry, *, now: datetime, session_timeout: timedelta
) -> tuple[UserNow, SaveResult]:
    """Store *redacted*, whose index entry is *indexed*, as `Store.save` promises, without its facts."""
    user = _enter_session(
        transaction, redacted.user_id, redacted.conversation_id, now=now, session_timeout=session_timeout
    )
    new = row(user, redacted, indexed, to_text(now))
    observation_id, outcome = (_save_unkeyed if redacted.topic_key is None else save_keyed)(
        transaction, user, redacted, new, indexed
    )
    if redacted.queue_work and outcome != "deduped":
        transaction.execute(work_statements.QUEUE, (user.key, None, new["updated_at"]))
    if outcome != "created":
        transaction.execute(statements.TOUCH_SESSION, (new["updated_at"], user.session))
    return user, result(observation_id, outcome, user, redacted)


def row(user: UserNow, redacted: Redacted, indexed: IndexEntry, now: str) -> dict[str, Any]:
    """Return the columns of the observation as a save of it now writes them."""
    return {
        "user": user.key,
        "session": user.session,
        "type": redacted.type,
        "title": redacted.title,
        "topic_key": redacted.topic_key,
        "normalized_hash": bytes.fromhex(redacted.normalized_hash),
        "revision_count": 1,
        "created_at": now,
        "updated_at": now,
        "preview": preview(redacted.content),
        "content": redacted.content,
        "conversation_id": user.conversation_id,
        "pinned": redacted.pinned,
        "expire_at": redacted.expire_at,
        "about": redacted.about,
        **indexed.lengths,
    }


def preview(content: str) -> str | None:
    """Return what is stored as the preview of *content*."""
    return content[:PREVIEW_CHARACTERS] if len(content) > LONG_CHARACTERS else None


def index(transaction: Transaction, user: UserKey | UserNow, number: int, indexed: IndexEntry) -> None:
    """Put the observation of this number into the index."""
    tokens = indexed.tokens(user.key, user.index_key)
    transaction.index(statements.ADD_TO_INDEX, (row_number(user.key, number), *tokens))


def unindex(transaction: Transaction, user: UserNow, number: int, indexed: IndexEntry) -> None:
    """Take the observation of this number out of the index."""
    tokens = indexed.tokens(user.key, user.index_key)
    transaction.index(statements.TAKE_FROM_INDEX, (row_number(user.key, number), *tokens))


def result(observation_id: int, outcome: Outcome, user: UserNow, redacted: Redacted) -> SaveResult:
    """Return the result of a save."""
    # Faster than model_construct, which goes through the fields in Python.
    return SaveResult(id=observation_id, outcome=outcome, session_id=user.session_id, topic_key=redacted.topic_key)


def user_for_import(transaction: Transaction, user_id: str) -> UserKey:
    """Return the keys of the user, who is made if missing."""
    row = transaction.execute(statements.USER, (user_id,)).fetchone()
    return _new_user(transaction, user_id) if row is None else UserKey._make(row)


def drop_title(transaction: Transaction, user: int, title: str) -> None:
    """Rebuild the newest automatic summaries that quote *title*; remove all titles from older ones that quote it."""
    newest = transaction.execute(statements.CLOSED_WITH_TITLE, (user, title)).fetchall()
    for session, _ in newest:
        transaction.execute(statements.SET_SUMMARY, (_auto_close_summary(transaction, session), session))
    if len(newest) == MOST_REBUILT:
        session, started_at = newest[-1]
        transaction.execute(statements.CLEAR_SUMMARIES, (user, title, SUMMARY_WITHOUT_TITLES, started_at, session))


def _enter_session(
    transaction: Transaction, user_id: str, conversation_id: str, *, now: datetime, session_timeout: timedelta
) -> UserNow:
    """Return the user with the session to work in; make what is missing, complete what is expired."""
    row = transaction.execute(statements.USER_NOW, (user_id, conversation_id)).fetchone()
    if row is None:
        return _new_session(transaction, _new_user(transaction, user_id), conversation_id, now)
    key, index_key, session, session_id, _, last_activity_at = row
    user = UserKey(key, index_key)
    if session is None:
        return _new_session(transaction, user, conversation_id, now)
    if is_expired(last_activity_at, now=now, timeout=session_timeout):
        summary, is_automatic = _closing_summary(transaction, session)
        completed = (last_activity_at, summary, is_automatic, last_activity_at, session)
        transaction.execute(statements.COMPLETE_SESSION, completed)
        return _new_session(transaction, user, conversation_id, now)
    if is_ahead(last_activity_at, now=now):
        transaction.execute(statements.SET_BACK_SESSION, (to_text(now), to_text(now), session))
    return UserNow(*user, session, session_id, conversation_id)


def random_first_id() -> int:
    """Return the number before the ids of a new user. Another user may have the same."""
    return secrets.choice(ID_BLOCKS) << NUMBER_BITS


def _new_user(transaction: Transaction, user_id: str) -> UserKey:
    """Make the user, with ids of its own."""
    index_key = new_index_key()
    while True:
        made = transaction.execute(statements.NEW_USER, (user_id, index_key, random_first_id())).fetchone()
        if made:
            return UserKey(made[0], index_key)


def _new_session(transaction: Transaction, user: UserKey, conversation_id: str, now: datetime) -> UserNow:
    session_id, started_at = str(uuid.uuid4()), to_text(now)
    row = (session_id, user.key, conversation_id, started_at, None, started_at, None, False)
    (session,) = transaction.execute(statements.NEW_SESSION, row).fetchone()
    return UserNow(*user, session, session_id, conversation_id, is_new_session=True)


def _closing_summary(transaction: Transaction, session: int) -> tuple[str, bool]:
    """Return the summary of an expired session: that of its consolidation, or an automatic one; and which it is."""
    found = transaction.execute(work_statements.SUMMARY_OF, (session,)).fetchone()
    return (_auto_close_summary(transaction, session), True) if found is None else (found[0], False)


def _auto_close_summary(transaction: Transaction, session: int) -> str:
    (observations,) = transaction.execute(statements.COUNT_IN_SESSION, (session,)).fetchone()
    titles = [title for (title,) in transaction.execute(statements.LAST_TITLES, (session,))]
    return auto_close_summary(observations, titles[::-1])


def _save_unkeyed(
    transaction: Transaction, user: UserNow, _: Redacted, row: Mapping[str, Any], indexed: IndexEntry
) -> tuple[int, Outcome]:
    same = (user.session, row["normalized_hash"], user.key, *_same(row))
    if found := transaction.execute(statements.SAME_UNKEYED, same).fetchone():
        return found[0], "deduped"
    return add(transaction, user, row, indexed), "created"


def save_keyed(
    transaction: Transaction, user: UserNow, redacted: Redacted, row: Mapping[str, Any], indexed: IndexEntry
) -> tuple[int, Outcome]:
    """Save an observation that has a topic key; return its id and what became of it."""
    found = transaction.execute(statements.BY_KEY, (user.key, row["topic_key"])).fetchone()
    if found is None:
        return add(transaction, user, row, indexed), "created"
    observation_id, number, content, *stored = found
    keyed = Keyed._make(stored)
    if keyed.equals(redacted):
        return observation_id, "deduped"
    old = Old(observation_id, number, keyed.title, keyed.normalized_hash, IndexEntry(keyed.title, content))
    change(transaction, user, old, row, indexed)
    return observation_id, "updated"


def add(transaction: Transaction, user: UserKey | UserNow, row: Mapping[str, Any], indexed: IndexEntry) -> int:
    """Write an observation and its index entry; return its id."""
    observation_id, number = transaction.execute(statements.NEW_OBSERVATION, written(row)).fetchone()
    index(transaction, user, number, indexed)
    return int(observation_id)


def change(transaction: Transaction, user: UserNow, old: Old, row: Mapping[str, Any], indexed: IndexEntry) -> None:
    """Let the observation *old* be *row*, whose index entry is *indexed*."""
    if old.normalized_hash != row["normalized_hash"]:
        transaction.execute(fact_statements.MAKE_EARLIER, (user.key, old.id))
    unindex(transaction, user, old.number, old.indexed)
    _, number = transaction.execute(statements.CHANGE_OBSERVATION, (*_changed(row), old.id)).fetchone()
    index(transaction, user, number, indexed)
    if old.title != row["title"]:
        drop_title(transaction, user.key, old.title)


def row_number(user: int, number: int) -> int:
    """Return the row of the index that belongs to the user's observation of this number."""
    return (user << NUMBER_BITS) | number


def probe(transaction: Transaction, room: int) -> None:
    """Write a page that stays as it is, or *room* bytes in a table that is gone before the commit.

    SQLite writes pages of dropped tables too, because deleted content is overwritten.
    """
    if room:
        transaction.execute("CREATE TABLE probe (content)")
        transaction.execute("INSERT INTO probe VALUES (zeroblob(?))", (room,))
        transaction.execute("DROP TABLE probe")
    else:
        transaction.execute(f"PRAGMA user_version = {schema.VERSION}")
