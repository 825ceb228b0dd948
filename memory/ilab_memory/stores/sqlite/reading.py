"""Reads: statements that run on a reader's own connection."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from ilab_memory.core.models import Observation, Session, TypeStats
from ilab_memory.core.store import (
    Document,
    Matches,
    ObservationCursor,
    Posting,
    Preview,
    RecentSessions,
    SessionCursor,
    TermStatistics,
)
from ilab_memory.limits import LARGEST_ID
from ilab_memory.stores.common.rows import (
    active_and_completed,
    document_and_preview,
    no_matches,
    observation,
    session,
    term_frequencies,
    type_statistics,
)
from ilab_memory.stores.sqlite import search_statements, statements
from ilab_memory.stores.sqlite.blind_index import tokens
from ilab_memory.stores.sqlite.key_cache import KeyCache, UserKey
from ilab_memory.timestamps import to_text

Connection = sqlite3.Connection

# The place of the content in OBSERVATION_COLUMNS.
_CONTENT = 4
# A text greater than that of every moment.
_AFTER_ALL = "~"


def recent_sessions(
    connection: Connection,
    user_id: str,
    *,
    conversation_id: str,
    completed: int,
    each: int,
    characters: int,
    now: datetime,
) -> RecentSessions:
    """See `Store.recent_sessions`."""
    asked = (user_id, completed, each, characters, conversation_id, to_text(now))
    found = _array(connection, statements.RECENT_SESSIONS, asked)
    sessions = [session(user_id, row) for row in found[::2]]
    newest = [Preview._make(row) for rows in found[1::2] for row in rows]
    return active_and_completed(sessions, newest)


def touch(session: Session, touches: Mapping[str, str]) -> None:
    """Let *session*, if it is still active, be touched by what is not committed yet."""
    if session.ended_at is None:
        session.last_activity_at = max(session.last_activity_at, touches.get(session.id, ""))


def get(connection: Connection, user_id: str, observation_id: int) -> Observation | None:
    """See `Store.get`."""
    if observation_id > LARGEST_ID:
        return None
    row = connection.execute(statements.GET, (user_id, observation_id)).fetchone()
    return None if row is None else observation(user_id, row)


def timeline(connection: Connection, user_id: str, observation_id: int, neighbors: int) -> list[Observation]:
    """See `Store.timeline`."""
    if observation_id > LARGEST_ID:
        return []
    rows = _whole(connection, user_id, statements.TIMELINE, (user_id, observation_id, neighbors))
    return sorted(rows, key=attrgetter("created_at", "id"))


def recent(
    connection: Connection,
    user_id: str,
    session_id: str,
    *,
    conversation_id: str,
    limit: int,
    prefixes: Sequence[str] | None,
    most_bytes: int,
    now: datetime,
) -> list[Observation]:
    """See `Store.recent`."""
    asked_prefixes = None if prefixes is None else json.dumps(list(prefixes))
    asked = (user_id, session_id, asked_prefixes, limit, most_bytes, conversation_id, to_text(now))
    rows = _whole(connection, user_id, statements.RECENT, asked)
    return sorted(rows, key=attrgetter("updated_at", "id"), reverse=True)


def list_observations(
    connection: Connection,
    user_id: str,
    *,
    types: Collection[str] | None,
    conversation_id: str | None,
    limit: int,
    most_bytes: int,
    before: ObservationCursor | None,
) -> list[Observation]:
    """See `Store.list_observations`."""
    moment, observation_id = before or (_AFTER_ALL, 0)
    asked: list[Any] = [
        user_id,
        None if types is None else json.dumps(list(types)),
        moment,
        min(observation_id, LARGEST_ID),
        limit,
        most_bytes,
    ]
    statement = statements.LIST_OBSERVATIONS
    if conversation_id is not None:
        statement = statements.LIST_OF_CONVERSATION
        asked.append(conversation_id)
    rows = _whole(connection, user_id, statement, asked)
    return sorted(rows, key=attrgetter("updated_at", "id"), reverse=True)


def list_sessions(
    connection: Connection,
    user_id: str,
    *,
    conversation_id: str | None,
    limit: int,
    most_bytes: int,
    before: SessionCursor | None,
) -> list[Session]:
    """See `Store.list_sessions`."""
    asked: list[Any] = [user_id, *(before or (_AFTER_ALL, "")), limit]
    statement = statements.LIST_SESSIONS
    if conversation_id is not None:
        statement = statements.LIST_SESSIONS_OF_CONVERSATION
        asked.append(conversation_id)
    return [session(user_id, row) for row in up_to(most_bytes, connection.execute(statement, asked))]


def up_to(size: int, rows: sqlite3.Cursor) -> list[Sequence[Any]]:
    """Return the next of *rows*, until they have *size* bytes of text or more; do not read the others."""
    page = []
    for row in rows:
        page.append(row)
        size -= sum(len(value.encode()) for value in row if isinstance(value, str))
        if size <= 0:
            break
    rows.close()
    return page


def user_key(connection: Connection, user_id: str) -> UserKey | None:
    """Return the keys of the user, None if there is no such user. Others follow when the user was forgotten."""
    row = connection.execute(statements.USER, (user_id,)).fetchone()
    return None if row is None else UserKey._make(row)


def user(connection: Connection, user_id: str) -> int | None:
    """Return the user's key, None if there is no such user. Another one follows when the user was forgotten."""
    found = user_key(connection, user_id)
    return None if found is None else found.key


