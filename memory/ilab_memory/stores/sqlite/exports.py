"""Export of a user, a page at a time: no transaction outlasts a page."""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from ilab_memory.core.models import Observation, Session
from ilab_memory.core.store import forgotten_during_export
from ilab_memory.limits import EXPORT_BYTES, EXPORT_PAGE
from ilab_memory.stores.common.rows import observation, session
from ilab_memory.stores.sqlite import export_statements, reads
from ilab_memory.stores.sqlite.connections import Readers, SharedReader
from ilab_memory.stores.sqlite.group_commit import Writer

_EXPORTING = "export"


class Extent(NamedTuple):
    """The extent of a user's data when an export begins."""

    user: int
    last_session: int
    last_id: int


def extent(connection: sqlite3.Connection, user_id: str) -> Extent | None:
    """Return what exists of the user now, None if there is no such user."""
    row = connection.execute(export_statements.EXPORT_BEGINS, (user_id,)).fetchone()
    return None if row is None else Extent._make(row)


class Export:
    """One export: pages of sessions, then of observations."""

    def __init__(self, readers: Readers | SharedReader, writer: Writer, user_id: str, extent: Extent) -> None:
        self._readers = readers
        self._writer = writer
        self._user_id = user_id
        self._extent = extent

    def __iter__(self) -> Iterator[Session | Observation]:
        """Yield all, see `Store.export`."""
        sessions = self._session_page(("", 0))
        while sessions:
            yield from (exported for _, exported in sessions)
            key, last = sessions[-1]
            sessions = self._session_page((last.started_at, key))
        later: set[int] = set()
        observations = self._observation_page(("", 0))
        while observations:
            for key, exported in observations:
                if key > self._extent.last_session and key not in later:
                    later.add(key)
                    yield self._later_session(key)
                yield exported
            _, end = observations[-1]
            observations = self._observation_page((end.created_at, end.id or 0))

    def _session_page(self, after: tuple[str, int]) -> list[tuple[int, Session]]:
        touches = self._writer.touched(self._user_id)
        with self._readers.connection(_EXPORTING) as connection:
            page = _sessions(connection, self._user_id, after, self._extent.last_session)
        for _, exported in page:
            reads.touch(exported, touches)
        self._check_still_there()
        return page

    def _observation_page(self, after: tuple[str, int]) -> list[tuple[int, Observation]]:
        with self._readers.connection(_EXPORTING) as connection:
            page = _observations(connection, self._user_id, after, self._extent.last_id)
        self._check_still_there()
        return page

    def _later_session(self, key: int) -> Session:
        with self._readers.connection(_EXPORTING) as connection:
            exported = _later_session(connection, self._user_id, key)
        self._check_still_there()
        if exported is None:
            raise forgotten_during_export()
        return exported

    def _check_still_there(self) -> None:
        """Raise StorageError if the user has been forgotten, before or while a page was read."""
        with self._readers.connection(_EXPORTING) as connection:
            if reads.user(connection, self._user_id) != self._extent.user:
                raise forgotten_during_export()


def _sessions(
    connection: sqlite3.Connection, user_id: str, after: tuple[str, int], last: int
) -> list[tuple[int, Session]]:
    """Return the next page of the user's sessions up to the key *last*, each with its key.

    It begins behind the session of the start and key *after*.
    """
    asked = (user_id, *after, last, EXPORT_PAGE)
    rows = reads.up_to(EXPORT_BYTES, connection.execute(export_statements.EXPORT_SESSIONS, asked))
    return [(row[0], session(user_id, row[1:])) for row in rows]


def _observations(
    connection: sqlite3.Connection, user_id: str, after: tuple[str, int], last: int
) -> list[tuple[int, Observation]]:
    """Return the next page of the user's observations up to the id *last*, each with the key of its session.

    It begins behind the observation of the created_at and id *after*.
    """
    asked = (user_id, *after, last, EXPORT_PAGE)
    rows = reads.up_to(EXPORT_BYTES, connection.execute(export_statements.EXPORT_OBSERVATIONS, asked))
    return [(row[-1], observation(user_id, row[:-1])) for row in rows]


def _later_session(connection: sqlite3.Connection, user_id: str, key: int) -> Session | None:
    """Return the user's session of this key, None if the user has been forgotten."""
    row = connection.execute(export_statements.EXPORT_LATER_SESSION, (user_id, key)).fetchone()
    return None if row is None else session(user_id, row)
