"""What readers ask: statements run on a connection of theirs, rows made into values."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from ilab_memory.core.models import Observation, Session
from ilab_memory.core.store import EXPORT_BYTES, EXPORT_PAGE, Document, Posting, Preview, RecentSessions, TermStatistics
from ilab_memory.stores.sqlite import statements
from ilab_memory.stores.sqlite.saving import row_number
from ilab_memory.stores.sqlite.terms import tokens

Connection = sqlite3.Connection

# What SQLite takes for no LIMIT.
_NO_LIMIT = -1
#: The largest id that SQLite can hold.
_LARGEST_ID = 2**63 - 1


def session(user_id: str, row: Sequence[Any]) -> Session:
    """Return the Session of a row of `SESSION_COLUMNS`."""
    session_id, started_at, ended_at, last_activity_at, summary, is_auto_generated = row
    return Session.model_construct(
        id=session_id,
        user_id=user_id,
        started_at=started_at,
        ended_at=ended_at,
        last_activity_at=last_activity_at,
        summary=summary,
        status="active" if ended_at is None else "completed",
        is_auto_generated=bool(is_auto_generated),
    )


def observation(user_id: str, row: Sequence[Any]) -> Observation:
    """Return the Observation of a row of `OBSERVATION_COLUMNS`."""
    names = (
        "id", "session_id", "type", "title", "content", "topic_key", "normalized_hash", "revision_count", "created_at",
        "updated_at",
    )  # fmt: skip
    return Observation.model_construct(user_id=user_id, **dict(zip(names, row, strict=True)))


def recent_sessions(
    connection: Connection, user_id: str, *, completed: int, each: int, characters: int
) -> RecentSessions:
    """See `Store.recent_sessions`."""
    asked = {"user_id": user_id, "completed": completed, "each": each, "characters": characters}
    found = _array(connection, statements.RECENT_SESSIONS, asked)
    sessions = [session(user_id, row) for row in found[::2]]
    newest = [Preview._make(row) for rows in found[1::2] for row in rows]
    active = sessions.pop(0) if sessions and sessions[0].status == "active" else None
    return RecentSessions(active, sessions, newest)


def get(connection: Connection, user_id: str, observation_id: int) -> Observation | None:
    """See `Store.get`."""
    if observation_id > _LARGEST_ID:
        return None
    row = connection.execute(statements.GET, {"user_id": user_id, "id": observation_id}).fetchone()
    return None if row is None else observation(user_id, row)


def timeline(connection: Connection, user_id: str, observation_id: int, neighbors: int) -> list[Observation]:
    """See `Store.timeline`."""
    if observation_id > _LARGEST_ID:
        return []
    asked = {"user_id": user_id, "id": observation_id, "neighbors": neighbors}
    found, contents = connection.execute(statements.TIMELINE, asked).fetchone()
    rows, begin = [], 0
    for *before, length, topic_key, normalized_hash, revision_count, created_at, updated_at in json.loads(found):
        content, begin = contents[begin : begin + length], begin + length
        row = (*before, content, topic_key, normalized_hash, revision_count, created_at, updated_at)
        rows.append(observation(user_id, row))
    return sorted(rows, key=attrgetter("created_at", "id"))


def export_sessions(connection: Connection, user_id: str, after: tuple[str, int]) -> list[tuple[int, Session]]:
    """Return the next page of the user's sessions, each with its key, behind the one of this start and key."""
    page = {"user_id": user_id, "moment": after[0], "key": after[1], "page": EXPORT_PAGE}
    rows = up_to(EXPORT_BYTES, connection.execute(statements.EXPORT_SESSIONS, page))
    return [(row[0], session(user_id, row[1:])) for row in rows]


def export_observations(connection: Connection, user_id: str, after: tuple[str, int]) -> list[Observation]:
    """Return the next page of the user's observations, behind the one of this created_at and id."""
    page = {"user_id": user_id, "moment": after[0], "key": after[1], "page": EXPORT_PAGE}
    rows = up_to(EXPORT_BYTES, connection.execute(statements.EXPORT_OBSERVATIONS, page))
    return [observation(user_id, row) for row in rows]


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


def user(connection: Connection, user_id: str) -> int | None:
    """Return the user's key, None if there is no such user. Another one follows when the user was forgotten."""
    row = connection.execute(statements.USER, (user_id,)).fetchone()
    return None if row is None else int(row[0])


def stats(connection: Connection, user_id: str) -> Mapping[str, int]:
    """See `Store.stats`."""
    row = connection.execute(statements.STATS, (user_id,)).fetchone() or (0, 0)
    return dict(zip(("observations", "sessions"), row, strict=True))


def term_statistics(connection: Connection, user_id: str, terms: Collection[str]) -> TermStatistics:
    """See `Store.term_statistics`."""
    row = connection.execute(statements.TERM_TOTALS, (user_id,)).fetchone()
    if row is None:
        return TermStatistics(0, (0, 0, 0, 0), {})
    key, secret, observations, *lengths = row
    by_place = list(terms)
    counted = _array(connection, statements.TERM_FREQUENCIES, {"tokens": _tokens(key, secret, by_place)})
    return TermStatistics(observations, lengths, {by_place[place]: rows for place, rows in counted})


def postings(connection: Connection, user_id: str, terms: Collection[str]) -> Mapping[str, Sequence[Posting]]:
    """See `Store.postings`."""
    row = connection.execute(statements.USER, (user_id,)).fetchone()
    if row is None:
        return {}
    key, secret = row
    by_place = list(terms)
    asked = {
        "tokens": _tokens(key, secret, by_place),
        # The token alone keeps users apart; the bounds of the user's rows make it a rule.
        "first": row_number(key, 0),
        "last": row_number(key + 1, 0),
    }
    found: dict[str, list[Posting]] = {term: [] for term in by_place}
    for place, number, field, position in _array(connection, statements.TERM_PLACES, asked):
        found[by_place[place]].append((number, field, position))
    return found


def documents(connection: Connection, user_id: str, numbers: Collection[int]) -> Mapping[int, Document]:
    """See `Store.documents`."""
    asked = {"user_id": user_id, "numbers": json.dumps(list(numbers))}
    return {row[0]: Document._make(row[1:]) for row in _array(connection, statements.DOCUMENTS, asked)}


def containing(connection: Connection, user_id: str, text: str, at_most: int | None) -> list[int]:
    """See `Store.containing`."""
    asked = {"user_id": user_id, "text": text, "at_most": _NO_LIMIT if at_most is None else at_most}
    return [number for (number,) in connection.execute(statements.CONTAINING, asked)]


def previews(connection: Connection, user_id: str, numbers: Collection[int], characters: int) -> Mapping[int, Preview]:
    """See `Store.previews`."""
    asked = {"user_id": user_id, "numbers": json.dumps(list(numbers)), "characters": characters}
    return {row[0]: Preview._make(row[1:]) for row in _array(connection, statements.PREVIEWS, asked)}


def _tokens(key: int, secret: bytes, terms: Iterable[str]) -> str:
    return json.dumps(tokens(key, secret, terms))


def _array(connection: Connection, statement: str, parameters: Mapping[str, Any]) -> list[Any]:
    """Return the rows of *statement*, which makes one JSON array of them."""
    (text,) = connection.execute(statement, parameters).fetchone()
    rows: list[Any] = json.loads(text)
    return rows
