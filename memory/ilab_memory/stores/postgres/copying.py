"""Write a user of another store unchanged, in one transaction, by COPY."""

from collections.abc import Iterator
from typing import Any

import psycopg

from ilab_memory.core.models import Observation, UserRows
from ilab_memory.core.store import Source
from ilab_memory.stores.common.users import LENGTHS
from ilab_memory.stores.postgres import statements, user_sessions
from ilab_memory.stores.postgres.blind_index import IndexEntry
from ilab_memory.stores.postgres.connections import replicated
from ilab_memory.stores.postgres.schema import SCHEMA

_SESSIONS = f"""
    COPY {SCHEMA}.sessions (
        user_id, number, conversation_id, id, started_at, ended_at, last_activity_at, summary, is_auto_generated
    ) FROM STDIN
"""
_OBSERVATIONS = f"COPY {SCHEMA}.observations ({statements.NEW_COLUMNS}) FROM STDIN"
_SOURCES = f"COPY {SCHEMA}.sources (user_id, fact, source, is_earlier) FROM STDIN"
# The one statement that names no user: a copy asks once, at its end.
COUNT_USERS = f"SELECT count(*) FROM {SCHEMA}.users"  # noqa: S608 - nothing but a constant is interpolated


def write(connection: psycopg.Connection, rows: UserRows, *, replace: bool) -> bool:
    """Write *rows* and return True; return False if the user exists and *replace* is not set.

    Raises:
        NotReplicated: this commit, or an earlier one of the user, may be missing on the synchronous standby.
    """
    # New ids of the user begin above the copied ones.
    user = user_sessions.new_user(rows.user_id, above=rows.largest_id)
    with replicated(connection), connection.transaction():
        if not _enter(connection, user, replace=replace):
            return False
        counted: dict[str, Any] = dict.fromkeys((*LENGTHS, "observations"), 0)
        numbers = _write_sessions(connection, rows)
        sources: list[Source] = []
        with connection.cursor() as cursor, cursor.copy(_OBSERVATIONS) as copy:
            for number, observation in rows.observations:
                indexed = IndexEntry(observation.title, observation.content)
                place = (rows.user_id, observation.id, number, *numbers[observation.session_id])
                copy.write_row((*place, *_columns(observation, indexed, user["index_key"])))
                sources += _sources(observation)
                counted["observations"] += 1
                for name in LENGTHS:
                    counted[name] += indexed.lengths[name]
        with connection.cursor() as cursor, cursor.copy(_SOURCES) as copy:
            for source in sources:
                copy.write_row((rows.user_id, *source))
        last = {"last_number": rows.last_number, "last_session": len(rows.sessions)}
        connection.execute(statements.COUNT_IN, {"user_id": rows.user_id, **last, **counted})
    return True


def _enter(connection: psycopg.Connection, user: dict[str, Any], *, replace: bool) -> bool:
    """Insert the user's row, which blocks the user's other writers; return whether the user can be written."""
    if connection.execute(statements.NEW_USER, user).rowcount == 1:
        return True
    # The lock is written to the log, so that the commit waits for the standby also when nothing else is written: an
    # earlier copy of the user may not be there yet.
    connection.execute(statements.LOCK_USER, user)
    if replace:
        for erase in user_sessions.ERASE_ALL:
            connection.execute(erase, user)
        connection.execute(statements.NEW_USER, user)
    return replace


def _write_sessions(connection: psycopg.Connection, rows: UserRows) -> dict[str, tuple[int, str]]:
    """Write the sessions and return the number and the conversation of each."""
    numbers = {}
    with connection.cursor() as cursor, cursor.copy(_SESSIONS) as copy:
        for number, session in enumerate(rows.sessions, 1):
            numbers[session.id] = (number, session.conversation_id)
            moments = (session.started_at, session.ended_at, session.last_activity_at)
            place = (rows.user_id, number, session.conversation_id, session.id)
            copy.write_row((*place, *moments, session.summary, session.is_auto_generated))
    return numbers


def _sources(observation: Observation) -> Iterator[Source]:
    if observation.id is not None:
        for is_earlier, ids in ((False, observation.source_ids), (True, observation.earlier_source_ids)):
            yield from ((observation.id, source, is_earlier) for source in ids)


def _columns(observation: Observation, indexed: IndexEntry, index_key: bytes) -> tuple[Any, ...]:
    return (
        observation.type,
        observation.title,
        observation.topic_key,
        bytes.fromhex(observation.normalized_hash or ""),
        observation.revision_count,
        observation.created_at,
        observation.updated_at,
        *(indexed.lengths[name] for name in LENGTHS),
        indexed.vector(index_key),
        observation.content,
        observation.pinned,
        observation.expire_time,
        observation.about,
    )
