"""Export of a user of a SQLite store."""
# ruff: noqa: S608 - nothing but constants is interpolated

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from ilab_memory.core.models import Observation, Session
from ilab_memory.limits import EXPORT_BYTES, EXPORT_PAGE
from ilab_memory.stores.common import exports, rows
from ilab_memory.stores.sqlite import reads
from ilab_memory.stores.sqlite.connections import Readers, SharedReader
from ilab_memory.stores.sqlite.group_commit import Writer
from ilab_memory.stores.sqlite.statements import OBSERVATION_COLUMNS, SESSION_COLUMNS

_EXPORTING = "export"
# The user, its last session and the id of its last observation when the export begins: what has a greater one was added
# later.
EXPORT_BEGINS = """
    SELECT u.key, (SELECT coalesce(max(s.key), 0) FROM sessions s WHERE s.user = u.key), u.first_id + u.last_number
    FROM users u WHERE u.user_id = ?
"""
EXPORT_SESSIONS = f"""
    SELECT s.started_at, s.key, {SESSION_COLUMNS} FROM sessions s
    WHERE s.user = (SELECT key FROM users WHERE user_id = ?1) AND (s.started_at, s.key) > (?2, ?3) AND s.key <= ?4
    ORDER BY s.started_at, s.key LIMIT {EXPORT_PAGE}
"""
EXPORT_OBSERVATIONS = f"""
    SELECT o.created_at, o.id, s.key, {OBSERVATION_COLUMNS} FROM observations o JOIN sessions s ON s.key = o.session
    WHERE o.user = (SELECT key FROM users WHERE user_id = ?1) AND (o.created_at, o.id) > (?2, ?3) AND o.id <= ?4
    ORDER BY o.created_at, o.id LIMIT {EXPORT_PAGE}
"""
EXPORT_LATER_SESSION = f"""
    SELECT {SESSION_COLUMNS} FROM sessions s
    WHERE s.key = ?2 AND s.user = (SELECT key FROM users WHERE user_id = ?1)
"""


def extent(connection: sqlite3.Connection, user_id: str) -> exports.Extent | None:
    """Return what exists of the user now, None if there is no such user."""
    row = connection.execute(EXPORT_BEGINS, (user_id,)).fetchone()
    return None if row is None else exports.Extent._make(row)


class Export(exports.Export):
    """One export of a file."""

    _SESSIONS, _OBSERVATIONS, _LATER_SESSION = EXPORT_SESSIONS, EXPORT_OBSERVATIONS, EXPORT_LATER_SESSION
    _BEFORE_ALL = ""

    def __init__(self, readers: Readers | SharedReader, writer: Writer, user_id: str, extent: exports.Extent) -> None:
        super().__init__(user_id, extent)
        self._readers = readers
        self._writer = writer
        self._touches: Mapping[str, str] = {}

    def _rows(self, statement: str, **asked: Any) -> Sequence[exports.Row]:
        self._touches = self._writer.touched(self._user_id)
        with self._readers.connection(_EXPORTING) as connection:
            return reads.up_to(EXPORT_BYTES, connection.execute(statement, (self._user_id, *asked.values())))

    def _user(self) -> int | None:
        with self._readers.connection(_EXPORTING) as connection:
            user = reads.user_key(connection, self._user_id)
        return None if user is None else user.key

    def _session(self, row: exports.Row) -> Session:
        exported = rows.session(self._user_id, row)
        reads.touch(exported, self._touches)
        return exported

    def _observation(self, row: exports.Row) -> Observation:
        return rows.observation(self._user_id, row)
