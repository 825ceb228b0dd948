"""Reads of a SQLite store. See `Store`."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from ilab_memory.core.models import Fact, Observation, Session, Statement, TypeStats
from ilab_memory.core.store import (
    Document,
    FactCursor,
    Matches,
    ObservationCursor,
    Posting,
    Preview,
    RecentSessions,
    SessionCursor,
    Store,
)
from ilab_memory.limits import LARGEST_ID
from ilab_memory.stores.common import rows
from ilab_memory.stores.sqlite import fact_statements, search_statements, statements
from ilab_memory.stores.sqlite.blind_index import KeyCache, UserKey, tokens
from ilab_memory.stores.sqlite.connections import Readers, SharedReader
from ilab_memory.stores.sqlite.group_commit import Writer
from ilab_memory.timestamps import to_text

# The place of the content in OBSERVATION_COLUMNS.
_CONTENT = 4
# A text greater than that of every moment.
_AFTER_ALL = "~"


class SQLiteReads(Store):
    """The reads of one file, each on a connection that a reader lends."""

    _writer: Writer
    _readers: Readers | SharedReader
    _users: KeyCache

    def recent_sessions(
        self,
        user_id: str,
        *,
        conversation_id: str,
        completed: int,
        each: int,
        preview_characters: int,
        now: datetime,
    ) -> RecentSessions:
        touches = self._writer.touched(user_id)
        asked = (user_id, completed, each, preview_characters, conversation_id, to_text(now))
        found = self._array("read the sessions", statements.RECENT_SESSIONS, asked)
        sessions = [rows.session(user_id, row) for row in found[::2]]
        newest = [Preview._make(row) for previews in found[1::2] for row in previews]
        recent = rows.active_and_completed(sessions, newest)
        if recent.active:
            touch(recent.active, touches)
        return recent

    def get(self, user_id: str, observation_id: int) -> Observation | None:
        if observation_id > LARGEST_ID:
            return None
        row = self._row("read the observation", statements.GET, (user_id, observation_id))
        return None if row is None else rows.observation(user_id, row)

    def timeline(self, user_id: str, observation_id: int) -> list[Observation]:
        if observation_id > LARGEST_ID:
            return []
        row = self._row(
            "read the timeline", statements.TIMELINE, (user_id, observation_id, self.DEFAULT_TIMELINE_NEIGHBORS)
        )
        return sorted(_whole(user_id, row), key=attrgetter("created_at", "id"))

    def recent(
        self,
        user_id: str,
        session_id: str,
        *,
        conversation_id: str,
        limit: int,
        key_prefixes: Sequence[str] | None,
        most_bytes: int,
        now: datetime,
    ) -> list[Observation]:
        asked = (user_id, session_id, _listed(key_prefixes), limit, most_bytes, conversation_id, to_text(now))
        row = self._row("read the session", statements.RECENT, asked)
        return sorted(_whole(user_id, row), key=attrgetter("updated_at", "id"), reverse=True)

    def list_observations(
        self,
        user_id: str,
        *,
        types: Collection[str] | None,
        conversation_id: str | None,
        limit: int,
        most_bytes: int,
        before: ObservationCursor | None,
    ) -> list[Observation]:
        moment, observation_id = before or (_AFTER_ALL, 0)
        asked = [user_id, _listed(types), moment, min(observation_id, LARGEST_ID), limit, most_bytes]
        statement = statements.LIST_OBSERVATIONS
        if conversation_id is not None:
            statement = statements.LIST_OF_CONVERSATION
            asked.append(conversation_id)
        row = self._row("list the observations", statement, asked)
        return sorted(_whole(user_id, row), key=attrgetter("updated_at", "id"), reverse=True)

    def list_sessions(
        self, user_id: str, *, conversation_id: str | None, limit: int, most_bytes: int, before: SessionCursor | None
    ) -> list[Session]:
        touches = self._writer.touched(user_id)
        asked: list[Any] = [user_id, *(before or (_AFTER_ALL, "")), limit]
        statement = statements.LIST_SESSIONS
        if conversation_id is not None:
            statement = statements.LIST_SESSIONS_OF_CONVERSATION
            asked.append(conversation_id)
        with self._readers.connection("list the sessions") as connection:
            found = up_to(most_bytes, connection.execute(statement, asked))
        page = [rows.session(user_id, row) for row in found]
        for session in page:
            touch(session, touches)
        return page

    def facts(
        self, user_id: str, *, types: Collection[str] | None, now: datetime, limit: int, before: FactCursor | None
    ) -> list[Fact]:
        pinned, moment, observation_id = before or (True, _AFTER_ALL, 0)
        asked = (user_id, to_text(now), _listed(types), pinned, moment, min(observation_id, LARGEST_ID), limit)
        return list(map(rows.fact, self._array("list the facts", fact_statements.LIST_FACTS, asked)))

    def about(self, user_id: str, *, now: datetime, limit: int, characters: int) -> list[Statement]:
        asked = (user_id, to_text(now), limit, characters)
        return list(map(rows.statement, self._array("list the statements", fact_statements.LIST_ABOUT, asked)))

    def earlier_sources(self, user_id: str, observation_ids: Collection[int]) -> Collection[int]:
        with self._readers.connection("look for earlier statements") as connection:
            found = connection.execute(fact_statements.EARLIER_SOURCES, (user_id, _listed(observation_ids)))
            return {observation_id for (observation_id,) in found}

    def stats(self, user_id: str) -> Mapping[str, int]:
        row = self._row("read the statistics", statements.STATS, (user_id,)) or (0, 0)
        return dict(zip(("observations", "sessions"), row, strict=True))

    def type_stats(self, user_id: str) -> list[TypeStats]:
        with self._readers.connection("read the statistics") as connection:
            return rows.type_statistics(connection.execute(statements.TYPE_STATS, (user_id,)))

    def matches(
        self,
        user_id: str,
        terms: Sequence[str],
        *,
        most_places: int,
        most_rows: int,
        preview_characters: int,
        now: datetime,
        most_frequency: int = LARGEST_ID,
    ) -> Matches:
        limits = (
            # Each row may contain each of the terms.
            most_places // len(terms),
            most_rows,
            preview_characters,
            to_text(now),
            min(most_frequency, LARGEST_ID),
        )
        found = self._search(user_id, search_statements.MATCHES, terms, *limits)
        if found is None:
            return rows.no_matches()
        observations, *lengths, placed, counted, all_rows = found
        return rows.matches(
            observations,
            lengths,
            postings=None if placed is None else _postings(placed, terms),
            counted=[(terms[place], frequency) for place, frequency in json.loads(counted or "[]")],
            rows=None if all_rows is None else json.loads(all_rows),
        )

    def postings(self, user_id: str, terms: Collection[str]) -> Mapping[str, Sequence[Posting]]:
        found = self._search(user_id, search_statements.TERM_PLACES, terms)
        return dict.fromkeys(terms, ()) if found is None else _postings(found[0], terms)

    def newest_with(
        self, user_id: str, terms: Collection[str], *, in_reply: bool, most: int
    ) -> Mapping[str, Sequence[int]]:
        columns = "{reply tail}:" if in_reply else "{title said}:"
        found = self._search(user_id, search_statements.NEWEST_WITH, terms, columns, most)
        # An aggregate has a row even if there is no such user.
        numbers = [()] * len(terms) if found is None or found[0] is None else json.loads(found[0])
        return dict(zip(terms, numbers, strict=True))

    def documents(self, user_id: str, numbers: Collection[int], *, now: datetime) -> Mapping[int, Document]:
        asked = (user_id, _listed(numbers), to_text(now))
        return {row[0]: Document._make(row[1:]) for row in self._array("search", search_statements.DOCUMENTS, asked)}

    def containing(self, user_id: str, text: str, *, at_most: int, most_characters: int) -> list[int]:
        return self._array("search", search_statements.CONTAINING, (user_id, text, at_most, most_characters))

    def previews(self, user_id: str, numbers: Collection[int], *, characters: int) -> Mapping[int, Preview]:
        asked = (user_id, _listed(numbers), characters)
        return {row[0]: Preview._make(row[1:]) for row in self._array("search", search_statements.PREVIEWS, asked)}

    def _row(self, doing: str, statement: str, parameters: Sequence[Any]) -> Any:
        """Return the first row of *statement*, or None."""
        with self._readers.connection(doing) as connection:
            return connection.execute(statement, parameters).fetchone()

    def _array(self, doing: str, statement: str, parameters: Sequence[Any]) -> list[Any]:
        """Return the rows of *statement*, which makes one JSON array of them."""
        (text,) = self._row(doing, statement, parameters)
        found: list[Any] = json.loads(text)
        return found

    def _search(self, user_id: str, statement: str, terms: Iterable[str], *more: Any) -> Sequence[Any] | None:
        """Return the row of *statement*, which takes the user's id, index key and tokens; None without such a user."""
        with self._readers.connection("search") as connection:

            def ask(user: UserKey) -> Sequence[Any] | None:
                asked = (user_id, user.index_key, json.dumps(tokens(*user, terms)), *more)
                row: Sequence[Any] | None = connection.execute(statement, asked).fetchone()
                return row

            cached = self._users.get(user_id)
            if cached is not None and (row := ask(cached)) is not None:
                return row
            user = user_key(connection, user_id)
            if user is None:
                self._users.drop(user_id)
                return None
            self._users.put(user_id, user)
            return ask(user)


