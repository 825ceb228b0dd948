"""Reads of a PostgreSQL store. See `Store`."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
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
from ilab_memory.stores.postgres import blind_index, fact_statements, search_statements, statements
from ilab_memory.stores.postgres.blind_index import places
from ilab_memory.stores.postgres.connections import Connections, Row

# Later than every moment.
_AFTER_ALL = "infinity"


class PostgresReads(Store):
    """The reads of one database."""

    _connections: Connections

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
        found = self._connections.rows(
            "read the sessions",
            statements.RECENT_SESSIONS,
            user_id=user_id,
            conversation_id=conversation_id,
            completed=completed,
            each=each,
            characters=preview_characters,
            now=now,
        )
        sessions: list[Session] = []
        newest: list[Preview] = []
        for *columns, observations in found:
            sessions.append(rows.session(user_id, columns))
            newest += map(Preview._make, observations)
        return rows.active_and_completed(sessions, newest)

    def get(self, user_id: str, observation_id: int) -> Observation | None:
        found = self._of_observation("read the observation", statements.GET, user_id, observation_id)
        return found[0] if found else None

    def timeline(self, user_id: str, observation_id: int) -> list[Observation]:
        neighbors = self.DEFAULT_TIMELINE_NEIGHBORS
        return self._of_observation(
            "read the timeline", statements.TIMELINE, user_id, observation_id, neighbors=neighbors
        )

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
        found = self._connections.rows(
            "read the session",
            statements.RECENT,
            user_id=user_id,
            session_id=session_id,
            conversation_id=conversation_id,
            limit=limit,
            prefixes=None if key_prefixes is None else list(key_prefixes),
            most_bytes=most_bytes,
            now=now,
        )
        return [rows.observation(user_id, row) for row in found]

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
        found = self._connections.rows(
            "list the observations",
            statements.LIST_OBSERVATIONS if conversation_id is None else statements.LIST_OF_CONVERSATION,
            user_id=user_id,
            types=None if types is None else list(types),
            conversation_id=conversation_id,
            moment=moment,
            key=min(observation_id, LARGEST_ID),
            limit=limit,
            bytes=most_bytes,
        )
        return [rows.observation(user_id, row) for row in found]

    def list_sessions(
        self, user_id: str, *, conversation_id: str | None, limit: int, most_bytes: int, before: SessionCursor | None
    ) -> list[Session]:
        moment, session_id = before or (_AFTER_ALL, "")
        found = self._connections.rows(
            "list the sessions",
            statements.LIST_SESSIONS if conversation_id is None else statements.LIST_SESSIONS_OF_CONVERSATION,
            user_id=user_id,
            conversation_id=conversation_id,
            moment=moment,
            session_id=session_id,
            limit=limit,
            bytes=most_bytes,
        )
        return [rows.session(user_id, row) for row in found]

    def facts(
        self, user_id: str, *, types: Collection[str] | None, now: datetime, limit: int, before: FactCursor | None
    ) -> list[Fact]:
        pinned, moment, observation_id = before or (True, _AFTER_ALL, 0)
        found = self._connections.rows(
            "list the facts",
            fact_statements.LIST_FACTS,
            user_id=user_id,
            types=None if types is None else list(types),
            now=now,
            pinned=pinned,
            moment=moment,
            key=min(observation_id, LARGEST_ID),
            limit=limit,
        )
        return [rows.fact(row) for row in found]

    def about(self, user_id: str, *, now: datetime, limit: int, characters: int) -> list[Statement]:
        asked = {"user_id": user_id, "now": now, "limit": limit, "characters": characters}
        found = self._connections.rows("list the statements", fact_statements.LIST_ABOUT, **asked)
        return [rows.statement(row) for row in found]

    def earlier_sources(self, user_id: str, observation_ids: Collection[int]) -> Collection[int]:
        asked = {"user_id": user_id, "ids": list(observation_ids)}
        found = self._connections.rows("look for earlier statements", fact_statements.EARLIER_SOURCES, **asked)
        return {observation_id for (observation_id,) in found}

    def stats(self, user_id: str) -> Mapping[str, int]:
        found = self._connections.rows("read the statistics", statements.STATS, user_id=user_id)
        return dict(zip(("observations", "sessions"), found[0] if found else (0, 0), strict=True))

    def type_stats(self, user_id: str) -> list[TypeStats]:
        found = self._connections.rows("read the statistics", statements.TYPE_STATS, user_id=user_id)
        return rows.type_statistics(found)

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
        """See Store. In one round trip."""
        asked = {
            "user_id": user_id,
            "terms": list(terms),
            # Each row may contain each of the terms.
            "most_for_places": most_places // len(terms),
            "most_rows": most_rows,
            "most_frequency": most_frequency,
            "characters": preview_characters,
            "now": now,
        }
        queries = (search_statements.STATISTICS, search_statements.POSTINGS_OF_FEW, search_statements.ROWS_OF_FEW)
        statistics, placed_rows, all_rows = self._connections.read_snapshot(
            "search", *((query, asked) for query in queries)
        )
        if not statistics:
            return rows.no_matches()
        observations, *lengths = statistics[0][:5]
        return rows.matches(
            observations,
            lengths,
            postings=_postings(placed_rows, terms) if placed_rows else None,
            counted=[(terms[place - 1], frequency) for *_, place, frequency in statistics],
            rows=all_rows if observations <= most_rows else None,
        )

    def postings(self, user_id: str, terms: Collection[str]) -> Mapping[str, Sequence[Posting]]:
        asked = list(terms)
        found = self._connections.rows("search", search_statements.POSTINGS, user_id=user_id, terms=asked)
        return _postings(found, asked)

    def newest_with(
        self, user_id: str, terms: Collection[str], *, in_reply: bool, most: int
    ) -> Mapping[str, Sequence[int]]:
        asked = list(terms)
        label = blind_index.REPLIED if in_reply else blind_index.SAID
        found = self._connections.rows(
            "search", search_statements.NEWEST_WITH, user_id=user_id, terms=asked, label=label, most=most
        )
        return dict.fromkeys(asked, ()) | {asked[place - 1]: numbers for place, numbers in found}

    def documents(self, user_id: str, numbers: Collection[int], *, now: datetime) -> Mapping[int, Document]:
        found = self._connections.rows(
            "search", search_statements.DOCUMENTS, user_id=user_id, numbers=list(numbers), now=now
        )
        return {row[0]: Document._make(row[1:]) for row in found}

    def containing(self, user_id: str, text: str, *, at_most: int, most_characters: int) -> list[int]:
        found = self._connections.rows(
            "search",
            search_statements.CONTAINING,
            user_id=user_id,
            text=text,
            at_most=at_most,
            most_bytes=most_characters,
        )
        return [number for (number,) in found]

    def previews(self, user_id: str, numbers: Collection[int], *, characters: int) -> Mapping[int, Preview]:
        found = self._connections.rows(
            "search", statements.PREVIEWS, user_id=user_id, numbers=list(numbers), characters=characters
        )
        return {row[0]: Preview._make(row[1:]) for row in found}

    def _of_observation(
        self, doing: str, statement: str, user_id: str, observation_id: int, **asked: Any
    ) -> list[Observation]:
        asked_id = min(observation_id, LARGEST_ID)
        found = self._connections.rows(doing, statement, user_id=user_id, id=asked_id, **asked)
        return [rows.observation(user_id, row) for row in found]


def _postings(found_rows: Iterable[Row], terms: Sequence[str]) -> Mapping[str, Sequence[Posting]]:
    """Return what `POSTINGS` has found of *terms*."""
    found: dict[str, list[Posting]] = {term: [] for term in terms}
    by_token: Mapping[str, str] = {}
    for number, text in found_rows:
        if not by_token:
            by_token = dict(zip(text.split(" "), terms, strict=True))
            continue
        for term, posting in places(number, text, by_token):
            found[term].append(posting)
    return found
