"""Export of a user, a page at a time: no transaction outlasts a page."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ilab_memory.core.models import Observation, Session
from ilab_memory.core.store import forgotten_during_export
from ilab_memory.limits import EXPORT_BYTES, EXPORT_PAGE
from ilab_memory.stores.postgres import export_statements, reads, statements
from ilab_memory.stores.postgres.connections import Connections, Row

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)
_EXPORTING = "export"


class Extent(NamedTuple):
    """The extent of a user's data when an export begins."""

    index_key: bytes
    """Another one after the user was forgotten."""
    last_session: int
    last_id: int


def extent(connections: Connections, user_id: str) -> Extent | None:
    """Return what exists of the user now, None if there is no such user."""
    rows = connections.rows(_EXPORTING, export_statements.EXPORT_BEGINS, user_id=user_id)
    return Extent(bytes(rows[0][0]), *rows[0][1:]) if rows else None


class Export:
    """One export: pages of sessions, then of observations."""

    def __init__(self, connections: Connections, user_id: str, extent: Extent) -> None:
        self._connections = connections
        self._user_id = user_id
        self._extent = extent

    def __iter__(self) -> Iterator[Session | Observation]:
        """Yield all, see `Store.export`."""
        for rows in self._pages(export_statements.EXPORT_SESSIONS, self._extent.last_session):
            yield from (reads.session(self._user_id, row[2:]) for row in rows)
        later: set[int] = set()
        for rows in self._pages(export_statements.EXPORT_OBSERVATIONS, self._extent.last_id):
            for _, _, session, *observation in rows:
                if session > self._extent.last_session and session not in later:
                    later.add(session)
                    yield self._later_session(session)
                yield reads.observation(self._user_id, observation)

    def _later_session(self, number: int) -> Session:
        asked = {"user_id": self._user_id, "session": number}
        rows = self._connections.rows(_EXPORTING, export_statements.EXPORT_LATER_SESSION, **asked)
        self._check_still_there()
        return reads.session(self._user_id, rows[0])

    def _pages(self, statement: str, last: int) -> Iterator[list[Row]]:
        """Yield the pages of *statement* up to the number or id *last*.

        Its rows begin with what orders them: a moment and a number.
        """
        place: dict[str, Any] = {"user_id": self._user_id, "moment": _BEFORE_ALL, "key": 0, "last": last}
        while True:
            rows = self._connections.rows(_EXPORTING, statement, **place, page=EXPORT_PAGE, bytes=EXPORT_BYTES)
            self._check_still_there()
            if not rows:
                return
            yield rows
            place |= {"moment": rows[-1][0], "key": rows[-1][1]}

    def _check_still_there(self) -> None:
        """Raise StorageError if the user has been forgotten, before or while a page was read."""
        rows = self._connections.rows(_EXPORTING, statements.USER, user_id=self._user_id)
        if not rows or bytes(rows[0][0]) != self._extent.index_key:
            raise forgotten_during_export()