def touch(session: Session, touches: Mapping[str, str]) -> None:
    """Let *session*, if it is still active, be touched by what is not committed yet."""
    if session.ended_at is None:
        session.last_activity_at = max(session.last_activity_at, touches.get(session.id, ""))


def up_to(size: int, cursor: sqlite3.Cursor) -> list[Sequence[Any]]:
    """Return the next rows of *cursor*, until they have *size* bytes of text or more; do not read the others."""
    page = []
    for row in cursor:
        page.append(row)
        size -= sum(len(value.encode()) for value in row if isinstance(value, str))
        if size <= 0:
            break
    cursor.close()
    return page


def user_key(connection: sqlite3.Connection, user_id: str) -> UserKey | None:
    """Return the keys of the user, None if there is no such user. Others follow when the user was forgotten."""
    row = connection.execute(statements.USER, (user_id,)).fetchone()
    return None if row is None else UserKey._make(row)


def _postings(text: str, terms: Iterable[str]) -> Mapping[str, Sequence[Posting]]:
    return {term: list(zip(*arrays, strict=True)) for term, arrays in zip(terms, json.loads(text), strict=True)}


def _whole(user_id: str, row: Sequence[Any]) -> Iterator[Observation]:
    """Yield the observations of a statement that makes one *row* of them: all but the contents, and the contents."""
    found, contents = row
    begin = 0
    for each in json.loads(found):
        length = each[_CONTENT]
        each[_CONTENT] = contents[begin : begin + length]
        begin += length
        yield rows.observation(user_id, each)


def _listed(values: Collection[object] | None) -> str | None:
    """Return *values* as a parameter of a statement; None: any."""
    return None if values is None else json.dumps(list(values))