def stats(connection: Connection, user_id: str) -> Mapping[str, int]:
    """See `Store.stats`."""
    row = connection.execute(statements.STATS, (user_id,)).fetchone() or (0, 0)
    return dict(zip(("observations", "sessions"), row, strict=True))


def type_stats(connection: Connection, user_id: str) -> list[TypeStats]:
    """See `Store.type_stats`."""
    return type_statistics(connection.execute(statements.TYPE_STATS, (user_id,)))


def matches(
    connection: Connection,
    users: KeyCache,
    user_id: str,
    terms: Sequence[str],
    *,
    most_places: int,
    most_rows: int,
    characters: int,
    now: datetime,
    most_frequency: int,
) -> Matches:
    """See `Store.matches`."""
    # Each row may contain each of the terms.
    limits = (most_places // len(terms), most_rows, characters, to_text(now), min(most_frequency, LARGEST_ID))
    found = _of_user(connection, users, user_id, search_statements.MATCHES, terms, *limits)
    if found is None:
        return no_matches()
    observations, *lengths, placed, counted, rows = found
    postings = None if placed is None else _postings(placed, terms)
    if postings is None:
        frequencies: Mapping[str, int] = {
            terms[place]: frequency for place, frequency in json.loads(counted) if frequency
        }
    else:
        frequencies = term_frequencies(postings)
    return Matches(
        TermStatistics(observations, lengths, frequencies),
        postings,
        None if rows is None else {row[0]: document_and_preview(row) for row in json.loads(rows)},
    )


def postings(
    connection: Connection, users: KeyCache, user_id: str, terms: Sequence[str]
) -> Mapping[str, Sequence[Posting]]:
    """See `Store.postings`."""
    found = _of_user(connection, users, user_id, search_statements.TERM_PLACES, terms)
    return dict.fromkeys(terms, ()) if found is None else _postings(found[0], terms)


def newest_with(
    connection: Connection, users: KeyCache, user_id: str, terms: Sequence[str], *, in_reply: bool, most: int
) -> Mapping[str, Sequence[int]]:
    """See `Store.newest_with`."""
    columns = "{reply tail}:" if in_reply else "{title said}:"
    found = _of_user(connection, users, user_id, search_statements.NEWEST_WITH, terms, columns, most)
    # An aggregate has a row for a user who is not there too.
    numbers = [()] * len(terms) if found is None or found[0] is None else json.loads(found[0])
    return dict(zip(terms, numbers, strict=True))


def documents(connection: Connection, user_id: str, numbers: Collection[int], now: datetime) -> Mapping[int, Document]:
    """See `Store.documents`."""
    asked = (user_id, json.dumps(list(numbers)), to_text(now))
    return {row[0]: Document._make(row[1:]) for row in _array(connection, search_statements.DOCUMENTS, asked)}


def containing(connection: Connection, user_id: str, text: str, at_most: int, most_characters: int) -> list[int]:
    """See `Store.containing`."""
    return _array(connection, search_statements.CONTAINING, (user_id, text, at_most, most_characters))


def previews(connection: Connection, user_id: str, numbers: Collection[int], characters: int) -> Mapping[int, Preview]:
    """See `Store.previews`."""
    asked = (user_id, json.dumps(list(numbers)), characters)
    return {row[0]: Preview._make(row[1:]) for row in _array(connection, search_statements.PREVIEWS, asked)}


def _of_user(
    connection: Connection, users: KeyCache, user_id: str, statement: str, terms: Iterable[str], *more: Any
) -> Sequence[Any] | None:
    """Return the row of *statement*, which takes the user's id, index key and tokens; None if there is no such user."""

    def ask(user: UserKey) -> Sequence[Any] | None:
        asked = (user_id, user.index_key, json.dumps(tokens(*user, terms)), *more)
        row: Sequence[Any] | None = connection.execute(statement, asked).fetchone()
        return row

    cached = users.get(user_id)
    if cached is not None and (row := ask(cached)) is not None:
        return row
    user = user_key(connection, user_id)
    if user is None:
        users.drop(user_id)
        return None
    users.put(user_id, user)
    return ask(user)


def _postings(text: str, terms: Iterable[str]) -> Mapping[str, Sequence[Posting]]:
    return {term: list(zip(*arrays, strict=True)) for term, arrays in zip(terms, json.loads(text), strict=True)}


def _whole(connection: Connection, user_id: str, statement: str, parameters: Sequence[Any]) -> Iterator[Observation]:
    """Yield the observations of *statement*, which makes one row of them: all but the contents, and the contents."""
    found, contents = connection.execute(statement, parameters).fetchone()
    begin = 0
    for row in json.loads(found):
        length = row[_CONTENT]
        row[_CONTENT] = contents[begin : begin + length]
        begin += length
        yield observation(user_id, row)


def _array(connection: Connection, statement: str, parameters: Sequence[Any]) -> list[Any]:
    """Return the rows of *statement*, which makes one JSON array of them."""
    (text,) = connection.execute(statement, parameters).fetchone()
    rows: list[Any] = json.loads(text)
    return rows
